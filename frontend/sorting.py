"""Order: sort, argsort, topk, median, quantile, unique, searchsorted, histc.

The order itself is a host routine (`extern` node "argsort"); values are gathered by it, so
gradients flow to the elements they came from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.node import Node

from .creation import constant, iota, number, tensor
from .elementwise import floating
from .movement import narrow, reshape, select, squeeze
from .recording import accepts_dim, as_tensor, real_only
from .reductions import reduce_node
from .tensor import Tensor, check_axis, derive, read


class Sorted(NamedTuple):
    """Values in order along an axis and where they came from (int64)."""

    values: Tensor
    indices: Tensor


def argsort_node(n: Node, axis: int, descending: bool) -> Node:
    """The stable order along an axis. Raises TypeError for complex numbers, which have none."""
    real_only("sort", n.dtype)
    if n.dtype is dt.bool_:
        n = N.cast(n, dt.uint8)
    return N.node("extern", dt.int64, n.shape, (n,), ("argsort", (axis, descending)))


def along_node(n: Node, index: Node, axis: int) -> Node:
    """n's elements at index along an axis."""
    places = tuple(index if a == axis else iota(dt.int64, index.shape, a)
                   for a in range(len(n.shape)))
    return N.node("gather", n.dtype, index.shape, (n, *places))


@accepts_dim
def sort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Sorted:
    """The pair `values, indices`, in order along axis; stable, NaN last (first if descending).

    Torch7 sort. (NumPy's sort gives the values alone.)
    """
    t = as_tensor("sort", x)
    if not t.shape:
        check_axis("sort", axis, 1)
        return Sorted(derive(read(t), t), tensor(0))
    axis = check_axis("sort", axis, t.ndim)
    n = read(t)
    order = argsort_node(n, axis, descending)
    return Sorted(derive(along_node(n, order, axis), t), derive(order, t).detach())


@accepts_dim
def argsort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that sort x along axis, int64; stable. NumPy argsort."""
    t = as_tensor("argsort", x)
    if not t.shape:
        check_axis("argsort", axis, 1)
        return tensor(0)
    axis = check_axis("argsort", axis, t.ndim)
    return derive(argsort_node(read(t), axis, descending), t).detach()


@accepts_dim
def topk(x: Any, k: int = 1, axis: int = -1, largest: bool = True, sorted: bool = True) -> Sorted:
    """The k largest (or smallest) elements along axis, in order, and their indices.

    PyTorch topk. Torch7's gave the smallest unless told.
    """
    t = as_tensor("topk", x)
    axis = check_axis("topk", axis, t.ndim)
    if not 0 <= k <= t.shape[axis]:
        raise ValueError(f"topk: expected k up to {t.shape[axis]}, got {k}")
    order = derive(argsort_node(read(t), axis, largest), t).detach()
    first = narrow(order, axis, 0, k)
    return Sorted(derive(along_node(read(t), read(first), axis), t), first)


@accepts_dim
def kthvalue(x: Any, k: int, axis: int = -1, keepdims: bool = False) -> Sorted:
    """The k-th smallest element along axis (k from 1) and its index. Torch7 kthvalue."""
    t = as_tensor("kthvalue", x)
    axis = check_axis("kthvalue", axis, t.ndim)
    if not 1 <= k <= t.shape[axis]:
        raise ValueError(f"kthvalue: expected k in [1, {t.shape[axis]}], got {k}")
    order = derive(argsort_node(read(t), axis, False), t).detach()
    place = narrow(order, axis, k - 1, 1)
    values = derive(along_node(read(t), read(place), axis), t)
    if keepdims:
        return Sorted(values, place)
    return Sorted(squeeze(values, axis), squeeze(place, axis))


@accepts_dim
def median(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The lower median: of all elements a 0-d tensor, along an axis the pair `values, indices`.

    Torch7 median; `quantile(x, 0.5)` averages the two in the middle, as NumPy's median does.
    Unlike Torch7, NaN wins.
    """
    t = as_tensor("median", x)
    if axis is None:
        flat = reshape(t, -1)
        if not flat.shape[0]:
            raise ValueError("median: expected at least one element, got none")
        return _median(flat, 0, False).values
    return _median(t, check_axis("median", axis, t.ndim), keepdims)


