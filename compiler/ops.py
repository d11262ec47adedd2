"""The op table: one row per primitive. Everything else asked of ops is a table keyed by name.

A row holds the op's family, number of operands, rule for the result's dtype, traits, and its NumPy
meaning where that is one function of the operand arrays. Movement, indexing, reduction and
contraction ops take an `arg` whose form stands in the last column of their row; their NumPy meaning
is in runtime/reference.py, because it needs the arg.

Laws: elementwise operands have the result's shape exactly (broadcasts are `expand` nodes) and, but
for the rules "compare", "same1" and "given", the result's dtype. Integer arithmetic wraps. Integer
division by zero gives 0. NaN propagates through maximum, minimum and every reduction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Op:
    """One primitive.

    dtype rule: "same" (operands and result agree), "float" (same, floating only), "bits" (same,
    bool or integer only), "compare" (operands agree, result bool), "same1" (result as operand 1,
    operand 0 is bool), "part" (complex to its real dtype), "pair" (two reals to their complex
    dtype), "given" (the node says). COMPLEX lists the ops that complex operands may have.
    cost: rough machine operations an element, to weigh recomputing against storing.
    """

    name: str
    family: str
    arity: int  # -1: any
    rule: str
    numpy: Callable[..., Any] | None = None
    cost: int = 1
    commutative: bool = False
    note: str = ""


def _vector(f: Callable[..., float]) -> Callable[..., Any]:
    """A Python float function over arrays, in float64, result in the operand's dtype."""
    many = np.vectorize(f, otypes=[np.float64])
    return lambda *a: many(*(x.astype(np.float64) for x in a)).astype(a[0].dtype)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    wide = x.astype(np.longdouble)
    return (1 / (1 + np.exp(-wide))).astype(x.dtype)


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, np.zeros((), x.dtype))


def _lgamma(x: float) -> float:
    if x != x or x == -math.inf:
        return math.nan if x != x else math.inf
    return math.inf if x == math.inf or (x <= 0 and x == math.floor(x)) else math.lgamma(x)


def _digamma(x: float) -> float:
    if x != x or x == -math.inf or (x <= 0 and x == math.floor(x)):
        return math.nan if x != 0 else math.copysign(math.inf, -x)
    if x == math.inf:
        return x
    if x < 0:
        return _digamma(1 - x) - math.pi / math.tan(math.pi * x)
    total = 0.0
    while x < 12:
        total -= 1 / x
        x += 1
    y = 1 / (x * x)
    series = y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y * (1 / 132)))))
    return total + math.log(x) - 0.5 / x - series


