"""What an error says: the operation, the shapes, or the matrix of the batch and LAPACK's info."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau import linalg
from flambeau.runtime import lapack

SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])
BATCH = np.stack([np.eye(2), SINGULAR, np.eye(2)])[None]
FIVE = np.zeros((3, 5))


@pytest.mark.parametrize("call, text", [
    (lambda: linalg.inv(SINGULAR),
     r"inv: expected an invertible matrix, got a singular one \(LAPACK getrf, info 2\)"),
    (lambda: linalg.inv(BATCH),
     r"inv: expected an invertible matrix, got a singular one at batch index \(0, 1\) \(LAPACK "),
    (lambda: linalg.solve(BATCH, np.eye(2)), r"solve: expected an invertible .* index \(0, 1\)"),
    (lambda: linalg.cond(SINGULAR, 1), r"cond: expected an invertible matrix, got a singular one"),
    (lambda: linalg.matrix_power(SINGULAR, -1), r"matrix_power: expected an invertible matrix"),
    (lambda: linalg.tensorinv(SINGULAR, 1), r"tensorinv: expected an invertible matrix"),
    (lambda: linalg.cholesky(np.stack([np.eye(2), -np.eye(2)])),
     r"cholesky: expected a positive definite matrix, got one that is not at batch index \(1,\) "
     r"\(LAPACK potrf, info 1\)"),
    (lambda: linalg.solve_triangular(np.stack([np.eye(2), np.diag([1.0, 0.0])]), np.ones((2, 1)),
                                     upper=True),
     r"solve_triangular: expected an invertible matrix, got a singular one at batch index \(1,\) "
     r"\(a zero on the diagonal\)"),
    (lambda: fb.potrf(-np.eye(2)), r"potrf: expected a positive definite matrix"),
    (lambda: fb.gesv(np.eye(2), SINGULAR).solution, r"gesv: expected an invertible matrix"),
    (lambda: fb.inverse(SINGULAR), r"inverse: expected an invertible matrix"),
    (lambda: linalg.svdvals(np.full((2, 2), np.nan)), r"svdvals: expected finite elements, got"),
])
def test_late(call: Any, text: str) -> None:
    with pytest.raises(np.linalg.LinAlgError, match=text) as caught:
        call().numpy()
    assert isinstance(caught.value, linalg.LinAlgError)
    assert "(recorded at " in str(caught.value) and "test_linalg_errors.py:" in str(caught.value)


@pytest.mark.parametrize("call, text", [
    (lambda: linalg.inv(FIVE), r"inv: expected square matrices \(..., n, n\), got shape \(3, 5\)"),
    (lambda: linalg.inv(np.zeros(3)), r"inv: expected square matrices .*, got shape \(3,\)"),
    (lambda: linalg.qr(np.zeros(3)), r"qr: expected matrices \(..., m, n\), got shape \(3,\)"),
    (lambda: linalg.qr(FIVE, "full"),
     r"qr: expected mode 'reduced', 'complete' or 'r', got 'full'"),
    (lambda: linalg.solve(np.eye(3), FIVE.T),
     r"solve: expected as many rows in b as in a, got shapes \(3, 3\) and \(5, 3\)"),
    (lambda: linalg.solve(np.eye(3), np.zeros(3), left=False),
     r"solve: expected matrices on the left, got shape \(3,\)"),
    (lambda: linalg.solve(np.zeros((2, 3, 3)), np.zeros((4, 3, 1))),
     r"solve: expected shapes that broadcast, got \(2,\) and \(4,\)"),
    (lambda: linalg.solve_triangular(np.eye(3), np.zeros(3), upper=True),
     r"solve_triangular: expected b to fit a, got shapes \(3, 3\) and \(3,\)"),
    (lambda: linalg.lu_solve(np.eye(3), np.zeros(3), FIVE.T),
     r"lu_solve: expected as many rows in b as in LU, got shapes \(3, 3\) and \(5, 3\)"),
    (lambda: linalg.lstsq(FIVE, np.zeros(5)),
     r"lstsq: expected as many rows in b as in a, got shapes \(3, 5\) and \(5,\)"),
    (lambda: linalg.tensorsolve(FIVE, np.zeros(3)),
     r"tensorsolve: expected a to be square over b's axes, got shapes \(3, 5\) and \(3,\)"),
    (lambda: linalg.tensorinv(FIVE, 1),
     r"tensorinv: expected as many elements before axis 1 as after it, got shape \(3, 5\)"),
    (lambda: linalg.eigh(np.eye(2), "X"), r"eigh: expected the triangle 'L' or 'U', got 'X'"),
    (lambda: linalg.householder_product(FIVE, np.zeros(3)),
     r"householder_product: expected at least as many rows as columns, got shape \(3, 5\)"),
    (lambda: linalg.householder_product(FIVE.T, np.zeros(4)),
     r"householder_product: expected matrices \(..., m, n\) and factors \(..., k\), k up to m and "
     r"n, got shapes \(5, 3\) and \(4,\)"),
    (lambda: linalg.ormqr(FIVE.T, np.zeros(3), FIVE),
     r"ormqr: expected a matrix that fits reflectors of 5 rows, got shape \(3, 5\)"),
    (lambda: linalg.multi_dot([FIVE]), r"multi_dot: expected at least two operands, got 1"),
    (lambda: linalg.multi_dot([FIVE, FIVE]),
     r"multi_dot: expected matrices that fit one after the other, got shapes \(3, 5\), \(3, 5\)"),
    (lambda: linalg.vecdot(FIVE, FIVE.T),
     r"vecdot: expected equal extents along axis -1, got shapes \(3, 5\) and \(5, 3\)"),
    (lambda: linalg.outer(FIVE, FIVE), r"outer: expected two vectors, got shapes \(3, 5\) and"),
    (lambda: linalg.matrix_norm(FIVE, 3),
     r"matrix_norm: expected ord 'fro', 'nuc', 1, 2, inf or a negative one, got 3"),
    (lambda: linalg.matrix_norm(np.zeros(3)),
     r"matrix_norm: expected matrices \(..., m, n\), got shape \(3,\)"),
    (lambda: linalg.matrix_norm(FIVE, axis=(0, 0)),
     r"matrix_norm: expected two different axes, got \(0, 0\)"),
    (lambda: linalg.norm(np.zeros((2, 2, 2)), 1),
     r"norm: expected a vector or matrix, or an axis, got shape \(2, 2, 2\)"),
    (lambda: linalg.norm(FIVE, "fro", 0),
     r"norm: expected a number for the norm of a vector over one axis, got ord 'fro'"),
    (lambda: linalg.cond(np.zeros((0, 0))), r"cond: expected matrices with elements, got shape"),
])
def test_at_once(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


def test_a_power_is_an_integer() -> None:
    with pytest.raises(TypeError, match=r"matrix_power: expected an integer power, got 0\.5"):
        linalg.matrix_power(np.eye(2), 0.5)


def test_a_missing_routine_is_named() -> None:
    with pytest.raises(LookupError, match=r"lapack: expected the routine dnothing in "):
        lapack.call("nothing", np.float64, 1)
