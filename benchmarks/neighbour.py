#!/usr/bin/env python3
"""Two threads while another process keeps one core busy: Flambeau, Numba and PyTorch, in turns.

    python benchmarks/neighbour.py [--n 1000 100000 1000000] [--seconds 0.3] [--rounds 5]
        [--python torch=DIR/bin/python] [--json]

Times tanh(a)*exp(-b*b) + 1/(1 + exp(-a)) on one thread and on two, in quiet and beside a process
that never pauses. A pool whose chunks are cut beforehand waits for the thread that the
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
    """Median seconds of each framework on one and two threads, in quiet and beside the neighbour;
    all of one state in the same rounds."""
    made: dict[str, Any] = {"n": n, "frameworks": {f: {} for f in pythons}}
    row = f"{LABEL}, n={n:,}, float32"
    for state in ("quiet", "beside"):
        with bench.crew(pythons) as one, bench.crew(pythons) as two, \
                tempfile.TemporaryDirectory() as scratch:
            crews = {1: one, 2: two}
            names = {f"{f} {threads}": (f, threads) for f in pythons for threads in crews}
            file = f"{scratch}/sample.npz"
            found = {name: crews[t].ask(f, t, do="build", suite="elementwise", sample=file,
                                        row=row + (", 2 threads" if t == 2 else ""))
                     for name, (f, t) in names.items()}
            racing = [name for name in names if "error" not in found[name]]

            def ask(name: str, crews: Any = crews, names: Any = names) -> dict[str, Any]:
                framework, threads = names[name]
                answer: dict[str, Any] = crews[threads].ask(framework, threads, do="time",
                                                            seconds=args.seconds)
                return answer
            with neighbour() if state == "beside" else contextlib.nullcontext():
                bench.in_rounds(racing, found, args.rounds, ask)
        for name, (f, threads) in names.items():
            made["frameworks"][f][f"{state} {threads}"] = found[name].get("median")
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
    """For a person: times, and two threads beside the neighbour over one thread there."""
    row, states = {"unit": "s"}, ("quiet 1", "quiet 2", "beside 1", "beside 2")
    lines = [f"{'n':>10} {'':<14}" + "".join(f"{s:>12}" for s in states) + "   two / one beside"]
    for entry in found:
        for f, times in entry["frameworks"].items():
            cells = "".join(f"{tables.quantity(times[s], row) if times[s] else 'failed':>12}"
                            for s in states)
            both = times["beside 1"] and times["beside 2"]
            ratio = f"{times['beside 2'] / times['beside 1']:>10.2f}" if both else ""
            lines.append(f"{entry['n']:>10,} {tables.NAMES[f]:<14}{cells}{ratio}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
