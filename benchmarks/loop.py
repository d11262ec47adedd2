#!/usr/bin/env python3
"""The loop that a Torch7 user writes, uncompiled, on a benchmark net; or PyTorch's eager loop.

    python benchmarks/loop.py [--framework flambeau|pytorch] [--net mlp1] [--batch 1] [--seconds 3]

Forward, loss, backward and update as separate calls, and the loss's value after every step. Prints
microseconds a step, the best of many windows of 20 steps, as one line of JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time

from peers import nets


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--framework", choices=("flambeau", "pytorch"), default="flambeau")
    parser.add_argument("--net", choices=tuple(nets.NETS), default="mlp1")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    net = nets.NETS[args.net]
    framework = importlib.import_module(f"peers.on_{args.framework}")
    step = framework.loop(net, nets.weights(net), nets.batches(net, args.batch), args.threads)
    for i in range(16):
        step(i % 8)
    best, end = float("inf"), time.perf_counter() + args.seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for i in range(20):
            step(i % 8)
        best = min(best, (time.perf_counter() - start) / 20)
    print(json.dumps({"framework": args.framework, "net": args.net, "batch": args.batch,
                      "threads": args.threads, "microseconds": round(best * 1e6, 1)}))


if __name__ == "__main__":
    main()
