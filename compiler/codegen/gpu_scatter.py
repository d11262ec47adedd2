"""Scatters on a GPU, with the same bits every run: no result depends on who comes first.

"walk": one thread for each trailing position walks all indices in order, as a CPU does; for long
trailing axes or few indices. "owners", for "set": the last index that names a place is found by an
atomic maximum, and only its values are written. "search", for what is combined: a column of threads
for each place looks through all indices, and the parts they find meet in a fixed order. "sorted",
for many indices to many places: the indices are sorted by place, then by number, and the first of
each place walks its equals. A rough model of their times picks among them.
"""

from __future__ import annotations

import math

from flambeau.compiler.codegen import gpu_sort, scalar, scatter
from flambeau.compiler.codegen import index as ix
from flambeau.compiler.codegen.accumulate import identity
from flambeau.compiler.codegen.emit import I32, I64, Block, Value, const
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
from flambeau.compiler.kernel import Kernel
from flambeau.compiler.node import Node
from flambeau.compiler.target import Target

LATENCY = 0.4  # microseconds a thread takes to read, combine and write one element
STEPS = 1500.0  # simple steps a lane makes in a microsecond
LAUNCH = 4.0


def strategy(n: Node, target: Target) -> str:
    """How the scatter node n runs: "walk", "owners", "search" or "sorted"."""
    times = _times(n, target)
    if n.arg == "set":
        return "walk" if times["walk"] < 5 * LAUNCH else "owners"
    return min(times, key=times.__getitem__)


