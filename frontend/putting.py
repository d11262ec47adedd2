"""Writing at places, as values: put, put_along_axis, scatter_reduce, scatter_nd, index_reduce,
compress; gather_nd, one_hot; and the indices of triangles, diagonals and grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node

from .creation import arange, iota, ones_like, tensor, zeros_like
from .elementwise import truth
from .indexing import REDUCE, as_value, gather, getitem, index_add, index_node, scatter, take
from .joining import stack
from .movement import broadcast_to, narrow, reshape, select
from .recording import (
    accepts_dim,
    as_tensor,
    as_tensors,
    broadcast_shapes,
    located,
    real_only,
    required,
)
from .tensor import Tensor, as_dtype, check_axis, derive, read


def put(x: Any, index: Any, values: Any, accumulate: bool = False) -> Tensor:
    """x with values at positions of the flattened tensor; values broadcast to the index's shape,
    of equal positions the last wins, or (accumulate) all are added. PyTorch put, NumPy put.

    Raises IndexError for positions outside.
    """
    t, i, given = as_tensors("put", x, index, values)
    given = given.to(t.dtype)
    flat = reshape(t, -1 if t.size else 0)
    lines = reshape(broadcast_to(given, i.shape), -1 if i.size else 0)
    where = reshape(i, -1 if i.size else 0)
    made = scatter(flat, 0, where, lines, "add" if accumulate else None)
    return reshape(made, t.shape)


@accepts_dim
def put_along_axis(x: Any, index: Any, values: Any, axis: int | None = -1) -> Tensor:
    """`scatter` with NumPy's order of arguments; index and values broadcast against x but for
    axis. NumPy put_along_axis, as a value: x itself stays."""
    t, i, given = as_tensors("put_along_axis", x, index, values)
    if axis is None:
        return put(t, reshape(i, -1), values)
    axis = check_axis("put_along_axis", axis, t.ndim)
    if i.ndim != t.ndim:
        raise ValueError(f"put_along_axis: expected an index with {t.ndim} axes, got {i.shape}")
    shape = tuple(i.shape[a] if a == axis else e for a, e in enumerate(t.shape))
    given = given.to(t.dtype)
    return scatter(t, axis, broadcast_to(i, shape),  # type: ignore[no-any-return]
                   broadcast_to(given, broadcast_shapes("put_along_axis", given.shape, shape)))


_REDUCTIONS = ("sum", "prod", "amax", "amin", "mean")


@accepts_dim
def scatter_reduce(x: Any, axis: int, index: Any, source: Any, reduce: str,
                   include_self: bool = True) -> Tensor:
    """x with the sum, prod, amax, amin or mean of all source[i, j] with the same place
    [index[i, j], j] (axis 0), and of x's element there if included. Places nobody names keep
    x. Differentiable.

    PyTorch scatter_reduce. Raises ValueError for another reduce.
    """
    if reduce not in _REDUCTIONS:
        raise ValueError(f"scatter_reduce: expected reduce {', '.join(_REDUCTIONS)}, got "
                         f"{reduce!r}")
    t, i = as_tensor("scatter_reduce", x), as_tensor("scatter_reduce", index)
    given = as_tensor("scatter_reduce", source).to(t.dtype)
    if not include_self:
        start: Any = int(reduce == "prod")
        if reduce in ("amax", "amin"):  # any of the values that come
            start = gather(given, axis, _one_at(t, axis, i))
        t = scatter(t, axis, i, start)
    kind = {"sum": "add", "prod": "prod", "mean": "add", "amax": "max", "amin": "min"}[reduce]
    made: Tensor = scatter(t, axis, i, given, kind)
    if reduce != "mean":
        return made
    ones = ones_like(given, dtype="int64")
    count = scatter(zeros_like(t, dtype="int64"), axis, i, ones, "add") + int(include_self)
    count = count.clamp(min=1)
    return made / count if t.dtype.is_inexact else made.div(count, rounding_mode="floor")  # type: ignore[no-any-return]


def _one_at(t: Tensor, axis: int, index: Tensor) -> Tensor:
    """For each place of index a position along axis of some source element that goes there."""
    axis = check_axis("scatter_reduce", axis, t.ndim)
    shape = tuple(index.shape[a] if a == axis else 1 for a in range(t.ndim))
    units = tuple(-1 if a == axis else 1 for a in range(t.ndim))
    own = broadcast_to(reshape(arange(shape[axis], device=t.device), units), index.shape)
    marked = scatter(zeros_like(t, dtype="int64"), axis, index, own)
    return gather(marked, axis, index)  # type: ignore[no-any-return]


@accepts_dim
def index_reduce(x: Any, axis: int, index: Any, source: Any, reduce: str) -> Tensor:
    """x with source's slices combined into the slices at a vector of indices along axis: sum, prod,
    amax, amin or mean, x's own included. PyTorch index_reduce."""
    t, given = as_tensor("index_reduce", x), as_tensor("index_reduce", source)
    i = as_tensor("index_reduce", index)
    if reduce == "sum":
        return index_add(t, axis, i, given)  # type: ignore[no-any-return]
    at = check_axis("index_reduce", axis, t.ndim)
    if i.ndim != 1 or given.ndim != t.ndim or given.shape[at] != i.shape[0]:
        raise ValueError(f"index_reduce: expected a vector of indices and as many slices, got "
                         f"{i.shape} and {given.shape}")
    wide = broadcast_to(reshape(i, (1,) * at + (-1,) + (1,) * (t.ndim - at - 1)), given.shape)
    return scatter_reduce(t, at, wide, given, reduce)  # type: ignore[no-any-return]


