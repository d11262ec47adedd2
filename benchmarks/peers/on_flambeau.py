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


def model(net: Net, weights: Weights) -> nn.Sequential:
    """The net as modules."""
    made = nn.Sequential()
    channels = 1
    for maps, kernel, pool in net.convs:
        made.add(nn.SpatialConvolution(channels, maps, kernel, kernel)).add(nn.Tanh())
        made.add(nn.SpatialMaxPooling(pool, pool, pool, pool)).add(nn.Tanh())
        channels = maps
    if net.convs:
        made.add(nn.Reshape(net.sizes[0]))
    for a, b in zip(net.sizes, net.sizes[1:]):
        made.add(nn.Linear(a, b))
        if b != net.sizes[-1]:
            made.add(nn.Tanh())
    made.add(nn.LogSoftMax())
    with fb.no_grad():
        for parameter, array in zip(made.params(), [a for pair in weights for a in pair]):
            parameter.copy_(fb.from_numpy(array))
    return made


def make(net: Net, weights: Weights, batches: Batches, threads: int) -> Callable[[int], Any]:
    """A training step over batch i: one compiled call."""
    fb.set_num_threads(threads)
    trained = model(net, weights)
    step = trained.compile(nn.ClassNLLCriterion(), optim.SGD(trained.params(), lr=0.01))
    step.counted = False
    data = [(fb.tensor(x), fb.tensor(y)) for x, y in batches]
    return lambda i: step(*data[i])


def loop(net: Net, weights: Weights, batches: Batches, threads: int) -> Callable[[int], Any]:
    """The same step as a Torch7 user writes it, nothing compiled ahead; gives the loss's value."""
    fb.set_num_threads(threads)
    trained, criterion = model(net, weights), nn.ClassNLLCriterion()
    data = [(fb.tensor(x), fb.tensor(y)) for x, y in batches]

    def step(i: int) -> float:
        x, y = data[i]
        output = trained.forward(x)
        loss = criterion.forward(output, y)
        trained.zero_grad_parameters()
        trained.backward(x, criterion.backward(output, y))
        trained.update_parameters(0.01)
        return float(loss)

    return step
