"""Sorting 64-bit keys: few of them by one block's bitonic network in shared memory, more by radix.

A round of the radix sort moves all keys by eight bits, in three kernels: each block counts its
tile's digits; a block for each digit adds its counts up over the tiles; then every block knows
where its keys of each digit begin, and moves them. Keys of equal digits keep their order: a warp's
lanes rank themselves by ballots, warps and tiles by those sums. Nothing depends on who comes first.
"""

from __future__ import annotations

from flambeau.compiler.codegen.emit import I1, I32, I64, Block, Value, const
from flambeau.compiler.codegen.gpu_kernel import (
    ALL,
    BLOCK,
    WARP,
    GpuFunction,
    Grid,
    Scene,
    power_of_two,
    when,
)
from flambeau.compiler.codegen.loops import Loop

IN_SHARED = 4096  # keys that one block sorts
DIGIT = 8  # bits
DIGITS = 1 << DIGIT
ITEMS = 8  # keys of a thread
TILE = BLOCK * ITEMS
WARPS = BLOCK // WARP


def key_count(count: int) -> int:
    """Keys that are sorted for so many: the rest must be the largest."""
    if count <= IN_SHARED:
        return max(2 * BLOCK, power_of_two(count))
    return padded(count)


def scratch_bytes(count: int) -> int:
    """Memory for the keys, and for a radix sort another copy, its counts and their totals."""
    keys = key_count(count)
    if keys <= IN_SHARED:
        return 8 * keys
    return radix_bytes(keys)


