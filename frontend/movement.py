"""Shapes as views: reshape, transpose, expand, narrow, select, split, flip, diagonal.

Whatever a strided layout can show is a view that shares storage; the docstrings say where a
function copies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from flambeau.compiler import node as N
from flambeau.compiler.node import Node, Shape

from . import realize as door
from . import views
from .recording import accepts_dim, as_tensor, as_tensors, broadcast_shapes, check_axes
from .tensor import Tensor, check_axis, check_shape, derive, look, read

# -- reshape -------------------------------------------------------------------------------------


def _resolve(name: str, x: Tensor, shape: tuple[Any, ...]) -> Shape:
    """The target shape with its -1 worked out."""
    if len(shape) == 1 and not hasattr(shape[0], "__index__"):
        shape = tuple(shape[0])
    given = tuple(e.__index__() for e in shape)
    size = int(x.size)
    if -1 in given:
        known = math.prod(e for e in given if e != -1)
        if given.count(-1) > 1 or known == 0 or size % known:
            raise ValueError(f"{name}: expected a shape for {size} elements, got {given} for a "
                             f"tensor of shape {x.shape}")
        given = tuple(size // known if e == -1 else e for e in given)
    if any(e < 0 for e in given) or math.prod(given) != size:
        raise ValueError(f"{name}: expected a shape for {size} elements, got {given} for a "
                         f"tensor of shape {x.shape}")
    return given


def _viewable(x: Tensor, shape: Shape) -> bool:
    if x._view is None:
        return True
    return views.reshape_strides(x.shape, x._layout()[0], shape) is not None


def reshape(x: Any, *shape: Any) -> Tensor:
    """x in another shape, row-major: a view where the layout allows one, else a copy.

    One extent may be -1. NumPy and Torch7 reshape (Torch7 always copied). Raises ValueError when
    the numbers of elements differ.
    """
    t = as_tensor("reshape", x)
    wanted = _resolve("reshape", t, shape)
    if wanted == t.shape:
        return t
    if _viewable(t, wanted):
        return look(t, "reshape", wanted)
    return derive(N.reshape(read(t), wanted), t)


def view(x: Tensor, *shape: Any) -> Tensor:
    """x in another shape, sharing storage; one extent may be -1. Torch7 view.

    A dtype as the argument reinterprets the bits, as NumPy's view(dtype), in a copy. Raises
    ValueError when the layout cannot show the shape: use `reshape` or `contiguous().view`.
    """
    if len(shape) == 1 and (isinstance(shape[0], str) or not (
            hasattr(shape[0], "__index__") or hasattr(shape[0], "__len__"))):
        return x.bitcast(shape[0])  # type: ignore[no-any-return]
    wanted = _resolve("view", x, shape)
    if not _viewable(x, wanted):
        raise ValueError(f"view: expected a layout that shows shape {wanted}, got shape {x.shape} "
                         f"with strides {x.stride()}; use reshape, which copies")
    return look(x, "reshape", wanted)


def view_as(x: Tensor, other: Tensor) -> Tensor:
    """`view` in other's shape. Torch7 viewAs."""
    return view(x, other.shape)


