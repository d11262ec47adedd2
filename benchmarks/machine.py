#!/usr/bin/env python3
"""What this machine can do at best, for the limits in the report: python benchmarks/machine.py

Multiply-adds in registers, and reading and copying among each cache level and memory, by kernels
of our own, on one thread and on more at once.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flambeau.compiler.config import override
from flambeau.compiler.target import Target
from flambeau.runtime import jit

CHAINS = 12  # of multiply-adds that do not wait for each other
STREAMS = 8  # vectors read at once
ROUNDS = 20000

# name(out, x, record): record is (vectors, repeats); repeats of a walk over x
WALK = """
target triple = "{triple}"
target datalayout = "{layout}"
{declare}
define void @{name}(ptr %out, ptr %x, ptr %record) "prefer-vector-width"="{bits}" {{
entry:
  %n = load i64, ptr %record
  %r.p = getelementptr i64, ptr %record, i64 1
  %repeats = load i64, ptr %r.p
  br label %outer
outer:
  %r = phi i64 [ 0, %entry ], [ %r.next, %outer.end ]
{outer}
  br label %inner
inner:
  %i = phi i64 [ 0, %outer ], [ %i.next, %inner ]
{inner}
  %i.next = add i64 %i, {step}
  %more = icmp slt i64 %i.next, %n
  br i1 %more, label %inner, label %outer.end
outer.end:
  %r.next = add i64 %r, 1
  %again = icmp slt i64 %r.next, %repeats
  br i1 %again, label %outer, label %out.end
out.end:
{end}
  ret void
}}
"""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    found = measure(0.05 if args.quick else 0.4)
    print(json.dumps(found) if args.json else words(found))


def words(found: dict[str, Any]) -> str:
    """For a person."""
    lines = [f"{found['processor']}, {found['cores']} cores, {found['vector_bytes']} byte vectors"]
    for threads, f in found["threads"].items():
        lines.append(f"{threads} threads: {f['flops']['float32'] / 1e9:.0f} GFLOP/s float32, "
                     f"{f['flops']['float64'] / 1e9:.0f} float64")
        lines += [f"  {level['name']:<7} read {level['read'] / 1e9:7.1f} GB/s, "
                  f"copy {level['copy'] / 1e9:7.1f} GB/s (read and written)"
                  for level in f["levels"]]
    return "\n".join(lines)


def measure(seconds: float) -> dict[str, Any]:
    """Flops and bytes a second; levels from the smallest up, each with the bytes it holds."""
    target = jit.host_target()
    cores = os.cpu_count() or 1
    made: dict[str, Any] = {"processor": processor(), "cores": cores, "system": platform.system(),
                            "vector_bytes": target.vector_bytes, "threads": {}}
    for threads in sorted({1, min(2, cores), cores}):
        made["threads"][str(threads)] = {
            "flops": {t: flops(target, t, threads, seconds) for t in ("float32", "float64")},
            "levels": [bandwidth(target, name, holds, use, threads, seconds)
                       for name, holds, use in levels(target)]}
    return made


def levels(target: Target) -> list[tuple[str, float, int]]:
    """(name, bytes it holds, bytes to measure with)."""
    sizes = jit._cache_sizes()
    made: list[tuple[str, float, int]] = [(f"L{i + 1}", float(size), size // 2)
                                          for i, size in enumerate(sizes) if size]
    return [*made, ("memory", float("1e30"), max(64 << 20, 4 * max(sizes)))]


def code(target: Target, name: str, parts: dict[str, str], step: int, declare: str = "") -> Any:
    """A kernel from its parts."""
    text = WALK.format(name=name, triple=target.triple, layout=target.data_layout, step=step,
                       bits=target.vector_bytes * 8, declare=declare, **parts)
    with override(cache="off"):
        return jit.load(text, text, target).function(name)


def carried(type: str, count: int, first: str) -> tuple[str, str]:
    """Values carried through both loops: the lines of the outer and of the inner one."""
    outer = [f"  %o{k} = phi {type} [ {first}, %entry ], [ %v{k}, %outer.end ]"
             for k in range(count)]
    inner = [f"  %a{k} = phi {type} [ %o{k}, %outer ], [ %v{k}, %inner ]" for k in range(count)]
    return "\n".join(outer), "\n".join(inner)


def stored(type: str, count: int) -> str:
    """The lines that keep carried values alive."""
    return "\n".join(f"  %e{k} = getelementptr {type}, ptr %out, i64 {k}\n"
                     f"  store {type} %v{k}, ptr %e{k}, align 8" for k in range(count))


def flops(target: Target, dtype: str, threads: int, seconds: float) -> float:
    """Of independent chains of multiply-adds in registers."""
    scalar, size = {"float32": ("float", 4), "float64": ("double", 8)}[dtype]
    lanes = target.lanes(size)
    type, code_of = f"<{lanes} x {scalar}>", f"v{lanes}f{8 * size}"
    outer, inner = carried(type, CHAINS, "zeroinitializer")
    fma = f"@llvm.fmuladd.{code_of}({type} %a{{k}}, {type} %f, {type} %f)"
    inner += "".join(f"\n  %v{k} = call {type} " + fma.format(k=k) for k in range(CHAINS))
    outer += f"\n  %f = load {type}, ptr %x, align 8"
    run = code(target, "peak", {"outer": outer, "inner": inner, "end": stored(type, CHAINS)}, 1,
               f"declare {type} @llvm.fmuladd.{code_of}({type}, {type}, {type})")
    jobs = [job(run, 4096, 4096, ROUNDS, 1) for _ in range(threads)]
    return threads * 2 * CHAINS * lanes * ROUNDS / together(jobs, seconds)


def bandwidth(target: Target, name: str, holds: float, use: int, threads: int, seconds: float
              ) -> dict[str, Any]:
    """Bytes a second, read alone, and read and written in a copy (by our kernel or the C library's,
    whichever is faster); `use` bytes in all for each thread."""
    lanes = target.lanes(8)
    type, group = f"<{lanes} x i64>", STREAMS * target.vector_bytes
    outer, inner = carried(type, STREAMS, "zeroinitializer")
    copying = ""
    for k in range(STREAMS):
        at = (f"\n  %j{k} = add i64 %i, {k}\n  %p{k} = getelementptr {type}, ptr %x, i64 %j{k}"
              f"\n  %l{k} = load {type}, ptr %p{k}, align 64")
        inner += f"{at}\n  %v{k} = xor {type} %a{k}, %l{k}"
        copying += (f"{at}\n  %q{k} = getelementptr {type}, ptr %out, i64 %j{k}"
                    f"\n  store {type} %l{k}, ptr %q{k}, align 64")
    read = code(target, "read", {"outer": outer, "inner": inner, "end": stored(type, STREAMS)},
                STREAMS)
    copy = code(target, "copy", {"outer": "", "inner": copying, "end": ""}, STREAMS)
    whole = use // group * group
    half = use // 2 // group * group
    repeats = max(1, (4 << 20) // use)
    vectors = target.vector_bytes
    reads = [job(read, 4096, whole, whole // vectors, repeats) for _ in range(threads)]
    copies = [job(copy, half, half, half // vectors, repeats) for _ in range(threads)]
    moves = [library_copy(half, repeats) for _ in range(threads)]
    moved = 2 * half * repeats * threads
    return {"name": name, "holds": holds,
            "read": whole * repeats * threads / together(reads, seconds),
            "copy": moved / min(together(copies, seconds), together(moves, seconds))}


def aligned(nbytes: int) -> np.ndarray:
    """Zeros that begin on a page."""
    base = np.zeros(nbytes + 4096, np.uint8)
    base[::4096] = 0  # so that every page is there
    return base[-base.ctypes.data % 4096:][:nbytes]


def job(run: Any, out_bytes: int, x_bytes: int, vectors: int, repeats: int) -> Callable[[], Any]:
    """One call of a kernel over memory of its own."""
    out, x, record = aligned(out_bytes), aligned(x_bytes), np.array([vectors, repeats], np.int64)

    def call() -> None:
        run(out.ctypes.data, x.ctypes.data, record.ctypes.data)
    return call


def library_copy(nbytes: int, repeats: int) -> Callable[[], Any]:
    """The C library's copy."""
    out, x = aligned(nbytes), aligned(nbytes)

    def call() -> None:
        for _ in range(repeats):
            ctypes.memmove(out.ctypes.data, x.ctypes.data, nbytes)
    return call


def together(jobs: list[Callable[[], Any]], seconds: float) -> float:
    """Seconds of the best round in which each thread does its job, all at once."""
    best, rounds, end = float("inf"), 0, time.perf_counter() + seconds
    barrier = threading.Barrier(len(jobs))
    spans: list[float] = [0.0] * len(jobs)

    def one(i: int) -> None:
        barrier.wait()
        start = time.perf_counter()
        jobs[i]()
        spans[i] = time.perf_counter() - start
    while True:
        threads = [threading.Thread(target=one, args=(i,)) for i in range(1, len(jobs))]
        for thread in threads:
            thread.start()
        one(0)
        for thread in threads:
            thread.join()
        best, rounds = min(best, max(spans)), rounds + 1
        if rounds >= 3 and time.perf_counter() > end:
            return best


def processor() -> str:
    """Its name, where the system says."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
