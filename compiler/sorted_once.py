"""A sort whose order is asked for as well does not sort again: the order gathers its values.

On a GPU, which has a kernel for orders alone, so do a sort without it, the largest elements and the
k-th element.
"""

from __future__ import annotations

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.compiler.node import Node
from flambeau.compiler.rewrite import rewrite


def sort_once(roots: list[Node]) -> list[Node]:
    """The roots with `sort` as a gather wherever they hold the `argsort` of the same values."""
    orders = {(n.src[0], n.arg[1]): n for n in nd.toposort(roots)
              if n.op == "extern" and n.arg[0] == "argsort"}

    def gathered(n: Node) -> Node | None:
        order = orders.get((n.src[0], n.arg[1])) if n.arg[0] == "sort" else None
        return along(n.src[0], order, n.arg[1][0]) if order is not None else None

    return rewrite(roots, {"extern": (gathered,)}) if orders else roots


def by_order(roots: list[Node]) -> list[Node]:
    """The roots with `sort`, `topk` and `kth` made from `argsort`."""
    return rewrite(roots, {"extern": (_from_order,)})


def along(x: Node, places: Node, axis: int) -> Node:
    """x's elements at places along an axis."""
    rest = tuple(places if a == axis else nd.node("iota", dt.int64, places.shape, (), a)
                 for a in range(len(x.shape)))
    return nd.node("gather", x.dtype, places.shape, (x, *rest))


def _from_order(n: Node) -> Node | None:
    name, options = n.arg
    if name not in ("sort", "topk", "kth"):
        return None
    x, axis = n.src[0], options[0]
    descending = {"sort": options[-1], "topk": options[-1], "kth": False}[name]
    order = nd.node("extern", dt.int64, x.shape, (x,), ("argsort", (axis, bool(descending))))
    if name == "sort":
        return along(x, order, axis)
    starts = tuple(options[1] if name == "kth" and a == axis else 0 for a in range(len(x.shape)))
    found = nd.slice_(order, starts, n.shape, (1,) * len(x.shape))
    return found if name == "topk" else _first_equal(x, along(x, found, axis), axis)


def _first_equal(x: Node, value: Node, axis: int) -> Node:
    """Where each line along an axis has its value first; NaN equals NaN."""
    wanted = nd.expand(value, x.shape)
    same = nd.elementwise("eq", x, wanted, dtype=dt.bool_)
    if x.dtype.is_float:
        lost = [nd.elementwise("ne", v, v, dtype=dt.bool_) for v in (x, wanted)]
        same = nd.elementwise("or", same, nd.elementwise("and", *lost))
    return nd.reduce_("argmax", same, (axis,))
