"""Copies an operand into panels: for each tile, k after k, the tile's cells side by side.

A panel is read front to back by a register tile: no strides, no TLB misses, no cache conflicts, no
conversion. The source is walked in whichever direction it is contiguous: along the cells (copy),
along k (square blocks transposed in registers), or neither (one by one).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flambeau.compiler.codegen import lanes as lane
from flambeau.compiler.codegen import loops
from flambeau.compiler.codegen.contraction import Operand
from flambeau.compiler.codegen.emit import Block, Type, Value, const
from flambeau.compiler.codegen.grid import Grid
from flambeau.compiler.size import unknown


@dataclass(frozen=True, slots=True)
class Packing:
    """How one operand is packed.

    cells: tiles of single elements (width 1) with the source's strides, or, `scattered`, one flat
    axis whose elements lie at the unravelled indices of `axes`. k: (extent, source stride) of each
    k axis, merged where the source allows. pitch: elements between one k and the next in a panel.
    """

    cells: Grid
    k: tuple[tuple[int, int], ...]
    pitch: int
    type: Type  # a full vector of the accumulator type
    padded: bool = False  # the edge tile is filled up with whatever is harmless
    scattered: bool = False
    axes: tuple[tuple[int, int], ...] = ()

    @property
    def lanes(self) -> int:
        return self.type.lanes

    @property
    def side(self) -> int:
        """Lanes and rows of the squares transposed."""
        return min(lane.BLOCK, self.lanes)

    @property
    def depth(self) -> int:
        total = 1
        for extent, _ in self.k:
            total *= extent
        return total

    @property
    def scheme(self) -> str:
        """copy, transpose or scalar."""
        if not self.scattered and self.cells.offsets(False) == list(range(self.cells.cells)):
            return "copy"
        return "transpose" if self.k[-1][1] == 1 and self.k[-1][0] >= self.side else "scalar"


def emit_panel(block: Block, p: Packing, source: Operand, base: Value, tile: Value,
               panel: Value) -> None:
    """Packs one tile, over all of k, to memory at `panel`."""
    def variant(inner: Block, edge: bool) -> None:
        valid = p.cells.edge_cells if edge else p.cells.cells
        _Panel(p, source, panel, base, tile, valid).emit(inner)

    if not p.cells.has_edge:
        variant(block, False)
    elif not p.cells.open and p.cells.tiles == 1:
        variant(block, True)
    else:
        loops.branch(block, p.cells.is_edge(block, tile), lambda inner: variant(inner, True),
                     lambda inner: variant(inner, False))


@dataclass(frozen=True, slots=True)
class _Panel:
    """One tile on its way into its panel."""

    p: Packing
    source: Operand
    panel: Value
    base: Value
    tile: Value
    valid: int  # cells that exist

    @property
    def filled(self) -> int:
        """Cells that are read: with padding, those beyond the end too."""
        return self.p.cells.cells if self.p.padded else self.valid

    def emit(self, block: Block) -> None:
        line = {"copy": self._copy, "scalar": self._scalar, "transpose": self._transpose}
        self._walk(block, loops.ZERO, loops.ZERO, 0, line[self.p.scheme])

    def _walk(self, block: Block, offset: Value, linear: Value, depth: int,
              line: Callable[[Block, int, Value, int, Value], None]) -> None:
        extent, stride = self.p.k[depth]
        if depth == len(self.p.k) - 1:
            line(block, extent, offset, stride, linear)
            return
        inside = 1
        for further, _ in self.p.k[depth + 1:]:
            inside *= further

        def body(inner: Block, i: Value) -> None:
            at = loops.add(inner, offset, loops.mul(inner, i, stride))
            self._walk(inner, at, loops.add(inner, linear, loops.mul(inner, i, inside)), depth + 1,
                       line)
        loops.loop(block, 0, extent, 1, body)

    def _where(self, block: Block, cell: Value) -> Value:
        """Source offset of a cell of the tile at k = 0."""
        p = self.p
        if p.scattered:
            linear = loops.add(block, loops.mul(block, self.tile, p.cells.cells), cell)
            at = loops.unravel(block, linear, [e for e, _ in p.axes])
            return loops.add(block, self.base, loops.dot(block, at, [s for _, s in p.axes]))
        inside = p.cells.extents[p.cells.split + 1:]
        at = loops.unravel(block, cell, (1, *inside))
        origin = loops.add(block, self.base, p.cells.origin(block, self.tile))
        return loops.add(block, origin, loops.dot(block, at, p.cells.strides[p.cells.split:]))

    def _address(self, block: Block, linear: Value, cell: Value | int) -> Value:
        at = loops.add(block, loops.mul(block, linear, self.p.pitch), cell)
        return block.gep(self.panel, self.p.type.with_lanes(1), at)

    def _copy(self, block: Block, extent: int, offset: Value, stride: int,
              linear: Value) -> None:
        lanes = self.p.lanes
        where = loops.opaque(block, loops.add(block, self._where(block, loops.ZERO), offset))

        def body(inner: Block, i: Value) -> None:
            at = loops.add(inner, where, loops.mul(inner, i, stride))
            for cell in range(0, self.filled, lanes):
                mask = loops.lanes_on(inner, self.valid - cell, lanes)
                value = self.source.load(inner, loops.add(inner, at, cell), lanes, mask) \
                    if unknown(self.valid) or cell < self.valid else const(self.p.type, 0)
                inner.store(value, self._address(inner, loops.add(inner, linear, i), cell),
                            self.p.type.bits // 8)
        loops.loop(block, 0, extent, 1, body)

    def _scalar(self, block: Block, extent: int, offset: Value, stride: int,
                linear: Value) -> None:
        def cell(outer: Block, number: Value) -> None:
            which = loops.least(outer, number, self.valid - 1)
            where = loops.add(outer, self._where(outer, which), offset)

            def step(inner: Block, i: Value) -> None:
                at = loops.add(inner, where, loops.mul(inner, i, stride))
                one = self.source.load(inner, at, 1, None)
                inner.store(one, self._address(inner, loops.add(inner, linear, i), number),
                            self.p.type.bits // 8)
            loops.loop(outer, 0, extent, 1, step)
        loops.loop(block, 0, self.filled, 1, cell)

    def _transpose(self, block: Block, extent: int, offset: Value, _: int,
                   linear: Value) -> None:
        """Small squares, all cells of a few steps before the next; the last steps overlap."""
        side = self.p.side

        def steps(outer: Block, start: Value) -> None:
            stop = loops.least(outer, loops.add(outer, start, self.p.lanes), extent)

            def cells(middle: Block, cell: Value) -> None:
                where = [loops.opaque(middle, loops.add(middle, self._where(
                    middle, self._clamped(middle, cell, q)), offset)) for q in range(side)]

                def square(inner: Block, i: Value) -> None:
                    first = loops.least(inner, i, extent - side)
                    self._square(inner, where, first, self._address(
                        inner, loops.add(inner, linear, first), cell))
                loops.loop(middle, start, stop, side, square)
            loops.loop(outer, 0, self.filled, side, cells)
        loops.loop(block, 0, extent, self.p.lanes, steps)

    def _clamped(self, block: Block, cell: Value, q: int) -> Value:
        which = loops.add(block, cell, q)
        return loops.least(block, which, self.valid - 1) \
            if (self.filled % self.p.side or unknown(self.valid)
                or self.filled > self.valid) else which

    def _square(self, block: Block, where: list[Value], first: Value, address: Value) -> None:
        """`side` cells by `side` steps of k from `first` on."""
        type = self.p.type
        rows = [self.source.load(block, loops.add(block, w, first), self.p.side, None)
                for w in where]
        for k, line in enumerate(lane.transpose(block, rows)):
            place = block.gep(address, type.with_lanes(1), loops.index(k * self.p.pitch))
            block.store(line, place, type.bits // 8)
