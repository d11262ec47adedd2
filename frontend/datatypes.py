"""Questions about dtypes and shapes: promotion, casts, kinds, limits of numbers, broadcasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Shape

from . import recording
from .tensor import Tensor, as_dtype, check_shape, default_dtype

_PYTHON = (bool, int, float, complex)


@dataclass(frozen=True)
class FloatInfo:
    """Limits of a floating dtype, or of a complex one's parts."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType

    @property
    def tiny(self) -> float:
        """The smallest normal number, by NumPy's other name."""
        return self.smallest_normal


@dataclass(frozen=True)
class IntegerInfo:
    """Limits of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: DType


def _dtype_of(name: str, x: Any) -> DType:
    return x.dtype if isinstance(x, Tensor) else as_dtype(name, x)


def finfo(type: Any = None) -> FloatInfo:
    """Limits of a floating or complex dtype, or of a tensor's. NumPy finfo.

    Raises TypeError for other dtypes.
    """
    found = default_dtype() if type is None else _dtype_of("finfo", type)
    if not found.is_inexact:
        raise TypeError(f"finfo: expected a floating or complex dtype, got {found.name}")
    kind = found.real
    if kind is dt.bfloat16:
        return FloatInfo(16, 2.0 ** -7, 3.3895313892515355e38, -3.3895313892515355e38, 2.0 ** -126,
                         kind)
    info = np.finfo(kind.numpy)
    return FloatInfo(int(info.bits), float(info.eps), float(info.max), float(info.min),
                     float(info.smallest_normal), kind)


def iinfo(type: Any) -> IntegerInfo:
    """Limits of an integer dtype, or of a tensor's. NumPy iinfo.

    Raises TypeError for other dtypes.
    """
    found = _dtype_of("iinfo", type)
    if not found.is_integer:
        raise TypeError(f"iinfo: expected an integer dtype, got {found.name}")
    info = np.iinfo(found.numpy)
    return IntegerInfo(int(info.bits), int(info.max), int(info.min), found)


def can_cast(from_: Any, to: Any) -> bool:
    """Does promotion of a dtype (or a tensor's) with `to` give `to`? NumPy can_cast."""
    target = as_dtype("can_cast", to)
    return dt.promote(_dtype_of("can_cast", from_), target) is target


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that an operation on these tensors, dtypes and Python numbers gives.

    NumPy result_type. Raises ValueError without any of them.
    """
    if not arrays_and_dtypes:
        raise ValueError("result_type: expected at least one operand, got none")
    return recording.common_dtype("result_type", tuple(
        [x if type(x) in _PYTHON else _dtype_of("result_type", x) for x in arrays_and_dtypes]))


_KINDS = {"bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu",
          "real floating": "f", "complex floating": "c", "numeric": "iufc"}


def isdtype(dtype: Any, kind: Any) -> bool:
    """Is a dtype of that kind: a dtype, a tuple of kinds, or "bool", "signed integer", "unsigned
    integer", "integral", "real floating", "complex floating" or "numeric"? NumPy isdtype.

    Raises ValueError for another kind.
    """
    found = as_dtype("isdtype", dtype)
    if isinstance(kind, tuple):
        return any(isdtype(found, k) for k in kind)
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise ValueError(f"isdtype: expected a kind such as 'integral', got {kind!r}")
        return found.kind in _KINDS[kind]
    return found is as_dtype("isdtype", kind)


def broadcast_shapes(*shapes: Any) -> Shape:
    """The shape to which shapes (tuples or single extents) broadcast. NumPy broadcast_shapes.

    Raises ValueError where they do not.
    """
    name = "broadcast_shapes"
    return recording.broadcast_shapes(name, *[check_shape(name, (s,)) for s in shapes])
