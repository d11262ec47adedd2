"""Polynomials over n and floored quotients, as plain data: what sizes are made of (size.py)."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any, Protocol

# An atom is "n" or ("/", terms, terms), a floored quotient; a monomial is a sorted tuple of atoms;
# terms are sorted pairs (monomial, coefficient). All of it is plain data: hashable, and JSON.
Atom = Any
Terms = tuple[tuple[tuple[Atom, ...], int], ...]


class Known(Protocol):
    """What is known of n: its value at hand and its bounds."""

    hint: int
    low: int
    high: int


class NotGeneral(Exception):
    """Somewhere the compiler needs to know a size."""


def number(value: int) -> Terms:
    return (((), value),) if value else ()


def constant(terms: Terms) -> int:
    return next((k for m, k in terms if not m), 0)


@lru_cache(maxsize=1 << 14)
def _order(v: Any) -> str:
    return repr(v)


def ordered(total: dict[tuple[Atom, ...], int]) -> Terms:
    return tuple(sorted([(m, k) for m, k in total.items() if k],
                        key=lambda pair: _order(pair[0])))


def plus(a: Terms, b: Terms) -> Terms:
    if not a or not b:
        return a or b
    total = dict(a)
    for m, k in b:
        total[m] = total.get(m, 0) + k
    return ordered(total)


def scaled(a: Terms, k: int) -> Terms:
    return tuple([(m, c * k) for m, c in a]) if k else ()


def times(a: Terms, b: Terms) -> Terms:
    total: dict[tuple[Atom, ...], int] = {}
    for m, k in a:
        for o, c in b:
            joined = tuple(sorted(m + o, key=_order)) if m and o else m or o
            total[joined] = total.get(joined, 0) + k * c
    return ordered(total)


def quotient(p: Terms, q: Terms, s: Known) -> Terms:
    """floor(p / q) for q >= 1."""
    if all(not m for m, _ in q):
        return _by_number(p, constant(q), s)
    k = evaluate(p, s.hint) // evaluate(q, s.hint)
    if _within(plus(p, scaled(q, -k)), q, s):
        return number(k)
    whole, rest = _long_division(p, q)
    if _within(rest, q, s):
        return whole
    return plus(whole, ((((("/", rest, q)),), 1),))


def _within(r: Terms, q: Terms, s: Known) -> bool:
    """Is 0 <= r < q for all n?"""
    return (bounds(r, s.low, s.high)[0] >= 0
            and bounds(plus(q, scaled(r, -1)), s.low, s.high)[0] >= 1)


def _long_division(p: Terms, q: Terms) -> tuple[Terms, Terms]:
    """(whole, rest) with p == whole * q + rest, as far as the leading term of q divides terms."""
    lead, k = max(q, key=lambda pair: (len(pair[0]), _order(pair[0])))
    whole: Terms = ()
    for _ in range(8):
        found = next(((m, c) for m, c in p if c % k == 0 and _contains(m, lead)), None)
        if found is None:
            break
        left = list(found[0])
        for atom in lead:
            left.remove(atom)
        step: Terms = ((tuple(left), found[1] // k),)
        whole, p = plus(whole, step), plus(p, scaled(times(step, q), -1))
    return whole, p


def _contains(monomial: tuple[Atom, ...], part: tuple[Atom, ...]) -> bool:
    left = list(monomial)
    for atom in part:
        if atom not in left:
            return False
        left.remove(atom)
    return True


def _by_number(p: Terms, c: int, s: Known) -> Terms:
    """floor(p / c) for a number c."""
    if c < 1:
        raise NotGeneral(f"a size is divided by {c}")
    whole = tuple([(m, k // c) for m, k in p if k // c and (not m or k % c == 0)])
    rest = ordered({m: k % c if not m else k for m, k in p if not m or k % c})
    low, high = bounds(rest, s.low, s.high)
    if math.floor(low / c) == math.floor(high / c):
        return plus(whole, number(math.floor(low / c)))
    shared = math.gcd(c, *(k for m, k in rest if m))
    if shared > 1:  # what is left of the constant is lost in the floor
        rest, c = tuple([(m, k // shared) for m, k in rest if k // shared]), c // shared
    inner = [(m, k) for m, k in rest if m]
    if len(inner) == 1 and inner[0][1] == 1 and len(inner[0][0]) == 1:
        atom = inner[0][0][0]
        if atom != "n" and all(not m for m, _ in atom[2]):  # floor((floor(x/a) + b) / c)
            a = constant(atom[2])
            rest, c = plus(atom[1], number(a * constant(rest))), a * c
            return plus(whole, _by_number(rest, c, s))
    return plus(whole, (((("/", rest, number(c)),), 1),))


# -- bounds --------------------------------------------------------------------------------------

_Poly = dict[int, Fraction]  # power of n -> coefficient
_FAR = 1 << 200


def bounds(terms: Terms, low: int, high: int) -> tuple[Fraction, Fraction]:
    """Numbers between which the expression lies for low <= n <= high."""
    under, above = _flat(terms, low, high)
    return _least(under, low, high), -_least({i: -k for i, k in above.items()}, low, high)


@lru_cache(maxsize=1 << 12)
def _flat(terms: Terms, low: int, high: int) -> tuple[_Poly, _Poly]:
    """Polynomials in n below and above the expression."""
    under: _Poly = {}
    above: _Poly = {}
    for monomial, k in terms:
        a: _Poly = {0: Fraction(1)}
        b: _Poly = {0: Fraction(1)}
        for atom in monomial:
            x, y, positive = _flat_atom(atom, low, high)
            if len(monomial) > 1 and not positive:  # bounds' products would be no bounds
                a, b = {0: Fraction(-_FAR)}, {0: Fraction(_FAR)}
                break
            if len(monomial) > 1 and _least(x, low, high) < 0:
                x = {0: Fraction(0)}
            a, b = _poly_product(a, x), _poly_product(b, y)
        if k < 0:
            a, b = b, a
        for into, part in ((under, a), (above, b)):
            for i, c in part.items():
                into[i] = into.get(i, Fraction(0)) + c * k
    return under, above


def _flat_atom(atom: Atom, low: int, high: int) -> tuple[_Poly, _Poly, bool]:
    """The same for an atom, and whether it is known not to be negative."""
    if atom == "n":
        return {1: Fraction(1)}, {1: Fraction(1)}, True
    under, above = _flat(atom[1], low, high)
    positive = _least(under, low, high) >= 0
    by = constant(atom[2])
    if any(m for m, _ in atom[2]):  # a divisor of 1 or more
        return ({0: Fraction(0 if positive else -_FAR)}, above if positive else
                {0: Fraction(_FAR)}, positive)
    below = {i: k / by for i, k in under.items()}
    below[0] = below.get(0, Fraction(0)) - Fraction(by - 1, by)
    return below, {i: k / by for i, k in above.items()}, positive


def _poly_product(a: _Poly, b: _Poly) -> _Poly:
    out: _Poly = {}
    for i, x in a.items():
        for j, y in b.items():
            out[i + j] = out.get(i + j, Fraction(0)) + x * y
    return out


def _least(p: _Poly, low: int, high: int) -> Fraction:
    """A lower bound of the polynomial on [low, high]; exact where it is monotone."""
    shifted: dict[int, Fraction] = {}
    for i, k in p.items():  # n = low + m
        for j in range(i + 1):
            shifted[j] = shifted.get(j, Fraction(0)) + k * math.comb(i, j) * low ** (i - j)
    span = high - low
    falls = [k * span ** j for j, k in shifted.items() if j and k < 0]
    return sum(falls, shifted.get(0, Fraction(0)))


# -- values --------------------------------------------------------------------------------------


def evaluate(terms: Any, n: int) -> int:
    """The expression's value; lists serve as tuples do, as JSON gives them."""
    total = 0
    for monomial, k in terms:
        for atom in monomial:
            k *= n if atom == "n" else evaluate(atom[1], n) // evaluate(atom[2], n)
        total += k
    return total


