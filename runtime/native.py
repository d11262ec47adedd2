"""What machine code needs to meet Python's objects: symbols, places of slots, functions.

Owns nothing of what is computed. `entry.py` and `matching.py` stand on it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any

from flambeau.runtime import jit

SYMBOLS = ("PyDict_GetItem", "PyErr_Fetch", "PyErr_Restore", "PyEval_RestoreThread",
           "PyEval_SaveThread", "PyFloat_AsDouble", "PyList_GetItem", "PyList_New",
           "PyList_SetItem", "PyList_Size", "PyLong_AsLongLong", "PyLong_FromLongLong",
           "PyObject_CallNoArgs", "PyObject_CallOneArg", "PyObject_IsTrue",
           "PyObject_RichCompareBool", "PyTuple_New", "PyTuple_SetItem", "Py_DecRef",
           "Py_IncRef")


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


def words(values: Sequence[int]) -> Any:
    """A record for machine code: 64-bit words at a fixed address."""
    return (ctypes.c_int64 * max(1, len(values)))(*values)


class _Method(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int),
                ("text", ctypes.c_char_p))


_FASTCALL = 0x80


def callable_at(address: int, record: Any) -> Callable[..., Any]:
    """The Python function over `PyObject *f(self, args, nargs)` at an address.

    Its self is the record, a ctypes array, which it keeps alive with all its attributes.
    """
    method = _Method(b"call", address, _FASTCALL, None)
    record.method = method
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object,
                                                     ctypes.c_void_p)
    return make(ctypes.addressof(method), record, None)  # type: ignore[no-any-return]


def data_offset() -> int:
    """Bytes from a ctypes array's start to the address of its data."""
    sample = words([0])
    found = (ctypes.c_uint64 * (type(sample).__basicsize__ // 8)).from_address(id(sample))
    return 8 * list(found).index(ctypes.addressof(sample))


def items_offset() -> int:
    """Bytes from a tuple's start to its first item."""
    mark = object()
    sample = (mark,)
    found = (ctypes.c_uint64 * (sample.__sizeof__() // 8)).from_address(id(sample))
    return 8 * list(found).index(id(mark))
