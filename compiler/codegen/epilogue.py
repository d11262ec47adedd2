"""From the buffer of finished sums to the caller's `store`, line by line of C.

The caller's code is emitted once for whole vectors and once for the tail, whatever the register
tile, so a long epilogue costs little to compile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flambeau.compiler.codegen import loops
from flambeau.compiler.codegen.contraction import Store
from flambeau.compiler.codegen.emit import Block, Type, Value
from flambeau.compiler.codegen.grid import Grid


@dataclass(frozen=True, slots=True)
class Span:
    """The part of one side that lies in the buffer: positions first to stop."""

    grid: Grid
    first: Value
    stop: Value


def span(block: Block, grid: Grid, low: Value, high: Value) -> Span:
    """The positions of tiles low to high (high is exclusive, at most the number of tiles)."""
    each = grid.cells * grid.width
    stop = loops.mul(block, high, each)
    if grid.flat:
        stop = loops.least(block, stop, grid.last)
    return Span(grid, loops.mul(block, low, each), stop)


@dataclass(frozen=True, slots=True)
class Buffer:
    """Sums at memory[row * pitch + column], rows and columns counted from the spans' first."""

    pointer: Value
    pitch: int
    type: Type  # a full vector of the accumulator type

    def address(self, block: Block, row: Value, column: Value) -> Value:
        at = loops.add(block, loops.mul(block, row, self.pitch), column)
        return block.gep(self.pointer, self.type.with_lanes(1), at)


def emit_stores(block: Block, buffer: Buffer, rows: Span, columns: Span, batch: list[Value],
                masks: bool, store: Store) -> None:
    """Calls store for every element of m (rows) x n (columns).

    Lines of n are the outer loop: what there is to compute for one serves all rows.
    """
    def line_of_n(block: Block, line: _Line) -> None:
        pieces = _pieces(block, line, buffer.type.lanes, masks)

        def line_of_m(inner: Block, down: _Line) -> None:
            def row(deep: Block, i: Value) -> None:
                m = [*down.outer, i] if rows.grid.axes else []
                at = loops.add(deep, down.place, i)
                _Row(buffer, columns.grid, batch, m, at, line, store).emit(deep, pieces)
            loops.loop(inner, down.low, down.high, 1, row)
        _lines(block, rows, line_of_m)

    _lines(block, columns, line_of_n)


@dataclass(frozen=True, slots=True)
class _Line:
    """Elements low to high of a line of the last axis; element i is at place + i."""

    outer: list[Value]  # indices of the other axes
    low: Value
    high: Value
    place: Value


def _lines(block: Block, side: Span, body: Callable[[Block, _Line], None]) -> None:
    """Runs body for each line that the span touches."""
    run = side.grid.run
    begin = run.holding(block, side.first)
    end = loops.add(block, run.holding(block, loops.sub(block, side.stop, 1)), 1)

    def line(inner: Block, r: Value) -> None:
        start = run.start(inner, r)
        low = loops.most(inner, loops.sub(inner, side.first, start), 0)
        high = loops.least(inner, loops.sub(inner, side.stop, start), run.length)
        outer = loops.unravel(inner, r, side.grid.axes[:-1])
        parts = [loops.opaque(inner, x) for x in
                 (low, high, loops.sub(inner, start, side.first), *outer)]
        body(inner, _Line(parts[3:], *parts[:3]))
    loops.loop(block, begin, end, 1, line)


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A line cut up: whole vectors up to `middle`, then a masked one, or single elements."""

    middle: Value
    mask: Value | None


def _pieces(block: Block, line: _Line, lanes: int, masks: bool) -> _Pieces:
    count = loops.sub(block, line.high, line.low)
    whole = loops.sub(block, count, loops.modulo(block, count, lanes))
    middle = loops.add(block, line.low, whole)
    rest = loops.sub(block, line.high, middle)
    return _Pieces(middle, loops.ramp_mask(block, rest, lanes) if masks else None)


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of m along one line of n."""

    buffer: Buffer
    grid: Grid
    batch: list[Value]
    m: list[Value]
    at: Value  # the row in the buffer
    line: _Line
    store: Store

    def emit(self, block: Block, pieces: _Pieces) -> None:
        lanes, line = self.buffer.type.lanes, self.line
        if self.grid.run.length == 1:
            loops.loop(block, line.low, line.high, 1, lambda inner, i: self._put(inner, i, 1, None))
            return
        loops.loop(block, line.low, pieces.middle, lanes,
                   lambda inner, i: self._put(inner, i, lanes, None))
        if pieces.mask is None:
            loops.loop(block, pieces.middle, line.high, 1,
                       lambda inner, i: self._put(inner, i, 1, None))
        else:  # the buffer is padded, so a whole vector may be read
            loops.branch(block, block.cmp("slt", pieces.middle, line.high),
                         lambda inner: self._put(inner, pieces.middle, lanes, pieces.mask))

    def _put(self, block: Block, i: Value, lanes: int, mask: Value | None) -> None:
        address = self.buffer.address(block, self.at, loops.add(block, self.line.place, i))
        type = self.buffer.type.with_lanes(lanes)
        value = block.load(type, address, type.bits // 8)
        n = [*self.line.outer, i] if self.grid.axes else []
        self.store(block, self.batch, self.m, n, value, mask)
