"""A driver with PyCUDA's names that notes every call and keeps device memory in NumPy arrays.

Kernels do not run. `library` stands for libcuda, where graphs come from.
"""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import numpy as np


class Library:
    """libcuda's functions for graphs."""

    def __init__(self, calls: list[tuple[Any, ...]]) -> None:
        self.calls = calls
        self.number = itertools.count(0x9000)
        self.fail = ""

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            plain = tuple(a.value if hasattr(a, "value") else None for a in arguments)
            self.calls.append((name, *plain))
            if name == self.fail:
                return 901
            if name in ("cuStreamEndCapture", "cuGraphInstantiateWithFlags"):
                where = arguments[1 if name == "cuStreamEndCapture" else 0]
                where._obj.value = next(self.number)
            if name == "cuGetErrorName":
                arguments[1]._obj.value = b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"
            return 0
        return call


class Driver:
    """As the module pycuda.driver. devices: how many; memory: bytes of each."""

    class Error(Exception):
        pass

    class LogicError(Error):
        pass

    class MemoryError(Error):
        pass

    class LaunchError(Error):
        pass

    class function_attribute:
        MAX_DYNAMIC_SHARED_SIZE_BYTES = 8

    def __init__(self, devices: int = 1, memory: int = 1 << 20, capability: tuple[int, int] = (9, 0)
                 ) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.stack: list[int] = []
        self.held: dict[int, np.ndarray] = {}
        self.memory, self.capability, self.devices = memory, capability, devices
        self.next = itertools.count(0x10_0000_0000, 0x1_0000_0000)
        self.handle = itertools.count(0x70)
        self.library = Library(self.calls)
        self.refuse = ""  # module_from_buffer's complaint
        self.broken = False  # waiting raises LaunchError
        driver = self

        class Device:
            def __init__(self, index: int) -> None:
                self.index = index

            @staticmethod
            def count() -> int:
                return driver.devices

            def name(self) -> str:
                return f"Recording GPU {self.index}"

            def compute_capability(self) -> tuple[int, int]:
                return driver.capability

            def total_memory(self) -> int:
                return driver.memory

            def get_attribute(self, attribute: Any) -> int:
                return 7

            def retain_primary_context(self) -> Context:
                driver.note("retain", self.index)
                return Context(self.index)

        class Context:
            def __init__(self, index: int) -> None:
                self.index = index

            def push(self) -> None:
                driver.stack.append(self.index)

            @staticmethod
            def pop() -> None:
                driver.stack.pop()

            @staticmethod
            def synchronize() -> None:
                driver.note("synchronize")
                driver.wait()

        class Stream:
            def __init__(self, flags: int = 0) -> None:
                driver.note("stream")
                self.handle = next(driver.handle)

            def synchronize(self) -> None:
                driver.note("stream synchronize", self.handle)
                driver.wait()

            def is_done(self) -> bool:
                return True

            def wait_for_event(self, event: Event) -> None:
                driver.note("wait", self.handle, event.number)

        class Event:
            def __init__(self) -> None:
                self.number = next(driver.handle)

            def record(self, stream: Any = None) -> Event:
                driver.note("record", driver.of(stream), self.number)
                return self

            def synchronize(self) -> None:
                driver.note("event synchronize", self.number)
                driver.wait()

            def query(self) -> bool:
                return True

            def time_till(self, end: Event) -> float:
                return 0.25

        self.Device, self.Context, self.Stream, self.Event = Device, Context, Stream, Event

    def note(self, *call: Any) -> None:
        assert self.stack or call[0] == "retain", f"{call}: no context is current"
        self.calls.append((*call, f"on {self.stack[-1]}") if self.stack else call)

    def wait(self) -> None:
        if self.broken:
            raise self.LaunchError("cuStreamSynchronize failed: an illegal memory access")

    @staticmethod
    def of(stream: Any) -> int:
        return 0 if stream is None else stream.handle

    def init(self) -> None:
        pass

    def get_version(self) -> tuple[int, int, int]:
        return (13, 0, 0)

    # -- memory --------------------------------------------------------------------------------
    def used(self) -> int:
        return sum(a.nbytes for a in self.held.values())

    def mem_get_info(self) -> tuple[int, int]:
        return self.memory - self.used(), self.memory

    def mem_alloc(self, nbytes: int) -> Allocation:
        if self.used() + nbytes > self.memory:
            raise self.MemoryError("cuMemAlloc failed: out of memory")
        pointer = next(self.next)
        self.held[pointer] = np.full(nbytes, 0xAB, np.uint8)
        self.note("alloc", nbytes)
        return Allocation(self, pointer)

    def bytes_at(self, pointer: int, nbytes: int) -> np.ndarray:
        for base, held in self.held.items():
            if base <= pointer and pointer + nbytes <= base + held.nbytes:
                return held[pointer - base:pointer - base + nbytes]
        raise AssertionError(f"{nbytes} bytes at {pointer:#x} are not allocated")

    def pagelocked_empty(self, shape: Any, dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype)

    def memcpy_htod_async(self, to: int, source: np.ndarray, stream: Any = None) -> None:
        self.note("htod", source.nbytes, self.of(stream))
        self.bytes_at(to, source.nbytes)[:] = source

    def memcpy_dtoh_async(self, to: np.ndarray, source: int, stream: Any = None) -> None:
        self.note("dtoh", to.nbytes, self.of(stream))
        to[:] = self.bytes_at(source, to.nbytes)

    def memcpy_dtod_async(self, to: int, source: int, nbytes: int, stream: Any = None) -> None:
        self.note("dtod", nbytes, self.of(stream))
        self.bytes_at(to, nbytes)[:] = self.bytes_at(source, nbytes)

    def memcpy_peer_async(self, to: int, source: int, nbytes: int, to_context: Any,
                          source_context: Any, stream: Any = None) -> None:
        self.note("peer", nbytes, source_context.index, to_context.index)
        self.bytes_at(to, nbytes)[:] = self.bytes_at(source, nbytes)

    def memset_d8_async(self, to: int, value: int, nbytes: int, stream: Any = None) -> None:
        self.note("memset", value, nbytes, self.of(stream))
        self.bytes_at(to, nbytes)[:] = value

    # -- code ----------------------------------------------------------------------------------
    def module_from_buffer(self, data: bytes, options: Any = (), message_handler: Any = None
                           ) -> Module:
        self.note("module", len(data))
        if self.refuse:
            message_handler(False, "", self.refuse)
            raise self.LogicError("cuModuleLoadDataEx failed: device kernel image is invalid")
        return Module(self)


class Allocation:
    def __init__(self, driver: Driver, pointer: int) -> None:
        self.driver, self.pointer = driver, pointer

    def __int__(self) -> int:
        return self.pointer

    def free(self) -> None:
        self.driver.note("free", self.driver.held.pop(self.pointer).nbytes)


class Module:
    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def get_function(self, name: str) -> Function:
        return Function(self.driver, name)


class Function:
    num_regs, local_size_bytes = 32, 0

    def __init__(self, driver: Driver, name: str) -> None:
        self.driver, self.name, self.format = driver, name, ""

    def prepare(self, arg_types: str) -> Function:
        self.format = arg_types
        return self

    def set_attribute(self, attribute: int, value: int) -> None:
        self.driver.note("attribute", self.name, attribute, value)

    def prepared_async_call(self, grid: Any, block: Any, stream: Any, *args: int,
                            shared_size: int = 0) -> None:
        assert len(args) == len(self.format) and set(self.format) <= {"P"}
        for pointer in args:
            assert isinstance(pointer, int) and ctypes.c_uint64(pointer).value == pointer
        self.driver.note("launch", self.name, grid, block, self.driver.of(stream), args,
                         shared_size)
