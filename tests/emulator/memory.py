"""Memories with a shadow: for every byte whether it may be touched and whether it was written.

Device memory is one array behind 64-bit addresses, with guards between allocations. Shared and
local memory are arrays with a unit for each block or thread. Generic addresses of shared, local,
constant and parameter memory carry the number of their window in the upper 16 bits.
"""

from __future__ import annotations

import bisect
import mmap
import sys
from typing import Any

import numpy as np

from emulator.faults import Fault, OutOfBounds, ReadOnly, Uninitialised, UseAfterFree
from emulator.types import Array

# no page counts before it is touched: neighbouring maps grow into one, and to fork one larger than
# the machine's memory would be refused. Python before 3.13 has no name for it
NORESERVE = 0x4000 if sys.platform == "linux" else 0
WINDOWS = {"global": 0, "shared": 1 << 48, "local": 2 << 48, "const": 3 << 48, "param": 4 << 48}
SPACES = ("global", "shared", "local", "const", "param")  # by window
START = 0x7F00_0000_0000  # the first address of the first device's memory
GUARD = 4096  # bytes that nobody owns around an allocation
ALIGN = 256
RUBBISH = 0xDB  # what bytes look like that nobody should look at
OUTSIDE, ALLOCATED, WRITTEN, FREED, FIXED = 0, 1, 3, 4, 7  # what the shadow says of a byte
_SHIFT = {1: 0, 2: 1, 4: 2, 8: 3}
_ALLOCATED = {w: np.dtype(f"u{w}").type(int.from_bytes(bytes([ALLOCATED] * w), "little"))
              for w in _SHIFT}
_WRITTEN = {w: np.dtype(f"u{w}").type(int.from_bytes(bytes([WRITTEN] * w), "little"))
            for w in _SHIFT}
Bad = tuple[type[Fault], Array, str]  # the fault, a mask of the lanes, what to say of one


class Memory:
    """Bytes and their shadow, accessed by many lanes at once."""

    def __init__(self, name: str, data: Array, shadow: Array, strict: bool = True) -> None:
        self.name = name
        self.data = {w: data.view(f"u{w}") for w in _SHIFT}
        self.shadow = {w: shadow.view(f"u{w}") for w in _SHIFT}
        self.strict = strict  # whether reads of unwritten bytes are faults

    def read(self, at: Array, width: int) -> tuple[Array, bool]:
        """The elements at byte offsets, and whether every one may be read.

        LLVM widens loads within their alignment and ignores the bytes behind: an element whose
        first byte may be read counts as well, and its other bytes are rubbish if they may not.
        """
        index = at >> _SHIFT[width]
        seen = self.shadow[width].take(index, mode="clip")
        values = self.data[width].take(index, mode="clip")
        if (seen == _WRITTEN[width]).all():
            return values, True
        wanted = WRITTEN if self.strict else ALLOCATED
        lacking = (seen.view(np.uint8) & wanted != wanted).reshape(-1, width)
        if lacking.any():
            values.view(np.uint8).reshape(-1, width)[lacking] = RUBBISH
        return values, not lacking[:, 0].any()

    def write(self, at: Array, values: Array, width: int) -> bool:
        """Writes elements, unless one must not be written: then False, and nothing happens."""
        index = at >> _SHIFT[width]
        seen = self.shadow[width].take(index, mode="clip")
        if not (seen == _WRITTEN[width]).all():
            if not (seen & ~(_WRITTEN[width] & ~_ALLOCATED[width]) == _ALLOCATED[width]).all():
                return False
            self.shadow[width][index] = _WRITTEN[width]
        self.data[width][index] = values
        return True

    def forget(self, at: Array, width: int) -> None:
        """Bytes that are allocated but hold nothing yet."""
        self.shadow[width][at >> _SHIFT[width]] = _ALLOCATED[width]

    def blame(self, at: Array, width: int, writing: bool) -> tuple[int, type[Fault], str]:
        """The first lane whose access is wrong, the fault, and what to say of it."""
        for lane, offset in enumerate(at.tolist()):
            states = self._states(offset, width if writing else 1)
            if (states == FREED).any():
                return lane, UseAfterFree, f"{self.describe(offset, width)} was freed"
            if (states & ALLOCATED == 0).any():
                return lane, OutOfBounds, self.describe(offset, width)
            if writing and (states == FIXED).any():
                return lane, ReadOnly, f"{self.describe(offset, width)} is read-only"
            if not writing and (states & 2 == 0).any():
                return lane, Uninitialised, f"{self.describe(offset, width)} was never written"
        raise AssertionError("expected a wrong access, got none")

    def _states(self, offset: int, width: int) -> Array:
        if offset < 0 or offset + width > len(self.shadow[1]):
            return np.zeros(1, np.uint8)
        return self.shadow[1][offset:offset + width]

    def describe(self, offset: int, width: int) -> str:
        return f"{width} bytes of {self.name} memory at {offset:#x}"


def misaligned(at: Array, size: int) -> int | None:
    """The first lane whose byte offset is no multiple of a size that is a power of two."""
    if size == 1 or not int(np.bitwise_or.reduce(at)) & (size - 1):
        return None
    return int(np.flatnonzero(at & (size - 1))[0])


