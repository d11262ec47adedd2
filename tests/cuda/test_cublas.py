"""Products by cuBLAS: which, with what arguments, and that they are the host's."""

from __future__ import annotations

from dataclasses import replace

import flambeau as fb
import numpy as np
import pytest
from flambeau.compiler.codegen import gpu_plan
from flambeau.compiler.codegen.contraction import Axis, Contraction
from flambeau.compiler.config import override
from flambeau.compiler.target import nvptx
from flambeau.runtime import devices
from flambeau.runtime.cuda import graphs

from emulator.cublas import Cublas

RNG = np.random.default_rng(0)


@pytest.fixture
def cublas(driver):
    """cuBLAS on the emulated GPU, for every product that it takes."""
    driver.cublas = Cublas(driver)
    with override(cublas="always"):
        yield driver.cublas


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("turn_a", [False, True])
@pytest.mark.parametrize("turn_b", [False, True])
def test_a_products_arguments(cublas, turn_a, turn_b):
    a, b = array(7, 5), array(5, 3)
    x = fb.tensor(a.T.copy() if turn_a else a, device="cuda")
    y = fb.tensor(b.T.copy() if turn_b else b, device="cuda")
    got = ((x.t() if turn_a else x) @ (y.t() if turn_b else y)).tanh().numpy()  # fused behind it
    np.testing.assert_allclose(got, np.tanh(a @ b), rtol=1e-5, atol=1e-6)
    (p,) = cublas.products
    assert p[:5] == (turn_b, turn_a, 3, 7, 5)  # columns first: b, then a
    assert p[6:8] == (0, 5 if turn_b else 3) and p[10:12] == (0, 7 if turn_a else 5)
    assert p[14:16] == (0, 3) and p[17:] == (1, 68, -1)


def test_batches_offsets_and_dtypes(cublas):
    a, b = array(4, 6, 5), array(4, 5, 3)
    x, y = fb.tensor(a, device="cuda"), fb.tensor(b, device="cuda")
    np.testing.assert_allclose((x[1:] @ y[1:]).numpy(), a[1:] @ b[1:], rtol=1e-5, atol=1e-6)
    assert cublas.products[-1][17] == 3
    for dtype, kind, out, compute in (("float16", 2, 0, 68), ("bfloat16", 14, 0, 68),
                                      ("float64", 1, 1, 70)):
        got = (x.to(dtype) @ y.to(dtype)).float().numpy()
        p = cublas.products[-1]
        assert (p[6], p[10], p[14], p[18]) == (kind, kind, out, compute)
        np.testing.assert_allclose(got, a @ b, atol=0.1)
    with override(tf32=True):
        (x[0] @ y[0] + 1).numpy()
    assert cublas.products[-1][18] == 77
    count = len(cublas.products)
    assert (x.long()[0] @ y.long()[0]).shape == (6, 3)  # no integers
    fb.conv2d(fb.ones(1, 1, 4, 4, device="cuda"), fb.ones(1, 1, 2, 2, device="cuda")).numpy()
    assert len(cublas.products) == count


def test_products_are_captured_and_ordered(cublas, driver, monkeypatch):
    monkeypatch.setattr(graphs, "AFTER", 0)
    x = fb.tensor(array(6, 6), device="cuda")
    f = fb.compile(lambda t: (t @ t + 1.0) @ t)
    for stream in (fb.cuda.default_stream(), fb.cuda.Stream()):
        with fb.cuda.stream(stream):
            got = f(x).numpy()
    want = fb.compile(f.fn)(x.cpu()).numpy()
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert "cuGraphLaunch" in driver.names() and "cuBLAS" in f.explain()
    assert driver.names().count("cublasCreate_v2") == 1


def test_a_refusal_is_named(cublas, monkeypatch):
    monkeypatch.setattr(cublas, "cublasGemmStridedBatchedEx", lambda *_: 13)
    with pytest.raises(RuntimeError, match=r"cublasGemmStridedBatchedEx: expected success, got "
                                           r"status 13 \(execution failed\)"):
        (fb.ones(3, 3, device="cuda") @ fb.rand(3, 3, device="cuda")).numpy()


def test_where_it_is_off_or_absent(driver):
    assert devices.find("cuda:0").target().library == ""
    driver.cublas = Cublas(driver)
    assert devices.find("cuda:0").target().library == "auto"
    with override(cublas="off"):
        assert devices.find("cuda:0").target().library == ""


def test_large_products_are_its_own():
    def product(m, k, n):
        axes = [(Axis(m, k, 0),), (Axis(n, 0, 1),), (Axis(k, 1, n),)]
        c = Contraction((), *axes, "float", "float", "float")
        goal = nvptx(90, 132)
        return [gpu_plan.plan(c, t).library for t in (goal, replace(goal, library="auto"))]

    assert product(4096, 4096, 4096) == [False, True]
    assert product(60, 784, 500) == [False, False]
