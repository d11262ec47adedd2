"""The thread pool: `fb_parallel` in LLVM IR, and the Python that steers it.

    void fb_parallel(ptr fn, ptr ctx, i64 chunks)   calls fn(ctx, i) once for each i in [0, chunks)

Laws:
* The caller works too, and waits only for chunks that some worker has claimed. A worker that the
  system has not scheduled costs nothing: the others take its share.
* `claim` counts the chunks left. Subtracting one from a positive count claims a chunk of whatever
  job is current, and that job cannot end before the chunk is done, so the job's record is read only
  after a claim. A late worker finds a count of zero or less and touches nothing.
* One job at a time. Whoever finds the pool busy (a nested call, another Python thread) runs its
  chunks itself, one after the other. Nobody ever waits for the pool.
* Workers spin for a moment, then sleep until the next job. Those beyond the limit are parked.
* A job of less than a millisecond is shared only if that was faster: both ways are timed now and
  then (6 first runs, then 1 ms each of every 67), so jobs that waking a worker costs more than
  it gains, or that a busy neighbour holds up, run on the caller alone. Bits do not depend on it.

The worker threads never touch Python. A forked child starts with an empty pool.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from flambeau.compiler.config import config
from flambeau.runtime import cache, jit
from flambeau.runtime.pool_code import source

MAX_THREADS = 1024
SPIN_SECONDS = 50e-6  # how long an idle worker polls before it sleeps; a caller: a third of it

# -- what Python sees --------------------------------------------------------------------------

_wanted = 0  # threads asked for; 0: not decided yet


def num_threads() -> int:
    """Threads that take part in a parallel loop, the caller included."""
    global _wanted
    if not _wanted:
        _wanted = _default_threads()
    return _wanted


def set_num_threads(n: int) -> None:
    """Sets how many threads take part, the caller included: 1 to 1024, more than cores allowed."""
    global _wanted
    if not 1 <= n <= MAX_THREADS:
        raise ValueError(f"set_num_threads: expected 1 to {MAX_THREADS} threads, got {n}")
    _wanted = int(n)
    if _native.cache_info().currsize:
        _native().limit(_wanted, _spins(_native()))


@contextmanager
def threads(n: int) -> Iterator[None]:
    """`with threads(2):` the number of threads for a while."""
    before = num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


def address() -> int:
    """The address of `fb_parallel`; makes the pool (no thread starts before the first job)."""
    return _native().parallel_address


def threads_address() -> int:
    """The address of `fb_pool_threads`."""
    return _native().code.address("fb_pool_threads")


def workers() -> int:
    """Worker threads that exist now."""
    return int(_native().started()) if _native.cache_info().currsize else 0


jit.provide("fb_parallel", address)
jit.provide("fb_pool_threads", threads_address)


# -- how many ----------------------------------------------------------------------------------

def _default_threads() -> int:
    for value in (config.num_threads, _integer(os.environ.get("OMP_NUM_THREADS"))):
        if value > 0:
            return min(value, MAX_THREADS)
    return min(_allowed_cores(), MAX_THREADS)


def _integer(text: str | None) -> int:
    """The first number of '4' or '4,2'; 0 when there is none."""
    head = (text or "").split(",")[0].strip()
    return int(head) if head.isdigit() else 0


def _allowed_cores() -> int:
    """Cores that affinity and the cgroup's quota leave to this process, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _cgroup_cores()
    return max(1, min(cores, quota) if quota else cores)


def _cgroup_cores() -> int:
    """The cgroup's CPU quota rounded up to whole cores; 0 when there is none (v2, then v1)."""
    try:
        group = Path("/proc/self/cgroup").read_text().strip().rsplit("::", 1)[-1].split("\n")[0]
    except OSError:
        return 0
    root = Path("/sys/fs/cgroup")
    for where in (root / group.lstrip("/"), root):
        quota = _quota(where / "cpu.max")
        if quota:
            return quota
    return _quota(root / "cpu/cpu.cfs_quota_us", root / "cpu/cpu.cfs_period_us")


def _quota(*files: Path) -> int:
    try:
        words = " ".join(f.read_text() for f in files).split()
        return -(-int(words[0]) // int(words[1])) if int(words[0]) > 0 else 0
    except (OSError, ValueError, IndexError, ZeroDivisionError):
        return 0


# -- the native part ---------------------------------------------------------------------------

class _Native:
    """The pool's machine code, loaded once and never unloaded: its workers run in it."""

    def __init__(self) -> None:
        target = jit.host_target()
        text = source(target.triple)
        self.code = jit.load(text, cache.digest("pool", text), target)
        self.parallel_address = self.code.address("fb_parallel")
        integer, none = ctypes.c_int64, None
        self.limit = ctypes.CFUNCTYPE(none, integer, integer)(self.code.address("fb_pool_limit"))
        self.reset = ctypes.CFUNCTYPE(none)(self.code.address("fb_pool_reset"))
        self.spin = ctypes.CFUNCTYPE(none, integer)(self.code.address("fb_pool_spin"))
        self.always = ctypes.CFUNCTYPE(none, integer)(self.code.address("fb_pool_always"))
        self.started = ctypes.CFUNCTYPE(integer)(self.code.address("fb_pool_started"))
        self.pause_seconds = self._time_pause()

    def _time_pause(self) -> float:
        """Seconds of one polling step: the least of a few tries, as a neighbour may interrupt."""
        best = 1.0
        for _ in range(5):
            start = time.perf_counter()
            self.spin(1000)
            best = min(best, (time.perf_counter() - start) / 1000)
        return max(best, 1e-9)


@lru_cache(maxsize=1)
def _native() -> _Native:
    native = _Native()
    native.limit(num_threads(), _spins(native))
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_reset_child)
    return native


def _reset_child() -> None:
    """The parent's workers do not exist here: forget them, and any job they were at."""
    native = _native()
    native.reset()
    native.limit(num_threads(), _spins(native))


def _spins(native: _Native) -> int:
    """Polling steps before sleep; few when the threads outnumber the cores they poll on."""
    seconds = SPIN_SECONDS if num_threads() <= _allowed_cores() else SPIN_SECONDS / 20
    return max(1, int(seconds / native.pause_seconds))


def describe() -> dict[str, object]:
    """Facts for `python -m flambeau info`."""
    return {"threads": num_threads(), "cores allowed": _allowed_cores(), "workers": workers(),
            "system": f"{platform.system()} {platform.machine()}", "python": sys.version.split()[0]}
