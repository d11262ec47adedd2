"""Dtype and device of tensors: to, float, long, type_as, bitcast, and filling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType

from .creation import number, placed
from .elementwise import cast, check_real_cast
from .indexing import as_value
from .recording import as_tensor, broadcast_shapes
from .tensor import (
    Tensor,
    as_dtype,
    assign,
    check_writable,
    derive,
    read,
    write,
)

_DEVICES = ("cpu", "cuda")


def to(x: Tensor, *targets: Any, dtype: Any = None, device: Any = None, copy: bool = False
       ) -> Tensor:
    """x as another dtype or on another device, `x.to(fb.float64)`, `x.to("cuda:1")`, or like
    another tensor, `x.to(other)`; x itself when nothing changes, unless copy.

    A copy to another device is made now, from computed values; gradients flow back through it.
    Raises ValueError for an unknown device, RuntimeError for one that is not there.
    """
    for target in targets:
        if isinstance(target, Tensor):
            dtype, device = target.dtype, target.device
        elif isinstance(target, str) and target.split(":")[0] in _DEVICES:
            device = target
        elif target is not None:
            dtype = target
    wanted = x.dtype if dtype is None else as_dtype("to", dtype)
    check_real_cast("to", x.dtype, wanted)
    there = x if device is None else placed("to", x, device)
    if wanted is x.dtype and (there is not x or not copy):
        return there
    return derive(N.cast(read(there), wanted), there)


def cuda(x: Tensor, device: Any = None) -> Tensor:
    """x on a GPU: the current one, a number or "cuda:N". Torch7 cuda.

    Raises RuntimeError where there is no such device.
    """
    return placed("cuda", x, "cuda" if device is None else
                  f"cuda:{device}" if isinstance(device, int) else device)


def cpu(x: Tensor) -> Tensor:
    """x in the host's memory."""
    return placed("cpu", x, "cpu")


def astype(x: Tensor, dtype: Any, copy: bool = True) -> Tensor:
    """x as another dtype; a copy unless told otherwise. NumPy astype."""
    return to(x, dtype=dtype, copy=copy)


def _caster(dtype: DType, name: str, torch7: str) -> Callable[[Tensor], Tensor]:
    def method(self: Tensor) -> Tensor:
        return cast(self, dtype, name)
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"This tensor as {dtype.name}; itself if it is already. {torch7}."
    return method


CASTS = {
    "float": _caster(dt.float32, "float", "Torch7 float"),
    "double": _caster(dt.float64, "double", "Torch7 double"),
    "half": _caster(dt.float16, "half", "Torch7 half"),
    "bfloat16": _caster(dt.bfloat16, "bfloat16", "PyTorch bfloat16"),
    "long": _caster(dt.int64, "long", "Torch7 long"),
    "int": _caster(dt.int32, "int", "Torch7 int"),
    "short": _caster(dt.int16, "short", "Torch7 short"),
    "char": _caster(dt.int8, "char", "Torch7 char"),
    "byte": _caster(dt.uint8, "byte", "Torch7 byte"),
    "bool": _caster(dt.bool_, "bool", "PyTorch bool"),
    "cfloat": _caster(dt.complex64, "cfloat", "PyTorch cfloat"),
    "cdouble": _caster(dt.complex128, "cdouble", "PyTorch cdouble"),
}


def type_as(x: Tensor, other: Tensor) -> Tensor:
    """x as other's dtype. Torch7 typeAs."""
    return cast(x, other.dtype)


def type_(x: Tensor, dtype: Any = None) -> Any:
    """The dtype's name, or x as dtype. Torch7 type."""
    return x.dtype.name if dtype is None else cast(x, as_dtype("type", dtype), "type")


def bitcast(x: Any, dtype: Any) -> Tensor:
    """The same bits as another dtype of the same size, a copy. NumPy view(dtype).

    Bools have the bits of 0 and 1. Raises ValueError for another size, or for integers as bools.
    """
    t = as_tensor("bitcast", x)
    wanted = as_dtype("bitcast", dtype)
    if wanted is t.dtype:
        return t
    if t.dtype is dt.bool_ and wanted in (dt.int8, dt.uint8):
        return cast(t, wanted, "bitcast")
    if wanted.itemsize != t.dtype.itemsize or dt.bool_ in (wanted, t.dtype) or (
            wanted.is_complex or t.dtype.is_complex):
        raise ValueError(f"bitcast: expected a dtype of {t.dtype.itemsize} bytes, got "
                         f"{wanted.name}")
    return derive(N.elementwise("bitcast", read(t), dtype=wanted), t)


# -- filling ---------------------------------------------------------------------------------------


def fill_(self: Tensor, value: Any) -> Tensor:
    """Every element becomes a number or a 0-d tensor. Torch7 fill."""
    check_writable("fill_", self)
    if isinstance(value, Tensor):
        if value.ndim:
            raise ValueError(f"fill_: expected a number or 0-d tensor, got shape {value.shape}")
        return assign("fill_", self, value)
    if not hasattr(value, "__float__") and not isinstance(value, complex):
        raise TypeError(f"fill_: expected a number or 0-d tensor, got {type(value).__name__}")
    if self.dtype.is_integer:
        value = int(value)
    return write(self, number("fill_", value, self.dtype, self.shape))


def zero_(self: Tensor) -> Tensor:
    """Every element becomes 0. Torch7 zero."""
    return fill_(self, 0)


def copy_(self: Tensor, source: Any) -> Tensor:
    """Elements from source, which broadcasts; any dtype converts, from any device. Torch7 copy.

    Raises ValueError when source does not broadcast to this shape.
    """
    check_writable("copy_", self)
    v = placed("copy_", as_value(self, source, "copy_"), self.device)
    if broadcast_shapes("copy_", v.shape, self.shape) != self.shape:
        raise ValueError(f"copy_: expected a source that broadcasts to {self.shape}, got {v.shape}")
    return assign("copy_", self, v)
