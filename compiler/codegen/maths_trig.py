"""sin, cos, tan and the inverses: asin, acos, atan, atan2.

The argument is reduced to x = j pi/2 + r, |r| <= pi/4. Up to LIMIT three fused steps with pi/2 cut
in three words do it (Cody and Waite). Beyond, the digits of 2/pi that matter are picked out and
multiplied as integers (Payne and Hanek), out of line, and only when some lane asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flambeau.compiler.codegen import maths_tables as tables
from flambeau.compiler.codegen.maths_lanes import (
    COLD,
    DOUBLE,
    Lanes,
    fast_two_sum,
    fma,
    horner,
    invoke,
    mad,
    two_product,
    two_sum,
    unless,
    where,
)

TWO_OVER_PI = 0.6366197723675814
LIMIT = {"float": 2.0 ** 16, "double": 2.0 ** 30}
WINDOW = 6  # 32-bit words: 53 bits of r, 62 of cancellation at worst, 53 of x, and some to spare


# -- reduction -------------------------------------------------------------------------------------
def reduce(a: Lanes) -> tuple[Lanes, Lanes]:
    """j (its low bits) and r for 0 <= a <= LIMIT. The first step is exact, the rest rounds r."""
    form = a.format
    shifted = fma(a, TWO_OVER_PI, form.magic)
    n = shifted - form.magic
    r = a
    for word in tables.PI_HALF[form.scalar]:
        r = fma(n, -word, r)
    return shifted.bits, r


def reduce_twice(a: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """The same with r in two words, for the tangent, whose pole would magnify r's rounding."""
    form = a.format
    high, middle, low = tables.PI_HALF[form.scalar]
    shifted = fma(a, TWO_OVER_PI, form.magic)
    n = shifted - form.magic
    step, step_low = two_product(n, a.constant(middle))
    r, rest = two_sum(fma(n, -high, a), -step)
    return shifted.bits, *fast_two_sum(r, fma(n, -low, rest - step_low))


def digits_of_two_over_pi(start: Lanes) -> list[Lanes]:
    """WINDOW words of 2/pi from bit `start` of the table on, in the low halves of i64 lanes.

    A barrel shifter: one select per word and bit of the word index, then one funnel shift.
    """
    index = start.lshr(5)
    words = [start.constant(w) for w in tables.TWO_OVER_PI_WORDS]
    for bit in (16, 8, 4, 2, 1):
        moved = (index & bit).equals(0)
        words = [where(moved, words[i], words[i + bit])
                 for i in range(min(len(words) - bit, WINDOW + bit))]
    count = start & 31
    return [((words[i] << 32 | words[i + 1]) << count).lshr(32) for i in range(WINDOW)]


def multiply(words: list[Lanes], factor: Lanes) -> list[Lanes]:
    """words (most significant first) times a 53-bit integer, modulo 2^(32 WINDOW)."""
    low_half = 0xFFFFFFFF
    total = [factor.constant(0)] * WINDOW
    for shift, part in ((0, factor & low_half), (1, factor.lshr(32))):
        carry = factor.constant(0)
        for i in range(WINDOW - 1 - shift, -1, -1):
            sum_ = part * words[i + shift] + total[i] + carry
            total[i], carry = sum_ & low_half, sum_.lshr(32)
    return total


def reduce_huge(a: Lanes) -> tuple[Lanes, Lanes]:
    """j and r for a >= 1 in double: a = m 2^e, and m (2/pi 2^e mod 4) as a fixed-point number.

    The table starts with 54 zeros, so bit e + 52 of it is the first whose product matters: those
    before it add multiples of 4 to a 2/pi.
    """
    form = DOUBLE
    bits = a.bits
    exponent = bits.lshr(form.digits)
    m = (bits & form.fraction) | (1 << form.digits)
    p = multiply(digits_of_two_over_pi(exponent - form.bias), m)
    j = (p[0] + (1 << 29)).lshr(30)  # quadrant, rounded to nearest
    top = (p[0] << 34 | p[1] << 2) | p[2].lshr(30)  # the signed rest in units of 2^-64
    below = p[2] << 34 | p[3] << 2  # 64 bits more
    minus = top >> 63
    top, below = top ^ minus, (below ^ minus).lshr(11)
    high = ((top >> 32) << 32).convert("sitofp", "double")
    low = (top & 0xFFFFFFFF).convert("sitofp", "double")
    low = fma(below.convert("sitofp", "double"), 2.0 ** -53, low)
    pi_high, pi_low = (word * 2.0 ** -64 for word in tables.PI_HALF["double"][:2])
    r = fma(high, pi_high, fma(high, pi_low, low * pi_high))
    return j, (r.bits ^ (minus << 63)).floats


# -- kernels on [-pi/4, pi/4] ----------------------------------------------------------------------
def sin_small(r: Lanes) -> Lanes:
    square = r * r
    return mad(r * square, horner(square, tables.SIN), r)


def cos_small(r: Lanes) -> Lanes:
    square = r * r
    return mad(square, horner(square, (-0.5, *tables.COS[r.format.scalar])), 1.0)


