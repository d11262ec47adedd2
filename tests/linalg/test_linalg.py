"""Values against NumPy, SciPy and mpmath: batches, broadcasts, layouts, dtypes, nothing at all."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import mpmath
import numpy as np
import pytest
import scipy.linalg as sl
from flambeau import linalg
from flambeau.compiler.config import override

RANDOM = np.random.default_rng(7)
SQUARE = RANDOM.standard_normal((2, 3, 4, 4))
SHAPES = [(4, 4), (5, 3), (3, 5), (2, 1, 4, 3)]


def matrix(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape)


def close(found: fb.Tensor, wanted: Any, rtol: float = 1e-10) -> None:
    assert found.shape == np.shape(wanted)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=rtol, atol=rtol)


# -- systems -----------------------------------------------------------------------------------

@pytest.mark.parametrize("a, b", [((4, 4), (4,)), ((4, 4), (4, 2)), ((3, 4, 4), (4, 2)),
                                  ((4, 4), (3, 4, 2)), ((2, 1, 4, 4), (3, 4, 2)), ((1, 1), (1,))])
def test_solve(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    m, x = matrix(*a), matrix(*b)
    close(linalg.solve(m, x), np.linalg.solve(m, x))
    if len(b) > 1:
        turned = x.swapaxes(-1, -2)
        wanted = np.linalg.solve(m.swapaxes(-1, -2), x).swapaxes(-1, -2)
        close(linalg.solve(m, turned, left=False), wanted)


def test_inverse_and_determinants() -> None:
    close(linalg.inv(SQUARE), np.linalg.inv(SQUARE))
    close(linalg.det(SQUARE), np.linalg.det(SQUARE))
    for found, wanted in zip(linalg.slogdet(SQUARE), np.linalg.slogdet(SQUARE)):
        close(found, wanted)
    close(linalg.logdet(SQUARE @ SQUARE), np.log(np.linalg.det(SQUARE @ SQUARE)))
    singular = np.ones((3, 3))
    close(linalg.det(singular), 0.0)
    assert [t.item() for t in linalg.slogdet(singular)] == [0.0, -np.inf]
    huge = np.eye(200) * 1e3
    assert linalg.slogdet(huge).logabsdet.item() == pytest.approx(200 * np.log(1e3))


@pytest.mark.parametrize("shape", SHAPES)
def test_lu(shape: tuple[int, ...]) -> None:
    m = matrix(*shape)
    found = linalg.lu(m)
    close(found.P @ found.L @ found.U, m)
    for part, wanted in zip(found, sl.lu(m)):
        close(part, wanted)
    if len(shape) == 2 and shape[0] == shape[1]:
        factors, pivots = linalg.lu_factor(m)
        wanted_factors, wanted_pivots = sl.lu_factor(m)
        close(factors, wanted_factors)
        assert pivots.dtype is fb.int32 and (pivots.numpy() == wanted_pivots).all()


def test_lu_solve() -> None:
    factors, pivots = linalg.lu_factor(SQUARE)
    b = matrix(3, 4, 2)
    close(linalg.lu_solve(factors, pivots, b), np.linalg.solve(SQUARE, b))
    close(linalg.lu_solve(factors, pivots, b, adjoint=True),
          np.linalg.solve(SQUARE.swapaxes(-1, -2), b))
    one = linalg.lu_factor(SQUARE[0, 0])
    close(linalg.lu_solve(*one, b[0, :, 0]), np.linalg.solve(SQUARE[0, 0], b[0, :, 0]))


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("upper, transpose, unit", [(True, False, False), (False, True, False),
                                                    (True, True, True), (False, False, True)])
def test_solve_triangular(left: bool, upper: bool, transpose: bool, unit: bool) -> None:
    a = matrix(2, 4, 4) + 3 * np.eye(4)
    b = matrix(2, 4, 3) if left else matrix(2, 3, 4)
    x = linalg.solve_triangular(a, b, upper=upper, left=left, unitriangular=unit,
                                transpose=transpose)
    t = np.triu(a) if upper else np.tril(a)
    t = t * (1 - np.eye(4)) + np.eye(4) if unit else t
    t = t.swapaxes(-1, -2) if transpose else t
    close(t @ x if left else x @ t, b)


def test_cholesky() -> None:
    a = SQUARE @ SQUARE.swapaxes(-1, -2) + np.eye(4)
    wanted = np.linalg.cholesky(a)
    close(linalg.cholesky(a), wanted)
    close(linalg.cholesky(np.tril(a)), wanted)  # the other triangle is not looked at
    close(linalg.cholesky(np.triu(a), upper=True), wanted.swapaxes(-1, -2))
    b = matrix(4, 2)
    for upper in (False, True):
        factor = linalg.cholesky(a, upper=upper)
        close(linalg.cholesky_solve(b, factor, upper=upper), np.linalg.solve(a, b))
        close(linalg.cholesky_inverse(factor, upper=upper), np.linalg.inv(a))


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_lstsq(shape: tuple[int, int]) -> None:
    m, b = matrix(*shape), matrix(shape[0], 2)
    solution, residuals, rank, values = np.linalg.lstsq(m, b, rcond=None)
    found = linalg.lstsq(m, b)
    close(found.solution, solution)
    close(found.singular_values, values)
    close(found.residuals, residuals if residuals.size else [0.0, 0.0])
    assert found.rank.item() == rank
    close(linalg.lstsq(m, b[:, 0]).solution, solution[:, 0])
    flat = m.copy()
    flat[:, 0] = flat[:, 1]
    found = linalg.lstsq(np.stack([m, flat]), b)
    close(found.solution, np.stack([solution, np.linalg.lstsq(flat, b, rcond=None)[0]]))
    assert found.rank.tolist() == [min(shape), np.linalg.matrix_rank(flat)]


# -- factors -----------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", SHAPES)
def test_qr(shape: tuple[int, ...]) -> None:
    m = matrix(*shape)
    for mode in ("reduced", "complete"):
        for found, wanted in zip(linalg.qr(m, mode), np.linalg.qr(m, mode)):
            close(found, wanted)
    close(linalg.qr(m, "r"), np.linalg.qr(m, "r"))
    packed, tau = linalg.geqrf(m)
    k = min(shape[-2:])
    if shape[-2] >= shape[-1]:
        close(linalg.householder_product(packed, tau), np.linalg.qr(m)[0])
    close(linalg.ormqr(packed, tau, m, transpose=True)[..., :k, :], np.linalg.qr(m)[1])
    turned = m.swapaxes(-1, -2)
    close(linalg.ormqr(packed, tau, turned, left=False), turned @ np.linalg.qr(m, "complete")[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values(shape: tuple[int, ...]) -> None:
    m = matrix(*shape)
    k = min(shape[-2:])
    for full in (True, False):
        u, s, vh = linalg.svd(m, full)
        wanted = np.linalg.svd(m, full)
        close(s, wanted[1])
        assert u.shape == wanted[0].shape and vh.shape == wanted[2].shape
        close((u[..., :k] * s.unsqueeze(-2)) @ vh[..., :k, :], m)
        close(u.mT @ u, np.broadcast_to(np.eye(u.shape[-1]), (u.mT @ u).shape))
        close(vh @ vh.mT, np.broadcast_to(np.eye(vh.shape[-2]), (vh @ vh.mT).shape))
    close(linalg.svdvals(m), wanted[1])
    close(linalg.pinv(m), np.linalg.pinv(m))
    close(linalg.cond(m), np.linalg.cond(m))


def test_eigh() -> None:
    a = SQUARE[0] + SQUARE[0].swapaxes(-1, -2)
    values, vectors = linalg.eigh(a)
    close(values, np.linalg.eigvalsh(a))
    close((vectors * values.unsqueeze(-2)) @ vectors.mT, a)
    for triangle in ("L", "U"):
        close(linalg.eigvalsh(SQUARE, triangle), np.linalg.eigvalsh(SQUARE, triangle))
        close(linalg.eigh(SQUARE, triangle).eigenvalues, np.linalg.eigvalsh(SQUARE, triangle))
    close(linalg.pinv(a, hermitian=True), np.linalg.pinv(a))


def test_rank_deficient() -> None:
    m = matrix(4, 2) @ matrix(2, 5)
    assert linalg.matrix_rank(np.stack([m, matrix(4, 5)])).tolist() == [2, 4]
    assert linalg.matrix_rank(m @ m.T, hermitian=True).item() == 2
    assert linalg.matrix_rank(np.diag([1.0, 1e-3]), rtol=1e-2).item() == 1
    assert linalg.matrix_rank(np.diag([1.0, 1e-3]), 0.0, atol=2.0).item() == 0
    assert linalg.matrix_rank(np.zeros(3)).item() == 0
    close(linalg.pinv(m), np.linalg.pinv(m))
    assert linalg.cond(np.zeros((2, 2))).item() == np.inf
    factor, order = fb.pstrf(m @ m.T, "L")
    p = order.numpy()
    close(factor[:, :2] @ factor[:, :2].mT, (m @ m.T)[p][:, p], 1e-8)


# -- powers, norms -----------------------------------------------------------------------------

@pytest.mark.parametrize("size", [1e-3, 0.1, 0.5, 1.0, 3.0, 30.0])
def test_expm(size: float) -> None:
    close(linalg.expm(SQUARE * size), sl.expm(SQUARE * size), 1e-8)


def test_expm_in_float32() -> None:
    a = SQUARE.astype(np.float32)
    close(linalg.expm(a), sl.expm(a.astype(np.float64)), 2e-5)
    close(linalg.matrix_exp(fb.zeros(2, 2)), np.eye(2))


def test_powers_and_chains() -> None:
    for n in (0, 1, 5, -3):
        close(linalg.matrix_power(SQUARE, n), np.linalg.matrix_power(SQUARE, n))
    for shapes in (((3, 4), (4, 5)), ((3, 4), (4, 5), (5, 2), (2,)), ((3,), (3, 4), (4,))):
        ms = [matrix(*s) for s in shapes]
        close(linalg.multi_dot(ms), np.linalg.multi_dot(ms))
    close(linalg.vecdot(SQUARE, SQUARE[0], axis=-2), np.linalg.vecdot(SQUARE, SQUARE[0], axis=-2))
    close(linalg.trace(SQUARE, offset=1), np.linalg.trace(SQUARE, offset=1))
    close(linalg.diagonal(SQUARE, offset=-1), np.linalg.diagonal(SQUARE, offset=-1))
    close(linalg.outer([1.0, 2.0], [3.0, 4.0]), [[3, 4], [6, 8]])


def test_tensor_systems() -> None:
    a, b = matrix(2, 3, 6), matrix(2, 3)
    close(linalg.tensorsolve(a, b), np.linalg.tensorsolve(a, b))
    moved = matrix(3, 6, 2)
    close(linalg.tensorsolve(moved, matrix(2, 3).T, (1,)).shape and linalg.tensorsolve(
        moved, b.T, (1,)), np.linalg.tensorsolve(moved, b.T, (1,)), 1e-9)
    x = matrix(4, 6, 8, 3)
    close(linalg.tensorinv(x), np.linalg.tensorinv(x))


@pytest.mark.parametrize("ord", ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf])
def test_matrix_norm(ord: Any) -> None:
    close(linalg.matrix_norm(SQUARE[0], ord), np.linalg.matrix_norm(SQUARE[0], ord=ord))
    close(linalg.norm(SQUARE[0, 0], ord), np.linalg.norm(SQUARE[0, 0], ord))
    close(linalg.norm(SQUARE[0], ord, (0, 2), True), np.linalg.norm(SQUARE[0], ord, (0, 2), True))


@pytest.mark.parametrize("ord", [0, 1, 2, 3.5, np.inf, -np.inf])
def test_vector_norm(ord: float) -> None:
    close(linalg.vector_norm(SQUARE, axis=(0, 2), ord=ord),
          np.linalg.vector_norm(SQUARE, axis=(0, 2), ord=ord))
    close(linalg.norm(SQUARE[0], ord, axis=1), np.linalg.norm(SQUARE[0], ord, axis=1))
    close(linalg.norm(SQUARE), np.linalg.norm(SQUARE))


def test_cond_by_other_norms() -> None:
    for p in ("fro", 1, np.inf, -2):
        close(linalg.cond(SQUARE, p), np.linalg.cond(SQUARE, p))


# -- precision, layouts, dtypes, nothing ---------------------------------------------------------

def test_ill_conditioned_against_mpmath() -> None:
    """Hilbert's matrix of order 8, condition 1.5e10: backward stable, so residuals are small and
    errors are bounded by the condition."""
    n = 8
    a = np.array([[1 / (i + j + 1) for j in range(n)] for i in range(n)])
    with mpmath.workdps(40):
        m = mpmath.matrix(a.tolist())
        inverse = np.array(mpmath.inverse(m).tolist(), dtype=float)
        determinant = float(mpmath.det(m))
        values = np.array([float(v) for v in mpmath.svd_r(m, compute_uv=False)])
        exponential = np.array(mpmath.expm(m).tolist(), dtype=float)
    error = np.abs(linalg.inv(a).numpy() - inverse).max() / np.abs(inverse).max()
    assert error < 1.5e10 * 2.0 ** -52 * n
    assert linalg.det(a).item() == pytest.approx(determinant, rel=1e-6)
    np.testing.assert_allclose(linalg.svdvals(a).numpy(), values, atol=1e-15)
    np.testing.assert_allclose(linalg.expm(a).numpy(), exponential, rtol=1e-13)
    b = a.sum(axis=1)
    residual = np.abs(a @ linalg.solve(a, b).numpy() - b).max()
    assert residual < 1e-14


def test_layouts() -> None:
    """Views with any strides are read like their copies."""
    big = fb.tensor(matrix(8, 8))
    for view in (big.mT, big[::2, ::2], big[::-1, ::-1][:4, 4:], big[1].expand(8, 8)):
        copy = view.numpy().copy()
        n = copy.shape[0]
        close(linalg.inv(view + 9 * fb.eye(n)), np.linalg.inv(copy + 9 * np.eye(n)))
        close(linalg.svdvals(view), np.linalg.svdvals(copy))
        close(linalg.qr(view, "r"), np.linalg.qr(copy, "r"))


@pytest.mark.parametrize("dtype, rtol", [(fb.float32, 1e-4), (fb.float16, 1e-2),
                                         (fb.bfloat16, 5e-2)])
def test_precisions(dtype: Any, rtol: float) -> None:
    """16-bit floats are computed in float32 and rounded once."""
    a = fb.tensor(SQUARE[0, 0]).to(dtype)
    wide = a.to(fb.float64).numpy()
    spd = a @ a.mT + fb.eye(4).to(dtype)
    for found, wanted in ((linalg.inv(a), np.linalg.inv(wide)),
                          (linalg.svd(a).S, np.linalg.svdvals(wide)),
                          (linalg.qr(a, "r"), np.linalg.qr(wide, "r")),
                          (linalg.cholesky(spd), np.linalg.cholesky(spd.to(fb.float64).numpy())),
                          (linalg.expm(a), sl.expm(wide))):
        assert found.dtype is dtype
        np.testing.assert_allclose(found.to(fb.float64).numpy(), wanted, rtol=rtol, atol=rtol)


def test_integers_take_the_default_dtype() -> None:
    found = linalg.solve([[2, 0], [0, 4]], [2, 4])
    assert found.dtype is fb.float32 and found.tolist() == [1.0, 1.0]


def test_nothing() -> None:
    """Matrices without rows, batches without matrices."""
    none, batch = np.zeros((0, 0)), np.zeros((0, 3, 3))
    for a in (none, batch):
        close(linalg.inv(a), a)
        close(linalg.det(a), np.linalg.det(a))
        close(linalg.slogdet(a).sign, np.linalg.slogdet(a).sign)
        close(linalg.cholesky(a), a)
        close(linalg.expm(a), a)
        close(linalg.eigh(a).eigenvalues, np.zeros(a.shape[:-1]))
        close(linalg.solve(a, a), a)
        close(linalg.svdvals(a), np.zeros(a.shape[:-1]))
        assert linalg.matrix_rank(a).shape == a.shape[:-2]
    close(linalg.solve(none, np.zeros((0, 2))), np.zeros((0, 2)))
    flat = np.zeros((0, 3))
    for found, wanted in zip(linalg.svd(flat), np.linalg.svd(flat)):
        close(found, wanted)
    for found, wanted in zip(linalg.qr(flat.T, "complete"), np.linalg.qr(flat.T, "complete")):
        close(found, wanted)
    close(linalg.lstsq(flat, np.zeros((0, 2))).solution, np.zeros((3, 2)))
    close(linalg.pinv(flat), np.zeros((3, 0)))
    assert linalg.lu_factor(none).pivots.shape == (0,)


def test_nan_goes_through_or_is_refused() -> None:
    a = np.eye(3)
    a[1, 2] = np.nan
    assert np.isnan(linalg.inv(a).numpy()).any()
    assert np.isnan(linalg.solve(a, np.ones(3)).numpy()).any()
    assert np.isnan(linalg.det(a).item())
    assert np.isnan(linalg.expm(a).numpy()).all()
    with pytest.raises(linalg.LinAlgError, match=r"svd: expected finite elements, got NaN or inf"):
        linalg.svd(a).S.numpy()


# -- as part of programs -------------------------------------------------------------------------

def test_results_share_one_run() -> None:
    """U, S and V^H are views of one result: asking for one computes all."""
    u, s, vh = linalg.svd(fb.tensor(SQUARE[0, 0]))
    s.numpy()
    assert not u.is_lazy and not vh.is_lazy
    with fb.no_sync():
        u.numpy()


def test_inside_compiled_functions() -> None:
    step = fb.compile(lambda a, b: linalg.solve(a, b * 2) + linalg.det(a))
    for i in range(2):
        a, b = SQUARE[0, i], matrix(4, 2)
        close(step(fb.tensor(a), fb.tensor(b)), np.linalg.solve(a, b * 2) + np.linalg.det(a))


def test_on_the_reference_device() -> None:
    with override(device="reference"):
        a = fb.tensor(SQUARE[0])
        close(linalg.inv(a.mT) @ a.mT, np.broadcast_to(np.eye(4), (3, 4, 4)))
        close(linalg.qr(a).R, np.linalg.qr(SQUARE[0]).R)


def test_one_thread() -> None:
    with fb.threads(1):
        close(linalg.inv(SQUARE), np.linalg.inv(SQUARE))
