"""Torch7's own names, where they are second names, and the rest of its table."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import numpy as np
import pytest

X, Y = fb.tensor([[1.5, -2.0], [3.0, 4.0]]), fb.tensor([[2.0, 2.0], [-1.0, 0.5]])
I, J = fb.tensor([12, 7, 5]), fb.tensor([10, 3, 1])


@pytest.mark.parametrize(("name", "operands", "want"), [
    ("csub", (X, Y), X - Y), ("cmul", (X, Y), X * Y), ("cdiv", (X, Y), X / Y),
    ("cpow", (X.abs(), Y), X.abs() ** Y), ("cmax", (X, Y), fb.maximum(X, Y)),
    ("cmin", (X, 0), fb.minimum(X, 0)), ("cinv", (X,), 1 / X), ("cfmod", (X, Y), fb.fmod(X, Y)),
    ("cremainder", (X, Y), X % Y), ("bitand", (I, J), I & J), ("bitor", (I, J), I | J),
    ("bitxor", (I, J), I ^ J), ("lshift", (I, 2), I * 4), ("rshift", (I, 1), I // 2),
    ("repeat_tensor", (I, 2), fb.cat([I, I])),
])
def test_second_names(name: str, operands: Any, want: fb.Tensor) -> None:
    np.testing.assert_allclose(getattr(fb, name)(*operands).numpy(), want.numpy(), 1e-6)
    method = getattr(operands[0].clone(), name)
    np.testing.assert_allclose(method(*operands[1:]).numpy(), want.numpy(), 1e-6)
    if name != "repeat_tensor":
        t = operands[0].clone()
        assert getattr(t, name + "_")(*operands[1:]) is t
        np.testing.assert_allclose(t.numpy(), want.numpy(), 1e-6)


def test_questions_of_shape_and_type() -> None:
    assert X.n_dimension() == X.dim() == 2 and X.n_element() == X.numel() == fb.numel(X) == 4
    assert fb.is_tensor(X) and not fb.is_tensor([1]) and isinstance(X.storage(), fb.Storage)
    assert X.type_as(I).dtype is fb.int64 and X.type() == "float32"
    assert X.type("int8").dtype is fb.char
    assert fb.default_dtype() is fb.float32 and X.storage().double().dtype is fb.double
    assert fb.ones_like(I).tolist() == [1, 1, 1] and X.index(0, [1]).tolist() == [[3, 4]]


def test_writing_by_index_and_mask() -> None:
    t = fb.zeros(3, 2)
    assert t.index_copy_(0, [2, 0], fb.tensor([[1.0, 2], [3, 4]])) is t
    assert t.tolist() == [[3, 4], [0, 0], [1, 2]]
    t.masked_fill_(t == 0, 9)
    assert t.tolist() == [[3, 4], [9, 9], [1, 2]]
    t.masked_scatter_(t == 9, [7, 8, 100])
    assert t.tolist() == [[3, 4], [7, 8], [1, 2]]
    t.addmm_(fb.ones(3, 1), fb.ones(1, 2), beta=0, alpha=2)
    assert t.tolist() == [[2, 2]] * 3


def test_threads_under_their_old_names() -> None:
    before = fb.openmp.get_num_threads()
    fb.openmp.disable()
    assert fb.num_threads() == 1
    fb.openmp.enable()
    assert fb.openmp.get_num_threads() == before
    fb.openmp.set_num_threads(before)


def test_exponential_draws_are_positive() -> None:
    assert (fb.exponential(2.0, size=(50,)) >= 0).all().item()


def test_correlation_of_volumes_flips_nothing_and_convolution_does() -> None:
    x, k = fb.rand(4, 4, 4), fb.rand(2, 3, 2)
    np.testing.assert_allclose(fb.conv3(x, k, "F").numpy(),
                               fb.xcorr3(x, k.flip((0, 1, 2)), "F").numpy(), 1e-5)
    assert fb.conv3(x, k, "S").shape == x.shape and fb.xcorr3(x, k).shape == (3, 2, 3)
