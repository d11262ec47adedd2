"""Host memory: 64-byte aligned blocks, recycled by size.

Owns: `Buffer` and the allocator. A buffer's block returns to its bin when the buffer is collected,
and the next buffer of that size takes it, pages still mapped. Blocks of BIG bytes or more are
anonymous maps on 2 MiB boundaries, in huge pages where the system has them.

No locks: what must be atomic is one list operation, because buffers die inside the garbage
collector, at any moment and in any thread.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import math
import mmap
import os
import sys
from typing import Any

import numpy as np

ALIGN = 64
SLACK = 64  # readable bytes after the last one asked for: kernels may load a whole vector there
BIG = 1 << 20
HUGE = 2 << 20


class Elsewhere(RuntimeError):
    """Memory that is on a device was asked for its address on the host."""


class Buffer:
    """`nbytes` of memory at `address`, alive as long as the object is.

    exported: somebody outside may look at the memory, so it must not be written in place or
    donated. owner: the NumPy array the memory is borrowed from, or None.
    """

    __slots__ = ("__weakref__", "_bin", "address", "exported", "nbytes", "owner")
    device = "cpu"

    def __init__(self, address: int, nbytes: int, bin: _Bin | None, owner: Any = None) -> None:
        self.address = address
        self.nbytes = nbytes
        self._bin = bin
        self.owner = owner
        self.exported = owner is not None

    def __del__(self) -> None:
        bin = self._bin
        if bin is not None:
            bin.give(self.address)

    def __repr__(self) -> str:
        kind = "wrapped" if self.owner is not None else "exported" if self.exported else "owned"
        return f"Buffer({self.nbytes} bytes at {self.address:#x}, {kind})"

    @property
    def aligned(self) -> bool:
        """Aligned and padded as kernels may assume; False for most wrapped arrays."""
        return self._bin is not None

    def array(self, dtype: Any, shape: tuple[int, ...], writable: bool = False) -> np.ndarray:
        """The memory as a C-contiguous array that keeps the buffer alive. No copy.

        Raises ValueError when the array would reach beyond the buffer.
        """
        dtype = np.dtype(dtype)
        needed = dtype.itemsize * math.prod(shape)
        if needed > self.nbytes:
            raise ValueError(f"array: expected at most {self.nbytes} bytes, got {dtype.name} "
                             f"{tuple(shape)}, {needed} bytes")
        self.exported = True
        window = _Window.from_address(self.address)
        window.buffer = self  # type: ignore[attr-defined]  # NumPy keeps the window, and so this
        return np.ndarray(shape, dtype,
                          window if writable else memoryview(window).toreadonly())  # type: ignore[arg-type]


# what outlives the program's end is the system's, and what `give` counts with is gone by then
atexit.register(lambda: delattr(Buffer, "__del__"))

# Memory as an object with Python's buffer protocol: one type for all lengths, as every other length
# would be another type, which is slow to make.
_Window = ctypes.c_char * (sys.maxsize >> 4)


class _Bin:
    """Blocks of one capacity: the free ones, and what keeps every one of them mapped."""

    __slots__ = ("capacity", "free", "maps")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.free: list[int] = []
        self.maps: dict[int, Any] = {}

    def give(self, address: int) -> None:
        """Takes a block back, or unmaps it when more than the budget lies idle."""
        global _current, _cached
        _current -= self.capacity
        if _cached + self.capacity > _budget:
            self.maps.pop(address, None)
            return
        _cached += self.capacity
        self.free.append(address)


_bins: dict[int, _Bin] = {}  # by capacity
_bin_of: dict[int, _Bin] = {}  # by bytes asked for: saves the arithmetic
_current = 0  # bytes in live buffers, padding included
_cached = 0  # bytes idle in the bins
_peak = 0
_misses = 0  # blocks asked of the system
_stagger = 0


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 4 << 30


_budget = _physical_memory() // 4


def allocate(nbytes: int) -> Buffer:
    """Uninitialised memory of at least nbytes, 64-byte aligned, with 64 readable bytes beyond.

    Raises MemoryError, after everything idle was given back to the system.
    """
    global _current, _cached, _peak
    bin = _bin_of.get(nbytes)
    if bin is None:
        bin = _find_bin(nbytes)
    capacity = bin.capacity
    try:
        address = bin.free.pop()
        _cached -= capacity
    except IndexError:
        address = _new_block(bin, nbytes)
    _current += capacity
    if _current > _peak:
        _peak = _current
    return Buffer(address, nbytes, bin)


def wrap(array: np.ndarray) -> Buffer:
    """A buffer over the memory of a C-contiguous array, which it keeps alive. No copy.

    The memory is aligned to the array's items only and has no slack (`Buffer.aligned` is False).
    Raises ValueError for an array that is not C-contiguous.
    """
    if not array.flags.c_contiguous:
        raise ValueError(f"wrap: expected a C-contiguous array, got {array.dtype} {array.shape} "
                         f"with strides {array.strides}")
    return Buffer(array.__array_interface__["data"][0], array.nbytes, None, array)


def memory() -> dict[str, int]:
    """Bytes: `current` in live buffers, their `peak`, idle `cached`, the `budget` for idle ones;
    `blocks` mapped now and `allocations` of blocks made so far."""
    return {"current": _current, "peak": _peak, "cached": _cached, "budget": _budget,
            "blocks": sum(len(b.maps) for b in list(_bins.values())), "allocations": _misses}


def reset_peak() -> None:
    """Starts the peak anew from the bytes live now."""
    global _peak
    _peak = _current


def empty_cache() -> None:
    """Gives every idle block back to the system."""
    global _cached
    for bin in list(_bins.values()):
        while bin.free:
            try:
                address = bin.free.pop()
            except IndexError:  # another thread was faster
                break
            _cached -= bin.capacity
            bin.maps.pop(address, None)


def set_budget(nbytes: int) -> None:
    """How many idle bytes may be kept; a quarter of the machine's memory at the start."""
    global _budget
    _budget = nbytes


