"""The device `cpu`: host memory and native code, behind the contract of devices.py.

The hot paths of the frontend call memory.py and execute.py themselves; this file is for code that
works on any device.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from flambeau.compiler.target import Target
from flambeau.runtime import execute, jit, memory


class Host:
    """This machine."""

    name = "cpu"

    def target(self) -> Target:
        """The processor."""
        return jit.host_target()

    def allocate(self, nbytes: int) -> memory.Buffer:
        """Uninitialised memory."""
        return memory.allocate(nbytes)

    def copy_in(self, to: memory.Buffer, array: np.ndarray) -> None:
        """A C-contiguous array's bytes into memory."""
        ctypes.memmove(to.address, array.__array_interface__["data"][0], array.nbytes)

    def copy_out(self, source: memory.Buffer, array: np.ndarray) -> None:
        """Memory's bytes into a C-contiguous array."""
        ctypes.memmove(array.__array_interface__["data"][0], source.address, array.nbytes)

    def copy(self, to: memory.Buffer, source: memory.Buffer) -> None:
        """As many bytes as `to` has."""
        ctypes.memmove(to.address, source.address, to.nbytes)

    def load(self, digest: str, build: Any, target: Target) -> execute.Executable:
        """The executable of a structure: from disk, else from `build()`."""
        return execute.load(digest, build, target)

    def synchronize(self) -> None:
        """Nothing runs after a call returns."""


_host = Host()


def device(index: int) -> Host:
    """The one host."""
    return _host
