"""In which order the operands of an einsum are multiplied: plain data in, plain data out.

Up to OPTIMAL operands every tree of pairs is weighed by dynamic programming over subsets, above
that pairs are taken greedily. A product costs the extents of all its labels multiplied; a value
that would be far larger than every operand and the result is avoided while another order exists.
"""

from __future__ import annotations

import math
from functools import lru_cache

OPTIMAL = 7  # operands: 3 ** 7 splits are weighed in milliseconds
ROOM = 8  # times the largest operand or result: what a value in between may take
SMALL = 1 << 16  # elements that are never too many

Pairs = tuple[tuple[int, int], ...]


@lru_cache(maxsize=1024)
def plan(inputs: tuple[str, ...], output: str, extents: tuple[tuple[str, int], ...]) -> Pairs:
    """Pairs of positions (i < j) to multiply one after the other; both leave the list, and their
    product joins at its end. inputs: the operands' distinct labels."""
    size = dict(extents)
    limit = max(SMALL, ROOM * max(_count(set(labels), size) for labels in (*inputs, output)))
    if len(inputs) <= OPTIMAL:
        tree = _optimal(inputs, output, size, limit)
        return _as_pairs(tree, len(inputs))
    return _greedy(inputs, output, size, limit)


def _count(labels: set[str], size: dict[str, int]) -> int:
    return math.prod(size[c] for c in labels)


def _optimal(inputs: tuple[str, ...], output: str, size: dict[str, int], limit: int) -> object:
    """The cheapest tree: an operand's number, or a pair of trees."""
    count = len(inputs)
    everything = (1 << count) - 1
    labels = [set().union(*(inputs[i] for i in range(count) if s >> i & 1))
              for s in range(everything + 1)]

    def left(s: int) -> set[str]:
        """The labels of a subset's product: what the others or the result need."""
        return labels[s] & (labels[everything ^ s] | set(output))

    found: dict[int, tuple[tuple[bool, int], object]] = {
        1 << i: ((False, 0), i) for i in range(count)}
    for s in sorted(range(1, everything + 1), key=int.bit_count):
        if s in found:
            continue
        large = s != everything and _count(left(s), size) > limit
        choices = []
        a = (s - 1) & s
        while a > s ^ a:  # each split once
            (big_a, cost_a), tree_a = found[a]
            (big_b, cost_b), tree_b = found[s ^ a]
            work = _count(left(a) | left(s ^ a), size)
            choices.append(((big_a or big_b or large, cost_a + cost_b + work), (tree_b, tree_a)))
            a = (a - 1) & s
        found[s] = min(choices, key=lambda c: c[0])
    return found[everything][1]


def _as_pairs(tree: object, count: int) -> Pairs:
    """A tree as positions in the shrinking list."""
    names: list[object] = list(range(count))
    pairs = []

    def walk(t: object) -> None:
        if isinstance(t, tuple):
            walk(t[0])
            walk(t[1])
            i, j = sorted((names.index(t[0]), names.index(t[1])))
            pairs.append((i, j))
            del names[j], names[i]
            names.append(t)

    walk(tree)
    return tuple(pairs)


def _greedy(inputs: tuple[str, ...], output: str, size: dict[str, int], limit: int) -> Pairs:
    """Each time the pair whose product frees most memory, cheaper first among equals."""
    terms = [set(labels) for labels in inputs]
    pairs = []
    while len(terms) > 1:
        uses = {c: sum(c in t for t in terms) for c in size}
        choices = []
        for i in range(len(terms)):
            for j in range(i + 1, len(terms)):
                both = terms[i] | terms[j]
                kept = {c for c in both
                        if c in output or uses[c] > (c in terms[i]) + (c in terms[j])}
                made = _count(kept, size)
                gain = made - _count(terms[i], size) - _count(terms[j], size)
                apart = terms[i].isdisjoint(terms[j])
                choices.append((made > limit, apart, gain, _count(both, size), i, j, kept))
        *_, i, j, kept = min(choices, key=lambda c: c[:6])
        del terms[j], terms[i]
        terms.append(kept)
        pairs.append((i, j))
    return tuple(pairs)
