"""PyTensor: shared variables with updates, inputs trusted, its default back end; dense nets only,
for its newest versions have no convolution over batches of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as T

from .nets import Batches, Net, Weights, stepping


def version() -> str:
    """What was measured."""
    return str(pytensor.__version__)


def make(net: Net, weights: Weights, batches: Batches, threads: int) -> Callable[[int], Any]:
    """A training step over batch i; the first call compiles, as in the other frameworks."""
    if net.convs:
        raise SystemExit("pytensor: expected a dense net (mlp0, mlp1, mlp3): it has no convolution")
    return stepping(lambda: _compile(net, weights), batches)


def _compile(net: Net, weights: Weights) -> Any:
    parameters = [(pytensor.shared(w.copy()), pytensor.shared(b.copy())) for w, b in weights]
    x, y = T.matrix("x", dtype="float32"), T.lvector("y")
    value = x
    for i, (w, b) in enumerate(parameters):
        value = T.dot(value, w.T) + b
        value = value if i == len(parameters) - 1 else T.tanh(value)
    chances = T.special.log_softmax(value, axis=1)
    loss = -chances[T.arange(y.shape[0]), y].mean()
    flat = [p for pair in parameters for p in pair]
    rate = np.float32(0.01)
    updates = [(p, p - rate * g) for p, g in zip(flat, T.grad(loss, flat))]
    update = pytensor.function([x, y], loss, updates=updates)
    update.trust_input = True
    return update
