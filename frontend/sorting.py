"""Order: sort, argsort, topk, kthvalue, partition, median, quantile, mode.

Orders and places are host routines (`extern` nodes, runtime/order.py). Values are gathered at their
places, so gradients flow to the elements they came from; `sort` has a derivative of its own. All of
it is lazy: shapes do not depend on values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.node import Node

from .creation import constant, iota, number, tensor, zeros_like
from .elementwise import floating
from .movement import squeeze
from .recording import accepts_dim, as_tensor, check_axes, of_several, real_only
from .reductions import reduce_node
from .routines import differentiate_by
from .tensor import Tensor, check_axis, derive, read


class Sorted(NamedTuple):
    """Values in order along an axis and where they came from (int64)."""

    values: Tensor
    indices: Tensor


def _plain(n: Node) -> Node:
    """n in a dtype that host routines take and that orders alike. Raises TypeError for complex
    numbers, which have no order."""
    real_only("sort", n.dtype)
    return N.cast(n, dt.uint8 if n.dtype is dt.bool_ else n.dtype.compute)


def argsort_node(n: Node, axis: int, descending: bool) -> Node:
    """The stable order along an axis."""
    return N.node("extern", dt.int64, n.shape, (_plain(n),), ("argsort", (axis, descending)))


def _place_node(routine: str, n: Node, axis: int, count: int, options: Any) -> Node:
    """Where a routine finds `count` elements along an axis."""
    shape = (*n.shape[:axis], count, *n.shape[axis + 1:])
    return of_several(N.node("extern", dt.int64, shape, (_plain(n),), (routine, options)))


def along_node(n: Node, index: Node, axis: int) -> Node:
    """n's elements at index along an axis."""
    places = tuple(index if a == axis else iota(dt.int64, index.shape, a)
                   for a in range(len(n.shape)))
    return N.node("gather", n.dtype, index.shape, (n, *places))


def _picked(t: Tensor, place: Node, axis: int, keepdims: bool = True) -> Sorted:
    pair = Sorted(derive(along_node(read(t), place, axis), t), derive(place, t).detach())
    return pair if keepdims else Sorted(squeeze(pair.values, axis), squeeze(pair.indices, axis))


def _not_empty(name: str, t: Tensor, axis: int) -> None:
    if not t.shape[axis]:
        raise ValueError(f"{name}: expected at least one element along axis {axis} of {t.shape}")


def _lined(name: str, x: Any, axis: int | None) -> tuple[Tensor, int]:
    """A tensor with at least one axis, flattened without an axis, and the axis."""
    t = as_tensor(name, x)
    if axis is None:
        return t.reshape(-1 if t.size else 0), 0
    if not t.shape:
        return t.reshape(1), check_axis(name, axis, 1)
    return t, check_axis(name, axis, t.ndim)


@accepts_dim
def sort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Sorted:
    """The pair `values, indices`, in order along axis; stable, NaN last (first if descending).

    Torch7 sort. (NumPy's sort gives the values alone: see `msort`.)
    """
    t = as_tensor("sort", x)
    lines, axis = _lined("sort", t, axis)
    n = read(lines)
    plain = _plain(n)
    values = N.node("extern", plain.dtype, n.shape, (plain,), ("sort", (axis, descending)))
    order = argsort_node(n, axis, descending)
    of_several(values, of_several(order, values))
    pair = Sorted(derive(N.cast(values, n.dtype), t), derive(order, t).detach())
    return pair if t.shape else Sorted(pair.values.reshape(()), pair.indices.reshape(()))


@accepts_dim
def msort(x: Any, axis: int = 0) -> Tensor:
    """The values in order along axis, without indices. PyTorch msort, NumPy sort."""
    return sort(x, axis).values  # type: ignore[no-any-return]


@accepts_dim
def argsort(x: Any, axis: int | None = -1, descending: bool = False, stable: bool = True
            ) -> Tensor:
    """The indices that sort x along axis (of the flattened tensor for None), int64; stable, NaN
    last (first if descending). NumPy argsort."""
    if axis is None:
        x, axis = _lined("argsort", x, None)
    return sort(x, axis, descending).indices  # type: ignore[no-any-return]


