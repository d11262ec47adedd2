"""Distributions: Kolmogorov-Smirnov and chi-square against scipy, tails, arguments, gradients."""

from __future__ import annotations

import json
import re
from pathlib import Path

import flambeau as fb
import numpy as np
import pytest
import scipy.special as special
import scipy.stats as stats

N = 20_000
LIMIT = 1e-3  # of the p-value; the seeds are fixed, so this fails always or never
RECORDED = json.loads((Path(__file__).parents[1] / "data" / "random.json").read_text())["torch7"]


@pytest.fixture(autouse=True)
def _seed():
    fb.manual_seed(1234)


CONTINUOUS = [  # function, arguments, scipy's name, scipy's arguments
    ("uniform", (-1.0, 3.0), "uniform", (-1, 4)),
    ("normal", (2.0, 3.0), "norm", (2, 3)),
    ("log_normal", (0.5, 0.7), "lognorm", (0.7, 0, np.exp(0.5))),
    ("exponential", (2.0,), "expon", (0, 0.5)),
    ("cauchy", (1.0, 2.0), "cauchy", (1, 2)),
    ("laplace", (1.0, 2.0), "laplace", (1, 2)),
    ("logistic", (1.0, 2.0), "logistic", (1, 2)),
    ("gumbel", (1.0, 2.0), "gumbel_r", (1, 2)),
    ("weibull", (1.7, 2.0), "weibull_min", (1.7, 0, 2)),
    ("gamma", (0.05, 2.0), "gamma", (0.05, 0, 2)),
    ("gamma", (0.9,), "gamma", (0.9,)),
    ("gamma", (1.0,), "gamma", (1,)),
    ("gamma", (7.5, 0.5), "gamma", (7.5, 0, 0.5)),
    ("gamma", (2000.0,), "gamma", (2000,)),
    ("chisquare", (3.0,), "chi2", (3,)),
    ("student_t", (2.5,), "t", (2.5,)),
    ("beta", (0.5, 0.7), "beta", (0.5, 0.7)),
    ("beta", (20.0, 3.0), "beta", (20, 3)),
    ("von_mises", (0.0, 2.0), "vonmises", (2,)),
    ("truncated_normal", (1.0, 2.0, 0.0, 2.5), "truncnorm", (-0.5, 0.75, 1, 2)),
    ("truncated_normal", (0.0, 1.0, -3.0, 1.0), "truncnorm", (-3, 1)),
    ("truncated_normal", (0.0, 1.0, 4.0, 9.0), "truncnorm", (4, 9)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", range(len(CONTINUOUS)))
def test_continuous(number, dtype):
    name, args, theirs, parameters = CONTINUOUS[number]
    t = fb.empty(N, dtype=dtype)
    assert getattr(t, f"{name}_")(*args) is t and t.dtype.name == dtype
    found = t.numpy().astype(np.float64)
    assert np.isfinite(found).all()
    tiny = found == 0  # float32 underflows for a gamma of shape 0.05
    found[tiny] = getattr(stats, theirs)(*parameters).ppf(0.5 * tiny.mean())
    if tiny.mean() < 0.001:
        assert stats.kstest(found, theirs, parameters).pvalue > LIMIT


def test_the_three_doors_are_one():
    a = fb.Generator(3).laplace(1.0, 2.0, (4,))
    b = fb.laplace(1.0, 2.0, (4,), generator=fb.Generator(3))
    c = fb.empty(4).laplace_(1.0, 2.0, generator=fb.Generator(3))
    assert a.tolist() == b.tolist() == c.tolist()
    assert fb.laplace(size=(2, 3), dtype="float16").dtype is fb.float16
    assert fb.normal(fb.zeros(2, 1), fb.ones(3), dtype=fb.float64).shape == (2, 3)
    assert fb.gamma(fb.ones(3), size=(2, 3)).shape == (2, 3) and fb.gumbel().shape == ()
    assert fb.uniform([0.0, 5.0], [1.0, 6.0]).tolist()[1] >= 5
    strided = fb.zeros(4, 6)
    strided[:, ::2].normal_()
    assert (strided[:, 1::2] == 0).all() and (strided[:, ::2] != 0).all()
    assert fb.empty(0, 3).gamma_(2.0).shape == (0, 3)


COUNTS = [  # function, arguments, scipy's distribution
    ("poisson", (0.3,), stats.poisson(0.3)),
    ("poisson", (9.0,), stats.poisson(9)),
    ("poisson", (11.0,), stats.poisson(11)),
    ("poisson", (400.0,), stats.poisson(400)),
    ("binomial", (8, 0.3), stats.binom(8, 0.3)),
    ("binomial", (1000, 0.004), stats.binom(1000, 0.004)),
    ("binomial", (60, 0.4), stats.binom(60, 0.4)),
    ("binomial", (5000, 0.9), stats.binom(5000, 0.9)),
    ("geometric", (0.3,), stats.geom(0.7)),
    ("geometric", (0.99,), stats.geom(0.01)),
]


@pytest.mark.parametrize("number", range(len(COUNTS)))
def test_counts(number):
    name, args, law = COUNTS[number]
    found = getattr(fb, name)(*args, size=N)
    assert found.dtype is fb.int64
    edges = np.unique(law.ppf(np.linspace(0, 1, 22)[1:-1]))  # cells of about as much weight
    places = np.searchsorted(edges, found.numpy(), side="left")
    expected = np.diff([0, *law.cdf(edges), 1]) * N
    keep = expected > 5
    counts = np.bincount(places, minlength=len(expected))[keep]
    assert counts.sum() > 0.99 * N
    assert stats.chisquare(counts, expected[keep] * counts.sum() / expected[keep].sum()
                           ).pvalue > LIMIT


def test_counts_at_the_ends():
    assert fb.poisson(0.0, 50).max().item() == 0
    assert fb.binomial(0, 0.5, 50).max().item() == 0 == fb.binomial(9, 0.0, 50).max().item()
    assert fb.binomial(9, 1.0, 50).min().item() == 9
    assert fb.binomial(fb.tensor([3, 4000]), 0.999, (20, 2)).max(0).tolist()[0] <= 3
    big = fb.poisson(1e12, 2000, dtype=fb.float64).numpy()
    assert abs(big.mean() - 1e12) < 5e6 / np.sqrt(2000) and abs(big.std() / 1e6 - 1) < 0.1
    assert fb.empty(5, dtype=fb.uint8).poisson_(3.0).dtype is fb.uint8


def test_tails():
    """A million float64 normals reach as far as they should, and float32 as far as float64; half of
    gumbel's and exponential's lie where they belong at both ends."""
    t = fb.randn(1_000_000, dtype=fb.float64).numpy()
    for limit in (3, 4, 4.5):
        expected = 2e6 * special.ndtr(-limit)
        assert abs((np.abs(t) > limit).sum() - expected) < 4.5 * np.sqrt(expected)
    low = fb.randn(1_000_000).numpy()
    assert 4.3 < np.abs(low).max() < 6.8 and abs((np.abs(low) > 4).sum() - 63.3) < 36
    e = fb.exponential(1.0, 1_000_000).numpy()
    assert (e > 0).all() and 11 < e.max() < 23 and abs((e < 1e-4).sum() - 100) < 45
    g = fb.gumbel(size=1_000_000).numpy()
    assert 11 < g.max() < 25 and -3.2 < g.min() < -2.2


def test_the_farthest_numbers():
    """Smallest and largest bits give finite numbers, for float64 beyond 9 sigma."""
    from flambeau import random
    from flambeau.tensor import read, result

    for words, reach in ((np.uint32, 22), (np.uint64, 45)):
        ends = fb.tensor(np.array([0, np.iinfo(words).max], words))
        near, far = result(random.positive_node(read(ends))).tolist()
        assert near > 0 and far < 1 and -np.log(near) > reach
        assert result(random.signed_node(read(ends))).numpy().prod() < 0
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        ends = fb.tensor(np.array([2 ** 64 - 1], np.uint64)) if dtype == "float64" else (
            fb.tensor(np.array([2 ** 32 - 1], np.uint32)))
        assert result(random.unit_node(read(ends), getattr(fb, dtype))).double().item() < 1


def test_short_floats_stay_below_1():
    for dtype, steps in (("float16", 2048), ("bfloat16", 256)):
        found = fb.rand(N, dtype=dtype).float().numpy()
        assert found.max() < 1 and found.min() >= 0
        assert (found * steps == np.round(found * steps)).all() and abs(found.mean() - 0.5) < 0.02


def test_dirichlet():
    alpha = fb.tensor([0.1, 1.0, 5.0])
    t = fb.dirichlet(alpha, 4000)
    assert t.shape == (4000, 3)
    np.testing.assert_allclose(t.sum(1).numpy(), 1, rtol=1e-5)
    for i, a in enumerate((0.1, 1.0, 5.0)):
        assert stats.kstest(t[:, i].double().numpy(), "beta", (a, 6.1 - a)).pvalue > LIMIT
    assert np.isfinite(fb.dirichlet(fb.full((50, 2), 0.001)).numpy()).all()
    assert fb.dirichlet(fb.ones(2, 3)).shape == (2, 3)


@pytest.mark.parametrize("number", range(len(RECORDED)))
def test_torch7_means_the_same_by_its_arguments(number):
    """Torch7's own draws (tests/data) come from the law that ours have with these arguments: rate,
    not mean; the chance to go on; parameters of the underlying normal. The bits differ."""
    case = RECORDED[number]
    name = re.sub("([A-Z])", r"_\1", case["name"]).lower()
    ours = getattr(fb.empty(4000), f"{name}_")(*case["args"]).numpy()
    if name in ("geometric", "bernoulli"):
        table = [[(np.array(d) <= k).sum() for k in (0, 1)] for d in (ours, case["draws"])]
        table = [[row[0], row[1] - row[0], len(d) - row[1]]
                 for row, d in zip(table, (ours, case["draws"]))]
        table = np.array(table)[:, np.sum(table, 0) > 0]
        assert stats.chi2_contingency(table).pvalue > LIMIT
    else:
        assert stats.ks_2samp(ours, case["draws"]).pvalue > LIMIT


def test_torch7_defaults():
    u = fb.empty(N).log_normal_().log()
    assert abs(u.mean().item() - 1) < 0.1 and abs(u.std().item() - 2) < 0.1
    e = fb.empty(N).exponential_()
    assert abs(e.mean().item() - 1) < 0.05
    assert abs(fb.empty(N).cauchy_().median().item()) < 0.05
    assert fb.empty(N, dtype=fb.int32).geometric_(0.5).min().item() == 1


def test_gradients_flow_through_formulas():
    def at(f):
        return lambda *p: f(*p, generator=fb.Generator(5))

    mean, std = (fb.tensor(v, dtype=fb.float64) for v in ([0.5, 1.0], [1.0, 2.0]))
    for f in (fb.normal, fb.log_normal, fb.laplace, fb.gumbel, fb.logistic, fb.cauchy,
              fb.weibull):
        assert fb.gradcheck(at(f), (mean, std)), f.__name__
    assert fb.gradcheck(at(fb.uniform), (mean, std + 2))
    assert fb.gradcheck(at(fb.exponential), (std,))
    scale = fb.tensor([2.0, 3.0]).requires_grad_()
    x = fb.gamma(2.0, scale)
    x.sum().backward()
    np.testing.assert_allclose(scale.grad.numpy(), (x / scale).numpy(), rtol=1e-5)


def test_gradients_of_draws_by_rejection():
    """A gamma draw z moves with its shape a so that P(a, z) stays: dz/da and d2z/da2 by SciPy."""
    a = np.array([1.0, 1.5, 3.0, 20.0, 400.0])

    def draw(p):
        return fb.gamma(p, generator=fb.Generator(3))

    slope = fb.grad(lambda p: draw(p).sum())
    z = draw(fb.tensor(a)).numpy()
    kept, h = special.gammainc(a, z), 1e-3
    path = [special.gammaincinv(a + k * h, kept) for k in (-1, 0, 1)]
    t = fb.tensor(a, requires_grad=True)
    draw(t).sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), (path[2] - path[0]) / (2 * h), rtol=1e-6)
    second = fb.grad(lambda p: slope(p).sum())(fb.tensor(a)).numpy()
    np.testing.assert_allclose(second, (path[2] - 2 * path[1] + path[0]) / h ** 2, atol=1e-6)
    np.testing.assert_array_equal(draw(t).detach().numpy(), z)


