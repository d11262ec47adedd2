"""Orthogonal factors, singular values and eigenvalues, with what is built on them: pinv, rank.

Derivatives: QR after Walter and Lehmann (2012), singular values after Townsend (2016), eigenvalues
after Giles (2008), the pseudo-inverse after Golub and Pereyra (1973). Vectors are determined up to
a sign or phase (and up to a rotation where values repeat): gradients are those of functions that do
not depend on that choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flambeau.compiler import dtype as dt

from ..complexes import real
from ..creation import eye, full, zeros
from ..elementwise import abs as magnitude
from ..elementwise import maximum, ne
from ..joining import concatenate
from ..products import diag_embed, tril, triu
from ..recording import as_tensor
from ..reductions import amax
from ..routines import differentiate_by
from ..tensor import Tensor
from .operands import (
    Shape,
    adjoint,
    conjugate,
    fitted,
    floats,
    halved_triangle,
    matrices,
    on_host,
    parts,
    real_part,
    reciprocals,
    resolution,
    rounded,
    square,
    total,
)
from .systems import pinv_cotangent, solving, triangular

Operands = Sequence[Tensor]


class QRResult(NamedTuple):
    """a = Q R."""

    Q: Tensor
    R: Tensor


class SVDResult(NamedTuple):
    """a = U diag(S) Vh; S falls."""

    U: Tensor
    S: Tensor
    Vh: Tensor


class EigResult(NamedTuple):
    """a V = V diag(values), complex; eigenvectors are columns of norm 1."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class EighResult(NamedTuple):
    """a V = V diag(values); eigenvalues rise, eigenvectors are columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


# -- QR ------------------------------------------------------------------------------------------

def qr(a: Any, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and upper triangular R, a = Q R, of (..., m, n).

    mode: "reduced" (Q (m, k), R (k, n), k = min(m, n)), "complete" (Q (m, m), R (m, n)), or "r":
    R alone. LAPACK geqrf, orgqr. NumPy qr. Raises ValueError for another mode.
    """
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"qr: expected mode 'reduced', 'complete' or 'r', got {mode!r}")
    t, dtype = matrices("qr", a)
    if mode == "r" and t.requires_grad:
        return qr(a).R
    found = factor_qr("qr", t, mode, dtype)
    return found.R if mode == "r" else found


def factor_qr(name: str, t: Tensor, mode: str, dtype: dt.DType) -> QRResult:
    """`qr` of a tensor of matrices under the name that a user called."""
    lead, (m, n) = t.shape[:-2], t.shape[-2:]
    if not t.size:
        k = m if mode == "complete" else min(m, n)
        q = full((*lead, m, k), 0, dtype, t.device) + eye(m, k, dtype=dtype, device=t.device)
        return QRResult(q, zeros((*lead, k, n), dtype=dtype, device=t.device))
    shapes = _qr_shapes(t.shape, mode)
    q, r = parts(on_host("qr", (total(*shapes),), t, options=(name, mode)), *shapes)
    return QRResult(*rounded(dtype, q.mT, r.mT))


def _qr_shapes(shape: Shape, mode: str) -> tuple[Shape, Shape]:
    """The routine's planes: Q and R, transposed."""
    lead, (m, n) = shape[:-2], shape[-2:]
    k = m if mode == "complete" else min(m, n)
    return (*lead, 0 if mode == "r" else k, m), (*lead, n, k)


def _qr_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    name, mode = options
    a = operands[0]
    m, n = a.shape[-2:]
    if mode == "complete" and m > n:
        raise TypeError(f"{name}: expected mode 'reduced' for a gradient of a tall matrix, got "
                        "'complete', whose last columns are arbitrary")
    shapes = _qr_shapes(a.shape, mode)
    q, r = (t.mT for t in parts(y, *shapes))
    by_q, by_r = (t.mT for t in parts(g, *shapes))
    if m >= n:
        return [_tall_qr_back(name, q, r, by_q, by_r)]
    # a = Q [R1 R2]: the right part depends on Q alone
    by_right = q @ by_r[..., :, m:]
    by_q = by_q + a[..., :, m:] @ adjoint(by_r[..., :, m:])
    by_left = _tall_qr_back(name, q, r[..., :, :m], by_q, by_r[..., :, :m])
    return [concatenate([by_left, by_right], -1)]


