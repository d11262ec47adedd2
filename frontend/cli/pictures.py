"""Pictures of a training run, with no library: weights as PNG, learning curves as SVG."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

# blue through white to red, at equal steps from -1 to 1
DIVERGING = np.array([(5, 48, 97), (33, 102, 172), (67, 147, 195), (146, 197, 222), (209, 229, 240),
                      (247, 247, 247), (253, 219, 199), (244, 165, 130), (214, 96, 77),
                      (178, 24, 43), (103, 0, 31)], np.float32)
GROUND = np.uint8(255)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """uint8 (height, width) as grey or (height, width, 3) as RGB."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
                     + _chunk(b"IDAT", zlib.compress(raw, 9)) + _chunk(b"IEND", b""))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


# -- weights -----------------------------------------------------------------------------------

def weight_sheet(tiles: np.ndarray, limit: int = 100, size: int = 900) -> np.ndarray:
    """Small pictures (n, h, w) side by side as RGB: red above zero, blue below, white at zero.

    All tiles share one scale. With more than `limit`, the strongest are shown. `size`: about how
    many pixels wide and high the sheet may become.
    """
    if len(tiles) > limit:
        strength = np.square(tiles).sum((1, 2))
        tiles = tiles[np.sort(np.argsort(-strength, kind="stable")[:limit])]
    n, h, w = tiles.shape
    columns = _columns(n, h, w)
    rows = -(-n // columns)
    gap = max(4, size // columns // 12)
    zoom = max(1, min((size // columns - gap) // w, (size // rows - gap) // h, 64))
    top = float(np.quantile(np.abs(tiles), 0.995)) or 1.0
    sheet = np.full((rows * (h * zoom + gap) + gap, columns * (w * zoom + gap) + gap, 3), GROUND,
                    np.uint8)
    for i, tile in enumerate(tiles):
        y = gap + i // columns * (h * zoom + gap)
        x = gap + i % columns * (w * zoom + gap)
        big = colours(tile / top).repeat(zoom, 0).repeat(zoom, 1)
        sheet[y:y + h * zoom, x:x + w * zoom] = big
    return sheet


def _columns(n: int, h: int, w: int) -> int:
    """Columns that fill a sheet a little wider than high, without a ragged last row if possible."""
    ideal = math.sqrt(n * h / w * 1.2)
    choices = [c for c in range(1, n + 1) if n % c == 0 and 0.6 * ideal <= c <= 1.8 * ideal]
    return min(choices, key=lambda c: abs(c - ideal)) if choices else min(n, math.ceil(ideal))


def colours(values: np.ndarray) -> np.ndarray:
    """Numbers from -1 to 1 (others are clipped) as RGB of the diverging scale, shape (..., 3)."""
    at = (np.clip(values, -1, 1) + 1) * (len(DIVERGING) - 1) / 2
    low = np.minimum(at.astype(np.int64), len(DIVERGING) - 2)
    part = (at - low)[..., None]
    mixed = DIVERGING[low] * (1 - part) + DIVERGING[low + 1] * part
    return np.rint(mixed).astype(np.uint8)


# -- curves ------------------------------------------------------------------------------------

class Line(NamedTuple):
    """One curve: its name, its colour, one number for each epoch."""

    name: str
    colour: str
    values: Sequence[float]


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 260, 52, 66, 40, 40
INK, FAINT = "#333", "#e4e4e4"


def curve_svg(title: str, panels: Sequence[tuple[str, Sequence[Line], bool]]) -> str:
    """Panels side by side, each (name, lines, percent) over epochs 1, 2, ..."""
    total = WIDTH * len(panels)
    body = "".join(f'<g transform="translate({i * WIDTH} 34)">{_panel(*panel)}</g>'
                   for i, panel in enumerate(panels))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {HEIGHT + 34}" '
            f'width="{total}" height="{HEIGHT + 34}" font-family="system-ui, sans-serif" '
            f'font-size="12" fill="{INK}"><rect width="100%" height="100%" fill="white"/>'
            f'<text x="{LEFT}" y="26" font-size="15" font-weight="600">{escape(title)}</text>'
            f"{body}</svg>\n")


def _panel(name: str, lines: Sequence[Line], percent: bool) -> str:
    finite = [v for line in lines for v in line.values if math.isfinite(v)] or [0.0, 1.0]
    ticks = nice_ticks(min(finite), max(finite))
    low, high = ticks[0], ticks[-1]
    last = max(len(line.values) for line in lines)

    def x(epoch: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * ((epoch - 1) / (last - 1) if last > 1 else 0.5)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    parts = [f'<text x="{LEFT}" y="{TOP - 14}" font-weight="600">{escape(name)}</text>']
    for tick in ticks:
        parts.append(f'<path d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}" stroke="{FAINT}"/>'
                     f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">'
                     f"{_number(tick, ticks[1] - ticks[0], percent)}</text>")
    for epoch in sorted({round(t) for t in nice_ticks(1, last) if 1 <= t <= last} | {1, last}):
        if epoch == last or last - epoch >= last / 12:
            parts.append(f'<text x="{x(epoch):.1f}" y="{HEIGHT - BOTTOM + 18}" '
                         f'text-anchor="middle">{epoch}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" '
                 'text-anchor="middle">epoch</text>')
    labels = _apart([y(line.values[-1]) if math.isfinite(line.values[-1]) else TOP
                     for line in lines])
    for line, label in zip(lines, labels):
        points = [(x(i + 1), y(v)) for i, v in enumerate(line.values) if math.isfinite(v)]
        if len(points) == 1:
            parts.append(f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3" '
                         f'fill="{line.colour}"/>')
        elif points:
            path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
            parts.append(f'<path d="M{path}" fill="none" stroke="{line.colour}" stroke-width="2" '
                         'stroke-linejoin="round"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{label + 4:.1f}" fill="{line.colour}" '
                     f'font-weight="600">{escape(line.name)}</text>')
    return "".join(parts)


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers, evenly spaced, that enclose low and high."""
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _number(value: float, step: float, percent: bool) -> str:
    if percent:
        value, step = 100 * value, 100 * step
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10 ** digits - round(step * 10 ** digits)) > 1e-6:
        digits += 1  # steps of 2.5
    return f"{value:.{digits}f}{' %' if percent else ''}"


def _apart(places: list[float], gap: float = 14) -> list[float]:
    """Label heights moved so that neighbours do not touch."""
    order = sorted(range(len(places)), key=places.__getitem__)
    out = list(places)
    for before, after in pairwise(order):
        out[after] = max(out[after], out[before] + gap)
    return out
