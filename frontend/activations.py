"""Elementwise functions composed of ops: reciprocal, clamp, relu, gelu, isclose and the like.

Numbers inside the formulas are constants of the graph; the user's arguments are run-time
arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.node import Node
from flambeau.compiler.ops import COMPLEX

from .creation import constant, number
from .elementwise import eq, float_operands, floating, gt, inexact, inexact_operands, where
from .recording import Operands, as_tensor, as_tensors, into, real_only
from .reductions import all as all_
from .tensor import Tensor, derive, read


def op(name: str, *src: Any) -> Node:
    """An elementwise node; Python numbers among src become constants like the first node."""
    model = next(x for x in src if isinstance(x, Node) and x.dtype is not dt.bool_)
    if name not in COMPLEX:
        real_only(name, model.dtype)
    return N.elementwise(name, *(x if isinstance(x, Node) else constant(model.dtype, x, model.shape)
                                 for x in src))


def _composed(name: str, build: Callable[[Node], Node], doc: str, complex_too: bool = False
              ) -> Callable[..., Tensor]:
    """A function of one floating operand."""
    prepare = inexact if complex_too else floating

    def function(x: Any, *, out: Tensor | None = None) -> Tensor:
        t, n = prepare(name, x)
        made = derive(build(n), t)
        return made if out is None else into(name, made, out)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (f"{doc}\n\nShape of x; floating dtypes are kept, integers and bools become "
                        "the default dtype. out: a tensor that receives the result.")
    return function


def _relu(n: Node) -> Node:
    return n if n.dtype is dt.bool_ else op("where", op("le", n, 0), 0, n)


def _gelu(n: Node) -> Node:
    half = op("mul", n, 0.5)
    return op("mul", half, op("add", op("erf", op("mul", n, math.sqrt(0.5))), 1))


def _gelu_tanh(n: Node) -> Node:
    cube = op("mul", op("mul", op("mul", n, n), n), 0.044715)
    inner = op("mul", op("add", n, cube), math.sqrt(2 / math.pi))
    return op("mul", op("mul", n, 0.5), op("add", op("tanh", inner), 1))


def _sinc(n: Node) -> Node:
    angle = op("mul", n, math.pi)
    zero = op("eq", n, 0)
    safe = op("where", zero, 1, angle)
    return op("where", zero, 1, op("div", op("sin", safe), safe))


def _logit(n: Node) -> Node:
    return op("sub", op("log", n), op("log1p", op("neg", n)))


def _erfinv(n: Node) -> Node:
    """Giles' two polynomials, then two Newton steps."""
    w = op("neg", op("log", op("mul", op("sub", 1, n), op("add", n, 1))))
    small, large = op("sub", w, 2.5), op("sub", op("sqrt", op("maximum", w, 0)), 3)
    near = _polynomial(small, (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06,
                               0.00021858087, -0.00125372503, -0.00417768164, 0.246640727,
                               1.50140941))
    far = _polynomial(large, (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844,
                              0.00573950773, -0.0076224613, 0.00943887047, 1.00167406, 2.83297682))
    y = op("mul", op("where", op("lt", w, 5), near, far), n)
    for _ in range(2):
        slope = op("mul", op("exp", op("neg", op("mul", y, y))), 2 / math.sqrt(math.pi))
        y = op("sub", y, op("div", op("sub", op("erf", y), n), slope))
    edge = op("eq", op("abs", n), 1)
    return op("where", edge, op("mul", n, math.inf), y)


def _polynomial(x: Node, coefficients: tuple[float, ...]) -> Node:
    total = op("add", op("mul", x, coefficients[0]), coefficients[1])
    for c in coefficients[2:]:
        total = op("add", op("mul", total, x), c)
    return total


def _clip(n: Node, low: float, high: float) -> Node:
    n = op("where", op("lt", n, low), low, n)
    return op("where", op("lt", high, n), high, n)


reciprocal = _composed("reciprocal", lambda n: op("div", 1, n), "1 / x. Torch7 cinv.",
                       complex_too=True)
rsqrt = _composed("rsqrt", lambda n: op("div", 1, op("sqrt", n)), "1 / sqrt(x). Torch7 rsqrt.",
                  complex_too=True)
log_sigmoid = _composed("log_sigmoid", lambda n: op("neg", op("softplus", op("neg", n))),
                        "log(sigmoid(x)), without overflow. Torch7 nn.LogSigmoid.")
silu = _composed("silu", lambda n: op("mul", n, op("sigmoid", n)), "x * sigmoid(x).")
mish = _composed("mish", lambda n: op("mul", n, op("tanh", op("softplus", n))),
                 "x * tanh(softplus(x)).")
