"""Chances, integers, permutations and weights: the right laws, and what is refused."""

from __future__ import annotations

import re

import flambeau as fb
import numpy as np
import pytest
import scipy.stats as stats
from cases import check

N = 20_000
LIMIT = 1e-3


@pytest.fixture(autouse=True)
def _seed():
    fb.manual_seed(1234)


def test_bernoulli():
    t = fb.bernoulli(0.3, (N,))
    assert set(t.unique().tolist()) == {0.0, 1.0}
    assert stats.binomtest(int(t.sum().item()), N, 0.3).pvalue > LIMIT
    p = fb.tensor([0.0, 1.0, 0.5])
    assert fb.bernoulli(p)[:2].tolist() == [0.0, 1.0]
    many = fb.bernoulli(fb.tensor([0.0, 1.0, 0.25], dtype=fb.float64), (N, 3))
    assert many.dtype is fb.float64 and many.sum(0)[:2].tolist() == [0, N]
    assert stats.binomtest(int(many[:, 2].sum().item()), N, 0.25).pvalue > LIMIT
    assert fb.bernoulli(0.0, N).sum().item() == 0 and fb.bernoulli(1.0, N).sum().item() == N
    assert fb.bernoulli(0.2, dtype=fb.bool_).shape == ()
    rare = fb.bernoulli(1e-5, 1_000_000).sum().item()
    assert 0 < rare < 25
    mask = fb.empty(N, dtype=fb.bool_).bernoulli_(0.2)
    assert stats.binomtest(int(mask.sum().item()), N, 0.2).pvalue > LIMIT
    assert fb.empty(2, 3).bernoulli_(fb.tensor([0.0, 1.0, 1.0])).tolist() == [[0, 1, 1]] * 2


def test_dropout():
    x = fb.ones(N)
    y = fb.dropout(x, 0.25)
    assert set(np.round(y.unique().tolist(), 4)) == {0.0, 1.3333}
    assert stats.binomtest(int((y == 0).sum().item()), N, 0.25).pvalue > LIMIT
    assert fb.dropout(x, 0.5, training=False) is x
    assert fb.dropout(x, 1.0).sum().item() == 0
    assert fb.Generator(1).dropout(x).tolist() == fb.dropout(x, generator=fb.Generator(1)).tolist()


