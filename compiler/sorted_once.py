"""A sort whose order is asked for as well does not sort again: the order gathers its values."""

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
        if order is None:
            return None
        axis = n.arg[1][0]
        places = tuple(order if a == axis else nd.node("iota", dt.int64, n.shape, (), a)
                       for a in range(len(n.shape)))
        return nd.node("gather", n.dtype, n.shape, (n.src[0], *places))

    return rewrite(roots, {"extern": (gathered,)}) if orders else roots
