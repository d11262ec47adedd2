"""Arrays for the op tests: dtypes, layouts and special values; and the comparison."""

from __future__ import annotations

import flambeau as fb
import numpy as np

FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
ALL = ("bool", *INTEGERS, *FLOATS)
TOLERANCE = {"float16": 2e-3, "float32": 2e-6, "float64": 1e-13, "bfloat16": 2e-2}


def array(dtype: str, shape: tuple[int, ...], seed: int = 0, low: float = -3, high: float = 3
          ) -> np.ndarray:
    """Reproducible values of a dtype in a range that suits it."""
    rng = np.random.default_rng(seed + len(dtype))
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.startswith("uint"):
        return rng.integers(max(0, int(low)), max(2, int(high) + 1), shape).astype(dtype)
    if dtype.startswith("int"):
        return rng.integers(int(low), int(high) + 1, shape).astype(dtype)
    return np.asarray(rng.uniform(low, high, shape)).astype(dtype)


def layouts(dtype: str, low: float = -3, high: float = 3) -> list[tuple[fb.Tensor, np.ndarray]]:
    """(tensor, array) pairs of the same values: contiguous, transposed, reversed, strided,
    broadcast, 0-d, empty, and with NaN and infinities."""
    a = array(dtype, (4, 6), 1, low, high)
    t = fb.tensor(a)
    line = array(dtype, (1, 6), 2, low, high)
    pairs = [
        (t, a),
        (t.t(), a.T),
        (t[::-1, ::-2], a[::-1, ::-2]),
        (t[1:, 2:5], a[1:, 2:5]),
        (fb.tensor(line).expand(3, 6), np.broadcast_to(line, (3, 6))),
        (t[2, 3], a[2, 3]),
        (t[:0], a[:0]),
        (t.reshape(2, 2, 6).permute(2, 0, 1), a.reshape(2, 2, 6).transpose(2, 0, 1)),
    ]
    if dtype.startswith("float"):
        special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5], dtype)
        pairs.append((fb.tensor(special), special))
    return pairs


def check(found, expected, dtype: str | None = None, tolerance: float | None = None,
          message: str = "") -> None:
    """found (a tensor) has expected's values and shape, and dtype if given."""
    expected = np.asarray(expected)
    assert isinstance(found, fb.Tensor), f"{message}: {type(found)}"
    assert found.shape == expected.shape, f"{message}: {found.shape} is not {expected.shape}"
    if dtype is not None:
        assert found.dtype.name == dtype, f"{message}: {found.dtype.name} is not {dtype}"
    got = found.numpy()
    if tolerance is None:
        tolerance = max(TOLERANCE.get(str(got.dtype), 0), TOLERANCE.get(str(expected.dtype), 0))
    if expected.dtype.kind == "f" or got.dtype.kind == "f":
        np.testing.assert_allclose(got.astype(np.float64), expected.astype(np.float64),
                                   rtol=tolerance, atol=tolerance, err_msg=message)
    else:
        np.testing.assert_array_equal(got, expected, err_msg=message)
