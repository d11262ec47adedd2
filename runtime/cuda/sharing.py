"""Device memory shared with other libraries: DLPack capsules both ways, and the order of streams.

Both sides use the primary context, so an address means the same to both. A capsule is DLPack's
unversioned one, which all libraries take.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from flambeau.runtime.cuda import drivers, streams

CUDA, CUDA_MANAGED = 2, 13  # kDLCUDA, kDLCUDAManaged


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("index", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("device", _Device), ("ndim", ctypes.c_int32),
                ("dtype", _Type), ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64))


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))

_api = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_NAME, _USED = b"dltensor", b"used_dltensor"  # kept alive: capsules hold the pointers


@dataclass(frozen=True)
class Shared:
    """Memory of another library: strides in elements; owner keeps it alive."""

    pointer: int
    device: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    kind: tuple[int, int]  # DLPack's type code and bits
    owner: Any


_exported: dict[int, Any] = {}  # what a consumer holds, by the managed tensor's address


def _let_go(managed: Any) -> None:
    _exported.pop(ctypes.addressof(managed.contents), None)


_deleter = _Deleter(_let_go)


def _unused(capsule: int) -> None:
    """A capsule dies: if nobody took what is in it, it goes too. (A borrowed, dying object.)"""
    if _is_named(ctypes.c_void_p(capsule), _NAME):
        _exported.pop(int(_pointer(ctypes.c_void_p(capsule), _NAME)), None)


_is_named = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_IsValid", _api))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", _api))
_rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_SetName", _api))
_destructor = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_unused)


def capsule(memory: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...],
            kind: tuple[int, int]) -> Any:
    """A DLPack capsule over device memory, which it keeps alive. offset in bytes, strides in
    elements."""
    dims = ctypes.c_int64 * max(1, len(shape))
    extents, steps = dims(*shape), dims(*strides)
    tensor = _Tensor(memory.pointer + offset, _Device(CUDA, memory.source.index), len(shape),
                     _Type(*kind, 1), extents, steps, 0)
    managed = _Managed(tensor, None, _deleter)
    address = ctypes.addressof(managed)
    _exported[address] = managed, extents, steps, memory
    memory.exported = True
    return _api.PyCapsule_New(address, _NAME, ctypes.cast(_destructor, ctypes.c_void_p))


class _Owner:
    """Calls the deleter of a capsule's content when nobody needs it any more."""

    def __init__(self, managed: Any) -> None:
        self.managed = managed

    def __del__(self) -> None:
        deleter = self.managed.deleter
        if deleter:
            deleter(ctypes.byref(self.managed))


def take(given: Any) -> Shared:
    """What is in a capsule, which is then used up.

    Raises BufferError for a capsule that is used or holds memory of no NVIDIA GPU.
    """
    if not _api.PyCapsule_IsValid(ctypes.py_object(given), _NAME):
        raise BufferError("from_dlpack: expected an unused DLPack capsule, got another one")
    managed = _Managed.from_address(
        _api.PyCapsule_GetPointer(ctypes.py_object(given), _NAME))
    t = managed.tensor
    if t.device.kind not in (CUDA, CUDA_MANAGED) or t.dtype.lanes != 1:
        raise BufferError(f"from_dlpack: expected memory of an NVIDIA GPU, got DLPack device "
                          f"{t.device.kind} with {t.dtype.lanes} lanes")
    _rename(given, _USED)
    shape = tuple(t.shape[:t.ndim])
    strides = tuple(t.strides[:t.ndim]) if t.strides else None
    return Shared((t.data or 0) + t.byte_offset, t.device.index, shape, strides,
                  (t.dtype.code, t.dtype.bits), _Owner(managed))


# -- the order of streams --------------------------------------------------------------------------

LEGACY = 1  # the default stream, in both protocols


def show_to(memory: Any, stream: int | None) -> None:
    """Orders a consumer's stream (a handle; None: the default one; -1: it takes care itself) after
    what was done with memory."""
    if stream == -1 or memory.block is None:
        return
    last = memory.block.last
    # all of our streams wait for the default one and it waits for them
    if stream not in (None, 0, LEGACY) and stream != last.handle:
        last.synchronize()


def wait_for(device: int, stream: int | None) -> None:
    """Orders our work on a device after a producer's stream (None: nothing to wait for)."""
    here = streams.current(device)
    if stream not in (None, 0, LEGACY) and stream != here.handle:
        with drivers.active(device):
            drivers.wait()


def stream_of(memory: Any) -> int:
    """The stream that used memory last, as `__cuda_array_interface__` names it."""
    handle = memory.block.last.handle if memory.block is not None else 0
    return int(handle) or LEGACY
