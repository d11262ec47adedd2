"""Flambeau: a compiled step, one native call for forward, loss, backward and update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau as fb
from flambeau import nn, optim

from .nets import Batches, Net, Weights


def version() -> str:
    """What was measured."""
    return fb.__version__


def make(net: Net, weights: Weights, batches: Batches, threads: int) -> Callable[[int], Any]:
    """A training step over batch i."""
    fb.set_num_threads(threads)
    model = nn.Sequential()
    channels = 1
    for maps, kernel, pool in net.convs:
        model.add(nn.SpatialConvolution(channels, maps, kernel, kernel)).add(nn.Tanh())
        model.add(nn.SpatialMaxPooling(pool, pool, pool, pool)).add(nn.Tanh())
        channels = maps
    if net.convs:
        model.add(nn.Reshape(net.sizes[0]))
    for a, b in zip(net.sizes, net.sizes[1:]):
        model.add(nn.Linear(a, b))
        if b != net.sizes[-1]:
            model.add(nn.Tanh())
    model.add(nn.LogSoftMax())
    with fb.no_grad():
        for parameter, array in zip(model.params(), [a for pair in weights for a in pair]):
            parameter.copy_(fb.from_numpy(array))
    step = model.compile(nn.ClassNLLCriterion(), optim.SGD(model.params(), lr=0.01))
    step.counted = False
    data = [(fb.tensor(x), fb.tensor(y)) for x, y in batches]
    return lambda i: step(*data[i])
