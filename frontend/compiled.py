"""`fb.compile`: a Python function over tensors becomes one native program per signature.

The function is traced once for each signature (dtypes and shapes of its tensors, values of its
other arguments). Storages it writes are state: the program updates them in place. Numbers given as
Python floats are run-time arguments, so a new learning rate compiles nothing.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import time
from collections.abc import Callable
from sys import getrefcount
from typing import Any

import numpy as np
from flambeau.compiler import node as nd
from flambeau.compiler.node import Node
from flambeau.compiler.request import prepare
from flambeau.runtime import entry, execute, memory

from . import realize as door
from . import tracing
from .counting import HELD, OWNED
from .creation import asarray
from .devices import HOST, one_device
from .inspecting import Inspected
from .quick import quick
from .random import Draw
from .storage import Storage
from .tensor import Tensor, check_writable, default_dtype, leaves, no_grad, read, result, write
from .tracing import Trace, recorders
from .trees import flatten, unflatten


class Argument:
    """Stands for the memory of an argument while a function is traced."""

    __slots__ = ("exported", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.exported = False

    @property
    def address(self) -> int:
        """There is none: raises RuntimeError."""
        raise RuntimeError("compile: expected a function that only records operations, got one "
                           "that asks for values (bool, float, print, numpy) while it is traced; "
                           "use fb.where or fb.while_loop, or leave the question outside")

    @property
    def device(self) -> str:
        """There is none: raises RuntimeError."""
        return str(self.address)

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


class Variant(Inspected):
    """One signature of a compiled function: its program and where its leaves come from."""

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
                 name: str, turns: Turns | None = None) -> None:
        start = time.perf_counter()
        self.name = name
        self.places: list[int] = []  # tensor arguments, by position among args + kwargs values
        self.numbers: list[tuple[int, nd.Scalar]] = []
        with Trace() as trace:
            stand_ins = self._stand_ins((*args, *kwargs.values()))
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
                self.given_back = [i for i, _ in changed]  # arguments that the function writes
                wanted += [n for _, n in changed]
                self.device = one_device(name, [*trace.seen, *(t._storage for t in (
                    *(t for _, t, _ in given), *outputs))])
            finally:
                fresh = trace.restore()
                _drop_gradients(trace)
        self._plan(trace, wanted, fresh, (*args, *kwargs.values()))
        # calls that change something take turns; others that meet go the long way
        self.changes = bool(self.written or self.given_back)
        self.turns = turns if turns is not None and self.changes else Turns()
        self.seconds = time.perf_counter() - start

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

    def _plan(self, trace: Trace, wanted: list[Node], fresh: dict[Storage, Node],
              values: tuple[Any, ...]) -> None:
        owner = {leaf: s for s, leaf in trace.seen.items()}
        self.written = list(fresh)
        state_roots = [_computable(fresh[s]) for s in self.written]
        results = [_computable(n) for n in wanted]
        distinct = list(dict.fromkeys([*state_roots, *results]))
        donate: dict[Node, Node] = {}
        for s, root in zip(self.written, state_roots):
            if root not in donate and root not in results and state_roots.count(root) == 1:
                donate[root] = trace.seen[s]
        request = prepare(distinct, donate)
        self.executable = door.executable(request, self.device)
        self.request = request.settled()  # holding the leaves would hold the first call's data
        place = {n: i for i, n in enumerate(distinct)}
        self.result_places = [place[n] for n in results]
        self.state_places = [place[n] for n in state_roots]
        self.sources: list[Argument | Storage | Node] = []
        for leaf in request.leaves:
            if isinstance(leaf.arg, Argument):
                self.sources.append(leaf.arg)
            else:
                self.sources.append(owner.get(leaf, leaf))
        self.argument_of = [(i, self.places[s.number]) for i, s in enumerate(self.sources)
                            if isinstance(s, Argument)]
        self.state_of = [(i, s) for i, s in enumerate(self.sources) if isinstance(s, Storage)]
        self.fixed = [(i, s if s.arg.device == self.device else door.moved(s, self.device))
                      for i, s in enumerate(self.sources) if isinstance(s, Node)]
        self.alias = self.executable.program.alias
        self.donated = {j for j in self.alias if j >= 0}
        self.outs = [(r.dtype, r.shape, r.nbytes) for r in distinct]
        self.scalars = [s.arg for s in request.scalars]
        number_of = {id(scalar): i for i, scalar in self.numbers}
        self.scalar_places = [number_of.get(id(s), -1) for s in self.scalars]
        # may native code run it again and again on one table?
        self.repeats = (self.executable.simple and not self.given_back
                        and len(set(self.state_places)) == len(self.state_places)
                        and all(self.alias[p] >= 0 for p in self.state_places))
        self.new_outs = [(len(self.sources) + k, *out) for k, out in enumerate(self.outs)
                         if self.alias[k] < 0]
        number = {k: i for i, (k, *_) in enumerate(self.new_outs)}
        self.fresh_places = [number.get(len(self.sources) + p, -1) for p in self.result_places]
        self.bound = False
        self.values: tuple[Any, ...] | None = values  # until the entry is made
        self.entry: entry.Entry | None = None
        self.block: Any = self.executable.scalars.pack(())
        self.block_address = ctypes.addressof(self.block)
        self.held: list[tuple[Storage, Node, bool]] = []
        self.arena_buffer: Any = None
        for draw in reversed([s for s in self.scalars if isinstance(s, Draw)]):
            draw.generator.draws = min(draw.generator.draws, int(draw.value) - 1)  # none was used

    def run(self, values: tuple[Any, ...]) -> Any:
        """Calls the program on concrete arguments."""
        if self.changes:
            with self.turns:
                return self._again(values) if self.bound and self._still_bound() else (
                    self._anew(values))
        if self.bound and self.turns.enter():
            try:
                if self._still_bound():
                    return self._again(values)
            finally:
                self.turns.leave()
        return self._anew(values)

    def _anew(self, values: tuple[Any, ...]) -> Any:
        """The long way: looks at everything."""
        leaves = self.gather(values)
        made = self.allocate(leaves)
        self.executable.start([leaf.arg for leaf in leaves], made, self._numbers(values),
                              lambda error: door.located(error, self.request.order))
        found = self.deliver(made, values)
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
                held.append((storage, leaf, i in self.donated))
                table[i] = leaf.arg.address
            for i, leaf in self.fixed:
                table[i] = leaf.arg.address
            for k, alias in enumerate(self.alias):
                if alias >= 0:
                    table[len(self.sources) + k] = table[alias]
            self.table, self.table_address = table, ctypes.addressof(table)
            self.held, self.bound = held, True
            if self.values is not None:
                self.entry, self.values = quick(self, self.values), None
            if self.entry is not None:
                self.entry.bind(self.table_address, self.block_address, self.arena() or 0, held)

    def _still_bound(self) -> bool:
        """Is all state where the last call left it, and nobody else looking at it?"""
        for storage, leaf, donated in self.held:
            if storage.node is not leaf or (donated and (
                    getrefcount(leaf) > HELD or leaf.arg.exported)):
                self._unbind()
                return False
        return True

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
            error = execute.ProgramError(*self.executable.program.errors[status - 1])
            raise door.located(error, self.request.order)

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
            leaf = storage.leaf
            if leaf is None:
                door.realize([storage])
                leaf = storage.leaf
            assert leaf is not None
            if i in self.donated and (leaf.arg.exported or getrefcount(leaf) > OWNED):
                leaf = door.copy_leaf(leaf)  # somebody else looks at the old value: it stays
            leaves[i] = leaf
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
    storage = t._storage
    leaf = storage.leaf
    if leaf is None:
        door.realize([storage])
        leaf = storage.leaf
    assert leaf is not None
    return leaf


class _Same:
    """An argument that cannot be hashed, as a key: equal only to itself, and kept alive."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __repr__(self) -> str:
        return f"{type(self.value).__name__} object"


