"""Theano (Theano-PyMC): functions of trusted inputs, compiled with its C++ back end.

It sits out the recurrent nets: the C file of its scan does not compile with Python 3.11.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import theano
import theano.tensor as T
from theano.tensor.nnet import conv2d

from . import Work, symbolic


def start(threads: int) -> None:
    """Its BLAS has read its number of threads from the environment; its loops are serial."""


def version() -> str:
    """What is measured."""
    return str(theano.__version__)


def work(f: Callable[..., Any], arrays: list[np.ndarray]) -> Work:
    """One compiled function."""
    return symbolic.work(theano, X, f, arrays)


def loss_and_gradient(a: Any, labels: Any) -> Any:
    """Mean negative log-likelihood of the rows' softmax."""
    loss = T.nnet.categorical_crossentropy(T.nnet.softmax(a), labels).mean()
    return [loss, T.grad(loss, a)]


def conv(x: Any, w: Any, padding: int) -> Any:
    """Images and kernels with their channels before rows and columns."""
    return conv2d(x, w, border_mode=(padding, padding), filter_flip=False)


X = symbolic.namespace(theano, False, softmax=T.nnet.softmax, loss_and_gradient=loss_and_gradient,
                       conv=conv)
