"""The host routines of linear algebra: NumPy arrays in, one array out, LAPACK in between.

Operands are (..., rows, columns), row-major, in float32, float64 or a complex dtype; leading axes
are a batch, and every routine is called once for the whole of it. A routine with several results
gives them one after the other in a flat array, each for the whole batch (`planes`); who calls it
knows their shapes. Where LAPACK leaves a matrix transposed, so does the routine, and says so.

options[0] is the name of the operation that a user asked for: errors begin with it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from flambeau.runtime import blas, pool
from flambeau.runtime.externs import EXTERNS
from flambeau.runtime.lapack import INFO, LinAlgError, Shared, call, integer

Array = np.ndarray
Options = tuple[Any, ...]


# -- in and out ----------------------------------------------------------------------------------

def fresh(a: Array, turned: bool = False) -> Array:
    """A copy as (count, rows, columns) that LAPACK may overwrite. turned: transposed, so that
    LAPACK, which reads columns, sees the matrix itself."""
    m = a.swapaxes(-1, -2) if turned else a
    return np.array(m, order="C").reshape(math.prod(m.shape[:-2]), *m.shape[-2:])


def planes(dtype: Any, *shapes: tuple[int, ...]) -> tuple[Array, list[Array]]:
    """A flat array and its consecutive parts of these shapes; the first axis counts the batch."""
    sizes = [math.prod(s) for s in shapes]
    starts = list(itertools.accumulate(sizes, initial=0))
    flat = np.empty(starts[-1], dtype)
    return flat, [flat[i:j].reshape(s) for i, j, s in zip(starts, starts[1:], shapes)]


def lead(a: Array) -> tuple[int, int, int]:
    """Matrices in the batch, rows, columns."""
    return math.prod(a.shape[:-2]), a.shape[-2], a.shape[-1]


def check(info: Array, name: str, a: Array, routine: str, expected: str, got: str) -> None:
    """Raises LinAlgError for the first matrix of a's batch that LAPACK could not take."""
    if info.any():
        bad = np.flatnonzero(info)
        complain(int(bad[0]), name, a, f"LAPACK {routine}, info {info[bad[0]]}", expected, got)


def complain(number: int, name: str, a: Array, why: str, expected: str, got: str) -> None:
    """Raises LinAlgError for one matrix of a's batch."""
    matrix = a.reshape(-1, *a.shape[-2:])[number]
    if not np.isfinite(matrix).all():
        expected, got = "finite elements", "NaN or infinity"
    place = ""
    if a.ndim > 2:
        index = tuple(int(i) for i in np.unravel_index(number, a.shape[:-2]))
        place = f" at batch index {index}"
    raise LinAlgError(f"{name}: expected {expected}, got {got}{place} ({why})")


def is_complex(dtype: Any) -> bool:
    return np.dtype(dtype).kind == "c"


def real_of(dtype: Any) -> Any:
    return np.zeros((), dtype).real.dtype


def unitary(dtype: Any, real: str, complex_: str) -> str:
    """LAPACK calls orthogonal routines or... and symmetric sy..., of complex matrices un, he."""
    return complex_ if is_complex(dtype) else real


# -- linear systems ------------------------------------------------------------------------------

_SINGULAR = ("an invertible matrix", "a singular one")


def _numpy(f: Callable[..., Any], *arrays: Array, **options: Any) -> Any:
    """f of NumPy's own, on one thread if ours are; None when a matrix is none that it takes."""
    try:
        if pool.num_threads() > 1:
            return f(*arrays, **options)
        with blas.single_threaded():
            return f(*arrays, **options)
    except np.linalg.LinAlgError:
        return None


def solve(options: Options, a: Array, b: Array) -> Array:
    """X with a X = b; batches agree. LAPACK gesv."""
    found = _numpy(np.linalg.solve, a, b)
    return _singular(options[0], a) if found is None else found  # type: ignore[no-any-return]


def inv(options: Options, a: Array) -> Array:
    """The inverse. LAPACK gesv."""
    found = _numpy(np.linalg.inv, a)
    return _singular(options[0], a) if found is None else found  # type: ignore[no-any-return]


