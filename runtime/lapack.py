"""LAPACK, from the library that `blas` finds: one call runs a routine over a whole batch.

A Fortran routine takes addresses and nothing else, so one native loop serves them all: it calls a
routine `count` times and moves every address on by its own step in between. Small matrices then
cost what LAPACK costs and no Python.

Matrices are handed over as they lie, row-major; LAPACK, which thinks in columns, sees them
transposed. Callers (linear.py) choose routines so that this rarely needs a copy.
"""

from __future__ import annotations

import ctypes
import struct
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from flambeau.runtime import blas, cache, jit, pool

MOST = 24  # arguments of the widest routine we call, and room for Fortran's hidden text lengths


class LinAlgError(np.linalg.LinAlgError):
    """A matrix that an operation cannot take: singular, not positive definite, no convergence."""


class Shared(NamedTuple):
    """An argument that every call of a batch gets: workspace."""

    array: np.ndarray


class _Info:
    """Stands for the last argument, in which LAPACK says how it went."""


INFO = _Info()
_LETTER = {np.dtype(n): c for n, c in (("f4", "s"), ("f8", "d"), ("c8", "c"), ("c16", "z"))}


def letter(dtype: Any) -> str:
    """LAPACK's letter for a floating or complex dtype."""
    return _LETTER[np.dtype(dtype)]


@lru_cache(maxsize=1)
def integer() -> Any:
    """The NumPy type of the library's integers."""
    return np.int64 if _library().integer_bits == 64 else np.int32


def call(routine: str, dtype: Any, count: int, *args: Any) -> np.ndarray:
    """Runs `routine` (without its letter) `count` times; gives each call's info.

    args in LAPACK's order: text of one letter, integers, floats, `Shared` workspace, INFO, and
    arrays, whose first axis walks the batch. Real numbers take the real dtype of `dtype`.
    Raises LookupError when no library has the routine.
    """
    kind = letter(dtype)
    info = np.zeros(count, integer())
    addresses, steps = [], []
    for a in args:
        if type(a) is np.ndarray:
            addresses.append(_place(a))
            steps.append(a.strides[0])
        elif a is INFO:
            addresses.append(_place(info))
            steps.append(info.itemsize)
        else:
            addresses.append(_place(a.array) if type(a) is Shared else constant(a, kind))
            steps.append(0)
    spare = MOST - len(args)  # 1: the length of a text argument, where one is hidden
    table = _TABLE.pack(*addresses, *(1,) * spare, *steps, *(0,) * spare)
    if pool.num_threads() > 1:
        _repeat()(address(kind + routine), count, table)
    else:
        with blas.single_threaded():
            _repeat()(address(kind + routine), count, table)
    return info


_TABLE = struct.Struct(f"<{2 * MOST}q")


def _place(a: np.ndarray) -> int:
    """The array's address."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(a.data))  # faster than the other
    except (BufferError, TypeError, ValueError):  # read-only, with gaps, or of no elements
        return int(a.__array_interface__["data"][0])


def constant(a: Any, kind: str) -> int:
    """The address of a number or a letter that LAPACK reads; it stays there."""
    return _constant(a, kind)[1]


@lru_cache(maxsize=None, typed=True)  # never forgotten: addresses of them are on their way
def _constant(a: Any, kind: str) -> tuple[np.ndarray, int]:
    """A number or a letter as memory that LAPACK reads, and its address."""
    if isinstance(a, str):
        held = np.frombuffer(bytearray(a.encode().ljust(8)), np.uint8)
    elif isinstance(a, float):
        held = np.array([a], np.float32 if kind in "sc" else np.float64)
    else:
        held = np.array([a], integer())
    return held, _place(held)


@lru_cache(maxsize=1)
def _library() -> blas.Blas:
    return blas.required()


@lru_cache(maxsize=256)
def address(name: str) -> int:
    """Where a routine lies, by its Fortran name. Raises LookupError when there is none."""
    library = _library()
    for spelling in library.spellings(name):
        found = getattr(library.handle, spelling, None)
        if found is not None:
            return ctypes.cast(found, ctypes.c_void_p).value or 0
    raise LookupError(f"lapack: expected the routine {name} in {library.path}, found none")


# -- the native loop -----------------------------------------------------------------------------

@lru_cache(maxsize=1)
def _code() -> jit.Code:
    """The loop's machine code, never unloaded."""
    text = _source()
    return jit.load(text, cache.digest("lapack", text), jit.host_target())


@lru_cache(maxsize=1)
def _repeat() -> Any:
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_char_p)
    return kind(_code().address("fb_lapack"))


def _source() -> str:
    """fb_lapack(routine, count, table): MOST arguments each time, spare ones too.

    The table holds the arguments' addresses, then their steps.
    """
    head, body, names = [], [], []
    for i in range(MOST):
        head += [f"  %pa{i} = getelementptr i64, ptr %table, i64 {i}",
                 f"  %a{i} = load i64, ptr %pa{i}",
                 f"  %ps{i} = getelementptr i64, ptr %table, i64 {MOST + i}",
                 f"  %s{i} = load i64, ptr %ps{i}"]
        body += [f"  %m{i} = mul i64 %k, %s{i}", f"  %w{i} = add i64 %a{i}, %m{i}",
                 f"  %v{i} = inttoptr i64 %w{i} to ptr"]
        names.append(f"ptr %v{i}")
    return "\n".join([
        "define void @fb_lapack(ptr %f, i64 %count, ptr %table) {", "entry:",
        *head, "  %some = icmp sgt i64 %count, 0",
        "  br i1 %some, label %loop, label %out", "loop:",
        "  %k = phi i64 [0, %entry], [%next, %loop]", *body,
        f"  call void %f({', '.join(names)})", "  %next = add i64 %k, 1",
        "  %more = icmp slt i64 %next, %count", "  br i1 %more, label %loop, label %out",
        "out:", "  ret void", "}", ""])
