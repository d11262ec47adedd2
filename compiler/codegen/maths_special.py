"""erf, erfc, lgamma, digamma, and the algebraic cbrt, rsqrt, hypot, fmod."""

from __future__ import annotations

import math

from flambeau.compiler.codegen import maths_tables as tables
from flambeau.compiler.codegen.emit import Value
from flambeau.compiler.codegen.maths_exp import expm1_small, reduce
from flambeau.compiler.codegen.maths_lanes import (
    Lanes,
    at_most,
    fast_two_sum,
    fma,
    horner,
    mad,
    scale,
    two_product,
    two_sum,
    where,
)
from flambeau.compiler.codegen.maths_log import log, log_extended, words
from flambeau.compiler.codegen.maths_trig import cos_small, pi_half, sin_small


# -- the error function ----------------------------------------------------------------------------
def erfc_positive(a: Lanes) -> Lanes:
    """erfc a = e^(-a^2) g / (1 + 2a), g a polynomial in t = (a - K) / (a + K).

    Every factor is kept as 1 + small or as two words, so that only the last sum rounds.
    """
    a = at_most(a, a.pick(11.0, 28.0))
    centre = a.pick(*tables.ERFC_CENTRE)
    square, rest = two_product(a, a)
    field, r = reduce(-square)
    q = expm1_small(r - rest)
    t = (a - centre) / (a + centre)
    first, *others = tables.ERFC[a.format.scalar]
    slope = horner(t, others)
    g = fma(t, slope, first)
    g_low = fma(t, slope, first - g)
    d, d_low = two_sum(a + a, 1.0)
    inverse = 1.0 / d
    y = g * inverse
    y_low = (fma(-y, d, g) + (g_low - y * d_low)) * inverse
    return scale(y + fma(y, q, fma(y_low, q, y_low)), field)


def erf_small(a: Lanes) -> Lanes:
    """erf a for |a| <= 1."""
    return mad(a, horner(a * a, tables.ERF), a)


def erfc(x: Lanes) -> Lanes:
    """Near 0 as 1 - erf: the steep polynomial there would magnify the rounding of t."""
    a = abs(x)
    y = where(a < 0.4, 1.0 - erf_small(a), erfc_positive(a))
    return where(x < 0.0, 2.0 - y, y)


def erf(x: Lanes) -> Lanes:
    """An odd polynomial below 1; above it one on [1, 4] until erf rounds to 1, or 1 - erfc."""
    a = abs(x)
    small = erf_small(a)
    if x.format.width == 32:
        large = where(a > 3.9192059, 1.0, horner(a - 2.5, tables.ERF_TAIL))
    else:
        large = 1.0 - erfc_positive(a)
    return where(a < 1.0, small, large).with_sign(x)


# -- the gamma function ----------------------------------------------------------------------------
def stirling(a: Lanes, log_high: Lanes, log_low: Lanes) -> Lanes:
    """log gamma a = (a - 1/2) (log a - 1) + (log(2 pi) - 1)/2 + small(1/a), for a >= 8."""
    lead = log_high - 1.0
    lead_low = ((log_high - lead) - 1.0) + log_low
    inverse = 1.0 / a
    small = inverse * horner(inverse * inverse, tables.STIRLING) + tables.STIRLING_CONSTANT
    factor = a - 0.5
    return fma(factor, lead, fma(factor, lead_low, small))


def lgamma_positive(a: Lanes) -> tuple[Lanes, Lanes]:
    """log gamma a for a >= 0, and the same without its logarithm if a < 3/2.

    Below 8 the recurrence moves a to 2 + d, |d| <= 1/2; the product of the factors passed goes
    through the one extended logarithm that Stirling's series needs too: added if a came down,
    subtracted if it went up.
    """
    v, product = a, a.constant(1.0)
    for _ in range(6):
        above = v >= 2.5
        v = where(above, v - 1.0, v)
        product = where(above, product * v, product)
    lowest, low, high = a < 0.5, a < 1.5, a >= 8.0
    risen, risen_low = times_successor(a)
    product = where(lowest, risen, where(low | high, a, product))
    log_high, log_low = log_extended(product)
    log_low = where(lowest, log_low + risen_low / risen, log_low)
    d = where(lowest, a, where(low, a - 1.0, v - 2.0))
    first, first_low = words(a, *tables.ONE_LESS_EULER)
    near, near_low = fast_two_sum(a.constant(first), d * horner(d, tables.LGAMMA))
    core, core_low = two_product(d, near)
    core_low = fma(d, near_low + first_low, core_low)
    sign = where(low, a.constant(-1.0), 1.0)
    total, rest = two_sum(core, log_high * sign)
    y = total + (rest + fma(log_low, sign, core_low))
    y = where(high, stirling(a, log_high, log_low), y)
    y = where(a < math.inf, where(a.equals(0.0), math.inf, y), a)
    return y, where(low, core, y)


