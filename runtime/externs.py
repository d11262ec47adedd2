"""Host routines behind `extern` nodes: what is neither elementwise, reduction nor contraction.

EXTERNS[name](options, *arrays) -> array; 16-bit floats arrive as float32. Pure functions of arrays,
called by the program that needs them and by the reference device.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flambeau.runtime import order


def packed(options: tuple[str, Any, tuple[bool, ...]], *src: np.ndarray) -> np.ndarray:
    """The routine called name, for programs that know no complex numbers: operands that are flagged
    come as pairs of parts on a last axis, and so does a complex result."""
    name, inner, flags = options
    result = find(name)(inner, *(_complex_view(x) if flag else x for x, flag in zip(src, flags)))
    return _pairs(result) if result.dtype.kind == "c" else result


def _packed_into(options: tuple[str, Any, tuple[bool, ...]], out: np.ndarray, *src: np.ndarray
                 ) -> bool:
    name, inner, flags = options
    body = INTO.get(name)
    if body is None:
        return False
    whole = out.dtype.kind == "f" and body in COMPLEX
    return body(inner, _complex_view(out) if whole else out,
                *(_complex_view(x) if flag else x for x, flag in zip(src, flags)))


def _complex_view(x: np.ndarray) -> np.ndarray:
    kind = np.complex64 if x.dtype == np.float32 else np.complex128
    return np.ascontiguousarray(x).view(kind)[..., 0]


def _pairs(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x)[..., None].view(x.real.dtype)


def run(name: str, options: Any, out: np.ndarray, *src: np.ndarray) -> None:
    """The routine's result, in `out`: written there by the routine itself where it can be."""
    find(name)
    body = INTO.get(name)
    if body is not None and not any(np.may_share_memory(out, x) for x in src) \
            and body(options, out, *src):
        return
    out[...] = np.asarray(EXTERNS[name](options, *src)).reshape(out.shape)


EXTERNS: dict[str, Callable[..., Any]] = {
    "sort": order.sort, "argsort": order.argsort, "kth": order.kth, "topk": order.topk,
    "isin": order.isin, "partition": order.partition, "placed": order.placed,
    "argpartition": order.argpartition,
    "median": order.median, "mode": order.mode, "searchsorted": order.searchsorted,
    "packed": packed,
}
# INTO[name](options, out, *arrays) writes the result into `out`, which overlaps no operand, and
# says whether it did. Of those in COMPLEX the result is complex.
INTO: dict[str, Callable[..., bool]] = {
    "partition": order.partition_into, "argpartition": order.argpartition_into,
    "sort": order.sort_into, "argsort": order.argsort_into,
    "placed": order.placed_into,
    "packed": _packed_into,
}
COMPLEX: set[Callable[..., bool]] = set()
# modules that add routines, by the name's first part
_HOMES = {"linalg": ("linear", "spectral"), "fft": ("fourier",)}


def chain(program: Any, entries: Sequence[int]) -> Any:
    """A program's entries and routines as one native function (recipes.Chain), or None."""
    if not all(e.name.startswith("linalg.") for e in program.externs):
        return None
    return importlib.import_module("flambeau.runtime.recipes").chain(program, entries)


def find(name: str) -> Callable[..., Any]:
    """The routine called `name`. Raises NotImplementedError when there is none."""
    if name not in EXTERNS:
        for module in _HOMES.get(name.partition(".")[0], ()):
            importlib.import_module(f"flambeau.runtime.{module}")
    if name not in EXTERNS:
        raise NotImplementedError(f"extern: no routine called {name!r}")
    return EXTERNS[name]
