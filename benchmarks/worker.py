#!/usr/bin/env python3
"""One framework in a Python of its own, told by bench.py what to do: a line of JSON in, one out.

{"do": "build", "suite": .., "row": .., "sample": FILE} makes the work, runs it once and leaves a
sample of its results; {"do": "time", "seconds": ..} gives seconds a call; {"do": "drop"} forgets
it. With --probe the process measures one thing about itself and ends.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

SGD_THREADS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "NUMBA", "FLAMBEAU")
MODULES = {"flambeau": "flambeau", "numpy": "numpy", "numexpr": "numexpr", "numba": "numba",
           "jax": "jax", "pytorch": "torch", "torch_compile": "torch", "theano": "theano",
           "pytensor": "pytensor", "mkl": "numpy"}
WHEELS = {"theano": "Theano-PyMC", "pytorch": "torch", "torch_compile": "torch"}


def main() -> None:
    """Serves, or probes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--framework", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--probe", default="")
    parser.add_argument("--suite", default="")
    parser.add_argument("--row", default="")
    parser.add_argument("--began", type=float, default=0.0, help="when the process was asked for")
    args = parser.parse_args()
    for name in SGD_THREADS:
        os.environ[f"{name}_NUM_THREADS"] = str(args.threads)
    os.environ["NPROC"] = str(args.threads)  # XLA's pool
    # answers go where standard output was; what a framework prints goes to standard error
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if args.probe:
        print(json.dumps(probe(args)), file=answers, flush=True)
        return
    serve(args.framework, answers)


def serve(framework: str, answers: Any) -> None:
    """Answers until the input ends."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    suites = importlib.import_module("suites")
    state: dict[str, Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            found = {"build": build, "time": measure, "drop": drop}[asked["do"]](
                suites, framework, state, asked)
        except (Exception, SystemExit) as error:
            state.clear()
            found = failure(suites, error)
        print(json.dumps(found), file=answers, flush=True)


def failure(suites: Any, error: BaseException) -> dict[str, Any]:
    """Does the framework sit out, or fail?"""
    lacks = isinstance(error, AttributeError) and type(error.obj).__name__ == "SimpleNamespace"
    if lacks or isinstance(error, suites.SitsOut):
        return {"sits_out": str(error)}
    text = (str(error) or type(error).__name__).strip().splitlines()
    return {"error": f"{type(error).__name__}: {text[0][:300]}"}


def build(suites: Any, framework: str, state: dict[str, Any], asked: dict[str, Any]) -> Any:
    """Makes the work; the first call counts whatever the framework compiles for it."""
    numpy = importlib.import_module("numpy")
    row = next(r for r in suites.find(asked["suite"]).rows() if r.name == asked["row"])
    state["work"] = work = suites.build(framework, row)
    start = time.perf_counter()
    value = work.call()
    work.wait(value)
    first = time.perf_counter() - start
    results = work.fetch(value)
    if row.how in ("train", "loop"):  # and the sixteenth loss
        for _ in range(15):
            value = work.call()
        results += work.fetch(value)
    numpy.savez(asked["sample"], *suites.sample(results))
    return {"first": first, "version": version(framework)}


def version(framework: str) -> str:
    """What is measured."""
    return str(importlib.import_module(MODULES[framework]).__version__)


def measure(suites: Any, framework: str, state: dict[str, Any], asked: dict[str, Any]) -> Any:
    """Seconds a call, over as many calls as fill the time."""
    work, seconds = state["work"], asked["seconds"]
    count = state.get("count") or calibrate(work, seconds)
    elapsed = calls(work, count)
    state["count"] = max(1, round(count * seconds / elapsed))
    return {"seconds": elapsed / count, "calls": count}


def calls(work: Any, count: int) -> float:
    """Seconds of so many calls."""
    call = work.call
    start = time.perf_counter()
    for _ in range(count):
        value = call()
    work.wait(value)
    return time.perf_counter() - start


def calibrate(work: Any, seconds: float) -> int:
    """How many calls fill the time; warms up meanwhile, twice as long."""
    count = 1
    while (elapsed := calls(work, count)) < seconds / 4 and count < 1 << 30:
        count *= 2
    count = max(1, round(count * seconds / elapsed))
    calls(work, count)
    return count


def drop(suites: Any, framework: str, state: dict[str, Any], asked: dict[str, Any]) -> Any:
    """Lets the operands' memory go."""
    state.clear()
    return {}


def probe(args: argparse.Namespace) -> dict[str, Any]:
    """One number about a process."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    if args.probe == "installed":
        return {"value": installed(WHEELS.get(args.framework, MODULES[args.framework]))}
    if args.probe == "imported":
        start = time.perf_counter()
        importlib.import_module(MODULES[args.framework])
        return {"value": time.perf_counter() - start}
    suites = importlib.import_module("suites")
    try:
        return first_result(suites, args) if args.probe.startswith("first") else \
            first_step(suites, args)
    except (Exception, SystemExit) as error:
        return failure(suites, error)


def first_result(suites: Any, args: argparse.Namespace) -> dict[str, Any]:
    """From the start of the process to a*b + tanh(a) of ten numbers."""
    row = suites.Row("first", "a*b + tanh(a)", suites.numbers("float32", (10,), (10,)))
    work = suites.build(args.framework, row)
    work.wait(work.call())
    return {"value": time.time() - args.began}


def first_step(suites: Any, args: argparse.Namespace) -> dict[str, Any]:
    """From the start of the process to a trained step; or the most memory after fifty."""
    found = next(r for r in suites.find(args.suite).rows() if r.name == args.row)
    row = suites.Row(found.name, found.says, how="train" if args.probe == "peak" else "step")
    work = suites.build(args.framework, row)
    work.wait(work.call())
    elapsed = time.time() - args.began
    if args.probe != "peak":
        return {"value": elapsed}
    for _ in range(49):
        value = work.call()
    work.wait(value)
    resource = importlib.import_module("resource")
    unit = 1 if sys.platform == "darwin" else 1024
    return {"value": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}


def installed(wheel: str) -> int:
    """Bytes of a package and of all that it requires, as they lie on disk."""
    seen: set[str] = set()
    todo, total = [wheel], 0
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform, or an extra
        total += sum(place.stat().st_size for f in found.files or ()
                     if (place := Path(str(f.locate()))).is_file())
        todo += [re.split(r"[\s;\[<>=!~(]", need, maxsplit=1)[0] for need in found.requires or ()
                 if "extra ==" not in need]
    if wheel == "flambeau":  # an editable install lists links alone
        package = Path(importlib.import_module("flambeau").__file__ or "").resolve().parent
        rooms = [package, package.parent / "compiler", package.parent / "runtime"]
        total += sum(p.stat().st_size for room in rooms for p in room.rglob("*.py"))
    return total


if __name__ == "__main__":
    main()
