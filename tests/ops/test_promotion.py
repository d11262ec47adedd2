"""Promotion of every pair of dtypes, and of dtypes with Python numbers, against NumPy."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from cases import ALL


@pytest.mark.parametrize("a", ALL)
def test_pairs(a):
    for b in ALL:
        x, y = fb.ones(2, dtype=a), fb.ones(2, dtype=b)
        expected = np.result_type(np.dtype(a), np.dtype(b)).name
        assert (x + y).dtype.name == expected
        assert fb.where(x > 0, x, y).dtype.name == expected
        assert fb.cat([x, y]).dtype.name == expected
        assert (x == y).dtype is fb.bool_
        found = (x / y).dtype.name
        assert found == (expected if expected.startswith("float") else "float32")
        assert (x @ y).dtype.name == expected


@pytest.mark.parametrize("a", ALL)
def test_python_numbers_are_weak(a):
    x = np.ones(2, a)
    t = fb.ones(2, dtype=a)
    assert (t * True).dtype.name == (x * True).dtype.name
    assert (t + 1).dtype.name == (x + 1).dtype.name
    expected = (x + 1.5).dtype.name if a.startswith("float") else "float32"
    assert (t + 1.5).dtype.name == expected
    for scalar in (np.int8(1), np.float32(1), np.float64(1), np.uint16(1)):
        assert (t + scalar).dtype.name == (x + scalar).dtype.name
        assert (scalar + t).dtype.name == (scalar + x).dtype.name


def test_from_data():
    assert fb.tensor([1, 2]).dtype is fb.int64
    assert fb.tensor([1.0, 2]).dtype is fb.float32
    assert fb.tensor([True]).dtype is fb.bool_
    assert fb.tensor(3.5).dtype is fb.float32
    assert fb.tensor(np.float64(3.5)).dtype is fb.float64
    assert fb.tensor(np.zeros(2)).dtype is fb.float64
    assert fb.tensor([np.float64(1), np.float64(2)]).dtype is fb.float64
    assert fb.tensor([fb.tensor(1.0), fb.tensor(2.0)]).shape == (2,)


def test_default_dtype():
    fb.set_default_dtype(fb.float64)
    try:
        assert fb.tensor(1.5).dtype is fb.float64
        assert fb.zeros(2).dtype is fb.float64
        assert (fb.tensor([1]) / 2).dtype is fb.float64
    finally:
        fb.set_default_dtype("float32")


def test_casts():
    a = np.array([0, 1.7, -2.5, 300.0])
    t = fb.tensor(a)
    for name, dtype in (("float", "float32"), ("double", "float64"), ("half", "float16"),
                        ("long", "int64"), ("int", "int32"), ("short", "int16"), ("bool", "bool")):
        found = getattr(t, name)()
        assert found.dtype.name == dtype
        np.testing.assert_array_equal(found.numpy(), a.astype(dtype))
    assert t.double() is t
    assert t.to(fb.float32).dtype is fb.float32
    assert t.to("cpu") is t
    assert t.astype(np.int32).dtype is fb.int32
    assert t.type() == "float64"
    assert t.type("float16").dtype is fb.float16
    assert fb.tensor([1.0]).view(fb.int32).item() == 0x3F800000
