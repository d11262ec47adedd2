"""The native entry: a compiled call as a CPython function in machine code, without Python between.

Owns: the function `PyObject *fb_call(self, args, nargs)` in LLVM IR and the record it reads. It
checks that the arguments are plain computed tensors of the expected signature and that all state is
where the last call left it, fills the table of addresses, runs the program, and hands out the
results. Whenever anything needs the long way it gives NotImplemented and has changed nothing.

The objects it looks into are the frontend's: `Layout` says where their slots lie, found by looking.
It runs under the GIL; a long program releases the GIL, and takes turns by `enter` and `leave`.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flambeau.runtime import cache, jit
from flambeau.runtime.entry_code import RING, source
from flambeau.runtime.entry_looks import Layout
from flambeau.runtime.native import callable_at, data_offset, words

# an argument's kinds
TENSOR, FLOAT32, FLOAT64, CONSTANT = range(4)


@dataclass(frozen=True)
class Argument:
    """What argument number i must be. first, second: the shape and dtype of a tensor (place: its
    slot in the table, -1 for none), or the object itself; a float's place is a byte of scalars."""

    kind: int
    first: Any = None
    second: Any = None
    place: int = -1


class Entry:
    """The record of one program and the function over it, `call`.

    renew(k) makes a fresh result for output k and passes it to `put`; look() packs the watched
    numbers; numbers() packs all numbers, before every call; check() raises what the status word
    says; enter() and leave() take turns for programs that release the GIL. single: the one output
    itself is returned, else a tuple.
    """

    def __init__(self, layout: Layout, function: int, arguments: Sequence[Argument],
                 watched: Sequence[tuple[dict[str, Any], str]], written: Sequence[Any],
                 slots: Sequence[int], single: bool, inside: int, *,
                 renew: Callable[[int], None], look: Callable[[], None] | None = None,
                 numbers: Callable[[], None] | None = None,
                 check: Callable[[], None] | None = None,
                 enter: Callable[[], bool] | None = None,
                 leave: Callable[[], None] | None = None) -> None:
        self._keep = (arguments, written, renew, look, numbers, check, enter, leave, layout)
        self._watching, self._seen = list(watched), list[Any]()
        self._arguments = words([w for a in arguments for w in (
            a.kind, id(a.first), id(a.second), a.place)])
        self._watched = words([w for d, k in watched for w in (id(d), id(k), 0)])
        self._written = words([id(s) for s in written])
        self._outputs = words([w for slot in slots for w in (slot, 0, *[0] * 4 * RING)])
        self._results: list[list[Any]] = [[None] * RING for _ in slots]
        self._states = words([])
        self._constants = _constants(layout)
        self._record = _Record(
            ctypes.addressof(self._constants), 0, 0, 0, 0, function,
            len(arguments), ctypes.addressof(self._arguments), 0, 0,
            len(watched), ctypes.addressof(self._watched),
            len(slots), ctypes.addressof(self._outputs),
            len(written), ctypes.addressof(self._written), int(single), inside,
            *(id(f) if f is not None else 0 for f in (renew, look, numbers, check, enter, leave)))
        self._record.entry = self  # type: ignore[attr-defined]  # the function keeps the record alive, which keeps the rest
        self._code = _code(layout)
        self.call = callable_at(self._code.address("fb_call"), self._record)

    def bind(self, table: int, scalars: int, arena: int,
             states: Sequence[tuple[Any, Any, int]]) -> None:
        """Sets where the memory is and which state it belongs to; then `call` may run.

        states: a storage (or None), the node it must still hold, and how many references to that
        node there may be (0: any number). An expression must not have been computed. The caller
        keeps all of them.
        """
        self._states = words([w for storage, node, limit in states for w in (
            0 if storage is None else id(storage), id(node), limit)])
        self._record[2:5] = [table, scalars, arena]
        self._record[8:10] = [len(states), ctypes.addressof(self._states)]
        self._record[1] = 1

    def unbind(self) -> None:
        """Forgets the state: `call` gives NotImplemented until the next `bind`."""
        self._record[1] = 0
        self._record[8] = 0

    def put(self, k: int, result: Any, storage: Any, node: Any, address: int) -> None:
        """A fresh result for output k, in the place of the older one of those kept."""
        at = (2 + 4 * RING) * k
        turn = 1 - self._outputs[at + 1]
        self._results[k][turn] = result
        start = at + 2 + 4 * turn
        self._outputs[start:start + 4] = id(result), id(storage), id(node), address

    def see(self) -> None:
        """Notes the watched numbers as they are now; kept, so that no other takes their place."""
        self._seen = [d[k] for d, k in self._watching]
        for i, v in enumerate(self._seen):
            self._watched[3 * i + 2] = id(v)

    def forget(self) -> None:
        """Somebody else packed the numbers: `call` has to look again."""
        for i in range(len(self._watching)):
            self._watched[3 * i + 2] = 0


_Record = ctypes.c_uint64 * 24


@lru_cache(maxsize=1)
def _constants(layout: Layout) -> Any:
    """Objects that the function compares with."""
    return words([id(x) for x in (layout.tensor, None, False, sys.intern("buffer"),
                                   NotImplemented, float, sys.intern("cpu"))])


@lru_cache(maxsize=1)
def _code(layout: Layout) -> jit.Code:
    text = source(layout, data_offset())
    return jit.load(text, cache.digest("entry", text), jit.host_target())
