"""Linear systems and what elimination gives: solve, inv, det, LU, Cholesky, least squares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from flambeau.compiler import dtype as dt

from ..complexes import complex as as_complex
from ..complexes import imag, real
from ..creation import arange, eye, full, zeros
from ..elementwise import log
from ..indexing import take_along_axis
from ..joining import concatenate
from ..movement import broadcast_to, moveaxis, permute, reshape
from ..products import tril, triu
from ..recording import as_tensor
from ..routines import differentiate_by
from ..tensor import Tensor
from .operands import (
    adjoint,
    check_square,
    conjugate,
    eye_like,
    floats,
    halved_triangle,
    matrices,
    on_host,
    parts,
    real_part,
    resolution,
    same_batch,
    square,
    total,
)

Operands = Sequence[Tensor]


# -- systems -------------------------------------------------------------------------------------

def solve(a: Any, b: Any, *, left: bool = True) -> Tensor:
    """X with a X = b, or with left=False X a = b: a (..., n, n), b (n,) or (..., n, k).

    Leading axes broadcast. LAPACK getrf, getrs. NumPy solve. Raises ValueError for other shapes,
    LinAlgError (when computed) for a singular matrix.
    """
    return solving("solve", a, b, left)


def solving(name: str, a: Any, b: Any, left: bool = True) -> Tensor:
    """`solve` under the name that a user called."""
    (m, x), dtype = floats(name, a, b)
    check_square(name, m)
    if not left:
        if x.ndim < 2:
            raise ValueError(f"{name}: expected matrices on the left, got shape {x.shape}")
        return solving(name, m.mT, x.mT).mT.to(dtype)  # type: ignore[no-any-return]
    vector = x.ndim == 1
    rows = x.unsqueeze(-1) if vector else x
    if rows.ndim < 2 or rows.shape[-2] != m.shape[-1]:
        raise ValueError(f"{name}: expected as many rows in b as in a, got shapes {m.shape} and "
                         f"{x.shape}")
    found = _solve(name, m, rows)
    return (found.squeeze(-1) if vector else found).to(dtype)  # type: ignore[no-any-return]


def _solve(name: str, a: Tensor, b: Tensor) -> Tensor:
    """For matrices. One matrix a with a batch of b is factored once."""
    if a.ndim == 2 and b.ndim > 2:
        lead, k = b.shape[:-2], b.shape[-1]
        order = (b.ndim - 2, *range(b.ndim - 2), b.ndim - 1)
        columns = reshape(permute(b, order), (a.shape[0], math.prod(lead) * k))
        found = reshape(_solve(name, a, columns), (a.shape[0], *lead, k))
        return permute(found, (*range(1, b.ndim - 1), 0, b.ndim - 1))
    a, b = same_batch(name, a, b)
    if 0 in b.shape:
        return zeros(b.shape, dtype=b.dtype, device=b.device)
    return on_host("solve", b.shape, a, b, options=(name,))


def _solve_back(options: Any, operands: Operands, x: Tensor, g: Tensor) -> list[Tensor]:
    by_b = _solve(options[0], adjoint(operands[0]), g)
    return [-(by_b @ adjoint(x)), by_b]


def inv(a: Any) -> Tensor:
    """Inverses of square matrices (..., n, n). LAPACK getrf, getri. NumPy inv, Torch7 inverse.

    Raises LinAlgError (when computed) for a singular matrix.
    """
    return inverting("inv", a)


def inverting(name: str, a: Any) -> Tensor:
    """`inv` under the name that a user called."""
    t, dtype = square(name, a)
    if not t.size:
        return t.to(dtype)  # type: ignore[no-any-return]
    return on_host("inv", t.shape, t, options=(name,)).to(dtype)  # type: ignore[no-any-return]


def _inv_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    return [-(adjoint(y) @ g @ adjoint(y))]


def solve_triangular(a: Any, b: Any, *, upper: bool, left: bool = True,
                     unitriangular: bool = False, transpose: bool = False) -> Tensor:
    """X with a X = b (left=False: X a = b), looking at one triangle of a (..., n, n) only.

    b is (..., n, k), or (..., k, n) on the right; leading axes broadcast. unitriangular: the
    diagonal counts as ones. transpose: a's transpose, whose triangle `upper` then names before it
    is turned. BLAS trsm. PyTorch solve_triangular. Raises ValueError for other shapes, LinAlgError
    (when computed) for a zero on the diagonal.
    """
    return triangular("solve_triangular", a, b, upper, transpose, unitriangular, left)


def triangular(name: str, a: Any, b: Any, upper: bool, transpose: bool = False,
               unit: bool = False, left: bool = True) -> Tensor:
    """`solve_triangular` under the name that a user called."""
    (m, x), dtype = floats(name, a, b)
    check_square(name, m)
    if x.ndim < 2 or x.shape[-2 if left else -1] != m.shape[-1]:
        raise ValueError(f"{name}: expected b to fit a, got shapes {m.shape} and {x.shape}")
    m, x = same_batch(name, m, x)
    if 0 in x.shape:
        return zeros(x.shape, dtype=dtype, device=x.device)
    options = (name, bool(upper), bool(transpose), bool(unit), bool(left))
    found = on_host("solve_triangular", x.shape, m, x, options=options)
    return found.to(dtype)  # type: ignore[no-any-return]


def _triangular_back(options: Any, operands: Operands, x: Tensor, g: Tensor) -> list[Tensor]:
    name, upper, transpose, unit, left = options
    a = operands[0]
    by_b = triangular(name, conjugate(a), g, upper, not transpose, unit, left)
    by_op = -(by_b @ adjoint(x)) if left else -(adjoint(x) @ by_b)
    if transpose:
        by_op = by_op.mT
    keep = (triu if upper else tril)(by_op, (1 if upper else -1) if unit else 0)
    return [keep, by_b]


# -- determinants --------------------------------------------------------------------------------

class SlogdetResult(NamedTuple):
    """Signs of determinants and the logarithms of their magnitudes."""

    sign: Tensor
    logabsdet: Tensor


def det(a: Any) -> Tensor:
    """Determinants of square matrices (..., n, n), of shape (...). LAPACK getrf. NumPy det."""
    t, dtype = square("det", a)
    if 0 in t.shape[-2:]:
        return full(t.shape[:-2], 1, dtype, t.device)
    return on_host("det", t.shape[:-2], t, options=("det",)).to(dtype)  # type: ignore[no-any-return]


def _det_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    a = operands[0]
    factors = on_host("cofactor", a.shape, a, options=options)
    return [g.unsqueeze(-1).unsqueeze(-1) * conjugate(factors)]


def _cofactor_back(options: Any, operands: Operands, c: Tensor, g: Tensor) -> list[Tensor]:
    turned, c = adjoint(inverting("det", operands[0])), conjugate(c)
    along = (g * turned).sum((-2, -1), keepdims=True)
    return [along * c - c @ g.mT @ turned]


def slogdet(a: Any) -> SlogdetResult:
    """Signs and logarithms of the magnitudes of determinants, for which det would overflow.

    A singular matrix gives 0 and -inf. NumPy slogdet.
    """
    t, dtype = square("slogdet", a)
    lead = t.shape[:-2]
    if 0 in t.shape:
        return SlogdetResult(full(lead, 1, dtype, t.device), full(lead, 0, dtype.real, t.device))
    flat = on_host("slogdet", (total(lead, lead),), t, options=("slogdet",))
    sign, size = parts(flat, lead, lead)
    if not dtype.is_complex:
        sign = sign.detach()
    return SlogdetResult(sign.to(dtype), real_part(size).to(dtype.real))


def _slogdet_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    a = operands[0]
    lead = a.shape[:-2]
    by_sign, by_size = parts(g, lead, lead)
    if a.dtype.is_complex:  # the sign turns with the determinant's angle
        sign = parts(y, lead, lead)[0]
        by_size = as_complex(real(by_size), -imag(conjugate(by_sign) * sign))
    return [by_size.unsqueeze(-1).unsqueeze(-1) * adjoint(inverting("slogdet", a))]


def logdet(a: Any) -> Tensor:
    """Logarithms of determinants; NaN where a real one is negative. PyTorch logdet."""
    sign, size = slogdet(a)
    return size + log(sign)


# -- LU ------------------------------------------------------------------------------------------

class LUFactors(NamedTuple):
    """L and U in one matrix, and for each row the row (from 0) it was exchanged with."""

    LU: Tensor
    pivots: Tensor


class LUResult(NamedTuple):
    """a = P L U."""

    P: Tensor
    L: Tensor
    U: Tensor


def lu_factor(a: Any) -> LUFactors:
    """LU with partial pivoting of (..., m, n): both factors in one matrix, and int32 pivots.

    LAPACK getrf, SciPy lu_factor. A singular matrix is no error: U has a zero on its diagonal.
    """
    return factoring("lu_factor", a)


def factoring(name: str, a: Any) -> LUFactors:
    """`lu_factor` under the name that a user called."""
    t, dtype = matrices(name, a)
    lead, small = t.shape[:-2], min(t.shape[-2:])
    if not t.size:
        return LUFactors(t.to(dtype), zeros((*lead, small), dtype=dt.int32, device=t.device))
    shapes = (t.shape, (*lead, small))
    factors, pivots = parts(on_host("lu", (total(*shapes),), t, options=(name,)), *shapes)
    return LUFactors(factors.to(dtype), real_part(pivots).detach().to(dt.int32))


def _order(pivots: Tensor, rows: int) -> Tensor:
    """The rows' order after the exchanges, int64 (..., rows)."""
    if not pivots.size:
        return broadcast_to(arange(rows, device=pivots.device), (*pivots.shape[:-1], rows))
    return on_host("permutation", (*pivots.shape[:-1], rows), pivots, options=rows,  # type: ignore[arg-type]
                   dtype=dt.int64)


