"""Statistical, utility and main linear algebra functions of the Array API standard."""

from __future__ import annotations

from typing import Any

import flambeau as fb
from flambeau import Tensor

Axes = int | tuple[int, ...] | None


def cumulative_prod(x: Tensor, /, *, axis: int | None = None, dtype: Any = None,
                    include_initial: bool = False) -> Tensor:
    """Running products, with a leading 1 if asked."""
    return fb.cumulative_prod(x, axis=axis, dtype=dtype, include_initial=include_initial)


def cumulative_sum(x: Tensor, /, *, axis: int | None = None, dtype: Any = None,
                   include_initial: bool = False) -> Tensor:
    """Running sums, with a leading 0 if asked."""
    return fb.cumulative_sum(x, axis=axis, dtype=dtype, include_initial=include_initial)


def max(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The largest element over axes; NaN wins."""
    return fb.amax(x, axis, keepdims)


def mean(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean over axes."""
    return fb.mean(x, axis, keepdims)


def min(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The smallest element over axes; NaN wins."""
    return fb.amin(x, axis, keepdims)


def prod(x: Tensor, /, *, axis: Axes = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """The product over axes."""
    return fb.prod(x, axis, keepdims, dtype=dtype)


def std(x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False
        ) -> Tensor:
    """The standard deviation over axes, divided by n - correction."""
    return fb.std(x, axis, keepdims, correction=correction)


def sum(x: Tensor, /, *, axis: Axes = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """The sum over axes."""
    return fb.sum(x, axis, keepdims, dtype=dtype)


def var(x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False
        ) -> Tensor:
    """The variance over axes, divided by n - correction."""
    return fb.var(x, axis, keepdims, correction=correction)


# -- utility ---------------------------------------------------------------------------------------


def all(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Is every element other than 0?"""
    return fb.all(x, axis, keepdims)


def any(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Is any element other than 0?"""
    return fb.any(x, axis, keepdims)


def diff(x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None,
         append: Tensor | None = None) -> Tensor:
    """Differences of neighbours along axis, n times."""
    return fb.diff(x, n, axis, prepend, append)


# -- products --------------------------------------------------------------------------------------


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The matrix product."""
    return fb.matmul(x1, x2)


def matrix_transpose(x: Tensor, /) -> Tensor:
    """The last two axes exchanged."""
    return fb.matrix_transpose(x)


def tensordot(x1: Tensor, x2: Tensor, /, *, axes: Any = 2) -> Tensor:
    """Sums of products over pairs of axes."""
    return fb.tensordot(x1, x2, axes)


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Inner products along an axis, the first operand conjugated."""
    return fb.vecdot(x1, x2, axis)


__all__ = [
    "all", "any", "cumulative_prod", "cumulative_sum", "diff", "matmul", "matrix_transpose",
    "max", "mean", "min", "prod", "std", "sum", "tensordot", "var", "vecdot",
]
