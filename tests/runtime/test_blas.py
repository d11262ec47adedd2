"""The BLAS in NumPy's wheel, through our wrappers, against NumPy."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest
from flambeau.runtime import blas, jit, pool

pytestmark = pytest.mark.skipif(not blas.available(), reason="no OpenBLAS on this machine")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ta, tb", list(itertools.product([False, True], repeat=2)))
def test_gemm(dtype: type, ta: bool, tb: bool) -> None:
    rng = np.random.default_rng(0)
    m, n, k = 7, 11, 5
    a = rng.standard_normal((k, m) if ta else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if tb else (k, n)).astype(dtype)
    c = rng.standard_normal((m, n)).astype(dtype)
    expected = 0.5 * (a.T if ta else a) @ (b.T if tb else b) + 2.0 * c
    threads = blas.threads()
    blas.gemm(dtype, m, n, k, 0.5, a.ctypes.data, a.shape[1], b.ctypes.data, b.shape[1],
              2.0, c.ctypes.data, n, ta, tb)
    np.testing.assert_allclose(c, expected, rtol=2e-5 if dtype is np.float32 else 1e-12)
    assert blas.threads() == threads


def test_info() -> None:
    facts = blas.info()
    assert facts["found"] and facts["integers"] in (32, 64) and "OpenBLAS" in facts["config"]


CHUNKED = """
declare void @fb_sgemm(i32, i32, i32, i64, i64, i64, float, ptr, i64, ptr, i64, float, ptr, i64)
declare void @fb_parallel(ptr, ptr, i64)

; ctx: {a, b, c}; chunk i is row block i of 16 rows of a 64 x 64 product
define internal void @chunk(ptr %ctx, i64 %i) {
  %a = load ptr, ptr %ctx
  %b.p = getelementptr ptr, ptr %ctx, i64 1
  %b = load ptr, ptr %b.p
  %c.p = getelementptr ptr, ptr %ctx, i64 2
  %c = load ptr, ptr %c.p
  %at = mul i64 %i, 1024
  %a.i = getelementptr float, ptr %a, i64 %at
  %c.i = getelementptr float, ptr %c, i64 %at
  call void @fb_sgemm(i32 101, i32 111, i32 111, i64 16, i64 64, i64 64, float 1.0, ptr %a.i,
                      i64 64, ptr %b, i64 64, float 0.0, ptr %c.i, i64 64)
  ret void
}

define void @entry(ptr %buffers, ptr %scalars, ptr %arena) {
  call void @fb_parallel(ptr @chunk, ptr %buffers, i64 4)
  ret void
}
"""


def test_from_parallel_native_code_and_many_threads() -> None:
    entry = jit.load(CHUNKED, "chunked", jit.host_target()).function("entry")
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((64, 64)).astype(np.float32) for _ in range(2))
    failures = []

    def work() -> None:
        c = np.zeros((64, 64), np.float32)
        table = np.array([a.ctypes.data, b.ctypes.data, c.ctypes.data])
        for _ in range(100):
            c[:] = 0
            entry(table.ctypes.data, None, None)
            if not np.allclose(c, a @ b, rtol=1e-4, atol=1e-5):
                failures.append(c)

    threads = blas.threads()
    with pool.threads(2):
        members = [threading.Thread(target=work) for _ in range(3)]
        for member in members:
            member.start()
        for member in members:
            member.join()
    assert not failures and blas.threads() == threads


def test_thirty_two_bit_wrapper_is_valid() -> None:
    assert "trunc" in blas._source(32)
    jit.optimised_ir(blas._source(32), jit.host_target())


def test_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "find", lambda: None)
    assert not blas.available() and blas.info() == {"found": False}
    with pytest.raises(LookupError, match="expected OpenBLAS"):
        blas.threads()
