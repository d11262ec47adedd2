"""Creation functions, dtypes and constants of the Array API standard."""

from __future__ import annotations

import math
from typing import Any

import flambeau as fb
from flambeau import Tensor
from flambeau import bool_ as bool
from flambeau import complex64 as complex64
from flambeau import complex128 as complex128
from flambeau import float32 as float32
from flambeau import float64 as float64
from flambeau import int8 as int8
from flambeau import int16 as int16
from flambeau import int32 as int32
from flambeau import int64 as int64
from flambeau import uint8 as uint8
from flambeau import uint16 as uint16
from flambeau import uint32 as uint32
from flambeau import uint64 as uint64

e, inf, nan, pi, newaxis = math.e, math.inf, math.nan, math.pi, None


def arange(start: float, /, stop: float | None = None, step: float = 1, *, dtype: Any = None,
           device: Any = None) -> Tensor:
    """start, start + step, ... below stop."""
    return fb.arange(start, stop, step, dtype=dtype, device=device)


def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Tensor:
    """A tensor of obj: nested sequences of numbers, a buffer, an array or a tensor.

    copy: True never shares memory, False raises ValueError where a copy would be needed.
    """
    found = fb.asarray(obj, dtype, copy)
    return found if device is None else found.to(device=device)


def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor to be filled; its values are zeros."""
    return fb.empty(shape, dtype=dtype, device=device)


def empty_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor to be filled (zeros) with the shape of x."""
    return zeros_like(x, dtype=dtype, device=device)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None,
        device: Any = None) -> Tensor:
    """Ones on the k-th diagonal."""
    return fb.eye(n_rows, n_cols, k, dtype=dtype, device=device)


def from_dlpack(x: Any, /, *, device: Any = None, copy: Any = None) -> Tensor:
    """A tensor of what another library offers by DLPack."""
    return fb.from_dlpack(x, device=device, copy=copy)


def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor filled with a number."""
    return fb.full(shape, fill_value, dtype=dtype, device=device)


def full_like(x: Tensor, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """fill_value everywhere, with the shape of x."""
    return fb.full(x.shape, fill_value, dtype=dtype or x.dtype, device=device or x.device)


def linspace(start: complex, stop: complex, /, num: int, *, dtype: Any = None, device: Any = None,
             endpoint: Any = True) -> Tensor:
    """num evenly spaced numbers from start to stop."""
    if isinstance(start, complex) or isinstance(stop, complex):
        a, b = complex(start), complex(stop)
        kind = fb.result_type(1j) if dtype is None else dtype
        parts = (fb.linspace(u, v, num, dtype=float64, endpoint=endpoint, device=device)
                 for u, v in ((a.real, b.real), (a.imag, b.imag)))
        return fb.complex(*parts).to(kind)  # type: ignore[no-any-return]
    if dtype is not None and fb.isdtype(dtype, "complex floating"):
        real = fb.linspace(start, stop, num, dtype=float64, endpoint=endpoint, device=device)
        return real.to(dtype)  # type: ignore[no-any-return]
    return fb.linspace(start, stop, num, dtype=dtype, endpoint=endpoint, device=device)


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinates on a grid."""
    return fb.meshgrid(*arrays, indexing=indexing)


def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones."""
    return fb.ones(shape, dtype=dtype, device=device)


def ones_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones with the shape of x."""
    return fb.ones(x.shape, dtype=dtype or x.dtype, device=device or x.device)


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """Zeros above the k-th diagonal."""
    return fb.tril(x, k)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """Zeros below the k-th diagonal."""
    return fb.triu(x, k)


def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros."""
    return fb.zeros(shape, dtype=dtype, device=device)


def zeros_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros with the shape of x."""
    return fb.zeros(x.shape, dtype=dtype or x.dtype, device=device or x.device)


# -- dtypes ----------------------------------------------------------------------------------------


def astype(x: Tensor, dtype: Any, /, *, copy: Any = True, device: Any = None) -> Tensor:
    """x as another dtype; x itself where nothing changes and copy is False. NumPy arrays become
    tensors: scikit-learn mixes them in."""
    x = x if isinstance(x, Tensor) else fb.asarray(x)
    return x.to(dtype=dtype, device=device, copy=copy)  # type: ignore[no-any-return]


def can_cast(from_: Any, to: Any, /) -> Any:
    """Does promotion with `to` give `to`?"""
    return fb.can_cast(from_, to)


def finfo(type: Any, /) -> Any:
    """Limits of a floating or complex dtype."""
    return fb.finfo(type)


def iinfo(type: Any, /) -> Any:
    """Limits of an integer dtype."""
    return fb.iinfo(type)


def isdtype(dtype: Any, kind: Any) -> Any:
    """Is a dtype of that kind?"""
    return fb.isdtype(dtype, kind)


def result_type(*arrays_and_dtypes: Any) -> Any:
    """The dtype that an operation on these gives."""
    return fb.result_type(*arrays_and_dtypes)


__all__ = [
    "arange", "asarray", "astype", "bool", "can_cast", "complex64", "complex128", "e", "empty",
    "empty_like", "eye", "finfo", "float32", "float64", "from_dlpack", "full", "full_like",
    "iinfo", "inf", "int8", "int16", "int32", "int64", "isdtype", "linspace", "meshgrid", "nan",
    "newaxis", "ones", "ones_like", "pi", "result_type", "tril", "triu", "uint8", "uint16",
    "uint32", "uint64", "zeros", "zeros_like",
]
