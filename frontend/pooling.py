"""Pooling to a given size, and back: adaptive windows, and elements put where a maximum was."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import reductions as r
from .convolution import avg_pool, max_pool
from .creation import zeros_like
from .indexing import scatter
from .joining import concatenate
from .movement import broadcast_to, narrow, reshape
from .recording import as_tensor, as_tensors
from .tensor import Tensor


def adaptive_avg_pool(x: Any, output_size: Any) -> Tensor:
    """Means of windows that share the last axes of x out evenly: (..., *output_size).

    output_size: one integer an axis; None keeps an axis. Window i of n over an extent e is
    [floor(i e / n), ceil((i + 1) e / n)). PyTorch adaptive_avg_pool2d, Torch7
    nn.SpatialAdaptiveAveragePooling. Raises ValueError for sizes below 1 or too many of them.
    """
    return _adaptive("adaptive_avg_pool", x, output_size, avg_pool, r.mean)


def adaptive_max_pool(x: Any, output_size: Any) -> Tensor:
    """The largest elements of windows that share the last axes of x out evenly, as
    `adaptive_avg_pool` cuts them. Torch7 nn.SpatialAdaptiveMaxPooling."""
    return _adaptive("adaptive_max_pool", x, output_size, max_pool, r.amax)


def _adaptive(name: str, x: Any, output_size: Any, windows: Callable[..., Any],
              whole: Callable[..., Tensor]) -> Tensor:
    t = as_tensor(name, x)
    sizes = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size,)
    lead = t.ndim - len(sizes)
    if lead < 1 or any(s is not None and s < 1 for s in sizes):
        raise ValueError(f"{name}: expected at most {t.ndim - 1} sizes from 1 for shape {t.shape}, "
                         f"got {output_size}")
    wanted = [e if s is None else s for s, e in zip(sizes, t.shape[lead:])]
    if all(e and e % s == 0 for s, e in zip(wanted, t.shape[lead:])):
        flat = reshape(t, (math.prod(t.shape[:lead]), 1, *t.shape[lead:]))
        kernel = tuple(e // s for s, e in zip(wanted, t.shape[lead:]))
        made = windows(flat, kernel, rank=len(kernel))
        return reshape(made, (*t.shape[:lead], *wanted))
    for axis, size in enumerate(wanted, lead):
        extent = t.shape[axis]
        parts = []
        for i in range(size):
            start, stop = i * extent // size, -(-(i + 1) * extent // size)
            parts.append(whole(narrow(t, axis, start, stop - start), axis, True))
        t = concatenate(parts, axis)
    return t


def max_unpool(x: Any, indices: Any, output_size: Any) -> Tensor:
    """Zeros of shape (n, c, *output_size) with x's elements (n, c, y...) at `indices`, the
    positions in the plane that `max_pool` gives with return_indices. Torch7
    nn.SpatialMaxUnpooling. Raises ValueError for shapes that do not fit.
    """
    t, i = as_tensors("max_unpool", x, indices)
    sizes = tuple(output_size)
    lead = t.ndim - len(sizes)
    if i.shape != t.shape or lead < 1:
        raise ValueError(f"max_unpool: expected indices of shape {t.shape} and at most "
                         f"{t.ndim - 1} sizes, got {i.shape} and {output_size}")
    rows = (math.prod(t.shape[:lead]), math.prod(t.shape[lead:]))
    plane = broadcast_to(zeros_like(reshape(t, rows)[:, :1]), (rows[0], math.prod(sizes)))
    made = scatter(plane, 1, reshape(i, rows), reshape(t, rows))
    return reshape(made, (*t.shape[:lead], *sizes))
