"""Convolution and pooling over 1, 2 or 3 spatial axes: (n, c, x...), weights (o, c/groups, k...).

Convolution is the `conv` node (correlation, as every nn library means it). Pooling is movement and
reduction: the windows stand as axes of their own, and one reduction runs over them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.node import Node, Shape
from flambeau.compiler.ops import Conv

from .creation import constant, iota
from .elementwise import floating
from .recording import as_tensor, common_dtype
from .reductions import reduce_node
from .tensor import Tensor, derive, read


def _tuple(name: str, value: Any, rank: int, what: str, least: int = 0) -> tuple[int, ...]:
    """One integer for each spatial axis. Raises ValueError for others."""
    found = tuple(value) if isinstance(value, tuple | list) else (value,) * rank
    if len(found) != rank or any(not isinstance(v, int) or v < least for v in found):
        raise ValueError(f"{name}: expected {what} of {rank} integers from {least}, got {value}")
    return found


def _pairs(name: str, padding: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """(before, after) for each spatial axis: from an int, one int an axis or one pair an axis."""
    if isinstance(padding, tuple | list) and padding and isinstance(padding[0], tuple | list):
        found = tuple((int(a), int(b)) for a, b in padding)
        if len(found) != rank:
            raise ValueError(f"{name}: expected {rank} pairs of padding, got {padding}")
        return found
    return tuple((p, p) for p in _tuple(name, padding, rank, "padding", -(1 << 30)))


# -- convolution ---------------------------------------------------------------------------------


def convnd(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1, name: str = "convnd") -> Tensor:
    """Correlation of x (n, c, x...) with weight (o, c/groups, k...), plus bias (o): (n, o, y...).

    The rank of weight says how many spatial axes there are; x without the batch axis gives a result
    without it. padding: an int, one an axis, (before, after) an axis, "same" (stride 1: y... is
    x...) or "valid". y = (x + padding - dilation * (k - 1) - 1) // stride + 1.
    Torch7 nn.SpatialConvolution. Raises ValueError for shapes that do not fit.
    """
    t, w = as_tensor(name, x), as_tensor(name, weight)
    rank = w.ndim - 2
    if rank < 1 or t.ndim not in (rank + 1, rank + 2):
        raise ValueError(f"{name}: expected an input of {rank + 1} or {rank + 2} axes for weights "
                         f"of shape {w.shape}, got shape {t.shape}")
    if t.ndim == rank + 1:
        found = convnd(t.unsqueeze(0), w, bias, stride, padding, dilation, groups, name)
        return found.squeeze(0)  # type: ignore[no-any-return]
    _check_channels(name, t, w, groups, w.shape[1] * groups)
    steps = _tuple(name, stride, rank, "strides", 1)
    spread = _tuple(name, dilation, rank, "dilations", 1)
    ends = _conv_padding(name, padding, w.shape[2:], steps, spread)
    geometry = Conv(steps, tuple(a for a, _ in ends), tuple(b for _, b in ends), spread,
                    (1,) * rank, groups)
    return _convolve(name, t, w, bias, geometry)


def _check_channels(name: str, t: Tensor, w: Tensor, groups: int, channels: int) -> None:
    if groups < 1 or t.shape[1] != channels or w.shape[0] % groups:
        raise ValueError(f"{name}: expected {channels} input channels and outputs that {groups} "
                         f"groups divide for weights of shape {w.shape}, got input {t.shape}")


def _conv_padding(name: str, padding: Any, kernel: Shape, stride: tuple[int, ...],
                  dilation: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ValueError(f"{name}: expected stride 1 for padding 'same', got {stride}")
        reach = [d * (k - 1) for k, d in zip(kernel, dilation)]
        return tuple((r // 2, r - r // 2) for r in reach)
    if isinstance(padding, str):
        raise ValueError(f"{name}: expected padding 'same', 'valid' or integers, got {padding!r}")
    return _pairs(name, padding, len(kernel))


def _convolve(name: str, t: Tensor, w: Tensor, bias: Any, geometry: Conv) -> Tensor:
    """The conv node, and the bias added to its channels."""
    dtype = common_dtype(name, (t, w))
    n, taps = N.cast(read(t), dtype), N.cast(read(w), dtype)
    shape = geometry.output_shape(n.shape, taps.shape)
    if 0 in shape[2:]:
        raise ValueError(f"{name}: expected an input at least as large as the kernel, got input "
                         f"{t.shape}, kernel {w.shape[2:]}, padding {geometry.before}")
    made = derive(N.node("conv", dtype, shape, (n, taps), geometry), t, w)
    if bias is None:
        return made
    b = as_tensor(name, bias)
    if b.shape != (shape[1],):
        raise ValueError(f"{name}: expected a bias of shape {(shape[1],)}, got {b.shape}")
    return made + b.reshape((shape[1],) + (1,) * (len(shape) - 2))


def conv1d(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Tensor:
    """`convnd` over one axis: (n, c, length). Torch7 nn.TemporalConvolution (channels last there).
    """
    _check_rank("conv1d", weight, 3)
    return convnd(x, weight, bias, stride, padding, dilation, groups, "conv1d")


def conv2d(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Tensor:
    """`convnd` over two axes: (n, c, height, width). Torch7 nn.SpatialConvolution."""
    _check_rank("conv2d", weight, 4)
    return convnd(x, weight, bias, stride, padding, dilation, groups, "conv2d")


def conv3d(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
           dilation: Any = 1, groups: int = 1) -> Tensor:
    """`convnd` over three axes: (n, c, depth, height, width). Torch7 nn.VolumetricConvolution."""
    _check_rank("conv3d", weight, 5)
    return convnd(x, weight, bias, stride, padding, dilation, groups, "conv3d")


def _check_rank(name: str, weight: Any, rank: int) -> None:
    shape = as_tensor(name, weight).shape
    if len(shape) != rank:
        raise ValueError(f"{name}: expected weights of {rank} axes, got shape {shape}")


def conv_transpose(x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
                   output_padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Tensor:
    """The transpose (gradient) of a convolution: x (n, c, x...), weight (c, o/groups, k...), bias
    (o): (n, o, (x - 1) * stride - 2 * padding + dilation * (k - 1) + 1 + output_padding).

    Torch7 nn.SpatialFullConvolution. Raises ValueError for shapes that do not fit.
    """
    name = "conv_transpose"
    t, w = as_tensor(name, x), as_tensor(name, weight)
    rank = w.ndim - 2
    if rank < 1 or t.ndim not in (rank + 1, rank + 2):
        raise ValueError(f"{name}: expected an input of {rank + 1} or {rank + 2} axes for weights "
                         f"of shape {w.shape}, got shape {t.shape}")
    if t.ndim == rank + 1:
        found = conv_transpose(t.unsqueeze(0), w, bias, stride, padding, output_padding, dilation,
                               groups)
        return found.squeeze(0)  # type: ignore[no-any-return]
    _check_channels(name, t, w, groups, w.shape[0])
    steps = _tuple(name, stride, rank, "strides", 1)
    spread = _tuple(name, dilation, rank, "dilations", 1)
    extra = _tuple(name, output_padding, rank, "output_padding")
    reach = [d * (k - 1) for k, d in zip(w.shape[2:], spread)]
    ends = _pairs(name, padding, rank)
    geometry = Conv((1,) * rank, tuple(r - a for r, (a, _) in zip(reach, ends)),
                    tuple(r - b + e for r, (_, b), e in zip(reach, ends, extra)), spread, steps,
                    groups)
    return _convolve(name, t, _transposed(w, groups), bias, geometry)


def _transposed(w: Tensor, groups: int) -> Tensor:
    """(c, o/g, k...) as the weights (o, c/g, -k...) of the correlation that transposes."""
    c, o, *kernel = w.shape
    split = w.reshape(groups, c // groups, o, *kernel).transpose(1, 2)
    flipped = split.flip(tuple(range(3, split.ndim)))
    return flipped.reshape(groups * o, c // groups, *kernel)  # type: ignore[no-any-return]


# -- pooling -------------------------------------------------------------------------------------


class Pooled(NamedTuple):
    """The largest elements and their row-major positions in the plane (int64)."""

    values: Tensor
    indices: Tensor


class _Windows(NamedTuple):
    """Where windows lie, one entry per spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]  # before
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    outputs: tuple[int, ...]


