"""Simplification: the algebra of elementwise ops, and the two passes, `simplify` and `stabilise`.

Laws of every rule here and in simplify_shapes: it keeps dtype and shape, points one way, does not
enlarge the graph (a few trade nodes for fewer elements, and say so), and is IEEE-safe: no x*0 -> 0,
x-x -> 0 or x/x -> 1 for floats. Liberties taken: the sign of zero (x + 0 -> x), powers by repeated
multiplication, and x ** 0.5 as sqrt, which is NaN at -inf, as in PyTorch.

Constants stand second in commutative ops; negation moves outwards; broadcasts, reshapes and
permutations move towards the root, so that work is done before elements are repeated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.algebra import add, compare, div, like, mul, neg, square, sub, unary
from flambeau.compiler.dtype import DType
from flambeau.compiler.fold import Number, constant, fold
from flambeau.compiler.node import Node, elementwise
from flambeau.compiler.ops import ELEMENTWISE, OPS
from flambeau.compiler.rewrite import Rule, rewrite
from flambeau.compiler.simplify_shapes import SHAPES, broadcast_last, view_last
from flambeau.compiler.stabilise import STABLE

MAX_SQUARINGS = 64


def simplify(roots: Iterable[Node], unmark: bool = False) -> list[Node]:
    """The roots in simplest form, stabilised too.

    unmark drops `mark` nodes: for graphs that will not be differentiated any more. Who holds on to
    inner nodes (to differentiate by them) passes them as roots and takes the results instead.
    """
    return rewrite(roots, _UNMARKED if unmark else _ALL)


def stabilise(roots: Iterable[Node]) -> list[Node]:
    """The roots with unstable spellings replaced, and nothing else."""
    return rewrite(roots, STABLE)


# -- sums and products ---------------------------------------------------------------------------


def constant_second(n: Node) -> Node | None:
    a, b = n.src
    if constant(a) is not None and constant(b) is None:
        return elementwise(n.op, b, a, dtype=n.dtype)
    return None


def add_rules(n: Node) -> Node | None:
    """x + 0, x + (-y), (-x) + y."""
    a, b = n.src
    if constant(b) == 0:
        return a
    if n.dtype.kind == "b":
        return None
    if b.op == "neg":
        return sub(a, b.src[0])
    return sub(b, a.src[0]) if a.op == "neg" else None


def sub_rules(n: Node) -> Node | None:
    """x - 0, 0 - x, x - c, x - (-y), and x - x for integers."""
    a, b = n.src
    known = constant(b)
    if known == 0:
        return a
    if known is not None and n.dtype.kind != "b":
        return add(a, like(b, -known))
    if constant(a) == 0:
        return neg(b)
    if b.op == "neg":
        return add(a, b.src[0])
    return like(n, 0) if a is b and not n.dtype.is_float else None


def mul_rules(n: Node) -> Node | None:
    """x * 1, x * -1, (-x) * c, (-x) * (-y), |x| * |x|, and x * 0 for integers."""
    a, b = n.src
    known = constant(b)
    if known == 1:
        return a
    if n.dtype.kind == "b":
        return None
    if known is not None and n.dtype.kind != "u":
        if known == -1:
            return neg(a)
        if a.op == "neg":
            return mul(a.src[0], like(b, -known))
    if known == 0 and not n.dtype.is_float:
        return like(n, 0)
    if a.op == b.op and a.op in ("neg", "abs") and (a.op == "neg" or a is b):
        return mul(a.src[0], b.src[0])
    return None


def negative_factor_out(n: Node) -> Node | None:
    """(-x) * y -> -(x * y), the same for / ; a negation further out may meet another."""
    a, b = n.src
    if a.op == "neg":
        return neg(elementwise(n.op, a.src[0], b))
    return neg(elementwise(n.op, a, b.src[0])) if b.op == "neg" else None


def div_rules(n: Node) -> Node | None:
    """x / 1, x / -1, (-x) / (-y), and x / 2**k as a product."""
    a, b = n.src
    known = constant(b)
    if known is None:
        both = a.op == b.op == "neg"
        return div(a.src[0], b.src[0]) if both else None
    if known == 1:
        return a
    if known == -1:
        return neg(a)
    if known != 0 and math.isfinite(known):
        exact = abs(math.frexp(known)[0]) == 0.5 and abs(math.frexp(known)[1]) < 14
        return mul(a, like(b, 1 / known)) if exact else None
    return None


def neg_rules(n: Node) -> Node | None:
    """-(-x), -(x - y), -(x * c), -(x / c)."""
    x = n.src[0]
    if x.op == "neg":
        return x.src[0]
    if x.op == "sub":
        return sub(x.src[1], x.src[0])
    if x.op in ("mul", "div") and n.dtype.kind != "u":
        known = constant(x.src[1])
        if known is not None:
            return elementwise(x.op, x.src[0], like(x, -known))
    return None


def integer_division(n: Node) -> Node | None:
    """x // 1 -> x and x % 1 -> 0 for integers."""
    if not n.dtype.is_integer or constant(n.src[1]) != 1:
        return None
    return n.src[0] if n.op == "floordiv" else like(n, 0)


