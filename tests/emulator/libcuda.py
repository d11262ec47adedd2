"""The functions of libcuda that PyCUDA lacks, as ctypes would call them: graphs of captured
work."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from emulator import driver, machine

INVALID_VALUE, INVALID_HANDLE = 1, 400
NAMES = {INVALID_VALUE: b"CUDA_ERROR_INVALID_VALUE", INVALID_HANDLE: b"CUDA_ERROR_INVALID_HANDLE"}


class Library:
    """Captures what is launched on a stream, and replays it."""

    def __init__(self, owner: driver.Driver) -> None:
        self.driver = owner
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.executables: dict[int, list[Callable[[], None]]] = {}

    def cuStreamBeginCapture_v2(self, stream: Any, mode: Any) -> int:
        handle = _value(stream)
        self.driver.note("cuStreamBeginCapture_v2", _value(mode), stream=handle)
        if handle == 0 or handle in self.driver.capturing:
            return INVALID_VALUE
        self.driver.capturing[handle] = []
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:
        handle = _value(stream)
        self.driver.note("cuStreamEndCapture", stream=handle)
        if handle not in self.driver.capturing:
            return INVALID_VALUE
        self._store(graph, self.graphs, self.driver.capturing.pop(handle))
        return 0

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: Any) -> int:
        self.driver.note("cuGraphInstantiateWithFlags", _value(graph))
        if _value(graph) not in self.graphs:
            return INVALID_VALUE
        self._store(executable, self.executables, list(self.graphs[_value(graph)]))
        return 0

    def cuGraphLaunch(self, executable: Any, stream: Any) -> int:
        handle = _value(stream)
        self.driver.note("cuGraphLaunch", _value(executable), stream=handle)
        steps = self.executables.get(_value(executable))
        if steps is None:
            return INVALID_VALUE
        for run in steps:
            self.driver.enqueue(_Handle(handle) if handle else None, run)
        return 0

    # -- nodes: a stream's are a chain; a node's handle is its graph's and its place ---------------

    def cuGraphGetRootNodes(self, graph: Any, nodes: Any, count: Any) -> int:
        self.driver.note("cuGraphGetRootNodes", _value(graph))
        return self._node(_value(graph), 0, nodes, count)

    def cuGraphNodeGetDependentNodes(self, node: Any, nodes: Any, count: Any) -> int:
        graph, place = self._place(node)
        return self._node(graph, place + 1, nodes, count)

    def _place(self, node: Any) -> tuple[int, int]:
        graph = max((g for g in self.graphs if g <= _value(node) >> 16), default=0)
        return graph, _value(node) & 0xFFFF

    def _node(self, graph: int, place: int, nodes: Any, count: Any) -> int:
        if graph not in self.graphs:
            return INVALID_VALUE
        there = place < len(self.graphs[graph])
        _target(count).value = int(there)
        if there:
            _target(nodes).value = (graph << 16) + place
        return 0

    def cuGraphKernelNodeGetParams(self, node: Any, parameters: Any) -> int:
        graph, place = self._place(node)
        launched = self.graphs[graph][place]
        if not isinstance(launched, driver.Launched):
            return INVALID_VALUE
        p, g = _target(parameters), launched.geometry
        p.function, p.shared = id(launched.function), g.dynamic
        p.grid[:], p.block[:] = g.grid, g.block
        p.arguments = None
        return 0

    def cuGraphExecKernelNodeSetParams(self, executable: Any, node: Any, parameters: Any) -> int:
        self.driver.note("cuGraphExecKernelNodeSetParams", _value(executable))
        graph, place = self._place(node)
        launched, p = self.graphs[graph][place], _target(parameters)
        steps = self.executables.get(_value(executable))
        if steps is None or not isinstance(launched, driver.Launched) or p.extra or (
                p.function != id(launched.function)):
            return INVALID_VALUE
        geometry = machine.Geometry(tuple(p.grid), tuple(p.block), p.shared)
        size = launched.function.code.parameter_bytes
        data = b"".join(ctypes.string_at(p.arguments[i], 8) for i in range(size // 8))
        steps[place] = driver.Launched(launched.function, geometry, data)
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:
        self.driver.note("cuGraphDestroy", _value(graph))
        return 0 if self.graphs.pop(_value(graph), None) is not None else INVALID_VALUE

    def cuGraphExecDestroy(self, executable: Any) -> int:
        self.driver.note("cuGraphExecDestroy", _value(executable))
        return 0 if self.executables.pop(_value(executable), None) is not None else INVALID_VALUE

    def cuGetErrorName(self, status: Any, text: Any) -> int:
        _target(text).value = NAMES.get(_value(status), b"CUDA_ERROR_UNKNOWN")
        return 0

    def _store(self, to: Any, table: dict[int, list[Callable[[], None]]],
               steps: list[Callable[[], None]]) -> None:
        handle = self.driver.handle()
        table[handle] = steps
        _target(to).value = handle


class _Handle:
    """A stream by its handle alone."""

    def __init__(self, handle: int) -> None:
        self.handle = handle


def _value(x: Any) -> int:
    """The number in a ctypes value, or the number."""
    return int(getattr(x, "value", x) or 0)


def _target(reference: Any) -> Any:
    """What a `byref` refers to."""
    return reference._obj