@accepts_dim
def compress(condition: Any, x: Any, axis: int | None = None) -> Tensor:
    """x's slices along axis (elements of the flattened tensor) where a vector is true. Forces the
    vector. NumPy compress."""
    t, c = as_tensor("compress", x), as_tensor("compress", condition)
    if axis is None:
        t, axis = reshape(t, -1), 0
    axis = check_axis("compress", axis, t.ndim)
    mask = derive(truth(read(c)), c).reshape(-1)
    if mask.shape[0] > t.shape[axis]:
        return take(t, np.flatnonzero(mask.numpy()), axis)  # type: ignore[no-any-return]
    if mask.shape[0] < t.shape[axis]:
        t = narrow(t, axis, 0, mask.shape[0])
    return getitem(t, (*[slice(None)] * axis, mask))


def tril_indices(rows: int, columns: int | None = None, offset: int = 0, dtype: Any = "int64"
                 ) -> Tensor:
    """(2, n): the rows and columns of a matrix's lower triangle, row by row. PyTorch tril_indices;
    NumPy's is a tuple: `tuple(...)` of this."""
    return _triangle(np.tril_indices, rows, columns, offset, as_dtype("tril_indices", dtype))


def triu_indices(rows: int, columns: int | None = None, offset: int = 0, dtype: Any = "int64"
                 ) -> Tensor:
    """(2, n): the rows and columns of a matrix's upper triangle, row by row. PyTorch
    triu_indices."""
    return _triangle(np.triu_indices, rows, columns, offset, as_dtype("triu_indices", dtype))


def _triangle(of: Any, rows: int, columns: int | None, offset: int, dtype: DType) -> Tensor:
    return tensor(np.stack(of(rows, offset, rows if columns is None else columns)), dtype)


def diag_indices(n: int, ndim: int = 2) -> tuple[Tensor, ...]:
    """The indices of the main diagonal of an n x n x ... tensor. NumPy diag_indices."""
    return (arange(n),) * ndim


def choose(index: Any, choices: Any) -> Tensor:
    """Where index is k, the element of the k-th choice; all broadcast. NumPy choose.

    Raises IndexError for an index outside, when values are asked for.
    """
    tensors = [as_tensor("choose", c) for c in choices]
    i = as_tensor("choose", index)
    shape = broadcast_shapes("choose", i.shape, *(c.shape for c in tensors))
    stacked = stack([broadcast_to(c, shape) for c in tensors])
    return select(gather(stacked, 0, broadcast_to(i, shape).unsqueeze(0)), 0, 0)  # type: ignore[no-any-return]


