"""Chooses how a contraction runs: which side the vectors lie along, tiles, packing, blocks, parts.

The cost model counts machine cycles of one core that does one vector multiply-add and one vector
load a cycle; machines that do two of each are in proportion. What it must get right is the order
of the candidates, not the time. Terms: multiply-adds of every tile with its idle lanes and rows;
loads where they outnumber them; the latency of an add where a tile is too small to hide it; filling
and emptying the buffer; packing; and cache or TLB misses of operands read where they lie.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from flambeau.compiler.codegen.contraction import SIZES, Axis, Border, Contraction, size
from flambeau.compiler.codegen.emit import make_type
from flambeau.compiler.codegen.grid import Grid
from flambeau.compiler.codegen.pack import Packing
from flambeau.compiler.codegen.tiled import SidePlan, Tiling
from flambeau.compiler.target import Target

VARIANT = 100  # cycles of one run that a multiply-add in a further variant of the tile may cost
LATENCY = 8  # independent sums that keep the multiply-adders busy
SMALL = 200e3  # cycles below which a kernel is one chunk (about 60 us)
CHUNK = 100e3  # cycles a chunk should have (about 30 us)
COPY, TRANSPOSE, SCALAR = 2.5, 5.0, 1.6  # cycles to pack a vector, a vector, an element
SPILL = 7.0  # more for a packed vector when the panels outgrow L2: it is written and read again
STREAM = 20.0  # bytes a cycle that one core moves from L3
BUFFER = 64 << 10  # bytes of sums an item may keep; an eighth where k is short, to stay in L1;
# twice as much where all that is read outgrows L2, for its panels are then read half as often
SCRATCH = 16 << 20  # bytes of panels that may exceed four times the operands and the result
LINE = 4 << 10  # bytes of a matrix's line to read in one go when streaming it
STREAMED = 8  # lines then summed before the sums go back to L1
LONG = 512  # steps of k that a part should have
MARK = 1000003  # no quotient of strides: axes with borders are not joined with others
DEPTH = 384  # steps of k in a block, where k is blocked


@dataclass(frozen=True, slots=True)
class Group:
    """One side of C before a decision: its axes, and those of its operand."""

    operand: int
    extents: tuple[int, ...]
    strides: tuple[int, ...]
    k: tuple[int, ...]
    batch: tuple[int, ...]
    size: int  # bytes of a stored element
    cost: int  # cycles that a load adds

    @property
    def elements(self) -> int:
        return math.prod(self.extents)


def group(c: Contraction, m: bool, k: tuple[Axis, ...]) -> Group:
    """The m side (with A) or the n side (with B)."""
    def strides(axes: tuple[Axis, ...]) -> tuple[int, ...]:
        return tuple((x.a if m else x.b) or 0 for x in axes)
    axes = c.m if m else c.n
    scalar = (c.a_scalar if m else c.b_scalar) or c.acc
    cost = (c.a_cost if m else c.b_cost) + (scalar != c.acc)
    return Group(0 if m else 1, tuple(x.extent for x in axes), strides(axes), strides(k),
                 strides(c.batch), SIZES[scalar], cost)


def merged(extents: tuple[int, ...], *strides: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Joins neighbouring axes that every operand steps through as one; drops axes of length 1.

    Gives extents, then the strides of each operand. At least one axis is left.
    """
    out: list[list[int]] = []
    for row in zip(extents, *strides):
        if row[0] == 1:
            continue
        if out and all(o == s * row[0] for o, s in zip(out[-1][1:], row[1:])):
            out[-1] = [out[-1][0] * row[0], *row[1:]]
        else:
            out.append(list(row))
    return tuple(zip(*(out or [[1] * (1 + len(strides))])))


def k_order(c: Contraction) -> tuple[Axis, ...]:
    """The k axes with one that both operands have contiguous, if any, last."""
    both = [x for x in c.k if x.extent > 1 and x.a == 1 and x.b == 1]
    if not both:
        return c.k
    last = max(both, key=lambda x: x.extent)
    return (*(x for x in c.k if x is not last), last)


# -- tiles ---------------------------------------------------------------------------------------