def _windows(name: str, spatial: Shape, kernel: Any, stride: Any, padding: Any, dilation: Any,
             ceil_mode: bool) -> _Windows:
    rank = len(spatial)
    k = _tuple(name, kernel, rank, "kernel", 1)
    s = k if stride is None else _tuple(name, stride, rank, "strides", 1)
    d = _tuple(name, dilation, rank, "dilations", 1)
    ends = _pool_padding(name, padding, k, d)
    count = []
    for e, kk, ss, (before, after), dd in zip(spatial, k, s, ends, d):
        room = e + before + after - dd * (kk - 1) - 1
        n = (-(-room // ss) if ceil_mode else room // ss) + 1
        if ceil_mode and (n - 1) * ss >= e + before:  # the last window must start inside
            n -= 1
        if n < 1:
            raise ValueError(f"{name}: expected windows inside an input of {spatial}, got kernel "
                             f"{k}, padding {padding}")
        count.append(n)
    return _Windows(k, s, tuple(a for a, _ in ends), tuple(b for _, b in ends), d, tuple(count))


def _pool_padding(name: str, padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]
                  ) -> tuple[tuple[int, int], ...]:
    """(before, after) for each axis; no window may lie in the padding alone."""
    ends = _pairs(name, padding, len(kernel))
    paired = isinstance(padding, tuple | list) and any(isinstance(p, tuple | list) for p in padding)
    plain = tuple(a for a, _ in ends)
    if not paired and any(a < 0 or 2 * a > k for a, k in zip(plain, kernel)):
        raise ValueError(f"{name}: expected padding of at most half the kernel {kernel}, got "
                         f"{plain}")
    reach = tuple(d * (k - 1) for k, d in zip(kernel, dilation))
    if paired and any(not 0 <= p <= r for pair, r in zip(ends, reach) for p in pair):
        raise ValueError(f"{name}: expected padding of at most {reach}, got {ends}")
    return ends


def _least(n: Node) -> float:
    """What no maximum is below."""
    if n.dtype.is_float:
        return -math.inf
    return 0 if n.dtype.kind == "u" else -(1 << 8 * n.dtype.itemsize - 1)


def _padded(n: Node, w: _Windows, fill: float) -> Node:
    """n with fill around its spatial axes, as far as the windows reach (or cut there)."""
    lead = len(n.shape) - len(w.kernel)
    need = [(c - 1) * s + d * (k - 1) + 1
            for c, s, d, k in zip(w.outputs, w.stride, w.dilation, w.kernel)]
    kept = [min(e, r - p) for e, r, p in zip(n.shape[lead:], need, w.padding)]
    n = N.slice_(n, (0,) * len(n.shape), (*n.shape[:lead], *kept), (1,) * len(n.shape))
    return N.pad(n, (*(0,) * lead, *w.padding), (*n.shape[:lead], *need), fill)


def _window_axes(n: Node, w: _Windows) -> Node:
    """(lead..., count..., kernel...): a reshape where windows tile, else stacked slices."""
    lead, rank = len(n.shape) - len(w.kernel), len(w.kernel)
    if all(k == s and d == 1 for k, s, d in zip(w.kernel, w.stride, w.dilation)):
        pairs = tuple(v for c, k in zip(w.outputs, w.kernel) for v in (c, k))
        split = N.reshape(n, (*n.shape[:lead], *pairs))
        return N.permute(split, (*range(lead), *(lead + 2 * i for i in range(rank)),
                                 *(lead + 2 * i + 1 for i in range(rank))))
    for i in range(rank):  # axis by axis: k slices stacked behind
        axis = lead + i
        parts = []
        for j in range(w.kernel[i]):
            starts, steps = [0] * len(n.shape), [1] * len(n.shape)
            starts[axis], steps[axis] = j * w.dilation[i], w.stride[i]
            shape = (*n.shape[:axis], w.outputs[i], *n.shape[axis + 1:])
            part = N.slice_(n, tuple(starts), shape, tuple(steps))
            parts.append(N.reshape(part, (*shape, 1)))
        n = N.concat(parts, len(n.shape))
    return n


def _spatial(name: str, x: Any, kernel: Any, rank: int | None, keep: bool = False
             ) -> tuple[Tensor, Node, int]:
    """The operand and how many spatial axes it has. keep: integers stay integers."""
    t = as_tensor(name, x)
    found = rank or (len(kernel) if isinstance(kernel, tuple | list) else 2)
    if t.ndim not in (found + 1, found + 2):
        raise ValueError(f"{name}: expected {found + 1} or {found + 2} axes, got shape {t.shape}")
    return (t, read(t), found) if keep and t.dtype.is_integer else (*floating(name, t), found)


def max_pool(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
             ceil_mode: bool = False, return_indices: bool = False, rank: int | None = None,
             name: str = "max_pool") -> Any:
    """The largest element of each window of x (n, c, x...) or (c, x...); NaN wins.

    stride: the kernel's size if None. padding: an int, one an axis or (before, after) an axis; it
    is -inf. Integers stay integers. ceil_mode: windows may reach over the end.
    return_indices: the pair `values, indices`. The gradient goes to the first of equal elements.
    Torch7 nn.SpatialMaxPooling. Raises ValueError for padding over half the kernel.
    """
    t, n, found = _spatial(name, x, kernel, rank, keep=True)
    w = _windows(name, n.shape[-found:], kernel, stride, padding, dilation, ceil_mode)
    padded = _padded(n, w, _least(n))
    tiles = all(k == s and d == 1 for k, s, d in zip(w.kernel, w.stride, w.dilation))
    if tiles or return_indices:
        cells = _window_axes(padded, w)
        values = _over_windows("max", cells, found)
    else:
        values = _chain(padded, w, _first_larger)
    if not return_indices:
        return derive(values, t)
    return Pooled(derive(values, t), derive(_positions(cells, n, w), t).detach())


def _over_windows(op: str, cells: Node, rank: int) -> Node:
    """A reduction over the kernel axes, which stand last."""
    axes = tuple(range(len(cells.shape) - rank, len(cells.shape)))
    return N.reshape(reduce_node(op, cells, axes), cells.shape[:-rank])


def _first_larger(a: Node, b: Node) -> Node:
    """The larger, NaN before all, the first of equals: so the gradient goes to that one alone."""
    better = N.elementwise("lt", a, b)
    if b.dtype.is_float:
        better = N.elementwise("or", better, N.elementwise("isnan", b))
    return N.elementwise("where", better, b, a)


def _chain(padded: Node, w: _Windows, combine: Callable[[Node, Node], Node]) -> Node:
    """Strided slices combined pairwise, axis after axis: overlapping windows without a copy."""
    lead = len(padded.shape) - len(w.kernel)
    n = padded
    for i, k in reversed(tuple(enumerate(w.kernel))):  # so that row-major order decides ties
        axis = lead + i
        shape = (*n.shape[:axis], w.outputs[i], *n.shape[axis + 1:])
        parts = []
        for j in range(k):
            starts, steps = [0] * len(shape), [1] * len(shape)
            starts[axis], steps[axis] = j * w.dilation[i], w.stride[i]
            parts.append(N.slice_(n, tuple(starts), shape, tuple(steps)))
        while len(parts) > 1:
            parts = [combine(*parts[m:m + 2]) if m + 1 < len(parts) else parts[m]
                     for m in range(0, len(parts), 2)]
        n = parts[0]
    return n


def _positions(cells: Node, n: Node, w: _Windows) -> Node:
    """Row-major positions in the plane of the first maxima of the windows."""
    rank = len(w.kernel)
    lead = cells.shape[:-rank]
    flat = N.reshape(cells, (*lead, math.prod(w.kernel)))
    best = N.reshape(N.reduce_("argmax", flat, (len(lead),)), lead)
    e = N.elementwise
    total = constant(dt.int64, 0, lead)
    left = math.prod(w.kernel)
    for i in range(rank):
        left //= w.kernel[i]
        inside = e("floordiv", best, constant(dt.int64, left, lead))
        best = e("sub", best, e("mul", inside, constant(dt.int64, left, lead)))
        origin = e("mul", iota(dt.int64, lead, len(lead) - rank + i),
                   constant(dt.int64, w.stride[i], lead))
        place = e("add", e("sub", origin, constant(dt.int64, w.padding[i], lead)),
                  e("mul", inside, constant(dt.int64, w.dilation[i], lead)))
        extent = constant(dt.int64, n.shape[len(n.shape) - rank + i], lead)
        total = e("add", e("mul", total, extent), place)
    return total


def avg_pool(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, divide: bool = True, rank: int | None = None,
             name: str = "avg_pool", dilation: Any = 1) -> Tensor:
    """The mean of each window of x (n, c, x...) or (c, x...).

    count_include_pad: padding counts as zeros, else only real elements are counted. padding,
    dilation and ceil_mode as in `max_pool`; what lies over the padded end is never counted.
    divide: False gives sums. Torch7 nn.SpatialAveragePooling.
    """
    t, n, found = _spatial(name, x, kernel, rank)
    w = _windows(name, n.shape[-found:], kernel, stride, padding, dilation, ceil_mode)
    total = _sums(n, w)
    if not divide:
        return derive(total, t)
    counts = _counts(n.shape[-found:], w, count_include_pad)
    for i, per_axis in enumerate(counts):
        axis = len(total.shape) - found + i
        total = N.elementwise("div", total, _count_node(per_axis, total, axis, w, i))
    return derive(total, t)


def _sums(n: Node, w: _Windows) -> Node:
    """The sum of each window; padding adds 0."""
    padded, rank = _padded(n, w, 0), len(w.kernel)
    if all(k == s and d == 1 for k, s, d in zip(w.kernel, w.stride, w.dilation)):
        return _over_windows("sum", _window_axes(padded, w), rank)
    return _chain(padded, w, lambda a, b: N.elementwise("add", a, b))


def lp_pool(x: Any, p: float, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
            ceil_mode: bool = False, rank: int | None = None, name: str = "lp_pool") -> Tensor:
    """(sum |x|^p)^(1/p) of each window of x (n, c, x...) or (c, x...); arguments as `max_pool`.

    The gradient of a window of zeros is 0. Torch7 nn.SpatialLPPooling, PyTorch lp_pool2d. Raises
    ValueError for p of 0 or less.
    """
    if p <= 0:
        raise ValueError(f"{name}: expected p above 0, got {p}")
    t, n, found = _spatial(name, x, kernel, rank)
    w = _windows(name, n.shape[-found:], kernel, stride, padding, dilation, ceil_mode)
    size = N.elementwise("abs", n)
    power = N.elementwise("mul", n, n) if p == 2 else N.elementwise(
        "pow", size, constant(n.dtype, p, n.shape))
    total = _sums(size if p == 1 else power, w)
    if p == 1:
        return derive(total, t)
    nothing = N.elementwise("eq", total, constant(n.dtype, 0, total.shape))
    safe = N.elementwise("where", nothing, constant(n.dtype, 1, total.shape), total)
    root = N.elementwise("sqrt", safe) if p == 2 else N.elementwise(
        "pow", safe, constant(n.dtype, 1 / p, total.shape))
    return derive(N.elementwise("where", nothing, total, root), t)


def _counts(spatial: Shape, w: _Windows, include: bool) -> list[list[int]]:
    """How many elements each window has along each axis."""
    result = []
    for e, k, s, p, q, d, c in zip(spatial, w.kernel, w.stride, w.padding, w.after, w.dilation,
                                   w.outputs):
        low, high = (-p, e + q) if include else (0, e)
        result.append([len(range(_first(i * s - p, low, d), min(i * s - p + d * (k - 1) + 1, high),
                                 d)) for i in range(c)])
    return result


def _first(start: int, low: int, step: int) -> int:
    """The first of start, start + step, ... that is low or more."""
    return start if start >= low else start + -(-(low - start) // step) * step


def _count_node(counts: list[int], total: Node, axis: int, w: _Windows, i: int) -> Node:
    """The counts along an axis: one constant, or where the ends differ a formula of the index."""
    if len(set(counts)) == 1:
        return constant(total.dtype, counts[0], total.shape)
    shape = (1,) * axis + (len(counts),) + (1,) * (len(total.shape) - axis - 1)
    parts = [constant(total.dtype, c, (1,) * len(shape)) for c in counts]
    runs: list[Node] = []
    start = 0
    for end in range(1, len(counts) + 1):
        if end == len(counts) or counts[end] != counts[start]:
            length = (1,) * axis + (end - start,) + (1,) * (len(shape) - axis - 1)
            runs.append(N.expand(parts[start], length))
            start = end
    return N.expand(N.concat(runs, axis), total.shape)


def max_pool1d(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """`max_pool` over one axis. Torch7 nn.TemporalMaxPooling."""
    return max_pool(x, kernel, stride, padding, dilation, ceil_mode, return_indices, 1,
                    "max_pool1d")


def max_pool2d(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """`max_pool` over two axes. Torch7 nn.SpatialMaxPooling."""
    return max_pool(x, kernel, stride, padding, dilation, ceil_mode, return_indices, 2,
                    "max_pool2d")


def max_pool3d(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False) -> Any:
    """`max_pool` over three axes. Torch7 nn.VolumetricMaxPooling."""
    return max_pool(x, kernel, stride, padding, dilation, ceil_mode, return_indices, 3,
                    "max_pool3d")


def avg_pool1d(x: Any, kernel: Any, stride: Any = None, padding: Any = 0,
               ceil_mode: bool = False, count_include_pad: bool = True) -> Tensor:
    """`avg_pool` over one axis. PyTorch avg_pool1d."""
    return avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, True, 1, "avg_pool1d")


def avg_pool2d(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divide: bool = True) -> Tensor:
    """`avg_pool` over two axes. Torch7 nn.SpatialAveragePooling."""
    return avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divide, 2,
                    "avg_pool2d")


def avg_pool3d(x: Any, kernel: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divide: bool = True) -> Tensor:
    """`avg_pool` over three axes. Torch7 nn.VolumetricAveragePooling."""
    return avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divide, 3,
                    "avg_pool3d")
