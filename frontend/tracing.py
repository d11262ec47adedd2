"""Watching a Python function run once, to learn what it reads and writes.

While a trace is open every read and write of a storage passes through it. A storage that existed
before is state: it is computed first, read as a leaf, and if the function writes it, its new value
becomes a result of the compiled program. Outside a trace storages are plain slots and cost nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from sys import getrefcount
from threading import get_ident
from typing import Any

from flambeau.compiler.node import Node

from . import realize as door
from .storage import Storage

_slot: Any = Storage.__dict__["node"]  # the slot descriptor, put back when the trace ends
_lock = threading.RLock()
_active: list[Trace] = []


class Trace:
    """What one run of a function did to storages.

    seen: state and the leaf it was read as. written: state that got a new value, with the node it
    had before.
    """

    def __init__(self) -> None:
        self.seen: dict[Storage, Node] = {}
        self.written: dict[Storage, Node] = {}
        self.own: set[Storage] = set()  # made during the trace
        self.taken: set[Node] = set()  # leaves of state seen so far
        self.draws: list[Any] = []
        self.thread = 0

    def __enter__(self) -> Trace:
        _lock.acquire()
        if _active:
            _lock.release()
            raise RuntimeError("compile: expected a plain function, got one that looks into a "
                               "compiled function or trains inside; do that outside")
        self.thread = get_ident()
        _active.append(self)
        _open(self)
        return self

    def __exit__(self, *error: object) -> None:
        _active.pop()
        _close()
        for s in self.own:  # they have no values outside
            door.due.discard(s)
            door.along.discard(s)
        _lock.release()

    def restore(self) -> dict[Storage, Node]:
        """Gives every written storage its old value back; returns the new values."""
        fresh = {s: _slot.__get__(s) for s in self.written}
        for s, old in self.written.items():
            _slot.__set__(s, old)
            s.version += 1
        return fresh


class Body:
    """A loop's body while it is recorded: it may write only tensors that it was given or made."""

    def __init__(self, name: str, given: Iterable[Any]) -> None:
        self.name = name
        self.own: set[Storage] = {t._storage for t in given}
        self.thread = 0
        self.step: Node | None = None  # the number of the step, once something asks for it

    def __enter__(self) -> Body:
        _lock.acquire()
        self.thread = get_ident()
        _bodies.append(self)
        _open(self)
        return self

    def __exit__(self, *error: object) -> None:
        _bodies.pop()
        _close()
        _lock.release()


_bodies: list[Body] = []
recorders: list[Trace | Body] = []  # all that are open, the innermost last


def _open(recorder: Trace | Body) -> None:
    """From here on reads and writes of storages pass through `_get` and `_set`."""
    recorders.append(recorder)
    Storage.node = property(_get, _set)  # type: ignore[assignment, misc]


def _close() -> None:
    recorders.pop()
    if not recorders:
        Storage.node = _slot  # type: ignore[misc]


def active() -> Trace | None:
    """The trace under way in this thread, if any."""
    return _active[-1] if _active and _active[-1].thread == get_ident() else None


def bodies() -> list[Body]:
    """The loop bodies that this thread is recording, the innermost last."""
    return _bodies if _bodies and _bodies[-1].thread == get_ident() else []


def recording() -> bool:
    """Is this thread recording a function or a loop's body?"""
    return bool(recorders) and recorders[-1].thread == get_ident()


OWNED = 4  # references to a leaf: its storage's, two local names and the argument of getrefcount


def _get(s: Storage) -> Node:
    trace = active()
    n: Node = _slot.__get__(s)
    if trace is None or s in trace.own or s in trace.seen:
        return n
    if n.op != "buffer" and n.value is None:
        trace.seen[s] = n
        door.realize([s])
        n = _slot.__get__(s)
    leaf = n if n.op == "buffer" else n.value
    assert leaf is not None
    if not s.requires:
        # Storages born equal are states of their own, and a constant or an expression that was
        # computed into this very memory must not follow the state when it changes.
        if leaf in trace.taken or n is not leaf or getrefcount(leaf) > OWNED:
            leaf = door.copy_leaf(leaf)
        trace.taken.add(leaf)
        if n is not leaf:
            _slot.__set__(s, leaf)
            s.version += 1
            n = leaf
    trace.seen[s] = leaf
    return n


def _set(s: Storage, n: Node) -> None:
    trace, around = active(), bodies()
    try:
        old = _slot.__get__(s)
    except AttributeError:
        for recorder in (trace, *around):
            if recorder is not None:
                recorder.own.add(s)
        _slot.__set__(s, n)
        return
    if around and s not in around[-1].own:
        raise RuntimeError(f"{around[-1].name}: expected a body that changes only tensors it makes "
                           f"itself, got an in-place write to {old.dtype.name} {old.shape} from "
                           "outside; make it part of the carry")
    if trace is not None and s not in trace.own and s not in trace.written:
        _get(s)
        trace.written[s] = trace.seen[s]
    _slot.__set__(s, n)

