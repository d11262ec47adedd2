"""PyTorch, eager: the faster of its foreach and fused SGD, chosen by a short race."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from .nets import Batches, Net, Weights


def version() -> str:
    """What was measured."""
    return str(torch.__version__)


def make(net: Net, weights: Weights, batches: Batches, threads: int) -> Callable[[int], Any]:
    """A training step over batch i."""
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:  # may be said once a process
        torch.set_num_interop_threads(1)
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches]
    kinds: list[dict[str, bool]] = [{"foreach": True}, {"fused": True}]
    times = [_race(_step(_model(net, weights), data, kind)) for kind in kinds]
    best = kinds[times.index(min(times))]
    return _step(_model(net, weights), data, best)


def first(net: Net, weights: Weights, batches: Batches, threads: int) -> Callable[[int], Any]:
    """A training step that is there at once, with no race before it."""
    torch.set_num_threads(threads)
    data = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches]
    return _step(_model(net, weights), data, {"foreach": True})


def loop(net: Net, weights: Weights, batches: Batches, threads: int) -> Callable[[int], Any]:
    """The eager step with the loss's value asked for every time."""
    step = make(net, weights, batches, threads)
    return lambda i: float(step(i))


def _model(net: Net, weights: Weights) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 1
    for maps, kernel, pool in net.convs:
        layers += [nn.Conv2d(channels, maps, kernel), nn.Tanh(), nn.MaxPool2d(pool), nn.Tanh()]
        channels = maps
    if net.convs:
        layers.append(nn.Flatten())
    for a, b in zip(net.sizes, net.sizes[1:]):
        layers += [nn.Linear(a, b), nn.Tanh()]
    model = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), [a for pair in weights for a in pair]):
            parameter.copy_(torch.from_numpy(array))
    return model


def _step(model: nn.Module, data: Any, kind: dict[str, bool]) -> Callable[[int], Any]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, **kind)

    def step(i: int) -> Any:
        x, y = data[i]
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _race(step: Callable[[int], Any], seconds: float = 0.3) -> float:
    for i in range(8):
        step(i)
    done, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        step(done % 8)
        done += 1
    return elapsed / done
