"""Node arithmetic: short names for the nodes that derivatives and rewrites are written in.

No checks and no cleverness but one: a product with a masked factor keeps its mask outside, so that
NaN and infinities computed for masked elements do not leak (0 * inf is NaN, a select is not).
"""

from __future__ import annotations

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.node import Node


def like(x: Node, value: complex) -> Node:
    """A constant of x's dtype and shape."""
    return N.const(x.dtype, value, x.shape)


def unary(op: str, x: Node) -> Node:
    return N.elementwise(op, x)


def neg(x: Node) -> Node:
    return N.elementwise("neg", x)


def add(a: Node, b: Node | complex) -> Node:
    return N.elementwise("add", a, _node(b, a))


def sub(a: Node | float, b: Node) -> Node:
    return N.elementwise("sub", _node(a, b), b)


def mul(a: Node, b: Node | complex) -> Node:
    return N.elementwise("mul", a, _node(b, a))


def div(a: Node | float, b: Node) -> Node:
    return N.elementwise("div", _node(a, b), b)


def square(x: Node) -> Node:
    return N.elementwise("mul", x, x)


def conj(x: Node) -> Node:
    """The complex conjugate; a real node is its own."""
    if not x.dtype.is_complex:
        return x
    return x.src[0] if x.op == "conj" else N.elementwise("conj", x)


def complex_(re: Node, im: Node) -> Node:
    return N.elementwise("complex", re, im)


def where(condition: Node, a: Node, b: Node) -> Node:
    return N.elementwise("where", condition, a, b)


def compare(op: str, a: Node, b: Node | float) -> Node:
    return N.elementwise(op, a, _node(b, a))


def _node(value: Node | complex, other: Node) -> Node:
    return value if isinstance(value, Node) else like(other, value)


def times(g: Node, factor: Node | float) -> Node:
    """g * factor, with g's mask kept outside."""
    return _masked("mul", g, _node(factor, g))


def over(g: Node, divisor: Node) -> Node:
    """g / divisor, with g's mask kept outside."""
    return _masked("div", g, divisor)


def _masked(op: str, g: Node, other: Node) -> Node:
    if g.op == "where":
        condition, yes, no = g.src
        if N.is_const(no, 0):
            return where(condition, _masked(op, yes, other), no)
        if N.is_const(yes, 0):
            return where(condition, yes, _masked(op, no, other))
    elif g.op == "neg" and g.src[0].op == "where":
        return neg(_masked(op, g.src[0], other))
    return N.elementwise(op, g, other)


def iota(shape: tuple[int, ...], axis: int) -> Node:
    """int64 positions along one axis."""
    return N.node("iota", dt.int64, shape, (), axis)


def flip(x: Node, axes: tuple[int, ...]) -> Node:
    """x with some axes reversed."""
    starts = tuple(e - 1 if i in axes else 0 for i, e in enumerate(x.shape))
    steps = tuple(-1 if i in axes else 1 for i in range(len(x.shape)))
    return N.slice_(x, starts, x.shape, steps) if 0 not in x.shape else x


def expand_like(x: Node, other: Node) -> Node:
    return N.expand(x, other.shape)
