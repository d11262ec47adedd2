"""Matrix products and convolutions on a GPU: one tiled kernel over a contraction's axes.

A block computes a tile of C. Tiles of A and B go through shared memory, which holds several stages,
so that the next ones are on their way while the present ones are multiplied: by asynchronous copies
from sm_80 on, else (and where elements must be converted) through registers. Each thread keeps a
small square of C in registers. Operands are read through their strides (a convolution is an
implicit product), and the finished tile goes through shared memory once more, so that the epilogue
is written a few times only and stores along the last axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flambeau.compiler.codegen import gpu_async, scalar
from flambeau.compiler.codegen.contraction import Axis, Operand, size
from flambeau.compiler.codegen.dense import Dense, Strided
from flambeau.compiler.codegen.emit import I8, I32, I64, Block, Type, Value, const, make_type
from flambeau.compiler.codegen.gpu_kernel import (
    BLOCK,
    GpuFunction,
    GpuLowering,
    Grid,
    Scene,
    unravel,
    when,
)
from flambeau.compiler.codegen.gpu_plan import PAD, RESIDENT, GpuPlan
from flambeau.compiler.codegen.loops import Loop
from flambeau.compiler.codegen.simple import multiply_add
from flambeau.compiler.kernel import Kernel


def _dot(b: Block, indices: list[Value], strides: list[int], word: Type) -> Value:
    total = const(word, 0)
    for i, stride in zip(indices, strides, strict=True):
        if stride:
            term = i if stride == 1 else b.op("mul nsw", i, const(word, stride))
            total = term if total.text == "0" else b.op("add nsw", total, term)
    return total


def _or_zero(b: Block, inside: Value, v: Value) -> Value:
    """v where `inside` holds, else zeros. LLVM 22 loses half of a selected vector of 16 bits."""
    if v.type.lanes == 1 or v.type.bits >= 32:
        return b.select(inside, v, const(v.type, 0))
    words = make_type("i32", v.type.lanes * v.type.bits // 32)
    chosen = b.select(inside, b.value(words, f"bitcast {v} to {words}"), const(words, 0))
    return b.value(v.type, f"bitcast {chosen} to {v.type}")


@dataclass(frozen=True)
class Side:
    """One operand's way into shared memory. lines: its m or n axes; steps: its k axes' strides.

    pointer: its elements in device memory, where asynchronous copies take them from; else None.
    """

    operand: Operand
    lines: tuple[Axis, ...]
    line_strides: list[int]
    steps: list[int]
    extent: int  # lines of a tile
    base: Value  # offset of this batch
    shared: Value
    first: Value  # the tile's first line
    flat: bool  # neighbours in memory are steps of k
    width: int  # neighbours that are loaded at once
    pointer: Value | None


@dataclass(frozen=True)
class Way:
    """A side, the places in its tile that a thread fills, and where their lines begin in memory."""

    side: Side
    places: list[tuple[Value, Value]]
    offsets: list[Value]


@dataclass(frozen=True)
class Plain:
    """An operand whose elements are multiplied as they are stored."""

    pointer: Value
    kind: Type

    def load(self, block: Block, offset: Value, lanes: int, mask: Value | None) -> Value:
        """Lanes that begin at a multiple of their number."""
        return block.load(self.kind.with_lanes(lanes), block.gep(self.pointer, self.kind, offset),
                          self.kind.bits // 8 * lanes)


class Tiled:
    """The kernel being written."""

    def __init__(self, scene: Scene, k: Kernel, symbol: str, dense: Dense, p: GpuPlan, word: Type,
                 scratch: int | None) -> None:
        self.scene, self.k, self.dense, self.plan, self.word = scene, k, dense, p, word
        self.scratch, self.c, self.tile = scratch, p.contraction, p.tile
        self.acc = self.c.accumulator
        # two blocks leave 128 registers a thread: too few for numbers of 8 bytes, and the small
        # tile keeps below by itself but on sm_75 with odd lines, where the bound made it spill
        resident = RESIDENT if self.c.itemsize <= 4 and p.tile.side == 8 else 1
        self.made = GpuFunction(scene, symbol, BLOCK, resident)
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
        staged = self.turns[1] * (tile.n + PAD) * c.itemsize
        self.memory = made.shared(I8, max(self.plan.stages * self.plan.stage_bytes, staged))
        rows = self.side(b, self.dense.a, c.m, "a", tile.m, self.m0)
        columns = self.side(b, self.dense.b, c.n, "b", tile.n, self.n0)
        sums = self.rounds(b, rows, columns)
        self.finish(b, sums)
        return made.finish(blocks)

    def operand(self, s: Strided) -> Operand:
        """How elements are read; those that need no conversion can be read as vectors."""
        kind = scalar.memory(s.node.dtype)
        if s.node.dtype.name in ("bool", "bfloat16") or kind != self.acc:
            return self.dense.operand(self.low, s)
        return Plain(self.base_of(s, kind), kind)

    def base_of(self, s: Strided, kind: Type) -> Value:
        base = self.low.pointer(self.scene.layout.slots[s.node])
        return self.low.at(-1).gep(base, kind, const(I64, s.offset)) if s.offset else base

    def words(self, b: Block, v: Value) -> Value:
        return v if v.type == self.word else b.convert("zext", v, self.word.scalar)

    def side(self, b: Block, source: Strided, lines: tuple[Axis, ...], which: str, extent: int,
             first: Value) -> Side:
        def strides(axes: tuple[Axis, ...]) -> list[int]:
            return [(x.a if which == "a" else x.b) or 0 for x in axes]

        operand, c = self.operand(source), self.c
        flat = abs(strides(c.k)[-1]) == 1 and c.k[-1].extent > 1 and not (
            lines and abs(strides(lines)[-1]) == 1)
        near, far = (c.k, lines) if flat else (lines, c.k)
        rest = [source.offset, *strides(c.batch), *strides(near)[:-1], *strides(far)]
        width, pointer = 1, None
        if isinstance(operand, Plain):
            pointer = operand.pointer
            if near and strides(near)[-1] == 1 and (
                    self.scene.layout.slots[source.node] not in self.scene.rough):
                width = min(128 // operand.kind.bits, extent * self.tile.k // BLOCK)
                while any(x % width for x in (near[-1].extent, *rest)):
                    width //= 2
        if self.scene.target.sm < 80:
            pointer = None
        if pointer is not None and not self.together(flat):
            width = 1
        if self.stored.bits // 8 * width not in gpu_async.SIZES:
            pointer = None
        place = self.plan.stages * self.span(self.tile.m) * self.stored.bits // 8
        shared = self.memory if which == "a" else b.gep(self.memory, I8, const(I32, place))
        base = _dot(b, self.batches, strides(c.batch), self.word)
        return Side(operand, lines, strides(lines), strides(c.k), extent, base, shared, first,
                    flat, width, pointer)

    # -- the tile in shared memory -----------------------------------------------------------
    def span(self, extent: int) -> int:
        """Elements of one buffer of a tile with so many lines."""
        return self.tile.k * (extent + PAD)

    def spot(self, b: Block, side: Side, line: Value, step: Value) -> Value:
        """Where an element lies in its buffer: a line of the tile for each step of k."""
        pitch = const(I32, side.extent + PAD)
        return b.op("add nsw", b.op("mul nsw", step, pitch), line)

    @property
    def stored(self) -> Type:
        """The type of a tile's elements."""
        return self.acc

    def together(self, flat: bool) -> bool:
        """Whether neighbours in memory (along k if `flat`) are neighbours in the buffer."""
        return not flat

    # -- from memory to registers ------------------------------------------------------------
    def places(self, b: Block, side: Side) -> list[tuple[Value, Value]]:
        """(line, step) in the tile of each element, or first of `width`, that this thread moves."""
        count = side.extent * self.tile.k // BLOCK // side.width
        span = (self.tile.k if side.flat else side.extent) // side.width
        near = b.op("urem", self.thread, const(I32, span))
        near = b.op("mul nsw", near, const(I32, side.width))
        far = b.op("udiv", self.thread, const(I32, span))
        found = []
        for i in range(count):
            other = b.op("add nsw", far, const(I32, i * (BLOCK // span)))
            found.append((other, near) if side.flat else (near, other))
        return found

    def line_offsets(self, b: Block, side: Side, places: list[tuple[Value, Value]]
                     ) -> list[Value]:
        """Where each element's line begins in memory; lines beyond the last repeat it."""
        total, known = size(side.lines), {}
        for line, _ in places:
            if line.text in known:
                continue
            at = b.op("add nsw", side.first, self.words(b, line))
            if total % side.extent:
                last = total - (1 if side.flat else side.width)
                at = b.intrinsic("llvm.smin", self.word, at, const(self.word, last))
            indices = unravel(b, at, [x.extent for x in side.lines])
            offset = _dot(b, indices, side.line_strides, self.word)
            known[line.text] = b.op("add nsw", offset, side.base)
        return [known[line.text] for line, _ in places]

    def along(self, b: Block, way: Way, round_: Value) -> list[tuple[Value, Value | None]]:
        """(where its element lies in memory, whether it is before the end of k) for each place."""
        side, total = way.side, size(self.c.k)
        steps: dict[str, tuple[Value, Value | None]] = {}
        start = b.op("mul nsw", round_, const(self.word, self.tile.k))
        for _, step in way.places:
            if step.text in steps:
                continue
            at = b.op("add nsw", start, self.words(b, step))
            inside = None
            if total % self.tile.k:
                inside = b.cmp("slt", at, const(self.word, total))
                last = total - (side.width if side.flat else 1)
                at = b.intrinsic("llvm.smin", self.word, at, const(self.word, last))
            indices = unravel(b, at, [x.extent for x in self.c.k])
            steps[step.text] = (_dot(b, indices, side.steps, self.word), inside)
        found = [steps[step.text] for _, step in way.places]
        return [(b.op("add nsw", offset, step), inside)
                for offset, (step, inside) in zip(way.offsets, found)]

    def fetch(self, b: Block, way: Way, round_: Value) -> list[Value]:
        """The elements of a round in registers, zero beyond the end of k."""
        out = []
        for at, inside in self.along(b, way, round_):
            v = way.side.operand.load(b, at, way.side.width, None)
            out.append(v if inside is None else _or_zero(b, inside, v))
        return out

    def send(self, b: Block, way: Way, round_: Value, wanted: Value, buffer: Value) -> None:
        """The elements of a round on their way to a buffer; nothing is read if not `wanted`."""
        side = way.side
        assert side.pointer is not None
        start = b.op("mul nsw", buffer, const(I32, self.span(side.extent)))
        for (line, step), (at, inside) in zip(way.places, self.along(b, way, round_)):
            spot = b.op("add nsw", start, self.spot(b, side, line, step))
            gpu_async.copy(b, b.gep(side.shared, self.stored, spot),
                           b.gep(side.pointer, self.stored, at),
                           self.stored.bits // 8 * side.width,
                           wanted if inside is None else b.and_(wanted, inside))

    def keep(self, b: Block, way: Way, values: list[Value], buffer: Value) -> None:
        """Registers to shared memory."""
        side = way.side
        start = b.op("mul nsw", buffer, const(I32, self.span(side.extent)))
        for (line, step), v in zip(way.places, values):
            nbytes = self.stored.bits // 8
            if side.width == 1 or self.together(side.flat):
                at = b.op("add nsw", start, self.spot(b, side, line, step))
                b.store(v, b.gep(side.shared, self.stored, at), nbytes * side.width)
                continue
            for i in range(side.width):
                on = const(I32, i)
                place = ((line, b.op("add nsw", step, on)) if side.flat
                         else (b.op("add nsw", line, on), step))
                at = b.op("add nsw", start, self.spot(b, side, *place))
                b.store(b.extract(v, i), b.gep(side.shared, self.stored, at), nbytes)

    # -- the sum -----------------------------------------------------------------------------
    def rounds(self, b: Block, rows: Side, columns: Side) -> list[Value]:
        """All rounds of this block's part of k: thread's sums, row by row."""
        each = -(-self.plan.rounds // self.plan.splits)
        begin = b.op("mul nsw", self.part, const(self.word, each))
        end = b.op("add nsw", begin, const(self.word, each))
        if self.plan.splits > 1:
            end = b.intrinsic("llvm.smin", self.word, end, const(self.word, self.plan.rounds))
        ways = []
        for side in (rows, columns):
            places = self.places(b, side)
            ways.append(Way(side, places, self.line_offsets(b, side, places)))
        stages = self.plan.stages
        for i in range(stages - 1):
            self.arrive(b, self.depart(b, ways, b.op("add nsw", begin, const(self.word, i)), end,
                                       const(I32, i)))
        zero = [(self.acc, const(self.acc, 0))] * (self.tile.m * self.tile.n // BLOCK)
        loop = Loop(b, begin, end, 1, [(I32, const(I32, 0)), *zero], True)
        body, buffer = loop.body, loop.carried[0]
        self.meet(body, ways, stages - 2)
        ahead = body.op("add nsw", loop.var, const(self.word, stages - 1))
        before = body.op("sub nsw", buffer, const(I32, 1))
        first = body.cmp("eq", buffer, const(I32, 0))
        free = body.select(first, const(I32, stages - 1), before)  # read in the round before
        coming = self.depart(body, ways, ahead, end, free)
        sums = self.multiply(body, rows, columns, buffer, loop.carried[1:])
        self.arrive(body, coming)
        following = body.op("add nsw", buffer, const(I32, 1))
        past = body.cmp("eq", following, const(I32, stages))
        found = loop.finish([body.select(past, const(I32, 0), following), *sums])
        self.meet(b, ways, 0)
        return found[1:]

    def depart(self, b: Block, ways: list[Way], round_: Value, end: Value, buffer: Value
               ) -> list[tuple[Way, list[Value], Value]]:
        """Asks for a round's tiles; what comes through registers is to be kept by `arrive`."""
        last = b.op("sub nsw", end, const(self.word, 1))
        wanted = b.cmp("slt", round_, end)
        there = b.intrinsic("llvm.smin", self.word, round_, last)
        for way in ways:
            if way.side.pointer is not None:
                self.send(b, way, there, wanted, buffer)
        if any(way.side.pointer is not None for way in ways):
            gpu_async.commit(b)
        return [(way, self.fetch(b, way, there), buffer) for way in ways
                if way.side.pointer is None]

    def arrive(self, b: Block, coming: list[tuple[Way, list[Value], Value]]) -> None:
        for way, values, buffer in coming:
            self.keep(b, way, values, buffer)

    def meet(self, b: Block, ways: list[Way], left: int) -> None:
        """Waits for all but `left` rounds that were asked for; the block then sees them."""
        if any(way.side.pointer is not None for way in ways):
            gpu_async.wait(b, left)
        self.made.barrier(b)

    def narrow(self, b: Block, v: Value) -> Value:
        return v if v.type == I32 else b.convert("trunc", v, "i32")

    def multiply(self, b: Block, rows: Side, columns: Side, buffer: Value, sums: list[Value]
                 ) -> list[Value]:
        """One round from shared memory: outer products of a column of A and a row of B."""
        side = self.tile.side
        starts = []
        for s, place in ((rows, self.down), (columns, self.across)):
            start = b.op("mul nsw", buffer, const(I32, self.span(s.extent)))
            chunk = b.op("mul nsw", place, const(I32, min(side, 4)))
            starts.append(b.op("add nsw", start, chunk))
        for step in range(self.tile.k):
            x = self.line(b, rows, starts[0], step)
            y = self.line(b, columns, starts[1], step)
            sums = [multiply_add(b, x[i // side], y[i % side], s) for i, s in enumerate(sums)]
        return sums

    def line(self, b: Block, s: Side, start: Value, step: int) -> list[Value]:
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
    @property
    def turns(self) -> tuple[int, int]:
        """How often lines of C are staged, and how many at once."""
        return self.tile.side, self.tile.m // self.tile.side

    def staged(self, b: Block, sums: list[Value], i: int) -> list[tuple[Value, Value, Value]]:
        """(line, column, sum) of this thread's elements of turn i; lines count within the turn."""
        side = self.tile.side
        return [(self.down, self.place(b, self.across, self.tile.n, j), sums[i * side + j])
                for j in range(side)]

    def row(self, b: Block, line: Value, i: int) -> Value:
        """The tile's row that is line `line` of turn i."""
        return self.place(b, line, self.tile.m, i)

    def finish(self, b: Block, sums: list[Value]) -> None:
        """Each thread's lines in turn through shared memory, then stores along n."""
        pitch = self.tile.n + PAD
        turns, lines = self.turns
        stage = self.memory  # all threads are done with the tiles
        for i in range(turns):
            for line, column, v in self.staged(b, sums, i):
                at = b.op("add nsw", b.op("mul nsw", line, const(I32, pitch)), column)
                b.store(v, b.gep(stage, self.acc, at), self.c.itemsize)
            self.made.barrier(b)
            loop = Loop(b, self.thread, const(I32, lines * self.tile.n), BLOCK, [], True)
            self.element(loop.body, loop.var, i, stage)
            loop.finish([])
            self.low.forget(0)
            if i + 1 < turns:
                self.made.barrier(b)

    def element(self, b: Block, flat: Value, i: int, stage: Value) -> None:
        """One element of the staged lines to its place, if C has it."""
        tile = self.tile
        line = b.op("udiv", flat, const(I32, tile.n))
        column = b.op("urem", flat, const(I32, tile.n))
        at = b.op("add nsw", b.op("mul nsw", line, const(I32, tile.n + PAD)), column)
        v = b.load(self.acc, b.gep(stage, self.acc, at), self.c.itemsize)
        m = b.op("add nsw", self.m0, self.words(b, self.row(b, line, i)))
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
