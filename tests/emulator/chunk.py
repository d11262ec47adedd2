"""Some blocks of a launch, run together: all threads that stand at one place advance as one.

The group of threads at the lowest block of the program runs first, so those that left a loop or
took a shorter way wait for the others where the ways meet. Warp instructions and barriers hold
threads back until all those they name have come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emulator.access import Copies
from emulator.faults import BarrierDivergence, Fault, Place, Runaway, WarpDivergence
from emulator.flow import Block
from emulator.memory import ALLOCATED, Memory, Units
from emulator.parse import Instruction
from emulator.races import Races
from emulator.types import NUMPY, PLAIN, Array
from emulator.warp import ballot

if TYPE_CHECKING:
    from emulator.machine import Code, Geometry, Machine

FULL = np.uint32(0xFFFFFFFF)
BARRIERS = 16  # named barriers of a block


class Chunk:
    """The state of a run: registers, memories, and where every thread is.

    ids: the threads that the step in hand runs on. Threads are numbered through the chunk, block
    by block.
    """

    def __init__(self, machine: Machine, code: Code, geometry: Geometry, const: Memory,
                 params: Memory, first: int, count: int) -> None:
        self.machine, self.code, self.geometry = machine, code, geometry
        self.device, self.const, self.params = machine.memory, const, params
        self.first, self.count = first, count
        self.threads = int(np.prod(geometry.block))
        total = self.threads * count
        self.total = total
        self.all = np.arange(total)
        self.ids = self.all
        within = self.all % self.threads
        self.block = self.all // self.threads
        self.lane = within % 32
        self.warps = -(-self.threads // 32)  # of a block
        self.warp = self.block * self.warps + within // 32
        self.within = within
        self._memories()
        self.copies = Copies(total)
        self.alive = ballot(self, np.ones(total, bool))[np.searchsorted(
            self.warp, np.arange(self.warps * count))]
        self.left = np.zeros(count, np.int64)  # threads of each block that have exited
        self.running = total
        self.ready: dict[int, Array] = {0: self.all}
        self.waiting: dict[int, Array] = {}
        self.arrived: dict[int, Array] = {}  # bar.arrive: how many, by named barrier
        self.issued = self.executed = 0
        self._registers()

    def _memories(self) -> None:
        dynamic = np.full(self.geometry.dynamic, ALLOCATED, np.uint8)
        layout = np.concatenate([self.code.shared_layout, dynamic])
        self.shared = Units("shared", layout, self.count)
        self.local = Units("local", self.code.local_layout, self.total)
        self.races: Races | None = None
        if len(layout) and self.machine.races:
            self.races = Races(len(self.shared.data[1]), self.code.grain, self.block, self.warp,
                               self.lane, self.count)

    # -- registers -----------------------------------------------------------------------------

    def _registers(self) -> None:
        self.registers: list[Array] = [np.empty(self.total, NUMPY[PLAIN.get(bits, "pred")])
                          for bits in self.code.bits]
        for r, source in self.code.presets.items():
            value = source if isinstance(source, int) else self._special(source)
            self.registers[r][...] = value
        self.frames: dict[tuple[int, int], list[Any]] = {}

    def _special(self, name: str) -> Any:
        g = self.geometry
        word, _, axis = name[1:].partition(".")
        if axis:
            i = "xyz".index(axis)
            if word in ("ntid", "nctaid"):
                return (g.block if word == "ntid" else g.grid)[i]
            flat, shape = (self.within, g.block) if word == "tid" else \
                (self.block + self.first, g.grid)
            return (flat // int(np.prod(shape[:i])) if i else flat) % shape[i]
        lane = np.uint64(1) << self.lane.astype(np.uint64)
        masks = {"eq": lane, "lt": lane - np.uint64(1), "le": 2 * lane - np.uint64(1),
                 "ge": np.uint64(0xFFFFFFFF) & ~(lane - np.uint64(1)),
                 "gt": np.uint64(0xFFFFFFFF) & ~(2 * lane - np.uint64(1))}
        if word.startswith("lanemask"):
            return masks[word[-2:]]
        return {"laneid": self.lane, "warpid": self.within // 32, "nwarpid": self.warps,
                "shared_base": self.block * self.shared.stride,
                "local_base": self.all * self.local.stride,
                "dynamic_smem_size": g.dynamic, "total_smem_size": self.shared.size}.get(word, 0)

    def frame(self, block: Block, ids: Array) -> list[Any]:
        """The registers of some threads by slot: views when they are neighbours, else copies of
        what the block reads."""
        low, high = int(ids[0]), int(ids[-1]) + 1
        if high - low == len(ids):
            made = self.frames.get((low, high))
            if made is None:
                made = self.code.frame(lambda r: self.registers[r][low:high],
                                       range(len(self.registers)))
                if len(self.frames) > 64:
                    self.frames.clear()
                self.frames[low, high] = made
            return made
        count = len(ids)
        loads = set(block.loads)
        empty = np.empty

        def bits_of(r: int) -> Array:
            held = self.registers[r]
            return held[ids] if r in loads else empty(count, held.dtype)
        return self.code.frame(bits_of, {*block.loads, *block.stores})

    def keep(self, block: Block, ids: Array, v: list[Any]) -> None:
        """Puts what a block wrote to a frame of copies back."""
        if int(ids[-1]) + 1 - int(ids[0]) != len(ids):
            for r in block.stores:
                self.registers[r][ids] = v[self.code.base[r]]

    # -- threads, for steps --------------------------------------------------------------------

    def position(self, threads: Array, warps: Array) -> tuple[Array, Array]:
        """Where threads stand among the running ones, and whether they do and are of the warp."""
        at = np.searchsorted(self.ids, threads)
        at = np.minimum(at, len(self.ids) - 1)
        present = (self.ids[at] == threads) & (self.warp[self.ids[at]] == warps)
        return at, present

    def place(self, ins: Instruction, thread: int) -> Place:
        flat, block = int(self.within[thread]), int(self.block[thread]) + self.first
        return Place(self.code.name, ins.line, ins.text, _unfold(flat, self.geometry.block),
                     _unfold(block, self.geometry.grid))

    def name_of(self, thread: int) -> str:
        return f"thread {_unfold(int(self.within[thread]), self.geometry.block)}"

    def fault(self, kind: type[Fault], ins: Instruction, lane: int, message: str) -> Fault:
        """A fault of the running thread number `lane`."""
        return self.fault_of(kind, ins, int(self.ids[lane]), message)

    def fault_of(self, kind: type[Fault], ins: Instruction, thread: int, message: str) -> Fault:
        return kind(message, self.place(ins, thread))

    # -- the run -------------------------------------------------------------------------------

    def run(self) -> None:
        """Until every thread has exited. Raises Fault."""
        while True:
            while self.ready:
                number = min(self.ready)
                self._advance(number, self.ready.pop(number))
            if not self.waiting:
                return
            if not self._settle():
                raise self._stuck()

    def _settle(self) -> bool:
        """Looks again at those who wait, since others have exited; whether any may go on."""
        for number in sorted(self.waiting):
            block = self.code.blocks[number]
            if block.kind == "warp":
                ids = self.waiting.pop(number)
                before = len(ids)
                self._warp(block, ids)
                if len(self.waiting.get(number, ())) < before:
                    return True
        return bool(self.ready)

    def _advance(self, number: int, ids: Array) -> None:
        """Runs a group until its threads part, wait, exit or meet others."""
        while True:
            block = self.code.blocks[number]
            if block.kind in ("warp", "barrier"):
                self._hold(block, ids)
                return
            v = self.frame(block, ids)
            self.ids = ids
            self._count(block, len(block.steps) + 1, ids)
            for step in block.steps:
                step(v, self)
            ends = self._end(block, ids, v)
            self.keep(block, ids, v)
            if len(ends) == 1:
                number, ids = ends[0]
                if not self.ready or number < min(self.ready):
                    continue
            for place, some in ends:
                self._join(place, some)
            return

    def _count(self, block: Block, steps: int, ids: Array) -> None:
        self.issued += steps
        self.executed += steps * len(ids)
        if self.issued > self.machine.limit:
            ins = block.decoded[0].ins if block.decoded else block.ins
            assert ins is not None
            raise self.fault_of(Runaway, ins, int(ids[0]), "runaway loop: expected at most "
                                f"{self.machine.limit} instructions, got more")

    def _join(self, number: int, ids: Array) -> None:
        held = self.ready.get(number)
        self.ready[number] = ids if held is None else np.sort(np.concatenate([held, ids]))

    def _end(self, block: Block, ids: Array, v: list[Any]) -> list[tuple[int, Array]]:
        """Where the threads go after a block."""
        after = block.number + 1
        if block.kind == "next":
            return [(after, ids)]
        held = _holds(block, v)
        if block.kind == "switch":
            return self._switch(block, ids, v, held)
        if held is None or held.all():
            if block.kind == "exit":
                self._exit(ids)
                return []
            return [(block.targets[0], ids)]
        if not held.any():
            return [(after, ids)]
        if block.kind == "exit":
            self._exit(ids[held])
            return [(after, ids[~held])]
        return [(block.targets[0], ids[held]), (after, ids[~held])]

    def _switch(self, block: Block, ids: Array, v: list[Any], held: Array | None
                ) -> list[tuple[int, Array]]:
        slot = block.slots[0]
        assert slot is not None and block.ins is not None
        chosen = np.broadcast_to(v[slot], len(ids))
        made = []
        if held is not None:
            made = [(block.number + 1, ids[~held])]
            ids, chosen = ids[held], chosen[held]
        wrong = chosen >= len(block.targets)
        if wrong.any():
            i = int(np.flatnonzero(wrong)[0])
            raise self.fault_of(Fault, block.ins, int(ids[i]), f"branch index: expected less than "
                                f"{len(block.targets)}, got {chosen[i]}")
        made += [(block.targets[k], ids[chosen == k]) for k in np.unique(chosen)]
        return [(n, some) for n, some in made if len(some)]

    def _exit(self, ids: Array) -> None:
        self.running -= len(ids)
        np.add.at(self.left, self.block[ids], 1)
        gone = np.bincount(self.warp[ids], weights=2.0 ** self.lane[ids],
                           minlength=len(self.alive)).astype(np.uint32)
        self.alive &= ~gone

    # -- waiting -------------------------------------------------------------------------------

    def _hold(self, block: Block, ids: Array) -> None:
        """Threads come to a warp instruction or a barrier; those whose guard fails pass by."""
        if block.guard is not None:
            held = _holds(block, self.frame(block, ids))
            assert held is not None
            if not held.all():
                self._join(block.number + 1, ids[~held])
            ids = ids[held]
            if not len(ids):
                return
        waited = self.waiting.pop(block.number, None)
        if waited is not None:
            ids = np.sort(np.concatenate([waited, ids]))
        self._count(block, 1, ids)
        (self._warp if block.kind == "warp" else self._barrier)(block, ids)

    def _go_on(self, block: Block, ids: Array) -> None:
        """Runs the step of a warp instruction or barrier, and sends its threads on."""
        self.ids = ids
        if block.step is not None:
            v = self.frame(block, ids)
            block.step(v, self)
            self.keep(block, ids, v)
        self._join(block.number + 1, ids)

    def _warp(self, block: Block, ids: Array) -> None:
        self.ids = ids
        slot = block.slots[0]
        present = ballot(self, np.ones(len(ids), bool))
        alive = self.alive[self.warp[ids]]
        masks = np.full(len(ids), FULL)
        if slot is not None:
            masks = np.broadcast_to(self.frame(block, ids)[slot], len(ids))
            self._named(block, ids, masks)
        complete = present & masks & alive == masks & alive
        if not complete.all():
            self.waiting[block.number] = ids[~complete]
            ids, masks = ids[complete], masks[complete]
            if not len(ids):
                return
        self.ids = ids
        if self.races is not None:
            self.races.warp_sync(ids, masks)
        self._go_on(block, ids)

    def _named(self, block: Block, ids: Array, masks: Array) -> None:
        """A thread must be named in its own mask, and those it names must have the same mask."""
        assert block.ins is not None
        absent = (masks >> self.lane[ids].astype(np.uint32)) & np.uint32(1) == 0
        if absent.any():
            i = int(np.flatnonzero(absent)[0])
            raise self.fault_of(
                WarpDivergence, block.ins, int(ids[i]), "expected a mask that names the thread's "
                f"own lane {self.lane[ids[i]]}, got {masks[i]:#010x}")
        if (masks == masks[0]).all():
            return
        for i in range(len(ids)):
            named = (self.warp[ids] == self.warp[ids[i]]) & \
                ((masks[i] >> self.lane[ids].astype(np.uint32)) & np.uint32(1) == 1)
            other = named & (masks != masks[i])
            if other.any():
                k = int(np.flatnonzero(other)[0])
                raise self.fault_of(WarpDivergence, block.ins, int(ids[i]), "expected one mask in "
                                    f"all lanes it names, got {masks[i]:#010x} and, in lane "
                                    f"{self.lane[ids[k]]}, {masks[k]:#010x}")

    def _barrier(self, block: Block, ids: Array) -> None:
        assert block.ins is not None
        count = block.slots[1]
        if "arrive" in block.ins.opcode or count is not None:
            self._counted(block, ids)
            return
        if len(ids) == self.total:
            self._met(np.arange(self.count))
            self._go_on(block, ids)
            return
        here = np.bincount(self.block[ids], minlength=self.count)
        whole = (here == self.threads)[self.block[ids]]
        if not whole.all():
            self.waiting[block.number] = ids[~whole]
        if whole.any():
            self._met(np.unique(self.block[ids[whole]]))
            self._go_on(block, ids[whole])

    def _met(self, blocks: Array) -> None:
        if self.races is not None:
            self.races.barrier(blocks)

    def _counted(self, block: Block, ids: Array) -> None:
        """A barrier of some threads of each block: bar.sync with a count, bar.arrive."""
        assert block.ins is not None
        number, count = block.slots
        arriving = "arrive" in block.ins.opcode
        v = self.frame(block, ids)
        keys = self.block[ids] * BARRIERS + np.broadcast_to(v[number], len(ids))
        needed = np.broadcast_to(v[count], len(ids))
        if arriving:
            self._join(block.number + 1, ids)
            for key in np.unique(keys):
                self.arrived.setdefault(int(key), np.zeros(0, np.int64))
                self.arrived[int(key)] = np.concatenate([self.arrived[int(key)], ids[keys == key]])
        else:
            self.waiting[block.number] = ids
        for key in np.unique(keys):
            self._release(int(key), int(needed[keys == key][0]))

    def _release(self, key: int, needed: int) -> None:
        """Lets a named barrier's threads go when they are as many as it counts."""
        come = [self.arrived.get(key, np.zeros(0, np.int64))]
        places = []
        for number, ids in self.waiting.items():
            block = self.code.blocks[number]
            if block.kind != "barrier" or block.slots[1] is None:
                continue
            v = self.frame(block, ids)
            keys = self.block[ids] * BARRIERS + np.broadcast_to(v[block.slots[0]], len(ids))
            if (keys == key).any():
                come.append(ids[keys == key])
                places.append((block, ids, keys == key))
        everyone = np.unique(np.concatenate(come))
        if len(everyone) < needed:
            return
        self.arrived.pop(key, None)
        if self.races is not None:
            if len(everyone) == self.threads:
                self.races.barrier(np.array([key // BARRIERS]))
            else:
                self.races.partial_barrier(everyone)
        for block, ids, held in places:
            del self.waiting[block.number]
            if not held.all():
                self.waiting[block.number] = ids[~held]
            self._go_on(block, ids[held])

    # -- when nobody can go on -----------------------------------------------------------------

    def _stuck(self) -> Fault:
        number = min(self.waiting)
        block, ids = self.code.blocks[number], self.waiting[number]
        assert block.ins is not None
        thread = int(ids[0])
        if block.kind == "warp":
            return self._missing_lanes(block.ins, ids, thread)
        k = self.block[thread]
        here = int((self.block[ids] == k).sum())
        words = [f"{here} wait here"]
        for other, some in sorted(self.waiting.items()):
            inside = int((self.block[some] == k).sum())
            ins = self.code.blocks[other].ins
            if other != number and inside and ins is not None:
                words.append(f"{inside} wait at line {ins.line} `{ins.text}`")
        if self.left[k]:
            words.append(f"{self.left[k]} have exited")
        return self.fault_of(BarrierDivergence, block.ins, thread, "barrier divergence: expected "
                             f"{self.threads} threads of the block, got: {', '.join(words)}")

    def _missing_lanes(self, ins: Instruction, ids: Array, thread: int) -> Fault:
        mates = ids[self.warp[ids] == self.warp[thread]]
        here = sum(1 << int(lane) for lane in self.lane[mates])
        missing = int(self.alive[self.warp[thread]]) & ~here
        lanes = [i for i in range(32) if missing >> i & 1]
        return self.fault_of(WarpDivergence, ins, thread, "warp divergence: expected all lanes "
                             f"that the mask names, but lanes {lanes} wait elsewhere")


def _holds(block: Block, v: list[Any]) -> Array | None:
    if block.guard is None:
        return None
    slot, negated = block.guard
    held: Array = ~v[slot] if negated else v[slot]
    return held


def _unfold(flat: int, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return flat % shape[0], flat // shape[0] % shape[1], flat // (shape[0] * shape[1])


