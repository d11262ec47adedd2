"""The same elements elsewhere: joins, repeats, padding, copies of views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import flambeau as fb
import numpy as np

from . import Case, array, case, packed

VIEWS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "broadcast_to": (lambda x: fb.broadcast_to(x[0], x.shape),
                     lambda x: np.broadcast_to(x[0], x.shape)),
    "diagonal": (fb.diagonal, np.diagonal), "expand_dims": (lambda x: fb.expand_dims(x, 0),
                                                            lambda x: np.expand_dims(x, 0)),
    "flip": (fb.flip, np.flip), "flip axis 0": (lambda x: fb.flip(x, 0), lambda x: np.flip(x, 0)),
    "flip axis 1": (lambda x: fb.flip(x, 1), lambda x: np.flip(x, 1)),
    "fliplr": (fb.fliplr, np.fliplr), "flipud": (fb.flipud, np.flipud),
    "matrix_transpose": (fb.matrix_transpose, np.matrix_transpose),
    "moveaxis": (lambda x: fb.moveaxis(x, 0, 1), lambda x: np.moveaxis(x, 0, 1)),
    "permute_dims": (lambda x: fb.permute_dims(x, (1, 0)), lambda x: np.permute_dims(x, (1, 0))),
    "ravel": (lambda x: fb.ravel(x.T), lambda x: np.ravel(x.T)),
    "reshape": (lambda x: fb.reshape(x, -1), lambda x: np.reshape(x, -1)),
    "rot90": (fb.rot90, np.rot90), "squeeze": (lambda x: fb.squeeze(x[:, None]),
                                               lambda x: np.squeeze(x[:, None])),
    "swapaxes": (lambda x: fb.swapaxes(x, 0, 1), lambda x: np.swapaxes(x, 0, 1)),
    "transpose": (fb.transpose, np.transpose),
    "Tensor.getitem": (lambda x: x[::2, ::-2], lambda x: x[::2, ::-2]),
}


def cases(n: int) -> Iterator[Case]:
    """The section's cases over n elements."""
    rows = max(1, int(n ** 0.5))
    for dtype in ("float32", "float64", "uint8"):
        table = array(dtype, rows, n // rows)
        for name, (ours, theirs) in VIEWS.items():
            yield case(name, f"copied {dtype}", _copied(ours), _kept(theirs), table)
        yield from _joins(dtype, n, table)
        yield from _repeats(dtype, n, table)
        yield from _triangles(dtype, table)
    cube = array("float32", 10, rows, n // (10 * rows))
    for order in ((2, 1, 0), (1, 0, 2), (0, 2, 1)):
        yield case("transpose", f"{order} copied float32",
                   _copied(lambda x, o=order: fb.transpose(x, o)),
                   _kept(lambda x, o=order: np.transpose(x, o)), cube)
    for mode in ("constant", "edge", "reflect", "symmetric", "wrap"):
        yield case("pad", f"{mode} float32",
                   lambda x, m=mode: fb.pad(x, ((2, 2), (2, 2)), mode=m),
                   lambda x, m=mode: np.pad(x, ((2, 2), (2, 2)), mode=m),
                   array("float32", rows, n // rows))


def _copied(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: fb.copy(f(x))


def _kept(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: np.array(f(x), order="C", copy=True)


def _parted(f: Callable[..., Any], parts: int) -> Callable[..., Any]:
    return lambda x: [fb.copy(p) for p in f(x, parts)]


def _joins(dtype: str, n: int, table: np.ndarray) -> Iterator[Case]:
    half = max(1, n // 2)
    x, y = (array(dtype, half, seed=s) for s in "xy")
    flat = [("concatenate", 0), ("stack", 0), ("stack", 1)]
    for name, axis in flat:
        yield case(name, f"axis {axis} {dtype}",
                   packed(getattr(fb, name), axis), packed(getattr(np, name), axis), x, y)
    for name in ("hstack", "vstack", "dstack"):
        yield case(name, dtype, packed(getattr(fb, name)), packed(getattr(np, name)), x, y)
    top = table[:max(1, table.shape[0] // 2)]
    for axis in (0, 1):
        yield case("concatenate", f"tables axis {axis} {dtype}",
                   lambda *t, a=axis: fb.concatenate(t, a),
                   lambda *t, a=axis: np.concatenate(t, a), top, top.copy())
    for name, parts in (("split", half // 4), ("array_split", 2)):  # split takes a part's length
        yield case(name, f"copied {dtype}",
                   _parted(getattr(fb, name), parts),
                   lambda x: [p.copy() for p in np.split(x, 2)], x[:half // 4 * 2])
    yield case("unstack", f"copied {dtype}",
               lambda x: [fb.copy(p) for p in fb.unstack(x)],
               lambda x: [p.copy() for p in np.unstack(x)], x[:half // 4 * 4].reshape(4, -1))


def _repeats(dtype: str, n: int, table: np.ndarray) -> Iterator[Case]:
    x = array(dtype, n)
    yield case("roll", dtype, lambda x: fb.roll(x, 7), lambda x: np.roll(x, 7), x)
    yield case("roll", f"axis 1 {dtype}", lambda x: fb.roll(x, 7, 1), lambda x: np.roll(x, 7, 1),
               table)
    small = array(dtype, max(1, n // 8))
    yield case("tile", dtype, lambda x: fb.tile(x, 8), lambda x: np.tile(x, 8), small)
    yield case("tile", f"(2, 2) {dtype}", lambda x: fb.tile(x, (2, 2)),
               lambda x: np.tile(x, (2, 2)), table[:, :max(1, table.shape[1] // 4)])
    yield case("repeat_interleave", dtype, lambda x: fb.repeat_interleave(x, 8),
               lambda x: np.repeat(x, 8), small)
    yield case("repeat", f"of copies {dtype}", lambda x: fb.repeat(x, 8), lambda x: np.tile(x, 8),
               small)
    yield case("copy", dtype, fb.copy, np.copy, x)
    yield case("meshgrid", dtype, lambda x, y: [fb.copy(t) for t in fb.meshgrid(x, y)],
               lambda x, y: np.meshgrid(x, y), table[0].copy(), table[:, 0].copy())
    yield case("pad", f"vector {dtype}", lambda x: fb.pad(x, (3, 3)), lambda x: np.pad(x, 3), x)


def _triangles(dtype: str, table: np.ndarray) -> Iterator[Case]:
    for name in ("tril", "triu"):
        yield case(name, dtype, getattr(fb, name), getattr(np, name), table)
    yield case("diag", dtype, fb.diag, np.diag, table[0].copy())
    yield case("trace", dtype, fb.trace, np.trace, table)
