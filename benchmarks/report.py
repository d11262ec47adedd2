#!/usr/bin/env python3
"""The pages of what bench.py measured: python benchmarks/report.py benchmarks/results/latest

Reads the folder's JSON files; writes report.md (tables), report.html (self-contained, with a chart
of every suite) and, where matplotlib is installed (the `plot` extra), the curves over sizes as
SVG and PNG files, which the HTML takes in.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import curves
import page
import tables

ORDER = ("sgd", "elementwise", "rows", "matmul", "conv", "recurrent", "start", "overhead", "memory",
         "scaling")

def main() -> None:
    """Makes the pages anew."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)


def write(folder: Path) -> None:
    """Every page of a folder of results. Raises ValueError where there are none."""
    found = [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))]
    runs = sorted((r for r in found if r.get("suite") in ORDER),
                  key=lambda r: ORDER.index(r["suite"]))
    if not runs:
        raise ValueError(f"report: expected a folder with results of bench.py, got {folder}")
    for run in runs:
        for row in run["rows"]:
            tables.judge(row, run["machine"])
    drawn = {run["suite"]: curves.draw(run, folder, tables.NAMES) for run in runs}
    (folder / "report.md").write_text(tables.markdown(runs))
    (folder / "report.html").write_text(page.html(runs, drawn, tables.summary(runs)))


if __name__ == "__main__":
    main()
