"""A view by size, stride and offset over a flat tensor, made of slices and reshapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor

Axis = tuple[int, int]  # stride, extent


def strided(flat: Tensor, size: tuple[int, ...], stride: tuple[int, ...], offset: int
            ) -> Tensor | None:
    """The view; None where no slices and reshapes of row-major memory show it, as for windows that
    overlap. The caller has checked that all elements lie inside and no stride is negative."""
    if 0 in size:
        return None
    order = sorted((i for i, (e, s) in enumerate(zip(size, stride)) if e > 1 and s > 0),
                   key=lambda i: -stride[i])
    found = _nested(flat, offset, [(stride[i], size[i]) for i in order])
    if found is None:
        return None
    order += [i for i in range(len(size)) if i not in order]
    kept = tuple(e if s > 0 else 1 for e, s in zip(size, stride))
    if [i for i in order if kept[i] > 1] == [i for i in range(len(size)) if kept[i] > 1]:
        found = found.reshape(kept)  # axes in order: those of length 1 stand where they were
    else:
        found = found.reshape(tuple(kept[i] for i in order))
        found = found.permute(*(order.index(i) for i in range(len(size))))
    return found.expand(*size) if found.shape != size else found


def _nested(x: Tensor, offset: int, axes: list[Axis]) -> Tensor | None:
    """Cuts the last axis of x into `axes`, strides falling, from offset on."""
    if not axes:
        return x[..., offset:offset + 1]
    (step, count), inner = axes[0], axes[1:]
    if not inner:
        return x[..., offset:offset + (count - 1) * step + 1:step]
    reach = 1 + sum((e - 1) * s for s, e in inner)
    # rows of `step` elements that begin at the offset, or so much before it that they fit
    start = min(offset, x.shape[-1] - count * step)
    if start < 0 or offset - start + reach > step:
        return None
    rows = x[..., start:start + count * step].reshape(*x.shape[:-1], count, step)
    return _nested(rows, offset - start, inner)


def copied(flat: np.ndarray, size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> Any:
    """The elements themselves, row-major."""
    steps = tuple(s * flat.itemsize for s in stride)
    view = np.lib.stride_tricks.as_strided(flat[offset:], size, steps, writeable=False)
    return np.ascontiguousarray(view)