def _tall_qr_back(name: str, q: Tensor, r: Tensor, by_q: Tensor, by_r: Tensor) -> Tensor:
    inside = r @ adjoint(by_r) - adjoint(by_q) @ q
    half = halved_triangle(inside)
    right = by_q + q @ (half + adjoint(half))
    return triangular(name, conjugate(r), right, True, True, left=False)


class GeqrfResult(NamedTuple):
    """R over the reflectors below the diagonal, and the reflectors' factors."""

    a: Tensor
    tau: Tensor


def geqrf(a: Any) -> GeqrfResult:
    """QR as Householder reflectors, (..., m, n) and (..., k). LAPACK, PyTorch and Torch7 geqrf.

    Not differentiable; see `qr`.
    """
    t, dtype = matrices("geqrf", a)
    lead, (m, n) = t.shape[:-2], t.shape[-2:]
    small = min(m, n)
    if not t.size:
        return GeqrfResult(t.to(dtype), zeros((*lead, small), dtype=dtype, device=t.device))
    shapes = ((*lead, n, m), (*lead, small))
    packed, tau = parts(on_host("geqrf", (total(*shapes),), t, options=("geqrf",)), *shapes)
    return GeqrfResult(*rounded(dtype, packed.mT, tau))


def householder_product(a: Any, tau: Any) -> Tensor:
    """The first n columns of H1 H2 ... Hk, Hi = I - tau[i] v v^H, v from below a's diagonal.

    a (..., m, n), tau (..., k), m >= n >= k. In the closed form I - V T V^H, which the compiler
    fuses and differentiates. PyTorch householder_product; Torch7 orgqr. Raises ValueError for other
    shapes.
    """
    v, inner, dtype = _reflectors("householder_product", a, tau)
    m, n = as_tensor("householder_product", a).shape[-2:]
    if m < n:
        raise ValueError(f"householder_product: expected at least as many rows as columns, got "
                         f"shape {(m, n)}")
    head = adjoint(v)[..., :, :n]
    unit = eye(m, n, dtype=v.dtype, device=v.device)
    return (unit - v @ (inner @ head)).to(dtype)  # type: ignore[no-any-return]


def _reflectors(name: str, a: Any, tau: Any) -> tuple[Tensor, Tensor, dt.DType]:
    """V (..., m, k) and T (..., k, k) with H1 ... Hk = I - V T V^H.

    T solves (I + diag(tau) striu(V^H V)) T = diag(tau) (Joffrain and others 2006).
    """
    (t, factors), dtype = floats(name, a, tau)
    if t.ndim < 2 or factors.ndim != t.ndim - 1 or factors.shape[-1] > min(t.shape[-2:]):
        raise ValueError(f"{name}: expected matrices (..., m, n) and factors (..., k), k up to m "
                         f"and n, got shapes {t.shape} and {factors.shape}")
    m, k = t.shape[-2], factors.shape[-1]
    v = tril(t[..., :, :k], -1) + eye(m, k, dtype=t.dtype, device=t.device)
    column = factors.unsqueeze(-1)
    above = column * triu(adjoint(v) @ v, 1)
    return v, triangular(name, above, diag_embed(factors), True, False, True), dtype


def ormqr(a: Any, tau: Any, other: Any, left: bool = True, transpose: bool = False) -> Tensor:
    """Q other (left) or other Q, with Q = H1 ... Hk or its adjoint (transpose), without forming Q.

    a and tau from `geqrf`. PyTorch and Torch7 ormqr. Raises ValueError for other shapes.
    """
    v, inner, dtype = _reflectors("ormqr", a, tau)
    (c,), _ = floats("ormqr", other)
    if c.ndim < 2 or c.shape[-2 if left else -1] != v.shape[-2]:
        raise ValueError(f"ormqr: expected a matrix that fits reflectors of {v.shape[-2]} rows, "
                         f"got shape {c.shape}")
    middle = adjoint(inner) if transpose else inner
    if left:
        return (c - v @ (middle @ (adjoint(v) @ c))).to(dtype)  # type: ignore[no-any-return]
    return (c - ((c @ v) @ middle) @ adjoint(v)).to(dtype)  # type: ignore[no-any-return]


