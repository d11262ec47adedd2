"""Shapes: reshape, transpose, expand, slice, join, repeat, flip, pad, windows.

Whatever a strided layout can show is a view that shares storage; the docstrings say where a
function copies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from flambeau.compiler import node as N
from flambeau.compiler.node import Node, Shape

from . import views
from .recording import accepts_dim, as_tensor, broadcast_shapes, check_axes, common_dtype
from .tensor import (
    Tensor,
    check_axis,
    check_shape,
    derive,
    look,
    mode,
    read,
    result,
)

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
        return swapaxes(t, *axes)
    if not axes or axes == (None,):
        return permute(t, tuple(reversed(range(t.ndim))))
    return permute(t, *axes)


def swapaxes(x: Any, axis0: int, axis1: int) -> Tensor:
    """A view with two axes exchanged. NumPy swapaxes, Torch7 transpose."""
    t = as_tensor("swapaxes", x)
    first, second = (check_axis("swapaxes", a, t.ndim) for a in (axis0, axis1))
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
    found = tuple(as_tensor("broadcast_tensors", x) for x in tensors)
    shape = broadcast_shapes("broadcast_tensors", *(x.shape for x in found))
    return tuple(_broadcast("broadcast_tensors", x, shape) for x in found)


def meshgrid(*tensors: Any, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinate tensors of the grid of 1-d tensors; 'xy' swaps the first two axes (NumPy's
    default), 'ij' does not. NumPy meshgrid."""
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: expected indexing 'xy' or 'ij', got {indexing!r}")
    lines = [ravel(as_tensor("meshgrid", x)) for x in tensors]
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
    return tuple(narrow(t, axis, a, max(0, b - a)) for a, b in zip(cuts, cuts[1:]))


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


@accepts_dim
def unfold(x: Any, axis: int, size: int, step: int) -> Tensor:
    """Windows of `size` elements, `step` apart, along axis; their elements as a last axis.

    Torch7 unfold, but windows that overlap are a copy.
    """
    t = as_tensor("unfold", x)
    axis = check_axis("unfold", axis, t.ndim) if t.ndim else 0
    extent = t.shape[axis] if t.ndim else 1
    if size > extent or size < 0 or step < 1:
        raise ValueError(f"unfold: expected windows inside axis {axis} of shape {t.shape}, got "
                         f"size {size}, step {step}")
    count = (extent - size) // step + 1
    if step >= size and (count * step <= extent or size == step):
        whole = narrow(t, axis, 0, count * step)
        shape = (*t.shape[:axis], count, step, *t.shape[axis + 1:])
        if _viewable(whole, shape):
            return moveaxis(narrow(look(whole, "reshape", shape), axis + 1, 0, size), axis + 1, -1)
    parts = []
    for k in range(size):
        spec, lengths = [(0, 1)] * t.ndim, list(t.shape)
        spec[axis], lengths[axis] = (k, step), count
        parts.append(unsqueeze(slice_view(t, spec, tuple(lengths)), t.ndim))
    return concatenate(parts, -1) if parts else zeros_shape(t, axis, count)


def zeros_shape(t: Tensor, axis: int, count: int) -> Tensor:
    """The windows of length 0 along an axis."""
    shape = (*t.shape[:axis], count, *t.shape[axis + 1:], 0)
    return derive(N.const(t.dtype, 0, shape), t)


# -- join ----------------------------------------------------------------------------------------


@accepts_dim
def concatenate(tensors: Sequence[Any], axis: int | None = 0) -> Tensor:
    """Tensors one after the other along axis (flattened for None); dtypes promote.

    NumPy concatenate, Torch7 cat. Raises ValueError when other extents differ.
    """
    found = tuple(as_tensor("concatenate", x) for x in tensors)
    if not found:
        raise ValueError("concatenate: expected at least one tensor, got none")
    if axis is None:
        found = tuple(ravel(x) for x in found)
        axis = 0
    first = found[0]
    axis = check_axis("concatenate", axis, first.ndim)
    for x in found:
        if x.ndim != first.ndim or any(
                a != b for i, (a, b) in enumerate(zip(x.shape, first.shape)) if i != axis):
            listed = ", ".join(str(y.shape) for y in found)
            raise ValueError(f"concatenate: expected shapes equal but for axis {axis}, got "
                             f"{listed}")
    dtype = common_dtype("concatenate", found)
    nodes = [N.cast(read(x), dtype) for x in found]
    kept = [n for n in nodes if n.shape[axis]] or nodes[:1]
    requires = mode.grad and any(x.requires_grad for x in found)
    return result(N.concat(kept, axis), requires, first._storage.device)


