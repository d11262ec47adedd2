"""Generated products judged by OpenBLAS, and the other way round."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from flambeau.compiler.config import override
from flambeau.runtime import blas

SHAPES = [((5, 7), (7, 3)), ((64, 100), (100, 48)), ((2, 9, 4), (2, 4, 6)), ((1, 30), (30, 1))]


@pytest.mark.skipif(not blas.available(), reason="no OpenBLAS beside NumPy")
@pytest.mark.parametrize("dtype", [fb.float32, fb.float64])
@pytest.mark.parametrize("shapes", SHAPES)
def test_blas_and_generated_agree(shapes: tuple[tuple[int, ...], ...], dtype: fb.DType) -> None:
    rng = np.random.default_rng(0)
    a, b = (fb.tensor(rng.standard_normal(s)).to(dtype) for s in shapes)
    want = a.numpy().astype(np.float64) @ b.numpy().astype(np.float64)
    tolerance = 1e-5 if dtype is fb.float32 else 1e-13
    for matmul in ("blas", "generated"):
        with override(matmul=matmul):
            plain = fb.compile(lambda x, y: fb.tanh(x @ y))
            turned = fb.compile(lambda x, y: (y.mT @ x.mT).mT + 1)
            np.testing.assert_allclose(plain(a, b).numpy(), np.tanh(want), rtol=tolerance * 20,
                                       atol=tolerance)
            np.testing.assert_allclose(turned(a, b).numpy(), want + 1, rtol=tolerance * 20,
                                       atol=tolerance * 10)
            assert ("gemm" in plain.llvm_ir()) == (matmul == "blas")
