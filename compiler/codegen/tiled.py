"""The blocked contraction kernel: packing, register tiles, buffer, epilogue, as phases of items.

C is cut into items, rectangles of tiles (and, where there are too few, parts of k as well). An item
walks its blocks of k; for each it runs the register tile over its tiles, adding to a buffer on the
stack; then the epilogue empties the buffer. A phase's items may run in any order: packing, the
tiles, and adding up the parts of k are phases with a barrier between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from flambeau.compiler.codegen import epilogue, lanes, loops, microkernel, pack
from flambeau.compiler.codegen.contraction import Border, Contraction, Memory, Operand, Store, size
from flambeau.compiler.codegen.emit import PTR, Block, Type, Value, const, make_type
from flambeau.compiler.codegen.grid import Grid
from flambeau.compiler.codegen.microkernel import KAxis, Side

ALIGN = 64
WRITTEN = 128  # multiply-adds that may be written out for the sake of a border


@dataclass(frozen=True, slots=True)
class SidePlan:
    """One side of C (rows or columns) and its operand.

    packing: how the operand is packed to scratch first; None: it is read where it lies. k: the
    operand's stride for each k axis of the tiling (in the panel when packed).
    """

    operand: int  # 0: A, 1: B
    grid: Grid
    k: tuple[int, ...]
    batch: tuple[int, ...]  # stride of each batch axis in the operand
    packing: pack.Packing | None = None

    @property
    def panel(self) -> int:
        """Elements of one panel with all of k."""
        return self.packing.pitch * self.packing.depth if self.packing else 0


@dataclass(frozen=True)
class Tiling:
    """All decisions of a blocked kernel. k: extents of the merged k axes."""

    contraction: Contraction
    lanes: int
    kind: str  # "outer" or "inner"
    swapped: bool  # rows are n and columns m, so that vectors lie along m
    rows: SidePlan
    columns: SidePlan
    k: tuple[int, ...]
    k_block: int  # of the first k axis
    splits: int  # parts of the first k axis summed apart
    row_tiles: int  # of an item
    column_tiles: int
    masks: bool
    borders: tuple[Border | None, ...] = ()  # of the k axes, where they are read where they lie

    @property
    def type(self) -> Type:
        return make_type(self.contraction.acc, self.lanes)

    @property
    def batches(self) -> int:
        return size(self.contraction.batch)

    @property
    def row_ranges(self) -> int:
        return -(-self.rows.grid.tiles // self.row_tiles)

    @property
    def column_ranges(self) -> int:
        return -(-self.columns.grid.tiles // self.column_tiles)

    @property
    def blocks(self) -> int:
        """Rectangles of C, over all batches."""
        return self.batches * self.row_ranges * self.column_ranges

    @property
    def part(self) -> int:
        """Steps of the first k axis in one part."""
        return -(-self.k[0] // self.splits)

    @property
    def buffer_rows(self) -> int:
        return _up(self.row_tiles * self.rows.grid.cells, self.lanes)

    @property
    def buffer_columns(self) -> int:
        grid = self.columns.grid
        return _up(self.column_tiles * grid.cells * grid.width, self.lanes)

    @property
    def buffer_size(self) -> int:
        """Elements; a vector may be read past the last column of the last row."""
        return self.buffer_rows * self.buffer_columns + self.lanes

    @property
    def inner_borders(self) -> list[tuple[int, Border]]:
        """The k axes but the first that have a border."""
        return [(i, b) for i, b in enumerate(self.borders) if i and b]

    @property
    def written_out(self) -> bool:
        """Are the last k axis's steps written out, each for the rows that it meets?"""
        border = self.borders[-1] if len(self.borders) > 1 else None
        if border is None or not self.swapped or self.kind != "outer":
            return False
        size = self.k[-1] * self.rows.grid.cells * self.columns.grid.cells
        return size <= WRITTEN and self.rows.grid.lines(border.n)

    @property
    def itemsize(self) -> int:
        return self.contraction.itemsize

    @property
    def panel_batches(self) -> tuple[int, int]:
        """Batches of packed rows and of packed columns: 1 where the operand has no batch."""
        return tuple(self.batches if any(s.batch) else 1  # type: ignore[return-value]
                     for s in (self.rows, self.columns))

    @cached_property
    def scratch(self) -> tuple[int, int, int, int]:
        """Byte offsets of packed rows, packed columns, partial sums, and the end."""
        sizes = [side.panel * side.grid.tiles * batches * self.itemsize if side.packing
                 else 0 for side, batches in zip((self.rows, self.columns), self.panel_batches)]
        sizes.append(self.blocks * self.splits * _up(self.buffer_size * self.itemsize, ALIGN)
                     if self.splits > 1 else 0)
        offsets = [0]
        for n in sizes:
            offsets.append(_up(offsets[-1] + n, ALIGN))
        return tuple(offsets)  # type: ignore[return-value]


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


