"""Copies that rearrange: concatenate, stack, tile, repeat, roll, pad, unfold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from flambeau.compiler import node as N
from flambeau.compiler.node import Node

from .creation import constant
from .movement import (
    _broadcast,
    _viewable,
    atleast_1d,
    atleast_2d,
    clone,
    flip,
    moveaxis,
    narrow,
    ravel,
    reshape,
    slice_view,
    unsqueeze,
)
from .recording import accepts_dim, as_tensor, common_dtype
from .tensor import Tensor, check_axis, check_shape, derive, look, mode, read, result

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
    of (before, after), one pair an axis. mode: constant, reflect, replicate (or edge), circular
    (or wrap).
    """
    t = as_tensor("pad", x)
    pairs = _pad_pairs(t, widths)
    kinds = {"constant": "constant", "reflect": "reflect", "replicate": "replicate",
             "symmetric": "symmetric",
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
        return constant(n.dtype, value, shape)
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
    room = {"reflect": extent - 1, "circular": extent, "symmetric": extent,
            "replicate": before + after}[kind]
    if extent == 0 or max(before, after) > room:
        raise ValueError(f"pad: expected widths up to {room} for {kind} on axis {axis} of shape "
                         f"{t.shape}, got {(before, after)}")
    front, back = _pad_ends(t, axis, before, after, kind)
    return concatenate([front, t, back], axis)  # type: ignore[no-any-return]


def _pad_ends(t: Tensor, axis: int, before: int, after: int, kind: str) -> tuple[Tensor, Tensor]:
    extent = t.shape[axis]
    if kind in ("reflect", "symmetric"):
        skip = int(kind == "reflect")  # the edge itself
        return (flip(narrow(t, axis, skip, before), axis),
                flip(narrow(t, axis, extent - skip - after, after), axis))
    if kind == "circular":
        return narrow(t, axis, extent - before, before), narrow(t, axis, 0, after)
    shapes = [(*t.shape[:axis], width, *t.shape[axis + 1:]) for width in (before, after)]
    return (_broadcast("pad", narrow(t, axis, 0, 1), shapes[0]),
            _broadcast("pad", narrow(t, axis, extent - 1, 1), shapes[1]))


# -- windows -------------------------------------------------------------------------------------


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
    return derive(constant(t.dtype, 0, shape), t)