@pytest.mark.parametrize("low, high", [
    (3, 9), (-5, 5), (0, 1000), (0, 3 << 30), (-(1 << 62), 1 << 62), (5, 5 + (3 << 61)),
    (-(1 << 63), (1 << 63) - 1),
])
def test_integers(low, high):
    t = fb.randint(low, high, (N,)).numpy()
    assert t.dtype == np.int64 and t.min() >= low and t.max() < high
    cells = min(high - low, 24)  # a modulo of 64 bits would fill some twice
    places = ((t.astype(object) - low) * cells // (high - low)).astype(int)
    assert stats.chisquare(np.bincount(places, minlength=cells)).pvalue > LIMIT
    last = (t.astype(object) - low) % 7
    if high - low > 1000:
        assert stats.chisquare(np.bincount(last.astype(int), minlength=7)).pvalue > LIMIT


def test_integers_are_the_upper_part_of_a_product():
    """floor(span * bits / 2**128), checked with Python's integers."""
    from flambeau import random
    from flambeau.compiler import dtype as dt
    from flambeau.tensor import result

    for span in (6, 1 << 32, (1 << 32) + 1, (1 << 63) + 12345, (1 << 64) - 1):
        found = result(random.below_node(random.word_nodes((50,), fb.Generator(3)), span)).numpy()
        words = random.word_nodes((50,), fb.Generator(3))
        high, low = (result(words(dt.uint64, s)).numpy() for s in (0, 1))
        if span <= 1 << 32:
            expected = [span * int(h) >> 64 for h in high]
        else:
            expected = [(span * ((int(h) << 64) + int(lo))) >> 128 for h, lo in zip(high, low)]
            expected = [min(e, (span * int(h) + (span * int(lo) >> 64)) >> 64)
                        for e, h, lo in zip(expected, high, low)]
        assert found.tolist() == expected


def test_integers_of_other_dtypes():
    assert fb.randint(5, size=(2, 3)).shape == (2, 3)
    assert fb.randint(1, dtype=fb.int8).dtype is fb.int8 and fb.integers is fb.randint
    assert fb.randint(1 << 63, 1 << 64, (9,), dtype=fb.uint64).numpy().min() >= 1 << 63
    assert len(fb.randint(0, 1 << 64, (9,), dtype=fb.uint64).unique().tolist()) == 9
    u = fb.empty(N, dtype=fb.int32).random_(10)
    assert set(u.unique().tolist()) == set(range(10))
    assert fb.empty(N).random_().max().item() < 2 ** 24
    assert fb.empty(N, dtype=fb.uint8).random_().max().item() == 255
    assert fb.empty(N, dtype=fb.int8).random_(-128, 128).min().item() == -128
    assert fb.empty(N, dtype=fb.uint64).random_().numpy().max() > 1 << 63


def test_permutations():
    p = fb.randperm(100)
    assert sorted(p.tolist()) == list(range(100)) and p.tolist() != list(range(100))
    check(fb.shuffle(fb.arange(10)).sort().values, np.arange(10))
    assert sorted(fb.permutation(5).tolist()) == list(range(5))
    orders = fb.argsort(fb.rand(6000, 3), 1).numpy() @ [9, 3, 1]
    counts = np.unique([tuple(fb.randperm(3).tolist()) for _ in range(600)], axis=0,
                       return_counts=True)[1]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > LIMIT
    assert stats.chisquare(np.unique(orders, return_counts=True)[1]).pvalue > LIMIT
    rows = fb.arange(12).reshape(6, 2)
    assert sorted(fb.shuffle(rows).tolist()) == rows.tolist()


WEIGHTS = [0.1, 0.4, 0.2, 0.0, 0.3, 0.0]


def test_multinomial_with_replacement():
    """Torch7's recorded case: frequencies of (0.1, 0.4, 0.2, 0.3) from 20,000 draws."""
    found = fb.multinomial(fb.tensor(WEIGHTS), N, True)
    counts = np.bincount(found.numpy(), minlength=6)
    assert counts[3] == counts[5] == 0
    assert stats.chisquare(counts[[0, 1, 2, 4]], N * np.array([0.1, 0.4, 0.2, 0.3])).pvalue > LIMIT
    np.testing.assert_allclose(counts[[0, 1, 2, 4]] / N, [0.09815, 0.39755, 0.20245, 0.30185],
                               atol=0.02)
    p = fb.tensor([[1.0, 0, 3], [0, 5, 5]])
    t = fb.multinomial(p, 4000, replacement=True)
    assert t.shape == (2, 4000)
    rows = [np.bincount(row, minlength=3) / 4000 for row in t.numpy()]
    np.testing.assert_allclose(rows, [[0.25, 0, 0.75], [0, 0.5, 0.5]], atol=0.03)
    for columns in (1, 2, 7, 8, 9, 1000):
        wide = fb.multinomial(fb.ones(columns), N, True).numpy()
        counts = np.bincount(wide, minlength=columns)
        assert len(counts) == columns and (columns == 1 or stats.chisquare(counts).pvalue > LIMIT)


def test_multinomial_without_replacement():
    found = fb.multinomial(fb.tensor([1.0, 1, 1, 1]), 4)
    assert sorted(found.tolist()) == [0, 1, 2, 3]
    p = np.array([0.1, 0.4, 0.2, 0.3])
    t = fb.multinomial(fb.tensor(p).expand(6000, 4), 2).numpy()
    first = np.bincount(t[:, 0], minlength=4)
    assert (t[:, 0] != t[:, 1]).all() and stats.chisquare(first, 6000 * p).pvalue > LIMIT
    chance = p[:, None] * p / (1 - p[:, None]) * (1 - np.eye(4))  # of a pair, in order
    pairs = np.bincount(t[:, 0] * 4 + t[:, 1], minlength=16)
    off = ~np.eye(4, dtype=bool).ravel()
    assert stats.chisquare(pairs[off], 6000 * chance.ravel()[off]).pvalue > LIMIT
    assert fb.multinomial(fb.tensor([0.0, 2.0, 0.0]), 1).tolist() == [1]
    assert fb.multinomial(fb.ones(3), 0).shape == (0,)


def test_alias_tables():
    state = fb.multinomial_alias_setup(fb.tensor(WEIGHTS))
    counts = np.bincount(fb.multinomial_alias(state, N).numpy(), minlength=6)
    assert counts[3] == counts[5] == 0
    assert stats.chisquare(counts[[0, 1, 2, 4]], N * np.array([0.1, 0.4, 0.2, 0.3])).pvalue > LIMIT
    rng = np.random.default_rng(0)
    for size in (1, 2, 17, 300):
        p = rng.random(size) ** 3
        alias, threshold = (t.numpy() for t in fb.multinomial_alias_setup(fb.tensor(p)))
        mass = threshold.copy()
        np.add.at(mass, alias, 1 - threshold)
        np.testing.assert_allclose(mass / size, p / p.sum(), atol=1e-12)
    assert fb.Generator(2).multinomial_alias(state, (2, 3)).shape == (2, 3)


T = fb.tensor
CASES = [
    (lambda: fb.bernoulli(1.5), "bernoulli: expected a probability in [0, 1], got 1.5"),
    (lambda: fb.empty(2).bernoulli_(-0.5),
     "bernoulli_: expected a probability in [0, 1], got -0.5"),
    (lambda: fb.dropout(fb.ones(2), 2.0), "dropout: expected a probability in [0, 1], got 2.0"),
    (lambda: fb.bernoulli(T([0.5, 1.5])),
     "bernoulli: expected probabilities in [0, 1], got one outside (recorded at bernoulli, "),
    (lambda: fb.randint(5, 5), "randint: expected low < high, got 5 and 5"),
    (lambda: fb.randint(0, 300, (3,), dtype=fb.uint8),
     "randint: expected a range that uint8 holds, got 0 to 300"),
    (lambda: fb.empty(2).random_(3, 1), "random_: expected low < high, got 3 and 1"),
    (lambda: fb.empty(2).random_(high=3), "random_: expected low with high, got high alone"),
    (lambda: fb.shuffle(T(1.0)), "shuffle: expected at least one axis, got a 0-d tensor"),
    (lambda: fb.multinomial(fb.ones(2), 3),
     "multinomial: expected at most 2 samples without replacement, got 3"),
    (lambda: fb.multinomial(fb.ones(2), -1),
     "multinomial: expected a number of samples of 0 or more, got -1"),
    (lambda: fb.multinomial(fb.ones(0), 1, True),
     "multinomial: expected weights to choose from, got none"),
    (lambda: fb.multinomial(T([1, 2]), 1),
     "multinomial: expected floating rows of weights, got int64 (2,)"),
    (lambda: fb.multinomial(T([1.0, -1.0]), 1),
     "multinomial: expected finite weights of 0 or more, got another (recorded at multinomial, "),
    (lambda: fb.multinomial(T([1.0, float("nan")]), 1, True),
     "multinomial: expected finite weights of 0 or more, got another"),
    (lambda: fb.multinomial(T([0.0, 0.0]), 1, True),
     "multinomial: expected weights with a sum above 0, got all 0 (recorded at multinomial, "),
    (lambda: fb.multinomial(T([1.0, 0.0]), 2),
     "multinomial: expected as many weights above 0 as samples, got fewer"),
    (lambda: fb.multinomial_alias_setup(T([1.0, -1.0])),
     "multinomial_alias_setup: expected finite weights of 0 or more with a sum above 0, got a "
     "smallest of -1.0 and a sum of 0.0"),
    (lambda: fb.multinomial_alias_setup(fb.ones(2, 2)),
     "multinomial_alias_setup: expected a vector of weights, got shape (2, 2)"),
    (lambda: fb.one_hot(T([0, 3]), 3),
     "one_hot: expected integers from 0 to 2, got one outside (recorded at one_hot, "),
    (lambda: fb.one_hot(T([-1, 2]), 3), "one_hot: expected integers from 0 to 2, got one outside"),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_message(number):
    run, text = CASES[number]
    with pytest.raises(ValueError, match=re.escape(text)) as error:
        run().numpy()
    assert "recorded at" not in text or "test_choosing.py:" in str(error.value)
