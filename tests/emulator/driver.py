"""An emulated CUDA driver with the names and the habits of `pycuda.driver`.

`Driver()` stands in PyCUDA's place. Every call is noted in `calls`, in order. Work on streams runs
at once, or, with lazy=True, as late as the program allows: when somebody waits for it, each stream
for itself, so that a missing wait is seen. A kernel's fault is raised as LaunchError where the
host notices it, and the device is broken from then on, as a real one would be.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from emulator import libcuda
from emulator.faults import Fault, PtxError
from emulator.machine import Geometry, Loaded, Machine
from emulator.queues import Queue, Work

VERSION = (13, 0, 0)
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
WARP = 32
LIMITS = {"MAX_THREADS_PER_BLOCK": 1024, "MAX_BLOCK_DIM_X": 1024, "MAX_BLOCK_DIM_Y": 1024,
          "MAX_BLOCK_DIM_Z": 64, "MAX_GRID_DIM_X": 2 ** 31 - 1, "MAX_GRID_DIM_Y": 65535,
          "MAX_GRID_DIM_Z": 65535, "WARP_SIZE": WARP, "MAX_SHARED_MEMORY_PER_BLOCK": 48 << 10,
          "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 227 << 10, "MULTIPROCESSOR_COUNT": 4,
          "MAX_REGISTERS_PER_BLOCK": 65536, "MAX_THREADS_PER_MULTIPROCESSOR": 2048,
          "CLOCK_RATE": 1_000_000, "MEMORY_CLOCK_RATE": 1_000_000, "GLOBAL_MEMORY_BUS_WIDTH": 256,
          "L2_CACHE_SIZE": 4 << 20, "TOTAL_CONSTANT_MEMORY": 64 << 10, "UNIFIED_ADDRESSING": 1,
          "CONCURRENT_KERNELS": 1, "ASYNC_ENGINE_COUNT": 2, "INTEGRATED": 0, "ECC_ENABLED": 0,
          "PCI_BUS_ID": 1, "PCI_DEVICE_ID": 0, "PCI_DOMAIN_ID": 0, "COMPUTE_MODE": 0}


class Error(Exception):
    """Any error of the driver."""


class LogicError(Error):
    """A call that makes no sense."""


class LaunchError(Error):
    """A kernel failed; `__cause__` is the emulator's fault."""


class OutOfMemory(Error):
    """Not enough device memory: PyCUDA's MemoryError."""


class RuntimeError_(Error):
    """PyCUDA's RuntimeError."""


class Names:
    """An enumeration: every upper-case attribute is its own value."""

    def __getattr__(self, name: str) -> str:  # for names that are not known
        raise AttributeError(name)

    def __init__(self, known: tuple[str, ...]) -> None:
        for name in known:
            setattr(self, name, name)


@dataclass(frozen=True)
class Call:
    """One call of the driver: its name, its arguments, the handle of its stream (None: no
    stream)."""

    name: str
    arguments: tuple[Any, ...]
    stream: int | None = None


