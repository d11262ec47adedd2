"""Thin products for a GPU: with a vector they are row reductions, outer ones elementwise.

A tiled kernel would leave most of its threads idle on these; as loop nests they share rows among
threads, fuse with what is around them, and a rank-1 update is one pass over the weight.
"""

from __future__ import annotations

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.compiler.node import Node


def thin_products(roots: list[Node]) -> list[Node]:
    """Writes dots with m, n or k = 1 as multiplications and sums."""
    done: dict[Node, Node] = {}
    for n in nd.toposort(roots):
        m = nd.rebuild(n, tuple(done[s] for s in n.src))
        done[n] = _thin(m) if m.op == "dot" else m
    return [done[r] for r in roots]


def _thin(n: Node) -> Node:
    a, b = n.src
    _, m, k = a.shape
    width = b.shape[2]
    if min(m, k, width) != 1:
        return n
    wide = dt.float32 if n.dtype.compute is dt.float32 else n.dtype  # sums of 16-bit floats
    a, b = nd.cast(a, wide), nd.cast(b, wide)
    if k == 1:
        product = nd.elementwise("mul", nd.expand(a, n.shape), nd.expand(b, n.shape))
    elif m == 1:
        column = nd.permute(a, (0, 2, 1))  # (batch, k, 1)
        product = nd.elementwise("mul", nd.expand(column, b.shape), b)
        product = nd.reduce_("sum", product, (1,))
    else:
        row = nd.permute(b, (0, 2, 1))  # (batch, 1, k)
        product = nd.elementwise("mul", a, nd.expand(row, a.shape))
        product = nd.reduce_("sum", product, (2,))
    return nd.cast(product, n.dtype)
