"""Tensors from Python data, NumPy arrays and formulas.

Constant and counted tensors (zeros, full, arange, eye, ...) take no memory until computed.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, Scalar, Shape

from . import realize as door
from . import tracing
from .devices import HOST, bound, resolve
from .storage import Storage
from .tensor import (
    Tensor,
    as_dtype,
    check_axis,
    check_shape,
    default_dtype,
    mode,
    read,
    result,
    stop,
)

# -- from data ---------------------------------------------------------------------------------


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
           ) -> Tensor:
    """A tensor with a copy of data: nested lists of numbers, an array or a tensor.

    Without dtype, Python floats give the default dtype, ints int64 and bools bool; arrays and
    tensors keep theirs (bfloat16 of ml_dtypes too). Without device, tensors (and lists of them)
    stay where they are and all else goes to the default device. Torch7 Tensor(table), NumPy
    array. Raises TypeError for other data, ValueError for ragged lists.
    """
    wanted = None if dtype is None else as_dtype("tensor", dtype)
    if isinstance(data, Tensor) and data._storage.shared is None:
        n = stop(read(data)) if data.requires_grad else read(data)
        made = result(N.cast(n, wanted or data.dtype), False, data.device)
        made = made if device is None else placed("tensor", made, device)
    else:
        inside = list(_tensors(data)) if isinstance(data, list | tuple) else []
        common = _common(data, inside) if inside else None
        if inside:
            data, device = _plain(data), inside[0].device if device is None else device
        array, own = _to_array("tensor", data, wanted)
        own = own if common is None else _held(array, common)
        made = _from_array(array, own if wanted is None else wanted, resolve("tensor", device))
    return made.requires_grad_() if requires_grad else made


def placed(name: str, t: Tensor, device: Any) -> Tensor:
    """t on a device: itself if it is there, else a copy, computed now. Gradients flow back through
    the copy."""
    where = resolve(name, device)
    if t.device == where:
        return t
    if tracing.recording():
        raise RuntimeError(f"{name}: expected a copy to {where} outside of compiled functions and "
                           "loops, got one inside")
    n = read(t)
    whole = t if t._view is None else result(n, False, t.device)
    if n.value is None and n.op != "buffer":
        door.realize([whole._storage])
    leaf = n.value or whole._storage.leaf or n
    there = door.moved(leaf, where)
    if not (mode.grad and t.requires_grad):
        return result(there, False, where)
    n = N.node("mark", n.dtype, n.shape, (n,), ("on", where))
    n.value = there  # computed already, and still connected to where it came from
    return result(n, True, where)


def relocate(storage: Storage, device: str) -> None:
    """Takes a storage to another device, with every tensor that looks at it; computes its value."""
    if storage.device == device:
        return
    if tracing.recording():
        raise RuntimeError(f"to: expected a move to {device} outside of compiled functions and "
                           "loops, got one inside")
    door.realize([storage])
    leaf = storage.leaf
    assert leaf is not None
    storage.node, storage.device = door.moved(leaf, device), device
    storage.requires, storage.shared = False, None
    storage.version += 1


def _to_array(name: str, data: Any, wanted: DType | None) -> tuple[np.ndarray, DType]:
    """An array and the dtype that data has by itself."""
    if isinstance(data, np.ndarray | np.generic | Tensor):
        array = np.asarray(data)
        if array.dtype.name == "bfloat16":  # of ml_dtypes, as JAX has it
            return array, dt.bfloat16
        return array, dt.from_numpy(array.dtype)
    try:
        array = np.asarray(data)
    except ValueError:
        raise ValueError(f"{name}: expected nested lists of equal lengths, got ragged ones"
                         ) from None
    if array.dtype.kind not in "biufc":
        if array.dtype.kind == "O" and hasattr(data, "isna") and np.any(data.isna()):
            raise TypeError(f"{name}: expected numbers, got {type(data).__name__} with missing "
                            "values; fillna() first, or astype('float64') for NaN")
        raise TypeError(f"{name}: expected numbers, got {type(data).__name__} of "
                        f"{array.dtype.name}")
    if hasattr(data, "__array__") or hasattr(data, "__array_interface__"):
        return array, dt.from_numpy(array.dtype)
    if array.dtype.kind in "fc" and not _strong(data):
        own = default_dtype()
        return array, own.complex if array.dtype.kind == "c" else own
    return array, dt.from_numpy(array.dtype)


def _strong(data: Any) -> bool:
    """Does the first number of nested lists bring a NumPy dtype of its own?"""
    while isinstance(data, list | tuple) and data:
        data = data[0]
    return isinstance(data, np.ndarray | np.generic)


def _tensors(data: Any) -> Iterator[Tensor]:
    """The tensors in nested lists."""
    for x in data:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, list | tuple):
            yield from _tensors(x)


def _common(data: Any, inside: list[Tensor]) -> DType | None:
    """The dtype of tensors in nested lists; None if NumPy's arrays or numbers stand beside."""
    ends = [data]
    for x in ends:
        if isinstance(x, list | tuple):
            ends.extend(x)
        elif isinstance(x, np.ndarray | np.generic):
            return None
    return functools.reduce(dt.promote, (t.dtype for t in inside))


