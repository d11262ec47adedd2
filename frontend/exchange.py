"""DLPack: tensors as other libraries take them, and theirs as ours."""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt

from .creation import asarray, placed, tensor
from .tensor import Tensor

_HOST = (1, 0)  # kDLCPU
_HOSTS = (1, 3)  # and kDLCUDAHost, page-locked


def _gpus() -> Any:
    """What knows the memory of GPUs: loaded when there is some."""
    return importlib.import_module("flambeau.foreign")


def dlpack(self: Tensor, *, stream: Any = None, max_version: tuple[int, int] | None = None,
           dl_device: tuple[Any, int] | None = None, copy: bool | None = None) -> Any:
    """A DLPack capsule with the values (Array API `__dlpack__`): read-only memory, or a copy for
    consumers older than DLPack 1.0, which cannot be told so. copy=False gives these the memory
    itself; who writes into it changes what pending expressions read.

    On a GPU `stream` is the consumer's, as DLPack has it, and the values are never written in place
    afterwards. Raises BufferError for bfloat16 on the host, for another device, and for negative
    strides if copy is False.
    """
    if self.is_cuda:
        if dl_device is not None and tuple(map(int, dl_device)) != dlpack_device(self):
            raise BufferError(f"dlpack: expected device {dlpack_device(self)}, got "
                              f"{tuple(map(int, dl_device))}; use to()")
        return _gpus().capsule(self.clone() if copy else self, stream)
    if self.dtype is dt.bfloat16:
        raise BufferError("dlpack: expected a dtype of NumPy's, got bfloat16")
    if dl_device is not None and tuple(map(int, dl_device)) != _HOST:
        raise BufferError(f"dlpack: expected device {_HOST}, got {tuple(dl_device)}")
    if stream is not None:
        raise BufferError(f"dlpack: expected no stream on the host, got {stream!r}")
    array = self.numpy()
    if any(s < 0 for s in array.strides):  # PyTorch ends the process over these
        if copy is False:
            raise BufferError("dlpack: expected strides of 0 or more without a copy, got "
                              f"{self.stride()}")
        copy = True
    old = max_version is None or max_version[0] < 1
    if old and copy is False and not array.flags.writeable:
        array = _writable(array)
    elif copy or (old and not array.flags.writeable):
        array = array.copy()
    return array.__dlpack__(max_version=max_version)


def _writable(array: np.ndarray) -> np.ndarray:
    """The same memory, for a format that knows no read-only memory."""
    if not array.size:
        return array.copy()
    first, end = np.lib.array_utils.byte_bounds(array)
    raw = (ctypes.c_char * (end - first)).from_address(first)
    raw.owner = array  # type: ignore[attr-defined]  # lives as long as what is made of it
    return np.ndarray(array.shape, array.dtype, memoryview(raw), array.ctypes.data - first,
                      array.strides)


def dlpack_device(self: Tensor) -> tuple[int, int]:
    """Where the values live, in DLPack's numbers. Array API `__dlpack_device__`."""
    return _gpus().device_number(self) if self.is_cuda else _HOST  # type: ignore[no-any-return]


def from_dlpack(x: Any, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor of what another library offers by DLPack; memory that may be written is shared.

    copy: True never shares, False raises ValueError where a copy would be needed.
    """
    if isinstance(x, Tensor):
        found = tensor(x) if copy else x
    elif int(x.__dlpack_device__()[0]) not in _HOSTS:
        found = _gpus().from_capsule(x)
        found = tensor(found) if copy else found
    else:
        array = np.from_dlpack(x) if copy is None else np.from_dlpack(x, copy=copy)
        found = asarray(array, copy=copy if copy is not None or array.flags.writeable else True)
    return found if device is None else placed("from_dlpack", found, device)