def reshape_as(x: Tensor, other: Tensor) -> Tensor:
    """`reshape` to other's shape. PyTorch reshape_as."""
    return reshape(x, other.shape)


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes start_dim to end_dim (inclusive) as one; a view where possible. PyTorch flatten."""
    t = as_tensor("flatten", x)
    if not t.shape:
        return reshape(t, 1)
    first, last = (check_axis("flatten", d, t.ndim) for d in (start_dim, end_dim))
    if last < first:
        raise ValueError(f"flatten: expected start_dim up to end_dim, got {start_dim} and "
                         f"{end_dim}")
    middle = math.prod(t.shape[first:last + 1])
    return reshape(t, (*t.shape[:first], middle, *t.shape[last + 1:]))


def unflatten(x: Any, axis: int, sizes: Sequence[int]) -> Tensor:
    """One axis as several of those sizes (one may be -1). PyTorch unflatten."""
    t = as_tensor("unflatten", x)
    axis = check_axis("unflatten", axis, t.ndim)
    known = math.prod(e for e in sizes if e != -1)
    fitted = tuple(t.shape[axis] // max(known, 1) if e == -1 else e for e in sizes)
    return reshape(t, (*t.shape[:axis], *fitted, *t.shape[axis + 1:]))


def ravel(x: Any) -> Tensor:
    """x as one axis; a view where possible. NumPy ravel."""
    return reshape(x, -1) if as_tensor("ravel", x).size else reshape(x, 0)


def contiguous(x: Tensor) -> Tensor:
    """x itself if its layout is row-major, else a copy. Torch7 contiguous."""
    return x if x.is_contiguous() else clone(x)


def clone(x: Any) -> Tensor:
    """A copy with storage of its own; gradients flow through. Torch7 clone, NumPy copy."""
    t = as_tensor("clone", x)
    if t._storage.shared is not None:  # now, before the other owner of the memory changes it
        return derive(door.leaf_of(t.numpy(), t.dtype), t)
    return derive(read(t), t)


@accepts_dim
def squeeze(x: Any, axis: Any = None) -> Tensor:
    """x without its axes of length 1 (or without those given, which must be). A view.

    NumPy and Torch7 squeeze; as in Torch7, a given axis of another length is left.
    """
    t = as_tensor("squeeze", x)
    axes = check_axes("squeeze", axis, t.ndim)
    shape = tuple(e for i, e in enumerate(t.shape) if i not in axes or e != 1)
    return t if shape == t.shape else look(t, "reshape", shape)


@accepts_dim
def unsqueeze(x: Any, axis: int) -> Tensor:
    """A view with a new axis of length 1 at `axis`. PyTorch unsqueeze, NumPy expand_dims."""
    t = as_tensor("unsqueeze", x)
    axis = check_axis("unsqueeze", axis, t.ndim + 1)
    return look(t, "reshape", (*t.shape[:axis], 1, *t.shape[axis:]))


@accepts_dim
def expand_dims(x: Any, axis: Any) -> Tensor:
    """A view with new axes of length 1 at those positions of the result. NumPy expand_dims."""
    t = as_tensor("expand_dims", x)
    count = len(axis) if isinstance(axis, tuple | list) else 1
    for a in check_axes("expand_dims", axis, t.ndim + count):
        t = unsqueeze(t, a)
    return t


def atleast_1d(x: Any) -> Tensor:
    """x, with an axis if it has none. NumPy atleast_1d."""
    t = as_tensor("atleast_1d", x)
    return t if t.shape else look(t, "reshape", (1,))


def atleast_2d(x: Any) -> Tensor:
    """x, with axes in front up to two. NumPy atleast_2d."""
    t = atleast_1d(x)
    return t if t.ndim >= 2 else unsqueeze(t, 0)


# -- permute -------------------------------------------------------------------------------------


def permute(x: Any, *order: Any) -> Tensor:
    """A view whose axis i is x's axis order[i]. Torch7 permute; NumPy transpose(axes)."""
    t = as_tensor("permute", x)
    if len(order) == 1 and not hasattr(order[0], "__index__"):
        order = tuple(order[0])
    axes = tuple(check_axis("permute", a, t.ndim) for a in order)
    if len(axes) != t.ndim or len(set(axes)) != t.ndim:
        raise ValueError(f"permute: expected each of {t.ndim} axes once, got {order}")
    if axes == tuple(range(t.ndim)):
        return t
    return look(t, "permute", tuple(t.shape[a] for a in axes), axes)