@accepts_dim
def topk(x: Any, k: int = 1, axis: int = -1, largest: bool = True, sorted: bool = True) -> Sorted:
    """The k largest (or smallest) elements along axis, in order, and their indices; of equal
    elements the first ones.

    PyTorch topk. Torch7's gave the smallest unless told.
    """
    t = as_tensor("topk", x)
    axis = check_axis("topk", axis, t.ndim)
    if not 0 <= k <= t.shape[axis]:
        raise ValueError(f"topk: expected k up to {t.shape[axis]}, got {k}")
    return _picked(t, _place_node("topk", read(t), axis, k, (axis, k, bool(largest))), axis)


@accepts_dim
def kthvalue(x: Any, k: int, axis: int = -1, keepdims: bool = False) -> Sorted:
    """The k-th smallest element along axis (k from 1) and its index. Torch7 kthvalue."""
    t = as_tensor("kthvalue", x)
    axis = check_axis("kthvalue", axis, t.ndim)
    if not 1 <= k <= t.shape[axis]:
        raise ValueError(f"kthvalue: expected k in [1, {t.shape[axis]}], got {k}")
    return _picked(t, _place_node("kth", read(t), axis, 1, (axis, k - 1)), axis, keepdims)


@accepts_dim
def partition(x: Any, kth: int, axis: int | None = -1) -> Tensor:
    """x with the element at kth where a sort would put it, and smaller ones before. NumPy
    partition."""
    lines, axis = _lined("partition", x, axis)
    kth = _check_kth("partition", kth, lines.shape[axis])
    n = read(lines)
    plain = _plain(n)
    made = N.node("extern", plain.dtype, n.shape, (plain,), ("partition", (axis, kth)))
    return derive(N.cast(made, n.dtype), lines)


def _partitioned(options: Any, operands: Sequence[Tensor], y: Tensor, g: Tensor) -> list[Tensor]:
    """Where each element went is told by the orders of both."""
    axis = options[0]
    before, after = argsort(operands[0], axis), argsort(y, axis)
    return [zeros_like(g).scatter(axis, before, g.take_along_axis(after, axis))]


differentiate_by("partition", _partitioned)


@accepts_dim
def argpartition(x: Any, kth: int, axis: int | None = -1) -> Tensor:
    """The indices of `partition`, int64. NumPy argpartition."""
    lines, axis = _lined("argpartition", x, axis)
    kth = _check_kth("argpartition", kth, lines.shape[axis])
    n = read(lines)
    return derive(_place_node("argpartition", n, axis, n.shape[axis], (axis, kth)), lines).detach()


def _check_kth(name: str, kth: int, extent: int) -> int:
    if not -extent <= kth < extent:
        raise ValueError(f"{name}: expected kth in [{-extent}, {extent}), got {kth}")
    return kth % extent


# -- middles ---------------------------------------------------------------------------------------


def _median(name: str, x: Any, axis: int | None, keepdims: bool, skip: bool) -> Any:
    t, at = _lined(name, x, axis)
    _not_empty(name, t, at)
    pair = _picked(t, _place_node("median", read(t), at, 1, (at, skip)), at, keepdims)
    if axis is not None:
        return pair
    return pair.values.reshape((1,) * as_tensor(name, x).ndim if keepdims else ())


