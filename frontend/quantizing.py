"""Integers that stand for real numbers: scale times (integer less zero point)."""

from __future__ import annotations

from typing import Any

from .activations import clamp
from .datatypes import iinfo
from .elementwise import round
from .joining import repeat_interleave
from .movement import reshape
from .recording import as_tensors
from .tensor import Tensor, as_dtype, check_axis


def quantize(x: Any, scale: Any, zero_point: Any = None, dtype: Any = None, axis: int = 1
             ) -> Tensor:
    """round(x / scale) + zero_point, halves to even, held to the range of an integer dtype: that of
    a zero_point tensor, else uint8. Shape of x.

    scale and zero_point: one number, a vector along axis, or x's number of axes with one number for
    each block along axis. PyTorch quantize_per_tensor and quantize_per_channel. Raises TypeError
    for a dtype without a range of 16 bits or less, ValueError for shapes that do not fit.
    """
    t, s = as_tensors("quantize", x, scale)
    wanted = _integers(zero_point, dtype)
    t = t.to(t.dtype.compute)
    made = round(t / _spread("quantize", t, s.to(t.dtype), axis))
    if zero_point is not None:
        z = as_tensors("quantize", t, zero_point)[1]
        made = made + _spread("quantize", t, z.to(t.dtype), axis)
    return clamp(made, iinfo(wanted).min, iinfo(wanted).max).to(wanted)


def _integers(zero_point: Any, dtype: Any) -> Any:
    given = zero_point.dtype if dtype is None and isinstance(zero_point, Tensor) else dtype
    wanted = as_dtype("quantize", "uint8" if given is None else given)
    if not wanted.is_integer or wanted.itemsize > 2:
        raise TypeError(f"quantize: expected an integer dtype of 8 or 16 bits, got {wanted.name}")
    return wanted


def dequantize(x: Any, scale: Any, zero_point: Any = None, axis: int = 1) -> Tensor:
    """(x - zero_point) * scale for integers x, in scale's dtype; arguments as `quantize`. PyTorch
    dequantize. Raises TypeError for other x, ValueError for shapes that do not fit."""
    t, s = as_tensors("dequantize", x, scale)
    if not t.dtype.is_integer:
        raise TypeError(f"dequantize: expected integers, got {t.dtype.name}")
    made = t.to("int32")
    if zero_point is not None:
        z = as_tensors("dequantize", t, zero_point)[1].to("int32")
        made = made - _spread("dequantize", t, z, axis)
    return made.to(s.dtype.compute).mul(
        _spread("dequantize", t, s.to(s.dtype.compute), axis)).to(s.dtype)


def fake_quantize(x: Any, scale: Any, zero_point: Any = None, dtype: Any = None, axis: int = 1
                  ) -> Tensor:
    """dequantize(quantize(x)), for training: the gradient passes where x lies in the range of the
    integers and is 0 beyond. PyTorch fake_quantize_per_tensor_affine."""
    t, s = as_tensors("fake_quantize", x, scale)
    wanted = _integers(zero_point, dtype)
    factor = _spread("fake_quantize", t, s.to(t.dtype), axis).detach()
    z: Any = 0
    if zero_point is not None:
        z = _spread("fake_quantize", t, as_tensors("fake_quantize", t, zero_point)[1].to(t.dtype),
                    axis)
    low, high = factor * (iinfo(wanted).min - z), factor * (iinfo(wanted).max - z)
    held = clamp(t, low, high)
    exact = dequantize(quantize(t.detach(), s, zero_point, dtype, axis), s.detach(), zero_point,
                       axis)
    return held + (exact.to(t.dtype) - held).detach()


def _spread(name: str, x: Tensor, s: Tensor, axis: int) -> Tensor:
    """One number, a vector along axis or numbers of blocks, so that they broadcast to x."""
    if s.size == 1:
        return reshape(s, ())
    axis = check_axis(name, axis, x.ndim)
    if s.ndim == 1 and s.shape[0] == x.shape[axis]:
        return reshape(s, (-1, *(1,) * (x.ndim - axis - 1)))
    blocks = s.shape[axis] if s.ndim == x.ndim else 0
    if not blocks or x.shape[axis] % blocks or s.shape != (
            *x.shape[:axis], blocks, *x.shape[axis + 1:]):
        raise ValueError(f"{name}: expected one number, {x.shape[axis]} along axis {axis} or one "
                         f"for each block of shape {x.shape}, got shape {s.shape}")
    return repeat_interleave(s, x.shape[axis] // blocks, axis)
