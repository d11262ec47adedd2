"""Warp instructions: shuffles, votes, reductions, matrix fragments.

A row of OPS gives the step, which runs when all lanes that the mask names have arrived, and the
slot of the mask (None: all lanes of the warp).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from emulator.access import Locator
from emulator.builder import Builder, Step, expect, operands, parts
from emulator.faults import WarpDivergence
from emulator.parse import Group, Instruction, Negated
from emulator.types import NUMPY, Array, from_bf16

WarpStep = tuple[Step, int | None]
FULL = 0xFFFFFFFF


def ballot(m: Any, held: Array) -> Array:
    """For each lane the bits of its warp's lanes that hold."""
    warp, lane = m.warp[m.ids], m.lane[m.ids]
    weights = np.where(held, np.uint64(1) << lane.astype(np.uint64), np.uint64(0))
    first = np.flatnonzero(np.r_[True, warp[1:] != warp[:-1]])
    sums = np.add.reduceat(weights, first).astype(np.uint32)
    return np.repeat(sums, np.diff(np.r_[first, len(warp)]))


def shfl(b: Builder, ins: Instruction) -> WarpStep:
    words = parts(ins)
    expect(len(words) == 3 and words[0] == "sync" and words[2] == "b32"
           and words[1] in ("up", "down", "bfly", "idx"), ins)
    d, a, by, clamp, mask = operands(ins, 5)
    if isinstance(d, Group):
        d, p = b.items(d, 2)
        inside = b.write(p, "pred")
    else:
        inside = None
    value, offset, limits = b.read(a, "b32"), b.read(by, "u32"), b.read(clamp, "u32")
    named = b.read(mask, "u32")
    to = b.write(d, "b32")

    def step(v: list[Any], m: Any) -> None:
        lane = m.lane[m.ids].astype(np.int64)
        source, fine = _source(words[1], lane, v[offset].astype(np.int64),
                               v[limits].astype(np.int64))
        source = np.where(fine, source, lane)
        at, present = m.position(m.ids - lane + source, m.warp[m.ids])
        wrong = ~present | ((v[named].astype(np.int64) >> source) & 1 == 0)
        if wrong.any():
            i = int(np.flatnonzero(wrong)[0])
            raise m.fault(WarpDivergence, ins, i, f"shuffle from a lane that does not take part: "
                          f"lane {lane[i]} reads lane {source[i]}")
        v[to][...] = np.broadcast_to(v[value], len(lane))[at]
        if inside is not None:
            v[inside][...] = fine
    return step, named


def _source(mode: str, lane: Array, by: Array, limits: Array) -> tuple[Array, Array]:
    """The lane to read from, and whether it lies inside the segment."""
    by, clamp, segment = by & 31, limits & 31, limits >> 8 & 31
    low = lane & segment
    high = low | (clamp & ~segment)
    if mode == "up":
        return lane - by, lane - by >= high
    source = lane + by if mode == "down" else lane ^ by if mode == "bfly" else \
        low | (by & ~segment)
    return source, source <= high


def vote(b: Builder, ins: Instruction) -> WarpStep:
    words = parts(ins)
    expect(words[0] == "sync" and words[1:] in (["all", "pred"], ["any", "pred"], ["uni", "pred"],
                                                ["ballot", "b32"]), ins)
    d, p, mask = operands(ins, 3)
    negated = isinstance(p, Negated)
    read = b.read(p.register if isinstance(p, Negated) else p, "pred")
    named = b.read(mask, "u32")
    to = b.write(d, words[2])
    kind = words[1]

    def step(v: list[Any], m: Any) -> None:
        held = np.broadcast_to(v[read], len(m.ids)) ^ negated
        asked = v[named] & ballot(m, np.ones(len(m.ids), bool))
        bits = ballot(m, held) & asked
        if kind == "ballot":
            v[to][...] = bits
        elif kind == "any":
            v[to][...] = bits != 0
        else:
            v[to][...] = (bits == asked) | ((bits == 0) if kind == "uni" else False)
    return step, named


def activemask(b: Builder, ins: Instruction) -> Step:
    (d,) = operands(ins, 1)
    expect(parts(ins) == ["b32"], ins)
    to = b.write(d, "b32")

    def step(v: list[Any], m: Any) -> None:
        v[to][...] = ballot(m, np.ones(len(m.ids), bool))
    return step


def _lots(m: Any, masks: Array) -> list[Array]:
    """The running lanes in groups of one warp and one mask."""
    key = m.warp[m.ids].astype(np.int64) << 32 | np.broadcast_to(masks, len(m.ids)).astype(np.int64)
    order = np.argsort(key, kind="stable")
    cuts = np.flatnonzero(np.diff(key[order])) + 1
    return np.split(order, cuts)


