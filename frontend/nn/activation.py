"""Transfer functions: element by element, but for the softmax family and Dropout."""

from __future__ import annotations

from typing import Any

from .. import activations as a
from .. import reductions as r
from ..choosing import dropout_mask
from ..elementwise import sigmoid, softplus, tanh
from ..tensor import Tensor
from .module import Module


class Tanh(Module):
    """tanh x. Any shape. Torch7 nn.Tanh."""

    def compute(self, input: Tensor) -> Tensor:
        return tanh(input)


class Sigmoid(Module):
    """1 / (1 + exp(-x)). Any shape. Torch7 nn.Sigmoid."""

    def compute(self, input: Tensor) -> Tensor:
        return sigmoid(input)


class ReLU(Module):
    """x where positive, else 0; gradient 0 at 0. Any shape. Torch7 nn.ReLU."""

    def compute(self, input: Tensor) -> Tensor:
        return a.relu(input)


class LeakyReLU(Module):
    """x where positive, else slope * x. Any shape. Torch7 nn.LeakyReLU."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def compute(self, input: Tensor) -> Tensor:
        return a.leaky_relu(input, self.slope)

    def extra(self) -> str:
        return f"{self.slope:g}"


class ELU(Module):
    """x where positive, else alpha * (exp(x) - 1). Any shape. Torch7 nn.ELU."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def compute(self, input: Tensor) -> Tensor:
        return a.elu(input, self.alpha)

    def extra(self) -> str:
        return f"{self.alpha:g}"


class GELU(Module):
    """x * P(normal < x), by erf or approximate="tanh". Any shape."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def compute(self, input: Tensor) -> Tensor:
        return a.gelu(input, self.approximate)


class SiLU(Module):
    """x * sigmoid(x). Any shape."""

    def compute(self, input: Tensor) -> Tensor:
        return a.silu(input)


class SoftPlus(Module):
    """log(1 + exp(beta x)) / beta. Any shape. Torch7 nn.SoftPlus."""

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def compute(self, input: Tensor) -> Tensor:
        return softplus(input) if self.beta == 1 else softplus(input * self.beta) / self.beta

    def extra(self) -> str:
        return "" if self.beta == 1 else f"{self.beta:g}"


class _AlongDim(Module):
    """A function along one axis, the last unless told.

    dim=None is Torch7's choice by rank: the first axis of 1-d and 3-d inputs, the second of 2-d and
    4-d ones; for images (n, c, h, w) say dim=1.
    """

    def __init__(self, dim: int | None = -1) -> None:
        self.dim = dim

    def axis(self, input: Tensor) -> int:
        """The axis for this input."""
        if self.dim is not None:
            return self.dim
        return -1 if input.ndim < 3 else -3

    def extra(self) -> str:
        return "" if self.dim == -1 else f"dim={self.dim}"


class SoftMax(_AlongDim):
    """exp(x) / sum(exp(x)) along dim (the last). Torch7 nn.SoftMax, which chose dim by rank."""

    def compute(self, input: Tensor) -> Tensor:
        return r.softmax(input, self.axis(input))


class LogSoftMax(_AlongDim):
    """log(softmax(x)) along dim (the last). Torch7 nn.LogSoftMax, which chose dim by rank."""

    def compute(self, input: Tensor) -> Tensor:
        return r.log_softmax(input, self.axis(input))


class Dropout(Module):
    """Training: elements become 0 with probability p, the others x / (1 - p); evaluation: x.

    v1: others stay x and evaluation gives (1 - p) x. Torch7 nn.Dropout (its second version).
    """

    def __init__(self, p: float = 0.5, v1: bool = False) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: expected a probability in [0, 1), got {p}")
        self.p, self.v1 = p, v1

    def set_p(self, p: float) -> None:
        """Another probability (Torch7 setp)."""
        self.p = p

    def compute(self, input: Tensor) -> Any:
        if not self.is_training:
            return input * (1 - self.p) if self.v1 else input
        if self.p == 0:
            return input
        mask = dropout_mask(input.shape, self.p, input.dtype, device=input.device)
        return input * (mask * (1 - self.p) if self.v1 else mask)

    def extra(self) -> str:
        return f"{self.p:g}"
