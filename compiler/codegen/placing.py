"""Slots: where every stored value of a program lies, on any device.

Slot 0 is the scalar arguments, then come inputs, outputs and temporaries. Temporaries share one
arena by their lifetimes.
"""

from __future__ import annotations

from typing import Any

from flambeau.compiler import fuse, memory
from flambeau.compiler.codegen.lower import Layout
from flambeau.compiler.kernel import Kernel
from flambeau.compiler.node import Node


class Placer:
    """Gives slots and the arena's bytes. Assemblers of programs are made from it."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.rolled: dict[Kernel, Any] = {}
        self.held: set[Node] = set()  # what stays the same over the steps of the loop around
        self.slots: list[tuple[str, int]] = [("scalars", 0)]
        self.arena = memory.Arena()

    def scratch_of(self, k: Kernel) -> int:
        """Bytes of working memory a kernel wants besides its results."""
        raise NotImplementedError

    def lasts(self, k: Kernel) -> bool:
        """Does k's working memory serve all steps of the loop around?"""
        return False

    def slot(self, where: str, place: int) -> int:
        self.slots.append((where, place))
        return len(self.slots) - 1

    def place(self, kernels: list[Kernel], homes: dict[Node, int], arena: memory.Arena
              ) -> dict[Kernel, int]:
        """Gives every stored node a slot; returns the scratch slot of the kernels that need one.

        homes: nodes that have a slot already (inputs, outputs).
        """
        slots = self.layout.slots
        slots.update(homes)
        stored = set(slots) | {h for k in kernels for h in k.homes}
        life = memory.lifetimes(kernels, stored)
        ends: dict[int, list[Node]] = {}
        scratch: dict[Kernel, int] = {}
        handed_on: set[Node] = set()
        for n, (_, last) in life.items():
            if n not in homes:
                ends.setdefault(last, []).append(n)
        for i, k in enumerate(kernels):
            for n in k.homes:
                if n not in slots:
                    slots[n] = self._home(k, n, life, i, homes, stored, arena, handed_on)
            need = self.scratch_of(k)
            if need and self.lasts(k):
                scratch[k] = self.slot("arena", arena.keep(need))
            elif need:
                offset = arena.take(need)
                scratch[k] = self.slot("arena", offset)
                arena.give(offset, need)
            for n in ends.get(i, ()):
                where, offset = self.slots[slots[n]]
                if where == "arena" and n not in handed_on:
                    arena.give(offset, n.nbytes)
        return scratch

    def _home(self, k: Kernel, n: Node, life: dict[Node, tuple[int, int]], i: int,
              homes: dict[Node, int], stored: set[Node], arena: memory.Arena,
              handed_on: set[Node]) -> int:
        """A temporary's slot. A region write into a temporary that dies here happens in place."""
        old = k.initial
        if (old is not None and old not in homes and old in life and life[old][1] == i
                and old.nbytes == n.nbytes and memory.overwrites(k, old, stored)):
            where, place = self.slots[self.layout.slots[old]]
            if where == "arena":
                handed_on.add(old)
                return self.slot("arena", place)
        return self.slot("arena", arena.take(n.nbytes))

    def apart(self, k: Kernel) -> bool:
        """Must the kernel's home first become a copy of `initial`, being other memory?"""
        assert k.initial is not None
        to, source = self.layout.slots[k.homes[0]], self.layout.slots[k.initial]
        moving = self.slots[to][0] == "moving" and to != source
        return bool(k.initial.nbytes) and (self.slots[to] != self.slots[source] or moving)


class Rolled:
    """A loop kernel: its body's kernels, planned once.

    Each carry has two buffers that change roles every step; rows of sequences and of stacked
    outputs are reached by moving their slots. All of it lies in one block of `bytes`, which is the
    kernel's working memory.
    """

    def __init__(self, writer: Placer, k: Kernel) -> None:
        self.writer, self.k = writer, k
        self.node = k.stores[0].value.src[0]
        loop = self.loop = self.node.arg
        self.outer = writer.layout
        self.layout = Layout({}, self.outer.scalars, self.outer.errors)
        self.wanted = {s.value.arg: s.value for s in k.stores}
        self.stacked = [i for i in range(loop.carries, len(loop.results)) if i in self.wanted]
        roots = [*loop.carried, *(loop.results[i] for i in self.stacked)]
        arena = memory.Arena()
        first = len(writer.slots)
        self.pairs = [(arena.take(c.nbytes), arena.take(c.nbytes)) for c in loop.carried]
        homes = {x: writer.slot("moving", 0) for x in loop.inputs[:loop.carries + loop.sequences]}
        for x, src in zip(loop.inputs[loop.carries + loop.sequences:],
                          self.node.src[loop.carries + loop.sequences:]):
            homes[x] = self.outer.slots[src]
        given = dict(homes)
        writer.layout = self.layout
        around, writer.held = writer.held, set(loop.inputs[loop.carries + loop.sequences:])
        self.conditions: list[Kernel] = []
        self.scratch: dict[Kernel, int] = {}
        if loop.condition is not None:
            self.flag = writer.slot("arena", arena.take(1))
            self.conditions = fuse.fuse([loop.condition])
            self.scratch |= writer.place(self.conditions, {**given, loop.condition: self.flag},
                                         arena)
        homes |= {r: writer.slot("moving", 0) for r in roots}
        self.kernels = fuse.fuse([r for r in roots if r.size])
        if any(k.kind == "extern" for k in self.kernels + self.conditions):
            raise TypeError("loop: expected native operations in the body of a scan or while_loop, "
                            "got a host routine (sort or linear algebra)")
        self.scratch |= writer.place(self.kernels, homes, arena)
        writer.layout, writer.held = self.outer, around
        inner = {i for r in writer.rolled.values() for i in r.own}  # theirs move with their blocks
        self.own = [i for i in range(first, len(writer.slots))
                    if writer.slots[i][0] == "arena" and i not in inner]
        self.bytes = arena.bytes

    def settle(self, slot: int | None) -> int:
        """Moves the loop's own slots behind its working memory's slot; returns the offset."""
        slots = self.writer.slots
        base = slots[slot][1] if slot is not None else 0
        for i in self.own:
            slots[i] = (slots[i][0], slots[i][1] + base)
        return base


def idle(k: Kernel) -> bool:
    """Has the kernel nothing to store? So are values without elements that a loop reads."""
    return k.kind not in ("loop", "extern") and all(not s.value.size for s in k.stores)
