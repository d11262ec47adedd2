"""Order functions against NumPy."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from cases import ALL, array, check


@pytest.mark.parametrize("dtype", ALL)
def test_sort(dtype):
    a = array(dtype, (4, 6), 1)
    for axis in (0, 1, -1):
        values, places = fb.tensor(a).sort(axis)
        check(values, np.sort(a, axis), dtype)
        check(places, np.argsort(a, axis, kind="stable"), "int64")
        down, places = fb.sort(fb.tensor(a), dim=axis, descending=True)
        check(down, np.flip(np.sort(a, axis), axis))
        check(fb.take_along_axis(fb.tensor(a), places, axis), down.numpy())
        check(fb.argsort(fb.tensor(a).t(), 1 - axis if axis >= 0 else 0),
              np.argsort(a.T, 1 - axis if axis >= 0 else 0, kind="stable"))


def test_nan_sorts_last_and_ties_are_stable():
    t = fb.tensor([2.0, float("nan"), 1.0, 2.0])
    check(t.argsort(), [2, 0, 3, 1])
    check(t.argsort(descending=True), [1, 0, 3, 2])
    check(fb.sort(fb.tensor(3)).values, 3)


def test_topk_kthvalue():
    a = np.array([[3.0, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    values, places = fb.topk(fb.tensor(a), 2)
    check(values, [[5, 4], [9, 6]])
    check(places, [[4, 2], [0, 2]])
    check(fb.tensor(a).topk(2, largest=False).values, [[1, 1], [2, 3]])
    check(fb.tensor(a).topk(1, dim=0).values, [[9, 2, 6, 5, 5]])
    value, place = fb.kthvalue(fb.tensor(a), 3)
    check(value, [3, 5])
    check(place, [0, 3])
    check(fb.kthvalue(fb.tensor(a), 1, 0, keepdim=True).values, [[3, 1, 4, 1, 3]])


def test_medians_and_quantiles():
    a = array("float64", (4, 6), 1)
    t = fb.tensor(a)
    check(t.median(), np.sort(a.ravel())[11])
    value, place = t.median(dim=1)
    check(value, np.sort(a, 1)[:, 2])
    check(place, np.argsort(a, 1)[:, 2])
    for q in (0, 0.25, 0.5, 0.9, 1):
        check(t.quantile(q), np.quantile(a, q))
        check(t.quantile(q, 0, keepdims=True), np.quantile(a, q, 0, keepdims=True))
    check(fb.tensor([1.0, float("nan"), 2.0]).median(), np.nan)
    check(fb.tensor([1.0, float("nan"), 2.0]).quantile(0.5), np.nan)
    value, place = fb.mode(fb.tensor([[1, 2, 2, 3], [4, 4, 1, 1]]))
    check(value, [2, 1])
    check(fb.tensor([1, 2, 2, 3])[place[:1]], [2])


def test_unique_searchsorted_histc():
    a = np.array([[3, 1, 3], [2, 1, 1]])
    check(fb.unique(fb.tensor(a)), [1, 2, 3])
    values, inverse, counts = fb.unique(fb.tensor(a), True, True)
    check(values, [1, 2, 3])
    check(inverse, [[2, 0, 2], [1, 0, 0]])
    check(counts, [3, 1, 2])
    line, x = np.array([1.0, 2, 2, 4]), np.array([[0.0, 2], [3, 5]])
    for side in ("left", "right"):
        check(fb.searchsorted(fb.tensor(line), fb.tensor(x), side), np.searchsorted(line, x, side))
    check(fb.bucketize(fb.tensor(x), fb.tensor(line), right=True),
          np.searchsorted(line, x, "right"))
    b = array("float32", (50,), 3)
    check(fb.histc(fb.tensor(b), 7, -2, 2), np.histogram(b, 7, (-2, 2))[0])
    check(fb.histc(fb.tensor(b), 7), np.histogram(b, 7)[0])
    check(fb.histc(fb.tensor([1.0, 1.0]), 3), [0, 2, 0])