def times_successor(a: Lanes) -> tuple[Lanes, Lanes]:
    """a (a + 1) in two words, for 0 <= a <= 1."""
    successor, rest = fast_two_sum(a.constant(1.0), a)
    product, error = two_product(a, successor)
    return product, fma(a, rest, error)


def sin_pi(a: Lanes) -> Lanes:
    """|sin(pi a)|; the distance to the nearest integer is exact."""
    r = abs(a - a.rint())
    return where(r > 0.25, cos_small((0.5 - r) * math.pi), sin_small(r * math.pi))


def lgamma(x: Lanes) -> Lanes:
    """log |gamma x|; below 0 by gamma(-a) gamma(a) = -pi / (a sin(pi a)).

    For a < 3/2 the log a of that formula cancels with gamma's own, and both are left out; of
    gamma's factor a (a + 1) below 1/2 the second stays.
    """
    a = abs(x)
    y, without_log = lgamma_positive(a)
    sine = sin_pi(a)
    factor = where(a < 1.5, sine / where(a < 0.5, a + 1.0, 1.0), a * sine)
    mirrored = (math.log(math.pi) - log(factor)) - without_log
    mirrored = where(sine.equals(0.0), math.inf, mirrored)
    return where((x < 0.0) & (a < math.inf), mirrored, y)


def cot_pi(a: Lanes) -> Lanes:
    """pi / tan(pi a), with pi in two words and the angle's rounding made good."""
    pi_high, pi_low = (2.0 * word for word in pi_half(a))
    r = a - a.rint()
    size = abs(r)
    outer = size > 0.25
    size = where(outer, 0.5 - size, size)
    angle, rest = two_product(size, a.constant(pi_high))
    rest = fma(size, pi_low, rest)
    s, c = sin_small(angle), cos_small(angle)
    s, c = fma(rest, c, s), fma(-rest, s, c)
    top = where(outer, s, c)
    return (fma(top, pi_high, top * pi_low) / where(outer, c, s)).with_sign(r)


def digamma_positive(a: Lanes) -> tuple[Lanes, Lanes]:
    """digamma a for a >= 0, and its part without -1/a if a < 1 (else with 1/a added).

    On [1, 2.46] it is (a - root) times a polynomial. The recurrence lands where that is not
    negative; from 6 or 10 on the asymptotic series holds.
    """
    v, passed = a, a.constant(0.0)
    for _ in range(4 if a.format.width == 32 else 8):
        above = v > 2.46
        v = where(above, v - 1.0, v)
        passed = passed + where(above, 1.0 / v, 0.0)
    low, high = a < 1.0, a >= a.pick(6.0, 10.0)
    inverse = 1.0 / a
    u = where(low, a - 0.75, v - 1.75)
    root, root_low = words(a, *tables.DIGAMMA_ROOT)
    distance = where(low, a - (root - 1.0), v - root)
    first, *others = tables.DIGAMMA[a.format.scalar]
    slope, slope_low = fast_two_sum(a.constant(first), u * horner(u, others))
    core = fma(distance, slope, fma(distance, slope_low, slope * -root_low))
    square = inverse * inverse
    series = fma(square, horner(square, tables.DIGAMMA_TAIL), 0.5 * inverse)
    middle = core + passed
    y = where(low, core - inverse, where(high, log(a) - series, middle))
    return y, where(low, core, y + inverse)


def digamma(x: Lanes) -> Lanes:
    """Below 0 by digamma(-a) = digamma(a) + 1/a + pi / tan(pi a); NaN at the poles but 0."""
    a = abs(x)
    y, mirror = digamma_positive(a)
    mirrored = mirror + cot_pi(a)
    pole = a.rint().equals(a)
    mirrored = where(pole, math.nan, mirrored)
    zero = x.constant(-math.inf).with_sign(-x)
    return where(a.equals(0.0), zero, where(x < 0.0, mirrored, y))


