"""Discrete Fourier transforms: fft, rfft, hfft and their inverses in any number of dimensions.

NumPy computes them between kernels (float32 as complex64), scaling included; cropping and padding
are part of the graph and fuse with their neighbours. The routines are linear, so each derivative is
a transform: that of `c2c` runs the other way, those of `r2c` and `c2r` are each other with their
ends weighed.

norm says which way divides: "backward" the inverse by n, "forward" the other, "ortho" both by the
root of n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType

from .complexes import complex as complex_
from .complexes import conj, real
from .creation import arange, tensor
from .elementwise import cos, floating, inexact, sin
from .joining import concatenate, roll
from .recording import accepts_dim, as_tensor
from .routines import call, differentiate_by
from .tensor import Tensor, as_dtype, check_axis, default_dtype, derive, read

_NORMS = ("backward", "ortho", "forward")
Lengths = Sequence[int] | None
Axes = Sequence[int] | None


# -- derivatives -----------------------------------------------------------------------------------


def _turned(options: Any, operands: Sequence[Tensor], y: Tensor, g: Tensor) -> list[Tensor]:
    axes, inverse, norm = options
    return [call("fft.c2c", (axes, not inverse, _swapped(norm)), g.dtype, g.shape, g)]


def _r2c_back(options: tuple[int, int, str], operands: Sequence[Tensor], y: Tensor, g: Tensor
              ) -> list[Tensor]:
    x = operands[0]
    back = (*options[:2], _swapped(options[2]))
    return [call("fft.c2r", back, x.dtype, x.shape, g * _weights(g, options, 0.5))]


def _c2r_back(options: tuple[int, int, str], operands: Sequence[Tensor], y: Tensor, g: Tensor
              ) -> list[Tensor]:
    x = operands[0]
    back = (*options[:2], _swapped(options[2]))
    found = call("fft.r2c", back, x.dtype, x.shape, g)
    return [found * _weights(found, options, 2.0)]


def _weights(half: Tensor, options: tuple[int, int, str], inner: float) -> Tensor:
    """1 at frequencies that stand for themselves, `inner` at those that stand for two."""
    axis, length, _ = options
    line = np.full(half.shape[axis], inner, half.dtype.real.numpy)
    line[0] = 1
    if length % 2 == 0:
        line[-1] = 1
    return tensor(line.reshape([-1 if i == axis else 1 for i in range(half.ndim)]),
                  device=half.device)


differentiate_by("fft.c2c", _turned)
differentiate_by("fft.r2c", _r2c_back)
differentiate_by("fft.c2r", _c2r_back)


# -- arguments -------------------------------------------------------------------------------------


def _checked(name: str, norm: str | None) -> str:
    norm = "backward" if norm is None else norm
    if norm not in _NORMS:
        raise ValueError(f"{name}: expected norm 'backward', 'ortho' or 'forward', got {norm!r}")
    return norm


def _complex(name: str, x: Any) -> Tensor:
    t, n = inexact(name, x)
    return derive(N.cast(n, n.dtype.complex), t)


def _real(name: str, x: Any) -> Tensor:
    t, n = floating(name, x)
    return derive(N.cast(n, n.dtype.complex.real), t)


def _fit(name: str, t: Tensor, axis: int, length: int) -> Tensor:
    """t cropped or padded with zeros along an axis."""
    if length < 1:
        raise ValueError(f"{name}: expected at least 1 point along axis {axis}, got {length}")
    n, extent = read(t), t.shape[axis]
    if length == extent:
        return t
    shape = (*n.shape[:axis], length, *n.shape[axis + 1:])
    zeros = (0,) * len(n.shape)
    if length < extent:
        return derive(N.slice_(n, zeros, shape, (1,) * len(shape)), t)
    return derive(N.pad(n, zeros, shape), t)


def _plan(name: str, t: Tensor, s: Lengths, axes: Axes) -> tuple[tuple[int, ...], list[int]]:
    """The axes and the number of points along each."""
    if axes is None:
        count = t.ndim if s is None else len(s)
        axes = range(t.ndim - count, t.ndim)
    found = tuple(check_axis(name, a, t.ndim) for a in axes)
    if len(set(found)) != len(found):
        raise ValueError(f"{name}: expected distinct axes, got {tuple(axes)}")
    lengths = [t.shape[a] for a in found] if s is None else list(s)
    if len(lengths) != len(found):
        raise ValueError(f"{name}: expected as many lengths as axes, got {tuple(lengths)} and "
                         f"{tuple(axes)}")
    return found, [t.shape[a] if e == -1 else e for a, e in zip(found, lengths)]


def _swapped(norm: str | None) -> str:
    """The norm as the other direction understands it."""
    return {"backward": "forward", "forward": "backward"}.get(norm or "backward", norm or "")


# -- complex to complex ----------------------------------------------------------------------------


def _full(name: str, x: Any, s: Lengths, axes: Axes, norm: str | None, inverse: bool) -> Tensor:
    t, norm = _complex(name, x), _checked(name, norm)
    found, lengths = _plan(name, t, s, axes)
    for axis, length in zip(found, lengths):
        t = _fit(name, t, axis, length)
    if found and t.size:
        t = call("fft.c2c", (found, inverse, norm), t.dtype, t.shape, t)
    return t


@accepts_dim
def fft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Tensor:
    """The discrete Fourier transform along axis, of n points (cropped or padded). NumPy fft.fft.

    Shape of x with n along axis; complex64 for dtypes up to float32, else complex128.
    """
    return _full("fft", x, None if n is None else (n,), (axis,), norm, False)


@accepts_dim
def ifft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `fft`. NumPy fft.ifft."""
    return _full("ifft", x, None if n is None else (n,), (axis,), norm, True)


