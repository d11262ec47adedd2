#!/usr/bin/env python3
"""All suites in all frameworks, in turn: `make bench`, or `make bench-quick` for a few rows.

    python benchmarks/bench.py [--quick] [--suites sgd matmul] [--match TEXT] [--rounds 5]
        [--seconds 0.2] [--frameworks flambeau numpy] [--python torch=DIR/bin/python] [--out DIR]

Every framework works in a Python of its own (build/peers, by `make peers`; --python names others),
which stays alive from row to row. A row's results are compared first: a framework that is not
allclose to the others is reported and not timed. Then each round times every framework once, so
that a noisy moment is nobody's alone. DIR gets one JSON file a suite; report.py makes the pages.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import install
import numpy as np
import report
import suites
import tables
from suites import Row

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / "build" / "peers"
WARM = HERE.parent / "build" / "caches"  # compiled code, kept: Theano needs a minute a net
HOMES = {"flambeau": "", "numpy": "", "numexpr": "numexpr", "numba": "numba", "jax": "jax",
         "pytorch": "torch", "torch_compile": "torch", "theano": "theano", "pytensor": "pytensor",
         "mkl": "mkl"}  # the environment of each framework; "": this one
# set on some machines for old OpenBLAS builds; they slow a current one
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "NVPL_BLAS_DEBUG_CPU_TYPE")
PATIENCE = 600.0  # seconds for one answer
ENOUGH = 60.0  # seconds of a framework's cold starts on one row; one round is always made
CACHES = {"FLAMBEAU_CACHE": "", "TORCHINDUCTOR_CACHE_DIR": "", "NUMBA_CACHE_DIR": "",
          "THEANO_FLAGS": f"{install.THEANO_FLAGS},base_compiledir=",
          "PYTENSOR_FLAGS": "base_compiledir="}


def main() -> None:
    """Measures what the command line asks for, and writes the report."""
    args = parse()
    pythons = found_pythons(args)
    args.out.mkdir(parents=True, exist_ok=True)
    missing = [f for f in args.frameworks if f not in pythons]
    print("frameworks:", ", ".join(pythons), "| missing:", ", ".join(missing) or "none", flush=True)
    machine = limits(args)
    with tempfile.TemporaryDirectory() as scratch, crew(pythons) as workers:
        for suite in args.suites:
            found = run_suite(suite, workers, args, Path(scratch))
            if found["rows"]:
                found |= {"machine": machine, "missing": missing}
                text = json.dumps(found, indent=1) + "\n"
                (args.out / f"{suite}.json").write_text(text)
    report.write(args.out)
    print(f"{args.out}/report.html")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--suites", nargs="+", choices=suites.SUITES, default=suites.SUITES)
    parser.add_argument("--frameworks", nargs="+", choices=HOMES, default=list(HOMES))
    parser.add_argument("--match", nargs="+", default=[""], metavar="TEXT",
                        help="only rows whose name holds one of these")
    parser.add_argument("--quick", action="store_true", help="a few rows of each suite")
    parser.add_argument("--rounds", type=int, default=0, help="5, or 3 with --quick")
    parser.add_argument("--seconds", type=float, default=0.0, help="of a timing: 0.2, or 0.05")
    parser.add_argument("--python", action="append", default=[], metavar="ENVIRONMENT=PYTHON")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    args.rounds = args.rounds or (3 if args.quick else 5)
    args.seconds = args.seconds or (0.05 if args.quick else 0.2)
    args.out = args.out or HERE / "results" / ("quick" if args.quick else "latest")
    if args.rounds < 1 or args.seconds <= 0:
        parser.error("expected --rounds of at least 1 and --seconds above 0")
    return args


def found_pythons(args: argparse.Namespace) -> dict[str, str]:
    """The Python of each framework that is installed."""
    named = dict(pair.split("=", 1) for pair in args.python)
    found = {}
    for framework in args.frameworks:
        home = HOMES[framework]
        python = named.get(home, str(PEERS / home / "bin" / "python")) if home else sys.executable
        if shutil.which(python):
            found[framework] = python
    return found


def limits(args: argparse.Namespace) -> dict[str, Any]:
    """What the machine can do at best, by machine.py in Flambeau's Python."""
    words = [sys.executable, str(HERE / "machine.py"), "--json"] + ["--quick"] * args.quick
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def environment(cache: Path | None = None) -> dict[str, str]:
    """Of a framework's process; cache: the folder for what it compiles, its own place if None."""
    made = {k: v for k, v in os.environ.items() if k not in SLOWING}
    made["THEANO_FLAGS"] = install.THEANO_FLAGS
    if cache is not None:
        made |= {name: before + str(cache) for name, before in CACHES.items()}
    return made