def _columns(order: Tensor, dtype: dt.DType) -> Tensor:
    """The permutation matrix P with (P^T a)[i] = a[order[i]]."""
    rows = arange(order.shape[-1], device=order.device).unsqueeze(-1)
    return (order.unsqueeze(-2) == rows).to(dtype)  # type: ignore[no-any-return]


def lu(a: Any) -> LUResult:
    """P, L, U with a = P L U of (..., m, n): a permutation, unit lower and upper triangles.

    PyTorch and SciPy lu.
    """
    factors, pivots = factoring("lu", a)
    m, n = factors.shape[-2:]
    small = min(m, n)
    unit = eye(m, small, dtype=factors.dtype, device=factors.device)
    lower = tril(factors[..., :, :small], -1) + unit
    return LUResult(_columns(_order(pivots, m), factors.dtype), lower,
                    triu(factors[..., :small, :]))


def lu_solve(LU: Any, pivots: Any, b: Any, *, adjoint: bool = False) -> Tensor:
    """X with a X = b from `lu_factor(a)`, b (n,) or (..., n, k); adjoint: a^H X = b.

    PyTorch and SciPy lu_solve. Raises ValueError for other shapes.
    """
    (f, x), dtype = floats("lu_solve", LU, b)
    check_square("lu_solve", f)
    vector = x.ndim == 1
    rows = x.unsqueeze(-1) if vector else x
    if rows.ndim < 2 or rows.shape[-2] != f.shape[-1]:
        raise ValueError(f"lu_solve: expected as many rows in b as in LU, got shapes {f.shape} and "
                         f"{x.shape}")
    order = _order(as_tensor("lu_solve", pivots), f.shape[-1])
    f, rows = same_batch("lu_solve", f, rows)
    order = broadcast_to(order, f.shape[:-1])
    if adjoint:
        f = conjugate(f)
        half = triangular("lu_solve", f, rows, True, True)
        whole = triangular("lu_solve", f, half, False, True, True)
        found = _columns(order, f.dtype) @ whole
    else:
        taken = take_along_axis(rows, broadcast_to(order.unsqueeze(-1), rows.shape), -2)
        half = triangular("lu_solve", f, taken, False, False, True)
        found = triangular("lu_solve", f, half, True)
    return (found.squeeze(-1) if vector else found).to(dtype)  # type: ignore[no-any-return]


