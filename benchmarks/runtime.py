"""What the runtime costs: python benchmarks/runtime.py

Joins of the thread pool (awake, asleep, beside a busy process), allocation, calls, compiled and
cached loads, the epoch driver. Times are the best of several runs unless a column says otherwise.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flambeau.compiler.config import override
from flambeau.runtime import epoch, jit, memory, pool

# jobs(n, chunks, record): n parallel jobs; a chunk is record[0] dependent steps of integer work,
# and before every job the caller alone does record[1] steps.
JOBS = """
declare void @fb_parallel(ptr, ptr, i64)

define internal void @steps(i64 %n) noinline {
entry:
  %none = icmp sle i64 %n, 0
  br i1 %none, label %out, label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %next = add i64 %i, 1
  call void asm sideeffect "", "r"(i64 %next)
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %out
out:
  ret void
}

define internal void @chunk(ptr %r, i64 %i) {
  %n = load i64, ptr %r
  call void @steps(i64 %n)
  ret void
}

define void @jobs(ptr %n.p, ptr %chunks.p, ptr %r) {
entry:
  %n = ptrtoint ptr %n.p to i64
  %chunks = ptrtoint ptr %chunks.p to i64
  %idle.p = getelementptr i64, ptr %r, i64 1
  %idle = load i64, ptr %idle.p
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  call void @steps(i64 %idle)
  call void @fb_parallel(ptr @chunk, ptr %r, i64 %chunks)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %out
out:
  ret void
}

define void @empty(ptr %a, ptr %b, ptr %c) {
  ret void
}
"""


def best(work: Callable[[], object], repeat: int = 7) -> float:
    """Seconds of the fastest of a few runs."""
    return min(times(work, repeat))


def times(work: Callable[[], object], repeat: int) -> list[float]:
    out = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        out.append(time.perf_counter() - start)
    return out


class Jobs:
    """Runs parallel jobs of a known size."""

    def __init__(self) -> None:
        self.call = jit.load(JOBS, "benchmark jobs", jit.host_target()).function("jobs")
        self.record = np.zeros(2, np.int64)
        with pool.threads(1):
            self.record[0] = 10_000_000
            self.step = best(lambda: self.call(1, 1, self.record.ctypes.data)) / 1e7

    def seconds(self, threads: int, chunks: int, each: float, idle: float = 0.0, jobs: int = 2000,
                middle: bool = False) -> float:
        """Seconds per job of `chunks` chunks that last `each` seconds, `idle` between jobs."""
        self.record[:] = each / self.step, idle / self.step
        address = self.record.ctypes.data
        with pool.threads(threads):
            self.call(50, chunks, address)
            runs = times(lambda: self.call(jobs, chunks, address), 7)
        return (statistics.median(runs) if middle else min(runs)) / jobs - idle


def row(name: str, *cells: str) -> None:
    print(f"{name:<52}" + "".join(f"{c:>15}" for c in cells))


def joins(jobs: Jobs) -> None:
    row("parallel job, 2 threads", "serial", "parallel", "overhead")
    for each in (0.0, 2e-6, 10e-6, 50e-6):
        serial, both = jobs.seconds(1, 2, each), jobs.seconds(2, 2, each)
        row(f"  2 chunks of {each * 1e6:.0f} us, workers awake", us(serial), us(both),
            us(both - serial / 2))
    for idle in (20e-6, 100e-6, 500e-6):
        serial, both = (jobs.seconds(n, 2, 50e-6, idle, 400) for n in (1, 2))
        row(f"  2 chunks of 50 us, {idle * 1e6:.0f} us alone before each", us(serial), us(both),
            us(both - serial / 2))
    with_five = jobs.seconds(5, 40, 10e-6, jobs=200)
    row("  40 chunks of 10 us, 5 threads", us(jobs.seconds(1, 40, 10e-6, jobs=200)), us(with_five))


def burn() -> None:
    while True:
        pass


def neighbour(jobs: Jobs) -> None:
    """One other process keeps one core busy; medians, because the luck differs from run to run."""
    row("beside a busy process (medians)", "serial", "2 threads", "ratio")
    context = multiprocessing.get_context("spawn")
    burner = context.Process(target=burn, daemon=True)
    burner.start()
    time.sleep(1.0)
    for chunks, each in ((2, 10e-6), (8, 10e-6), (64, 10e-6), (16, 200e-6)):
        many = max(20, int(0.3 / (chunks * each)))
        serial, both = (jobs.seconds(n, chunks, each, jobs=many, middle=True) for n in (1, 2))
        row(f"  {chunks} chunks of {each * 1e6:.0f} us", us(serial), us(both), f"{both / serial:.2f}")
    burner.terminate()
    burner.join()


def allocation() -> None:
    row("allocate and drop", "per buffer")
    for nbytes in (64, 4096, 1 << 20, 64 << 20):
        memory.allocate(nbytes)

        def loop(nbytes: int = nbytes) -> None:
            for _ in range(20000):
                memory.allocate(nbytes)

        row(f"  {nbytes} bytes", us(best(loop) / 20000))
    buffer = memory.allocate(4096)
    array = np.zeros(1024)
    row("  array over a buffer", us(best(lambda: [buffer.array(
        np.float64, (512,)) for _ in range(2000)]) / 2000))
    row("  wrap an array", us(best(lambda: [memory.wrap(array) for _ in range(2000)]) / 2000))


def loads() -> None:
    code = jit.load(JOBS, "benchmark jobs", jit.host_target())
    function = code.function("empty")

    def calls() -> None:
        for _ in range(20000):
            function(1, 2, 3)

    row("machine code", "time")
    row("  call of an empty program", us(best(calls) / 20000))
    target = jit.host_target()
    with tempfile.TemporaryDirectory() as folder, override(cache=folder):
        found: dict[str, list[float]] = {}
        for i in range(30):
            jit.forget()
            for _ in range(2):
                loaded = jit.load(JOBS, f"benchmark {i // 2}", target)
                found.setdefault(loaded.cached, []).append(loaded.seconds)
    for how, seconds in found.items():
        row(f"  load, {how}", us(statistics.median(seconds)))


def epochs() -> None:
    data = memory.allocate(1000 * 3136)
    staging = memory.allocate(60 * 3136)
    table = (ctypes.c_void_p * 1)()
    entry = jit.load(JOBS, "benchmark jobs", jit.host_target()).address("empty")
    job = epoch.EpochJob(entry, ctypes.addressof(table), 0, 0, 10,
                         [epoch.Stream(data.address, 1000, 3136, 0, staging.address)])
    row("epoch driver, 10 rows of 3136 bytes a step", "per step")
    for name, order in (("in order", None), ("permuted", np.random.permutation(1000))):
        job.permute(order)
        row(f"  rows {name}", us(best(lambda: [job.run(0, 100) for _ in range(20)]) / 2000))


def us(seconds: float) -> str:
    return f"{seconds * 1e6:.2f} us"


def commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, {pool.describe()}, commit {commit()}")
    jobs = Jobs()
    joins(jobs)
    neighbour(jobs)
    allocation()
    loads()
    epochs()


if __name__ == "__main__":
    main()
