"""The host routines behind orthogonal factors, eigenvalues and singular values; see linear.py."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from flambeau.runtime.externs import EXTERNS
from flambeau.runtime.lapack import INFO, Shared, call, integer
from flambeau.runtime.linear import (
    Array,
    Options,
    check,
    fresh,
    is_complex,
    lead,
    planes,
    real_of,
    unitary,
)

_SLOW = ("values that converge", "none after all iterations")


def _block(n: int) -> int:
    return max(1, n * 64)


# -- QR ------------------------------------------------------------------------------------------

def qr(options: Options, a: Array) -> Array:
    """Planes: Q transposed, R transposed. options: name, mode ("reduced", "complete", "r": no Q).

    LAPACK geqrf, orgqr.
    """
    _, mode = options
    count, m, n = lead(a)
    small = min(m, n)
    wide = m if mode == "complete" else small
    flat, (q, r) = planes(a.dtype, (count, 0 if mode == "r" else wide, m), (count, n, wide))
    packed, tau, work = _reflectors(a)
    r[:, :, :small] = np.tril(packed[:, :, :small])
    r[:, :, small:] = 0
    if mode != "r" and q.size:
        q[:, :small] = packed[:, :small]
        q[:, small:] = 0
        call(unitary(a.dtype, "orgqr", "ungqr"), a.dtype, count, m, wide, small, q, m, tau,
             Shared(work), work.size, INFO)
    return flat


def _reflectors(a: Array) -> tuple[Array, Array, Array]:
    """geqrf's matrices (transposed), its factors, and its workspace."""
    count, m, n = lead(a)
    packed = fresh(a, turned=True)
    tau = np.zeros((count, max(1, min(m, n))), a.dtype)
    work = np.empty(_block(max(m, n)), a.dtype)
    call("geqrf", a.dtype, count, m, n, packed, max(m, 1), tau, Shared(work), work.size, INFO)
    return packed, tau, work


def geqrf(options: Options, a: Array) -> Array:
    """Planes: R over the reflectors (transposed), their factors. LAPACK geqrf."""
    packed, tau, _ = _reflectors(a)
    small = min(a.shape[-2:])
    return np.concatenate([packed.ravel(), tau[:, :small].ravel()])


# -- singular values -----------------------------------------------------------------------------

def svd(options: Options, a: Array) -> Array:
    """Planes: U, the singular values, V^H. options: name, full matrices. LAPACK gesdd.

    It sees the transposed matrix, whose factors exchange roles, and so lie as they should.
    """
    name, full = options
    count, m, n = lead(a)
    small = min(m, n)
    tall, wide = (m, n) if full else (small, small)
    flat, (u, s, vh) = planes(a.dtype, (count, m, tall), (count, small), (count, wide, n))
    values = np.empty((count, small), real_of(a.dtype)) if is_complex(a.dtype) else s
    _gesdd(name, "A" if full else "S", a, values, vh, u)
    if values is not s:
        s[...] = values
    return flat


def svdvals(options: Options, a: Array) -> Array:
    """The singular values alone, falling."""
    count, m, n = lead(a)
    s = np.empty((count, min(m, n)), real_of(a.dtype))
    nothing = np.empty((count, 1, 1), a.dtype)
    _gesdd(options[0], "N", a, s, nothing, nothing)
    return s.reshape(*a.shape[:-2], min(m, n))


def _gesdd(name: str, job: str, a: Array, s: Array, left: Array, right: Array) -> None:
    """LAPACK gesdd on the transposed matrices: left (count, k, n) and right (count, m, k) get its
    U and V^H."""
    count, m, n = lead(a)
    small, deep = min(m, n), max(m, n)
    room = gesdd_room(np.dtype(a.dtype).str, job, n, m)
    real = []
    if is_complex(a.dtype):
        size = small * max(5 * small + 7, 2 * deep + 2 * small + 1)
        real = [Shared(np.empty(max(1, size), s.dtype))]
    info = call("gesdd", a.dtype, count, job, n, m, fresh(a), n, s, left, left.shape[-1], right,
                right.shape[-1], Shared(np.empty(room, a.dtype)), room, *real,
                Shared(np.empty(8 * small, integer())), INFO)
    check(info, name, a, "gesdd", *_SLOW)


@lru_cache(maxsize=256)
def gesdd_room(dtype: str, job: str, m: int, n: int) -> int:
    size = Shared(np.zeros(1, dtype))
    real = [size] if is_complex(dtype) else []
    call("gesdd", dtype, 1, job, m, n, size, m, size, size, m, size, n, size, -1, *real, size,
         INFO)
    return _rounded_up(size.array)