# -- one framework's process -------------------------------------------------------------------

class Worker:
    """A process of worker.py, started when first asked."""

    def __init__(self, framework: str, python: str, threads: int) -> None:
        words = [python, str(HERE / "worker.py"), "--framework", framework, "--threads",
                 str(threads)]
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  `end` closes it
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.errors, env=environment())

    def ask(self, **asked: Any) -> dict[str, Any]:
        """The answer; {"error": ..} where the process died or was silent for too long."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write((json.dumps(asked) + "\n").encode())
            self.process.stdin.flush()
        except OSError:
            return self.end()
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            return self.end() if ready else self.end(f"no answer in {PATIENCE:.0f} s")
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self, reason: str = "") -> dict[str, Any]:
        """Stops the process; gives its last words as an error."""
        self.process.kill()
        self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        self.errors.close()
        return {"error": reason or (said[-1][:300] if said else "the process ended")}


class Workers:
    """One process for each framework, all with the same number of threads."""

    def __init__(self, pythons: dict[str, str]) -> None:
        self.pythons = pythons
        self.threads = 0
        self.running: dict[str, Worker] = {}

    def ask(self, framework: str, threads: int, **asked: Any) -> dict[str, Any]:
        """Asks, after starting what is not there; a process that failed is replaced next time."""
        if threads != self.threads:
            self.stop()
            self.threads = threads
        if framework not in self.running:
            self.running[framework] = Worker(framework, self.pythons[framework], threads)
        worker = self.running[framework]
        found = worker.ask(**asked)
        if worker.process.poll() is not None:
            del self.running[framework]
        return found

    def stop(self) -> None:
        """Ends all."""
        for worker in self.running.values():
            worker.end()
        self.running.clear()


@contextlib.contextmanager
def crew(pythons: dict[str, str]) -> Iterator[Workers]:
    """Workers that end with the block."""
    workers = Workers(pythons)
    try:
        yield workers
    finally:
        workers.stop()


# -- rows --------------------------------------------------------------------------------------

def run_suite(suite: str, workers: Workers, args: argparse.Namespace, scratch: Path
              ) -> dict[str, Any]:
    """Everything about one suite, ready for JSON."""
    module = suites.find(suite)
    chosen = [r for r in module.rows() if (r.quick or not args.quick)
              and any(text in r.name for text in args.match)]
    chosen.sort(key=lambda r: r.threads)  # processes live as long as their number of threads
    done = []
    for row in chosen:
        measured = probes if row.probe else timings
        start = time.perf_counter()
        found = measured(workers, suite, row, args, scratch)
        done.append(found)
        print(f"{suite}: {tables.line(found)} ({time.perf_counter() - start:.1f} s)", flush=True)
    return {"suite": suite, "title": module.TITLE, "about": module.ABOUT, "rounds": args.rounds,
            "seconds": args.seconds, "quick": args.quick, "date": time.strftime("%Y-%m-%d"),
            "rows": done}


def described(row: Row, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A row and what each framework did on it."""
    return {"name": row.name, "unit": row.unit, "threads": row.threads, "flops": row.flops,
            "nbytes": row.nbytes, "held": row.held, "items": row.items, "dtype": row.dtype,
            "group": row.group, "n": row.n, "frameworks": found}


