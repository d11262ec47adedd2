"""A program gives the same bits however it is cut into pieces."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest

from cut_programs import differ


@pytest.mark.parametrize("start", range(0, 12, 4))
def test_programs(start: int) -> None:
    for seed in range(start, start + 4):
        assert differ(seed) is None, f"differ({seed})"


@pytest.mark.parametrize("dtype", [fb.float32, fb.float64])
def test_a_product_that_is_added_is_rounded_first(dtype: fb.DType) -> None:
    """Pins that x*y + z was one fused operation unless somebody else wanted x*y too."""
    x, y, z = (fb.randn(100, dtype=dtype) for _ in range(3))
    want = x.numpy() * y.numpy() + z.numpy()
    product = x * y
    total = product + z
    assert np.array_equal(total.numpy(), want)
    assert np.array_equal((product + z).numpy(), want) and product.is_lazy
    again, kept = x * y + z, x * y
    fb.compute(again, kept)
    assert np.array_equal(again.numpy(), want)
    assert np.array_equal((kept - z).numpy(), x.numpy() * y.numpy() - z.numpy())
    assert np.array_equal(((x * y) * 2).sum(0).numpy(), (kept * 2).sum(0).numpy())