class DeviceMemory(Memory):
    """The emulated device's memory: `size` bytes that can be allocated, at fake addresses."""

    def __init__(self, size: int, strict: bool = True, number: int = 0) -> None:
        self.size = size
        self.start = START + (number << 40)
        self.room = 4 * size + (64 << 20)  # freed addresses are used again as late as possible
        maps = [mmap.mmap(-1, self.room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
                for _ in range(2)]
        data, shadow = (np.frombuffer(m, np.uint8) for m in maps)
        super().__init__("device", data, shadow, strict)
        self.starts: list[int] = []  # offsets of what is or was allocated, in order
        self.sizes: dict[int, int] = {}
        self.free_spans: list[tuple[int, int]] = []
        self.live: set[int] = set()
        self.used = 0
        self.top = GUARD

    def allocate(self, size: int) -> int | None:
        """The address of `size` new bytes, or None when they do not fit."""
        rounded = -(-max(size, 1) // ALIGN) * ALIGN
        if self.used + rounded > self.size:
            return None
        at = self._place(rounded + GUARD)
        self.starts.insert(bisect.bisect_left(self.starts, at), at)
        self.sizes[at] = size
        self.live.add(at)
        self.used += rounded
        self.shadow[1][at:at + size] = ALLOCATED
        return self.start + at

    def _place(self, span: int) -> int:
        if self.top + span < self.room - GUARD:
            at, self.top = self.top, self.top + span
            return at
        for i, (at, length) in enumerate(self.free_spans):
            if length >= span:
                self.free_spans[i] = (at + span, length - span)
                self._erase(at, at + span)
                return at
        raise MemoryError("emulator: expected room for an allocation, got none")

    def _erase(self, low: int, high: int) -> None:
        first = bisect.bisect_left(self.starts, low)
        while first < len(self.starts) and self.starts[first] < high:
            del self.sizes[self.starts.pop(first)]
        self.shadow[1][low:high] = OUTSIDE

    def free(self, address: int) -> bool:
        """Gives an allocation back; False when there is none at the address."""
        at = address - self.start
        if at not in self.live:
            return False
        size = self.sizes[at]
        rounded = -(-max(size, 1) // ALIGN) * ALIGN
        self.live.discard(at)
        self.used -= rounded
        self.shadow[1][at:at + size] = FREED
        if self.free_spans and sum(self.free_spans[-1]) == at:
            low, length = self.free_spans.pop()
            self.free_spans.append((low, length + rounded + GUARD))
        else:
            self.free_spans.append((at, rounded + GUARD))
        return True

    def span(self, address: int, size: int) -> Array | None:
        """The bytes [address, address + size) when one live allocation holds them all."""
        at = address - self.start
        i = bisect.bisect_right(self.starts, at) - 1
        if size == 0 and i >= 0:
            return self.data[1][at:at]
        if i < 0 or self.starts[i] not in self.live or \
                at + size > self.starts[i] + self.sizes[self.starts[i]]:
            return None
        return self.data[1][at:at + size]

    def written(self, address: int, size: int) -> None:
        at = address - self.start
        self.shadow[1][at:at + size] = WRITTEN

    def copy_shadow(self, to: int, origin: DeviceMemory, source: int, size: int) -> None:
        """Copied bytes are written if their origin was."""
        a, b = to - self.start, source - origin.start
        self.shadow[1][a:a + size] = origin.shadow[1][b:b + size]

    def describe(self, offset: int, width: int) -> str:
        where = f"{width} bytes of device memory at {self.start + offset:#x}"
        i = bisect.bisect_right(self.starts, offset) - 1
        if i < 0:
            return f"{where}, before every allocation"
        start = self.starts[i]
        size = self.sizes[start]
        name = f"the allocation of {size} bytes at {self.start + start:#x}"
        if offset + width <= start + size:
            return f"{where}, byte {offset - start} of {name}"
        return f"{where}, {offset - start - size} bytes past the end of {name}"


class Units(Memory):
    """Shared memory of each block or local memory of each thread of a chunk: equal units."""

    def __init__(self, name: str, layout: Array, count: int) -> None:
        self.size = len(layout)
        self.stride = -(-(self.size + 64) // 64) * 64
        shadow = np.zeros((count, self.stride), np.uint8)
        shadow[:, :self.size] = layout
        super().__init__(name, np.zeros(count * self.stride, np.uint8), shadow.reshape(-1))

    def describe(self, offset: int, width: int) -> str:
        return f"{width} bytes of {self.name} memory at {offset % self.stride:#x} of {self.size}"


def place_of_windows(generic: Array) -> Array:
    """The window of each generic address: its number in SPACES."""
    return np.minimum(generic >> np.uint64(48), np.uint64(len(SPACES))).astype(np.int64)


def fixed(name: str, data: bytes) -> Memory:
    """Read-only memory: constants, a kernel's parameters."""
    padded = np.frombuffer(data + bytes(64 + -len(data) % 8), np.uint8)
    shadow = np.zeros(len(padded), np.uint8)
    shadow[:len(data)] = FIXED
    made: Any = Memory(name, padded, shadow)
    return made

