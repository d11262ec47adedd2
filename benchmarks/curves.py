"""The curves over sizes, by matplotlib where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

COLOURS = {"flambeau": "#e4572e", "numpy": "#4d7ea8", "numexpr": "#8e9aaf", "numba": "#2a9d8f",
           "jax": "#7b5ea7", "pytorch": "#c9a227", "torch_compile": "#8a6d1a", "theano": "#5b8c5a",
           "pytensor": "#a3c585", "mkl": "#3d5a80"}
COLUMNS = 3


def draw(run: dict[str, Any], folder: Path, names: dict[str, str]) -> str:
    """One picture of a suite, a panel a group of sizes, as SVG text; "" where a suite has no sizes
    or matplotlib is absent. Writes the suite's .svg and .png too."""
    groups = panels(run)
    if not groups or importlib.util.find_spec("matplotlib") is None:
        return ""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("agg")
    matplotlib.rcParams.update({
        "font.size": 8, "axes.spines.top": False, "axes.spines.right": False,
        "axes.edgecolor": "#999", "xtick.color": "#555", "ytick.color": "#555", "svg.hashsalt": "f",
        "svg.fonttype": "none", "font.family": "sans-serif", "axes.titlesize": 9})
    pyplot = importlib.import_module("matplotlib.pyplot")
    columns = min(COLUMNS, len(groups))
    count = -(-len(groups) // columns)
    figure, axes = pyplot.subplots(count, columns, squeeze=False, layout="constrained",
                                   figsize=(3.5 * columns, 2.6 * count + 0.3))
    seen: dict[str, Any] = {}
    for place, (title, rows) in zip(axes.flat, groups.items()):
        panel(place, title, rows, seen, names)
    for place in axes.flat[len(groups):]:
        place.axis("off")
    figure.legend(seen.values(), seen.keys(), loc="outside lower center", frameon=False,
                  ncols=3 * columns)
    svg = folder / f"{run['suite']}.svg"
    figure.savefig(svg, metadata={"Date": None})
    figure.savefig(svg.with_suffix(".png"), dpi=110)
    pyplot.close(figure)
    text = svg.read_text()
    return text[text.index("<svg"):]


def panels(run: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Groups of rows over at least two sizes."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in run["rows"]:
        if row["n"] and row["group"]:
            groups.setdefault(row["group"], []).append(row)
    return {g: sorted(rows, key=lambda r: r["n"]) for g, rows in groups.items()
            if len({r["n"] for r in rows}) > 1}


def panel(place: Any, title: str, rows: list[dict[str, Any]], seen: dict[str, Any],
          names: dict[str, str]) -> None:
    """Time a call over n, both logarithmic, and the limit below as a shade."""
    for framework, name in names.items():
        points = [(r["n"], r["frameworks"][framework]["median"]) for r in rows
                  if "median" in r["frameworks"].get(framework, {})]
        if points:
            ours = framework == "flambeau"
            found, = place.plot(*zip(*points), color=COLOURS[framework], marker="o",
                                linewidth=2.2 if ours else 1.1, markersize=4 if ours else 2.5,
                                zorder=3 if ours else 2)
            seen.setdefault(name, found)
    bounded = [(r["n"], r["limit"]) for r in rows if r["limit"]]
    place.set(xscale="log", yscale="log", title=title, xlabel="n", ylabel="seconds a call")
    if len(bounded) > 1:
        low = place.get_ylim()[0]
        sizes, least = zip(*bounded)
        place.fill_between(sizes, [min(low, *least)] * len(least), least, color="#e8e4da", zorder=1)
        place.set_ylim(bottom=low)
    place.grid(color="#eee", zorder=0)
