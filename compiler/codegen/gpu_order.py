"""argsort and searchsorted on a GPU: stable, NaN largest, zeros of either sign equal.

Every element has a key, an unsigned number that orders as the elements do. Rows of up to IN_BLOCK
elements are sorted by a block each, a bitonic network over keys and, where they are equal, indices.
Longer ones by the whole device: a radix sort by the keys, 32 bits at a time from the lowest, and
last by the rows' numbers, which leaves the order within each row (gpu_sort.py).
"""

from __future__ import annotations

import math

from flambeau.compiler.codegen import gpu_sort, scalar
from flambeau.compiler.codegen.emit import I32, I64, Block, Type, Value, const, make_type
from flambeau.compiler.codegen.gpu_kernel import (
    BLOCK,
    WARP,
    WAVES,
    GpuFunction,
    Grid,
    Scene,
    power_of_two,
)
from flambeau.compiler.codegen.loops import Loop
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node

IN_BLOCK = 2048  # elements of a row that one block sorts
MOST = 1 << 30  # elements that a device sorts: their numbers have 32 bits


def handles(n: Node) -> bool:
    """Does a GPU run this routine itself?"""
    name, x = n.arg[0], n.src[0]
    known = all(s.dtype.kind in "iuf" and s.size < MOST for s in n.src)
    if name == "searchsorted":
        return known and x.dtype is n.src[1].dtype and n.size < MOST
    return bool(known and name == "argsort" and x.size)


def scratch_bytes(n: Node) -> int:
    """Memory for the keys of a sort by the whole device."""
    if n.arg[0] != "argsort" or n.shape[n.arg[1][0]] <= IN_BLOCK:
        return 0
    return gpu_sort.radix_bytes(gpu_sort.padded(n.size))


def generate(scene: Scene, n: Node, symbol: str, scratch: int | None) -> list[Grid]:
    """The kernels of one routine; `scratch` is the slot of its working memory."""
    if n.arg[0] == "searchsorted":
        return [_searched(scene, n, symbol)]
    if scratch is None:
        return [_Rows(scene, n, symbol).write()]
    return _by_device(scene, n, symbol, scratch)


def key(b: Block, dtype: DType, v: Value, descending: bool) -> Value:
    """An element as an unsigned number of 32 or 64 bits that orders as it does."""
    bits = 8 * dtype.itemsize
    whole = make_type(f"i{bits}")
    ones, sign = const(whole, -1), const(whole, -1 << (bits - 1))
    if dtype.is_float:
        raw = b.bitcast(v, whole.scalar)
        raw = b.select(b.cmp("oeq", v, const(v.type, 0)), const(whole, 0), raw)
        made = b.select(b.cmp("slt", raw, const(whole, 0)), b.xor(raw, ones), b.xor(raw, sign))
        made = b.select(b.cmp("uno", v, v), ones, made)
    else:
        made = v if dtype.kind == "u" else b.xor(v, sign)
    made = b.xor(made, ones) if descending else made
    return made if bits >= 32 else b.convert("zext", made, "i32")


def _load(made: GpuFunction, b: Block, n: Node, at: Value) -> Value:
    base = made.pointer(made.scene.layout.slots[n])
    kind = scalar.memory(n.dtype)
    return b.load(kind, b.gep(base, kind, at), n.dtype.itemsize)


def _place(b: Block, n: Node, row: Value, at: Value) -> Value:
    """Where element `at` of a row along the sorted axis lies."""
    axis = n.arg[1][0]
    inner = math.prod(n.shape[axis + 1:])
    outer = b.op("mul nsw", b.op("udiv", row, const(I32, inner)),
                 const(I32, inner * n.shape[axis]))
    along = b.op("add nsw", b.op("mul nsw", at, const(I32, inner)),
                 b.op("urem", row, const(I32, inner)))
    return b.op("add nsw", outer, along)


# -- a block for each row --------------------------------------------------------------------------


