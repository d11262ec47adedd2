"""Tensors on a GPU as PyTorch, CuPy and Numba take them, and theirs as ours, without a copy.

`__cuda_array_interface__` (version 3) and DLPack, with the order of streams that both ask for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import buffer
from flambeau.runtime import devices
from flambeau.runtime.cuda import drivers, streams
from flambeau.runtime.cuda import sharing as raw

from . import realize as door
from .tensor import Tensor, result
from .views import contiguous_strides

_CODES = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}  # DLPack's kinds of numbers
_BFLOAT = (4, 16)


def _kind(dtype: DType) -> tuple[int, int]:
    return _BFLOAT if dtype is dt.bfloat16 else (_CODES[dtype.kind], 8 * dtype.itemsize)


def _dtype(name: str, kind: tuple[int, int]) -> DType:
    for dtype in dt.DTYPES:
        if _kind(dtype) == kind:
            return dtype
    raise TypeError(f"{name}: expected a dtype of Flambeau's, got DLPack type {kind}")


def _memory(name: str, t: Tensor) -> tuple[Any, tuple[int, ...], int]:
    """The tensor's memory, now computed, its strides and offset in elements."""
    if not t.is_cuda:
        raise AttributeError(f"{name}: expected a tensor on a GPU, got one on {t.device}")
    if t.requires_grad:
        raise RuntimeError(f"{name}: expected a tensor without gradients, got one that requires "
                           "them; use detach()")
    door.realize([t._storage])
    leaf = t._storage.leaf
    assert leaf is not None
    strides, offset = t._layout()
    return leaf.arg, strides, offset


def interface(self: Tensor) -> dict[str, Any]:
    """The `__cuda_array_interface__` of a tensor on a GPU: computed now, never written in place
    afterwards. Raises TypeError for bfloat16, which the protocol lacks."""
    memory, strides, offset = _memory("__cuda_array_interface__", self)
    if self.dtype is dt.bfloat16:
        raise TypeError("__cuda_array_interface__: expected a dtype of NumPy's, got bfloat16; "
                        "use DLPack")
    memory.exported = True
    size = self.dtype.itemsize
    plain = strides == contiguous_strides(self.shape)
    return {"shape": self.shape, "typestr": self.dtype.numpy.str, "version": 3,
            "data": (memory.pointer + offset * size, False),
            "strides": None if plain else tuple(s * size for s in strides),
            "stream": raw.stream_of(memory)}


def capsule(self: Tensor, stream: int | None = None) -> Any:
    """A DLPack capsule of a tensor on a GPU: computed now, in the order of the consumer's stream
    (a handle; -1: the consumer takes care), never written in place afterwards."""
    memory, strides, offset = _memory("__dlpack__", self)
    raw.show_to(memory, stream)
    return raw.capsule(memory, offset * self.dtype.itemsize, self.shape, strides, _kind(self.dtype))


def device_number(self: Tensor) -> tuple[int, int]:
    """The GPU in DLPack's numbers."""
    return raw.CUDA, int(self.device.partition(":")[2])


def from_capsule(x: Any) -> Tensor:
    """A tensor over GPU memory that another library offers by DLPack."""
    kind, index = x.__dlpack_device__()
    if int(kind) not in (raw.CUDA, raw.CUDA_MANAGED):
        raise BufferError(f"from_dlpack: expected memory of an NVIDIA GPU, got DLPack device "
                          f"{int(kind)}")
    drivers.check("from_dlpack", int(index))
    shared = raw.take(x.__dlpack__(stream=streams.current(int(index)).handle or raw.LEGACY))
    return _tensor("from_dlpack", shared)


def from_interface(x: Any) -> Tensor:
    """A tensor over GPU memory that another library offers by `__cuda_array_interface__`."""
    name = "asarray"
    given = x.__cuda_array_interface__
    numpy_type = np.dtype(given["typestr"])
    size = numpy_type.itemsize
    strides = given.get("strides")
    if strides is not None and any(s % size for s in strides):
        raise ValueError(f"{name}: expected strides of whole elements of {size} bytes, got "
                         f"{tuple(strides)}")
    index = int(getattr(getattr(x, "device", None), "index", None)
                or getattr(getattr(x, "device", None), "id", None) or drivers.current_device())
    drivers.check(name, index)
    raw.wait_for(index, given.get("stream"))
    dtype = dt.from_numpy(numpy_type)
    return _tensor(name, raw.Shared(
        given["data"][0] or 0, index, tuple(given["shape"]),
        None if strides is None else tuple(s // size for s in strides), _kind(dtype), x))


ALIGNED = 256  # bytes; kernels load vectors


def _tensor(name: str, shared: raw.Shared) -> Tensor:
    """A tensor over another library's memory; a copy where that is not aligned or not in order."""
    dtype, gpu = _dtype(name, shared.kind), devices.find(f"cuda:{shared.device}")
    strides = shared.strides or contiguous_strides(shared.shape)
    if 0 in shared.shape:
        length = 0
    else:
        if any(s < 0 for s in strides):
            raise ValueError(f"{name}: expected strides of 0 or more, got {strides}")
        length = 1 + sum((e - 1) * s for e, s in zip(shared.shape, strides))
    memory = gpu.wrap(shared.pointer, length * dtype.itemsize, shared.owner)
    if shared.pointer % ALIGNED:
        memory = devices.move(memory, gpu.name)
    plain = strides == contiguous_strides(shared.shape) or not length
    made = result(buffer(dtype, shared.shape if plain else (length,), memory), False, gpu.name)
    if plain:
        return made
    places = np.zeros(shared.shape, np.int64)
    for axis, stride in enumerate(strides):
        places += np.arange(shared.shape[axis]).reshape(-1, *[1] * (places.ndim - axis - 1)) * (
            stride)
    return made[places].realize()  # type: ignore[no-any-return]
