"""A convolution's gradients from one element a window: sums over windows, not over all elements.

By the weight: each element is a factor of a patch of x as large as the kernel; a few channels'
patches are summed in registers while the walk goes over all windows of a map. By the input: each
element adds a multiple of the kernel to a patch of a plane that lies in the nearest cache. Vectors
lie along the rows of the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

from flambeau.compiler.codegen import access, loops, scalar, schedule
from flambeau.compiler.codegen.contraction import SIZES, Stage
from flambeau.compiler.codegen.dense import Strided, store_tile
from flambeau.compiler.codegen.emit import (
    I64,
    PTR,
    Block,
    Function,
    Module,
    Type,
    Value,
    attributes,
    const,
)
from flambeau.compiler.codegen.lower import Layout, Lowering
from flambeau.compiler.kernel import Kernel
from flambeau.compiler.target import Target

PARTS = 16  # of the batch, summed apart: enough to share out
PLANE = 64 << 10  # bytes of planes that are summed together
KERNELS = 48  # vectors of kernels to add at a window; what has no register is read from the stack
STEP = 8.0  # cycles to find a window's element

Cell = tuple[int, int, int]  # channel of a group, row of the kernel, vector of the row


@dataclass(frozen=True)
class Plan:
    """What explain() tells, and the memory that the parts' sums need."""

    description: str
    flops: int
    scratch_bytes: int


