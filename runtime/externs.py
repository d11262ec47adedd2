"""Host routines behind `extern` nodes: what is neither elementwise, reduction nor contraction.

EXTERNS[name](options, *arrays) -> array; 16-bit floats arrive as float32. Pure functions of arrays,
called by the program that needs them and by the reference device.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np


def argsort(options: tuple[int, bool], x: np.ndarray) -> np.ndarray:
    """Stable order along an axis, int64; NaN counts as largest. options: (axis, descending)."""
    axis, descending = options
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    turned = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(turned, axis)


def searchsorted(options: str, line: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Where x's elements go in a sorted vector, int64. options: "left" or "right"."""
    return np.asarray(np.searchsorted(line, x, side=options), np.int64)  # type: ignore[call-overload]


EXTERNS: dict[str, Callable[..., Any]] = {"argsort": argsort, "searchsorted": searchsorted}
_HOMES = {"linalg": ("linear", "spectral")}  # modules that add routines, by the name's first part


def find(name: str) -> Callable[..., Any]:
    """The routine called `name`. Raises NotImplementedError when there is none."""
    if name not in EXTERNS:
        for module in _HOMES.get(name.partition(".")[0], ()):
            importlib.import_module(f"flambeau.runtime.{module}")
    if name not in EXTERNS:
        raise NotImplementedError(f"extern: no routine called {name!r}")
    return EXTERNS[name]
