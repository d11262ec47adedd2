"""Host routines behind `extern` nodes: what is neither elementwise, reduction nor contraction.

EXTERNS[name](options, *arrays) -> array; 16-bit floats arrive as float32. Pure functions of arrays,
called by the program that needs them and by the reference device.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from flambeau.runtime import order


def packed(options: tuple[str, Any, tuple[bool, ...]], *src: np.ndarray) -> np.ndarray:
    """The routine called name, for programs that know no complex numbers: operands that are flagged
    come as pairs of parts on a last axis, and so does a complex result."""
    name, inner, flags = options
    result = find(name)(inner, *(_complex_view(x) if flag else x for x, flag in zip(src, flags)))
    if result.dtype.kind != "c":
        return result  # type: ignore[no-any-return]
    parts = np.empty((*result.shape, 2), result.real.dtype)
    parts[..., 0], parts[..., 1] = result.real, result.imag
    return parts


def _complex_view(x: np.ndarray) -> np.ndarray:
    kind = np.complex64 if x.dtype == np.float32 else np.complex128
    return np.ascontiguousarray(x).view(kind)[..., 0]


EXTERNS: dict[str, Callable[..., Any]] = {
    "sort": order.sort, "argsort": order.argsort, "kth": order.kth, "topk": order.topk,
    "isin": order.isin, "partition": order.partition, "argpartition": order.argpartition,
    "median": order.median, "mode": order.mode, "searchsorted": order.searchsorted,
    "packed": packed,
}
_HOMES = {"linalg": ("linear", "spectral")}  # modules that add routines, by the name's first part


def find(name: str) -> Callable[..., Any]:
    """The routine called `name`. Raises NotImplementedError when there is none."""
    if name not in EXTERNS:
        for module in _HOMES.get(name.partition(".")[0], ()):
            importlib.import_module(f"flambeau.runtime.{module}")
    if name not in EXTERNS:
        raise NotImplementedError(f"extern: no routine called {name!r}")
    return EXTERNS[name]
