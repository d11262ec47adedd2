"""Random numbers: repeatable, different from call to call, and of the right distribution."""

from __future__ import annotations

import math

import flambeau as fb
import numpy as np
import pytest
import scipy.stats as stats
from cases import check

N = 20000


@pytest.fixture(autouse=True)
def _seed():
    fb.manual_seed(1234)


def test_the_same_seed_gives_the_same_numbers():
    first = [fb.rand(5).tolist(), fb.randn(5).tolist(), fb.randperm(5).tolist()]
    fb.manual_seed(1234)
    assert [fb.rand(5).tolist(), fb.randn(5).tolist(), fb.randperm(5).tolist()] == first
    assert fb.rand(5).tolist() != fb.rand(5).tolist()
    state = fb.get_rng_state()
    a = fb.rand(3).tolist()
    fb.set_rng_state(state)
    assert fb.rand(3).tolist() == a
    own = fb.Generator(7)
    b = fb.rand(3, generator=own).tolist()
    assert fb.rand(3, generator=fb.Generator(7)).tolist() == b
    assert fb.initial_seed() == 1234


def test_a_lazy_draw_keeps_its_numbers():
    t = fb.rand(4)
    u = t + 0
    fb.rand(4)
    assert u.tolist() == t.tolist()


def test_a_draw_does_not_depend_on_the_shape_beyond_it():
    generator = fb.Generator(3)
    a = fb.rand(10, generator=generator).numpy()
    b = fb.rand(2, 5, generator=fb.Generator(3)).numpy()
    np.testing.assert_array_equal(a, b.ravel())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distributions(dtype):
    def fits(t: fb.Tensor, distribution: str, *args: float) -> None:
        assert t.dtype.name == dtype
        p = stats.kstest(t.numpy().astype(np.float64), distribution, args).pvalue
        assert p > 1e-3, (distribution, p)

    u = fb.rand(N, dtype=dtype)
    fits(u, "uniform")
    assert u.min().item() >= 0 and u.max().item() < 1
    fits(fb.randn(N, dtype=dtype), "norm")
    fits(fb.normal(2.0, 3.0, N, dtype=dtype), "norm", 2, 3)
    fits(fb.uniform(-1.0, 3.0, (N,), dtype=dtype), "uniform", -1, 4)
    t = fb.empty(N, dtype=dtype)
    fits(t.uniform_(2, 5), "uniform", 2, 3)
    fits(t.normal_(1, 2), "norm", 1, 2)
    fits(t.exponential_(2.0), "expon", 0, 0.5)
    fits(t.cauchy_(1, 2), "cauchy", 1, 2)
    fits(t.log_normal_(0.5, 0.7), "lognorm", 0.7, 0, math.exp(0.5))
    k = t.geometric_(0.3).numpy()
    assert k.min() == 1 and abs(k.mean() - 1 / 0.7) < 0.03


def test_integers():
    t = fb.randint(3, 9, (N,))
    assert t.dtype is fb.int64
    counts = np.bincount(t.numpy(), minlength=9)
    assert counts[:3].sum() == 0 and stats.chisquare(counts[3:]).pvalue > 1e-3
    assert fb.randint(5, size=(2, 3)).shape == (2, 3)
    u = fb.empty(N, dtype=fb.int32).random_(10)
    assert set(u.unique().tolist()) == set(range(10))
    assert fb.empty(N).random_().max().item() < 2 ** 24
    assert fb.empty(N, dtype=fb.uint8).random_().max().item() == 255
    p = fb.randperm(100)
    assert sorted(p.tolist()) == list(range(100)) and p.tolist() != list(range(100))
    check(fb.shuffle(fb.arange(10)).sort().values, np.arange(10))


def test_bernoulli_and_dropout():
    t = fb.bernoulli(0.3, (N,))
    assert set(t.unique().tolist()) == {0.0, 1.0} and abs(t.mean().item() - 0.3) < 0.02
    p = fb.tensor([0.0, 1.0, 0.5])
    assert fb.bernoulli(p)[:2].tolist() == [0.0, 1.0]
    assert abs(fb.empty(N, dtype=fb.bool_).bernoulli_(0.2).mean().item() - 0.2) < 0.02
    x = fb.ones(N)
    y = fb.dropout(x, 0.25)
    assert set(np.round(y.unique().tolist(), 4)) == {0.0, 1.3333}
    assert abs(y.mean().item() - 1) < 0.03
    assert fb.dropout(x, 0.5, training=False) is x
    assert fb.dropout(x, 1.0).sum().item() == 0


def test_multinomial():
    p = fb.tensor([[1.0, 0, 3], [0, 5, 5]])
    t = fb.multinomial(p.expand(2, 3), 4000, replacement=True)
    assert t.shape == (2, 4000)
    counts = [np.bincount(row, minlength=3) / 4000 for row in t.numpy()]
    np.testing.assert_allclose(counts, [[0.25, 0, 0.75], [0, 0.5, 0.5]], atol=0.03)
    found = fb.multinomial(fb.tensor([1.0, 1, 1, 1]), 4)
    assert sorted(found.tolist()) == [0, 1, 2, 3]


def test_normal_takes_tensors():
    t = fb.normal(fb.tensor([0.0, 100.0]), 1.0)
    assert t.shape == (2,) and t[1].item() > 50
