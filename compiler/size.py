"""Sizes that are not known while a program is compiled: expressions over one symbol n.

A `Size` is a polynomial with integer coefficients over n and floored quotients, and it knows the
value that n has at hand (the hint). It stands where an int would: in shapes, strides, extents of
loops, bytes. Arithmetic gives Sizes. A comparison is decided for every n where that can be proven,
else by the hint, and then the symbol keeps a law: the program is only for the n that obey. What
needs a plain int (`range`, an index, a literal) raises `NotGeneral`, so that code which does not
know of Sizes can only make a program impossible, never wrong. True division and comparisons with
floats are what cost models do: they take the hint and promise nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from flambeau.compiler.terms import (
    Atom,
    NotGeneral,
    Terms,
    bounds,
    constant,
    evaluate,
    line,
    number,
    parabola,
    plus,
    quotient,
    scaled,
    spell,
    stairs,
    times,
)

LEAST, MOST = 2, (1 << 31) - 1  # sizes 0 and 1 change what a program is: they are always special


class Symbol:
    """What is known of n while one program is made.

    hint: its value at hand. low, high: the program is for low <= n <= high; laws: and for n at
    which each of these expressions is ("ge", "eq", "ne") 0. table: the expressions that machine
    code reads, by their place.
    """

    __slots__ = ("high", "hint", "laws", "low", "table")

    def __init__(self, hint: int, low: int = LEAST, high: int = MOST) -> None:
        self.hint, self.low, self.high = hint, low, high
        self.laws: dict[tuple[str, Terms], None] = {}
        self.table: dict[Terms, int] = {}

    def size(self, terms: Terms = ((("n",), 1),)) -> Size:
        """The expression with these terms; n itself by default."""
        return Size(self, terms)

    def place(self, terms: Terms) -> int:
        """The expression's place in the table that machine code reads."""
        return self.table.setdefault(terms, len(self.table))

    def facts(self) -> list[Any]:
        """All that must hold for n, as plain data for `admits`."""
        return [self.low, self.high, [[word, terms] for word, terms in self.laws]]

    # -- laws ------------------------------------------------------------------------------------
    def keep_at_least(self, d: Terms) -> None:
        """From here on d >= 0."""
        found = _linear(d)
        if found is None:
            self.laws["ge", d] = None
            return
        atom, k, b = found
        if k > 0:
            self.keep_from(-(b // k), atom)
        else:
            self._keep_to(atom, b // -k)

    def keep_from(self, least: int, atom: Atom = "n") -> None:
        """From here on n (or what divides it into parts) is at least so much."""
        if atom == "n":
            self.low = max(self.low, least)
            self._still_free()
        else:
            over, by = atom[1], constant(atom[2])
            self.keep_at_least(plus(over, number(-by * least)))

    def _keep_to(self, atom: Atom, most: int) -> None:
        if atom == "n":
            self.high = min(self.high, most)
            self._still_free()
        else:
            over, by = atom[1], constant(atom[2])
            self.keep_at_least(plus(scaled(over, -1), number(by * most + by - 1)))

    def _still_free(self) -> None:
        if self.low >= self.high:
            raise NotGeneral(f"one size is left, {self.hint}")

    def keep_zero(self, d: Terms, same: bool) -> None:
        """From here on d == 0, or d != 0."""
        if same and all(atom == "n" for monomial, _ in d for atom in monomial):
            raise NotGeneral(f"one size is special, {self.hint}")
        self.laws["eq" if same else "ne", d] = None


def _linear(d: Terms) -> tuple[Atom, int, int] | None:
    """(atom, k, b) when d is k * atom + b and the atom is n or divided by a number."""
    inner = [(m, k) for m, k in d if m]
    if len(inner) != 1 or len(inner[0][0]) != 1:
        return None
    (atom,), k = inner[0]
    if atom != "n" and any(m for m, _ in atom[2]):
        return None
    return atom, k, constant(d)


class Size:
    """An expression over a symbol, where an int would stand."""

    __slots__ = ("_hint", "symbol", "terms")

    def __init__(self, symbol: Symbol, terms: Terms) -> None:
        self.symbol, self.terms = symbol, terms
        self._hint: int | None = None

    @property
    def hint(self) -> int:
        """The value at hand."""
        if self._hint is None:
            self._hint = evaluate(self.terms, self.symbol.hint)
        return self._hint

    def _made(self, terms: Terms) -> Any:
        if not terms:
            return 0
        return terms[0][1] if len(terms) == 1 and not terms[0][0] else Size(self.symbol, terms)

    def _other(self, other: Any) -> Terms | None:
        if type(other) is Size:
            if other.symbol is not self.symbol:
                raise NotGeneral("two symbols meet")
            return other.terms
        return number(other) if isinstance(other, int) else None

    # -- arithmetic ------------------------------------------------------------------------------
    def __add__(self, other: Any) -> Any:
        terms = self._other(other)
        return self.hint + other if terms is None else self._made(plus(self.terms, terms))

    __radd__ = __add__

    def __neg__(self) -> Any:
        return self._made(scaled(self.terms, -1))

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __mul__(self, other: Any) -> Any:
        terms = self._other(other)
        return self.hint * other if terms is None else self._made(times(self.terms, terms))

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        terms = self._other(other)
        return self.hint // other if terms is None else self._made(
            quotient(self.terms, terms, self.symbol))

    def __rfloordiv__(self, other: Any) -> Any:
        terms = self._other(other)
        return other // self.hint if terms is None else self._made(
            quotient(terms, self.terms, self.symbol))

    def __mod__(self, other: Any) -> Any:
        return self - self // other * other

    def __rmod__(self, other: Any) -> Any:
        return other - other // self * self

    def __divmod__(self, other: Any) -> tuple[Any, Any]:
        q = self // other
        return q, self - q * other

    def __rdivmod__(self, other: Any) -> tuple[Any, Any]:
        q = other // self
        return q, other - q * self

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    def __truediv__(self, other: Any) -> float:
        return self.hint / hint(other)  # type: ignore[no-any-return]

    def __rtruediv__(self, other: Any) -> float:
        return other / self.hint  # type: ignore[no-any-return]

    def __float__(self) -> float:
        return float(self.hint)

    # -- decisions -------------------------------------------------------------------------------
    def __bool__(self) -> bool:
        return not _is_zero(self.terms, self.symbol)

    def __eq__(self, other: object) -> bool:
        if type(other) is Size:
            if other.symbol is not self.symbol:
                return False
            return self.terms == other.terms or _is_zero(
                plus(self.terms, scaled(other.terms, -1)), self.symbol)
        if isinstance(other, int):
            return _is_zero(plus(self.terms, number(-other)), self.symbol)
        return self.hint == other if isinstance(other, float) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.terms)

    def _at_least(self, other: Any, more: int) -> bool:
        """self - other - more >= 0?"""
        terms = self._other(other)
        if terms is None:
            return bool(self.hint - other >= more)
        d = plus(self.terms, plus(scaled(terms, -1), number(-more)))
        return _not_negative(d, self.symbol)

    def __ge__(self, other: Any) -> bool:
        return self._at_least(other, 0)

    def __gt__(self, other: Any) -> bool:
        return self.hint > other if isinstance(other, float) else self._at_least(other, 1)

    def __lt__(self, other: Any) -> bool:
        return not self >= other

    def __le__(self, other: Any) -> bool:
        return not self > other

    # -- the ways out ----------------------------------------------------------------------------
    def __index__(self) -> NoReturn:
        raise NotGeneral(f"a number is needed for {spell(self.terms)}")

    __int__ = __trunc__ = __index__

    def __str__(self) -> str:
        return "\u27e6" + json.dumps(self.terms) + "\u27e7"

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return str(self)

    def __deepcopy__(self, _: Any) -> Size:
        return self


