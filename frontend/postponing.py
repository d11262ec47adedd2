"""Updates of big states that wait for the next call: one pass over memory does both.

A training step on one example reads a weight for its forward pass and, at its end, reads and writes
it again for a rank-1 update. The next step reads it once more. When the weight does not fit the
inner caches these passes are most of the step. So a compiled function may leave such an update
undone: the state's new value is an expression over its old memory and the few small values that the
update is made of, as any lazy tensor's is. The next call computes it in the same pass that reads
it. Whoever else asks for the state has the expression computed, like any other.

Two programs do this, once a call has been made twice in a row. The first finds the state computed
and leaves the update undone. The steady one makes up for the last call's update and leaves its own
undone; it runs on one memory again and again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flambeau.compiler import node as nd
from flambeau.compiler.node import Node, toposort
from flambeau.compiler.ops import ELEMENTWISE
from flambeau.compiler.simplify import simplify
from flambeau.runtime import execute, native

from . import realize as door
from .quick import seconds
from .storage import Storage
from .variant import Asked, Held, Part, Traced, Variant, still_held

LEAST = 256 << 10  # bytes of a state; smaller ones stay in the inner caches
SMALL = 16  # what an update is made of is so many times smaller than the state
PARTS = 16  # and of so few values
LONGEST = 3e-3  # seconds, by a careful estimate, that other Python threads may have to wait


class Postponed:
    """States whose updates wait. templates: the updates over placeholders, the states' old memory
    first (as many as storages), then the small values they are made of."""

    def __init__(self, storages: list[Storage], templates: list[Node], parts: int) -> None:
        self.storages, self.templates = storages, templates
        self.count = len(storages) + parts
        self.rows: list[Held] = []

    def leaf(self, number: int) -> Node:
        """The memory of placeholder `number`."""
        return self.rows[len(self.storages) + number].node

    def stand(self) -> bool:
        """Does every state still wait, and does nobody else look at what it is made of?"""
        return bool(self.rows) and still_held(self.rows)

    def install(self, variant: Variant, leaves: Sequence[Node], made: Sequence[Any]) -> None:
        """After a program: the states are expressions over the memory that it left."""
        fresh = [nd.buffer(*variant.outs[p][:2], made[p]) for p in variant.kept_places]
        if len(fresh) < self.count:  # the first program only reads the states
            place = {s: i for i, s in variant.state_of}
            fresh = [*(leaves[place[s]] for s in self.storages), *fresh]
        values = over(self.templates, fresh)
        for storage, value in zip(self.storages, values):
            storage.node = value
            storage.version += 1
            door.postponed.add(storage, variant.turns)
        uses = [0] * len(fresh)
        number = {leaf: i for i, leaf in enumerate(fresh)}
        for n in toposort(values):
            for s in n.src:
                if s in number:
                    uses[number[s]] += 1
        self.rows = [*(Held(s, v, 2) for s, v in zip(self.storages, values)),
                     *(Held(None, leaf, count + 1) for leaf, count in zip(fresh, uses))]

    def failed(self, variant: Variant, error: execute.ProgramError) -> None:
        """A steady program stopped at a wrong index: updates that it had made up for are done."""
        if not variant.part_of:
            return
        program = variant.executable.program
        applied = next(done for (place, *_), done in zip(program.errors, program.applied)
                       if place == error.place)
        for k, storage in enumerate(self.storages):
            if variant.kept_places[k] in applied:
                storage.node = self.leaf(k)
                storage.version += 1


class Postponing(Variant):
    """The two programs as one variant; what is asked of it is answered by the steady one."""

    def __init__(self, first: Variant, steady: Variant) -> None:
        self.__dict__ = steady.__dict__  # one and the same but for `run`
        self.first = first
        self.note = (f"updates of {len(self.waiting.storages)} states wait for the next call; "
                     "the first call is another program")

    def run(self, values: tuple[Any, ...]) -> Any:
        with self.turns:
            if self.waiting.stand() and not self.given(values):
                return super().run(values)
            return self.first.run(values)


@dataclass
class Plan:
    """The two questions of a function whose updates can wait, without any data."""

    traced: Traced
    first: Asked
    steady: Asked
    storages: list[Storage]
    templates: list[Node]
    parts: int

    def carried_out(self, plain: Variant, values: tuple[Any, ...]) -> Variant:
        """The two programs in place of the plain one; the plain one where they would not do."""
        plain.plan = None
        self.traced.values = values
        made = Variant(self.traced, self.steady, plain.name, plain.turns)
        early = {p for done in made.executable.program.applied for p in done}
        if (not made.repeats or seconds(made) > LONGEST
                or early.intersection(made.kept_places[len(self.storages):])):
            return plain
        made.keep_lock()  # else a thread could read a state while it is rewritten
        before = Variant(self.traced, self.first, plain.name, plain.turns)
        before.repeats = False
        made.written = [*made.written, *self.storages]
        made.reason = "the same call twice in a row"
        before.waiting = made.waiting = Postponed(self.storages, self.templates, self.parts)
        return Postponing(before, made)


def plan(traced: Traced) -> Plan | None:
    """How to postpone a traced function's updates; None where that would not pay."""
    candidates = {s: traced.seen[s] for s in traced.fresh if _big(s, traced.seen[s])}
    if not candidates or traced.given_back or not native.supported() or not _thin(traced):
        return None
    asked = _simplified(_without_data(traced.asked()))
    order = toposort([*asked.results, *(root for _, root, _ in asked.states)])
    read = _read_by_vectors(order)
    parts: dict[Node, int] = {}
    waiting = []
    for s, root, old in asked.states:
        if s in candidates and old in read and _made_of(root, old, parts):
            waiting.append((s, root, old))
    if not waiting or len(parts) > PARTS:
        return None
    return _planned(traced, asked, waiting, list(parts))


