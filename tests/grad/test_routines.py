"""The door to host routines: values, derivatives of any order, and what fails."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from flambeau import routines
from flambeau.compiler.config import override
from flambeau.compiler.differentiate import NotDifferentiable
from flambeau.runtime.lapack import LinAlgError

X = np.array([[0.5, -1.0], [2.0, 3.0]])


def cube(x: fb.Tensor) -> fb.Tensor:
    return routines.call("test.cube", 3, x.dtype, x.shape, x)


routines.register("test.cube", lambda power, x: x ** power,
                  lambda power, operands, result, g: [g * power * result / operands[0]])
routines.register("test.plain", lambda options, x: x + 1)


def refuse(options: str, x: np.ndarray) -> np.ndarray:
    raise {"linalg": LinAlgError, "key": KeyError}[options]("refuse: no")


routines.register("test.refuse", refuse)


def test_values_and_fusion() -> None:
    x = fb.tensor(X)
    np.testing.assert_allclose((cube(x + 1) * 2).numpy(), (X + 1) ** 3 * 2)
    with override(device="reference"):
        np.testing.assert_allclose((cube(fb.tensor(X) + 1) * 2).numpy(), (X + 1) ** 3 * 2)


def test_derivatives_of_any_order() -> None:
    assert fb.gradcheck(cube, fb.tensor(X))
    assert fb.gradcheck(cube, fb.tensor(X), order=2)
    x = fb.tensor(X, requires_grad=True)
    cube(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 3 * X ** 2)


def test_compiled_functions_call_routines() -> None:
    step = fb.compile(fb.grad(lambda x: cube(x * 2).sum()))
    for scale in (1.0, 2.0):
        np.testing.assert_allclose(step(fb.tensor(X * scale)).numpy(), 24 * (X * scale) ** 2)


def test_a_routine_without_a_derivative_says_so() -> None:
    with pytest.raises(NotDifferentiable, match=r"extern 'test\.plain' has no derivative"):
        fb.grad(lambda x: routines.call("test.plain", 0, x.dtype, x.shape, x).sum())(fb.tensor(X))


def test_errors_keep_their_type_and_name_the_line() -> None:
    x = fb.tensor(X)
    broken = routines.call("test.refuse", "linalg", x.dtype, x.shape, x)
    with pytest.raises(LinAlgError, match=r"refuse: no \(recorded at .*test_routines.py:\d+\)"):
        broken.numpy()
    with pytest.raises(KeyError, match="refuse: no"):
        routines.call("test.refuse", "key", x.dtype, x.shape, x).numpy()
