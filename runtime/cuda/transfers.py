"""Bytes between host and device, through page-locked staging memory.

A copy to the device returns when the bytes are in staging memory; the device fetches them in the
order of its stream. A copy to the host returns when the bytes are there. Long ones go in pieces,
so that the host fills one while the device fetches another.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
from flambeau.runtime.cuda import drivers
from flambeau.runtime.cuda.streams import Event, Stream

PIECE = 8 << 20  # bytes of the largest staging block
KEPT = 8  # idle blocks of a size


class Staging:
    """Page-locked blocks of one device, each with the event after which it may be written again."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.idle: dict[int, deque[tuple[Any, Event | None]]] = {}
        self.lock = threading.Lock()

    def take(self, nbytes: int) -> tuple[Any, Event | None]:
        """An array of at least nbytes that nobody uses any more, and an event to record anew."""
        capacity = 1 << max(9, (nbytes - 1).bit_length())
        with self.lock:
            blocks = self.idle.setdefault(capacity, deque())
            for _ in range(len(blocks)):
                block, event = blocks.popleft()
                if event is None or event.query():
                    return block, event
                if len(blocks) >= KEPT:
                    event.synchronize()
                    return block, event
                blocks.append((block, event))
        return drivers.current().pagelocked_empty(capacity, np.uint8), None

    def give(self, block: Any, event: Event | None) -> None:
        """The block is free once the event is reached."""
        with self.lock:
            self.idle.setdefault(block.nbytes, deque()).append((block, event))

    def to_device(self, pointer: int, data: np.ndarray, stream: Stream) -> None:
        """Copies bytes (uint8, contiguous); they may change once this returns."""
        driver = drivers.current()
        for start in range(0, data.nbytes, PIECE):
            piece = data[start:start + PIECE]
            block, event = self.take(piece.nbytes)
            block[:piece.nbytes] = piece
            driver.memcpy_htod_async(pointer + start, block[:piece.nbytes], stream.given)
            self.give(block, (event or Event(self.index)).record(stream))

    def to_host(self, data: np.ndarray, pointer: int, stream: Stream) -> None:
        """Copies into bytes (uint8, contiguous), complete when this returns."""
        driver = drivers.current()
        waiting: deque[tuple[int, int, Any, Event]] = deque()
        for start in range(0, data.nbytes, PIECE):
            length = min(PIECE, data.nbytes - start)
            block, event = self.take(length)
            driver.memcpy_dtoh_async(block[:length], pointer + start, stream.given)
            waiting.append((start, length, block, (event or Event(self.index)).record(stream)))
            if len(waiting) > 1:
                self._land(data, *waiting.popleft())
        while waiting:
            self._land(data, *waiting.popleft())

    def _land(self, data: np.ndarray, start: int, length: int, block: Any, event: Event) -> None:
        event.synchronize()
        data[start:start + length] = block[:length]
        self.give(block, event)


def raw(array: np.ndarray) -> np.ndarray:
    """A contiguous array's bytes."""
    return array.reshape(-1).view(np.uint8)
