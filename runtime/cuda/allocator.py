"""Device memory: blocks recycled by size, in the order of the stream that used them last.

Owns: `DeviceBuffer` and a pool for each device. A block comes back when its buffer is collected,
which may happen at any moment and in any thread, so that is one append to a list and no CUDA call;
the next allocation sorts the list. A block belongs to the stream that used it last: work on that
stream may have it at once, other streams wait for an event first.
"""

from __future__ import annotations

import gc
import math
import threading
from collections import deque
from typing import Any

import numpy as np
from flambeau.runtime import memory
from flambeau.runtime.cuda import drivers, streams
from flambeau.runtime.cuda.streams import Stream

ALIGN = 512


class Block:
    """A piece of device memory. last: the stream that used it last."""

    __slots__ = ("capacity", "given", "last", "pointer", "pool")

    def __init__(self, pool: Pool, given: Any, capacity: int, last: Stream) -> None:
        self.pool, self.given, self.capacity, self.last = pool, given, capacity, last
        self.pointer = int(given)

    def use(self, stream: Stream) -> None:
        """Orders work on the stream after all that was done with the block so far."""
        if self.last is not stream:
            stream.wait_stream(self.last)
            self.last = stream


class DeviceBuffer:
    """`nbytes` of a device's memory at `pointer`, alive as long as the object is.

    exported: another library may look at the memory, so it must not be written in place. owner:
    what keeps borrowed memory alive, or None. device: "cuda:N". failed: the error of the program
    that should have written the memory, once somebody has been told.
    """

    __slots__ = ("__weakref__", "block", "device", "exported", "failed", "nbytes", "owner",
                 "pointer", "source")

    def __init__(self, device: str, pointer: int, nbytes: int, block: Block | None, source: Any,
                 owner: Any = None) -> None:
        self.device, self.pointer, self.nbytes = device, pointer, nbytes
        self.block, self.source, self.owner = block, source, owner
        self.exported = owner is not None
        self.failed: Exception | None = None

    def __del__(self) -> None:
        block = self.block
        if block is not None:
            block.pool.returned.append(block)

    @property
    def address(self) -> int:
        """There is none on the host: raises memory.Elsewhere."""
        raise memory.Elsewhere(f"device: expected memory of the host, got {self.nbytes} bytes on "
                               f"{self.device}")

    def use(self, stream: Stream) -> None:
        """Orders work on the stream after all that was done with the memory so far."""
        if self.block is not None:
            self.block.use(stream)

    def array(self, dtype: Any, shape: tuple[int, ...], writable: bool = False, start: int = 0
              ) -> np.ndarray:
        """A copy of the values from byte `start` on, read-only. Waits for what computes them.

        Raises ValueError when the array would reach beyond the buffer, or should be writable.
        """
        dtype = np.dtype(dtype)
        needed = dtype.itemsize * math.prod(shape)
        if start + needed > self.nbytes or writable:
            raise ValueError(f"array: expected to read at most {self.nbytes - start} bytes, got "
                             f"{dtype.name} {tuple(shape)}, writable {writable}")
        made = np.empty(shape, dtype)
        self.source.copy_out(self, made, start)
        made.flags.writeable = False
        return made

    def __repr__(self) -> str:
        kind = "wrapped" if self.owner is not None else "exported" if self.exported else "owned"
        return f"DeviceBuffer({self.nbytes} bytes at {self.pointer:#x} on {self.device}, {kind})"