@dataclass(frozen=True, slots=True)
class Scene:
    """What a function of the kernel has at hand."""

    operands: tuple[Operand, Operand]
    scratch: Value | None
    store: Store
    entry: Block  # where stack memory is reserved


@dataclass(frozen=True, slots=True)
class Phase:
    """A parallel loop: emit(block, scene, item) does one item."""

    name: str
    items: int
    emit: Callable[[Block, Scene], Callable[[Block, Value], None]]
    once: bool = False  # packs a held operand


def phases(t: Tiling) -> list[Phase]:
    """The kernel's phases in order."""
    out = []
    for name, side, place, batches in zip(("rows", "columns"), (t.rows, t.columns), t.scratch,
                                          t.panel_batches):
        if side.packing:
            out.append(Phase(f"pack_{name}", side.grid.tiles * batches, _packer(t, side, place),
                             side.operand in t.contraction.held))
    out.append(Phase("tiles", t.blocks * t.splits, _worker(t)))
    if t.splits > 1:
        out.append(Phase("add", t.blocks, _adder(t)))
    return out


Emit = Callable[[Block, Scene], Callable[[Block, Value], None]]


def _packer(t: Tiling, side: SidePlan, place: int) -> Emit:
    def prepare(_: Block, scene: Scene) -> Callable[[Block, Value], None]:
        def item(block: Block, number: Value) -> None:
            tiles = side.grid.tiles
            tile = loops.opaque(block, loops.modulo(block, number, tiles))
            batch = _batch(block, t, loops.divide(block, number, tiles))
            base = loops.opaque(block, loops.dot(block, batch, side.batch))
            panel = _at(block, scene.scratch, place, loops.mul(block, number, side.panel), t)
            assert side.packing
            pack.emit_panel(block, side.packing, scene.operands[side.operand], base, tile, panel)
        return item
    return prepare


def _at(block: Block, scratch: Value | None, place: int, elements: Value, t: Tiling) -> Value:
    """Address in scratch: `place` bytes and `elements` further on."""
    assert scratch is not None
    base = block.gep(scratch, make_type("i8"), loops.index(place))
    return block.gep(base, make_type(t.contraction.acc), elements)


def _batch(block: Block, t: Tiling, linear: Value) -> list[Value]:
    return loops.unravel(block, linear, [x.extent for x in t.contraction.batch])


def _stack(scene: Scene, t: Tiling, elements: int) -> Value:
    return scene.entry.value(PTR, f"alloca [{elements} x {t.contraction.acc}], align {ALIGN}")


def _worker(t: Tiling) -> Emit:
    def prepare(_: Block, scene: Scene) -> Callable[[Block, Value], None]:
        memory = None if t.splits > 1 else _stack(scene, t, t.buffer_size)
        flipped = _flipped(t, scene)
        lines = None
        if t.kind == "inner":
            count = _up(t.rows.grid.cells * t.columns.grid.cells, t.lanes)
            lines = _stack(scene, t, count * t.lanes)

        def item(block: Block, number: Value) -> None:
            part = loops.divide(block, number, t.blocks) if t.splits > 1 else loops.ZERO
            place = _Place.of(block, t, loops.modulo(block, number, t.blocks)
                              if t.splits > 1 else number)
            pointer = memory or _partial(block, t, scene, number)
            buffer = epilogue.Buffer(pointer, t.buffer_columns, t.type)
            _Item(t, scene, place, buffer, lines).emit(block, part)
            if t.splits == 1:
                _finish(block, t, scene, place, buffer, flipped)
        return item
    return prepare


