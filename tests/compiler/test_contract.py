"""Contraction kernels against NumPy: every strategy, odd shapes, storage types, chunk orders."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from contraction_bench import (
    DTYPES,
    build,
    conv,
    conv_input_gradient,
    conv_weight_gradient,
    guarded,
    matmul,
    memory,
    reference,
)
from flambeau.compiler.codegen import contract, schedule
from flambeau.compiler.codegen.contract import Axis, Contraction, Plan
from flambeau.compiler.target import Target
from flambeau.runtime import jit

HOST = jit.host_target()
AVX2 = replace(HOST, cpu="x86-64-v3", features="", vector_bytes=32, registers=16, fma=True)
SSE2 = replace(HOST, cpu="x86-64", features="", vector_bytes=16, registers=16, fma=False)
TARGETS = [HOST, *([AVX2, SSE2] if HOST.triple.startswith("x86_64") else [])]


def check(c: Contraction, plan: Plan | None = None, target: Target = HOST, seed: int = 0,
          prologue: bool = False) -> None:
    """Runs a plan, its operands at the end of readable memory, and compares with NumPy."""
    rng = np.random.default_rng(seed)
    a, b = memory(c, "a", rng), memory(c, "b", rng)
    kernel = build(c, target, plan, prologue=prologue)
    expected = reference(c, a, b + 1 if prologue else b)
    out = np.full(expected.size + 1, 77, DTYPES[c.acc])
    if sys.platform == "linux":
        a, b = guarded(a), guarded(b)
    kernel(a, b, out)
    where = kernel.plan.description
    assert out[-1] == 77, where
    if c.acc[0] == "i":
        assert (out[:-1] == expected.astype(out.dtype)).all(), where
        return
    depth = max(1, c.sizes[3])
    scale = np.sqrt(depth) * (1e-6 if c.acc == "float" else 1e-14) * 16
    np.testing.assert_allclose(out[:-1], expected, rtol=1e-5, atol=scale, err_msg=where)


def distinct(c: Contraction, target: Target = HOST) -> list[Plan]:
    return contract.candidates(c, target)


def random_contraction(rng: np.random.Generator, acc: str = "float") -> Contraction:
    """Random families of axes laid out densely in random order, with gaps, flips and windows."""
    def extents(most: int, count: int) -> list[int]:
        return [int(rng.choice([1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33][:most]))
                for _ in range(count)]
    batch, m, n = (extents(6, rng.integers(0, 2)), extents(10, rng.integers(0, 3)),
                   extents(11, rng.integers(0, 3)))
    k = extents(10, rng.integers(1, 4))
    while np.prod(batch + m + n + k, dtype=float) > 60000:
        longest = max((batch, m, n, k), key=lambda x: np.prod(x, dtype=float))
        longest[int(np.argmax(longest))] //= 2

    def strides(kinds: list[list[int]]) -> list[list[int]]:
        places = [(f, i) for f, family in enumerate(kinds) for i in range(len(family))]
        out = [[0] * len(family) for family in kinds]
        step = int(rng.choice([1, 1, 1, 2]))
        for p in rng.permutation(len(places)):
            f, i = places[p]
            out[f][i] = step if rng.random() > 0.1 else -step
            if rng.random() > 0.15:  # else a window: the next axis moves through the same memory
                step = step * max(1, kinds[f][i]) + int(rng.random() < 0.2)
        return out
    a, b = strides([batch, m, k]), strides([batch, n, k])
    def axes(e: list[int], x: list[int] | None, y: list[int] | None) -> tuple[Axis, ...]:
        return tuple(Axis(extent, x[i] if x else None, y[i] if y else None)
                     for i, extent in enumerate(e))
    return Contraction(axes(batch, a[0], b[0]), axes(m, a[1], None), axes(n, None, b[1]),
                       axes(k, a[2], b[2]), acc)


@pytest.mark.parametrize("seed", range(60))
def test_random_axes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    c = random_contraction(rng, "double" if seed % 4 == 3 else "float")
    plans = distinct(c)
    for plan in {0, int(rng.integers(len(plans))), len(plans) - 1}:
        check(c, plans[plan], seed=seed)


@pytest.mark.parametrize("form", ["nn", "nt", "tn", "tt"])
def test_every_plan_of_a_product(form: str) -> None:
    c = matmul(19, 37, 41, form)
    plans = distinct(c)
    assert {p.strategy for p in plans} >= {"simple", "outer"}
    for plan in plans:
        check(c, plan)


@pytest.mark.parametrize("c", [
    conv(1, 1, 20, 6, 5), conv(2, 6, 12, 16, 3), conv(1, 3, 17, 5, 3, stride=2),
    conv(1, 2, 15, 4, 3, dilation=2), conv_weight_gradient(2, 3, 11, 6, 5),
    conv_weight_gradient(3, 2, 9, 16, 3), conv_input_gradient(1, 6, 12, 16, 3),
], ids=str)
def test_every_plan_of_a_convolution(c: Contraction) -> None:
    for plan in distinct(c)[:5]:
        check(c, plan)


@pytest.mark.parametrize("target", TARGETS[1:], ids=lambda t: t.cpu)
@pytest.mark.parametrize("c", [matmul(13, 30, 37, "nt"), matmul(20, 21, 9, "tn"),
                               conv(2, 3, 11, 9, 3), conv_weight_gradient(2, 3, 11, 6, 5)], ids=str)
def test_narrow_targets(c: Contraction, target: Target) -> None:
    plans = distinct(c, target)
    for plan in [*plans[:2], *(p for p in plans[2:] if p.strategy == "inner")]:
        check(c, plan, target)


def test_blocks_and_parts_of_k(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "CHUNK", 300.0)
    monkeypatch.setattr(schedule, "SMALL", 500.0)
    monkeypatch.setattr(schedule, "DEPTH", 32)
    shapes = [matmul(40, 70, 130), matmul(17, 33, 500, "nt"), conv_weight_gradient(9, 1, 20, 6, 5),
              conv(3, 40, 9, 18, 3)]
    parts = 0
    for c in shapes:
        for plan in distinct(c)[:6]:
            parts += bool(plan.tiling and plan.tiling.splits > 1)
            check(c, plan)
    assert parts


def test_order_of_chunks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "CHUNK", 300.0)
    monkeypatch.setattr(schedule, "SMALL", 500.0)
    rng = np.random.default_rng(1)
    for c in (matmul(50, 60, 70), conv_weight_gradient(9, 1, 20, 6, 5), matmul(9, 90, 7)):
        a, b = memory(c, "a", rng), memory(c, "b", rng)
        kernel = build(c, plan=contract.candidates(c, HOST)[0])
        assert any(s.chunks > 1 for s in kernel.stages)
        results = []
        for order in (iter, reversed, lambda r: rng.permutation(r).tolist()):
            out = np.zeros(reference(c, a, b).size, np.float32)
            kernel(a, b, out, order)
            results.append(out)
        assert (results[0] == results[1]).all() and (results[0] == results[2]).all()


@pytest.mark.parametrize(("scalar", "acc"), [
    ("half", "float"), ("bfloat", "float"), ("float", "double"), ("i8", "i32"), ("i16", "i32"),
    ("i32", "i32"), ("i64", "i64"), ("i32", "i64")])
def test_storage_types(scalar: str, acc: str) -> None:
    for form in ("nn", "nt"):
        c = replace(matmul(9, 35, 19, form, acc), a_scalar=scalar, b_scalar=scalar)
        for plan in distinct(c)[:2]:
            check(c, plan)


def test_prologue_sees_masked_lanes() -> None:
    for c in (matmul(9, 35, 19), matmul(9, 35, 50, "nt"), conv_weight_gradient(1, 1, 15, 6, 5)):
        for plan in distinct(replace(c, b_cost=2)):
            check(c, replace(plan, contraction=c), prologue=True)


def test_update_in_place() -> None:
    c = matmul(21, 50, 6, "tn")
    rng = np.random.default_rng(0)
    a, b = memory(c, "a", rng), memory(c, "b", rng)
    out = rng.standard_normal(21 * 50).astype(np.float32)
    expected = out - 0.5 * reference(c, a, b)
    build(c, update=-0.5)(a, b, out)
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize(("m", "n", "k"), [(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 1, 1), (1, 40, 3),
                                           (40, 1, 3), (1, 70, 200), (70, 1, 200)])
def test_thin_and_empty(m: int, n: int, k: int) -> None:
    for form in ("nn", "nt"):
        c = matmul(m, n, k, form)
        plan = contract.plan(c, HOST)
        assert (plan.stages == 0) == (m * n == 0)
        check(c)


def test_no_axes_at_all() -> None:
    check(Contraction((), (), (), (), "float"))
    check(Contraction((), (), (), (Axis(50, 1, 1),), "double"))
    check(Contraction((Axis(3, 1, 2), Axis(1, 0, 0)), (Axis(1, 0, 0),), (), (), "float"))


def test_m_axis_with_a_stride_in_b_is_refused() -> None:
    with pytest.raises(ValueError, match="expected m axes only in A"):
        Contraction((), (Axis(2, 1, 1),), (), (), "float")