# -- singular values -----------------------------------------------------------------------------

def svd(a: Any, full_matrices: bool = True) -> SVDResult:
    """U, S, Vh with a = U diag(S) Vh of (..., m, n).

    full_matrices: U (m, m) and Vh (n, n), else (m, k) and (k, n), k = min(m, n). LAPACK gesdd.
    NumPy svd. Gradients need full_matrices=False unless a is square. Raises LinAlgError (when
    computed) for NaN, infinity or no convergence.
    """
    return decompose("svd", a, full_matrices)


def decompose(name: str, a: Any, full_matrices: bool) -> SVDResult:
    """`svd` under the name that a user called."""
    t, dtype = matrices(name, a)
    shapes = _svd_shapes(t.shape, full_matrices)
    if not t.size:
        lead = t.shape[:-2]
        u, vh = (full((*lead, *s[-2:]), 0, dtype, t.device)
                 + eye(s[-2], s[-1], dtype=dtype, device=t.device) for s in (shapes[0], shapes[2]))
        return SVDResult(u, zeros(shapes[1], dtype=dtype.real, device=t.device), vh)
    flat = on_host("svd", (total(*shapes),), t, options=(name, bool(full_matrices)))
    u, s, vh = parts(flat, *shapes)
    return SVDResult(u.to(dtype), real_part(s).to(dtype.real), vh.to(dtype))


def _svd_shapes(shape: Shape, full_matrices: bool) -> tuple[Shape, Shape, Shape]:
    lead, (m, n) = shape[:-2], shape[-2:]
    k = min(m, n)
    tall, wide = (m, n) if full_matrices else (k, k)
    return (*lead, m, tall), (*lead, k), (*lead, wide, n)


def svdvals(a: Any) -> Tensor:
    """The singular values of (..., m, n), falling. LAPACK gesdd. NumPy svdvals."""
    t, dtype = matrices("svdvals", a)
    return _values("svdvals", t).to(dtype.real)  # type: ignore[no-any-return]


def _values(name: str, t: Tensor) -> Tensor:
    shape = (*t.shape[:-2], min(t.shape[-2:]))
    if not t.size:
        return zeros(shape, dtype=t.dtype.real, device=t.device)
    return on_host("svdvals", shape, t, options=(name,), dtype=t.dtype.real)


def _svd_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    name, full_matrices = options
    a = operands[0]
    m, n = a.shape[-2:]
    if full_matrices and m != n:
        raise TypeError(f"{name}: expected full_matrices=False for a gradient of shape {a.shape}, "
                        "got True, whose last vectors are arbitrary")
    shapes = _svd_shapes(a.shape, full_matrices)
    (u, s, vh), (by_u, by_s, by_vh) = parts(y, *shapes), parts(g, *shapes)
    s, by_s = real_part(s), real_part(by_s)
    rows, columns = s.unsqueeze(-1), s.unsqueeze(-2)
    gaps = reciprocals((columns - rows) * (columns + rows))
    turn_u, turn_v = adjoint(u) @ by_u, vh @ adjoint(by_vh)
    inside = (((turn_u - adjoint(turn_u)) * gaps) * columns
              + rows * ((turn_v - adjoint(turn_v)) * gaps) + diag_embed(by_s))
    over = reciprocals(columns)
    if a.dtype.is_complex:  # U and V turn together by a phase for each value
        phases = (turn_u - adjoint(turn_u)).diagonal(axis1=-2, axis2=-1)
        inside = inside + diag_embed(phases * over.squeeze(-2) * 0.5)
    found = u @ inside @ vh
    if m > n:
        outside = by_u * over
        found = found + (outside - u @ (adjoint(u) @ outside)) @ vh
    if n > m:
        outside = by_vh * over.mT
        found = found + u @ (outside - (outside @ adjoint(vh)) @ vh)
    return [found]


def _svdvals_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    u, _, vh = decompose(options[0], operands[0], False)
    return [(u * g.unsqueeze(-2)) @ vh]


