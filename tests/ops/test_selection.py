"""Order statistics of long lines: few best elements, single ranks, quantiles; beside sorts."""

import flambeau as fb
import numpy as np
import pytest
from flambeau.runtime import order

DTYPES = ("float32", "float64", "int32", "int64", "uint8", "int16")


def numbers(dtype: str, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(len(shape))
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    return rng.standard_normal(shape).astype(dtype)


def best(x: np.ndarray, k: int, largest: bool) -> np.ndarray:
    """Where the k best of each row are: of equal ones the first; NaN is largest."""
    if largest:
        turned = np.argsort(x[:, ::-1], axis=1, kind="stable")[:, ::-1]
        return (x.shape[1] - 1 - turned)[:, :k]
    return np.argsort(x, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("shape", [(1, 70_001), (3, 5_003), (40, 331), (0, 400)])
def test_few_best(dtype: str, largest: bool, shape: tuple[int, int]) -> None:
    x = numbers(dtype, *shape)
    for k in (1, 5):
        found = order.topk((1, k, largest), x)
        assert np.array_equal(found, best(x, k, largest))


@pytest.mark.parametrize("largest", [True, False])
def test_few_best_among_special_values(largest: bool) -> None:
    x = numbers("float64", 4, 4_000)
    x[0, 3_999] = x[1, 7] = np.nan
    x[2, ::3], x[3, ::5] = np.inf, -np.inf
    ties = np.round(numbers("float64", 4, 4_000))
    zeros = np.where(np.arange(8_000).reshape(2, 4_000) % 2, 0.0, -0.0)
    for rows in (x, x[:, ::-1], ties, zeros):
        found = order.topk((1, 6, largest), rows)
        assert np.array_equal(found, best(rows, 6, largest))


@pytest.mark.parametrize("dtype", DTYPES)
def test_single_ranks(dtype: str) -> None:
    x = numbers(dtype, 70_000)
    ordered = np.sort(x)
    for k in (0, 1, 350, 35_000, 69_998, 69_999):
        assert order.select(x, k) == ordered[k]
        assert order.select(x[::-1], k) == ordered[k]
        assert order.select(ordered, k) == ordered[k]
        place = order.kth((0, k), x)[0]
        assert place == np.argmax(x == ordered[k])


def test_single_ranks_with_nan_and_few_values() -> None:
    x = numbers("float64", 70_000)
    x[::2] = np.nan
    ordered = np.sort(x)
    for k in (0, 34_999, 35_000, 69_999):
        assert np.array_equal(order.select(x, k), ordered[k], equal_nan=True)
    assert order.kth((0, 69_999), x)[0] == 0  # the first NaN
    few = np.arange(70_000) % 3
    periodic = np.sin(np.arange(70_000) * np.pi / 8)  # the sample sees one phase alone
    for line in (few, periodic):
        for k in (0, 23_334, 46_667, 69_999):
            assert order.select(line, k) == np.sort(line)[k]


@pytest.mark.parametrize("q", [0.0, 0.3, 1.0, [0.1, 0.5, 0.5], list(np.linspace(0, 1, 9))])
def test_quantiles_of_long_lines(q: float | list[float]) -> None:
    x = numbers("float64", 70_001)
    t = fb.tensor(x, dtype="float64")
    assert np.array_equal(fb.quantile(t, q).numpy(), np.quantile(x, q)) or np.allclose(
        fb.quantile(t, q).numpy(), np.quantile(x, q), 1e-14, 0)
    x[::7] = np.nan
    t = fb.tensor(x, dtype="float64")
    assert np.isnan(fb.quantile(t, q).numpy()).all()
    assert np.allclose(fb.nanquantile(t, q).numpy(), np.nanquantile(x, q), 1e-14, 0)


def test_a_quantile_hands_its_gradient_to_its_two_neighbours() -> None:
    x = numbers("float64", 40_000)
    g = fb.grad(lambda t: fb.quantile(t, 0.3))(fb.tensor(x, dtype="float64")).numpy()
    at = 0.3 * 39_999
    ranks = np.argsort(x)
    wanted = np.zeros(40_000)
    low = int(at)
    wanted[ranks[low]], wanted[ranks[low + 1]] = 1 - (at - low), at - low
    assert np.allclose(g, wanted, 1e-9)


def test_partitions_in_place_of_their_result() -> None:
    x = numbers("float64", 3, 500)
    t = fb.tensor(x, dtype="float64")
    for k in (0, 250, 499):
        split = fb.partition(t, k).numpy()
        assert np.array_equal(np.sort(split, 1), np.sort(x, 1))
        assert np.array_equal(split[:, k], np.sort(x, 1)[:, k])
        places = fb.argpartition(t, k).numpy()
        assert np.array_equal(np.take_along_axis(x, places, 1)[:, k], np.sort(x, 1)[:, k])
    assert np.array_equal(t.numpy(), x)


def test_weighted_counts_and_their_gradient() -> None:
    x = np.array([3, 0, 3, 5], "uint8")
    w = np.array([0.5, 2.0, -1.0, np.inf])
    t = fb.tensor(x, dtype="uint8")
    assert np.array_equal(fb.bincount(t, fb.tensor(w, dtype="float64"), 7).numpy(),
                          np.bincount(x, w, 7))
    g = fb.grad(lambda v: (fb.bincount(t, v) * fb.arange(6, dtype="float64")).sum())
    assert g(fb.tensor(w, dtype="float64")).numpy().tolist() == [3, 0, 3, 5]
    half = fb.bincount(t, fb.tensor(w, dtype="float16"))
    assert half.dtype.name == "float16" and half.numpy()[0] == 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9_000,), (3, 5_000), (4, 300), (5, 20), (2, 3, 0)])
def test_sorts_in_place_of_their_result(dtype: str, shape: tuple[int, ...]) -> None:
    x = numbers(dtype, *shape)
    if x.dtype.kind == "f" and x.size:
        x.flat[::11], x.flat[1::17], x.flat[2::19] = np.nan, -0.0, 0.0
        x.flat[3] = -np.nan
    t = fb.tensor(x, dtype=dtype)
    for view, lines in ((t, x), (t.flip(-1), x[..., ::-1])):
        found = fb.sort(view).values.numpy()
        assert np.array_equal(found, np.sort(lines), equal_nan=dtype[0] == "f")
        assert np.array_equal(fb.argsort(view).numpy(), np.argsort(lines, kind="stable"))
    assert np.array_equal(t.numpy(), x, equal_nan=dtype[0] == "f")


@pytest.mark.parametrize("k", [2**63, 2**64, -2**64, 10**30])
def test_diagonals_far_outside(k: int) -> None:
    assert not fb.eye(2, 3, k).numpy().any()
    assert (fb.tri(2, 3, k).numpy() == float(k > 0)).all()
    x = np.ones((2, 3), np.float32)
    assert np.array_equal(fb.tril(x, k).numpy(), x * (k > 0))
    assert np.array_equal(fb.triu(x, k).numpy(), x * (k < 0))
