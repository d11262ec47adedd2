"""Products and powers of matrices, their norms, and the exponential."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .. import products, reductions
from ..creation import zeros, zeros_like
from ..elementwise import abs as magnitude
from ..elementwise import isnan, where
from ..joining import concatenate
from ..movement import broadcast_to
from ..movement import diagonal as _diagonal
from ..recording import accepts_dim, as_tensor, check_axes
from ..routines import differentiate_by
from ..tensor import Tensor, check_axis
from .factors import svdvals
from .operands import adjoint, eye_like, floats, on_host, square
from .systems import inverting

Operands = Sequence[Tensor]


# -- powers --------------------------------------------------------------------------------------

def matrix_power(a: Any, n: int) -> Tensor:
    """a @ a @ ... n times, for square (..., k, k); negative n of the inverse. NumPy matrix_power.

    By repeated squaring. Raises TypeError when n is no integer.
    """
    t, dtype = square("matrix_power", a)
    if not hasattr(n, "__index__"):
        raise TypeError(f"matrix_power: expected an integer power, got {n!r}")
    n = n.__index__()
    if n == 0:
        return broadcast_to(eye_like(t), t.shape).to(dtype)  # type: ignore[no-any-return]
    base = inverting("matrix_power", t) if n < 0 else t
    found: Tensor | None = None
    n = abs(n)
    while n:
        if n & 1:
            found = base if found is None else found @ base
        n >>= 1
        base = base @ base if n else base
    assert found is not None
    return found.to(dtype)  # type: ignore[no-any-return]


def expm(a: Any) -> Tensor:
    """The exponential of square matrices (..., n, n), by scaling and squaring (Higham 2005).

    SciPy expm, PyTorch matrix_exp.
    """
    t, dtype = square("expm", a)
    if not t.size:
        return t.to(dtype)  # type: ignore[no-any-return]
    return on_host("expm", t.shape, t, options=("expm",)).to(dtype)  # type: ignore[no-any-return]


matrix_exp = expm


def _expm_back(options: Any, operands: Operands, y: Tensor, g: Tensor) -> list[Tensor]:
    """exp of [[a^H, g], [0, a^H]] holds the derivative in its corner (Najfeld and Havel 1995)."""
    turned = adjoint(operands[0])
    n = turned.shape[-1]
    above = concatenate([turned, g], -1)
    below = concatenate([zeros_like(turned), turned], -1)
    return [expm(concatenate([above, below], -2))[..., :n, n:]]


differentiate_by("linalg.expm", _expm_back)


def multi_dot(arrays: Sequence[Any]) -> Tensor:
    """The product of two or more matrices in the order that costs least; the first and the last
    may be vectors. NumPy multi_dot. Raises ValueError for fewer operands or extents that differ."""
    ts = [as_tensor("multi_dot", x) for x in arrays]
    if len(ts) < 2:
        raise ValueError(f"multi_dot: expected at least two operands, got {len(ts)}")
    first, last = ts[0].ndim == 1, ts[-1].ndim == 1
    ts[0] = ts[0].unsqueeze(0) if first else ts[0]
    ts[-1] = ts[-1].unsqueeze(-1) if last else ts[-1]
    shapes = [t.shape for t in ts]
    if any(t.ndim != 2 for t in ts) or any(a[1] != b[0] for a, b in pairwise(shapes)):
        raise ValueError("multi_dot: expected matrices that fit one after the other, got shapes "
                         f"{', '.join(str(s) for s in shapes)}")
    cuts = _chain([s[0] for s in shapes] + [shapes[-1][1]])

    def product(i: int, j: int) -> Tensor:
        return ts[i] if i == j else product(i, cuts[i, j]) @ product(cuts[i, j] + 1, j)

    found = product(0, len(ts) - 1)
    found = found.squeeze(0) if first else found
    return found.squeeze(-1) if last else found  # type: ignore[no-any-return]


def _chain(extents: list[int]) -> dict[tuple[int, int], int]:
    """Where to cut each run of matrices so that the multiplications are fewest."""
    count = len(extents) - 1
    cost = {(i, i): 0 for i in range(count)}
    cuts = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            tried = {k: cost[i, k] + cost[k + 1, j] + extents[i] * extents[k + 1] * extents[j + 1]
                     for k in range(i, j)}
            cuts[i, j] = min(tried, key=tried.__getitem__)
            cost[i, j] = tried[cuts[i, j]]
    return cuts


# -- products along an axis ----------------------------------------------------------------------

def diagonal(a: Any, *, offset: int = 0) -> Tensor:
    """The diagonals of matrices (..., m, n), a view. Array API linalg.diagonal."""
    return _diagonal(as_tensor("diagonal", a), offset, -2, -1)  # type: ignore[no-any-return]


def trace(a: Any, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sums of the diagonals of matrices (..., m, n). Array API linalg.trace."""
    found = _diagonal(as_tensor("trace", a), offset, -2, -1).sum(-1)
    return found if dtype is None else found.to(dtype)  # type: ignore[no-any-return]


