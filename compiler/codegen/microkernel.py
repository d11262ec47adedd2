"""The two register tiles that do the arithmetic of large contractions.

outer: rows x vectors of accumulators; each step of k loads the vectors, and multiplies them by one
broadcast scalar per row. inner: rows x columns of accumulators whose lanes run along k, summed
across at the end. All accumulators stay in registers for the whole walk over k; tiles end in a
buffer (in L1 or L2) from which the epilogue reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flambeau.compiler.codegen import loops
from flambeau.compiler.codegen.contraction import Memory, Operand
from flambeau.compiler.codegen.emit import Block, Type, Value, const
from flambeau.compiler.codegen.simple import multiply_add

AHEAD = 16  # steps of k between what is fetched from a panel and what is used
LARGE = 20  # sums of a tile that leave time to fetch
LINE = 64  # bytes of a cache line
LOOPED = 32  # multiply-adds worth having in one round of a rolled k loop


@dataclass(frozen=True, slots=True)
class KAxis:
    """A k axis as both operands see it; `stop` is known only when running for a block of it."""

    stop: int | Value
    rows: int
    columns: int
    start: int | Value = 0
    cells: Sequence[Sequence[bool]] = ()  # of an axis that is written out: each step's rows


@dataclass(frozen=True, slots=True)
class Side:
    """An operand and the cells of a tile: their offsets and, for vectors, their lanes."""

    operand: Operand
    base: Value
    offsets: Sequence[int | Value]
    masks: Sequence[Value | None]
    pitch: int = 0  # of a panel: elements between one k and the next


Step = Callable[[Block, Value, Value, list[Value]], list[Value]]


def outer(block: Block, rows: Side, columns: Side, axes: Sequence[KAxis], sums: list[Value],
          lanes: int) -> list[Value]:
    """sums[i * vectors + j] += rows[i] * columns[j] over all of k."""
    def step(inner: Block, at_rows: Value, at_columns: Value, old: list[Value],
             cells: Sequence[bool]) -> list[Value]:
        if len(sums) >= LARGE:
            _fetch(inner, rows, at_rows, sums[0].type)
            _fetch(inner, columns, at_columns, sums[0].type)
        right = [columns.operand.load(inner, loops.add(inner, at_columns, o), lanes, mask)
                 for o, mask in zip(columns.offsets, columns.masks)]
        new = []
        for i, offset in enumerate(rows.offsets):
            if cells and not cells[i]:
                new += old[i * len(right):(i + 1) * len(right)]
                continue
            one = rows.operand.load(inner, loops.add(inner, at_rows, offset), 1, None)
            left = inner.splat(one, lanes)
            for j, vector in enumerate(right):
                new.append(multiply_add(inner, left, vector, old[i * len(right) + j]))
        return new
    if axes[-1].cells:
        return _walk(block, [*axes[:-1], KAxis(1, 0, 0)], rows.base, columns.base, sums,
                     _written(axes[-1], step), len(sums))
    return _walk(block, axes, rows.base, columns.base, sums,
                 lambda inner, x, y, old: step(inner, x, y, old, ()), len(sums))


def _written(axis: KAxis, step: Callable[[Block, Value, Value, list[Value], Sequence[bool]],
                                         list[Value]]) -> Step:
    """All steps of an axis one after the other, each for its rows alone.

    Where a step begins is hidden from LLVM, or it would keep the scalars that neighbours share in
    registers that the sums need.
    """
    def steps(block: Block, at_rows: Value, at_columns: Value, sums: list[Value]) -> list[Value]:
        for k, cells in enumerate(axis.cells):
            if any(cells):
                start = loops.opaque(block, loops.add(block, at_rows, k * axis.rows))
                along = loops.add(block, at_columns, k * axis.columns)
                sums = step(block, start, along, sums, cells)
        return sums
    return steps


def _fetch(block: Block, side: Side, at: Value, type: Type) -> None:
    """Asks for a panel's lines some steps ahead: the hardware looks no further than a page."""
    if not side.pitch or not isinstance(side.operand, Memory):
        return
    symbol, one = "llvm.prefetch.p0", type.with_lanes(1)
    block.module.declare(symbol, f"declare void @{symbol}(ptr, i32, i32, i32)")
    for cell in range(0, side.pitch, LINE * 8 // one.bits):
        place = loops.add(block, at, AHEAD * side.pitch + cell)
        address = block.gep(side.operand.pointer, one, place)
        block.line(f"call void @{symbol}(ptr {address.text}, i32 0, i32 3, i32 1)")


def _walk(block: Block, axes: Sequence[KAxis], rows: Value, columns: Value, sums: list[Value],
          step: Step, weight: int) -> list[Value]:
    """Runs `step` over all indices of the axes, the innermost axis a few steps to a round.

    A big tile takes one step to a round: unrolled, the broadcasts that a convolution's neighbouring
    steps share would be kept in registers that the sums need.
    """
    if not axes:
        return step(block, rows, columns, sums)
    axis, rest = axes[0], axes[1:]

    def body(inner: Block, i: Value, old: list[Value]) -> list[Value]:
        at_rows = loops.add(inner, rows, loops.mul(inner, i, axis.rows))
        at_columns = loops.add(inner, columns, loops.mul(inner, i, axis.columns))
        return _walk(inner, rest, at_rows, at_columns, old, step, weight)

    if rest:
        return loops.fold(block, axis.start, axis.stop, 1, sums, body)
    return _unrolled(block, axis.stop, sums, body, max(1, LOOPED // weight))


def _unrolled(block: Block, stop: int | Value, sums: list[Value], body: loops.Folding,
              times: int) -> list[Value]:
    """fold over range(stop), `times` steps to a round, then the rest one by one."""
    if times == 1:
        return loops.fold(block, 0, stop, 1, sums, body)

    def several(inner: Block, i: Value, old: list[Value]) -> list[Value]:
        for t in range(times):
            old = body(inner, loops.add(inner, i, t), old)
        return old
    end = stop if isinstance(stop, Value) else loops.index(stop)
    whole = loops.sub(block, end, loops.modulo(block, end, times))
    sums = loops.fold(block, 0, whole, times, sums, several)
    return loops.fold(block, whole, end, 1, sums, body)


def inner(block: Block, rows: Side, columns: Side, axes: Sequence[KAxis], extent: int,
          type: Type) -> list[Value]:
    """Vectors whose lanes add up to the sums over k of rows[i] * columns[j], row by row.

    axes: the k axes but the last; `extent`: the last one, contiguous in both operands.
    """
    lanes = type.lanes
    zero = const(type, 0)
    whole = extent // lanes * lanes

    def at(mask: Value | None) -> Step:
        def step(deep: Block, at_rows: Value, at_columns: Value, old: list[Value]) -> list[Value]:
            right = [_masked(deep, columns, at_columns, o, type, mask) for o in columns.offsets]
            new = []
            for i, offset in enumerate(rows.offsets):
                left = _masked(deep, rows, at_rows, offset, type, mask)
                new += [multiply_add(deep, left, vector, old[i * len(right) + j])
                        for j, vector in enumerate(right)]
            return new
        return step

    def line(deep: Block, at_rows: Value, at_columns: Value, old: list[Value]) -> list[Value]:
        vectors = [KAxis(whole // lanes, lanes, lanes)] if whole else []
        if vectors:
            old = _walk(deep, vectors, at_rows, at_columns, old, at(None), len(old))
        if whole < extent:
            tail = loops.first_lanes(extent - whole, lanes)
            old = at(tail)(deep, loops.add(deep, at_rows, whole),
                           loops.add(deep, at_columns, whole), old)
        return old

    count = len(rows.offsets) * len(columns.offsets)
    return _walk(block, [*axes, KAxis(1, 0, 0)], rows.base, columns.base, [zero] * count, line,
                 count)


def _masked(block: Block, side: Side, at: Value, offset: int | Value, type: Type,
            mask: Value | None) -> Value:
    """A vector along k; lanes beyond the end are zero, whatever the loader gives there."""
    value = side.operand.load(block, loops.add(block, at, offset), type.lanes, mask)
    return value if mask is None else block.select(mask, value, const(type, 0))
