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

MAX_THREADS = 1024
SPIN_SECONDS = 30e-6  # how long an idle worker polls before it sleeps; a caller: a third of it

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


def workers() -> int:
    """Worker threads that exist now."""
    return int(_native().started()) if _native.cache_info().currsize else 0


jit.provide("fb_parallel", address)


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


# -- its source --------------------------------------------------------------------------------

_FUTEX_CALL = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
_PAUSE = {"x86_64": "call void @llvm.x86.sse2.pause()", "aarch64":
          "call void @llvm.aarch64.hint(i32 1)", "arm64": "call void @llvm.aarch64.hint(i32 1)"}
_PAUSE_DECLARE = "declare void @llvm.x86.sse2.pause()\ndeclare void @llvm.aarch64.hint(i32)\n"


def source(triple: str, futex: bool | None = None) -> str:
    """The pool's LLVM IR for a triple; futex=False takes the portable mutex form."""
    machine = triple.split("-")[0]
    linux = "linux" in triple
    if "windows" in triple:
        return _SERIAL
    futex = linux and machine in _FUTEX_CALL if futex is None else futex
    pause = _PAUSE.get(machine, "")
    declare = [line for line in _PAUSE_DECLARE.splitlines() if pause and line.split("@")[1][:12]
               == pause.split("@")[1][:12]]
    waits = _FUTEX.replace("$CALL", str(_FUTEX_CALL.get(machine, 0))) if futex else _MUTEX
    setmask = "2" if linux else "3"  # SIG_SETMASK
    return "\n".join(declare) + waits + _POOL.replace("$PAUSE", pause).replace("$SETMASK", setmask)


# fb_wait(word, seen): sleeps while *word == seen, may return early. fb_wake(word, n) wakes n.
_FUTEX = """
declare i64 @syscall(i64, ...)

define internal void @fb_wait(ptr %word, i32 %seen) {
  %r = call i64 (i64, ...) @syscall(i64 $CALL, ptr %word, i32 128, i32 %seen, ptr null, ptr null, i32 0)
  ret void
}

define internal void @fb_wake(ptr %word, i32 %n) {
  %r = call i64 (i64, ...) @syscall(i64 $CALL, ptr %word, i32 129, i32 %n, ptr null, ptr null, i32 0)
  ret void
}

define internal void @fb_wait_reset() {
  ret void
}
"""  # noqa: E501

# One mutex and one condition for every word: a wake wakes all, and each looks at its own word.
_MUTEX = """
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_broadcast(ptr)
@mutex = internal global [128 x i8] zeroinitializer, align 64
@condition = internal global [128 x i8] zeroinitializer, align 64

define internal void @fb_wait(ptr %word, i32 %seen) {
  %a = call i32 @pthread_mutex_lock(ptr @mutex)
  br label %test
test:
  %now = load atomic i32, ptr %word seq_cst, align 4
  %same = icmp eq i32 %now, %seen
  br i1 %same, label %sleep, label %out
sleep:
  %b = call i32 @pthread_cond_wait(ptr @condition, ptr @mutex)
  br label %test
out:
  %c = call i32 @pthread_mutex_unlock(ptr @mutex)
  ret void
}

define internal void @fb_wake(ptr %word, i32 %n) {
  %a = call i32 @pthread_mutex_lock(ptr @mutex)
  %b = call i32 @pthread_cond_broadcast(ptr @condition)
  %c = call i32 @pthread_mutex_unlock(ptr @mutex)
  ret void
}

define internal void @fb_wait_reset() {
  %a = call i32 @pthread_mutex_init(ptr @mutex, ptr null)
  %b = call i32 @pthread_cond_init(ptr @condition, ptr null)
  ret void
}
"""

