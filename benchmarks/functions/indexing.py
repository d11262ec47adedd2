"""Elements by number and by mask: taking, putting, gathers, scatters, selections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import flambeau as fb
import numpy as np

from . import Case, array, case

DTYPES = ("float32", "float64", "int64", "uint8")


def cases(n: int) -> Iterator[Case]:
    """The section's cases over n elements."""
    rows = max(1, int(n ** 0.5))
    columns = n // rows
    for dtype in DTYPES:
        x, table = array(dtype, n), array(dtype, rows, columns)
        at = array("int64", n, low=0, high=n)
        place = array("int64", rows, columns, low=0, high=columns)
        down = array("int64", rows, columns, low=0, high=rows)
        line = array("int64", rows, low=0, high=rows)
        yield case("take", dtype, fb.take, np.take, x, at)
        yield case("Tensor.getitem", f"by numbers {dtype}", lambda x, i: x[i], lambda x, i: x[i],
                   x, at)
        yield case("Tensor.getitem", f"by int32 {dtype}", lambda x, i: x[i], lambda x, i: x[i],
                   x, at.astype("int32"))
        for axis in (0, 1):
            yield case("index_select", f"axis {axis} {dtype}",
                       lambda x, i, a=axis: fb.index_select(x, a, i),
                       lambda x, i, a=axis: np.take(x, i, a), table, line[:min(rows, columns)])
        yield case("gather", f"axis 1 {dtype}", lambda x, i: fb.gather(x, 1, i),
                   lambda x, i: np.take_along_axis(x, i, 1), table, place)
        yield case("take_along_axis", f"axis 0 {dtype}", lambda x, i: fb.take_along_axis(x, i, 0),
                   lambda x, i: np.take_along_axis(x, i, 0), table, down)
        yield from _masks(n, dtype, x, table)
        yield from _writes(n, dtype, x, at, table, place, line)


def _masks(n: int, dtype: str, x: np.ndarray, table: np.ndarray) -> Iterator[Case]:
    mask = array("bool", n)
    yield case("masked_select", dtype, fb.masked_select, lambda x, m: x[m], x, mask)
    yield case("masked_select", f"few {dtype}", fb.masked_select, lambda x, m: x[m], x,
               array("float64", n) > 3.9)
    yield case("compress", dtype, fb.compress, np.compress, mask, x)
    yield case("nonzero", dtype, lambda x: fb.nonzero(x, as_tuple=True), np.nonzero,
               array(dtype, n, low=-1, high=2))
    for name in ("flatnonzero", "argwhere"):
        yield case(name, dtype, getattr(fb, name), getattr(np, name),
                   array(dtype, n, low=-1, high=2))
    if dtype == "float32":
        yield case("nonzero", "bool", lambda x: fb.nonzero(x, as_tuple=True), np.nonzero, mask)
        yield case("argwhere", "table bool", fb.argwhere, np.argwhere, mask.reshape(table.shape)
                   if mask.size == table.size else mask)
        yield case("where", "one operand", fb.where, np.where, mask)


def _writes(n: int, dtype: str, x: np.ndarray, at: np.ndarray, table: np.ndarray,
            place: np.ndarray, line: np.ndarray) -> Iterator[Case]:
    y = array(dtype, n, seed="y")
    once = np.random.default_rng(0).permutation(n)
    yield case("put", dtype, fb.put, _kept(np.put), x, at, y)
    yield case("Tensor.setitem", f"by numbers {dtype}", _write, _kept(_set), x, once, y)
    yield case("Tensor.setitem", f"by mask {dtype}", lambda x, m: _write(x, m, 1),
               _kept(lambda x, m: _set(x, m, 1)), x, array("bool", n))
    yield case("Tensor.setitem", f"slice {dtype}", lambda x, y: _write(x, slice(1, None), y),
               _kept(lambda x, y: _set(x, slice(1, None), y)), x, y[1:].copy())
    yield case("scatter", f"axis 1 {dtype}", lambda x, i, y: fb.scatter(x, 1, i, y),
               _kept(lambda x, i, y: np.put_along_axis(x, i, y, 1)), table, place, table + 1)
    yield case("put_along_axis", f"axis 1 {dtype}", lambda x, i, y: fb.put_along_axis(x, i, y, 1),
               _kept(lambda x, i, y: np.put_along_axis(x, i, y, 1)), table, place, table + 1)
    yield case("index_add", dtype, lambda x, i, y: fb.index_add(x, 0, i, y),
               _kept(np.add.at), x, at, y)
    yield case("index_add", f"rows {dtype}", lambda x, i, y: fb.index_add(x, 0, i, y),
               _kept(np.add.at), table, line, table + 1)
    yield case("scatter_add", dtype, lambda x, i, y: fb.scatter_add(x, 0, i, y), _kept(np.add.at),
               np.zeros(100, dtype), at % 100, y)


def _write(x: fb.Tensor, i: Any, y: Any) -> fb.Tensor:
    made = fb.copy(x)
    made[i] = y
    return made


def _set(x: np.ndarray, i: Any, y: Any) -> None:
    x[i] = y


def _kept(f: Callable[..., Any]) -> Callable[..., Any]:
    """Writes into a copy, as functions that give a new tensor do."""
    def run(x: np.ndarray, *rest: Any) -> np.ndarray:
        made = x.copy()
        f(made, *rest)
        return made
    return run
