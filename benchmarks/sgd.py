#!/usr/bin/env python3
"""Training speed of one benchmark net in one framework: prints one JSON line.

    python benchmarks/sgd.py --framework pytorch --net mlp1 --batch 60 --threads 1 --seconds 5

The nets and the protocol are those of the Theano and Torch7 papers (see peers/nets.py): float32,
plain SGD at rate 0.01 on the mean negative log-likelihood, one step a call, eight batches in turn,
resident in memory. All frameworks start from the same weights, so `loss_first` (and `loss_16`, the
loss of the 16th step) agree between them. Warm-up is not timed. Runs in any Python that has NumPy
and the framework.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

FRAMEWORKS = ("flambeau", "pytorch", "jax", "theano", "pytensor", "numpy")
NETS = ("mlp0", "mlp1", "mlp3", "cnn32", "cnn96", "cnn256")
CHECKED = 16  # the step whose loss is compared between frameworks
BLOCK = 0.02  # seconds between looks at the clock


def main() -> None:
    """Measures what the command line asks for."""
    args = parse()
    set_threads(args.threads)
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    nets = importlib.import_module("peers.nets")
    peer = importlib.import_module(f"peers.on_{args.framework}")
    net = nets.NETS[args.net]
    net_weights, batches = nets.weights(net), nets.batches(net, args.batch)
    step = peer.make(net, net_weights, batches, args.threads)
    result = measure(step, args.seconds)
    rate = result["steps_per_second"] * args.batch
    row: dict[str, Any] = {
        "framework": args.framework, "net": args.net, "batch": args.batch,
        "threads": args.threads, "examples_per_second": round(rate, 1),
        "first_step_seconds": round(result["first"], 4), "loss_first": result["loss_first"],
        "loss_16": result["loss_16"], "loss_last": result["loss_last"], "steps": result["steps"],
        "gflop_per_second": round(2e-9 * net.macs * rate, 2), "version": peer.version(),
    }
    print(json.dumps(row) if args.json else table(row))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--framework", choices=FRAMEWORKS, default="flambeau")
    parser.add_argument("--net", choices=NETS, default="mlp1")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to time")
    parser.add_argument("--json", action="store_true", help="one JSON line instead of words")
    args = parser.parse_args()
    if args.batch < 1 or args.threads < 1 or args.seconds <= 0:
        parser.error("expected --batch and --threads of at least 1 and --seconds above 0")
    return args


def set_threads(n: int) -> None:
    """Before any framework is loaded: most read these once."""
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "FLAMBEAU"):
        os.environ[f"{name}_NUM_THREADS"] = str(n)
    os.environ["NPROC"] = str(n)  # XLA's pool


def measure(step: Any, seconds: float) -> dict[str, Any]:
    """Times `step(i)`, which trains on batch i and gives a loss that `float` waits for."""
    start = time.perf_counter()
    loss_first = float(step(0))
    first = time.perf_counter() - start
    for i in range(1, CHECKED):
        loss = step(i % 8)
    loss_16 = float(loss)
    block = warm_up(step, min(1.0, seconds / 4))
    done, start = 0, time.perf_counter()
    while True:
        for i in range(done, done + block):
            loss = step(i % 8)
        done += block
        loss_last = float(loss)
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return {"first": first, "loss_first": loss_first, "loss_16": loss_16,
                    "loss_last": loss_last, "steps": done, "steps_per_second": done / elapsed}


def warm_up(step: Any, seconds: float) -> int:
    """Runs for a while; gives the number of steps that take about BLOCK."""
    done, start = 0, time.perf_counter()
    while True:
        loss = step(done % 8)
        done += 1
        if done % 8 == 0 or done < 8:
            float(loss)
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return max(1, -(-int(done * BLOCK / elapsed) // 8) * 8 if done > 8 else 1)


def table(row: dict[str, Any]) -> str:
    """The row for a person."""
    return (f"{row['framework']:<9} {row['net']:<7} batch {row['batch']:<3} "
            f"{row['threads']} threads {row['examples_per_second']:>12,.0f} examples/s "
            f"{row['gflop_per_second']:>7.1f} GFLOP/s  "
            f"first step {row['first_step_seconds']:.3f} s")


if __name__ == "__main__":
    main()
