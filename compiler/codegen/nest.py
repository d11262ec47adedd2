"""Loop nests: one function per "map", "rows" or "scan" kernel, on any number of chunks.

Writes the loops and phases that `nest_plan.py` chose. The vector variable's last partial step
runs the same body under a mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from flambeau.compiler.codegen import access, scalar
from flambeau.compiler.codegen import index as ix
from flambeau.compiler.codegen.accumulate import Accumulator
from flambeau.compiler.codegen.emit import (
    I64,
    PTR,
    Block,
    Function,
    Module,
    Value,
    attributes,
    const,
    make_type,
)
from flambeau.compiler.codegen.loops import Loop
from flambeau.compiler.codegen.lower import Indices, Layout, Lowering, Val
from flambeau.compiler.codegen.nest_plan import (
    LIGHT,
    Nest,
    Phase,
    describe,
    home_index,
    plan,
    value_indices,
    walking,
)
from flambeau.compiler.config import say, wanted
from flambeau.compiler.kernel import Kernel, Store
from flambeau.compiler.node import Node
from flambeau.compiler.size import hint, unknown
from flambeau.compiler.target import Target

CHUNK_NS = 25_000.0  # work that makes a chunk worth a thread's attention
SERIAL_NS = 40_000.0  # below this a kernel runs in its caller
MAX_CHUNKS = 1024
UNROLL = 25  # inner walks of no more steps are written out


def generate(module: Module, target: Target, layout: Layout, k: Kernel, symbol: str
             ) -> tuple[str, int]:
    """Writes `void @symbol(ptr slots, i64 chunk)`; returns it and its number of chunks."""
    nest = plan(k, layout, target)
    if wanted(4):
        say(f"nest_{symbol}", describe(nest, k), 4)
    fn = Function(module, symbol, None, [("slots", PTR, "noalias"), ("chunk", I64, "")],
                  attributes(module, target), "internal")
    low = Lowering(target, layout, fn.entry, fn[0])
    low.inline = k.computed
    low.vec, low.lanes = nest.vec, nest.lanes
    chunks = Writer(low, nest, k, fn).write()
    fn.finish()
    return symbol, chunks


def turn_flag(module: Module, symbol: str) -> Value:
    """Where it is kept from which end a turning kernel walks next."""
    name = f"{symbol}_turn"
    module.declare(name, f"@{name} = internal global i64 0")
    return Value(PTR, f"@{name}")


class Row(NamedTuple):
    """Where a walk stands: the kernel's space as indices, and the same with reduced axes at 0."""

    space: Indices
    kept: Indices


