"""Orders, order statistics, sets, counts and scans along an axis, against NumPy and SciPy."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import numpy as np
import pytest
import scipy.integrate
from cases import check
from flambeau.compiler.config import override
from flambeau.runtime import order

RNG = np.random.default_rng(7)
DTYPES = ("float32", "float64", "int32", "int64", "uint8", "uint32")


def lines(dtype: str, count: int, rows: int = 3) -> np.ndarray:
    """Rows with ties and, for floats, NaN and both zeros."""
    x = RNG.integers(0, RNG.choice([3, 50, 10**6]), (rows, count)).astype(dtype)
    if dtype.startswith("float"):
        x[RNG.random(x.shape) < 0.1] = np.nan
        x[RNG.random(x.shape) < 0.3] *= -1
    return x


@pytest.mark.parametrize("count", [1, 5, 700])  # 700: past the vectorised sorts
@pytest.mark.parametrize("dtype", DTYPES)
def test_host_orders(dtype: str, count: int) -> None:
    x = lines(dtype, count)
    for descending in (False, True):
        want = np.argsort(x, axis=1, kind="stable")
        if descending:
            want = count - 1 - np.argsort(x[:, ::-1], axis=1, kind="stable")[:, ::-1]
        assert (order.argsort((1, descending), x) == want).all()
        columns = np.ascontiguousarray(x.T)
        assert (order.argsort((0, descending), columns) == want.T).all()
        for k in {0, 1, count // 9, count}:
            assert (order.topk((1, k, descending), x) == want[:, :k]).all()
        if not descending:
            for k in {0, count // 2, count - 1}:
                place = order.kth((1, k), x)
                np.testing.assert_array_equal(np.take_along_axis(x, place, 1),
                                              np.take_along_axis(x, want[:, k:k + 1], 1))
    found = np.take_along_axis(x, order.mode(1, x), 1)[:, 0]
    for row, most in zip(x, found):
        values, counts = np.unique(row[row == row], return_counts=True)
        if counts.size:
            assert most == values[counts.argmax()] or counts.max() == 1


def test_sort_of_any_tensor() -> None:
    x = lines("float64", 6, 4)
    whole = fb.tensor(x)
    for t, a in ((whole, x), (whole.t(), x.T), (whole[::-1, ::2], x[::-1, ::2])):
        t = t.double()
        for axis in (0, 1, -1):
            pair = fb.sort(t, axis)
            check(pair.values, np.sort(a.astype("float32").astype("float64"), axis))
            check(fb.gather(t, axis, pair.indices), pair.values)
    for dtype in (fb.float16, fb.bfloat16, fb.bool_):
        t = fb.tensor([1, 0, 1, 0]).to(dtype)
        assert fb.sort(t).values.tolist() == [0, 0, 1, 1] and fb.sort(t).values.dtype is dtype
        assert fb.topk(t, 2).indices.tolist() == [0, 2]
    assert fb.sort(fb.zeros(0, 3), 0).values.shape == (0, 3)
    assert fb.sort(fb.tensor(2.0)).values.item() == 2
    assert fb.argsort(fb.tensor([[3, 1], [0, 2]]), None).tolist() == [2, 1, 3, 0]
    assert fb.msort(fb.tensor([[3, 1], [0, 2]])).tolist() == [[0, 1], [3, 2]]
    assert fb.partition(fb.tensor([3, 1, 2]), 1).tolist() == [1, 2, 3]
    assert fb.argpartition(fb.tensor([3, 1, 2]), 1).tolist() == [1, 2, 0]


def test_orders_are_lazy_and_agree_with_the_reference_device() -> None:
    x = lines("float32", 9)
    t = fb.tensor(x)
    found = [fb.sort(t).values, fb.mode(t).values, fb.median(t, 1).values, fb.topk(t, 3).values,
             fb.nanquantile(t, [0.1, 0.5], 1)]
    assert all(v.is_lazy for v in found)
    with override(device="reference"):
        again = [fb.sort(t).values, fb.mode(t).values, fb.median(t, 1).values,
                 fb.topk(t, 3).values, fb.nanquantile(t, [0.1, 0.5], 1)]
        for g, w in zip(found, again):
            check(g, w.numpy())


def test_middles() -> None:
    x = lines("float64", 8, 4)
    x[0] = np.nan
    x[1] = np.arange(8.0)
    t = fb.tensor(x, dtype="float64")
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        for q in (0, 0.3, 0.5, 1):
            for method in ("linear", "lower", "higher", "midpoint", "nearest"):
                check(fb.quantile(t, q, 1, interpolation=method),
                      np.quantile(x, q, 1, method=method))
                check(fb.nanquantile(t, q, 1, interpolation=method),
                      np.nanquantile(x, q, 1, method=method))
        check(fb.quantile(t, [0.25, 0.75], (0, 1)), np.quantile(x, [0.25, 0.75]))
        check(fb.nanquantile(t, fb.tensor([0.25, 0.75]), 0, keepdims=True),
              np.nanquantile(x, [0.25, 0.75], 0, keepdims=True))
    check(fb.percentile(t[1], [10, 50]), np.percentile(x[1], [10, 50]))
    infinite = fb.tensor([-np.inf, 1.0, np.inf, np.inf])
    assert fb.quantile(infinite, [0.0, 0.5, 1.0]).tolist()[2] == np.inf
    lower = [np.sort(r[~np.isnan(r)])[(np.count_nonzero(r == r) - 1) // 2] for r in x[1:]]
    check(fb.nanmedian(t, 1).values[1:], lower)
    assert np.isnan(fb.nanmedian(t, 1).values[0].item())
    wins = fb.median(t, 1)
    check(wins.values, np.where(np.isnan(x).any(1), np.nan, [0, *lower]))
    check(fb.gather(t, 1, wins.indices[:, None])[:, 0], wins.values)
    assert fb.median(fb.tensor([4, 1, 3, 2])).item() == 2


def test_sets() -> None:
    x = np.array([[3, 1, 3], [2, 1, 3]])
    t = fb.tensor(x)
    assert fb.unique(t).tolist() == [1, 2, 3] and fb.unique(t).dtype is fb.int64
    values, index, inverse, counts = fb.unique(t, True, True, return_index=True)
    assert index.tolist() == [1, 3, 0] and counts.tolist() == [2, 1, 3]
    assert values.take(inverse).tolist() == x.tolist()
    rows = fb.unique(fb.tensor([[1, 2], [0, 1], [1, 2]]), axis=0, return_counts=True)
    assert rows[0].tolist() == [[0, 1], [1, 2]] and rows[1].tolist() == [1, 2]
    f = fb.tensor([np.nan, 1.0, np.nan, 0.0, -0.0])
    check(fb.unique(f), [0, 1, np.nan])
    assert fb.unique_values(f).shape == (4,)
    assert fb.unique_counts(f).counts.tolist() == [2, 1, 1, 1]
    everything = fb.unique_all(t)
    assert everything.indices.tolist() == [1, 3, 0]
    assert everything.values.take(fb.unique_inverse(t).inverse_indices).tolist() == x.tolist()
    assert fb.unique(fb.zeros(0)).shape == (0,)
    line = fb.tensor([1, 1, 2, 2, 2, 1])
    values, inverse, counts = fb.unique_consecutive(line, True, True)
    assert values.tolist() == [1, 2, 1] and counts.tolist() == [2, 3, 1]
    assert values.take(inverse).tolist() == line.tolist()
    assert fb.unique_consecutive(fb.tensor([[1, 1, 2], [3, 3, 3]]), axis=1).tolist() == [
        [1, 2], [3, 3]]
    assert fb.unique_consecutive(fb.zeros(0)).shape == (0,)
    nothing = fb.unique_consecutive(fb.zeros(3, 0), True, True, axis=0)
    assert [t.tolist() for t in nothing] == [[[]], [0, 0, 0], [3]]
    apart = fb.unique_consecutive(fb.tensor([1.0, float("nan"), float("nan"), 2, 2]), False, True)
    assert apart[1].tolist() == [1, 1, 1, 2]
    assert fb.isin(t, [1, 7]).tolist() == np.isin(x, [1, 7]).tolist()
    assert fb.isin(t, [1.0, 2.5], invert=True).tolist() == (~np.isin(x, [1, 2.5])).tolist()
    assert fb.isin(t, []).tolist() == [[False] * 3] * 2
    assert not fb.isin(f, [np.nan]).any().item()


def test_places_in_sorted_vectors() -> None:
    line, x = np.array([0.0, 1, 1, 3]), np.array([[-1, 1.0], [3, np.nan]])
    for side in ("left", "right"):
        check(fb.searchsorted(fb.tensor(line), fb.tensor(x), side), np.searchsorted(line, x, side))
    assert fb.searchsorted([3, 1, 2], [2], sorter=[1, 2, 0]).tolist() == [1]
    rows = fb.searchsorted(fb.tensor([[1, 3], [2, 4]]), fb.tensor([[2, 3, 9], [2, 3, 9]]))
    assert rows.tolist() == [[1, 1, 2], [0, 1, 2]]
    assert fb.bucketize(fb.tensor([1, 5]), [1, 2, 3]).tolist() == [0, 3]
    with pytest.raises(ValueError, match="searchsorted: expected a sorted vector or rows like"):
        fb.searchsorted(fb.zeros(2, 3), fb.zeros(4))


def test_histograms() -> None:
    x = np.round(RNG.standard_normal(200), 1)  # many on edges
    t = fb.tensor(x, dtype="float64")
    for bins, limits in ((10, None), (7, (-1.0, 1.0)), ([-2.0, -0.5, 0.5, 0.6], None)):
        for density in (False, True):
            got, edges = fb.histogram(t, bins, limits, density=density)
            want, at = np.histogram(x, bins, limits, density=density)
            check(got, want)
            check(edges, at)
    weights = RNG.random(200)
    check(fb.histogram(t, 5, weights=fb.tensor(weights, dtype="float64"))[0],
          np.histogram(x, 5, weights=weights)[0])
    check(fb.histogram_bin_edges(t, "auto"), np.histogram_bin_edges(x, "auto"))
    check(fb.histogram(fb.ones(3), 2)[0], [0, 3])
    assert fb.histogram(fb.zeros(0), 2)[0].tolist() == [0, 0]
    assert fb.bhistc(fb.tensor([[0.0, 1, 1], [2, 2, 2]]), 2, 0, 2).tolist() == [[1, 2], [0, 3]]
    assert fb.bincount([1, 1, 3], minlength=5).tolist() == [0, 2, 0, 1, 0]
    check(fb.bincount([0, 2, 2], [0.5, 1, 2]), [0.5, 0, 3])
    assert fb.bincount(fb.zeros(0, dtype=fb.int64)).tolist() == []


def test_along_an_axis() -> None:
    x = RNG.standard_normal((3, 5))
    t = fb.tensor(x, dtype="float64")
    for n in (0, 1, 2, 7):
        check(fb.diff(t, n), np.diff(x, n))
    check(fb.diff(t, axis=0, prepend=0.0, append=t[:1]),
          np.diff(x, axis=0, prepend=0, append=x[:1]))
    assert fb.diff(fb.tensor([True, False, False])).tolist() == [True, False]
    assert fb.diff(t[0], 0, prepend=t[0]).tolist() == x[0].tolist()  # as NumPy: nothing before
    check(fb.ediff1d(t, [9.0], [7.0, 8]), np.ediff1d(x, [9.0], [7.0, 8]))
    at = np.sort(RNG.random(5))
    check(fb.trapezoid(t, at), np.trapezoid(x, at))
    check(fb.trapezoid(t, dx=0.5, axis=0), np.trapezoid(x, dx=0.5, axis=0))
    check(fb.cumulative_trapezoid(t, at), scipy.integrate.cumulative_trapezoid(x, at))
    big = x * 300
    want = np.logaddexp.accumulate(big, axis=1)
    check(fb.logcumsumexp(fb.tensor(big, dtype="float64")), want)
    check(fb.logcumsumexp(fb.tensor(big, dtype="float64"), 0), np.logaddexp.accumulate(big))


def _smooth() -> fb.Tensor:
    return fb.tensor(RNG.permutation(12).reshape(3, 4) * 0.7 + RNG.random((3, 4)), dtype="float64")


@pytest.mark.parametrize("function", [
    lambda x: fb.sort(x, 0).values, lambda x: fb.sort(x, 1, True).values,
    lambda x: fb.topk(x, 2).values, lambda x: fb.kthvalue(x, 2).values,
    lambda x: fb.median(x, 1).values, lambda x: fb.quantile(x, [0.2, 0.9], 1),
    lambda x: fb.diff(x, 2), lambda x: fb.trapezoid(x), lambda x: fb.logcumsumexp(x, 1),
    lambda x: fb.convolve(x[0], x[1]), lambda x: fb.conv2(x, x[:2, :2], "S"),
    lambda x: fb.put(x, [0, 5], x[0, :2] * 2), lambda x: fb.cumprod(x, 1),
    lambda x: fb.cummax(x, 1).values, lambda x: fb.unfold(x, 1, 3, 1) ** 2,
    lambda x: fb.pad(x, [(1, 2), (2, 1)], "symmetric") ** 2,
    lambda x: fb.pad(x, [(1, 2), (2, 1)], "reflect") ** 2,
    lambda x: fb.put_along_axis(x, [[1], [0], [2]], x[:, :1] ** 2),
    lambda x: fb.bincount([0, 2, 2, 1], x[0]), lambda x: fb.mode(fb.round(x), 1).values * x[:, 0],
    lambda x: fb.masked_scatter(x, x.detach() > 4, x.reshape(-1) ** 2),
    lambda x: fb.take_along_axis(x, fb.argsort(x, 0), 0), lambda x: fb.roll(x, 1, 1).rot90() ** 2,
])
def test_derivatives(function: Any) -> None:
    assert fb.gradcheck(function, [_smooth()])


def test_second_derivative_of_sort() -> None:
    x = _smooth()
    weights = fb.arange(4).double()

    def loss(x: fb.Tensor) -> fb.Tensor:
        return (fb.sort(x).values ** 3 * weights).sum()

    def slope(x: fb.Tensor) -> fb.Tensor:
        return (fb.grad(loss)(x) ** 2).sum()

    assert fb.gradcheck(slope, [x])


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_vectors_are_convolved_as_in_numpy(n: int, m: int) -> None:
    a, b = RNG.standard_normal(n), RNG.standard_normal(m)
    for mode in ("full", "same", "valid"):
        check(fb.convolve(fb.tensor(a, dtype="float64"), fb.tensor(b, dtype="float64"), mode),
              np.convolve(a, b, mode))
        check(fb.correlate(fb.tensor(a, dtype="float64"), fb.tensor(b, dtype="float64"), mode),
              np.correlate(a, b, mode))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: fb.quantile(fb.ones(3), 2.0), "quantile: expected q in [0, 1], got 2.0"),
    (lambda: fb.percentile(fb.ones(3), 200), "percentile: expected q in [0, 100]"),
    (lambda: fb.quantile(fb.ones(3), 0.5, interpolation="x"),
     "quantile: expected interpolation linear, lower, higher, midpoint, nearest, got 'x'"),
    (lambda: fb.nanmedian(fb.zeros(0)), "nanmedian: expected at least one element along axis 0"),
    (lambda: fb.mode(fb.zeros(2, 0)), "mode: expected at least one element along axis 1"),
    (lambda: fb.partition(fb.ones(3), 3), "partition: expected kth in [-3, 3), got 3"),
    (lambda: fb.histc(fb.ones(3), 0), "histc: expected 1 or more bins, got 0"),
    (lambda: fb.bhistc(fb.ones(3)), "bhistc: expected a matrix, got shape (3,)"),
    (lambda: fb.histogram(fb.ones(3), fb.ones(2, 2)), "histogram: expected a vector of edges"),
    (lambda: fb.histogram(fb.ones(3), 2, (1, 0)), "histogram: expected a range from low to high"),
    (lambda: fb.bincount([1, -1]), "bincount: expected integers of 0 or more, got -1"),
    (lambda: fb.diff(fb.ones(3), -1), "diff: expected n of 0 or more, got -1"),
    (lambda: fb.conv2(fb.ones(3, 3), fb.ones(2, 2), "Q"), "conv2: expected mode 'V' (valid), 'F'"),
    (lambda: fb.xcorr3(fb.ones(3, 3), fb.ones(2, 2)), "xcorr3: expected ranks (3, 3), (4, 4)"),
    (lambda: fb.convolve(fb.ones(3), fb.ones(0)), "convolve: expected two vectors with elements"),
    (lambda: fb.div(1, 2, rounding_mode="up"), "div: expected rounding_mode None, 'floor' or"),
])
def test_messages(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value)


def test_division_with_rounding() -> None:
    a, b = np.array([7, -7, 7, -7, -128, 5]), np.array([2, 2, -2, -2, 127, 0])
    got = fb.div(fb.tensor(a), fb.tensor(b), rounding_mode="trunc")
    assert got.dtype is fb.int64 and got.tolist() == [3, -3, -3, 3, -1, 0]
    down = fb.div(fb.tensor(a[:4]), fb.tensor(b[:4]), rounding_mode="floor")
    assert down.tolist() == [3, -4, -4, 3]
    assert fb.div(fb.tensor([-7.5]), 2, rounding_mode="trunc").tolist() == [-3]


def test_putting() -> None:
    x = fb.zeros(2, 3)
    assert fb.put(x, [[0, 5], [1, 5]], [[1.0, 2], [3, 4]]).tolist() == [[1, 3, 0], [0, 0, 4]]
    assert fb.put(x, [5, 5, -1], 2.0, accumulate=True)[1].tolist() == [0, 0, 6]
    assert x.put_([1], 9.0).tolist() == [[0, 9, 0], [0, 0, 0]]
    a, index = RNG.random((3, 4)), RNG.integers(0, 4, (3, 2))
    want = a.copy()
    np.put_along_axis(want, index, 7.0, 1)
    check(fb.put_along_axis(fb.tensor(a, dtype="float64"), index, 7.0, 1), want)
    assert fb.put_along_axis(fb.zeros(2, 2), [3], 1.0, None).tolist() == [[0, 0], [0, 1]]
    assert fb.compress([0, 1, 1], fb.arange(6).view(2, 3), 1).tolist() == [[1, 2], [4, 5]]
    assert fb.tril_indices(3, 2).tolist() == [list(v) for v in np.tril_indices(3, 0, 2)]
    assert fb.triu_indices(2, 4, 1).tolist() == [list(v) for v in np.triu_indices(2, 1, 4)]
    assert fb.eye(3)[fb.diag_indices(3)].tolist() == [1, 1, 1]
    assert fb.choose([0, 1, 1], [[1, 2, 3], 9]).tolist() == [1, 9, 9]


def test_reducing_scatters() -> None:
    x = fb.tensor([10.0, 20, 30, 40]).double()
    index, source = fb.tensor([0, 1, 0, 3, 0]), fb.tensor([1.0, 2, 3, 50, 8]).double()
    expected = {"sum": ([22, 22, 30, 90], [12, 2, 30, 50]),
                "amax": ([10, 20, 30, 50], [8, 2, 30, 50]),
                "amin": ([1, 2, 30, 40], [1, 2, 30, 50]),
                "prod": ([240, 40, 30, 2000], [24, 2, 30, 50]),
                "mean": ([5.5, 11, 30, 45], [4, 2, 30, 50])}
    for reduce, (with_self, without) in expected.items():
        check(fb.scatter_reduce(x, 0, index, source, reduce), with_self)
        check(fb.scatter_reduce(x, 0, index, source, reduce, include_self=False), without)
        assert fb.gradcheck(lambda x, s, r=reduce: fb.scatter_reduce(x, 0, index, s, r),
                            [x, source])
    rows = fb.zeros(2, 2).index_reduce(0, fb.tensor([1, 1]), fb.tensor([[1.0, 5], [3, 2]]), "amax")
    assert rows.tolist() == [[0, 0], [3, 5]]
    assert fb.index_reduce(fb.ones(2), 0, [0, 0], fb.tensor([1.0, 4]), "sum").tolist() == [6, 1]
    with pytest.raises(ValueError, match="scatter_reduce: expected reduce sum, prod, amax, amin"):
        fb.scatter_reduce(x, 0, index, source, "or")
    with pytest.raises(TypeError, match="scatter: expected a real dtype, got complex64"):
        fb.scatter(x.to(fb.complex64), 0, index, source, "prod")


def test_symmetric_padding() -> None:
    a = np.arange(6.0).reshape(2, 3)
    check(fb.pad(fb.tensor(a), [(1, 2), (3, 1)], "symmetric"),
          np.pad(a, [(1, 2), (3, 1)], "symmetric"))
    with pytest.raises(ValueError, match="pad: expected widths up to 3 for symmetric on axis 1"):
        fb.pad(fb.tensor(a), [(0, 0), (4, 0)], "symmetric")


def test_clocks_and_cores() -> None:
    start = fb.tic()
    assert 0 <= fb.toc(start) < 60 and fb.num_cores() >= 1


def test_tuples_of_indices() -> None:
    a = np.arange(24.0).reshape(2, 3, 4)
    t, i = fb.tensor(a), np.array([[0, 2], [-1, 1], [0, 0]])
    check(fb.gather_nd(t, i), a[i[:, 0], i[:, 1]])
    check(fb.gather_nd(t, fb.tensor([[[1], [-1]], [[0], [2]]]), batch_dims=1), np.stack(
        [a[0, [1, 2]], a[1, [0, 2]]]))
    values = np.full((3, 4), 2.0)
    for reduce, ufunc in (("add", np.add), ("prod", np.multiply), ("min", np.minimum)):
        b = a.copy()
        ufunc.at(b, (i[:, 0], i[:, 1]), values)
        check(fb.scatter_nd(t, i, values, reduce), b)
    check(fb.scatter_nd(t, fb.tensor([[1, 0], [1, 0]]), fb.tensor([[1.0] * 4, [7.0] * 4]))[1, 0],
          [7.0] * 4)
    assert fb.gradcheck(lambda x, v: fb.gather_nd(fb.scatter_nd(x, i, v, "prod"), i),
                        [t.double(), fb.tensor(values)])
    with pytest.raises(ValueError, match=r"gather_nd: expected rows of 1 to 3 indices for shape"):
        fb.gather_nd(t, [[0, 1, 2, 3]])
    with pytest.raises(ValueError, match=r"scatter_nd: expected values of shape \(3, 4\), got"):
        fb.scatter_nd(t, i, values[:2])
    with pytest.raises(ValueError, match="scatter_nd: expected reduce of"):
        fb.scatter_nd(t, i, values, "or")


def test_partition_puts_one_element_in_its_place_and_lets_gradients_through() -> None:
    a = RNG.standard_normal((4, 9))
    for k in (2, -1):
        for axis in (0, 1):
            found = fb.partition(fb.tensor(a), k, axis).numpy()
            assert (np.sort(found, axis) == np.sort(a, axis)).all()
            assert (np.take(found, k, axis) == np.take(np.sort(a, axis), k, axis)).all()
    t = fb.tensor(a, dtype="float64", requires_grad=True)
    weights = fb.arange(36, dtype="float64").reshape(4, 9)
    y = fb.partition(t, 3, 1)
    (y * weights).sum().backward()
    went = (a[:, :, None] == y.detach().numpy()[:, None, :]).argmax(2)  # no two are equal
    np.testing.assert_array_equal(t.grad.numpy(), np.take_along_axis(weights.numpy(), went, 1))


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint16", "float32", "float64"])
def test_unique_of_repeated_elements(dtype: str) -> None:
    a = (RNG.standard_normal((30, 40)) * 9).astype(dtype)
    if dtype.startswith("float"):
        a[3, :7] = np.nan
    t = fb.tensor(a, dtype=dtype)
    for equal in (True, False):
        want = np.unique(a, True, True, True, equal_nan=equal)
        found = fb.unique(t, True, True, return_index=True, equal_nan=equal)
        for x, y in zip(found, want):
            np.testing.assert_array_equal(x.numpy(), y)
        np.testing.assert_array_equal(fb.unique(t, equal_nan=equal).numpy(), want[0])


@pytest.mark.parametrize("count", [1, 5, 40])
@pytest.mark.parametrize("dtype", ["int32", "uint8", "float64"])
def test_isin_of_few_and_many(dtype: str, count: int) -> None:
    a = RNG.integers(0, 60, (20, 30)).astype(dtype)
    tests = RNG.choice(60, count, False).astype(dtype)
    for invert in (False, True):
        found = fb.isin(fb.tensor(a, dtype=dtype), fb.tensor(tests, dtype=dtype), invert)
        np.testing.assert_array_equal(found.numpy(), np.isin(a, tests, invert=invert))