def _divide(f: Callable[..., Any]) -> Callable[..., Any]:
    """Integer division that gives 0 for a zero divisor, whatever NumPy warns."""
    def guarded(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if a.dtype.kind == "f":
            return f(a, b)
        safe = np.where(b == 0, b.dtype.type(1), b)
        return np.where(b == 0, a.dtype.type(0), f(a, safe)).astype(a.dtype)
    return guarded


def _floordiv(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """NumPy's, but where a float operand is infinite the floor of the quotient, as the Array API
    standard prefers."""
    found = np.floor_divide(a, b)
    if a.dtype.kind != "f":
        return found
    return np.where(np.isinf(a) | np.isinf(b), np.floor(a / b), found)


def _shift(f: Callable[..., Any], left: bool) -> Callable[..., Any]:
    """Shifts past the width give 0 (or the sign), as a wide enough machine would; a bool is one
    bit wide."""
    def guarded(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if a.dtype.kind == "b":
            return a & ~b
        bits = a.dtype.itemsize * 8
        wide = (b.astype(np.int64) < 0) | (b.astype(np.uint64) >= bits)
        inside = f(a, np.where(wide, b.dtype.type(0), b))
        beyond = a.dtype.type(0) if left or a.dtype.kind == "u" else np.where(a < 0, -1, 0)
        return np.where(wide, beyond, inside).astype(a.dtype)
    return guarded


def _complex(re: np.ndarray, im: np.ndarray) -> np.ndarray:
    found = np.empty(re.shape, np.result_type(re.dtype, np.complex64))
    found.real, found.imag = re, im
    return found


def _not(a: np.ndarray) -> np.ndarray:
    return np.logical_not(a) if a.dtype.kind == "b" else np.invert(a)


def _round(a: np.ndarray) -> np.ndarray:
    return a if a.dtype.kind != "f" else np.rint(a)


_U, _B = 1, 2
_ROWS = [
    # leaves -----------------------------------------------------------------------------------
    Op("buffer", "leaf", 0, "given", note="arg: a handle to memory, opaque to the compiler"),
    Op("param", "leaf", 0, "given", note="arg: (number,), ('body', number): a buffer in a key"),
    Op("scalar", "leaf", 0, "given", note="arg: a Scalar: a Python number passed at run time"),
    Op("const", "leaf", 0, "given", note="arg: the value's bits (int64 or float64 pattern)"),
    Op("iota", "leaf", 0, "given", note="arg: axis; the index along that axis"),
    # elementwise, one operand -----------------------------------------------------------------
    Op("neg", "elementwise", _U, "same", np.negative),
    Op("abs", "elementwise", _U, "same", np.abs),
    Op("sign", "elementwise", _U, "same", np.sign),
    Op("floor", "elementwise", _U, "float", np.floor),
    Op("ceil", "elementwise", _U, "float", np.ceil),
    Op("round", "elementwise", _U, "float", _round, note="half to even"),
    Op("trunc", "elementwise", _U, "float", np.trunc),
    Op("sqrt", "elementwise", _U, "float", np.sqrt, cost=6),
    Op("exp", "elementwise", _U, "float", np.exp, cost=14),
    Op("exp2", "elementwise", _U, "float", np.exp2, cost=14),
    Op("expm1", "elementwise", _U, "float", np.expm1, cost=18),
    Op("log", "elementwise", _U, "float", np.log, cost=18),
    Op("log2", "elementwise", _U, "float", np.log2, cost=18),
    Op("log10", "elementwise", _U, "float", np.log10, cost=18),
    Op("log1p", "elementwise", _U, "float", np.log1p, cost=22),
    Op("sin", "elementwise", _U, "float", np.sin, cost=22),
    Op("cos", "elementwise", _U, "float", np.cos, cost=22),
    Op("tan", "elementwise", _U, "float", np.tan, cost=30),
    Op("asin", "elementwise", _U, "float", np.arcsin, cost=24),
    Op("acos", "elementwise", _U, "float", np.arccos, cost=24),
    Op("atan", "elementwise", _U, "float", np.arctan, cost=20),
    Op("sinh", "elementwise", _U, "float", np.sinh, cost=24),
    Op("cosh", "elementwise", _U, "float", np.cosh, cost=20),
    Op("tanh", "elementwise", _U, "float", np.tanh, cost=18),
    Op("asinh", "elementwise", _U, "float", np.arcsinh, cost=30),
    Op("acosh", "elementwise", _U, "float", np.arccosh, cost=30),
    Op("atanh", "elementwise", _U, "float", np.arctanh, cost=24),
    Op("erf", "elementwise", _U, "float", _vector(math.erf), cost=24),
    Op("erfc", "elementwise", _U, "float", _vector(math.erfc), cost=30),
    Op("cbrt", "elementwise", _U, "float", np.cbrt, cost=20),
    Op("lgamma", "elementwise", _U, "float", _vector(_lgamma), cost=60),
    Op("digamma", "elementwise", _U, "float", _vector(_digamma), cost=60),
    Op("sigmoid", "elementwise", _U, "float", _sigmoid, cost=18),
    Op("softplus", "elementwise", _U, "float", _softplus, cost=30),
    Op("not", "elementwise", _U, "bits", _not, note="logical for bool, bitwise for integers"),
    Op("isnan", "elementwise", _U, "compare", np.isnan),
    Op("isinf", "elementwise", _U, "compare", np.isinf),
    Op("signbit", "elementwise", _U, "compare", np.signbit),
    Op("cast", "elementwise", _U, "given", note="to the node's dtype, as astype does"),
    Op("bitcast", "elementwise", _U, "given", note="the same bits as another dtype of that size"),
    Op("real", "elementwise", _U, "part", np.real),
    Op("imag", "elementwise", _U, "part", np.imag),
    Op("modulus", "elementwise", _U, "part", np.abs, cost=20, note="|z| of complex z"),
    Op("conj", "elementwise", _U, "same", np.conj),
    # elementwise, two operands ----------------------------------------------------------------
    Op("add", "elementwise", _B, "same", np.add, commutative=True),
    Op("sub", "elementwise", _B, "same", np.subtract),
    Op("mul", "elementwise", _B, "same", np.multiply, commutative=True),
    Op("div", "elementwise", _B, "float", np.true_divide, cost=6),
    Op("floordiv", "elementwise", _B, "same", _divide(_floordiv), cost=12),
    Op("mod", "elementwise", _B, "same", _divide(np.remainder), cost=12,
       note="sign of the divisor"),
    Op("fmod", "elementwise", _B, "same", _divide(np.fmod), cost=12, note="sign of the dividend"),
    Op("pow", "elementwise", _B, "same", np.power, cost=40),
    Op("atan2", "elementwise", _B, "float", np.arctan2, cost=26),
    Op("hypot", "elementwise", _B, "float", np.hypot, cost=20),
    Op("logaddexp", "elementwise", _B, "float", np.logaddexp, cost=36, commutative=True),
    Op("maximum", "elementwise", _B, "same", np.maximum, commutative=True),
    Op("minimum", "elementwise", _B, "same", np.minimum, commutative=True),
    Op("copysign", "elementwise", _B, "float", np.copysign),
    Op("and", "elementwise", _B, "bits", np.bitwise_and, commutative=True),
    Op("or", "elementwise", _B, "bits", np.bitwise_or, commutative=True),
    Op("xor", "elementwise", _B, "bits", np.bitwise_xor, commutative=True),
    Op("shl", "elementwise", _B, "bits", _shift(np.left_shift, True)),
    Op("shr", "elementwise", _B, "bits", _shift(np.right_shift, False)),
    Op("eq", "elementwise", _B, "compare", np.equal, commutative=True),
    Op("ne", "elementwise", _B, "compare", np.not_equal, commutative=True),
    Op("lt", "elementwise", _B, "compare", np.less),
    Op("le", "elementwise", _B, "compare", np.less_equal),
    Op("complex", "elementwise", _B, "pair", _complex, note="(real part, imaginary part)"),
    Op("where", "elementwise", 3, "same1", np.where),
    Op("require", "elementwise", 2, "given", note="(x, ok): x; where the bool ok is false, a "
       "ValueError that says arg"),
    Op("philox", "elementwise", 3, "given", cost=12, note="(index, draw, seed) in uint64: word "
       "number `index` of the Philox 4x32-10 stream with key seed and counters (block, draw), as "
       "uint32, or as uint64 two words, the low one first; arg k: another stream, of the blocks "
       "from k * 2**48 on"),
    Op("sample", "elementwise", 5, "given", cost=300, note="(a, b, index, draw, seed), arg: "
       "'gamma', 'poisson', 'binomial', 'von_mises' or 'truncated': a random number with the "
       "parameters a, b, float64 (gamma: or float32), from philox's streams; NaN where they fit "
       "no distribution"),
    # movement ---------------------------------------------------------------------------------
    Op("reshape", "movement", 1, "same", note="arg: None; the node's shape, C order"),
    Op("permute", "movement", 1, "same", note="arg: order; result axis i is operand axis order[i]"),
    Op("expand", "movement", 1, "same", note="arg: None; axes of length 1 repeat; no new ones"),
    Op("slice", "movement", 1, "same", note="arg: ((start, step), ...); lengths are the shape's"),
    Op("pad", "movement", 1, "same", note="arg: (((before, between), ...), fill bits): elements "
       "are "
       "spread `between` apart, `before` in from the start; the shape says where it ends"),
    Op("concat", "movement", -1, "same", note="arg: axis"),
    # indexing ---------------------------------------------------------------------------------
    Op("gather", "indexing", -1, "given", note="(x, i0 ... ik-1): x[i0, ..., ik-1] on the leading "
       "axes; the int64 indices have one shape S; result S + rest; out of range is an error"),
    Op("scatter", "indexing", -1, "given", note="(base, value, i0 ...), arg 'set' | 'add' | 'mul' "
       "| 'max' | 'min': base with base[i0, ...] combined with value, in C order of S"),
    Op("put", "indexing", 2, "same", note="(base, value), arg as slice's: base with that region "
       "replaced by value"),
    # reduction and scan: operand axes in arg become length 1 -----------------------------------
    Op("sum", "reduction", 1, "same", np.sum, note="arg: axes"),
    Op("prod", "reduction", 1, "same", np.prod, note="arg: axes"),
    Op("max", "reduction", 1, "same", np.max, note="arg: axes; NaN wins"),
    Op("min", "reduction", 1, "same", np.min, note="arg: axes; NaN wins"),
    Op("argmax", "reduction", 1, "given", np.argmax, note="arg: (axis,); the first; NaN wins"),
    Op("argmin", "reduction", 1, "given", np.argmin, note="arg: (axis,); the first; NaN wins"),
    Op("cumsum", "scan", 1, "same", np.cumsum, note="arg: axis"),
    Op("cumprod", "scan", 1, "same", np.cumprod, note="arg: axis"),
    Op("cummax", "scan", 1, "same", np.maximum.accumulate, note="arg: axis"),
    Op("cummin", "scan", 1, "same", np.minimum.accumulate, note="arg: axis"),
    # contraction ------------------------------------------------------------------------------
    Op("dot", "contraction", 2, "same", note="(b, m, k) x (b, k, n) -> (b, m, n)"),
    Op("conv", "contraction", 2, "same", note="(n, g*c, x...) * (g*o, c, k...) -> (n, g*o, y...), "
       "arg: Conv(stride, before, after, dilation, input_dilation, groups): correlation"),
    Op("sparse_conv", "contraction", 3, "given", note="(x or w, value, place), arg: Sparse: a "
       "gradient of a 2-d correlation whose cotangent has one element a window, value (n, o, p1, "
       "p2), number `place` of it; the pass sparse_gradients makes it"),
    # the rest ---------------------------------------------------------------------------------
    Op("extern", "extern", -1, "given", note="arg: (name, options): a named host routine"),
    Op("loop", "loop", -1, "given", note="arg: Loop: a rolled scan or while; results by `output`"),
    Op("output", "loop", 1, "given", note="arg: number; one result of a loop"),
    Op("mark", "mark", 1, "same", note="arg: identity of a differentiable leaf; means its operand"),
]

OPS: dict[str, Op] = {row.name: row for row in _ROWS}
ELEMENTWISE = frozenset(n for n, row in OPS.items() if row.family == "elementwise")
COMPLEX = frozenset((  # beside leaves, movement and what takes any dtype
    "neg", "sqrt", "exp", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin",
    "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "isnan", "isinf", "cast",
    "real", "imag", "modulus", "conj", "complex", "add", "sub", "mul", "div", "pow", "eq", "ne",
    "where", "gather", "scatter", "put", "sum", "prod", "cumsum", "cumprod", "dot", "conv",
    "extern", "loop", "output", "mark"))
MOVEMENT = frozenset(n for n, row in OPS.items() if row.family == "movement")
REDUCTIONS = frozenset(n for n, row in OPS.items() if row.family == "reduction")
SCANS = frozenset(n for n, row in OPS.items() if row.family == "scan")
CONTRACTIONS = frozenset(n for n, row in OPS.items() if row.family == "contraction")


@dataclass(frozen=True, slots=True)
class Conv:
    """The geometry of an n-d correlation, one entry per spatial axis.

    y[p] = sum over k of x_dilated[p*stride - before + k*dilation] * w[k], where x_dilated has
    input_dilation - 1 zeros between neighbours and zeros outside. before/after may be negative.
    """

    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    dilation: tuple[int, ...]
    input_dilation: tuple[int, ...]
    groups: int = 1

    def output_shape(self, x: tuple[int, ...], w: tuple[int, ...]) -> tuple[int, ...]:
        """Result shape for x (n, c, ...) and w (o, c/groups, ...)."""
        spatial = tuple(self.extent(i, x[i + 2], w[i + 2]) for i in range(len(self.stride)))
        return (x[0], w[0], *spatial)

    def extent(self, axis: int, size: int, kernel: int) -> int:
        spread = (size - 1) * self.input_dilation[axis] + 1 if size else 0
        room = spread + self.before[axis] + self.after[axis] - (kernel - 1) * self.dilation[axis]
        return max(0, (room - 1) // self.stride[axis] + 1)


@dataclass(frozen=True, slots=True)
class Sparse:
    """A gradient of y[p] = sum over k of x[p*stride - before + k*dilation] * w[k], by one side.

    of: "weight" (the other operand is x, before is 0) or "input" (it is w). window: rows and
    columns of y that hold one element of the cotangent. The other elements are zero and contribute
    nothing, whatever they meet.
    """

    of: str
    window: tuple[int, int]
    stride: tuple[int, int]
    before: tuple[int, int]
    dilation: tuple[int, int]
