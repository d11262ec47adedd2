"""custom_op: bodies in NumPy and ctypes, lazy, compiled, in loops, and differentiated twice."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import flambeau as fb
import numpy as np
import pytest

calls: list[str] = []


@fb.custom_op
def cubed(x: np.ndarray, *, scale: float = 1.0) -> np.ndarray:
    """scale * x ** 3"""
    calls.append("cubed")
    return (scale * x ** 3).astype(x.dtype)


@cubed.backward
def _(g: fb.Tensor, y: fb.Tensor, x: fb.Tensor, scale: float = 1.0) -> fb.Tensor:
    return g * (3 * scale) * x ** 2


@fb.custom_op
def polar(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Length, angle and quadrant."""
    quadrant = (x < 0).astype(np.int32) + 2 * (y < 0)
    return np.hypot(x, y), np.arctan2(y, x), quadrant.astype(np.int32)


@polar.shape
def _(x: fb.Tensor, y: fb.Tensor) -> list[Any]:
    return [(x.shape, x.dtype), (x.shape, x.dtype), (x.shape, fb.int32)]


@polar.backward
def _(g: Any, results: Any, x: fb.Tensor, y: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
    r = results[0]
    return (g[0] * x / r - g[1] * y / r ** 2, g[0] * y / r + g[1] * x / r ** 2)


def test_lazy_and_computed_once() -> None:
    calls.clear()
    x = fb.tensor([1.0, 2.0, -1.0])
    y = cubed(x * 2, scale=0.5) + 1
    assert y.is_lazy and not calls
    assert y.tolist() == [5, 33, -3] and calls == ["cubed"]
    cubed(x)  # nobody asks
    assert calls == ["cubed"] and cubed.__doc__ == "scale * x ** 3"
    assert cubed(fb.ones(2, dtype=fb.bfloat16)).dtype is fb.bfloat16
    assert cubed(fb.ones(0, 3)).shape == (0, 3) and cubed([2.0]).tolist() == [8]
    assert cubed(fb.arange(6).view(2, 3).t()).tolist() == [[0, 27], [1, 64], [8, 125]]


def test_compiled() -> None:
    @fb.compile
    def f(x: fb.Tensor, k: float) -> fb.Tensor:
        return (cubed(x) * k).sum()

    for i in range(4):
        assert f(fb.full(3, float(i)), 2.0).item() == 6 * i ** 3
    assert len(f.variants) == 1


def test_first_and_second_derivatives() -> None:
    x = fb.tensor([0.5, -1.2, 2.0], dtype=fb.float64)
    assert fb.gradcheck(lambda x: cubed(x * x, scale=2.0).tanh(), [x])
    slope = fb.grad(lambda x: cubed(x).sum())
    assert fb.gradcheck(lambda x: (slope(x) ** 2).sum(), [x])
    np.testing.assert_allclose(fb.grad(lambda x: slope(x).sum())(x).numpy(), 6 * x.numpy())
    t = fb.tensor([2.0], requires_grad=True)
    cubed(t).sum().backward()
    assert t.grad.tolist() == [12]


def test_several_results_of_several_dtypes() -> None:
    x, y = fb.tensor([3.0, -1.0]).double(), fb.tensor([4.0, -1.0]).double()
    r, angle, quadrant = polar(x, y)
    assert quadrant.dtype is fb.int32 and quadrant.tolist() == [0, 3]
    np.testing.assert_allclose(r.numpy(), np.hypot(x.numpy(), y.numpy()))
    np.testing.assert_allclose(angle.numpy(), np.arctan2(y.numpy(), x.numpy()))
    assert fb.gradcheck(lambda x, y: polar(x, y)[0] * 2 + polar(x, y)[1], [x, y])
    slope = fb.grad(lambda x: polar(x, y)[0].sum())
    assert fb.gradcheck(lambda x: slope(x) * 3, [x])


def test_a_body_in_c() -> None:
    libc = ctypes.CDLL(None)

    @fb.custom_op(shape=lambda x: ((x.shape[0] * 2,), x.dtype),
                  backward=lambda g, y, x: g[:x.shape[0]] + g[x.shape[0]:])
    def doubled(x: np.ndarray) -> np.ndarray:
        made = np.empty(x.shape[0] * 2, x.dtype)
        for k in range(2):
            libc.memcpy(ctypes.c_void_p(made.ctypes.data + k * x.nbytes),
                        ctypes.c_void_p(x.ctypes.data), ctypes.c_size_t(x.nbytes))
        return made

    x = fb.arange(3).double() + 1
    assert doubled(x).tolist() == [1, 2, 3, 1, 2, 3]
    assert fb.gradcheck(lambda x: doubled(x) ** 2, [x])


def test_one_defined_anew_is_another() -> None:
    def make(k: int) -> Any:
        @fb.custom_op
        def op(x: np.ndarray) -> np.ndarray:
            return x + np.float32(k)
        return op

    one, two = make(1), make(2)
    assert one.name != two.name
    assert [one(fb.zeros(1)).item(), two(fb.zeros(1)).item(), one(fb.zeros(1)).item()] == [1, 2, 1]


def test_a_cached_program_finds_the_body_of_this_process() -> None:
    code = ("import flambeau as fb, sys\n"
            "@fb.custom_op\n"
            "def op(x): return x + x.dtype.type({})\n"
            "print(op(fb.zeros(3)).tolist())")
    for k in (5, 6):
        done = subprocess.run([sys.executable, "-c", code.format(k)], capture_output=True,
                              text=True, check=True)
        assert done.stdout.strip() == str([float(k)] * 3)


def _wrong(result: Any, **options: Any) -> Any:
    return fb.custom_op(lambda x: result, **options)


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: fb.custom_op(3), TypeError, "custom_op: expected a function, got int"),
    (lambda: _wrong(np.zeros(2))(fb.zeros(3)).numpy(), ValueError,
     "expected a result of shape (3,) and float32, got (2,) and float64"),
    (lambda: _wrong((np.zeros(3, "f"),) * 2)(fb.zeros(3)).numpy(), ValueError,
     "expected 1 results, got 2"),
    (lambda: cubed(fb.zeros(3), scale=np.zeros(2)), TypeError,
     "cubed: expected options of numbers, text and tuples, got ndarray; pass arrays as operands"),
    (lambda: _wrong(None, shape=lambda x: 3)(fb.zeros(3)), TypeError,
     "expected a shape rule that gives (shape, dtype) or a list of such pairs, got 3"),
    (lambda: cubed(), TypeError, "cubed: expected operands or a shape rule, got neither"),
    (lambda: fb.grad(lambda x: _wrong(np.zeros(3, "f"))(x).sum())(fb.zeros(3)), TypeError,
     "has no derivative; give it one with @<lambda>.backward"),
    (lambda: fb.grad(lambda x: _wrong(np.zeros(3, "f"), backward=lambda g, y, x: (g, g))(x).sum())(
        fb.zeros(3)), ValueError, "expected 1 cotangents, got 2"),
    (lambda: fb.grad(lambda x: _wrong(np.zeros(3, "f"), backward=lambda g, y, x: g[:2])(x).sum())(
        fb.zeros(3)), ValueError, "expected a cotangent of shape (3,), got (2,)"),
])
def test_messages(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)


def test_errors_of_the_body_say_where() -> None:
    @fb.custom_op
    def broken(x: np.ndarray) -> np.ndarray:
        x[0] = 1  # operands are read-only
        return x

    with pytest.raises(ValueError, match=r"read-only \(recorded at .*test_custom_op.py:\d+\)"):
        broken(fb.zeros(2)).numpy()
