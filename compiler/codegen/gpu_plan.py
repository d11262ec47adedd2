"""How a GPU runs a contraction: the tile of a block, parts of k, tensor cores or not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from flambeau.compiler.codegen.contraction import Contraction, size
from flambeau.compiler.config import config
from flambeau.compiler.target import Target

RATE = {128: 1.0, 64: 0.7, 32: 0.35}  # of a block, by its tile: larger ones load less
FLOPS = 300e3  # a multiprocessor's float32 operations in a microsecond
TENSOR = 6  # how much faster tensor cores are
LATENCY = 0.4  # microseconds until a round's tiles have come
RESIDENT = 2  # blocks of a multiprocessor that wait together
JOIN = 2.5  # microseconds of one more kernel
BANDWIDTH = 1e6  # bytes in a microsecond
LIBRARY = 0.7  # cuBLAS's share of a generated kernel's time


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
_SHORT = (Tile(128, 128, 32, 8), Tile(64, 64, 32, 4))
TENSOR_TILES = {"half": _SHORT, "bfloat": _SHORT,
                "tf32": (Tile(128, 128, 16, 8), Tile(64, 64, 16, 4))}
PAD = 4  # elements between lines of a tile, against bank conflicts; keeps vectors aligned
SHARED = 48 << 10  # bytes of a block's shared memory
STAGES = 4  # tiles of k in shared memory, at most


@dataclass(frozen=True)
class GpuPlan:
    """The tile, into how many parts k is cut, and what tensor cores multiply ("": none).

    unit: "half", "bfloat" or "tf32". library: cuBLAS computes the sums, and a kernel runs the
    epilogue. stages: tiles of k that lie in shared memory; all but one are on their way.
    """

    contraction: Contraction
    tile: Tile
    splits: int
    unit: str = ""
    library: bool = False
    stages: int = 2

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
    def stage_bytes(self) -> int:
        """Shared memory for one tile of A and one of B."""
        t = self.tile
        if self.unit:
            return (t.m + t.n) * t.k * (4 if self.unit == "tf32" else 2)
        return (t.m + t.n + 2 * PAD) * t.k * self.contraction.itemsize

    @property
    def scratch_bytes(self) -> int:
        b, m, n, _ = self.contraction.sizes
        apart = self.splits > 1 or self.library
        return self.splits * b * m * n * self.contraction.itemsize if apart else 0

    @property
    def description(self) -> str:
        b, m, n, k = self.contraction.sizes
        if self.library:
            return f"cuBLAS, {b} x ({m} x {k}) ({k} x {n}), and its epilogue"
        t = self.tile
        share = f"{self.unit} tensor cores" if self.unit else f"{t.side} x {t.side} a thread"
        return (f"tiled contraction, {b} x ({m} x {k}) ({k} x {n}): blocks of {t.m} x {t.n}, "
                f"{share}, k by {t.k} in {self.stages} stages"
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
    """The tile and the parts of k with the least estimated time."""
    cores = unit(c, target)
    tiles = TENSOR_TILES[cores] if cores else [t for t in TILES if t.side < 8 or c.itemsize == 4]
    found = [_cut(_staged(GpuPlan(c, t, 1, cores), target), 1 << i)
             for t in tiles for i in range(7)]
    best = min(found, key=lambda p: (microseconds(p, target), p.splits))
    if target.library and _gemm(c):
        other = replace(best, splits=1, library=True)
        adding = JOIN + 2 * other.scratch_bytes / BANDWIDTH
        if target.library == "always" or (
                LIBRARY * microseconds(best, target) + adding < microseconds(best, target)):
            return other
    return best


Layout = tuple[int, int, int]


def layouts(c: Contraction) -> tuple[Layout, Layout] | None:
    """A's and B's (must be turned, line to line, product to product) for cuBLAS, which counts
    columns first; None where it cannot read them so."""
    if len(c.m) != 1 or len(c.n) != 1 or len(c.k) != 1 or len(c.batch) > 1:
        return None
    (m,), (n,), (k,) = c.m, c.n, c.k
    found = []
    for which, rows, columns in (("a", m, k), ("b", k, n)):
        down, along = getattr(rows, which) or 0, getattr(columns, which) or 0
        step = (getattr(c.batch[0], which) or 0) if c.batch else 0
        if along == 1 and down >= columns.extent:
            found.append((0, down, step))
        elif down == 1 and along >= rows.extent:
            found.append((1, along, step))
        else:
            return None
    return found[0], found[1]


def _gemm(c: Contraction) -> bool:
    """Has cuBLAS this product?"""
    kinds = {("float", "float", "float"), ("double", "double", "double"),
             ("half", "half", "float"), ("i16", "i16", "float")}
    return (c.a_scalar, c.b_scalar, c.acc) in kinds and min(c.sizes) > 0 and (
        max(c.sizes) < 1 << 31) and layouts(c) is not None


def _staged(p: GpuPlan, target: Target) -> GpuPlan:
    """The plan with as many stages as there is shared memory for; two without async copies."""
    return replace(p, stages=min(STAGES, SHARED // p.stage_bytes) if target.sm >= 80 else 2)


def _cut(p: GpuPlan, parts: int) -> GpuPlan:
    """The plan with k in about so many parts, none of them empty."""
    each = -(-p.rounds // min(parts, max(1, p.rounds)))
    return replace(p, splits=max(1, -(-p.rounds // max(1, each))))


def microseconds(p: GpuPlan, target: Target) -> float:
    """A rough model: a round waits for memory or multiplies; parts are written and added."""
    blocks = math.prod(p.grid)
    waves = -(-blocks // target.processors)
    flops = 2 * p.tile.m * p.tile.n * p.tile.k
    compute = flops / (RATE[p.tile.m] * (TENSOR if p.unit else 1) * FLOPS)
    if p.contraction.itemsize == 8:
        compute *= 2
    each = max(LATENCY / (p.stages - 1) * -(-waves // RESIDENT), waves * compute)
    adding = JOIN + 2 * p.scratch_bytes / BANDWIDTH if p.splits > 1 else 0.0
    return -(-p.rounds // p.splits) * each + adding
