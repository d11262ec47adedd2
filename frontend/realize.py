"""The door to values: the only file that asks compiler and runtime to compute.

`realize(storages)` computes; `force(storages)` does so on behalf of a user who asked for numbers,
and counts where in the user's code that happened.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from flambeau import compiler
from flambeau.compiler.config import config
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, buffer, is_const, toposort
from flambeau.compiler.request import Request, prepare
from flambeau.runtime import devices, execute, jit, memory, reference
from flambeau.runtime.lapack import LinAlgError
from flambeau.runtime.matching import INNER, LEAF, SCALAR, Pattern, Recent, worth_it
from flambeau.runtime.starting import starter

from . import families, recalculated
from .storage import Storage


class Waiting:
    """Storages that wait to be computed, in the order in which they came; none is kept alive.

    A set's order would follow addresses, and with it programs, their keys and the last bit. some:
    true while any waits, without a call.
    """

    __slots__ = ("_refs", "some")

    def __init__(self) -> None:
        self._refs: weakref.WeakKeyDictionary[Storage, None] = weakref.WeakKeyDictionary()
        self.some: dict[Any, None] = self._refs.data  # type: ignore[attr-defined]

    def add(self, storage: Storage) -> None:
        """One more, at the end unless it is there."""
        self._refs[storage] = None

    def discard(self, storage: Storage) -> None:
        """This one does not wait any more, if it did."""
        self._refs.pop(storage, None)

    def clear(self) -> None:
        """None waits any more."""
        self._refs.clear()

    def __iter__(self) -> Iterator[Storage]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)


# Updated lazily, and computed with whatever is asked for next, so that a training step is one
# program: `due` are parameters and optimiser state, which the next forward pass waits for; `along`
# are values that somebody will want from the same graph, as losses.
due = Waiting()
along = Waiting()



class Postponed:
    """States whose updates a compiled function has left for its next call (postponing.py), and who
    takes turns in changing them. new: were some left since the last look?"""

    __slots__ = ("_some", "_turns", "new")

    def __init__(self) -> None:
        self._turns: weakref.WeakKeyDictionary[Storage, Any] = weakref.WeakKeyDictionary()
        self._some: dict[Any, Any] = self._turns.data  # type: ignore[attr-defined]  # true while there are any: asked for every value
        self.new = False

    def add(self, storage: Storage, turns: Any) -> None:
        """This one's update waits."""
        self._turns[storage] = turns
        self.new = True

    def left(self) -> list[Storage]:
        """Those that wait."""
        self.new = False
        return [s for s in self._turns if s.leaf is None]

    def install(self, s: Storage, n: Node, leaf: Node) -> None:
        """Storage s has the value `leaf` if its node is still n: a compiled function may have
        changed it meanwhile in another thread, and then only n has this value."""
        turns = self._turns.get(s) if self._some else None
        if turns is None or turns.enter():
            try:
                if s.node is n:
                    s.install(leaf)
                    return
            finally:
                if turns is not None:
                    turns.leave()
        if not is_const(n):
            n.value = leaf


postponed = Postponed()


def settle() -> None:
    """Computes what is due, so that steps do not pile up in one graph."""
    if due or postponed.new:
        wanted = [*due, *along, *postponed.left()]
        due.clear()
        along.clear()
        realize(wanted)


# Results of host routines that several tensors are made of, not computed yet. What is computed
# first computes them for the others, so that no routine runs twice. The value: a routine that gives
# another part of the same result (a sort's order), if its node still lives.
several: weakref.WeakKeyDictionary[Node, Callable[[], Node | None]] = weakref.WeakKeyDictionary()
_some_several: dict[Any, Any] = several.data  # type: ignore[attr-defined]


def _with_several(roots: list[Node]) -> list[Node]:
    """The roots, and what below them others are made of too."""
    order = toposort(roots, lambda n: n.value is not None)
    found = [(n, partner) for n in order
             if n.value is None and (partner := several.pop(n, None)) is not None]
    partners = [p for _, partner in found if (p := partner()) is not None and p.value is None]
    for n in partners:
        several.pop(n, None)
    return list(dict.fromkeys([*roots, *(n for n, _ in found), *partners]))


