"""Sorting 64-bit keys by one block: a bitonic network, in shared memory when the keys fit there.

Every exchange of a stage touches a pair of its own, so a stage is a parallel loop and a barrier.
One block is slow for very many keys, but needs one launch.
"""

from __future__ import annotations

from flambeau.compiler.codegen.emit import I32, I64, Block, Value, const
from flambeau.compiler.codegen.gpu_kernel import BLOCK, GpuFunction, Grid, Scene
from flambeau.compiler.codegen.nest import Loop

IN_SHARED = 4096  # keys


def sort_keys(scene: Scene, symbol: str, slot: int, count: int) -> Grid:
    """Sorts `count` (a power of two, at least 2 * BLOCK) unsigned keys in a slot, in place."""
    made = GpuFunction(scene, symbol, BLOCK)
    b, thread, keys = made.entry, made.thread(), made.pointer(slot)
    base = keys
    if count <= IN_SHARED:
        base = made.shared(I64, count)
        _copy(b, thread, keys, base, count)
        made.barrier(b)
    one = const(I32, 1)
    run = Loop(b, one, const(I32, count.bit_length()), 1, [], True)  # runs of 2 ** var
    part = Loop(run.body, const(I32, 0), run.var, 1, [], True)
    inner = part.body
    bit = inner.op("sub nsw", inner.op("sub nsw", run.var, one), part.var)
    pair = Loop(inner, thread, const(I32, count // 2), BLOCK, [], True)
    _exchange(pair.body, base, pair.var, run.var, bit)
    pair.finish([])
    made.barrier(inner)
    part.finish([])
    run.finish([])
    if count <= IN_SHARED:
        _copy(b, thread, base, keys, count)
    return made.finish(1)


def _exchange(b: Block, base: Value, pair: Value, run: Value, bit: Value) -> None:
    """Orders the pair of places that differ in `bit`; runs of 2 ** run turn by turn up and down."""
    one = const(I32, 1)
    gap = b.op("shl", one, bit)
    below = b.and_(pair, b.op("sub", gap, one))
    low = b.or_(b.shl(b.op("sub", pair, below), 1), below)
    high = b.or_(low, gap)
    down = b.cmp("ne", b.and_(low, b.op("shl", one, run)), const(I32, 0))
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