def redux(b: Builder, ins: Instruction) -> WarpStep:
    words = parts(ins)
    expect(b.sm >= 80 and len(words) == 3 and words[0] == "sync", ins)
    table = {"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and,
             "or": np.bitwise_or, "xor": np.bitwise_xor}
    types = ("b32",) if words[1] in ("and", "or", "xor") else ("u32", "s32")
    expect(words[1] in table and words[2] in types, ins)
    d, a, mask = operands(ins, 3)
    read, named, to = b.read(a, words[2]), b.read(mask, "u32"), b.write(d, words[2])
    f = table[words[1]]

    def step(v: list[Any], m: Any) -> None:
        values = np.broadcast_to(v[read], len(m.ids))
        for lot in _lots(m, v[named]):
            v[to][lot] = f.reduce(values[lot], dtype=values.dtype)
    return step, named


def match(b: Builder, ins: Instruction) -> WarpStep:
    words = parts(ins)
    expect(len(words) == 3 and words[0] in ("any", "all") and words[1] == "sync"
           and words[2] in ("b32", "b64"), ins)
    d, a, mask = operands(ins, 3)
    pair = b.items(d, 2) if isinstance(d, Group) else (d,)
    expect(len(pair) == 1 or words[0] == "all", ins)
    read, named = b.read(a, words[2]), b.read(mask, "u32")
    to = b.write(pair[0], "b32")
    equal = b.write(pair[1], "pred") if len(pair) == 2 else None

    def step(v: list[Any], m: Any) -> None:
        values = np.broadcast_to(v[read], len(m.ids))
        for lot in _lots(m, v[named]):
            bits = np.uint32(1) << m.lane[m.ids[lot]].astype(np.uint32)
            same = values[lot][:, None] == values[lot][None, :]
            if words[0] == "any":
                v[to][lot] = np.where(same, bits, np.uint32(0)).sum(1)
                continue
            v[to][lot] = bits.sum() if same.all() else 0
            if equal is not None:
                v[equal][lot] = same.all()
    return step, named


def bar_warp(b: Builder, ins: Instruction) -> WarpStep:
    expect(ins.opcode == ("bar", "warp", "sync"), ins)
    (mask,) = operands(ins, 1)
    return (lambda v, m: None), b.read(mask, "u32")


# -- matrices ----------------------------------------------------------------------------------

def _whole(m: Any, ins: Instruction) -> int:
    """The number of warps, all of them complete."""
    lane = m.lane[m.ids]
    if len(lane) % 32 or (lane.reshape(-1, 32) != np.arange(32)).any():
        raise m.fault(WarpDivergence, ins, 0, f"expected all 32 lanes of the warp, got "
                      f"{int(ballot(m, np.ones(len(lane), bool))[0]).bit_count()}")
    return len(lane) // 32


LANE = np.arange(32)
ROW, PAIR = LANE // 4, LANE % 4  # of an 8 by 4 arrangement of the lanes