def timings(workers: Workers, suite: str, row: Row, args: argparse.Namespace, scratch: Path
            ) -> dict[str, Any]:
    """Builds and compares, then times in rounds."""
    found: dict[str, dict[str, Any]] = {}
    samples: dict[str, list[np.ndarray]] = {}
    for framework in (f for f in workers.pythons if f in row.frameworks):
        file = scratch / f"{framework}.npz"
        answer = workers.ask(framework, row.threads, do="build", suite=suite, row=row.name,
                             sample=str(file))
        if "sits_out" in answer:
            continue
        found[framework] = answer
        if "error" not in answer:
            with np.load(file) as kept:
                samples[framework] = [kept[k] for k in kept]
    for framework, reason in compared(samples, row.tolerance).items():
        found[framework] = {"error": reason}
    racing = [f for f, answer in found.items() if "error" not in answer]
    in_rounds(racing, found, args.rounds, lambda framework: workers.ask(
        framework, row.threads, do="time", seconds=args.seconds))
    for framework in racing:
        workers.ask(framework, row.threads, do="drop")
    return described(row, found)


def compared(samples: dict[str, list[np.ndarray]], tolerance: float) -> dict[str, str]:
    """Who disagrees with the majority, and how: the judge is whom most others agree with."""
    if len(samples) < 2:
        return {}
    verdicts = {judge: {f: reason for f, s in samples.items()
                        if (reason := suites.disagreement(s, samples[judge], tolerance))}
                for judge in samples}
    return min(verdicts.values(), key=len)


def in_rounds(racing: list[str], found: dict[str, dict[str, Any]], rounds: int,
              ask: Callable[[str], dict[str, Any]], enough: float = float("inf")) -> None:
    """Every framework once a round; the order turns, so that nobody is always first. Whose times
    add up to `enough` seconds is asked no more."""
    times: dict[str, list[float]] = {f: [] for f in racing}
    for i in range(rounds):
        turn = i % max(1, len(racing))
        for framework in racing[turn:] + racing[:turn]:
            if "error" in found[framework] or sum(times[framework]) >= enough:
                continue
            answer = ask(framework)
            if "seconds" in answer:
                times[framework].append(answer["seconds"])
            else:
                found[framework] = answer
    for framework, values in times.items():
        if values and "error" not in found[framework]:
            found[framework] |= {"median": statistics.median(values), "least": min(values),
                                 "most": max(values), "all": values}


def probes(workers: Workers, suite: str, row: Row, args: argparse.Namespace, scratch: Path
           ) -> dict[str, Any]:
    """A new process for every number. Caches are empty each time, or filled by a first run, today's
    or an earlier one."""
    racing = [f for f in workers.pythons if f in row.frameworks]
    found: dict[str, dict[str, Any]] = {f: {} for f in racing}
    if not row.how.endswith("_cold") and row.how != "installed":
        for framework in racing:
            found[framework] = failed(probe(workers, suite, row, framework, WARM))

    def ask(framework: str) -> dict[str, Any]:
        if not row.how.endswith("_cold"):
            return probe(workers, suite, row, framework, WARM)
        with tempfile.TemporaryDirectory(dir=scratch) as empty:
            return probe(workers, suite, row, framework, Path(empty))
    once = row.how == "installed" or args.quick  # a process a number takes its time
    in_rounds(racing, found, 1 if once else args.rounds, ask, ENOUGH)
    return described(row, {f: v for f, v in found.items() if "sits_out" not in v})


def failed(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer's failure, if it is one; a framework that sits out is not asked again."""
    if "sits_out" in answer:
        return {"error": answer["sits_out"], **answer}
    return {"error": answer["error"]} if "error" in answer else {}


def probe(workers: Workers, suite: str, row: Row, framework: str, cache: Path) -> dict[str, Any]:
    """One process of worker.py that says one number."""
    words = [workers.pythons[framework], str(HERE / "worker.py"), "--framework", framework,
             "--threads", str(row.threads), "--probe", row.how, "--suite", suite, "--row", row.name,
             "--began", str(time.time())]
    try:
        done = subprocess.run(words, capture_output=True, text=True, env=environment(cache),
                              timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {PATIENCE:.0f} s"}
    if done.returncode or not done.stdout.strip():
        said = done.stderr.strip().splitlines()
        return {"error": said[-1][:300] if said else "the process ended"}
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {"seconds": answer["value"]} if "value" in answer else failed(answer)


if __name__ == "__main__":
    main()
