"""How a GPU runs a contraction: the tile of a block, parts of k, tensor cores or not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from flambeau.compiler.codegen.contraction import Contraction, size
from flambeau.compiler.config import config
from flambeau.compiler.target import Target

SPLITS = 64
RATE = {128: 1.0, 64: 0.7, 32: 0.35}  # of a block, by its tile: larger ones load less


@dataclass(frozen=True)
class Tile:
    """m x n elements of C a block, k steps a round, each thread has side x side of them."""

    m: int
    n: int
    k: int
    side: int

    @property
    def across(self) -> int:
        """Threads along n."""
        return self.n // self.side


TILES = (Tile(128, 128, 8, 8), Tile(64, 64, 16, 4), Tile(32, 32, 16, 2))
_SHORT = (Tile(128, 128, 16, 8), Tile(64, 64, 16, 4))
TENSOR_TILES = {"half": _SHORT, "bfloat": _SHORT,
                "tf32": (Tile(128, 128, 8, 8), Tile(64, 64, 8, 4))}


@dataclass(frozen=True)
class GpuPlan:
    """The tile, into how many parts k is cut, and what tensor cores multiply ("": none).

    unit: "half", "bfloat" or "tf32".
    """

    contraction: Contraction
    tile: Tile
    splits: int
    unit: str = ""

    @property
    def grid(self) -> tuple[int, int, int, int]:
        """Blocks along parts of k, batch, m and n."""
        b, m, n, _ = self.contraction.sizes
        return self.splits, b, -(-m // self.tile.m), -(-n // self.tile.n)

    @property
    def rounds(self) -> int:
        """Tiles of k in all."""
        return -(-size(self.contraction.k) // self.tile.k)

    @property
    def scratch_bytes(self) -> int:
        b, m, n, _ = self.contraction.sizes
        return self.splits * b * m * n * self.contraction.itemsize if self.splits > 1 else 0

    @property
    def description(self) -> str:
        b, m, n, k = self.contraction.sizes
        t = self.tile
        share = f"{self.unit} tensor cores" if self.unit else f"{t.side} x {t.side} a thread"
        return (f"tiled contraction, {b} x ({m} x {k}) ({k} x {n}): blocks of {t.m} x {t.n}, "
                f"{share}, k by {t.k}"
                + (f", {self.splits} parts of k" if self.splits > 1 else ""))


def unit(c: Contraction, target: Target) -> str:
    """What tensor cores may multiply: 16-bit floats, and float32 (rounded) where a flag allows."""
    kinds = (c.a_scalar, c.b_scalar, c.acc)
    if target.sm < 80:
        return ""
    if kinds == ("half", "half", "float"):
        return "half"
    if kinds == ("i16", "i16", "float"):  # bfloat16 is stored as its bits
        return "bfloat"
    return "tf32" if kinds == ("float", "float", "float") and config.tf32 else ""


def plan(c: Contraction, target: Target) -> GpuPlan:
    """The tile with the least estimated time, k being cut where blocks are few."""
    cores = unit(c, target)
    tiles = TENSOR_TILES[cores] if cores else [t for t in TILES if t.side < 8 or c.itemsize == 4]
    return min((_cut(GpuPlan(c, t, 1, cores), target) for t in tiles),
               key=lambda p: _time(p, target))


def _cut(p: GpuPlan, target: Target) -> GpuPlan:
    """The plan with k in as many parts as give every multiprocessor two blocks."""
    blocks = math.prod(p.grid)
    if blocks >= target.processors:
        return p
    parts = min(SPLITS, p.rounds // 4, 2 * target.processors // max(1, blocks))
    each = -(-p.rounds // max(1, parts))
    return replace(p, splits=max(1, -(-p.rounds // max(1, each))))  # no part is empty


def _time(p: GpuPlan, target: Target) -> float:
    """Elements of C with those that tiles add, by how fast a block is and how many run."""
    _, b, m, n = p.grid
    blocks = math.prod(p.grid)
    waves = -(-blocks // target.processors)
    full = blocks / (waves * target.processors)
    return b * m * n * p.tile.m * p.tile.n / (RATE[p.tile.m] * full)
