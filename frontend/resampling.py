"""Values between the elements: resampling along axes, interpolation of images, sampling at a grid.

Positions that are known when the graph is recorded become taps and weights; those of `grid_sample`
are values with a derivative.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from .activations import clamp
from .creation import tensor
from .elementwise import abs as abs_
from .elementwise import floor, remainder, round, where
from .indexing import take
from .joining import stack
from .movement import moveaxis, reshape, unsqueeze
from .pooling import adaptive_avg_pool
from .putting import gather_nd
from .recording import as_tensor, as_tensors
from .tensor import Tensor, check_axis, default_dtype

_WIDTH = {"linear": 1.0, "cubic": 2.0}


def resample(x: Any, axis: int, positions: Any, mode: str = "linear", cubic: float = -0.75,
             stretch: float = 1.0, outside: str = "edge") -> Tensor:
    """x read along axis at fractional positions (a vector of numbers; element i lies at i), as
    many results as positions. Other axes stay; the dtype is x's if floating.

    mode: "linear", or "cubic" with Keys' parameter (-0.75 as PyTorch, -0.5 for third order).
    stretch: widens the filter, which smooths before sampling less densely. outside: elements beyond
    the ends count as the "edge", or are left out and the other weights scaled up ("exclude").
    Raises ValueError for another mode, an empty axis or a stretch below 1.
    """
    t = as_tensor("resample", x)
    axis = check_axis("resample", axis, t.ndim)
    if mode not in _WIDTH or outside not in ("edge", "exclude"):
        raise ValueError("resample: expected mode linear or cubic and outside edge or exclude, got "
                         f"{mode!r} and {outside!r}")
    if stretch < 1 or not t.shape[axis]:
        raise ValueError("resample: expected a stretch of 1 or more and elements to read, got "
                         f"{stretch} and shape {t.shape}")
    at = np.asarray(positions, np.float64)
    places, weights = _taps(at, t.shape[axis], mode, cubic, stretch, outside == "exclude")
    wide = t.to(t.dtype.compute if t.dtype.is_float else default_dtype())
    shape = (-1, *(1,) * (t.ndim - axis - 1))
    total: Any = None
    for place, weight in zip(places, weights):
        w = reshape(tensor(weight, wide.dtype, t.device), shape)
        part = take(wide, tensor(place, device=t.device), axis) * w
        total = part if total is None else total + part
    return total.to(t.dtype) if t.dtype.is_float else total  # type: ignore[no-any-return]


def _taps(at: np.ndarray, extent: int, mode: str, cubic: float, stretch: float, exclude: bool
          ) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each tap the elements that the positions read, and their weights."""
    reach = _WIDTH[mode] * stretch
    first = np.floor(at - reach).astype(np.int64) + 1
    index = first[:, None] + np.arange(math.ceil(2 * reach))
    distance = np.abs(index - at[:, None]) / stretch
    weight = _kernel(distance, mode, cubic)
    if exclude:
        weight = np.where((index < 0) | (index >= extent), 0, weight)
    weight = weight / weight.sum(1, keepdims=True)
    index = np.clip(index, 0, extent - 1)
    used = np.flatnonzero(weight.any(0))
    return [index[:, k].copy() for k in used], [weight[:, k].copy() for k in used]


def _kernel(d: np.ndarray, mode: str, a: float) -> np.ndarray:
    if mode == "linear":
        return np.maximum(1 - d, 0)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


# -- images --------------------------------------------------------------------------------------

_MODES = ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area")


def interpolate(x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
                align_corners: bool = False, antialias: bool = False) -> Tensor:
    """x (n, c, ...) with its spatial axes made `size` long, or scale_factor times as long: an int
    or a number for all or one an axis. Integers become the default dtype unless nearest.

    mode: nearest (Torch7's and PyTorch's rounding down), nearest-exact, linear, bilinear,
    trilinear (all the same), bicubic, area. align_corners: the corners' centres coincide, else
    their edges do. antialias: the filter widens when sizes shrink. PyTorch interpolate, Torch7
    nn.SpatialUpSamplingNearest and Bilinear. Raises ValueError for sizes that do not fit.
    """
    t = as_tensor("interpolate", x)
    sizes = _sizes(t, size, scale_factor)
    if mode not in _MODES:
        raise ValueError(f"interpolate: expected mode {', '.join(_MODES)}, got {mode!r}")
    if mode == "area":
        return adaptive_avg_pool(t, sizes)
    factors = scale_factor if isinstance(scale_factor, tuple | list) else (
        (scale_factor,) * len(sizes))
    for axis, (wanted, factor) in enumerate(zip(sizes, factors), 2):
        extent = t.shape[axis]
        i = np.arange(wanted, dtype=np.float64)
        ratio = 1 / factor if factor is not None else extent / wanted
        if mode.startswith("nearest"):
            at = np.floor((i + 0.5) * ratio if mode == "nearest-exact" else i * ratio)
            at = np.clip(at, 0, extent - 1).astype(np.int64)
            t = take(t, tensor(at, device=t.device), axis)
            continue
        if align_corners:
            ratio = (extent - 1) / max(wanted - 1, 1)
        at = i * ratio if align_corners else (i + 0.5) * ratio - 0.5
        stretch = max(ratio, 1.0) if antialias else 1.0
        t = resample(t, axis, at, "cubic" if mode == "bicubic" else "linear",
                     -0.5 if antialias else -0.75, stretch, "exclude" if antialias else "edge")
    return t


