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


X = symbolic.namespace(pytensor, True, softmax=lambda a: T.special.softmax(a, axis=1),
                       loss_and_gradient=loss_and_gradient)
