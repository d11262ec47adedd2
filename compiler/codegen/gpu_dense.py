"""Matrix products and convolutions on a GPU: one tiled kernel over a contraction's axes.

A block computes a tile of C. Tiles of A and B go through shared memory in two buffers, so that the
next ones are on their way while the present ones are multiplied; each thread keeps a small square
of C in registers. Operands are read through their strides (a convolution is an implicit product),
and the finished tile goes through shared memory once more, so that the epilogue is written a few
times only and stores along the last axis. When C has few tiles and k is long, k is cut into parts
that a second kernel adds in order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flambeau.compiler import fuse
from flambeau.compiler.codegen.contraction import Axis, Contraction, Operand, size
from flambeau.compiler.codegen.dense import Dense
from flambeau.compiler.codegen.emit import I32, Block, Type, Value, const
from flambeau.compiler.codegen.gpu_kernel import (
    BLOCK,
    WAVES,
    GpuFunction,
    GpuLowering,
    Grid,
    Scene,
    unravel,
    when,
    words,
)
from flambeau.compiler.codegen.nest import Loop
from flambeau.compiler.codegen.simple import multiply_add
from flambeau.compiler.kernel import Kernel
from flambeau.compiler.target import Target

PAD = 4  # elements between lines of a tile, against bank conflicts; keeps vectors aligned
SPLITS = 64


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


@dataclass(frozen=True)
class GpuPlan:
    """The tile, and into how many parts k is cut."""

    contraction: Contraction
    tile: Tile
    splits: int

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
        return (f"tiled contraction, {b} x ({m} x {k}) ({k} x {n}): blocks of {t.m} x {t.n}, "
                f"{t.side} x {t.side} a thread, k by {t.k}"
                + (f", {self.splits} parts of k" if self.splits > 1 else ""))


def plan(c: Contraction, target: Target) -> GpuPlan:
    """The largest tile that gives every multiprocessor a block, else the smallest, with k cut."""
    b, m, n, _ = c.sizes
    tiles = [t for t in TILES if t.side < 8 or c.itemsize == 4]
    for tile in tiles:
        if b * -(-m // tile.m) * -(-n // tile.n) >= target.processors:
            return GpuPlan(c, tile, 1)
    small = GpuPlan(c, tiles[-1], 1)
    parts = min(SPLITS, small.rounds // 4, 2 * target.processors // max(1, math.prod(small.grid)))
    each = -(-small.rounds // max(1, parts))
    return GpuPlan(c, tiles[-1], max(1, -(-small.rounds // max(1, each))))  # no part is empty


def generate(scene: Scene, k: Kernel, symbol: str, dense: Dense, scratch: int | None
             ) -> list[Grid]:
    """The kernel, or two when k is cut; `scratch` is the slot of the parts' sums."""
    p = plan(dense.axes, scene.target)
    word = words(_extents(scene, k, p))
    if p.splits == 1:
        return [_Tiled(scene, k, symbol, dense, p, word, None).write()]
    assert scratch is not None
    first = _Tiled(scene, k, f"{symbol}_parts", dense, p, word, scratch).write()
    return [first, _join(scene, k, symbol, dense, p, word, scratch)]


def _extents(scene: Scene, k: Kernel, p: GpuPlan) -> list[int]:
    sizes = [s.home.size for s in k.stores] + [n.size for n in fuse.loads(k, set(
        scene.layout.slots))]
    return [*sizes, p.scratch_bytes, size(p.contraction.k) + p.tile.k]


def _dot(b: Block, indices: list[Value], strides: list[int], word: Type) -> Value:
    total = const(word, 0)
    for i, stride in zip(indices, strides, strict=True):
        if stride:
            term = i if stride == 1 else b.op("mul nsw", i, const(word, stride))
            total = term if total.text == "0" else b.op("add nsw", total, term)
    return total


@dataclass(frozen=True)
class _Side:
    """One operand's way into shared memory. lines: its m or n axes; steps: its k axes' strides."""

    operand: Operand
    lines: tuple[Axis, ...]
    line_strides: list[int]
    steps: list[int]
    extent: int  # lines of a tile
    base: Value  # offset of this batch
    shared: Value
    first: Value  # the tile's first line
    flat: bool  # neighbours in memory are steps of k


