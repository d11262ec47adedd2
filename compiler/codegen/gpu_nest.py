"""Loop nests on a GPU: how positions and rows are shared among threads.

A map gives each position (or a few neighbours, loaded and stored as one vector) to a thread. A row
kernel gives each row to a team of threads, whose partial results meet in a fixed tree: shuffles
inside a warp, then shared memory. When memory is contiguous along the kept axes instead, neighbour
threads take neighbour columns and a team is a column of threads. A short row that several phases
walk stays in registers. Which thread does what follows from shapes alone, and so do the bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flambeau.compiler import fuse
from flambeau.compiler.codegen import index as ix
from flambeau.compiler.codegen import nest_plan, scalar
from flambeau.compiler.codegen.accumulate import Accumulator
from flambeau.compiler.codegen.emit import I32, Block, Value, const
from flambeau.compiler.codegen.gpu_kernel import (
    BLOCK,
    WARP,
    WAVES,
    GpuFunction,
    GpuLowering,
    Grid,
    Scene,
    extents,
    power_of_two,
    put,
    stored_type,
    take,
    unravel,
    when,
    words,
)
from flambeau.compiler.codegen.loops import Loop
from flambeau.compiler.codegen.lower import Val
from flambeau.compiler.codegen.nest import Row, Writer
from flambeau.compiler.codegen.nest_plan import Nest, Phase, home_index, value_indices
from flambeau.compiler.kernel import Kernel, Store
from flambeau.compiler.node import Node
from flambeau.compiler.target import Target

KEPT = 16  # elements of a row that a thread keeps in registers
CROWD = 512  # threads a multiprocessor wants before it is worth giving each more to do
SCAN_SERIAL = 64  # rows no longer than this are scanned by one thread
AHEAD = 8  # elements that a thread reads at once when it walks a tile of shared memory


@dataclass(frozen=True)
class Team:
    """How a row is shared. size: threads a row; columns: neighbours in a warp have other rows."""

    size: int
    columns: bool = False

    @property
    def rows(self) -> int:
        """Rows a block."""
        return BLOCK // self.size


def generate(scene: Scene, k: Kernel, symbol: str) -> Grid:
    """Writes the kernel of a "map", "rows" or "scan" nest."""
    nest = nest_plan.plan(k, scene.layout, scene.target)
    length = math.prod(v.extent for v in nest.inner)
    if k.kind == "scan" and length > SCAN_SERIAL and not _in_columns(nest):
        return _write(scene, k, nest, symbol, Team(BLOCK))
    rows = math.prod(v.extent for v in nest.outer)
    team = Team(1) if k.kind == "scan" else choose_team(nest, rows, length, scene.target)
    nest.lanes = _lanes(scene, k, nest, rows, length, team)
    return _write(scene, k, nest, symbol, team)


def _write(scene: Scene, k: Kernel, nest: Nest, symbol: str, team: Team) -> Grid:
    rows = math.prod(v.extent for v in nest.outer) // (nest.lanes if nest.vec in nest.outer else 1)
    if team.size == 1:
        threads = min(BLOCK, -(-rows // WARP) * WARP)
        needed = -(-rows // threads)
    else:
        threads, needed = BLOCK, -(-rows // team.rows)
    blocks = min(needed, scene.target.processors * WAVES)
    made = GpuFunction(scene, symbol, threads)
    low = GpuLowering(made, words([math.prod(k.space), *extents(scene, k)]))
    low.inline = k.computed
    low.vec, low.lanes = nest.vec, nest.lanes
    kind = _Single if team.size == 1 else _Scans if k.kind == "scan" else _Rows
    kind(low, nest, k, made, team, rows).write_all(blocks, needed)
    return made.finish(blocks)


# -- planning --------------------------------------------------------------------------------------


def _in_columns(nest: Nest) -> bool:
    return nest.vec is not None and nest.vec in nest.outer


def choose_team(nest: Nest, rows: int, length: int, target: Target) -> Team:
    """Threads a row: enough to fill the machine, and no more than have something to do."""
    if length <= 4:
        return Team(1)
    crowd = target.processors * CROWD
    if _in_columns(nest):
        return Team(1) if rows >= crowd or length < 16 else Team(BLOCK // WARP, True)
    size = power_of_two(-(-length // 8))
    return Team(min(BLOCK, max(size, min(WARP, 2 * size))))


def _lanes(scene: Scene, k: Kernel, nest: Nest, rows: int, length: int, team: Team) -> int:
    """Neighbours that a thread loads and stores as one vector of up to 16 bytes."""
    vec = nest.vec
    moving = any(n.op in ("gather", "pad") for n in k.inlined | k.computed)
    if vec is None or team.columns or moving:
        return 1
    work = rows if vec in nest.outer else length
    want = scene.target.processors * CROWD if vec in nest.outer else 4 * team.size
    if team.size == 1 and vec in nest.inner:
        return 1
    touched = {s.home for s in k.stores} | fuse.loads(k, set(scene.layout.slots))
    if any(scene.layout.slots[n] in scene.rough for n in touched):
        return 1
    lanes = min(4, 16 // max(n.dtype.itemsize for n in touched))
    accesses = [a.flat for a in nest_plan.accesses(k, scene.layout, nest.space, nest.shape, k.axes)
                if a.weight]
    while lanes > 1 and not (work >= want * lanes and vec.extent % lanes == 0
                             and all(_aligned(flat, vec, lanes) for flat in accesses)):
        lanes //= 2
    return lanes


def _aligned(flat: ix.Index, vec: ix.Var, lanes: int) -> bool:
    """Are lanes along vec neighbours that begin at a multiple of lanes, or all the same?"""
    if any(a is not vec and ix.depends(ix.Index(0, ((a, 1),)), vec) for a, _ in flat.terms):
        return False
    stride = flat.coefficient(vec)
    if stride == 0:
        return True
    return stride == 1 and flat.const % lanes == 0 and all(
        c % lanes == 0 for a, c in flat.terms if a is not vec)


# -- writing ---------------------------------------------------------------------------------------


class _Shared(Writer):
    """A nest whose outer positions are shared among teams of threads."""

    low: GpuLowering

    def __init__(self, low: GpuLowering, nest: Nest, k: Kernel, made: GpuFunction, team: Team,
                 rows: int) -> None:
        super().__init__(low, nest, k, made.fn)
        self.made, self.team, self.rows = made, team, rows
        self.condition: Value | None = None  # threads for which a store counts

    def write_all(self, blocks: int, needed: int) -> None:
        raise NotImplementedError

    def enter_row(self, b: Block, row: Value) -> None:
        """The outer variables from the flat row."""
        outer, lanes = self.nest.outer, self.nest.lanes
        extents = [v.extent // (lanes if v is self.nest.vec else 1) for v in outer]
        for v, value in zip(outer, unravel(b, row, extents)):
            if v is self.nest.vec and lanes > 1:
                value = b.op("mul nsw", value, const(value.type, lanes))
            self.low.vars[v] = value
        for v in outer:
            self.low.open(v.level, b)

    def word(self, b: Block, v: Value) -> Value:
        return v if v.type == self.low.word else b.convert("zext", v, self.low.word.scalar)


class _Single(_Shared):
    """Each position or row is one thread's work."""

    def write_all(self, blocks: int, needed: int) -> None:
        b, made = self.made.entry, self.made
        at = self.word(b, made.block(blocks))
        at = b.op("mul nsw", at, const(at.type, made.threads))
        at = b.op("add nsw", at, self.word(b, made.thread()))
        loop = Loop(b, at, const(at.type, self.rows), blocks * made.threads, [], False)
        self.enter_row(loop.body, loop.var)
        self.phases(loop.body)
        loop.finish([])


