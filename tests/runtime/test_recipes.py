"""Recipes: a program with LAPACK in it is one native call, with the same values and errors."""

from __future__ import annotations

from collections.abc import Callable

import flambeau as fb
import numpy as np
import pytest
from flambeau import linalg
from flambeau import realize as door
from flambeau.compiler.request import prepare
from flambeau.runtime import blas, externs, pool, recipes

WRITERS = recipes.WRITERS
pytestmark = pytest.mark.skipif(not blas.available(), reason="no BLAS")

SQUARE = [(5, 5), (1, 1), (3, 4, 4), (2, 2, 7, 7), (40, 12, 12), (90, 90)]
DTYPES = {"float32": 2e-4, "float64": 1e-12}


@pytest.fixture
def no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Host routines that may not be asked: what works out a failure again would hide it."""
    def never(*args: object) -> np.ndarray:
        raise AssertionError("a host routine ran in Python")

    for name in WRITERS:
        externs.find(name)
        monkeypatch.setitem(externs.EXTERNS, name, never)


def matrices(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    return (rng.standard_normal(shape) + 3 * np.eye(*shape[-2:])).astype(dtype)


def turned(a: np.ndarray) -> np.ndarray:
    return a.swapaxes(-1, -2)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.usefixtures("no_python")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SQUARE)
def test_square_matrices(shape: tuple[int, ...], dtype: str) -> None:
    """What is found solves its equation, worked out in longer numbers."""
    a = matrices(shape, dtype)
    n, wide, limit = shape[-1], a.astype(np.longdouble), DTYPES[dtype] * shape[-1]
    one = np.broadcast_to(np.eye(n), shape)
    positive = (turned(wide) @ wide).astype(dtype)
    t, p = fb.tensor(a), fb.tensor(positive)
    for columns in (1, 3):
        b = matrices((*shape[:-1], columns), dtype)
        close(wide @ linalg.solve(t, fb.tensor(b)).numpy(), b, 10 * limit)
    close(wide @ linalg.inv(t).numpy(), one, 10 * limit)
    lower, upper = linalg.cholesky(p).numpy(), linalg.cholesky(p, upper=True).numpy()
    for factor in (lower, turned(upper)):
        np.testing.assert_array_equal(factor, np.tril(factor))
        close(factor.astype(np.longdouble) @ turned(factor), positive, limit)
    sign, logs = linalg.slogdet(t)
    expected = np.linalg.slogdet(a.astype("float64"))
    close(sign.numpy(), expected[0], 0)
    close(logs.numpy(), expected[1], limit)
    half = a / 2 if shape[-1] < 50 else a / 10  # det of 90 large rows is beyond float32
    close(linalg.det(fb.tensor(half)).numpy() / np.linalg.det(half.astype("float64")),
          np.ones(shape[:-2]), 20 * limit)
    values, vectors = (x.numpy() for x in linalg.eigh(p))
    close((vectors * values[..., None, :]).astype(np.longdouble) @ turned(vectors), positive, limit)
    close(linalg.eigvalsh(p).numpy(), values, limit)
    roots, columns_ = (x.numpy() for x in linalg.eig(t))
    close(a @ columns_, columns_ * roots[..., None, :], limit * 10)


@pytest.mark.usefixtures("no_python")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (3, 8), (30, 2, 5), (4, 1), (1, 4)])
def test_matrices_of_any_shape(shape: tuple[int, ...], dtype: str) -> None:
    a, limit = matrices(shape, dtype), 10 * DTYPES[dtype]
    t, (m, n) = fb.tensor(a), shape[-2:]
    for mode in ("reduced", "complete"):
        q, r = (x.numpy() for x in linalg.qr(t, mode))
        close(q.astype(np.longdouble) @ r, a, limit)
        close(turned(q) @ q, np.broadcast_to(np.eye(q.shape[-1]), (*shape[:-2], *q.shape[-1:] * 2)),
              limit)
        np.testing.assert_array_equal(r, np.triu(r))
    close(np.abs(linalg.qr(t, "r").numpy()), np.abs(np.linalg.qr(a, "r")), limit)
    for full in (True, False):
        u, s, vh = (x.numpy() for x in linalg.svd(t, full))
        k = min(m, n)
        close((u[..., :k] * s[..., None, :]).astype(np.longdouble) @ vh[..., :k, :], a, limit)
        close(turned(u) @ u, np.broadcast_to(np.eye(u.shape[-1]), (*shape[:-2], *u.shape[-1:] * 2)),
              limit)
        close(linalg.svdvals(t).numpy(), s, limit)
    if len(shape) == 2:
        b = matrices((m, 3), dtype)
        for ours, theirs in zip(linalg.lstsq(t, fb.tensor(b)),
                                np.linalg.lstsq(a.astype("float64"), b, rcond=None)):
            if theirs.size:  # NumPy leaves out residuals of 0
                close(ours.numpy(), theirs, limit)


@pytest.mark.parametrize("n", [1, 2, 5, 16, 17])
@pytest.mark.parametrize("count", [1, 8, 21])
@pytest.mark.usefixtures("no_python")
def test_pivots_differ_from_matrix_to_matrix(count: int, n: int) -> None:
    """Zeros on the diagonal, rows in any order: every lane chooses its own."""
    rng = np.random.default_rng(count * n)
    whole = np.stack([(rng.standard_normal((n, n)) * 0.1 + 2 * np.eye(n))[rng.permutation(n)]
                      for _ in range(count)])
    a, b = fb.tensor(whole), rng.standard_normal((count, n, 2))
    close(linalg.inv(a).numpy() @ whole, np.broadcast_to(np.eye(n), whole.shape), 1e-12)
    close(whole @ linalg.solve(a, fb.tensor(b)).numpy(), b, 1e-12)
    signs, logs = np.linalg.slogdet(whole)
    np.testing.assert_array_equal(linalg.slogdet(a).sign.numpy(), signs)
    close(linalg.slogdet(a).logabsdet.numpy(), logs, 1e-12)
    close(linalg.det(a).numpy() / (signs * np.exp(logs)), np.ones(count), 1e-11)


def test_one_bad_matrix_of_many() -> None:
    a = np.stack([np.eye(3) * (i + 1) for i in range(20)])
    a[17, 1] = 0
    t = fb.tensor(a)
    np.testing.assert_array_equal(linalg.det(t).numpy(),
                                  [0 if i == 17 else (i + 1) ** 3 for i in range(20)])
    assert linalg.slogdet(t).logabsdet.numpy()[17] == -np.inf
    for f in (linalg.inv, linalg.cholesky):
        with pytest.raises(np.linalg.LinAlgError, match=r"at batch index \(17,\)"):
            f(t).numpy()
    a[17, 1, 1] = np.nan
    assert np.isnan(linalg.det(fb.tensor(a)).numpy()[17])


def test_a_determinant_whose_parts_leave_the_range() -> None:
    a = fb.tensor(np.diag([1e200, 1e200, 1e-200, -1e-200]))
    assert linalg.det(a).item() == pytest.approx(-1, rel=1e-12)
    assert linalg.det(fb.tensor(np.diag([1e300, 1e300]))).item() == np.inf
    zero = fb.tensor(np.diag([1.0, 0.0]))
    assert linalg.det(zero).item() == 0
    assert [x.item() for x in linalg.slogdet(zero)] == [0, -np.inf]


def test_nan_and_infinity() -> None:
    a = np.eye(3)
    a[1, 2] = np.nan
    assert np.isnan(linalg.inv(fb.tensor(a)).numpy()).any()
    assert np.isnan(linalg.solve(fb.tensor(a), fb.tensor(np.ones((3, 1)))).numpy()).any()
    with pytest.raises(np.linalg.LinAlgError, match="svdvals: expected finite elements, got NaN"):
        linalg.svdvals(fb.tensor(a)).numpy()


@pytest.mark.parametrize("f", [linalg.inv, linalg.det, linalg.svdvals, linalg.eigvalsh,
                               linalg.cholesky, lambda t: linalg.qr(t).R])
def test_a_batch_has_the_same_bits_at_any_thread_count(f: Callable[[fb.Tensor], fb.Tensor]) -> None:
    a = matrices((101, 9, 9), "float64")
    t = fb.tensor(turned(a) @ a)
    found = []
    for n in (1, 2, 3):
        with pool.threads(n):
            found.append(f(t).numpy().copy())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_several_routines_and_kernels_are_one_call() -> None:
    a, b = matrices((6, 6), "float64"), matrices((6, 2), "float64")
    t, u = fb.tensor(a).realize(), fb.tensor(b).realize()
    for scale in (1.0, 2.0, 3.0, 4.0):
        made = linalg.inv(t * scale + 1) @ u + linalg.solve(t, u).sin()
        executable = door.executable(prepare([made._storage.node]))
        assert not executable.simple and executable.chain is not None
        expected = np.linalg.inv(a * scale + 1) @ b + np.sin(np.linalg.solve(a, b))
        np.testing.assert_allclose(made.numpy(), expected, rtol=1e-9)


def test_a_failure_says_what_python_says_and_stops_there() -> None:
    """The second routine fails; a compiled function says so too, and goes on working."""
    good, bad = np.eye(3) * 2, np.stack([np.eye(3), np.zeros((3, 3))])

    def f(x: fb.Tensor, y: fb.Tensor) -> fb.Tensor:
        return linalg.inv(y) + linalg.inv(x * 2)

    compiled = fb.compile(f)
    text = r"inv: expected an invertible matrix, got a singular one at batch index \(1,\)"
    for g in (f, f, f, compiled, compiled):
        with pytest.raises(np.linalg.LinAlgError, match=text):
            g(fb.tensor(good), fb.tensor(bad)).numpy()
        fine = g(fb.tensor(good), fb.tensor(np.stack([good, good]))).numpy()
        np.testing.assert_array_equal(fine, np.stack([np.eye(3) * 0.75] * 2))
