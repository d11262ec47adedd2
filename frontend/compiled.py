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
from flambeau.runtime import execute, memory

from . import realize as door
from .creation import asarray
from .inspecting import Inspected
from .random import Draw
from .storage import Storage
from .tensor import Tensor, default_dtype, leaves, read, result
from .tracing import Trace
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

    def __repr__(self) -> str:
        return f"argument {self.number}"


class Variant(Inspected):
    """One signature of a compiled function: its program and where its leaves come from."""

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
                 name: str) -> None:
        start = time.perf_counter()
        self.name = name
        self.places: list[int] = []  # tensor arguments, by position among args + kwargs values
        self.numbers: list[tuple[int, nd.Scalar]] = []
        with Trace() as trace:
            stand_ins = self._stand_ins((*args, *kwargs.values()))
            positional = stand_ins[:len(args)]
            named = dict(zip(kwargs, stand_ins[len(args):]))
            try:
                outcome = fn(*positional, **named)
                outputs: list[Tensor] = []
                self.spec = flatten(outcome, outputs)
                wanted = [read(t) for t in outputs]
            finally:
                fresh = trace.restore()
                _drop_gradients(trace)
        self._plan(trace, wanted, fresh, (*args, *kwargs.values()))
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
        self.executable = door.executable(request)
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
        self.fixed = [(i, s) for i, s in enumerate(self.sources) if isinstance(s, Node)]
        self.alias = self.executable.program.alias
        self.donated = {j for j in self.alias if j >= 0}
        self.outs = [(r.dtype, r.shape, r.nbytes) for r in distinct]
        self.scalars = [s.arg for s in request.scalars]
        self.new_outs = [(len(self.sources) + k, *out) for k, out in enumerate(self.outs)
                         if self.alias[k] < 0]
        number = {k: i for i, (k, *_) in enumerate(self.new_outs)}
        self.fresh_places = [number.get(len(self.sources) + p, -1) for p in self.result_places]
        self.lock = threading.Lock()
        self.bound = False
        self.values = values
        self.quick: Callable[..., Any] | None = None
        self.scope: dict[str, Any] = {}
        self.block: Any = self.executable.scalars.pack(())
        self.block_address = ctypes.addressof(self.block)
        self.held: list[tuple[Storage, Node, bool]] = []
        self.packed: list[Any] | None = None
        self.arena_buffer: Any = None
        for draw in reversed([s for s in self.scalars if isinstance(s, Draw)]):
            draw.generator.draws = min(draw.generator.draws, int(draw.value) - 1)  # none was used

    def run(self, values: tuple[Any, ...]) -> Any:
        """Calls the program on concrete arguments."""
        if self.bound and self.lock.acquire(blocking=False):
            try:
                if self._still_bound():
                    return self._again(values)
            finally:
                self.lock.release()
        return self._anew(values)

    def _anew(self, values: tuple[Any, ...]) -> Any:
        """The long way: looks at everything."""
        leaves = self.gather(values)
        made = self.allocate(leaves)
        try:
            self.executable.run([leaf.arg.address for leaf in leaves],
                                [b.address for b in made], [s.current() for s in self.scalars])
        except execute.ProgramError as error:
            raise door.located(error, self.request) from None
        found = self.deliver(made)
        del leaves
        self._bind(made)
        return found

    def _bind(self, made: list[Any]) -> None:
        """Keeps the table of addresses for the next call, which will find the same state."""
        if not self.executable.simple or len(set(self.state_places)) < len(self.state_places) or \
                any(self.alias[p] < 0 for p in self.state_places):
            return
        with self.lock:
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
            self.held, self.packed, self.bound = held, None, True
            if self.values is not None:
                self._make_quick(self.values)
                self.values = None
            if self.quick is not None:
                self._refresh_quick()

    def _still_bound(self) -> bool:
        """Is all state where the last call left it, and nobody else looking at it?"""
        for storage, leaf, donated in self.held:
            if storage.node is not leaf or (donated and (
                    getrefcount(leaf) > HELD or leaf.arg.exported)):
                self.bound = False
                return False
        return True

    def _again(self, values: tuple[Any, ...]) -> Any:
        """The short way: new arguments in the old table."""
        table = self.table
        for place, scalar in self.numbers:
            scalar.value = values[place]
        keep = []
        for i, place in self.argument_of:
            leaf = _leaf(values[place])
            keep.append(leaf)
            table[i] = leaf.arg.address
        now = [s.current() for s in self.scalars]
        if now != self.packed:
            self.pack(now)
        fresh = []
        before = [(k, table[k]) for k, *_ in self.new_outs]
        for k, dtype, shape, nbytes in self.new_outs:
            made = memory.allocate(nbytes)
            table[k] = made.address
            fresh.append(result(nd.buffer(dtype, shape, made)))
        self.executable.functions[0](self.table_address, self.block_address, self.arena())
        for k, address in before:  # where `quick` keeps its own
            table[k] = address
        if self.executable.program.errors:
            self._check()
        for storage in self.written:
            storage.version += 1
        return unflatten(self.spec, [fresh[p] for p in self.fresh_places])

    def arena(self) -> int | None:
        """Working memory for a call under the lock."""
        nbytes = self.executable.program.arena_bytes
        if not nbytes:
            return None
        if self.arena_buffer is None:
            self.arena_buffer = memory.allocate(nbytes)
        return self.arena_buffer.address

    def _check(self) -> None:
        status = int.from_bytes(self.block.raw[:8], "little")
        if status:
            self.block[:8] = bytes(8)
            error = execute.ProgramError(*self.executable.program.errors[status - 1])
            raise door.located(error, self.request)

    def _make_quick(self, values: tuple[Any, ...]) -> None:
        """Writes `quick`: the bound call with all its loops and look-ups written out.

        It serves plain computed tensors of this signature while all state is where it was left,
        and gives NotImplemented when the arguments or the state need the long way. Its globals are
        `self.scope`, where a new binding puts new leaves and a new table.
        """
        tensors = all(isinstance(v, Tensor) and not v.requires_grad for v in values)
        if not tensors or any(p < 0 for p in self.fresh_places):
            return
        names = [f"t{i}" for i in range(len(values))]
        tests = [f"type({n}) is not Tensor or {n}.shape != shape{i} or {n}.dtype is not dtype{i} "
                 f"or {n}._view is not None or {n}._storage.node.op != 'buffer'"
                 for i, n in enumerate(names)]
        for i, (_, _, donated) in enumerate(self.held):
            tests.append(f"s{i}.node is not l{i}" + (
                f" or getrefcount(l{i}) > HELD_IN_SCOPE or l{i}.arg.exported" if donated else ""))
        lines = [f"if {' or '.join(tests)}: return NotImplemented"] if tests else []
        lines += ["if not acquire(False): return NotImplemented", "try:"]
        lines += [f"    table[{i}] = {names[place]}._storage.node.arg.address"
                  for i, place in self.argument_of]
        for k, (slot, _, _, nbytes) in enumerate(self.new_outs):
            # the last call's memory again, when its result is gone
            lines += [f"    m{k} = kept[{k}]",
                      f"    if getrefcount(m{k}) > 3:",
                      f"        m{k} = kept[{k}] = allocate({nbytes})",
                      f"        table[{slot}] = m{k}.address"]
        if self.scalars:
            lines += [f"    now = [{', '.join(f'c{i}()' for i in range(len(self.scalars)))}]",
                      "    if now != variant.packed: variant.pack(now)",
                      "    call(table_address, variant.block_address, arena)"]
        else:
            lines += ["    call(table_address, block_address, arena)"]
        lines += ["    check()"] if self.executable.program.errors else []
        lines += ["finally: release()"]
        lines += [f"w{i}.version += 1" for i in range(len(self.written))]
        made = [f"result(buffer(out_dtype{k}, out_shape{k}, m{k}))" for k in self.fresh_places]
        lines += [f"return {made[0]}" if self.spec == 0 and made else
                  f"return unflatten(spec, [{', '.join(made)}])"]
        source = f"def quick({', '.join(names)}):\n" + "\n".join(f"    {x}" for x in lines)
        scope = self.scope = {
            "Tensor": Tensor, "allocate": memory.allocate, "call": self.executable.functions[0],
            "acquire": self.lock.acquire, "release": self.lock.release, "result": result,
            "buffer": nd.buffer, "unflatten": unflatten, "spec": self.spec, "variant": self,
            "check": self._check, "getrefcount": getrefcount, "HELD_IN_SCOPE": HELD_IN_SCOPE}
        for i, v in enumerate(values):
            scope |= {f"shape{i}": v.shape, f"dtype{i}": v.dtype}
        scope |= {f"w{i}": storage for i, storage in enumerate(self.written)}
        scope |= {f"c{i}": scalar.current for i, scalar in enumerate(self.scalars)}
        for k, (_, dtype, shape, _) in enumerate(self.new_outs):
            scope |= {f"out_dtype{k}": dtype, f"out_shape{k}": shape}
        exec(source, scope)
        self.quick = scope["quick"]

    def _refresh_quick(self) -> None:
        """Tells `quick` of a new binding."""
        scope = self.scope
        kept = [memory.allocate(nbytes) for *_, nbytes in self.new_outs]
        for (slot, *_), made in zip(self.new_outs, kept):
            self.table[slot] = made.address
        scope |= {"table": self.table, "table_address": self.table_address, "arena": self.arena(),
                  "block_address": self.block_address, "kept": kept}
        for i, (storage, leaf, _) in enumerate(self.held):
            scope |= {f"s{i}": storage, f"l{i}": leaf}

    def pack(self, now: list[Any]) -> None:
        """Writes the scalar arguments."""
        self.block = self.executable.scalars.pack(now)
        self.block_address = ctypes.addressof(self.block)
        self.packed = now

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
        return [leaves[alias].arg if alias >= 0 else memory.allocate(nbytes)
                for (_, _, nbytes), alias in zip(self.outs, self.alias)]

    def deliver(self, made: list[Any]) -> Any:
        """Hands outputs to the state's storages and to new tensors."""
        fresh = [nd.buffer(dtype, shape, b) for (dtype, shape, _), b in zip(self.outs, made)]
        for storage, place in zip(self.written, self.state_places):
            storage.node = fresh[place]
            storage.version += 1
        return unflatten(self.spec, [result(fresh[place]) for place in self.result_places])


