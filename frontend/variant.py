"""One signature of a compiled function: what tracing found, and the program made of it.

`Traced` is the function's graph with its state and arguments; a `Variant` is a program over them,
with what is needed to call it again in no time.
"""

from __future__ import annotations

import copy
import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from sys import getrefcount
from typing import Any, NamedTuple

from flambeau.compiler import node as nd
from flambeau.compiler.node import Node
from flambeau.compiler.request import prepare
from flambeau.runtime import entry, execute, memory

from . import realize as door
from .counting import OWNED
from .devices import HOST, one_device
from .inspecting import Inspected
from .quick import quick
from .random import Draw
from .storage import Storage
from .tensor import Tensor, check_writable, default_dtype, leaves, no_grad, read, result, write
from .tracing import Trace
from .trees import flatten, unflatten


class Argument:
    """Stands for the memory of an argument while a function is traced."""

    __slots__ = ("exported", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.exported = False

    @property
    def device(self) -> str:
        """There is none: raises RuntimeError."""
        return str(self.address)

    @property
    def address(self) -> int:
        """There is none: raises RuntimeError."""
        raise RuntimeError("compile: expected a function that only records operations, got one "
                           "that asks for values (bool, float, print, numpy) while it is traced; "
                           "use fb.where or fb.while_loop, or leave the question outside")

    def array(self, *_: Any, **__: Any) -> Any:
        """There is none: raises RuntimeError."""
        return self.address

    def __repr__(self) -> str:
        return f"argument {self.number}"


class Turns:
    """Programs that share state run one at a time. inside: how many threads are in one, where
    machine code can see it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.inside = ctypes.c_int64(0)

    def enter(self) -> bool:
        """Takes a turn if nobody has one: whether it did."""
        if not self.lock.acquire(blocking=False):
            return False
        self.inside.value += 1
        return True

    def leave(self) -> None:
        """Ends a turn."""
        self.inside.value -= 1
        self.lock.release()

    def __enter__(self) -> None:
        self.lock.acquire()
        self.inside.value += 1

    def __exit__(self, *error: object) -> None:
        self.leave()


class Part:
    """Stands for memory that a program keeps for updates that wait (postponing.py)."""

    __slots__ = ("exported", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.exported = False


class Held(NamedTuple):
    """A node that must be as the last call left it. storage: what must still hold it, if anything.

    limit: so many references are ours, and there must be no other; 0 where others may look.
    """

    storage: Storage | None
    node: Node
    limit: int


def still_held(rows: Sequence[Held]) -> bool:
    """Is all state where the last call left it, and nobody else looking where we write?"""
    for storage, n, limit in rows:
        if storage is not None and storage.node is not n:
            return False
        if n.op != "buffer":
            if n.value is not None:
                return False
        elif limit and n.arg.exported:
            return False
        if limit and getrefcount(n) > limit - 1 + OWNED:
            return False
    return True


class Traced:
    """What a function did when it was called once on stand-ins for its arguments.

    places: which values are tensors; numbers: which are numbers, with their scalars. wanted: the
    nodes of the results, then of the arguments it wrote (given_back). seen: the leaf each state was
    read as. fresh: the new value of each state that it wrote.
    """

    def __init__(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...],
                 kwargs: dict[str, Any]) -> None:
        self.values: tuple[Any, ...] = (*args, *kwargs.values())
        self.places: list[int] = []
        self.numbers: list[tuple[int, nd.Scalar]] = []
        with Trace() as trace:
            stand_ins = self._stand_ins(self.values)
            given = [(i, t, t._storage.node) for i, t in enumerate(stand_ins)
                     if isinstance(t, Tensor)]
            positional = stand_ins[:len(args)]
            named = dict(zip(kwargs, stand_ins[len(args):]))
            try:
                outcome = fn(*positional, **named)
                outputs: list[Tensor] = []
                self.spec = flatten(outcome, outputs)
                wanted = [read(t) for t in outputs]
                changed = [(i, t._storage.node) for i, t, old in given
                           if t._storage.node is not old]
                self.given_back = [i for i, _ in changed]
                self.wanted = [*wanted, *(n for _, n in changed)]
                self.device = one_device(name, [*trace.seen, *(t._storage for t in (
                    *(t for _, t, _ in given), *outputs))])
            finally:
                self.fresh = trace.restore()
                _drop_gradients(trace)
        self.seen = trace.seen

    def forget(self) -> None:
        """Drops graph and values, which hold the first call's data; what a program needs stays."""
        self.wanted, self.fresh, self.seen, self.values = [], {}, {}, ()

    def _stand_ins(self, values: tuple[Any, ...]) -> list[Any]:
        made: list[Any] = []
        for i, v in enumerate(values):
            if isinstance(v, Tensor):
                leaf = nd.buffer(v.dtype, v.shape, Argument(len(self.places)))
                stand_in = result(leaf, False, v.device)
                if v.requires_grad:
                    stand_in.requires_grad_()
                self.places.append(i)
                made.append(stand_in)
            elif type(v) is float:
                n = nd.scalar(default_dtype(), v)
                self.numbers.append((i, n.arg))
                made.append(result(n))
            else:
                made.append(v)
        return made

    def asked(self) -> Asked:
        """The plain question: new state and results from old state and arguments."""
        return Asked([_computable(n) for n in self.wanted],
                     [(s, _computable(n), self.seen[s]) for s, n in self.fresh.items()],
                     {leaf: s for s, leaf in self.seen.items()})


@dataclass
class Asked:
    """What a program is to compute. results; states: a storage, its new value and its old leaf.

    owner: where leaves come from at every call, if not from where they are now. kept: further
    values that stay with the program, and the leaf whose memory each takes over.
    """

    results: list[Node]
    states: list[tuple[Storage, Node, Node]]
    owner: Mapping[Node, Storage | Part]
    kept: list[tuple[Node, Node | None]] = field(default_factory=list)


class Variant(Inspected):
    """A program for one signature, and where its leaves come from."""

    waiting: Any = None  # updates that this program postpones or makes up for: postponing.py
    plan: Any = None  # how to postpone them, until that is done
    keeps_lock = False  # does no other Python thread run while the program does?

    def __init__(self, traced: Traced, asked: Asked, name: str, turns: Turns | None = None,
                 after: int | None = None) -> None:
        self.name, self.spec, self.given_back = name, traced.spec, traced.given_back
        self.places, self.numbers, self.device = traced.places, traced.numbers, traced.device
        self._plan(asked, traced.values, after)
        # calls that change something take turns; others that meet go the long way
        self.changes = bool(self.written or self.given_back or asked.kept)
        self.turns = turns if turns is not None and self.changes else Turns()
        self.seconds = 0.0  # what tracing and compiling took

    def _plan(self, asked: Asked, values: tuple[Any, ...], after: int | None) -> None:
        self.written = [s for s, *_ in asked.states]
        gifts = [(root, old) for _, root, old in asked.states] + asked.kept
        new = [root for root, _ in gifts]
        distinct = list(dict.fromkeys([*new, *asked.results]))
        donate = {root: old for root, old in gifts
                  if old is not None and root not in asked.results and new.count(root) == 1}
        request = prepare(distinct, donate)
        self.executable = door.executable(request, self.device, after)
        self.request = request.settled()  # holding the leaves would hold the first call's data
        place = {n: i for i, n in enumerate(distinct)}
        self.result_places = [place[n] for n in asked.results]
        self.state_places = [place[root] for _, root, _ in asked.states]
        self.kept_places = [place[root] for root, _ in asked.kept]
        self.sources: list[Argument | Part | Storage | Node] = [
            leaf.arg if isinstance(leaf.arg, Argument | Part) else asked.owner.get(leaf, leaf)
            for leaf in request.leaves]
        self.argument_of = [(i, self.places[s.number]) for i, s in enumerate(self.sources)
                            if isinstance(s, Argument)]
        self.state_of = [(i, s) for i, s in enumerate(self.sources) if isinstance(s, Storage)]
        self.part_of = [(i, s.number) for i, s in enumerate(self.sources) if isinstance(s, Part)]
        self.fixed = [(i, s if s.arg.device == self.device else door.moved(s, self.device))
                      for i, s in enumerate(self.sources) if isinstance(s, Node)]
        self.alias = self.executable.program.alias
        self.donated = {j for j in self.alias if j >= 0}
        self.outs = [(r.dtype, r.shape, r.nbytes) for r in distinct]
        self.scalars = [s.arg for s in request.scalars]
        number_of = {id(scalar): i for i, scalar in self.numbers}
        self.scalar_places = [number_of.get(id(s), -1) for s in self.scalars]
        # may native code run it again and again on one table?
        gone = [*self.state_places, *self.kept_places]
        self.repeats = (self.executable.simple and not self.given_back
                        and len(set(gone)) == len(gone) and all(self.alias[p] >= 0 for p in gone))
        self.new_outs = [(len(self.sources) + k, *out) for k, out in enumerate(self.outs)
                         if self.alias[k] < 0]
        number = {k: i for i, (k, *_) in enumerate(self.new_outs)}
        self.fresh_places = [number.get(len(self.sources) + p, -1) for p in self.result_places]
        self.bound = False
        self.values: tuple[Any, ...] | None = values  # until the entry is made
        self.entry: entry.Entry | None = None
        self.block: Any = self.executable.scalars.pack(())
        self.block_address = ctypes.addressof(self.block)
        self.held: list[Held] = []
        self.arena_buffer: Any = None

    def keep_lock(self) -> None:
        """From here on no other Python thread runs while the program does."""
        self.keeps_lock = True
        self.executable = copy.copy(self.executable)
        self.executable.functions = [self.executable.code.held_function(symbol)
                                     for symbol in self.executable.program.entries]

    def give_draws_back(self) -> None:
        """Tracing took random draws and used none."""
        for draw in reversed([s for s in self.scalars if isinstance(s, Draw)]):
            draw.generator.draws = min(draw.generator.draws, int(draw.value) - 1)

    def run(self, values: tuple[Any, ...]) -> Any:
        """Calls the program on concrete arguments."""
        if self.changes:
            with self.turns:
                if self.given(values):
                    self._unbind()
                return self._again(values) if self.bound and self._still_bound() else (
                    self._anew(values))
        if self.bound and self.turns.enter():
            try:
                if self._still_bound():
                    return self._again(values)
            finally:
                self.turns.leave()
        return self._anew(values)

    def given(self, values: tuple[Any, ...]) -> bool:
        """Is a state that it writes among the arguments? It would be read too late."""
        return any(isinstance(v, Tensor) and v._storage in self.written for v in values)

    def _anew(self, values: tuple[Any, ...]) -> Any:
        """The long way: looks at everything."""
        leaves = self.gather(values)
        made = self.allocate(leaves)
        self.executable.start([leaf.arg for leaf in leaves], made, self._numbers(values),
                              self._late)
        found = self.deliver(made, values)
        if self.waiting is not None:
            self.waiting.install(self, leaves, made)
        del leaves
        self._bind(made)
        return found

    def _numbers(self, values: tuple[Any, ...]) -> list[float | int | bool]:
        """The run-time numbers of a call."""
        return [s.current() if i < 0 else values[i]
                for i, s in zip(self.scalar_places, self.scalars)]

    def _bind(self, made: list[Any]) -> None:
        """Keeps the table of addresses for the next call, which will find the same state."""
        if not self.repeats:
            return
        with self.turns:
            table = self.executable.table_type()
            held = []
            for i, storage in self.state_of:
                leaf = storage.leaf
                if leaf is None or storage.node is not leaf:
                    return
                held.append(Held(storage, leaf, 2 if i in self.donated else 0))
                table[i] = leaf.arg.address
            if self.part_of:
                held += self.waiting.rows
                for i, number in self.part_of:
                    table[i] = self.waiting.leaf(number).arg.address
            for i, leaf in self.fixed:
                table[i] = leaf.arg.address
            for k, alias in enumerate(self.alias):
                if alias >= 0:
                    table[len(self.sources) + k] = table[alias]
            self.table, self.table_address = table, ctypes.addressof(table)
            self.held, self.bound = held, True
            if self.values is not None:
                for i, scalar in enumerate(self.scalars):
                    if type(scalar) is nd.Scalar and self.scalar_places[i] < 0:
                        self.executable.scalars.put(self.block, i, scalar.value)
                self.entry, self.values = quick(self, self.values), None
            if self.entry is not None:
                self.entry.bind(self.table_address, self.block_address, self.arena() or 0, held)

    def _still_bound(self) -> bool:
        if still_held(self.held):
            return True
        self._unbind()
        return False

    def _unbind(self) -> None:
        """Forgets the state's leaves, so that the long way finds who else holds them."""
        self.bound = False
        if self.entry is not None:
            self.entry.unbind()
        self.held = []

    def _again(self, values: tuple[Any, ...]) -> Any:
        """The short way: new arguments in the old table."""
        table = self.table
        keep = []
        for i, place in self.argument_of:
            leaf = _leaf(values[place])
            keep.append(leaf)
            table[i] = leaf.arg.address
        self.executable.scalars.pack_into(self.block, self._numbers(values))
        if self.entry is not None:
            self.entry.forget()
        fresh = []
        for k, dtype, shape, nbytes in self.new_outs:
            made = memory.allocate(nbytes)
            table[k] = made.address
            fresh.append(result(nd.buffer(dtype, shape, made)))
        self.executable.functions[0](self.table_address, self.block_address, self.arena())
        if self.executable.program.errors:
            self.check()
        for storage in self.written:
            storage.version += 1
        found = [fresh[p] for p in self.fresh_places]
        if self.given_back:
            self._give_back(values, [t._storage.node for t in found])
        return unflatten(self.spec, found)

    def arena(self) -> int | None:
        """Working memory for a call under the lock."""
        nbytes = self.executable.program.arena_bytes
        if not nbytes:
            return None
        if self.arena_buffer is None:
            self.arena_buffer = memory.allocate(nbytes)
        return self.arena_buffer.address

    def check(self) -> None:
        status = int.from_bytes(self.block.raw[:8], "little")
        if status:
            self.block[:8] = bytes(8)
            raise self._late(execute.ProgramError(*self.executable.program.errors[status - 1]))

    def _late(self, error: execute.ProgramError) -> Exception:
        """What to raise for an error found while running; states that wait are put in order."""
        if self.waiting is not None:
            self._unbind()
            self.waiting.failed(self, error)
        return door.located(error, self.request.order)

    def number(self) -> None:
        """Writes all numbers but the arguments into the block."""
        for i, scalar in enumerate(self.scalars):
            if self.scalar_places[i] < 0:
                self.executable.scalars.put(self.block, i, scalar.current())

    def look(self) -> None:
        """The same, and notes what was seen where the numbers are kept."""
        self.number()
        assert self.entry is not None
        self.entry.see()

    def gather(self, values: tuple[Any, ...]) -> list[Node]:
        """The buffer leaf behind every input, state as it is now."""
        for place, scalar in self.numbers:
            scalar.value = values[place]
        leaves: list[Any] = [None] * len(self.sources)
        for i, place in self.argument_of:
            leaves[i] = _leaf(values[place])
        for i, storage in self.state_of:
            leaf = door.leaf_of_storage(storage)
            if i in self.donated and (leaf.arg.exported or getrefcount(leaf) > OWNED):
                leaf = door.copy_leaf(leaf)  # somebody else looks at the old value: it stays
            leaves[i] = leaf
        for i, number in self.part_of:
            leaves[i] = self.waiting.leaf(number)
        for i, leaf in self.fixed:
            leaves[i] = leaf
        return leaves

    def allocate(self, leaves: list[Node]) -> list[Any]:
        """Memory for every output: an input's where the program writes in place."""
        fresh = memory.allocate if self.device == HOST else door.allocator(self.device)
        return [leaves[alias].arg if alias >= 0 else fresh(nbytes)
                for (_, _, nbytes), alias in zip(self.outs, self.alias)]

    def deliver(self, made: list[Any], values: tuple[Any, ...] = ()) -> Any:
        """Hands outputs to the state's storages, to written arguments and to new tensors."""
        fresh = [nd.buffer(dtype, shape, b) for (dtype, shape, _), b in zip(self.outs, made)]
        for storage, place in zip(self.written, self.state_places):
            leaf = fresh[place]
            if storage.shared is not None and storage.shared.ctypes.data != leaf.arg.address:
                door.write_shared(storage, leaf)
            else:
                storage.node = leaf
                storage.version += 1
        found = [fresh[place] for place in self.result_places]
        if values and self.given_back:
            self._give_back(values, found)
        return unflatten(self.spec, [result(n, False, self.device) for n in found])

    @property
    def moved(self) -> bool:
        """Was its state taken to another device since it was compiled?"""
        return any(s.device != self.device and (s.shape or s.device != HOST)
                   for _, s in self.state_of)

    def _give_back(self, values: tuple[Any, ...], results: list[Node]) -> None:
        """Stores what the function wrote into its arguments; those are the last results."""
        for i, n in zip(self.given_back, results[-len(self.given_back):]):
            with no_grad():
                check_writable(self.name, values[i])
                write(values[i], n)


def _drop_gradients(trace: Trace) -> None:
    """Gradients recorded while tracing hold no values: the leaves have none again."""
    for t in list(leaves.values()):
        if t.grad is not None and t.grad._storage in trace.own:
            t.grad = None


def _computable(n: Node) -> Node:
    """A node the program can compute: bare leaves are copied through an identity."""
    while n.op == "mark":
        n = n.src[0]
    return n


def _leaf(t: Tensor) -> Node:
    """The buffer of an argument, computed and contiguous."""
    if t._view is not None and t._view.steps:
        t = result(read(t), False, t.device)
    return door.leaf_of_storage(t._storage)