def _lu_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    """By blocks: what lies right of a wide matrix's square part, or below a tall one's."""
    a = operands[0]
    name, (m, n), lead = options[0], a.shape[-2:], a.shape[:-2]
    small = min(m, n)
    (f, pivots), (gf, _) = (parts(t, a.shape, (*lead, small)) for t in (y, g))
    p = _columns(_order(real_part(pivots).detach(), m), a.dtype)
    head, by_head = f[..., :small, :small], gf[..., :small, :small]
    lower, upper = tril(head, -1) + eye_like(head), triu(head)
    by_lower, by_upper = adjoint(lower) @ tril(by_head, -1), triu(by_head) @ adjoint(upper)
    if m > n:
        by_upper = by_upper - adjoint(f[..., n:, :]) @ gf[..., n:, :]
    if n > m:
        by_lower = by_lower - gf[..., :, m:] @ adjoint(f[..., :, m:])
    inside = tril(by_lower, -1) + triu(by_upper)
    inside = triangular(name, conjugate(lower), inside, False, True, True)
    by_a = triangular(name, conjugate(upper), inside, True, True, left=False)
    if m > n:
        rest = triangular(name, conjugate(upper), gf[..., n:, :], True, True, left=False)
        by_a = concatenate([by_a, rest], -2)
    if n > m:
        rest = triangular(name, conjugate(lower), gf[..., :, m:], False, True, True)
        by_a = concatenate([by_a, rest], -1)
    return [p @ by_a]