def fftn(x: Any, s: Lengths = None, axes: Axes = None, norm: str | None = None) -> Tensor:
    """`fft` along several axes (all, or as many last ones as s has lengths). NumPy fft.fftn."""
    return _full("fftn", x, s, axes, norm, False)


def ifftn(x: Any, s: Lengths = None, axes: Axes = None, norm: str | None = None) -> Tensor:
    """The inverse of `fftn`. NumPy fft.ifftn."""
    return _full("ifftn", x, s, axes, norm, True)


def fft2(x: Any, s: Lengths = None, axes: Axes = (-2, -1), norm: str | None = None) -> Tensor:
    """`fft` along the last two axes. NumPy fft.fft2."""
    return _full("fft2", x, s, axes, norm, False)


def ifft2(x: Any, s: Lengths = None, axes: Axes = (-2, -1), norm: str | None = None) -> Tensor:
    """The inverse of `fft2`. NumPy fft.ifft2."""
    return _full("ifft2", x, s, axes, norm, True)


# -- real to half a spectrum, and back -------------------------------------------------------------


def _half(name: str, x: Any, s: Lengths, axes: Axes, norm: str | None) -> Tensor:
    t, norm = _real(name, x), _checked(name, norm)
    found, lengths = _plan(name, t, s, axes)
    if not found:
        raise ValueError(f"{name}: expected at least one axis, got none")
    for axis, length in zip(found, lengths):
        t = _fit(name, t, axis, length)
    last, length = found[-1], lengths[-1]
    shape = (*t.shape[:last], length // 2 + 1, *t.shape[last + 1:])
    t = call("fft.r2c", (last, length, norm), t.dtype.complex, shape, t)
    if len(found) > 1:
        t = call("fft.c2c", (found[:-1], False, norm), t.dtype, t.shape, t)
    return t


def _whole(name: str, x: Any, s: Lengths, axes: Axes, norm: str | None) -> Tensor:
    t, norm = _complex(name, x), _checked(name, norm)
    found, lengths = _plan(name, t, s, axes)
    if not found:
        raise ValueError(f"{name}: expected at least one axis, got none")
    if s is None or s[-1] == -1:
        lengths[-1] = 2 * (t.shape[found[-1]] - 1)
    if lengths[-1] < 1:
        raise ValueError(f"{name}: expected at least 1 point along axis {found[-1]}, got "
                         f"{lengths[-1]}")
    for axis, length in zip(found[:-1], lengths):
        t = _fit(name, t, axis, length)
    last, length = found[-1], lengths[-1]
    t = _fit(name, t, last, length // 2 + 1)
    if len(found) > 1:
        t = call("fft.c2c", (found[:-1], True, norm), t.dtype, t.shape, t)
    shape = (*t.shape[:last], length, *t.shape[last + 1:])
    return call("fft.c2r", (last, length, norm), t.dtype.real, shape, t)


@accepts_dim
def rfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Tensor:
    """The first n // 2 + 1 points of a real tensor's `fft`; the others are their conjugates.

    NumPy fft.rfft. Raises TypeError for complex numbers.
    """
    return _half("rfft", x, None if n is None else (n,), (axis,), norm)


@accepts_dim
def irfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `rfft`: real, of n points, by default 2 (m - 1). NumPy fft.irfft."""
    return _whole("irfft", x, None if n is None else (n,), (axis,), norm)


def rfftn(x: Any, s: Lengths = None, axes: Axes = None, norm: str | None = None) -> Tensor:
    """`rfft` along the last of several axes, `fft` along the others. NumPy fft.rfftn."""
    return _half("rfftn", x, s, axes, norm)


def irfftn(x: Any, s: Lengths = None, axes: Axes = None, norm: str | None = None) -> Tensor:
    """The inverse of `rfftn`. NumPy fft.irfftn."""
    return _whole("irfftn", x, s, axes, norm)


def rfft2(x: Any, s: Lengths = None, axes: Axes = (-2, -1), norm: str | None = None) -> Tensor:
    """`rfftn` along the last two axes. NumPy fft.rfft2."""
    return _half("rfft2", x, s, axes, norm)


def irfft2(x: Any, s: Lengths = None, axes: Axes = (-2, -1), norm: str | None = None) -> Tensor:
    """The inverse of `rfft2`. NumPy fft.irfft2."""
    return _whole("irfft2", x, s, axes, norm)


@accepts_dim
def hfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Tensor:
    """The real spectrum of a signal of which half is given, as its other half is conjugate.

    n points, by default 2 (m - 1). NumPy fft.hfft.
    """
    return _whole("hfft", conj(x), None if n is None else (n,), (axis,), _swapped(norm))


@accepts_dim
def ihfft(x: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `hfft`: n // 2 + 1 points of a real spectrum. NumPy fft.ihfft."""
    return conj(_half("ihfft", x, None if n is None else (n,), (axis,), _swapped(norm)))


# -- frequencies -----------------------------------------------------------------------------------


def _frequency_dtype(name: str, dtype: Any) -> DType:
    return default_dtype() if dtype is None else as_dtype(name, dtype)


def fftfreq(n: int, d: float = 1.0, dtype: Any = None) -> Tensor:
    """The frequencies of `fft`'s points in cycles per unit of spacing d. NumPy fft.fftfreq."""
    if n < 1:
        raise ValueError(f"fftfreq: expected at least 1 point, got {n}")
    half = (n + 1) // 2
    points = concatenate([arange(half, dtype="float64"), arange(half - n, 0, dtype="float64")])
    return (points * (1.0 / (n * d))).to(_frequency_dtype("fftfreq", dtype))


def rfftfreq(n: int, d: float = 1.0, dtype: Any = None) -> Tensor:
    """The frequencies of `rfft`'s points in cycles per unit of spacing d. NumPy fft.rfftfreq."""
    if n < 1:
        raise ValueError(f"rfftfreq: expected at least 1 point, got {n}")
    points = arange(n // 2 + 1, dtype="float64")
    return (points * (1.0 / (n * d))).to(_frequency_dtype("rfftfreq", dtype))


def _rolled(name: str, x: Any, axes: Any, sign: int) -> Tensor:
    t = as_tensor(name, x)
    given = range(t.ndim) if axes is None else (axes,) if isinstance(axes, int) else axes
    for axis in given:
        axis = check_axis(name, axis, t.ndim)
        half = t.shape[axis] // 2
        t = roll(t, half if sign > 0 else -half, axis)
    return t


def fftshift(x: Any, axes: Any = None) -> Tensor:
    """Frequency 0 moved to the middle of the axes. NumPy fft.fftshift."""
    return _rolled("fftshift", x, axes, 1)


def ifftshift(x: Any, axes: Any = None) -> Tensor:
    """The inverse of `fftshift`. NumPy fft.ifftshift."""
    return _rolled("ifftshift", x, axes, -1)


# -- cosine transforms -----------------------------------------------------------------------------


@accepts_dim
def dct(x: Any, axis: int = -1, norm: str | None = None) -> Tensor:
    """The discrete cosine transform (type 2), 2 sum x cos(pi k (2j + 1) / 2n) along axis; "ortho"
    makes it orthonormal. Real floating dtypes. SciPy fft.dct. (Makhoul 1980: one fft.)"""
    t = _last("dct", x, axis)
    length = t.shape[-1]
    mixed = concatenate([t[..., ::2], t[..., 1::2].flip(-1)], -1)
    found = 2 * real(fft(mixed) * _twiddle(t, -1))
    if norm == "ortho":
        found = found * _orthonormal(t, math.sqrt(1 / (4 * length)), math.sqrt(1 / (2 * length)))
    return found.moveaxis(-1, axis)


@accepts_dim
def idct(x: Any, axis: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of `dct`. SciPy fft.idct."""
    t = _last("idct", x, axis)
    length = t.shape[-1]
    if norm == "ortho":
        t = t * _orthonormal(t, math.sqrt(4 * length), math.sqrt(2 * length))
    mirror = concatenate([t[..., :1] * 0, t[..., 1:].flip(-1)], -1)
    mixed = real(ifft(complex_(t, -mirror) * _twiddle(t, 1))) * 0.5
    order = [j // 2 if j % 2 == 0 else length - 1 - j // 2 for j in range(length)]
    return mixed[..., order].moveaxis(-1, axis)


def _last(name: str, x: Any, axis: int) -> Tensor:
    t = _real(name, x)
    axis = check_axis(name, axis, t.ndim)
    if t.shape[axis] < 1:
        raise ValueError(f"{name}: expected at least 1 point along axis {axis}, got 0")
    return t.moveaxis(axis, -1)


def _twiddle(t: Tensor, sign: int) -> Tensor:
    """exp(sign i pi k / 2n) along the last axis."""
    length = t.shape[-1]
    turn = arange(length, dtype=dt.float64, device=t.device) * (sign * math.pi / (2 * length))
    return complex_(cos(turn), sin(turn)).to(t.dtype.complex)


def _orthonormal(t: Tensor, first: float, rest: float) -> Tensor:
    line = np.full(t.shape[-1], rest, t.dtype.numpy)
    line[0] = first
    return tensor(line, device=t.device)