def realize(storages: list[Storage]) -> None:
    """Computes the values of storages together; afterwards each `storage.leaf` is a buffer."""
    if len(storages) == 1 and not _some_several:  # the usual question, and no lists to make
        s = storages[0]
        n, leaf = s.node, s.leaf
        postponed.install(s, n, leaf if leaf is not None else compute([n], s.device)[0])
        return
    pending: dict[Node, list[Storage]] = {}
    elsewhere: list[Storage] = []
    device = ""
    for s in storages:
        leaf = s.leaf
        if leaf is not None:
            postponed.install(s, s.node, leaf)
        elif device and s.device != device:
            elsewhere.append(s)
        else:
            device = s.device
            pending.setdefault(s.node, []).append(s)
    if not pending:
        return
    roots = _with_several(list(pending)) if _some_several else list(pending)
    leaves = compute(roots, device)
    for n, leaf in zip(roots[len(pending):], leaves[len(pending):]):
        n.value = leaf
    for (n, owners), leaf in zip(pending.items(), leaves):
        postponed.install(owners[0], n, leaf)
        for other in owners[1:]:  # equal values, but each storage is its own memory
            postponed.install(other, n, copy_leaf(leaf))
    if elsewhere:
        realize(elsewhere)


def compute(roots: list[Node], device: str = "cpu") -> list[Node]:
    """Buffer leaves on a device with the values of distinct nodes. Leaves that lie on another
    device (numbers, positions known to the host) are copied there for the run."""
    if config.device == "reference":
        return [leaf_of(v, n.dtype, device) for v, n in zip(reference.evaluate(roots), roots)]
    known, order, kept = _program(roots, device)
    allocate = memory.allocate if device == "cpu" else allocator(device)
    made = [allocate(nbytes) for nbytes in known.nbytes]
    if config.device != "null":  # which compiles and runs nothing
        _run(known, order, made)
    for n, b in zip(kept, made[len(roots):]):
        n.value = buffer(n.dtype, n.shape, b)
    return [buffer(r.dtype, r.shape, b) for r, b in zip(roots, made)]


def _run(known: _Known, order: list[Node], made: list[Any]) -> None:
    """Runs a graph's program on its leaves' memory, by the short way if there is one."""
    program, begin = known.program, known.begin
    if (begin is not None and program.plain
            and begin(order, made, program.status_address, 0) is None):
        return
    numbers = [order[i].arg.value for i in known.scalars]
    if begin is not None:
        try:
            if program.begin(begin, order, made, numbers):
                return
        except execute.ProgramError as error:
            raise located(error, order) from None
    program.start([order[i].arg for i in known.leaves], made, numbers,
                  lambda error: located(error, order))


def allocator(device: str) -> Callable[[int], Any]:
    """The function that allocates bytes on a device."""
    return devices.find(device).allocate  # type: ignore[no-any-return]


class _Known(NamedTuple):
    """A graph to compare others with, and its program. leaves, scalars: their numbers; nbytes: the
    roots'; begin: the short way to run it (starting.py), if it is often used and there is one."""

    pattern: Pattern | None
    program: Any
    leaves: list[int]
    scalars: list[int]
    nbytes: list[int]
    begin: Callable[..., Any] | None


_known: Recent[_Known] = Recent()
_met: weakref.WeakSet[Any] = weakref.WeakSet()  # programs that a lazy graph asked for


def _program(roots: list[Node], device: str) -> tuple[_Known, list[Node], list[Node]]:
    """What is known of the program that computes these, the graph's nodes by number, and what it
    computes besides."""
    first, last = roots[0], roots[-1]
    there = device if device == "cpu" else devices.find(device)
    hint = (there, config.cpu, config.vector_bytes, config.matmul, config.skip, config.tf32,
            config.cublas, len(roots), first.op, first.shape, last.op, last.shape)
    match = _known.find(hint, roots)
    if match is not None:
        return *match, []
    request = prepare(roots)
    kept = recalculated.again(roots, request.order)
    if kept:
        request = prepare([*roots, *kept])
    program = executable(request, device)
    again = not kept and program in _met and worth_it(request.order)  # it will come again
    known = _remembered(request, program, again)
    if again:
        _known.add(hint, known)
    _met.add(program)
    return known, request.order, kept


