"""Runs a graph compiled and on the reference device and says where they differ."""

from __future__ import annotations

import numpy as np
from flambeau import realize as door
from flambeau.compiler import dtype as dt
from flambeau.compiler.node import Node, toposort
from flambeau.runtime import reference
from flambeau.runtime.reference import from_bfloat16

TOLERANCE = {"float16": 4e-2, "bfloat16": 8e-2, "float32": 2e-4, "float64": 1e-11}


def compiled(roots: list[Node]) -> list[np.ndarray]:
    """Values by the compiler."""
    return [leaf.arg.array(leaf.dtype.numpy, leaf.shape).copy() for leaf in door.compute(roots)]


def tolerance(roots: list[Node]) -> float:
    """The rounding of the coarsest floating type on the way."""
    return max((TOLERANCE[n.dtype.name] for n in toposort(roots) if n.dtype.is_float), default=0.0)


def close(got: np.ndarray, want: np.ndarray, dtype: dt.DType, rounding: float) -> bool:
    """Equal up to `rounding`, judged against the largest finite value around."""
    if not dtype.is_float:
        return bool(np.array_equal(got, want))
    if dtype is dt.bfloat16:
        got, want = from_bfloat16(got), from_bfloat16(want)
    g, w = got.astype(np.float64), want.astype(np.float64)
    odd = ~np.isfinite(w)
    if odd.any() and not np.array_equal(g[odd], w[odd], equal_nan=True):
        return False
    rest = ~odd
    if not rest.any():
        return True
    scale = max(1.0, float(np.abs(w[rest]).max()))
    return bool((np.abs(g[rest] - w[rest]) <= rounding * scale).all())


def mismatch(roots: list[Node]) -> str | None:
    """What differs, or None."""
    want = reference.evaluate(roots)
    rounding = tolerance(roots)
    for r, g, w in zip(roots, compiled(roots), want):
        if g.shape != w.shape or not close(g, w, r.dtype, rounding):
            return f"{r!r}: got {g.ravel()[:6]}, expected {w.ravel()[:6]}"
    return None