# Each word that many threads poll or count on has a cache line pair of its own.
_POOL = """
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(i64)
declare i32 @sigfillset(ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)

@claim = internal global i64 0, align 128     ; chunks not yet claimed (late tries push it below 0)
@pending = internal global i64 0, align 128   ; chunks not yet finished
@epoch = internal global i32 0, align 128     ; jobs so far: idle workers poll it and sleep on it
@sleepers = internal global i32 0, align 128  ; workers asleep on epoch
@waiting = internal global i32 0, align 128   ; 1: the caller sleeps until pending is 0
@busy = internal global i32 0, align 128      ; 1: a job is on
@job_fn = internal global ptr null, align 128 ; the job's record: fn, ctx, chunks
@job_ctx = internal global ptr null
@job_chunks = internal global i64 0
@limit = internal global i32 1, align 128     ; threads that take part; parked workers sleep on it
@spins = internal global i64 1
@started = internal global i32 0              ; workers that exist

define internal void @pause() alwaysinline {
  $PAUSE
  ret void
}

define void @fb_pool_spin(i64 %n) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %now = load atomic i32, ptr @epoch acquire, align 4
  call void @pause()
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %out
out:
  ret void
}

define i64 @fb_pool_started() {
  %n = load atomic i32, ptr @started acquire, align 4
  %r = sext i32 %n to i64
  ret i64 %r
}

; Claims and runs chunks of the current job until none is left, then reports them as done.
define internal void @work() {
entry:
  br label %look
look:
  %mine = phi i64 [ 0, %entry ], [ %more, %run ]
  %left = load atomic i64, ptr @claim acquire, align 8
  %some = icmp sgt i64 %left, 0
  br i1 %some, label %try, label %finish
try:
  %had = atomicrmw sub ptr @claim, i64 1 acq_rel, align 8
  %got = icmp sgt i64 %had, 0
  br i1 %got, label %run, label %finish
run:
  %fn = load ptr, ptr @job_fn, align 8
  %ctx = load ptr, ptr @job_ctx, align 8
  %chunks = load i64, ptr @job_chunks, align 8
  %chunk = sub i64 %chunks, %had
  call void %fn(ptr %ctx, i64 %chunk)
  %more = add i64 %mine, 1
  br label %look
finish:
  %any = icmp sgt i64 %mine, 0
  br i1 %any, label %report, label %out
report:
  %before = atomicrmw sub ptr @pending, i64 %mine seq_cst, align 8
  %last = icmp eq i64 %before, %mine
  br i1 %last, label %tell, label %out
tell:
  %asleep = load atomic i32, ptr @waiting seq_cst, align 4
  %someone = icmp ne i32 %asleep, 0
  br i1 %someone, label %wake, label %out
wake:
  store atomic i32 0, ptr @waiting seq_cst, align 4
  call void @fb_wake(ptr @waiting, i32 1)
  br label %out
out:
  ret void
}

define internal ptr @worker(ptr %index) {
entry:
  %wide = ptrtoint ptr %index to i64
  %me = trunc i64 %wide to i32
  br label %turn
turn:
  %seen = load atomic i32, ptr @epoch seq_cst, align 4
  %limit = load atomic i32, ptr @limit seq_cst, align 4
  %in = icmp slt i32 %me, %limit
  br i1 %in, label %go, label %park
park:
  call void @fb_wait(ptr @limit, i32 %limit)
  br label %turn
go:
  call void @work()
  %spins = load atomic i64, ptr @spins monotonic, align 8
  br label %poll
poll:
  %i = phi i64 [ %spins, %go ], [ %down, %again ]
  %now = load atomic i32, ptr @epoch acquire, align 4
  %new = icmp ne i32 %now, %seen
  br i1 %new, label %turn, label %again
again:
  call void @pause()
  %down = sub i64 %i, 1
  %patient = icmp sgt i64 %down, 0
  br i1 %patient, label %poll, label %sleep
sleep:
  %a = atomicrmw add ptr @sleepers, i32 1 seq_cst, align 4
  call void @fb_wait(ptr @epoch, i32 %seen)
  %b = atomicrmw sub ptr @sleepers, i32 1 seq_cst, align 4
  br label %turn
}

; Starts workers until `limit` threads exist; called with `busy` held. What fails to start is not
; tried again: the pool is then smaller, never wrong. Signals stay with the Python threads.
define internal void @start() noinline {
entry:
  %all = alloca [128 x i8], align 16
  %old = alloca [128 x i8], align 16
  %id = alloca i64, align 8
  %f = call i32 @sigfillset(ptr %all)
  %m = call i32 @pthread_sigmask(i32 $SETMASK, ptr %all, ptr %old)
  br label %loop
loop:
  %limit = load atomic i32, ptr @limit seq_cst, align 4
  %have = load atomic i32, ptr @started seq_cst, align 4
  %next = add i32 %have, 1
  %enough = icmp sge i32 %next, %limit
  br i1 %enough, label %out, label %make
make:
  %wide = sext i32 %next to i64
  %index = inttoptr i64 %wide to ptr
  %e = call i32 @pthread_create(ptr %id, ptr null, ptr @worker, ptr %index)
  %ok = icmp eq i32 %e, 0
  br i1 %ok, label %made, label %fewer
made:
  %thread = load i64, ptr %id, align 8
  %d = call i32 @pthread_detach(i64 %thread)
  store atomic i32 %next, ptr @started seq_cst, align 4
  br label %loop
fewer:
  store atomic i32 %next, ptr @limit seq_cst, align 4
  br label %out
out:
  %r = call i32 @pthread_sigmask(i32 $SETMASK, ptr %old, ptr null)
  ret void
}

define internal void @serial(ptr %fn, ptr %ctx, i64 %chunks) {
entry:
  %any = icmp sgt i64 %chunks, 0
  br i1 %any, label %loop, label %out
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  call void %fn(ptr %ctx, i64 %i)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %chunks
  br i1 %more, label %loop, label %out
out:
  ret void
}

; The caller polls for a third of a worker's time: a chunk that is still not done then is likely on
; a core that somebody else is using, and a sleeping caller lets the system move it to this one.
define void @fb_parallel(ptr %fn, ptr %ctx, i64 %chunks) {
entry:
  %limit = load atomic i32, ptr @limit acquire, align 4
  %alone = icmp sle i32 %limit, 1
  %few = icmp sle i64 %chunks, 1
  %simple = or i1 %alone, %few
  br i1 %simple, label %serial, label %lock
lock:
  %taken = atomicrmw xchg ptr @busy, i32 1 acq_rel, align 4
  %free = icmp eq i32 %taken, 0
  br i1 %free, label %mine, label %serial
serial:
  call void @serial(ptr %fn, ptr %ctx, i64 %chunks)
  ret void
mine:
  %have = load atomic i32, ptr @started acquire, align 4
  %with = add i32 %have, 1
  %short = icmp slt i32 %with, %limit
  br i1 %short, label %start, label %post
start:
  call void @start()
  br label %post
post:
  store ptr %fn, ptr @job_fn, align 8
  store ptr %ctx, ptr @job_ctx, align 8
  store i64 %chunks, ptr @job_chunks, align 8
  store atomic i64 %chunks, ptr @pending seq_cst, align 8
  store atomic i64 %chunks, ptr @claim release, align 8
  %e = atomicrmw add ptr @epoch, i32 1 seq_cst, align 4
  %asleep = load atomic i32, ptr @sleepers seq_cst, align 4
  %quiet = icmp eq i32 %asleep, 0
  br i1 %quiet, label %go, label %wake
wake:
  %helpers = sub i64 %chunks, 1
  %capped = call i64 @llvm.smin.i64(i64 %helpers, i64 1024)
  %n = trunc i64 %capped to i32
  call void @fb_wake(ptr @epoch, i32 %n)
  br label %go
go:
  call void @work()
  %spins = load atomic i64, ptr @spins monotonic, align 8
  %few.spins = udiv i64 %spins, 3
  br label %poll
poll:
  %i = phi i64 [ %few.spins, %go ], [ %down, %again ]
  %p = load atomic i64, ptr @pending acquire, align 8
  %done = icmp eq i64 %p, 0
  br i1 %done, label %out, label %again
again:
  call void @pause()
  %down = sub i64 %i, 1
  %patient = icmp sgt i64 %down, 0
  br i1 %patient, label %poll, label %sleep
sleep:
  store atomic i32 1, ptr @waiting seq_cst, align 4
  %q = load atomic i64, ptr @pending seq_cst, align 8
  %over = icmp eq i64 %q, 0
  br i1 %over, label %awake, label %wait
wait:
  call void @fb_wait(ptr @waiting, i32 1)
  br label %sleep
awake:
  store atomic i32 0, ptr @waiting seq_cst, align 4
  br label %out
out:
  store atomic i32 0, ptr @busy release, align 4
  ret void
}

declare i64 @llvm.smin.i64(i64, i64)

define void @fb_pool_limit(i64 %n, i64 %spins) {
  %limit = trunc i64 %n to i32
  store atomic i64 %spins, ptr @spins monotonic, align 8
  store atomic i32 %limit, ptr @limit seq_cst, align 4
  call void @fb_wake(ptr @limit, i32 1024)
  %e = atomicrmw add ptr @epoch, i32 1 seq_cst, align 4
  call void @fb_wake(ptr @epoch, i32 1024)
  ret void
}

define void @fb_pool_reset() {
  call void @fb_wait_reset()
  store i64 0, ptr @claim
  store i64 0, ptr @pending
  store i32 0, ptr @epoch
  store i32 0, ptr @sleepers
  store i32 0, ptr @waiting
  store i32 0, ptr @busy
  store i32 0, ptr @started
  ret void
}
"""

# No threads: for systems whose waiting calls are not written yet.
_SERIAL = """
define void @fb_parallel(ptr %fn, ptr %ctx, i64 %chunks) {
entry:
  %any = icmp sgt i64 %chunks, 0
  br i1 %any, label %loop, label %out
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  call void %fn(ptr %ctx, i64 %i)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %chunks
  br i1 %more, label %loop, label %out
out:
  ret void
}
define void @fb_pool_limit(i64 %n, i64 %spins) {
  ret void
}
define void @fb_pool_reset() {
  ret void
}
define void @fb_pool_spin(i64 %n) {
  ret void
}
define i64 @fb_pool_started() {
  ret i64 0
}
"""


def describe() -> dict[str, object]:
    """Facts for `python -m flambeau info`."""
    return {"threads": num_threads(), "cores allowed": _allowed_cores(), "workers": workers(),
            "system": f"{platform.system()} {platform.machine()}", "python": sys.version.split()[0]}