@accepts_dim
def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Tensors of one shape along a new axis. NumPy stack."""
    found = [as_tensor("stack", x) for x in tensors]
    if not found:
        raise ValueError("stack: expected at least one tensor, got none")
    if any(x.shape != found[0].shape for x in found):
        listed = ", ".join(str(x.shape) for x in found)
        raise ValueError(f"stack: expected equal shapes, got {listed}")
    axis = check_axis("stack", axis, found[0].ndim + 1)
    return concatenate([unsqueeze(x, axis) for x in found], axis)  # type: ignore[no-any-return]


def hstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors side by side: along axis 1, or 0 for vectors. NumPy hstack."""
    found = [atleast_1d(x) for x in tensors]
    return concatenate(found, 0 if found and found[0].ndim == 1 else 1)  # type: ignore[no-any-return]


def vstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors above each other: along axis 0, vectors as rows. NumPy vstack."""
    return concatenate([atleast_2d(x) for x in tensors], 0)  # type: ignore[no-any-return]


def dstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors along axis 2. NumPy dstack."""
    found = []
    for x in tensors:
        x = atleast_2d(x)
        found.append(x if x.ndim > 2 else unsqueeze(x, 2))
    return concatenate(found, 2)  # type: ignore[no-any-return]


# -- repeat ------------------------------------------------------------------------------------


def tile(x: Any, *reps: Any) -> Tensor:
    """x repeated whole, reps times along each axis; a copy. NumPy tile, Torch7 repeatTensor."""
    t = as_tensor("tile", x)
    counts = check_shape("tile", reps)
    counts = (1,) * (t.ndim - len(counts)) + counts
    n = read(t)
    shape = (1,) * (len(counts) - t.ndim) + t.shape
    split_ = tuple(v for e in shape for v in (1, e))
    wide = tuple(v for c, e in zip(counts, shape) for v in (c, e))
    final = tuple(c * e for c, e in zip(counts, shape))
    return derive(N.reshape(N.expand(N.reshape(n, split_), wide), final), t)


def repeat(x: Any, *reps: Any) -> Tensor:
    """x repeated whole, as `tile`, but with at least one count an axis. PyTorch repeat, Torch7
    repeatTensor. (NumPy's repeat is `repeat_interleave`.)"""
    t = as_tensor("repeat", x)
    counts = check_shape("repeat", reps)
    if len(counts) < t.ndim:
        raise ValueError(f"repeat: expected at least {t.ndim} counts for shape {t.shape}, got "
                         f"{counts}; to repeat elements use repeat_interleave")
    return tile(t, counts)


