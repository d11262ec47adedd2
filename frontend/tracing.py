"""Watching a Python function run once, to learn what it reads and writes.

While a trace is open every read and write of a storage passes through it. A storage that existed
before is state: it is computed first, read as a leaf, and if the function writes it, its new value
becomes a result of the compiled program. Outside a trace storages are plain slots and cost nothing.
"""

from __future__ import annotations

import threading
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

    def __enter__(self) -> Trace:
        _lock.acquire()
        if _active:
            _lock.release()
            raise RuntimeError("compile: expected a plain function, got one that compiles or runs "
                               "a compiled function inside; call the original function instead")
        _active.append(self)
        Storage.node = property(_get, _set)  # type: ignore[assignment, misc]
        return self

    def __exit__(self, *error: object) -> None:
        Storage.node = _slot  # type: ignore[misc]
        _active.pop()
        _lock.release()

    def restore(self) -> dict[Storage, Node]:
        """Gives every written storage its old value back; returns the new values."""
        fresh = {s: _slot.__get__(s) for s in self.written}
        for s, old in self.written.items():
            _slot.__set__(s, old)
            s.version += 1
        return fresh


def active() -> Trace | None:
    """The trace under way in this thread's interpreter, if any."""
    return _active[-1] if _active else None


def _get(s: Storage) -> Node:
    trace = _active[-1]
    n: Node = _slot.__get__(s)
    if s in trace.own or s in trace.seen:
        return n
    if n.op != "buffer" and n.value is None:
        trace.seen[s] = n
        door.realize([s])
        n = _slot.__get__(s)
    leaf = n if n.op == "buffer" else n.value
    assert leaf is not None
    if not s.requires:
        if leaf in trace.taken:  # storages born equal: each is a state of its own
            leaf = door.copy_leaf(leaf)
        trace.taken.add(leaf)
        if n is not leaf:
            _slot.__set__(s, leaf)
            s.version += 1
            n = leaf
    trace.seen[s] = leaf
    return n


def _set(s: Storage, n: Node) -> None:
    trace = _active[-1]
    try:
        old = _slot.__get__(s)
    except AttributeError:
        trace.own.add(s)
        _slot.__set__(s, n)
        return
    if s not in trace.own and s not in trace.written and not _installs(old, n):
        _get(s)
        trace.written[s] = trace.seen[s]
    _slot.__set__(s, n)


def _installs(old: Node, new: Node) -> bool:
    """Is this the door putting a computed value in place, not the user writing?"""
    return old.value is new