# -- powers --------------------------------------------------------------------------------------


def power(n: Node) -> Node | None:
    """A constant exponent: 0, 1, 1/2, and integers by repeated squaring; 2 ** x as exp2."""
    base, exponent = n.src
    known = constant(exponent)
    if known is None:
        if n.dtype.is_float and constant(base) == 2:
            return unary("exp2", exponent)
        return None
    if known == 0:
        return like(n, 1)
    if n.dtype.is_float and abs(known) == 0.5:
        root = unary("sqrt", base)
        return root if known > 0 else div(1, root)
    if known != int(known if math.isfinite(known) else 0.5) or abs(known) > MAX_SQUARINGS:
        return None
    if known < 0 and not n.dtype.is_float:
        return None
    product = _repeat(base, abs(int(known)))
    return product if known > 0 else div(1, product)


def _repeat(base: Node, times: int) -> Node:
    result = None
    while times:
        if times & 1:
            result = base if result is None else mul(result, base)
        times >>= 1
        base = square(base) if times else base
    assert result is not None
    return result


# -- idempotence, order, selection -----------------------------------------------------------------

_ROUNDING = frozenset(("floor", "ceil", "round", "trunc"))


def unary_twice(n: Node) -> Node | None:
    """abs(abs x), abs(-x), rounding what is rounded, not(not x)."""
    x = n.src[0]
    if n.op == "abs":
        if x.op == "abs" or n.dtype.kind in "ub":
            return x
        return unary("abs", x.src[0]) if x.op == "neg" else None
    if n.op in _ROUNDING:
        return x if x.op in _ROUNDING else None
    return x.src[0] if x.op == "not" else None


_NEGATED = {"eq": "ne", "ne": "eq", "lt": "le", "le": "lt"}


def not_of_comparison(n: Node) -> Node | None:
    """not(a == b) -> a != b; orders only of integers, since NaN has none."""
    x = n.src[0]
    if x.op not in _NEGATED or n.dtype.kind != "b":
        return None
    a, b = x.src
    if x.op in ("eq", "ne"):
        return compare(_NEGATED[x.op], a, b)
    return None if a.dtype.is_float else compare(_NEGATED[x.op], b, a)


def self_comparison(n: Node) -> Node | None:
    """x == x, x < x and so on: not for floats, but x < x is always false."""
    a, b = n.src
    if a is not b or (a.dtype.is_float and n.op != "lt"):
        return None
    return like(n, n.op in ("eq", "le"))


def same_twice(n: Node) -> Node | None:
    """x & x, x | x, max(x, x), min(x, x) -> x; x ^ x -> 0."""
    a, b = n.src
    if a is not b:
        return None
    return like(n, 0) if n.op == "xor" else a


def bound(n: Node) -> Node | None:
    """max(x, lowest) -> x, and max(max(x, c), d) -> max(x, max(c, d)); min alike."""
    a, b = n.src
    known = constant(b)
    if known is None or n.dtype.kind == "b":
        return None
    if known == _extreme(n.dtype, lowest=n.op == "maximum"):
        return a
    if a.op == n.op:
        inner = constant(a.src[1])
        if inner is not None and inner == inner and known == known:
            chosen = max(inner, known) if n.op == "maximum" else min(inner, known)
            return elementwise(n.op, a.src[0], like(b, chosen))
    return None


def _extreme(dtype: DType, lowest: bool) -> Number:
    if dtype.is_float:
        return -math.inf if lowest else math.inf
    bits = dtype.itemsize * 8
    if dtype.kind == "u":
        return 0 if lowest else (1 << bits) - 1
    return -(1 << bits - 1) if lowest else (1 << bits - 1) - 1


def bitwise(n: Node) -> Node | None:
    """x & ones, x & 0, x | 0, x | ones, x ^ 0."""
    known = constant(n.src[1])
    if known is None:
        return None
    ones = True if n.dtype.kind == "b" else -1 if n.dtype.kind == "i" else _extreme(n.dtype, False)
    x = n.src[0]
    if known == 0:
        return like(n, 0) if n.op == "and" else x
    if known == ones and n.op != "xor":
        return x if n.op == "and" else like(n, ones)
    return None


def shift_by_zero(n: Node) -> Node | None:
    return n.src[0] if constant(n.src[1]) == 0 else None


