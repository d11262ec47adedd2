"""Operators of neural networks: convolutions, pooling, normalisation, losses, recurrence."""

from __future__ import annotations

import math
from typing import Any

import flambeau as fb
import numpy as np
from importer import row

# -- windows -------------------------------------------------------------------------------------


def _pairs(shape: Any, kernel: Any, strides: Any, dilations: Any, pads: Any, auto_pad: str
           ) -> list[tuple[int, int]]:
    """(before, after) for each axis, from ONNX's pads or its automatic ones."""
    rank = len(kernel)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        found = []
        for e, k, s, d in zip(shape, kernel, strides, dilations):
            total = max((-(-e // s) - 1) * s + d * (k - 1) + 1 - e, 0)
            small = total // 2
            found.append((small, total - small) if auto_pad == "SAME_UPPER" else
                         (total - small, small))
        return found
    return list(zip(pads[:rank], pads[rank:])) if pads else [(0, 0)] * rank


def _geometry(x: Any, kernel: Any, strides: Any, dilations: Any, pads: Any, auto_pad: str) -> Any:
    ones = [1] * len(kernel)
    strides, dilations = strides or ones, dilations or ones
    return strides, dilations, _pairs(x.shape[2:], kernel, strides, dilations, pads, auto_pad)


@row("Conv")
def _conv(x: Any, w: Any, b: Any = None, kernel_shape: Any = None, strides: Any = None,
          dilations: Any = None, pads: Any = None, auto_pad: str = "NOTSET", group: int = 1) -> Any:
    s, d, p = _geometry(x, w.shape[2:], strides, dilations, pads, auto_pad)
    return fb.convnd(x, w, b, s, p, d, group)


@row("ConvTranspose")
def _conv_transpose(x: Any, w: Any, b: Any = None, kernel_shape: Any = None, strides: Any = None,
                    dilations: Any = None, pads: Any = None, auto_pad: str = "NOTSET",
                    group: int = 1, output_padding: Any = None, output_shape: Any = None) -> Any:
    rank = x.ndim - 2
    s, d = strides or [1] * rank, dilations or [1] * rank
    extra = output_padding or [0] * rank
    ends = list(zip(pads[:rank], pads[rank:])) if pads else [(0, 0)] * rank
    if auto_pad.startswith("SAME") and output_shape is None:
        output_shape = [e * k for e, k in zip(x.shape[2:], s)]
    if output_shape is not None:
        ends = []
        for e, k, ss, dd, o, wanted in zip(x.shape[2:], w.shape[2:], s, d, extra, output_shape):
            total = (e - 1) * ss + o + (k - 1) * dd + 1 - wanted
            small = total // 2
            ends.append((small, total - small) if auto_pad == "SAME_UPPER" else
                        (total - small, small))
    return fb.conv_transpose(x, w, b, s, ends, extra, d, group)


@row("MaxPool")
def _max_pool(x: Any, kernel_shape: Any, strides: Any = None, dilations: Any = None,
              pads: Any = None, auto_pad: str = "NOTSET", ceil_mode: int = 0,
              storage_order: int = 0, results: int = 1) -> Any:
    s, d, p = _geometry(x, kernel_shape, strides, dilations, pads, auto_pad)
    made = fb.max_pool(x, kernel_shape, s, p, d, bool(ceil_mode), results > 1)
    if results == 1:
        return made
    plane = math.prod(x.shape[2:])
    index = made.indices
    if storage_order:  # columns first
        height, width = x.shape[2:]
        index = index % width * height + index // width
    first = fb.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * (x.ndim - 2))
    return made.values, index + first * plane


@row("AveragePool")
def _average_pool(x: Any, kernel_shape: Any, strides: Any = None, dilations: Any = None,
                  pads: Any = None, auto_pad: str = "NOTSET", ceil_mode: int = 0,
                  count_include_pad: int = 0) -> Any:
    s, d, p = _geometry(x, kernel_shape, strides, dilations, pads, auto_pad)
    return fb.avg_pool(x, kernel_shape, s, p, bool(ceil_mode), bool(count_include_pad), dilation=d)


@row("LpPool")
def _lp_pool(x: Any, kernel_shape: Any, p: int = 2, strides: Any = None, dilations: Any = None,
             pads: Any = None, auto_pad: str = "NOTSET", ceil_mode: int = 0) -> Any:
    s, d, ends = _geometry(x, kernel_shape, strides, dilations, pads, auto_pad)
    return fb.lp_pool(x, p, kernel_shape, s, ends, d, bool(ceil_mode))


@row("GlobalAveragePool")
def _global_average_pool(x: Any) -> Any:
    return fb.adaptive_avg_pool(x, (1,) * (x.ndim - 2))


@row("GlobalMaxPool")
def _global_max_pool(x: Any) -> Any:
    return fb.adaptive_max_pool(x, (1,) * (x.ndim - 2))


@row("MaxUnpool")
def _max_unpool(x: Any, index: Any, shape: Any = None, kernel_shape: Any = None,
                strides: Any = None, pads: Any = None) -> Any:
    own = [(e - 1) * s + k for e, s, k in zip(x.shape[2:], strides or kernel_shape, kernel_shape)]
    place = index % math.prod(own)  # ONNX counts through samples and channels
    made = fb.max_unpool(x, place, own)
    if shape is None:
        return made
    return fb.pad(made, [(0, e - f) for e, f in zip(shape.tolist(), made.shape)])


# -- normalisation -------------------------------------------------------------------------------


@row("BatchNormalization")
def _batch_norm(x: Any, scale: Any, b: Any, mean: Any, var: Any, epsilon: float = 1e-5,
                momentum: float = 0.9, training_mode: int = 0) -> Any:
    if not training_mode:
        return fb.batch_norm(x, mean, var, scale, b, eps=epsilon)
    axes = (0, *range(2, x.ndim))
    kept = [old * momentum + new * (1 - momentum)
            for old, new in ((mean, x.mean(axes)), (var, x.var(axes, correction=0)))]
    return (fb.batch_norm(x, None, None, scale, b, True, eps=epsilon), *kept)


@row("LayerNormalization")
def _layer_norm(x: Any, scale: Any, b: Any = None, axis: int = -1, epsilon: float = 1e-5,
                stash_type: int = 1, results: int = 1) -> Any:
    axes = tuple(range(axis % x.ndim, x.ndim))
    made = fb.layer_norm(x, x.shape[axes[0]:], scale, b, epsilon)
    mean = x.float().mean(axes, True)
    deviation = fb.rsqrt(x.float().var(axes, True, correction=0) + epsilon)
    return (made, mean, deviation)[:results]


@row("RMSNormalization")
def _rms_norm(x: Any, scale: Any, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
              ) -> Any:
    return fb.rms_norm(x, x.shape[axis % x.ndim:], scale, epsilon)


@row("GroupNormalization")
def _group_norm(x: Any, scale: Any, b: Any, num_groups: int, epsilon: float = 1e-5,
                stash_type: int = 1) -> Any:
    return fb.group_norm(x, num_groups, scale, b, epsilon)


@row("InstanceNormalization")
def _instance_norm(x: Any, scale: Any, b: Any, epsilon: float = 1e-5) -> Any:
    return fb.instance_norm(x, scale, b, epsilon)


@row("LRN")
def _lrn(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Any:
    return fb.local_response_norm(x, size, alpha, beta, bias)


@row("Dropout")
def _dropout(x: Any, ratio: Any = None, training: Any = None, seed: int = 0, results: int = 1,
             **_: Any) -> Any:
    rate = ratio.item() if isinstance(ratio, fb.Tensor) else ratio or 0.5
    on = training is not None and bool(training.item())
    return (fb.dropout(x, rate, on), fb.ones_like(x, dtype="bool"))[:results]


# -- losses --------------------------------------------------------------------------------------


def _ignored(index: int | None) -> int:
    return -(1 << 40) if index is None else index


@row("NegativeLogLikelihoodLoss")
def _nll(x: Any, target: Any, weight: Any = None, reduction: str = "mean",
         ignore_index: int | None = None) -> Any:
    return fb.nll_loss(x, target, weight, _ignored(ignore_index), reduction)


@row("SoftmaxCrossEntropyLoss")
def _cross_entropy(x: Any, target: Any, weight: Any = None, reduction: str = "mean",
                   ignore_index: int | None = None, results: int = 1) -> Any:
    loss = fb.cross_entropy(x, target, weight, _ignored(ignore_index), reduction)
    return (loss, fb.log_softmax(x, 1))[:results]


# -- images --------------------------------------------------------------------------------------


@row("DepthToSpace")
def _depth_to_space(x: Any, blocksize: int, mode: str = "DCR") -> Any:
    if mode == "DCR":  # the block comes before the channel
        n, c, h, w = x.shape
        square = blocksize * blocksize
        x = x.reshape(n, square, c // square, h, w).transpose(1, 2).reshape(n, c, h, w)
    return fb.pixel_shuffle(x, blocksize)


@row("SpaceToDepth")
def _space_to_depth(x: Any, blocksize: int, mode: str = "DCR") -> Any:
    made = fb.pixel_unshuffle(x, blocksize)
    if mode == "CRD":
        return made
    n, c, h, w = made.shape
    square = blocksize * blocksize
    return made.reshape(n, c // square, square, h, w).transpose(1, 2).reshape(n, c, h, w)


@row("AffineGrid")
def _affine_grid(theta: Any, size: Any, align_corners: int = 0) -> Any:
    return fb.affine_grid(theta, size.tolist(), bool(align_corners))


@row("GridSample")
def _grid_sample(x: Any, grid: Any, mode: str = "linear", padding_mode: str = "zeros",
                 align_corners: int = 0) -> Any:
    return fb.grid_sample(x, grid, mode, padding_mode, bool(align_corners))


def _positions(extent: int, size: int, scale: float, how: str, roi: Any) -> np.ndarray:
    """Where output elements lie among the input's."""
    i = np.arange(size, dtype=np.float64)
    length = scale * extent
    if how == "align_corners":
        return i * 0 if length == 1 else i * (extent - 1) / (length - 1)
    if how == "asymmetric":
        return i / scale
    if how == "tf_crop_and_resize":
        start, end = roi
        step = (end - start) * (extent - 1) / (length - 1) if size > 1 else 0
        return start * (extent - 1) + i * step if size > 1 else i * 0 + 0.5 * (start + end) * (
            extent - 1)
    if how == "pytorch_half_pixel" and size == 1:
        return i * 0
    at = (i + 0.5) / scale - 0.5
    if how == "half_pixel_symmetric":
        at = at + (extent / 2) * (1 - size / length)
    return at


_ROUND = {"round_prefer_floor": lambda v: np.ceil(v - 0.5),
          "round_prefer_ceil": lambda v: np.floor(v + 0.5), "floor": np.floor, "ceil": np.ceil}


def _chosen_sizes(x: Any, over: Any, scales: Any, sizes: Any, policy: str) -> list[tuple]:
    """(axis, size, scale) for each axis that changes."""
    if scales is not None:
        return [(a, math.floor(x.shape[a] * s), s) for a, s in zip(over, scales)]
    ratios = [n / x.shape[a] for a, n in zip(over, sizes)]
    if policy != "stretch":
        one = (min if policy == "not_larger" else max)(ratios)
        return [(a, math.floor(x.shape[a] * one + 0.5), one) for a in over]
    return list(zip(over, sizes, ratios))


@row("Resize")
def _resize(x: Any, roi: Any = None, scales: Any = None, sizes: Any = None, axes: Any = None,
            mode: str = "nearest", antialias: int = 0, exclude_outside: int = 0,
            coordinate_transformation_mode: str = "half_pixel", cubic_coeff_a: float = -0.75,
            extrapolation_value: float = 0.0, nearest_mode: str = "round_prefer_floor",
            keep_aspect_ratio_policy: str = "stretch") -> Any:
    over = [a % x.ndim for a in axes] if axes else list(range(x.ndim))
    factors = None if scales is None or not scales.numel() else scales.tolist()
    chosen = _chosen_sizes(x, over, factors, None if sizes is None else sizes.tolist(),
                           keep_aspect_ratio_policy)
    regions = None if roi is None or not roi.numel() else roi.tolist()
    for k, (axis, size, scale) in enumerate(chosen):
        extent = x.shape[axis]
        if size == extent and coordinate_transformation_mode != "tf_crop_and_resize":
            continue
        part = (regions[k], regions[k + len(over)]) if regions else (0.0, 1.0)
        at = _positions(extent, size, scale, coordinate_transformation_mode, part)
        if mode == "nearest":
            x = fb.take(x, np.clip(_ROUND[nearest_mode](at), 0, extent - 1).astype(np.int64), axis)
        else:
            stretch = max(1 / scale, 1.0) if antialias else 1.0
            x = fb.resample(x, axis, at, mode, cubic_coeff_a, stretch,
                            "exclude" if exclude_outside else "edge")
        if coordinate_transformation_mode == "tf_crop_and_resize":
            inside = fb.tensor((at >= 0) & (at <= extent - 1))
            shape = [-1 if a == axis else 1 for a in range(x.ndim)]
            x = fb.where(inside.reshape(shape), x, extrapolation_value)
    return x


@row("Upsample")
def _upsample(x: Any, scales: Any, mode: str = "nearest") -> Any:
    return _resize(x, None, scales, mode=mode, coordinate_transformation_mode="asymmetric",
                   nearest_mode="floor")


@row("Col2Im")
def _col2im(x: Any, image: Any, block: Any, dilations: Any = None, pads: Any = None,
            strides: Any = None) -> Any:
    rank = image.shape[0]
    ends = list(zip(pads[:rank], pads[rank:])) if pads else 0
    return fb.col2im(x, image.tolist(), block.tolist(), dilations or 1, ends, strides or 1)


@row("DeformConv")
def _deform_conv(x: Any, w: Any, offset: Any, b: Any = None, mask: Any = None,
                 kernel_shape: Any = None, strides: Any = None, dilations: Any = None,
                 pads: Any = None, group: int = 1, offset_group: int = 1) -> Any:
    s, d, p = _geometry(x, w.shape[2:], strides, dilations, pads, "NOTSET")
    return fb.deform_conv2d(x, offset, w, b, s, p, d, mask, group)


@row("RoiAlign")
def _roi_align(x: Any, rois: Any, index: Any, mode: str = "avg", output_height: int = 1,
               output_width: int = 1, sampling_ratio: int = 0, spatial_scale: float = 1.0,
               coordinate_transformation_mode: str = "half_pixel") -> Any:
    return fb.roi_align(x, rois, index, (output_height, output_width), spatial_scale,
                        sampling_ratio, coordinate_transformation_mode == "half_pixel", mode)


@row("NonMaxSuppression")
def _nms(boxes: Any, scores: Any, most: Any = None, threshold: Any = None, least: Any = None,
         center_point_box: int = 0) -> Any:
    limit = 0 if most is None else int(most.item())
    if center_point_box:
        boxes = fb.concatenate([boxes[..., :2] - boxes[..., 2:] / 2,
                                boxes[..., :2] + boxes[..., 2:] / 2], -1)
    else:  # any two corners
        a, b = boxes[..., :2], boxes[..., 2:]
        boxes = fb.concatenate([fb.minimum(a, b), fb.maximum(a, b)], -1)
    rows = []
    for i in range(scores.shape[0]):
        for c in range(scores.shape[1]):
            value = scores[i, c]
            candidates = fb.arange(value.shape[0]) if least is None else (
                fb.flatnonzero(value > least))
            kept = fb.nms(boxes[i][candidates], value[candidates],
                          0.0 if threshold is None else threshold.item())
            rows += [[i, c, int(k)] for k in candidates[kept[:limit]].tolist()]
    return fb.tensor(rows, "int64")