class Driver:
    """The module's stand-in: `devices` emulated devices with `memory` bytes each.

    strict: kernels that read memory nobody wrote are faulty. limit: instructions of a launch's
    chunk.
    """

    Error, LogicError, LaunchError, MemoryError = Error, LogicError, LaunchError, OutOfMemory
    RuntimeError = RuntimeError_
    Device: Any
    Context: Any
    Stream: Any
    Event: Any
    function_attribute = Names(("MAX_DYNAMIC_SHARED_SIZE_BYTES", "NUM_REGS", "SHARED_SIZE_BYTES",
                                "LOCAL_SIZE_BYTES", "CONST_SIZE_BYTES", "MAX_THREADS_PER_BLOCK",
                                "PREFERRED_SHARED_MEMORY_CARVEOUT"))
    device_attribute = Names((*LIMITS, "COMPUTE_CAPABILITY_MAJOR", "COMPUTE_CAPABILITY_MINOR"))
    event_flags = Names(("DEFAULT", "BLOCKING_SYNC", "DISABLE_TIMING"))
    ctx_flags = Names(("SCHED_AUTO", "SCHED_SPIN", "SCHED_YIELD", "SCHED_BLOCKING_SYNC",
                       "MAP_HOST"))
    jit_option = Names(("MAX_REGISTERS", "OPTIMIZATION_LEVEL", "TARGET"))

    def __init__(self, devices: int = 1, memory: int = 256 << 20, sm: int = 90, lazy: bool = False,
                 strict: bool = True, races: bool = True, limit: int = 2_000_000) -> None:
        self.machines = [Machine(memory, sm, strict, races, limit, number)
                         for number in range(devices)]
        self.calls: list[Call] = []
        self.lazy = lazy
        self.initialised = False
        self.stack: list[Any] = []  # contexts, the current one last
        self.queues: list[Queue] = [Queue() for _ in range(devices)]
        self.broken: list[Fault | None] = [None] * devices
        self.handles = 0
        self.capturing: dict[int, list[Callable[[], None]]] = {}
        self.apart: set[int] = set()  # streams that the default one does not wait for
        self.ticks = 0
        self.library = libcuda.Library(self)
        self.cublas: Any = None  # emulator.cublas.Cublas(driver) where a test wants it
        for kind in (Device, Context, Stream, Event):
            setattr(self, kind.__name__, type(kind.__name__, (kind,), {"driver": self}))

    # -- bookkeeping ---------------------------------------------------------------------------

    def note(self, name: str, *arguments: Any, stream: int | None = None) -> None:
        """Remembers a call. Raises what a real driver raises for every call in this state."""
        self.calls.append(Call(name, arguments, stream))
        if not self.initialised and name != "init":
            raise LogicError(f"{name} failed: initialization error (init was not called)")

    def names(self) -> list[str]:
        """The names of the calls so far."""
        return [c.name for c in self.calls]

    def handle(self) -> int:
        self.handles += 16
        return 0x5000_0000 + self.handles

    @property
    def number(self) -> int:
        """The current context's device. Raises LogicError when there is no context."""
        if not self.stack:
            raise LogicError("invalid device context: no context is current")
        return int(self.stack[-1].device.number)

    @property
    def machine(self) -> Machine:
        """The current device, unless a kernel has broken it."""
        number = self.number
        self.check(number)
        return self.machines[number]

    def check(self, number: int) -> None:
        fault = self.broken[number]
        if fault is not None:
            raise LaunchError(f"launch failed: {fault}") from fault

    def holder(self, address: int, size: int, name: str) -> tuple[Machine, Any]:
        """The machine and the bytes of a range. Raises LogicError when it is nobody's."""
        for machine in self.machines:
            span = machine.memory.span(address, size)
            if span is not None:
                return machine, span
        raise LogicError(f"{name} failed: invalid argument ({size} bytes at {address:#x} are no "
                         "part of one allocation)")

    def enqueue(self, stream: Any, run: Callable[[], None], wait: bool = False) -> None:
        """Work on a stream, or on the default one; `wait`: the host waits for it."""
        number = self.number
        self.check(number)
        handle = 0 if stream is None else int(stream.handle)
        if handle in self.capturing:
            if wait:
                raise LogicError("operation not permitted when stream is capturing")
            self.capturing[handle].append(run)
            return
        if handle == 0 and self.capturing.keys() - self.apart:
            raise LogicError("operation would make the legacy stream depend on a capturing stream")
        work = self.queues[number].add(handle, lambda: self._guarded(number, run))
        if wait or not self.lazy:
            self.finish(number, work)

    def _guarded(self, number: int, run: Callable[[], None]) -> None:
        if self.broken[number] is None:
            try:
                run()
            except Fault as fault:
                self.broken[number] = fault

    def finish(self, number: int, work: Work | None) -> None:
        """Runs what must run for the work to be done. Raises LaunchError."""
        if work is not None:
            work.run()
        self.check(number)

    # -- the module's functions ----------------------------------------------------------------

    def init(self, flags: int = 0) -> None:
        self.note("init")
        self.initialised = True

    def get_version(self) -> tuple[int, int, int]:
        return VERSION

    def get_driver_version(self) -> int:
        return VERSION[0] * 1000 + VERSION[1] * 10

    def mem_get_info(self) -> tuple[int, int]:
        self.note("mem_get_info")
        memory = self.machine.memory
        return memory.size - memory.used, memory.size

    def mem_alloc(self, size: int) -> DeviceAllocation:
        self.note("mem_alloc", size)
        if size <= 0:
            raise LogicError("cuMemAlloc failed: invalid argument")
        address = self.machine.memory.allocate(size)
        if address is None:
            raise OutOfMemory("cuMemAlloc failed: out of memory")
        return DeviceAllocation(self, address, size, self.number)

    def _free(self, address: int) -> None:
        self.note("mem_free", address)
        for number, machine in enumerate(self.machines):
            if machine.memory.span(address, 0) is not None:
                self.finish(number, self.queues[number].everything())  # freeing waits
                if machine.memory.free(address):
                    return
        raise LogicError(f"cuMemFree failed: invalid argument ({address:#x})")

    def memcpy_htod(self, dest: Any, src: Any) -> None:
        self._copy_in("memcpy_htod", dest, src, None, True)

    def memcpy_htod_async(self, dest: Any, src: Any, stream: Any = None) -> None:
        self._copy_in("memcpy_htod_async", dest, src, stream, False)

    def _copy_in(self, name: str, to: Any, source: Any, stream: Any, wait: bool) -> None:
        data = host_bytes(source)
        self.note(name, int(to), data.nbytes, stream=_handle(stream))
        machine, span = self.holder(int(to), data.nbytes, name)
        address = int(to)

        def run() -> None:
            span[:] = data
            machine.memory.written(address, data.nbytes)
        self.enqueue(stream, run, wait)

    def memcpy_dtoh(self, dest: Any, src: Any) -> None:
        self._copy_out("memcpy_dtoh", dest, src, None, True)

    def memcpy_dtoh_async(self, dest: Any, src: Any, stream: Any = None) -> None:
        self._copy_out("memcpy_dtoh_async", dest, src, stream, False)

    def _copy_out(self, name: str, to: Any, source: Any, stream: Any, wait: bool) -> None:
        data = host_bytes(to)
        if not data.flags.writeable:
            raise LogicError(f"{name}: expected an array that can be written, got a read-only one")
        self.note(name, data.nbytes, int(source), stream=_handle(stream))
        _, span = self.holder(int(source), data.nbytes, name)
        self.enqueue(stream, lambda: np.copyto(data, span), wait)

    def memcpy_dtod(self, dest: Any, src: Any, size: int) -> None:
        self._copy("memcpy_dtod", dest, src, size, None)

    def memcpy_dtod_async(self, dest: Any, src: Any, size: int, stream: Any = None) -> None:
        self._copy("memcpy_dtod_async", dest, src, size, stream)

    def memcpy_peer(self, dest: Any, src: Any, size: int, dest_context: Any = None,
                    src_context: Any = None) -> None:
        self._copy("memcpy_peer", dest, src, size, None)

    def memcpy_peer_async(self, dest: Any, src: Any, size: int, dest_context: Any = None,
                          src_context: Any = None, stream: Any = None) -> None:
        self._copy("memcpy_peer_async", dest, src, size, stream)

    def _copy(self, name: str, to: Any, source: Any, size: int, stream: Any) -> None:
        a, b = int(to), int(source)
        self.note(name, a, b, size, stream=_handle(stream))
        here, target = self.holder(a, size, name)
        there, origin = self.holder(b, size, name)
        if here is there and max(a, b) < min(a, b) + size:
            raise LogicError(f"{name}: expected two ranges that do not overlap, got {a:#x} and "
                             f"{b:#x} of {size} bytes")
        if here is not there and "dtod" in name:
            raise LogicError(f"{name}: expected memory of one device, got two (memcpy_peer)")

        def run() -> None:
            target[:] = origin
            here.memory.copy_shadow(a, there.memory, b, size)
        self.enqueue(stream, run)

    def memset_d8(self, dest: Any, data: int, size: int) -> None:
        self._fill("memset_d8", dest, data, size, None, np.uint8)

    def memset_d8_async(self, dest: Any, data: int, size: int, stream: Any = None) -> None:
        self._fill("memset_d8_async", dest, data, size, stream, np.uint8)

    def memset_d16(self, dest: Any, data: int, size: int) -> None:
        self._fill("memset_d16", dest, data, size, None, np.uint16)

    def memset_d16_async(self, dest: Any, data: int, size: int, stream: Any = None) -> None:
        self._fill("memset_d16_async", dest, data, size, stream, np.uint16)

    def memset_d32(self, dest: Any, data: int, size: int) -> None:
        self._fill("memset_d32", dest, data, size, None, np.uint32)

    def memset_d32_async(self, dest: Any, data: int, size: int, stream: Any = None) -> None:
        self._fill("memset_d32_async", dest, data, size, stream, np.uint32)

    def _fill(self, name: str, to: Any, value: int, count: int, stream: Any, kind: type) -> None:
        address, size = int(to), count * np.dtype(kind).itemsize
        self.note(name, address, value, count, stream=_handle(stream))
        machine, span = self.holder(address, size, name)

        def run() -> None:
            span.view(kind)[...] = value
            machine.memory.written(address, size)
        self.enqueue(stream, run)

    def pagelocked_empty(self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0
                         ) -> np.ndarray[Any, Any]:
        self.note("pagelocked_empty", shape, np.dtype(dtype).name)
        made = np.empty(shape, dtype, order)  # type: ignore[call-overload]
        made.reshape(-1).view(np.uint8)[...] = 0xDB  # nobody may rely on what was there
        return made

    def pagelocked_zeros(self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0
                         ) -> np.ndarray[Any, Any]:
        self.note("pagelocked_zeros", shape, np.dtype(dtype).name)
        return np.zeros(shape, dtype, order)  # type: ignore[call-overload]

    def module_from_buffer(self, buffer: bytes, options: Any = (), message_handler: Any = None
                           ) -> Module:
        self.note("module_from_buffer", len(buffer))
        machine = self.machine
        try:
            if bytes(buffer[:4]) == b"\x7fELF":
                raise PtxError("expected PTX, got machine code: the emulator has no such processor")
            loaded = machine.load(bytes(buffer).rstrip(b"\0").decode())
            for name, function in loaded.module.functions.items():
                if function.entry:
                    loaded.code(name)
        except PtxError as error:
            if message_handler is not None:
                message_handler(False, "", str(error))
            raise LogicError(f"cuModuleLoadDataEx failed: a PTX JIT compilation failed: {error}"
                             ) from error
        if message_handler is not None:
            message_handler(True, "", "")
        return Module(self, loaded, self.number)


