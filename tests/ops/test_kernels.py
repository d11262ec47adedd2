"""Kernels from users' functions: `elementwise`, `apply_`, `map_`, `map2_`."""

from __future__ import annotations

import math
import re
from math import exp

import flambeau as fb
import numpy as np
import pytest
from cases import check, layouts
from flambeau.kernels import is_plain

SCALE = 3.0


@fb.elementwise
def bump(x, y, power=2):
    """A function of scalars."""
    inside = fb.where((x > 0) & (y > x), math.exp(-x) * y, fb.sin(x) / SCALE)
    return max(inside, -0.5) + abs(x) ** power


def plain_bump(x, y, power=2):
    inside = np.where((x > 0) & (y > x), np.exp(-x) * y, np.sin(x) / SCALE)
    return np.maximum(inside, -0.5) + abs(x) ** power


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_function_of_scalars(dtype):
    for t, a in layouts(dtype):
        with np.errstate(all="ignore"):
            check(bump(t, t * 2), plain_bump(a, a * 2), dtype, 1e-5)
    x, y = fb.linspace(-2, 2, 5, dtype=dtype), fb.linspace(0, 1, 3, dtype=dtype)
    check(bump(x[:, None], y), plain_bump(x.numpy()[:, None], y.numpy()), dtype, 1e-5)
    check(bump(x, 0.5, power=3), plain_bump(x.numpy(), 0.5, 3), dtype, 1e-5)
    assert bump.__name__ == "bump" and bump.__doc__ == "A function of scalars."
    assert bump(np.float32([1.0]), [2.0]).shape == (1,)


def test_it_is_one_kernel():
    x = fb.rand(100)
    compiled = fb.compile(lambda x: bump(x, x + 1).sum())
    expected = plain_bump(x.numpy(), x.numpy() + 1).sum()
    np.testing.assert_allclose(compiled(x).item(), expected, rtol=1e-5)
    assert len(compiled.last.executable.program.kernels) == 1
    assert len(fb.compile(lambda x: bump(x, x + 1))(x).shape) == 1


