"""Long scans of few rows, for GPUs: fixed pieces, a scan of their totals, and what comes before.

The cut depends on shapes alone, so the bits are the same on every GPU. Running products of floats
stay whole: a piece may overflow where what comes before it is zero.
"""

from __future__ import annotations

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.compiler.codegen.accumulate import identity
from flambeau.compiler.node import Node
from flambeau.compiler.rewrite import rewrite

PIECE = 4096  # elements that a block scans
FEW = 256  # rows: as many blocks run at once anyhow
JOINS = {"cumsum": "add", "cumprod": "mul", "cummax": "maximum", "cummin": "minimum"}


def split_scans(roots: list[Node]) -> list[Node]:
    """The roots with every long scan of few rows in pieces."""
    return rewrite(roots, dict.fromkeys(JOINS, (_split,)))


def _split(n: Node) -> Node | None:
    axis, x = n.arg, n.src[0]
    length = n.shape[axis]
    rows = n.size // max(1, length)
    if length < 2 * PIECE or rows > FEW or n.dtype is dt.bool_ or n.dtype is not x.dtype or (
            n.op == "cumprod" and n.dtype.is_float):
        return None
    wide = nd.cast(x, n.dtype.compute)  # totals of 16-bit floats are not rounded
    return nd.cast(_pieces(n.op, wide, axis), n.dtype)


def _pieces(op: str, x: Node, axis: int) -> Node:
    count = -(-x.shape[axis] // PIECE)
    before, after = x.shape[:axis], x.shape[axis + 1:]
    nothing = identity(op, x.dtype)
    origin = (0,) * len(x.shape)
    full = nd.pad(x, origin, (*before, count * PIECE, *after), nothing)
    cut = (*before, count, PIECE, *after)
    inside = nd.node(op, x.dtype, cut, (nd.reshape(full, cut),), axis + 1)
    last = (*origin[:axis + 1], PIECE - 1, *origin[axis + 1:])
    ones = (1,) * len(cut)
    ends = nd.slice_(inside, last, (*before, count, 1, *after), ones)
    totals = nd.node(op, x.dtype, ends.shape, (ends,), axis)
    start = (0,) * len(cut)
    known = nd.slice_(totals, start, (*before, count - 1, 1, *after), ones)
    shifted = nd.pad(known, (*start[:axis], 1, *start[axis + 1:]), ends.shape, nothing)
    whole = nd.elementwise(JOINS[op], nd.expand(shifted, cut), inside)
    return nd.slice_(nd.reshape(whole, full.shape), origin, x.shape, (1,) * len(x.shape))
