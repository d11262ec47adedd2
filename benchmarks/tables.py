"""What measured rows say: the limit, the best peer, and all of it as text."""

from __future__ import annotations

import math
from typing import Any

NAMES = {"flambeau": "Flambeau", "numpy": "NumPy", "numexpr": "numexpr", "numba": "Numba",
         "jax": "JAX", "pytorch": "PyTorch", "torch_compile": "torch.compile", "theano": "Theano",
         "pytensor": "PyTensor", "mkl": "MKL"}


# -- what the numbers say ----------------------------------------------------------------------

def judge(row: dict[str, Any], machine: dict[str, Any]) -> None:
    """Adds to a row: limit (seconds a call, or None), bound (by what), best (the best peer), ratio
    (how many times Flambeau is ahead of it) and share (of the limit that Flambeau reaches)."""
    row["limit"], row["bound"] = limit(row, machine)
    times = {f: v["median"] for f, v in row["frameworks"].items() if "median" in v}
    ours = times.pop("flambeau", None)
    row["best"] = min(times, key=lambda f: times[f]) if times else None
    row["ratio"] = times[row["best"]] / ours if ours and row["best"] else None
    row["share"] = row["limit"] / ours if ours and row["limit"] else None


def limit(row: dict[str, Any], machine: dict[str, Any]) -> tuple[float | None, str]:
    """The least time a call can take: its flops at the peak, or its bytes through the smallest
    level of memory that holds them; and which of the two it is."""
    if not row["flops"] or row["unit"] == "bytes":
        return None, ""
    known = machine["threads"]
    able = known.get(str(row["threads"])) or known[max(known, key=int)]
    level = next(v for v in able["levels"] if row["held"] <= v["holds"] * row["threads"])
    arithmetic = row["flops"] / able["flops"][row["dtype"]]
    traffic = row["nbytes"] / max(level["copy"], level["read"])
    return (arithmetic, "arithmetic") if arithmetic >= traffic else (traffic, level["name"])


def summary(runs: list[dict[str, Any]]) -> dict[str, tuple[int, int, float]]:
    """Of each suite: rows in which Flambeau leads, rows with a peer, geometric mean of ratios."""
    made = {}
    for run in runs:
        ratios = [r["ratio"] for r in run["rows"] if r["ratio"]]
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            made[run["suite"]] = sum(r >= 1 for r in ratios), len(ratios), mean
    return made


# -- as text -----------------------------------------------------------------------------------

def quantity(seconds: float, row: dict[str, Any]) -> str:
    """A call's time in the row's unit."""
    if row["unit"] == "examples/s":
        return f"{row['items'] / seconds:,.0f}"
    if row["unit"] == "bytes":
        return f"{seconds / 1e6:,.0f} MB"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}" if seconds < 1000 else f"{seconds:,.0f} s"
    return f"{seconds * 1e9:.3g} ns"


def cell(found: dict[str, Any] | None, row: dict[str, Any], spread: bool = True) -> str:
    """One framework's place in a table: median and how far the rounds lie apart, in percent."""
    if not found:
        return ""
    if "median" not in found:
        return "failed"
    apart = 100 * (found["most"] - found["least"]) / found["median"]
    return quantity(found["median"], row) + (f" ±{apart / 2:.0f}%" if spread and apart else "")


def line(row: dict[str, Any]) -> str:
    """A row for the terminal."""
    cells = [f"{f} {cell(v, row)}" if "median" in v else f"{f}: {v.get('error', 'failed')}"
             for f, v in row["frameworks"].items()]
    return f"{row['name']}: " + ", ".join(cells)


def present(run: dict[str, Any]) -> list[str]:
    """The frameworks that a suite has anything of."""
    return [f for f in NAMES if any(f in r["frameworks"] for r in run["rows"])]


def markdown(runs: list[dict[str, Any]]) -> str:
    """All tables."""
    machine = runs[0]["machine"]
    parts = ["# What was measured", "",
             f"{machine['processor']}, {machine['cores']} cores, {machine['system']}; "
             f"{runs[0]['date']}. Medians of rounds that alternate between frameworks; ± is half "
             "the distance between the best and the worst round. `ahead` is the best peer's time "
             "over Flambeau's; `of limit` is how much Flambeau reaches of what this machine's "
             "arithmetic or memory allows.", ""]
    if any(run["quick"] for run in runs):
        parts += ["**A quick run: few rows, short timings. Not for quoting.**", ""]
    for run in runs:
        frameworks = present(run)
        head = [*(NAMES[f] for f in frameworks), "ahead", "of limit"]
        parts += [f"## {run['title']}", "", run["about"], "",
                  "| | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
        for row in run["rows"]:
            cells = [cell(row["frameworks"].get(f), row) for f in frameworks]
            parts.append(f"| {row['name']} | " + " | ".join([*cells, *verdict(row)]) + " |")
        parts += ["", *failures(run)]
    return "\n".join(parts).rstrip() + "\n"


def verdict(row: dict[str, Any]) -> list[str]:
    """Ratio to the best peer, share of the limit."""
    ratio = f"{row['ratio']:.2f}x {NAMES[row['best']]}" if row["ratio"] else ""
    return [ratio, f"{100 * row['share']:.0f}% {row['bound']}" if row["share"] else ""]


def failures(run: dict[str, Any]) -> list[str]:
    """Why a framework has no number where it has none."""
    said: dict[tuple[str, str], list[str]] = {}
    for row in run["rows"]:
        for f, v in row["frameworks"].items():
            if "median" not in v:
                said.setdefault((f, v.get("error", "no answer")), []).append(row["name"])
    return [f"* {NAMES[f]}, {rows[0]}" + (f" and {len(rows) - 1} more" if rows[1:] else "") +
            f": {error}" for (f, error), rows in said.items()] + ([""] if said else [])
