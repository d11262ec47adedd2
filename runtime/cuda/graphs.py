"""CUDA graphs: a program that comes back with the same memory is recorded once and replayed.

PyCUDA has no graphs, so libcuda is called through ctypes, with PyCUDA's stream handles. Launches
that PyCUDA makes on a stream that records are recorded like any other.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

from flambeau.runtime.cuda import drivers
from flambeau.runtime.cuda.streams import Stream

AFTER = 2  # plain runs with the same memory before the next is recorded
LIMIT = 4  # graphs of a program; the oldest goes first
REMEMBERED = 32  # memories of a program that are counted
LAUNCHES = range(2, 4000)  # how many launches make a graph worth while

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads go on as they like

Key = tuple[int, ...]


class Graphs:
    """The graphs of one program on one device."""

    def __init__(self, index: int, launches: int) -> None:
        """launches: of one run; 0 when it needs the host in between."""
        self.index = index
        self.worth = launches in LAUNCHES
        self.runs: dict[Key, int] = {}
        self.made: dict[Key, Graph] = {}

    def run(self, key: Key, stream: Stream, walk: Callable[[Stream], None]) -> bool:
        """Runs what `walk` enqueues, by a graph when it is time for one. key: all addresses.

        Gives whether a graph ran. The one place that decides when to record.
        """
        graph = self.made.get(key)
        if graph is None and self._due(key):
            graph = self._keep(key, record(self.index, walk))
        if graph is None:
            walk(stream)
            return False
        graph.launch(stream)
        return True

    def _due(self, key: Key) -> bool:
        if not self.worth or drivers.library() is None:
            return False
        count = self.runs.pop(key, 0) + 1
        self.runs[key] = count  # the latest last
        if len(self.runs) > REMEMBERED:
            self.runs.pop(next(iter(self.runs)))
        return count > AFTER

    def _keep(self, key: Key, graph: Graph) -> Graph:
        if len(self.made) >= LIMIT:
            self.made.pop(next(iter(self.made))).close()
        self.made[key] = graph
        del self.runs[key]
        return graph


class Graph:
    """A recorded run, ready for launches."""

    def __init__(self, index: int, executable: ctypes.c_void_p) -> None:
        self.index, self.executable = index, executable

    def launch(self, stream: Stream) -> None:
        """Replays it on the stream. The device's context is current."""
        call("cuGraphLaunch", self.executable, ctypes.c_void_p(stream.handle))

    def close(self) -> None:
        """Frees it; running replays come to their end."""
        call("cuGraphExecDestroy", self.executable)


_recorders: dict[int, Stream] = {}
_lock = threading.Lock()
drivers.on_change(_recorders.clear)


def record(index: int, walk: Callable[[Stream], None]) -> Graph:
    """The graph of what `walk` enqueues. The device's context is current."""
    with _lock:
        stream = _recorders.get(index)
        if stream is None:
            stream = _recorders[index] = Stream(index, drivers.current().Stream())
        handle, graph = ctypes.c_void_p(stream.handle), ctypes.c_void_p()
        call("cuStreamBeginCapture_v2", handle, ctypes.c_int(_THREAD_LOCAL))
        try:
            walk(stream)
        finally:
            call("cuStreamEndCapture", handle, ctypes.byref(graph))
    executable = ctypes.c_void_p()
    call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    call("cuGraphDestroy", graph)
    return Graph(index, executable)


def call(name: str, *arguments: Any) -> None:
    """A function of libcuda. Raises RuntimeError when it does not succeed."""
    library = drivers.library()
    status = getattr(library, name)(*arguments)
    if status:
        text = ctypes.c_char_p()
        library.cuGetErrorName(ctypes.c_int(status), ctypes.byref(text))
        word = text.value.decode() if text.value else "unknown"
        raise RuntimeError(f"{name}: expected success, got error {status} ({word})")


