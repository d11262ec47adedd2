"""Complex numbers: making them, their parts, conjugates and angles.

Real tensors pass through as NumPy has it: they are their own real part and conjugate, and their
imaginary part is 0.
"""

from __future__ import annotations

import math
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N

from .creation import constant
from .elementwise import atan2, float_operands, floating
from .movement import permute
from .recording import as_tensor, into
from .tensor import Tensor, derive, read


def complex(real: Any, imag: Any, *, out: Tensor | None = None) -> Tensor:
    """real + i imag of two real operands that broadcast; complex64 up to float32, else complex128.

    PyTorch complex. Raises TypeError for complex operands.
    """
    both = float_operands("complex", (real, imag))
    parts = tuple(N.cast(n, both.dtype.complex.real) for n in both.nodes)
    return into("complex", both.make(N.elementwise("complex", *parts)), out)


def polar(modulus: Any, angle: Any) -> Tensor:
    """modulus * exp(i angle), from two real operands that broadcast. PyTorch polar."""
    both = float_operands("polar", (modulus, angle))
    size, turn = (N.cast(n, both.dtype.complex.real) for n in both.nodes)
    parts = (N.elementwise("mul", size, N.elementwise(f, turn)) for f in ("cos", "sin"))
    return both.make(N.elementwise("complex", *parts))


def _part(name: str, x: Any) -> tuple[Tensor, N.Node]:
    t = as_tensor(name, x)
    n = read(t)
    return t, N.elementwise(name, n) if n.dtype.is_complex else n


def real(x: Any) -> Tensor:
    """The real part, in the real dtype; a copy. NumPy real."""
    t, n = _part("real", x)
    return derive(n, t)


def imag(x: Any) -> Tensor:
    """The imaginary part, in the real dtype; zeros of a real tensor. NumPy imag."""
    t, n = _part("imag", x)
    return derive(n if t.dtype.is_complex else constant(n.dtype, 0, n.shape), t)


def conj(x: Any, *, out: Tensor | None = None) -> Tensor:
    """The complex conjugate. Shape and dtype of x. NumPy conj."""
    t, n = _part("conj", x)
    return into("conj", derive(n, t), out)


def angle(x: Any) -> Tensor:
    """The angle of x from the positive real axis, in (-pi, pi]; real dtype. NumPy angle."""
    t = as_tensor("angle", x)
    if t.dtype.is_complex:
        return atan2(imag(t), real(t))
    t, n = floating("angle", t)
    half = constant(n.dtype, math.pi, n.shape)
    below = N.elementwise("lt", n, constant(n.dtype, 0, n.shape))
    found = N.elementwise("where", below, half, constant(n.dtype, 0, n.shape))
    return derive(N.elementwise("where", N.elementwise("isnan", n), n, found), t)


def is_complex(x: Any) -> bool:
    """Is x a tensor of a complex dtype? PyTorch is_complex."""
    return isinstance(x, Tensor) and x.dtype.is_complex


def view_as_real(x: Any) -> Tensor:
    """The parts of a complex tensor on a last axis of 2. A copy (PyTorch's shares memory)."""
    t = as_tensor("view_as_real", x)
    if not t.dtype.is_complex:
        raise TypeError(f"view_as_real: expected a complex dtype, got {t.dtype.name}")
    n = read(t)
    parts = [N.reshape(N.elementwise(p, n), (*n.shape, 1)) for p in ("real", "imag")]
    return derive(N.concat(parts, t.ndim), t)


def view_as_complex(x: Any) -> Tensor:
    """The complex tensor whose parts stand on x's last axis, of extent 2. A copy.

    Raises ValueError for another extent, TypeError for other dtypes than float32 and float64.
    """
    t = as_tensor("view_as_complex", x)
    if t.dtype not in (dt.float32, dt.float64):
        raise TypeError(f"view_as_complex: expected float32 or float64, got {t.dtype.name}")
    if not t.shape or t.shape[-1] != 2:
        raise ValueError(f"view_as_complex: expected a last axis of 2, got shape {t.shape}")
    return complex(t[..., 0], t[..., 1])


def adjoint(x: Any) -> Tensor:
    """The last two axes exchanged and conjugated: x.mH. PyTorch adjoint."""
    t = as_tensor("adjoint", x)
    if t.ndim < 2:
        raise ValueError(f"adjoint: expected at least 2 axes, got shape {t.shape}")
    order = (*range(t.ndim - 2), t.ndim - 1, t.ndim - 2)
    return conj(permute(t, order))