def boxes(extents: tuple[int, ...], most: int) -> Iterator[tuple[int, int]]:
    """(split, step) of tiles of at most `most` cells, over as many trailing axes as fit."""
    trail = 1
    for split in range(len(extents) - 1, -1, -1):
        extent, room = extents[split], most // trail
        if room == 0:
            return
        step = min(room, extent)
        yield split, step
        even = -(-extent // -(-extent // step))
        if even != step:
            yield split, even
        trail *= extent


def scalar_grids(g: Group, most: int) -> Iterator[Grid]:
    """Grids of single elements with tiles of at most `most`."""
    extents, strides = g.extents or (1,), g.strides or (0,)
    for split, step in boxes(extents, most):
        yield Grid(g.extents, extents, strides, split, step)


def vector_grids(g: Group, most: int, lanes: int, packed: bool) -> Iterator[Grid]:
    """Grids of vectors: along the last axis where they lie, or over all axes when packed."""
    if packed:
        cells = -(-g.elements // lanes)
        for split, step in boxes((cells,), most):
            yield Grid(g.extents, (cells,), (0,), split, step, lanes, flat=True)
            if cells % step:
                yield Grid(g.extents, (cells,), (0,), split, step, lanes, flat=True, padded=True)
        return
    extents = (*g.extents[:-1], -(-g.extents[-1] // lanes))
    strides = (*g.strides[:-1], g.strides[-1] * lanes)
    for split, step in boxes(extents, most):
        yield Grid(g.extents, extents, strides, split, step, lanes)


def variants(grid: Grid) -> list[tuple[int, int]]:
    """(number of tiles, cells of each) for whole and edge tiles."""
    lines = grid.tiles // grid.per_line
    return [(lines * (grid.per_line - 1), grid.cells), (lines, grid.edge_cells)]


def tile_cycles(rows: Grid, columns: Grid) -> float:
    """Cycles of one step of k over all tiles of C."""
    total = 0.0
    for n, r in variants(rows):
        for q, v in variants(columns):
            total += n * q * (max(r * v, r + v, LATENCY) + 1)
    return total


def kept(borders: tuple[Border | None, ...], k: tuple[int, ...], n: Grid) -> float:
    """The share of k that meets more than known zeros, where tiles make use of it."""
    share = 1.0
    for i, border in enumerate(borders):
        if i and border and (n.single(border.n) if i < len(k) - 1 else n.lines(border.n)):
            extent = n.axes[border.n]
            met = sum(border.meets(x, y) for x in range(extent) for y in range(k[i]))
            share *= met / (extent * k[i])
    return share


def variant_cycles(rows: Grid, columns: Grid) -> float:
    """What compiling the second and further sizes of tile is worth, in cycles of one run."""
    sizes = [{g.cells, g.edge_cells} if g.has_edge else {g.cells} for g in (rows, columns)]
    cells = sum(r * v for r in sizes[0] for v in sizes[1])
    return VARIANT * (cells - rows.cells * columns.cells)


def register_tiles(target: Target) -> list[tuple[int, int]]:
    """(rows, vectors) that fit the registers; one is left for a broadcast where that needs one."""
    spare = 1 if target.vector_bytes == 64 else 2 if target.fma else 3
    out = []
    for vectors in (1, 2, 3, 4, 6):
        rows = (target.registers - spare - vectors) // vectors
        if rows >= 1:
            out.append((min(rows, 28), vectors))
    return out


# -- candidates ------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Candidate:
    cycles: float
    tiling: Tiling | None  # None: the simple kernel


def candidates(c: Contraction, target: Target) -> Iterator[Candidate]:
    """Every way worth comparing, with its estimated cycles."""
    if not c.along:
        yield Candidate(simple_cycles(c, target), None)
    lanes = target.lanes(c.itemsize)
    if lanes < 2 or not c.k or size(c.k) < 2:
        return
    k = k_order(c)
    m, n = group(c, True, k), group(c, False, k)
    extents = tuple(x.extent for x in k)
    for rows, columns in ((m, n), (n, m)) if not c.along else ():
        for packed in (False, True):
            yield from _outer(c, target, rows, columns, extents, packed)
    yield from _inner(c, target, m, n, extents)


def simple_cycles(c: Contraction, target: Target) -> float:
    b, m, n, k = c.sizes
    last = c.n[-1] if c.n else Axis(1, 0, 0)
    lanes = target.lanes(c.itemsize) if (last.b or 0) in (0, 1) else 1
    per_line = -(-last.extent // lanes)
    lines = b * m * n // max(1, last.extent)
    vectors = lines * per_line
    step = (1.5 if per_line >= 4 else 2.2) + c.a_cost + c.b_cost
    if (m * b > 1 and n * k * c.itemsize > target.l1 // 2) or n * k * c.itemsize > target.l2:
        step *= 2.5  # B is read again for each row, or in short pieces
    total = vectors * (k * step + 3)
    return total * 2 if lines < 8 and total > SMALL else total  # lines are what chunks share out


def streaming_cycles(c: Contraction, target: Target) -> float:
    """Cycles to move each element of A, B and C once, when they outgrow L2; else 0."""
    total = _stored(c)
    return total / (STREAM if total < target.l3 else STREAM / 3) if total > target.l2 else 0.0


def _stored(c: Contraction) -> int:
    """Bytes of the distinct elements of A, B and C."""
    def footprint(axes: tuple[Axis, ...], strides: list[int | None], scalar: str) -> int:
        used = math.prod(x.extent for x, s in zip(axes, strides) if s)
        span = 1 + sum(abs(s) * (x.extent - 1) for x, s in zip(axes, strides) if s)
        return min(used, span) * SIZES[scalar or c.acc]
    left, right = (*c.batch, *c.m, *c.k), (*c.batch, *c.n, *c.k)
    total = footprint(left, [x.a for x in left], c.a_scalar)
    total += footprint(right, [x.b for x in right], c.b_scalar)
    return total + math.prod(c.sizes[:3]) * c.itemsize


def _outer(c: Contraction, target: Target, r: Group, v: Group, extents: tuple[int, ...],
           packed: bool) -> Iterator[Candidate]:
    """Vectors along v's side, rows along r's."""
    lanes = target.lanes(c.itemsize)
    direct = bool(v.extents) and v.strides[-1] == 1
    if not packed and not direct:
        return
    best: tuple[float, Grid, Grid] | None = None
    k = [x for x in k_order(c) if x.extent > 1]
    borders = tuple(x.border for x in k if v.operand == 0 or not packed)
    for most, vectors in register_tiles(target):
        for columns in vector_grids(v, vectors, lanes, packed):
            for rows in scalar_grids(r, most):
                cycles = tile_cycles(rows, columns) + 1e-3 * rows.tiles * columns.tiles
                cycles *= kept(borders, tuple(x.extent for x in k),
                               columns if v.operand else rows)
                cycles += variant_cycles(rows, columns) / (size(c.k) * size(c.batch))
                if best is None or cycles < best[0]:
                    best = (cycles, rows, columns)
    if best is None:
        return
    _, rows, columns = best
    for rows_packed in (False, True):
        tiling = build(c, target, "outer", (r, rows, rows_packed), (v, columns, packed), extents)
        if tiling.scratch[-1] <= max(SCRATCH, 4 * _stored(c)):
            yield Candidate(outer_cycles(tiling, target, r, v), tiling)


def outer_cycles(t: Tiling, target: Target, r: Group, v: Group) -> float:
    """Estimated cycles of all phases."""
    k, batches = math.prod(t.k), t.batches
    rows, columns = t.rows.grid, t.columns.grid
    each = tile_cycles(rows, columns) * kept(t.borders, t.k, rows if t.swapped else columns)
    cells = rows.cells * columns.cells
    pairs = rows.tiles * columns.tiles
    rounds = -(-t.k[0] // t.k_block)
    total = batches * each * k + batches * pairs * rounds * (24 + 3 * cells)
    total += batches * r.elements * v.elements / t.lanes * (10 if t.swapped else 4)
    total += batches * k * pairs * direct_penalty(t, target, r, v)
    total += variant_cycles(rows, columns)
    for side, g, copies in zip((t.rows, t.columns), (r, v), t.panel_batches):
        if side.packing and side.operand not in t.contraction.held:
            total += copies * pack_cycles(side.packing, g, target)
    return total


def pack_cycles(p: Packing, g: Group, target: Target) -> float:
    elements = g.elements * p.depth
    used = min(1.0, p.cells.cells / (-(-p.cells.cells // p.lanes) * p.lanes))
    vectors = elements / p.lanes / used
    spill = SPILL if vectors * p.lanes * p.type.bits // 8 > target.l2 // 2 else 0.0
    if p.scheme == "scalar":
        return elements * (SCALAR + g.cost) + vectors * spill
    each = COPY if p.scheme == "copy" else TRANSPOSE
    return 100 + vectors * (each + g.cost + spill)


def direct_penalty(t: Tiling, target: Target, r: Group, v: Group) -> float:
    """Cycles that a step of k loses in one tile to operands read where they lie."""
    lost = 0.0
    if not t.columns.packing:
        lost += t.columns.grid.cells * v.cost
        lost += _misses(t, t.columns, v, target) * (1 + t.columns.grid.cells)
        if t.columns.grid.ragged and target.vector_bytes < 64:
            lost += 2 if target.vector_bytes == 32 else t.lanes / 2
    if not t.rows.packing:
        lost += t.rows.grid.cells * r.cost
        lost += _misses(t, t.rows, r, target)
        spacing = abs(t.rows.grid.strides[-1]) * r.size
        if spacing and spacing % 2048 == 0 and t.rows.grid.cells > 6:
            lost += t.rows.grid.cells / 4  # rows fall on one cache set
    return lost


def _misses(t: Tiling, side: SidePlan, g: Group, target: Target) -> float:
    """About the cycles of a cache or TLB miss for each step of k, 0 when steps are close."""
    if _streams(t, target):
        return 0.0
    stride = max((abs(s) * g.size for s, e in zip(side.k, t.k) if e > 16), default=0)
    depth = min(math.prod(t.k), t.k_block * math.prod(t.k[1:]))
    if depth * 64 * side.grid.cells <= target.l1 // 2 and stride % 2048:
        return 0.0
    return 3.0 if stride % 2048 == 0 and stride else 1.5 if stride >= 2048 else 0.0


def _inner(c: Contraction, target: Target, m: Group, n: Group,
           extents: tuple[int, ...]) -> Iterator[Candidate]:
    """Vectors along k."""
    lanes = target.lanes(c.itemsize)
    ks, a, b = merged(extents, m.k, n.k)
    if (a[-1], b[-1]) != (1, 1) or ks[-1] < lanes // 2:
        return
    steps = math.prod(ks[:-1]) * -(-ks[-1] // lanes)
    best: tuple[float, Grid, Grid] | None = None
    for most in (1, 2, 3, 4, 6, 8, 12):
        for rows in scalar_grids(m, most):
            room = (target.registers - 2) // (rows.cells + 1)
            for columns in scalar_grids(n, min(room, 12)) if room else ():
                cycles = tile_cycles(rows, columns) * (steps + math.prod(ks[:-1]) * 0.3)
                cycles += rows.tiles * columns.tiles * (30 + 4 * rows.cells * columns.cells)
                cycles += variant_cycles(rows, columns) / size(c.batch)
                if best is None or cycles < best[0]:
                    best = (cycles, rows, columns)
    if best is None:
        return
    _, rows, columns = best
    tiling = build(c, target, "inner", (m, rows, False), (n, columns, False), extents)
    load = rows.cells * m.cost + columns.cells * n.cost
    total = best[0] + m.elements * n.elements / lanes * 4
    total += load * rows.tiles * columns.tiles * steps
    yield Candidate(total * size(c.batch), tiling)


# -- a candidate's tiling ------------------------------------------------------------------------

Choice = tuple[Group, Grid, bool]  # the side, its tiles, whether it is packed


def build(c: Contraction, target: Target, kind: str, rows: Choice, columns: Choice,
          extents: tuple[int, ...]) -> Tiling:
    """The whole tiling for chosen grids."""
    return blocked(tiling(c, target, kind, rows, columns, extents), target)


def tiling(c: Contraction, target: Target, kind: str, rows: Choice, columns: Choice,
           extents: tuple[int, ...]) -> Tiling:
    """The tiling with one tile an item and all of k in one block."""
    lanes = target.lanes(c.itemsize)
    found = [x.border for x in k_order(c)] if kind == "outer" and any(
        g.operand == 1 and not packed for g, _, packed in (rows, columns)) else []
    marks = tuple(-i * MARK if b else 0 for i, b in enumerate(found, 1)) or (0,) * len(extents)
    k, marked, *direct = merged(extents, marks,
                                *(g.k for g, _, packed in (rows, columns) if not packed))
    borders = tuple(found[-m // MARK - 1] if m else None for m in marked)

    def side(choice: Choice, vectors: bool) -> SidePlan:
        g, grid, packed = choice
        if not packed:
            return SidePlan(g.operand, grid, direct.pop(0), g.batch)
        packing = make_packing(c, target, g, grid, vectors, extents)
        strides = tuple(packing.pitch * math.prod(k[i + 1:]) for i in range(len(k)))
        return SidePlan(g.operand, grid, strides, g.batch, packing)

    return Tiling(c, lanes, kind, kind == "outer" and columns[0].operand == 0, side(rows, False),
                  side(columns, True), k=k, k_block=k[0], splits=1, row_tiles=1, column_tiles=1,
                  masks=target.vector_bytes >= 32, borders=borders)


def make_packing(c: Contraction, target: Target, g: Group, grid: Grid, vectors: bool,
                 extents: tuple[int, ...]) -> Packing:
    lanes = target.lanes(c.itemsize)
    type = make_type(c.acc, lanes)
    k = tuple(zip(*merged(extents, g.k)))
    if not vectors:
        packing = Packing(replace(grid, padded=False), k, -(-grid.cells // lanes) * lanes, type,
                          grid.padded)
        if packing.scheme != "transpose":
            return packing
        return replace(packing, pitch=-(-grid.cells // packing.side) * packing.side)
    flat, strides = merged(g.extents or (1,), g.strides or (0,))
    pitch = grid.cells * lanes
    if len(flat) == 1:
        return Packing(Grid(flat, flat, strides, 0, pitch), k, pitch, type, grid.padded)
    cells = Grid((g.elements,), (g.elements,), (1,), 0, pitch)
    return Packing(cells, k, pitch, type, grid.padded, scattered=True,
                   axes=tuple(zip(flat, strides)))


def blocked(t: Tiling, target: Target) -> Tiling:
    """Chooses the rectangle of an item, the parts of k and the block of k.

    Tall rectangles read the columns' operand least often. Where one holds too much work for a
    chunk, k is cut into parts if it is long, else the rectangle is made smaller.
    """
    rows, columns = t.rows.grid, t.columns.grid
    steps = math.prod(t.k) if t.kind == "outer" else \
        math.prod(t.k[:-1]) * -(-t.k[-1] // t.lanes)
    tile = (max(rows.cells * columns.cells, LATENCY) + 1) * max(steps, 1) + 100
    total = max(t.batches * rows.tiles * columns.tiles * tile,
                streaming_cycles(t.contraction, target))
    goal = min(max(total / 128, CHUNK), 4e6)
    height, parts = min(rows.tiles, max(1, 128 // rows.cells)), 1
    if total > SMALL and height * tile > 1.5 * goal:
        parts = _parts(t, height * tile / goal, steps)
        if parts == 1:
            height = max(1, int(goal / tile))
    height = _even(rows.tiles, height)
    large = _stored(t.contraction) > target.l2
    room = (BUFFER << large) if steps >= 256 else BUFFER // 8
    width = columns.cells * columns.width
    breadth = max(1, room // (t.itemsize * height * rows.cells * width))
    if total > SMALL:
        least = LINE // (t.itemsize * width) if _streams(t, target) else 1
        breadth = min(breadth, max(least, round(goal * parts / (height * tile)), 1))
    breadth = _even(columns.tiles, min(breadth, columns.tiles))
    t = replace(t, row_tiles=height, column_tiles=breadth)
    t = replace(t, splits=max(parts, _splits(t, total)))
    return replace(t, k_block=_block(t, target))


def _even(count: int, most: int) -> int:
    """The evenest cut of count into parts of at most `most`."""
    return -(-count // -(-count // most))


def _streams(t: Tiling, target: Target) -> bool:
    """Whether it is a few rows times a big matrix read where it lies, along its lines."""
    few = t.rows.grid.tiles == 1 and t.rows.grid.cells <= 6 and len(t.k) == 1
    return few and not t.columns.packing and t.kind == "outer" and \
        _stored(t.contraction) > target.l2


def _block(t: Tiling, target: Target) -> int:
    """Steps of the first k axis in a block: all, unless an item's data outgrow L2."""
    if t.kind == "inner":
        return t.part
    if _streams(t, target):
        return min(STREAMED, t.part)
    inside = math.prod(t.k[1:])
    height = t.row_tiles * t.rows.grid.cells
    width = t.columns.grid.cells * t.lanes
    if t.part * inside * (height + width) * t.itemsize <= target.l2 // 2 and \
            t.part * inside <= 2 * DEPTH:
        return t.part
    block = max(1, DEPTH // inside)
    block = _even(t.part, block)
    return min(t.part, -(-block // t.lanes) * t.lanes if inside == 1 else block)


def _splits(t: Tiling, total: float) -> int:
    """Parts of k where there are few items, each with much work."""
    wanted = int(total / CHUNK / 1.5)
    if t.blocks >= 16 or wanted < 2 * t.blocks:
        return 1
    return _parts(t, min(wanted // t.blocks, 64 // t.blocks), t.k[0] * LONG)


def _parts(t: Tiling, wanted: float, steps: int) -> int:
    """At most `wanted` even parts of the first k axis, of at least LONG of the `steps` each."""
    if t.kind == "inner" and len(t.k) == 1:
        return 1
    parts = min(t.k[0], int(wanted), steps // LONG)
    return -(-t.k[0] // -(-t.k[0] // parts)) if parts > 1 else 1