# -- Cholesky ------------------------------------------------------------------------------------

def cholesky(a: Any, *, upper: bool = False) -> Tensor:
    """L with a = L L^H of Hermitian positive definite matrices (..., n, n), or R = L^H.

    Looks at the lower triangle (the upper one for R). LAPACK potrf. NumPy cholesky. Raises
    LinAlgError (when computed) for a matrix that is not positive definite.
    """
    return choleskying("cholesky", a, upper)


def choleskying(name: str, a: Any, upper: bool) -> Tensor:
    """`cholesky` under the name that a user called."""
    t, dtype = square(name, a)
    if not t.size:
        return t.to(dtype)  # type: ignore[no-any-return]
    options = (name, bool(upper))
    return on_host("cholesky", t.shape, t, options=options).to(dtype)  # type: ignore[no-any-return]


def _cholesky_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    name, upper = options
    lower, by_lower = (adjoint(y), adjoint(g)) if upper else (y, g)
    inside = halved_triangle(adjoint(lower) @ by_lower)
    inside = triangular(name, conjugate(lower), inside, False, True)
    by_a = triangular(name, lower, inside, False, left=False)
    return [(by_a + adjoint(by_a)) * 0.5]


def cholesky_solve(b: Any, factor: Any, *, upper: bool = False) -> Tensor:
    """X with a X = b from a's Cholesky factor, b (..., n, k). PyTorch cholesky_solve; Torch7 potrs.

    Raises ValueError for other shapes.
    """
    return cholesky_solving("cholesky_solve", b, factor, upper)


def cholesky_solving(name: str, b: Any, factor: Any, upper: bool) -> Tensor:
    """`cholesky_solve` under the name that a user called."""
    (f, x), dtype = floats(name, factor, b)
    other = conjugate(f)
    if upper:
        half = triangular(name, other, x, True, True)
        return triangular(name, f, half, True).to(dtype)  # type: ignore[no-any-return]
    half = triangular(name, f, x, False)
    return triangular(name, other, half, False, True).to(dtype)  # type: ignore[no-any-return]


def cholesky_inverse(factor: Any, *, upper: bool = False) -> Tensor:
    """The inverse of a from its Cholesky factor (..., n, n). Torch7 potri."""
    t, dtype = square("cholesky_inverse", factor)
    ones = broadcast_to(eye_like(t), t.shape)
    return cholesky_solving("cholesky_inverse", ones, t, upper).to(dtype)  # type: ignore[no-any-return]


# -- least squares -------------------------------------------------------------------------------