def unknown(v: Any) -> bool:
    """Is v a Size?"""
    return type(v) is Size


def hint(v: Any) -> Any:
    """The number at hand: of a Size its hint. For choices that matter to speed alone."""
    return v.hint if type(v) is Size else v


def at_least(a: Any, b: Any) -> bool:
    """Is a >= b for all n? False where that cannot be proven; makes no law."""
    d = a - b
    if type(d) is not Size:
        return bool(d >= 0)
    return bounds(d.terms, d.symbol.low, d.symbol.high)[0] >= 0


# -- decisions -----------------------------------------------------------------------------------


def _not_negative(d: Terms, s: Symbol) -> bool:
    low, high = bounds(d, s.low, s.high)
    if low >= 0:
        return True
    if high < 0:
        return False
    if ("ge", d) in s.laws:
        return True
    opposite = plus(scaled(d, -1), number(-1))
    if ("ge", opposite) in s.laws:
        return False
    yes = evaluate(d, s.hint) >= 0
    s.keep_at_least(d if yes else opposite)
    return yes


def _is_zero(d: Terms, s: Symbol) -> bool:
    low, high = bounds(d, s.low, s.high)
    if low > 0 or high < 0 or ("ne", d) in s.laws or ("ne", scaled(d, -1)) in s.laws:
        return False
    if (low == high == 0) or ("eq", d) in s.laws:
        return True
    shared = math.gcd(*(k for m, k in d if m))
    if constant(d) % shared:
        return False
    same = evaluate(d, s.hint) == 0
    s.keep_zero(d, same)
    return same


