"""Contractions with sizes that are not known: planned for the size at hand, right for every one.

Tiles, packing and blocks are those of a plan for the size at hand (or for FEW, if that is less);
how many tiles there are, and where the last one ends, is arithmetic with Sizes.
"""

from __future__ import annotations

import math
from dataclasses import replace

from flambeau.compiler.codegen import schedule
from flambeau.compiler.codegen.contraction import Axis, Contraction
from flambeau.compiler.codegen.grid import Grid
from flambeau.compiler.codegen.schedule import Candidate, Group
from flambeau.compiler.codegen.tiled import SidePlan, Tiling
from flambeau.compiler.size import hint, unknown
from flambeau.compiler.target import Target
from flambeau.compiler.terms import NotGeneral

REACH = 4  # how many times the size at hand others may be; half of it from LARGE on
LARGE = 256
FEW = 24  # a tile is made for at least so many, since others may be longer


def unsized(c: Contraction) -> bool:
    """Is there a size in it that is not known?"""
    return any(unknown(v) for x in (*c.batch, *c.m, *c.n, *c.k) for v in (x.extent, x.a, x.b))


def candidate(c: Contraction, target: Target) -> Candidate:
    """The cheapest way at hand that is possible for every size."""
    found = sorted(schedule.candidates(_at_hand(c), target), key=lambda x: x.cycles)
    reason = "a product's axis"
    for x in found:
        if x.tiling is None:
            _in_reach(c)
            return x
        try:
            made = Candidate(x.cycles, _opened(c, target, x.tiling))
            _in_reach(c)
            return made
        except NotGeneral as why:
            reason = str(why)
    raise NotGeneral(reason)


def _in_reach(c: Contraction) -> None:
    """Keeps the program from sizes far above the one at hand: what is best for a small product,
    nothing packed and every tile an item, halves the speed of a large one."""
    for x in (*c.m, *c.n, *c.k):
        at_hand = max(hint(x.extent), FEW)
        reach = REACH if at_hand < LARGE else REACH // 2
        if unknown(x.extent) and not x.extent <= reach * at_hand:
            raise NotGeneral("a size beyond the one at hand")


def _at_hand(c: Contraction) -> Contraction:
    def axes(those: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(Axis(max(hint(x.extent), FEW) if unknown(x.extent) else x.extent,
                          hint(x.a), hint(x.b)) for x in those)
    return replace(c, batch=axes(c.batch), m=axes(c.m), n=axes(c.n), k=axes(c.k))


def _opened(c: Contraction, target: Target, t: Tiling) -> Tiling:
    """The tiling for all sizes. Raises NotGeneral where it is for the one at hand alone."""
    k = schedule.k_order(c)
    sides = schedule.group(c, True, k), schedule.group(c, False, k)
    lanes = target.lanes(c.itemsize)
    rows, columns = sides[t.rows.operand], sides[t.columns.operand]
    choices = [(g, _grid(g, side, lanes), side.packing is not None)
               for g, side in ((rows, t.rows), (columns, t.columns))]
    extents = tuple(x.extent for x in k)
    if t.kind == "inner":
        if unknown(extents[-1]) or any(g.k[-1] != 1 for g in (rows, columns)):
            raise NotGeneral("lanes along a size")
    elif t.columns.packing is None and columns.strides[-1] != 1:
        raise NotGeneral("lanes along a stride")
    made = schedule.tiling(c, target, t.kind, choices[0], choices[1], extents)
    if len(made.k) != len(t.k):
        raise NotGeneral("axes that join at the size at hand alone")
    whole = t.k_block >= t.part
    made = replace(made, splits=t.splits, row_tiles=t.row_tiles, column_tiles=t.column_tiles)
    return replace(made, k_block=made.part if whole else t.k_block)


def _grid(g: Group, side: SidePlan, lanes: int) -> Grid:
    """The grid of a side with its true extents."""
    old = side.grid
    if not any(unknown(v) for v in (*g.extents, *g.strides)):
        return old
    if old.flat:
        cells = -(-math.prod(g.extents) // lanes)
        return replace(old, axes=g.extents, extents=(cells,), padded=unknown(cells) or old.padded)
    extents, strides = g.extents or (1,), g.strides or (0,)
    if old.width > 1:
        extents = (*extents[:-1], -(-extents[-1] // lanes))
        strides = (*strides[:-1], strides[-1] * lanes)
    if any(unknown(e) for e in extents[old.split + 1:]):
        raise NotGeneral("a size inside of a tile")
    opened = unknown(extents[old.split])
    if opened and old.width > 1 and old.split < len(extents) - 1:
        raise NotGeneral("lines of vectors beside a size")
    return replace(old, axes=g.extents, extents=extents, strides=strides,
                   padded=opened and side.packing is not None)
