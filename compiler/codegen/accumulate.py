"""Accumulators: the running state of a reduction, and how two states become one."""

from __future__ import annotations

import math

from flambeau.compiler import dtype as dt
from flambeau.compiler.codegen import scalar
from flambeau.compiler.codegen.emit import Block, Value, const
from flambeau.compiler.codegen.lower import Indices, Lowering, Val
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, is_product

_JOIN = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "cumsum": "add",
         "cumprod": "mul", "cummax": "maximum", "cummin": "minimum"}


def identity(op: str, dtype: DType) -> float | int | bool:
    """What leaves every element as it is: of float sums -0.0, since 0.0 + -0.0 is 0.0."""
    if op in ("sum", "cumsum"):
        return -0.0 if dtype.is_float else 0
    if op in ("prod", "cumprod"):
        return 1
    low = op in ("max", "cummax", "argmax")
    if dtype.is_float:
        return -math.inf if low else math.inf
    if dtype is dt.bool_:
        return not low
    bits = dtype.itemsize * 8
    if dtype.kind == "u":
        return 0 if low else (1 << bits) - 1
    return -(1 << (bits - 1)) if low else (1 << (bits - 1)) - 1


def _placed(low: Lowering, n: Node) -> bool:
    """Is n's value in memory, or known, rather than computed here?"""
    return (n.op == "param" or (n in low.stored and n not in low.inline) or n in low.written
            or n in low.known)


class Accumulator:
    """The running state of one reduction: a value, and for arg-reductions its position."""

    def __init__(self, n: Node, low: Lowering, folds: bool) -> None:
        self.node, self.low, self.folds = n, low, folds  # folds: lanes are parts of one result
        self.dtype = n.src[0].dtype
        self.indexed = n.op in ("argmax", "argmin")
        self.lanes = low.lanes if low.vec is not None else 1
        kind = scalar.register(self.dtype, self.lanes)
        self.types = [kind, kind.of(self._counter())] if self.indexed else [kind]

    def _counter(self) -> str:
        """The type of positions: as narrow as they allow, for more lanes in a register."""
        extent = self.node.src[0].shape[self.node.arg[0]]
        return "i32" if extent < 1 << 31 else self.low.word.scalar

    def start(self) -> list[Value]:
        """Nothing seen yet. Where all elements are as low as this, the first is the answer."""
        first = const(self.types[0], identity(self.node.op, self.dtype))
        return [first, const(self.types[1], 0)] if self.indexed else [first]

    def join(self, b: Block, x: Value, y: Value) -> Value:
        return scalar.EMIT[_JOIN[self.node.op]](b, self.node.src[0], x, y)

    def operands(self, space: Indices) -> list[Val]:
        """The element that comes next: its value, or the two factors of a product that is summed
        without being rounded."""
        n, low = self.node.src[0], self.low
        indices = space
        while n.op in ("reshape", "permute", "expand", "slice") and not _placed(low, n):
            n, indices = n.src[0], low.moved(n, indices)
        if self.node.op == "sum" and is_product(n) and not _placed(low, n):
            return [low.value(s, indices) for s in n.src]
        return [low.value(self.node.src[0], space)]

    def update(self, b: Block, state: list[Value], operands: list[Val], at: Value | None
               ) -> list[Value]:
        """The state after one more element."""
        wide = [self.low.wide(v) if self.lanes > 1 else v.v for v in operands]
        operand = wide[0]
        on = self.low.mask.v if self.low.mask is not None else None
        if not self.indexed:
            joined = self.join(b, state[0], operand) if len(wide) == 1 else \
                b.muladd(wide[0], wide[1], state[0])
            return [joined if on is None else b.select(on, joined, state[0])]
        better = self._better(b, operand, state[0])
        if on is not None:
            better = b.and_(better, on)
        assert at is not None
        if at.type.bits > self.types[1].bits:
            at = b.convert("trunc", at, self.types[1].scalar)
        return [b.select(better, operand, state[0]), b.select(better, at, state[1])]

    def _better(self, b: Block, x: Value, best: Value) -> Value:
        more = self.node.op == "argmax"
        if x.type.is_float:
            beyond = b.cmp("ugt" if more else "ult", x, best)  # or one of them is NaN
            return b.and_(beyond, b.cmp("ord", best, best))
        sign = "s" if self.dtype.kind == "i" else "u"
        return b.cmp(sign + ("gt" if more else "lt"), x, best)

    def result(self, b: Block, state: list[Value]) -> Value:
        """The node's value from the state after the last element."""
        return self.finish(b, self.fold(b, state))

    def finish(self, b: Block, state: list[Value]) -> Value:
        """The node's value from one state, its lanes joined."""
        if not self.indexed:
            return scalar.round_to(b, self.dtype, state[0])
        at = state[1]
        return at if at.type.bits == 64 else b.convert("sext", at, "i64")

    def fold(self, b: Block, state: list[Value]) -> list[Value]:
        """Joins the lanes when the vector variable is a reduced one: halves, in a fixed order."""
        lanes = self.lanes if self.folds else 1
        while lanes > 1:
            lanes //= 2
            halves = [[b.shuffle(s, s, list(range(i * lanes, (i + 1) * lanes))) if lanes > 1
                       else b.extract(s, i) for s in state] for i in (0, 1)]
            state = self.meet(b, *halves)
        return state

    def meet(self, b: Block, x: list[Value], y: list[Value]) -> list[Value]:
        """One state from those of two parts of the elements; which is x does not matter."""
        if not self.indexed:
            return [self.join(b, x[0], y[0])]
        better = self._better(b, y[0], x[0])
        worse = self._better(b, x[0], y[0])
        tie = b.and_(b.not_(b.or_(better, worse)), b.cmp("slt", y[1], x[1]))
        take = b.or_(better, tie)
        return [b.select(take, y[0], x[0]), b.select(take, y[1], x[1])]

