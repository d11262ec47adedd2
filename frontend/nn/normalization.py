"""Batch normalisation over rows (n, c) and images (n, c, h, w)."""

from __future__ import annotations

from typing import Any

from .. import realize as door
from .. import reductions as r
from ..activations import rsqrt
from ..creation import ones, zeros
from ..tensor import Tensor, assign, no_grad
from .init import Initializer, reset_parameter
from .module import Module
from .parameters import Buffer, Parameter


class BatchNormalization(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias, by column of (n, c).

    Training: the batch's mean and biased variance; running_mean and running_var take a share
    `momentum` of the batch's (the unbiased variance). Evaluation: the running ones. weight starts
    at 1 (Torch7: U(0, 1)), bias at 0. Training needs more than one value a column.
    Torch7 nn.BatchNormalization.
    """

    ndim = 2

    def __init__(self, n: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True,
                 init: Initializer | None = None) -> None:
        if n < 1:
            raise ValueError(f"{type(self).__name__}: expected at least one column, got {n}")
        self.n, self.eps, self.momentum, self.init = n, eps, momentum, init
        self.weight = Parameter(ones(n)) if affine else None
        self.bias = Parameter(zeros(n)) if affine else None
        self.running_mean, self.running_var = Buffer(zeros(n)), Buffer(ones(n))
        if init is not None:
            self.reset()

    def reset(self, stdv: Any = None) -> None:
        with no_grad():
            if self.weight is not None and self.bias is not None:
                self.weight.fill_(1)
                self.bias.fill_(0)
                if self.init is not None or stdv is not None:
                    reset_parameter(self.weight, self.n, stdv, self.init)
            self.running_mean.fill_(0)
            self.running_var.fill_(1)

    def compute(self, input: Tensor) -> Tensor:
        if input.ndim != self.ndim or input.shape[1] != self.n:
            wanted = "(n, {})" if self.ndim == 2 else "(n, {}" + ", ." * (self.ndim - 2) + ")"
            raise ValueError(f"{self.label()}: expected input {wanted.format(self.n)}, got "
                             f"{input.dtype.name} {input.shape}")
        axes = tuple(i for i in range(input.ndim) if i != 1)
        column = (1, self.n) + (1,) * (input.ndim - 2)
        if self.is_training:
            mean = r.mean(input, axes, keepdims=True)
            centred = input - mean
            var = r.mean(centred * centred, axes, keepdims=True)
            self._follow(mean.reshape(self.n), var.reshape(self.n), int(input.size) // self.n)
        else:
            centred = input - self.running_mean.reshape(column)
            var = self.running_var.reshape(column)
        scaled = centred * rsqrt(var + self.eps)
        if self.weight is None or self.bias is None:
            return scaled
        return scaled * self.weight.reshape(column) + self.bias.reshape(column)

    def _follow(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Moves the running statistics towards the batch's."""
        if count < 2:
            raise ValueError(f"{self.label()}: expected more than one value a column in training, "
                             f"got {count}")
        with no_grad():
            unbiased = var * (count / (count - 1))
            for kept, new in ((self.running_mean, mean), (self.running_var, unbiased)):
                assign(self.label(), kept,
                       (kept * (1 - self.momentum) + new * self.momentum).astype(kept.dtype))
                door.along.add(kept._storage)

    def extra(self) -> str:
        return f"{self.n}"


class SpatialBatchNormalization(BatchNormalization):
    """BatchNormalization by channel of (n, c, h, w). Torch7 nn.SpatialBatchNormalization."""

    ndim = 4