class SparseConv:
    """One sparse_conv kernel and how to write it."""

    def __init__(self, k: Kernel, layout: Layout, target: Target) -> None:
        self.k, self.layout, self.target = k, layout, target
        node = self.node = k.anchors[0]
        self.arg, other = node.arg, node.src[0]
        stored = set(layout.slots)
        self.other, self.value, self.place = (Strided(s, stored) for s in node.src)
        self.by_weight = self.arg.of == "weight"
        w = node if self.by_weight else other
        self.batch, self.maps, *self.windows = node.src[1].shape
        self.channels, self.taps = w.shape[1], w.shape[2:]
        self.scalar = scalar.register(node.dtype).scalar
        self.size = SIZES[self.scalar]
        self.lanes = 1
        while self.lanes < min(self.taps[1], target.lanes(self.size)):
            self.lanes *= 2
        self.vectors = -(-self.taps[1] // self.lanes)
        cells = self.channels * self.taps[0] * self.vectors
        each = STEP + cells * (1.0 if self.by_weight else 1.5)
        self.cycles = each * self.batch * self.maps * self.windows[0] * self.windows[1]
        self.serial = self.cycles < schedule.SMALL

    # -- decisions -------------------------------------------------------------------------------
    @property
    def type(self) -> Type:
        return Type(self.scalar, self.lanes)

    @property
    def line(self) -> int:
        """Elements of a row of the kernel, in whole vectors."""
        return self.vectors * self.lanes

    @property
    def parts(self) -> int:
        """Of the batch."""
        if self.serial or self.batch < PARTS // 2:
            return 1
        return -(-self.batch // -(-self.batch // PARTS))

    @property
    def sums(self) -> int:
        """Elements of one part's sums."""
        return self.maps * self.channels * self.taps[0] * self.line

    @property
    def plan(self) -> Plan:
        what = "kernel" if self.by_weight else "plane"
        text = (f"sparse convolution by {self.arg.of}, {self.batch} x {self.maps} maps of "
                f"{self.windows[0]}x{self.windows[1]} windows into {self.channels} channels of a "
                f"{what}, {self.taps[0]} rows of {self.vectors} vectors of {self.lanes}")
        count = self.batch * self.maps * self.windows[0] * self.windows[1]
        flops = 2 * count * self.channels * self.taps[0] * self.taps[1]
        return Plan(text, flops, self.parts * self.sums * self.size if self.by_weight else 0)

    @property
    def room(self) -> int:
        """Registers for sums of patches; the rest holds the factor."""
        return self.target.registers - 2

    def group(self, room: int) -> int:
        """The largest divisor of the channels whose cells fit `room` registers."""
        most = max(1, room // (self.taps[0] * self.vectors))
        return max(d for d in range(1, min(most, self.channels) + 1) if self.channels % d == 0)

    # -- writing ---------------------------------------------------------------------------------
    def generate(self, module: Module, symbol: str, scratch: int | None) -> list[Stage]:
        """Writes the stages; `scratch` is the slot of the plan's scratch memory."""
        if not self.by_weight:
            return [_ByInput(self, module, symbol, None).write()]
        assert scratch is not None
        if self.serial:
            return [_ByWeight(self, module, symbol, scratch).write_all()]
        return [_ByWeight(self, module, f"{symbol}_sums", scratch).write_sums(),
                _ByWeight(self, module, f"{symbol}_add", scratch).write_add()]


class _Writer:
    """A function of the kernel."""

    def __init__(self, s: SparseConv, module: Module, symbol: str, scratch: int | None) -> None:
        self.s = s
        self.fn = Function(module, symbol, None, [("slots", PTR, "noalias"), ("chunk", I64, "")],
                           attributes(module, s.target), "internal")
        self.stack = self.fn.entry.child()
        self.low = Lowering(s.target, s.layout, self.fn.entry, self.fn[0])
        self.low.inline = s.k.computed
        self.scratch = self.low.pointer(scratch) if scratch is not None else None
        self.one = Type(s.scalar)
        self.other = self.base(s.other)
        self.value, self.place = self.base(s.value), self.base(s.place)

    def base(self, v: Strided) -> Value:
        pointer = self.low.pointer(self.s.layout.slots[v.node])
        if not v.offset:
            return pointer
        return self.low.at(-1).gep(pointer, scalar.memory(v.node.dtype), const(I64, v.offset))

    def end(self, chunks: int) -> Stage:
        self.fn.ret(self.fn.entry)
        self.fn.finish()
        return Stage(self.fn.symbol, chunks)

    def chunk(self, items: int, cycles: float) -> tuple[Value, Value, int]:
        """The range of items of this chunk, and the number of chunks."""
        b, chunk = self.fn.entry, self.fn[1]
        grain = items if self.s.serial else min(items, max(1, int(items * schedule.CHUNK / cycles)))
        low = loops.mul(b, chunk, grain)
        return low, loops.least(b, loops.add(b, low, grain), items), -(-items // grain)

    def element(self, b: Block, at: list[Value]) -> tuple[Value, Value, Value]:
        """The factor at a window, and where the kernel's first tap meets: row and column."""
        s = self.s
        g = b.load(self.one, b.gep(self.value, self.one, loops.dot(b, at, s.value.strides)),
                   s.size)
        kind = scalar.memory(s.place.node.dtype)
        raw = b.load(kind, b.gep(self.place, kind, loops.dot(b, at, s.place.strides)),
                     max(1, kind.bits // 8))
        number = b.convert("zext", raw, "i64") if kind.bits < 64 else raw
        down = loops.divide(b, number, s.arg.window[1])
        along = loops.sub(b, number, loops.mul(b, down, s.arg.window[1]))
        where = [loops.mul(b, loops.add(b, loops.mul(b, p, e), d), step) for p, e, d, step in
                 zip(at[2:], s.arg.window, (down, along), s.arg.stride)]
        return g, where[0], where[1]

    def cells(self, channels: int) -> list[Cell]:
        s = self.s
        return [(c, row, v) for c in range(channels) for row in range(s.taps[0])
                for v in range(s.vectors)]

    def active(self, v: int) -> int:
        """Lanes of vector v of a row that are taps."""
        return min(self.s.lanes, self.s.taps[1] - v * self.s.lanes)

    def vector(self, b: Block, base: Value, offset: int, stride: int, v: int,
               count: int | None = None) -> Value:
        """Vector v of a row of taps that begins `offset` behind base; lanes from `count` on, which
        are no taps, are zero."""
        s = self.s
        count = self.active(v) if count is None else count
        first = b.gep(base, self.one, loops.index(offset + v * s.lanes * stride))
        if stride == 1 and count == s.lanes:
            return b.load(s.type, first, s.size)
        if stride == 1 and s.target.vector_bytes >= 32:
            return access.masked_load(b, s.type, first, access.lane_mask(s.lanes, range(count)),
                                      s.size)
        found = const(s.type, 0)
        for i in range(count):
            at = b.gep(first, self.one, loops.index(i * stride))
            one = b.load(self.one, at, s.size)
            found = b.insert(found, one, i) if s.lanes > 1 else one
        return found

    def clear(self, b: Block, pointer: Value, elements: int) -> None:
        b.module.declare("llvm.memset.p0.i64",
                         "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        b.line(f"call void @llvm.memset.p0.i64(ptr {pointer.text}, i8 0, "
               f"i64 {elements * self.s.size}, i1 false)")

    def put(self, b: Block, at: list[Value], v: Value, count: int) -> None:
        """Stores `count` lanes of the result."""
        mask = loops.first_lanes(count, v.type.lanes)
        store_tile(self.low, b, self.s.k, at, v, mask)


class _ByWeight(_Writer):
    """Sums in registers, a few channels at a time; then the parts of the batch are added."""

    def write_all(self) -> Stage:
        s = self.s
        self.sums(self.fn.entry, loops.ZERO, loops.index(s.batch), loops.ZERO,
                  loops.index(s.maps), loops.ZERO)
        self.add(self.fn.entry, loops.ZERO, loops.index(s.maps))
        return self.end(1)

    def write_sums(self) -> Stage:
        """A chunk is a part of the batch; of a small batch, one map."""
        s, b = self.s, self.fn.entry
        chunk = self.fn[1]
        if s.parts == 1:
            self.sums(b, loops.ZERO, loops.index(s.batch), chunk, loops.add(b, chunk, 1),
                      loops.ZERO)
            return self.end(s.maps)
        each = -(-s.batch // s.parts)
        low = loops.mul(b, chunk, each)
        high = loops.least(b, loops.add(b, low, each), s.batch)
        self.sums(b, low, high, loops.ZERO, loops.index(s.maps), loops.mul(b, chunk, s.sums))
        return self.end(s.parts)

    def write_add(self) -> Stage:
        low, high, chunks = self.chunk(self.s.maps, self.s.cycles / 20)
        self.add(self.fn.entry, low, high)
        return self.end(chunks)

    def sums(self, b: Block, low: Value, high: Value, first: Value, last: Value,
             part: Value) -> None:
        """Examples low to high, maps first to last."""
        s, room = self.s, self.s.room
        each = s.channels * s.taps[0] * s.line
        group = s.group(room)
        cells = self.cells(group)
        assert self.scratch is not None
        scratch = self.scratch

        def one_map(b: Block, m: Value) -> None:
            at = loops.add(b, part, loops.mul(b, m, each))
            buffer = loops.opaque(b, b.gep(scratch, self.one, at))
            self.clear(b, buffer, each)

            def example(b: Block, n: Value) -> None:
                def channels(b: Block, c: Value) -> None:
                    for i in range(0, len(cells), room):
                        self.patch(b, n, m, c, cells[i:i + room], buffer)
                loops.loop(b, 0, s.channels, group, channels)
            loops.loop(b, low, high, 1, example)
        loops.loop(b, first, last, 1, one_map)

    def patch(self, b: Block, n: Value, m: Value, c: Value, cells: list[Cell], buffer: Value
              ) -> None:
        """Adds all windows' patches to some cells, from channel c on."""
        s = self.s
        x, dilation = s.other.strides, s.arg.dilation
        own = s.taps[0] * s.line
        first = b.gep(buffer, self.one, loops.mul(b, c, own))
        places = [b.gep(first, self.one, loops.index(i * own + row * s.line + v * s.lanes))
                  for i, row, v in cells]
        start = loops.add(b, loops.mul(b, n, x[0]), loops.mul(b, c, x[1]))
        steps = [i * x[1] + row * dilation[0] * x[2] for i, row, _ in cells]
        counts = [s.lanes if self.inside(step + v * s.lanes) else self.active(v)
                  for step, (_, _, v) in zip(steps, cells)]

        def window(b: Block, at: list[Value], old: list[Value]) -> list[Value]:
            g, down, along = self.element(b, at)
            offset = loops.add(b, loops.mul(b, down, x[2]), loops.mul(b, along, x[3]))
            base = b.gep(self.other, self.one, loops.add(b, start, offset))
            wide = b.splat(g, s.lanes)
            return [b.muladd(wide, self.vector(b, base, step, dilation[1] * x[3], v, count), total)
                    for step, (_, _, v), count, total in zip(steps, cells, counts, old)]

        def row(b: Block, p: Value, old: list[Value]) -> list[Value]:
            return loops.fold(b, 0, s.windows[1], 1, old,
                              lambda b, q, sums: window(b, [n, m, p, q], sums))
        sums = [b.load(s.type, p, s.size) for p in places]
        for p, total in zip(places, loops.fold(b, 0, s.windows[0], 1, sums, row)):
            b.store(total, p, s.size)

    def inside(self, offset: int) -> bool:
        """Does a whole vector lie in x's memory, `offset` behind any window of any channel?"""
        s, x = self.s, self.s.other
        down, along = ((p * e - 1) * step for p, e, step in
                       zip(s.windows, s.arg.window, s.arg.stride))
        channel = s.channels - s.group(s.room)
        last = sum(i * e for i, e in zip((s.batch - 1, channel, down, along), x.strides))
        return min(x.strides) >= 0 and x.offset + last + offset + s.lanes <= x.node.size

    def add(self, b: Block, low: Value, high: Value) -> None:
        """Adds the parts in order and stores the result of some maps."""
        s = self.s
        assert self.scratch is not None
        scratch = self.scratch

        def row(b: Block, m: Value, c: Value, k: Value) -> None:
            linear = loops.add(b, loops.mul(b, loops.add(b, loops.mul(b, m, s.channels), c),
                                            s.taps[0]), k)
            base = b.gep(scratch, self.one, loops.mul(b, linear, s.line))
            for v in range(s.vectors):
                here = b.gep(base, self.one, loops.index(v * s.lanes))

                def part(b: Block, i: Value, old: list[Value], here: Value = here) -> list[Value]:
                    at = b.gep(here, self.one, loops.mul(b, i, s.sums))
                    return [b.add(old[0], b.load(s.type, at, s.size))]
                total = loops.fold(b, 1, s.parts, 1, [b.load(s.type, here, s.size)], part)[0]
                self.put(b, [m, c, k, loops.index(v * s.lanes)], total, self.active(v))
        loops.loop(b, low, high, 1, lambda b, m: loops.loop(
            b, 0, s.channels, 1, lambda b, c: loops.loop(
                b, 0, s.taps[0], 1, lambda b, k: row(b, m, c, k))))


class _ByInput(_Writer):
    """Planes of a few channels, framed by what the kernel reaches beyond them."""

    def write(self) -> Stage:
        s, b = self.s, self.fn.entry
        taps, dilation = s.taps, s.arg.dilation
        extents = [max((p * e - 1) * step + (k - 1) * d + 1, before + size)
                   for p, e, step, k, d, before, size in
                   zip(s.windows, s.arg.window, s.arg.stride, taps, dilation, s.arg.before,
                       s.node.shape[2:])]
        self.pitch = -(-(extents[1] + s.line) // 16) * 16
        self.rows = extents[0]
        room = min(KERNELS, PLANE // (self.rows * self.pitch * s.size) * taps[0] * s.vectors)
        self.group = s.group(room)
        self.elements = self.group * self.rows * self.pitch + s.target.lanes(s.size)
        self.plane = self.stack.value(PTR, f"alloca [{self.elements} x {s.scalar}], align 64")
        groups = s.channels // self.group
        low, high, chunks = self.chunk(s.batch * groups, s.cycles)

        def item(b: Block, number: Value) -> None:
            n = loops.divide(b, number, groups)
            c = loops.mul(b, loops.modulo(b, number, groups), self.group)
            self.fill(b, n, c)
            self.empty(b, n, c)
        loops.loop(b, low, high, 1, item)
        return self.end(chunks)

    def fill(self, b: Block, n: Value, c: Value) -> None:
        """Adds all windows' patches. A row of windows after the other, so that what is being added
        to stays near."""
        s = self.s
        w, cells = s.other.strides, self.cells(self.group)
        self.clear(b, self.plane, self.elements)

        def one_map(b: Block, p: Value, m: Value) -> None:
            start = loops.add(b, loops.mul(b, m, w[0]), loops.mul(b, c, w[1]))
            base = b.gep(self.other, self.one, start)
            kernel = [self.vector(b, base, i * w[1] + row * w[2], w[3], v) for i, row, v in cells]
            loops.loop(b, 0, s.windows[1], 1,
                       lambda b, q: self.window(b, [n, m, p, q], cells, kernel))

        loops.loop(b, 0, s.windows[0], 1, lambda b, p: loops.loop(
            b, 0, s.maps, 1, lambda b, m: one_map(b, p, m)))

    def window(self, b: Block, at: list[Value], cells: list[Cell], kernel: list[Value]) -> None:
        s = self.s
        g, down, along = self.element(b, at)
        first = b.gep(self.plane, self.one,
                      loops.add(b, loops.mul(b, down, self.pitch), along))
        wide = b.splat(g, s.lanes)
        for (i, row, v), taps in zip(cells, kernel):
            mask = loops.first_lanes(self.active(v), s.lanes)
            factor = wide if mask is None else b.select(mask, wide, const(s.type, 0))
            offset = (i * self.rows + row * s.arg.dilation[0]) * self.pitch + v * s.lanes
            place = b.gep(first, self.one, loops.index(offset))
            b.store(b.muladd(factor, taps, b.load(s.type, place, s.size)), place, s.size)

    def empty(self, b: Block, n: Value, c: Value) -> None:
        """Stores the planes without their frames."""
        s, (height, width) = self.s, self.s.node.shape[2:]
        lanes = min(s.target.lanes(s.size), 1 << (width - 1).bit_length())
        whole = width // lanes * lanes

        def row(b: Block, linear: Value) -> None:
            i, y = loops.unravel(b, linear, [self.group, height])
            down = loops.add(b, loops.mul(b, i, self.rows), loops.add(b, y, s.arg.before[0]))
            first = b.gep(self.plane, self.one,
                          loops.add(b, loops.mul(b, down, self.pitch), s.arg.before[1]))

            def piece(b: Block, x: Value, count: int) -> None:
                v = b.load(Type(s.scalar, lanes), b.gep(first, self.one, x), s.size)
                self.put(b, [n, loops.add(b, c, i), y, x], v, count)
            loops.loop(b, 0, whole, lanes, lambda b, x: piece(b, x, lanes))
            if whole < width:
                piece(b, loops.index(whole), width - whole)
        loops.loop(b, 0, self.group * height, 1, row)