def _rounded_up(size: Array) -> int:
    """A workspace size that LAPACK told as a float of a's precision, which may be rounded down."""
    return max(1, math.ceil(float(size[0].real) * (1 + 1e-6)))


def pinv(options: Options, a: Array) -> Array:
    """The Moore-Penrose inverse. options: name, ratio below which a value counts as zero,
    hermitian."""
    name, ratio, hermitian = options
    count, m, n = lead(a)
    if hermitian:
        values, vectors = _heevd(name, "V", "L", a)
        size, u, vh = np.abs(values), vectors.swapaxes(-1, -2), vectors.conj()
    else:
        small = min(m, n)
        values = size = np.empty((count, small), real_of(a.dtype))
        u, vh = np.empty((count, m, small), a.dtype), np.empty((count, small, n), a.dtype)
        _gesdd(name, "S", a, values, vh, u)
    kept = size > ratio * size.max(axis=1, keepdims=True)
    inverse = np.where(kept, 1 / np.where(kept, values, 1), 0).astype(values.dtype)
    v = vh.conj().swapaxes(-1, -2)
    found = (v * inverse[:, None, :]) @ u.conj().swapaxes(-1, -2)
    return found.astype(a.dtype).reshape(*a.shape[:-2], n, m)


# -- eigenvalues ---------------------------------------------------------------------------------

def eigh(options: Options, a: Array) -> Array:
    """Planes: eigenvalues, rising; eigenvectors transposed (row i belongs to value i).

    options: name, triangle that is read ("L", "U"). LAPACK syevd, heevd.
    """
    name, triangle = options
    values, vectors = _heevd(name, "V", triangle, a)
    return np.concatenate([values.ravel().astype(a.dtype), vectors.ravel()])


def eigvalsh(options: Options, a: Array) -> Array:
    """The eigenvalues alone."""
    values, _ = _heevd(options[0], "N", options[1], a)
    return values.reshape(a.shape[:-1])


def _heevd(name: str, job: str, triangle: str, a: Array) -> tuple[Array, Array]:
    """Values (count, n), and vectors as rows (count, n, n). LAPACK sees the conjugate matrix."""
    count, n, _ = lead(a)
    vectors, values = fresh(a), np.empty((count, n), real_of(a.dtype))
    uplo = "U" if triangle == "L" else "L"
    routine = unitary(a.dtype, "syevd", "heevd")
    work, real, whole = heevd_room(np.dtype(a.dtype).str, job, n)
    middle = [Shared(np.empty(real, values.dtype)), real] if is_complex(a.dtype) else []
    info = call(routine, a.dtype, count, job, uplo, n, vectors, n, values,
                Shared(np.empty(work, a.dtype)), work, *middle, Shared(np.empty(whole, integer())),
                whole, INFO)
    check(info, name, a, routine, *_SLOW)
    return values, vectors.conj() if is_complex(a.dtype) else vectors


@lru_cache(maxsize=256)
def heevd_room(dtype: str, job: str, n: int) -> tuple[int, int, int]:
    work, real = Shared(np.zeros(1, dtype)), Shared(np.zeros(1, real_of(dtype)))
    whole = Shared(np.zeros(1, integer()))
    middle = [real, -1] if is_complex(dtype) else []
    call(unitary(dtype, "syevd", "heevd"), dtype, 1, job, "U", n, work, n, work, work, -1, *middle,
         whole, -1, INFO)
    return _rounded_up(work.array), _rounded_up(real.array), max(1, int(whole.array[0]))


def eig(options: Options, a: Array) -> Array:
    """Planes: eigenvalues' real parts, imaginary parts, and vectors as LAPACK geev packs them,
    transposed. Of a real matrix. options: name, whether vectors are wanted."""
    name, vectors = options
    count, n, _ = lead(a)
    flat, (real, imaginary, v) = planes(a.dtype, (count, n), (count, n),
                                        (count, n if vectors else 0, n))
    work = np.empty(max(1, 34 * n), a.dtype)
    nothing = Shared(np.empty(1, a.dtype))
    info = call("geev", a.dtype, count, "N", "V" if vectors else "N", n, fresh(a, turned=True), n,
                real, imaginary, nothing, 1, v if v.size else nothing, n, Shared(work), work.size,
                INFO)
    check(info, name, a, "geev", *_SLOW)
    return flat


def geev(options: Options, a: Array) -> Array:
    """Planes: complex eigenvalues and eigenvectors, transposed. options: name. LAPACK geev."""
    values, vectors = _complex_eig(options[0], a, True)
    return np.concatenate([values.ravel(), vectors.ravel()])


