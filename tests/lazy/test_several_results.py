"""Functions of several results run their host routine once, in whatever order results are asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau import realize as door
from flambeau.runtime import externs, linear, recipes, spectral  # noqa: F401  (they add routines)

L = fb.linalg
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sort": fb.sort, "falling": lambda x: fb.sort(x, 0, True), "topk": lambda x: fb.topk(x, 2),
    "kthvalue": lambda x: fb.kthvalue(x, 2), "median": lambda x: fb.median(x, 1),
    "mode": fb.mode, "svd": L.svd, "lu": L.lu, "lu_factor": L.lu_factor, "qr": L.qr,
    "eigh": L.eigh, "eig": L.eig, "slogdet": L.slogdet, "geqrf": L.geqrf,
    "lstsq": lambda a: L.lstsq(a, a[:, :2])}
X = np.random.default_rng(0).standard_normal((5, 5))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each routine ran; all of them run in Python here, where they can be counted."""
    found: Counter[str] = Counter()
    monkeypatch.setattr(recipes, "chain", lambda program, entries: None)
    door._programs.clear()
    door._known.clear()

    def counted(name: str, routine: Callable[..., Any]) -> Callable[..., Any]:
        def body(*args: Any) -> Any:
            result = routine(*args)
            found[name] += result is not False  # what declines to write leaves it to the other
            return result
        return body

    for name, routine in externs.EXTERNS.items():
        if name not in ("packed", "linalg.permutation"):
            monkeypatch.setitem(externs.EXTERNS, name, counted(name, routine))
            if name in externs.INTO:
                monkeypatch.setitem(externs.INTO, name, counted(name, externs.INTO[name]))
    yield found
    door._programs.clear()
    door._known.clear()


@pytest.mark.parametrize("kind", ["float64", "float16", "complex128"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_run_for_all_results(name: str, kind: str, calls: Counter[str]) -> None:
    ordered = name in ("sort", "falling", "topk", "kthvalue", "median", "mode")
    if (kind == "complex128" and ordered) or (kind == "float16" and not ordered):
        pytest.skip("not defined")
    x = fb.tensor((X + 1j * X.T if kind == "complex128" else X).astype(kind))
    for turn in (1, -1):
        calls.clear()
        results = [t for t in FUNCTIONS[name](x * 1.5) if isinstance(t, fb.Tensor)]
        scaled = [t * 2 for t in results][::turn]  # not the results: what is made of them
        values = [t.numpy() for t in scaled]
        assert sum(calls.values()) == 1, calls
        for t, v in zip(results[::turn], values):
            np.testing.assert_array_equal((t * 2).numpy(), v)


def test_a_sort_alone_sorts_values(calls: Counter[str]) -> None:
    """np.sort is much faster than an order, so nothing asks for one in vain; a rank is placed."""
    x = fb.tensor(X)
    fb.sort(x).values.numpy()
    fb.quantile(x + 1, 0.5).numpy()
    assert calls == {"sort": 1, "placed": 1}
    assert not door.several


def test_sort_and_its_derivative_sort_once(calls: Counter[str]) -> None:
    weights = fb.tensor(X)
    value, slope = fb.compile(fb.value_and_grad(lambda x: (x.sort(0).values * weights).sum()))(
        fb.tensor(X.T))
    order = np.argsort(X.T, 0)
    assert calls == {"argsort": 1}
    np.testing.assert_allclose(value.numpy(), (np.sort(X.T, 0) * X).sum())
    np.testing.assert_array_equal(np.take_along_axis(slope.numpy(), order, 0), X)
    with_nan = fb.tensor([[np.nan, -0.0, 0.0, -np.inf]])
    values, places = fb.sort(with_nan)
    fb.compute(values, places)
    assert places.tolist() == [[3, 1, 2, 0]]
    np.testing.assert_array_equal(values.numpy(), [[-np.inf, -0.0, 0.0, np.nan]])


def test_results_that_nobody_holds_are_forgotten() -> None:
    kept = fb.topk(fb.tensor(X) * 3, 2)
    assert len(door.several) == 1
    del kept
    assert not door.several
