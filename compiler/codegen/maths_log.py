"""log and its kin: log, log2, log10, log1p, pow, asinh, acosh, atanh.

All reduce x = 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2). Near x = 1 (k = 0) f is exact and
the result is f plus a small tail, so nothing cancels.
"""

from __future__ import annotations

import math

from flambeau.compiler.codegen import maths_tables as tables
from flambeau.compiler.codegen.maths_exp import ln2, reduce_twice
from flambeau.compiler.codegen.maths_lanes import (
    Lanes,
    at_least,
    at_most,
    fast_two_sum,
    fma,
    horner,
    scale,
    two_product,
    two_sum,
    where,
)

SQRT_HALF = {"float": 0x3F3504F3, "double": 0x3FE6A09E667F3BCD}


def split(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """k as an integer and as a float, and f, for 0 < x < inf, denormals too.

    Subtracting the pattern of sqrt(1/2) makes the exponent field k and the rest the fraction.
    """
    form = x.format
    root = SQRT_HALF[form.scalar]
    tiny = x < form.smallest
    bits = where(tiny, x * 2.0 ** form.digits, x).bits - root
    k = (bits >> form.digits) - where(tiny, bits.constant(form.digits), 0)
    f = ((bits & form.fraction) + root).floats - 1.0
    magic = form.magic  # its low bits count up with the integer added to them
    number = (k + magic_bits(x)).floats - magic
    return k, number, f


def magic_bits(x: Lanes) -> int:
    form = x.format
    return ((form.bias + form.digits) << form.digits) | 1 << (form.digits - 1)


def tail(f: Lanes) -> Lanes:
    """log(1 + f) - f."""
    if f.format.width == 32:
        return (f * f) * fma(f, horner(f, tables.LOG), -0.5)
    q = f / (2.0 + f)  # log(1 + f) = 2 atanh(q) and 2q = f - qf: half the terms for one division
    square = q * q
    return q * fma(square, horner(square, tables.LOG_Q), -f)


def logarithm(k: Lanes, f: Lanes) -> Lanes:
    """k log 2 + log(1 + f)."""
    high, low = ln2(f)
    return fma(k, high, f + fma(k, low, tail(f)))


def edges(x: Lanes, y: Lanes, pole: float = 0.0) -> Lanes:
    """y, made -inf at the pole, NaN below it, and x at inf and NaN."""
    y = where(x < math.inf, y, x)
    return where(x < pole, math.nan, where(x.equals(pole), -math.inf, y))


def log(x: Lanes) -> Lanes:
    _, k, f = split(x)
    return edges(x, logarithm(k, f))


def words(x: Lanes, number: float, rest: float) -> tuple[float, float]:
    """A constant as the nearest number of the format and what is left, given in double-double."""
    if x.format.width == 64:
        return number, rest
    near = tables.nearest_float(number)
    return near, number - near


def log_to_base(x: Lanes, step: tuple[float, float], factor: tuple[float, float]) -> Lanes:
    """k step + log(1 + f) factor; the factor's second word keeps f's product correct."""
    _, k, f = split(x)
    part = fma(k, step[1], tail(f) * factor[0])
    return edges(x, fma(k, step[0], fma(f, factor[0], fma(f, factor[1], part))))


def log2(x: Lanes) -> Lanes:
    return log_to_base(x, (1.0, 0.0), words(x, *tables.LOG2_E))


def log10(x: Lanes) -> Lanes:
    return log_to_base(x, words(x, *tables.LOG10_2), words(x, *tables.LOG10_E))


def log_of_sum(u: Lanes, c: Lanes, shift: Lanes | float = 0.0) -> Lanes:
    """log(u + c) + shift log 2, for a c far below u: c joins f, where its digits still count.

    2^-k is made as half of 2^(1-k), which is 0 and not a NaN at the largest k.
    """
    form = u.format
    k, number, f = split(u)
    inverse = ((form.one + (1 << form.digits)) - (k << form.digits)).floats * 0.5
    return logarithm(number + shift, fma(inverse, c, f))


def log1p(x: Lanes) -> Lanes:
    u, c = two_sum(x.constant(1.0), x)
    return edges(x, log_of_sum(u, c), pole=-1.0).with_sign(x)


# -- inverse hyperbolic functions ------------------------------------------------------------------
def root_of(v: Lanes, error: Lanes) -> tuple[Lanes, Lanes]:
    """sqrt(v + error) and its rest, by one Newton step on the residual."""
    w = v.sqrt()
    return w, (fma(-w, w, v) + error) / where(w > 0.0, w + w, 1.0)


def log_of_pair(x: Lanes, one: float) -> Lanes:
    """log(x + sqrt(x^2 + one)); from 2^28 on that is log(2x), the 2 going to the exponent."""
    square, error = two_product(x, x)
    v, rest = two_sum(square, x.constant(one))
    v, error = fast_two_sum(v, rest + error)
    w, below = root_of(v, error)
    u, rest = two_sum(x, w)
    big = x > 2.0 ** 28
    shift = where(big, x.constant(1.0), 0.0)
    return log_of_sum(where(big, x, u), where(big, 0.0, rest + below), shift)


def asinh(x: Lanes) -> Lanes:
    a = abs(x)
    square = a * a
    small = fma(a * square, horner(square, tables.ASINH), a)
    y = where(a < 0.5, small, log_of_pair(a, 1.0))
    return where(a < math.inf, y, a).with_sign(x)


def acosh(x: Lanes) -> Lanes:
    y = where(x < math.inf, log_of_pair(x, -1.0), x)
    return where(x < 1.0, math.nan, y)


def atanh(x: Lanes) -> Lanes:
    """log((1+a)/(1-a)) / 2 with the quotient's and the numerator's errors; 1-a is exact."""
    a = abs(x)
    square = a * a
    small = fma(a * square, horner(square, tables.ATANH), a)
    top, rest = fast_two_sum(a.constant(1.0), a)
    bottom = 1.0 - a
    u = top / bottom
    large = log_of_sum(u, (fma(-u, bottom, top) + rest) / bottom) * 0.5
    y = where(a < 0.5, small, where(a < 1.0, large, math.inf))
    return where(a <= 1.0, y, math.nan).with_sign(x)


# -- pow -------------------------------------------------------------------------------------------
def log_extended(x: Lanes) -> tuple[Lanes, Lanes]:
    """log x as a sum of two numbers, for 0 < x < inf: half again the digits of one.

    With q = f / (2 + f), log(1 + f) = 2q + q^3 (2/3 + q^2 P(q^2)); all but P is in two words.
    """
    _, k, f = split(x)
    high, low = ln2(x)
    d, d_low = fast_two_sum(x.constant(2.0), f)
    r = 1.0 / d
    q = f * r
    q_low = r * (fma(-q, d, f) - q * d_low)
    z, z_low = two_product(q, q)
    z_low = fma(q + q, q_low, z_low)
    cube, cube_low = two_product(q, z)
    cube_low = cube_low + fma(q, z_low, q_low * z)
    third, third_low = words(x, *tables.TWO_THIRDS)
    p, p_low = fast_two_sum(x.constant(third), z * horner(z, tables.LOG_EXT))
    p_low = p_low + third_low
    w, w_low = two_product(cube, p)
    w_low = w_low + fma(cube, p_low, cube_low * p)
    step = k * high
    step_low = fma(k, low, fma(k, high, -step))
    s, s_low = fast_two_sum(step, q + q)
    t, t_low = fast_two_sum(s, w)
    rest = t_low + (s_low + (step_low + (w_low + (q_low + q_low))))
    return fast_two_sum(t, rest)


def exp_extended(high: Lanes, low: Lanes) -> Lanes:
    """e^(high + low), for any high, hardly worse than correctly rounded: 3^2 is to be 9.

    1 + r is summed exactly; its error, r's own and the low word join the small terms.
    """
    limit = high.pick(115.0, 800.0)
    low = where(abs(high) < limit, low, 0.0)
    field, r, rest = reduce_twice(at_least(at_most(high, limit), -limit))
    total, error = fast_two_sum(r.constant(1.0), r)
    curve = (r * r) * horner(r, tables.EXP)
    return scale(total + fma(low + rest, total + curve, error + curve), field)


def pow(x: Lanes, y: Lanes) -> Lanes:
    """|x|^y as e^(y log|x|), then C99's rules: infinities come of log 0 = -inf by themselves."""
    a = abs(x)
    high, low = log_extended(a)
    high = where(a < math.inf, where(a.equals(0.0), -math.inf, high), a)
    product = y * high
    power = exp_extended(product, fma(y, low, fma(y, high, -product)))
    power = where(a.equals(1.0) & abs(y).equals(math.inf), 1.0, power)
    half = y * 0.5
    whole = y.rint().equals(y)
    odd = whole & ~half.rint().equals(half)
    signed = (power.bits ^ (x.bits & x.format.sign)).floats
    power = where(odd, signed, power)
    power = where((x < 0.0) & (a < math.inf) & ~whole, math.nan, power)
    return where(y.equals(0.0) | x.equals(1.0), 1.0, power)


TABLE = {f.__name__: f for f in (log, log2, log10, log1p, asinh, acosh, atanh, pow)}
