"""Torch7's names for linear algebra, with its order of arguments and its triangles: `fb.gesv`, ...

Triangles are "U" (the default, as in Torch7) or "L". Results are tensors of the same kind as
everywhere: what Torch7 gave transposed in memory is transposed in memory here too. Batches work,
which Torch7 did not have.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from flambeau.compiler import dtype as dt

from ..creation import zeros
from ..tensor import Tensor
from .factors import (
    EighResult,
    QRResult,
    decompose,
    eigvalsh,
    factor_eigh,
    factor_qr,
    householder_product,
    packed_eig,
)
from .factors import ormqr as _ormqr
from .operands import adjoint, floats, matrices, on_host, parts, rounded, square, total
from .systems import (
    LUFactors,
    cholesky_solving,
    choleskying,
    factoring,
    fitting,
    inverting,
    lu_solve,
    solving,
    triangular,
)


def _upper(name: str, triangle: str) -> bool:
    return _one_of(name, "triangle", triangle, "U", "L") == "U"


def _one_of(name: str, what: str, given: str, *known: str) -> str:
    """One of the letters that Torch7 took. Raises ValueError for others."""
    if given not in known:
        raise ValueError(f"{name}: expected {what} {' or '.join(repr(k) for k in known)}, got "
                         f"{given!r}")
    return given


class GesvResult(NamedTuple):
    """X with A X = B, and A's LU factors in one matrix."""

    solution: Tensor
    LU: Tensor


def gesv(b: Any, a: Any) -> GesvResult:
    """X with a X = b, **b first**, and a's LU factors. Torch7 gesv; see `linalg.solve`.

    The second is computed only when it is asked for.
    """
    return GesvResult(solving("gesv", a, b), factoring("gesv", a).LU)


def gels(b: Any, a: Any) -> Tensor:
    """The least squares solution of a X = b, **b first**: X alone, of a's columns' number of rows.

    (Torch7's result had as many rows as the larger extent, of which the first were the solution.)
    Torch7 gels; see `linalg.lstsq`, which also serves matrices without full rank.
    """
    return fitting("gels", a, b).solution


class TrtrsResult(NamedTuple):
    """X, and the triangular matrix that was given."""

    solution: Tensor
    factor: Tensor


def trtrs(b: Any, a: Any, triangle: str = "U", transpose: str = "N", diagonal: str = "N"
          ) -> TrtrsResult:
    """X with a X = b for triangular a ("U" or "L"), **b first**; transpose "T": a' X = b; diagonal
    "U": ones. Torch7 trtrs; see `linalg.solve_triangular`."""
    turned = _one_of("trtrs", "transpose", transpose, "N", "T") == "T"
    unit = _one_of("trtrs", "diagonal", diagonal, "N", "U") == "U"
    (x, m), _ = floats("trtrs", b, a)
    vector = x.ndim == 1
    found = triangular("trtrs", m, x.unsqueeze(-1) if vector else x, _upper("trtrs", triangle),
                       turned, unit)
    return TrtrsResult(found.squeeze(-1) if vector else found, m)


def inverse(a: Any) -> Tensor:
    """`linalg.inv`. Torch7 inverse."""
    return inverting("inverse", a)


def symeig(a: Any, vectors: str | bool = "N", triangle: str = "U") -> EighResult:
    """Eigenvalues, rising, of a symmetric matrix, and with "V" its eigenvectors (without: empty).

    Torch7 symeig; see `linalg.eigh`.
    """
    name = "U" if _upper("symeig", triangle) else "L"
    if vectors in (True, "V"):
        return factor_eigh("symeig", a, name)
    _one_of("symeig", "vectors", "N" if vectors is False else str(vectors), "N", "V")
    t, dtype = square("symeig", a)
    return EighResult(eigvalsh(t, name).to(dtype), zeros((0,), dtype=dtype, device=t.device))


class EigResult(NamedTuple):
    """Eigenvalues (n, 2), real and imaginary parts, and packed eigenvectors."""

    eigenvalues: Tensor
    eigenvectors: Tensor


def eig(a: Any, vectors: str | bool = "N") -> EigResult:
    """Eigenvalues of a real square matrix as (..., n, 2), real and imaginary parts, and with "V"
    its eigenvectors as LAPACK packs them: a pair of columns holds a complex pair's real and
    imaginary parts. Torch7 eig. Not differentiable.
    """
    wanted = vectors in (True, "V")
    if not wanted:
        _one_of("eig", "vectors", "N" if vectors is False else str(vectors), "N", "V")
    return EigResult(*packed_eig("eig", a, wanted))