def _sizes(t: Tensor, size: Any, scale_factor: Any) -> tuple[int, ...]:
    """The spatial sizes that are asked for."""
    if t.ndim < 3 or 0 in t.shape[2:] or (size is None) == (scale_factor is None):
        raise ValueError("interpolate: expected (n, c, ...) with elements, and size or "
                         f"scale_factor, got shape {t.shape}, {size} and {scale_factor}")
    rank = t.ndim - 2
    given = size if scale_factor is None else scale_factor
    each = tuple(given) if isinstance(given, tuple | list) else (given,) * rank
    found = each if scale_factor is None else tuple(
        math.floor(e * f) for e, f in zip(t.shape[2:], each))
    if len(each) != rank or any(not isinstance(e, int) or e < 1 for e in found):
        raise ValueError(f"interpolate: expected {rank} sizes from 1, got {given}")
    return found


def pixel_shuffle(x: Any, factor: int) -> Tensor:
    """(..., c f f, h, w) as (..., c, h f, w f): channels become pixels. PyTorch pixel_shuffle; Shi
    et al. 2016. Raises ValueError for channels that f * f does not divide."""
    t = as_tensor("pixel_shuffle", x)
    square = factor * factor
    if factor < 1 or t.ndim < 3 or t.shape[-3] % square:
        raise ValueError(f"pixel_shuffle: expected (..., c, h, w) with channels that {square} "
                         f"divides, got shape {t.shape}")
    *lead, c, h, w = t.shape
    c //= square
    k = len(lead)
    split = reshape(t, (*lead, c, factor, factor, h, w))
    order = (*range(k), k, k + 3, k + 1, k + 4, k + 2)
    return reshape(split.permute(*order), (*lead, c, h * factor, w * factor))


def pixel_unshuffle(x: Any, factor: int) -> Tensor:
    """(..., c, h f, w f) as (..., c f f, h, w): the inverse of `pixel_shuffle`. Raises ValueError
    for sizes that f does not divide."""
    t = as_tensor("pixel_unshuffle", x)
    if factor < 1 or t.ndim < 3 or t.shape[-2] % factor or t.shape[-1] % factor:
        raise ValueError(f"pixel_unshuffle: expected (..., c, h, w) with sizes that {factor} "
                         f"divides, got shape {t.shape}")
    *lead, c, h, w = t.shape
    h, w, k = h // factor, w // factor, len(lead)
    split = reshape(t, (*lead, c, h, factor, w, factor))
    order = (*range(k), k, k + 2, k + 4, k + 1, k + 3)
    return reshape(split.permute(*order), (*lead, c * factor * factor, h, w))


# -- at a grid -----------------------------------------------------------------------------------


def affine_grid(theta: Any, size: Any, align_corners: bool = False) -> Tensor:
    """The positions (n, y..., d) that matrices theta (n, d, d + 1) send a grid to, for images of
    `size` (n, c, y...); the last axis counts x first, from -1 to 1. PyTorch affine_grid; Jaderberg
    et al. 2015 (spatial transformers). Raises ValueError for shapes that do not fit.
    """
    t = as_tensor("affine_grid", theta)
    extents = tuple(size)[2:]
    rank = len(extents)
    if rank < 1 or t.shape != (size[0], rank, rank + 1):
        raise ValueError(f"affine_grid: expected matrices of shape ({size[0]}, {rank}, {rank + 1}) "
                         f"for size {tuple(size)}, got {t.shape}")
    lines = []
    for axis, e in enumerate(extents):
        step = np.arange(e)
        line = 2 * step / max(e - 1, 1) - 1 if align_corners else (2 * step + 1) / e - 1
        shape = [1] * rank
        shape[axis] = e
        lines.append(np.broadcast_to(line.reshape(shape), extents))
    grid = np.stack([*lines[::-1], np.ones(extents)], -1).reshape(-1, rank + 1)
    made = tensor(grid, t.dtype, t.device) @ t.transpose(1, 2)
    return reshape(made, (t.shape[0], *extents, rank))


