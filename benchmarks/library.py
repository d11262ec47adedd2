#!/usr/bin/env python3
"""The library's functions and NumPy's: `python benchmarks/library.py [--only order] [--match sum]`.

Turns alternate between the two, so that a busy machine hurts both alike. A time is the median of
the turns, from the call to the values as an array; the ratio is the median of the turns' ratios,
above 1 where NumPy is faster. Operands are there and programs are compiled. `--out` adds to a JSON
file; `--table FILE` prints what a JSON file holds, as docs/performance.md shows it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import flambeau as fb
import numpy as np
from functions import SECTIONS, Case, section

SIZE = 1_000_000
AHEAD, BEHIND = 1 / 1.05, 1.05  # what lies between is level
SHORT = 0.002  # seconds a turn should take: short work is repeated

Row = dict[str, Any]


def seconds(f: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        f()
    return (time.perf_counter() - start) / count


def compare(case: Case, turns: int) -> tuple[float, float, float]:
    """Median seconds of each side, and the median ratio."""
    for f in (case.ours, case.theirs):  # compiles, touches memory
        f()
        f()
    counts = [max(1, int(SHORT / max(1e-7, seconds(f, 1)))) for f in (case.ours, case.theirs)]
    pairs = [(seconds(case.ours, counts[0]), seconds(case.theirs, counts[1])) for _ in range(turns)]
    return (statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs),
            statistics.median(a / b for a, b in pairs))


def differs(case: Case) -> str:
    """How far the two sides' results are apart, in words; "" where they agree."""
    ours, theirs = case.ours(), case.theirs()
    if not isinstance(ours, list):
        ours, theirs = [ours], [theirs]
    for x, y in zip(ours, theirs, strict=False):
        x, y = np.asarray(x), np.asarray(y)
        if x.shape != y.shape:
            return f"shape {x.shape} | {y.shape}"
        loose = 1e-2 if x.dtype.itemsize <= 2 else 2e-3 if x.dtype in ("float32", "complex64") \
            else 1e-6
        if not np.allclose(x, y, loose, loose * max(1.0, float(np.nanmax(np.abs(y), initial=0))),
                           equal_nan=True):
            return "values"
    return ""


def measure(options: argparse.Namespace) -> Iterable[Row]:
    for name in [options.only] if options.only else SECTIONS:
        if options.check and name == "draws":
            continue  # other numbers
        for case in section(name, options.size):
            if options.match in case.name:
                yield one(name, case, options)


def one(name: str, case: Case, options: argparse.Namespace) -> Row:
    if options.check:
        found = differs(case)
        return {"section": name, "case": case.name, "differs": found}
    ours, theirs, ratio = compare(case, options.turns)
    return {"section": name, "case": case.name, "function": case.function, "n": options.size,
            "flambeau": ours, "numpy": theirs, "ratio": ratio}


def show(row: Row) -> str:
    if "differs" in row:
        return f"{row['case']:44} {row['differs']}"
    return (f"{row['case']:44} {row['flambeau'] * 1e6:10.1f}us {row['numpy'] * 1e6:10.1f}us "
            f"{row['ratio']:7.2f}{'  behind' if row['ratio'] > BEHIND else ''}")


def summary(rows: list[Row]) -> str:
    """Rows ahead, level and behind in each section, as a table in Markdown."""
    lines = ["| section | rows | ahead | level | behind | behind by over 10 % | median ratio |",
             "|---|---:|---:|---:|---:|---:|---:|"]
    for name in (*SECTIONS, "all"):
        ratios = [r["ratio"] for r in rows if name in (r["section"], "all")]
        if ratios:
            ahead, behind = sum(r < AHEAD for r in ratios), sum(r > BEHIND for r in ratios)
            lines.append(f"| {name} | {len(ratios)} | {ahead} | {len(ratios) - ahead - behind} | "
                         f"{behind} | {sum(r > 1.1 for r in ratios)} | "
                         f"{statistics.median(ratios):.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SECTIONS, help="one section")
    parser.add_argument("--match", default="", help="only cases whose name holds this text")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--behind", action="store_true", help="print only rows behind NumPy")
    parser.add_argument("--check", action="store_true", help="compare results instead of times")
    parser.add_argument("--out", type=Path, help="JSON file; rows of the same name are replaced")
    parser.add_argument("--table", type=Path, help="print the summary of a JSON file")
    options = parser.parse_args()
    if options.table:
        print(summary(json.loads(options.table.read_text())["rows"]))
        return
    warnings.simplefilter("ignore")
    rows = []
    for row in measure(options):
        rows.append(row)
        if row["differs"] if options.check else not options.behind or row["ratio"] > BEHIND:
            print(show(row), flush=True)
    if not options.check:
        print(summary(rows))
        if options.out:
            write(options.out, rows)


def write(path: Path, rows: list[Row]) -> None:
    """Adds rows to a file; newer ones take the place of those of the same name and n."""
    found = json.loads(path.read_text())["rows"] if path.exists() else []
    held = {(r["section"], r["case"], r["n"]): r for r in (*found, *rows)}
    facts = {"threads": fb.num_threads(), "numpy": np.__version__}
    lines = ",\n".join(json.dumps({k: float(f"{v:.3g}") if isinstance(v, float) else v
                                   for k, v in row.items()}) for row in held.values())
    path.write_text(json.dumps(facts)[:-1] + f', "rows": [\n{lines}]}}\n')


if __name__ == "__main__":
    main()
