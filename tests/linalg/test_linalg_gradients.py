"""Derivatives against differences, in float64, of first and second order."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau import linalg

RANDOM = np.random.default_rng(11)
A = RANDOM.standard_normal((2, 3, 3)) + 2 * np.eye(3)
B = RANDOM.standard_normal((3, 2))
EYE = fb.eye(3, dtype=fb.float64)


def check(f: Any, *arrays: np.ndarray, order: int = 2) -> None:
    inputs = [fb.tensor(a) for a in arrays]
    assert fb.gradcheck(f, inputs)
    if order == 2:
        assert fb.gradcheck(f, inputs, order=2)


@pytest.mark.parametrize("f", [
    linalg.inv, linalg.det, linalg.expm, lambda a: linalg.slogdet(a).logabsdet,
    lambda a: linalg.matrix_power(a, -2), lambda a: linalg.eigvalsh(a + a.mT),
    lambda a: linalg.cholesky(a @ a.mT + EYE),
    lambda a: linalg.cholesky(a.mT @ a + EYE, upper=True), lambda a: linalg.lu_factor(a).LU,
], ids=["inv", "det", "expm", "slogdet", "matrix_power", "eigvalsh", "cholesky", "cholesky_upper",
        "lu_factor"])
def test_square(f: Any) -> None:
    check(f, A)


def test_solve() -> None:
    check(linalg.solve, A, B)
    check(linalg.solve, A[0], B[:, 0], order=1)
    check(lambda a, b: linalg.solve(a, b, left=False), A[0], B.T, order=1)
    check(lambda a, b: linalg.lu_solve(*linalg.lu_factor(a), b), A, B, order=1)


@pytest.mark.parametrize("left, upper, transpose, unit", [
    (True, True, False, False), (True, False, True, True), (False, True, True, False),
    (False, False, False, True)])
def test_solve_triangular(left: bool, upper: bool, transpose: bool, unit: bool) -> None:
    check(lambda a, b: linalg.solve_triangular(a, b, upper=upper, left=left, transpose=transpose,
                                               unitriangular=unit), A, B if left else B.T)


def test_eigenvectors() -> None:
    """By functions that the vectors' signs do not change."""
    def f(a: fb.Tensor) -> list[fb.Tensor]:
        values, v = linalg.eigh(a + a.mT)
        return [values, v * v, (v * values.exp().unsqueeze(-2)) @ v.mT]
    check(f, A)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_rectangles(shape: tuple[int, int]) -> None:
    m = RANDOM.standard_normal(shape)

    def svd(a: fb.Tensor) -> list[fb.Tensor]:
        u, s, vh = linalg.svd(a, full_matrices=False)
        return [s, u @ vh, u * u, vh * vh]

    check(svd, m)
    check(linalg.qr, m)
    check(linalg.pinv, m)
    check(linalg.svdvals, m, order=1)
    check(lambda a: linalg.lu_factor(a).LU, m)
    check(lambda a: linalg.qr(a, "r"), m, order=1)
    check(lambda a: [linalg.matrix_norm(a, o) for o in ("nuc", 2, 1, np.inf)], m, order=1)
    check(lambda a, b: linalg.lstsq(a, b)[:2], m, RANDOM.standard_normal((shape[0], 2)))


def test_householder_product() -> None:
    check(linalg.householder_product, RANDOM.standard_normal((4, 3)), RANDOM.standard_normal(2))


def test_the_determinant_of_a_singular_matrix() -> None:
    """Its derivative is the matrix of cofactors, which needs no inverse."""
    flat = np.array([[1.0, 2.0, 0.5], [2.0, 4.0, 1.0], [0.3, -1.0, 2.0]])
    check(linalg.det, flat, order=1)
    check(linalg.det, np.zeros((1, 1)), order=1)


def test_equal_singular_values() -> None:
    """A loss of the values alone has a gradient where values repeat."""
    x = fb.tensor(2 * np.eye(3), requires_grad=True)
    linalg.svd(x, full_matrices=False).S.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.eye(3), atol=1e-12)


def test_a_compiled_gradient() -> None:
    """log det and a quadratic form: a Gaussian's likelihood, compiled as a whole."""
    def loss(a: fb.Tensor, b: fb.Tensor) -> fb.Tensor:
        factor = linalg.cholesky(a @ a.mT + EYE)
        half = linalg.solve_triangular(factor, b, upper=False)
        return (half * half).sum() + factor.diagonal().log().sum() * 2

    a, b = fb.tensor(A[0]), fb.tensor(B)
    plain = fb.grad(loss)(a, b).numpy()
    np.testing.assert_allclose(fb.compile(fb.grad(loss))(a, b).numpy(), plain, rtol=1e-12)
    assert fb.gradcheck(loss, [a, b])


@pytest.mark.parametrize("f, text", [
    (lambda a: linalg.qr(a, "complete").R, r"qr: expected mode 'reduced' for a gradient of a tall"),
    (lambda a: linalg.svd(a).S, r"svd: expected full_matrices=False for a gradient of shape "
                                r"\(4, 2\)"),
    (lambda a: linalg.geqrf(a).a, r"extern 'linalg\.geqrf' has no derivative"),
])
def test_what_has_no_derivative_says_so(f: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        fb.grad(lambda a: f(a).sum())(fb.tensor(RANDOM.standard_normal((4, 2))))
