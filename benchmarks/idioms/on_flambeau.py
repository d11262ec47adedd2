"""Flambeau: functions compiled by fb.compile."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import flambeau as fb
import numpy as np

from . import Work, listed


def start(threads: int) -> None:
    """Before any work."""
    fb.set_num_threads(threads)


def version() -> str:
    """What is measured."""
    return str(fb.__version__)


def tensor(a: np.ndarray) -> Any:
    """An operand."""
    return fb.tensor(a, dtype=str(a.dtype)).realize()


def fetch(value: Any) -> list[np.ndarray]:
    """Results as arrays."""
    return [np.asarray(v.numpy()) for v in listed(value)]


def work(f: Callable[..., Any], arrays: list[np.ndarray]) -> Work:
    """One compiled call."""
    compiled, operands = fb.compile(lambda *given: f(X, *given)), [tensor(a) for a in arrays]
    return Work(lambda: compiled(*operands), fetch)


def lazy(f: Callable[..., Any], arrays: list[np.ndarray]) -> Work:
    """Records, and computes nothing until the result is fetched."""
    operands = [tensor(a) for a in arrays]
    return Work(lambda: f(X, *operands), fetch)


def layer_norm(a: Any, weight: Any, bias: Any) -> Any:
    """Over the last axis."""
    centred = a - a.mean(-1, keepdims=True)
    return centred / ((centred * centred).mean(-1, keepdims=True) + 1e-5).sqrt() * weight + bias


def loss_and_gradient(a: Any, labels: Any) -> Any:
    """Mean negative log-likelihood of the rows' softmax."""
    criterion = fb.nn.CrossEntropyCriterion()
    return fb.value_and_grad(lambda a: criterion.forward(a, labels))(a)


def conv_grad_input(g: Any, w: Any, shape: Any, padding: int) -> Any:
    """The gradient by the image."""
    return fb.vjp(lambda x: fb.conv2d(x, w, padding=padding), fb.zeros(shape))[1](g)[0]


def conv_grad_weight(g: Any, x: Any, shape: Any, padding: int) -> Any:
    """The gradient by the kernels."""
    return fb.vjp(lambda w: fb.conv2d(x, w, padding=padding), fb.zeros(shape))[1](g)[0]


def elman(x: Any, w: Any, u: Any, b: Any) -> Any:
    """Loss and gradients of a tanh net unrolled over x (steps, batch, inputs)."""
    def loss(w: Any, u: Any, b: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            return (row @ w.t() + h @ u.t() + b).tanh(), None
        last, _ = fb.scan(step, fb.zeros((x.shape[1], u.shape[1])), x)
        return (last * last).mean()
    value, (gw, gu, gb) = fb.value_and_grad(loss, argnums=(0, 1, 2))(w, u, b)
    return value, gw, gu, gb


def lstm(x: Any, w: Any, u: Any, b: Any) -> Any:
    """Loss and gradients of an LSTM; gates in the order input, forget, cell, output."""
    n = u.shape[1]

    def loss(w: Any, u: Any, b: Any) -> Any:
        def step(state: Any, row: Any) -> Any:
            h, c = state
            gates = row @ w.t() + h @ u.t() + b
            i, f, g, o = (gates[:, k * n:(k + 1) * n] for k in range(4))
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            return (o.sigmoid() * c.tanh(), c), None
        zero = fb.zeros((x.shape[1], n))
        (last, _), _ = fb.scan(step, (zero, zero), x)
        return (last * last).mean()
    value, (gw, gu, gb) = fb.value_and_grad(loss, argnums=(0, 1, 2))(w, u, b)
    return value, gw, gu, gb


X = SimpleNamespace(
    exp=fb.exp, tanh=fb.tanh, sum=fb.sum, matmul=fb.matmul, transpose=lambda a: a.t(),
    softmax=fb.softmax, argmax=lambda a: fb.argmax(a, 1), cumsum=lambda a: fb.cumsum(a, 1),
    layer_norm=layer_norm, loss_and_gradient=loss_and_gradient,
    conv=lambda x, w, padding: fb.conv2d(x, w, padding=padding),
    conv_grad_input=conv_grad_input, conv_grad_weight=conv_grad_weight, elman=elman, lstm=lstm)