def _remembered(request: Request, program: Any, again: bool = True) -> _Known:
    rows, outputs, _ = request.key
    kinds = [LEAF if len(row) == 2 and type(row[0]) is int else
             SCALAR if row[0] == "scalar" else INNER for row in rows]
    sources = [row[4:] if kind == INNER else () for row, kind in zip(rows, kinds)]
    leaves = [i for i, kind in enumerate(kinds) if kind == LEAF]
    short = again and isinstance(program, execute.Executable)
    return _Known(Pattern(request.order, kinds, sources, outputs, False) if again else None,
                  program, leaves, [i for i, kind in enumerate(kinds) if kind == SCALAR],
                  [n.nbytes for n in request.roots], starter(program, leaves) if short else None)


_programs: dict[tuple[object, ...], Any] = {}
PROGRAM_LIMIT = 1024  # programs kept in memory; the oldest goes first


def executable(request: Request, device: str = "cpu", after: int | None = None) -> Any:
    """The program of a structure on a device: from memory, from disk, or compiled now.

    after: the how manyth size of a structure gets a program for all sizes (default: the flag).
    """
    there: Any = device if device == "cpu" else devices.find(device)
    target = jit.host_target() if device == "cpu" else there.target()
    key = (request.key, there, target, config.matmul, config.skip, config.tf32)
    found = _programs.get(key)
    if found is None:
        found = families.serve(request, target, config.general if after is None else after)
        if found is None:
            found = devices.find(device).load(request.digest(target),
                                              lambda: compiler.build(request, target), target)
        place = user_frame()
        count, seconds = made_at.get(place, (0, 0.0))
        made_at[place] = count + 1, seconds + found.seconds
        if len(_programs) >= PROGRAM_LIMIT:
            _programs.pop(next(iter(_programs)))
        _programs[key] = found
        if config.debug >= 1:
            print(f"flambeau: {found.source} {len(found.program.kernels)} kernels in "
                  f"{found.seconds * 1e3:.1f} ms", file=sys.stderr)
    return found


def _forget_programs() -> None:
    """Lets go of devices' programs, which would keep a device alive that is forgotten."""
    for key in [k for k in _programs if k[1] != "cpu"]:
        del _programs[key]
    _known.clear()


devices.on_forget(_forget_programs)


def located(error: execute.ProgramError, order: Sequence[Any]) -> Exception:
    """The error with the user's file and line where the failing tensor was made.

    order: the graph's nodes by number. What a host routine raised keeps its type.
    """
    where = order[error.place].where if error.place >= 0 else None
    place = f" (recorded at {where[0]}:{where[1]})" if where else ""
    if not isinstance(error, execute.RoutineError):
        return _KINDS[error.kind](f"{error}{place}")
    original = error.error
    return type(original)(f"{error}{place}") if type(original) in _TOLD else original


_KINDS: dict[str, Callable[[str], Exception]] = {"IndexError": IndexError, "ValueError": ValueError}
_TOLD = (ValueError, TypeError, LinAlgError)  # errors made of a text alone


def leaf_of(array: np.ndarray, dtype: DType, device: str = "cpu") -> Node:
    """A buffer leaf with a copy of the array (bits of `dtype`)."""
    if device != "cpu":
        there = devices.find(device)
        made = there.allocate(array.nbytes)
        there.copy_in(made, np.ascontiguousarray(array, dtype.numpy))
        return buffer(dtype, array.shape, made)
    made = memory.allocate(array.nbytes)
    made.array(dtype.numpy, array.shape, writable=True)[...] = array
    made.exported = False  # the array above dies here
    return buffer(dtype, array.shape, made)


def copy_leaf(leaf: Node) -> Node:
    """The same values in other memory."""
    return moved(leaf, leaf.arg.device)