def one_hot(x: Any, num_classes: int = -1, dtype: Any = None) -> Tensor:
    """A last axis of num_classes with 1 at x's value, 0 elsewhere; int64 unless dtype is given.

    x holds integers; without num_classes their largest is forced. PyTorch one_hot. Raises
    ValueError, when it is computed, for integers outside [0, num_classes).
    """
    t = as_tensor("one_hot", x)
    if not t.dtype.is_integer:
        raise TypeError(f"one_hot: expected integers, got {t.dtype.name}")
    if num_classes < 0:
        num_classes = int(t.numpy().max(initial=-1)) + 1
    else:
        t = required("one_hot", f"expected integers from 0 to {num_classes - 1}, got one outside",
                     t, (t >= 0) & (t < num_classes))
    shape = (*t.shape, num_classes)
    n = N.expand(N.reshape(N.cast(read(t), dt.int64), (*t.shape, 1)), shape)
    n = N.elementwise("eq", n, iota(dt.int64, shape, len(shape) - 1))
    made = derive(n, t)
    return made.to(dt.int64 if dtype is None else dtype)  # type: ignore[no-any-return]


def ix_(*vectors: Any) -> tuple[Tensor, ...]:
    """Vectors shaped so that x[ix_(a, b)] is the grid of their indices. NumPy ix_."""
    count = len(vectors)
    found: Sequence[Tensor] = as_tensors("ix_", *vectors)
    return tuple(reshape(v, (1,) * i + (math.prod(v.shape),) + (1,) * (count - i - 1))
                 for i, v in enumerate(found))


# -- tuples of indices ---------------------------------------------------------------------------


def gather_nd(x: Any, index: Any, batch_dims: int = 0) -> Tensor:
    """x[i0, ..., ik-1] for each row (i0, ..., ik-1) of index's last axis: shape index.shape[:-1]
    and x's axes that no index names. The first batch_dims axes of x and index go together.
    TensorFlow gather_nd, ONNX GatherND. Raises ValueError for shapes that do not fit.
    """
    t, i = as_tensors("gather_nd", x, index)
    places = _tuples("gather_nd", t, i, batch_dims)
    shape = places[0].shape + t.shape[len(places):]
    n = N.node("gather", t.dtype, shape, (read(t), *places))
    return derive(located("gather_nd", n), t)


def scatter_nd(x: Any, index: Any, source: Any, reduce: str | None = None) -> Tensor:
    """x with source's blocks at the places that index's rows name, as `gather_nd` reads them; of
    equal places the last wins, or `reduce` combines: "add", "prod", "max", "min". x itself stays.

    TensorFlow tensor_scatter_nd_update, ONNX ScatterND. Raises ValueError for shapes that do not
    fit.
    """
    if reduce is not None and reduce not in REDUCE:
        raise ValueError(f"scatter_nd: expected reduce of {sorted(REDUCE)}, got {reduce!r}")
    t, i = as_tensors("scatter_nd", x, index)
    kind = REDUCE.get(reduce or "", "set")
    if kind not in ("set", "add"):
        real_only("scatter_nd", t.dtype)
    places = _tuples("scatter_nd", t, i, 0)
    v = as_value(t, source, "scatter_nd")
    shape = places[0].shape + t.shape[len(places):]
    if v.shape and v.shape != shape:
        raise ValueError(f"scatter_nd: expected values of shape {shape}, got {v.shape}")
    n = N.node("scatter", t.dtype, t.shape, (read(t), N.expand_to(read(v), shape), *places), kind)
    return derive(located("scatter_nd", n), t, v)


def _tuples(name: str, t: Tensor, index: Tensor, batch: int) -> tuple[Node, ...]:
    """One node of places for each axis that the last axis of index names."""
    count = index.shape[-1] if index.ndim else 0
    if not 0 <= batch < max(index.ndim, 1) or index.shape[:batch] != t.shape[:batch] or (
            not 1 <= count <= t.ndim - batch):
        raise ValueError(f"{name}: expected rows of 1 to {t.ndim - batch} indices for shape "
                         f"{t.shape} and {batch} batch axes, got shape {index.shape}")
    shape = index.shape[:-1]
    own = tuple(iota(dt.int64, shape, a) for a in range(batch))
    named = (index_node(name, select(index, -1, k), t.shape[batch + k]) for k in range(count))
    return (*own, *named)