def host_bytes(data: Any) -> np.ndarray[Any, Any]:
    """A contiguous host buffer as bytes, sharing its memory. Raises LogicError when it is not."""
    array = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        raise LogicError("expected contiguous memory of the host, got strides "
                         f"{array.strides} for {array.shape}")
    return array.reshape(-1, order="A").view(np.uint8)


def _handle(stream: Any) -> int:
    return 0 if stream is None else int(stream.handle)


class DeviceAllocation:
    """Device memory that is freed when the object is."""

    def __init__(self, driver: Driver, address: int, size: int, number: int) -> None:
        self.driver, self.address, self.size, self.number = driver, address, size, number
        self.held = True

    def free(self) -> None:
        if not self.held:
            raise LogicError("DeviceAllocation.free failed: invalid handle (freed before)")
        self.held = False
        self.driver._free(self.address)

    def __int__(self) -> int:
        return self.address

    __index__ = __int__

    def as_buffer(self, size: int, offset: int = 0) -> Any:
        raise LogicError("as_buffer: expected managed memory, got device memory")

    def __del__(self) -> None:
        if self.held:
            self.held = False
            self.driver.queues[self.number].everything().run()  # freeing waits for the device
            self.driver.machines[self.number].memory.free(self.address)


class Device:
    """One emulated device."""

    driver: Driver

    def __init__(self, number: int) -> None:
        self.driver.note("Device", number)
        if not 0 <= number < len(self.driver.machines):
            raise LogicError("cuDeviceGet failed: invalid device ordinal")
        self.number = number

    @classmethod
    def count(cls) -> int:
        cls.driver.note("Device.count")
        return len(cls.driver.machines)

    def name(self) -> str:
        return "Emulated GPU"

    def pci_bus_id(self) -> str:
        return f"0000:{self.number + 1:02X}:00.0"

    def compute_capability(self) -> tuple[int, int]:
        return divmod(self.driver.machines[self.number].sm, 10)

    def total_memory(self) -> int:
        return self.driver.machines[self.number].memory.size

    def get_attribute(self, name: Any) -> int:
        major, minor = self.compute_capability()
        known = {**LIMITS, "COMPUTE_CAPABILITY_MAJOR": major, "COMPUTE_CAPABILITY_MINOR": minor}
        if name not in known:
            raise LogicError(f"cuDeviceGetAttribute failed: invalid argument ({name})")
        return known[name]

    def get_attributes(self) -> dict[str, int]:
        return {n: self.get_attribute(n) for n in vars(self.driver.device_attribute)}

    def can_access_peer(self, other: Device) -> bool:
        return self.number != other.number

    def __getattr__(self, name: str) -> int:
        if name.upper() in LIMITS:
            return self.get_attribute(name.upper())
        raise AttributeError(name)

    def retain_primary_context(self) -> Context:
        self.driver.note("Device.retain_primary_context", self.number)
        return self.driver.Context(self)  # type: ignore[attr-defined,no-any-return]

    def make_context(self, flags: int = 0) -> Context:
        raise LogicError("make_context: expected retain_primary_context, got a new context")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.number == self.number

    def __hash__(self) -> int:
        return hash(self.number)


