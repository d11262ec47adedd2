"""A sort whose order is asked for as well does not sort again: the order gathers its values.

On a GPU, which has a kernel for orders alone, so does every routine that an order can serve:
FROM_ORDER has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    """The roots with the routines of FROM_ORDER made from `argsort`."""
    return rewrite(roots, {"extern": (_from_order,)})


def along(x: Node, places: Node, axis: int) -> Node:
    """x's elements at places along an axis."""
    rest = tuple(places if a == axis else nd.node("iota", dt.int64, places.shape, (), a)
                 for a in range(len(x.shape)))
    return nd.node("gather", x.dtype, places.shape, (x, *rest))


def _order(x: Node, axis: int, descending: bool = False) -> Node:
    return nd.node("extern", dt.int64, x.shape, (x,), ("argsort", (axis, descending)))


def _from_order(n: Node) -> Node | None:
    name, options = n.arg
    return FROM_ORDER[name](n, n.src[0], options) if name in FROM_ORDER else None


def _sort(n: Node, x: Node, options: tuple[int, bool]) -> Node:
    return along(x, _order(x, *options), options[0])


def _partition(n: Node, x: Node, options: tuple[int, int]) -> Node:
    return along(x, _order(x, options[0]), options[0])


def _argpartition(n: Node, x: Node, options: tuple[int, int]) -> Node:
    return _order(x, options[0])


def _placed(n: Node, x: Node, options: tuple[tuple[int, ...], bool]) -> Node:
    axis = len(x.shape) - 1
    return along(x, _order(x, axis), axis)


def _topk(n: Node, x: Node, options: tuple[int, int, bool]) -> Node:
    axis, _, largest = options
    return nd.slice_(_order(x, axis, largest), (0,) * len(x.shape), n.shape, (1,) * len(x.shape))


def _kth(n: Node, x: Node, options: tuple[int, int]) -> Node:
    axis, k = options
    return _first_equal(x, along(x, _number(n.shape, k, _order(x, axis), axis), axis), axis)


def _median(n: Node, x: Node, options: tuple[int, bool]) -> Node:
    """The middle one of those that are not NaN; where NaN wins, what comes behind them."""
    (axis, skip), e = options, nd.elementwise
    if not x.dtype.is_float:
        return _kth(n, x, (axis, (x.shape[axis] - 1) // 2))
    there = nd.cast(e("eq", x, x, dtype=dt.bool_), dt.int64)
    known = nd.reduce_("sum", there, (axis,))
    one, extent = (nd.const(dt.int64, v, n.shape) for v in (1, x.shape[axis]))
    last = e("maximum", e("sub", known, one), nd.const(dt.int64, 0, n.shape))
    place = e("shr", last, one)
    if not skip:
        place = e("where", e("eq", known, extent, dtype=dt.bool_), place, known)
    return _first_equal(x, along(x, along(_order(x, axis), place, axis), axis), axis)


def _mode(n: Node, x: Node, axis: int) -> Node:
    """The end of the longest run of equals in order, the first of such runs."""
    e, order = nd.elementwise, _order(x, axis)
    values = along(x, order, axis)
    at = nd.node("iota", dt.int64, x.shape, (), axis)
    nothing = nd.const(dt.int64, 0, x.shape)
    before = e("maximum", e("sub", at, nd.const(dt.int64, 1, x.shape)), nothing)
    begins = e("ne", values, along(values, before, axis), dtype=dt.bool_)
    starts = nd.node("cummax", dt.int64, x.shape, (e("where", begins, at, nothing),), axis)
    longest = nd.reduce_("argmax", e("sub", at, starts), (axis,))
    return along(order, longest, axis)


def _number(shape: tuple[int, ...], k: int, order: Node, axis: int) -> Node:
    """Number k of an order along an axis, which stays with length 1."""
    starts = tuple(k if a == axis else 0 for a in range(len(shape)))
    return nd.slice_(order, starts, shape, (1,) * len(shape))


def _first_equal(x: Node, value: Node, axis: int) -> Node:
    """Where each line along an axis has its value first; NaN equals NaN."""
    wanted = nd.expand(value, x.shape)
    same = nd.elementwise("eq", x, wanted, dtype=dt.bool_)
    if x.dtype.is_float:
        lost = [nd.elementwise("ne", v, v, dtype=dt.bool_) for v in (x, wanted)]
        same = nd.elementwise("or", same, nd.elementwise("and", *lost))
    return nd.reduce_("argmax", same, (axis,))


FROM_ORDER: dict[str, Callable[[Node, Node, Any], Node]] = {
    "sort": _sort, "partition": _partition, "argpartition": _argpartition, "placed": _placed,
    "topk": _topk, "kth": _kth, "median": _median, "mode": _mode}
