"""The plain contraction kernel: right for every shape, made for thin sums and odd strides.

One pass over C in memory order, vectors along the last n axis where B is contiguous (or constant)
along it, the sum innermost and the epilogue at once on the registers. A rank-1 update
`W -= lr * outer(d, x)` is this kernel: one pass over W, no gradient buffer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flambeau.compiler.codegen import loops
from flambeau.compiler.codegen.contraction import Axis, Contraction, Operand, Store
from flambeau.compiler.codegen.emit import Block, Value, const
from flambeau.compiler.size import unknown

GROUP = 4  # vectors in flight along n


@dataclass(frozen=True, slots=True)
class Simple:
    """The kernel's parts. rows: (batch, m, all n but the last) flattened, what chunks count."""

    contraction: Contraction
    lanes: int  # 1: no vectors
    masks: bool  # tails by masked vectors, else one by one

    @property
    def row_axes(self) -> tuple[Axis, ...]:
        c = self.contraction
        return (*c.batch, *c.m, *c.n[:-1])

    @property
    def last(self) -> Axis:
        return self.contraction.n[-1] if self.contraction.n else Axis(1, 0, 0)


def emit_row(block: Block, kernel: Simple, row: Value, a: Operand, b: Operand,
             store: Store) -> None:
    """All of C along the last n axis, for one `row`."""
    c = kernel.contraction
    at = loops.unravel(block, row, [x.extent for x in kernel.row_axes])
    a_base = loops.dot(block, at, [x.a or 0 for x in kernel.row_axes])
    b_base = loops.dot(block, at, [x.b or 0 for x in kernel.row_axes])
    batch, m = at[:len(c.batch)], at[len(c.batch):len(c.batch) + len(c.m)]
    outer = at[len(c.batch) + len(c.m):]

    def piece(inner: Block, i: Value, count: int, lanes: int, mask: Value | None) -> None:
        start = loops.add(inner, b_base, loops.mul(inner, i, kernel.last.b or 0))
        sums = _sums(inner, kernel, a, b, a_base, start, count, lanes, mask)
        for position, total in enumerate(sums):
            here = [loops.add(inner, i, position * lanes)] if c.n else []
            store(inner, batch, m, [*outer, *here], total, mask)

    _pieces(block, kernel, piece)


Piece = Callable[[Block, Value, int, int, "Value | None"], None]


def _pieces(block: Block, kernel: Simple, piece: Piece) -> None:
    """Cuts the last n axis: groups of vectors, single vectors, a tail."""
    extent, lanes = kernel.last.extent, kernel.lanes

    def several(at: int, stop: int, count: int, lanes: int) -> None:
        loops.loop(block, at, stop, count * lanes,
                   lambda inner, i: piece(inner, i, count, lanes, None))

    at = 0
    for count in (GROUP, 1) if lanes > 1 else (1,):
        stop = at + (extent - at) // (count * lanes) * count * lanes
        several(at, stop, count, lanes)
        at = stop
    if unknown(extent) and lanes > 1:
        mask = loops.lanes_on(block, extent - at, lanes)
        loops.branch(block, block.cmp("slt", loops.index(at), loops.index(extent)),
                     lambda inner: piece(inner, loops.index(at), 1, lanes, mask))
    elif at < extent and kernel.masks:
        piece(block, loops.index(at), 1, lanes, loops.first_lanes(extent - at, lanes))
    else:
        several(at, extent, 1, 1)


def _sums(block: Block, kernel: Simple, a: Operand, b: Operand, a_base: Value, b_base: Value,
          count: int, lanes: int, mask: Value | None) -> list[Value]:
    """`count` vectors of C, summed over every k axis in order."""
    zero = const(kernel.contraction.accumulator.with_lanes(lanes), 0)
    step = kernel.last.b or 0

    def nest(inner: Block, axes: tuple[Axis, ...], a_at: Value, b_at: Value,
             sums: list[Value]) -> list[Value]:
        if axes:
            head, rest = axes[0], axes[1:]

            def body(deep: Block, i: Value, carried: list[Value]) -> list[Value]:
                x = loops.add(deep, a_at, loops.mul(deep, i, head.a or 0))
                y = loops.add(deep, b_at, loops.mul(deep, i, head.b or 0))
                return nest(deep, rest, x, y, carried)
            return loops.fold(inner, 0, head.extent, 1, sums, body)
        left = inner.splat(a.load(inner, a_at, 1, None), lanes)
        out = []
        for position, total in enumerate(sums):
            offset = loops.add(inner, b_at, position * lanes * step)
            right = b.load(inner, offset, lanes, mask) if step else \
                inner.splat(b.load(inner, offset, 1, None), lanes)
            out.append(multiply_add(inner, left, right, total))
        return out

    return nest(block, kernel.contraction.k, a_base, b_base, [zero] * count)


def multiply_add(block: Block, a: Value, b: Value, c: Value) -> Value:
    """a*b + c, fused where the target can; integers wrap."""
    if a.type.is_float:
        return block.muladd(a, b, c)
    return block.add(block.mul(a, b), c)