class Context:
    """A device's primary context."""

    driver: Driver

    def __init__(self, device: Device) -> None:
        self.device = device

    def push(self) -> None:
        self.driver.note("Context.push", self.device.number)
        self.driver.stack.append(self)

    @classmethod
    def pop(cls) -> None:
        cls.driver.note("Context.pop")
        if not cls.driver.stack:
            raise LogicError("context::pop failed: invalid device context (nothing was pushed)")
        cls.driver.stack.pop()

    @classmethod
    def get_current(cls) -> Context | None:
        return cls.driver.stack[-1] if cls.driver.stack else None

    @classmethod
    def get_device(cls) -> Device:
        return cls.driver.stack[cls.driver.number and -1].device  # type: ignore[no-any-return]

    @classmethod
    def synchronize(cls) -> None:
        cls.driver.note("Context.synchronize")
        number = cls.driver.number
        if cls.driver.capturing:
            raise LogicError("cuCtxSynchronize failed: operation not permitted when stream is "
                             "capturing")
        cls.driver.finish(number, cls.driver.queues[number].everything())

    def detach(self) -> None:
        self.driver.note("Context.detach", self.device.number)


class Stream:
    """A queue of work."""

    driver: Driver

    def __init__(self, flags: int = 0) -> None:
        self.handle = self.driver.handle()
        self.number = self.driver.number
        if flags & NON_BLOCKING:
            self.driver.apart.add(self.handle)
        self.driver.note("Stream", flags, stream=self.handle)

    @property
    def queue(self) -> Queue:
        return self.driver.queues[self.number]

    def synchronize(self) -> None:
        self.driver.note("Stream.synchronize", stream=self.handle)
        if self.handle in self.driver.capturing:
            raise LogicError("cuStreamSynchronize failed: operation not permitted when stream is "
                             "capturing")
        self.driver.finish(self.number, self.queue.last(self.handle))

    def is_done(self) -> bool:
        self.driver.note("Stream.is_done", stream=self.handle)
        last = self.queue.last(self.handle)
        return last is None or last.done

    def wait_for_event(self, event: Event) -> None:
        self.driver.note("Stream.wait_for_event", event.number, stream=self.handle)
        if self.handle not in self.driver.capturing:
            self.queue.follow(self.handle, event.work)


