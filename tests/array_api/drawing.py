"""Arguments for the standard's functions, drawn by their parameters' names.

A call is drawn once, with NumPy arrays and names of dtypes, and then made in two namespaces.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import array_api_strict as strict
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.extra.array_api import make_strategies_namespace

xps = make_strategies_namespace(strict, api_version="2024.12")
DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
          "float32", "float64", "complex64", "complex128")
SHAPES = ((), (3,), (2, 3), (0, 2), (2, 1, 3))
SQUARE = ((2, 2), (3, 3), (2, 3, 3))
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5)
NO_NAN = ("sort", "argsort", "searchsorted", "isin", "unique_all", "unique_counts",
          "unique_inverse", "unique_values", "argmax", "argmin")
SMALL = ("prod", "cumulative_prod", "pow", "matrix_power", "fft", "sum", "var", "std", "mean",
         "diff", "cumulative_sum", "vecdot", "matmul", "tensordot", "norm", "trace", "outer",
         "cross")


class Dtype(NamedTuple):
    """A dtype by its name."""

    name: str


def valid_dtypes(function: Any, arrays: int) -> tuple[str, ...]:
    """The dtypes of which the strict namespace takes that many equal operands."""
    found = []
    for name in DTYPES:
        x = strict.ones((2, 2), dtype=getattr(strict, name))
        try:
            function(*(x,) * arrays)
            found.append(name)
        except (TypeError, ValueError, NotImplementedError):
            continue
    return tuple(found)


def array_of(draw: Any, dtype: str, shape: Any, name: str = "") -> np.ndarray:
    """A NumPy array: small numbers, and now and then infinities and NaN where they compare."""
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    kind = np.dtype(dtype).kind
    small = any(word in name for word in SMALL)
    floats: Any = st.floats(-4, 4, width=16)
    if not small:
        floats = st.one_of(floats, st.floats(-1000, 1000, width=32), st.sampled_from(
            SPECIAL[:2] if name in NO_NAN else SPECIAL))
    whole = st.integers(-4 if kind == "i" else 0, 4) if small else st.integers(
        -100 if kind == "i" else 0, 100)
    elements = {"b": st.booleans(), "i": whole, "u": whole, "f": floats,
                "c": st.complex_numbers(max_magnitude=4, allow_subnormal=False, width=64)}
    return draw(hnp.arrays(dtype, shape, elements=elements[kind]))


def regular(x: np.ndarray) -> np.ndarray:
    """A matrix far from singular, hermitian where it says so, made of drawn numbers."""
    return x + 10 * np.eye(x.shape[-1], dtype=x.dtype) * np.sign(0.5 + (x.real.sum() >= 0))


def axes(rank: int, several: bool = True, wrong: bool = True) -> Any:
    """None, an axis, several axes; now and then one that is not there."""
    low, high = (-rank - wrong, rank) if wrong else (-rank, rank - 1)
    one = st.integers(low, max(high, low))
    if not several:
        return one
    some = st.lists(st.integers(0, max(rank - 1, 0)), unique=True, min_size=1,
                    max_size=max(rank, 1))
    return st.one_of(st.none(), one, some.map(tuple))


def options(draw: Any, parameters: dict[str, inspect.Parameter], rank: int, several: bool
            ) -> dict[str, Any]:
    """The keyword-only arguments, each there or not."""
    choices = {
        "axis": axes(rank, several), "keepdims": st.booleans(), "include_initial": st.booleans(),
        "correction": st.sampled_from([0.0, 1.0, 0.5]), "descending": st.booleans(),
        "stable": st.just(True), "invert": st.booleans(), "k": st.integers(-3, 3),
        "offset": st.integers(-3, 3), "upper": st.booleans(), "full_matrices": st.booleans(),
        "norm": st.sampled_from(["backward", "forward", "ortho"]), "side": st.sampled_from(
            ["left", "right"]), "indexing": st.sampled_from(["xy", "ij"]),
        "axes": axes(rank).filter(lambda a: not isinstance(a, int)), "endpoint": st.booleans(),
        "mode": st.sampled_from(["reduced", "complete"]), "copy": st.sampled_from([None, True]),
        "d": st.sampled_from([1.0, 0.5])}
    found = {}
    for name, p in parameters.items():
        if p.kind is p.KEYWORD_ONLY and name in choices and draw(st.booleans()):
            found[name] = draw(choices[name])
    return found


def signature(text: str) -> dict[str, inspect.Parameter]:
    """The parameters of a signature written in a string."""
    scope: dict[str, Any] = {}
    exec(f"def f({text}): ...", scope)
    return dict(inspect.signature(scope["f"]).parameters)


def converted(value: Any, xp: Any) -> Any:
    """The drawn value with xp's arrays and dtypes."""
    if isinstance(value, np.ndarray):
        return xp.asarray(value.copy())
    if isinstance(value, Dtype):
        return getattr(xp, value.name)
    if isinstance(value, tuple | list):
        return type(value)(converted(v, xp) for v in value)
    return {k: converted(v, xp) for k, v in value.items()} if isinstance(value, dict) else value
