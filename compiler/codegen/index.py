"""Index arithmetic: affine forms over loop variables, with exact division where it is exact.

An `Index` is const + sum(coefficient * atom). An atom is a loop variable, a quotient or remainder
of another Index, or a value read from memory. Reshapes become flatten + split; the splits vanish
whenever ranges prove them away, so a reshape costs nothing where the layout agrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Var:
    """A loop variable with values 0 .. extent-1. `level`: its place in the nest, outermost 0."""

    level: int
    extent: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Quotient:
    """floor(index / divisor) when `rest` is False, else index mod divisor."""

    index: Index
    divisor: int
    rest: bool


@dataclass(frozen=True, eq=False, slots=True)
class Dynamic:
    """An index computed at run time: `value` is the code generator's own."""

    value: Any
    extent: int
    level: int


Atom = Var | Quotient | Dynamic


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """const + the sum of coefficient * atom; equal whatever the order of the terms."""

    const: int
    terms: tuple[tuple[Atom, int], ...] = ()

    def __eq__(self, other: object) -> bool:
        return (isinstance(other, Index) and self.const == other.const
                and (self.terms == other.terms or frozenset(self.terms) == frozenset(other.terms)))

    def __hash__(self) -> int:
        return hash((self.const, frozenset(self.terms)))

    def __add__(self, other: Index | int) -> Index:
        if not isinstance(other, Index):
            return Index(self.const + other, self.terms)
        if not other.terms:
            return Index(self.const + other.const, self.terms)
        if not self.terms:
            return Index(self.const + other.const, other.terms)
        total = dict(self.terms)
        for atom, k in other.terms:
            total[atom] = total.get(atom, 0) + k
        made = Index(self.const + other.const, tuple((a, k) for a, k in total.items() if k))
        return _rejoin(made) if any(type(a) is Quotient for a in total) else made

    def __mul__(self, k: int) -> Index:
        if k == 1:
            return self
        if k == 0:
            return ZERO
        return Index(self.const * k, tuple((a, c * k) for a, c in self.terms))

    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value (inclusive)."""
        low = high = self.const
        for atom, k in self.terms:
            a, b = atom_bounds(atom)
            low += k * (a if k > 0 else b)
            high += k * (b if k > 0 else a)
        return low, high

    def coefficient(self, var: Atom) -> int:
        for atom, k in self.terms:
            if atom is var:
                return k
        return 0


ZERO = Index(0)


def _rejoin(index: Index) -> Index:
    """d*(x // d) + x mod d is x."""
    terms = dict(index.terms)
    for atom, k in index.terms:
        if type(atom) is Quotient and atom.rest:
            whole = Quotient(atom.index, atom.divisor, False)
            if terms.get(whole) == k * atom.divisor:
                del terms[atom], terms[whole]
                return Index(index.const, tuple(terms.items())) + atom.index * k
    return index


def of(var: Var) -> Index:
    """The index that is this variable; an axis of length 1 needs none."""
    return ZERO if var.extent == 1 else Index(0, ((var, 1),))


def atom_bounds(atom: Atom) -> tuple[int, int]:
    if isinstance(atom, Quotient):
        if atom.rest:
            return 0, atom.divisor - 1
        low, high = atom.index.bounds()
        return low // atom.divisor, high // atom.divisor
    return 0, max(0, atom.extent - 1)


def divmod_(index: Index, divisor: int) -> tuple[Index, Index]:
    """(floor(index / divisor), index mod divisor), simplified as far as ranges allow."""
    if divisor == 1:
        return index, ZERO
    low, high = index.bounds()
    if low // divisor == high // divisor:  # one quotient: the split is exact
        q = low // divisor
        return Index(q), index + -q * divisor
    whole = tuple((a, k // divisor) for a, k in index.terms if k % divisor == 0)
    rest = Index(index.const % divisor, tuple((a, k) for a, k in index.terms if k % divisor))
    base = Index(index.const // divisor, whole)
    low, high = rest.bounds()
    if low // divisor == high // divisor:
        q = low // divisor
        return base + q, rest + -q * divisor
    if len(rest.terms) == 1 and rest.const == 0:
        found = _nested(rest, divisor)
        if found is not None:
            return base + found[0], found[1]
    return (base + Index(0, ((Quotient(rest, divisor, False), 1),)),
            Index(0, ((Quotient(rest, divisor, True), 1),)))


def _nested(rest: Index, divisor: int) -> tuple[Index, Index] | None:
    """k*(x mod m) split by a divisor with k | divisor: work on x mod m alone."""
    atom, k = rest.terms[0]
    if k <= 1 or divisor % k:
        return None
    q, r = divmod_(Index(0, ((atom, 1),)), divisor // k)
    return q, r * k


def depends(index: Index, var: Atom) -> bool:
    """Does the index change with this variable, even inside quotients?"""
    return any(atom is var or (isinstance(atom, Quotient) and depends(atom.index, var))
               for atom, _ in index.terms)


def substitute(index: Index, var: Var, other: Var) -> Index:
    """The index with another variable, of the same extent, in a variable's place."""
    def swapped(atom: Atom) -> Atom:
        if isinstance(atom, Quotient):
            return Quotient(substitute(atom.index, var, other), atom.divisor, atom.rest)
        return other if atom is var else atom

    return Index(index.const, tuple((swapped(a), k) for a, k in index.terms))


def inside(atom: Atom, var: Var) -> bool:
    """Is the atom a quotient or remainder that changes with this variable?"""
    return isinstance(atom, Quotient) and depends(atom.index, var)


def level(index: Index) -> int:
    """The innermost loop the index depends on; -1 when none."""
    return max((_atom_level(a) for a, _ in index.terms), default=-1)


def _atom_level(atom: Atom) -> int:
    return level(atom.index) if isinstance(atom, Quotient) else atom.level


def strides(shape: Shape) -> Shape:
    """C-order strides in elements."""
    out, step = [], 1
    for extent in reversed(shape):
        out.append(step)
        step *= extent
    return tuple(reversed(out))


def flatten(indices: tuple[Index, ...], shape: Shape) -> Index:
    """The position in C order of a multi-index."""
    total = ZERO
    for i, step in zip(indices, strides(shape)):
        total = total + i * step
    return total


def split(flat: Index, shape: Shape) -> tuple[Index, ...]:
    """The multi-index of a C-order position (which must lie inside the shape)."""
    out: list[Index] = []
    for step, extent in zip(strides(shape), shape):
        if extent == 1:
            out.append(ZERO)
        elif len(out) == len(shape) - 1:
            out.append(flat)
        else:
            q, flat = divmod_(flat, step)
            out.append(q)
    return tuple(out)


def reshape(indices: tuple[Index, ...], source: Shape, target: Shape) -> tuple[Index, ...]:
    """Where element `indices` of the reshaped array (shape `source`) lies in shape `target`.

    Axes that agree from the left or the right pass through untouched.
    """
    left = 0
    while left < len(source) and left < len(target) and source[left] == target[left]:
        left += 1
    right = 0
    while (right < len(source) - left and right < len(target) - left
           and source[-1 - right] == target[-1 - right]):
        right += 1
    middle = split(flatten(indices[left:len(source) - right], source[left:len(source) - right]),
                   target[left:len(target) - right])
    return indices[:left] + middle + indices[len(source) - right:]


def movement(op: str, indices: tuple[Index, ...], shape: Shape, source: Shape,
             arg: Any) -> tuple[Index, ...]:
    """The operand's multi-index behind element `indices` of a movement node (not pad, concat)."""
    if op == "reshape":
        return reshape(indices, shape, source)
    if op == "permute":
        out = list(indices)
        for axis, origin in enumerate(arg):
            out[origin] = indices[axis]
        return tuple(out)
    if op == "expand":
        return tuple(ZERO if e == 1 else i for i, e in zip(indices, source))
    assert op == "slice", op
    return tuple(i * step + start for i, (start, step) in zip(indices, arg))
