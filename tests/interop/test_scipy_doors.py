"""SciPy's optimisers and solvers over compiled functions of tensors."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from scipy.optimize import least_squares, minimize, root
from scipy.sparse.linalg import aslinearoperator, cg, gmres, lsqr, svds

RNG = np.random.default_rng(0)


def rosenbrock(x: fb.Tensor) -> fb.Tensor:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def test_minimize_with_gradients_and_hessian_products() -> None:
    f = fb.flat_function(rosenbrock, fb.zeros(5, dtype=fb.float64))
    value, gradient = f(f.x0)
    assert type(value) is float and gradient.dtype == np.float64 and value == f.value(f.x0) == 4
    for method in ("L-BFGS-B", "CG"):
        found = minimize(f, f.x0, jac=True, method=method)
        np.testing.assert_allclose(found.x, 1, atol=1e-3)
    found = minimize(f, f.x0, jac=True, method="Newton-CG", hessp=f.hessian_product)
    np.testing.assert_allclose(found.x, 1, atol=1e-2)
    curve = fb.hessian(rosenbrock)(fb.tensor(f.x0)).numpy()
    np.testing.assert_allclose(f.hessian_product(f.x0, np.arange(5.0)), curve @ np.arange(5.0))
    assert repr(f) == "FlatFunction(5 numbers -> a number)"
    assert f.unflatten(f.x0).shape == (5,)


def test_nests_of_several_dtypes() -> None:
    start = {"w": fb.ones(2, 3), "b": fb.zeros(2, dtype=fb.float64)}
    f = fb.flat_function(lambda p: (p["w"].sum(1) - 3).square().sum() + p["b"].exp().sum(), start)
    assert f.x0.shape == (8,)
    p = f.unflatten(np.arange(8.0))
    assert p["w"].dtype is fb.float32 and sorted(p) == ["b", "w"]
    assert {p["w"].sum().item() + p["b"].sum().item()} == {28.0}


def test_parameters_of_a_model() -> None:
    """The closure form: fn reads tensors, a call writes them."""
    x = fb.tensor(RNG.standard_normal((20, 3)), dtype=fb.float32)
    wanted = x @ fb.tensor([[1.0], [2.0], [-1.0]]) + 0.5
    model = fb.nn.Linear(3, 1)
    f = fb.flat_function(lambda: ((model(x) - wanted) ** 2).mean(), wrt=model.params())
    found = minimize(f, f.x0, jac=True)
    f.assign(found.x)
    assert f.value(found.x) < 1e-8
    np.testing.assert_allclose(model.weight.detach().numpy().ravel(), [1, 2, -1], atol=1e-3)


def test_least_squares_and_root() -> None:
    t = np.linspace(0, 2, 12)
    data = fb.tensor(2 * np.exp(-1.5 * t))
    times = fb.tensor(t)
    f = fb.flat_function(lambda p: p[0] * fb.exp(p[1] * times) - data,
                         fb.tensor([1.0, 0.0], dtype=fb.float64))
    found = least_squares(f.value, f.x0, jac=f.jacobian)
    np.testing.assert_allclose(found.x, [2, -1.5], atol=1e-6)
    assert f.jacobian(f.x0).shape == (12, 2)
    g = fb.flat_function(lambda x: fb.stack([x[0] * x[1] - 2, x[0] + x[1] - 3]),
                         fb.tensor([0.5, 3.0], dtype=fb.float64))
    found = root(g, g.x0, jac=True)
    np.testing.assert_allclose(sorted(found.x), [1, 2])
    wide = fb.flat_function(lambda x: (x ** 2)[:2], fb.tensor([1.0, 2, 3], dtype=fb.float64))
    np.testing.assert_allclose(wide.jacobian(wide.x0), [[2, 0, 0], [0, 4, 0]])


def test_linear_operators() -> None:
    a = RNG.standard_normal((6, 4))
    op = fb.linear_operator(fb.tensor(a))
    np.testing.assert_allclose(op @ np.ones(4), a @ np.ones(4))
    np.testing.assert_allclose(op.T @ np.ones((6, 2)), a.T @ np.ones((6, 2)))
    np.testing.assert_allclose(lsqr(op, np.ones(6))[0], np.linalg.lstsq(a, np.ones(6))[0])
    np.testing.assert_allclose(svds(op, 1)[1], np.linalg.svd(a)[1][:1])
    square = a.T @ a + np.eye(4)
    np.testing.assert_allclose(cg(fb.linear_operator(fb.tensor(square)), np.ones(4), rtol=1e-12)[0],
                               np.linalg.solve(square, np.ones(4)))
    c = a[:4] + 1j * a[2:]
    op = fb.linear_operator(fb.tensor(c))
    np.testing.assert_allclose(op.H @ np.ones(4), c.conj().T @ np.ones(4))
    np.testing.assert_allclose(aslinearoperator(op) @ np.ones(4), c @ np.ones(4))


def test_derivatives_as_operators() -> None:
    """A Newton step by GMRES on the derivative, which is never formed."""
    def f(x: fb.Tensor) -> fb.Tensor:
        return x ** 3 + 0.1 * fb.cumsum(x, 0)

    x = fb.tensor([1.0, 2.0, 3.0], dtype=fb.float64)
    op = fb.linear_operator(f, x)
    full = fb.jacobian(f)(x).numpy()
    np.testing.assert_allclose(op @ np.eye(3), full)
    np.testing.assert_allclose(op.H @ np.eye(3), full.T)
    np.testing.assert_allclose(gmres(op, np.ones(3), rtol=1e-12)[0],
                               np.linalg.solve(full, np.ones(3)))


@pytest.mark.parametrize(("run", "kind", "text"), [
    (lambda: fb.flat_function(rosenbrock), TypeError,
     "flat_function: expected tensors to start from or wrt, got neither"),
    (lambda: fb.flat_function(rosenbrock, fb.ones(2), wrt=[fb.ones(2)]), TypeError,
     "flat_function: expected tensors to start from or wrt, got both"),
    (lambda: fb.flat_function(rosenbrock, fb.arange(3)), TypeError,
     "flat_function: expected floating tensors, got int64[3]"),
    (lambda: fb.flat_function(lambda x: x, fb.ones(2, 2)), TypeError,
     "flat_function: expected a function that gives a floating number or vector, got "
     "float32[2, 2]"),
    (lambda: fb.flat_function(lambda: fb.ones(2), wrt=[fb.ones(2)]), TypeError,
     "flat_function: expected a function that gives one number beside wrt, got float32[2]"),
    (lambda: fb.flat_function(rosenbrock, fb.ones(3))(np.ones(2)), ValueError,
     "flat_function: expected a vector of 3 numbers, got shape (2,)"),
    (lambda: fb.flat_function(lambda x: x, fb.ones(3)).hessian_product(np.ones(3), np.ones(3)),
     TypeError, "hessian_product: expected a function of tensors that gives one number, got "
     "FlatFunction(3 numbers -> 3 numbers)"),
    (lambda: fb.linear_operator(fb.arange(3)), ValueError,
     "linear_operator: expected a floating matrix, got int64[3]")])
def test_messages(run, kind, text) -> None:
    with pytest.raises(kind) as error:
        run()
    assert str(error.value) == text
