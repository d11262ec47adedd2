"""Gradients through numbers drawn by rejection: how a draw moves when its parameter does.

A draw z of a law with distribution function F and density p moves so that F(z) stays, hence
dz/da = -(dF/da) / p (implicit reparametrisation: Figurnov, Mohamed and Mnih, 2018). The slope is an
expression of a and z like any other: it fuses, runs on every device and has derivatives itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler.node import Node, node

from .creation import tensor
from .elementwise import abs as absolute
from .elementwise import digamma, exp, expm1, log, lt, sqrt, where
from .pullback import Boundary
from .tensor import Tensor, enable_grad, mode, read, result

_U = np.linspace(-3.6, 3.9, 64)  # of the double exponential rule; its error is below 1e-9
_PLACES = np.exp(_U - np.exp(-_U))
_WEIGHTS = _PLACES * (1 + np.exp(-_U)) * (_U[1] - _U[0])


def gamma_slope(shape: Tensor, z: Tensor) -> Tensor:
    """dz/dshape of gamma draws z of a shape of 1 or more and scale 1, float64.

    The integral of (log t - digamma(shape)) p(t) / p(z) over the side of z on which p falls, with
    t = z exp(-w) below and z exp(w) above: there nothing cancels.
    """
    a, x = shape.to(dt.float64), z.to(dt.float64)
    side = where(lt(x, a), -1.0, 1.0)
    length = (1 / (absolute(a - x) + sqrt(x))).detach()
    w = (length * side).unsqueeze(-1) * tensor(_PLACES)
    steps = length.unsqueeze(-1) * tensor(_WEIGHTS)
    density = exp(a.unsqueeze(-1) * w - x.unsqueeze(-1) * expm1(w))
    above = (log(x) - digamma(a)).unsqueeze(-1) + w
    return (above * density * steps).sum(-1) * side * x


class Draw:
    """The owner of a boundary around a draw: it pulls a cotangent back to the parameter."""

    def __init__(self, parameter: Node, device: str) -> None:
        self.parameter = parameter
        self.device = device
        self.output: Callable[[], Node | None] = lambda: None

    def pull_back(self, cotangent: Node, scale: float, want: str) -> list[Node | None]:
        """The parameter's cotangent."""
        drawn = self.output()
        assert drawn is not None
        with enable_grad():
            a, z, g = (result(n, True, self.device) for n in (self.parameter, drawn, cotangent))
            return [read((g * gamma_slope(a, z)).to(self.parameter.dtype))]


def follow(z: Tensor, parameter: Node) -> Tensor:
    """Draws z of the gamma law that let gradients through to the shape they were drawn with."""
    owner = Draw(parameter, z.device)
    n = node("mark", z.dtype, z.shape, (read(z),), Boundary([parameter], owner))
    owner.output = weakref.ref(n)
    return result(n, mode.grad, z.device)
