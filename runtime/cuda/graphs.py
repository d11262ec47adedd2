"""CUDA graphs: a program that comes back with the same memory is recorded once and replayed.

When some of the memory is another, as a step's next batch, an old graph is told the new addresses
of the kernels that see them (cuGraphExecKernelNodeSetParams), and is not made again.

PyCUDA has no graphs, so libcuda is called through ctypes, with PyCUDA's stream handles. Launches
that PyCUDA makes on a stream that records are recorded like any other.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

from flambeau.runtime.cuda import drivers
from flambeau.runtime.cuda.streams import Stream

AFTER = 2  # plain runs with the same memory before the next is recorded
LIMIT = 4  # graphs of a program; the oldest goes first
REMEMBERED = 32  # memories of a program that are counted
LAUNCHES = range(2, 4000)  # how many launches make a graph worth while

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads go on as they like
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: nor may the default stream wait for what records

Key = tuple[int, ...]
Operation = tuple[Any, ...]  # ("launch", symbol, addresses ...), or a copy or fill and its numbers


class Graphs:
    """The graphs of one program on one device."""

    def __init__(self, index: int, launches: int) -> None:
        """launches: of one run; 0 when it needs the host in between."""
        self.index = index
        self.worth = launches in LAUNCHES
        self.runs: dict[Key, int] = {}
        self.made: dict[Key, Graph] = {}

    def run(self, key: Key, stream: Stream, walk: Callable[[Stream], None],
            listed: Callable[[], list[Operation]]) -> bool:
        """Runs what `walk` enqueues, by a graph when it is time for one. key: all addresses.
        listed: what walk would enqueue.

        Gives whether a graph ran. The one place that decides when to record.
        """
        graph = self.made.get(key)
        if graph is None and self.worth and drivers.library() is not None:
            due = self._due(key)
            if not due or len(self.made) >= LIMIT:
                graph = self._moved(key, listed)
            if due and graph is None:
                graph = self._keep(key, record(self.index, walk, listed()))
        if graph is None:
            walk(stream)
            return False
        graph.launch(stream)
        return True

    def _moved(self, key: Key, listed: Callable[[], list[Operation]]) -> Graph | None:
        """The oldest graph, now for other addresses; None when too much is different."""
        for old, graph in self.made.items():
            if not graph.move(listed()):
                return None
            del self.made[old]
            self.made[key] = graph
            return graph
        return None

    def _due(self, key: Key) -> bool:
        count = self.runs.pop(key, 0) + 1
        self.runs[key] = count  # the latest last
        if len(self.runs) > REMEMBERED:
            self.runs.pop(next(iter(self.runs)))
        return count > AFTER

    def _keep(self, key: Key, graph: Graph) -> Graph:
        if len(self.made) >= LIMIT:
            self.made.pop(next(iter(self.made))).close()
        self.made[key] = graph
        self.runs.pop(key, None)
        return graph


class _Parameters(ctypes.Structure):
    """CUDA_KERNEL_NODE_PARAMS, first version. arguments: a pointer to each value."""

    _fields_ = (("function", ctypes.c_void_p), ("grid", ctypes.c_uint * 3),
                ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint),
                ("arguments", ctypes.POINTER(ctypes.c_void_p)), ("extra", ctypes.c_void_p))


class Graph:
    """A recorded run, ready for launches."""

    def __init__(self, index: int, graph: ctypes.c_void_p, executable: ctypes.c_void_p,
                 operations: list[Operation]) -> None:
        self.index, self.graph, self.executable = index, graph, executable
        self.operations = operations
        self.nodes: list[ctypes.c_void_p] = []  # in the order of operations, once asked for

    def launch(self, stream: Stream) -> None:
        """Replays it on the stream. The device's context is current."""
        call("cuGraphLaunch", self.executable, ctypes.c_void_p(stream.handle))

    def move(self, operations: list[Operation]) -> bool:
        """Makes later launches run these operations, if few kernels differ, and in addresses only;
        gives whether it did."""
        before = self.operations
        changed = [i for i, pair in enumerate(zip(before, operations)) if pair[0] != pair[1]]
        if len(before) != len(operations) or 2 * len(changed) > len(before) or any(
                operations[i][0] != "launch" or operations[i][:2] != before[i][:2]
                for i in changed):
            return False
        if not self.nodes:
            self.nodes = list(_chain(self.graph))
        if len(self.nodes) != len(operations):
            return False
        for i in changed:
            self._address(self.nodes[i], operations[i][2:])
        self.operations = operations
        return True

    def _address(self, node: ctypes.c_void_p, addresses: tuple[int, ...]) -> None:
        """Gives a kernel of the graph other arguments; the driver copies them."""
        parameters = _Parameters()
        call("cuGraphKernelNodeGetParams", node, ctypes.byref(parameters))
        values = (ctypes.c_uint64 * len(addresses))(*addresses)
        start = ctypes.addressof(values)
        pointers = (ctypes.c_void_p * len(addresses))(*range(start, start + 8 * len(addresses), 8))
        parameters.arguments = ctypes.cast(pointers, ctypes.POINTER(ctypes.c_void_p))
        parameters.extra = None
        call("cuGraphExecKernelNodeSetParams", self.executable, node, ctypes.byref(parameters))

    def close(self) -> None:
        """Frees it; running replays come to their end."""
        call("cuGraphExecDestroy", self.executable)
        call("cuGraphDestroy", self.graph)


def _chain(graph: ctypes.c_void_p) -> Iterator[ctypes.c_void_p]:
    """The nodes of one recorded stream, each of which depends on the one before."""
    node, count = ctypes.c_void_p(), ctypes.c_size_t(1)
    call("cuGraphGetRootNodes", graph, ctypes.byref(node), ctypes.byref(count))
    while count.value:
        yield ctypes.c_void_p(node.value)
        count.value, last = 1, ctypes.c_void_p(node.value)
        call("cuGraphNodeGetDependentNodes", last, ctypes.byref(node), ctypes.byref(count))


_recorders: dict[int, Stream] = {}
drivers.on_change(_recorders.clear)


def record(index: int, walk: Callable[[Stream], None], operations: list[Operation]) -> Graph:
    """The graph of what `walk` enqueues: these operations. The device's context is current."""
    with drivers.still:
        stream = _recorders.get(index)
        if stream is None:
            stream = _recorders[index] = Stream(index, drivers.current().Stream(_NON_BLOCKING))
        handle, graph = ctypes.c_void_p(stream.handle), ctypes.c_void_p()
        call("cuStreamBeginCapture_v2", handle, ctypes.c_int(_THREAD_LOCAL))
        try:
            walk(stream)
        finally:
            call("cuStreamEndCapture", handle, ctypes.byref(graph))
    executable = ctypes.c_void_p()
    call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    return Graph(index, graph, executable, operations)


def call(name: str, *arguments: Any) -> None:
    """A function of libcuda. Raises RuntimeError when it does not succeed."""
    library = drivers.library()
    status = getattr(library, name)(*arguments)
    if status:
        text = ctypes.c_char_p()
        library.cuGetErrorName(ctypes.c_int(status), ctypes.byref(text))
        word = text.value.decode() if text.value else "unknown"
        raise RuntimeError(f"{name}: expected success, got error {status} ({word})")