def test_gradients_of_laws_made_of_gammas():
    """The mean of each law over many draws moves as its formula says."""
    a = fb.tensor([0.6, 2.5], requires_grad=True)
    n, source = 4_000, fb.Generator(1)
    for mean, expected in (
            (fb.gamma(a, 2.0, (n, 2), generator=source).mean(0), [2, 2]),
            (fb.chisquare(a, (n, 2), generator=source).mean(0), [1, 1]),
            (fb.beta(a, 1.0, (n, 2), generator=source).mean(0), [1 / 1.6 ** 2, 1 / 3.5 ** 2]),
            (fb.dirichlet(a, n, generator=source).mean(0) * fb.tensor([1.0, 0.0]),
             [2.5 / 3.1 ** 2, -0.6 / 3.1 ** 2]),
            (fb.student_t(a + 9, (n, 2), generator=source).square().mean(0),
             [-2 / 7.6 ** 2, -2 / 9.5 ** 2])):
        a.grad = None
        mean.sum().backward()
        np.testing.assert_allclose(a.grad.numpy(), expected, rtol=0.1, atol=0.02)


T = fb.tensor
CASES = [
    (lambda: fb.uniform(2, 1, (3,)), ValueError, "uniform: expected low <= high, got 2 and 1"),
    (lambda: fb.empty(3).uniform_(2, 1), ValueError, "uniform_: expected low <= high, got 2 and 1"),
    (lambda: fb.normal(0, -1, (3,)), ValueError, "normal: expected std of 0 or more, got -1"),
    (lambda: fb.empty(3).normal_(0, float("nan")), ValueError,
     "normal_: expected std of 0 or more, got nan"),
    (lambda: fb.exponential(0.0), ValueError, "exponential: expected rate above 0, got 0.0"),
    (lambda: fb.cauchy(0, -1), ValueError, "cauchy: expected sigma above 0, got -1"),
    (lambda: fb.gamma(0.0), ValueError, "gamma: expected shape above 0, got 0.0"),
    (lambda: fb.beta(1.0, -2), ValueError, "beta: expected b above 0, got -2"),
    (lambda: fb.student_t(-1), ValueError, "student_t: expected df above 0, got -1"),
    (lambda: fb.poisson(-1), ValueError, "poisson: expected rate of 0 or more, got -1"),
    (lambda: fb.binomial(-1, 0.5), ValueError, "binomial: expected n of 0 or more, got -1"),
    (lambda: fb.binomial(1, 1.5), ValueError, "binomial: expected p in [0, 1], got 1.5"),
    (lambda: fb.geometric(1.0), ValueError, "geometric: expected p in (0, 1), got 1.0"),
    (lambda: fb.von_mises(0, -1), ValueError, "von_mises: expected kappa of 0 or more, got -1"),
    (lambda: fb.truncated_normal(low=2, high=1), ValueError,
     "truncated_normal: expected low <= high, got 2 and 1"),
    (lambda: fb.dirichlet(1.0), ValueError,
     "dirichlet: expected concentrations along a last axis, got a number"),
    (lambda: fb.normal(T([0.0, 1.0]), 1.0, (3,)), ValueError,
     "normal: expected shapes that broadcast, got (3,) and (2,)"),
    (lambda: fb.normal(fb.zeros(2, 3), 1.0, (3,)), ValueError,
     "normal: expected parameters that broadcast to (3,), got shapes (2, 3)"),
    (lambda: fb.zeros(3, dtype=fb.int64).normal_(), TypeError,
     "normal_: expected a floating dtype, got int64"),
    (lambda: fb.rand(3, dtype=fb.int32), TypeError, "rand: expected a floating dtype, got int32"),
    (lambda: fb.gamma(), TypeError, "gamma: expected shape, scale, size, dtype, generator, "
     "device, got missing a required argument"),
    (lambda: fb.gamma("a"), TypeError, "gamma: expected a tensor, an array or a number, got str"),
    (lambda: fb.von_mises(0, fb.ones(2).requires_grad_()), TypeError,
     "von_mises: expected parameters that require no gradient"),
    # in tensors: when they are computed
    (lambda: fb.uniform(T([0.0, 2.0]), 1.0), ValueError,
     "uniform: expected low <= high, got low above high (recorded at uniform, "),
    (lambda: fb.normal(0.0, T([1.0, -1.0])), ValueError, "normal: expected std of 0 or more, got "
     "one that is not (recorded at normal, "),
    (lambda: fb.gamma(T([1.0, float("nan")])), ValueError,
     "gamma: expected shape above 0, got one"),
    (lambda: fb.compile(lambda p: fb.binomial(4, p))(T([0.5, 2.0])), ValueError,
     "binomial: expected p in [0, 1], got one that is not (recorded at binomial, "),
    (lambda: fb.poisson(T(np.r_[np.ones(1000), -1.0])), ValueError,
     "poisson: expected rate of 0 or more, got one that is not"),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_message(number):
    run, kind, text = CASES[number]
    with pytest.raises(kind, match=re.escape(text)) as error:
        run().numpy()
    assert "recorded at" not in text or "test_distributions.py:" in str(error.value)


def test_a_bad_parameter_spares_the_rest():
    bad, good = fb.normal(0.0, T([-1.0])), T([2.0]) + 1
    for _ in range(2):
        with pytest.raises(ValueError, match="normal: expected std"):
            bad.numpy()
    assert good.tolist() == [3.0]
    with override_reference(), pytest.raises(ValueError, match="normal: expected std"):
        fb.normal(0.0, T([-1.0])).numpy()


def override_reference():
    from flambeau.compiler.config import override

    return override(device="reference")
