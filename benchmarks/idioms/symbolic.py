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

    def elman(x: Any, w: Any, u: Any, b: Any) -> Any:
        def step(row: Any, h: Any, w: Any, u: Any, b: Any) -> Any:
            return T.tanh(T.dot(row, w.T) + T.dot(h, u.T) + b)
        zero = T.zeros((x.shape[1], u.shape[1]), "float32")
        hs, _ = library.scan(step, sequences=x, outputs_info=zero, non_sequences=[w, u, b])
        loss = (hs[-1] * hs[-1]).mean()
        return [loss, *T.grad(loss, [w, u, b])]

    def lstm(x: Any, w: Any, u: Any, b: Any) -> Any:
        n = u.shape[1]

        def step(row: Any, h: Any, c: Any, w: Any, u: Any, b: Any) -> Any:
            gates = T.dot(row, w.T) + T.dot(h, u.T) + b
            i, f, g, o = (gates[:, k * n:(k + 1) * n] for k in range(4))
            c = T.sigmoid(f) * c + T.sigmoid(i) * T.tanh(g)
            return T.sigmoid(o) * T.tanh(c), c
        zero = T.zeros((x.shape[1], n), "float32")
        (hs, _), _ = library.scan(step, sequences=x, outputs_info=[zero, zero],
                                  non_sequences=[w, u, b])
        loss = (hs[-1] * hs[-1]).mean()
        return [loss, *T.grad(loss, [w, u, b])]

    return SimpleNamespace(
        shapes=shapes, exp=T.exp, tanh=T.tanh, sum=lambda a, axis=None: T.sum(a, axis),
        matmul=T.dot, transpose=lambda a: a.T, argmax=lambda a: T.argmax(a, 1),
        cumsum=lambda a: T.cumsum(a, 1), layer_norm=layer_norm, elman=elman, lstm=lstm, **more)
