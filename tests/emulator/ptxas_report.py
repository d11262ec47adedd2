#!/usr/bin/env python3
"""What ptxas said of all kernels of a run: one JSON file, and the table in docs/cuda.md.

    python tests/emulator/ptxas_report.py build/ptxas build/ptxas.json docs/cuda.md

The folder holds a file of each process (assembled.py). Fails when ptxas refused a kernel, or one
of the families that must not spill does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# by the first word of a kernel's name (kernel.Kernel.kind), as docs/cuda.md speaks of them
FAMILIES = {"map": "elementwise", "rows": "rows and reductions", "contract": "products",
            "scan": "scans", "scatter": "scatters"}
CLEAN = ("elementwise", "rows and reductions", "products")  # these may spill nothing
BEGIN, END = "<!-- ptxas -->", "<!-- /ptxas -->"


def family(name: str) -> str:
    """The family of a kernel by its name."""
    return FAMILIES.get(name.split("_")[0], "others")


def collect(folder: Path) -> dict[str, Any]:
    """All kernels of a folder once: {"kernels": rows, "refused": texts, "table": counts}."""
    kernels: dict[tuple[int, str], list[Any]] = {}
    refused: set[str] = set()
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text())
        refused |= set(found["refused"])
        kernels |= {(row[0], row[1]): row for row in found["kernels"]}
    rows = [kernels[key] for key in sorted(kernels)]
    return {"kernels": rows, "refused": sorted(refused), "table": table(rows)}


def table(rows: list[list[Any]]) -> dict[str, dict[str, dict[str, int]]]:
    """By architecture and family: kernels, the most registers, how many spill, and bytes."""
    made: dict[str, dict[str, dict[str, int]]] = {}
    for sm, _, name, registers, spills, *_ in rows:
        cell = made.setdefault(f"sm_{sm}", {}).setdefault(
            family(name), {"kernels": 0, "registers": 0, "spilling": 0, "spilled": 0})
        cell["kernels"] += 1
        cell["registers"] = max(cell["registers"], registers)
        cell["spilling"] += spills > 0
        cell["spilled"] = max(cell["spilled"], spills)
    return made


def markdown(counts: dict[str, dict[str, dict[str, int]]]) -> str:
    """The table of docs/cuda.md: kernels, most registers, kernels that spill."""
    names = [n for n in (*FAMILIES.values(), "others") if any(n in row for row in counts.values())]
    lines = ["| kernels / registers at most / spilling | " + " | ".join(counts) + " |",
             "|---" * (len(counts) + 1) + "|"]
    for name in names:
        cells = [row.get(name) for row in counts.values()]
        lines.append(f"| {name} | " + " | ".join(
            f"{c['kernels']} / {c['registers']} / {c['spilling']}" if c else "none" for c in cells)
            + " |")
    return "\n".join(lines)


def main(folder: str, report: str, page: str) -> None:
    """Writes both; exits with what is wrong."""
    found = collect(Path(folder))
    Path(report).write_text(json.dumps(found, indent=1) + "\n")
    told = markdown(found["table"])
    print(told)
    text = Path(page).read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    Path(page).write_text(f"{before}{BEGIN}\n{told}\n{END}{after}", encoding="utf-8")
    wrong = [f"ptxas refused {r}" for r in found["refused"]]
    wrong += [f"{row[2]} on sm_{row[0]}: {row[4]} bytes spilt" for row in found["kernels"]
              if row[4] and family(row[2]) in CLEAN]
    if not found["kernels"]:
        wrong.append("no kernels were met")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
