"""exp and its kin: exp, exp2, expm1, sigmoid, softplus, logaddexp, tanh, sinh, cosh.

All reduce x = n log 2 + r with |r| <= log(2)/2 and share one polynomial for (e^r - 1 - r) / r^2.
"""

from __future__ import annotations

from flambeau.compiler.codegen import maths_tables as tables
from flambeau.compiler.codegen.maths_lanes import (
    Lanes,
    at_least,
    at_most,
    fma,
    horner,
    mad,
    power_of_two,
    scale,
    two_sum,
    where,
)

LOG2_E = 1.4426950408889634
LN2 = {"float": (0.693147182464599609375, -1.904654299957767878e-09),
       "double": (0.693147180559945286227, 2.319046813846299558e-17)}


def ln2(x: Lanes) -> tuple[float, float]:
    """log 2 as the nearest number and the rest."""
    return LN2[x.format.scalar]


def reduce(x: Lanes) -> tuple[Lanes, Lanes]:
    """n << digits and r, for |x| small enough that n fits the fraction.

    The first product's rounding is undone by the fused subtraction, which is exact there.
    """
    form = x.format
    high, low = ln2(x)
    shifted = fma(x, LOG2_E, form.magic)
    n = shifted - form.magic
    return shifted.bits << form.digits, fma(n, -low, fma(n, -high, x))


def reduce_twice(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """The same with r in two words."""
    form = x.format
    high, low = ln2(x)
    shifted = fma(x, LOG2_E, form.magic)
    n = shifted - form.magic
    exact = fma(n, -high, x)
    r = fma(n, -low, exact)
    return shifted.bits << form.digits, r, fma(n, -low, exact - r)


def expm1_small(r: Lanes) -> Lanes:
    """e^r - 1 for |r| <= log(2)/2."""
    return mad(r * r, horner(r, tables.EXP), r)


def exp_small(r: Lanes) -> Lanes:
    """e^r for |r| <= log(2)/2."""
    return horner(r, (1.0, 1.0, *tables.EXP[r.format.scalar]))


def exp(x: Lanes) -> Lanes:
    x = at_least(at_most(x, x.pick(89.0, 710.0)), x.pick(-104.0, -746.0))
    field, r = reduce(x)
    return scale(exp_small(r), field)


def exp2(x: Lanes) -> Lanes:
    form = x.format
    x = at_least(at_most(x, x.pick(129.0, 1025.0)), x.pick(-151.0, -1076.0))
    shifted = x + form.magic
    r = x - (shifted - form.magic)
    return scale(mad(r, horner(r, tables.EXP2), 1.0), shifted.bits << form.digits)


def expm1(x: Lanes) -> Lanes:
    """2^n (e^r - 1) + (2^n - 1), all halved so that n = 128 or 1024 does not overflow early.

    Tiny arguments are their own result: halving would round a denormal.
    """
    clamped = at_least(at_most(x, x.pick(89.0, 710.0)), x.pick(-20.0, -40.0))
    field, r = reduce(clamped)
    half = power_of_two(field, -1)
    y = fma(half, expm1_small(r), half - 0.5)
    return where(abs(x) < x.pick(2.0 ** -30, 2.0 ** -60), x, y + y)


def exp_of_negative(a: Lanes, low: Lanes | None = None) -> Lanes:
    """e^-(a + low) for a >= 0: n <= 0, so one shifted power of two and a constant do for all."""
    field, r = reduce(-at_most(a, a.pick(104.0, 746.0)))
    shift = 64 if a.format.width == 32 else 600
    return exp_small(r if low is None else r - low) * power_of_two(field, shift) * 2.0 ** -shift


def sigmoid(x: Lanes) -> Lanes:
    """1 - p or e - e p (which is p, but rounds better) with p = e / (1 + e), e = e^-|x|."""
    e = exp_of_negative(abs(x))
    p = e / (1.0 + e)
    return where(x < 0.0, fma(-e, p, e), 1.0 - p)


def log1p_exp(a: Lanes, low: Lanes | None = None) -> Lanes:
    """log(1 + e^-(a + low)) for a >= 0."""
    e = exp_of_negative(a, low)
    return mad(-(e * e), horner(e, tables.LOG1P_UNIT), e)


def softplus(x: Lanes) -> Lanes:
    return where(x > 0.0, x, 0.0) + log1p_exp(abs(x))


def logaddexp(a: Lanes, b: Lanes) -> Lanes:
    """max + log(1 + e^-(max-min)), the difference in two words, infinities apart."""
    above = a > b
    high, low = where(above, a, b), where(above, b, a)
    difference, rest = two_sum(high, -low)
    difference = where(a.equals(b), 0.0, difference)
    rest = where(difference < 2000.0, rest, 0.0)
    return high + log1p_exp(difference, where(a.equals(b), 0.0, rest))


def tanh(x: Lanes) -> Lanes:
    """(1 - e) / (1 + e) with e = e^(-2|x|) = 2^n (1 + q), q = e^r - 1 kept apart.

    Neither sum cancels: 1 - 2^n is exact, and zero where q alone counts. One word of log 2 is
    enough, as its error n 2^-29 is scaled by 2^n.
    """
    form = x.format
    double = at_most(abs(x), x.pick(10.0, 20.0)) * -2.0
    shifted = fma(double, LOG2_E, form.magic)
    q = expm1_small(fma(shifted - form.magic, -ln2(x)[0], double))
    s = power_of_two(shifted.bits << form.digits)
    return (fma(-s, q, 1.0 - s) / fma(s, q, 1.0 + s)).with_sign(x)


def half_exp(a: Lanes) -> Lanes:
    """e^a / 2 for a >= 0, finite as long as cosh a is."""
    field, r = reduce(at_most(a, a.pick(91.0, 712.0)))
    return scale(exp_small(r), field - (1 << a.format.digits))


def sinh(x: Lanes) -> Lanes:
    a = abs(x)
    square = a * a
    small = mad(a * square, horner(square, tables.SINH), a)
    e = half_exp(a)
    return where(a < 1.0, small, e - 0.25 / e).with_sign(x)


def cosh(x: Lanes) -> Lanes:
    e = half_exp(abs(x))
    return e + 0.25 / e


TABLE = {f.__name__: f for f in (exp, exp2, expm1, sigmoid, softplus, logaddexp, tanh, sinh, cosh)}
