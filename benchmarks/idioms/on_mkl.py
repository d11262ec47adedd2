"""MKL from its wheel, called through cblas: matrix products alone."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import Work

ROWS, PLAIN, TRANSPOSED = 101, 111, 112  # cblas.h
_library = ctypes.CDLL(str(next((Path(sys.prefix) / "lib").glob("libmkl_rt.so*"))))


def start(threads: int) -> None:
    """Before any work."""
    _library.MKL_Set_Num_Threads(ctypes.c_int(threads))


def version() -> str:
    """What is measured."""
    buffer = ctypes.create_string_buffer(198)
    _library.MKL_Get_Version_String(buffer, 198)
    return buffer.value.decode().strip()


def work(f: Callable[..., Any], arrays: list[np.ndarray]) -> Work:
    """A product, into fresh memory as the others do."""
    return Work(lambda: f(X, *arrays), lambda value: [value])


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of two matrices, each perhaps a transposed view."""
    (m, k), n, double = a.shape, b.shape[1], a.dtype == np.float64
    number = ctypes.c_double if double else ctypes.c_float
    out = np.empty((m, n), a.dtype)
    operands: list[Any] = []
    for v in (a, b):
        plain = v.flags.c_contiguous
        operands += [PLAIN if plain else TRANSPOSED, v.ctypes.data, v.shape[int(plain)]]
    (ta, pa, lda), (tb, pb, ldb) = operands[:3], operands[3:]
    gemm = _library.cblas_dgemm if double else _library.cblas_sgemm
    gemm(ROWS, ta, tb, m, n, k, number(1), ctypes.c_void_p(pa), lda, ctypes.c_void_p(pb), ldb,
         number(0), ctypes.c_void_p(out.ctypes.data), n)
    return out


X = SimpleNamespace(matmul=matmul, transpose=np.transpose)
