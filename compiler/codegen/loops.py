"""Structured control flow and index arithmetic over the IR writer.

Owns: counted loops with carried values, two-way branches, i64 arithmetic that folds constants, and
masks. Indices are i64 `Value`s; those known while compiling are constants, and stay so through
`add`, `mul` and the rest, so that the text handed to LLVM is short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flambeau.compiler.codegen.emit import I64, Block, Type, Value, const, make_type
from flambeau.compiler.codegen.index import Quotient
from flambeau.compiler.size import unknown

Body = Callable[[Block, Value], None]
Folding = Callable[[Block, Value, list[Value]], list[Value]]

ZERO = const(I64, 0)


def index(n: int) -> Value:
    """The i64 constant n."""
    return const(I64, n)


def known(a: Value) -> int | None:
    """The value of an i64 constant, None for what only the run knows."""
    return None if a.text[0] in "%@" else int(a.text)


def add(block: Block, a: Value, b: Value | int) -> Value:
    b = b if isinstance(b, Value) else index(b)
    x, y = known(a), known(b)
    if x is not None and y is not None:
        return index(x + y)
    if x == 0:
        return b
    return a if y == 0 else block.op("add nsw", a, b)


def sub(block: Block, a: Value, b: Value | int) -> Value:
    b = b if isinstance(b, Value) else index(b)
    x, y = known(a), known(b)
    if x is not None and y is not None:
        return index(x - y)
    return a if y == 0 else block.op("sub nsw", a, b)


def mul(block: Block, a: Value, n: int) -> Value:
    x = known(a)
    if x is not None:
        return index(x * n)
    if unknown(n):  # asking what it is would make a law
        return block.op("mul nsw", a, index(n))
    if n == 0:
        return ZERO
    return a if n == 1 else block.op("mul nsw", a, index(n))


def divide(block: Block, a: Value, n: int) -> Value:
    """a // n for a >= 0, n >= 1."""
    x = known(a)
    if x is not None:
        return index(x // n)
    return a if not unknown(n) and n == 1 else block.op("udiv", a, index(n))


def modulo(block: Block, a: Value, n: int) -> Value:
    """a % n for a >= 0, n >= 1."""
    x = known(a)
    if x is not None:
        return index(x % n)
    return ZERO if not unknown(n) and n == 1 else block.op("urem", a, index(n))


def quotient(b: Block, v: Value, atom: Quotient) -> Value:
    """v div or mod a positive constant, rounding down; in 32 bits where the range allows."""
    low, high = atom.index.bounds()
    shift = 0
    if low < 0:
        shift = (-low + atom.divisor - 1) // atom.divisor
        v = b.op("add", v, const(v.type, shift * atom.divisor))
    narrow = v.type.bits == 64 and high + shift * atom.divisor < 1 << 31
    x = b.convert("trunc", v, "i32") if narrow else v
    x = b.op("urem" if atom.rest else "udiv", x, const(x.type, atom.divisor))
    x = b.convert("zext", x, "i64") if narrow else x
    if shift and not atom.rest:
        x = b.op("sub", x, const(x.type, shift))
    return x


def least(block: Block, a: Value, b: Value | int) -> Value:
    return _choose(block, "smin", min, a, b)


def most(block: Block, a: Value, b: Value | int) -> Value:
    return _choose(block, "smax", max, a, b)


def _choose(block: Block, word: str, fold: Callable[[int, int], int], a: Value,
            b: Value | int) -> Value:
    b = b if isinstance(b, Value) else index(b)
    x, y = known(a), known(b)
    if x is not None and y is not None:
        return index(fold(x, y))
    return block.intrinsic(f"llvm.{word}", I64, a, b)


def opaque(block: Block, a: Value) -> Value:
    """The same value, its origin hidden from LLVM.

    Loop analysis would express every address of an inner loop by the counters of all outer ones;
    that takes longer than all other passes together and gains nothing.
    """
    if known(a) is not None:
        return a
    return block.value(a.type, f'call {a.type} asm "", "=r,0"({a})')


def unravel(block: Block, a: Value, extents: Sequence[int]) -> list[Value]:
    """The indices of linear position `a` (C order); the first is not reduced by its extent."""
    out: list[Value] = []
    for position, extent in reversed(list(enumerate(extents))):
        out.append(modulo(block, a, extent) if position else a)
        a = divide(block, a, extent)
    return out[::-1]


def dot(block: Block, indices: Sequence[Value], strides: Sequence[int]) -> Value:
    """sum of index * stride."""
    total = ZERO
    for i, stride in zip(indices, strides, strict=True):
        total = add(block, total, mul(block, i, stride))
    return total


def ramp_mask(block: Block, count: Value, lanes: int) -> Value:
    """<lanes x i1>: lane i is on when i < count."""
    bound = block.splat(count, lanes)
    return block.cmp("ult", block.iota("i64", lanes), bound)


def lanes_on(block: Block, count: int, lanes: int) -> Value | None:
    """The mask of the first `count` lanes, which may be none or more than there are; None when it
    is known that all are on."""
    if unknown(count):
        return ramp_mask(block, most(block, index(count), 0), lanes)
    return first_lanes(count, lanes)


def first_lanes(count: int, lanes: int) -> Value | None:
    """The constant mask of the first `count` lanes; None when that is all of them."""
    if count >= lanes:
        return None
    bits = ", ".join(f"i1 {'true' if i < count else 'false'}" for i in range(lanes))
    return Value(make_type("i1", lanes), f"<{bits}>")


def loop(block: Block, start: Value | int, stop: Value | int, step: int, body: Body) -> None:
    """for i in range(start, stop, step): body(block, i)."""
    def plain(inner: Block, i: Value, _: list[Value]) -> list[Value]:
        body(inner, i)
        return []
    fold(block, start, stop, step, [], plain)


def fold(block: Block, start: Value | int, stop: Value | int, step: int, carried: list[Value],
         body: Folding) -> list[Value]:
    """A counted loop with carried values; gives what they are after the last round.

    One round known while compiling is emitted without a loop, none as nothing.
    """
    start = start if isinstance(start, Value) else index(start)
    stop = stop if isinstance(stop, Value) else index(stop)
    low, high = known(start), known(stop)
    fixed = low is not None and high is not None
    if low is not None and high is not None and low + step >= high:
        return body(block, start, carried) if low < high else carried
    pre, head, latch, done = (block.names.fresh("L") for _ in range(4))
    guard = block.names.fresh("L")
    block.branch(guard)
    block.label(guard)
    if fixed:
        block.branch(pre)
    else:
        block.branch_if(block.cmp("slt", start, stop), pre, done)
    block.label(pre)
    block.branch(head)
    block.label(head)
    phis = block.child()
    i = Value(I64, block.names.fresh())
    old = [Value(c.type, block.names.fresh()) for c in carried]
    new = body(block, i, old)
    block.branch(latch)
    block.label(latch)
    after = block.op("add nsw", i, index(step))
    block.branch_if(block.cmp("slt", after, stop), head, done)
    phis.line(f"{i.text} = phi i64 [ {start.text}, %{pre} ], [ {after.text}, %{latch} ]")
    for a, b, c in zip(old, carried, new, strict=True):
        phis.line(f"{a.text} = phi {a.type} [ {b.text}, %{pre} ], [ {c.text}, %{latch} ]")
    block.label(done)
    if fixed:
        return new
    return [block.value(b.type, f"phi {b.type} [ {b.text}, %{guard} ], [ {c.text}, %{latch} ]")
            for b, c in zip(carried, new, strict=True)]


def branch(block: Block, condition: Value, yes: Callable[[Block], None],
           no: Callable[[Block], None] | None = None) -> None:
    """if condition: yes(block) else: no(block)."""
    first, second, done = (block.names.fresh("L") for _ in range(3))
    block.branch_if(condition, first, second if no else done)
    block.label(first)
    yes(block)
    block.branch(done)
    if no:
        block.label(second)
        no(block)
        block.branch(done)
    block.label(done)


class Loop:
    """A counted loop begin, begin+step ... < end, entered only if it has work."""

    def __init__(self, b: Block, begin: Value, end: Value, step: int | Value,
                 carried: list[tuple[Type, Value]], sure: bool) -> None:
        self.outside, self.end, self.step = b, end, step
        self.names = [b.names.fresh(p) for p in ("pre", "loop", "latch", "done")]
        pre, head, _, done = self.names
        self.guard = None
        if not sure:
            self.guard = b.names.fresh("guard")
            b.branch(self.guard)
            b.label(self.guard)
            b.branch_if(b.cmp("slt", begin, end), pre, done)
        else:
            b.branch(pre)
        b.label(pre)
        b.branch(head)
        b.label(head)
        self.phis = b.child()
        self.var = Value(begin.type, b.names.fresh("%i"))
        self.carried = [Value(t, b.names.fresh("%acc")) for t, _ in carried]
        self.initial = [v for _, v in carried]
        self.begin = begin
        self.body = b.child()

    def finish(self, following: list[Value]) -> list[Value]:
        """Closes the loop; returns the carried values after it."""
        b, (pre, head, latch, done) = self.outside, self.names
        b.branch(latch)
        b.label(latch)
        step = const(self.begin.type, self.step) if isinstance(self.step, int) else self.step
        after = b.op("add nsw", self.var, step)
        b.branch_if(b.cmp("slt", after, self.end), head, done)
        pairs = [(self.var, self.begin, after), *zip(self.carried, self.initial, following)]
        for v, start, then in pairs:
            self.phis.line(f"{v.text} = phi {v.type} [ {start.text}, %{pre} ], "
                           f"[ {then.text}, %{latch} ]")
        b.label(done)
        if self.guard is None:
            return following
        out = []
        for start, then in zip(self.initial, following):
            name = b.names.fresh()
            b.line(f"{name} = phi {then.type} [ {start.text}, %{self.guard} ], "
                   f"[ {then.text}, %{latch} ]")
            out.append(Value(then.type, name))
        return out
