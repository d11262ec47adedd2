"""PyTorch, eager."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from . import Work, listed


def start(threads: int) -> None:
    """Before any work."""
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:  # may be said once a process
        torch.set_num_interop_threads(1)


def version() -> str:
    """What is measured."""
    return str(torch.__version__)


def fetch(value: Any) -> list[np.ndarray]:
    """Results as arrays."""
    return [v.detach().numpy() for v in listed(value)]


def work(f: Callable[..., Any], arrays: list[np.ndarray]) -> Work:
    """A plain call; gradients are recorded only by those who ask for them."""
    operands = [torch.from_numpy(a) for a in arrays]

    def call() -> Any:
        return f(X, *operands)
    return Work(call, fetch)


lazy = work  # every operator computes


def loss_and_gradient(a: Any, labels: Any) -> Any:
    """Mean negative log-likelihood of the rows' softmax."""
    a = a.detach().requires_grad_()
    loss = functional.cross_entropy(a, labels)
    return loss.detach(), torch.autograd.grad(loss, a)[0]


def _gradients(g: Any, x: Any, w: Any, padding: int, wanted: list[bool]) -> Any:
    return torch.ops.aten.convolution_backward(g, x, w, None, [1, 1], [padding] * 2, [1, 1], False,
                                               [0, 0], 1, wanted)


def conv_grad_input(g: Any, w: Any, shape: Any, padding: int) -> Any:
    """The gradient by the image."""
    return _gradients(g, g.new_empty(shape), w, padding, [True, False, False])[0]


def conv_grad_weight(g: Any, x: Any, shape: Any, padding: int) -> Any:
    """The gradient by the kernels."""
    return _gradients(g, x, g.new_empty(shape), padding, [False, True, False])[1]


def _recurrent(kind: Any, x: Any, w: Any, u: Any, b: Any) -> Any:
    w, u, b = (p.detach().requires_grad_() for p in (w, u, b))
    zero = x.new_zeros((1, x.shape[1], u.shape[1]))
    if kind is torch.lstm:
        last = kind(x, (zero, zero), (w, u, b, torch.zeros_like(b)), True, 1, 0.0, True, False,
                    False)[1]
    else:
        last = kind(x, zero, (w, u, b, torch.zeros_like(b)), True, 1, 0.0, True, False, False)[1]
    loss = (last * last).mean()
    return loss.detach(), *torch.autograd.grad(loss, (w, u, b))


def elman(x: Any, w: Any, u: Any, b: Any) -> Any:
    """Loss and gradients of a tanh net unrolled over x (steps, batch, inputs)."""
    return _recurrent(torch.rnn_tanh, x, w, u, b)


def lstm(x: Any, w: Any, u: Any, b: Any) -> Any:
    """Loss and gradients of an LSTM; gates in the order input, forget, cell, output."""
    return _recurrent(torch.lstm, x, w, u, b)


X = SimpleNamespace(
    exp=torch.exp, tanh=torch.tanh, sum=torch.sum, matmul=torch.matmul, transpose=lambda a: a.t(),
    softmax=lambda a: torch.softmax(a, 1), argmax=lambda a: torch.argmax(a, 1),
    cumsum=lambda a: torch.cumsum(a, 1),
    layer_norm=lambda a, weight, bias: functional.layer_norm(a, (a.shape[1],), weight, bias),
    loss_and_gradient=loss_and_gradient,
    conv=lambda x, w, padding: functional.conv2d(x, w, padding=padding),
    conv_grad_input=conv_grad_input, conv_grad_weight=conv_grad_weight, elman=elman, lstm=lstm)