def transpose(x: Any, *axes: Any) -> Tensor:
    """A view with two axes exchanged, `transpose(x, 0, 1)` (Torch7); with all axes reversed,
    `transpose(x)`, or in the order of a tuple, `transpose(x, (2, 0, 1))` (NumPy)."""
    t = as_tensor("transpose", x)
    if len(axes) == 2:
        return _exchanged("transpose", t, *axes)
    if not axes or axes == (None,):
        return permute(t, tuple(reversed(range(t.ndim))))
    return permute(t, *axes)


def swapaxes(x: Any, axis0: int, axis1: int) -> Tensor:
    """A view with two axes exchanged. NumPy swapaxes, Torch7 transpose."""
    return _exchanged("swapaxes", as_tensor("swapaxes", x), axis0, axis1)


def _exchanged(name: str, t: Tensor, axis0: int, axis1: int) -> Tensor:
    first, second = (check_axis(name, a, t.ndim) for a in (axis0, axis1))
    order = list(range(t.ndim))
    order[first], order[second] = second, first
    return permute(t, order)


def moveaxis(x: Any, source: Any, destination: Any) -> Tensor:
    """A view with axes moved to other positions, the rest in order. NumPy moveaxis."""
    t = as_tensor("moveaxis", x)
    src, dst = (tuple(check_axis("moveaxis", a, t.ndim)
                      for a in (v if isinstance(v, tuple | list) else (v,)))
                for v in (source, destination))
    if len(src) != len(dst) or len(set(src)) != len(src) or len(set(dst)) != len(dst):
        raise ValueError(f"moveaxis: expected as many distinct sources as destinations, got "
                         f"{source} and {destination}")
    order = [a for a in range(t.ndim) if a not in src]
    for place, a in sorted(zip(dst, src)):
        order.insert(place, a)
    return permute(t, order)


def t(x: Any) -> Tensor:
    """The transpose of a matrix, a view; vectors stay. Torch7 t. Raises ValueError beyond 2-d."""
    x = as_tensor("t", x)
    if x.ndim > 2:
        raise ValueError(f"t: expected at most 2 axes, got shape {x.shape}")
    return swapaxes(x, 0, 1) if x.ndim == 2 else x


def matrix_transpose(x: Any) -> Tensor:
    """A view with the last two axes exchanged. NumPy matrix_transpose."""
    x = as_tensor("matrix_transpose", x)
    if x.ndim < 2:
        raise ValueError(f"matrix_transpose: expected at least 2 axes, got shape {x.shape}")
    return swapaxes(x, -1, -2)


# -- expand --------------------------------------------------------------------------------------


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """A view of that shape in which axes of length 1 repeat; it refuses writes. NumPy's.

    Raises ValueError when x does not broadcast to shape.
    """
    t = as_tensor("broadcast_to", x)
    return _broadcast("broadcast_to", t, check_shape("broadcast_to", tuple(shape)))


def _broadcast(name: str, t: Tensor, shape: Shape) -> Tensor:
    if shape == t.shape:
        return t
    if len(shape) < t.ndim or broadcast_shapes(name, t.shape, shape) != shape:
        raise ValueError(f"{name}: expected a shape that {t.shape} broadcasts to, got {shape}")
    if len(shape) > t.ndim:
        t = look(t, "reshape", (1,) * (len(shape) - t.ndim) + t.shape)
    return look(t, "expand", shape)


def expand(x: Any, *shape: Any) -> Tensor:
    """`broadcast_to`, where an extent of -1 keeps x's. Torch7 expand."""
    t = as_tensor("expand", x)
    if len(shape) == 1 and not hasattr(shape[0], "__index__"):
        shape = tuple(shape[0])
    lead = len(shape) - t.ndim
    wanted = tuple(t.shape[i - lead] if e == -1 and i >= lead else e
                   for i, e in enumerate(shape))
    return _broadcast("expand", t, check_shape("expand", wanted))


