"""Threads and memory: what the machine gives Flambeau, and what Flambeau holds."""

from __future__ import annotations

import os as _os
import time as _time

from flambeau.runtime import memory as _memory
from flambeau.runtime.pool import num_threads, set_num_threads, threads

_wanted = 0  # threads to come back to after openmp.disable()


def memory(device: str = "cpu") -> dict[str, int]:
    """Bytes held by tensors and programs: `current`, `peak`, `cached` (kept for reuse) and counts.

    Raises ValueError for a device whose memory is not managed here.
    """
    if device != "cpu":
        raise ValueError(f"memory: expected device 'cpu', got {device!r}")
    return _memory.memory()


def reset_peak_memory() -> None:
    """Starts `memory()["peak"]` again from the current bytes."""
    _memory.reset_peak()


def empty_cache() -> None:
    """Gives memory that is kept for reuse back to the system."""
    _memory.empty_cache()


def tic() -> float:
    """The clock now, in seconds: what `toc` takes. Torch7 tic."""
    return _time.perf_counter()


def toc(start: float) -> float:
    """Seconds since `tic` gave start. Torch7 toc."""
    return _time.perf_counter() - start


def num_cores() -> int:
    """Processors that this process may use. Torch7 getnumcores."""
    return len(_os.sched_getaffinity(0)) if hasattr(_os, "sched_getaffinity") else (
        _os.cpu_count() or 1)


class openmp:
    """Torch7's `openmp` package: the number of threads under its old names."""

    @staticmethod
    def disable() -> None:
        """One thread from now on."""
        global _wanted
        _wanted = num_threads()
        set_num_threads(1)

    @staticmethod
    def enable() -> None:
        """As many threads as before `disable`."""
        if _wanted:
            set_num_threads(_wanted)

    @staticmethod
    def set_num_threads(n: int) -> None:
        """n threads. Torch7 openmp.setDefaultNumThreads."""
        set_num_threads(n)

    @staticmethod
    def get_num_threads() -> int:
        """The number of threads. Torch7 openmp.getNumThreads."""
        return num_threads()


__all__ = ["empty_cache", "memory", "num_cores", "num_threads", "openmp", "reset_peak_memory",
           "set_num_threads", "threads", "tic", "toc"]
