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

# jobs(n, chunks, record): n parallel jobs; a chunk is record[0] units of work, and before every job
# the caller alone does record[1] units. A unit is a dependent step of integer work, or, with
# record[2] = 1, a tick of the clock, which no other machine's load on the same silicon can stretch.
JOBS = """
declare void @fb_parallel(ptr, ptr, i64)

declare i64 @llvm.readcyclecounter()

define internal void @work(ptr %r, i64 %n) {
  %how.p = getelementptr i64, ptr %r, i64 2
  %how = load i64, ptr %how.p
  %timed = icmp ne i64 %how, 0
  br i1 %timed, label %ticks, label %steps
ticks:
  %start = call i64 @llvm.readcyclecounter()
  br label %wait
wait:
  %now = call i64 @llvm.readcyclecounter()
  %gone = sub i64 %now, %start
  %early = icmp slt i64 %gone, %n
  br i1 %early, label %wait, label %out
steps:
  call void @steps(i64 %n)
  br label %out
out:
  ret void
}

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
  call void @work(ptr %r, i64 %n)
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
  call void @work(ptr %r, i64 %idle)
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

    def __init__(self, timed: bool) -> None:
        self.call = jit.load(JOBS, "benchmark jobs", jit.host_target()).function("jobs")
        self.record = np.array([10_000_000, 0, timed])
        with pool.threads(1):
            self.unit = best(lambda: self.call(1, 1, self.record.ctypes.data)) / 1e7

    def seconds(self, chunks: int, each: float, idle: float = 0.0, jobs: int = 100,
                counts: tuple[int, ...] = (1, 2)) -> list[float]:
        """Median seconds per job of `chunks` chunks that last `each` seconds, with `idle` between
        jobs, for so many threads; the thread counts take turns."""
        self.record[:2] = each / self.unit, idle / self.unit
        address = self.record.ctypes.data
        runs: dict[int, list[float]] = {n: [] for n in counts}
        for _ in range(21):
            for n in counts:
                with pool.threads(n):
                    self.call(3, chunks, address)
                    runs[n] += times(lambda: self.call(jobs, chunks, address), 1)
        return [statistics.median(runs[n]) / jobs - idle for n in counts]


def row(name: str, *cells: str) -> None:
    print(f"{name:<52}" + "".join(f"{c:>15}" for c in cells))


def joins(jobs: Jobs) -> None:
    row("parallel job (medians)", "serial", "2 threads", "overhead")
    for each in (0.0, 2e-6, 10e-6, 50e-6):
        serial, both = jobs.seconds(2, each)
        row(f"  2 chunks of {each * 1e6:.0f} us", us(serial), us(both), us(both - each))
    for idle in (10e-6, 20e-6, 40e-6, 100e-6, 500e-6):
        serial, both = jobs.seconds(2, 50e-6, idle)
        row(f"  2 chunks of 50 us, {idle * 1e6:.0f} us alone before each", us(serial), us(both),
            us(both - 50e-6))
    for idle in (0.0, 100e-6):
        serial, both, five = jobs.seconds(40, 10e-6, idle, 20, (1, 2, 5))
        row(f"  40 chunks of 10 us, {idle * 1e6:.0f} us alone before each", us(serial), us(both),
            us(both - 200e-6), us(five) + " on 5")


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
        serial, both = jobs.seconds(chunks, each, jobs=max(10, int(0.05 / (chunks * each))))
        row(f"  {chunks} chunks of {each * 1e6:.0f} us", us(serial), us(both),
            f"{both / serial:.2f}")
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
    joins(Jobs(timed=True))
    neighbour(Jobs(timed=False))
    allocation()
    loads()
    epochs()


if __name__ == "__main__":
    main()
