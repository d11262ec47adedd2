"""Einsum against NumPy, and the order in which it multiplies."""

from __future__ import annotations

import itertools
import math
from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau.contraction_order import plan

RANDOM = np.random.default_rng(5)
EXTENT = dict(zip("abcdefgh", (2, 3, 4, 5, 2, 3, 4, 2)))


@pytest.mark.parametrize("equation", [
    "a->", "a->a", "ab->ba", "ab->b", "aa->a", "aa", "aab->b", "ba", "ab,bc", "ab,bc->ca",
    "ab,ab->", "ab,ab->ab", "a,b->ab", "ab,cd->adbc", "aab,b->a", "ab,bc,cd->ad", "ab,bc,cd,de->ea",
    "abc,cd,bd->a", "ab,cb,cd,ad->", "a,a,a->a", "abc,abd,abe->cde", ",a->a", ",->",
    "ab,bc,cd,de,ef,fg,gh->ah", "ab,bc,cd,de,ef,fg,gh,ha,ac->",
])
def test_against_numpy(equation: str) -> None:
    inputs = equation.split("->")[0].split(",")
    arrays = [RANDOM.standard_normal([EXTENT[c] for c in labels]) for labels in inputs]
    wanted = np.einsum(equation, *arrays, optimize=True)
    found = fb.einsum(equation, *arrays)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("equation, shapes", [
    ("...ab,...bc->...ac", [(2, 1, 3, 4), (5, 4, 2)]), ("...a,...a", [(2, 3), (3,)]),
    ("a...,a...->...", [(3, 2), (3, 1)]), ("ab,b->a", [(2, 3), (1,)]), ("...", [(2, 3)]),
    ("ab,bc->ac", [(0, 3), (3, 2)]), ("ab,bc->ac", [(2, 0), (0, 3)]), ("...aa->...a", [(2, 3, 3)]),
])
def test_ellipsis_broadcast_and_nothing(equation: str, shapes: Any) -> None:
    arrays = [RANDOM.standard_normal(s) for s in shapes]
    wanted = np.einsum(equation, *arrays)
    found = fb.einsum(equation, arrays)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12, atol=1e-12)


def test_dtypes() -> None:
    whole = fb.einsum("ab,bc->ac", np.ones((2, 3), int), np.ones((3, 2), int))
    assert whole.dtype is fb.int64 and whole.tolist() == [[3, 3], [3, 3]]
    assert fb.einsum("a,a", np.ones(3, np.float32), np.ones(3)).dtype is fb.float64
    c = RANDOM.standard_normal((2, 2)) * 1j
    np.testing.assert_allclose(fb.einsum("ab,bc->ac", c, c).numpy(), c @ c)


def test_gradients() -> None:
    ts = [fb.tensor(RANDOM.standard_normal(s)) for s in ((2, 3), (3, 4), (4, 2))]
    assert fb.gradcheck(lambda *t: fb.einsum("ab,bc,ca->b", *t), ts)
    square = fb.tensor(RANDOM.standard_normal((2, 2, 3)))
    assert fb.gradcheck(lambda a: fb.einsum("aab->b", a), square)


# -- the order -----------------------------------------------------------------------------------

def work(inputs: tuple[str, ...], output: str, size: dict[str, int], order: Any) -> int:
    """Multiplications that an order costs."""
    terms, total = [set(t) for t in inputs], 0
    for i, j in order:
        b, a = terms.pop(j), terms.pop(i)
        total += math.prod(size[c] for c in a | b)
        terms.append({c for c in a | b if c in output or any(c in t for t in terms)})
    assert len(terms) == 1
    return total


def orders(count: int) -> Any:
    """Every order of pairs."""
    if count == 1:
        yield ()
        return
    for i, j in itertools.combinations(range(count), 2):
        for rest in orders(count - 1):
            yield ((i, j), *rest)


@pytest.mark.parametrize("equation", ["ab,bc,cd,de->ae", "ab,bc,ca,ad->d", "a,ab,b,bc,c->",
                                      "abc,cd,be,def->af"])
def test_few_operands_are_multiplied_in_the_best_order(equation: str) -> None:
    left, output = equation.split("->")
    inputs = tuple(left.split(","))
    for seed in range(5):
        random = np.random.default_rng(seed)
        size = {c: int(random.integers(2, 9)) for c in set(left) - {","}}
        found = plan(inputs, output, tuple(sorted(size.items())))
        best = min(work(inputs, output, size, o) for o in orders(len(inputs)))
        assert work(inputs, output, size, found) == best


def test_many_operands_are_multiplied_in_a_good_order() -> None:
    """A chain of twelve matrices: never an outer product, whose cost would be a power more."""
    labels = "abcdefghijklm"
    inputs = tuple(a + b for a, b in itertools.pairwise(labels))
    size = dict.fromkeys(labels, 10)
    found = plan(inputs, "am", tuple(size.items()))
    assert work(inputs, "am", size, found) == 11 * 10 ** 3


def test_huge_values_in_between_are_avoided() -> None:
    """a,b first would be cheapest by multiplications alone, but makes 10^8 elements of 10^4."""
    size = (("a", 10000), ("b", 10000), ("c", 2))
    order = plan(("ac", "bc", "a", "b"), "", size)
    terms = [set(t) for t in ("ac", "bc", "a", "b")]
    for i, j in order[:-1]:
        b, a = terms.pop(j), terms.pop(i)
        terms.append({c for c in a | b if any(c in t for t in terms)})
        assert terms[-1] != {"a", "b"}


@pytest.mark.parametrize("equation, text", [
    ("a1->a", r"einsum: expected letters for labels, got '1' in 'a1->a'"),
    ("aa->b", r"einsum: expected distinct labels of the operands after ->, got 'aa->b'"),
    ("aa->aa", r"einsum: expected distinct labels of the operands after ->"),
    ("aaa->a", r"einsum: expected 3 axes for 'aaa', got shape \(2, 3\)"),
    ("aa->a", r"einsum: expected equal extents for label 'a', got 2 and 3"),
    ("ab,bc->ac", r"einsum: expected 2 operands for 'ab,bc->ac', got 1"),
])
def test_errors(equation: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        fb.einsum(equation, np.zeros((2, 3)))