def _median(t: Tensor, axis: int, keepdims: bool) -> Sorted:
    extent = t.shape[axis]
    if extent == 0:
        raise ValueError(f"median: expected at least one element along axis {axis} of {t.shape}")
    n = read(t)
    order = derive(argsort_node(n, axis, False), t).detach()
    place = read(narrow(order, axis, (extent - 1) // 2, 1))
    if n.dtype.is_float:  # NaN sorts last
        last = read(narrow(order, axis, extent - 1, 1))
        isnan = N.elementwise("isnan", along_node(n, last, axis))
        place = N.elementwise("where", isnan, last, place)
    pair = Sorted(derive(along_node(n, place, axis), t), derive(place, t).detach())
    return pair if keepdims else Sorted(squeeze(pair.values, axis), squeeze(pair.indices, axis))


@accepts_dim
def quantile(x: Any, q: float, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The q-quantile with linear interpolation; NaN wins. Floating. NumPy quantile."""
    if not 0 <= q <= 1:
        raise ValueError(f"quantile: expected q in [0, 1], got {q}")
    t, n = floating("quantile", x)
    shape = (1,) * t.ndim
    if axis is None:
        n, axis = N.reshape(n, (n.size,)), 0
    else:
        axis = check_axis("quantile", axis, t.ndim)
        shape = tuple(1 if i == axis else e for i, e in enumerate(t.shape))
    extent = n.shape[axis]
    if extent == 0:
        raise ValueError(f"quantile: expected at least one element, got shape {t.shape}")
    ordered = sort(derive(n, t), axis).values
    at = q * (extent - 1)
    low = int(at)
    first = read(narrow(ordered, axis, low, 1))
    second = read(narrow(ordered, axis, min(low + 1, extent - 1), 1))
    weight = constant(first.dtype, at - low, first.shape)
    step = N.elementwise("mul", N.elementwise("sub", second, first), weight)
    found = N.elementwise("add", first, step)
    isnan = N.cast(N.elementwise("isnan", n), dt.uint8)
    anynan = N.cast(reduce_node("max", isnan, (axis,)), dt.bool_)
    found = N.elementwise("where", anynan, constant(found.dtype, float("nan"), found.shape), found)
    final = shape if keepdims else tuple(e for i, e in enumerate(found.shape) if i != axis)
    return derive(N.reshape(found, final), t)


@accepts_dim
def mode(x: Any, axis: int = -1, keepdims: bool = False) -> Sorted:
    """The most frequent element along axis (the smallest of equals) and an index of it. Forces.

    Torch7 mode.
    """
    t = as_tensor("mode", x)
    axis = check_axis("mode", axis, t.ndim)
    places = tensor(np.apply_along_axis(_mode_place, axis, t.numpy()))
    place = places.unsqueeze(axis)
    values = derive(along_node(read(t), read(place), axis), t)
    if keepdims:
        return Sorted(values, place)
    return Sorted(select(values, axis, 0), places)


def _mode_place(line: np.ndarray) -> int:
    values, counts = np.unique(line, return_counts=True)
    return int(np.flatnonzero(line == values[np.argmax(counts)])[-1])


def unique(x: Any, return_inverse: bool = False, return_counts: bool = False) -> Any:
    """The distinct elements, sorted, 1-d; with their inverse (x's shape) and counts if asked.

    Forces the values. NumPy unique.
    """
    t = as_tensor("unique", x)
    values, inverse, counts = np.unique(t.numpy(), return_inverse=True, return_counts=True)
    parts = [tensor(values)]
    if return_inverse:
        parts.append(tensor(inverse.reshape(t.shape)))
    if return_counts:
        parts.append(tensor(counts))
    return parts[0] if len(parts) == 1 else tuple(parts)


def searchsorted(sorted_sequence: Any, values: Any, side: str = "left", right: bool = False
                 ) -> Tensor:
    """Where values go in a sorted vector so that it stays sorted, int64. NumPy searchsorted."""
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: expected side 'left' or 'right', got {side!r}")
    line, t = as_tensor("searchsorted", sorted_sequence), as_tensor("searchsorted", values)
    if line.ndim != 1:
        raise ValueError(f"searchsorted: expected a sorted vector, got shape {line.shape}")
    common = dt.promote(line.dtype, t.dtype)
    real_only("searchsorted", common)
    src = (N.cast(read(line), common), N.cast(read(t), common))
    arg = ("searchsorted", "right" if right else side)
    return derive(N.node("extern", dt.int64, t.shape, src, arg), t).detach()


def bucketize(values: Any, boundaries: Any, right: bool = False) -> Tensor:
    """`searchsorted` with the arguments exchanged. PyTorch bucketize; NumPy digitize."""
    return searchsorted(boundaries, values, right=right)


def histc(x: Any, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Counts of x's elements in equal bins from min to max (of the data when equal), in x's
    floating dtype; elements outside are dropped, the top edge counts in the last bin.

    Torch7 histc.
    """
    t, n = floating("histc", x)
    n = N.reshape(n, (n.size,))
    if not n.size:
        return derive(constant(n.dtype, 0, (bins,)), t)
    if min == max:
        low, high = (N.reshape(reduce_node(op, n, (0,)), ()) for op in ("min", "max"))
    else:
        low, high = (number("histc", v, n.dtype) for v in (min, max))
    low, high = (N.expand_to(v, n.shape) for v in (low, high))
    e = N.elementwise
    flat = e("eq", low, high)  # all data equal: one wide bin around them
    one = constant(n.dtype, 1, n.shape)
    low = e("where", flat, e("sub", low, one), low)
    high = e("where", flat, e("add", high, one), high)
    inside = e("and", e("le", low, n), e("le", n, high))
    scaled = e("mul", e("sub", n, low), constant(n.dtype, bins, n.shape))
    place = N.cast(e("floor", e("div", scaled, e("sub", high, low))), dt.int64)
    place = e("minimum", place, constant(dt.int64, bins - 1, n.shape))
    place = e("where", inside, place, constant(dt.int64, bins, n.shape))
    counts = N.node("scatter", n.dtype, (bins + 1,),
                    (constant(n.dtype, 0, (bins + 1,)), one, place), "add")
    return derive(N.slice_(counts, (0,), (bins,), (1,)), t).detach()
