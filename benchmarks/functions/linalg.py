"""Products, factorisations, systems: n = 10, 100, 500, batches of small ones, contractions."""

from __future__ import annotations

from collections.abc import Iterator

import flambeau as fb
import numpy as np

from . import Case, array, case, with_

L, M = fb.linalg, np.linalg


def cases(n: int) -> Iterator[Case]:
    """The section's cases; sizes are their own, and fewer of them for a small n."""
    small = n < 100_000
    for size in (10,) if small else (10, 100, 500):
        for dtype in ("float64", "float32"):
            yield from _one(size, dtype)
    yield from _complex(10 if small else 100)
    if not small:
        for count, size in ((10000, 3), (1000, 10)):
            yield from _batch(count, size)
    yield from _contractions(10 if small else 100)
    yield from _signals(n)


def _matrix(n: int, dtype: str, *lead: int) -> np.ndarray:
    return (array(dtype, *lead, n, n) + n * np.eye(n)).astype(dtype)


def _one(n: int, dtype: str) -> Iterator[Case]:
    a, b = _matrix(n, dtype), array(dtype, n, 4)
    p = (a @ a.T).astype(dtype)
    v = array(dtype, n)
    detail = f"{n} {dtype}"
    for name in ("inv", "det", "slogdet", "qr", "svd", "svdvals", "eig", "eigvals", "pinv", "cond",
                 "matrix_rank", "matrix_norm", "norm", "vector_norm"):
        if n == 500 and name in ("eig", "eigvals", "pinv") and dtype == "float32":
            continue
        yield case(f"linalg.{name}", detail, getattr(L, name), getattr(M, name), a)
    for name in ("cholesky", "eigh", "eigvalsh"):
        yield case(f"linalg.{name}", detail, getattr(L, name), getattr(M, name), p)
    yield case("linalg.solve", detail, L.solve, M.solve, a, b)
    yield case("linalg.solve", f"vector {detail}", L.solve, M.solve, a, v)
    yield case("linalg.lstsq", detail, with_(L.lstsq), with_(M.lstsq, rcond=None), a, b)
    yield case("linalg.matrix_power", f"5 {detail}", with_(L.matrix_power, 5),
               with_(M.matrix_power, 5), (a / n).astype(dtype))
    yield case("linalg.multi_dot", detail, lambda *x: L.multi_dot(x), lambda *x: M.multi_dot(x),
               a, p, b)
    yield case("matmul", detail, fb.matmul, np.matmul, a, p)
    yield case("matmul", f"vector {detail}", fb.matmul, np.matmul, a, v)
    yield case("outer", detail, fb.outer, np.outer, v, v)
    yield case("inner", detail, fb.inner, np.inner, a, p)
    if n <= 100:
        yield case("kron", f"{n}x10 {dtype}", fb.kron, np.kron, a, _matrix(10, dtype))
    if n != 500:
        t = (array(dtype, 10, 10, 10, 10) + 10 * np.eye(100).reshape(10, 10, 10, 10)).astype(dtype)
        yield case("linalg.tensorinv", dtype, L.tensorinv, M.tensorinv, t)
        yield case("linalg.tensorsolve", dtype, L.tensorsolve, M.tensorsolve, t,
                   array(dtype, 10, 10))


def _complex(n: int) -> Iterator[Case]:
    a, b = _matrix(n, "complex128"), array("complex128", n, 4)
    for name in ("inv", "det", "qr", "svd", "eig"):
        yield case(f"linalg.{name}", f"{n} complex128", getattr(L, name), getattr(M, name), a)
    yield case("linalg.solve", f"{n} complex128", L.solve, M.solve, a, b)
    yield case("matmul", f"{n} complex128", fb.matmul, np.matmul, a, a)


def _batch(count: int, n: int) -> Iterator[Case]:
    a, b = _matrix(n, "float64", count), array("float64", count, n, 1)
    detail = f"{count} of {n}"
    for name in ("inv", "det", "slogdet", "qr", "svd", "eigvals", "pinv", "matrix_norm"):
        yield case(f"linalg.{name}", detail, getattr(L, name), getattr(M, name), a)
    p = a @ a.swapaxes(1, 2)
    for name in ("cholesky", "eigh", "eigvalsh"):
        yield case(f"linalg.{name}", detail, getattr(L, name), getattr(M, name), p)
    yield case("linalg.solve", detail, L.solve, M.solve, a, b)
    yield case("bmm", detail, fb.bmm, np.matmul, a, p)


def _contractions(n: int) -> Iterator[Case]:
    a, b = array("float32", n, n), array("float32", n, n, seed="b")
    t = array("float32", n, n // 2, 8)
    shapes = ((2 * n, 3 * n), (3 * n, n // 5), (n // 5, 4 * n), (4 * n, n // 10))
    yield case("einsum", "chain", lambda *x: fb.einsum("ab,bc,cd,de->ae", *x),
               lambda *x: np.einsum("ab,bc,cd,de->ae", *x, optimize=True),
               *(array("float64", *s) for s in shapes))
    yield case("einsum", "ij,jk->ik", lambda *x: fb.einsum("ij,jk->ik", *x),
               lambda *x: np.einsum("ij,jk->ik", *x, optimize=True), a, b)
    yield case("einsum", "ii", lambda x: fb.einsum("ii", x), lambda x: np.einsum("ii", x), a)
    yield case("einsum", "ij->j", lambda x: fb.einsum("ij->j", x), lambda x: np.einsum("ij->j", x),
               a)
    yield case("tensordot", "2 axes", lambda x, y: fb.tensordot(x, y, 2),
               lambda x, y: np.tensordot(x, y, 2), t.transpose(2, 0, 1).copy(), t)
    yield case("cross", "float32", fb.cross, np.cross, array("float32", n * n, 3),
               array("float32", n * n, 3, seed="b"))


def _signals(n: int) -> Iterator[Case]:
    x = array("float32", n // 10)
    for size in (5, 101):
        k = array("float32", size)
        for mode in ("full", "same", "valid"):
            yield case("convolve", f"{size} {mode}", lambda x, k, m=mode: fb.convolve(x, k, m),
                       lambda x, k, m=mode: np.convolve(x, k, m), x, k)
        yield case("correlate", str(size), fb.correlate, np.correlate, x, k)
