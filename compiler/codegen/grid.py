"""Geometry: one side of C (its m or its n axes) cut into cells, tiles and runs.

A cell is one index of the side, or, where vectors lie along it, `width` elements. A tile is a box
of cells: whole axes to the right of axis `split`, `step` steps along it, one step of those to the
left. So a tile's cells sit at offsets known while compiling, whatever the number of axes, and only
the last tile along `split` may be smaller: that is the second, and last, variant.

Positions number a side's elements the way tiles enumerate them (with gaps after the small tile);
the accumulator buffer is indexed by them. A run is one line of the side's last axis: consecutive
positions, consecutive elements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flambeau.compiler.codegen import loops
from flambeau.compiler.codegen.emit import Block, Value
from flambeau.compiler.size import unknown


@dataclass(frozen=True, slots=True)
class Run:
    """Where the lines of the last axis lie: line r starts at r//lines*pitch + r%lines*spacing."""

    length: int  # elements of a line
    lines: int
    pitch: int
    spacing: int

    def start(self, block: Block, line: Value) -> Value:
        if self.lines == 1:
            return loops.mul(block, line, self.pitch)
        lead = loops.mul(block, loops.divide(block, line, self.lines), self.pitch)
        return loops.add(block, lead, loops.mul(block, loops.modulo(block, line, self.lines),
                                                self.spacing))

    def holding(self, block: Block, position: Value) -> Value:
        """The line that holds `position`, or the one before where there is a gap."""
        lead = loops.divide(block, position, self.pitch)
        if self.lines == 1:
            return lead
        inside = loops.divide(block, loops.modulo(block, position, self.pitch), self.spacing)
        inside = loops.least(block, inside, self.lines - 1)
        return loops.add(block, loops.mul(block, lead, self.lines), inside)


@dataclass(frozen=True, slots=True)
class Grid:
    """Tiles of a side. extents, strides: cells along each axis and their distance in the operand.

    axes: the side's true extents. flat: lanes run on through all axes (a packed operand), so there
    is one axis of cells. padded: the edge tile is as large as the others, its panel filled up.
    """

    axes: tuple[int, ...]
    extents: tuple[int, ...]
    strides: tuple[int, ...]
    split: int
    step: int
    width: int = 1
    flat: bool = False
    padded: bool = False

    @property
    def open(self) -> bool:
        """Is it unknown how many cells the split axis has? Then the last tile is as large as the
        others, and what reads and stores it stops at the end."""
        return unknown(self.extents[self.split])

    @property
    def trail(self) -> int:
        return math.prod(self.extents[self.split + 1:])

    @property
    def per_line(self) -> int:
        """Tiles along the split axis."""
        return -(-self.extents[self.split] // self.step)

    @property
    def tiles(self) -> int:
        return math.prod(self.extents[:self.split]) * self.per_line

    @property
    def cells(self) -> int:
        """Cells of a whole tile."""
        return self.step * self.trail

    @property
    def edge_cells(self) -> int:
        """Cells of the last tile along the split axis."""
        if self.padded:
            return self.cells
        return (self.extents[self.split] - (self.per_line - 1) * self.step) * self.trail

    @property
    def last(self) -> int:
        """Elements of one line of cells along the last axis."""
        return math.prod(self.axes) if self.flat else (self.axes[-1] if self.axes else 1)

    @property
    def ragged(self) -> bool:
        """Whether the last vector of each line is partly filled."""
        return self.width > 1 and (unknown(self.last) or self.last % self.width != 0)

    @property
    def has_edge(self) -> bool:
        """Whether the last tile along the split axis needs code of its own."""
        if self.open:
            return not self.padded
        ragged = self.ragged and not self.flat and self.split == len(self.extents) - 1
        return self.edge_cells != self.cells or (ragged and self.per_line > 1)

    def offsets(self, edge: bool) -> list[int]:
        """Operand offset of each cell from the tile's first."""
        steps = self.edge_cells // self.trail if edge and not self.open else self.step
        box = (steps, *self.extents[self.split + 1:])
        out = [0]
        for extent, stride in zip(box, self.strides[self.split:]):
            out = [o + i * stride for o in out for i in range(extent)]
        return out

    def last_offsets(self, block: Block) -> list[int | Value]:
        """`offsets` of an open grid's last tile: cells beyond the end lie where the last does."""
        left = loops.index(self.extents[self.split] - (self.per_line - 1) * self.step - 1)
        found: list[int | Value] = []
        for cell, offset in enumerate(self.offsets(False)):
            step = cell // self.trail
            along = loops.mul(block, loops.least(block, left, step), self.strides[self.split])
            inside = offset - step * self.strides[self.split]
            found.append(loops.add(block, along, inside) if step else offset)
        return found

    def last_masks(self, block: Block) -> list[Value | None]:
        """`masks` of an open grid's last tile."""
        begin = (self.per_line - 1) * self.step * self.width
        return [loops.lanes_on(block, self.last - begin - i * self.width, self.width)
                for i in range(self.cells)]

    def masks(self, edge: bool) -> list[Value | None]:
        """For each cell of a vector side, the lanes that exist."""
        count = self.edge_cells if edge else self.cells
        out: list[Value | None] = [None] * count
        if self.flat or self.open or not self.ragged:
            return out
        tail = loops.first_lanes(self.last % self.width, self.width)
        if self.split < len(self.extents) - 1:
            line = self.extents[-1]
            return [tail if i % line == line - 1 else None for i in range(count)]
        if edge or self.per_line == 1:
            out[-1] = tail
        return out

    def origin(self, block: Block, tile: Value) -> Value:
        """Operand offset of the tile's first cell."""
        lead = loops.divide(block, tile, self.per_line)
        along = loops.mul(block, loops.modulo(block, tile, self.per_line),
                          self.step * self.strides[self.split])
        outer = loops.unravel(block, lead, self.extents[:self.split])
        return loops.add(block, loops.dot(block, outer, self.strides[:self.split]), along)

    def is_edge(self, block: Block, tile: Value) -> Value:
        return block.cmp("eq", loops.modulo(block, tile, self.per_line),
                         loops.index(self.per_line - 1))

    def single(self, axis: int) -> bool:
        """Has a tile one index along this axis?"""
        if self.flat or (self.width > 1 and axis == len(self.extents) - 1):
            return False
        return axis < self.split or (axis == self.split and self.step == 1)

    def index(self, block: Block, tile: Value, axis: int) -> Value:
        """A tile's index along an axis where it has a single one."""
        if axis == self.split:
            return loops.modulo(block, tile, self.per_line)
        lead = loops.divide(block, tile, self.per_line)
        return loops.unravel(block, lead, self.extents[:self.split])[axis]

    def lines(self, axis: int) -> bool:
        """Is a tile made of single elements, in whole lines along this axis, the last?"""
        last = len(self.extents) - 1
        whole = self.split < last or self.step == self.extents[last]
        return self.width == 1 and not self.flat and axis == last and whole

    @property
    def run(self) -> Run:
        """The lines of the last axis, in positions."""
        last = self.axes[-1] if self.axes else 1
        if self.flat:
            return Run(last, 1, last, last)
        pitch = self.per_line * self.cells * self.width
        if self.split == len(self.extents) - 1:
            return Run(last, 1, pitch, pitch)
        spacing = self.extents[-1] * self.width
        lines = self.extents[self.split] * self.trail // self.extents[-1]
        return Run(last, lines, pitch, spacing)
