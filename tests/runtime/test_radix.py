"""Sorting by bytes gives what NumPy's stable sorts give."""

from __future__ import annotations

import numpy as np
import pytest
from flambeau.runtime import order, pool, radix

RNG = np.random.default_rng(3)
SHAPES = [(1, 5000), (7, 300), (2, 1), (5, 0), (0, 5)]


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "u4", "u8"])
def test_rows(dtype: str) -> None:
    for shape in SHAPES:
        for scale in (3, 1e6, 1e18 if dtype[1] == "8" and dtype[0] != "f" else 1e9):
            x = RNG.standard_normal(shape) * scale
            if dtype[0] == "f":
                for value in (np.nan, -np.nan, 0.0, -0.0, np.inf, -np.inf):
                    x[RNG.random(shape) < 0.02] = value
            x = (np.abs(x) if dtype[0] == "u" else np.clip(x, -2**31, 2**31 - 1)
                 if dtype == "i4" else x).astype(dtype)
            np.testing.assert_array_equal(radix.sort(x), np.sort(x, 1))
            assert (radix.order(x) == np.argsort(x, 1, kind="stable")).all()


def test_wide_keys_are_told_apart_by_their_upper_half_and_ties_by_all_of_them() -> None:
    x = RNG.integers(0, 1 << 63, (2, 40000), np.uint64)
    assert radix._spread(x)
    x[:, 7::400] = (x[:, 6::400] & radix._UPPER) | np.uint64(5)
    x[1, 100:104] = x[1, 99]  # equal ones stay in their order
    assert (radix.order(x) == np.argsort(x, 1, kind="stable")).all()
    many = x & np.uint64(0x00FFFFFFFFFF)  # the span's upper half has few values
    many[0, 0] = 1 << 62
    assert (radix.order(many) == np.argsort(many, 1, kind="stable")).all()


def test_threads_take_rows() -> None:
    x = RNG.standard_normal((9, 20000)).astype("f4")
    found = []
    for count in (1, 2, 5):
        with pool.threads(count):
            found.append((radix.sort(x), radix.order(x), order.topk((1, 3, True), x)))
    for a, b, c in found[1:]:
        assert (a == found[0][0]).all() and (b == found[0][1]).all() and (c == found[0][2]).all()


def test_an_error_in_a_thread_is_told() -> None:
    def fails(x: np.ndarray) -> None:
        if x[0, 0]:
            raise ValueError("second part")

    x = np.zeros((2, radix.SHARED))
    x[1] = 1
    with pool.threads(2), pytest.raises(ValueError, match="second part"):
        radix.share(fails, x)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "float16"])
def test_short_numbers(dtype: str) -> None:
    x = (RNG.standard_normal((1, 5000)) * 40).astype(dtype)
    for rows in (x, x.reshape(5, 1000)):
        assert (order.sort((1, False), rows) == np.sort(rows, 1)).all()
        assert (order.argsort((1, False), rows) == np.argsort(rows, 1, kind="stable")).all()


def test_partitions() -> None:
    x = RNG.integers(0, 50, (3, 700))
    for k in (0, 13, 699):
        made = order.partition((1, k), x)
        assert (np.sort(made, 1) == np.sort(x, 1)).all()
        assert (made[:, k] == np.sort(x, 1)[:, k]).all()
        assert (made[:, :k] <= made[:, k:k + 1]).all() and (made[:, k:] >= made[:, k:k + 1]).all()
        places = order.argpartition((1, k), x)
        assert (np.take_along_axis(x, places, 1)[:, k] == np.sort(x, 1)[:, k]).all()