def where_rules(n: Node) -> Node | None:
    """A constant or negated condition, equal branches, True/False branches, nested wheres."""
    condition, a, b = n.src
    known = constant(condition)
    if known is not None:
        return a if known else b
    if a is b:
        return a
    if condition.op == "not":
        return elementwise("where", condition.src[0], b, a)
    if n.dtype.kind == "b" and constant(a) is not None and constant(b) is not None:
        return condition if constant(a) else unary("not", condition)
    if a.op == "where" and a.src[0] is condition:
        return elementwise("where", condition, a.src[1], b)
    if b.op == "where" and b.src[0] is condition:
        return elementwise("where", condition, a, b.src[2])
    return None


# -- casts ---------------------------------------------------------------------------------------

_DIGITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
_EXPONENTS = {"float16": 5, "bfloat16": 8, "float32": 8, "float64": 11}


def holds(wide: DType, narrow: DType) -> bool:
    """Has wide every value of narrow?"""
    if wide is narrow or narrow.kind == "b":
        return True
    if wide.kind == "b" or (narrow.is_float and not wide.is_float):
        return False
    if narrow.is_float:
        return (_DIGITS[wide.name] >= _DIGITS[narrow.name]
                and _EXPONENTS[wide.name] >= _EXPONENTS[narrow.name])
    bits = narrow.itemsize * 8 - (narrow.kind == "i")
    if wide.is_float:
        return bits <= _DIGITS[wide.name]
    room = wide.itemsize * 8 - (wide.kind == "i")
    return room >= bits and (wide.kind == "i" or narrow.kind == "u")


def cast_rules(n: Node) -> Node | None:
    """cast(cast x) when the middle type loses nothing; cast(iota) as an iota of that type."""
    x = n.src[0]
    if x.dtype is n.dtype:
        return x
    if x.op == "cast" and holds(x.dtype, x.src[0].dtype):
        return N.cast(x.src[0], n.dtype)
    if x.op == "iota" and n.dtype.kind != "b":
        return N.node("iota", n.dtype, n.shape, (), x.arg)
    return None


def bitcast_rules(n: Node) -> Node | None:
    """bitcast(bitcast x) -> one, or none."""
    x = n.src[0]
    if x.dtype is n.dtype:
        return x
    return elementwise("bitcast", x.src[0], dtype=n.dtype) if x.op == "bitcast" else None


# -- sums of short integers ----------------------------------------------------------------------


def narrow_sum(n: Node) -> Node | None:
    """A sum of short integers as 64-bit ones, in 32 bits where it fits: twice the lanes."""
    x, views = n.src[0], []
    while x.op in ("reshape", "permute", "slice"):
        views.append(x)
        x = x.src[0]
    if x.op != "cast" or n.dtype not in (dt.int64, dt.uint64):
        return None
    short = x.src[0].dtype
    bits = 1 if short is dt.bool_ else short.itemsize * 8
    if short.kind not in "biu" or bits > 16 or n.src[0].size > n.size * (1 << (31 - bits)):
        return None
    x = N.cast(x.src[0], dt.int32)
    for view in reversed(views):
        x = N.node(view.op, dt.int32, view.shape, (x,), view.arg)
    return N.cast(N.reduce_("sum", x, n.arg), n.dtype)


# -- the table -----------------------------------------------------------------------------------

ALGEBRA: dict[str, tuple[Rule, ...]] = {
    "add": (add_rules,), "sub": (sub_rules,), "mul": (mul_rules, negative_factor_out),
    "div": (div_rules, negative_factor_out), "neg": (neg_rules,),
    "floordiv": (integer_division,), "mod": (integer_division,), "pow": (power,),
    "abs": (unary_twice,), "floor": (unary_twice,), "ceil": (unary_twice,),
    "round": (unary_twice,), "trunc": (unary_twice,), "not": (unary_twice, not_of_comparison),
    "eq": (self_comparison,), "ne": (self_comparison,), "lt": (self_comparison,),
    "le": (self_comparison,), "and": (same_twice, bitwise), "or": (same_twice, bitwise),
    "xor": (same_twice, bitwise), "shl": (shift_by_zero,), "shr": (shift_by_zero,),
    "maximum": (same_twice, bound), "minimum": (same_twice, bound), "where": (where_rules,),
    "cast": (cast_rules,), "bitcast": (bitcast_rules,),
}


def _elementwise_rules(op: str) -> tuple[Rule, ...]:
    first = (fold, constant_second) if OPS[op].commutative else (fold,)
    return (*first, *STABLE.get(op, ()), *ALGEBRA.get(op, ()), broadcast_last, view_last)


_ALL: dict[str, tuple[Rule, ...]] = {op: _elementwise_rules(op) for op in ELEMENTWISE}
for _op, _rules in SHAPES.items():
    _ALL[_op] = _ALL.get(_op, ()) + _rules
_ALL["sum"] += (narrow_sum,)
_UNMARKED = {**_ALL, "mark": (lambda n: n.src[0],)}
