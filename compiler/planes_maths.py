"""Complex arithmetic and functions as formulas over real planes.

Branch cuts and special values are C99's (Annex G), which NumPy and the Array API standard follow:
the sign of a zero says on which side of a cut a number lies. Inverse functions are Kahan's ("Branch
cuts for complex elementary functions", 1987), square roots and moduli are scaled so that nothing
overflows on the way, quotients are Smith's. Products are the plain four: like NumPy's they give NaN
where infinities meet.

Errors are relative to the modulus of the result: a few units in the last place, and for a power
also |w log z| roundings of the exponent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.node import Node, elementwise

Pair = tuple[Node, Node]


class Real:
    """A real plane with operators, so that formulas read as they are written in books."""

    __slots__ = ("n",)

    def __init__(self, n: Node) -> None:
        self.n = n

    def __add__(self, other: Any) -> Real:
        return self.op("add", other)

    def __sub__(self, other: Any) -> Real:
        return self.op("sub", other)

    def __rsub__(self, other: float) -> Real:
        return self.like(other) - self

    def __mul__(self, other: Any) -> Real:
        return self.op("mul", other)

    def __truediv__(self, other: Any) -> Real:
        return self.op("div", other)

    def __neg__(self) -> Real:
        return self.f("neg")

    def __lt__(self, other: Any) -> Real:
        return self.op("lt", other)

    def __and__(self, other: Real) -> Real:
        return self.op("and", other)

    def __or__(self, other: Real) -> Real:
        return self.op("or", other)

    def __invert__(self) -> Real:
        return self.f("not")

    def is_(self, other: Any) -> Real:
        return self.op("eq", other)

    def like(self, value: float) -> Real:
        return Real(N.const(self.n.dtype, value, self.n.shape))

    def f(self, op: str) -> Real:
        """A function of one operand."""
        return Real(elementwise(op, self.n))

    def op(self, op: str, other: Any) -> Real:
        """A function of two operands."""
        value = other if isinstance(other, Real) else self.like(other)
        return Real(elementwise(op, self.n, value.n))

    def pick(self, yes: Any, no: Any) -> Real:
        """yes where this holds, else no; one of them is no plain number."""
        some = yes if isinstance(yes, Real) else no
        yes, no = (v if isinstance(v, Real) else some.like(v) for v in (yes, no))
        return Real(elementwise("where", self.n, yes.n, no.n))

    @property
    def size(self) -> Real:
        return self.f("abs")

    def signed(self, other: Real) -> Real:
        """This magnitude with other's sign."""
        return self.op("copysign", other)


Formula = Callable[[Real, Real], tuple[Real, Real]]


def _nodes(f: Formula) -> Callable[[Node, Node], Pair]:
    def rule(re: Node, im: Node) -> Pair:
        a, b = f(Real(re), Real(im))
        return a.n, b.n
    return rule


def _wide(x: Real) -> bool:
    return x.n.dtype is dt.float64


# -- arithmetic ------------------------------------------------------------------------------------


def multiply(z: Pair, w: Pair) -> Pair:
    """(a + ib) (c + id)."""
    (a, b), (c, d) = ((Real(p), Real(q)) for p, q in (z, w))
    return (a * c - b * d).n, (a * d + b * c).n


def divide(z: Pair, w: Pair) -> Pair:
    """(a + ib) / (c + id), dividing by the larger part first (Smith 1962)."""
    (a, b), (c, d) = ((Real(p), Real(q)) for p, q in (z, w))
    first = ~(c.size < d.size)
    big, small = first.pick(c, d), first.pick(d, c)
    ratio = big.is_(0).pick(0.0, small / big)
    bottom = big + small * ratio
    re = (first.pick(a, b) + first.pick(b, a) * ratio) / bottom
    im = first.pick(b - a * ratio, b * ratio - a) / bottom
    return re.n, im.n


