"""From the buffer of finished sums to the caller's `store`, line by line of C.

The caller's code is emitted once for whole vectors and once for the tail, whatever the register
tile, so a long epilogue costs little to compile.
"""

from __future__ import annotations

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
    """Calls store for every element of m (rows) x n (columns)."""
    def row(inner: Block, m: list[Value], m_at: Value) -> None:
        def line(deep: Block, outer: list[Value], low: Value, high: Value, place: Value) -> None:
            _vectors(deep, buffer, columns.grid, batch, m, outer, low, high, m_at, place, masks,
                     store)
        _lines(inner, columns, line)

    def rows_of(inner: Block, outer: list[Value], low: Value, high: Value, place: Value) -> None:
        def one(deep: Block, i: Value) -> None:
            indices = [*outer, i] if rows.grid.axes else []
            row(deep, indices, loops.add(deep, place, i))
        loops.loop(inner, low, high, 1, one)

    _lines(block, rows, rows_of)


def _lines(block: Block, side: Span, body) -> None:  # type: ignore[no-untyped-def]
    """body(block, outer indices, low, high, place) for each line: element i is at place + i."""
    run = side.grid.run
    begin = run.holding(block, side.first)
    end = loops.add(block, run.holding(block, loops.sub(block, side.stop, 1)), 1)

    def line(inner: Block, r: Value) -> None:
        start = run.start(inner, r)
        low = loops.most(inner, loops.sub(inner, side.first, start), 0)
        high = loops.least(inner, loops.sub(inner, side.stop, start), run.length)
        outer = loops.unravel(inner, r, side.grid.axes[:-1])
        body(inner, outer, low, high, loops.sub(inner, start, side.first))
    loops.loop(block, begin, end, 1, line)


def _vectors(block: Block, buffer: Buffer, grid: Grid, batch: list[Value], m: list[Value],
             outer: list[Value], low: Value, high: Value, m_at: Value, place: Value, masks: bool,
             store: Store) -> None:
    """One line of C: whole vectors, then the tail."""
    type, size = buffer.type, buffer.type.bits // 8
    lanes = type.lanes

    def whole(inner: Block, i: Value) -> None:
        address = buffer.address(inner, m_at, loops.add(inner, place, i))
        store(inner, batch, m, [*outer, i] if grid.axes else [], inner.load(type, address, size),
              None)

    def single(inner: Block, i: Value) -> None:
        address = buffer.address(inner, m_at, loops.add(inner, place, i))
        value = inner.load(type.with_lanes(1), address, size)
        store(inner, batch, m, [*outer, i] if grid.axes else [], value, None)

    if grid.run.length == 1:
        loops.loop(block, low, high, 1, single)
        return
    count = loops.sub(block, high, low)
    whole_count = loops.sub(block, count, loops.modulo(block, count, lanes))
    middle = loops.add(block, low, whole_count)
    loops.loop(block, low, middle, lanes, whole)
    if not masks:
        loops.loop(block, middle, high, 1, single)
        return

    def tail(inner: Block) -> None:
        address = buffer.address(inner, m_at, loops.add(inner, place, middle))
        mask = loops.ramp_mask(inner, loops.sub(inner, high, middle), lanes)
        value = inner.load(type, address, size)  # the buffer is padded: a whole load is safe
        store(inner, batch, m, [*outer, middle], value, mask)
    loops.branch(block, block.cmp("slt", middle, high), tail)
