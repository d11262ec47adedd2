"""The same on complex matrices: values against NumPy and SciPy, derivatives against differences."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import numpy as np
import pytest
import scipy.linalg as sl
from flambeau import linalg

RANDOM = np.random.default_rng(3)


def matrix(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape) + 1j * RANDOM.standard_normal(shape)


A, B = matrix(2, 3, 3) + 2 * np.eye(3), matrix(3, 2)
H = A @ A.conj().swapaxes(-1, -2) + np.eye(3)
EYE = fb.eye(3, dtype=fb.float64)


def close(found: fb.Tensor, wanted: Any, rtol: float = 1e-10) -> None:
    wanted = np.asarray(wanted)
    assert found.shape == wanted.shape and found.dtype.kind == wanted.dtype.kind
    np.testing.assert_allclose(found.numpy(), wanted, rtol=rtol, atol=rtol)


def check(f: Any, *arrays: np.ndarray) -> None:
    assert fb.gradcheck(f, [fb.tensor(a) for a in arrays])


def test_systems() -> None:
    close(linalg.solve(A, B), np.linalg.solve(A, B))
    close(linalg.inv(A), np.linalg.inv(A))
    close(linalg.det(A), np.linalg.det(A))
    for found, wanted in zip(linalg.slogdet(A), np.linalg.slogdet(A)):
        close(found, wanted)
    close(linalg.cholesky(H), np.linalg.cholesky(H))
    for upper in (False, True):
        factor = linalg.cholesky(H, upper=upper)
        close(linalg.cholesky_solve(B, factor, upper=upper), np.linalg.solve(H, B))
        close(fb.potri(factor, "U" if upper else "L"), np.linalg.inv(H))
    factors = linalg.lu_factor(A)
    close(linalg.lu_solve(*factors, B), np.linalg.solve(A, B))
    close(linalg.lu_solve(*factors, B, adjoint=True),
          np.linalg.solve(A.conj().swapaxes(-1, -2), B))
    m, b = matrix(5, 3), matrix(5, 2)
    wanted = np.linalg.lstsq(m, b, rcond=None)
    for found, value in zip(linalg.lstsq(m, b), wanted):
        close(found, value)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_factors(shape: tuple[int, int]) -> None:
    m = matrix(*shape)
    for mode in ("reduced", "complete"):
        for found, wanted in zip(linalg.qr(m, mode), np.linalg.qr(m, mode)):
            close(found, wanted)
    if shape[0] >= shape[1]:
        close(linalg.householder_product(*linalg.geqrf(m)), np.linalg.qr(m)[0])
    u, s, vh = linalg.svd(m, full_matrices=False)
    close(s, np.linalg.svdvals(m))
    close(linalg.svdvals(m), np.linalg.svdvals(m))
    close((u * s) @ vh, m)
    close(u.mH @ u, np.eye(min(shape)) + 0j)
    close(linalg.pinv(m), np.linalg.pinv(m))
    found = linalg.lu(m)
    for part, wanted in zip(found, sl.lu(m)):
        close(part.to(fb.complex128), np.asarray(wanted, complex))
    for ord in ("fro", "nuc", 1, 2, np.inf):
        close(linalg.matrix_norm(m, ord), np.linalg.matrix_norm(m, ord=ord))
    close(linalg.vector_norm(m), np.linalg.vector_norm(m))
    close(linalg.cond(m), np.linalg.cond(m))


def test_eigenvalues() -> None:
    values, v = linalg.eigh(H)
    close(values, np.linalg.eigvalsh(H))
    close((v * values.unsqueeze(-2)) @ v.mH, H)
    close(linalg.eigvalsh(H, "U"), np.linalg.eigvalsh(H))
    close(linalg.expm(A), sl.expm(A), 1e-9)
    for a in (A, RANDOM.standard_normal((2, 4, 4)), RANDOM.standard_normal((3, 3)).astype("f")):
        rtol = 1e-4 if a.dtype == np.float32 else 1e-9
        values, v = linalg.eig(a)
        assert values.dtype is (fb.complex64 if a.dtype == np.float32 else fb.complex128)
        np.testing.assert_allclose((a @ v).numpy(), (v * values.unsqueeze(-2)).numpy(), atol=rtol)
        np.testing.assert_allclose(np.sort_complex(linalg.eigvals(a).numpy()),
                                   np.sort_complex(np.linalg.eigvals(a)), atol=rtol)
        np.testing.assert_allclose(np.linalg.norm(v.numpy(), axis=-2), 1, rtol=1e-5)
    none = np.zeros((0, 0))
    assert linalg.eig(none).eigenvalues.dtype is fb.complex128
    assert linalg.eigvals(none).shape == (0,)


@pytest.mark.parametrize("f", [
    linalg.inv, linalg.det, linalg.expm, linalg.slogdet, lambda a: linalg.lu_factor(a).LU,
    lambda a: linalg.cholesky(a @ a.mH + EYE), lambda a: linalg.eigvalsh(a + a.mH), linalg.eigvals,
    linalg.qr, linalg.svdvals, linalg.pinv,
], ids=["inv", "det", "expm", "slogdet", "lu_factor", "cholesky", "eigvalsh", "eigvals", "qr",
        "svdvals", "pinv"])
def test_square_gradients(f: Any) -> None:
    check(f, A)


def test_gradients() -> None:
    check(linalg.solve, A, B)
    check(lambda a, b: linalg.solve_triangular(a, b, upper=True, transpose=True), A, B)

    def svd(a: fb.Tensor) -> list[fb.Tensor]:
        u, s, vh = linalg.svd(a, full_matrices=False)
        return [s, u @ vh, (u * u.conj()).real]

    def eigh(a: fb.Tensor) -> list[fb.Tensor]:
        values, v = linalg.eigh(a + a.mH)
        return [values, (v * v.conj()).real, (v * values.exp().unsqueeze(-2)) @ v.mH]

    def eig(a: fb.Tensor) -> list[fb.Tensor]:
        values, v = linalg.eig(a)
        return [values, (v * v.conj()).real]

    for shape in ((4, 2), (2, 4)):
        check(svd, matrix(*shape))
        check(linalg.qr, matrix(*shape))
        check(linalg.pinv, matrix(*shape))
    check(svd, A)
    check(eigh, A)
    check(eig, A)
    check(eig, RANDOM.standard_normal((4, 4)))
    check(lambda a, t: linalg.householder_product(a, t), matrix(4, 3), matrix(2))
    check(lambda a, b: linalg.lstsq(a, b).solution, matrix(4, 2), matrix(4, 2))