class Event:
    """A moment in a stream's work."""

    driver: Driver

    def __init__(self, flags: Any = 0) -> None:
        self.number = self.driver.handle()
        self.device = self.driver.number
        self.work: Work | None = None
        self.recorded = False
        self.time = 0

    def record(self, stream: Any = None) -> Event:
        handle = _handle(stream)
        self.driver.note("Event.record", self.number, stream=handle)
        self.driver.check(self.device)
        if handle in self.driver.capturing:
            return self
        self.recorded = True
        self.work = self.driver.queues[self.device].add(handle, self._reached)
        if not self.driver.lazy:
            self.driver.finish(self.device, self.work)
        return self

    def _reached(self) -> None:
        self.driver.ticks += 1
        self.time = self.driver.ticks

    def synchronize(self) -> Event:
        self.driver.note("Event.synchronize", self.number)
        self.driver.finish(self.device, self.work)
        return self

    def query(self) -> bool:
        self.driver.note("Event.query", self.number)
        return self.work is None or self.work.done

    def time_till(self, other: Event) -> float:
        """Milliseconds: one for each event reached in between."""
        if not self.recorded or not other.recorded:
            raise LogicError("cuEventElapsedTime failed: invalid handle (not recorded)")
        if not (self.query() and other.query()):
            raise LogicError("cuEventElapsedTime failed: device not ready")
        return float(other.time - self.time)

    def time_since(self, other: Event) -> float:
        return other.time_till(self)


