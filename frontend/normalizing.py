"""Normalisation as functions: by batch, layer, group, instance, root mean square, neighbours.

Statistics of 16-bit floats are calculated in float32.
"""

from __future__ import annotations

from typing import Any

from . import reductions as r
from .activations import rsqrt, square
from .convolution import avg_pool
from .elementwise import abs as abs_
from .elementwise import maximum
from .elementwise import pow as pow_
from .joining import pad
from .movement import moveaxis, reshape, unsqueeze
from .recording import accepts_dim, as_tensor
from .tensor import Tensor, assign, default_dtype, no_grad


def _wide(name: str, x: Any) -> Tensor:
    """x in the dtype of its statistics."""
    t = as_tensor(name, x)
    return t.to(t.dtype.compute if t.dtype.is_float else default_dtype())


def _back(made: Tensor, x: Any) -> Tensor:
    """A result in x's dtype, if that is a floating one."""
    return made.to(x.dtype) if isinstance(x, Tensor) and x.dtype.is_float else made


def _standard(t: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """(t - mean) / sqrt(var + eps) over axes."""
    centred = t - r.mean(t, axes, keepdims=True)
    return centred * rsqrt(r.mean(square(centred), axes, keepdims=True) + eps)


def _affine(name: str, made: Tensor, weight: Any, bias: Any, shape: tuple[int, ...]) -> Tensor:
    """made * weight + bias, which have as many elements as `shape` and stand there."""
    for given, multiplies in ((weight, True), (bias, False)):
        if given is None:
            continue
        g = _wide(name, given)
        if g.size != _size(shape):
            raise ValueError(f"{name}: expected weight and bias of {_size(shape)} elements, got "
                             f"shape {g.shape}")
        g = reshape(g, shape)
        made = made * g if multiplies else made + g
    return made


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for e in shape:
        total *= e
    return total


def _normalized(name: str, t: Tensor, shape: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shape of the last axes, checked, and their numbers."""
    wanted = (shape,) if isinstance(shape, int) else tuple(shape)
    if not wanted or t.shape[t.ndim - len(wanted):] != wanted or len(wanted) > t.ndim:
        raise ValueError(f"{name}: expected last axes of {wanted}, got shape {t.shape}")
    return wanted, tuple(range(t.ndim - len(wanted), t.ndim))


def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, whose shape is
    normalized_shape (an int for one axis), as weight's and bias's. Shape of x. PyTorch layer_norm;
    Ba et al. 2016. Raises ValueError for other shapes.
    """
    t = _wide("layer_norm", x)
    shape, axes = _normalized("layer_norm", t, normalized_shape)
    return _back(_affine("layer_norm", _standard(t, axes, eps), weight, bias, shape), x)


def rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float = 1e-5) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axes, whose shape is normalized_shape.
    PyTorch rms_norm; Zhang and Sennrich 2019. Raises ValueError for other shapes."""
    t = _wide("rms_norm", x)
    shape, axes = _normalized("rms_norm", t, normalized_shape)
    made = t * rsqrt(r.mean(square(t), axes, keepdims=True) + eps)
    return _back(_affine("rms_norm", made, weight, None, shape), x)


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
               ) -> Tensor:
    """x (n, c, ...) with mean and variance taken over each of num_groups groups of channels, then
    weight and bias (c). PyTorch group_norm; Wu and He 2018. Raises ValueError for groups that do
    not divide the channels.
    """
    t = _wide("group_norm", x)
    if t.ndim < 2 or num_groups < 1 or t.shape[1] % num_groups:
        raise ValueError(f"group_norm: expected (n, c, ...) with channels that {num_groups} groups "
                         f"divide, got shape {t.shape}")
    n, c, *rest = t.shape
    grouped = reshape(t, (n, num_groups, c // num_groups, *rest))
    made = reshape(_standard(grouped, tuple(range(2, grouped.ndim)), eps), t.shape)
    return _back(_affine("group_norm", made, weight, bias, (c, *(1,) * len(rest))), x)


def instance_norm(x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    """x (n, c, ...) with mean and variance taken over each channel of each sample, then weight and
    bias (c). PyTorch instance_norm; Ulyanov et al. 2016. Raises ValueError without axes to
    normalise.
    """
    t = _wide("instance_norm", x)
    if t.ndim < 3:
        raise ValueError(f"instance_norm: expected (n, c, ...) with axes behind, got {t.shape}")
    made = _standard(t, tuple(range(2, t.ndim)), eps)
    shape = (t.shape[1], *(1,) * (t.ndim - 2))
    return _back(_affine("instance_norm", made, weight, bias, shape), x)


def batch_norm(x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
               bias: Any = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5
               ) -> Tensor:
    """x (n, c, ...) normalised by channel: with running_mean and running_var (c), or in training
    with the batch's own; then weight and bias (c). In training the running ones, if given, take a
    share `momentum` of the batch's (its variance divided by n - 1), in place.

    PyTorch batch_norm, Torch7 nn.BatchNormalization; Ioffe and Szegedy 2015. Raises ValueError
    outside of training without statistics.
    """
    t = _wide("batch_norm", x)
    if t.ndim < 2 or (not training and (running_mean is None or running_var is None)):
        raise ValueError("batch_norm: expected (n, c, ...) and, outside of training, running_mean "
                         f"and running_var, got shape {t.shape}")
    shape = (t.shape[1], *(1,) * (t.ndim - 2))
    axes = tuple(i for i in range(t.ndim) if i != 1)
    if training:
        mean = r.mean(t, axes, keepdims=True)
        var = r.mean(square(t - mean), axes, keepdims=True)
        count = t.size // max(t.shape[1], 1)
        _follow(running_mean, mean, momentum, 1.0)
        _follow(running_var, var, momentum, count / max(count - 1, 1))
    else:
        mean, var = (reshape(_wide("batch_norm", v), shape) for v in (running_mean, running_var))
    made = (t - mean) * rsqrt(var + eps)
    return _back(_affine("batch_norm", made, weight, bias, shape), x)


def _follow(running: Any, found: Tensor, momentum: float, scale: float) -> None:
    """Moves a running statistic, a tensor, towards the batch's, in place."""
    if running is None:
        return
    if not isinstance(running, Tensor):
        raise TypeError("batch_norm: expected tensors as running statistics in training, got "
                        f"{type(running).__name__}")
    with no_grad():
        new = running * (1 - momentum) + reshape(found.detach(), running.shape) * (momentum * scale)
        assign("batch_norm", running, new.to(running.dtype))


def local_response_norm(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
                        ) -> Tensor:
    """x / (k + alpha / size * sum x^2 over `size` neighbouring channels)^beta, x (n, c, ...).

    PyTorch local_response_norm, Torch7 nn.SpatialCrossMapLRN; Krizhevsky et al. 2012. Raises
    ValueError for a size below 1.
    """
    t = _wide("local_response_norm", x)
    if t.ndim < 2 or size < 1:
        raise ValueError("local_response_norm: expected (n, c, ...) and a size from 1, got "
                         f"shape {t.shape} and {size}")
    line = unsqueeze(moveaxis(square(t), 1, -1), -2)
    before = (size - 1) // 2
    ends = [(0, 0)] * (line.ndim - 1) + [(before, size - 1 - before)]
    rows = reshape(pad(line, ends), (-1, 1, t.shape[1] + size - 1))
    means = reshape(avg_pool(rows, size, 1, rank=1), (*line.shape[:-2], t.shape[1]))
    return _back(t * pow_(moveaxis(means, -1, 1) * alpha + k, -beta), x)


@accepts_dim
def normalize(x: Any, p: float = 2, axis: Any = 1, eps: float = 1e-12) -> Tensor:
    """x / max(norm of order p along axis, eps). Shape of x. PyTorch normalize, Torch7
    nn.Normalize."""
    t = _wide("normalize", x)
    size = r.sum(abs_(t), axis, True) if p == 1 else r.norm(t, p, axis, True)
    return _back(t / maximum(size, eps), x)
