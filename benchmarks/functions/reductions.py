"""Many elements to few: sums, extremes, tests, moments; scans; over all and over each axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import flambeau as fb
import numpy as np

from . import Case, array, case, with_

FLOATS = ("float32", "float64", "float16")
INTEGERS = ("int32", "int64", "uint8")
EVERY = (*FLOATS, *INTEGERS, "bool", "complex64", "complex128")

PLAIN = {
    "sum": EVERY, "prod": ("float32", "float64", "int64"),
    "mean": (*FLOATS, "int64", "complex64"), "std": ("float32", "float64", "complex64"),
    "var": (*FLOATS, "int64"), "amax": (*FLOATS, *INTEGERS), "amin": (*FLOATS, *INTEGERS),
    "all": ("bool", "float32", "int64", "uint8"), "any": ("bool", "float32", "int64", "uint8"),
    "count_nonzero": ("bool", "float32", "float64", "int64", "uint8"),
    "argmax": (*FLOATS, *INTEGERS, "bool"), "argmin": (*FLOATS, *INTEGERS),
    "ptp": ("float32", "float64", "int64"),
}
NAN = ("nansum", "nanmean", "nanmax", "nanmin", "nanprod")


def cases(n: int) -> Iterator[Case]:
    """The section's cases over n elements."""
    rows = max(1, int(n ** 0.5))
    for name, dtypes in PLAIN.items():
        for dtype in dtypes:
            low, high = (0.9, 1.1) if name == "prod" else (0, 100)
            x = array(dtype, n, low=low, high=high)
            if name in ("all", "any"):  # what must look at all of them
                x = np.full(n, name == "all").astype(dtype)
            yield from _axes(name, dtype, x, rows)
    for name in ("max", "min"):
        x = array("float32", n)
        yield case(name, "float32", getattr(fb, name), getattr(np, name), x)
    for name in NAN:
        for dtype in ("float32", "float64"):
            x = array(dtype, n, low=0.9, high=1.1)
            x[::1000] = np.nan
            yield from _axes(name, dtype, x, rows)
    yield from _pairs(n, rows)
    yield from _scans(n, rows)


def _axes(name: str, dtype: str, x: np.ndarray, rows: int) -> Iterator[Case]:
    ours, theirs = getattr(fb, name), getattr(np, name)
    options: dict[str, Any] = {}
    if name in ("std", "var"):
        options = {"correction": 0}
    yield case(name, dtype, lambda x: ours(x, **options), theirs, x)
    table = x[:rows * (x.size // rows)].reshape(rows, -1)
    for axis in (0, 1):
        yield case(name, f"{dtype} axis {axis}", with_(ours, axis=axis, **options),
                   with_(theirs, axis=axis),
                   table)
    if dtype == "float32":
        thin = x[:x.size // 10 * 10].reshape(-1, 10)
        yield case(name, f"{dtype} (n/10, 10) axis 1", with_(ours, axis=1, **options),
                   with_(theirs, axis=1), thin)
        cube = x[:x.size // 100 * 100].reshape(10, -1, 10)
        yield case(name, f"{dtype} (10, n/100, 10) axis 1", with_(ours, axis=1, **options),
                   with_(theirs, axis=1), cube)


def _extremes(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: f(x, 0).values


def _pairs(n: int, rows: int) -> Iterator[Case]:
    """Of two operands."""
    for dtype in ("float32", "float64", "int64"):
        x, y = (array(dtype, n, seed=s) for s in "xy")
        yield case("dot", dtype, fb.dot, np.dot, x, y)
        yield case("vdot", dtype, fb.vdot, np.vdot, x, y)
        yield case("array_equal", dtype, fb.array_equal, np.array_equal, x, x.copy())
        yield case("equal", f"as one bool {dtype}", fb.equal, np.array_equal, x, x.copy())
        if dtype != "int64":
            yield case("allclose", dtype, fb.allclose, np.allclose, x, x.copy())
            yield case("trapezoid", dtype, fb.trapezoid, np.trapezoid, x)
            table, other = x[:rows * (n // rows)].reshape(rows, -1), y[:n // rows * rows]
            yield case("vecdot", dtype, fb.vecdot, np.vecdot, table, other.reshape(rows, -1))
    x = array("float32", rows, n // rows)
    yield case("logsumexp", "float32 axis 1", lambda x: fb.logsumexp(x, 1),
               lambda x: np.log(np.exp(x - x.max(1, keepdims=True)).sum(1)), x)
    yield case("softmax", "float32 axis 1", lambda x: fb.softmax(x, 1),
               lambda x: (e := np.exp(x - x.max(1, keepdims=True))) / e.sum(1, keepdims=True), x)


def _scans(n: int, rows: int) -> Iterator[Case]:
    for name in ("cumsum", "cumprod"):
        for dtype in ("float32", "float64", "int32", "int64"):
            low, high = (1, 2) if "int" in dtype else (0.99, 1.01)
            x = array(dtype, n, low=low, high=high)
            options = {"dtype": "int64"} if dtype == "int32" else {}
            yield case(name, dtype, with_(getattr(fb, name), **options), getattr(np, name), x)
            table = x[:rows * (n // rows)].reshape(rows, -1)
            for axis in (0, 1):
                yield case(name, f"{dtype} axis {axis}",
                           with_(getattr(fb, name), axis=axis, **options),
                           with_(getattr(np, name), axis=axis), table)
    x = array("float32", n)
    for ours, theirs in (("cummax", np.maximum), ("cummin", np.minimum)):
        yield case(ours, "float32", _extremes(getattr(fb, ours)), theirs.accumulate, x)
    for name in ("cumulative_sum", "cumulative_prod"):
        yield case(name, "float32", getattr(fb, name), getattr(np, name),
                   array("float32", n, low=0.99, high=1.01))
    for dtype in ("float32", "float64", "int64"):
        x = array(dtype, n)
        yield case("diff", dtype, fb.diff, np.diff, x)
        yield case("diff", f"{dtype} axis 0", lambda x: fb.diff(x, axis=0),
                   lambda x: np.diff(x, axis=0), x[:rows * (n // rows)].reshape(rows, -1))
        yield case("ediff1d", dtype, fb.ediff1d, np.ediff1d, x)