def matrix_rank(a: Any, rtol: Any = None, *, atol: float = 0.0, hermitian: bool = False) -> Tensor:
    """The number of singular values above atol and rtol times the largest, int64 of shape (...).

    rtol: the dtype's resolution times the larger extent unless given; numbers or tensors that
    broadcast. A vector's rank is 0 or 1. NumPy matrix_rank.
    """
    (t,), _ = floats("matrix_rank", a)
    if t.ndim < 2:
        return ne(t, 0).any().to(dt.int64)  # type: ignore[no-any-return]
    if 0 in t.shape[-2:]:
        return zeros(t.shape[:-2], dtype=dt.int64, device=t.device)
    s = magnitude(eigvalsh(t)) if hermitian else _values("matrix_rank", t)
    ratio = resolution(t) * max(t.shape[-2:]) if rtol is None else rtol
    if isinstance(ratio, Tensor):
        ratio = ratio.unsqueeze(-1)
    limit = maximum(amax(s, -1, keepdims=True) * ratio, float(atol))
    return (s > limit).sum(-1).to(dt.int64)  # type: ignore[no-any-return]


def pinv(a: Any, rtol: float | None = None, *, hermitian: bool = False) -> Tensor:
    """The Moore-Penrose inverse of (..., m, n), by singular values (hermitian: eigenvalues).

    Values up to rtol of the largest count as zero; by default the dtype's resolution times the
    larger extent. NumPy pinv.
    """
    t, dtype = matrices("pinv", a)
    shape = (*t.shape[:-2], t.shape[-1], t.shape[-2])
    if not t.size:
        return zeros(shape, dtype=dtype, device=t.device)
    ratio = resolution(t) * max(shape[-2:]) if rtol is None else float(rtol)
    return on_host("pinv", shape, t, options=("pinv", ratio, bool(hermitian))).to(dtype)  # type: ignore[no-any-return]


def _pinv_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    return [pinv_cotangent(operands[0], y, g)]


# -- eigenvalues ---------------------------------------------------------------------------------

def eigh(a: Any, UPLO: str = "L") -> EighResult:
    """Eigenvalues, rising, and orthonormal eigenvectors, as columns, of Hermitian (..., n, n).

    Only one triangle is looked at. LAPACK syevd. NumPy eigh. Raises ValueError for another UPLO
    than "L" and "U", LinAlgError (when computed) for NaN, infinity or no convergence.
    """
    return factor_eigh("eigh", a, UPLO)


def factor_eigh(name: str, a: Any, triangle: str) -> EighResult:
    """`eigh` under the name that a user called."""
    t, dtype = square(name, a)
    triangle = _triangle(name, triangle)
    if not t.size:
        return EighResult(zeros(t.shape[:-1], dtype=dtype.real, device=t.device), t.to(dtype))
    shapes = (t.shape[:-1], t.shape)
    flat = on_host("eigh", (total(*shapes),), t, options=(name, triangle))
    values, rows = parts(flat, *shapes)
    return EighResult(real_part(values).to(dtype.real), rows.mT.to(dtype))


def _triangle(name: str, given: str) -> str:
    if given not in ("L", "U", "l", "u"):
        raise ValueError(f"{name}: expected the triangle 'L' or 'U', got {given!r}")
    return given.upper()


def eigvalsh(a: Any, UPLO: str = "L") -> Tensor:
    """The eigenvalues of Hermitian matrices (..., n, n), rising. NumPy eigvalsh; see `eigh`."""
    t, dtype = square("eigvalsh", a)
    if not t.size:
        return zeros(t.shape[:-1], dtype=dtype.real, device=t.device)
    options = ("eigvalsh", _triangle("eigvalsh", UPLO))
    found = on_host("eigvalsh", t.shape[:-1], t, options=options, dtype=t.dtype.real)
    return found.to(dtype.real)  # type: ignore[no-any-return]