def turn(j: Lanes, even: Lanes, odd: Lanes) -> Lanes:
    """even or odd by j's lowest bit, negated by the next."""
    chosen = where((j & 1).equals(0), even, odd)
    return (chosen.bits ^ ((j & 2) << (j.format.width - 2))).floats


def sin_of(x: Lanes, j: Lanes, r: Lanes) -> Lanes:
    y = turn(j, sin_small(r), cos_small(r))
    return (y.bits ^ (x.bits & x.format.sign)).floats


def cos_of(x: Lanes, j: Lanes, r: Lanes) -> Lanes:
    return turn(j + 1, sin_small(r), cos_small(r))


def tan_of(x: Lanes, j: Lanes, r: Lanes, rest: Lanes | float = 0.0) -> Lanes:
    """tan r or -1 / tan r; the tangent's rest, known exactly, corrects the quotient."""
    square = r * r
    rest = fma(square, rest, rest) if isinstance(rest, Lanes) else rest
    t, low = fast_two_sum(r, (r * square) * horner(square, tables.TAN) + rest)
    inverse = -1.0 / t
    inverse = fma(inverse, fma(inverse, low, fma(inverse, t, 1.0)), inverse)
    y = where((j & 1).equals(0), t, inverse)
    return (y.bits ^ (x.bits & x.format.sign)).floats


def periodic(name: str, finish: Callable[..., Lanes],
             reduction: Callable[[Lanes], tuple[Lanes, ...]] = reduce) -> Callable[..., Lanes]:
    """The function `finish` makes of x and its reduction (j, r ...), over all arguments."""
    def slow(x: Lanes) -> Lanes:
        if x.format is not DOUBLE:  # a float's reduction is a double's
            wide = x.convert("fpext", "double")
            y = invoke(x.block, f"{name}_huge", slow, [wide.value], COLD)
            return x.put(y).convert("fptrunc", "float")
        a = abs(x)
        return where(a < math.inf, finish(x, *reduce_huge(a)), math.nan)

    def build(x: Lanes) -> Lanes:
        a = abs(x)
        fast = finish(x, *reduction(a))
        return unless(a > LIMIT[a.format.scalar], fast,
                      lambda: x.put(invoke(x.block, f"{name}_huge", slow, [x.value], COLD)))
    return build


# -- inverses --------------------------------------------------------------------------------------
def pi_half(x: Lanes) -> tuple[float, float]:
    return tables.PI_HALF[x.format.scalar][:2]


def atan_unit(t: Lanes) -> Lanes:
    """atan t for |t| <= 1."""
    square = t * t
    return mad(t * square, horner(square, tables.ATAN), t)


def atan(x: Lanes) -> Lanes:
    """atan a = pi/2 + atan(-1/a) for a > 1."""
    high, low = pi_half(x)
    a = abs(x)
    big = a > 1.0
    p = atan_unit(where(big, -1.0, a) / where(big, a, 1.0))
    return where(big, high + (p + low), p).with_sign(x)


def atan2(y: Lanes, x: Lanes) -> Lanes:
    """The angle's octant decides what atan(min/max) is added to or taken from."""
    high, low = pi_half(x)
    a, b = abs(x), abs(y)
    steep = b > a
    top, bottom = where(steep, a, b), where(steep, b, a)
    t = where(bottom.equals(0.0), 0.0, top / bottom)
    t = where(top.equals(math.inf), 1.0, t)
    t = where((a >= 0.0) & (b >= 0.0), t, x + y)
    left = x.bits < 0
    p = atan_unit(t)
    p = where(left ^ steep, -p, p)
    base = where(steep, high, where(left, x.constant(2.0 * high), 0.0))
    rest = where(steep, low, where(left, x.constant(2.0 * low), 0.0))
    return (base + (p + rest)).with_sign(y)


def asin_parts(a: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """Whether a > 1/2, and s, w with asin(s) = s + w: s = a, or sqrt((1-a)/2), as

    asin a = pi/2 - 2 asin(sqrt((1-a)/2)), whose subtraction from 1 is exact.
    """
    big = a > 0.5
    z = where(big, (1.0 - a) * 0.5, a * a)
    s = where(big, z.sqrt(), a)
    return big, s, (s * z) * horner(z, tables.ASIN)


def asin(x: Lanes) -> Lanes:
    high, low = pi_half(x)
    big, s, w = asin_parts(abs(x))
    large, rest = fast_two_sum(x.constant(high), s * -2.0)
    return where(big, large + (rest + (low - (w + w))), s + w).with_sign(x)


def acos(x: Lanes) -> Lanes:
    high, low = pi_half(x)
    big, s, w = asin_parts(abs(x))
    p = s + w
    double = p + p
    outer = where(x < 0.0, 2.0 * high - (double - 2.0 * low), double)
    return where(big, outer, high - (p.with_sign(x) - low))


TABLE = {
    "sin": periodic("sin", sin_of),
    "cos": periodic("cos", cos_of),
    "tan": periodic("tan", tan_of, reduce_twice),
    **{f.__name__: f for f in (asin, acos, atan, atan2)},
}