def padded(count: int) -> int:
    """Keys that a radix sort moves for so many: whole tiles."""
    return -(-count // TILE) * TILE


def radix_bytes(keys: int) -> int:
    """Memory for a radix sort of so many keys."""
    return 16 * keys + 4 * DIGITS * (keys // TILE + 1)


def rounds(bits: int) -> int:
    """How often a radix sort moves all keys: an even number, so that they end where they began."""
    return -(-bits // (2 * DIGIT)) * 2


def sort(scene: Scene, symbol: str, slot: int, count: int, bits: int) -> list[Grid]:
    """Sorts unsigned keys in a slot, in place; equal ones keep their order.

    count: as `key_count` gives it. bits: how many above the 32nd differ; the lower 32 are in order
    from the start, and so are the keys behind the last that counts.
    """
    if count <= IN_SHARED:
        return [sort_keys(scene, symbol, slot, count)]
    return by_radix(scene, symbol, slot, count, bits)


def by_radix(scene: Scene, symbol: str, slot: int, count: int, bits: int) -> list[Grid]:
    """The same by the whole device, whatever their number (a multiple of TILE)."""
    grids = []
    for i in range(rounds(bits)):
        radix = _Radix(scene, slot, count, 32 + DIGIT * i, i % 2 == 1)
        grids += [radix.count(f"{symbol}_count{i}"), radix.totals(f"{symbol}_totals{i}"),
                  radix.move(f"{symbol}_move{i}")]
    return grids


class _Radix:
    """One round. shift: the digit's lowest bit. back: from the second half of the keys' memory."""

    def __init__(self, scene: Scene, slot: int, keys: int, shift: int, back: bool) -> None:
        self.scene, self.slot, self.shift, self.blocks = scene, slot, shift, keys // TILE
        self.source, self.goal = (keys, 0) if back else (0, keys)
        self.counts = 4 * keys  # in words of 32 bits: digit by digit, a count for each tile
        self.sums = self.counts + DIGITS * self.blocks  # and a total for each digit

    def digit(self, b: Block, key: Value) -> Value:
        shifted = b.convert("trunc", b.lshr(key, self.shift), "i32")
        return b.and_(shifted, const(I32, DIGITS - 1))

    def place(self, b: Block, block: Value, warp: Value, lane: Value, i: Value) -> Value:
        """The number of a warp's i-th row of keys: its own lane's, in the order of the keys."""
        start = b.op("mul nsw", block, const(I32, TILE))
        start = b.op("add nsw", start, b.op("mul nsw", warp, const(I32, WARP * ITEMS)))
        start = b.op("add nsw", start, b.op("mul nsw", i, const(I32, WARP)))
        return b.op("add nsw", start, lane)

    def word(self, b: Block, base: Value, first: int, at: Value) -> Value:
        return b.gep(base, I32, b.op("add nsw", at, const(I32, first)))

    def load_key(self, b: Block, base: Value, at: Value) -> Value:
        at = b.op("add nsw", at, const(I32, self.source))
        return b.load(I64, b.gep(base, I64, at), 8)

    def count(self, symbol: str) -> Grid:
        """counts[digit][block]"""
        made = GpuFunction(self.scene, symbol, BLOCK)
        b, thread, base = made.entry, made.thread(), made.pointer(self.slot)
        block = made.block(self.blocks)
        table = made.shared(I32, DIGITS)
        b.store(const(I32, 0), b.gep(table, I32, thread), 4)
        made.barrier(b)
        first = b.op("add nsw", b.op("mul nsw", block, const(I32, TILE)), thread)
        for i in range(ITEMS):
            key = self.load_key(b, base, b.op("add nsw", first, const(I32, i * BLOCK)))
            at = b.gep(table, I32, self.digit(b, key))
            b.value(I32, f"atomicrmw add {at}, i32 1 monotonic, align 4")
        made.barrier(b)
        at = b.op("add nsw", b.op("mul nsw", thread, const(I32, self.blocks)), block)
        b.store(b.load(I32, b.gep(table, I32, thread), 4), self.word(b, base, self.counts, at), 4)
        return made.finish(self.blocks)

    def totals(self, symbol: str) -> Grid:
        """A block for each digit: the counts of the tiles before each, and the digit's total."""
        made = GpuFunction(self.scene, symbol, BLOCK)
        b, thread, base = made.entry, made.thread(), made.pointer(self.slot)
        digit = made.block(DIGITS)
        row = b.op("mul nsw", digit, const(I32, self.blocks))
        last = const(I32, self.blocks - 1)
        loop = Loop(b, const(I32, 0), const(I32, self.blocks), BLOCK, [(I32, const(I32, 0))], True)
        body = loop.body
        tile = body.op("add nsw", loop.var, thread)
        inside = body.cmp("sle", tile, last)
        at = self.word(body, base, self.counts,
                       body.op("add nsw", row, body.intrinsic("llvm.smin", I32, tile, last)))
        own = body.select(inside, body.load(I32, at, 4), const(I32, 0))
        before, total = scanned(made, body, thread, own)
        held = body.add(loop.carried[0], before)
        when(body, inside, lambda inner: inner.store(held, at, 4))
        (total,) = loop.finish([body.add(loop.carried[0], total)])
        first = b.cmp("eq", thread, const(I32, 0))
        when(b, first, lambda inner: inner.store(total, self.word(inner, base, self.sums, digit),
                                                 4))
        return made.finish(DIGITS)

    def move(self, symbol: str) -> Grid:
        """Every key to its place."""
        made = GpuFunction(self.scene, symbol, BLOCK)
        b, thread, base = made.entry, made.thread(), made.pointer(self.slot)
        block = made.block(self.blocks)
        lane = b.op("urem", thread, const(I32, WARP))
        warp = b.op("udiv", thread, const(I32, WARP))
        table = made.shared(I32, WARPS * DIGITS)
        for w in range(WARPS):
            at = b.op("add nsw", thread, const(I32, w * DIGITS))
            b.store(const(I32, 0), b.gep(table, I32, at), 4)
        made.barrier(b)
        own = b.op("mul nsw", warp, const(I32, DIGITS))
        found = []
        for i in range(ITEMS):
            key = self.load_key(b, base, self.place(b, block, warp, lane, const(I32, i)))
            at = b.op("add nsw", own, self.digit(b, key))
            found.append((key, at, self.ranked(made, b, b.gep(table, I32, at), key)))
        made.barrier(b)
        self.begin(made, b, base, table, thread, block)
        made.barrier(b)
        for key, at, rank in found:
            start = b.load(I32, b.gep(table, I32, at), 4)
            to = b.op("add nsw", b.add(start, rank), const(I32, self.goal))
            b.store(key, b.gep(base, I64, to), 8)
        return made.finish(self.blocks)

    def ranked(self, made: GpuFunction, b: Block, held: Value, key: Value) -> Value:
        """How many of the warp's keys so far have the same digit; `held` has their number."""
        same = ALL
        for bit in range(DIGIT):
            word = b.and_(b.lshr(key, self.shift + bit), const(I64, 1))
            has = b.cmp("ne", word, const(I64, 0))
            votes = ballot(b, has)
            same = b.and_(same, b.select(has, votes, b.xor(votes, ALL)))
        below = b.and_(same, made.register_of(b, "lanemask.lt"))
        rank, all_ = b.intrinsic("llvm.ctpop", I32, below), b.intrinsic("llvm.ctpop", I32, same)
        before = b.load(I32, held, 4)
        sync_warp(b)
        when(b, b.cmp("eq", rank, const(I32, 0)),
             lambda inner: inner.store(inner.add(before, all_), held, 4))
        sync_warp(b)
        return b.add(before, rank)

    def begin(self, made: GpuFunction, b: Block, base: Value, table: Value, digit: Value,
              block: Value) -> None:
        """table[warp][digit]: where the warp's keys of the digit begin. A thread has a digit."""
        total = b.load(I32, self.word(b, base, self.sums, digit), 4)
        before, _ = scanned(made, b, digit, total)
        row = b.op("mul nsw", digit, const(I32, self.blocks))
        at = self.word(b, base, self.counts, b.op("add nsw", row, block))
        running = b.add(before, b.load(I32, at, 4))
        for w in range(WARPS):
            at = b.gep(table, I32, b.op("add nsw", digit, const(I32, w * DIGITS)))
            count = b.load(I32, at, 4)
            b.store(running, at, 4)
            running = b.add(running, count)


def scanned(made: GpuFunction, b: Block, thread: Value, own: Value) -> tuple[Value, Value]:
    """(the sum of the threads before this one, of all): through shared memory, in a fixed order."""
    lane, warp = b.op("urem", thread, const(I32, WARP)), b.op("udiv", thread, const(I32, WARP))
    running = own
    for step in (1, 2, 4, 8, 16):
        below = made.shuffle(b, running, "up", step)
        has = b.cmp("uge", lane, const(I32, step))
        running = b.add(running, b.select(has, below, const(I32, 0)))
    parts = made.shared(I32, WARPS)
    last = b.cmp("eq", lane, const(I32, WARP - 1))
    when(b, last, lambda inner: inner.store(running, inner.gep(parts, I32, warp), 4))
    made.barrier(b)
    before, total = b.sub(running, own), const(I32, 0)
    for w in range(WARPS):
        part = b.load(I32, b.gep(parts, I32, const(I32, w)), 4)
        earlier = b.cmp("ult", const(I32, w), warp)
        before = b.add(before, b.select(earlier, part, const(I32, 0)))
        total = b.add(total, part)
    made.barrier(b)
    return before, total


def ballot(b: Block, v: Value) -> Value:
    """A bit for each lane of the warp."""
    symbol = "llvm.nvvm.vote.ballot.sync"
    b.module.declare(symbol, f"declare i32 @{symbol}(i32, {I1}) convergent")
    return b.call(symbol, I32, ALL, v)


def sync_warp(b: Block) -> None:
    """The warp's lanes meet here and see each other's shared memory."""
    symbol = "llvm.nvvm.bar.warp.sync"
    b.module.declare(symbol, f"declare void @{symbol}(i32) convergent")
    b.line(f"call void @{symbol}(i32 -1)")


def sort_keys(scene: Scene, symbol: str, slot: int, count: int) -> Grid:
    """Sorts `count` (a power of two, at least 2 * BLOCK) unsigned keys in a slot, in place, by one
    block: every exchange of a stage touches a pair of its own."""
    made = GpuFunction(scene, symbol, BLOCK)
    b, thread, keys = made.entry, made.thread(), made.pointer(slot)
    base = made.shared(I64, count)
    _copy(b, thread, keys, base, count)
    made.barrier(b)
    one = const(I32, 1)
    run = Loop(b, one, const(I32, count.bit_length()), 1, [], True)  # runs of 2 ** var
    part = Loop(run.body, const(I32, 0), run.var, 1, [], True)
    inner = part.body
    bit = inner.op("sub nsw", inner.op("sub nsw", run.var, one), part.var)
    pairs = Loop(inner, thread, const(I32, count // 2), BLOCK, [], True)
    _exchange(pairs.body, base, pairs.var, run.var, bit)
    pairs.finish([])
    made.barrier(inner)
    part.finish([])
    run.finish([])
    _copy(b, thread, base, keys, count)
    return made.finish(1)


def pair(b: Block, number: Value, run: Value, bit: Value) -> tuple[Value, Value, Value]:
    """A pair of places that differ in `bit`, and whether the larger key comes first: runs of
    2 ** run turn by turn up and down."""
    one = const(I32, 1)
    gap = b.op("shl", one, bit)
    below = b.and_(number, b.op("sub", gap, one))
    low = b.or_(b.shl(b.op("sub", number, below), 1), below)
    down = b.cmp("ne", b.and_(low, b.op("shl", one, run)), const(I32, 0))
    return low, b.or_(low, gap), down


def _exchange(b: Block, base: Value, number: Value, run: Value, bit: Value) -> None:
    """Orders pair `number`."""
    low, high, down = pair(b, number, run, bit)
    at, to = b.gep(base, I64, low), b.gep(base, I64, high)
    x, y = b.load(I64, at, 8), b.load(I64, to, 8)
    swap = b.xor(b.cmp("ugt", x, y), down)
    b.store(b.select(swap, y, x), at, 8)
    b.store(b.select(swap, x, y), to, 8)


def _copy(b: Block, thread: Value, source: Value, to: Value, count: int) -> None:
    loop = Loop(b, thread, const(I32, count), BLOCK, [], True)
    v = loop.body.load(I64, loop.body.gep(source, I64, loop.var), 8)
    loop.body.store(v, loop.body.gep(to, I64, loop.var), 8)
    loop.finish([])
