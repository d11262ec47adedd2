"""What Theano and its child PyTensor share: a symbolic function of trusted inputs."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import Work, listed


def work(library: Any, x: Any, f: Callable[..., Any], arrays: list[np.ndarray]) -> Work:
    """One function, its inputs of known type. library: theano or pytensor."""
    inputs = [library.tensor.TensorType(a.dtype.name, shape=(None,) * a.ndim)() if x.shapes else
              library.tensor.TensorType(a.dtype.name, (False,) * a.ndim)() for a in arrays]
    outcome = f(x, *inputs)
    outcome = list(outcome) if isinstance(outcome, tuple | list) else outcome
    compiled = library.function(inputs, outcome)
    compiled.trust_input = True
    return Work(lambda: compiled(*arrays), lambda value: [np.asarray(v) for v in listed(value)])


def namespace(library: Any, shapes: bool, **more: Any) -> SimpleNamespace:
    """The words that both spell alike; shapes: does TensorType take a shape?"""
    T = library.tensor

    def layer_norm(a: Any, weight: Any, bias: Any) -> Any:
        centred = a - a.mean(1, keepdims=True)
        return centred / T.sqrt((centred * centred).mean(1, keepdims=True)
                                + np.float32(1e-5)) * weight + bias

    return SimpleNamespace(
        shapes=shapes, exp=T.exp, tanh=T.tanh, sum=lambda a, axis=None: T.sum(a, axis),
        matmul=T.dot, transpose=lambda a: a.T, argmax=lambda a: T.argmax(a, 1),
        cumsum=lambda a: T.cumsum(a, 1), layer_norm=layer_norm, **more)
