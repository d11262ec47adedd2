"""The six nets, their common starting weights and their data, as NumPy arrays.

mlp0, mlp1, mlp3: 784 inputs, 0, 1 or 3 tanh layers (500; 1000 each), 10 classes.
cnn32, cnn96, cnn256: one channel; convolution to 6 maps, tanh, max-pooling, tanh; convolution to
16 maps, tanh, max-pooling, tanh; dense 120, tanh; 10 classes. All convolutions without padding.

Weights are U(-1/sqrt(fan_in), 1/sqrt(fan_in)), biases too; inputs N(0, 1); labels i mod 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Net:
    """sizes: of the dense layers, input first. convs: (maps, kernel, pool) of each stage."""

    sizes: tuple[int, ...]
    side: int = 0
    convs: tuple[tuple[int, int, int], ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return (1, self.side, self.side) if self.convs else (self.sizes[0],)

    @property
    def macs(self) -> int:
        """Multiplications and additions in one example's training step: forward, weight
        gradients, and input gradients of all layers but the first."""
        layers = []
        channels, side = 1, self.side
        for maps, kernel, pool in self.convs:
            side = side - kernel + 1
            layers.append(maps * channels * kernel * kernel * side * side)
            channels, side = maps, side // pool
        layers += [a * b for a, b in zip(self.sizes, self.sizes[1:])]
        return 3 * sum(layers) - layers[0]


NETS = {
    "mlp0": Net((784, 10)),
    "mlp1": Net((784, 500, 10)),
    "mlp3": Net((784, 1000, 1000, 1000, 10)),
    "cnn32": Net((400, 120, 10), 32, ((6, 5, 2), (16, 5, 2))),
    "cnn96": Net((1024, 120, 10), 96, ((6, 7, 3), (16, 7, 3))),
    "cnn256": Net((1936, 120, 10), 256, ((6, 7, 5), (16, 7, 4))),
}

Weights = list[tuple[np.ndarray, np.ndarray]]
Batches = list[tuple[np.ndarray, np.ndarray]]


def weights(net: Net, seed: int = 1) -> Weights:
    """(weight, bias) of each layer: (maps, channels, k, k) for a convolution, else (out, in)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    shapes: list[tuple[int, ...]] = []
    channels = 1
    for maps, kernel, _ in net.convs:
        shapes.append((maps, channels, kernel, kernel))
        channels = maps
    shapes += [(b, a) for a, b in zip(net.sizes, net.sizes[1:])]
    made = []
    for shape in shapes:
        bound = 1 / np.sqrt(np.prod(shape[1:]))
        made.append((rng.uniform(-bound, bound, shape).astype(np.float32),
                     rng.uniform(-bound, bound, shape[0]).astype(np.float32)))
    return made


def batches(net: Net, batch: int, count: int = 8, seed: int = 2) -> Batches:
    """`count` different batches: x (batch, ...) float32 and y (batch,) int64."""
    rng = np.random.Generator(np.random.PCG64(seed))
    made = []
    for b in range(count):
        x = rng.standard_normal((batch, *net.input_shape), dtype=np.float32)
        y = np.arange(b * batch, (b + 1) * batch, dtype=np.int64) % 10
        made.append((x, y))
    return made


def stepping(build: Callable[[], Callable[..., Any]], batches: Batches) -> Callable[[int], Any]:
    """A step over batch i of the function that `build` compiles when the first one is asked for."""
    compiled: list[Callable[..., Any]] = []

    def step(i: int) -> Any:
        if not compiled:
            compiled.append(build())
        return compiled[0](*batches[i])

    return step