class _Rows(_Shared):
    """Each row is a team's work."""

    def write_all(self, blocks: int, needed: int) -> None:
        b, made, team = self.made.entry, self.made, self.team
        thread = made.thread()
        across, along = ("udiv", "urem") if team.columns else ("urem", "udiv")
        size = const(I32, WARP if team.columns else team.size)
        self.member = b.op(across, thread, size)
        self.place = b.op(along, thread, size)
        first = self.word(b, made.block(blocks))
        first = b.op("mul nsw", first, const(first.type, team.rows))
        if blocks == needed:
            self.row(b, first)
            return
        loop = Loop(b, first, const(first.type, self.rows), blocks * team.rows, [], True)
        self.row(loop.body, loop.var)
        loop.finish([])

    def row(self, b: Block, base: Value) -> None:
        """All phases of the team's row; teams beyond the last repeat it and store nothing."""
        row = b.op("add nsw", base, self.word(b, self.place))
        self.active: Value | None = None
        if self.rows % self.team.rows:
            self.active = b.cmp("slt", row, const(row.type, self.rows))
            row = b.intrinsic("llvm.smin", row.type, row, const(row.type, self.rows - 1))
        self.enter_row(b, row)
        self.kept: dict[int, dict[object, Val]] = {}  # what is known at each element
        self.elements: dict[int, tuple[Value | None, Value | None, dict[ix.Var, Value]]] = {}
        self.head = b.cmp("eq", self.member, const(I32, 0))
        if self.active is not None:
            self.head = b.and_(self.head, self.active)
        self.phases(b)

    # -- along the row -----------------------------------------------------------------------
    @property
    def length(self) -> int:
        """Steps of the inner walk."""
        total = math.prod(v.extent for v in self.nest.inner)
        return total // (self.nest.lanes if self.nest.vec in self.nest.inner else 1)

    def reduce(self, b: Block, phase: Phase) -> list[dict[Node, Val]]:
        """The team's walk along the row, then the meeting of its members."""
        low = self.low
        folds = self.nest.vec is not None and self.nest.vec in self.nest.inner
        accumulators = [Accumulator(n, low, folds) for n in phase.reductions]
        state = [v for a in accumulators for v in a.start()]
        steps = -(-self.length // self.team.size)
        if steps * self.nest.lanes <= KEPT:
            for j in range(steps):
                state = self.kept_step(b, j, phase, accumulators, state)
        else:
            state = self.looped(b, phase, accumulators, state)
        low.open(self.deepest, b)
        known: dict[Node, Val] = {}
        for a in accumulators:
            count = len(a.types)
            mine, state = state[:count], state[count:]
            place = low.at(self.deepest)
            met = self.meet(place, a, a.fold(place, mine))
            known[a.node] = Val(a.finish(place, met), self.deepest)
        return [known]

    def enter_element(self, b: Block, element: Value) -> None:
        inner, lanes = self.nest.inner, self.nest.lanes
        extents = [v.extent // (lanes if v is self.nest.vec else 1) for v in inner]
        for v, value in zip(inner, unravel(b, element, extents)):
            if v is self.nest.vec and lanes > 1:
                value = b.op("mul nsw", value, const(value.type, lanes))
            self.low.vars[v] = value
        for v in inner:
            self.low.open(v.level, b)

    def looped(self, b: Block, phase: Phase, accumulators: list[Accumulator],
               state: list[Value]) -> list[Value]:
        """A loop over the member's elements."""
        begin = self.word(b, self.member)
        loop = Loop(b, begin, const(begin.type, self.length), self.team.size,
                    [(s.type, s) for s in state], self.length >= self.team.size)
        self.enter_element(loop.body, loop.var)
        self.condition = self.active
        after = self.step(loop.body, phase, accumulators, loop.carried)
        state = loop.finish(after)
        self.low.forget(self.deepest + 1)
        return state

    def kept_step(self, b: Block, j: int, phase: Phase, accumulators: list[Accumulator],
                  state: list[Value]) -> list[Value]:
        """The member's element number j; what an earlier phase computed for it is still known."""
        low = self.low
        if j in self.kept:
            low.memo |= self.kept[j]
            valid, self.condition, variables = self.elements[j]
            low.vars |= variables
            for v in self.nest.inner:
                low.open(v.level, b)
        else:
            element, valid = self.element(b, j)
            self.condition = self.both(b, valid)
            self.enter_element(b, element)
            variables = {v: low.vars[v] for v in self.nest.inner}
            self.elements[j] = (valid, self.condition, variables)
        after = self.step(b, phase, accumulators, state)
        if valid is not None:
            place = low.heads[-1]
            after = [place.select(valid, new, old) for new, old in zip(after, state)]
        self.kept[j] = {key: v for key, v in low.memo.items() if v.level > self.deepest}
        low.forget(self.deepest + 1)
        return after

    def element(self, b: Block, j: int) -> tuple[Value, Value | None]:
        """The member's element number j, and whether there is one where that is in doubt."""
        size, length = self.team.size, self.length
        first = self.word(b, self.member)
        element = b.op("add nsw", first, const(first.type, j * size))
        if (j + 1) * size <= length:
            return element, None
        valid = b.cmp("slt", element, const(element.type, length))
        last = const(element.type, length - 1)
        return b.intrinsic("llvm.smin", element.type, element, last), valid

    def both(self, b: Block, valid: Value | None) -> Value | None:
        if valid is None or self.active is None:
            return self.active if valid is None else valid
        return b.and_(valid, self.active)

    def after(self, b: Block, stores: list[Store], row: Row) -> None:
        self.condition = self.head
        self.stores(b, stores, row)

    def stores(self, b: Block, stores: list[Store], row: Row) -> None:
        """Computes the values of this position, then writes them where the condition holds."""
        nest, low = self.nest, self.low
        ready = []
        for s in stores:
            indices = value_indices(s.value, nest.shape, row.space, row.kept, self.k.axes)
            v = low.value(s.value, indices)
            flat = home_index(s, indices)
            low.index(flat)  # here, not inside the branch: others may use it again
            if low.varies(flat):
                low.wide(v)
            ready.append((s, flat, v))

        def write(_: Block) -> None:
            for s, flat, v in ready:
                low.store(low.layout.slots[s.home], s.home.dtype, flat, v)
        if ready:
            when(low.heads[-1], self.condition, write)

    # -- meetings ----------------------------------------------------------------------------
    def meet(self, b: Block, a: Accumulator, state: list[Value]) -> list[Value]:
        """One state from those of all members; every member has it afterwards."""
        if self.team.columns:
            return self.in_memory(b, a, state, self.team.size, WARP, WARP, self.member, self.place,
                                  None)
        offset = min(self.team.size, WARP) // 2
        while offset:
            state = a.meet(b, state, [self.made.shuffle(b, s, "bfly", offset) for s in state])
            offset //= 2
        if self.team.size <= WARP:
            return state
        warp = b.op("udiv", self.member, const(I32, WARP))
        lane = b.op("urem", self.member, const(I32, WARP))
        first = b.cmp("eq", lane, const(I32, 0))
        warps = self.team.size // WARP
        place = b.op("mul nsw", self.place, const(I32, warps))
        return self.in_memory(b, a, state, warps, 1, self.team.rows, warp, place, first)

    def in_memory(self, b: Block, a: Accumulator, state: list[Value], parts: int, pitch: int,
                  rows: int, part: Value, place: Value, writer: Value | None) -> list[Value]:
        """Parts meet through shared memory, part p of a row at p * pitch + the row's place."""
        bases = [self.made.shared(stored_type(s.type), parts * rows) for s in state]
        at = b.op("add nsw", b.op("mul nsw", part, const(I32, pitch)), place)

        def write(inner: Block) -> None:
            for s, base in zip(state, bases):
                put(inner, s, base, at)
        when(b, writer, write)
        self.made.barrier(b)
        total: list[Value] = []
        for p in range(parts):
            here = b.op("add nsw", place, const(I32, p * pitch))
            mine = [take(b, s.type, base, here) for s, base in zip(state, bases)]
            total = a.meet(b, total, mine) if total else mine
        self.made.barrier(b)
        return total


class _Scans(_Rows):
    """Each row is scanned by a block: a tile of neighbours at a time, and a carry."""

    def phases(self, b: Block) -> None:
        for phase in self.nest.phases:
            self.low.open(self.deepest, b)
            self.scan(b, phase)
        self.low.known.clear()

    def scan(self, b: Block, phase: Phase) -> None:
        low = self.low
        (n,) = phase.reductions
        a = Accumulator(n, low, False)
        start = a.start()
        zero = const(low.word, 0)
        loop = Loop(b, zero, const(low.word, self.length), BLOCK, [(s.type, s) for s in start],
                    True)
        body = loop.body
        element = body.op("add nsw", loop.var, self.word(body, self.member))
        valid = body.cmp("slt", element, const(element.type, self.length))
        element = body.intrinsic("llvm.smin", element.type, element,
                                 const(element.type, self.length - 1))
        self.enter_element(body, element)
        operand = low.value(n.src[0], self.nest.space).v
        place = low.heads[-1]
        mine = place.select(valid, operand, start[0])
        carry = loop.carried[0]
        if n.op == "cumprod" and n.dtype.is_float:
            result, carry = self.in_order(place, a, mine, carry)
        else:
            before, total = self.tile(place, a, mine)
            result = a.join(place, carry, a.join(place, before, mine))
            carry = a.join(place, carry, total)
        level = self.nest.inner[-1].level
        low.known[n] = Val(scalar.round_to(place, n.dtype, result), level)
        self.condition = valid
        self.stores(body, phase.stores, self.together[0])
        loop.finish([carry])
        low.forget(self.deepest + 1)

    def in_order(self, b: Block, a: Accumulator, mine: Value, carry: Value) -> tuple[Value, Value]:
        """(this thread's result, the next tile's carry), one thread walking the tile.

        Products of floats cannot meet in a tree: some that do not begin at the row's start overflow
        where what comes before them is zero.
        """
        made = self.made
        base = made.shared(stored_type(mine.type), BLOCK)

        def walk(inner: Block) -> None:
            loop = Loop(inner, const(I32, 0), const(I32, BLOCK), AHEAD, [(carry.type, carry)], True)
            body, running = loop.body, loop.carried[0]
            places = [body.op("add nsw", loop.var, const(I32, i)) for i in range(AHEAD)]
            for at, v in zip(places, [take(body, mine.type, base, at) for at in places]):
                running = a.join(body, running, v)
                put(body, running, base, at)
            loop.finish([running])

        put(b, mine, base, self.member)
        made.barrier(b)
        when(b, b.cmp("eq", self.member, const(I32, 0)), walk)
        made.barrier(b)
        found = [take(b, mine.type, base, at) for at in (self.member, const(I32, BLOCK - 1))]
        made.barrier(b)
        return found[0], found[1]

    def tile(self, b: Block, a: Accumulator, mine: Value) -> tuple[Value, Value]:
        """(what comes before this thread's value in the tile, the whole tile's total)."""
        made = self.made
        lane = b.op("urem", self.member, const(I32, WARP))
        warp = b.op("udiv", self.member, const(I32, WARP))
        first = a.start()[0]
        running = mine
        for step in (1, 2, 4, 8, 16):
            below = made.shuffle(b, running, "up", step)
            has = b.cmp("uge", lane, const(I32, step))
            running = b.select(has, a.join(b, below, running), running)
        base = made.shared(stored_type(mine.type), BLOCK // WARP)
        last = b.cmp("eq", lane, const(I32, WARP - 1))
        when(b, last, lambda inner: put(inner, running, base, warp))
        made.barrier(b)
        before, total = first, first
        for w in range(BLOCK // WARP):
            part = take(b, mine.type, base, const(I32, w))
            earlier = b.cmp("ult", const(I32, w), warp)
            before = b.select(earlier, a.join(b, before, part), before)
            total = a.join(b, total, part)
        made.barrier(b)
        own = made.shuffle(b, running, "up", 1)
        before = b.select(b.cmp("eq", lane, const(I32, 0)), before, a.join(b, before, own))
        return before, total
