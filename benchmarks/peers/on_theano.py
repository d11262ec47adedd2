"""Theano (Theano-PyMC): shared variables with updates, inputs trusted, data resident."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import theano
import theano.tensor as T
from theano.tensor.nnet import conv2d
from theano.tensor.signal.pool import pool_2d

from .nets import Batches, Net, Weights, stepping


def version() -> str:
    """What was measured."""
    return str(theano.__version__)


def make(net: Net, weights: Weights, batches: Batches, threads: int) -> Callable[[int], Any]:
    """A training step over batch i; the first call compiles, as in the other frameworks."""
    return stepping(lambda: _compile(net, weights), batches)


def _compile(net: Net, weights: Weights) -> Any:
    parameters = [(theano.shared(w.copy()), theano.shared(b.copy())) for w, b in weights]
    x = T.TensorType("float32", (False,) * (1 + len(net.input_shape)))("x")
    y = T.lvector("y")
    loss = _loss(net, parameters, x, y)
    flat = [p for pair in parameters for p in pair]
    rate = np.float32(0.01)
    updates = [(p, p - rate * g) for p, g in zip(flat, T.grad(loss, flat))]
    update = theano.function([x, y], loss, updates=updates)
    update.trust_input = True
    return update


def _loss(net: Net, parameters: Any, x: Any, y: Any) -> Any:
    layers = iter(parameters)
    value = x
    for _, _, pool in net.convs:
        w, b = next(layers)
        value = T.tanh(conv2d(value, w, filter_flip=False) + b.dimshuffle("x", 0, "x", "x"))
        value = T.tanh(pool_2d(value, (pool, pool), ignore_border=True, mode="max"))
    if net.convs:
        value = value.flatten(2)
    for w, b in layers:
        value = T.dot(value, w.T) + b
        if w.get_value(borrow=True).shape[0] != net.sizes[-1]:
            value = T.tanh(value)
    return T.nnet.categorical_crossentropy(T.nnet.softmax(value), y).mean()
