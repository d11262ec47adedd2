"""A GPU as a device of devices.py: memory, copies, loading, waiting."""

from __future__ import annotations

import functools
import time
import weakref
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from flambeau.compiler import launch
from flambeau.compiler.config import config, say, wanted
from flambeau.compiler.launch import GpuProgram
from flambeau.compiler.target import Target, nvptx
from flambeau.runtime import cache, jit
from flambeau.runtime.cuda import blas, drivers, streams
from flambeau.runtime.cuda.allocator import DeviceBuffer, Pool
from flambeau.runtime.cuda.programs import Executable
from flambeau.runtime.cuda.transfers import Staging, raw

# the processors that LLVM knows by name; PTX for one runs on all later ones
KNOWN = (75, 80, 86, 87, 89, 90, 100, 101, 103, 120, 121)


class Gpu:
    """One NVIDIA GPU."""

    def __init__(self, index: int) -> None:
        drivers.check("cuda", index)
        self.index, self.name = index, f"cuda:{index}"
        self.pool, self.staging = Pool(index), Staging(index)
        self.running: set[Executable] = set()  # whose error words nobody has looked at since
        self.executables: weakref.WeakSet[Executable] = weakref.WeakSet()
        self._target: Target | None = None

    def target(self) -> Target:
        """Its processor. Raises RuntimeError for compute capabilities before 7.5."""
        if self._target is None:
            driver = drivers.current()
            device = driver.Device(self.index)
            major, minor = device.compute_capability()
            sm = 10 * major + minor
            if sm < KNOWN[0]:
                raise RuntimeError(f"cuda: expected compute capability 7.5 or later, got {major}."
                                   f"{minor} ({self.name})")
            count = device.get_attribute(driver.device_attribute.MULTIPROCESSOR_COUNT)
            self._target = nvptx(max(k for k in KNOWN if k <= sm), int(count))
        if config.cublas == "off" or blas.library() is None:
            return self._target
        return replace(self._target, library=config.cublas)

    @functools.cached_property
    def cublas(self) -> blas.Blas:
        """cuBLAS's handle and workspace."""
        return blas.Blas(self)

    def allocate(self, nbytes: int) -> DeviceBuffer:
        """Uninitialised memory, 512-byte aligned. Raises MemoryError that says what holds it."""
        block = self.pool.take(nbytes)
        return DeviceBuffer(self.name, block.pointer, nbytes, block, self)

    def wrap(self, pointer: int, nbytes: int, owner: Any) -> DeviceBuffer:
        """Another library's memory as a buffer that keeps `owner` alive. No copy."""
        return DeviceBuffer(self.name, pointer, nbytes, None, self, owner)

    def copy_in(self, to: DeviceBuffer, array: np.ndarray) -> None:
        """A C-contiguous array's bytes into memory, in the order of the current stream."""
        with drivers.active(self.index):
            stream = streams.current(self.index)
            to.use(stream)
            self.staging.to_device(to.pointer, raw(array), stream)

    def copy_out(self, source: DeviceBuffer, array: np.ndarray, start: int = 0) -> None:
        """Memory's bytes from `start` on into a C-contiguous array. Raises what went wrong since
        the last look, and what was wrong with the program that should have written this memory."""
        if source.failed is not None:
            raise source.failed
        with drivers.active(self.index):
            stream = streams.current(self.index)
            source.use(stream)
            self._finish(lambda: self.staging.to_host(raw(array), source.pointer + start, stream))
            self._look(stream)

    def copy(self, to: DeviceBuffer, source: DeviceBuffer) -> None:
        """As many bytes as `to` has, from this GPU or another one."""
        driver = drivers.current()
        with drivers.active(self.index):
            stream = streams.current(self.index)
            to.use(stream)
            if source.device == self.name:
                source.use(stream)
                if to.nbytes:
                    driver.memcpy_dtod_async(to.pointer, source.pointer, to.nbytes, stream.given)
                return
        there = source.source
        with drivers.active(there.index):  # ordered after the source's work by the host
            streams.current(there.index).synchronize()
        with drivers.active(self.index):
            if to.nbytes:
                driver.memcpy_peer_async(to.pointer, source.pointer, to.nbytes,
                                         drivers.context(self.index),
                                         drivers.context(there.index), stream.given)
            stream.synchronize()  # then the source may be written again

    def load(self, digest: str, build: Any, target: Target) -> Executable:
        """The executable of a structure: plan and PTX from disk, else from `build()`."""
        start = time.perf_counter()
        name = "gpu-" + jit.cache_name(digest, target)
        found, source = cache.read(name), "disk"
        program = _from_plain(found[0]) if found else None
        if program is None or found is None:
            program, ir = build()
            ptx, source = jit.ptx(ir, target).encode(), "compiled"
            cache.write(name, asdict(program), ptx)
        else:
            ptx = found[1]
        if wanted(5):
            say("ptx", ptx.decode(), 5)
        made = Executable(self, program, ptx, target.cpu, source, 0.0)
        made.seconds = time.perf_counter() - start
        self.executables.add(made)
        return made

    def synchronize(self) -> None:
        """Waits for all work on the device. Raises what went wrong since the last look."""
        with drivers.active(self.index):
            self._finish(drivers.wait)
            self._look(streams.current(self.index))

    def empty_cache(self) -> int:
        """Gives idle memory back to the driver; how many bytes."""
        return self.pool.empty()

    def _look(self, stream: Any) -> None:
        """Raises what the error words of programs say."""
        for executable in list(self.running):
            self.running.discard(executable)
            executable.raise_errors(stream)

    def _finish(self, wait: Any) -> None:
        driver = drivers.current()
        try:
            wait()
        except driver.MemoryError:
            raise
        except driver.Error as error:  # an access out of bounds is a LogicError to PyCUDA
            raise RuntimeError(f"{self.name}: expected all kernels to end well, got: {error}; this "
                               "process cannot use the device any more") from None


def _from_plain(plain: dict[str, Any]) -> GpuProgram | None:
    try:
        return launch.from_plain(plain)
    except (KeyError, TypeError, ValueError):
        return None
