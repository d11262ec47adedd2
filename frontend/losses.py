"""Losses as functions. reduction: "mean", "sum" or "none". The criteria of `nn` are Torch7's."""

from __future__ import annotations

from typing import Any

from . import reductions as r
from .activations import clamp, square
from .creation import ones
from .elementwise import abs as abs_
from .elementwise import eq, log, log1p, ne, softplus, where
from .indexing import gather, take
from .movement import squeeze, unsqueeze
from .recording import as_tensors
from .tensor import Tensor


def _reduced(name: str, loss: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{name}: expected reduction mean, sum or none, got {reduction!r}")
    if reduction == "none":
        return loss
    return r.mean(loss) if reduction == "mean" else r.sum(loss)


def nll_loss(x: Any, target: Any, weight: Any = None, ignore_index: int = -100,
             reduction: str = "mean") -> Tensor:
    """-weight[t] x[t] for log-probabilities x (n, c, ...) or (c) and integer labels t (n, ...) or
    a number; "none" keeps the labels' shape, "mean" divides by the sum of the weights used.

    ignore_index: a label that counts nothing. PyTorch nll_loss, Torch7 nn.ClassNLLCriterion and
    nn.SpatialClassNLLCriterion. Raises ValueError for shapes that do not fit and, when it
    is computed, IndexError for labels out of range.
    """
    return _nll("nll_loss", x, target, weight, ignore_index, reduction)


def _nll(name: str, x: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Tensor:
    t, labels = as_tensors(name, x, target)
    axis = 1 if t.ndim > 1 else 0
    classes = t.shape[axis] if t.ndim else 0
    if not t.ndim or not t.dtype.is_float or not labels.dtype.is_integer or (
            labels.shape != t.shape[:axis] + t.shape[axis + 1:]):
        raise ValueError(f"{name}: expected (n, classes, ...) and integer labels (n, ...), got "
                         f"{t.dtype.name} {t.shape} and {labels.dtype.name} {labels.shape}")
    skip = eq(labels, ignore_index)
    labels = where(skip, 0, labels).long()
    labels = where(labels < 0, classes, labels)  # which gather refuses, where it would count back
    picked = squeeze(gather(t, axis, unsqueeze(labels, axis)), axis)
    shares = ones(classes, dtype=t.dtype, device=t.device) if weight is None else (
        as_tensors(name, t, weight)[1].to(t.dtype))
    if shares.shape != (classes,):
        raise ValueError(f"{name}: expected {classes} weights, got shape {shares.shape}")
    share = where(skip, 0, take(shares, labels))
    loss = where(skip, 0, -picked * share)
    if reduction == "mean":
        return r.sum(loss) / r.sum(share)
    return _reduced(name, loss, reduction)


def cross_entropy(x: Any, target: Any, weight: Any = None, ignore_index: int = -100,
                  reduction: str = "mean", label_smoothing: float = 0.0) -> Tensor:
    """`nll_loss` of log_softmax(x) over the classes, x (n, c, ...) or (c); or, for a target of x's
    shape, -sum target * weight * log_softmax(x) over the classes.

    label_smoothing: the share of a label that all classes get alike. PyTorch cross_entropy, Torch7
    nn.CrossEntropyCriterion. Raises as `nll_loss`.
    """
    t, wanted = as_tensors("cross_entropy", x, target)
    axis = 1 if t.ndim > 1 else 0
    logs = r.log_softmax(t, axis)
    if wanted.shape != t.shape:
        plain = _nll("cross_entropy", logs, wanted, weight, ignore_index, reduction)
        if not label_smoothing:
            return plain
        if weight is not None:
            raise ValueError("cross_entropy: expected label_smoothing without weight, got both")
        even = where(eq(wanted, ignore_index), 0, -r.mean(logs, axis))
        if reduction == "mean":
            even = r.sum(even) / r.sum(ne(wanted, ignore_index).to(t.dtype))
        elif reduction == "sum":
            even = r.sum(even)
        return plain * (1 - label_smoothing) + even * label_smoothing
    wanted = wanted.to(t.dtype) * (1 - label_smoothing) + label_smoothing / t.shape[axis]
    if weight is not None:
        shape = (-1, *(1,) * (t.ndim - axis - 1))
        wanted = wanted * as_tensors("cross_entropy", t, weight)[1].to(t.dtype).reshape(shape)
    return _reduced("cross_entropy", -r.sum(wanted * logs, axis), reduction)


def _pair(name: str, x: Any, target: Any) -> list[Tensor]:
    """Both, of one shape."""
    t, wanted = as_tensors(name, x, target)
    if t.shape != wanted.shape:
        raise ValueError(f"{name}: expected a target of shape {t.shape}, got {wanted.shape}")
    return [t, wanted]


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """(x - target)^2. PyTorch mse_loss, Torch7 nn.MSECriterion."""
    t, wanted = _pair("mse_loss", x, target)
    return _reduced("mse_loss", square(t - wanted), reduction)


def l1_loss(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """|x - target|. PyTorch l1_loss, Torch7 nn.AbsCriterion."""
    t, wanted = _pair("l1_loss", x, target)
    return _reduced("l1_loss", abs_(t - wanted), reduction)


def smooth_l1_loss(x: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """z^2 / (2 beta) where z = |x - target| is below beta, else z - beta / 2. PyTorch
    smooth_l1_loss, Torch7 nn.SmoothL1Criterion. Raises ValueError for beta of 0 or less."""
    if beta <= 0:
        raise ValueError(f"smooth_l1_loss: expected beta above 0, got {beta}")
    t, wanted = _pair("smooth_l1_loss", x, target)
    z = abs_(t - wanted)
    return _reduced("smooth_l1_loss", where(z < beta, z * z * (0.5 / beta), z - 0.5 * beta),
                    reduction)


def binary_cross_entropy(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """-(t log x + (1 - t) log(1 - x)) for probabilities x, the logarithms at least -100. PyTorch
    binary_cross_entropy, Torch7 nn.BCECriterion."""
    t, wanted = _pair("binary_cross_entropy", x, target)
    yes, no = clamp(log(t), min=-100), clamp(log1p(-t), min=-100)
    return _reduced("binary_cross_entropy", -(wanted * yes + (1 - wanted) * no), reduction)


def binary_cross_entropy_with_logits(x: Any, target: Any, reduction: str = "mean") -> Tensor:
    """`binary_cross_entropy` of sigmoid(x), without overflow. PyTorch
    binary_cross_entropy_with_logits."""
    t, wanted = _pair("binary_cross_entropy_with_logits", x, target)
    return _reduced("binary_cross_entropy_with_logits", softplus(t) - t * wanted, reduction)