tanhshrink = _composed("tanhshrink", lambda n: op("sub", n, op("tanh", n)), "x - tanh(x).")
softsign = _composed("softsign", lambda n: op("div", n, op("add", op("abs", n), 1)),
                     "x / (1 + |x|). Torch7 nn.SoftSign.")
hard_sigmoid = _composed("hard_sigmoid", lambda n: op("div", _clip(op("add", n, 3), 0, 6), 6),
                         "clamp(x + 3, 0, 6) / 6.")
hard_swish = _composed(
    "hard_swish", lambda n: op("mul", n, op("div", _clip(op("add", n, 3), 0, 6), 6)),
    "x * clamp(x + 3, 0, 6) / 6.")
sinc = _composed("sinc", _sinc, "sin(pi x) / (pi x), 1 at 0. NumPy sinc.")
deg2rad = _composed("deg2rad", lambda n: op("mul", n, math.pi / 180), "Degrees as radians. NumPy.")
rad2deg = _composed("rad2deg", lambda n: op("mul", n, 180 / math.pi), "Radians as degrees. NumPy.")
erfinv = _composed("erfinv", _erfinv, "The inverse of erf; NaN outside [-1, 1]. SciPy erfinv.")
frac = _composed("frac", lambda n: op("sub", n, op("trunc", n)), "x - trunc(x). Torch7 frac.")


def relu(x: Any, *, out: Tensor | None = None) -> Tensor:
    """x where positive, else 0 (gradient 0 at 0). Shape and dtype of x. Torch7 nn.ReLU."""
    t = as_tensor("relu", x)
    real_only("relu", t.dtype)
    return into("relu", derive(_relu(read(t)), t), out)


def relu6(x: Any) -> Tensor:
    """x clamped to [0, 6]. Shape and dtype of x. Torch7 nn.ReLU6. Raises TypeError for bool."""
    t = as_tensor("relu6", x)
    if t.dtype is dt.bool_:
        raise TypeError("relu6: expected numbers, got bool")
    return derive(_clip(read(t), 0, 6), t)


def gelu(x: Any, approximate: str = "none") -> Tensor:
    """x * P(normal < x), by erf or approximate="tanh". Floating, shape of x."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: expected approximate 'none' or 'tanh', got {approximate!r}")
    t, n = floating("gelu", x)
    return derive(_gelu(n) if approximate == "none" else _gelu_tanh(n), t)


def logit(x: Any, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), of x clamped to [eps, 1 - eps] if given. SciPy logit."""
    t, n = floating("logit", x)
    return derive(_logit(n if eps is None else _clip(n, eps, 1 - eps)), t)


def square(x: Any, *, out: Tensor | None = None) -> Tensor:
    """x * x. Shape and dtype of x. NumPy square."""
    t = as_tensor("square", x)
    n = read(t)
    made = derive(N.elementwise("and" if n.dtype is dt.bool_ else "mul", n, n), t)
    return into("square", made, out)


def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where positive, else alpha (exp(x / alpha) - 1). Floating, shape of x. PyTorch celu; Barron
    2017. Raises ValueError for alpha 0."""
    if alpha == 0:
        raise ValueError("celu: expected alpha other than 0, got 0")
    t, n = floating("celu", x)
    below = op("mul", op("expm1", op("div", op("where", op("le", n, 0), n, 0), alpha)), alpha)
    return derive(op("where", op("le", n, 0), below, n), t)


def prelu(x: Any, slope: Any) -> Tensor:
    """x where positive, else slope * x; slope broadcasts to x (PyTorch's, one a channel, stands at
    axis 1: shape it (c, 1, 1)). Torch7 nn.PReLU; He et al. 2015."""
    t, s = as_tensors("prelu", x, slope)
    return where(gt(t, 0), t, t * s)


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where positive, else alpha * (exp(x) - 1). Torch7 nn.ELU."""
    t, n = floating("elu", x)
    low = op("mul", op("expm1", op("where", op("lt", 0, n), 0, n)),
             number("elu", alpha, n.dtype, n.shape))
    return derive(op("where", op("lt", 0, n), n, low), t)


def selu(x: Any) -> Tensor:
    """1.0507 * elu(x, 1.67326): keeps mean 0 and variance 1."""
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    t, n = floating("selu", x)
    low = op("mul", op("expm1", op("where", op("lt", 0, n), 0, n)), alpha)
    return derive(op("mul", op("where", op("lt", 0, n), n, low), scale), t)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """x where positive, else negative_slope * x. Torch7 nn.LeakyReLU."""
    t, n = floating("leaky_relu", x)
    slope = number("leaky_relu", negative_slope, n.dtype, n.shape)
    return derive(op("where", op("lt", 0, n), n, op("mul", n, slope)), t)


def softshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, 0 in between. Torch7 nn.SoftShrink."""
    t, n = floating("softshrink", x)
    edge = number("softshrink", lambd, n.dtype, n.shape)
    low = op("where", op("lt", n, op("neg", edge)), op("add", n, edge), 0)
    return derive(op("where", op("lt", edge, n), op("sub", n, edge), low), t)


def hardshrink(x: Any, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0. Torch7 nn.HardShrink."""
    t, n = floating("hardshrink", x)
    edge = number("hardshrink", lambd, n.dtype, n.shape)
    return derive(op("where", op("le", op("abs", n), edge), 0, n), t)


def hard_tanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x clamped to [min_val, max_val]. Torch7 nn.HardTanh."""
    return clamp(floating_tensor("hard_tanh", x), min_val, max_val)


def threshold(x: Any, threshold: float, value: float) -> Tensor:
    """x where x > threshold, else value. Torch7 nn.Threshold."""
    t = as_tensor("threshold", x)
    n = read(t)
    edge, low = (number("threshold", v, n.dtype, n.shape) for v in (threshold, value))
    return derive(op("where", op("le", n, edge), low, n), t)


def floating_tensor(name: str, x: Any) -> Tensor:
    """x as a tensor of a floating dtype."""
    t, n = floating(name, x)
    return t if n.dtype is t.dtype else derive(n, t)


def clamp(x: Any, min: Any = None, max: Any = None, *, out: Tensor | None = None) -> Tensor:
    """x limited to [min, max]; either may be missing, a number or a tensor. NaN stays.

    Dtypes promote, operands broadcast. NumPy clip, Torch7 clamp. Raises ValueError without limits.
    """
    if min is None and max is None:
        raise ValueError("clamp: expected min or max, got neither")
    given = tuple(v for v in (x, min, max) if v is not None)
    ops = Operands("clamp", given)
    real_only("clamp", ops.dtype)
    rest = list(ops.nodes)
    n = rest.pop(0)
    if min is not None:
        low = rest.pop(0)
        n = op("where", op("lt", n, low), low, n)
    if max is not None:
        high = rest.pop(0)
        n = op("where", op("lt", high, n), high, n)
    return into("clamp", ops.make(n), out)


def clamp_min(x: Any, min: Any) -> Tensor:
    """`clamp` from below. PyTorch clamp_min."""
    return clamp(x, min)


def clamp_max(x: Any, max: Any) -> Tensor:
    """`clamp` from above. PyTorch clamp_max."""
    return clamp(x, None, max)


def lerp(x: Any, end: Any, weight: Any, *, out: Tensor | None = None) -> Tensor:
    """x + weight * (end - x). Operands broadcast; floating. Torch7 lerp."""
    ops = float_operands("lerp", (x, end, weight))
    a, b, w = ops.nodes
    return into("lerp", ops.make(op("add", a, op("mul", w, op("sub", b, a)))), out)


def addcmul(x: Any, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Tensor | None = None
            ) -> Tensor:
    """x + value * tensor1 * tensor2. Dtypes promote, operands broadcast. Torch7 addcmul."""
    ops = Operands("addcmul", (x, tensor1, tensor2))
    n, a, b = ops.nodes
    product = op("mul", a, b)
    if value != 1:
        product = op("mul", product, number("addcmul", value, ops.dtype, ops.shape))
    return into("addcmul", ops.make(op("add", n, product)), out)


def addcdiv(x: Any, tensor1: Any, tensor2: Any, *, value: Any = 1, out: Tensor | None = None
            ) -> Tensor:
    """x + value * tensor1 / tensor2. Floating; operands broadcast. Torch7 addcdiv."""
    ops = float_operands("addcdiv", (x, tensor1, tensor2))
    n, a, b = ops.nodes
    if value != 1:
        a = op("mul", a, number("addcdiv", value, ops.dtype, ops.shape))
    return into("addcdiv", ops.make(op("add", n, op("div", a, b))), out)


def xlogy(x: Any, other: Any) -> Tensor:
    """x * log(other), 0 where x is 0 (unless other is NaN). SciPy xlogy."""
    ops = float_operands("xlogy", (x, other))
    a, b = ops.nodes
    zero = op("eq", a, 0)
    zero = N.elementwise("and", zero, N.elementwise("not", op("isnan", b)))
    return ops.make(op("where", zero, 0, op("mul", a, op("log", op("where", zero, 1, b)))))


def heaviside(x: Any, values: Any) -> Tensor:
    """0 below 0, 1 above, `values` at 0; NaN stays. NumPy heaviside."""
    ops = Operands("heaviside", (x, values))
    n, at = ops.nodes
    step = op("where", op("lt", n, 0), 0, op("where", op("eq", n, 0), at, 1))
    return ops.make(op("where", op("isnan", n), n, step) if ops.dtype.is_float else step)


def nextafter(x: Any, other: Any) -> Tensor:
    """The number next to x in the direction of other. Operands broadcast; float32 and float64,
    other dtypes raise TypeError. NumPy nextafter."""
    ops = float_operands("nextafter", (x, other))
    a, b = ops.nodes
    if ops.dtype.itemsize not in (4, 8):
        raise TypeError(f"nextafter: expected float32 or float64, got {ops.dtype.name}")
    kind = dt.int32 if ops.dtype.itemsize == 4 else dt.int64
    one = N.elementwise("copysign", N.elementwise("bitcast", constant(kind, 1, ops.shape),
                                                  dtype=ops.dtype), b)
    bits = N.elementwise("bitcast", a, dtype=kind)
    up = N.elementwise("eq", op("lt", a, b), op("lt", a, 0))  # towards 0: one bit less
    step = N.elementwise("where", up, constant(kind, -1, ops.shape), constant(kind, 1, ops.shape))
    moved = N.elementwise("bitcast", N.elementwise("add", bits, step), dtype=ops.dtype)
    found = op("where", op("eq", a, 0), one, moved)
    found = op("where", op("eq", a, b), b, found)
    return ops.make(op("where", N.elementwise("or", op("isnan", a), op("isnan", b)), math.nan,
                       found))


def isfinite(x: Any) -> Tensor:
    """Is x neither infinite nor NaN? bool. NumPy isfinite."""
    t = as_tensor("isfinite", x)
    n = read(t)
    if not n.dtype.is_inexact:
        return derive(constant(dt.bool_, True, n.shape), t)
    if n.dtype.is_complex:
        bad = N.elementwise("or", op("isnan", n), op("isinf", n))
        return derive(N.elementwise("not", bad), t)
    return derive(op("lt", op("abs", n), math.inf), t)


def isposinf(x: Any) -> Tensor:
    """Is x plus infinity? bool. NumPy isposinf."""
    t, n = floating("isposinf", x)
    return derive(op("eq", n, math.inf), t)


def isneginf(x: Any) -> Tensor:
    """Is x minus infinity? bool. NumPy isneginf."""
    t, n = floating("isneginf", x)
    return derive(op("eq", n, -math.inf), t)


def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None,
               neginf: float | None = None) -> Tensor:
    """x with NaN and infinities replaced, infinities by the largest numbers. NumPy nan_to_num."""
    t = as_tensor("nan_to_num", x)
    n = read(t)
    if not n.dtype.is_float:
        return derive(n, t)
    top = _LARGEST[n.dtype.name]
    high, low = top if posinf is None else posinf, -top if neginf is None else neginf
    n = op("where", op("isnan", n), nan, n)
    n = op("where", op("eq", n, math.inf), high, n)
    return derive(op("where", op("eq", n, -math.inf), low, n), t)


_LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38,
            "float32": 3.4028234663852886e38, "float64": 1.7976931348623157e308}


def isclose(x: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
            ) -> Tensor:
    """|x - other| <= atol + rtol * |other|, infinities only equal themselves. NumPy isclose."""
    ops = inexact_operands("isclose", (x, other))
    a, b = ops.nodes
    size = "modulus" if ops.dtype.is_complex else "abs"
    limit = op("add", op("mul", op(size, b), rtol), atol)
    near = op("le", op(size, op("sub", a, b)), limit)
    finite = op("lt", op(size, b), math.inf)
    close = N.elementwise("or", N.elementwise("and", near, finite), op("eq", a, b))
    if equal_nan:
        both = N.elementwise("and", op("isnan", a), op("isnan", b))
        close = N.elementwise("or", close, both)
    return ops.make(close)


def allclose(x: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8,
             equal_nan: bool = False) -> bool:
    """Are all elements `isclose`? A Python bool: forces. NumPy allclose."""
    return bool(all_(isclose(x, other, rtol, atol, equal_nan)))


def array_equal(x: Any, other: Any) -> bool:
    """Same shape and equal elements? A Python bool: forces. NumPy array_equal."""
    a, b = as_tensor("array_equal", x), as_tensor("array_equal", other)
    return a.shape == b.shape and bool(all_(eq(a, b)))


def equal(x: Any, other: Any) -> bool:
    """Same shape and equal elements? A Python bool: forces. Torch7 equal."""
    return array_equal(x, other)