def _singular(name: str, a: Array) -> Array:
    """Raises LinAlgError for the first matrix that LAPACK's getrf finds singular."""
    count, n, _ = lead(a)
    pivots = np.empty((count, n), integer())
    info = call("getrf", a.dtype, count, n, n, fresh(a, turned=True), n, pivots, INFO)
    check(info, name, a, "getrf", *_SINGULAR)
    raise LinAlgError(f"{name}: expected {_SINGULAR[0]}, got {_SINGULAR[1]}")


def det(options: Options, a: Array) -> Array:
    """Determinants. LAPACK getrf."""
    with np.errstate(all="ignore"):
        return np.asarray(_numpy(np.linalg.det, a))


def slogdet(options: Options, a: Array) -> Array:
    """Planes: signs of determinants, logarithms of their magnitudes."""
    with np.errstate(all="ignore"):
        sign, logs = _numpy(np.linalg.slogdet, a)
    flat, (signs, sizes) = planes(a.dtype, np.shape(sign), np.shape(sign))
    signs[...], sizes[...] = sign, logs
    return flat


def cofactor(options: Options, a: Array) -> Array:
    """The derivative of the determinant by each element: by singular values, so that it is exact
    for singular matrices too."""
    u, s, vh = np.linalg.svd(a)
    others = np.stack([np.prod(np.delete(s, i, -1), axis=-1) for i in range(s.shape[-1])], -1)
    turn = np.linalg.det(u) * np.linalg.det(vh)
    return (turn[..., None, None] * ((u * others[..., None, :]) @ vh).conj()).astype(a.dtype)


def lu(options: Options, a: Array) -> Array:
    """Planes: L and U in one matrix, pivots (0-based rows that were exchanged). LAPACK getrf."""
    count, m, n = lead(a)
    work = fresh(a, turned=True)
    pivots = np.empty((count, min(m, n)), integer())
    call("getrf", a.dtype, count, m, n, work, m, pivots, INFO)
    flat, (factors, rows) = planes(a.dtype, (count, m, n), (count, min(m, n)))
    factors[...] = work.swapaxes(-1, -2)
    rows[...] = pivots - 1
    return flat


def permutation(options: int, pivots: Array) -> Array:
    """The order of the rows, int64, that exchanges at 0-based pivots make of options many."""
    count, k = math.prod(pivots.shape[:-1]), pivots.shape[-1]
    order = np.tile(np.arange(options), (count, 1))
    every = np.arange(count)
    for i, row in enumerate(pivots.reshape(count, k).astype(np.int64).T):
        held = order[:, i].copy()
        order[:, i] = order[every, row]
        order[every, row] = held
    return order.reshape(*pivots.shape[:-1], options)


def solve_triangular(options: Options, a: Array, b: Array) -> Array:
    """X with op(a) X = b, or X op(a) = b. options: name, upper, transpose, unit diagonal, left.

    BLAS trsm, from the other side on the transposed matrices, as they lie.
    """
    name, upper, transpose, unit, left = options
    count, rows, columns = lead(b)
    n = a.shape[-1]
    x, held = fresh(b), np.ascontiguousarray(a).reshape(-1, n, n)
    if not unit:
        zero = (held.diagonal(axis1=1, axis2=2) == 0).any(axis=1)
        if zero.any():
            complain(int(np.argmax(zero)), name, a, "a zero on the diagonal", *_SINGULAR)
    call("trsm", a.dtype, count, "R" if left else "L", "L" if upper else "U",
         "T" if transpose else "N", "U" if unit else "N", columns, rows,
         Shared(np.ones(1, a.dtype)), held, n, x, columns)
    return x.reshape(b.shape)


