"""Second names: where NumPy, PyTorch and Torch7 differ, both work. Dtypes by their Torch names."""

from __future__ import annotations

import math

from flambeau.compiler import dtype as _dt

from .activations import clamp, reciprocal
from .choosing import randint, shuffle
from .complexes import conj
from .elementwise import (
    abs,
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    div,
    fmod,
    ge,
    gt,
    invert,
    le,
    left_shift,
    lt,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    remainder,
    right_shift,
    round,
    sigmoid,
    sub,
    trunc,
)
from .joining import concatenate, tile, vstack
from .movement import broadcast_tensors, clone, moveaxis, permute, swapaxes, unbind
from .recording import as_tensor
from .tensor import Tensor

_Int = int

absolute = abs
negative = neg
subtract = sub
multiply = mul
divide = true_divide = div
power = pow
mod = remainder
rint = round
fix = trunc
expit = sigmoid
arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
arcsinh, arccosh, arctanh = asinh, acosh, atanh
less, less_equal, greater, greater_equal, not_equal = lt, le, gt, ge, ne
bitwise_not = bitwise_invert = invert
bitwise_left_shift, bitwise_right_shift = left_shift, right_shift
clip = clamp
cat = concat = concatenate
row_stack = vstack
broadcast_arrays = broadcast_tensors
movedim, swapdims = moveaxis, swapaxes
permute_dims, unstack = permute, unbind
copy = clone
permutation = shuffle
integers = randint
csub, cmul, cdiv, cmax, cmin = sub, mul, div, maximum, minimum
cpow, cfmod, cremainder = pow, fmod, remainder
cinv = reciprocal
conjugate = conj
bitand, bitor, bitxor, lshift, rshift = (bitwise_and, bitwise_or, bitwise_xor, left_shift,
                                         right_shift)
repeat_tensor = tile


def numel(x: Tensor) -> _Int:
    """Number of elements. Torch7 numel."""
    return as_tensor("numel", x).numel()


float = _dt.float32
double = _dt.float64
half = _dt.float16
long = _dt.int64
int = _dt.int32
short = _dt.int16
char = _dt.int8
cfloat = _dt.complex64
cdouble = _dt.complex128
byte = _dt.uint8
bool = _dt.bool_

pi, e, inf, nan = math.pi, math.e, math.inf, math.nan
newaxis = None

__all__ = [
    "absolute",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "bitand",
    "bitor",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_right_shift",
    "bitxor",
    "bool",
    "broadcast_arrays",
    "byte",
    "cat",
    "cdiv",
    "cdouble",
    "cfloat",
    "cfmod",
    "char",
    "cinv",
    "clip",
    "cmax",
    "cmin",
    "cmul",
    "concat",
    "conjugate",
    "copy",
    "cpow",
    "cremainder",
    "csub",
    "divide",
    "double",
    "e",
    "expit",
    "fix",
    "float",
    "greater",
    "greater_equal",
    "half",
    "inf",
    "int",
    "integers",
    "less",
    "less_equal",
    "long",
    "lshift",
    "mod",
    "movedim",
    "multiply",
    "nan",
    "negative",
    "newaxis",
    "not_equal",
    "numel",
    "permutation",
    "permute_dims",
    "pi",
    "power",
    "repeat_tensor",
    "rint",
    "row_stack",
    "rshift",
    "short",
    "subtract",
    "swapdims",
    "true_divide",
    "unstack",
]
