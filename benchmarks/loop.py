#!/usr/bin/env python3
"""The plain training loop, nothing compiled by hand: Torch7 style in Flambeau, eager in PyTorch.

    python benchmarks/loop.py --framework flambeau|pytorch --net mlp1 --batch 1 --seconds 3

A 784-500-10 net (mlp1) or 784-1000-1000-1000-10 (mlp3), tanh, mean negative log-likelihood, SGD at
rate 0.01, one thread. Prints one JSON line with the best window's microseconds a step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable

import numpy as np

SIZES = {"mlp1": (784, 500, 10), "mlp3": (784, 1000, 1000, 1000, 10)}


def flambeau(sizes: tuple[int, ...], x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    import flambeau as fb
    from flambeau import nn

    fb.set_num_threads(1)
    net = nn.Sequential()
    for a, b in itertools.pairwise(sizes):
        net.add(nn.Linear(a, b))
        net.add(nn.Tanh() if b != sizes[-1] else nn.LogSoftMax())
    criterion = nn.ClassNLLCriterion()
    data, target = fb.tensor(x), fb.tensor(y)

    def step() -> float:
        output = net.forward(data)
        loss = criterion.forward(output, target)
        net.zero_grad_parameters()
        net.backward(data, criterion.backward(output, target))
        net.update_parameters(0.01)
        return float(loss)

    return step


def pytorch(sizes: tuple[int, ...], x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    import torch

    torch.set_num_threads(1)
    layers: list[torch.nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers.append(torch.nn.Linear(a, b))
        layers.append(torch.nn.Tanh() if b != sizes[-1] else torch.nn.LogSoftmax(-1))
    net = torch.nn.Sequential(*layers)
    criterion = torch.nn.NLLLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    data, target = torch.from_numpy(x), torch.from_numpy(y)

    def step() -> float:
        optimizer.zero_grad()
        loss = criterion(net(data), target)
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--framework", choices=("flambeau", "pytorch"), default="flambeau")
    parser.add_argument("--net", choices=tuple(SIZES), default="mlp1")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((args.batch, 784)).astype(np.float32)
    y = np.arange(args.batch) % 10
    step = {"flambeau": flambeau, "pytorch": pytorch}[args.framework](SIZES[args.net], x, y)
    for _ in range(20):
        step()
    best, end = float("inf"), time.perf_counter() + args.seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(20):
            step()
        best = min(best, (time.perf_counter() - start) / 20)
    print(json.dumps({"framework": args.framework, "net": args.net, "batch": args.batch,
                      "microseconds": round(best * 1e6, 1)}))


if __name__ == "__main__":
    main()
