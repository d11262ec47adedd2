"""The HTML report: one file, its style and its charts inside."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import tables
from curves import COLOURS
from tables import NAMES

STYLE = """
:root{--ink:#23201c;--soft:#766f66;--line:#e6e0d6;--paper:#fbf9f5;--fire:#e4572e}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,sans-serif}main{max-width:1080px;margin:0 auto;padding:2.5rem 1.25rem 5rem}
h1{font-size:2.4rem;line-height:1.1;margin:.2rem 0 .6rem;letter-spacing:-.02em}
h2{font-size:1.5rem;margin:3.5rem 0 .3rem;letter-spacing:-.01em}p{max-width:46rem}
.soft,.note{color:var(--soft)}.note{font-size:.86rem}a{color:inherit}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:.7rem;
margin:1.6rem 0}.card{background:#fff;border:1px solid var(--line);border-radius:10px;
padding:.7rem .9rem;text-decoration:none}.card b{display:block;font-size:1.55rem;line-height:1.2}
.card.win b{color:var(--fire)}.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;
font-size:.85rem;margin:.8rem 0}.legend i{display:inline-block;width:.7em;height:.7em;
border-radius:50%;margin-right:.4em}svg{max-width:100%;height:auto}.chart{background:#fff;
border:1px solid var(--line);border-radius:10px;padding:.6rem;margin:.8rem 0;overflow-x:auto}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.82rem;width:100%;
font-variant-numeric:tabular-nums}td,th{padding:.28rem .55rem;border-bottom:1px solid var(--line);
text-align:right;white-space:nowrap}td:first-child,th:first-child{text-align:left}
th{font-weight:600;color:var(--soft)}td.ours{font-weight:600}.up{color:#1d7a46}.down{color:#b3261e}
details summary{cursor:pointer;color:var(--soft);margin:.5rem 0}
.quick{background:#fff3d6;border:1px solid #ecd9a0;border-radius:8px;padding:.5rem .9rem}
"""
WIDTH, LEFT, STEP = 1020, 290, 22
LONG = 60  # rows; beyond, the curves tell it better than a chart of dots


def html(runs: list[dict[str, Any]], drawn: dict[str, str],
         summary: dict[str, tuple[int, int, float]]) -> str:
    """The whole page."""
    machine = runs[0]["machine"]
    body = [f"<h1>Flambeau beside its peers</h1><p class=soft>{escape(machine['processor'])}, "
            f"{machine['cores']} cores, {escape(machine['system'])} · {runs[0]['date']}</p>",
            "<p>Every framework does the same work in its own best idiom, in turns, so that a "
            "noisy moment hurts nobody alone; results are compared before anything is timed. "
            "Dots are medians over the rounds. The grey bar is what the machine itself "
            "allows: arithmetic in registers, or bytes through the cache that holds them.</p>"]
    if any(run["quick"] for run in runs):
        body.append("<p class=quick>A quick run: few rows and short timings. Not for quoting.</p>")
    body += [cards(runs, summary), peaks(machine)]
    for run in runs:
        body += section(run, drawn[run["suite"]])
    return ("<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
            "content='width=device-width,initial-scale=1'><title>Flambeau beside its peers</title>"
            f"<style>{STYLE}</style><main>{''.join(body)}</main></html>\n")


def cards(runs: list[dict[str, Any]], summary: dict[str, tuple[int, int, float]]) -> str:
    """A number for each suite: the geometric mean of the ratios to the best peer."""
    made = []
    for run in runs:
        if run["suite"] in summary:
            ahead, count, mean = summary[run["suite"]]
            made.append(f"<a class='card{' win' * (mean >= 1)}' href='#{run['suite']}'>"
                        f"<span class=soft>{escape(run['title'])}</span><b>{mean:.2f}×</b>"
                        f"<span class=note>ahead in {ahead} of {count} rows</span></a>")
    return ("<p>How many times the best peer's speed, as a geometric mean over the rows:</p>"
            f"<div class=cards>{''.join(made)}</div>")


def peaks(machine: dict[str, Any]) -> str:
    """What the limits are made of."""
    able = machine["threads"]["1"]
    levels = ", ".join(f"{v['name']} {max(v['read'], v['copy']) / 1e9:.0f}" for v in able["levels"])
    return (f"<p class=note>One thread of this machine: {able['flops']['float32'] / 1e9:.0f} "
            f"GFLOP/s in float32, {able['flops']['float64'] / 1e9:.0f} in float64; GB/s: {levels}."
            "</p>")


def section(run: dict[str, Any], drawn: str) -> list[str]:
    """One suite: its chart, its curves, its table."""
    frameworks = tables.present(run)
    legend = "".join(f"<span><i style='background:{COLOURS[f]}'></i>{NAMES[f]}</span>"
                     for f in frameworks)
    curves = f"<div class=chart>{drawn}</div>" if drawn else ""
    failures = "".join(f"<li>{escape(text[2:])}</li>" for text in tables.failures(run) if text)
    notes = f"<ul class=note>{failures}</ul>" if failures else ""
    dots = f"<div class=chart>{chart(run)}</div>"
    if len(run["rows"]) > LONG and drawn:
        dots = f"<details><summary>Every row in one chart</summary>{dots}</details>"
    return [f"<h2 id={run['suite']}>{escape(run['title'])}</h2><p>{escape(run['about'])}</p>",
            f"<div class=legend>{legend}</div>{dots}{curves}",
            f"<details open><summary>All numbers</summary><div class=wide>"
            f"{table(run, frameworks)}</div></details>{notes}"]


def table(run: dict[str, Any], frameworks: list[str]) -> str:
    """Every row and framework; hovering over a number tells its spread."""
    head = "".join(f"<th>{NAMES[f]}" for f in frameworks)
    lines = []
    for row in run["rows"]:
        cells = []
        for f in frameworks:
            found = row["frameworks"].get(f)
            tip = f" title='{escape(tables.cell(found, row), True)}'" if found else ""
            cells.append(f"<td{' class=ours' * (f == 'flambeau')}{tip}>"
                         f"{tables.cell(found, row, False)}")
        ratio, share = tables.verdict(row)
        kind = "up" if row["ratio"] and row["ratio"] >= 1 else "down"
        lines.append(f"<tr><td>{escape(row['name'])}{''.join(cells)}<td class={kind}>"
                     f"{escape(ratio)}<td>{escape(share)}")
    return f"<table><tr><th>{head}<th>ahead<th>of limit{''.join(lines)}</table>"


# -- the chart ---------------------------------------------------------------------------------

def chart(run: dict[str, Any]) -> str:
    """A line a row, a dot a framework, all on one logarithmic axis; better is to the right.

    What is shown is the speed beside the fastest peer's: 1 is level with it, and 10 is ten times
    as fast, so that rows of every size stand on one scale.
    """
    rows = [r for r in run["rows"] if any("median" in v for v in r["frameworks"].values())]
    if not rows:
        return "<p class=note>Nothing was measured.</p>"
    speeds = [relative(row) for row in rows]
    ends = [v for found in speeds for f, v in found.items() if f != "limit"]
    # a limit far out of reach, as that of ten elements, stands at the edge
    ends += [min(found["limit"], 10 * max(ends)) for found in speeds if "limit" in found]
    low, high = math.floor(math.log10(min(ends))), math.ceil(math.log10(max(ends)))
    low, high = max(low, -4), max(high, low + 1, 1)
    span = WIDTH - LEFT - 30

    def at(value: float) -> float:
        return LEFT + span * (max(low, min(high, math.log10(value))) - low) / (high - low)
    height = 34 + STEP * len(rows)
    made = [f"<svg viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' font-size='12' role='img' "
            f"aria-label='{escape(run['title'], True)}'>"]
    for power in range(low, high + 1):
        x = at(10.0 ** power)
        label = f"{10 ** power:,}×" if power >= 0 else f"1/{10 ** -power:,}"
        made.append(f"<path d='M{x:.1f} 22V{height}' stroke='{'#999' if power == 0 else '#eee'}'/>"
                    f"<text x='{x:.1f}' y='14' fill='#766f66' text-anchor='middle'>{label}</text>")
    for i, (row, found) in enumerate(zip(rows, speeds)):
        made += strip(row, found, 34 + STEP * i, at)
    return "".join(made) + "</svg>"


def relative(row: dict[str, Any]) -> dict[str, float]:
    """Speeds in units of the best peer's (of Flambeau's own where there is no peer)."""
    times = {f: v["median"] for f, v in row["frameworks"].items() if v.get("median")}
    unit = times.get(row["best"] or "flambeau", min(times.values(), default=1.0))
    made = {f: unit / t for f, t in times.items()}
    return made | ({"limit": unit / row["limit"]} if row["limit"] else {})


def strip(row: dict[str, Any], found: dict[str, float], y: float, at: Any) -> list[str]:
    """One row of the chart."""
    made = [f"<text x='{LEFT - 12}' y='{y + 4}' text-anchor='end'>{escape(row['name'])}</text>"
            f"<path d='M{LEFT} {y}H{WIDTH - 30}' stroke='#f3efe7'/>"]
    if "limit" in found:
        x = at(found["limit"]) - 2
        made.append(f"<rect x='{x:.1f}' y='{y - 8}' width='4' height='16' rx='1.5' fill='#b9b2a5'>"
                    f"<title>limit of the machine ({row['bound']}): "
                    f"{tables.quantity(row['limit'], row)}</title></rect>")
    for f in sorted((f for f in found if f != "limit"), key=lambda f: f == "flambeau"):
        x, radius = at(found[f]), 6 if f == "flambeau" else 4
        tip = f"{NAMES[f]}: {tables.cell(row['frameworks'][f], row)}"
        made.append(f"<circle cx='{x:.1f}' cy='{y}' r='{radius}' fill='{COLOURS[f]}' "
                    f"fill-opacity='.9'><title>{escape(tip)}</title></circle>")
    return made