@accepts_dim
def median(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The lower median: of all elements a 0-d tensor, along an axis the pair `values, indices`.

    Torch7 median; `quantile(x, 0.5)` averages the two in the middle, as NumPy's median does.
    Unlike Torch7, NaN wins. Raises ValueError when there are no elements.
    """
    return _median("median", x, axis, keepdims, False)


@accepts_dim
def nanmedian(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """`median` of the elements that are not NaN; NaN where there are none. PyTorch nanmedian."""
    return _median("nanmedian", x, axis, keepdims, True)


_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


@accepts_dim
def quantile(x: Any, q: Any, axis: Any = None, keepdims: bool = False, *,
             interpolation: str = "linear") -> Tensor:
    """The q-quantile over axes; NaN wins. A list of q's gives a first axis with one each.

    Floating. interpolation: linear, lower, higher, midpoint or nearest of the two neighbours.
    NumPy quantile. Raises ValueError for q outside [0, 1] and where there are no elements.
    """
    return _quantile("quantile", x, q, axis, keepdims, interpolation, False)


@accepts_dim
def nanquantile(x: Any, q: Any, axis: Any = None, keepdims: bool = False, *,
                interpolation: str = "linear") -> Tensor:
    """`quantile` of the elements that are not NaN; NaN where there are none. NumPy nanquantile."""
    return _quantile("nanquantile", x, q, axis, keepdims, interpolation, True)


@accepts_dim
def percentile(x: Any, q: Any, axis: Any = None, keepdims: bool = False, *,
               interpolation: str = "linear") -> Tensor:
    """`quantile` at q / 100. NumPy percentile."""
    share = np.asarray(_known("percentile", q), np.float64) / 100
    return _quantile("percentile", x, share.tolist(), axis, keepdims, interpolation, False)


def _known(name: str, q: Any) -> Any:
    return q.tolist() if isinstance(q, Tensor | np.ndarray) else q


def _quantile(name: str, x: Any, q: Any, axis: Any, keepdims: bool, method: str, skip: bool
              ) -> Tensor:
    t, n = floating(name, x)
    shares = np.atleast_1d(np.asarray(_known(name, q), np.float64))
    if shares.ndim > 1 or not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"{name}: expected q in [0, {100 if name == 'percentile' else 1}], got "
                         f"{q}")
    if method not in _METHODS:
        raise ValueError(f"{name}: expected interpolation {', '.join(_METHODS)}, got {method!r}")
    axes = check_axes(name, axis, t.ndim)
    rest = tuple(i for i in range(t.ndim) if i not in axes)
    count = math.prod(t.shape[i] for i in axes)
    if not count:
        raise ValueError(f"{name}: expected at least one element, got shape {t.shape}")
    lead = tuple(t.shape[i] for i in rest)
    wide = N.cast(n, n.dtype.compute)
    lines = N.reshape(N.permute(wide, (*rest, *axes)), (*lead, count))
    found = _at_shares(derive(lines, t), shares, method, skip)
    kept = tuple(1 if i in axes else e for i, e in enumerate(t.shape)) if keepdims else lead
    order = (len(lead), *range(len(lead)))
    final = (len(shares), *kept) if np.ndim(_known(name, q)) else kept
    return derive(N.cast(N.reshape(N.permute(found, order), final), n.dtype), t)


def _at_shares(t: Tensor, shares: np.ndarray, method: str, skip: bool) -> Node:
    """(..., len(shares)): values at shares of the way through each last-axis line."""
    e = N.elementwise
    axis, count = t.ndim - 1, t.shape[-1]
    ends = (count - 1) * shares
    places = sorted({int(f(p)) for f in (np.floor, np.ceil) for p in ends})
    n = N.node("extern", t.dtype, t.shape, (_plain(read(t)),), ("placed", (tuple(places), skip)))
    shape = (*t.shape[:-1], len(shares))
    isnan = N.cast(e("isnan", read(t)), dt.int64)
    nans = N.expand(reduce_node("sum", isnan, (axis,)), shape)
    share = N.expand_to(read(tensor(shares, "float64")), shape)
    known = N.cast(constant(dt.int64, count, shape) if not skip else
                   e("maximum", e("sub", constant(dt.int64, count, shape), nans),
                     constant(dt.int64, 1, shape)), dt.float64)
    at = e("mul", share, e("sub", known, constant(dt.float64, 1, shape)))
    low, high = e("floor", at), e("ceil", at)
    if method in ("lower", "higher", "nearest"):
        at = low = high = {"lower": low, "higher": high, "nearest": e("round", at)}[method]
    first, second = (along_node(n, N.cast(v, dt.int64), axis) for v in (low, high))
    weight = constant(n.dtype, 0.5, shape) if method == "midpoint" else (
        N.cast(e("sub", at, low), n.dtype))
    same = e("eq", first, second)  # also infinities, whose difference is NaN
    step = e("where", same, constant(n.dtype, 0, shape), e("sub", second, first))
    found = e("add", first, e("mul", step, weight))
    if skip:  # a line of NaN alone has NaN at every place
        return found
    none = e("eq", nans, constant(dt.int64, 0, shape))
    return e("where", none, found, number("quantile", math.nan, n.dtype, shape))


@accepts_dim
def mode(x: Any, axis: int = -1, keepdims: bool = False) -> Sorted:
    """The most frequent element along axis (the smallest of equals) and the last index of it.

    Torch7 mode. Raises ValueError when there are no elements.
    """
    t = as_tensor("mode", x)
    axis = check_axis("mode", axis, t.ndim)
    _not_empty("mode", t, axis)
    return _picked(t, _place_node("mode", read(t), axis, 1, axis), axis, keepdims)
