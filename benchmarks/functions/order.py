"""Sorting, order statistics, sets, searches, counts."""

from __future__ import annotations

from collections.abc import Iterator

import flambeau as fb
import numpy as np

from . import Case, array, case, with_

DTYPES = ("float32", "float64", "int32", "int64", "uint8", "int16", "float16")


def cases(n: int) -> Iterator[Case]:
    """The section's cases over n elements."""
    rows = max(1, int(n ** 0.5))
    for dtype in DTYPES:
        x = array(dtype, n, low=0 if dtype == "uint8" else -100 if dtype == "int16" else -1e6,
                  high=250 if dtype == "uint8" else 100 if dtype == "int16" else 1e6) \
            if dtype != "float16" else array(dtype, n, low=-1000, high=1000)
        table = x[:rows * (n // rows)].reshape(rows, -1)
        yield from _sorts(dtype, x, table)
        yield from _statistics(dtype, x, table)
        yield from _sets(dtype, x)
    yield from _counts(n)


def _sorts(dtype: str, x: np.ndarray, table: np.ndarray) -> Iterator[Case]:
    yield case("sort", f"values {dtype}", lambda t: fb.sort(t).values, np.sort, x)
    yield case("sort", f"descending {dtype}", lambda t: fb.sort(t, descending=True).values,
               lambda a: np.sort(a)[::-1], x)
    yield case("sort", f"values and order {dtype}", lambda t: tuple(fb.sort(t)),
               lambda a: (a[(i := np.argsort(a, kind="stable"))], i), x)
    for axis in (0, 1):
        yield case("sort", f"axis {axis} {dtype}", lambda t, a=axis: fb.sort(t, axis=a).values,
                   lambda x, a=axis: np.sort(x, axis=a), table)
    yield case("argsort", f"stable {dtype}", fb.argsort, lambda a: np.argsort(a, kind="stable"), x)
    yield case("argsort", f"any {dtype}", lambda t: fb.argsort(t, stable=False), np.argsort, x)
    yield case("argsort", f"axis 1 {dtype}", lambda t: fb.argsort(t, axis=1, stable=False),
               lambda a: np.argsort(a, axis=1), table)


def _statistics(dtype: str, x: np.ndarray, table: np.ndarray) -> Iterator[Case]:
    k, n = x.size // 2, x.size
    yield case("topk", f"10 {dtype}", lambda t: tuple(fb.topk(t, 10)),
               lambda a: (a[(j := (i := np.argpartition(a, -10)[-10:])[np.argsort(a[i])[::-1]])],
                          j), x)
    yield case("topk", f"rows 5 {dtype}", lambda t: tuple(fb.topk(t, 5)),
               lambda a: (np.take_along_axis(a, j := _best(a), 1), j), table)
    yield case("kthvalue", dtype, lambda t: fb.kthvalue(t, k).values,
               lambda a: np.partition(a, k)[k], x)
    yield case("partition", dtype, lambda t: fb.partition(t, k), lambda a: np.partition(a, k), x)
    yield case("argpartition", dtype, lambda t: fb.argpartition(t, k),
               lambda a: np.argpartition(a, k), x)
    if dtype in ("float32", "float64", "int64"):
        yield case("median", dtype, fb.median, np.median, x)
        yield case("median", f"axis 1 {dtype}", lambda t: fb.median(t, 1).values,
                   lambda a: np.median(a, 1), table)
        yield case("median", f"axis 0 {dtype}", lambda t: fb.median(t, 0).values,
                   lambda a: np.median(a, 0), table)
    if dtype in ("float32", "float64"):
        yield case("nanmedian", dtype, fb.nanmedian, np.nanmedian, x)
        for name, q in (("quantile", 0.3), ("percentile", 30), ("nanquantile", 0.3)):
            yield case(name, dtype, with_(getattr(fb, name), q), with_(getattr(np, name), q), x)
        yield case("quantile", f"axis 1 {dtype}", lambda t: fb.quantile(t, 0.3, axis=1),
                   lambda a: np.quantile(a, 0.3, axis=1), table)
    edges = np.sort(x[:min(1000, n)])
    for side in ("left", "right"):
        yield case("searchsorted", f"{side} {dtype}",
                   lambda e, t, s=side: fb.searchsorted(e, t, side=s),
                   lambda e, a, s=side: np.searchsorted(e, a, side=s), edges, x)
    whole = np.sort(x)
    yield case("searchsorted", f"n in n {dtype}", fb.searchsorted, np.searchsorted, whole, x)


def _best(a: np.ndarray) -> np.ndarray:
    """Where the five largest of each row are, in order."""
    some = np.argpartition(a, -5, 1)[:, -5:]
    order = np.argsort(np.take_along_axis(a, some, 1), 1)[:, ::-1]
    return np.take_along_axis(some, order, 1)


def _sets(dtype: str, x: np.ndarray) -> Iterator[Case]:
    yield case("unique", dtype, fb.unique, np.unique, x)
    yield case("unique_values", dtype, fb.unique_values, np.unique_values, x)
    yield case("unique_counts", dtype, fb.unique_counts, np.unique_counts, x)
    yield case("unique_inverse", dtype, fb.unique_inverse, np.unique_inverse, x)
    yield case("unique_all", dtype, fb.unique_all, np.unique_all, x)
    few = (x % 100).astype(dtype) if dtype not in ("float16",) else x
    yield case("unique", f"few {dtype}", fb.unique, np.unique, np.floor(few).astype(dtype))
    yield case("isin", dtype, fb.isin, np.isin, x, x[:1000].copy())
    yield case("isin", f"few {dtype}", fb.isin, np.isin, x, x[:5].copy())


def _counts(n: int) -> Iterator[Case]:
    for high in (10, 1000, 1_000_000):
        x = array("int64", n, low=0, high=high)
        yield case("bincount", f"{high} bins", fb.bincount, np.bincount, x)
    w = array("float64", n)
    x = array("int64", n, low=0, high=1000)
    yield case("bincount", "weights", fb.bincount, np.bincount, x, w)
    for dtype in ("float32", "float64"):
        v = array(dtype, n)
        yield case("histogram", dtype, lambda t: tuple(fb.histogram(t, 100)),
                   lambda a: np.histogram(a, 100), v)
        yield case("histogram_bin_edges", dtype, lambda t: fb.histogram_bin_edges(t, 100),
                   lambda a: np.histogram_bin_edges(a, 100), v)
    yield case("one_hot", "100 classes", lambda t: fb.one_hot(t, 100, dtype="float32"),
               lambda a: np.eye(100, dtype="float32")[a], array("int64", n // 100, low=0, high=100))
