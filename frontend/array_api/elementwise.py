"""Elementwise functions of the Array API standard: `fb`'s own, under the standard's names.

One operand is positional; of two, one may be a Python number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau as fb
from flambeau import Tensor

Function = Callable[..., Tensor]


def _one(name: str, ours: Function | None = None) -> Function:
    """The standard's function `name` of one operand."""
    function = ours if ours is not None else getattr(fb, name)

    def of_one(x: Tensor, /) -> Tensor:
        return function(x)

    return _named(of_one, name, function)


def _two(name: str, ours: Function | None = None) -> Function:
    """The standard's function `name` of two operands."""
    function = ours if ours is not None else getattr(fb, name)

    def of_two(x1: Any, x2: Any, /) -> Tensor:
        return function(x1, x2)

    return _named(of_two, name, function)


def _named(made: Function, name: str, function: Function) -> Function:
    made.__name__ = made.__qualname__ = name
    made.__doc__ = function.__doc__
    return made


def _round(x: Tensor) -> Tensor:
    """x rounded, halves to even; complex numbers by their parts."""
    return fb.complex(fb.round(x.real), fb.round(x.imag)) if fb.is_complex(x) else fb.round(x)


def _reciprocal(x: Tensor) -> Tensor:
    """1 / x."""
    return 1 / x


abs = _one("abs")
acos = _one("acos")
acosh = _one("acosh")
asin = _one("asin")
asinh = _one("asinh")
atan = _one("atan")
atanh = _one("atanh")
bitwise_invert = _one("bitwise_invert", fb.invert)
ceil = _one("ceil")
conj = _one("conj")
cos = _one("cos")
cosh = _one("cosh")
exp = _one("exp")
expm1 = _one("expm1")
floor = _one("floor")
imag = _one("imag")
isfinite = _one("isfinite")
isinf = _one("isinf")
isnan = _one("isnan")
log = _one("log")
log1p = _one("log1p")
log2 = _one("log2")
log10 = _one("log10")
logical_not = _one("logical_not")
negative = _one("negative", fb.neg)
positive = _one("positive")
real = _one("real")
reciprocal = _one("reciprocal", _reciprocal)
round = _one("round", _round)
sign = _one("sign")
signbit = _one("signbit")
sin = _one("sin")
sinh = _one("sinh")
square = _one("square")
sqrt = _one("sqrt")
tan = _one("tan")
tanh = _one("tanh")
trunc = _one("trunc")

add = _two("add")
atan2 = _two("atan2")
bitwise_and = _two("bitwise_and")
bitwise_left_shift = _two("bitwise_left_shift", fb.left_shift)
bitwise_or = _two("bitwise_or")
bitwise_right_shift = _two("bitwise_right_shift", fb.right_shift)
bitwise_xor = _two("bitwise_xor")
copysign = _two("copysign")
divide = _two("divide", fb.div)
equal = _two("equal", fb.eq)
floor_divide = _two("floor_divide")
greater = _two("greater", fb.gt)
greater_equal = _two("greater_equal", fb.ge)
hypot = _two("hypot")
less = _two("less", fb.lt)
less_equal = _two("less_equal", fb.le)
logaddexp = _two("logaddexp")
logical_and = _two("logical_and")
logical_or = _two("logical_or")
logical_xor = _two("logical_xor")
maximum = _two("maximum")
minimum = _two("minimum")
multiply = _two("multiply", fb.mul)
nextafter = _two("nextafter")
not_equal = _two("not_equal", fb.ne)
pow = _two("pow")
remainder = _two("remainder")
subtract = _two("subtract", fb.sub)


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """x limited to [min, max]; either may be missing. The result has x's dtype."""
    if min is None and max is None:
        return fb.positive(x)
    return fb.clamp(x, *(v.to(x.dtype) if isinstance(v, Tensor) else v for v in (min, max)))


__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "ceil",
    "clip",
    "conj",
    "copysign",
    "cos",
    "cosh",
    "divide",
    "equal",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "greater",
    "greater_equal",
    "hypot",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "nextafter",
    "not_equal",
    "positive",
    "pow",
    "real",
    "reciprocal",
    "remainder",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "trunc",
]
