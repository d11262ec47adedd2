"""Reductions, scans and the softmax family against NumPy and SciPy."""

from __future__ import annotations

import math

import flambeau as fb
import numpy as np
import pytest
import scipy.special as sp
from cases import ALL, FLOATS, INTEGERS, array, check, layouts

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
AXES = (None, 0, 1, -1, (0, 1))


def axes_of(a: np.ndarray):
    """The axes that an array of that rank has."""
    if a.ndim == 0:
        return (None,)
    return AXES if a.ndim == 2 else (None, 0, -1, *(((0, 2),) if a.ndim == 3 else ()))


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "amax", "amin", "any", "all",
                                  "count_nonzero", "ptp"])
def test_reductions(name):
    reference = getattr(np, name)
    f = getattr(fb, name)
    for dtype in ALL:
        if name == "ptp" and dtype == "bool":
            continue
        for t, a in layouts(dtype):
            for axis in axes_of(a):
                if a.size == 0 and name in ("amax", "amin", "ptp"):
                    continue
                for keep in (False, True):
                    wide = a.astype(np.float64) if a.dtype.kind == "f" else a
                    extra = {"ddof": 1} if name in ("var", "std") else {}
                    expected = reference(wide, axis=axis, keepdims=keep, **extra)
                    found = f(t, axis, keep)
                    if a.dtype.kind == "f" and name not in ("any", "all", "count_nonzero"):
                        expected = np.asarray(expected).astype(a.dtype)
                        assert found.dtype.name == dtype
                    tolerance = {"float16": 5e-3, "float64": 1e-12}.get(dtype, 1e-5)
                    check(found, expected, tolerance=tolerance,
                          message=f"{name} {dtype} {a.shape} {axis}")


def test_result_dtypes_of_sums():
    for dtype in ("bool", *INTEGERS):
        expected = np.sum(np.ones(2, dtype)).dtype.name
        assert fb.ones(2, dtype=dtype).sum().dtype.name == expected
        assert fb.ones(2, dtype=dtype).prod().dtype.name == expected
        assert fb.ones(2, dtype=dtype).cumsum().dtype.name == expected
        assert fb.ones(2, dtype=dtype).mean().dtype is fb.float32
    assert fb.ones(2, dtype=fb.float16).sum().dtype is fb.float16
    assert fb.ones(4096, dtype=fb.float16).sum().item() == 4096
    assert fb.ones(2).sum(dtype=fb.float64).dtype is fb.float64


@pytest.mark.parametrize("shape, axes", [((1,), 0), ((4,), 0), ((5,), 0), ((33,), 0), ((3000,), 0),
                                         ((64, 33), 0), ((64, 33), 1), ((3, 4, 5), (0, 2))])
def test_the_sign_of_zero_sums(shape, axes):
    """-0.0 however many there are: it once depended on the length."""
    x = fb.tensor(np.full(shape, -0.0, np.float32))
    assert np.signbit(x.sum(axes).numpy()).all() and np.signbit(x.mean(axes).numpy()).all()
    assert np.signbit(x.reshape(-1).cumsum(0).numpy()).all()
    assert not np.signbit(fb.zeros(0, 3).sum(0).numpy()).any()
    x[(-1,) * len(shape)] = 0.0
    assert not np.signbit(x.sum().numpy())


def test_var_corrections():
    a = array("float64", (5, 4))
    t = fb.tensor(a)
    check(t.var(), a.var(ddof=1))
    check(t.var(unbiased=False), a.var())
    check(t.var(0, correction=0), a.var(0))
    check(t.std(dim=1, ddof=2, keepdim=True), a.std(1, ddof=2, keepdims=True))
    found, center = fb.var_mean(t, 0)
    check(found, a.var(0, ddof=1))
    check(center, a.mean(0))
    assert math.isnan(fb.tensor([1.0]).var().item())


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_arg_extremes(name):
    for dtype in ALL:
        for t, a in layouts(dtype):
            for axis in (None, 0, -1) if a.ndim and a.size else (None,) if a.size else ():
                check(getattr(fb, name)(t, axis), getattr(np, name)(a, axis), "int64",
                      message=f"{name} {dtype} {a.shape} {axis}")
                check(getattr(fb, name)(t, axis, True),
                      getattr(np, name)(a, axis, keepdims=True), "int64")


