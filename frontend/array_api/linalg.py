"""The linalg extension of the Array API standard."""

from __future__ import annotations

from typing import Any

import flambeau as fb
from flambeau import Tensor

from .statistics import matmul, matrix_transpose, tensordot, vecdot


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """The triangular factor of a positive definite matrix."""
    return fb.linalg.cholesky(x, upper=upper)  # type: ignore[no-any-return]


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """The cross product of 3-vectors along an axis."""
    return fb.cross(x1, x2, axis)


def det(x: Tensor, /) -> Tensor:
    """The determinant."""
    return fb.linalg.det(x)  # type: ignore[no-any-return]


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """Diagonals of the last two axes."""
    return fb.diagonal(x, offset, -2, -1)


def eig(x: Tensor, /) -> Any:
    """Eigenvalues and eigenvectors, complex."""
    return fb.linalg.eig(x)


def eigh(x: Tensor, /) -> Any:
    """Eigenvalues and eigenvectors of a Hermitian matrix."""
    return fb.linalg.eigh(x)


def eigvalsh(x: Tensor, /) -> Tensor:
    """Eigenvalues of a Hermitian matrix."""
    return fb.linalg.eigvalsh(x)  # type: ignore[no-any-return]


def eigvals(x: Tensor, /) -> Tensor:
    """Eigenvalues, complex."""
    return fb.linalg.eigvals(x)  # type: ignore[no-any-return]


def inv(x: Tensor, /) -> Tensor:
    """The inverse."""
    return fb.linalg.inv(x)  # type: ignore[no-any-return]


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """A norm of the last two axes."""
    return fb.linalg.matrix_norm(x, ord, keepdims=keepdims)  # type: ignore[no-any-return]


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """The matrix multiplied with itself."""
    return fb.linalg.matrix_power(x, n)  # type: ignore[no-any-return]


def matrix_rank(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """How many singular values are above rtol times the largest."""
    return fb.linalg.matrix_rank(x, rtol)  # type: ignore[no-any-return]


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """All products of two vectors' elements."""
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"outer: expected two vectors, got shapes {x1.shape} and {x2.shape}")
    return fb.outer(x1, x2)


def pinv(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """The pseudo-inverse; rtol may differ from matrix to matrix."""
    if not isinstance(rtol, Tensor) or not rtol.ndim:
        return fb.linalg.pinv(x, rtol)  # type: ignore[no-any-return]
    u, s, vh = fb.linalg.svd(x, False)
    kept = s > s.amax(-1, keepdims=True) * rtol[..., None]
    values = fb.where(kept, 1 / fb.where(kept, s, 1.0), 0.0)
    return (vh.mH * values[..., None, :]) @ u.mH  # type: ignore[no-any-return]


def qr(x: Tensor, /, *, mode: str = "reduced") -> Any:
    """The QR decomposition."""
    return fb.linalg.qr(x, mode)


def slogdet(x: Tensor, /) -> Any:
    """The sign and the logarithm of the absolute value of the determinant."""
    return fb.linalg.slogdet(x)


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The solution of x1 @ y = x2."""
    return fb.linalg.solve(x1, x2)  # type: ignore[no-any-return]


def svd(x: Tensor, /, *, full_matrices: bool = True) -> Any:
    """The singular value decomposition."""
    return fb.linalg.svd(x, full_matrices)


def svdvals(x: Tensor, /) -> Tensor:
    """The singular values, largest first."""
    return fb.linalg.svdvals(x)  # type: ignore[no-any-return]


def trace(x: Tensor, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """Sums of the diagonals of the last two axes."""
    return fb.sum(fb.diagonal(x, offset, -2, -1), -1, dtype=dtype)


def vector_norm(x: Tensor, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Tensor:
    """A norm over axes."""
    return fb.norm(x, ord, axis, keepdims)


__all__ = [
    "cholesky", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matmul",
    "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr",
    "slogdet", "solve", "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]