def moved(leaf: Node, device: str) -> Node:
    """The same values in memory of a device."""
    return buffer(leaf.dtype, leaf.shape, devices.move(leaf.arg, device))


def shared_leaf(array: np.ndarray, dtype: DType) -> Node:
    """A buffer leaf over the memory of a C-contiguous array."""
    return buffer(dtype, array.shape, memory.wrap(array))


def write_shared(storage: Storage, value: Node) -> None:
    """Computes `value` into the NumPy memory that `storage` shares.

    Lazy expressions that read the old value keep it: they get a copy made before the write.
    """
    result = Storage(value)
    realize([result])
    old = storage.node
    if sys.getrefcount(old) > 3:  # storage, `old`, the argument; anything else still reads it
        old.value = leaf_of(storage.shared, old.dtype)
    leaf = result.leaf
    assert leaf is not None
    storage.shared[...] = leaf.arg.array(leaf.dtype.numpy, leaf.shape)
    storage.node = shared_leaf(storage.shared, old.dtype)
    storage.version += 1


made_at: dict[tuple[str, int], tuple[int, float]] = {}  # programs that were new, by user's line


class CompileReport(dict[str, tuple[int, float]]):
    """(programs, seconds) by "file:line"; prints as a table, the most costly lines first."""

    def __str__(self) -> str:
        if not self:
            return "no program was new"
        return "\n".join(f"{count:6d} programs  {seconds * 1e3:9.1f} ms  {place}"
                         for place, (count, seconds) in self.items())


def compile_report(reset: bool = False) -> CompileReport:
    """Where programs were asked for that were not in memory, and what making or loading them took.

    A dict from "file:line" to (programs, seconds), the most costly first; prints as a table. A line
    that shows up again and again records ever new structures: see docs/lazy.md.
    """
    worst = sorted(made_at.items(), key=lambda item: -item[1][1])
    report = CompileReport({f"{f}:{line}": found for (f, line), found in worst})
    if reset:
        made_at.clear()
    return report


# -- forced values, counted ----------------------------------------------------------------------

syncs: Counter[tuple[str, int]] = Counter()


class _Mode(threading.local):
    forbidden = False


_mode = _Mode()


class SyncReport(dict[str, int]):
    """Counts of forced computations by "file:line"; prints as a table, most frequent first."""

    def __str__(self) -> str:
        if not self:
            return "no value was forced"
        return "\n".join(f"{count:8d}  {place}" for place, count in self.items())


def user_frame() -> tuple[str, int]:
    """File and line of the innermost caller outside Flambeau."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__", "")
        if name != "flambeau" and not name.startswith("flambeau."):
            break
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def force(storages: list[Storage]) -> None:
    """Computes storages because the user's code needs numbers now; counted by its line."""
    for s in storages:
        if s.leaf is None:
            break
    else:
        return
    place = user_frame()
    if _mode.forbidden:
        raise RuntimeError(f"no_sync: expected no computation to be forced, got one at "
                           f"{place[0]}:{place[1]}")
    syncs[place] += 1
    if due.some or along.some:
        storages = list(dict.fromkeys([*storages, *due, *along]))
        due.clear()
        along.clear()
    realize(storages)


def leaf_of_storage(storage: Storage, compute: Callable[[list[Storage]], None] = realize) -> Node:
    """The leaf with the value that the storage has now, computed if need be; another thread may
    give the storage a new value meanwhile."""
    while True:
        n = storage.node
        leaf = storage.leaf
        if leaf is None:
            compute([storage])
            leaf = n.value
        if leaf is not None:
            return leaf


def sync_report(reset: bool = False) -> SyncReport:
    """Where values were forced (`.numpy()`, `print`, `float`, `if`) and how often.

    A dict from "file:line" to count, most frequent first; prints as a table.
    """
    report = SyncReport({f"{f}:{line}": n for (f, line), n in syncs.most_common()})
    if reset:
        syncs.clear()
    return report


@contextmanager
def no_sync() -> Iterator[None]:
    """Inside the block a forced computation raises RuntimeError that names its line."""
    before = _mode.forbidden
    _mode.forbidden = True
    try:
        yield
    finally:
        _mode.forbidden = before
