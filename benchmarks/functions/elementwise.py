"""One element after the other: arithmetic, comparison, logic, elementary functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import flambeau as fb
import numpy as np

from . import Case, array, case

FLOATS = ("float32", "float64", "float16")
COMPLEX = ("complex64", "complex128")
INTEGERS = ("int32", "int64", "int8", "int16", "uint8", "uint32", "uint64")
NUMBERS = (*FLOATS, *INTEGERS, *COMPLEX)

PARTS = ("real", "imag")  # views in NumPy, lazy here: both copied, so that both touch the values

# name: (numpy's name, dtypes, low, high)
UNARY = {
    **{f: (f, (*FLOATS, *COMPLEX), -4, 4) for f in (
        "exp", "exp2", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh", "square",
        "isfinite", "isinf", "isnan", "arctan", "arcsinh")},
    **{f: (f, (*FLOATS, *COMPLEX), 0.1, 4) for f in ("sqrt", "log", "log2", "log10", "log1p")},
    **{f: (f, (*FLOATS, *COMPLEX), -0.9, 0.9) for f in ("arcsin", "arccos", "arctanh")},
    "arccosh": ("arccosh", (*FLOATS, *COMPLEX), 1.1, 4),
    **{f: (f, FLOATS, -4, 4) for f in (
        "cbrt", "ceil", "floor", "trunc", "rint", "deg2rad", "rad2deg", "sinc", "signbit",
        "isneginf", "isposinf", "reciprocal")},
    **{f: (f, NUMBERS, -4, 4) for f in ("abs", "negative", "sign", "positive")},
    **{f: (f, (*FLOATS, "int32", "int64", *COMPLEX), -4, 4) for f in ("conj", *PARTS)},
    "angle": ("angle", (*FLOATS, *COMPLEX), -4, 4),
    "bitwise_invert": ("bitwise_not", ("bool", *INTEGERS), 0, 100),
    "logical_not": ("logical_not", ("bool", *NUMBERS), -2, 2),
    "nan_to_num": ("nan_to_num", FLOATS, -4, 4),
}
EXP2 = {"exp2": FLOATS}  # NumPy has none of complex numbers
SAME = ("negative", "positive", "square", "sign", "abs")

BINARY = {
    **{f: (f, NUMBERS, -4, 100) for f in ("add", "subtract", "multiply")},
    **{f: (f, ("bool", *NUMBERS), -4, 100) for f in ("equal", "not_equal")},
    **{f: (f, ("bool", *FLOATS, *INTEGERS), -4, 100) for f in (
        "greater", "greater_equal", "less", "less_equal", "maximum", "minimum")},
    "divide": ("divide", (*FLOATS, *COMPLEX, "int32"), 1, 100),
    **{f: (f, (*FLOATS, *INTEGERS), 1, 100) for f in ("floor_divide", "remainder", "fmod")},
    "pow": ("power", (*FLOATS, "int32", "int64", *COMPLEX), 1, 4),
    **{f: (f, FLOATS, -4, 4) for f in (
        "arctan2", "hypot", "copysign", "logaddexp", "heaviside", "isclose")},
    "nextafter": ("nextafter", ("float32", "float64"), -4, 4),
    **{f: (f, ("bool", *INTEGERS), 0, 100) for f in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    **{f: (f, INTEGERS, 0, 7) for f in ("bitwise_left_shift", "bitwise_right_shift")},
    **{f: (f, ("bool", "float32", "float64", "int64"), -2, 2) for f in (
        "logical_and", "logical_or", "logical_xor")},
}


def cases(n: int) -> Iterator[Case]:
    """The section's cases over n elements."""
    yield from _unary(n)
    yield from _binary(n)
    yield from _numbers(n)
    yield from _mixed(n)


def _unary(n: int) -> Iterator[Case]:
    for name, (theirs, dtypes, low, high) in UNARY.items():
        for dtype in EXP2.get(name, dtypes):
            if name in SAME and dtype.startswith("u"):
                continue
            ours, other = getattr(fb, name), getattr(np, theirs)
            if name in PARTS:
                ours, other = _copied(ours, fb.copy), _copied(other, np.copy)
            yield case(name, dtype, ours, other, array(dtype, n, low=low, high=high))