class Pool:
    """The memory of one device."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.returned: deque[Block] = deque()  # by buffers that died, not looked at yet
        self.free: dict[int, dict[Stream, list[Block]]] = {}  # by capacity and stream
        self.blocks: set[Block] = set()  # all of them: a cycle's collection must not end one
        self.live: dict[int, int] = {}  # blocks in use, by capacity
        self.current = self.peak = self.reserved = self.peak_reserved = 0  # bytes
        self.allocations = self.retries = 0  # blocks asked of the driver; after the cache was freed
        self.lock = threading.RLock()

    def take(self, nbytes: int) -> Block:
        """A block of at least nbytes for the current stream.

        Raises MemoryError that says what was asked, what is free and what holds the rest.
        """
        stream = streams.current(self.index)
        capacity = rounded(nbytes)
        with self.lock:
            if self.returned:
                self.sort()
            block = self._recycled(capacity, stream) or self._new(capacity, nbytes, stream)
            self.live[capacity] = self.live.get(capacity, 0) + 1
            self.current += capacity
            self.peak = max(self.peak, self.current)
        return block

    def _recycled(self, capacity: int, stream: Stream) -> Block | None:
        lists = self.free.get(capacity)
        if not lists:
            return None
        mine = lists.get(stream)
        if mine:
            return mine.pop()
        for blocks in lists.values():  # another stream's, after its work so far
            if blocks:
                block = blocks.pop()
                block.use(stream)
                return block
        return None

    def sort(self) -> None:
        """Takes back what died."""
        with self.lock:
            while self.returned:
                block = self.returned.popleft()
                self.current -= block.capacity
                self.live[block.capacity] -= 1
                lists = self.free.setdefault(block.capacity, {})
                lists.setdefault(block.last, []).append(block)

    def _new(self, capacity: int, nbytes: int, stream: Stream) -> Block:
        driver = drivers.current()
        with drivers.active(self.index):
            for attempt in (0, 1, 2):
                try:
                    given = driver.mem_alloc(capacity)
                    break
                except driver.MemoryError:
                    if attempt == 2:
                        raise MemoryError(self._full(nbytes)) from None
                    if attempt == 1:
                        gc.collect()
                    self.retries += 1
                    self.empty()
        self.allocations += 1
        self.reserved += capacity
        self.peak_reserved = max(self.peak_reserved, self.reserved)
        block = Block(self, given, capacity, stream)
        self.blocks.add(block)
        return block

    def _full(self, nbytes: int) -> str:
        free, total = drivers.current().mem_get_info()
        held = sorted(((c * n, c, n) for c, n in self.live.items() if n), reverse=True)[:4]
        blocks = ", ".join(f"{n} of {size(c)}" for _, c, n in held) or "nothing"
        others = max(0, total - free - self.reserved)
        return (f"allocate: expected {size(nbytes)} on cuda:{self.index}, got out of memory: "
                f"{size(free)} of {size(total)} are free, tensors and programs hold "
                f"{size(self.current)} (the most in blocks: {blocks}), others hold {size(others)}")

    def empty(self) -> int:
        """Gives idle blocks back to the driver, once their work is done; how many bytes."""
        with self.lock, drivers.active(self.index):
            self.sort()
            idle = [b for lists in self.free.values() for blocks in lists.values() for b in blocks]
            self.free.clear()
            if idle:
                drivers.wait()
            for block in idle:
                block.given.free()
            self.blocks.difference_update(idle)
            gone = sum(b.capacity for b in idle)
            self.reserved -= gone
        return gone

    def statistics(self) -> dict[str, int]:
        """Bytes: `current` in live buffers and its `peak`, `reserved` from the driver and its peak,
        `cached` idle; counts of `allocations` by the driver and of `retries` after it was full."""
        with self.lock:
            self.sort()
            return {"current": self.current, "peak": self.peak, "reserved": self.reserved,
                    "peak_reserved": self.peak_reserved, "cached": self.reserved - self.current,
                    "allocations": self.allocations, "retries": self.retries}

    def reset_peak(self) -> None:
        """Starts the peaks anew from what is held now."""
        with self.lock:
            self.sort()
            self.peak, self.peak_reserved = self.current, self.reserved


def rounded(nbytes: int) -> int:
    """Bytes to reserve: multiples of 512 to 4 KiB, then eight sizes to each power of two.

    Raises ValueError for a negative number.
    """
    if nbytes < 0:
        raise ValueError(f"allocate: expected 0 bytes or more, got {nbytes}")
    nbytes = max(nbytes, 1)
    step = ALIGN if nbytes <= 4096 else 1 << (nbytes.bit_length() - 4)
    return -(-nbytes // step) * step


def size(nbytes: float) -> str:
    """Bytes for people: "1.5 GiB"."""
    for unit in ("bytes", "KiB", "MiB"):
        if nbytes < 1024:
            return f"{nbytes:.4g} {unit}"
        nbytes /= 1024
    return f"{nbytes:.4g} GiB"
