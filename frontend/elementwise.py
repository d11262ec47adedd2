"""Elementwise functions that are one op: arithmetic, comparison, logic, transcendental functions.

Each is a row: `exp = _float("exp", ...)`. Every function takes tensors, arrays or numbers that
broadcast, and `out=`; its in-place method has a trailing underscore.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node
from flambeau.compiler.ops import COMPLEX

from .creation import constant
from .recording import (
    Operands,
    as_tensor,
    binary_method,
    coerce,
    common_dtype,
    into,
    real_only,
    reflected,
)
from .tensor import Tensor, default_dtype, derive, read

Unary = Callable[..., Tensor]

_FLOAT = ("Shape of x; floating dtypes are kept, integers and bools become the default dtype. "
          "out: a tensor that receives the result.")
_SAME = "Shape and dtype of x. out: a tensor that receives the result."
_TEST = "Shape of x; the result is bool. out: a tensor that receives the result."


def _named(function: Callable[..., Tensor], name: str, doc: str, rule: str
           ) -> Callable[..., Tensor]:
    function.__name__ = function.__qualname__ = name
    function.__module__ = __name__
    first, _, source = doc.partition(" | ")
    function.__doc__ = f"{first}\n\n{rule}" + (f" {source}." if source else "")
    return function


# -- one operand -------------------------------------------------------------------------------


def floating(name: str, x: Any) -> tuple[Tensor, Node]:
    """x as a tensor, and its node with a floating dtype. Raises TypeError for complex numbers."""
    t, n = inexact(name, x)
    real_only(name, n.dtype)
    return t, n


def inexact(name: str, x: Any) -> tuple[Tensor, Node]:
    """x as a tensor, and its node with a floating or complex dtype."""
    t = as_tensor(name, x)
    n = read(t)
    return t, n if n.dtype.kind in "fc" else N.cast(n, default_dtype())


def _float(op: str, doc: str, of_complex: Callable[[Node], Node] | None = None) -> Unary:
    """of_complex: a formula for complex operands, where there is no complex op."""
    prepare = inexact if op in COMPLEX or of_complex is not None else floating

    def function(x: Any, *, out: Tensor | None = None) -> Tensor:
        t, n = prepare(op, x)
        if of_complex is not None and n.dtype.is_complex:
            made = derive(of_complex(n), t)
        else:
            made = derive(N.node(op, n.dtype, n.shape, (n,)), t)
        return made if out is None else into(op, made, out)

    return _named(function, op, doc, _FLOAT)


def _exp2_complex(z: Node) -> Node:
    """exp(z log 2), the parts apart, so that infinities stay where they are."""
    parts = [N.elementwise(p, z) for p in ("real", "imag")]
    scaled = (N.elementwise("mul", p, constant(p.dtype, math.log(2), p.shape)) for p in parts)
    return N.elementwise("exp", N.elementwise("complex", *scaled))


def _sigmoid_complex(z: Node) -> Node:
    """By exp of z or of -z, whichever does not overflow."""
    e = N.elementwise
    real, one = e("real", z), constant(z.dtype, 1, z.shape)
    left = e("lt", real, constant(real.dtype, 0, real.shape))
    small = e("exp", e("where", left, z, e("neg", z)))
    return e("div", e("where", left, small, one), e("add", one, small))


def _rounding(op: str, doc: str) -> Unary:
    def function(x: Any, *, out: Tensor | None = None) -> Tensor:
        t = as_tensor(op, x)
        n = read(t)
        real_only(op, n.dtype)
        made = derive(N.node(op, n.dtype, n.shape, (n,)) if n.dtype.kind == "f" else n, t)
        return made if out is None else into(op, made, out)

    return _named(function, op, doc, _SAME)


def _signed(op: str, doc: str, name: str | None = None) -> Unary:
    title = name or op

    def function(x: Any, *, out: Tensor | None = None) -> Tensor:
        t = as_tensor(title, x)
        if t.dtype is dt.bool_:
            raise TypeError(f"{title}: expected a number dtype, got bool")
        n = read(t)
        n = _unit(n) if op == "sign" and n.dtype.is_complex else N.node(op, n.dtype, n.shape, (n,))
        made = derive(n, t)
        return made if out is None else into(title, made, out)

    return _named(function, title, doc, _SAME + " Raises TypeError for bool.")


def _unit(z: Node) -> Node:
    """z / |z|, and 0 at 0."""
    size = N.elementwise("modulus", z)
    none = N.elementwise("eq", size, constant(size.dtype, 0, size.shape))
    size = N.elementwise("where", none, constant(size.dtype, 1, size.shape), size)
    zero = constant(size.dtype, 0, size.shape)  # also for negative zeros
    parts = (N.elementwise("div", N.elementwise(p, z), size) for p in ("real", "imag"))
    return N.elementwise("complex", *(N.elementwise("where", none, zero, p) for p in parts))


def _test(op: str, doc: str) -> Unary:
    """A question to floats; integers answer no."""
    def function(x: Any, *, out: Tensor | None = None) -> Tensor:
        t = as_tensor(op, x)
        n = read(t)
        if op == "signbit":
            real_only(op, n.dtype)
        if n.dtype.kind in "fc":
            n = N.node(op, dt.bool_, n.shape, (n,))
        elif op == "signbit" and n.dtype.kind == "i":
            n = N.elementwise("lt", n, constant(n.dtype, 0, n.shape))
        else:
            n = constant(dt.bool_, False, n.shape)
        made = derive(n, t)
        return made if out is None else into(op, made, out)

    return _named(function, op, doc, _TEST)


neg = _signed("neg", "-x. | NumPy negative, Torch7 neg")
sign = _signed("sign", "-1, 0 or 1; NaN for NaN; z / |z| of complex numbers. "
               "| NumPy and Torch7 sign")
floor = _rounding("floor", "The largest integer <= x. | NumPy and Torch7 floor")
ceil = _rounding("ceil", "The smallest integer >= x. | NumPy and Torch7 ceil")
trunc = _rounding("trunc", "x without its fraction. | NumPy and Torch7 trunc")
sqrt = _float("sqrt", "Square root; NaN below 0. | NumPy and Torch7 sqrt")
exp = _float("exp", "e ** x. | NumPy and Torch7 exp")
exp2 = _float("exp2", "2 ** x. | NumPy exp2", _exp2_complex)
expm1 = _float("expm1", "exp(x) - 1, exact near 0. | NumPy expm1")
log = _float("log", "Natural logarithm. | NumPy and Torch7 log")
log2 = _float("log2", "Logarithm to base 2. | NumPy log2")
log10 = _float("log10", "Logarithm to base 10. | NumPy log10")
log1p = _float("log1p", "log(1 + x), exact near 0. | NumPy and Torch7 log1p")
sin = _float("sin", "Sine of radians. | NumPy and Torch7 sin")
cos = _float("cos", "Cosine of radians. | NumPy and Torch7 cos")
tan = _float("tan", "Tangent of radians. | NumPy and Torch7 tan")
asin = _float("asin", "Inverse sine. | NumPy arcsin, Torch7 asin")
acos = _float("acos", "Inverse cosine. | NumPy arccos, Torch7 acos")
atan = _float("atan", "Inverse tangent. | NumPy arctan, Torch7 atan")
sinh = _float("sinh", "Hyperbolic sine. | NumPy and Torch7 sinh")
cosh = _float("cosh", "Hyperbolic cosine. | NumPy and Torch7 cosh")
tanh = _float("tanh", "Hyperbolic tangent. | NumPy and Torch7 tanh")
asinh = _float("asinh", "Inverse hyperbolic sine. | NumPy arcsinh")
acosh = _float("acosh", "Inverse hyperbolic cosine. | NumPy arccosh")
atanh = _float("atanh", "Inverse hyperbolic tangent. | NumPy arctanh")
erf = _float("erf", "The error function. | SciPy erf")
erfc = _float("erfc", "1 - erf(x), exact for large x. | SciPy erfc")
cbrt = _float("cbrt", "Cube root. | NumPy cbrt")
lgamma = _float("lgamma", "Logarithm of |gamma(x)|. | SciPy gammaln")
digamma = _float("digamma", "Derivative of lgamma. | SciPy digamma")
sigmoid = _float("sigmoid", "1 / (1 + exp(-x)). | Torch7 sigmoid, SciPy expit", _sigmoid_complex)
softplus = _float("softplus", "log(1 + exp(x)), without overflow. | Torch7 nn.SoftPlus")
isnan = _test("isnan", "Is x not a number? | NumPy isnan")
isinf = _test("isinf", "Is x infinite? | NumPy isinf")
signbit = _test("signbit", "Is the sign bit set (also of -0.0)? | NumPy signbit")


def abs(x: Any, *, out: Tensor | None = None) -> Tensor:
    """|x|. Shape and dtype of x; complex numbers give their real dtype. NumPy and Torch7 abs."""
    t = as_tensor("abs", x)
    n = read(t)
    if n.dtype.is_complex:
        n = N.elementwise("modulus", n)
    elif n.dtype.kind in "if":
        n = N.elementwise("abs", n)
    return into("abs", derive(n, t), out)


def round(x: Any, decimals: int = 0, *, out: Tensor | None = None) -> Tensor:
    """x rounded to `decimals`, halves to even (Torch7 rounded them away from 0); both parts of
    complex numbers. NumPy round.

    Shape and dtype of x.
    """
    t = as_tensor("round", x)
    n = read(t)
    if n.dtype.is_complex:
        parts = (read(round(derive(N.elementwise(p, n), t), decimals)) for p in ("real", "imag"))
        return into("round", derive(N.elementwise("complex", *parts), t), out)
    if n.dtype.kind != "f" and decimals >= 0:
        return into("round", derive(n, t), out)
    if decimals and n.dtype.kind == "f":
        scale = constant(n.dtype, 10.0 ** builtins.abs(decimals), n.shape)
        there, back = ("mul", "div") if decimals > 0 else ("div", "mul")
        n = N.elementwise(back, N.elementwise("round", N.elementwise(there, n, scale)), scale)
    elif n.dtype.kind == "f":
        n = N.elementwise("round", n)
    else:
        raise ValueError(f"round: expected decimals of 0 or more for {n.dtype.name}, "
                         f"got {decimals}")
    return into("round", derive(n, t), out)


def positive(x: Any, *, out: Tensor | None = None) -> Tensor:
    """x itself, as a new tensor. NumPy positive."""
    t = as_tensor("positive", x)
    return into("positive", derive(read(t), t), out)


def invert(x: Any, *, out: Tensor | None = None) -> Tensor:
    """Bitwise not of integers, logical not of bools. NumPy invert, Torch7 bitnot.

    Raises TypeError for floats.
    """
    t = as_tensor("invert", x)
    if t.dtype.is_inexact:
        raise TypeError(f"invert: expected bool or integers, got {t.dtype.name}")
    return into("invert", derive(N.elementwise("not", read(t)), t), out)


def truth(n: Node) -> Node:
    """Is it other than 0, as bool?"""
    return n if n.dtype is dt.bool_ else N.elementwise("ne", n, constant(n.dtype, 0, n.shape))


def logical_not(x: Any, *, out: Tensor | None = None) -> Tensor:
    """Is x equal to 0? Shape of x, bool. NumPy logical_not."""
    t = as_tensor("logical_not", x)
    return into("logical_not", derive(N.elementwise("not", truth(read(t))), t), out)


# -- two operands --------------------------------------------------------------------------------

_BROADCAST = "Operands broadcast. out: a tensor that receives the result."
_ON_BOOL = {"add": "or", "mul": "and", "maximum": "or", "minimum": "and"}


def _arithmetic(op: str, doc: str, name: str | None = None) -> Callable[..., Tensor]:
    title = name or op

    def function(x: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
        both = Operands(title, (x, other))
        if op not in COMPLEX:
            real_only(title, both.dtype)
        made = both.make(_arithmetic_node(title, op, both))
        return made if out is None else into(title, made, out)

    return _named(function, title, doc, f"Dtypes promote. {_BROADCAST}")


def _arithmetic_node(name: str, op: str, both: Operands) -> Node:
    d, nodes = both.dtype, both.nodes
    if d is dt.bool_:
        if op == "sub":
            raise TypeError(f"{name}: expected a number dtype, got bool; use ^ or logical_xor")
        if op in _ON_BOOL:
            return N.node(_ON_BOOL[op], d, both.shape, nodes)
        d = dt.int8
        nodes = tuple(N.cast(n, d) for n in nodes)
    return N.node(op, d, both.shape, nodes)


def float_operands(name: str, xs: tuple[Any, ...]) -> Operands:
    """Operands in a floating dtype: the promoted one, or the default dtype for integers. Raises
    TypeError for complex ones."""
    both = inexact_operands(name, xs)
    real_only(name, both.dtype)
    return both


def inexact_operands(name: str, xs: tuple[Any, ...]) -> Operands:
    """Operands in a floating or complex dtype: the promoted one, or the default for integers."""
    xs = tuple(coerce(name, x) for x in xs)
    found = common_dtype(name, xs)
    return Operands(name, xs, found if found.is_inexact else default_dtype())


def _float2(op: str, doc: str, name: str | None = None) -> Callable[..., Tensor]:
    title = name or op
    prepare = inexact_operands if op in COMPLEX else float_operands

    def function(x: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
        both = prepare(title, (x, other))
        made = both.make(N.node(op, both.dtype, both.shape, both.nodes))
        return made if out is None else into(title, made, out)

    return _named(function, title, doc, "Dtypes promote; integers become the default dtype. "
                                        f"{_BROADCAST}")


def _bits(op: str, doc: str, name: str) -> Callable[..., Tensor]:
    def function(x: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
        both = Operands(name, (x, other))
        d, nodes = both.dtype, both.nodes
        if d.is_inexact:
            raise TypeError(f"{name}: expected bool or integers, got {d.name}")
        if d is dt.bool_ and op in ("shl", "shr"):
            d = dt.int8
            nodes = tuple(N.cast(n, d) for n in nodes)
        made = both.make(N.node(op, d, both.shape, nodes))
        return made if out is None else into(name, made, out)

    return _named(function, name, doc, f"Dtypes promote. {_BROADCAST} Raises TypeError for floats.")


def _compare(op: str, doc: str, name: str | None = None, swap: bool = False
             ) -> Callable[..., Tensor]:
    title = name or op

    def function(x: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
        both = Operands(title, (x, other), _compare_dtype(title, x, other))
        if op not in COMPLEX:
            real_only(title, both.dtype)
        src = both.nodes[::-1] if swap else both.nodes
        made = both.make(N.node(op, dt.bool_, both.shape, src))
        return made if out is None else into(title, made, out)

    return _named(function, title, doc, f"The result is bool. {_BROADCAST}")


def _compare_dtype(name: str, x: Any, other: Any) -> DType | None:
    """int64 (float64 beyond it) where a Python integer does not fit the tensor's dtype."""
    for t, value in ((x, other), (other, x)):
        if isinstance(t, Tensor) and t.dtype.is_integer and type(value) is int:
            bits = t.dtype.itemsize * 8
            low = -(1 << bits - 1) if t.dtype.kind == "i" else 0
            if not low <= value < low + (1 << bits):
                return dt.int64 if -(1 << 63) <= value < 1 << 63 and bits < 64 else dt.float64
    return None