def _times(n: Node, target: Target) -> dict[str, float]:
    """Rough microseconds of the ways to combine."""
    trailing, count, places = sizes(n)
    threads = target.processors * 2048
    lanes = target.processors * 128 * STEPS
    width = min(WARP, power_of_two(trailing))
    search = places * -(-trailing // width) * width * count * 8 / lanes + count * width / 5000
    keys = key_count(n)
    if keys <= gpu_sort.IN_SHARED:
        stages = keys.bit_length() * (keys.bit_length() - 1) / 2
        sorting = LAUNCH + stages * keys / (2 * BLOCK) * 0.05
    else:
        once = 3 * LAUNCH + -(-keys // (gpu_sort.TILE * target.processors)) * 4 * LATENCY
        sorting = gpu_sort.rounds(place_bits(n)) * once
    return {"walk": LAUNCH + count * LATENCY * -(-trailing // threads),
            "search": LAUNCH + search,
            "sorted": 2 * LAUNCH + sorting + LATENCY * (1 + count * trailing / threads)}


def key_count(n: Node) -> int:
    """Keys that are sorted."""
    return gpu_sort.key_count(sizes(n)[1])


def place_bits(n: Node) -> int:
    """Bits that tell the places apart."""
    return max(1, (sizes(n)[2] - 1).bit_length())


def sizes(n: Node) -> tuple[int, int, int]:
    """(elements of a trailing block, index tuples, places they may name)."""
    shape = n.src[2].shape
    indexed = len(n.src) - 2
    return (math.prod(n.src[1].shape[len(shape):]), math.prod(shape), math.prod(n.shape[:indexed]))


def scratch_bytes(n: Node, target: Target) -> int:
    """The table of owners, or the keys to sort."""
    how = strategy(n, target)
    return {"owners": 4 * sizes(n)[2], "sorted": gpu_sort.scratch_bytes(sizes(n)[1])}.get(how, 0)


def fill_bytes(n: Node, target: Target) -> int:
    """How much of the scratch memory starts as bytes of 255: a table without owners."""
    return scratch_bytes(n, target) if strategy(n, target) == "owners" else 0


def generate(scene: Scene, k: Kernel, symbol: str, scratch: int | None) -> list[Grid]:
    """The kernels of one scatter; `scratch` is the slot of its working memory."""
    n = k.stores[0].home
    how = strategy(n, scene.target)
    if how == "walk":
        return [_Scatter(scene, k, symbol, sizes(n)[0]).walk()]
    if how == "owners":
        assert scratch is not None
        _, indices, _ = sizes(n)
        return [_Scatter(scene, k, f"{symbol}_owners", indices).own(scratch),
                _Scatter(scene, k, symbol, n.src[1].size).write(scratch)]
    if how == "search":
        return [_Scatter(scene, k, symbol, 0).search()]
    assert scratch is not None
    return [_Scatter(scene, k, f"{symbol}_keys", key_count(n)).keys(scratch),
            *gpu_sort.sort(scene, f"{symbol}_sorted", scratch, key_count(n), place_bits(n)),
            _Scatter(scene, k, symbol, sizes(n)[1] * sizes(n)[0]).equals(scratch)]


class _Scatter:
    """One kernel of a scatter. positions: what its threads share out."""

    def __init__(self, scene: Scene, k: Kernel, symbol: str, positions: int) -> None:
        n = k.stores[0].home
        self.n, self.scene, self.positions = n, scene, positions
        self.value = n.src[1]
        self.rank = len(n.src[2].shape)
        self.made = GpuFunction(scene, symbol, BLOCK)
        self.word = words([*extents(scene, k), 4 * sizes(n)[2], key_count(n)])
        self.low = GpuLowering(self.made, self.word)
        self.variables = [ix.Var(i, e) for i, e in enumerate(self.value.shape)]
        self.indices = tuple(map(ix.of, self.variables))

    def enter(self, b: Block, variables: list[ix.Var], flat: Value) -> None:
        for v, value in zip(variables, unravel(b, flat, [v.extent for v in variables])):
            self.low.vars[v] = value

    def open(self, b: Block) -> None:
        for v in self.variables:
            self.low.open(v.level, b)

    def shared_out(self, blocks: int) -> Loop:
        """A loop over this thread's positions."""
        b, made = self.made.entry, self.made
        at = b.add(b.mul(made.block(blocks), const(I32, BLOCK)), made.thread())
        at = at if self.word == I32 else b.convert("zext", at, self.word.scalar)
        return Loop(b, at, const(self.word, self.positions), blocks * BLOCK, [], False)

    def blocks(self) -> int:
        return min(-(-self.positions // BLOCK), self.scene.target.processors * WAVES)

    def walk(self) -> Grid:
        """A thread for each trailing position, all indices in order."""
        blocks = self.blocks()
        outer = self.shared_out(blocks)
        lead, rest = self.variables[:self.rank], self.variables[self.rank:]
        self.enter(outer.body, rest, outer.var)
        count = const(self.word, math.prod(v.extent for v in lead))
        loop = Loop(outer.body, const(self.word, 0), count, 1, [], True)
        self.enter(loop.body, lead, loop.var)
        self.open(loop.body)
        scatter.element(self.low, self.n, self.indices)
        loop.finish([])
        outer.finish([])
        return self.made.finish(blocks)

    def own(self, scratch: int) -> Grid:
        """The last index tuple that names each place."""
        blocks = self.blocks()
        loop = self.shared_out(blocks)
        self.enter(loop.body, self.variables[:self.rank], loop.var)
        self.open(loop.body)
        at = self.destination()
        b = self.low.heads[-1]
        number = loop.var if self.word == I32 else b.convert("trunc", loop.var, "i32")
        address = b.gep(self.made.pointer(scratch), I32, at)
        b.value(I32, f"atomicrmw max {address}, {number} monotonic, align 4")
        loop.finish([])
        return self.made.finish(blocks)

    def destination(self) -> Value:
        """The number of the named place, counted over the indexed axes alone."""
        lead = scatter.leading(self.low, self.n, self.indices)
        return self.low.index(ix.flatten(lead, self.n.shape[:len(lead)])).v

    def write(self, scratch: int) -> Grid:
        """Each value whose index tuple owns its place."""
        low, n = self.low, self.n
        blocks = self.blocks()
        loop = self.shared_out(blocks)
        self.enter(loop.body, self.variables, loop.var)
        self.open(loop.body)
        lead = scatter.leading(low, n, self.indices)
        at = low.index(ix.flatten(lead, n.shape[:len(lead)])).v
        flat = ix.flatten((*lead, *self.indices[self.rank:]), n.shape)
        low.index(flat)
        b = low.heads[-1]
        owner = b.load(I32, b.gep(self.made.pointer(scratch), I32, at), 4)
        trailing = const(self.word, sizes(n)[0])
        number = b.op("udiv", loop.var, trailing)
        number = number if self.word == I32 else b.convert("trunc", number, "i32")
        v = low.value(self.value, self.indices)
        when(b, b.cmp("eq", owner, number),
             lambda _: low.store(low.layout.slots[n], n.dtype, flat, v))
        loop.finish([])
        return self.made.finish(blocks)

    # -- sorted ------------------------------------------------------------------------------
    def keys(self, scratch: int) -> Grid:
        """A key for each index tuple: its place, then its number; the rest are the largest."""
        blocks, count = self.blocks(), sizes(self.n)[1]
        loop = self.shared_out(blocks)
        b = loop.body
        last = const(self.word, count - 1)
        at = b.intrinsic("llvm.smin", self.word, loop.var, last)
        self.enter(b, self.variables[:self.rank], at)
        self.open(b)
        place = self.destination()
        b = self.low.heads[-1]
        high, low = (v if v.type == I64 else b.convert("zext", v, "i64") for v in (place, at))
        key = b.or_(b.shl(high, 32), low)
        used = b.cmp("slt", loop.var, const(self.word, count))
        key = b.select(used, key, const(I64, -1))
        b.store(key, b.gep(self.made.pointer(scratch), I64, loop.var), 8)
        loop.finish([])
        return self.made.finish(blocks)

    def equals(self, scratch: int) -> Grid:
        """The first key of each place takes all that follow for the same place, in order."""
        blocks, keys = self.blocks(), self.made.pointer(scratch)
        trailing, count, _ = sizes(self.n)
        loop = self.shared_out(blocks)
        b = loop.body
        number, rest = unravel(b, loop.var, [count, trailing])
        self.enter(b, self.variables[self.rank:], rest)
        goal = b.lshr(b.load(I64, b.gep(keys, I64, number), 8), 32)
        before = b.intrinsic("llvm.smax", self.word, b.sub(number, const(self.word, 1)),
                             const(self.word, 0))
        other = b.lshr(b.load(I64, b.gep(keys, I64, before), 8), 32)
        first = b.or_(b.cmp("eq", number, const(self.word, 0)), b.cmp("ne", other, goal))
        when(b, first, lambda inner: self.run_of(inner, keys, number, goal, rest))
        loop.finish([])
        return self.made.finish(blocks)

    def run_of(self, b: Block, keys: Value, number: Value, goal: Value, rest: Value) -> None:
        """home[goal, rest] combined with the values of the keys from `number` on that name it."""
        low, n = self.low, self.n
        trailing, count, _ = sizes(n)
        kind = scalar.memory(n.dtype)
        place = goal if self.word == I64 else b.convert("trunc", goal, "i32")
        at = b.add(b.mul(place, const(self.word, trailing)), rest)
        address = b.gep(low.pointer(low.layout.slots[n]), kind, at)
        old = scalar.from_memory(b, n.dtype, b.load(kind, address, n.dtype.itemsize))
        end = self.beyond(b, keys, number, goal, count)
        loop = Loop(b, number, end, 1, [(old.type, old)], True)
        inner = loop.body
        key = inner.load(I64, inner.gep(keys, I64, loop.var), 8)
        who = inner.and_(key, const(I64, 0xFFFFFFFF))
        who = who if self.word == I64 else inner.convert("trunc", who, "i32")
        self.enter(inner, self.variables[:self.rank], who)
        self.open(inner)
        v = low.value(self.value, self.indices).v
        inner = low.heads[-1]
        joined = scatter.join(inner, n, loop.carried[0], v)
        (total,) = loop.finish([joined])
        low.forget(0)
        b.store(scalar.to_memory(b, n.dtype, total), address, n.dtype.itemsize)

    def beyond(self, b: Block, keys: Value, number: Value, goal: Value, count: int) -> Value:
        """The first key after those that name the place `goal`, by halves."""
        word = self.word
        ends = [(word, number), (word, const(word, count))]
        loop = Loop(b, const(I32, 0), const(I32, count.bit_length()), 1, ends, True)
        inner, (low, high) = loop.body, loop.carried
        middle = inner.lshr(inner.add(low, high), 1)
        middle = inner.intrinsic("llvm.smin", word, middle, const(word, count - 1))
        key = inner.load(I64, inner.gep(keys, I64, middle), 8)
        before = inner.cmp("ule", inner.lshr(key, 32), goal)
        after = inner.add(middle, const(word, 1))
        found = [inner.select(before, after, low), inner.select(before, high, middle)]
        return loop.finish(found)[0]

    # -- search ------------------------------------------------------------------------------
    def search(self) -> Grid:
        """A column of threads for each place and trailing position."""
        made, low, n = self.made, self.low, self.n
        trailing, count, places = sizes(n)
        width = min(WARP, power_of_two(trailing))
        columns = -(-trailing // width)
        blocks = places * columns
        b, thread = made.entry, made.thread()
        block = self.extend(b, made.block(blocks))
        goal, chunk = unravel(b, block, [places, columns])
        near = b.op("urem", thread, const(I32, width))
        member = b.op("udiv", thread, const(I32, width))
        rest = b.add(b.mul(chunk, const(self.word, width)), self.extend(b, near))
        inside = b.cmp("slt", rest, const(self.word, trailing)) if trailing % width else None
        if inside is not None:
            rest = b.intrinsic("llvm.smin", self.word, rest, const(self.word, trailing - 1))
        self.enter(b, self.variables[self.rank:], rest)
        total = self.looked_through(b, goal, member, BLOCK // width, count)
        total = self.met(b, total, member, near, width)
        first = b.cmp("eq", member, const(I32, 0))
        slot = low.layout.slots[n]
        at = b.add(b.mul(goal, const(self.word, trailing)), rest)
        kind = scalar.memory(n.dtype)

        def write(inner: Block) -> None:
            address = inner.gep(low.pointer(slot), kind, at)
            old = scalar.from_memory(inner, n.dtype, inner.load(kind, address, n.dtype.itemsize))
            new = scatter.join(inner, n, old, total)
            inner.store(scalar.to_memory(inner, n.dtype, new), address, n.dtype.itemsize)
        when(b, first if inside is None else b.and_(first, inside), write)
        return made.finish(blocks)

    def extend(self, b: Block, v: Value) -> Value:
        return v if v.type == self.word else b.convert("zext", v, self.word.scalar)

    def looked_through(self, b: Block, goal: Value, member: Value, members: int, count: int
                       ) -> Value:
        """What this member's stretch of the indices brings to the place."""
        low, n = self.low, self.n
        each = -(-count // members)
        begin = b.mul(self.extend(b, member), const(self.word, each))
        end = b.add(begin, const(self.word, each))
        end = b.intrinsic("llvm.smin", self.word, end, const(self.word, count))
        start = const(scalar.register(n.dtype), identity(_IDENTITY[n.arg], n.dtype))
        loop = Loop(b, begin, end, 1, [(start.type, start)], False)
        self.enter(loop.body, self.variables[:self.rank], loop.var)
        self.open(loop.body)
        at = self.destination()
        v = low.value(self.value, self.indices).v
        inner = low.heads[-1]
        joined = scatter.join(inner, n, loop.carried[0], v)
        hit = inner.cmp("eq", at, goal)
        (total,) = loop.finish([inner.select(hit, joined, loop.carried[0])])
        low.forget(0)
        return total

    def met(self, b: Block, mine: Value, member: Value, near: Value, width: int) -> Value:
        """The members' parts joined in order."""
        base = self.made.shared(stored_type(mine.type), BLOCK)
        at = b.add(b.mul(member, const(I32, width)), near)
        put(b, mine, base, at)
        self.made.barrier(b)
        total = mine
        for part in range(BLOCK // width):
            other = take(b, mine.type, base, b.add(near, const(I32, part * width)))
            total = scatter.join(b, self.n, total, other) if part else other
        return total


_IDENTITY = {"add": "sum", "mul": "prod", "max": "max", "min": "min"}