def test_several_results_and_integers():
    @fb.elementwise
    def polar(x, y):
        return math.hypot(x, y), math.atan2(y, x), 1

    r, angle, one = polar(fb.tensor([3.0, 0.0]), 4.0)
    np.testing.assert_allclose(r.numpy(), [5, 4], rtol=1e-6)
    np.testing.assert_allclose(angle.numpy(), np.arctan2([4, 4], [3, 0]), rtol=1e-6)
    assert one.dtype is fb.int64 and one.tolist() == [1, 1]

    @fb.elementwise
    def collatz(n):
        return fb.where(n % 2 == 0, n // 2, 3 * n + 1)

    assert collatz(fb.tensor([6, 7])).tolist() == [3, 22]
    assert collatz(fb.tensor([6, 7])).dtype is fb.int64
    mixed = fb.elementwise(lambda a, n: a * n)
    assert mixed(fb.ones(2, dtype=fb.float16), fb.ones(2)).dtype is fb.float32
    assert mixed(fb.zeros(0, 3), fb.zeros(3)).shape == (0, 3)


def test_gradients():
    x, y = (fb.tensor(v, dtype=fb.float64) for v in ([-0.5, 0.3, 1.2], [0.2, 2.0, 5.0]))
    assert fb.gradcheck(lambda x, y: bump(x, y).sum(), (x, y))
    curve = fb.elementwise(lambda x: math.tanh(x) * x)
    first = fb.grad(lambda x: curve(x).sum())
    second = fb.grad(lambda x: first(x).sum())
    t = np.tanh(x.numpy())
    np.testing.assert_allclose(second(x).numpy(), 2 * (1 - t ** 2) * (1 - x.numpy() * t),
                               rtol=1e-12)
    w = fb.tensor(2.0).requires_grad_()
    fb.elementwise(lambda x: x * w)(fb.tensor([1.0, 2.0])).sum().backward()
    assert w.grad.item() == 3
    kept = fb.elementwise(lambda x: x * x.detach())
    assert fb.grad(lambda x: kept(x).sum())(fb.tensor([3.0])).tolist() == [3]

    @fb.elementwise
    def steps(x):
        x += 1
        x *= x
        return x

    assert fb.grad(lambda x: steps(x).sum())(fb.tensor([3.0])).tolist() == [8]
    assert steps(fb.tensor([3.0])).tolist() == [16]


def test_a_kernel_may_call_another():
    outer = fb.elementwise(lambda x, y: bump(x, y) * 2)
    x = fb.tensor([0.5, 1.5])
    np.testing.assert_allclose(outer(x, 2.0).numpy(), 2 * bump(x, 2.0).numpy(), rtol=1e-6)


def with_if(x):
    return x if x > 0 else 0.0


X = fb.tensor([1.0, -2.0])
CASES = [
    (lambda: fb.elementwise(3), "elementwise: expected a function, got int"),
    (lambda: fb.elementwise(with_if)(X), "with_if: expected a function that only records "
     "operations, got one that asks for a scalar's value (if, and, or, while, int, float); use "
     "fb.where(condition, a, b)"),
    (lambda: fb.elementwise(lambda x: x.sum() + fb.tensor([1.0]))(X),
     "<lambda>: expected a function that gives scalars, got shape (1,)"),
    (lambda: fb.elementwise(lambda x: fb.arange(3).float()[x.long()])(X),
     "<lambda>: expected operations on scalars, got "),
    (lambda: fb.elementwise(lambda x: None)(X),
     "<lambda>: expected a function that gives scalars, got NoneType"),
    (lambda: fb.elementwise(lambda x: x + fb.rand(()))(X),
     "<lambda>: expected a function without random numbers, got one that draws"),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_message(number):
    run, text = CASES[number]
    with pytest.raises(TypeError, match=re.escape(text)):
        run()


def test_shapes_must_broadcast():
    with pytest.raises(ValueError, match="bump: expected shapes that broadcast"):
        bump(fb.ones(2), fb.ones(3))


# -- Torch7's apply and map ------------------------------------------------------------------------


def test_plain_functions_are_known():
    count = 0

    def counting(x):
        nonlocal count
        count += 1
        return x + count

    found = []
    assert is_plain(lambda x: x * SCALE + math.sin(x) - exp(x) + abs(x) + max(x, 2.0))
    for other in (counting, found.append, lambda x: found.append(x), lambda x: x + len(found),
                  lambda x: np.sin(x), lambda x: bump(x, x), print):
        assert not is_plain(other)


def test_apply_and_map():
    """As Torch7: in float64, in place, None keeps the element; with a memory, in order."""
    x = fb.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert x.apply_(lambda v: math.sqrt(v) / 3) is x
    np.testing.assert_allclose(x.numpy().ravel(), np.sqrt([1, 2, 3, 4]) / 3, rtol=1e-7)
    assert x.apply(lambda v: 0 * v + 7).tolist() == [[7, 7], [7, 7]] and x[0, 0].item() < 1
    count = 0

    def counting(v):
        nonlocal count
        count += 1
        return count if v else None

    y = fb.ones(2, 3)
    y[0, 1] = 0
    y.t().apply_(counting)
    assert y.tolist() == [[1, 0, 5], [2, 4, 6]]
    assert fb.tensor([1, 2, 5]).apply_(lambda v: v / 2).tolist() == [0, 1, 2]
    assert fb.tensor([1.0, -2.0]).apply_(with_if).tolist() == [1, 0]
    assert fb.tensor([1.0, 4.0]).apply_(lambda v: v if v > 2 else None).tolist() == [1, 4]
    assert fb.tensor([5, 6]).apply_(lambda v: v & 4).tolist() == [4, 4]
    assert fb.tensor([1.0, 2.0]).apply_(lambda v: 8).tolist() == [8, 8]
    z = fb.tensor([1.0, 2.0, 3.0])
    assert z.map_(fb.tensor([[10.0], [20.0], [30.0]]), lambda a, b: a * b).tolist() == [10, 40, 90]
    assert z.map2_([1, 2, 3], z, lambda a, b, c: a + b - c).tolist() == [1, 2, 3]
    half = fb.tensor([0.1], dtype=fb.float16).apply_(lambda v: v * 3)
    assert half.dtype is fb.float16 and abs(half.item() - 0.3) < 1e-3
    assert fb.zeros(0).apply_(lambda v: v + 1).shape == (0,)
    strided = fb.zeros(4)
    strided[::2].apply_(lambda v: v + 1)
    assert strided.tolist() == [1, 0, 1, 0]


def test_maps_need_as_many_elements():
    with pytest.raises(ValueError, match="map_: expected 2 elements, got 3 of shape"):
        fb.ones(2).map_(fb.ones(3), lambda a, b: a)
    with pytest.raises(ValueError, match="map2_: expected 2 elements, got 1"):
        fb.ones(2).map2_(fb.ones(2), fb.ones(1), lambda a, b, c: a)
