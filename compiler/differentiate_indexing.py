"""Derivatives of gather and scatter: each is the other; what was overwritten, tied or multiplied
takes its share.
"""

from __future__ import annotations

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.algebra import compare, expand_like, iota, like, mul, over, sub, where
from flambeau.compiler.node import Node

Cotangents = tuple[Node | None, ...]


def gather_node(x: Node, indices: tuple[Node, ...]) -> Node:
    """x at indices along its leading axes."""
    shape = indices[0].shape + x.shape[len(indices):]
    return N.node("gather", x.dtype, shape, (x, *indices))


def scatter_node(base: Node, value: Node, indices: tuple[Node, ...], mode: str) -> Node:
    """base with value combined at indices."""
    return N.node("scatter", base.dtype, base.shape, (base, value, *indices), mode)


def gather(n: Node, g: Node) -> Cotangents:
    """The rule of gather."""
    x, *indices = n.src
    spread = scatter_node(like(x, 0), g, tuple(indices), "add")
    return (spread, *(None for _ in indices))


def scatter(n: Node, g: Node) -> Cotangents:
    """The rule of scatter."""
    base, value, *rest = n.src
    indices, none = tuple(rest), (None,) * len(rest)
    if n.arg == "add":
        return (g, gather_node(g, indices), *none)
    if n.arg == "set":
        kept = scatter_node(g, like(value, 0), indices, "set")
        return (kept, _last_writers(base, gather_node(g, indices), indices), *none)
    if n.arg == "mul":
        return _scatter_product(n, g)
    # max and min: all that equal the result share alike
    chosen = compare("eq", value, gather_node(n, indices))
    held = compare("eq", base, n)
    count = scatter_node(N.cast(held, n.dtype), N.cast(chosen, n.dtype), indices, "add")
    share = over(g, count)
    of_value = where(chosen, gather_node(share, indices), like(value, 0))
    return (where(held, share, like(g, 0)), of_value, *none)


def _scatter_product(n: Node, g: Node) -> Cotangents:
    """g times the product of a place's other factors: by division, but for zeros, which are left
    out of the product and counted."""
    base, value, *rest = n.src
    indices, none = tuple(rest), (None,) * len(rest)
    zeros = [compare("eq", v, like(v, 0)) for v in (base, value)]
    plain = [where(z, like(v, 1), v) for z, v in zip(zeros, (base, value))]
    product = mul(g, scatter_node(plain[0], plain[1], indices, "mul"))
    count = scatter_node(N.cast(zeros[0], dt.int64), N.cast(zeros[1], dt.int64), indices, "add")
    found = []
    for zero, factor, of_value in zip(zeros, plain, (False, True)):
        whole = gather_node(product, indices) if of_value else product
        left = gather_node(count, indices) if of_value else count
        left = sub(left, N.cast(zero, dt.int64))
        alone = compare("eq", left, like(left, 0))
        found.append(where(alone, over(whole, factor), like(whole, 0)))
    return (*found, *none)


def _last_writers(base: Node, g: Node, indices: tuple[Node, ...]) -> Node:
    """g, but zero for values that a later one overwrote."""
    places = indices[0].shape
    number = N.reshape(iota((indices[0].size,), 0), places)
    nobody = N.const(dt.int64, 0, base.shape[: len(indices)])
    last = gather_node(scatter_node(nobody, number, indices, "set"), indices)
    won = N.reshape(compare("eq", last, number), places + (1,) * (len(g.shape) - len(places)))
    return where(expand_like(won, g), g, like(g, 0))