class SvdResult(NamedTuple):
    """a = U diag(S) V'."""

    U: Tensor
    S: Tensor
    V: Tensor


def svd(a: Any, kind: str = "S") -> SvdResult:
    """U, S, **V** (not V') with a = U diag(S) V'; kind "S": as many columns as the smaller extent,
    "A": square. Torch7 svd; `linalg.svd` gives V^H."""
    full = _one_of("svd", "kind", kind, "S", "A") == "A"
    u, s, vh = decompose("svd", a, full)
    return SvdResult(u, s, adjoint(vh))


def qr(a: Any) -> QRResult:
    """Reduced Q and R. Torch7 qr; see `linalg.qr`."""
    t, dtype = matrices("qr", a)
    return factor_qr("qr", t, "reduced", dtype)


def orgqr(a: Any, tau: Any) -> Tensor:
    """Q from `geqrf`. Torch7 orgqr; see `linalg.householder_product`."""
    return householder_product(a, tau)


def ormqr(a: Any, tau: Any, other: Any, side: str = "L", transpose: str = "N") -> Tensor:
    """Q other, or with side "R" other Q; transpose "T": Q'. Q from `geqrf`. Torch7 ormqr."""
    return _ormqr(a, tau, other, _one_of("ormqr", "side", side, "L", "R") == "L",
                  _one_of("ormqr", "transpose", transpose, "N", "T") == "T")


def potrf(a: Any, triangle: str = "U") -> Tensor:
    """Cholesky: R with a = R' R ("U", the default), or L with a = L L'. Torch7 potrf."""
    return choleskying("potrf", a, _upper("potrf", triangle))


def potrs(b: Any, factor: Any, triangle: str = "U") -> Tensor:
    """X with a X = b from a's Cholesky factor, **b first**. Torch7 potrs."""
    (x, f), _ = floats("potrs", b, factor)
    upper = _upper("potrs", triangle)
    if x.ndim == 1:
        return cholesky_solving("potrs", x.unsqueeze(-1), f, upper).squeeze(-1)  # type: ignore[no-any-return]
    return cholesky_solving("potrs", x, f, upper)


def potri(factor: Any, triangle: str = "U") -> Tensor:
    """The inverse of a from its Cholesky factor. LAPACK and Torch7 potri. Not differentiable; see
    `linalg.cholesky_inverse`."""
    t, dtype = square("potri", factor)
    options = ("potri", _upper("potri", triangle))
    return on_host("potri", t.shape, t, options=options).to(dtype)  # type: ignore[no-any-return]


class PstrfResult(NamedTuple):
    """The factor of a[pivots][:, pivots], and the order of rows (int32, from 0)."""

    factor: Tensor
    pivots: Tensor


def pstrf(a: Any, triangle: str = "U", tol: float = -1.0) -> PstrfResult:
    """Cholesky with pivoting, for semidefinite matrices: R' R (or L L') = a[pivots][:, pivots].

    tol: where to stop; negative: LAPACK's choice. Torch7 pstrf (pivots there from 1). Not
    differentiable.
    """
    t, dtype = square("pstrf", a)
    lead, n = t.shape[:-2], t.shape[-1]
    shapes = (t.shape, (*lead, n), (*lead, 1))
    options = ("pstrf", _upper("pstrf", triangle), float(tol))
    factor, order, _ = parts(on_host("pstrf", (total(*shapes),), t, options=options), *shapes)
    return PstrfResult(rounded(dtype, factor)[0], order.detach().to(dt.int32))


def btrifact(a: Any) -> LUFactors:
    """`linalg.lu_factor`, of a batch of matrices. TH btrifact."""
    return factoring("btrifact", a)


def btrisolve(b: Any, lu: Any, pivots: Any) -> Tensor:
    """`linalg.lu_solve`, **b first**, of vectors (..., n) or matrices (..., n, k). TH btrisolve."""
    (x, f), _ = floats("btrisolve", b, lu)
    if x.ndim == f.ndim - 1:
        return lu_solve(f, pivots, x.unsqueeze(-1)).squeeze(-1)  # type: ignore[no-any-return]
    return lu_solve(f, pivots, x)


__all__ = ["btrifact", "btrisolve", "eig", "gels", "gesv", "inverse", "orgqr", "ormqr", "potrf",
           "potri", "potrs", "pstrf", "qr", "svd", "symeig", "trtrs"]