class _Tiled:
    """The kernel being written."""

    def __init__(self, scene: Scene, k: Kernel, symbol: str, dense: Dense, p: GpuPlan, word: Type,
                 scratch: int | None) -> None:
        self.scene, self.k, self.dense, self.plan, self.word = scene, k, dense, p, word
        self.scratch, self.c, self.tile = scratch, p.contraction, p.tile
        self.acc = self.c.accumulator
        self.made = GpuFunction(scene, symbol, BLOCK)
        self.low = GpuLowering(self.made, word)
        self.low.inline = k.computed

    def write(self) -> Grid:
        b, made, tile, c = self.made.entry, self.made, self.tile, self.c
        blocks = math.prod(self.plan.grid)
        self.thread = made.thread()
        block = self.words(b, made.block(blocks))
        self.part, self.batch, row, column = unravel(b, block, list(self.plan.grid))
        self.across = b.op("urem", self.thread, const(I32, tile.across))
        self.down = b.op("udiv", self.thread, const(I32, tile.across))
        self.m0 = b.op("mul nsw", row, const(self.word, tile.m))
        self.n0 = b.op("mul nsw", column, const(self.word, tile.n))
        self.batches = unravel(b, self.batch, [x.extent for x in c.batch])
        rows = self.side(b, self.dense.operand(self.low, self.dense.a), c.m, "a", tile.m, self.m0)
        columns = self.side(b, self.dense.operand(self.low, self.dense.b), c.n, "b", tile.n,
                            self.n0)
        sums = self.rounds(b, rows, columns)
        self.finish(b, sums)
        return made.finish(blocks)

    def words(self, b: Block, v: Value) -> Value:
        return v if v.type == self.word else b.convert("zext", v, self.word.scalar)

    def side(self, b: Block, operand: Operand, lines: tuple[Axis, ...], which: str, extent: int,
             first: Value) -> _Side:
        def strides(axes: tuple[Axis, ...]) -> list[int]:
            return [(x.a if which == "a" else x.b) or 0 for x in axes]

        steps = strides(self.c.k)
        shared = self.made.shared(self.acc, 2 * self.tile.k * (extent + PAD))
        flat = bool(steps) and abs(steps[-1]) == 1 and self.c.k[-1].extent > 1 and not (
            lines and abs(strides(lines)[-1]) == 1)
        base = _dot(b, self.batches, strides(self.c.batch), self.word)
        return _Side(operand, lines, strides(lines), steps, extent, base, shared, first, flat)

    # -- from memory to registers ------------------------------------------------------------
    def places(self, b: Block, side: _Side) -> list[tuple[Value, Value]]:
        """(line, step) in the tile of each element that this thread moves."""
        count = side.extent * self.tile.k // BLOCK
        span = self.tile.k if side.flat else side.extent
        near = b.op("urem", self.thread, const(I32, span))
        far = b.op("udiv", self.thread, const(I32, span))
        found = []
        for i in range(count):
            other = b.op("add nsw", far, const(I32, i * (BLOCK // span)))
            found.append((other, near) if side.flat else (near, other))
        return found

    def line_offsets(self, b: Block, side: _Side, places: list[tuple[Value, Value]]
                     ) -> list[Value]:
        """Where each element's line begins in memory; lines beyond the last repeat it."""
        total, known = size(side.lines), {}
        for line, _ in places:
            if line.text in known:
                continue
            at = b.op("add nsw", side.first, self.words(b, line))
            if total % side.extent:
                at = b.intrinsic("llvm.smin", self.word, at, const(self.word, total - 1))
            indices = unravel(b, at, [x.extent for x in side.lines])
            offset = _dot(b, indices, side.line_strides, self.word)
            known[line.text] = b.op("add nsw", offset, side.base)
        return [known[line.text] for line, _ in places]

    def fetch(self, b: Block, side: _Side, places: list[tuple[Value, Value]],
              offsets: list[Value], round_: Value) -> list[Value]:
        """The elements of a round in registers, zero beyond the end of k."""
        total, steps = size(self.c.k), {}
        start = b.op("mul nsw", round_, const(self.word, self.tile.k))
        for _, step in places:
            if step.text in steps:
                continue
            at = b.op("add nsw", start, self.words(b, step))
            inside = None
            if total % self.tile.k:
                inside = b.cmp("slt", at, const(self.word, total))
                at = b.intrinsic("llvm.smin", self.word, at, const(self.word, total - 1))
            indices = unravel(b, at, [x.extent for x in self.c.k])
            steps[step.text] = (_dot(b, indices, side.steps, self.word), inside)
        out = []
        for (_, step), offset in zip(places, offsets):
            along, inside = steps[step.text]
            v = side.operand.load(b, b.op("add nsw", offset, along), 1, None)
            out.append(v if inside is None else b.select(inside, v, const(v.type, 0)))
        return out

    def keep(self, b: Block, side: _Side, places: list[tuple[Value, Value]], values: list[Value],
             buffer: Value) -> None:
        """Registers to shared memory, a line of the tile for each step of k."""
        pitch = side.extent + PAD
        start = b.op("mul nsw", buffer, const(I32, self.tile.k * pitch))
        for (line, step), v in zip(places, values):
            at = b.op("add nsw", b.op("mul nsw", step, const(I32, pitch)), line)
            b.store(v, b.gep(side.shared, self.acc, b.op("add nsw", start, at)), self.c.itemsize)

    # -- the sum -----------------------------------------------------------------------------
    def rounds(self, b: Block, rows: _Side, columns: _Side) -> list[Value]:
        """All rounds of this block's part of k: thread's sums, row by row."""
        each = -(-self.plan.rounds // self.plan.splits)
        begin = b.op("mul nsw", self.part, const(self.word, each))
        end = b.op("add nsw", begin, const(self.word, each))
        if self.plan.splits > 1:
            end = b.intrinsic("llvm.smin", self.word, end, const(self.word, self.plan.rounds))
        sides = []
        for side in (rows, columns):
            places = self.places(b, side)
            sides.append((side, places, self.line_offsets(b, side, places)))
        for side, places, offsets in sides:
            self.keep(b, side, places, self.fetch(b, side, places, offsets, begin), const(I32, 0))
        self.made.barrier(b)
        zero = [(self.acc, const(self.acc, 0))] * self.tile.side ** 2
        loop = Loop(b, begin, end, 1, zero, True)
        body = loop.body
        done = body.op("sub nsw", loop.var, begin)
        buffer = body.op("and", self.narrow(body, done), const(I32, 1))
        last = body.op("sub nsw", end, const(self.word, 1))
        following = body.op("add nsw", loop.var, const(self.word, 1))
        following = body.intrinsic("llvm.smin", self.word, following, last)
        ahead = [self.fetch(body, *side, following) for side in sides]
        sums = self.multiply(body, rows, columns, buffer, loop.carried)
        other = body.op("xor", buffer, const(I32, 1))
        for (side, places, _), values in zip(sides, ahead):
            self.keep(body, side, places, values, other)
        self.made.barrier(body)
        return loop.finish(sums)

    def narrow(self, b: Block, v: Value) -> Value:
        return v if v.type == I32 else b.convert("trunc", v, "i32")

    def multiply(self, b: Block, rows: _Side, columns: _Side, buffer: Value, sums: list[Value]
                 ) -> list[Value]:
        """One round from shared memory: outer products of a column of A and a row of B."""
        side = self.tile.side
        starts = []
        for s, place in ((rows, self.down), (columns, self.across)):
            start = b.op("mul nsw", buffer, const(I32, self.tile.k * (s.extent + PAD)))
            chunk = b.op("mul nsw", place, const(I32, min(side, 4)))
            starts.append(b.op("add nsw", start, chunk))
        for step in range(self.tile.k):
            x = self.line(b, rows, starts[0], step)
            y = self.line(b, columns, starts[1], step)
            sums = [multiply_add(b, x[i // side], y[i % side], s) for i, s in enumerate(sums)]
        return sums

    def line(self, b: Block, s: _Side, start: Value, step: int) -> list[Value]:
        """This thread's elements of one step: neighbours by up to four, for wide loads."""
        width = min(self.tile.side, 4)
        out = []
        for group in range(self.tile.side // width):
            at = step * (s.extent + PAD) + group * (s.extent // (self.tile.side // width))
            address = b.gep(s.shared, self.acc, b.op("add nsw", start, const(I32, at)))
            vector = b.load(self.acc.with_lanes(width), address,
                            min(16, width * self.c.itemsize))
            out += [b.extract(vector, i) for i in range(width)]
        return out

    def place(self, b: Block, own: Value, extent: int, i: int) -> Value:
        """Where in the tile the thread's element number i lies along one axis."""
        width = min(self.tile.side, 4)
        start = i // width * (extent // (self.tile.side // width)) + i % width
        at = b.op("mul nsw", own, const(I32, width))
        return b.op("add nsw", at, const(I32, start))

    # -- the epilogue ------------------------------------------------------------------------
    def finish(self, b: Block, sums: list[Value]) -> None:
        """Each thread's lines in turn through shared memory, then stores along n."""
        tile, side = self.tile, self.tile.side
        down = tile.m // side
        stage = self.made.shared(self.acc, down * (tile.n + PAD))
        for i in range(side):
            line = b.op("mul nsw", self.down, const(I32, tile.n + PAD))
            for j in range(side):
                at = b.op("add nsw", line, self.place(b, self.across, tile.n, j))
                b.store(sums[i * side + j], b.gep(stage, self.acc, at), self.c.itemsize)
            self.made.barrier(b)
            loop = Loop(b, self.thread, const(I32, down * tile.n), BLOCK, [], True)
            self.element(loop.body, loop.var, i, stage)
            loop.finish([])
            self.low.forget(0)
            if i + 1 < side:
                self.made.barrier(b)

    def element(self, b: Block, flat: Value, i: int, stage: Value) -> None:
        """One element of the staged lines to its place, if C has it."""
        tile = self.tile
        line = b.op("udiv", flat, const(I32, tile.n))
        column = b.op("urem", flat, const(I32, tile.n))
        at = b.op("add nsw", b.op("mul nsw", line, const(I32, tile.n + PAD)), column)
        v = b.load(self.acc, b.gep(stage, self.acc, at), self.c.itemsize)
        m = b.op("add nsw", self.m0, self.words(b, self.place(b, line, tile.m, i)))
        n = b.op("add nsw", self.n0, self.words(b, column))
        _, rows, columns, _ = self.c.sizes
        inside = None
        for at, extent, step in ((m, rows, tile.m), (n, columns, tile.n)):
            if extent % step:
                test = b.cmp("slt", at, const(self.word, extent))
                inside = test if inside is None else b.and_(inside, test)
        when(b, inside, lambda inner: self.store(inner, m, n, v))

    def store(self, b: Block, m: Value, n: Value, v: Value) -> None:
        c = self.c
        if self.scratch is None:
            self.dense.store(self.low, b, self.batches, unravel(b, m, [x.extent for x in c.m]),
                             unravel(b, n, [x.extent for x in c.n]), v, None)
            return
        batches, rows, columns, _ = c.sizes
        at = b.op("mul nsw", self.part, const(self.word, batches))
        for index, extent in ((self.batch, rows), (m, columns), (n, 1)):
            at = b.op("add nsw", at, index)
            at = b.op("mul nsw", at, const(self.word, extent))
        b.store(v, b.gep(self.made.pointer(self.scratch), self.acc, at), c.itemsize)


def _join(scene: Scene, k: Kernel, symbol: str, dense: Dense, p: GpuPlan, word: Type, scratch: int
          ) -> Grid:
    """Adds the parts of k in order, a thread an element, and runs the epilogue."""
    c = p.contraction
    batches, rows, columns, _ = c.sizes
    total = batches * rows * columns
    blocks = min(-(-total // BLOCK), scene.target.processors * WAVES)
    made = GpuFunction(scene, symbol, BLOCK)
    low = GpuLowering(made, word)
    low.inline = k.computed
    b = made.entry
    at = b.add(b.mul(made.block(blocks), const(I32, BLOCK)), made.thread())
    at = at if word == I32 else b.convert("zext", at, word.scalar)
    loop = Loop(b, at, const(word, total), blocks * BLOCK, [], False)
    body = loop.body
    parts = made.pointer(scratch)
    v = const(c.accumulator, 0)
    for part in range(p.splits):
        where = body.op("add nsw", loop.var, const(word, part * total))
        v = body.add(v, body.load(c.accumulator, body.gep(parts, c.accumulator, where),
                                  c.itemsize))
    batch, m, n = unravel(body, loop.var, [batches, rows, columns])
    dense.store(low, body, unravel(body, batch, [x.extent for x in c.batch]),
                unravel(body, m, [x.extent for x in c.m]),
                unravel(body, n, [x.extent for x in c.n]), v, None)
    loop.finish([])
    return made.finish(blocks)