_PADDING = ("zeros", "border", "reflection")


def grid_sample(x: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros",
                align_corners: bool = False) -> Tensor:
    """x (n, c, ...) read at positions grid (n, y..., d), d spatial axes: (n, c, y...). The last
    axis counts x first; -1 and 1 are the outer edges, or with align_corners the centres of the
    corners. Differentiable in both.

    mode: bilinear (linear along each axis), nearest, bicubic (a = -0.75). padding_mode: zeros,
    border or reflection outside. PyTorch grid_sample; Jaderberg et al. 2015. Raises ValueError for
    shapes that do not fit.
    """
    t, g = as_tensors("grid_sample", x, grid)
    rank = t.ndim - 2
    if rank < 1 or g.ndim < 2 or g.shape[0] != t.shape[0] or g.shape[-1] != rank or (
            0 in t.shape[2:]):
        raise ValueError("grid_sample: expected (n, c, ...) and positions (n, ..., "
                         f"{rank}), got {t.shape} and {g.shape}")
    if mode not in ("bilinear", "linear", "nearest", "bicubic", "cubic") or (
            padding_mode not in _PADDING):
        raise ValueError("grid_sample: expected mode bilinear, nearest or bicubic and padding_mode "
                         f"{', '.join(_PADDING)}, got {mode!r} and {padding_mode!r}")
    cells = moveaxis(t, 1, -1)
    taps = []  # for each axis, pairs of a place and a weight
    for axis, e in enumerate(t.shape[2:]):
        at = g[..., rank - 1 - axis] + 1
        at = at * ((e - 1) / 2) if align_corners else (at * e - 1) / 2
        taps.append(_axis_taps(at, e, mode, padding_mode, align_corners))
    total: Any = None
    for corner in product(*taps):
        part = _corner(cells, corner)
        total = part if total is None else total + part
    return moveaxis(total, -1, 1)


def _axis_taps(at: Tensor, extent: int, mode: str, padding: str, corners: bool
               ) -> list[tuple[Tensor, Any]]:
    """(place, weight) of the elements that positions along one axis read; a weight None is 1."""
    if "cubic" not in mode:
        at = _inside(at, extent, padding, corners)
    if mode == "nearest":
        return [_tap(round(at), extent, padding, corners, None)]
    low = floor(at).detach()
    share = at - low
    if "cubic" not in mode:
        return [_tap(low, extent, padding, corners, 1 - share),
                _tap(low + 1, extent, padding, corners, share)]
    return [_tap(low + k, extent, padding, corners, _cubic(abs_(share - k), k in (0, 1)))
            for k in (-1, 0, 1, 2)]


def _cubic(d: Tensor, near: bool, a: float = -0.75) -> Tensor:
    """Keys' kernel at a distance below 1 (near) or from 1 to 2."""
    return (((a + 2) * d - (a + 3)) * d * d + 1 if near else
            ((a * d - 5 * a) * d + 8 * a) * d - 4 * a)


def _tap(place: Tensor, extent: int, padding: str, corners: bool, weight: Any
         ) -> tuple[Tensor, Any]:
    """A place inside, and its weight, which is 0 for one outside under zeros."""
    if padding == "zeros":
        held = (place >= 0) & (place <= extent - 1)
        weight = where(held, 1.0 if weight is None else weight, 0.0)
    place = clamp(_inside(place, extent, padding, corners), 0, extent - 1)
    return where(place == place, place, 0).long(), weight


def _inside(at: Tensor, extent: int, padding: str, corners: bool) -> Tensor:
    """Positions brought inside, but for zeros."""
    if padding == "zeros":
        return at
    if padding == "reflection":
        low, span = (0.0, extent - 1.0) if corners else (-0.5, float(extent))
        if span == 0:
            return at * 0
        turn = remainder(abs_(at - low), 2 * span)
        at = where(turn > span, 2 * span - turn, turn) + low
    return clamp(at, 0, extent - 1)


def _corner(cells: Tensor, corner: tuple[tuple[Tensor, Any], ...]) -> Tensor:
    """The elements at one combination of taps, times their weights."""
    found = gather_nd(cells, stack([place for place, _ in corner], -1), 1)
    weight: Any = None
    for _, w in corner:
        if w is not None:
            weight = w if weight is None else weight * w
    return found if weight is None else found * unsqueeze(weight, -1).to(cells.dtype)