def _planned(traced: Traced, asked: Asked, waiting: list[tuple[Storage, Node, Node]],
             parts: list[Node]) -> Plan:
    storages, olds = [s for s, *_ in waiting], [old for *_, old in waiting]
    others = [state for state in asked.states if state[0] not in storages]
    names = [nd.node("param", n.dtype, n.shape, (), ("waits", i))
             for i, n in enumerate([*olds, *parts])]
    templates = nd.substitute([root for _, root, _ in waiting],
                              dict(zip([*olds, *parts], names)))
    first = Asked(asked.results, others, asked.owner, [(p, None) for p in parts])
    held = [*olds, *(nd.buffer(p.dtype, p.shape, Part(len(olds) + j))
                     for j, p in enumerate(parts))]
    now = over(templates, held)
    later = dict(zip(olds, now))

    def after(nodes: list[Node]) -> list[Node]:
        return nd.substitute(nodes, later)

    steady = Asked(
        after(asked.results),
        [(s, root, old) for (s, _, old), root in zip(others, after([r for _, r, _ in others]))],
        {**asked.owner, **{old: Part(k) for k, old in enumerate(olds)}},
        [*zip(now, olds), *zip(after(parts), held[len(olds):])])
    return Plan(traced, first, steady, storages, templates, len(parts))


def _without_data(asked: Asked) -> Asked:
    """The same over leaves that hold no memory of states."""
    bare = {leaf: nd.buffer(leaf.dtype, leaf.shape, None) for leaf in asked.owner}
    roots = nd.substitute([*asked.results, *(root for _, root, _ in asked.states)], bare)
    count = len(asked.results)
    return Asked(roots[:count],
                 [(s, root, bare[old]) for (s, _, old), root in zip(asked.states, roots[count:])],
                 {bare[leaf]: source for leaf, source in asked.owner.items()})


def over(templates: list[Node], leaves: Sequence[Node]) -> list[Node]:
    """Templates over these leaves in place of their placeholders."""
    named = {n: leaves[n.arg[1]] for n in toposort(templates)
             if n.op == "param" and n.arg[0] == "waits"}
    return nd.substitute(templates, named)


def _simplified(asked: Asked) -> Asked:
    states = asked.states
    made = simplify([*asked.results, *(root for _, root, _ in states)], unmark=True)
    count = len(asked.results)
    return Asked(made[:count], [(s, root, old) for (s, _, old), root in zip(states, made[count:])],
                 asked.owner)


def _big(storage: Storage, leaf: Node) -> bool:
    return (leaf.nbytes >= LEAST and leaf.dtype.is_float and storage.shared is None
            and storage.device == "cpu")


def _thin(traced: Traced) -> bool:
    """Is there a product with a vector at all?"""
    roots = [*traced.wanted, *traced.fresh.values()]
    return any(n.op == "dot" and 1 in n.shape[1:] for n in toposort(roots))


def _read_by_vectors(order: list[Node]) -> set[Node]:
    """Leaves that are a matrix in a product with a vector."""
    found = set()
    for n in order:
        if n.op == "dot" and n.src[0].shape[0] == 1 and 1 in n.shape[1:]:
            for s in n.src:
                while s.op in ("reshape", "permute"):
                    s = s.src[0]
                found.add(s)
    return found


def _made_of(root: Node, old: Node, parts: dict[Node, int]) -> bool:
    """Is root made element by element of old and small values? These join parts."""
    found: dict[Node, int] = {}
    stack, seen = [root], {old}
    while stack:
        n = stack.pop()
        if n in seen or nd.is_const(n):
            continue
        seen.add(n)
        base = n
        while base.op in ("reshape", "permute", "expand"):
            base = base.src[0]
        if nd.is_const(base):
            continue
        if math.prod(base.shape) * SMALL <= old.size and n is not root:
            found[base] = 0
        elif n.size == old.size and (n.op in ELEMENTWISE or n.op in ("reshape", "permute")):
            stack += n.src
        else:
            return False
    parts.update(found)
    return True