# -- values --------------------------------------------------------------------------------------


def valued(v: Any, n: int) -> Any:
    """v, or a Size's value at n."""
    return evaluate(v.terms, n) if type(v) is Size else v


_TESTS: dict[str, Callable[[int], bool]] = {
    "ge": lambda v: v >= 0, "eq": lambda v: v == 0, "ne": lambda v: v != 0}


def admits(facts: Any, n: int) -> bool:
    """Does n obey a symbol's facts?"""
    low, high, laws = facts
    return low <= n <= high and all(_TESTS[word](evaluate(terms, n)) for word, terms in laws)


_WORDS = {"ge": ">=", "eq": "==", "ne": "!="}


def spell_facts(facts: Any) -> str:
    """What must hold for n, for readers."""
    low, high, laws = facts
    bounds = f"{low} <= n" + (f" <= {high}" if high < MOST else "")
    return ", ".join([bounds, *(f"{spell(terms)} {_WORDS[word]} 0" for word, terms in laws)])


# -- plain data ----------------------------------------------------------------------------------

_MARK = re.compile("\u27e6(.*?)\u27e7")


def plain(v: Any) -> Any:
    """v with Sizes as JSON can hold them: as text that `bound` understands."""
    if type(v) is Size:
        return str(v)
    if isinstance(v, dict):
        return {k: plain(w) for k, w in v.items()}
    return [plain(w) for w in v] if isinstance(v, list | tuple) else v


def bound(v: Any, n: int) -> Any:
    """`plain`'s data for one n: every Size is its value, also inside of text."""
    if isinstance(v, str):
        if "\u27e6" not in v:
            return v
        whole = _MARK.fullmatch(v)
        if whole is not None:
            return evaluate(json.loads(whole[1]), n)
        return _MARK.sub(lambda m: str(evaluate(json.loads(m[1]), n)), v)
    if isinstance(v, dict):
        return {k: bound(w, n) for k, w in v.items()}
    return [bound(w, n) for w in v] if isinstance(v, list | tuple) else v


def fitted(values: Iterable[tuple[int, int]], s: Symbol) -> Any:
    """A Size with these (n, value): constant, linear, quadratic, or a floored quotient; or None."""
    points = sorted(set(values))
    if len({v for _, v in points}) == 1:
        return points[0][1]
    for find in (line, parabola, stairs):
        terms = find(points)
        if terms is not None and all(evaluate(terms, n) == v for n, v in points):
            return s.size(terms)
    return None