def _copied(f: Callable[..., Any], copy: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: copy(f(x))



def _binary(n: int) -> Iterator[Case]:
    for name, (theirs, dtypes, low, high) in BINARY.items():
        ours = fb.eq if name == "equal" else getattr(fb, name)  # fb.equal gives one bool
        for dtype in dtypes:
            x, y = (array(dtype, n, low=low, high=high, seed=s) for s in "xy")
            yield case("eq" if name == "equal" else name, dtype, ours, getattr(np, theirs), x, y)


def _numbers(n: int) -> Iterator[Case]:
    """A tensor and a Python number."""
    for dtype in ("float32", "float64", "int32", "int64"):
        x = array(dtype, n, low=1, high=100)
        for name, ours in (("add", lambda x: x + 2), ("multiply", lambda x: x * 3),
                           ("pow", lambda x: x ** 2), ("pow 3", lambda x: x ** 3),
                           ("floor_divide", lambda x: x // 7), ("remainder", lambda x: x % 7),
                           ("greater", lambda x: x > 5), ("maximum", None)):
            if ours is None:
                yield case(name, f"number {dtype}", lambda x: fb.maximum(x, 5),
                           lambda x: np.maximum(x, 5), x)
            else:
                yield case(name.split()[0], f"{name[4:]} number {dtype}".strip(), ours, ours, x)
        yield case("divide", f"number {dtype}", lambda x: x / 7, lambda x: x / 7, x)
        yield case("clip", f"number {dtype}", lambda x: fb.clip(x, 10, 50),
                   lambda x: np.clip(x, 10, 50), x)
    for p in (0.5, 2.5, -1.0):
        x = array("float32", n, low=1, high=100)
        yield case("pow", f"{p} float32", lambda x, p=p: x ** p, lambda x, p=p: x ** np.float32(p),
                   x)


def _mixed(n: int) -> Iterator[Case]:
    """Broadcasts, several operands, conversions."""
    rows = max(1, int(n ** 0.5))
    for dtype in ("float32", "float64", "int64"):
        x = array(dtype, rows, n // rows)
        row, column = array(dtype, n // rows), array(dtype, rows, 1)
        yield case("add", f"row {dtype}", lambda x, y: x + y, lambda x, y: x + y, x, row)
        yield case("add", f"column {dtype}", lambda x, y: x + y, lambda x, y: x + y, x, column)
        yield case("add", f"transposed {dtype}", lambda x: x + x.T if rows * rows == n else x + x,
                   lambda x: x + x.T if rows * rows == n else x + x, x)
    for dtype in ("float32", "float64", "int32", "uint8"):
        x, y = (array(dtype, n, seed=s) for s in "xy")
        mask = array("bool", n)
        yield case("where", dtype, fb.where, np.where, mask, x, y)
        yield case("where", f"numbers {dtype}", lambda m, x: fb.where(m, x, 0),
                   lambda m, x: np.where(m, x, x.dtype.type(0)), mask, x)
        yield case("masked_fill", dtype, lambda x, m: fb.masked_fill(x, m, 0),
                   lambda x, m: np.where(m, x.dtype.type(0), x), x, mask)
    dtypes = ("bool", "uint8", "int32", "int64", "float16", "float32", "float64")
    for source in dtypes:
        for target in dtypes:
            if source != target:
                yield case("Tensor.to", f"{source} to {target}",
                           lambda x, target=target: x.to(getattr(fb, target + "_" * (target ==
                                                                                     "bool"))),
                           lambda x, target=target: x.astype(target),
                           array(source, n, low=0, high=100))
    yield case("sigmoid", "float32", fb.sigmoid, lambda x: 1 / (1 + np.exp(-x)),
               array("float32", n))
    index = array("int64", n, low=0, high=3)
    choices = [array("float32", n, seed=s) for s in "abc"]
    yield case("choose", "float32", lambda i, *c: fb.choose(i, c), lambda i, *c: np.choose(i, c),
               index, *choices)
