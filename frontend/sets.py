"""Sets and counts: unique, isin, searchsorted, bucketize, bincount, and histograms.

What has as many elements as the values decide (`unique`, `bincount`) forces them; counts in bins do
not, unless NumPy is asked to choose the bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.node import Node

from .creation import arange, constant, full, linspace, number, ones, tensor, zeros, zeros_like
from .elementwise import eq, floating, where
from .indexing import index_add, nonzero, take
from .joining import concatenate, stack
from .movement import moveaxis, reshape
from .recording import accepts_dim, as_tensor, as_tensors, real_only
from .reductions import reduce_node
from .routines import call, register
from .scanning import diff
from .sorting import argsort, msort
from .tensor import Tensor, check_axis, derive, read, result


class UniqueAll(NamedTuple):
    """Array API unique_all."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """Array API unique_counts."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """Array API unique_inverse."""

    values: Tensor
    inverse_indices: Tensor


# -- distinct elements -----------------------------------------------------------------------------


@accepts_dim
def unique(x: Any, return_inverse: bool = False, return_counts: bool = False,
           axis: int | None = None, *, return_index: bool = False, equal_nan: bool = True) -> Any:
    """The distinct elements, sorted, 1-d; or the distinct slices along an axis.

    If asked, a tuple: values, the index of the first of each, the inverse (x's shape, or one for
    each slice) and counts, in this order. NaNs count as equal unless told. Forces the values: the
    shape depends on them. Gradients flow to the first of each. NumPy unique.
    """
    t = as_tensor("unique", x)
    if t.requires_grad:
        return _unique_of(t, (return_inverse, return_counts, axis, return_index, equal_nan))
    wanted = (return_index, return_inverse, return_counts)
    if axis is None and t.size and t.dtype in _SORTED:
        way = _distinct if t.device == "cpu" else _distinct_there
        found: Any = way(t, *wanted, equal_nan)
    else:
        axis = axis if axis is None else check_axis("unique", axis, t.ndim)
        found = np.unique(t.numpy(), *wanted, axis=axis, equal_nan=equal_nan)  # type: ignore[call-overload]

    def lies(v: Any, kind: dt.DType) -> Tensor:
        return v if isinstance(v, Tensor) else tensor(v, kind, t.device)

    if not any(wanted):
        return lies(found, t.dtype)
    values, *rest = found
    if return_inverse:
        at = int(return_index)
        rest[at] = rest[at].reshape(t.shape if axis is None else -1)
    return (lies(values, t.dtype), *(lies(v, dt.int64) for v in rest))


def _unique_of(t: Tensor, options: tuple[Any, ...]) -> Any:
    """`unique` of a tensor that requires gradients: its values are elements of it."""
    inverse, counts, axis, index, equal_nan = options
    _, first, *rest = unique(t.detach(), inverse, counts, axis, return_index=True,
                             equal_nan=equal_nan)
    values = t.reshape(-1).take(first) if axis is None else t.index_select(axis, first)
    found = (values, *([first] if index else []), *rest)
    return found if len(found) > 1 else values


# What host routines sort by bytes. NumPy's own way serves the rest.
_SORTED = (dt.int8, dt.uint8, dt.int16, dt.uint16, dt.int32, dt.uint32, dt.int64, dt.uint64,
           dt.float32, dt.float64)


def _distinct_there(t: Tensor, index: bool, inverse: bool, count: bool, equal_nan: bool) -> Any:
    """`_distinct` on a GPU: the host sees how many there are, and no element."""
    flat = reshape(t, -1)
    ordered, order = flat.sort()
    new = ordered[1:] != ordered[:-1]
    if equal_nan and t.dtype.is_float:
        new = new & (ordered[:-1] == ordered[:-1])
    group = concatenate([zeros(1, dtype="int64", device=t.device), new.to(dtype="int64")]).cumsum(0)
    starts = searchsorted(group, arange(int(group[-1]) + 1, device=t.device))
    found = [ordered.take(starts)]
    if index:
        found.append(order.take(starts))
    if inverse:
        found.append(zeros_like(group).scatter(0, order, group))
    if count:
        found.append(diff(starts, append=full(1, t.size, "int64", device=t.device)))
    return found if len(found) > 1 else found[0]


def _distinct(t: Tensor, index: bool, inverse: bool, count: bool, equal_nan: bool) -> Any:
    """The sorted elements without repetition, and what was asked for, from a stable order."""
    flat = reshape(t, -1)
    if not (index or inverse):
        ordered = msort(flat).numpy()
    else:
        order = argsort(flat).numpy()
        ordered = flat.numpy()[order]
    new = np.empty(ordered.shape, bool)
    new[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    if equal_nan and ordered.dtype.kind == "f" and ordered[-1] != ordered[-1]:
        new[int(np.searchsorted(ordered, np.nan)) + 1:] = False
    starts = np.flatnonzero(new)
    found = [ordered[starts]]
    if index:
        found.append(order[starts])
    if inverse:
        places = np.empty(order.shape, np.int64)
        places[order] = np.cumsum(new) - 1
        found.append(places)
    if count:
        found.append(np.diff(starts, append=ordered.size))
    return found if len(found) > 1 else found[0]


def unique_all(x: Any) -> UniqueAll:
    """values, indices of the first, inverse_indices (x's shape) and counts; NaNs are distinct.
    Forces. Array API unique_all."""
    values, index, inverse, counts = unique(x, True, True, return_index=True, equal_nan=False)
    return UniqueAll(values, index, inverse, counts)


def unique_counts(x: Any) -> UniqueCounts:
    """values and counts; NaNs are distinct. Forces. Array API unique_counts."""
    return UniqueCounts(*unique(x, return_counts=True, equal_nan=False))


def unique_inverse(x: Any) -> UniqueInverse:
    """values and inverse_indices (x's shape); NaNs are distinct. Forces. Array API."""
    return UniqueInverse(*unique(x, return_inverse=True, equal_nan=False))


def unique_values(x: Any) -> Tensor:
    """The distinct elements, sorted; NaNs are distinct. Forces. Array API unique_values."""
    return unique(x, equal_nan=False)  # type: ignore[no-any-return]


@accepts_dim
def unique_consecutive(x: Any, return_inverse: bool = False, return_counts: bool = False,
                       axis: int | None = None) -> Any:
    """x (flattened, or its slices along an axis) without repetitions of the element before.

    If asked, a tuple with the inverse and counts (int64). Forces. PyTorch unique_consecutive.
    """
    t = as_tensor("unique_consecutive", x)
    lines = reshape(t, -1 if t.size else 0) if axis is None else (
        moveaxis(t, check_axis("unique_consecutive", axis, t.ndim), 0))
    count = lines.shape[0]
    rows = lines.detach().reshape(count, math.prod(lines.shape[1:]))
    new = concatenate([ones(min(count, 1), dtype="bool", device=t.device),
                       (rows[1:] != rows[:-1]).any(1)])
    starts = nonzero(new).reshape(-1)
    kept = lines.index_select(0, starts)
    parts = [kept if axis is None else moveaxis(kept, 0, axis)]
    if return_inverse:
        inverse = new.to(dtype="int64").cumsum(0) - 1
        parts.append(inverse.reshape(t.shape) if axis is None else inverse)
    if return_counts:
        parts.append(diff(starts, append=full(1, count, "int64", device=t.device)))
    return parts[0] if len(parts) == 1 else tuple(parts)


_FEW = 16  # so many are compared one by one


def isin(x: Any, test_elements: Any, invert: bool = False) -> Tensor:
    """Which elements of x are among test_elements (or, inverted, are not); bool, shape of x. NaN
    is never in. NumPy isin."""
    t, tests = as_tensors("isin", x, test_elements)
    common = dt.promote(t.dtype, tests.dtype)
    if not tests.size:
        return derive(constant(dt.bool_, invert, t.shape), t).detach()
    line = derive(N.cast(read(reshape(tests, -1)), common), tests)
    wanted = derive(N.cast(read(t), common), t)
    if line.shape[0] <= _FEW:
        found = eq(wanted.reshape(1, *t.shape), line.reshape(-1, *[1] * t.ndim)).any(0)
        return (found.logical_not() if invert else found).detach()  # type: ignore[no-any-return]
    if common.is_integer and t.device == "cpu":
        arg = ("isin", invert)
        return derive(N.node("extern", dt.bool_, t.shape, (read(wanted), read(line)), arg),
                      t).detach()
    line = line.msort()
    place = searchsorted(line, wanted).clamp(max=line.shape[0] - 1)
    found = line.take(place) == wanted
    return found.logical_not() if invert else found  # type: ignore[no-any-return]


# -- places in a sorted vector ---------------------------------------------------------------------


def searchsorted(sorted_sequence: Any, values: Any, side: str = "left", right: bool = False, *,
                 sorter: Any = None) -> Tensor:
    """Where values go in a sorted vector so that it stays sorted, int64; or each row's values in
    its row, when the leading axes agree. side "right" (or right=True) goes behind equal elements.

    sorter: indices that sort sorted_sequence. NumPy, PyTorch searchsorted. Raises ValueError.
    """
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: expected side 'left' or 'right', got {side!r}")
    line, t = as_tensors("searchsorted", sorted_sequence, values)
    if sorter is not None:
        line = line.take_along_axis(as_tensor("searchsorted", sorter), -1)
    if line.ndim != 1 and (not line.ndim or line.shape[:-1] != t.shape[:-1]):
        raise ValueError(f"searchsorted: expected a sorted vector or rows like those of the values "
                         f"{t.shape}, got shape {line.shape}")
    common = dt.promote(line.dtype, t.dtype)
    real_only("searchsorted", common)
    common = dt.uint8 if common is dt.bool_ else common.compute
    src = (N.cast(read(line), common), N.cast(read(t), common))
    arg = ("searchsorted", "right" if right else side)
    return derive(N.node("extern", dt.int64, t.shape, src, arg), t).detach()


def bucketize(values: Any, boundaries: Any, right: bool = False) -> Tensor:
    """`searchsorted` with the arguments exchanged. PyTorch bucketize; NumPy digitize."""
    return searchsorted(boundaries, values, right=right)


# -- counts ----------------------------------------------------------------------------------------


def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each integer 0, 1, ... occurs in x (int64), or the sums of their weights; forces
    their largest. NumPy bincount. Raises TypeError for floats, ValueError for negative numbers."""
    t = reshape(as_tensor("bincount", x), -1 if as_tensor("bincount", x).size else 0)
    if not t.dtype.is_integer and t.size:
        raise TypeError(f"bincount: expected integers, got {t.dtype.name}")
    if minlength < 0:
        raise ValueError(f"bincount: expected minlength of 0 or more, got {minlength}")
    if t.device != "cpu" and t.size:
        return _counted_there(t, weights, minlength)
    held = t.numpy()
    values = _writable(held).astype(np.int64, copy=False)
    low = 0
    try:
        if weights is None:
            return tensor(np.bincount(values, minlength=minlength), dt.int64, t.device)
        low = values.min(initial=0)
    except ValueError:
        low = values.min()
    if low < 0:
        raise ValueError(f"bincount: expected integers of 0 or more, got {low}")
    size = max(minlength, int(values.max(initial=-1)) + 1)
    added, n = floating("bincount", weights)
    wide = reshape(derive(N.cast(n, n.dtype.compute), added), t.shape)
    return call("bincount", size, wide.dtype, (size,), t, wide).to(n.dtype)


def _counted_there(t: Tensor, weights: Any, least: int) -> Tensor:
    """`bincount` on a GPU: the host sees the least and the largest number alone."""
    low, high = stack([t.amin(), t.amax()]).tolist()
    if low < 0:
        raise ValueError(f"bincount: expected integers of 0 or more, got {low}")
    kind = dt.int64
    wide = ones(t.shape, dtype=kind, device=t.device)
    if weights is not None:
        added, n = floating("bincount", weights)
        kind, wide = n.dtype, reshape(derive(N.cast(n, n.dtype.compute), added), t.shape)
    none = zeros(max(least, high + 1), dtype=wide.dtype, device=t.device)
    return index_add(none, 0, t.to(dtype="int64"), wide).to(dtype=kind)


def _writable(a: np.ndarray) -> np.ndarray:
    """The same memory, of which NumPy's bincount would make a copy if it might not write there. It
    does not write."""
    face = {**a.__array_interface__, "data": (a.__array_interface__["data"][0], False)}
    return np.asarray(SimpleNamespace(__array_interface__=face))


def _weighed(size: int, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.bincount(x.astype(np.int64, copy=False), weights, size)


def _weighed_back(size: int, operands: Sequence[Tensor], y: Tensor, g: Tensor
                  ) -> list[Tensor | None]:
    return [None, take(g, operands[0])]


register("bincount", _weighed, _weighed_back)


def _limits(name: str, n: Node, low: float, high: float) -> tuple[Node, Node]:
    """0-d limits of equal bins: the data's when none are given, and one wide bin when they meet."""
    e = N.elementwise
    if low == high == 0 and n.size:
        first, last = (N.reshape(reduce_node(op, n, tuple(range(len(n.shape)))), ())
                       for op in ("min", "max"))
    else:
        first, last = (number(name, float(v), n.dtype) for v in (low, high))
    flat, one = e("eq", first, last), constant(n.dtype, 1)
    return (e("where", flat, e("sub", first, one), first),
            e("where", flat, e("add", last, one), last))


def _bin_node(n: Node, low: Node, high: Node, bins: int) -> Node:
    """The bin of each element, `bins` for those outside; the top edge is in the last one."""
    e = N.elementwise
    low, high = (N.expand_to(v, n.shape) for v in (low, high))
    inside = e("and", e("le", low, n), e("le", n, high))
    scaled = e("mul", e("sub", n, low), constant(n.dtype, bins, n.shape))
    place = N.cast(e("floor", e("div", scaled, e("sub", high, low))), dt.int64)
    place = e("minimum", place, constant(dt.int64, bins - 1, n.shape))
    return e("where", inside, place, constant(dt.int64, bins, n.shape))


def _check_bins(name: str, bins: Any) -> None:
    if not isinstance(bins, int) or bins < 1:
        raise ValueError(f"{name}: expected 1 or more bins, got {bins}")


def histc(x: Any, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """Counts of x's elements in equal bins from min to max (of the data when equal), in x's
    floating dtype; elements outside are dropped, the top edge counts in the last bin.

    Torch7 histc. Raises ValueError for less than one bin.
    """
    _check_bins("histc", bins)
    t, n = floating("histc", x)
    return reshape(_histogram_rows("histc", t, N.reshape(n, (1, n.size)), bins, min, max), bins)


def bhistc(x: Any, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """`histc` of each row of a matrix, between limits that the rows share. Torch7 bhistc."""
    _check_bins("bhistc", bins)
    t, n = floating("bhistc", x)
    if t.ndim != 2:
        raise ValueError(f"bhistc: expected a matrix, got shape {t.shape}")
    return _histogram_rows("bhistc", t, n, bins, min, max)


def _histogram_rows(name: str, t: Tensor, n: Node, bins: int, low: float, high: float) -> Tensor:
    rows = n.shape[0]
    if not n.size:
        return derive(constant(n.dtype, 0, (rows, bins)), t)
    place = _bin_node(n, *_limits(name, n, low, high), bins)
    row = N.node("iota", dt.int64, n.shape, (), 0)
    counts = N.node("scatter", n.dtype, (rows, bins + 1),
                    (constant(n.dtype, 0, (rows, bins + 1)), constant(n.dtype, 1, n.shape), row,
                     place), "add")
    return derive(N.slice_(counts, (0, 0), (rows, bins), (1, 1)), t).detach()


def histogram_bin_edges(x: Any, bins: Any = 10, range: tuple[float, float] | None = None,
                        weights: Any = None) -> Tensor:
    """The edges of `histogram`'s bins, one more than bins: of a number of equal bins, the given
    vector, or NumPy's choice for a name as "auto" (which forces). NumPy histogram_bin_edges."""
    t, n = floating("histogram", x)
    if isinstance(bins, str):
        chosen = np.histogram_bin_edges(t.numpy(), bins, range, weights)
        return tensor(chosen, n.dtype, t.device)
    if not isinstance(bins, int):
        edges = bins if isinstance(bins, Tensor) else tensor(bins, n.dtype, t.device)
        if edges.ndim != 1:
            raise ValueError(f"histogram: expected a vector of edges, got shape {edges.shape}")
        return edges
    _check_bins("histogram", bins)
    low, high = _edge_limits(n, range)
    share = read(linspace(0, 1, bins + 1, dtype=n.dtype, device=t.device))
    e = N.elementwise
    wide = N.expand_to(e("sub", high, low), share.shape)
    found = e("add", N.expand_to(low, share.shape), e("mul", wide, share))
    last = e("eq", share, constant(n.dtype, 1, share.shape))
    return derive(e("where", last, N.expand_to(high, share.shape), found), t).detach()


def _edge_limits(n: Node, limits: tuple[float, float] | None) -> tuple[Node, Node]:
    e, half = N.elementwise, constant(n.dtype, 0.5)
    if limits is not None:
        if not limits[0] <= limits[1]:
            raise ValueError(f"histogram: expected a range from low to high, got {limits}")
        low, high = (number("histogram", float(v), n.dtype) for v in limits)
    elif n.size:
        low, high = (N.reshape(reduce_node(op, n, _all_axes(n)), ()) for op in ("min", "max"))
    else:
        low, high = constant(n.dtype, 0), constant(n.dtype, 1)
    flat = e("eq", low, high)
    return (e("where", flat, e("sub", low, half), low),
            e("where", flat, e("add", high, half), high))


def _all_axes(n: Node) -> tuple[int, ...]:
    return tuple(i for i, _ in enumerate(n.shape))


def _equal_bins(x: Tensor, edges: Tensor) -> Tensor:
    """The bin of each element inside, computed from the limits and then put right by the edges:
    rounding may have moved an element that lies on one."""
    last = edges.shape[0] - 2
    share = (x - edges[0]) * ((last + 1) / (edges[-1] - edges[0]))
    place = share.floor().clamp(0, last).nan_to_num().long()
    place = place - (x < edges.take(place)).long()
    place = place.clamp(min=0)
    return place + ((x >= edges.take(place + 1)) & (place < last)).long()


def histogram(x: Any, bins: Any = 10, range: tuple[float, float] | None = None, *,
              weights: Any = None, density: bool = False) -> tuple[Tensor, Tensor]:
    """Counts in bins (int64; sums of weights or densities: floating) and the bins' edges.

    Bins are half open but for the last; elements outside are dropped. NumPy histogram.
    """
    t, n = floating("histogram", x)
    edges = histogram_bin_edges(t, bins, range, weights)
    count = edges.shape[0] - 1
    flat = derive(N.reshape(n, (n.size,)), t)
    if isinstance(bins, int | str) and count and n.size:
        place = _equal_bins(flat, edges)
    else:
        place = searchsorted(edges, flat, "right") - 1
        place = where(eq(flat, edges[-1]), count - 1, place)
    inside = (flat >= edges[0]) & (flat <= edges[-1])  # so no NaN
    place = where(inside, place, count)
    if weights is None:
        added = result(constant(dt.int64, 1, flat.shape), False, t.device)
    else:
        added = reshape(as_tensor("histogram", weights), flat.shape)
    zeros = result(constant(added.dtype, 0, (count + 1,)), False, t.device)
    counts = index_add(zeros, 0, place, added)[:count]
    if density:
        counts = counts / (counts.sum() * (edges[1:] - edges[:-1]))
    return counts, edges