def power(z: Pair, w: Pair) -> Pair:
    """z ** w: by multiplication for small whole constants, else exp(w log z); z ** 0 is 1."""
    exponents = [N.const_value(p) for p in w]
    if exponents[1] == 0 and exponents[0] in (-1, 0, 0.5, 1, 2, 3, 4):
        return _small_power(z, exponents[0])
    re, im = FORMULAS["exp"](*multiply(w, FORMULAS["log"](*z)))
    (a, b), (c, d) = ((Real(p), Real(q)) for p, q in (z, w))
    none = c.is_(0) & d.is_(0)
    zero = a.is_(0) & b.is_(0)
    vanish = zero & (c.like(0) < c) & d.is_(0)
    re, im = (vanish.pick(0.0, Real(p)).n for p in (re, im))
    bad = zero & ~none & ~vanish
    re, im = (bad.pick(math.nan, Real(p)).n for p in (re, im))
    return none.pick(1.0, Real(re)).n, none.pick(0.0, Real(im)).n


def _small_power(z: Pair, exponent: float) -> Pair:
    one = (N.const(z[0].dtype, 1, z[0].shape), N.const(z[0].dtype, 0, z[0].shape))
    if exponent == 0.5:
        return FORMULAS["sqrt"](*z)
    if exponent <= 0:
        return one if exponent == 0 else divide(one, z)
    square = multiply(z, z)
    if exponent <= 2:
        return z if exponent == 1 else square
    return multiply(square, z if exponent == 3 else square)


# -- square root, exponential, logarithm -----------------------------------------------------------


def _sqrt(x: Real, y: Real) -> tuple[Real, Real]:
    """t = sqrt((|x| + |z|) / 2) is the larger part; the other is y / 2t. Scaled by powers of 4."""
    high, low, up = (1e300, 1e-290, 2.0**600) if _wide(x) else (1e37, 1e-30, 2.0**80)
    most = x.size.op("maximum", y.size)
    huge, tiny = most.like(high) < most, most < low
    scale = huge.pick(0.0625, tiny.pick(up, x.like(1.0)))
    back = huge.pick(4.0, tiny.pick(up ** -0.5, x.like(1.0)))
    a, b = x * scale, y * scale
    t = ((a.size + a.op("hypot", b)) * 0.5).f("sqrt")
    other = t.is_(0).pick(0.0, b.size / (t * 2.0))
    left = Real(x.f("signbit").n)
    re, im = left.pick(other, t) * back, left.pick(t, other) * back
    endless = y.f("isinf")
    flat = x.f("isinf") & ~endless
    nan = y.f("isnan")
    re = flat.pick(left.pick(nan.pick(math.nan, x.like(0.0)), x.size), re)
    im = flat.pick(left.pick(x.size, nan.pick(math.nan, x.like(0.0))), im)
    return endless.pick(math.inf, re), endless.pick(math.inf, im).signed(y)


def _exp_parts(x: Real) -> tuple[Real, Real]:
    """exp(x) as a product of two factors, of which none overflows before the product must."""
    limit, shift = (700.0, 80.0) if _wide(x) else (80.0, 30.0)
    large = x.like(limit) < x
    return (x - large.pick(shift, x.like(0.0))).f("exp"), large.pick(math.exp(shift), x.like(1.0))


def _exp(x: Real, y: Real) -> tuple[Real, Real]:
    size, more = _exp_parts(x)
    re, im = (size * y.f("cos")) * more, (size * y.f("sin")) * more
    endless = y.f("isinf") | y.f("isnan")
    none, full = x.is_(-math.inf), x.is_(math.inf)
    re = endless.pick(none.pick(0.0, full.pick(math.inf, re)), re)
    im = (endless & none).pick(x.like(0.0).signed(y), im)
    return re, y.is_(0).pick(y, im)


def _expm1(x: Real, y: Real) -> tuple[Real, Real]:
    """expm1(x) cos y - 2 sin(y/2)^2 + i exp(x) sin y; +0 where both parts are zeros, as the Array
    API standard has it."""
    re, im = _exp(x, y)
    half = (y * 0.5).f("sin")
    near = x.f("expm1") * y.f("cos") - half * half * 2.0
    near = (x.is_(0) & y.is_(0)).pick(0.0, near)
    return (x.size < 1.0).pick(near, re - 1.0), im


