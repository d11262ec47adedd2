"""The CUDA driver: PyCUDA, found when first needed, or what a test put in its place.

Owns: why there is no driver, the primary contexts, and each thread's current device. All CUDA calls
go through the object that `current()` gives, under the names of `pycuda.driver`.

PyCUDA ends the process when a thread dies with a context pushed, so contexts are pushed around
each piece of work and popped after it (`active`); whatever PyTorch or CuPy made current before is
current again behind it. They share the primary context with us.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

_installed: Any = None  # a test's driver
_library: Any = None  # and its libcuda, for what PyCUDA lacks
_driver: Any = None
_count = 0
_contexts: dict[int, Any] = {}
_lock = threading.RLock()
_forked = False
_listeners: list[Callable[[], None]] = []  # told when the driver changes
# held while a stream records and while somebody waits for a whole context: CUDA forbids both at
# once, whichever threads they are
still = threading.RLock()


class _Thread(threading.local):
    def __init__(self) -> None:
        self.index = 0  # the current device
        self.entered: list[int] = []  # devices whose context is pushed, the innermost last


_here = _Thread()


def use(driver: Any, library: Any = None) -> None:
    """Puts another driver in PyCUDA's place, with its libcuda (None: no graphs); None, None to go
    back. Forgets all devices."""
    global _installed, _library, _driver, _count
    with _lock:
        _installed, _library, _driver, _count = driver, library, None, 0
        _contexts.clear()
        _here.index = 0
        _here.entered.clear()
        for tell in _listeners:
            tell()


def replaced() -> bool:
    """Does a test's driver stand in PyCUDA's place?"""
    return _installed is not None


def on_change(tell: Callable[[], None]) -> None:
    """`tell` is called whenever the driver is replaced."""
    _listeners.append(tell)


def current() -> Any:
    """The driver, initialised. Raises RuntimeError that says why there is none."""
    global _driver
    if _forked:
        raise RuntimeError("cuda: expected a process that has not forked since its first use of "
                           "CUDA, got a child; start workers with the 'spawn' method")
    if _driver is None:
        with _lock:
            _driver = _installed or _pycuda()
            _driver.init()
    return _driver


def _pycuda() -> Any:
    why = _missing()
    if why:
        raise RuntimeError(f"cuda: expected a CUDA device, got none: {why}")
    return importlib.import_module("pycuda.driver")


def _library_name() -> str:
    return "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"


def _missing() -> str:
    """What of the driver and PyCUDA is not there, or ""."""
    try:
        ctypes.CDLL(_library_name())
    except OSError:
        return f"the NVIDIA driver's {_library_name()} is not on this machine"
    if importlib.util.find_spec("pycuda") is None:
        return "PyCUDA is missing: pip install 'flambeau[cuda]'"
    return ""


def reason() -> str:
    """Why there is no CUDA device, or "" when there is one."""
    try:
        if _installed is None and _driver is None and _missing():
            return _missing()
        found = current().Device.count()
    except RuntimeError as error:  # ours; PyCUDA's are not RuntimeErrors before init
        return str(error)
    except Exception as error:
        return f"the NVIDIA driver answers: {error}"
    if found:
        return ""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "the NVIDIA driver finds no GPU" + (
        f" (CUDA_VISIBLE_DEVICES={hidden})" if hidden is not None else "")


def count() -> int:
    """How many devices can be used; 0 when anything is missing. Asked until there are some."""
    global _count
    if not _count and not reason():
        _count = int(current().Device.count())
    return _count


def check(name: str, index: int | None = None) -> int:
    """The number of a device that is there; None means the current one.

    name: who asks. Raises RuntimeError that says what is missing.
    """
    found = count()
    if not found:
        raise RuntimeError(f"{name}: expected a CUDA device, got none: {reason()}")
    index = _here.index if index is None else index
    if not 0 <= index < found:
        last = f" to cuda:{found - 1}" if found > 1 else ""
        raise RuntimeError(f"{name}: expected cuda:0{last}, got cuda:{index}")
    return index


def current_device() -> int:
    """This thread's current device."""
    return _here.index


def set_device(index: int) -> None:
    """Makes a device this thread's current one. Raises RuntimeError when it is not there."""
    _here.index = check("set_device", index)


def context(index: int) -> Any:
    """The device's primary context, retained once for the life of the process."""
    found = _contexts.get(index)
    if found is None:
        with _lock:
            found = _contexts.get(index)
            if found is None:
                found = current().Device(index).retain_primary_context()
                _contexts[index] = found
    return found


def wait() -> None:
    """Waits for all work of the current context."""
    with still:
        current().Context.synchronize()


class active:
    """`with active(index):` the device's context is current inside."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __enter__(self) -> None:
        entered = _here.entered
        if not entered or entered[-1] != self.index:
            context(self.index).push()
        entered.append(self.index)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        entered = _here.entered
        if not entered:  # the driver was replaced inside
            return
        index = entered.pop()
        if not entered or entered[-1] != index:
            current().Context.pop()


def library() -> Any:
    """libcuda itself, for what PyCUDA lacks (graphs); None where a test's driver has none."""
    global _library
    if _library is None and _installed is None:
        _library = ctypes.CDLL(_library_name())
    return _library


def _in_child() -> None:
    global _forked
    _forked = bool(_contexts)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