@accepts_dim
def repeat_interleave(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element repeated along axis (of the flattened tensor without); `repeats` is a count or
    one count an index, whose values are then forced. NumPy repeat."""
    t = as_tensor("repeat_interleave", x)
    if axis is None:
        t, axis = ravel(t), 0
    axis = check_axis("repeat_interleave", axis, t.ndim)
    if not isinstance(repeats, int):
        counts = as_tensor("repeat_interleave", repeats).numpy()
        import numpy as np
        index = np.repeat(np.arange(t.shape[axis]), counts)
        return t.index_select(axis, index)  # type: ignore[no-any-return]
    lead, rest = t.shape[:axis + 1], t.shape[axis + 1:]
    n = N.expand(N.reshape(read(t), (*lead, 1, *rest)), (*lead, repeats, *rest))
    return derive(N.reshape(n, (*lead[:-1], lead[-1] * repeats, *rest)), t)


@accepts_dim
def roll(x: Any, shifts: Any, axis: Any = None) -> Tensor:
    """Elements moved along axes, those beyond the end at the start again; a copy. NumPy roll."""
    t = as_tensor("roll", x)
    if axis is None:
        return reshape(roll(ravel(t), shifts, 0), t.shape)
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    moves = shifts if isinstance(shifts, tuple | list) else (shifts,) * len(axes)
    if len(moves) != len(axes):
        raise ValueError(f"roll: expected one shift an axis, got {shifts} and {axis}")
    moved = t
    for a, move in zip(axes, moves):
        a = check_axis("roll", a, t.ndim)
        extent = t.shape[a]
        if extent and move % extent:
            cut = extent - move % extent
            moved = concatenate([narrow(moved, a, cut, extent - cut), narrow(moved, a, 0, cut)], a)
    return moved if moved is not t else clone(t)


# -- pad -----------------------------------------------------------------------------------------


def pad(x: Any, widths: Any, mode: str = "constant", value: float = 0) -> Tensor:
    """x with elements added (or, for negative widths, taken off) at both ends of axes; a copy.

    widths: PyTorch's flat list, last axis first, (left, right, top, bottom, ...), or NumPy's list
    of (before, after), one pair an axis. mode: constant, reflect, replicate (edge), circular (wrap).
    """
    t = as_tensor("pad", x)
    pairs = _pad_pairs(t, widths)
    kinds = {"constant": "constant", "reflect": "reflect", "replicate": "replicate",
             "edge": "replicate", "circular": "circular", "wrap": "circular"}
    if mode not in kinds:
        raise ValueError(f"pad: expected mode {', '.join(kinds)}, got {mode!r}")
    if kinds[mode] == "constant":
        return derive(_pad_constant(read(t), pairs, value), t)
    for axis, (before, after) in enumerate(pairs):
        t = _pad_axis(t, axis, before, after, kinds[mode])
    return t if t is not x else clone(t)


def _pad_pairs(t: Tensor, widths: Any) -> list[tuple[int, int]]:
    if isinstance(widths, int):
        return [(widths, widths)] * t.ndim
    widths = list(widths)
    if widths and not isinstance(widths[0], int):
        pairs = [(int(a), int(b)) for a, b in widths]
        pairs = pairs * t.ndim if len(pairs) == 1 else pairs
    else:
        if len(widths) % 2 or len(widths) > 2 * t.ndim:
            raise ValueError(f"pad: expected pairs of widths for shape {t.shape}, got {widths}")
        pairs = [(widths[i], widths[i + 1]) for i in range(0, len(widths), 2)][::-1]
        pairs = [(0, 0)] * (t.ndim - len(pairs)) + pairs
    if len(pairs) != t.ndim:
        raise ValueError(f"pad: expected {t.ndim} pairs for shape {t.shape}, got {len(pairs)}")
    if any(e + a + b < 0 for e, (a, b) in zip(t.shape, pairs)):
        raise ValueError(f"pad: expected to leave 0 or more elements of {t.shape}, got {pairs}")
    return pairs


def _pad_constant(n: Node, pairs: Sequence[tuple[int, int]], value: float) -> Node:
    starts = tuple(max(0, -a) for a, _ in pairs)
    lengths = tuple(max(0, e - max(0, -a) - max(0, -b)) for e, (a, b) in zip(n.shape, pairs))
    shape = tuple(e + a + b for e, (a, b) in zip(n.shape, pairs))
    if 0 in lengths:
        return N.const(n.dtype, value, shape)
    n = N.slice_(n, starts, lengths, (1,) * len(pairs))
    return N.pad(n, tuple(max(0, a) for a, _ in pairs), shape, value)


def _pad_axis(t: Tensor, axis: int, before: int, after: int, kind: str) -> Tensor:
    """One axis padded with the tensor's own elements."""
    if before < 0 or after < 0:
        taken = narrow(t, axis, max(0, -before),
                       t.shape[axis] - max(0, -before) - max(0, -after))
        return _pad_axis(taken, axis, max(0, before), max(0, after), kind)
    if before == after == 0:
        return t
    extent = t.shape[axis]
    room = {"reflect": extent - 1, "circular": extent, "replicate": before + after}[kind]
    if extent == 0 or max(before, after) > room:
        raise ValueError(f"pad: expected widths up to {room} for {kind} on axis {axis} of shape "
                         f"{t.shape}, got {(before, after)}")
    front, back = _pad_ends(t, axis, before, after, kind)
    return concatenate([front, t, back], axis)  # type: ignore[no-any-return]


def _pad_ends(t: Tensor, axis: int, before: int, after: int, kind: str) -> tuple[Tensor, Tensor]:
    extent = t.shape[axis]
    if kind == "reflect":
        return (flip(narrow(t, axis, 1, before), axis),
                flip(narrow(t, axis, extent - 1 - after, after), axis))
    if kind == "circular":
        return narrow(t, axis, extent - before, before), narrow(t, axis, 0, after)
    shapes = [(*t.shape[:axis], width, *t.shape[axis + 1:]) for width in (before, after)]
    return (_broadcast("pad", narrow(t, axis, 0, 1), shapes[0]),
            _broadcast("pad", narrow(t, axis, extent - 1, 1), shapes[1]))