def _held(array: np.ndarray, found: DType) -> DType:
    """The dtype of tensors beside Python numbers, which are weak: these raise its kind alone."""
    if array.dtype.kind == "c" and not found.is_complex:
        return (found if found.is_inexact else default_dtype()).complex
    if array.dtype.kind == "f" and not found.is_inexact:
        return default_dtype()
    return dt.int64 if array.dtype.kind in "iu" and found is dt.bool_ else found


def _plain(data: Any) -> Any:
    if isinstance(data, list | tuple):
        return [_plain(x) for x in data]
    return data.numpy() if isinstance(data, Tensor) else data


def _from_array(array: np.ndarray, dtype: DType, device: str) -> Tensor:
    """A tensor with a copy of the array's values as dtype."""
    if array.dtype.kind == "c" and not dtype.is_complex:
        raise TypeError(f"tensor: expected a complex dtype for complex data, got {dtype.name}")
    if dtype is dt.bfloat16:
        wide = door.leaf_of(array.astype(np.float32), dt.float32, device)
        return result(N.cast(wide, dtype), False, device)
    with np.errstate(over="ignore", invalid="ignore"):
        leaf = door.leaf_of(array.astype(dtype.numpy, copy=False), dtype, device)
    return result(leaf, False, device)


def asarray(data: Any, dtype: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor of data: a tensor gives itself, a writable C-contiguous NumPy array is shared, all
    else is copied. NumPy asarray.

    copy: True never shares, False raises ValueError where a copy would be needed.
    """
    wanted = None if dtype is None else as_dtype("asarray", dtype)
    if not isinstance(data, Tensor) and hasattr(data, "__cuda_array_interface__"):
        data = importlib.import_module("flambeau.foreign").from_interface(data)
        if copy is not None:
            return tensor(data, wanted) if copy else data
    if isinstance(data, Tensor) and not copy and wanted in (None, data.dtype):
        return data
    if (isinstance(data, np.ndarray) and not copy and _shareable(data)
            and wanted in (None, dt.from_numpy(data.dtype)) and resolve("asarray") == HOST):
        return from_numpy(data)
    if copy is False:
        raise ValueError(f"asarray: expected data that can be shared, got {type(data).__name__}")
    return data.to(wanted) if isinstance(data, Tensor) and not copy else tensor(data, wanted)


def _shareable(array: np.ndarray) -> bool:
    flags = array.flags
    return (flags.c_contiguous and flags.writeable and flags.aligned and array.dtype.isnative
            and array.dtype.kind != "V")  # bfloat16 of ml_dtypes


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor over the array's memory: in-place changes on either side show on the other.

    What is lazily computed from the tensor reads the memory when it is computed. Raises TypeError
    for other things than arrays, ValueError for memory that is not C-contiguous and writable.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(array).__name__}")
    dtype = dt.from_numpy(array.dtype)
    if not _shareable(array):
        raise ValueError("from_numpy: expected a writable C-contiguous array, got one of shape "
                         f"{array.shape} with strides {array.strides}; fb.tensor copies")
    made = result(door.shared_leaf(array, dtype))
    made._storage.shared = array
    return made


def owning(array: np.ndarray, device: str = "cpu") -> Tensor:
    """A tensor over the memory of an array that nobody else has: no copy where it is contiguous."""
    if device != "cpu":
        return tensor(array, device=device)
    array = np.ascontiguousarray(array)
    return result(door.shared_leaf(array, dt.from_numpy(array.dtype)))


# -- constants ---------------------------------------------------------------------------------


_SPECIAL = frozenset((0, 1, -1, 2))
_LIMITS = {d: (np.iinfo(d.numpy).min, np.iinfo(d.numpy).max)
           for d in dt.DTYPES if d.is_integer}


def number(name: str, value: Any, dtype: DType, shape: Shape = (), const: bool = False) -> Node:
    """A Python number as a node of that dtype and shape: an argument of the program, or a constant
    if told so or if it is one that the compiler may use. Raises OverflowError where an integer
    dtype does not hold it."""
    if dtype.is_integer:
        low, high = _LIMITS[dtype]
        if not low <= value <= high:
            raise OverflowError(f"{name}: expected an integer that {dtype.name} holds, "
                                f"got {value}")
    if const or dtype is dt.bool_ or value in _SPECIAL:
        return constant(dtype, value, shape)
    if dtype.kind == "c":
        z = complex(value)
        parts = (number(name, part, dtype.real, shape) for part in (z.real, z.imag))
        return N.elementwise("complex", *parts)
    n = N.fresh("scalar", dtype, (), (), Scalar(value))  # which nobody else can have
    if not shape:
        return n
    ones = (1,) * len(shape)
    n = N.fresh("reshape", dtype, ones, (n,), None)
    return n if shape == ones else N.fresh("expand", dtype, shape, (n,), None)


def constant(dtype: DType, value: Any, shape: Shape = ()) -> Node:
    """A constant known to the compiler, repeated over shape; recent ones are remembered."""
    return _constant(dtype, N.encode(dtype, value), shape)


@lru_cache(maxsize=4096)
def _constant(dtype: DType, bits: int, shape: Shape) -> Node:
    return N.expand_to(N.node("const", dtype, (), (), bits), shape)


def _finish(n: Node, device: Any, requires_grad: bool, name: str) -> Tensor:
    where = resolve(name, device)
    made = result(bound(n, where), False, where)
    return made.requires_grad_() if requires_grad else made


def _dtype(name: str, dtype: Any) -> DType:
    return default_dtype() if dtype is None else as_dtype(name, dtype)


def zeros(*shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
          ) -> Tensor:
    """Zeros of the default dtype or dtype; shape as `zeros(2, 3)` or `zeros((2, 3))`."""
    n = constant(_dtype("zeros", dtype), 0, check_shape("zeros", shape))
    return _finish(n, device, requires_grad, "zeros")


def ones(*shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
         ) -> Tensor:
    """Ones of the default dtype or dtype; shape as `ones(2, 3)` or `ones((2, 3))`."""
    n = constant(_dtype("ones", dtype), 1, check_shape("ones", shape))
    return _finish(n, device, requires_grad, "ones")


def empty(*shape: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False
          ) -> Tensor:
    """A tensor to be filled; its values are zeros (Torch7 and NumPy leave memory as found)."""
    return zeros(*shape, dtype=dtype, device=device, requires_grad=requires_grad)


def full(shape: Any, fill_value: Any, dtype: Any = None, device: Any = None,
         requires_grad: bool = False) -> Tensor:
    """A tensor filled with a number or a broadcast tensor; dtype as fb.tensor(fill_value)."""
    if not hasattr(shape, "__len__"):
        shape = (shape,)
    wanted = check_shape("full", tuple(shape))
    plain = isinstance(fill_value, int | float | complex)
    value = None if plain else tensor(fill_value, dtype, device)
    if value is not None:
        return result(N.expand_to(read(value), wanted), False, value.device)
    else:
        default = default_dtype()
        own = {bool: dt.bool_, int: dt.int64, complex: default.complex}.get(type(fill_value),
                                                                            default)
        own = own if dtype is None else as_dtype("full", dtype)
        n = number("full", fill_value, own, wanted)
    return _finish(n, device, requires_grad, "full")


def zeros_like(x: Tensor, dtype: Any = None, requires_grad: bool = False, device: Any = None
               ) -> Tensor:
    """Zeros with the shape and dtype of x, on its device unless told."""
    return zeros(x.shape, dtype=x.dtype if dtype is None else dtype, requires_grad=requires_grad,
                 device=x.device if device is None else device)


def ones_like(x: Tensor, dtype: Any = None, requires_grad: bool = False, device: Any = None
               ) -> Tensor:
    """Ones with the shape and dtype of x, on its device unless told."""
    return ones(x.shape, dtype=x.dtype if dtype is None else dtype, requires_grad=requires_grad,
                device=x.device if device is None else device)


def empty_like(x: Tensor, dtype: Any = None, requires_grad: bool = False, device: Any = None
               ) -> Tensor:
    """A tensor to be filled (zeros) with the shape and dtype of x, on its device unless told."""
    return zeros_like(x, dtype, requires_grad, device)


def full_like(x: Tensor, fill_value: Any, dtype: Any = None, requires_grad: bool = False,
              device: Any = None) -> Tensor:
    """fill_value everywhere, with the shape and dtype of x, on its device unless told."""
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype,
                x.device if device is None else device, requires_grad)


# -- counted -----------------------------------------------------------------------------------


def iota(dtype: DType, shape: Shape, axis: int) -> Node:
    """The node of the index along an axis."""
    return N.node("iota", dtype, shape, (), axis)


def flat_index(dtype: DType, shape: Shape) -> Node:
    """The node of the row-major position of each element."""
    size = math.prod(shape)
    return N.reshape(iota(dtype, (size,), 0), shape)


def _ramp(start: float, step: float, count: int, dtype: DType) -> Node:
    """start + i * step, calculated in float64 for floats (a last place matters to comparers)."""
    wide = dt.float64 if dtype.is_inexact else dtype
    n = iota(wide, (count,), 0)
    if step != 1:
        n = N.elementwise("mul", n, number("arange", step, wide, (count,)))
    if start != 0:
        n = N.elementwise("add", n, number("arange", start, wide, (count,)))
    return N.cast(n, dtype)


def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None,
           requires_grad: bool = False, device: Any = None) -> Tensor:
    """start, start + step, ... below stop (1-d). int64 for ints, else the default dtype.

    NumPy arange; Torch7 range is `fb.range_`, with its end included. Raises ValueError for step 0.
    """
    if stop is None:
        start, stop = 0, start
    start, stop, step = (_plain_number("arange", v) for v in (start, stop, step))
    if step == 0:
        raise ValueError("arange: expected a step other than 0, got 0")
    if dtype is None:
        integers = all(isinstance(v, int) for v in (start, stop, step))
        wanted = dt.int64 if integers else default_dtype()
    else:
        wanted = as_dtype("arange", dtype)
    count = max(0, math.ceil((stop - start) / step))
    return _finish(_ramp(start, step, count, wanted), device, requires_grad, "arange")


def _plain_number(name: str, value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, np.generic):
        return value
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{name}: expected numbers, got {type(value).__name__}")


def range_(start: float, stop: float, step: float = 1, dtype: Any = None, device: Any = None
           ) -> Tensor:
    """start, start + step, ... up to and including stop (Torch7 range)."""
    if step == 0 or (stop - start) / step < 0:
        raise ValueError(f"range: expected a step from {start} towards {stop}, got {step}")
    count = math.floor((stop - start) / step) + 1
    return _finish(_ramp(start, step, count, _dtype("range", dtype)), device, False, "range")


def linspace(start: float, stop: float, num: int = 100, dtype: Any = None, endpoint: bool = True,
             device: Any = None) -> Tensor:
    """num evenly spaced numbers from start to stop, both included (1-d).

    The default num is Torch7's 100. NumPy linspace. Raises ValueError for num below 0.
    """
    if num < 0:
        raise ValueError(f"linspace: expected num of 0 or more, got {num}")
    start, stop = float(start), float(stop)
    gaps = num - 1 if endpoint else num
    wanted = _dtype("linspace", dtype)
    n = _ramp(start, (stop - start) / gaps if gaps > 0 else 0.0, num, dt.float64)
    if endpoint and num > 1:  # the end exactly, as NumPy does
        last = N.elementwise("eq", iota(dt.int64, (num,), 0), constant(dt.int64, num - 1, (num,)))
        n = N.elementwise("where", last, number("linspace", stop, dt.float64, (num,)), n)
    return _finish(N.cast(n, wanted), device, False, "linspace")


def logspace(start: float, stop: float, num: int = 100, base: float = 10.0, dtype: Any = None,
             device: Any = None) -> Tensor:
    """base ** linspace(start, stop, num) (1-d). NumPy and Torch7 logspace."""
    powers = read(linspace(start, stop, num, dtype=dt.float64, device=HOST))
    n = N.elementwise("pow", number("logspace", base, dt.float64, powers.shape), powers)
    return _finish(N.cast(n, _dtype("logspace", dtype)), device, False, "logspace")


def eye(n: int, m: int | None = None, k: int = 0, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones on the k-th diagonal of an n x m matrix (m = n). NumPy and Torch7 eye."""
    shape = check_shape("eye", (n, n if m is None else m))
    value = N.cast(_compare_axes("eq", shape, k), _dtype("eye", dtype))
    return _finish(value, device, False, "eye")


def _compare_axes(op: str, shape: Shape, k: int) -> Node:
    """Where column (op) row + k holds, on the last two axes."""
    rows, columns = len(shape) - 2, len(shape) - 1
    row = iota(dt.int64, shape, rows)
    k = max(-shape[rows], min(k, shape[columns]))  # further out is no other, and may not fit
    if k:
        row = N.elementwise("add", row, constant(dt.int64, k, shape))
    return N.elementwise(op, iota(dt.int64, shape, columns), row)


def tri(n: int, m: int | None = None, k: int = 0, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones at and below the k-th diagonal of an n x m matrix. NumPy tri."""
    shape = check_shape("tri", (n, n if m is None else m))
    value = N.cast(_compare_axes("le", shape, k), _dtype("tri", dtype))
    return _finish(value, device, False, "tri")


def indices(dimensions: Any, dtype: Any = dt.int64, device: Any = None) -> Tensor:
    """The index along each axis of a grid: shape (len(dimensions), *dimensions). NumPy indices."""
    shape = check_shape("indices", tuple(dimensions))
    wanted = as_dtype("indices", dtype)
    if not shape:
        return zeros(0, dtype=wanted, device=device)
    grids = [N.reshape(iota(wanted, shape, axis), (1, *shape)) for axis in range(len(shape))]
    return _finish(N.concat(grids, 0), device, False, "indices")


def iota_like(x: Tensor, axis: int = -1, dtype: Any = dt.int64) -> Tensor:
    """The index along one axis, in the shape of x, on its device."""
    axis = check_axis("iota_like", axis, x.ndim)
    n = iota(as_dtype("iota_like", dtype), x.shape, axis)
    return _finish(n, x.device, False, "iota_like")