# -- the slow path -----------------------------------------------------------------------------

def _capacity(nbytes: int) -> int:
    """Bytes to reserve: multiples of 64 to 4 KiB, then eight sizes to each power of two."""
    needed = nbytes + SLACK
    step = ALIGN if needed <= 4096 else 1 << (needed.bit_length() - 4)
    return -(-needed // step) * step


def _find_bin(nbytes: int) -> _Bin:
    if nbytes < 0:
        raise ValueError(f"allocate: expected 0 bytes or more, got {nbytes}")
    if len(_bin_of) > 4096:
        _bin_of.clear()
    bin = _bins.setdefault(capacity := _capacity(nbytes), _Bin(capacity))
    _bin_of[nbytes] = bin
    return bin


def _new_block(bin: _Bin, nbytes: int) -> int:
    global _misses
    for retry in (False, True):
        try:
            block, address = _map(bin.capacity)
            break
        except (MemoryError, OSError, OverflowError, ValueError):
            if retry:
                raise MemoryError(
                    f"allocate: expected {nbytes} bytes from the system, got none; "
                    f"{_current} bytes are in use, {_cached} cached") from None
            gc.collect()
            empty_cache()
    bin.maps[address] = block
    _misses += 1
    return address


def _private(nbytes: int) -> mmap.mmap:
    """An anonymous map of this process alone: after a fork each side has its own, and only such
    maps get huge pages."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, nbytes)
    return mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _map(capacity: int) -> tuple[Any, int]:
    """Fresh memory: what keeps it mapped, and an aligned address in it."""
    if capacity < BIG:
        block = np.empty(capacity + ALIGN, np.uint8)
        start = block.__array_interface__["data"][0]
        return block, -(-start // ALIGN) * ALIGN
    # Blocks at equal distances from a page boundary fight for the same cache sets and confuse the
    # store buffer; so each begins some odd number of lines further than the last.
    global _stagger
    _stagger = (_stagger + 13 * ALIGN) % 4096
    region = _private(capacity + HUGE + 4096)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            region.madvise(mmap.MADV_HUGEPAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(region))
    return region, -(-start // HUGE) * HUGE + _stagger