def _partial(block: Block, t: Tiling, scene: Scene, number: Value) -> Value:
    each = _up(t.buffer_size * t.itemsize, ALIGN) // t.itemsize
    return _at(block, scene.scratch, t.scratch[2], loops.mul(block, number, each), t)


def _flipped(t: Tiling, scene: Scene) -> epilogue.Buffer | None:
    """The buffer for transposed sums, where vectors lie along m."""
    if not t.swapped:
        return None
    pointer = _stack(scene, t, t.buffer_rows * t.buffer_columns + t.lanes)
    return epilogue.Buffer(pointer, t.buffer_rows, t.type)


def _adder(t: Tiling) -> Emit:
    """Adds the parts of k in order, then runs the epilogue."""
    def prepare(_: Block, scene: Scene) -> Callable[[Block, Value], None]:
        total = epilogue.Buffer(_stack(scene, t, t.buffer_size), t.buffer_columns, t.type)
        flipped = _flipped(t, scene)
        each = _up(t.buffer_size * t.itemsize, ALIGN) // t.itemsize

        def item(block: Block, number: Value) -> None:
            first = _partial(block, t, scene, number)

            def vector(inner: Block, i: Value) -> None:
                zero = const(t.type, 0)

                def add(deep: Block, p: Value, old: list[Value]) -> list[Value]:
                    at = loops.add(deep, loops.mul(deep, p, each * t.blocks), i)
                    address = deep.gep(first, make_type(t.contraction.acc), at)
                    return [deep.add(old[0], deep.load(t.type, address, t.itemsize))]
                value = loops.fold(inner, 0, t.splits, 1, [zero], add)[0]
                inner.store(value, total.address(inner, loops.ZERO, i), t.itemsize)
            loops.loop(block, 0, t.buffer_rows * t.buffer_columns, t.lanes, vector)
            _finish(block, t, scene, _Place.of(block, t, number), total, flipped)
        return item
    return prepare


@dataclass(frozen=True, slots=True)
class _Place:
    """An item's rectangle: its batch and its ranges of tiles."""

    batch: list[Value]
    linear: Value
    rows: tuple[Value, Value]
    columns: tuple[Value, Value]

    @staticmethod
    def of(block: Block, t: Tiling, number: Value) -> _Place:
        linear, column, row = loops.unravel(block, number,
                                            [t.batches, t.column_ranges, t.row_ranges])

        def tiles(which: Value, each: int, grid: Grid) -> tuple[Value, Value]:
            low = loops.opaque(block, loops.mul(block, which, each))
            high = loops.least(block, loops.add(block, low, each), grid.tiles)
            return low, loops.opaque(block, high)
        batch = [loops.opaque(block, x) for x in _batch(block, t, linear)]
        return _Place(batch, linear,
                      tiles(row, t.row_tiles, t.rows.grid),
                      tiles(column, t.column_tiles, t.columns.grid))


def _finish(block: Block, t: Tiling, scene: Scene, place: _Place, buffer: epilogue.Buffer,
            flipped: epilogue.Buffer | None) -> None:
    """The epilogue over an item's buffer."""
    rows = epilogue.span(block, t.rows.grid, *place.rows)
    columns = epilogue.span(block, t.columns.grid, *place.columns)
    if flipped:
        lanes.emit_transpose(block, t.type, buffer.pointer, buffer.pitch, flipped.pointer,
                             flipped.pitch, loops.sub(block, rows.stop, rows.first),
                             loops.sub(block, columns.stop, columns.first))
        buffer, rows, columns = flipped, columns, rows
    epilogue.emit_stores(block, buffer, rows, columns, place.batch, t.masks, scene.store)