def spell(terms: Any, name: str = "n") -> str:
    """The expression for readers."""
    def atom(a: Any) -> str:
        return name if a == "n" else f"({spell(a[1], name)} // {spell(a[2], name)})"

    out = ""
    for monomial, k in sorted(terms, key=lambda pair: -len(pair[0])):
        word = "*".join(map(atom, monomial))
        number = abs(k)
        part = f"{number}*{word}" if word and number != 1 else word or str(number)
        out += (" - " if k < 0 else " + ") + part if out else ("-" if k < 0 else "") + part
    return out or "0"


# -- curves through points -------------------------------------------------------------------------


def line(points: list[tuple[int, int]]) -> Terms | None:
    (n, v), (m, w) = points[0], points[-1]
    a, rest = divmod(w - v, m - n)
    return None if rest else ordered({("n",): a, (): v - a * n})


def parabola(points: list[tuple[int, int]]) -> Terms | None:
    if len(points) < 3:
        return None
    (n, v), (m, w), (o, x) = points[0], points[1], points[-1]
    a = Fraction(Fraction(x - v, o - n) - Fraction(w - v, m - n), o - m)
    b = Fraction(w - v, m - n) - a * (m + n)
    c = v - a * n * n - b * n
    if any(k.denominator > 1 for k in (a, b, c)):
        return None
    return ordered({("n", "n"): int(a), ("n",): int(b), (): int(c)})


def stairs(points: list[tuple[int, int]]) -> Terms | None:
    """floor((n + b) / c), as strides and pooling give."""
    if len(points) < 3:
        return None
    for c in range(2, 65):
        least = max(c * v - n for n, v in points)
        most = min(c * v + c - 1 - n for n, v in points)
        if least <= most:
            b = min((b for b in range(least, most + 1)), key=abs)
            return (((("/", ordered({("n",): 1, (): b}), number(c)),), 1),)
    return None
