"""Matrix products and convolutions on a GPU: one tiled kernel over a contraction's axes.

A block computes a tile of C. Tiles of A and B go through shared memory in two buffers, so that the
next ones are on their way while the present ones are multiplied; each thread keeps a small square
of C in registers. Operands are read through their strides (a convolution is an implicit product),
and the finished tile goes through shared memory once more, so that the epilogue is written a few
times only and stores along the last axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flambeau.compiler.codegen import scalar
from flambeau.compiler.codegen.contraction import Axis, Operand, size
from flambeau.compiler.codegen.dense import Dense, Strided
from flambeau.compiler.codegen.emit import I32, I64, Block, Type, Value, const, make_type
from flambeau.compiler.codegen.gpu_kernel import (
    BLOCK,
    GpuFunction,
    GpuLowering,
    Grid,
    Scene,
    unravel,
    when,
)
from flambeau.compiler.codegen.gpu_plan import GpuPlan
from flambeau.compiler.codegen.loops import Loop
from flambeau.compiler.codegen.simple import multiply_add
from flambeau.compiler.kernel import Kernel

PAD = 4  # elements between lines of a tile, against bank conflicts; keeps vectors aligned


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
    width: int  # neighbours that are loaded at once


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
        self.acc = self.stored = self.c.accumulator
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
        width = 1
        if isinstance(operand, Plain) and near and strides(near)[-1] == 1 and (
                self.scene.layout.slots[source.node] not in self.scene.rough):
            width = min(128 // operand.kind.bits, extent * self.tile.k // BLOCK)
            while any(x % width for x in (near[-1].extent, *rest)):
                width //= 2
        shared = self.made.shared(self.stored, 2 * self.span(extent))
        base = _dot(b, self.batches, strides(c.batch), self.word)
        return Side(operand, lines, strides(lines), strides(c.k), extent, base, shared, first,
                    flat, width)

    # -- the tile in shared memory -----------------------------------------------------------
    def span(self, extent: int) -> int:
        """Elements of one buffer of a tile with so many lines."""
        return self.tile.k * (extent + PAD)

    def spot(self, b: Block, side: Side, line: Value, step: Value) -> Value:
        """Where an element lies in its buffer: a line of the tile for each step of k."""
        pitch = const(I32, side.extent + PAD)
        return b.op("add nsw", b.op("mul nsw", step, pitch), line)

    along_lines = True  # whether neighbours in the buffer are lines

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

    def fetch(self, b: Block, side: Side, places: list[tuple[Value, Value]],
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
                last = total - (side.width if side.flat else 1)
                at = b.intrinsic("llvm.smin", self.word, at, const(self.word, last))
            indices = unravel(b, at, [x.extent for x in self.c.k])
            steps[step.text] = (_dot(b, indices, side.steps, self.word), inside)
        out = []
        for (_, step), offset in zip(places, offsets):
            along, inside = steps[step.text]
            v = side.operand.load(b, b.op("add nsw", offset, along), side.width, None)
            out.append(v if inside is None else _or_zero(b, inside, v))
        return out

    def keep(self, b: Block, side: Side, places: list[tuple[Value, Value]], values: list[Value],
             buffer: Value) -> None:
        """Registers to shared memory."""
        start = b.op("mul nsw", buffer, const(I32, self.span(side.extent)))
        for (line, step), v in zip(places, values):
            nbytes = self.stored.bits // 8
            if side.width == 1 or side.flat != self.along_lines:
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
        sides = []
        for side in (rows, columns):
            places = self.places(b, side)
            sides.append((side, places, self.line_offsets(b, side, places)))
        for side, places, offsets in sides:
            self.keep(b, side, places, self.fetch(b, side, places, offsets, begin), const(I32, 0))
        self.made.barrier(b)
        zero = [(self.acc, const(self.acc, 0))] * (self.tile.m * self.tile.n // BLOCK)
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
        stage = self.made.shared(self.acc, lines * pitch)
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