def _log_modulus(x: Real, y: Real) -> Real:
    """log |z|: near 1 by log1p of |z|^2 - 1, far away of a scaled number."""
    big, small = x.size.op("maximum", y.size), x.size.op("minimum", y.size)
    limit, up = (1e300, 2.0**100) if _wide(x) else (1e37, 2.0**60)
    huge, tiny = big.like(limit) < big, big < 1 / limit
    scale = huge.pick(0.5, tiny.pick(up, x.like(1.0)))
    shift = huge.pick(math.log(2), tiny.pick(-math.log(up), x.like(0.0)))
    far = (x * scale).op("hypot", y * scale).f("log") + shift
    near = (big.like(0.5) < big) & (big < 1.5)
    excess = (big - 1.0) * (big + 1.0) + small * small
    return near.pick(excess.f("log1p") * 0.5, far)


def _log(x: Real, y: Real) -> tuple[Real, Real]:
    return _log_modulus(x, y), y.op("atan2", x)


def _log_to(base: float) -> Formula:
    def formula(x: Real, y: Real) -> tuple[Real, Real]:
        re, im = _log(x, y)
        return re * (1 / math.log(base)), im * (1 / math.log(base))
    return formula


def _log1p(x: Real, y: Real) -> tuple[Real, Real]:
    """Near 0, |1 + z|^2 - 1 = x (2 + x) + y^2."""
    near = (x.size < 0.5) & (y.size < 0.5)
    re, im = _log(x + 1.0, y)
    return near.pick((x * (x + 2.0) + y * y).f("log1p") * 0.5, re), im


# -- hyperbolic functions, and the circular ones by rotation ---------------------------------------


def _waves(x: Real) -> tuple[Real, Real, Real]:
    """sinh x and cosh x without a factor, and that factor."""
    size, more = _exp_parts(x.size)
    large = x.like(1.0) < more
    half = size * 0.5
    return large.pick(half.signed(x), x.f("sinh")), large.pick(half, x.f("cosh")), more


def _sinh(x: Real, y: Real) -> tuple[Real, Real]:
    s, c, more = _waves(x)
    re, im = (s * y.f("cos")) * more, (c * y.f("sin")) * more
    lost = y.f("isinf") | y.f("isnan")
    re = (lost & x.f("isinf")).pick(x, re)
    return (lost & x.is_(0)).pick(x, re), y.is_(0).pick(y, im)


def _cosh(x: Real, y: Real) -> tuple[Real, Real]:
    s, c, more = _waves(x)
    re, im = (c * y.f("cos")) * more, (s * y.f("sin")) * more
    lost = y.f("isinf") | y.f("isnan")
    re = (lost & x.f("isinf")).pick(math.inf, re)
    flat = y.is_(0) | (lost & x.is_(0))
    zero = y.like(0.0).signed(y).op("mul", y.like(1.0).signed(x))
    return re, flat.pick(zero, im)


def _tanh(x: Real, y: Real) -> tuple[Real, Real]:
    """Kahan's: with t = tan y, s = sinh x, (s cosh x (1 + t^2) + i t) / (1 + s^2 (1 + t^2)).

    At infinite x the zero has y's sign, as the Array API standard has it (C99: that of sin 2y).
    """
    limit = 22.0 if _wide(x) else 12.0
    t, s = y.f("tan"), x.f("sinh")
    beta = t * t + 1.0
    bottom = beta * s * s + 1.0
    re, im = beta * (s * s + 1.0).f("sqrt") * s / bottom, t / bottom
    far = x.like(limit) < x.size
    small = (x.size * -2.0).f("exp") * (y.f("sin") * y.f("cos")) * 4.0
    lost = y.f("isinf") | y.f("isnan")
    small = x.f("isinf").pick(x.like(0.0).signed(y), small)
    re, im = far.pick(x.like(1.0).signed(x), re), far.pick(small, im)
    re = (lost & ~x.f("isinf")).pick(x.is_(0).pick(x, x.like(math.nan)), re)
    return re, y.is_(0).pick(y, im)


def _rotated(f: Formula) -> Formula:
    """-i f(iz): sin from sinh, tan from tanh, and their inverses the other way round."""
    def formula(x: Real, y: Real) -> tuple[Real, Real]:
        re, im = f(-y, x)
        return im, -re
    return formula


