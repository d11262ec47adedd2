"""NumPy by hand, for the dense nets: the floor that a framework should not fall below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .nets import Batches, Net, Weights

RATE = np.float32(0.01)


def version() -> str:
    """What was measured."""
    return np.__version__


def make(net: Net, weights: Weights, batches: Batches, threads: int) -> Callable[[int], Any]:
    """A training step over batch i."""
    if net.convs:
        raise SystemExit("numpy: expected a dense net (mlp0, mlp1, mlp3): it has no convolution")
    layers = [(w.T.copy(), b.copy()) for w, b in weights]

    def step(i: int) -> Any:
        x, y = batches[i]
        rows = np.arange(len(y))
        values = [x]
        for w, b in layers[:-1]:
            values.append(np.tanh(values[-1] @ w + b))
        w, b = layers[-1]
        scores = values[-1] @ w + b
        scores -= scores.max(1, keepdims=True)
        chances = np.exp(scores)
        total = chances.sum(1, keepdims=True)
        loss = (np.log(total[:, 0]) - scores[rows, y]).mean()
        delta = chances / total
        delta[rows, y] -= 1
        delta /= np.float32(len(y))
        for value, (w, b) in zip(values[::-1], layers[::-1]):
            below = delta @ w.T if value is not x else delta
            w -= RATE * (value.T @ delta)
            b -= RATE * delta.sum(0)
            delta = below * (1 - value * value) if value is not x else below
        return loss

    return step
