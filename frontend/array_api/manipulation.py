"""Manipulation, indexing, searching, sorting and set functions of the Array API standard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flambeau as fb
from flambeau import Tensor
from flambeau.sets import UniqueAll, UniqueCounts, UniqueInverse

Axes = int | tuple[int, ...] | None


def broadcast_arrays(*arrays: Tensor) -> tuple[Tensor, ...]:
    """The tensors in their common shape."""
    return fb.broadcast_tensors(*arrays)


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which shapes broadcast."""
    return fb.broadcast_shapes(*shapes)


def broadcast_to(x: Tensor, /, shape: tuple[int, ...]) -> Tensor:
    """x repeated to a shape."""
    return fb.broadcast_to(x, shape)


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """Tensors joined along an axis (flattened with None)."""
    return fb.concatenate(arrays, axis)


def expand_dims(x: Tensor, /, axis: int | tuple[int, ...] = 0) -> Tensor:
    """New axes of length 1 at those positions of the result."""
    return fb.expand_dims(x, axis)


def flip(x: Tensor, /, *, axis: Axes = None) -> Tensor:
    """Axes in reverse order."""
    return fb.flip(x, axis)


def moveaxis(x: Tensor, source: Any, destination: Any, /) -> Tensor:
    """Axes moved to other positions."""
    return fb.moveaxis(x, source, destination)


def permute_dims(x: Tensor, /, axes: tuple[int, ...]) -> Tensor:
    """Axes in another order."""
    return fb.permute(x, axes)


def repeat(x: Tensor, repeats: Any, /, *, axis: int | None = None) -> Tensor:
    """Each element repeated."""
    return fb.repeat_interleave(x, repeats, axis)


def reshape(x: Tensor, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Tensor:
    """The elements in another shape. copy=False raises ValueError where they must be copied."""
    if copy:
        return fb.reshape(fb.clone(x), shape)
    return x.view(shape) if copy is False else fb.reshape(x, shape)  # type: ignore[no-any-return]


def roll(x: Tensor, /, shift: Any, *, axis: Axes = None) -> Tensor:
    """Elements moved along axes, those beyond the end at the start again."""
    return fb.roll(x, shift, axis)


def squeeze(x: Tensor, /, axis: int | tuple[int, ...]) -> Tensor:
    """x without axes of length 1. Raises ValueError for other lengths."""
    for a in axis if isinstance(axis, tuple) else (axis,):
        if -x.ndim <= a < x.ndim and x.shape[a] != 1:
            raise ValueError(f"squeeze: expected axes of length 1, got axis {a} of shape {x.shape}")
    return fb.squeeze(x, axis)


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Tensors joined along a new axis."""
    return fb.stack(arrays, axis)


def tile(x: Tensor, repetitions: tuple[int, ...], /) -> Tensor:
    """x repeated side by side."""
    return fb.tile(x, repetitions)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices along an axis."""
    return fb.unbind(x, axis)


# -- indexing and searching ------------------------------------------------------------------------


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """Elements at indices along an axis, which only a vector may leave out."""
    if axis is None and x.ndim != 1:
        raise ValueError(f"take: expected an axis for shape {x.shape}, got none")
    return fb.take(x, indices, axis)


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """For each line along axis, its elements at the line's indices."""
    return fb.take_along_axis(x, indices, axis)


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the largest element is."""
    return fb.argmax(x, axis, keepdims)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the smallest element is."""
    return fb.argmin(x, axis, keepdims)


def count_nonzero(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """How many elements are other than 0."""
    return fb.count_nonzero(x, axis, keepdims)


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """The indices of the elements other than 0, one tensor an axis."""
    if x.ndim == 0:
        raise ValueError("nonzero: expected at least one axis, got a 0-d tensor")
    return fb.nonzero(x, as_tuple=True)  # type: ignore[no-any-return]


def searchsorted(x1: Tensor, x2: Any, /, *, side: str = "left", sorter: Tensor | None = None
                 ) -> Tensor:
    """Where x2's elements go in the sorted x1."""
    return fb.searchsorted(x1, x2, side, sorter=sorter)


def where(condition: Tensor, x1: Any, x2: Any, /) -> Tensor:
    """x1 where condition, else x2."""
    return fb.where(condition, x1, x2)  # type: ignore[no-any-return]


# -- order and sets --------------------------------------------------------------------------------


def argsort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True
            ) -> Tensor:
    """The indices that sort x along axis."""
    return fb.argsort(x, axis, descending)


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The values in order along axis."""
    return fb.sort(x, axis, descending).values


def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Tensor:
    """Is each element of x1 among x2's?"""
    return fb.isin(x1, x2, invert)


def unique_all(x: Tensor, /) -> UniqueAll:
    """Distinct elements, where each is first, the inverse and counts."""
    return fb.unique_all(x)


def unique_counts(x: Tensor, /) -> UniqueCounts:
    """Distinct elements and how often each occurs."""
    return fb.unique_counts(x)


def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """Distinct elements and which of them each element is."""
    return fb.unique_inverse(x)


def unique_values(x: Tensor, /) -> Tensor:
    """Distinct elements."""
    return fb.unique_values(x)


__all__ = [
    "argmax", "argmin", "argsort", "broadcast_arrays", "broadcast_shapes", "broadcast_to",
    "concat", "count_nonzero", "expand_dims", "flip", "isin", "moveaxis", "nonzero",
    "permute_dims", "repeat", "reshape", "roll", "searchsorted", "sort", "squeeze", "stack",
    "take", "take_along_axis", "tile", "unique_all", "unique_counts", "unique_inverse",
    "unique_values", "unstack", "where",
]