def _cos(x: Real, y: Real) -> tuple[Real, Real]:
    return _cosh(-y, x)


# -- their inverses --------------------------------------------------------------------------------


def _roots(x: Real, y: Real) -> tuple[tuple[Real, Real], tuple[Real, Real]]:
    """sqrt(1 - z) and sqrt(1 + z); the sign of y's zero is kept in both."""
    return _sqrt(1.0 - x, -y), _sqrt(x + 1.0, y)


def _endless(x: Real, y: Real) -> Real:
    return x.f("isinf") | y.f("isinf")


def _acos(x: Real, y: Real) -> tuple[Real, Real]:
    (a, b), (c, d) = _roots(x, y)
    re = a.op("atan2", c) * 2.0
    im = (c * b - d * a).f("asinh")
    endless = _endless(x, y)
    re = endless.pick(y.size.op("atan2", x), re)
    re = (x.is_(0) & y.f("isnan")).pick(math.pi / 2, re)
    return re, endless.pick(-(y.like(math.inf).signed(y)), im)


def _asin(x: Real, y: Real) -> tuple[Real, Real]:
    (a, b), (c, d) = _roots(x, y)
    re = x.op("atan2", a * c - b * d)
    im = (a * d - b * c).f("asinh")
    endless = _endless(x, y)
    re = endless.pick(x.op("atan2", y.size), re)
    re = (x.is_(0) & y.f("isnan")).pick(x, re)
    return re, endless.pick(y.like(math.inf).signed(y), im)


def _acosh(x: Real, y: Real) -> tuple[Real, Real]:
    (a, b), (c, d) = _sqrt(x - 1.0, y), _sqrt(x + 1.0, y)
    re = (a * c + b * d).f("asinh")
    im = b.op("atan2", c) * 2.0
    endless = _endless(x, y)
    im = (x.is_(0) & y.f("isnan")).pick(math.pi / 2, im)
    return endless.pick(math.inf, re), endless.pick(y.op("atan2", x), im)


def _atanh(x: Real, y: Real) -> tuple[Real, Real]:
    """Re = log1p(4x / ((1-x)^2 + y^2)) / 4, Im = atan2(2y, (1-x)(1+x) - y^2) / 2; 1/z far away."""
    limit = 1e100 if _wide(x) else 1e15
    a = x.size
    far = (a.like(limit) < a) | (y.like(limit) < y.size)
    b = far.pick(1.0, y)
    gap = 1.0 - far.pick(2.0, a)
    re = (far.pick(2.0, a) * 4.0 / (gap * gap + b * b)).f("log1p") * 0.25
    thin = a.is_(1.0) & (b.size < 1 / limit)
    re = thin.pick((math.log(2) - b.size.f("log")) * 0.5, re)
    im = (b * 2.0).op("atan2", gap * (far.pick(2.0, a) + 1.0) - b * b) * 0.5
    most = a.op("maximum", y.size)
    small = (a / most) / (most * ((a / most) * (a / most) + (y / most) * (y / most)))
    endless = _endless(x, y)
    re = far.pick(endless.pick(0.0, small), re)
    im = far.pick(y.like(math.pi / 2), im)
    im = (x.f("isnan") & y.f("isinf")).pick(math.pi / 2, im)
    im = (y.f("isnan") | (x.f("isnan") & ~y.f("isinf"))).pick(math.nan, im)
    re = (x.is_(0) & y.f("isnan")).pick(0.0, re)
    return re.size.signed(x), im.size.signed(y)


FORMULAS: dict[str, Callable[[Node, Node], Pair]] = {name: _nodes(f) for name, f in {
    "sqrt": _sqrt, "exp": _exp, "expm1": _expm1, "log": _log, "log1p": _log1p,
    "log2": _log_to(2), "log10": _log_to(10),
    "sinh": _sinh, "cosh": _cosh, "tanh": _tanh,
    "sin": _rotated(_sinh), "cos": _cos, "tan": _rotated(_tanh),
    "asin": _asin, "acos": _acos, "asinh": _rotated(_asin), "acosh": _acosh,
    "atanh": _atanh, "atan": _rotated(_atanh),
}.items()}
