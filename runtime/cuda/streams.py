"""Streams and events of a device, and each thread's current stream.

The default stream is CUDA's legacy one (PyCUDA's None, handle 0): work on it is ordered with what
PyTorch and CuPy put on theirs, and with all of our other streams, which are made to wait for it.
Those come from a pool and live as long as the process, so memory may remember the stream that used
it last.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flambeau.runtime.cuda import drivers

POOL = 32  # streams of a device; then they are handed out again, as in PyTorch


class Stream:
    """A queue of work on one device: work on it runs in order.

    Its methods are PyTorch's. `handle` is the driver's CUstream, 0 for the default stream.
    """

    __slots__ = ("device", "given", "handle")

    def __init__(self, device: int, given: Any) -> None:
        self.device = device
        self.given = given  # the driver's object; None is the default stream
        self.handle = 0 if given is None else int(given.handle)

    def synchronize(self) -> None:
        """Waits for all work on the stream."""
        with drivers.active(self.device):
            if self.given is not None:
                self.given.synchronize()
            else:
                Event(self.device).record(self).synchronize()

    def query(self) -> bool:
        """Is all work done?"""
        with drivers.active(self.device):
            if self.given is not None:
                return bool(self.given.is_done())
            return Event(self.device).record(self).query()

    def record_event(self, event: Event | None = None) -> Event:
        """An event (a new one unless given) that is reached when the work so far is done."""
        return (event or Event(self.device)).record(self)

    def wait_event(self, event: Event) -> None:
        """Work from here on waits for the event."""
        with drivers.active(self.device):
            if self.given is not None:
                self.given.wait_for_event(event.given)
            else:  # the default stream has no object: the host waits in its place
                event.given.synchronize()

    def wait_stream(self, other: Stream) -> None:
        """Work from here on waits for the other stream's work so far."""
        if other is not self:
            self.wait_event(other.record_event())

    @property
    def ptr(self) -> int:
        """The driver's CUstream, as CuPy spells it."""
        return self.handle

    @property
    def cuda_stream(self) -> int:
        """The driver's CUstream, as PyTorch spells it."""
        return self.handle

    def __repr__(self) -> str:
        return f"<stream {self.handle:#x} on cuda:{self.device}>"


class Event:
    """A moment in a stream's work. PyTorch's Event; times are always measured."""

    __slots__ = ("device", "given")

    def __init__(self, device: int | None = None) -> None:
        self.device = drivers.check("Event") if device is None else device
        with drivers.active(self.device):
            self.given = drivers.current().Event()

    def record(self, stream: Stream | None = None) -> Event:
        """Reached when the stream's work so far (the current stream's) is done; gives itself."""
        stream = stream or current(self.device)
        with drivers.active(self.device):
            self.given.record(stream.given)
        return self

    def wait(self, stream: Stream | None = None) -> None:
        """The stream's work from here on waits for the event."""
        (stream or current(self.device)).wait_event(self)

    def query(self) -> bool:
        """Has it been reached?"""
        with drivers.active(self.device):
            return bool(self.given.query())

    def synchronize(self) -> None:
        """The host waits for it."""
        with drivers.active(self.device):
            self.given.synchronize()

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this event to a later one; both must have been reached."""
        with drivers.active(self.device):
            return float(self.given.time_till(end.given))


class _Thread(threading.local):
    def __init__(self) -> None:
        self.current: dict[int, Stream] = {}  # by device


_here = _Thread()
_defaults: dict[int, Stream] = {}
_pools: dict[int, list[Stream]] = {}
_turns: dict[int, itertools.count[int]] = {}
_lock = threading.Lock()


def _forget() -> None:
    for table in (_defaults, _pools, _turns, _here.current):
        table.clear()  # type: ignore[attr-defined]


drivers.on_change(_forget)


def default(device: int) -> Stream:
    """The device's default stream."""
    found = _defaults.get(device)
    if found is None:
        with _lock:
            found = _defaults.setdefault(device, Stream(device, None))
    return found


def fresh(device: int) -> Stream:
    """A stream of the device's pool; after POOL of them, they come round again."""
    with _lock:
        pool = _pools.setdefault(device, [])
        turn = next(_turns.setdefault(device, itertools.count()))
        if turn < POOL:
            with drivers.active(device):
                pool.append(Stream(device, drivers.current().Stream()))
        return pool[turn % POOL]


def current(device: int) -> Stream:
    """The stream on which this thread's work for the device runs."""
    return _here.current.get(device) or default(device)


@contextmanager
def using(stream: Stream) -> Iterator[Stream]:
    """What is computed inside runs on the stream, and its device is the current one."""
    before, index = _here.current.get(stream.device), drivers.current_device()
    _here.current[stream.device] = stream
    drivers.set_device(stream.device)
    try:
        yield stream
    finally:
        drivers.set_device(index)
        if before is None:
            _here.current.pop(stream.device, None)
        else:
            _here.current[stream.device] = before

