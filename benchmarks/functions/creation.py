"""Numbers from nothing: fills, ranges, grids."""

from __future__ import annotations

from collections.abc import Iterator

import flambeau as fb
import numpy as np

from . import Case, array, case, with_


def cases(n: int) -> Iterator[Case]:
    """The section's cases over n elements."""
    rows = max(1, int(n ** 0.5))
    for d in ("float32", "float64", "int64", "bool"):
        kind, value = np.dtype(d), d == "bool" or 7
        yield case("zeros", d, lambda d=d: fb.zeros(n, dtype=d), lambda k=kind: _touched(n, k))
        yield case("ones", d, lambda d=d: fb.ones(n, dtype=d), lambda k=kind: np.ones(n, k))
        yield case("full", d, lambda d=d, v=value: fb.full((n,), v, dtype=d),
                   lambda k=kind, v=value: np.full(n, v, k))
        x = array(d, n)
        for name in ("zeros_like", "ones_like"):
            yield case(name, d, getattr(fb, name), getattr(np, name), x)
        yield case("full_like", d, lambda x, v=value: fb.full_like(x, v),
                   lambda x, v=value: np.full_like(x, v), x)
        yield case("eye", d, with_(fb.eye, rows, dtype=d), with_(np.eye, rows, dtype=kind))
        yield case("tri", d, with_(fb.tri, rows, dtype=d), with_(np.tri, rows, dtype=kind))
        if d != "bool":
            yield case("arange", d, lambda d=d: fb.arange(0, n, dtype=d),
                       lambda k=kind: np.arange(0, n, dtype=k))
    for d in ("float32", "float64"):
        yield case("linspace", d, lambda d=d: fb.linspace(0, 1, n, dtype=d),
                   lambda d=d: np.linspace(0, 1, n, dtype=d))
        yield case("logspace", d, lambda d=d: fb.logspace(0, 1, n, dtype=d),
                   lambda d=d: np.logspace(0, 1, n, dtype=d))
        x = array(d, n)
        yield case("tensor", d, lambda x=x: fb.tensor(x, dtype=x.dtype.name),
                   lambda x=x: np.array(x))
    yield case("indices", "", lambda: fb.indices((rows, n // rows)),
               lambda: np.indices((rows, n // rows)))
    yield case("diag_indices", "", lambda: fb.diag_indices(n), lambda: np.diag_indices(n))
    for name in ("tril_indices", "triu_indices"):
        yield case(name, "", with_(getattr(fb, name), rows), with_(getattr(np, name), rows))


def _touched(n: int, kind: np.dtype) -> np.ndarray:
    """NumPy's zeros are pages that the system has not made yet: written once, as ours are."""
    made = np.zeros(n, kind)
    made[::4096 // kind.itemsize] = 0
    return made
