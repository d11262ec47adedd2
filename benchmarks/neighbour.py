#!/usr/bin/env python3
"""Two threads while another process keeps one core busy: Flambeau, Numba and PyTorch, in turns.

    python benchmarks/neighbour.py [--n 1000 100000 1000000] [--seconds 0.3] [--rounds 5]
        [--python torch=DIR/bin/python] [--json]

Times tanh(a)*exp(-b*b) + 1/(1 + exp(-a)) on one thread, on two in quiet, and on two beside a
process that never pauses. A pool whose chunks are cut beforehand waits for the thread that the
neighbour keeps from running; Flambeau's caller takes what a missing worker has not begun.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import bench
import tables

FRAMEWORKS = ("flambeau", "numba", "torch_compile", "pytorch")
LABEL = "tanh, exp, sigmoid"


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--n", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS)
    parser.add_argument("--python", action="append", default=[], metavar="ENVIRONMENT=PYTHON")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    pythons = bench.found_pythons(args)
    found = [measure(pythons, n, args) for n in args.n]
    print(json.dumps(found) if args.json else table(found))


def measure(pythons: dict[str, str], n: int, args: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of each framework: on one thread, on two, and on two beside the neighbour."""
    made: dict[str, Any] = {"n": n, "frameworks": {f: {} for f in pythons}}
    for state, threads in (("one", 1), ("two", 2), ("beside", 2)):
        rows = {1: f"{LABEL}, n={n:,}, float32", 2: f"{LABEL}, n={n:,}, float32, 2 threads"}
        with bench.crew(pythons) as workers, tempfile.TemporaryDirectory() as scratch:
            found = {f: workers.ask(f, threads, do="build", suite="elementwise",
                                    row=rows[threads], sample=f"{scratch}/{f}.npz")
                     for f in pythons}
            racing = [f for f in pythons if "error" not in found[f]]
            with neighbour() if state == "beside" else contextlib.nullcontext():
                bench.in_rounds(racing, found, args.rounds, lambda f, w=workers, t=threads: w.ask(
                    f, t, do="time", seconds=args.seconds))
        for f in pythons:
            made["frameworks"][f][state] = found[f].get("median")
    return made


@contextlib.contextmanager
def neighbour() -> Iterator[None]:
    """A process that never pauses."""
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        burner.kill()
        burner.wait()


def table(found: list[dict[str, Any]]) -> str:
    """For a person: times, and what the neighbour costs beside one's own single thread."""
    row = {"unit": "s"}
    lines = [f"{'n':>10} {'':<14}{'one thread':>12}{'two':>12}{'beside':>12}  beside / one"]
    for entry in found:
        for f, times in entry["frameworks"].items():
            cells = "".join(f"{tables.quantity(times[s], row) if times[s] else 'failed':>12}"
                            for s in ("one", "two", "beside"))
            ratio = times["beside"] / times["one"] if times["beside"] and times["one"] else None
            lines.append(f"{entry['n']:>10,} {tables.NAMES[f]:<14}{cells}"
                         + (f"{ratio:>10.2f}" if ratio else ""))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
