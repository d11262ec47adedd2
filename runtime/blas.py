"""A BLAS found on this machine: `fb_sgemm` and `fb_dgemm` for generated code, `gemm` for Python.

Owns: where to look (NumPy's own wheel first, then the scipy-openblas wheels) and how its integers
are spelled. Nothing is loaded before it is asked for.

    void fb_sgemm(i32 order, i32 ta, i32 tb, i64 m, i64 n, i64 k,
                  float alpha, ptr a, i64 lda, ptr b, i64 ldb, float beta, ptr c, i64 ldc)

is CBLAS's sgemm with 64-bit integers (order 101 row-major, 102 column-major; transposition 111 no,
112 yes); fb_dgemm has doubles. A call runs on one thread, whatever OpenBLAS is set to: parallel
tiles are ours, and a product's bits must not hang on a thread count. OpenBLAS has one such setting
for the whole process, so the first call in sets it to 1 and the last one out puts back what was.
NumPy's products that start meanwhile in other Python threads run on one thread too.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from flambeau.runtime import cache, jit

ROW_MAJOR, COLUMN_MAJOR = 101, 102
PLAIN, TRANSPOSED = 111, 112

_SPELLINGS = (("scipy_", "64_", 64), ("", "64_", 64), ("scipy_", "", 32), ("", "", 32))


@dataclass(frozen=True)
class Blas:
    """A loaded library: addresses by plain name, and the bits of its integers."""

    path: str
    integer_bits: int
    symbols: dict[str, int]
    handle: Any
    prefix: str = ""
    suffix: str = ""

    def spellings(self, routine: str) -> tuple[str, ...]:
        """How the library may spell a Fortran routine, as "dgetrf"."""
        bare = self.suffix.removesuffix("_")
        return tuple(f"{self.prefix}{routine}{end}" for end in (f"_{bare}_", f"_{bare}", "_"))


_NAMES = {"sgemm": "cblas_sgemm", "dgemm": "cblas_dgemm", "get": "openblas_get_num_threads",
          "set": "openblas_set_num_threads", "config": "openblas_get_config",
          "core": "openblas_get_corename"}


@lru_cache(maxsize=1)
def find() -> Blas | None:
    """The first library that has what we need, or None."""
    for path in _candidates():
        try:
            handle = ctypes.CDLL(str(path))  # not RTLD_GLOBAL: its names would shadow others
        except OSError:
            continue
        for prefix, suffix, bits in _SPELLINGS:
            symbols = {}
            for short, name in _NAMES.items():
                found = getattr(handle, prefix + name + suffix, None)
                if found is not None:
                    symbols[short] = ctypes.cast(found, ctypes.c_void_p).value or 0
            if len(symbols) == len(_NAMES):
                return Blas(str(path), bits, symbols, handle, prefix, suffix)
    return None


def available() -> bool:
    """Whether `fb_sgemm`, `fb_dgemm` and `gemm` can be used."""
    return find() is not None


def info() -> dict[str, Any]:
    """Facts for `python -m flambeau info`."""
    blas = find()
    if blas is None:
        return {"found": False}
    text = {name: ctypes.CFUNCTYPE(ctypes.c_char_p)(blas.symbols[name])().decode()
            for name in ("config", "core")}
    return {"found": True, "path": blas.path, "integers": blas.integer_bits,
            "config": text["config"].strip(), "core": text["core"], "threads": threads()}


def threads() -> int:
    """Threads OpenBLAS gives to NumPy's own calls now."""
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(required().symbols["get"])())


@contextmanager
def single_threaded() -> Iterator[None]:
    """Inside the block OpenBLAS runs on one thread."""
    enter, leave = _guards()
    enter()
    try:
        yield
    finally:
        leave()


@lru_cache(maxsize=1)
def _guards() -> tuple[Any, Any]:
    kind = ctypes.CFUNCTYPE(None)
    return kind(_code().address("fb_blas_enter")), kind(_code().address("fb_blas_leave"))


def gemm(dtype: Any, m: int, n: int, k: int, alpha: float, a: int, lda: int, b: int, ldb: int,
         beta: float, c: int, ldc: int, trans_a: bool = False, trans_b: bool = False) -> None:
    """Row-major C = alpha * op(A) @ op(B) + beta * C at three addresses.

    op(A) is m x k, op(B) k x n, C m x n; lda, ldb and ldc count the items from row to row of the
    stored matrices. dtype is float32 or float64. The sizes are not checked.
    """
    call = _callable("fb_sgemm" if np.dtype(dtype) == np.float32 else "fb_dgemm")
    call(ROW_MAJOR, TRANSPOSED if trans_a else PLAIN, TRANSPOSED if trans_b else PLAIN,
         m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)


# -- finding -----------------------------------------------------------------------------------

def _candidates() -> Iterator[Path]:
    numpy_folder = Path(np.__file__).parent
    for folder in (numpy_folder.parent / "numpy.libs", numpy_folder / ".dylibs",
                   numpy_folder / ".libs"):
        yield from sorted(folder.glob("*openblas*"))
    for wheel in ("scipy_openblas64", "scipy_openblas32"):
        spec = importlib.util.find_spec(wheel)
        for root in (spec.submodule_search_locations or []) if spec else []:
            yield from sorted(Path(root).glob("lib/lib*openblas*"))