def _logical(op: str, doc: str, name: str) -> Callable[..., Tensor]:
    def function(x: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
        both = Operands(name, (x, other))
        src = tuple(truth(n) for n in both.nodes)
        made = both.make(N.node(op, dt.bool_, both.shape, src))
        return made if out is None else into(name, made, out)

    return _named(function, name, doc, f"The result is bool. {_BROADCAST}")


mul = _arithmetic("mul", "x * other, elementwise. | NumPy multiply, Torch7 mul and cmul")
floor_divide = _arithmetic("floordiv", "floor(x / other); integers give 0 for a divisor 0. "
                           "| NumPy floor_divide", "floor_divide")
remainder = _arithmetic("mod", "x - other * floor(x / other), with the divisor's sign. "
                        "| NumPy and Torch7 remainder", "remainder")
fmod = _arithmetic("fmod", "Remainder with the dividend's sign. | NumPy and Torch7 fmod")
maximum = _arithmetic("maximum", "The larger; NaN wins. | NumPy maximum, Torch7 cmax")
minimum = _arithmetic("minimum", "The smaller; NaN wins. | NumPy minimum, Torch7 cmin")
_true_divide = _float2("div", "x / other. | NumPy true_divide")
atan2 = _float2("atan2", "The angle of (other, x). | NumPy arctan2, Torch7 atan2")
hypot = _float2("hypot", "sqrt(x*x + other*other), without overflow. | NumPy hypot")
logaddexp = _float2("logaddexp", "log(exp(x) + exp(other)), without overflow. | NumPy logaddexp")
copysign = _float2("copysign", "|x| with other's sign. | NumPy copysign")
bitwise_and = _bits("and", "Bits in both. | NumPy bitwise_and, Torch7 bitand", "bitwise_and")
bitwise_or = _bits("or", "Bits in either. | NumPy bitwise_or, Torch7 bitor", "bitwise_or")
bitwise_xor = _bits("xor", "Bits in one only. | NumPy bitwise_xor, Torch7 bitxor", "bitwise_xor")
left_shift = _bits("shl", "x * 2**other, wrapping. | NumPy left_shift, Torch7 lshift",
                   "left_shift")
right_shift = _bits("shr", "floor(x / 2**other). | NumPy right_shift, Torch7 rshift",
                    "right_shift")
eq = _compare("eq", "x == other. | NumPy equal, Torch7 eq")
ne = _compare("ne", "x != other. | NumPy not_equal, Torch7 ne")
lt = _compare("lt", "x < other. | NumPy less, Torch7 lt")
le = _compare("le", "x <= other. | NumPy less_equal, Torch7 le")
gt = _compare("lt", "x > other. | NumPy greater, Torch7 gt", "gt", swap=True)
ge = _compare("le", "x >= other. | NumPy greater_equal, Torch7 ge", "ge", swap=True)
logical_and = _logical("and", "Are both other than 0? | NumPy logical_and", "logical_and")
logical_or = _logical("or", "Is one other than 0? | NumPy logical_or", "logical_or")
logical_xor = _logical("xor", "Is exactly one other than 0? | NumPy logical_xor", "logical_xor")
_plain_add = _arithmetic("add", "x + other. | NumPy add, Torch7 add")
_plain_sub = _arithmetic("sub", "x - other. | NumPy subtract, Torch7 csub", "sub")


def add(x: Any, other: Any, *, alpha: Any = 1, out: Tensor | None = None) -> Tensor:
    """x + alpha * other. Dtypes promote, operands broadcast. NumPy add; Torch7 add(x, alpha, y).

    out: a tensor that receives the result.
    """
    return _plain_add(x, other if type(alpha) is int and alpha == 1 else mul(other, alpha),
                      out=out)


def sub(x: Any, other: Any, *, alpha: Any = 1, out: Tensor | None = None) -> Tensor:
    """x - alpha * other. Dtypes promote, operands broadcast. NumPy subtract; Torch7 csub.

    Raises TypeError for bools. out: a tensor that receives the result.
    """
    return _plain_sub(x, other if type(alpha) is int and alpha == 1 else mul(other, alpha),
                      out=out)


def div(x: Any, other: Any, *, rounding_mode: str | None = None, out: Tensor | None = None
        ) -> Tensor:
    """x / other; integers become the default dtype. rounding_mode "floor" is `floor_divide`,
    "trunc" rounds towards 0 and keeps integers (there a divisor 0 gives 0). Operands broadcast.

    NumPy true_divide, Torch7 div and cdiv (for integers: "trunc"). out: a tensor that receives the
    result.
    """
    if rounding_mode is None:
        return _true_divide(x, other, out=out)
    if rounding_mode == "floor":
        return floor_divide(x, other, out=out)
    if rounding_mode != "trunc":
        raise ValueError("div: expected rounding_mode None, 'floor' or 'trunc', got "
                         f"{rounding_mode!r}")
    if common_dtype("div", (coerce("div", x), coerce("div", other))).is_float:
        return into("div", trunc(_true_divide(x, other)), out)
    # x less its remainder with x's own sign divides exactly
    return into("div", floor_divide(sub(x, fmod(x, other)), other), out)


def pow(x: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """x ** other. Dtypes promote, operands broadcast. NumPy power, Torch7 pow and cpow.

    A Python exponent becomes a constant of the program. Raises ValueError for integers to a
    negative Python power.
    """
    x, other = coerce("pow", x), coerce("pow", other)
    d = common_dtype("pow", (x, other))
    if d.is_integer and type(other) is int and other < 0:
        raise ValueError(f"pow: expected an exponent of 0 or more for {d.name}, got {other}")
    if isinstance(other, Tensor):
        both = Operands("pow", (x, other), d)
        return into("pow", both.make(_arithmetic_node("pow", "pow", both)), out)
    base = Operands("pow", (x,), dt.int8 if d is dt.bool_ else d)
    exponent = constant(base.dtype, other, base.shape)
    made = base.make(N.node("pow", base.dtype, base.shape, (base.nodes[0], exponent)))
    return into("pow", made, out)


def where(condition: Any, x: Any = None, other: Any = None) -> Any:
    """x where condition, else other; with the condition alone, `nonzero` as a tuple. NumPy where.

    condition is bool or compared with 0; all three broadcast, x and other promote.
    """
    if x is None and other is None:
        return as_tensor("where", condition).nonzero(as_tuple=True)
    c = as_tensor("where", condition)
    both = Operands("where", (x, other, c),
                    common_dtype("where", (coerce("where", x), coerce("where", other))))
    test = N.expand_to(truth(read(c)), both.shape)
    a, b = both.nodes[:2]
    return both.make(N.node("where", both.dtype, both.shape, (test, a, b)))


def cast(x: Any, dtype: DType, name: str = "cast") -> Tensor:
    """x as another dtype (the same tensor when it has it already). Raises TypeError for complex to
    real: that would drop the imaginary part."""
    t = as_tensor(name, x)
    check_real_cast(name, t.dtype, dtype)
    return t if t.dtype is dtype else derive(N.cast(read(t), dtype), t)


def check_real_cast(name: str, source: DType, target: DType) -> None:
    """Raises TypeError where a cast would drop imaginary parts."""
    if source.is_complex and target.kind not in "cb":
        raise TypeError(f"{name}: expected a complex dtype or bool for {source.name}, got "
                        f"{target.name}; take real() or abs() of it")


OPERATORS: dict[str, Callable[..., Any]] = {
    "__add__": binary_method("add", "iufc", add), "__radd__": reflected(add, "add"),
    "__sub__": binary_method("sub", "iufc", sub), "__rsub__": reflected(sub, "sub"),
    "__mul__": binary_method("mul", "iufc", mul), "__rmul__": reflected(mul, "mul"),
    "__truediv__": binary_method("div", "fc", div), "__rtruediv__": reflected(div, "div"),
    "__floordiv__": binary_method("floordiv", "iuf", floor_divide),
    "__rfloordiv__": reflected(floor_divide),
    "__mod__": binary_method("mod", "iuf", remainder), "__rmod__": reflected(remainder),
    "__pow__": binary_method("pow", "iufc", pow), "__rpow__": reflected(pow),
    "__and__": binary_method("and", "biu", bitwise_and), "__rand__": reflected(bitwise_and),
    "__or__": binary_method("or", "biu", bitwise_or), "__ror__": reflected(bitwise_or),
    "__xor__": binary_method("xor", "biu", bitwise_xor), "__rxor__": reflected(bitwise_xor),
    "__lshift__": binary_method("shl", "iu", left_shift), "__rlshift__": reflected(left_shift),
    "__rshift__": binary_method("shr", "iu", right_shift), "__rrshift__": reflected(right_shift),
    "__eq__": binary_method("eq", "biufc", eq, dtype=dt.bool_),
    "__ne__": binary_method("ne", "biufc", ne, dtype=dt.bool_),
    "__lt__": binary_method("lt", "biuf", lt, dtype=dt.bool_),
    "__le__": binary_method("le", "biuf", le, dtype=dt.bool_),
    "__gt__": binary_method("lt", "biuf", gt, swap=True, dtype=dt.bool_),
    "__ge__": binary_method("le", "biuf", ge, swap=True, dtype=dt.bool_),
    "__neg__": lambda self: neg(self), "__pos__": lambda self: positive(self),
    "__abs__": lambda self: abs(self), "__invert__": lambda self: invert(self),
    "__round__": lambda self, digits=0: round(self, digits),
}
