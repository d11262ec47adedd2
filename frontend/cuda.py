"""`fb.cuda`: NVIDIA GPUs, streams, events, and the memory on them.

Names are PyTorch's; Torch7's cutorch names (getDevice, setDevice, getDeviceCount, synchronize,
getMemoryUsage, ...) stand beside them in snake_case.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flambeau.runtime import devices
from flambeau.runtime.cuda import drivers, streams
from flambeau.runtime.cuda.streams import Event as Event
from flambeau.runtime.cuda.streams import Stream as _Stream

from .devices import resolve
from .random import manual_seed as _manual_seed


def is_available() -> bool:
    """Can tensors be put on a GPU?"""
    return not drivers.reason()


def why_not() -> str:
    """What is missing for CUDA, or "" when nothing is."""
    return drivers.reason()


def device_count() -> int:
    """How many GPUs can be used; 0 when anything is missing (Torch7 getDeviceCount)."""
    return drivers.count()


def current_device() -> int:
    """The number of this thread's current GPU: what "cuda" means (Torch7 getDevice)."""
    return drivers.current_device()


def set_device(device: Any) -> None:
    """Makes a GPU this thread's current one, by its number or "cuda:1" (Torch7 setDevice).

    Raises RuntimeError when it is not there.
    """
    drivers.set_device(_index("set_device", device))


@contextmanager
def device(device: Any) -> Iterator[int]:
    """`with fb.cuda.device(1):` another GPU is the current one inside."""
    before = drivers.current_device()
    drivers.set_device(_index("device", device))
    try:
        yield drivers.current_device()
    finally:
        drivers.set_device(before)


def _index(name: str, device: Any = None) -> int:
    """A GPU's number, from None (the current one), a number or "cuda:1"."""
    if isinstance(device, int):
        return int(drivers.check(name, device))
    where = resolve(name, "cuda" if device is None else device)
    if where == "cpu":
        raise ValueError(f"{name}: expected a GPU, got 'cpu'")
    return int(where.partition(":")[2])


def _gpu(name: str, device: Any = None) -> Any:
    return devices.find(f"cuda:{_index(name, device)}")


# -- what it is ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Properties:
    """Facts about a GPU. total_memory: bytes."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int


def get_device_properties(device: Any = None) -> Properties:
    """Name, compute capability, memory and processors (Torch7 getDeviceProperties)."""
    index = _index("get_device_properties", device)
    driver = drivers.current()
    found = driver.Device(index)
    major, minor = found.compute_capability()
    count = driver.device_attribute.MULTIPROCESSOR_COUNT
    return Properties(found.name(), major, minor, int(found.total_memory()),
                      int(found.get_attribute(count)))


def get_device_name(device: Any = None) -> str:
    """The GPU's name."""
    return get_device_properties(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """Its compute capability, as (9, 0)."""
    found = get_device_properties(device)
    return found.major, found.minor


def driver_version() -> tuple[int, ...]:
    """The CUDA version that the driver's interface was built for."""
    drivers.check("driver_version", 0)
    return tuple(drivers.current().get_version())


# -- memory ----------------------------------------------------------------------------------------


def memory_info(device: Any = None) -> tuple[int, int]:
    """Bytes (free, total) on a GPU, as the driver counts (Torch7 getMemoryUsage)."""
    index = _index("memory_info", device)
    with drivers.active(index):
        free, total = drivers.current().mem_get_info()
    return int(free), int(total)


mem_get_info = memory_info


def memory_allocated(device: Any = None) -> int:
    """Bytes that tensors and programs hold."""
    return int(memory_stats(device)["current"])


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that tensors and programs held at once."""
    return int(memory_stats(device)["peak"])


def memory_reserved(device: Any = None) -> int:
    """Bytes taken from the driver: held, or idle and kept for reuse."""
    return int(memory_stats(device)["reserved"])


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes taken from the driver at once."""
    return int(memory_stats(device)["peak_reserved"])


memory_peak = max_memory_allocated


def memory_stats(device: Any = None) -> dict[str, int]:
    """current, peak, reserved, peak_reserved and cached bytes; allocations by the driver, and
    retries after it was full."""
    return dict(_gpu("memory_stats", device).pool.statistics())


def reset_peak_memory_stats(device: Any = None) -> None:
    """Starts the peaks again from what is held now."""
    _gpu("reset_peak_memory_stats", device).pool.reset_peak()


def empty_cache(device: Any = None) -> int:
    """Gives idle memory back to the driver; how many bytes."""
    return int(_gpu("empty_cache", device).empty_cache())


# -- time ------------------------------------------------------------------------------------------


def synchronize(device: Any = None) -> None:
    """Waits for all work on a GPU. Raises what it found wrong, as indices out of range."""
    _gpu("synchronize", device).synchronize()


class Stream(_Stream):
    """A queue of work of its own: `s = fb.cuda.Stream(); with fb.cuda.stream(s): ...`.

    Streams are taken from a pool, and what one computes is waited for where another reads it.
    """

    def __new__(cls, device: Any = None) -> Any:
        return streams.fresh(_index("Stream", device))

    def __init__(self, device: Any = None) -> None:
        pass


def current_stream(device: Any = None) -> _Stream:
    """The stream on which this thread's work for a GPU runs."""
    return streams.current(_index("current_stream", device))


def default_stream(device: Any = None) -> _Stream:
    """CUDA's default stream of a GPU."""
    return streams.default(_index("default_stream", device))


stream = streams.using


def manual_seed(seed: int) -> Any:
    """Starts the random numbers of that seed: one generator serves every device (fb.manual_seed).
    """
    return _manual_seed(seed)


manual_seed_all = manual_seed
get_device, get_device_count, get_memory_usage = current_device, device_count, memory_info