@pytest.mark.parametrize("length", [5, 16, 150])
def test_arg_extremes_at_the_edges(length):
    rng = np.random.default_rng(length)
    worst = {"argmax": -np.inf, "argmin": np.inf}
    for name in ("argmax", "argmin"):
        rows = rng.integers(-2, 3, (8, length)).astype(np.float32)  # many ties
        rows[1] = worst[name]  # nothing better than the start: the first
        rows[2] = -worst[name]
        rows[3, [length - 1, length // 2]] = np.nan  # the first NaN wins, whatever comes later
        rows[4, 0] = rows[4, -1] = np.nan
        rows[5] = np.nan
        rows[6, :-1] = worst[name]
        lowest = np.full((2, length), {"argmax": -128, "argmin": 127}[name], np.int8)
        lowest[1, -1] = 0
        none = np.zeros((2, length), bool)
        for a in (rows, rows.astype(np.float64), rows.T.copy().T, lowest, none):
            for axis in (0, 1):
                check(getattr(fb, name)(fb.tensor(a), axis), getattr(np, name)(a, axis), "int64")


def test_rows_that_keep_what_they_compute():
    """Exponentials wait in the result's memory, unless something else is read there."""
    a = array("float32", (6, 70))
    e = np.exp(a.astype(np.float64))
    t = fb.tensor(a)
    check(fb.softmax(t, 1), sp.softmax(a.astype(np.float64), 1), tolerance=1e-5)
    share, want = t.exp() / t.exp().sum(1, True), e / e.sum(1, keepdims=True)
    check(share + t.exp().flip(1), want + e[:, ::-1], tolerance=1e-5)
    check(share - t, want - a, tolerance=1e-5)

    @fb.compile
    def step():
        t.copy_(t.exp() / t.exp().sum(1, True) + t)  # t's own memory is read to the end
    step()
    check(t, want + a, tolerance=1e-5)


def test_max_pairs():
    a = array("float32", (3, 4))
    t = fb.tensor(a)
    values, places = t.max(dim=1)
    check(values, a.max(1))
    check(places, a.argmax(1), "int64")
    values, places = fb.min(t, dim=0, keepdim=True)
    check(values, a.min(0, keepdims=True))
    check(places, a.argmin(0)[None])
    check(t.max(), a.max())
    check(t.max(1), a.max(1))
    check(t.max(fb.zeros(4)), np.maximum(a, 0))
    low, high = t.aminmax()
    check(low, a.min())
    check(high, a.max())


@pytest.mark.parametrize("name, op", [("cumsum", np.cumsum), ("cumprod", np.cumprod)])
def test_scans(name, op):
    for dtype in ALL:
        for t, a in layouts(dtype):
            for axis in (None, *range(a.ndim)):
                wide = a.astype(np.float64) if a.dtype.kind == "f" else a
                expected = op(wide, axis=axis)
                expected = expected.astype(a.dtype) if a.dtype.kind == "f" else expected
                check(getattr(fb, name)(t, axis), expected, str(expected.dtype),
                      tolerance={"float16": 1e-2, "float32": 1e-5}.get(dtype, 1e-10),
                      message=f"{name} {dtype} {a.shape} {axis}")


def test_cummax():
    a = np.array([[1.0, 3, 2, 3, 5], [2, np.nan, 1, 4, 0]])
    values, places = fb.cummax(fb.tensor(a), 1)
    check(values, np.maximum.accumulate(a, 1))
    check(places, [[0, 1, 1, 3, 4], [0, 1, 1, 1, 1]])
    values, places = fb.tensor([3, 1, 2, 1]).cummin(0)
    check(values, [3, 1, 1, 1])
    check(places, [0, 1, 1, 3])


def test_norms():
    a = array("float64", (3, 4))
    t = fb.tensor(a)
    for p in (1, 2, 3, 0.5, np.inf, -np.inf, 0):
        check(t.norm(p), np.linalg.norm(a.ravel(), p), tolerance=1e-9)
        check(t.norm(p, dim=1, keepdim=True), np.linalg.norm(a, p, 1, keepdims=True),
              tolerance=1e-9)
    check(fb.norm(t, "fro"), np.linalg.norm(a))
    check(fb.dist(t, t * 2, 3), np.linalg.norm(a.ravel(), 3), tolerance=1e-9)
    check(fb.norm(fb.tensor([3, 4])), 5.0, "float32")


@pytest.mark.parametrize("name, reference", [
    ("softmax", sp.softmax), ("log_softmax", sp.log_softmax), ("logsumexp", sp.logsumexp)])
def test_softmax(name, reference):
    for dtype in FLOATS:
        for t, a in layouts(dtype):
            if a.size == 0 or a.shape == (8,) or a.ndim == 0:
                continue
            for axis in range(a.ndim):
                expected = reference(a.astype(np.float64), axis=axis)
                check(getattr(fb, name)(t, axis), expected,
                      tolerance={"float16": 2e-3}.get(dtype, 1e-6), message=f"{name} {dtype}")
    big = fb.tensor([1000.0, 1000.0, -1000.0])
    check(big.softmax(0), [0.5, 0.5, 0])
    check(big.log_softmax(0), [-math.log(2), -math.log(2), -2000 - math.log(2)])
    check(fb.tensor([-math.inf, -math.inf]).logsumexp(), -math.inf)
    check(fb.tensor([math.inf, 1.0]).logsumexp(), math.inf)
    check(fb.zeros(2, 0, 3).logsumexp(1), np.full((2, 3), -math.inf))
    check(fb.zeros(0).logsumexp(0, True), [-math.inf])
    check(fb.tensor(3.0).softmax(0), 1.0)
    check(fb.softmin(fb.tensor([1.0, 2.0])), sp.softmax([-1.0, -2.0]))
    assert fb.zeros(0, 3).softmax(1).shape == (0, 3)


def test_nan_reductions():
    a = array("float64", (4, 3))
    a[1, 2] = a[0, 0] = np.nan
    t = fb.tensor(a)
    for name in ("nansum", "nanprod", "nanmean", "nanmax", "nanmin"):
        for axis in (None, 0, 1):
            check(getattr(fb, name)(t, axis), getattr(np, name)(a, axis), message=name)


def test_out_and_keywords():
    a = array("float32", (3, 4))
    out = fb.zeros(3)
    assert fb.tensor(a).sum(dim=1, out=out) is out
    check(out, a.sum(1))
    check(fb.sum(fb.tensor(a), dims=(0, 1)), a.sum())


def test_a_sum_of_quotients_by_a_number_that_turns_out_to_be_0():
    """1 / 0 - 2 / 0 is NaN; (1 - 2) / 0, which a rule once made of it, is not."""
    over = fb.compile(lambda x, s: (x / s).sum())
    times = fb.compile(lambda x, s: (x * s).sum())
    for x in ([1.0, -2.0], [1.0, 0.0]):
        assert np.isnan(over(fb.tensor(x), 0.0).item())
        assert over(fb.tensor(x), 2.0).item() == sum(x) / 2
        assert np.isnan(times(fb.tensor(x), float("inf")).item())
    assert over(fb.tensor([1.0, 2.0]), 0.0).item() == np.inf


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64", "bool"])
def test_argmax_of_long_vectors(dtype: str) -> None:
    """From eight blocks of 4096 on, the best block is found first."""
    for n in (8 * 4096, 8 * 4096 + 1, 50_001):
        a = np.random.default_rng(n).integers(0, 200, n).astype(dtype)
        alike = np.full(n, 3).astype(dtype)
        late = alike.copy()
        late[-1] = 0
        cases = [a, alike, late]
        if dtype.startswith("float"):
            low, nans = np.full(n, -np.inf, dtype), a.copy()
            nans[[n // 2, n - 1]] = np.nan
            cases += [low, nans, -low]
        for x in cases:
            t = fb.tensor(x, dtype=dtype)
            assert fb.argmax(t).item() == np.argmax(x)
            assert fb.argmin(t).item() == np.argmin(x)


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan, 0.0])
def test_argmax_of_equal_elements_is_the_first(value: float) -> None:
    for shape in ((3, 40), (40, 3), (5, 1)):
        x = np.full(shape, value, "float32")
        for axis in (0, 1):
            assert (fb.argmax(fb.tensor(x), axis).numpy() == np.argmax(x, axis)).all()
            assert (fb.argmin(fb.tensor(x), axis).numpy() == np.argmin(x, axis)).all()


def test_argmax_of_a_long_expression_and_of_tables() -> None:
    """The blocks' extremes and the walk of one block read values that are not in memory."""
    x = np.random.default_rng(0).standard_normal((9, 4099)).astype("float32")
    t = fb.tensor(x)
    assert fb.argmax(fb.sin(t) * 3 - t).item() == np.argmax(np.sin(x.astype("float64")) * 3 - x)
    assert fb.argmin(t, keepdims=True).numpy().tolist() == [[np.argmin(x)]]
    line = t.reshape(-1, 1)
    assert fb.argmax(line, 0).tolist() == [np.argmax(x)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "float16"])
def test_products_of_long_vectors_are_sums(dtype: str) -> None:
    for n in (63, 64, 40_001):
        x, y = (np.random.default_rng(n + i).integers(-3, 4, n).astype(dtype) for i in (0, 1))
        want = (x.astype("int64") * y.astype("int64")).sum()
        a, b = fb.tensor(x), fb.tensor(y)
        assert fb.dot(a, b).item() == want
        assert fb.vdot(a, b).item() == want
        assert fb.vecdot(a, b).item() == want
    special = np.ones((2, 2, 100))
    special[0, 0, 7], special[1, 0, 7] = np.inf, np.nan
    found = fb.vecdot(fb.tensor(special), fb.ones(2, 2, 100).double()).numpy()
    assert np.array_equal(found, [[np.inf, 100], [np.nan, 100]], equal_nan=True)


def test_columns_beyond_the_caches_are_summed_right() -> None:
    """Wide steps with memory asked for ahead; the last rows and columns are partial."""
    x = np.random.default_rng(0).standard_normal((2050, 4111), dtype=np.float32)
    got = fb.tensor(x).sum(0).numpy()
    assert np.abs(got - x.sum(0, dtype=np.float64)).max() < 1e-3


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16"])
def test_sums_of_short_integers_at_their_ends(dtype: str) -> None:
    """They are added in 32 bits as far as these reach; the last size is beyond."""
    ends = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for n in (0, 1, 70_000, 1 << 16 if "16" in dtype else (1 << 24) + 1):
        for end in ends:
            a = np.full(n, end, dtype)
            a[::1000] = 0
            for wide in ("int64", "uint64"):
                found = fb.sum(fb.tensor(a, dtype=dtype), dtype=getattr(fb, wide)).numpy()
                assert found == a.sum(dtype=wide) and found.dtype == wide
    table = a[:60_000].reshape(60, 1000)
    found = fb.sum(fb.tensor(table, dtype=dtype).T[::2], 0, dtype=fb.int64)
    np.testing.assert_array_equal(found.numpy(), table.T[::2].sum(0, dtype="int64"))
