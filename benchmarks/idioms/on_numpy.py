"""NumPy as it comes: one array operation after the other, OpenBLAS for products."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import Work, listed


def start(threads: int) -> None:
    """OpenBLAS has read its number of threads from the environment."""


def version() -> str:
    """What is measured."""
    return np.__version__


def work(f: Callable[..., Any], arrays: list[np.ndarray]) -> Work:
    """A plain call."""
    return Work(lambda: f(X, *arrays), lambda value: [np.asarray(v) for v in listed(value)])


lazy = work  # every operator computes


def softmax(a: np.ndarray) -> np.ndarray:
    """Of each row."""
    e = np.exp(a - a.max(1, keepdims=True))
    e /= e.sum(1, keepdims=True)
    return e


def layer_norm(a: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    centred = a - a.mean(1, keepdims=True)
    centred /= np.sqrt(np.mean(centred * centred, 1, keepdims=True) + a.dtype.type(1e-5))
    centred *= weight
    centred += bias
    return centred


def loss_and_gradient(a: np.ndarray, labels: np.ndarray) -> tuple[Any, np.ndarray]:
    """Mean negative log-likelihood of the rows' softmax."""
    shifted = a - a.max(1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(1, keepdims=True)
    rows = np.arange(len(a))
    loss = (np.log(total[:, 0]) - shifted[rows, labels]).mean()
    e /= total
    e[rows, labels] -= 1
    e /= a.dtype.type(len(a))
    return loss, e


X = SimpleNamespace(
    exp=np.exp, tanh=np.tanh, sum=np.sum, matmul=np.matmul, transpose=np.transpose,
    softmax=softmax, argmax=lambda a: np.argmax(a, 1), cumsum=lambda a: np.cumsum(a, 1),
    layer_norm=layer_norm, loss_and_gradient=loss_and_gradient)