# references to a state's leaf when only its storage holds it: the storage, the local variable
# and the argument of getrefcount; and one more while a binding holds it too
OWNED = 3
HELD = 4
HELD_IN_SCOPE = 5  # held by the storage, the binding, quick's globals, its stack, the argument


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
        t = result(read(t))
    storage = t._storage
    leaf = storage.leaf
    if leaf is None:
        door.realize([storage])
        leaf = storage.leaf
    assert leaf is not None
    return leaf


def _signature(v: Any) -> Any:
    if isinstance(v, Tensor):
        return (v.dtype.rank, v.shape, v.requires_grad)
    if type(v) is float:
        return float
    try:
        hash(v)
    except TypeError:
        return ("object", id(v))
    return (type(v), v)


class Compiled:
    """A compiled function: call it like the original. `variants` holds one program a signature."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name = getattr(fn, "__name__", type(fn).__name__)
        self.variants: dict[Any, Variant] = {}
        self.last: Variant | None = None
        self.quick: Callable[..., Any] | None = None  # of the latest variant
        self.arity = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.quick is not None and not kwargs and len(args) == self.arity:
            found = self.quick(*args)
            if found is not NotImplemented:
                return found
        values = (*args, *kwargs.values()) if kwargs else args
        if any(isinstance(v, np.ndarray) for v in values):
            args = tuple(map(_from_array, args))
            kwargs = {k: _from_array(v) for k, v in kwargs.items()}
            values = (*args, *kwargs.values())
        variant = self.variant(args, kwargs)
        found = variant.run(values)
        if not kwargs:
            self.quick, self.arity = variant.quick, len(args)
        return found

    def variant(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Variant:
        """The program for these arguments' signature; traced and compiled when new."""
        values = (*args, *kwargs.values()) if kwargs else args
        key = (tuple(map(_signature, values)), tuple(kwargs))
        found = self.variants.get(key)
        if found is None:
            found = Variant(self.fn, args, kwargs, self.name)
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

    def profile(self, *args: Any, seconds: float = 0.2, **kwargs: Any) -> Any:
        """Time, GB/s and GFLOP/s of each kernel of the latest signature (see `Profile`)."""
        return self._latest().profile(seconds)

    def __repr__(self) -> str:
        return f"<compiled {self.name}: {len(self.variants)} programs>"

    def __reduce__(self) -> Any:
        return (compile, (self.fn,))


def _word(signature: Any) -> str:
    if isinstance(signature, tuple) and len(signature) == 3 and isinstance(signature[1], tuple):
        return f"shape {signature[1]}"
    return str(signature)


def _from_array(v: Any) -> Any:
    return asarray(v) if isinstance(v, np.ndarray) else v


def compile(fn: Callable[..., Any]) -> Compiled:
    """A version of `fn` that runs as one native program for each signature of its arguments.

    fn takes tensors (or NumPy arrays), Python floats, which become run-time numbers of the default
    dtype, and anything else, which is part of the signature. It returns tensors in any nest of
    tuples, lists and dicts. Tensors it writes in place or assigns to are updated. It is called once
    a signature to record what it does, so Python side effects happen only then. Usable as a
    decorator.
    """
    return Compiled(fn)