# -- roots and remainders --------------------------------------------------------------------------
def cbrt(x: Lanes) -> Lanes:
    """Iterates r = a^(-1/3) from a guess by the exponent, then corrects a r^2 by its residual.

    With h = 1 - a r^3, a^(-1/3) = r (1 - h)^(-1/3); small a is scaled to keep the residual exact.
    """
    form = x.format
    a = abs(x)
    tiny = a < x.pick(2.0 ** -60, 2.0 ** -500)
    up = x.pick(66, 300)
    a = where(tiny, a * 2.0 ** up, a)
    r = (x.bits.constant(tables.CBRT_GUESS[form.scalar]) - third(a.bits)).floats
    for terms in ((3, 3) if form.width == 32 else (4, 4)):
        h = fma(-((a * r) * r), r, 1.0)
        r = fma(r * h, horner(h, tables.CBRT_SERIES[:terms]), r)
    y = (a * r) * r
    square, rest = two_product(y, y)
    residual = fma(-square, y, a) - rest * y
    y = fma(residual * (1.0 / 3.0), r * r, y)
    y = where(tiny, y * 2.0 ** (-up // 3), y)
    return where((a > 0.0) & (a < math.inf), y, a).with_sign(x)


def third(bits: Lanes) -> Lanes:
    """About bits / 3, by shifts: the guess needs no more."""
    part = bits.lshr(2)
    for shift in (2, 4, 8):  # 1/3 = 1/4 (1 + 1/4) (1 + 1/16) (1 + 1/256) ...
        part = part + part.lshr(shift)
    return part


def rsqrt(x: Lanes) -> Lanes:
    return 1.0 / x.sqrt()


def hypot(x: Lanes, y: Lanes) -> Lanes:
    """sqrt(x^2 + y^2), scaled so that the larger square neither overflows nor loses bits."""
    a, b = abs(x), abs(y)
    infinite = a.equals(math.inf) | b.equals(math.inf)
    a, b = where(a > b, a, b), where(a > b, b, a)
    step = x.pick(80.0, 600.0)
    big, tiny = a > 2.0 ** (step * 0.75), a < 2.0 ** (-step * 0.5)
    down = where(big, a.constant(2.0 ** -step), where(tiny, a.constant(2.0 ** step), 1.0))
    up = where(big, a.constant(2.0 ** step), where(tiny, a.constant(2.0 ** -step), 1.0))
    a, b = a * down, b * down
    return where(infinite, math.inf, fma(a, a, b * b).sqrt() * up)


def fmod(x: Lanes, y: Lanes) -> Lanes:
    """x - trunc(x/y) y, exactly.

    Each step takes off a multiple of y with as many bits as a number has, so the rest is a number
    too. Where the quotient might overflow, y times a power of two is taken off first.
    """
    block = x.block
    a, b = abs(x), abs(y)
    valid = (a < math.inf) & (b > 0.0)
    start = where(valid & (b < math.inf), a, 0.0)
    before, step, done = (block.names.fresh(word) for word in ("before", "step", "done"))
    block.branch(before)
    block.label(before)
    block.branch(step)
    block.label(step)
    slot = block.child()  # for the phi, written once its second source is known
    rest = Lanes(block, Value(x.type, block.names.fresh()))
    smaller = fmod_step(rest, b)
    slot.line(f"{rest.value.text} = phi {x.type} [ {start.value.text}, %{before} ], "
              f"[ {smaller.value.text}, %{step} ]")
    block.branch_if((smaller >= b).any(), step, done)
    block.label(done)
    result = where(b < math.inf, smaller, a)
    return where(valid, result, math.nan).with_sign(x)


def fmod_step(rest: Lanes, b: Lanes) -> Lanes:
    """rest less a multiple of b, without sign change; rest itself where rest < b."""
    jump = rest.pick(2.0 ** 100, 2.0 ** 1000)
    near = b * jump
    far = near * jump
    modulus = where(far <= rest, far, where(near <= rest, near, b))
    quotient = (rest / modulus).trunc()
    over = fma(-quotient, modulus, rest) < 0.0  # the division rounded up: one step less
    one_less = (quotient.bits - 1).floats.trunc()
    quotient = where(over, one_less, quotient)
    return where(rest < b, rest, fma(-quotient, modulus, rest))


TABLE = {f.__name__: f for f in (erf, erfc, lgamma, digamma, cbrt, rsqrt, hypot, fmod)}