@dataclass(frozen=True, slots=True)
class _Item:
    """Runs the register tiles of one item into its buffer."""

    t: Tiling
    scene: Scene
    place: _Place
    buffer: epilogue.Buffer
    lines: Value | None  # memory for the vectors of an inner tile

    def emit(self, block: Block, part: Value) -> None:
        t = self.t
        low = loops.mul(block, part, t.part)
        high = loops.least(block, loops.add(block, low, t.part), t.k[0])
        if self._single:
            self._columns(block, low, loops.sub(block, high, low))
            return
        self._clear(block)
        loops.loop(block, low, high, t.k_block, lambda inner, at: self._columns(
            inner, at, loops.least(inner, loops.sub(inner, high, at), t.k_block)))

    @property
    def _single(self) -> bool:
        """Whether one block of k does it, so that the buffer needs no clearing."""
        return self.t.part <= self.t.k_block

    def _clear(self, block: Block) -> None:
        size = self.t.buffer_rows * self.t.buffer_columns * self.t.itemsize
        block.module.declare("llvm.memset.p0.i64",
                             "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        block.line(f"call void @llvm.memset.p0.i64(ptr align {ALIGN} {self.buffer.pointer.text}, "
                   f"i8 0, i64 {size}, i1 false)")

    def _columns(self, block: Block, start: Value, count: Value) -> None:
        """All tiles for `count` steps of the first k axis from `start`."""
        t = self.t
        low, high = self.place.columns

        def column(inner: Block, tile: Value) -> None:
            operand, base = self._source(inner, t.columns, tile, start)
            at = loops.mul(inner, loops.sub(inner, tile, low),
                           t.columns.grid.cells * t.columns.grid.width)

            def row(deep: Block, row_tile: Value) -> None:
                self._variants(deep, row_tile, tile, operand, base, at, start, count)
            loops.loop(inner, *self.place.rows, 1, row)
        loops.loop(block, low, high, 1, column)

    def _source(self, block: Block, side: SidePlan, tile: Value,
                start: Value) -> tuple[Operand, Value]:
        """Where a tile reads its operand, at the block's first k."""
        t = self.t
        skip = loops.mul(block, start, side.k[0])
        if not side.packing:
            base = loops.dot(block, self.place.batch, side.batch)
            base = loops.add(block, base, side.grid.origin(block, tile))
            base = loops.opaque(block, loops.add(block, base, skip))
            return self.scene.operands[side.operand], base
        acc = t.contraction.acc
        linear = self.place.linear if any(side.batch) else loops.ZERO
        panel = loops.add(block, loops.mul(block, linear, side.grid.tiles), tile)
        base = loops.add(block, loops.mul(block, panel, side.panel), skip)
        place = t.scratch[0] if side is t.rows else t.scratch[1]
        base = loops.opaque(block, base)
        return Memory(_at(block, self.scene.scratch, place, base, t), acc, acc), loops.ZERO

    def _variants(self, block: Block, row: Value, column: Value, right: Operand, base: Value,
                  at: Value, start: Value, count: Value) -> None:
        """The register tile, in the size that this place in the grid wants."""
        t = self.t
        left, left_base = self._source(block, t.rows, row, start)
        row_at = loops.mul(block, loops.sub(block, row, self.place.rows[0]), t.rows.grid.cells)

        def tile(inner: Block, row_edge: bool, column_edge: bool) -> None:
            rows = _side(inner, t.rows, left, left_base, row_edge)
            columns = _side(inner, t.columns, right, base, column_edge)
            n = (t.rows.grid, row) if t.swapped else (t.columns.grid, column)
            self._tile(inner, rows, columns, row_at, at, self._axes(inner, count, *n))

        def by_column(inner: Block, row_edge: bool) -> None:
            _either(inner, t.columns.grid, column, lambda deep, edge: tile(deep, row_edge, edge))
        _either(block, t.rows.grid, row, by_column)

    def _axes(self, block: Block, count: Value, n: Grid, tile: Value) -> list[KAxis]:
        """The k axes of a tile; what is known to be zero is left out."""
        t = self.t
        extents: list[int | Value] = [loops.known(count) if loops.known(count) is not None
                                      else count, *t.k[1:]]  # type: ignore[list-item]
        axes = [KAxis(e, r, c) for e, r, c in zip(extents, t.rows.k, t.columns.k)]
        for i, border in t.inner_borders:
            if i < len(axes) - 1 and n.single(border.n):
                start, stop = _inside(block, border, n.index(block, tile, border.n), t.k[i])
                axes[i] = replace(axes[i], start=start, stop=stop)
            elif i == len(axes) - 1 and t.written_out:
                axes[i] = replace(axes[i], cells=[
                    [border.meets(cell % n.extents[-1], k) for cell in range(n.cells)]
                    for k in range(t.k[i])])
        return axes

    def _tile(self, block: Block, rows: Side, columns: Side, row: Value, column: Value,
              axes: list[KAxis]) -> None:
        t = self.t
        if t.kind == "outer":
            self._outer(block, rows, columns, axes, row, column)
        else:
            self._inner(block, rows, columns, axes, row, column)

    def _outer(self, block: Block, rows: Side, columns: Side, axes: list[KAxis], row: Value,
               column: Value) -> None:
        t, width = self.t, len(columns.offsets)
        first = loops.opaque(block, self.buffer.address(block, row, column))
        places = [block.gep(first, t.type.with_lanes(1),
                            loops.index(i * self.buffer.pitch + j * t.lanes))
                  for i in range(len(rows.offsets)) for j in range(width)]
        zero = const(t.type, 0)
        sums = [zero if self._single else block.load(t.type, p, t.itemsize) for p in places]
        sums = microkernel.outer(block, rows, columns, axes, sums, t.lanes)
        for place, total in zip(places, sums):
            block.store(total, place, t.itemsize)

    def _inner(self, block: Block, rows: Side, columns: Side, axes: list[KAxis], row: Value,
               column: Value) -> None:
        last = axes[-1].stop
        assert isinstance(last, int) and self._single
        t = self.t
        sums = microkernel.inner(block, rows, columns, axes[:-1], last, t.type)
        assert self.lines
        for i, vector in enumerate(sums):
            address = block.gep(self.lines, t.type, loops.index(i))
            block.store(vector, address, t.itemsize)
        lanes.emit_sums(block, t.type, self.lines, self.lines, len(sums))
        width = len(columns.offsets)
        for i in range(len(rows.offsets)):
            line = t.type.with_lanes(width)
            source = block.gep(self.lines, t.type.with_lanes(1), loops.index(i * width))
            address = self.buffer.address(block, loops.add(block, row, i), column)
            block.store(block.load(line, source, t.itemsize), address, t.itemsize)


def _inside(block: Block, border: Border, at: Value, extent: int) -> tuple[Value, Value]:
    """The steps of a k axis that meet more than zeros, for an index of the border's n axis."""
    left = loops.sub(block, loops.index(border.before), loops.mul(block, at, border.step))
    d = border.dilation
    start = loops.divide(block, loops.most(block, loops.add(block, left, d - 1), 0), d)
    room = loops.most(block, loops.add(block, left, border.size - 1 + d), 0)
    return start, loops.least(block, loops.divide(block, room, d), extent)


def _side(block: Block, side: SidePlan, operand: Operand, base: Value, edge: bool) -> Side:
    """The cells of a tile; a panel has them side by side."""
    count = side.grid.edge_cells if edge else side.grid.cells
    if not side.packing and edge and side.grid.open:
        if side.grid.width > 1:
            return Side(operand, base, side.grid.offsets(False), side.grid.last_masks(block))
        return Side(operand, base, side.grid.last_offsets(block), side.grid.masks(False))
    if not side.packing:
        return Side(operand, base, side.grid.offsets(edge), side.grid.masks(edge))
    offsets = [i * side.grid.width for i in range(count)]
    return Side(operand, base, offsets, [None] * count, side.packing.pitch)


def _either(block: Block, grid: Grid, tile: Value, body: Callable[[Block, bool], None]) -> None:
    """body(edge) for what `tile` is."""
    if not grid.has_edge:
        body(block, False)
    elif not grid.open and grid.per_line == 1:
        body(block, True)
    else:
        loops.branch(block, grid.is_edge(block, tile), lambda inner: body(inner, True),
                     lambda inner: body(inner, False))