def lstsq(options: Options, a: Array, b: Array) -> Array:
    """Planes: the shortest X that minimises |a X - b|, its rank, singular values. LAPACK gelsd.

    options: name, and the ratio to the largest singular value below which one counts as zero.
    """
    name, ratio = options
    count, m, n = lead(a)
    k, deep, small = b.shape[-1], max(m, n), min(m, n)
    matrix = fresh(a, turned=True)
    x = np.zeros((count, k, deep), a.dtype)
    x[:, :, :m] = b.reshape(count, m, k).swapaxes(-1, -2)
    s = np.empty((count, small), real_of(a.dtype))
    ranks = np.empty((count, 1), integer())
    work, extra, whole = gelsd_room(np.dtype(a.dtype).str, m, n, k)
    middle = [Shared(np.empty(extra, s.dtype))] if is_complex(a.dtype) else []
    info = call("gelsd", a.dtype, count, m, n, k, matrix, m, x, deep, s, float(ratio), ranks,
                Shared(np.empty(work, a.dtype)), work, *middle,
                Shared(np.empty(whole, integer())), INFO)
    check(info, name, a, "gelsd", "singular values that converge", "none after all iterations")
    flat, (out, rank, values) = planes(a.dtype, (count, n, k), (count, 1), (count, small))
    out[...] = x[:, :, :n].swapaxes(-1, -2)
    rank[...], values[...] = ranks, s
    return flat


@lru_cache(maxsize=256)
def gelsd_room(dtype: str, m: int, n: int, k: int) -> tuple[int, int, int]:
    """Sizes of gelsd's workspaces: work, real work, integers."""
    work, real = np.zeros(1, dtype), np.zeros(1, real_of(dtype))
    whole = np.zeros(1, integer())
    middle = [Shared(real)] if is_complex(dtype) else []
    call("gelsd", dtype, 1, m, n, k, Shared(work), max(m, 1), Shared(work), max(m, n, 1),
         Shared(real), -1.0, Shared(whole.copy()), Shared(work), -1, *middle, Shared(whole), INFO)
    return max(1, int(work[0].real)), max(1, int(real[0])), max(1, int(whole[0]))


# -- Cholesky ------------------------------------------------------------------------------------

def cholesky(options: Options, a: Array) -> Array:
    """L with a = L L^H from a's lower triangle, or R with a = R^H R from the upper one.

    options: name, upper. LAPACK potrf.
    """
    name, upper = options
    found = _numpy(np.linalg.cholesky, a, upper=upper)
    if found is None:
        count, n, _ = lead(a)
        info = call("potrf", a.dtype, count, "L" if upper else "U", n, fresh(a), n, INFO)
        check(info, name, a, "potrf", "a positive definite matrix", "one that is not")
        raise LinAlgError(f"{name}: expected a positive definite matrix, got one that is not")
    return found  # type: ignore[no-any-return]


def pstrf(options: Options, a: Array) -> Array:
    """Planes: the pivoted Cholesky factor (row-major, other triangle zero), the order of rows,
    ranks. options: name, upper, tolerance (negative: LAPACK's)."""
    name, upper, tolerance = options
    count, n, _ = lead(a)
    factor = fresh(a)
    pivots, ranks = np.empty((count, n), integer()), np.empty((count, 1), integer())
    work = np.empty(2 * n, real_of(a.dtype))
    info = call("pstrf", a.dtype, count, "L" if upper else "U", n, factor, n, pivots, ranks,
                float(tolerance), Shared(work), INFO)
    check(np.minimum(info, 0), name, a, "pstrf", "a positive semidefinite matrix",
          "one that is not")
    flat, (out, order, rank) = planes(a.dtype, (count, n, n), (count, n), (count, 1))
    out[...] = np.triu(factor) if upper else np.tril(factor)
    order[...], rank[...] = pivots - 1, ranks
    return flat


def potri(options: Options, a: Array) -> Array:
    """The inverse from a Cholesky factor. options: name, upper. LAPACK potri."""
    name, upper = options
    count, n, _ = lead(a)
    x = fresh(a)
    info = call("potri", a.dtype, count, "L" if upper else "U", n, x, n, INFO)
    check(info, name, a, "potri", *_SINGULAR)
    half = np.triu(x, 1) if upper else np.tril(x, -1)
    whole = half + half.conj().swapaxes(-1, -2)
    every = np.arange(n)
    whole[:, every, every] = x[:, every, every]
    return whole.reshape(a.shape)


EXTERNS.update({f"linalg.{body.__name__}": body for body in (
    solve, inv, det, slogdet, cofactor, lu, permutation, solve_triangular, lstsq, cholesky, pstrf,
    potri)})