def expand_as(x: Any, other: Tensor) -> Tensor:
    """`expand` to other's shape. Torch7 expandAs."""
    return expand(x, other.shape)


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """Views of all tensors in their common shape. NumPy broadcast_arrays."""
    found = as_tensors("broadcast_tensors", *tensors)
    shape = broadcast_shapes("broadcast_tensors", *(x.shape for x in found))
    return tuple(_broadcast("broadcast_tensors", x, shape) for x in found)


def meshgrid(*tensors: Any, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinate tensors of the grid of 1-d tensors; 'xy' swaps the first two axes (NumPy's
    default), 'ij' does not. NumPy meshgrid."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: expected indexing 'xy' or 'ij', got {indexing!r}")
    lines = [ravel(x) for x in as_tensors("meshgrid", *tensors)]
    count = len(lines)
    shape = tuple(x.shape[0] for x in lines)
    grids = tuple(
        broadcast_to(reshape(x, (1,) * i + x.shape + (1,) * (count - i - 1)), shape)
        for i, x in enumerate(lines))
    return tuple(swapaxes(g, 0, 1) for g in grids) if indexing == "xy" and count > 1 else grids


# -- slices --------------------------------------------------------------------------------------


def slice_view(t: Tensor, spec: Sequence[tuple[int, int]], lengths: Shape) -> Tensor:
    """The view with those (start, step) on every axis; starts are inside."""
    clean = tuple((0, 1) if n == 0 else (a, s if n > 1 else 1) for (a, s), n in zip(spec, lengths))
    return look(t, "slice", lengths, clean)


@accepts_dim
def narrow(x: Any, axis: int, start: int, length: int) -> Tensor:
    """A view of `length` elements along axis from `start`. Torch7 narrow.

    Raises IndexError outside the tensor.
    """
    t = as_tensor("narrow", x)
    axis = check_axis("narrow", axis, t.ndim)
    extent = t.shape[axis]
    begin = start + extent if start < 0 else start
    if not (0 <= begin <= extent and 0 <= length <= extent - begin):
        raise IndexError(f"narrow: expected a range inside axis {axis} of shape {t.shape}, got "
                         f"start {start}, length {length}")
    spec = [(0, 1)] * t.ndim
    spec[axis] = (begin, 1)
    return slice_view(t, spec, (*t.shape[:axis], length, *t.shape[axis + 1:]))


@accepts_dim
def select(x: Any, axis: int, index: int) -> Tensor:
    """A view without `axis`, at one index of it. Torch7 select. Raises IndexError."""
    t = as_tensor("select", x)
    axis = check_axis("select", axis, t.ndim)
    extent, index = t.shape[axis], index.__index__()
    if not -extent <= index < extent:
        raise IndexError(f"select: expected an index in [{-extent}, {extent}) for axis {axis} of "
                         f"shape {t.shape}, got {index}")
    part = narrow(t, axis, index % extent, 1)
    return look(part, "reshape", (*t.shape[:axis], *t.shape[axis + 1:]))