class LstsqResult(NamedTuple):
    """The shortest X that minimises |a X - b|, squares of what is left of each column, a's rank
    and its singular values."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def lstsq(a: Any, b: Any, rcond: float | None = None) -> LstsqResult:
    """Least squares: a (..., m, n), b (m,) or (..., m, k); X of n rows.

    Singular values below rcond (the dtype's resolution times the larger extent) of the largest
    count as zero. Residuals are sums of squares, for every column and rank. LAPACK gelsd. NumPy
    lstsq. Raises ValueError for other shapes.
    """
    return fitting("lstsq", a, b, rcond)


def fitting(name: str, a: Any, b: Any, rcond: float | None = None) -> LstsqResult:
    """`lstsq` under the name that a user called."""
    (m, x), dtype = floats(name, a, b)
    vector = x.ndim == 1
    rows = x.unsqueeze(-1) if vector else x
    if m.ndim < 2 or rows.ndim < 2 or rows.shape[-2] != m.shape[-2]:
        raise ValueError(f"{name}: expected as many rows in b as in a, got shapes {m.shape} and "
                         f"{x.shape}")
    m, rows = same_batch(name, m, rows)
    lead, small = m.shape[:-2], min(m.shape[-2:])
    shapes = ((*lead, m.shape[-1], rows.shape[-1]), (*lead, 1), (*lead, small))
    if 0 in m.shape or 0 in rows.shape:
        solution, rank, values = (zeros(s, dtype=m.dtype, device=m.device) for s in shapes)
    else:
        ratio = resolution(m) * max(m.shape[-2:]) if rcond is None else float(rcond)
        flat = on_host("lstsq", (total(*shapes),), m, rows, options=(name, ratio))
        solution, rank, values = parts(flat, *shapes)
    left = rows - m @ solution
    residuals = real_part(left * conjugate(left)).sum(-2)
    if vector:
        solution, residuals = solution.squeeze(-1), residuals.squeeze(-1)
    rank, values = real_part(rank).detach(), real_part(values).detach()
    return LstsqResult(solution.to(dtype), residuals.to(dtype.real),
                       rank.squeeze(-1).to(dt.int64), values.to(dtype.real))


def _lstsq_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    """X = a^+ b, differentiated as that product (Golub and Pereyra 1973)."""
    a, b = operands
    shape = (*a.shape[:-2], a.shape[-1], b.shape[-1])
    by_x = parts(g, shape)[0]
    inverse = on_host("pinv", (*a.shape[:-2], a.shape[-1], a.shape[-2]), a,
                      options=(options[0], options[1], False))
    return [pinv_cotangent(a, inverse, by_x @ adjoint(b)), adjoint(inverse) @ by_x]


def pinv_cotangent(a: Tensor, p: Tensor, g: Tensor) -> Tensor:
    """The cotangent of a from that of its pseudo-inverse p, at constant rank."""
    turned, wide = adjoint(p), adjoint(g)
    left = wide - a @ (p @ wide)
    right = wide - (wide @ p) @ a
    return -(turned @ g @ turned) + left @ p @ turned + turned @ p @ right


# -- tensors as matrices -------------------------------------------------------------------------

def tensorsolve(a: Any, b: Any, axes: Sequence[int] | None = None) -> Tensor:
    """x with tensordot(a, x, x.ndim) = b; axes of a are moved to the end first. NumPy tensorsolve.

    Raises ValueError unless a's other extents have as many elements as b.
    """
    (t, x), dtype = floats("tensorsolve", a, b)
    if axes is not None:
        t = moveaxis(t, list(axes), list(range(t.ndim - len(axes), t.ndim)))
    shape = t.shape[x.ndim:]
    if math.prod(t.shape[:x.ndim]) != x.size or math.prod(shape) != x.size:
        raise ValueError(f"tensorsolve: expected a to be square over b's axes, got shapes "
                         f"{t.shape} and {x.shape}")
    found = solving("tensorsolve", reshape(t, (int(x.size), -1)), reshape(x, -1))
    return reshape(found, shape).to(dtype)  # type: ignore[no-any-return]


def tensorinv(a: Any, ind: int = 2) -> Tensor:
    """The inverse for tensordot(a, b, ind): the first ind axes against the rest. NumPy tensorinv.

    Raises ValueError unless both sides have as many elements.
    """
    (t,), dtype = floats("tensorinv", a)
    rows = math.prod(t.shape[:ind])
    if ind < 1 or rows * rows != t.size:
        raise ValueError(f"tensorinv: expected as many elements before axis {ind} as after it, got "
                         f"shape {t.shape}")
    found = inverting("tensorinv", reshape(t, (rows, rows)))
    return reshape(found, (*t.shape[ind:], *t.shape[:ind])).to(dtype)  # type: ignore[no-any-return]


for _name, _back in {"solve": _solve_back, "inv": _inv_back,
                     "solve_triangular": _triangular_back, "det": _det_back,
                     "cofactor": _cofactor_back, "slogdet": _slogdet_back, "lu": _lu_back,
                     "cholesky": _cholesky_back, "lstsq": _lstsq_back}.items():
    differentiate_by(f"linalg.{_name}", _back)
