"""What every function of linear algebra does first: coercion, dtypes, shapes; and small helpers."""

from __future__ import annotations

import math
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler.dtype import DType

from ..complexes import adjoint as adjoint
from ..complexes import conj, real
from ..creation import eye
from ..elementwise import eq, where
from ..movement import broadcast_to
from ..products import tril
from ..recording import as_tensor, broadcast_shapes, common_dtype, of_several
from ..routines import call
from ..tensor import Tensor, default_dtype, look

Shape = tuple[int, ...]


def floats(name: str, *xs: Any) -> tuple[list[Tensor], DType]:
    """Operands in the dtype that is computed in, and the dtype that results are given in.

    Dtypes promote; integers take the default dtype; 16-bit floats are computed in float32.
    """
    tensors = [as_tensor(name, x) for x in xs]
    dtype = common_dtype(name, tuple(tensors))
    if not dtype.is_inexact:
        dtype = default_dtype()
    return [t.to(dtype.compute) for t in tensors], dtype


def matrices(name: str, x: Any) -> tuple[Tensor, DType]:
    """x as a tensor of matrices, and the dtype of results. Raises ValueError below two axes."""
    (t,), dtype = floats(name, x)
    if t.ndim < 2:
        raise ValueError(f"{name}: expected matrices (..., m, n), got shape {t.shape}")
    return t, dtype


def square(name: str, x: Any) -> tuple[Tensor, DType]:
    """x as a tensor of square matrices, and the dtype of results. Raises ValueError for others."""
    (t,), dtype = floats(name, x)
    check_square(name, t)
    return t, dtype


def check_square(name: str, t: Tensor) -> None:
    """Raises ValueError when t does not end in two equal extents."""
    if t.ndim < 2 or t.shape[-1] != t.shape[-2]:
        raise ValueError(f"{name}: expected square matrices (..., n, n), got shape {t.shape}")


def same_batch(name: str, *ts: Tensor) -> list[Tensor]:
    """Matrices with their leading axes broadcast."""
    lead = broadcast_shapes(name, *(t.shape[:-2] for t in ts))
    return [broadcast_to(t, (*lead, *t.shape[-2:])) for t in ts]


def on_host(routine: str, shape: Shape, *operands: Tensor, options: tuple[Any, ...] = (),
            dtype: DType | None = None) -> Tensor:
    """The routine's result as a tensor. options begin with the name for errors."""
    wanted = operands[0].dtype if dtype is None else dtype
    return call(f"linalg.{routine}", options, wanted, shape, *operands)


def parts(flat: Tensor, *shapes: Shape) -> list[Tensor]:
    """Consecutive parts of a flat tensor, as views in these shapes."""
    of_several(flat._storage.node)
    found, start = [], 0
    for shape in shapes:
        size = math.prod(shape)
        part = look(flat, "slice", (size,), ((start if size else 0, 1),))
        found.append(part if len(shape) == 1 else look(part, "reshape", shape))
        start += size
    return found


def total(*shapes: Shape) -> int:
    """Elements of several shapes together."""
    return sum(math.prod(s) for s in shapes)


def rounded(dtype: DType, *ts: Tensor) -> list[Tensor]:
    """Results in the dtype that the user computes in."""
    return [t.to(dtype) for t in ts]


def conjugate(t: Tensor) -> Tensor:
    """The complex conjugate; t itself when it is real."""
    return conj(t) if t.dtype.is_complex else t


def real_part(t: Tensor) -> Tensor:
    """The real part; t itself when it is real."""
    return real(t) if t.dtype.is_complex else t


def fitted(g: Tensor, a: Tensor) -> Tensor:
    """A cotangent of a: its real part when a is real."""
    return g if a.dtype.is_complex else real_part(g)


def reciprocals(x: Tensor) -> Tensor:
    """1 / x, and 0 where x is 0, without the division's infinity on any way back."""
    none = eq(x, 0)
    return where(none, 0.0, 1.0 / where(none, 1.0, x))




def eye_like(t: Tensor) -> Tensor:
    """The identity matrix with t's last extent and dtype, on its device."""
    return eye(t.shape[-1], dtype=t.dtype, device=t.device)


def halved_triangle(t: Tensor) -> Tensor:
    """The lower triangle with half of the diagonal."""
    return (tril(t) + tril(t, -1)) * 0.5


def resolution(t: Tensor) -> float:
    """The distance from 1 to the next number of t's precision."""
    return 2.0 ** -52 if t.dtype.real is dt.float64 else 2.0 ** -23
