#!/usr/bin/env python3
"""Speed on an NVIDIA GPU, beside whatever of PyTorch, JAX and CuPy is installed there.

    python benchmarks/gpu.py --seconds 1 --out benchmarks/results/gpu.json

Ceilings first: the rate of device-to-device copies and of large matrix products, measured here and
now. Then elementwise, row and reduction kernels (GB/s), matrix products (TFLOP/s), convolutions,
and training steps of the six nets of benchmarks/sgd.py at batch 1, 60 and 1024 (examples/s), for
Flambeau, PyTorch (eager, torch.compile, CUDA graphs), JAX and CuPy. All times are of the host's
clock around work that is waited for, best of several rounds. Prints a table; JSON with --out.

Not yet run on a GPU by its authors.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

LENGTHS = (1 << 16, 1 << 20, 1 << 24, 1 << 27)
ROWS = ((1024, 1024), (65536, 512), (128, 100_000))
PRODUCTS = ((512, 512, 512), (2048, 2048, 2048), (60, 784, 500), (8192, 8192, 8192))
CONVOLUTIONS = ((60, 1, 32, 6, 5), (60, 6, 14, 16, 5), (64, 64, 56, 64, 3))
NETS = ("mlp0", "mlp1", "mlp3", "cnn32", "cnn96", "cnn256")
BATCHES = (1, 60, 1024)
ROUNDS = 5

Work = Callable[[], Any]
Row = dict[str, Any]


def main() -> None:
    """Measures what is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each number")
    parser.add_argument("--only", default="", help="parts: kernels, products, nets (all)")
    parser.add_argument("--out", help="JSON file")
    args = parser.parse_args()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the others need memory too
    fb = importlib.import_module("flambeau")
    if not fb.cuda.is_available():
        sys.exit(f"gpu: expected a CUDA device, got none: {fb.cuda.why_not()}")
    libraries = found()
    parts = {"kernels": kernels, "products": products, "nets": nets}
    chosen = args.only.split(",") if args.only else list(parts)
    result: dict[str, Any] = {
        "device": fb.cuda.get_device_name(), "libraries": {n: p.version()
                                                           for n, p in libraries.items()},
        "ceilings": ceilings(libraries, args.seconds), "rows": []}
    print(json.dumps(result["ceilings"]))
    for name in chosen:
        for row in parts[name](libraries, args.seconds):
            result["rows"].append(row)
            print("  ".join(f"{k} {v}" for k, v in row.items()), flush=True)
    if args.out:
        Path(args.out).write_text(json.dumps(result, indent=1) + "\n")


def found() -> dict[str, Any]:
    """The libraries that are installed and see a GPU, by name."""
    peers = importlib.import_module("peers.on_gpu")
    made: dict[str, Any] = {}
    for name, (module, kind) in peers.LIBRARIES.items():
        if importlib.util.find_spec(module) is not None and kind.usable():
            made[name] = kind()
    return made


def best(library: Any, work: Work, seconds: float) -> float:
    """Seconds of one call, many of them in a row, waited for; the best of several rounds."""
    for _ in range(4):  # compiles, and records graphs
        work()
    library.wait()
    start = time.perf_counter()
    work()
    library.wait()
    once = max(time.perf_counter() - start, 1e-7)
    calls = max(1, int(seconds / ROUNDS / once))
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        library.wait()
        times.append((time.perf_counter() - start) / calls)
    return min(times)


def ceilings(libraries: dict[str, Any], seconds: float, length: int = 1 << 26, side: int = 8192
             ) -> Row:
    """GB/s of a copy on the device by the driver; TFLOP/s of the best float32 product found."""
    ours = libraries["flambeau"]
    copied = best(ours, ours.copier(4 * length), seconds)
    rates = {name: 2e-12 * side ** 3 / best(p, p.product(side, side, side), seconds)
             for name, p in libraries.items()}
    return {"copy_gb_per_s": round(8e-9 * length / copied, 1),
            "product_tflop_per_s": {n: round(r, 2) for n, r in rates.items()}}


def kernels(libraries: dict[str, Any], seconds: float, lengths: Any = LENGTHS, rows: Any = ROWS
            ) -> list[Row]:
    """Elementwise, reductions and rows: GB/s of what must be read and written."""
    made: list[Row] = []
    for name, p in libraries.items():
        for n in lengths:
            t = best(p, p.elementwise(n), seconds)
            made.append({"what": "a * b + tanh(a)", "n": n, "library": name,
                         "gb_per_s": round(12e-9 * n / t, 1)})
            t = best(p, p.total(n), seconds)
            made.append({"what": "sum", "n": n, "library": name,
                         "gb_per_s": round(4e-9 * n / t, 1)})
        for m, n in rows:
            t = best(p, p.softmax(m, n), seconds)
            made.append({"what": "softmax", "n": [m, n], "library": name,
                         "gb_per_s": round(8e-9 * m * n / t, 1)})
    return made


def products(libraries: dict[str, Any], seconds: float, shapes: Any = PRODUCTS,
             convolutions: Any = CONVOLUTIONS) -> list[Row]:
    """Matrix products and convolutions: TFLOP/s."""
    made: list[Row] = []
    for name, p in libraries.items():
        for m, k, n in shapes:
            t = best(p, p.product(m, k, n), seconds)
            made.append({"what": "product", "n": [m, k, n], "library": name,
                         "tflop_per_s": round(2e-12 * m * k * n / t, 3)})
        if not hasattr(p, "convolution"):
            continue
        for b, c, side, maps, kernel in convolutions:
            t = best(p, p.convolution(b, c, side, maps, kernel), seconds)
            flops = 2 * b * maps * c * kernel ** 2 * (side - kernel + 1) ** 2
            made.append({"what": "convolution", "n": [b, c, side, maps, kernel], "library": name,
                         "tflop_per_s": round(1e-12 * flops / t, 3)})
    return made


def nets(libraries: dict[str, Any], seconds: float, names: Any = NETS, batches: Any = BATCHES
         ) -> list[Row]:
    """Training steps of the six nets: examples/s, and the first loss, which all share."""
    data = importlib.import_module("peers.nets")
    made: list[Row] = []
    for name in names:
        net = data.NETS[name]
        for batch in batches:
            for library, p in libraries.items():
                for kind, step in p.steps(net, data.weights(net), data.batches(net, batch)):
                    first = float(step(0))
                    t = best(p, in_turn(step), seconds)
                    made.append({"what": name, "batch": batch, "library": f"{library} {kind}",
                                 "examples_per_second": round(batch / t, 1),
                                 "loss_first": round(first, 5)})
    return made


def in_turn(step: Callable[[int], Any]) -> Work:
    """The step over one batch after the other."""
    turn = itertools.cycle(range(8))
    return lambda: step(next(turn))


if __name__ == "__main__":
    main()
