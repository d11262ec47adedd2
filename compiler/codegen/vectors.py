"""Which axis of a nest the vectors lie along, and how many lanes they have.

For a size that is not known, a choice that sums depend on is one that every admitted size makes.
"""

from __future__ import annotations

from collections.abc import Callable

from flambeau.compiler.codegen import index as ix
from flambeau.compiler.codegen.lower import STRIDED
from flambeau.compiler.size import Size, unknown, valued
from flambeau.compiler.target import Target
from flambeau.compiler.terms import NotGeneral

TILED = 0.9  # ease of lanes `stride` apart, times stride: whole loads serve a tile's places
LEAST = TILED / STRIDED  # ease of the worst access that is not a gather
JOIN = 2.0  # vectors' worth of work to join the lanes of a sum
FULL = 1 << 16  # what a size that is not known counts as where only speed depends on it


def same(v: int) -> int:
    return v


def settled(choose: Callable[[Callable[[int], int]], list[int] | None], size: Size,
             matters: bool) -> list[int] | None:
    """The choice for sizes that are not known. Where sums depend on it (`matters`), one that every
    admitted size would make."""
    symbol = size.symbol

    def at(n: int) -> list[int] | None:
        return choose(lambda v: valued(v, n))

    if not matters:
        return at(FULL)
    wanted = at(symbol.hint)
    for low in (2, 9, 17, 33, 65, 129, 257, 513, 1025, symbol.hint):
        if symbol.low < low <= symbol.hint or low == 2:
            first = max(low, symbol.low)
            trial = [first, *(m + d for m in range(first // 16 * 16 + 16, first + 96, 16)
                              for d in (-1, 0, 1)), 4095, 4097, FULL, FULL * FULL]
            if all(at(n) is wanted for n in trial if first <= n <= symbol.high):
                symbol.keep_from(first)
                return wanted
    raise NotGeneral("which axis has the vectors")


def ease(flat: ix.Index, v: ix.Var, value: Callable[[int], int]) -> float:
    """How cheaply lanes along v reach this place: 1 for neighbours, little for a gather."""
    if any(not isinstance(a, ix.Var) and ix.inside(a, v) for a, _ in flat.terms):
        return 0.05
    stride = abs(value(flat.coefficient(v)))
    if stride <= 1:
        return 1.0 if stride else 0.4
    return TILED / stride if stride <= STRIDED else 0.05


def revisiting(flat: ix.Index, v: ix.Var, value: Callable[[int], int]) -> float:
    """The share of a store's lines that one walk of lanes along v fills: other walks come again."""
    stride = abs(value(flat.coefficient(v)))
    return 1.0 / stride if 1 < stride <= STRIDED else 1.0


def joining(length: int, target: Target) -> float:
    """The share of a row's work that is not adding up the lanes at its end."""
    vectors = -(-length // target.lanes(4))
    return vectors / (vectors + JOIN)


def filling(extent: int, target: Target) -> float:
    """The share of float lanes that do work along an axis of this length."""
    lanes = target.lanes(4)
    return extent / max(lanes, -(-extent // lanes) * lanes)


def count(extent: int, folds: bool, cost: int, itemsize: int, target: Target, reduces: bool,
          far: bool = False) -> int:
    """Lanes along an axis of this length: whole registers, several when the body is cheap.

    folds: are the lanes parts of one sum? reduces: is anything reduced? far: are columns
    of memory beyond all caches summed up? Then every row's visit has to be worth its wait.
    """
    if target.kind != "cpu":
        return 1
    register = target.lanes(max(itemsize, 2))
    if not folds and unknown(extent):
        extent = FULL  # no sum depends on it, and further sizes may be longer
    several = 16 if far else 4 if cost <= 6 and reduces else 2 if cost <= 24 else 1
    while several > 1 and register * several > extent:
        several //= 2
    while (several > 1 and extent < 64 * register
           and extent % (register * several) == register * several // 2):
        several //= 2  # no partial step beats fewer steps
    lanes = register * several
    while lanes > 2 and lanes // 2 >= extent:
        lanes //= 2
    if unknown(extent) and folds and extent < 2 * lanes:
        # LLVM writes a loop of one round out, and may then fuse other products with sums
        raise NotGeneral("a sum of few elements")
    return lanes