def outer(x: Any, other: Any) -> Tensor:
    """All products of two vectors, (n, m). Array API linalg.outer. Raises ValueError for others."""
    a, b = as_tensor("outer", x), as_tensor("outer", other)
    if a.ndim != 1 or b.ndim != 1:
        raise ValueError(f"outer: expected two vectors, got shapes {a.shape} and {b.shape}")
    return products.outer(a, b)


# -- norms ---------------------------------------------------------------------------------------

@accepts_dim
def vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Tensor:
    """(sum |x|**ord) ** (1/ord) over axes; ord inf, -inf and 0 (counts nonzero) too.

    Axis None: over all elements. Array API and NumPy vector_norm.
    """
    (t,), dtype = floats("vector_norm", x)
    return reductions.norm(t, ord, axis, keepdims).to(dtype.real)  # type: ignore[no-any-return]


@accepts_dim
def matrix_norm(x: Any, ord: Any = "fro", axis: Any = (-2, -1), keepdims: bool = False) -> Tensor:
    """Norms of matrices: "fro", "nuc" (sum of singular values), 2 and -2 (largest, smallest one),
    1 and -1 (sums of columns), inf and -inf (sums of rows). NumPy matrix_norm.

    Raises ValueError for another ord and for less than two axes.
    """
    (t,), dtype = floats("matrix_norm", x)
    if t.ndim < 2:
        raise ValueError(f"matrix_norm: expected matrices (..., m, n), got shape {t.shape}")
    rows, columns = (check_axis("matrix_norm", i, t.ndim) for i in axis)
    if rows == columns:
        raise ValueError(f"matrix_norm: expected two different axes, got {axis}")
    found = _matrix_norm(t.moveaxis((rows, columns), (-2, -1)), ord)
    if keepdims:
        for i in sorted((rows, columns)):
            found = found.unsqueeze(i)
    return found.to(dtype.real)  # type: ignore[no-any-return]


def _matrix_norm(t: Tensor, ord: Any) -> Tensor:
    """Of the last two axes."""
    if ord == "fro":
        return reductions.norm(t, 2, (-2, -1))
    if ord in ("nuc", 2, -2):
        s = svdvals(t)
        return s.sum(-1) if ord == "nuc" else _end(s, ord > 0)  # type: ignore[no-any-return]
    if ord in (1, -1, math.inf, -math.inf):
        sums = magnitude(t).sum(-2 if ord in (1, -1) else -1)
        return _end(sums, ord > 0)
    raise ValueError(f"matrix_norm: expected ord 'fro', 'nuc', 1, 2, inf or a negative one, got "
                     f"{ord!r}")


def _end(t: Tensor, largest: bool) -> Tensor:
    """The largest or smallest along the last axis; of nothing, the largest is 0."""
    if largest and t.shape[-1] == 0:
        return zeros(t.shape[:-1], dtype=t.dtype, device=t.device)
    return reductions.amax(t, -1) if largest else reductions.amin(t, -1)  # type: ignore[no-any-return]


@accepts_dim
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """A vector's norm over one axis, a matrix's over two; of everything, flattened, by default.

    NumPy linalg.norm; see `vector_norm` and `matrix_norm`.
    """
    t = as_tensor("norm", x)
    if axis is None:
        if ord is None:
            return vector_norm(t, keepdims=keepdims)  # type: ignore[no-any-return]
        if t.ndim not in (1, 2):
            raise ValueError(f"norm: expected a vector or matrix, or an axis, got shape {t.shape}")
        axis = tuple(range(t.ndim))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    check_axes("norm", axes, t.ndim)
    if len(axes) == 2 and ord is not None:
        return matrix_norm(t, ord, axes, keepdims)  # type: ignore[no-any-return]
    if len(axes) > 2 or isinstance(ord, str):
        raise ValueError(f"norm: expected a number for the norm of a vector over one axis, got ord "
                         f"{ord!r} over axes {axes}")
    return vector_norm(t, axis=axes, keepdims=keepdims, ord=2 if ord is None else ord)  # type: ignore[no-any-return]


def cond(x: Any, p: Any = None) -> Tensor:
    """The condition number by a matrix norm p (2 by default): inf for a singular matrix.

    p None, 2, -2: a ratio of singular values of (..., m, n); else norm(x) * norm(inv(x)) of square
    ones, where a singular matrix raises LinAlgError. NumPy cond.
    """
    (t,), dtype = floats("cond", x)
    if t.ndim < 2 or 0 in t.shape[-2:]:
        raise ValueError(f"cond: expected matrices with elements, got shape {t.shape}")
    if p in (None, 2, -2):
        s = svdvals(t)
        large, small = s[..., 0], s[..., -1]
        found = small / large if p == -2 else large / small
        return where(isnan(found) & ~isnan(large), math.inf, found).to(dtype.real)  # type: ignore[no-any-return]
    found = matrix_norm(t, p) * matrix_norm(inverting("cond", t), p)
    return found.to(dtype.real)  # type: ignore[no-any-return]
