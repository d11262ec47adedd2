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

SYMBOLS = ("PyDict_GetItem", "PyErr_Fetch", "PyErr_Restore", "PyEval_RestoreThread",
           "PyEval_SaveThread", "PyFloat_AsDouble", "PyLong_AsLongLong", "PyLong_FromLongLong",
           "PyObject_CallNoArgs", "PyObject_CallOneArg", "PyObject_IsTrue",
           "PyObject_RichCompareBool", "PyTuple_New", "PyTuple_SetItem", "Py_DecRef", "Py_IncRef")


def _address(symbol: str) -> int:
    return ctypes.cast(getattr(ctypes.pythonapi, symbol), ctypes.c_void_p).value or 0


for _symbol in SYMBOLS:
    jit.provide(_symbol, lambda symbol=_symbol: _address(symbol))  # type: ignore[misc]


def supported() -> bool:
    """Does this Python let machine code look into its objects: CPython, 64 bits, with a GIL?"""
    locked: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return (sys.implementation.name == "cpython" and sys.maxsize > 1 << 32
            and sys.byteorder == "little" and locked())


def offset(sample: object, slot: str) -> int:
    """Bytes from an object's start to its `slot`, found by putting something there and looking."""
    before = getattr(sample, slot)
    mark = object()
    setattr(sample, slot, mark)
    words = (ctypes.c_uint64 * (type(sample).__basicsize__ // 8)).from_address(id(sample))
    found = [8 * i for i, word in enumerate(words) if word == id(mark)]
    setattr(sample, slot, before)
    if len(found) != 1:
        raise RuntimeError(f"entry: expected slot {slot} in {type(sample).__name__}, found it "
                           f"{len(found)} times")
    return found[0]


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
        self._arguments = _words([w for a in arguments for w in (
            a.kind, id(a.first), id(a.second), a.place)])
        self._watched = _words([w for d, k in watched for w in (id(d), id(k), 0)])
        self._written = _words([id(s) for s in written])
        self._outputs = _words([w for slot in slots for w in (slot, 0, *[0] * 4 * RING)])
        self._results: list[list[Any]] = [[None] * RING for _ in slots]
        self._states = _words([])
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
        self.call = _function(self._code.address("fb_call"), self._record)

    def bind(self, table: int, scalars: int, arena: int,
             states: Sequence[tuple[Any, Any, bool]]) -> None:
        """Sets where the memory is and which state it belongs to; then `call` may run.

        states: a storage, the node it must still hold, and whether nobody else may look at that
        node, which the storage and these tuples hold. The caller keeps them.
        """
        self._states = _words([w for storage, node, alone in states for w in (
            id(storage), id(node), 2 if alone else 0)])
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


def _words(values: Sequence[int]) -> Any:
    return (ctypes.c_int64 * max(1, len(values)))(*values)


@lru_cache(maxsize=1)
def _constants(layout: Layout) -> Any:
    """Objects that the function compares with."""
    return _words([id(x) for x in (layout.tensor, None, False, sys.intern("buffer"),
                                   NotImplemented, float, sys.intern("cpu"))])


class _Method(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int),
                ("text", ctypes.c_char_p))


_FASTCALL = 0x80


def _function(address: int, record: Any) -> Callable[..., Any]:
    """A Python function over `fb_call`; its self is the record."""
    method = _Method(b"call", address, _FASTCALL, None)
    record.method = method
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object,
                                                     ctypes.c_void_p)
    return make(ctypes.addressof(method), record, None)  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _data_offset() -> int:
    """Bytes from a ctypes array's start to the address of its data."""
    sample = _Record()
    words = (ctypes.c_uint64 * (_Record.__basicsize__ // 8)).from_address(id(sample))
    return 8 * list(words).index(ctypes.addressof(sample))


@lru_cache(maxsize=1)
def _code(layout: Layout) -> jit.Code:
    text = source(layout, _data_offset())
    return jit.load(text, cache.digest("entry", text), jit.host_target())