class Module:
    """PTX on a device."""

    def __init__(self, driver: Driver, loaded: Loaded, number: int) -> None:
        self.driver, self.loaded, self.number = driver, loaded, number

    def get_function(self, name: str) -> Function:
        self.driver.note("Module.get_function", name)
        try:
            self.loaded.code(name)
        except KeyError:
            raise LogicError(f"cuModuleGetFunction failed: named symbol not found ({name})"
                             ) from None
        return Function(self, name)

    def get_global(self, name: str) -> tuple[int, int]:
        self.driver.note("Module.get_global", name)
        space, address = self.loaded.symbols.get(name, ("", 0))
        if space != "global":
            raise LogicError(f"cuModuleGetGlobal failed: named symbol not found ({name})")
        return address, self.loaded.sizes[name]


class Function:
    """A kernel."""

    def __init__(self, module: Module, name: str) -> None:
        self.module, self.name, self.driver = module, name, module.driver
        self.code = module.loaded.code(name)
        self.arg_format = ""
        self.dynamic = LIMITS["MAX_SHARED_MEMORY_PER_BLOCK"] - self.code.shared_bytes
        self.num_regs = min(255, max(16, len(self.code.function.registers) // 2))
        self.shared_size_bytes = self.code.shared_bytes
        self.local_size_bytes = self.code.local_bytes
        self.const_size_bytes = 0
        self.max_threads_per_block = int(np.prod(self.code.function.limits.get(
            "maxntid", (LIMITS["MAX_THREADS_PER_BLOCK"],))))

    def get_attribute(self, name: str) -> int:
        known = {"NUM_REGS": self.num_regs, "SHARED_SIZE_BYTES": self.shared_size_bytes,
                 "LOCAL_SIZE_BYTES": self.local_size_bytes, "CONST_SIZE_BYTES": 0,
                 "MAX_THREADS_PER_BLOCK": self.max_threads_per_block,
                 "MAX_DYNAMIC_SHARED_SIZE_BYTES": self.dynamic}
        return known[name]

    def set_attribute(self, name: str, value: int) -> None:
        self.driver.note("Function.set_attribute", self.name, name, value)
        if name == "MAX_DYNAMIC_SHARED_SIZE_BYTES":
            limit = LIMITS["MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"] - self.code.shared_bytes
            if value > limit:
                raise LogicError(f"cuFuncSetAttribute failed: invalid argument ({value} bytes of "
                                 f"shared memory, of {limit})")
            self.dynamic = value

    def prepare(self, arg_types: Any) -> Function:
        letters = [np.dtype(t).char if isinstance(t, type) and issubclass(t, np.number) else t
                   for t in arg_types]
        self.arg_format = "".join(letters)
        return self

    def prepared_async_call(self, grid: Any, block: Any, stream: Any, *args: Any,
                            shared_size: int = 0) -> None:
        data = struct.pack("@" + self.arg_format, *map(_number, args))
        self._launch("launch", grid, block, stream, data, args, shared_size or 0)

    def prepared_call(self, grid: Any, block: Any, *args: Any, shared_size: int = 0) -> None:
        self.prepared_async_call(grid, block, None, *args, shared_size=shared_size)

    def __call__(self, *args: Any, grid: Any = (1, 1), block: Any, stream: Any = None,
                 shared: int = 0) -> None:
        letters = [a.dtype.char if isinstance(a, np.number) else "P" for a in args]
        if any(type(a) in (int, float) for a in args):
            raise TypeError("invalid type on parameter: expected NumPy scalars or allocations, got "
                            "a Python number")
        data = struct.pack("@" + "".join(letters), *map(_number, args))
        self._launch("launch", grid, block, stream, data, args, shared)

    def _launch(self, name: str, grid: Any, block: Any, stream: Any, data: bytes,
                args: tuple[Any, ...], shared: int) -> None:
        shape, threads = _three(grid), _three(block)
        self.driver.note(name, self.name, shape, threads, tuple(map(_number, args)), shared,
                         stream=_handle(stream))
        self._check(shape, threads, shared, len(data))
        if self.driver.machine is not self.module.loaded.machine:
            raise LogicError("cuLaunchKernel failed: invalid resource handle (another device's)")
        self.driver.enqueue(stream, Launched(self, Geometry(shape, threads, shared), data))

    def _check(self, grid: tuple[int, int, int], block: tuple[int, int, int], shared: int,
               size: int) -> None:
        wrong = [f"{what} {value} of {limit}" for what, value, limit in [
            *((f"grid {a}", grid[i], LIMITS[f"MAX_GRID_DIM_{a}"]) for i, a in enumerate("XYZ")),
            *((f"block {a}", block[i], LIMITS[f"MAX_BLOCK_DIM_{a}"]) for i, a in enumerate("XYZ")),
            ("threads", int(np.prod(block)), self.max_threads_per_block),
            ("dynamic shared bytes", shared, self.dynamic)] if value > limit]
        wrong += [f"{what} {value}" for what, value in (("grid", grid), ("block", block))
                  if min(value) < 1]
        if size != self.code.parameter_bytes:
            wrong.append(f"{size} bytes of parameters instead of {self.code.parameter_bytes}")
        if wrong:
            raise LogicError(f"cuLaunchKernel failed: invalid argument ({self.name}: "
                             f"{', '.join(wrong)})")


@dataclass(frozen=True)
class Launched:
    """A launch that is due: what a graph's kernel node holds."""

    function: Function
    geometry: Geometry
    data: bytes  # the packed parameters

    def __call__(self) -> None:
        loaded = self.function.module.loaded
        loaded.machine.launch(loaded, self.function.name, self.geometry, self.data)


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.number) else \
        value if isinstance(value, int | float) else int(value)


def _three(shape: Any) -> tuple[int, int, int]:
    full = (*map(int, shape), 1, 1)[:3]
    return full[0], full[1], full[2]
