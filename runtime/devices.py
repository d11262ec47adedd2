"""Devices by name: the contract of one, and where to find it.

A device is a module with `device(index)`, which gives an object with the methods of `Device`. It is
imported when somebody first names it. `cpu` and `cuda:N` hold memory; `reference` and `null` are
ways to evaluate what lies in the host's memory, and realize.py knows them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from flambeau.compiler.target import Target

_MODULES = {"cpu": "flambeau.runtime.host", "cuda": "flambeau.runtime.cuda"}

Late = Callable[[Any], Exception]  # an error found while running, with the user's line


class Memory(Protocol):
    """A block of a device's memory, alive as long as the object is; `memory.Buffer` on the host."""

    nbytes: int
    exported: bool
    device: str

    @property
    def address(self) -> int:
        """Where host code finds it. Raises memory.Elsewhere for a device's memory."""

    def array(self, dtype: Any, shape: tuple[int, ...], writable: bool = False) -> np.ndarray:
        """The values as a NumPy array: the host's memory itself, or a copy of a device's."""


class Executable(Protocol):
    """A program loaded on a device."""

    program: Any
    source: str
    seconds: float
    simple: bool

    def start(self, inputs: Sequence[Any], outputs: Sequence[Any], scalars: Sequence[Any],
              late: Late | None = None) -> None:
        """Runs on these memories; `late` completes errors that are found after this returns."""


class Device(Protocol):
    """What a device can do."""

    name: str

    def target(self) -> Target:
        """What the compiler must know of it."""

    def allocate(self, nbytes: int) -> Any:
        """Uninitialised memory. Raises MemoryError."""

    def copy_in(self, to: Any, array: np.ndarray) -> None:
        """A C-contiguous array's bytes into memory; the array may change once this returns."""

    def copy_out(self, source: Any, array: np.ndarray) -> None:
        """Memory's bytes into a C-contiguous array, complete when this returns."""

    def copy(self, to: Any, source: Any) -> None:
        """As many bytes as `to` has, from memory of this device or of another of its kind."""

    def load(self, digest: str, build: Any, target: Target) -> Any:
        """The executable of a structure: from a cache, else from `build()`."""

    def synchronize(self) -> None:
        """Waits for everything started. Raises what went wrong since the last look."""


_found: dict[str, Any] = {}
_listeners: list[Callable[[], None]] = []  # told when devices are forgotten


def find(name: str) -> Any:
    """The device of a canonical name ("cpu", "cuda:0"). Raises ValueError for an unknown kind, and
    what the device raises when it is not there."""
    known = _found.get(name)
    if known is None:
        known = _found[name] = kind(name).device(int(name.partition(":")[2] or 0))
    return known


def kind(name: str) -> Any:
    """The module of a device's kind."""
    module = _MODULES.get(name.partition(":")[0])
    if module is None:
        raise ValueError(f"device: expected {' or '.join(_MODULES)}, got {name!r}")
    return importlib.import_module(module)


def forget() -> None:
    """Devices are looked for anew: for tests that change the driver."""
    _found.clear()
    for tell in _listeners:
        tell()


def on_forget(tell: Callable[[], None]) -> None:
    """`tell` is called whenever devices are looked for anew."""
    _listeners.append(tell)


def move(source: Any, to: str) -> Any:
    """A copy of memory on another device (or the same one)."""
    here, there = find(source.device), find(to)
    made = there.allocate(source.nbytes)
    if here.name.partition(":")[0] == there.name.partition(":")[0]:
        there.copy(made, source)
    elif source.device == "cpu":
        there.copy_in(made, source.array(np.uint8, (source.nbytes,)))
    else:
        here.copy_out(source, made.array(np.uint8, (source.nbytes,), writable=True))
        made.exported = False  # the array above died
    return made