def geevals(options: Options, a: Array) -> Array:
    """Complex eigenvalues alone."""
    return _complex_eig(options[0], a, False)[0].reshape(a.shape[:-1])


def _complex_eig(name: str, a: Array, wanted: bool) -> tuple[Array, Array]:
    """Eigenvalues (count, n) and, as rows, vectors."""
    count, n, _ = lead(a)
    if not is_complex(a.dtype):
        shapes = [(count, n), (count, n), (count, n if wanted else 0, n)]
        sizes = np.cumsum([math.prod(s) for s in shapes])[:-1]
        real, imaginary, v = (p.reshape(s) for p, s in zip(
            np.split(eig((name, wanted), a), sizes), shapes))
        return real + a.dtype.type(1) * 1j * imaginary, _unpacked(v, imaginary)
    values = np.empty((count, n), a.dtype)
    vectors = np.empty((count, n if wanted else 0, n), a.dtype)
    work, real_work = np.empty(max(1, 34 * n), a.dtype), np.empty(max(1, 2 * n), real_of(a.dtype))
    nothing = Shared(np.empty(1, a.dtype))
    info = call("geev", a.dtype, count, "N", "V" if wanted else "N", n, fresh(a, turned=True), n,
                values, nothing, 1, vectors if vectors.size else nothing, n, Shared(work),
                work.size, Shared(real_work), INFO)
    check(info, name, a, "geev", *_SLOW)
    return values, vectors


def _unpacked(v: Array, imaginary: Array) -> Array:
    """LAPACK's pairs of rows (real parts, imaginary parts) as two conjugate rows."""
    first = imaginary > 0
    found = v.astype(np.result_type(v.dtype, np.complex64))
    if v.size:
        item, row = np.nonzero(first)
        pair = v[item, row] + v.dtype.type(1) * 1j * v[item, row + 1]
        found[item, row], found[item, row + 1] = pair, pair.conj()
    return found


# -- the exponential -----------------------------------------------------------------------------

# Higham 2005: degrees of the Pade approximant, and the largest 1-norm each is good for
_DEGREES = {"f4": ((3, 0.4258730016922831), (5, 1.880152677804762), (7, 3.925724783138660)),
            "f8": ((3, 1.495585217958292e-2), (5, 2.539398330063230e-1),
                   (7, 9.504178996162932e-1), (9, 2.097847961257068), (13, 5.371920351148152))}


def expm(options: Options, a: Array) -> Array:
    """The matrix exponential, by scaling and squaring with Pade approximants (Higham 2005).

    Matrices of one degree and scaling are computed together.
    """
    count, n, _ = lead(a)
    x, out = a.reshape(count, n, n), np.empty((count, n, n), a.dtype)
    norms = np.abs(x).sum(axis=1).max(axis=1)
    degrees = _DEGREES[np.dtype(real_of(a.dtype)).str[1:]]
    limits = np.array([limit for _, limit in degrees])
    rank = np.minimum(np.searchsorted(limits, norms), len(limits) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        halvings = np.ceil(np.log2(norms / limits[-1]))
    halvings = np.where(np.isfinite(halvings), np.maximum(halvings, 0), 0).astype(int)
    for i, s in set(zip(rank.tolist(), halvings.tolist())):
        chosen = (rank == i) & (halvings == s)
        with np.errstate(over="ignore", invalid="ignore"):
            out[chosen] = _pade(x[chosen] * a.dtype.type(2.0 ** -s), degrees[i][0], s)
    out[~np.isfinite(norms)] = np.nan
    return out.reshape(a.shape)


def _pade(x: Array, degree: int, halvings: int) -> Array:
    """The approximant of a degree, squared as often as x was halved."""
    b = [float(math.factorial(2 * degree - k) * math.comb(degree, k)) for k in range(degree + 1)]
    b = [c / b[-1] for c in b]
    if not np.isfinite(x).all():
        x = np.where(np.isfinite(x), x, 0)
    one = np.eye(x.shape[-1], dtype=x.dtype)
    power, even, odd = one, b[0] * one, b[1] * one
    square = x @ x
    for k in range(2, degree, 2):
        power = power @ square
        even, odd = even + b[k] * power, odd + b[k + 1] * power
    odd = x @ odd
    found = np.linalg.solve(even - odd, even + odd)
    for _ in range(halvings):
        found = found @ found
    return found


EXTERNS.update({f"linalg.{body.__name__}": body for body in (
    qr, geqrf, svd, svdvals, pinv, eigh, eigvalsh, eig, geev, geevals, expm)})