def _positions(kind: str, side: str, k: int) -> tuple[Array, Array]:
    """Rows and columns of a fragment's elements: arrays of 32 lanes by the elements of a lane."""
    if side == "c":
        rows = [ROW, ROW, ROW + 8, ROW + 8]
        columns = [2 * PAIR, 2 * PAIR + 1] * 2
    elif kind == "tf32":
        if side == "a":
            rows = [ROW, ROW + 8] * (k // 4)
            columns = [PAIR + 4 * (i // 2) for i in range(k // 2)]
        else:
            rows = [PAIR + 4 * i for i in range(k // 4)]
            columns = [ROW] * (k // 4)
    elif side == "a":
        rows = [ROW + 8 * (i // 2 % 2) for i in range(k // 2)]
        columns = [2 * PAIR + i % 2 + 8 * (i // 4) for i in range(k // 2)]
    else:
        rows = [2 * PAIR + i % 2 + 8 * (i // 2) for i in range(k // 4)]
        columns = [ROW] * (k // 4)
    return np.stack(rows, 1), np.stack(columns, 1)


SHAPES = {"m16n8k16": ("f16", "bf16"), "m16n8k8": ("f16", "bf16", "tf32"), "m16n8k4": ("tf32",)}


def mma(b: Builder, ins: Instruction) -> WarpStep:
    """mma.sync with float32 (or float16) sums; computed in float64 and rounded once."""
    words = parts(ins, ("sync", "aligned"))
    expect(len(words) == 7 and words[1:3] == ["row", "col"] and words[0] in SHAPES
           and words[4] == words[5] and words[4] in SHAPES[words[0]]
           and words[3] == words[6] and words[3] in ("f32", "f16")
           and (words[3] == "f32" or words[4] == "f16")
           and b.sm >= (75 if words[0] == "m16n8k8" and words[4] == "f16" else 80), ins)
    kind, sums, k = words[4], words[3], int(words[0].split("k")[1])
    packed = 1 if kind == "tf32" else 2
    out = 4 if sums == "f32" else 2
    counts = {"a": 16 * k // 32 // packed, "b": 8 * k // 32 // packed, "c": out}
    d, *given = operands(ins, 4)
    reads = {side: [b.read(o, "b32") for o in b.items(g, counts[side])]
             for side, g in zip("abc", given)}
    writes = [b.write(o, "b32") for o in b.items(d, out)]
    where = {side: _positions(kind, side, k) for side in "abc"}
    shapes = {"a": (16, k), "b": (k, 8), "c": (16, 8)}

    def step(v: list[Any], m: Any) -> None:
        warps = _whole(m, ins)
        full = {}
        for side in "abc":
            held = kind if side != "c" else sums
            lanes = np.stack([np.broadcast_to(v[r], 32 * warps) for r in reads[side]], 1)
            rows, columns = where[side]
            matrix = np.zeros((warps, *shapes[side]))
            matrix[:, rows, columns] = _elements(lanes, held).reshape(warps, 32, -1)
            full[side] = matrix
        result = full["a"] @ full["b"] + full["c"]
        rows, columns = where["c"]
        lanes = result[:, rows, columns].reshape(32 * warps, 4)
        bits = np.ascontiguousarray(lanes.astype(NUMPY[sums])).view(np.uint32)
        for i, w in enumerate(writes):
            v[w][...] = bits[:, i]
    return step, None


def _elements(lanes: Array, kind: str) -> Array:
    """float64 elements of registers: lanes by registers to lanes by elements."""
    held = np.ascontiguousarray(lanes, np.uint32)
    if kind == "tf32":
        return (held & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)
    if kind == "f32":
        return held.view(np.float32).astype(np.float64)
    halves = held.view(np.uint16)
    return (from_bf16(halves) if kind == "bf16" else halves.view(np.float16)).astype(np.float64)


def ldmatrix(b: Builder, ins: Instruction) -> WarpStep:
    """8 by 8 matrices of 16-bit elements; eight lanes give the addresses of a matrix's rows."""
    words = parts(ins, ("sync", "aligned", "cta"))
    turned = "trans" in words
    words = [w for w in words if w != "trans"]
    expect(b.sm >= 75 and len(words) in (3, 4) and words[0] == "m8n8"
           and words[1] in ("x1", "x2", "x4") and words[2] == "shared" and words[-1] == "b16", ins)
    count = int(words[1][1])
    d, source = operands(ins, 2)
    writes = [b.write(o, "b32") for o in (d.items if isinstance(d, Group) else (d,))]
    expect(len(writes) == count, ins)
    where = Locator(b, ins, "shared", source, 16)

    def step(v: list[Any], m: Any) -> None:
        warps = _whole(m, ins)
        used = np.flatnonzero(np.tile(8 * count > LANE, warps))
        outer, m.ids = m.ids, m.ids[used]
        small = m.code.frame(lambda r: v[m.code.base[r]][used], b_uses)
        ((held, at, _),) = where.find(small, m)
        halves = []
        for i in range(8):
            values, fine = held.read(at + 2 * i, 2)
            if not fine:
                raise where.blame(m, held, at + 2 * i, None, 2, False)
            halves.append(values)
        where.touch(m, held, at, None, "read")
        m.ids = outer
        tiles = np.stack(halves, -1).reshape(warps, count, 8, 8)
        tiles = tiles.swapaxes(2, 3) if turned else tiles
        for i, w in enumerate(writes):
            low, high = tiles[:, i, ROW, 2 * PAIR], tiles[:, i, ROW, 2 * PAIR + 1]
            v[w][...] = (low | high.astype(np.uint32) << np.uint32(16)).reshape(-1)
    b_uses = frozenset(b.uses)
    return step, None


OPS: dict[str, Callable[[Builder, Instruction], WarpStep]] = {
    "shfl": shfl, "vote": vote, "redux": redux, "match": match, "mma": mma, "ldmatrix": ldmatrix,
    "bar": bar_warp}
LOCAL: dict[str, Callable[[Builder, Instruction], Step]] = {"activemask": activemask}