class _Rows:
    """The kernel being written: keys and the indices they came with, in shared memory."""

    def __init__(self, scene: Scene, n: Node, symbol: str) -> None:
        self.n, (axis, self.descending) = n, n.arg[1]
        self.length = n.shape[axis]
        self.width = max(2, power_of_two(self.length))
        self.threads = min(BLOCK, max(WARP, self.width // 2))
        self.made = GpuFunction(scene, symbol, self.threads)
        self.word: Type = I64 if n.src[0].dtype.itemsize == 8 else I32
        self.keys = self.made.shared(self.word, self.width)
        self.indices = self.made.shared(I32, self.width)

    def loop(self, b: Block, begin: Value, count: int) -> Loop:
        return Loop(b, begin, const(I32, count), self.threads, [], False)

    def write(self) -> Grid:
        n, made, b = self.n, self.made, self.made.entry
        rows = n.size // self.length
        thread, row = made.thread(), made.block(rows)
        coming = self.loop(b, thread, self.width)
        self.fetch(coming.body, row, coming.var)
        coming.finish([])
        made.barrier(b)
        one = const(I32, 1)
        run = Loop(b, one, const(I32, self.width.bit_length()), 1, [], True)  # of 2 ** var
        part = Loop(run.body, const(I32, 0), run.var, 1, [], True)
        inner = part.body
        bit = inner.op("sub nsw", inner.op("sub nsw", run.var, one), part.var)
        pair = self.loop(inner, thread, self.width // 2)
        self.exchange(pair.body, *gpu_sort.pair(pair.body, pair.var, run.var, bit))
        pair.finish([])
        made.barrier(inner)
        part.finish([])
        run.finish([])
        going = self.loop(b, thread, self.length)
        body = going.body
        found = body.load(I32, body.gep(self.indices, I32, going.var), 4)
        to = body.gep(made.pointer(made.scene.layout.slots[n]), I64,
                      _place(body, n, row, going.var))
        body.store(body.convert("zext", found, "i64"), to, 8)
        going.finish([])
        return made.finish(rows)

    def fetch(self, b: Block, row: Value, at: Value) -> None:
        """An element's key and index; those behind the end of the row are the largest."""
        x = self.n.src[0]
        last = const(I32, self.length - 1)
        near = b.intrinsic("llvm.smin", I32, at, last)
        v = key(b, x.dtype, _load(self.made, b, x, _place(b, self.n, row, near)), self.descending)
        v = b.select(b.cmp("sle", at, last), v, const(self.word, -1))
        b.store(v, b.gep(self.keys, self.word, at), self.word.bits // 8)
        b.store(at, b.gep(self.indices, I32, at), 4)

    def exchange(self, b: Block, low: Value, high: Value, down: Value) -> None:
        """Orders two places, up or down."""
        sides = []
        for base, kind in ((self.keys, self.word), (self.indices, I32)):
            at, to = b.gep(base, kind, low), b.gep(base, kind, high)
            size = kind.bits // 8
            sides.append((at, to, b.load(kind, at, size), b.load(kind, to, size), size))
        (_, _, x, y, _), (_, _, i, j, _) = sides
        equal = b.and_(b.cmp("eq", x, y), b.cmp("ugt", i, j))
        swap = b.xor(b.or_(b.cmp("ugt", x, y), equal), down)
        for at, to, first, second, size in sides:
            b.store(b.select(swap, second, first), at, size)
            b.store(b.select(swap, first, second), to, size)


# -- by the whole device ---------------------------------------------------------------------------


def _by_device(scene: Scene, n: Node, symbol: str, slot: int) -> list[Grid]:
    """Keys of 32 bits above the elements' numbers, sorted as often as a key has such parts."""
    length = n.shape[n.arg[1][0]]
    bits = 8 * n.src[0].dtype.itemsize
    parts = [("low", 32), ("high", 32)] if bits == 64 else [("whole", bits)]
    if n.size > length:
        parts.append(("row", (n.size // length - 1).bit_length()))
    count, grids = gpu_sort.padded(n.size), []
    for i, (part, width) in enumerate(parts):
        grids.append(_keys(scene, n, f"{symbol}_{part}", slot, part, i == 0))
        grids += gpu_sort.by_radix(scene, f"{symbol}_{part}", slot, count, width)
    return [*grids, _numbers(scene, n, symbol, slot)]


def _walk(made: GpuFunction, count: int) -> tuple[Loop, int]:
    """A loop over `count` positions that the grid shares, and its blocks."""
    blocks = min(-(-count // BLOCK), made.scene.target.processors * WAVES)
    b = made.entry
    at = b.op("add nsw", b.op("mul nsw", made.block(blocks), const(I32, BLOCK)), made.thread())
    return Loop(b, at, const(I32, count), blocks * BLOCK, [], False), blocks


def _keys(scene: Scene, n: Node, symbol: str, slot: int, part: str, first: bool) -> Grid:
    """The next part of every element's key above its number; padding has the largest."""
    made = GpuFunction(scene, symbol, BLOCK)
    keys = made.pointer(slot)
    loop, blocks = _walk(made, gpu_sort.padded(n.size))
    b, x = loop.body, n.src[0]
    axis, descending = n.arg[1]
    spot = b.gep(keys, I64, loop.var)
    number = loop.var if first else b.convert("trunc", b.load(I64, spot, 8), "i32")
    near = b.intrinsic("llvm.smin", I32, number, const(I32, n.size - 1))
    length = const(I32, n.shape[axis])
    row = b.op("udiv", near, length)
    if part == "row":
        v = row
    else:
        at = _place(b, n, row, b.op("urem", near, length))
        v = key(b, x.dtype, _load(made, b, x, at), descending)
        if part == "high":
            v = b.lshr(v, 32)
        v = b.convert("trunc", v, "i32") if v.type == I64 else v
    v = b.select(b.cmp("slt", number, const(I32, n.size)), v, const(I32, -1))
    low = b.convert("zext", number, "i64")
    b.store(b.or_(b.shl(b.convert("zext", v, "i64"), 32), low), spot, 8)
    loop.finish([])
    return made.finish(blocks)


def _numbers(scene: Scene, n: Node, symbol: str, slot: int) -> Grid:
    """Sorted numbers as places along the axis."""
    made = GpuFunction(scene, symbol, BLOCK)
    keys, to = made.pointer(slot), made.pointer(scene.layout.slots[n])
    loop, blocks = _walk(made, n.size)
    b = loop.body
    length = const(I32, n.shape[n.arg[1][0]])
    number = b.convert("trunc", b.load(I64, b.gep(keys, I64, loop.var), 8), "i32")
    at = _place(b, n, b.op("udiv", loop.var, length), b.op("urem", loop.var, length))
    found = b.convert("zext", b.op("urem", number, length), "i64")
    b.store(found, b.gep(to, I64, at), 8)
    loop.finish([])
    return made.finish(blocks)


# -- where elements go in sorted rows --------------------------------------------------------------


def _searched(scene: Scene, n: Node, symbol: str) -> Grid:
    """A thread for each element halves the stretch of its row that it may belong to."""
    made = GpuFunction(scene, symbol, BLOCK)
    line, x = n.src
    to = made.pointer(scene.layout.slots[n])
    loop, blocks = _walk(made, n.size)
    b = loop.body
    length = line.shape[-1]
    wanted = key(b, x.dtype, _load(made, b, x, loop.var), False)
    each = max(1, n.size // max(1, line.size // max(1, length)))
    row = const(I32, 0) if len(line.shape) == 1 else b.op("udiv", loop.var, const(I32, each))
    start = b.op("mul nsw", row, const(I32, length))
    low, high = const(I32, 0), const(I32, length)
    for _ in range(length.bit_length()):
        middle = b.lshr(b.op("add nsw", low, high), 1)
        near = b.intrinsic("llvm.smin", I32, middle, const(I32, length - 1))
        held = key(b, x.dtype, _load(made, b, line, b.op("add nsw", start, near)), False)
        after = b.cmp("ult" if n.arg[1] == "left" else "ule", held, wanted)
        open_ = b.cmp("slt", low, high)
        right = b.and_(after, open_)
        left = b.and_(b.not_(after), open_)
        low = b.select(right, b.op("add nsw", middle, const(I32, 1)), low)
        high = b.select(left, middle, high)
    b.store(b.convert("zext", low, "i64"), b.gep(to, I64, loop.var), 8)
    loop.finish([])
    return made.finish(blocks)