def _signature(v: Any) -> Any:
    if isinstance(v, Tensor):
        return (v.dtype.rank, v.shape, v.requires_grad, v._storage.device)
    if type(v) is float:
        return float
    try:
        hash(v)
    except TypeError:
        return _Same(v)
    return (type(v), v)


_NESTS = (tuple, list, dict)


def _ends(v: Any, found: list[Any]) -> Any:
    """The shape of a nest of tuples, lists and dicts, hashable; its ends are appended to found."""
    if isinstance(v, tuple | list):
        return type(v), tuple([_ends(e, found) for e in v])
    if isinstance(v, dict):
        return dict, tuple(v), tuple([_ends(e, found) for e in v.values()])
    found.append(v)
    return None


def _nest(spec: Any, ends: Any) -> Any:
    """`_ends` undone; ends is an iterator."""
    if spec is None:
        return next(ends)
    if spec[0] is dict:
        return dict(zip(spec[1], [_nest(e, ends) for e in spec[2]]))
    items = [_nest(e, ends) for e in spec[1]]
    return spec[0](*items) if hasattr(spec[0], "_fields") else spec[0](items)


class Compiled:
    """A compiled function: call it like the original. `variants` holds one program a signature."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name = getattr(fn, "__name__", type(fn).__name__)
        self.variants: dict[Any, Variant] = {}
        self.last: Variant | None = None
        self.quick: Callable[..., Any] | None = None  # of the latest variant
        self.turns = Turns()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if recorders and tracing.recording():  # inside another compiled function: part of it
            return self.fn(*map(_from_array, args), **{k: _from_array(v)
                                                       for k, v in kwargs.items()})
        if self.quick is not None and not kwargs:
            found = self.quick(*args)
            if found is not NotImplemented:
                return found
        values = (*args, *kwargs.values()) if kwargs else args
        if any(isinstance(v, _NESTS) for v in values):
            return self._on_nests(args, kwargs)
        if any(isinstance(v, np.ndarray | np.generic) for v in values):
            args = tuple(map(_from_array, args))
            kwargs = {k: _from_array(v) for k, v in kwargs.items()}
            values = (*args, *kwargs.values())
        variant = self.variant(args, kwargs)
        found = variant.run(values)
        if not kwargs:
            self.quick = variant.entry.call if variant.entry is not None else None
        return found

    def _on_nests(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call with tuples, lists or dicts among its arguments: their ends are arguments."""
        ends: list[Any] = []
        spec = _ends((args, kwargs), ends)
        values = tuple(map(_from_array, ends))

        def fn(*values: Any) -> Any:
            given, named = _nest(spec, iter(values))
            return self.fn(*given, **named)

        return self.variant(values, {}, fn, spec).run(values)

    def variant(self, args: tuple[Any, ...], kwargs: dict[str, Any],
                fn: Callable[..., Any] | None = None, spec: Any = None) -> Variant:
        """The program for these arguments' signature; traced and compiled when new."""
        values = (*args, *kwargs.values()) if kwargs else args
        key = (tuple(map(_signature, values)), tuple(kwargs), spec)
        found = self.variants.get(key)
        if found is None or found.moved:
            found = Variant(fn or self.fn, args, kwargs, self.name, self.turns)
            found.reason = self._reason(key)
            self.variants[key] = found
        self.last = found
        return found

    def _reason(self, key: Any) -> str:
        """Why a program had to be made: what differs from the last signature."""
        if not self.variants:
            return "first call"
        before = list(self.variants)[-1]
        changes = [f"argument {i}: {_word(a)} -> {_word(b)}"
                   for i, (a, b) in enumerate(zip(before[0], key[0])) if a != b]
        return "; ".join(changes) or "other argument names"

    def _latest(self) -> Variant:
        if self.last is None:
            raise RuntimeError(f"{self.name}: expected a call before looking inside, got none yet")
        return self.last

    def explain(self) -> str:
        """What was compiled, why, and what fused with what, for every signature so far."""
        return "\n\n".join(v.explain() for v in self.variants.values()) or \
            f"{self.name}: not called yet"

    def graph(self) -> Any:
        """The latest signature's graph (see `Graph`)."""
        return self._latest().graph()

    def llvm_ir(self, optimised: bool = False) -> str:
        """LLVM IR of the latest signature, as generated or after LLVM's passes."""
        return self._latest().llvm_ir(optimised)

    def asm(self) -> str:
        """Assembly of the latest signature."""
        return self._latest().asm()

    def ptx(self) -> str:
        """PTX of the latest signature. Raises RuntimeError for a program of the host."""
        return self._latest().ptx()

    def profile(self, *args: Any, seconds: float = 0.2, **kwargs: Any) -> Any:
        """Time, GB/s and GFLOP/s of each kernel of the latest signature (see `Profile`)."""
        return self._latest().profile(seconds)

    def __repr__(self) -> str:
        return f"<compiled {self.name}: {len(self.variants)} programs>"

    def __reduce__(self) -> Any:
        return (compile, (self.fn,))


def _word(signature: Any) -> str:
    if isinstance(signature, tuple) and len(signature) == 4 and isinstance(signature[1], tuple):
        where = "" if signature[3] == HOST else f" on {signature[3]}"
        return f"shape {signature[1]}{where}"
    return str(signature)


def _from_array(v: Any) -> Any:
    return asarray(v) if isinstance(v, np.ndarray | np.generic) else v


def compile(fn: Callable[..., Any]) -> Compiled:
    """A version of `fn` that runs as one native program for each signature of its arguments.

    fn takes tensors (or NumPy arrays), Python floats, which become run-time numbers of the default
    dtype, nests (tuples, lists, dicts) of these, and anything else, which is part of the signature.
    It returns tensors in any nest. Tensors it writes in place or assigns to, arguments among them,
    are updated. It is called once a signature to record what it does, so Python side effects happen
    only then. Compiled functions may call each other; calls of one that changes state, from several
    threads, take turns. Usable as a decorator.
    """
    if not callable(fn):
        raise TypeError(f"compile: expected a function, got {type(fn).__name__}")
    return Compiled(fn)