@accepts_dim
def split(x: Any, sizes: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """Views of `sizes` elements each along axis, the last maybe shorter, or of the listed sizes.

    Torch7 split. (NumPy's split counts sections: see `chunk`, `array_split`.)
    """
    t = as_tensor("split", x)
    axis = check_axis("split", axis, t.ndim)
    extent = t.shape[axis]
    if isinstance(sizes, int):
        if sizes < 1:
            raise ValueError(f"split: expected a size of 1 or more, got {sizes}")
        sizes = [min(sizes, extent - i) for i in range(0, max(extent, 1), sizes)]
    elif sum(sizes) != extent:
        raise ValueError(f"split: expected sizes that sum to {extent}, got {list(sizes)}")
    parts, start = [], 0
    for size in sizes:
        parts.append(narrow(t, axis, start, size))
        start += size
    return tuple(parts)


@accepts_dim
def chunk(x: Any, chunks: int, axis: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` views of equal length along axis, the last maybe shorter. Torch7 chunk."""
    t = as_tensor("chunk", x)
    axis = check_axis("chunk", axis, t.ndim)
    if chunks < 1:
        raise ValueError(f"chunk: expected 1 or more chunks, got {chunks}")
    return split(t, max(1, -(-t.shape[axis] // chunks)), axis)


@accepts_dim
def array_split(x: Any, sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """Views of nearly equal length, or cut at the listed positions. NumPy array_split."""
    t = as_tensor("array_split", x)
    axis = check_axis("array_split", axis, t.ndim)
    extent = t.shape[axis]
    if isinstance(sections, int):
        small, large = divmod(extent, sections)
        return split(t, [small + (i < large) for i in range(sections)], axis)
    cuts = [0, *(min(max(c + extent if c < 0 else c, 0), extent) for c in sections), extent]
    return tuple(narrow(t, axis, a, max(0, b - a)) for a, b in pairwise(cuts))


@accepts_dim
def unbind(x: Any, axis: int = 0) -> tuple[Tensor, ...]:
    """The views at every index of axis. PyTorch unbind."""
    t = as_tensor("unbind", x)
    axis = check_axis("unbind", axis, t.ndim)
    return tuple(select(t, axis, i) for i in range(t.shape[axis]))


@accepts_dim
def flip(x: Any, axis: Any = None) -> Tensor:
    """x reversed along axes (all without): a view with negative steps. NumPy flip."""
    t = as_tensor("flip", x)
    axes = check_axes("flip", axis, t.ndim)
    spec = [(max(e - 1, 0), -1) if i in axes else (0, 1) for i, e in enumerate(t.shape)]
    return slice_view(t, spec, t.shape)


def fliplr(x: Any) -> Tensor:
    """x reversed along axis 1, a view. NumPy fliplr."""
    return flip(x, 1)


def flipud(x: Any) -> Tensor:
    """x reversed along axis 0, a view. NumPy flipud."""
    return flip(x, 0)


def rot90(x: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Tensor:
    """x turned k times by 90 degrees in the plane of two axes, a view. NumPy rot90."""
    t = as_tensor("rot90", x)
    first, second = (check_axis("rot90", a, t.ndim) for a in axes)
    if first == second:
        raise ValueError(f"rot90: expected two different axes, got {axes}")
    k %= 4
    if k == 0:
        return t
    if k == 2:
        return flip(flip(t, first), second)
    if k == 1:
        return swapaxes(flip(t, second), first, second)
    return flip(swapaxes(t, first, second), second)


@accepts_dim
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The diagonals of the planes of two axes, as a last axis (a copy). NumPy diagonal."""
    t = as_tensor("diagonal", x)
    first, second = (check_axis("diagonal", a, t.ndim) for a in (axis1, axis2))
    if first == second:
        raise ValueError(f"diagonal: expected two different axes, got {axis1} and {axis2}")
    n = read(moveaxis(t, (first, second), (-2, -1)))
    rows, columns = n.shape[-2:]
    row, column = max(0, -offset), max(0, offset)
    length = max(0, min(rows - row, columns - column))
    return derive(_diagonal_node(n, row, column, length), t)


def _diagonal_node(n: Node, row: int, column: int, length: int) -> Node:
    """A diagonal of the last two axes: rows of columns + 1 elements start on it."""
    lead = n.shape[:-2]
    columns = n.shape[-1]
    if length == 0:
        return N.slice_(N.reshape(n, (*lead, n.shape[-2] * columns)), (0,) * (len(lead) + 1),
                        (*lead, 0), (1,) * (len(lead) + 1))
    flat = N.reshape(n, (*lead, n.shape[-2] * columns))
    start = row * columns + column
    starts, steps = (0,) * len(lead) + (start,), (1,) * len(lead) + (columns + 1,)
    return N.slice_(flat, starts, (*lead, length), steps)