def _eigh_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    a = operands[0]
    shapes = (a.shape[:-1], a.shape)
    (w, rows), (by_w, by_rows) = (parts(t, *shapes) for t in (y, g))
    v, by_v, w, by_w = rows.mT, by_rows.mT, real_part(w), real_part(by_w)
    gaps = reciprocals(w.unsqueeze(-2) - w.unsqueeze(-1))
    inside = (adjoint(v) @ by_v) * gaps + diag_embed(by_w)
    found = v @ inside @ adjoint(v)
    return [(found + adjoint(found)) * 0.5]


def _eigvalsh_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    v = factor_eigh(options[0], operands[0], options[1]).eigenvectors
    return [(v * g.unsqueeze(-2)) @ adjoint(v)]


def eig(a: Any) -> EigResult:
    """Eigenvalues, in no order, and eigenvectors of square (..., n, n), always complex.

    LAPACK geev. NumPy eig. Raises LinAlgError (when computed) for NaN, infinity or no convergence.
    """
    t, dtype = square("eig", a)
    wide = t.dtype.complex
    if not t.size:
        return EigResult(zeros(t.shape[:-1], dtype=wide, device=t.device), t.to(wide))
    flat = on_host("geev", (total(t.shape[:-1], t.shape),), t, options=("eig",), dtype=wide)
    values, rows = parts(flat, t.shape[:-1], t.shape)
    return EigResult(*rounded(dtype.complex, values, rows.mT))


def eigvals(a: Any) -> Tensor:
    """The eigenvalues of square matrices (..., n, n), always complex. NumPy eigvals; see `eig`."""
    t, dtype = square("eigvals", a)
    if not t.size:
        return zeros(t.shape[:-1], dtype=dtype.complex, device=t.device)
    found = on_host("geevals", t.shape[:-1], t, options=("eigvals",), dtype=t.dtype.complex)
    return found.to(dtype.complex)  # type: ignore[no-any-return]


def _geev_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    """Vectors of norm 1: what would stretch them is taken out of their cotangent."""
    a = operands[0]
    (w, rows), (by_w, by_rows) = (parts(t, a.shape[:-1], a.shape) for t in (y, g))
    v, by_v = rows.mT, by_rows.mT
    along = adjoint(v) @ by_v
    stretch = real(along.diagonal(axis1=-2, axis2=-1))
    gaps = reciprocals(conjugate(w.unsqueeze(-2) - w.unsqueeze(-1)))
    inside = (along - adjoint(v) @ (v * stretch.unsqueeze(-2))) * gaps + diag_embed(by_w)
    return [fitted(solving(options[0], adjoint(v), inside @ adjoint(v)), a)]


def _geevals_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    a = operands[0]
    shapes = (a.shape[:-1], a.shape)
    flat = on_host("geev", (total(*shapes),), a, options=options, dtype=y.dtype)
    v = parts(flat, *shapes)[1].mT
    return [fitted(solving(options[0], adjoint(v), diag_embed(g) @ adjoint(v)), a)]


def packed_eig(name: str, a: Any, vectors: bool) -> tuple[Tensor, Tensor]:
    """Eigenvalues (..., n, 2), real and imaginary parts, and eigenvectors as LAPACK geev packs
    them: of a complex pair, one column holds the real parts and the next the imaginary parts."""
    t, dtype = square(name, a)
    if dtype.is_complex:
        raise TypeError(f"{name}: expected a real matrix, got {dtype.name}; linalg.eig takes both")
    n = t.shape[-1]
    shapes = (t.shape[:-1], t.shape[:-1], (*t.shape[:-2], n if vectors else 0, n))
    if not t.size:
        values = zeros((*t.shape[:-1], 2), dtype=dtype, device=t.device)
        return values, t.to(dtype)
    flat = on_host("eig", (total(*shapes),), t, options=(name, vectors))
    real, imaginary, rows = parts(flat, *shapes)
    values = concatenate([real.unsqueeze(-1), imaginary.unsqueeze(-1)], -1)
    return tuple(rounded(dtype, values, rows.mT))  # type: ignore[return-value]


for _name, _back in {"qr": _qr_back, "svd": _svd_back, "svdvals": _svdvals_back,
                     "pinv": _pinv_back, "eigh": _eigh_back, "eigvalsh": _eigvalsh_back,
                     "geev": _geev_back, "geevals": _geevals_back}.items():
    differentiate_by(f"linalg.{_name}", _back)
