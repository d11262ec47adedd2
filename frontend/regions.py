"""Boxes and patches of images: suppression of overlaps, pooling of regions, deformed windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import reductions as r
from .contracting import einsum
from .creation import arange, tensor, zeros
from .elementwise import floor, maximum, minimum, where
from .indexing import index_add, take
from .joining import pad, stack
from .movement import moveaxis, permute, reshape, unsqueeze
from .putting import gather_nd
from .recording import as_tensor, as_tensors
from .tensor import Tensor


def _ints(value: Any, rank: int) -> tuple[int, ...]:
    """One integer an axis."""
    return tuple(value) if isinstance(value, tuple | list) else (value,) * rank


def _ends(padding: Any, rank: int) -> list[tuple[int, int]]:
    """(before, after) for each axis."""
    return [(p[0], p[1]) if isinstance(p, tuple | list) else (p, p) for p in _ints(padding, rank)]


# -- boxes ---------------------------------------------------------------------------------------


def box_iou(boxes: Any, other: Any) -> Tensor:
    """The areas of intersections over those of unions, (n, m), of boxes (n, 4) and (m, 4), each
    (x0, y0, x1, y1); 0 where both are empty. torchvision box_iou. Raises ValueError for other
    shapes."""
    a, b = as_tensors("box_iou", boxes, other)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != 4 or b.shape[1] != 4:
        raise ValueError(f"box_iou: expected boxes (n, 4), got shapes {a.shape} and {b.shape}")
    a = unsqueeze(a, 1)
    sides = minimum(a[..., 2:], b[..., 2:]) - maximum(a[..., :2], b[..., :2])
    sides = maximum(sides, 0)
    shared = sides[..., 0] * sides[..., 1]
    areas = [(v[..., 2] - v[..., 0]) * (v[..., 3] - v[..., 1]) for v in (a, b)]
    union = areas[0] + areas[1] - shared
    return where(union > 0, shared / where(union > 0, union, 1), 0)


def nms(boxes: Any, scores: Any, iou_threshold: float) -> Tensor:
    """Numbers of the boxes (n, 4) that are kept, best first: each whose `box_iou` with every better
    one that is kept is at most the threshold; of equal scores (n) the first is better. Forces.
    torchvision nms. Raises ValueError for shapes that do not fit.
    """
    b, s = as_tensors("nms", boxes, scores)
    if b.ndim != 2 or b.shape[1] != 4 or s.shape != b.shape[:1]:
        raise ValueError(f"nms: expected boxes (n, 4) and scores (n), got {b.shape} and {s.shape}")
    overlap = box_iou(b, b).numpy()
    kept: list[int] = []
    for i in np.argsort(-s.numpy().astype(np.float64), kind="stable"):
        if not kept or (overlap[i, kept] <= iou_threshold).all():
            kept.append(int(i))
    return tensor(np.array(kept, np.int64), device=b.device)


def roi_align(x: Any, boxes: Any, batch_index: Any, output_size: Any, spatial_scale: float = 1.0,
              sampling_ratio: int = 0, aligned: bool = False, mode: str = "avg") -> Tensor:
    """Regions of x (n, c, h, w) as images of one size: (k, c, *output_size). boxes (k, 4) times
    spatial_scale are (x0, y0, x1, y1) in x's pixels, batch_index (k) says of which image.

    Each output is the mean (or mode "max") of sampling_ratio squared values between the pixels; 0:
    as many as a region has pixels for an output, which forces the boxes. aligned: pixel i spans i
    to i + 1, its value stands in the middle. torchvision roi_align; He et al. 2017. Raises
    ValueError for shapes that do not fit.
    """
    t, b, index = as_tensors("roi_align", x, boxes, batch_index)
    if t.ndim != 4 or b.ndim != 2 or b.shape[1] != 4 or index.shape != b.shape[:1] or (
            mode not in ("avg", "max")):
        raise ValueError("roi_align: expected x (n, c, h, w), boxes (k, 4), batch_index (k) and "
                         f"mode avg or max, got {t.shape}, {b.shape}, {index.shape} and {mode!r}")
    height, width = _ints(output_size, 2)
    b = b.to(t.dtype) * spatial_scale - (0.5 if aligned else 0.0)
    sides = [b[:, 3] - b[:, 1], b[:, 2] - b[:, 0]]
    if not aligned:
        sides = [maximum(s, 1) for s in sides]
    if sampling_ratio > 0 or not b.shape[0]:
        many = np.full((b.shape[0], 2), max(sampling_ratio, 1))
    else:
        sizes = np.stack([s.numpy() for s in sides], 1) / np.array([height, width])
        many = np.maximum(np.ceil(sizes), 1).astype(np.int64)
    made: Any = zeros(b.shape[0], t.shape[1], height, width, dtype=t.dtype, device=t.device)
    for ny, nx in sorted(set(map(tuple, many.tolist()))):  # regions of as many samples together
        chosen = tensor(np.flatnonzero((many == (ny, nx)).all(1)), device=t.device)
        starts = [take(b[:, k], chosen, 0) for k in (1, 0)]
        steps = [take(s, chosen, 0) / e for s, e in zip(sides, (height, width))]
        ys, xs = (unsqueeze(start, 1) + unsqueeze(step, 1) * (
            (arange(e * n, dtype=t.dtype, device=t.device) + 0.5) / n)
            for start, step, e, n in zip(starts, steps, (height, width), (ny, nx)))
        found = _between(t, take(index, chosen, 0), ys, xs, mode == "max")
        cells = reshape(found, (-1, t.shape[1], height, ny, width, nx) if mode == "avg" else
                        (-1, t.shape[1], 4, height, ny, width, nx))
        part = r.mean(cells, (3, 5)) if mode == "avg" else r.amax(cells, (2, 4, 6))
        made = index_add(made, 0, chosen, part)
    return made  # type: ignore[no-any-return]


def _between(t: Tensor, index: Tensor, ys: Tensor, xs: Tensor, apart: bool) -> Tensor:
    """t's images `index` (k) at rows ys (k, a) and columns xs (k, b), linearly, 0 where more than
    one pixel outside: (k, c, a, b), or (k, c, 4, a, b), the four terms apart."""
    cells = moveaxis(t, 1, -1)
    axes = []
    for at, e in ((ys, t.shape[2]), (xs, t.shape[3])):
        inside = (at >= -1) & (at <= e)
        at = minimum(maximum(at, 0), e - 1)
        low = minimum(floor(at).detach(), max(e - 2, 0))
        share = at - low
        second = minimum(low + 1, e - 1)
        axes.append([(low, where(inside, 1 - share, 0)), (second, where(inside, share, 0))])
    images = reshape(index, (-1, 1, 1))
    terms = []
    for y, wy in axes[0]:
        for x, wx in axes[1]:
            shape = (y.shape[0], y.shape[1], x.shape[1])
            place = stack([images.expand(*shape), unsqueeze(y, 2).long().expand(*shape),
                           unsqueeze(x, 1).long().expand(*shape)], -1)
            weight = unsqueeze(unsqueeze(wy, 2) * unsqueeze(wx, 1), -1)
            terms.append(moveaxis(gather_nd(cells, place) * weight, -1, 1))
    return stack(terms, 2) if apart else terms[0] + terms[1] + terms[2] + terms[3]


# -- patches -------------------------------------------------------------------------------------


def col2im(x: Any, output_size: Any, kernel: Any, dilation: Any = 1, padding: Any = 0,
           stride: Any = 1) -> Tensor:
    """Patches (n, c prod(kernel), windows) added into images (n, c, *output_size): the transpose of
    cutting every window of a convolution out. padding: an int, one or (before, after) an axis.
    PyTorch fold. Raises ValueError for a number of windows or rows that does not fit."""
    t = as_tensor("col2im", x)
    sizes = tuple(output_size)
    rank = len(sizes)
    k, d, s = _ints(kernel, rank), _ints(dilation, rank), _ints(stride, rank)
    ends = _ends(padding, rank)
    full = tuple(e + a + b for e, (a, b) in zip(sizes, ends))
    counts = tuple((e - dd * (kk - 1) - 1) // ss + 1 for e, kk, dd, ss in zip(full, k, d, s))
    taps = math.prod(k)
    if t.ndim != 3 or t.shape[1] % taps or min(counts, default=0) < 1 or (
            t.shape[2] != math.prod(counts)):
        raise ValueError(f"col2im: expected (n, c * {taps}, {math.prod(counts)}) for images of "
                         f"{sizes}, got shape {t.shape}")
    n, channels = t.shape[0], t.shape[1] // taps
    places = np.zeros((*k, *counts), np.int64)
    for axis, (kk, dd, ss, c) in enumerate(zip(k, d, s, counts)):
        line = np.arange(kk)[:, None] * dd + np.arange(c) * ss
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = kk, c
        places = places * full[axis] + line.reshape(shape)
    flat = zeros(n * channels, math.prod(full), dtype=t.dtype, device=t.device)
    lines = reshape(t, (n * channels, -1))
    made = index_add(flat, 1, tensor(places.reshape(-1), device=t.device), lines)
    return pad(reshape(made, (n, channels, *full)), [(0, 0), (0, 0)] + [(-a, -b) for a, b in ends])


def deform_conv2d(x: Any, offset: Any, weight: Any, bias: Any = None, stride: Any = 1,
                  padding: Any = 0, dilation: Any = 1, mask: Any = None, groups: int = 1) -> Tensor:
    """`conv2d` whose kernel's elements read x (n, c, h, w) at places moved by offset
    (n, g 2 kh kw, y, x), rows before columns, between the pixels and 0 outside; g groups of
    channels may move apart. mask (n, g kh kw, y, x) multiplies what is read.

    weight (o, c / groups, kh, kw), bias (o). torchvision deform_conv2d; Dai et al. 2017, Zhu et al.
    2019. Raises ValueError for shapes that do not fit.
    """
    name = "deform_conv2d"
    t, o, w = as_tensors(name, x, offset, weight)
    steps, spread, ends = _ints(stride, 2), _ints(dilation, 2), _ends(padding, 2)
    if t.ndim != 4 or o.ndim != 4 or w.ndim != 4 or t.shape[1] != w.shape[1] * groups:
        raise ValueError(f"{name}: expected x (n, c, h, w), offset (n, g 2 kh kw, y, x) and weight "
                         f"(o, c / groups, kh, kw), got {t.shape}, {o.shape} and {w.shape}")
    (n, c, *size), (kh, kw) = t.shape, w.shape[2:]
    out = [(e + a + b - dd * (k - 1) - 1) // s + 1 for e, (a, b), dd, k, s in
           zip(size, ends, spread, (kh, kw), steps)]
    moves = o.shape[1] // (2 * kh * kw)
    if not moves or o.shape != (n, moves * 2 * kh * kw, *out) or c % moves or w.shape[0] % groups:
        raise ValueError(f"{name}: expected offsets (n, g {2 * kh * kw}, {out[0]}, {out[1]}) of "
                         f"groups that divide {c} channels, got shape {o.shape}")
    shift = permute(reshape(o, (n * moves, kh, kw, 2, *out)), 0, 3, 1, 2, 4, 5)
    rows, columns = (shift[:, axis] + _lattice(t, axis, (kh, kw), out, steps, ends, spread)
                     for axis in (0, 1))
    cells = reshape(t, (n * moves, c // moves, *size))
    read = _at(cells, rows, columns)  # (n moves, c / moves, kh, kw, y, x)
    if mask is not None:
        m = as_tensors(name, t, mask)[1]
        read = read * reshape(m, (n * moves, 1, kh, kw, *out))
    read = reshape(read, (n, groups, c // groups, kh, kw, *out))
    kernels = reshape(w, (groups, w.shape[0] // groups, c // groups, kh, kw))
    made = reshape(einsum("ngcijyx,gocij->ngoyx", read, kernels), (n, w.shape[0], *out))
    if bias is None:
        return made
    return made + reshape(as_tensors(name, t, bias)[1], (-1, 1, 1))


def _lattice(t: Tensor, axis: int, kernel: Any, out: Any, steps: Any, ends: Any, spread: Any
             ) -> Tensor:
    """Where the kernel's elements lie along an axis without offsets: it broadcasts to
    (kh, kw, y, x)."""
    line = np.arange(kernel[axis])[:, None] * spread[axis] + (
        np.arange(out[axis]) * steps[axis] - ends[axis][0])
    shape = [1] * 4
    shape[axis], shape[2 + axis] = line.shape
    return tensor(line.reshape(shape), t.dtype, t.device)


def _at(cells: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Images (k, c, h, w) at places (k, ...), linearly, with zeros around: (k, c, ...)."""
    behind = moveaxis(cells, 1, -1)
    total: Any = None
    axes = []
    for at, e in ((rows, cells.shape[2]), (columns, cells.shape[3])):
        low = floor(at).detach()
        share = at - low
        axes.append([(p, where((p >= 0) & (p < e), v, 0)) for p, v in (
            (low, 1 - share), (low + 1, share))])
    for y, wy in axes[0]:
        for x, wx in axes[1]:
            place = stack([minimum(maximum(y, 0), cells.shape[2] - 1).long(),
                           minimum(maximum(x, 0), cells.shape[3] - 1).long()], -1)
            part = gather_nd(behind, place, 1) * unsqueeze(wy * wx, -1)
            total = part if total is None else total + part
    return moveaxis(total, -1, 1)