class Writer:
    """Writes one nest into its function."""

    def __init__(self, low: Lowering, nest: Nest, k: Kernel, fn: Function) -> None:
        self.low, self.nest, self.k, self.fn = low, nest, k, fn
        self.deepest = len(nest.outer) - 1  # level of the phases
        self.together = [Row(nest.space, nest.kept)]  # those walked together

    def write(self) -> int:
        """Emits the loops; returns the number of chunks."""
        fn, nest = self.fn, self.nest
        shared, chunks, grain = self._share()
        b = fn.entry
        if not nest.outer:
            self.phases(b)
        elif type(chunks) is int and chunks == 1:
            self._outer(b, 0)
        elif len(shared) == 1:
            begin, end = self._range(b, grain, shared[0].extent)
            self._level(b, 0, begin, end, sure=True)
        else:
            self._flat(b, shared, grain)
        fn.ret(b)
        return chunks

    def _share(self) -> tuple[list[ix.Var], int, int]:
        """(outermost variables the threads share, chunks, elements of them a chunk)."""
        nest = self.nest
        total = nest.unit_ns * math.prod(v.extent for v in nest.outer + nest.inner)
        total *= max(1, len(nest.phases))
        open_ = [v for v in nest.outer + nest.inner if unknown(v.extent)]
        if not nest.outer or (total < SERIAL_NS and not open_):
            return [], 1, 0
        wanted = min(MAX_CHUNKS, max(2, int(total / CHUNK_NS)))
        shared: list[ix.Var] = []
        extent = 1
        for v in nest.outer:
            if v is nest.vec and shared:
                break
            shared.append(v)
            extent *= v.extent
            if hint(extent) >= wanted and not any(w in open_ for w in nest.outer[len(shared):]):
                break
        grain = -(-extent // wanted)
        if unknown(extent):  # chunks of equal work, however many
            grain = max(1, int(CHUNK_NS / (total / hint(extent))))
        unit = nest.lanes if shared[-1] is nest.vec else 2 if nest.paired else 1
        grain = -(-grain // unit) * unit
        return shared, -(-extent // grain), grain

    def _range(self, b: Block, grain: int, extent: int) -> tuple[Value, Value]:
        chunk = self.fn[1]
        if self.k.backward or self.k.turning:
            other = b.op("sub nsw", const(I64, -(-extent // grain) - 1), chunk)
            chunk = other if self.k.backward else b.select(self._turn(b), other, chunk)
        begin = b.op("mul nsw", chunk, const(I64, grain))
        end = b.op("add nsw", begin, const(I64, grain))
        end = b.intrinsic("llvm.smin", I64, end, const(I64, extent))
        return begin, end

    def _turn(self, b: Block) -> Value:
        """Is it the turn of the far end? The entry counts the calls (program.py)."""
        flag = turn_flag(self.fn.module, self.fn.symbol)
        return b.cmp("ne", b.load(I64, flag, 8), const(I64, 0))

    def _flat(self, b: Block, shared: list[ix.Var], grain: int) -> None:
        """One loop over the flattened outermost variables."""
        extents = tuple(v.extent for v in shared)
        begin, end = self._range(b, grain, math.prod(extents))
        loop = Loop(b, begin, end, 1, [], True)
        rest = self._turned(loop, begin, end, 1)
        for i, v in enumerate(shared):
            step = const(I64, math.prod(extents[i + 1:]))
            self.low.vars[v] = loop.body.op("udiv", rest, step) if i + 1 < len(shared) else rest
            rest = loop.body.op("urem", rest, step)
        for v in shared:
            self.low.open(v.level, loop.body)
        self._outer(loop.body, len(shared))
        loop.finish([])
        self.low.forget(0)

    def _outer(self, b: Block, level: int) -> None:
        """Loops from `level` inwards over all their values."""
        if level == len(self.nest.outer):
            self.phases(b)
            return
        v = self.nest.outer[level]
        self._level(b, level, const(I64, 0), const(I64, v.extent), sure=True)

    def _level(self, b: Block, level: int, begin: Value, end: Value, sure: bool) -> None:
        v = self.nest.outer[level]
        if v is self.nest.vec:
            self._vector(b, v, begin, end, lambda body: self._outer(body, level + 1))
        elif self.nest.paired and level == self.deepest:
            self._pairs(b, v, begin, end)
        else:
            self._each(b, v, begin, end, sure)

    def _each(self, b: Block, v: ix.Var, begin: Value, end: Value, sure: bool) -> None:
        loop = Loop(b, begin, end, 1, [], sure)
        at = self._turned(loop, begin, end, 1) if v.level == 0 else loop.var
        self.enter(v, at, loop.body)
        self._outer(loop.body, v.level + 1)
        loop.finish([])
        self.low.forget(v.level)

    def _pairs(self, b: Block, v: ix.Var, begin: Value, end: Value) -> None:
        """Two rows at a time, then the odd one. Chunks begin at even rows."""
        second = ix.Var(v.level, v.extent)
        odd = unknown(v.extent) or v.extent % 2 == 1
        stop = b.op("and", end, const(I64, -2)) if odd else end
        loop = Loop(b, begin, stop, 2, [], not odd)
        at = self._turned(loop, begin, stop, 2) if v.level == 0 else loop.var
        self.enter(v, at, loop.body)
        self.low.vars[second] = loop.body.op("add nsw", at, const(I64, 1))
        space, kept = (tuple(ix.substitute(i, v, second) for i in part)
                       for part in self.together[0])
        self.together.append(Row(space, kept))
        self._outer(loop.body, v.level + 1)
        self.together.pop()
        loop.finish([])
        self.low.forget(v.level)
        if odd:
            self._each(b, v, stop, end, False)

    def _turned(self, loop: Loop, begin: Value, end: Value, step: int) -> Value:
        """The outermost variable's value: the counter, or its mirror image when walking back."""
        if not self.k.backward:
            return loop.var
        both = loop.body.op("add nsw", begin, end)
        last = loop.body.op("sub nsw", both, const(I64, step))
        return loop.body.op("sub nsw", last, loop.var)

    def enter(self, v: ix.Var, value: Value, body: Block) -> None:
        self.low.vars[v] = value
        self.low.open(v.level, body)

    def _vector(self, b: Block, v: ix.Var, begin: Value, end: Value,
                body: Callable[[Block], None]) -> None:
        """Whole vectors in a loop, then the masked rest."""
        lanes = self.nest.lanes
        whole = v.extent // lanes * lanes
        free = unknown(v.extent)
        known = begin.text == "0" and end.text == const(I64, v.extent).text
        if free or whole:
            stop = const(I64, whole) if known else b.intrinsic(
                "llvm.smin", I64, end, const(I64, whole))
            loop = Loop(b, begin, stop, lanes, [], known and not free)
            at = self._turned(loop, begin, stop, lanes) if v.level == 0 else loop.var
            self.enter(v, at, loop.body)
            body(loop.body)
            loop.finish([])
            self.low.forget(v.level)
        if free or v.extent % lanes:
            self._rest(b, v, whole, end, known, body)

    def _rest(self, b: Block, v: ix.Var, whole: int, end: Value, known: bool,
              body: Callable[[Block], None]) -> None:
        skip = b.names.fresh("end")
        asks = [] if known else [b.cmp("eq", end, const(I64, v.extent))]
        if unknown(v.extent):
            asks.append(b.cmp("slt", const(I64, whole), const(I64, v.extent)))
        if asks:
            go = b.names.fresh("rest")
            b.branch_if(asks[0] if len(asks) == 1 else b.and_(*asks), go, skip)
            b.label(go)
        self.enter(v, const(I64, whole), b.child())
        self._partial(v, v.extent - whole)
        body(b)
        self._whole()
        self.low.forget(v.level)
        if asks:
            b.branch(skip)
            b.label(skip)

    def _partial(self, v: ix.Var, active: int) -> None:
        """From here on only the first lanes count."""
        if unknown(active):
            b, lanes = self.low.at(-1), self.nest.lanes
            on = b.cmp("ult", b.iota("i64", lanes), const(make_type("i64", lanes), active))
            self.low.mask = Val(on, v.level)
            return
        self.low.active = active
        self.low.mask = Val(access.lane_mask(self.nest.lanes, range(active)), v.level)

    def _whole(self) -> None:
        self.low.mask, self.low.active = None, 0

    # -- phases ----------------------------------------------------------------------------------
    def phases(self, b: Block) -> None:
        for phase in self.nest.phases:
            self.low.open(self.deepest, b)
            if self.k.kind == "scan":
                self.scan(b, phase)
                continue
            known: list[dict[Node, Val]] = [{} for _ in self.together]
            if self.k.axes and (phase.reductions or phase.stores):
                known = self.reduce(b, phase)
            else:
                self.stores(b, phase.stores, self.together[0])
            if phase.after:
                self.low.open(self.deepest, b)
            for row, results in zip(self.together, known):
                self.low.known.update(results)
                self.after(b, phase.after, row)
            self.low.written |= {s.value: s.home for s in phase.left}
        self.low.known.clear()
        self.low.written.clear()

    def after(self, b: Block, stores: list[Store], row: Row) -> None:
        """Stores of values over the kept axes."""
        self.stores(b, stores, row)

    def stores(self, b: Block, stores: list[Store], row: Row) -> None:
        """Computes the values of this position, then writes them all."""
        nest = self.nest
        ready = []
        for s in stores:
            indices = value_indices(s.value, nest.shape, row.space, row.kept, self.k.axes)
            ready.append((s, indices, self.low.value(s.value, indices)))
        slots = self.low.layout.slots
        self.low.store_all([(slots[s.home], s.home.dtype, home_index(s, indices), v)
                            for s, indices, v in ready])

    def reduce(self, b: Block, phase: Phase) -> list[dict[Node, Val]]:
        """One walk along the reduced axes: accumulates, and stores what is ready. Returns each
        row's results."""
        nest = self.nest
        folds = nest.vec is not None and nest.vec in nest.inner
        accumulators = [Accumulator(n, self.low, folds)
                        for _ in self.together for n in phase.reductions]
        state = [v for a in accumulators for v in a.start()]
        self.low.leaping = nest.inner[-1] if nest.inner and not folds and self.low.vec else None
        state = self.walk(b, 0, phase, accumulators, state)
        self.low.leaping = None
        self.low.open(self.deepest, b)
        results = []
        for a in accumulators:
            count = len(a.types)
            mine, state = state[:count], state[count:]
            results.append((a.node, Val(a.result(self.low.at(self.deepest), mine), self.deepest)))
        each = len(phase.reductions)
        return [dict(results[i * each:(i + 1) * each]) for i in range(len(self.together))]

    def walk(self, b: Block, depth: int, phase: Phase, accumulators: list[Accumulator],
              state: list[Value]) -> list[Value]:
        nest, low = self.nest, self.low
        if depth == len(nest.inner):
            return self.step(b, phase, accumulators, state)
        v = nest.inner[depth]
        if v is not nest.vec and math.prod(w.extent for w in nest.inner[depth:]) <= UNROLL:
            for i in range(v.extent):
                self.enter(v, const(low.word, i), b)
                state = self.walk(b, depth + 1, phase, accumulators, state)
                low.forget(v.level)
            return state
        lanes = nest.lanes if v is nest.vec else 1
        whole = v.extent // lanes * lanes
        if unknown(v.extent) or whole:
            first = 0
            if depth + 1 == len(nest.inner) and accumulators:
                first, state = self.abreast(b, v, lanes, phase, accumulators, state)
            state = self.along(b, v, first, whole, lanes, depth, phase, accumulators, state)
        if lanes > 1 and (unknown(v.extent) or v.extent % lanes):
            self.enter(v, const(low.word, whole), b.child())
            self._partial(v, v.extent - whole)
            state = self.walk(b, depth + 1, phase, accumulators, state)
            self._whole()
            low.forget(v.level)
        return state

    def along(self, b: Block, v: ix.Var, first: int, whole: int, lanes: int, depth: int,
              phase: Phase, accumulators: list[Accumulator], state: list[Value]) -> list[Value]:
        """The loop over one reduced axis, from `first` to the last whole vector."""
        low = self.low
        free = unknown(whole)
        if not free and first == whole:
            return state
        loop = Loop(b, const(low.word, first), const(low.word, whole), lanes,
                    [(s.type, s) for s in state], not free)
        self.enter(v, loop.var, loop.body)
        after = self.walk(loop.body, depth + 1, phase, accumulators, loop.carried)
        state = loop.finish(after)
        low.forget(v.level)
        return state

    def abreast(self, b: Block, v: ix.Var, lanes: int, phase: Phase,
                accumulators: list[Accumulator], state: list[Value]) -> tuple[int, list[Value]]:
        """Several states side by side, since one would wait for itself: an addition takes four
        times as long to give its sum as to make room for the next. Returns where they end."""
        low, ways = self.low, self.ways(phase)
        stop = v.extent // (ways * lanes) * ways * lanes
        if ways == 1 or stop < 2 * ways * lanes:
            return 0, state
        count = len(state)
        others = [s for _ in range(ways - 1) for a in accumulators for s in a.start()]
        loop = Loop(b, const(low.word, 0), const(low.word, stop), ways * lanes,
                    [(s.type, s) for s in [*state, *others]], True)
        after: list[Value] = []
        for i in range(ways):
            at = loop.body.op("add nsw", loop.var, const(low.word, i * lanes)) if i else loop.var
            self.enter(v, at, loop.body)
            after += self.step(loop.body, phase, accumulators,
                               loop.carried[i * count:(i + 1) * count])
            low.forget(v.level)
        parts = loop.finish(after)
        states = [parts[i * count:(i + 1) * count] for i in range(ways)]
        while len(states) > 1:
            states = [self.joined(b, accumulators, x, y)
                      for x, y in zip(states[::2], states[1::2])]
        return stop, states[0]

    def ways(self, phase: Phase) -> int:
        """How many states side by side: one where an element's work takes longer than a sum."""
        cost = walking(self.k, self.low.layout, self.nest, phase)
        ways = 4 if cost <= LIGHT else 2 if cost <= 2 * LIGHT else 1
        return max(1, ways // 2) if self.nest.paired else ways

    def joined(self, b: Block, accumulators: list[Accumulator], x: list[Value], y: list[Value]
             ) -> list[Value]:
        """The joint state of all accumulators."""
        out: list[Value] = []
        for a in accumulators:
            n = len(a.types)
            out += a.meet(b, x[:n], y[:n])
            x, y = x[n:], y[n:]
        return out

    def step(self, b: Block, phase: Phase, accumulators: list[Accumulator],
              state: list[Value]) -> list[Value]:
        out: list[Value] = []
        each = len(phase.reductions)
        for i, row in enumerate(self.together):
            self.stores(b, [*phase.left, *phase.stores], row)
            of_row = accumulators[i * each:(i + 1) * each]
            values = [a.operands(row.space) for a in of_row]
            place = self.low.heads[-1]
            for a, v in zip(of_row, values):
                count = len(a.types)
                mine, state = state[:count], state[count:]
                out += a.update(place, mine, v, self.position(a, place, row))
        return out

    def position(self, a: Accumulator, place: Block, row: Row) -> Value | None:
        if not a.indexed:
            return None
        at = self.low.lane_index(row.space[a.node.arg[0]])
        if a.lanes > 1 and at.v.type.lanes == 1:
            return place.splat(at.v, a.lanes)
        return at.v

    # -- scans -----------------------------------------------------------------------------------
    def scan(self, b: Block, phase: Phase) -> None:
        """One serial walk along the scanned axis with a running value."""
        nest, low = self.nest, self.low
        (n,) = phase.reductions
        accumulator = Accumulator(n, low, False)
        v = nest.inner[0] if nest.inner else None
        state = accumulator.start()
        if v is None:
            first = low.value(n.src[0], nest.space)
            low.known[n] = first
            self.stores(b, phase.stores, self.together[0])
            return
        loop = Loop(b, const(low.word, 0), const(low.word, v.extent), 1,
                    [(s.type, s) for s in state], True)
        self.enter(v, loop.var, loop.body)
        operand = low.value(n.src[0], nest.space)
        after = accumulator.update(low.heads[-1], loop.carried, [operand], None)
        low.known[n] = Val(scalar.round_to(low.heads[-1], n.dtype, after[0]), v.level)
        self.stores(loop.body, phase.stores, self.together[0])
        loop.finish(after)
        low.forget(v.level)