def required() -> Blas:
    """The library. Raises LookupError when there is none."""
    blas = find()
    if blas is None:
        raise LookupError("blas: expected OpenBLAS in NumPy's wheel or a scipy-openblas64 wheel, "
                          "found neither")
    return blas


# -- the native part ---------------------------------------------------------------------------

@lru_cache(maxsize=1)
def _code() -> jit.Code:
    """The wrappers' machine code, never unloaded."""
    blas = required()
    for short, address in blas.symbols.items():
        jit.provide(f"fb_blas_{short}", lambda address=address: address)  # type: ignore[misc]
    text = _source(blas.integer_bits)
    code = jit.load(text, cache.digest("blas", text), jit.host_target())
    if hasattr(os, "register_at_fork"):
        reset = ctypes.CFUNCTYPE(None)(code.address("fb_blas_reset"))
        os.register_at_fork(after_in_child=reset)
    return code


@lru_cache(maxsize=2)
def _callable(symbol: str) -> Any:
    real = ctypes.c_float if symbol == "fb_sgemm" else ctypes.c_double
    flag, count, matrix = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
    kind = ctypes.CFUNCTYPE(None, flag, flag, flag, count, count, count, real, matrix, count,
                            matrix, count, real, matrix, count)
    return kind(_code().address(symbol))


def _source(bits: int) -> str:
    return _GUARD + "".join(_wrapper(symbol, real, bits)
                            for symbol, real in (("sgemm", "float"), ("dgemm", "double")))


def _wrapper(symbol: str, real: str, bits: int) -> str:
    """One gemm with 64-bit integers around the library's own, whose integers have `bits`."""
    counts = ("m", "n", "k", "lda", "ldb", "ldc")
    narrow = [] if bits == 64 else [f"  %{c}.i = trunc i64 %{c} to i32" for c in counts]
    names = {c: f"i{bits} %{c}" + ("" if bits == 64 else ".i") for c in counts}
    flags = ["i32 %order", "i32 %ta", "i32 %tb"]
    def listed(of: dict[str, str]) -> str:
        return ", ".join([*flags, of["m"], of["n"], of["k"], f"{real} %alpha", "ptr %a", of["lda"],
                          "ptr %b", of["ldb"], f"{real} %beta", "ptr %c", of["ldc"]])
    wide = listed({c: f"i64 %{c}" for c in counts})
    inner = listed(names)
    kinds = ", ".join(word.split()[0] for word in inner.split(", "))
    return "\n".join([
        f"declare void @fb_blas_{symbol}({kinds})",
        f"define void @fb_{symbol}({wide}) {{", *narrow,
        "  call void @enter()",
        f"  call void @fb_blas_{symbol}({inner})",
        "  call void @leave()",
        "  ret void", "}", ""])


_GUARD = """
declare i32 @fb_blas_get()
declare void @fb_blas_set(i32)
@held = internal global i32 0      ; guards the two below for a few nanoseconds
@inside = internal global i32 0    ; our calls under way
@saved = internal global i32 1     ; what OpenBLAS was set to before the first of them

define internal void @hold() {
entry:
  br label %try
try:
  %taken = atomicrmw xchg ptr @held, i32 1 acquire, align 4
  %mine = icmp eq i32 %taken, 0
  br i1 %mine, label %out, label %try
out:
  ret void
}

define internal void @enter() {
  call void @hold()
  %n = load i32, ptr @inside, align 4
  %more = add i32 %n, 1
  store i32 %more, ptr @inside, align 4
  %first = icmp eq i32 %n, 0
  br i1 %first, label %save, label %out
save:
  %threads = call i32 @fb_blas_get()
  store i32 %threads, ptr @saved, align 4
  %single = icmp eq i32 %threads, 1
  br i1 %single, label %out, label %set
set:
  call void @fb_blas_set(i32 1)
  br label %out
out:
  store atomic i32 0, ptr @held release, align 4
  ret void
}

define internal void @leave() {
  call void @hold()
  %n = load i32, ptr @inside, align 4
  %fewer = sub i32 %n, 1
  store i32 %fewer, ptr @inside, align 4
  %last = icmp eq i32 %fewer, 0
  %threads = load i32, ptr @saved, align 4
  %many = icmp ne i32 %threads, 1
  %restore = and i1 %last, %many
  br i1 %restore, label %set, label %out
set:
  call void @fb_blas_set(i32 %threads)
  br label %out
out:
  store atomic i32 0, ptr @held release, align 4
  ret void
}

define void @fb_blas_enter() {
  call void @enter()
  ret void
}

define void @fb_blas_leave() {
  call void @leave()
  ret void
}

define void @fb_blas_reset() {
  %n = load i32, ptr @inside, align 4
  store i32 0, ptr @inside, align 4
  store i32 0, ptr @held, align 4
  %under = icmp ne i32 %n, 0
  br i1 %under, label %set, label %out
set:
  %threads = load i32, ptr @saved, align 4
  call void @fb_blas_set(i32 %threads)
  br label %out
out:
  ret void
}
"""


def _provide(symbol: str) -> None:
    jit.provide(symbol, lambda: _code().address(symbol))


for _symbol in ("fb_sgemm", "fb_dgemm", "fb_blas_enter", "fb_blas_leave"):
    _provide(_symbol)
