"""Shared-memory races: which thread touched which bytes last, and what orders two touches.

A touch is known to a later one by the same thread, past a barrier of the whole block, or past a
warp instruction (.sync) that names both lanes. Bytes are kept in grains of the kernel's narrowest
access.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.faults import Race
from emulator.parse import Instruction
from emulator.types import Array

NONE, MANY = -1, -2  # instead of a thread or a warp
FOREVER = np.int64(1 << 62)


class Races:
    """The touches of one chunk of blocks. Threads are numbered through the chunk."""

    def __init__(self, size: int, grain: int, block: Array, warp: Array, lane: Array,
                 blocks: int) -> None:
        count = size // grain + 64
        self.grain = grain
        self.block, self.warp, self.lane = block, warp, lane  # of each thread
        self.clock = 1
        self.writer = np.full(count, NONE, np.int32)
        self.write_time = np.zeros(count, np.int64)
        self.write_line = np.zeros(count, np.int32)
        self.atomic = np.zeros(count, bool)
        self.reader_warp = np.full(count, NONE, np.int32)
        self.readers = np.zeros(count, np.uint32)  # lanes of that warp
        self.read_time = np.zeros(count, np.int64)
        self.read_line = np.zeros(count, np.int32)
        self.met = np.zeros(blocks, np.int64)  # when all threads of a block last met
        warps = int(warp[-1]) + 1 if len(warp) else 0
        self.known = np.zeros((warps, 32, 32), np.int64)  # until when lanes know each other

    # -- order ---------------------------------------------------------------------------------

    def barrier(self, blocks: Array) -> None:
        """All threads of the blocks have met."""
        self.clock += 1
        self.met[blocks] = self.clock

    def partial_barrier(self, threads: Array) -> None:
        """Some threads of a block have met: only lanes of one warp are known to be ordered."""
        self.warp_sync(threads, np.full(len(threads), 0xFFFFFFFF, np.uint32))

    def warp_sync(self, threads: Array, masks: Array) -> None:
        """The threads met in their warps; each mask names the lanes it met."""
        self.clock += 1
        warps = self.warp[threads]
        if (masks == np.uint32(0xFFFFFFFF)).all():
            self.known[warps, self.lane[threads]] = self.clock
            return
        bits = (masks[:, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
        old = self.known[warps][:, None, :, :] * bits[:, None, :, None]  # what the others knew
        joined = old.max(axis=2)[:, 0, :]
        mine = np.maximum(self.known[warps, self.lane[threads]], joined)
        self.known[warps, self.lane[threads]] = np.where(bits != 0, self.clock, mine)

    def _ordered(self, now: Array, then: Array, time: Array) -> Array:
        """Whether `then`'s touch at `time` is known to `now`."""
        fine = (time <= self.met[self.block[now]]) | (then == now)
        if fine.all():
            return fine
        mates = self.warp[now] == self.warp[then]
        known = self.known[self.warp[now], self.lane[now], self.lane[then]]
        return fine | (mates & (time <= known))

    # -- touches -------------------------------------------------------------------------------

    def touch(self, m: Any, ins: Instruction, at: Array, size: int, kind: str,
              threads: Array) -> None:
        """Threads touch `size` bytes at offsets: kind is read, write or atomic. Raises Race."""
        self.clock += 1
        grains = at // self.grain
        if size > self.grain:
            wide = size // self.grain
            grains = (grains[:, None] + np.arange(wide)).reshape(-1)
            threads = np.repeat(threads, wide)
        self._after_writes(m, ins, grains, threads, kind)
        if kind == "read":
            self._read(grains, threads, ins.line)
        else:
            self._after_reads(m, ins, grains, threads, kind)
            self._write(m, ins, grains, threads, kind)

    def _after_writes(self, m: Any, ins: Instruction, g: Array, t: Array, kind: str) -> None:
        writer = self.writer[g]
        if (writer == NONE).all():
            return
        time = self.write_time[g]
        one = writer >= 0
        wrong = one & ~self._ordered(t, np.where(one, writer, t), time)
        wrong |= (writer == MANY) & (time > self.met[self.block[t]])
        if kind == "atomic":
            wrong &= ~self.atomic[g]
        if wrong.any():
            i = int(np.flatnonzero(wrong)[0])
            self._report(m, ins, g[i], t[i], kind, "write", writer[i], self.write_line[g[i]])

    def _after_reads(self, m: Any, ins: Instruction, g: Array, t: Array, kind: str) -> None:
        warp = self.reader_warp[g]
        late = (warp != NONE) & (self.read_time[g] > self.met[self.block[t]])
        if not late.any():
            return
        own = warp == self.warp[t]
        others = np.where(own, self.readers[g] & ~self._bit(t), self.readers[g])
        late &= ~(own & (others == 0))
        i = np.flatnonzero(late & own)
        if len(i):
            named = (others[i, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
            known = np.where(named, self.known[self.warp[t[i]], self.lane[t[i]]], FOREVER).min(1)
            late[i] = self.read_time[g[i]] > known
        if late.any():
            first = int(np.flatnonzero(late)[0])
            lanes = np.flatnonzero((int(others[first]) >> np.arange(32)) & 1)
            mates = np.flatnonzero((self.warp == warp[first]) & np.isin(self.lane, lanes[:1]))
            other = int(mates[0]) if warp[first] >= 0 and len(mates) else MANY
            self._report(m, ins, int(g[first]), int(t[first]), kind, "read", other,
                         int(self.read_line[g[first]]))

    def _bit(self, t: Array) -> Array:
        return np.uint32(1) << self.lane[t].astype(np.uint32)

    def _write(self, m: Any, ins: Instruction, g: Array, t: Array, kind: str) -> None:
        before, again = self.writer[g], self.write_time[g] > self.met[self.block[t]]
        self.writer[g] = t
        twice = self.writer[g] != t
        if twice.any():
            i = int(np.flatnonzero(twice)[0])
            if kind == "write":
                self._report(m, ins, g[i], t[i], kind, "write", self.writer[g[i]], ins.line)
            self.writer[g[twice]] = MANY
        if kind == "atomic":
            mixed = again & self.atomic[g] & (before != NONE) & (before != t)
            self.writer[g[mixed]] = MANY
        self.write_time[g] = self.clock
        self.write_line[g] = ins.line
        self.atomic[g] = kind == "atomic"
        self.reader_warp[g] = NONE
        self.readers[g] = 0

    def _read(self, g: Array, t: Array, line: int) -> None:
        old = g[self.read_time[g] <= self.met[self.block[t]]]
        self.reader_warp[old] = NONE
        self.readers[old] = 0
        warp = self.warp[t]
        held = self.reader_warp[g]
        self.reader_warp[g] = np.where((held == NONE) | (held == warp), warp, MANY)
        self.reader_warp[g[self.reader_warp[g] != warp]] = MANY
        np.bitwise_or.at(self.readers, g, self._bit(t))
        self.read_time[g] = self.clock
        self.read_line[g] = line

    def _report(self, m: Any, ins: Instruction, grain: int, thread: int, kind: str, past: str,
                other: int, line: int) -> None:
        who = f"the {past} by {m.name_of(other)}" if other >= 0 else f"a {past} by other threads"
        where = m.shared.describe(int(grain) * self.grain, self.grain)
        raise m.fault_of(Race, ins, int(thread), f"shared race: this {kind} of {where} and {who} "
                         f"in line {line} are not ordered by a barrier")
