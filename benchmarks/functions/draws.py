"""Random numbers, beside NumPy's Generator (PCG64)."""

from __future__ import annotations

from collections.abc import Iterator

import flambeau as fb
import numpy as np

from . import Case, array, case, with_


def cases(n: int) -> Iterator[Case]:
    """The section's cases over n elements."""
    g = np.random.default_rng(0)
    for d in ("float32", "float64"):
        kind = np.dtype(d)
        yield case("rand", d, lambda d=d: fb.rand(n, dtype=d), lambda k=kind: g.random(n, k))
        yield case("randn", d, lambda d=d: fb.randn(n, dtype=d),
                   lambda k=kind: g.standard_normal(n, k))
        yield case("exponential", d, lambda d=d: fb.exponential(1.0, size=(n,), dtype=d),
                   lambda k=kind: g.standard_exponential(n, k))
        yield case("gamma", d, lambda d=d: fb.gamma(2.0, size=(n,), dtype=d),
                   lambda k=kind: g.standard_gamma(2.0, n, k))
    for low, high, d in ((0, 10, "int64"), (0, 10, "int32"), (0, 256, "uint8"),
                         (-(1 << 40), 1 << 40, "int64")):
        yield case("randint", f"{high - low} {d}",
                   lambda low=low, high=high, d=d: fb.randint(low, high, (n,), dtype=d),
                   lambda low=low, high=high, d=d: g.integers(low, high, n, d))
    yield case("bernoulli", "float32", lambda: fb.bernoulli(0.3, (n,)),
               lambda: (g.random(n, np.float32) < 0.3).astype(np.float32))
    yield case("dropout_mask", "float32", lambda: fb.dropout_mask((n,), 0.3),
               lambda: (g.random(n, np.float32) < 0.7) / np.float32(0.7))
    yield case("dropout", "float32", lambda x: fb.dropout(x, 0.3),
               lambda x: x * (g.random(n, np.float32) < 0.7) / np.float32(0.7),
               array("float32", n))
    yield case("randperm", "", lambda: fb.randperm(n), lambda: g.permutation(n))
    yield case("permutation", "float32", fb.permutation, g.permutation, array("float32", n))
    yield from _laws(n, g)


def _laws(n: int, g: np.random.Generator) -> Iterator[Case]:
    laws = {"uniform": (-1.0, 2.0), "normal": (1.0, 2.0), "laplace": (0.0, 1.0),
            "logistic": (0.0, 1.0), "gumbel": (0.0, 1.0), "beta": (2.0, 3.0), "weibull": (2.0,),
            "poisson": (4.0,), "poisson ": (100.0,), "binomial": (10, 0.3),
            "binomial ": (1000, 0.3), "geometric": (0.2,), "chisquare": (3.0,),
            "von_mises": (0.0, 4.0), "student_t": (3.0,)}
    theirs = {"von_mises": "vonmises", "student_t": "standard_t"}
    for name, options in laws.items():
        law = name.strip()
        kind = {"dtype": "float64"} if law not in ("poisson", "binomial", "geometric") else {}
        yield case(law, f"{options}", with_(getattr(fb, law), *options, size=(n,), **kind),
                   with_(getattr(g, theirs.get(law, law)), *options, size=n))
    yield case("log_normal", "", lambda: fb.log_normal(1.0, 2.0, size=(n,), dtype="float64"),
               lambda: g.lognormal(1.0, 0.5, n))
    yield case("cauchy", "", lambda: fb.cauchy(size=(n,), dtype="float64"),
               lambda: g.standard_cauchy(n))
    alpha = array("float64", 10, low=1, high=3)
    yield case("dirichlet", "10", lambda a: fb.dirichlet(a, (n // 10,)),
               lambda a: g.dirichlet(a, n // 10), alpha)
    p = array("float64", 100, low=0.1, high=1)
    p /= p.sum()
    yield case("multinomial", "100 replaced", lambda p: fb.multinomial(p, n, True),
               lambda p: g.choice(100, n, p=p), p)
