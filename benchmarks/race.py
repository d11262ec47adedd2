#!/usr/bin/env python3
"""The benchmark nets in several frameworks, in turn: so that a noisy machine is fair to all.

    python benchmarks/race.py --python flambeau=.venv/bin/python --python pytorch=torch/bin/python
        [--rows mlp0:1 mlp1:60 ...] [--threads 1] [--seconds 1.2] [--rounds 2] [--out FILE.json]

Every framework runs in a Python of its own (docs/benchmarks.md says how to make them). Each round
runs every framework on a row before the next row; a row keeps each framework's best round. Prints a
markdown table with the ratio to the best peer, and writes everything as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

ROWS = ("mlp0:1", "mlp1:1", "cnn32:1", "mlp1:60", "mlp3:60", "cnn96:1", "cnn256:1")
# set on some machines for old OpenBLAS builds; they slow a current one
SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "NVPL_BLAS_DEBUG_CPU_TYPE")


def main() -> None:
    """Runs the race that the command line asks for."""
    args = parse()
    pythons = dict(pair.split("=", 1) for pair in args.python)
    best: dict[str, dict[str, Any]] = {row: {} for row in args.rows}
    for _ in range(args.rounds):
        for row in args.rows:
            for framework, python in pythons.items():
                found = run(framework, python, row, args)
                known = best[row].get(framework)
                if known is None or found["examples_per_second"] > known["examples_per_second"]:
                    best[row][framework] = found
    print(table(best, list(pythons)))
    if args.out:
        report = {"machine": machine(), "threads": args.threads, "rounds": args.rounds,
                  "seconds": args.seconds, "rows": best}
        Path(args.out).write_text(json.dumps(report, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--python", action="append", required=True, metavar="FRAMEWORK=PYTHON")
    parser.add_argument("--rows", nargs="+", default=ROWS, metavar="NET:BATCH")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", default="")
    return parser.parse_args()


def run(framework: str, python: str, row: str, args: argparse.Namespace) -> dict[str, Any]:
    """One measurement. Raises RuntimeError with the framework's own words when it fails."""
    net, batch = row.split(":")
    script = Path(__file__).resolve().parent / "sgd.py"
    command = [python, str(script), "--framework", framework, "--net", net, "--batch", batch,
               "--threads", str(args.threads), "--seconds", str(args.seconds), "--json"]
    environment = {k: v for k, v in os.environ.items() if k not in SLOWING}
    environment.setdefault("THEANO_FLAGS", "blas__ldflags=-lopenblas,floatX=float32")
    made = subprocess.run(command, capture_output=True, text=True, env=environment)
    if made.returncode:
        raise RuntimeError(f"{framework} on {row}: {made.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(made.stdout.strip().splitlines()[-1])
    return found


def table(best: dict[str, dict[str, Any]], frameworks: list[str]) -> str:
    """Examples a second, and how far ahead Flambeau is of the best of the others."""
    lines = ["| net:batch | " + " | ".join(frameworks) + " | flambeau / best peer |",
             "|---|" + "---:|" * (len(frameworks) + 1)]
    for row, found in best.items():
        rates = {f: found[f]["examples_per_second"] for f in frameworks}
        peers = [r for f, r in rates.items() if f != "flambeau"]
        ratio = f"{rates['flambeau'] / max(peers):.2f}" if peers and "flambeau" in rates else ""
        cells = " | ".join(f"{rates[f]:,.0f}" for f in frameworks)
        lines.append(f"| {row} | {cells} | {ratio} |")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    model = platform.processor()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return {"processor": model, "cores": os.cpu_count(), "system": platform.system()}


if __name__ == "__main__":
    main()
