"""The library's functions beside NumPy's: sections of cases, and what a case is.

A section is a file with a function `cases(n)` that gives cases over about n elements. Every public
function that NumPy has too stands in a case or in `UNTIMED` (tests/cli/test_library.py).
"""

from __future__ import annotations

import importlib
import inspect
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flambeau as fb
import numpy as np

SECTIONS = ("elementwise", "reductions", "movement", "indexing", "order", "linalg", "spectra",
            "draws", "creation")

# Questions about types and shapes, tuples of views, and doors: no work on elements. `select` is
# Torch7's and has nothing to do with NumPy's.
UNTIMED = {"asarray", "atleast_1d", "atleast_2d", "broadcast_arrays", "broadcast_shapes",
           "can_cast", "finfo", "from_dlpack", "iinfo", "isdtype", "ix_", "promote_types",
           "result_type", "empty", "empty_like", "select"}


class Case(NamedTuple):
    """One question: a public function's work here and in NumPy."""

    function: str
    detail: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]

    @property
    def name(self) -> str:
        """What the tables print."""
        return f"{self.function} {self.detail}"


def array(dtype: str, *shape: int, low: float = -4, high: float = 4, seed: str = "") -> np.ndarray:
    """Numbers in [low, high); bools at even chances."""
    rng = np.random.default_rng(zlib.crc32(f"{dtype} {shape} {seed}".encode()))
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    if kind.kind in "iu":
        return rng.integers(max(int(low), 0 if kind.kind == "u" else int(low)), int(high), shape,
                            dtype)
    x = rng.random(shape) * (high - low) + low
    if kind.kind == "c":
        x = x + 1j * (rng.random(shape) * (high - low) + low)
    return x.astype(dtype)


def both(a: np.ndarray) -> tuple[fb.Tensor, np.ndarray]:
    """The same numbers as a tensor and as an array."""
    return fb.tensor(a, dtype=a.dtype.name).realize(), a


def read(result: Any) -> Any:
    """All values of a result, as its user gets them."""
    if isinstance(result, fb.Tensor):
        return result.numpy()
    if isinstance(result, tuple | list):
        tensors = [t for t in result if isinstance(t, fb.Tensor)]
        fb.compute(*tensors)
        return [t.numpy() for t in tensors]
    return result


def case(function: str, detail: str, ours: Callable[..., Any], theirs: Callable[..., Any],
         *arrays: np.ndarray) -> Case:
    """ours on tensors, read, beside theirs on arrays."""
    tensors = [both(a)[0] for a in arrays]
    return Case(function, detail, lambda: read(ours(*tensors)), lambda: theirs(*arrays))


def with_(f: Callable[..., Any], *options: Any, **named: Any) -> Callable[..., Any]:
    """f with its last arguments given."""
    return lambda *x: f(*x, *options, **named)


def packed(f: Callable[..., Any], *options: Any) -> Callable[..., Any]:
    """f of all operands as one tuple."""
    return lambda *x: f(x, *options)


def section(name: str, n: int) -> Iterator[Case]:
    """A section's cases."""
    found: Iterator[Case] = importlib.import_module(f"{__name__}.{name}").cases(n)
    return found


def counterparts() -> dict[str, list[str]]:
    """Public functions that NumPy has too: one name for each, and its other names."""
    modules = (("", fb, np), ("linalg.", fb.linalg, np.linalg), ("fft.", fb.fft, np.fft))
    found: dict[int, list[str]] = {}
    for prefix, ours, theirs in modules:
        for name in sorted(n for n in dir(ours) if not n.startswith("_")):
            f = getattr(ours, name)
            if callable(f) and not inspect.isclass(f) and callable(getattr(theirs, name, None)):
                found.setdefault(id(f), []).append(prefix + name)
    return {names[0]: names for names in found.values()}
