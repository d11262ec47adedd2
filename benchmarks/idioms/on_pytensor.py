"""PyTensor, Theano's child: functions of trusted inputs, compiled with its default back end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as T

from . import Work, symbolic


def start(threads: int) -> None:
    """Its BLAS has read its number of threads from the environment; its loops are serial."""


def version() -> str:
    """What is measured."""
    return str(pytensor.__version__)


def work(f: Callable[..., Any], arrays: list[np.ndarray]) -> Work:
    """One compiled function."""
    return symbolic.work(pytensor, X, f, arrays)


def loss_and_gradient(a: Any, labels: Any) -> Any:
    """Mean negative log-likelihood of the rows' softmax."""
    chances = T.special.log_softmax(a, axis=1)
    loss = -chances[T.arange(a.shape[0]), labels].mean()
    return [loss, T.grad(loss, a)]


def elman(x: Any, w: Any, u: Any, b: Any) -> Any:
    """Loss and gradients of a tanh net unrolled over x (steps, batch, inputs)."""
    def step(row: Any, h: Any, w: Any, u: Any, b: Any) -> Any:
        return T.tanh(T.dot(row, w.T) + T.dot(h, u.T) + b)
    zero = T.zeros((x.shape[1], u.shape[1]), "float32")
    hs, _ = pytensor.scan(step, sequences=x, outputs_info=zero, non_sequences=[w, u, b])
    loss = (hs[-1] * hs[-1]).mean()
    return [loss, *T.grad(loss, [w, u, b])]


def lstm(x: Any, w: Any, u: Any, b: Any) -> Any:
    """Loss and gradients of an LSTM; gates in the order input, forget, cell, output."""
    n = u.shape[1]

    def step(row: Any, h: Any, c: Any, w: Any, u: Any, b: Any) -> Any:
        gates = T.dot(row, w.T) + T.dot(h, u.T) + b
        i, f, g, o = (gates[:, k * n:(k + 1) * n] for k in range(4))
        c = T.sigmoid(f) * c + T.sigmoid(i) * T.tanh(g)
        return T.sigmoid(o) * T.tanh(c), c
    zero = T.zeros((x.shape[1], n), "float32")
    (hs, _), _ = pytensor.scan(step, sequences=x, outputs_info=[zero, zero],
                              non_sequences=[w, u, b])
    loss = (hs[-1] * hs[-1]).mean()
    return [loss, *T.grad(loss, [w, u, b])]


X = symbolic.namespace(pytensor, True, softmax=lambda a: T.special.softmax(a, axis=1),
                       loss_and_gradient=loss_and_gradient, elman=elman, lstm=lstm)
