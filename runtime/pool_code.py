"""The thread pool's machine code as LLVM IR; runtime/pool.py holds its laws and steers it.

What waits and wakes has a form for Linux (futex) and one for other systems (a mutex); a system
without either runs its jobs alone.
"""

from __future__ import annotations

_FUTEX_CALL = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
_PAUSE = {"x86_64": "call void @llvm.x86.sse2.pause()", "aarch64":
          "call void @llvm.aarch64.hint(i32 1)", "arm64": "call void @llvm.aarch64.hint(i32 1)"}
_PAUSE_DECLARE = "declare void @llvm.x86.sse2.pause()\ndeclare void @llvm.aarch64.hint(i32)\n"


def source(triple: str, futex: bool | None = None) -> str:
    """The pool's LLVM IR for a triple; futex=False takes the portable mutex form."""
    machine = triple.split("-")[0]
    linux = "linux" in triple
    if "windows" in triple:
        return _ALONE + _SERIAL
    futex = linux and machine in _FUTEX_CALL if futex is None else futex
    pause = _PAUSE.get(machine, "")
    declare = [line for line in _PAUSE_DECLARE.splitlines() if pause and line.split("@")[1][:12]
               == pause.split("@")[1][:12]]
    waits = _FUTEX.replace("$CALL", str(_FUTEX_CALL.get(machine, 0))) if futex else _MUTEX
    setmask = "2" if linux else "3"  # SIG_SETMASK
    core = _CORE if linux else _NO_CORE
    pool = _POOL.replace("$PAUSE", pause).replace("$SETMASK", setmask)
    pool = pool.replace("$CLOCK", "1" if linux else "6")
    return "\n".join(declare) + waits + core + _ALONE + pool


# All chunks by the caller.
_ALONE = """
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
"""

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

# fb_core(): the processor that runs this, -1 where the system does not say.
_CORE = """
declare i32 @sched_getcpu()

define internal i32 @fb_core() alwaysinline {
  %c = call i32 @sched_getcpu()
  ret i32 %c
}
"""
_NO_CORE = """
define internal i32 @fb_core() alwaysinline {
  ret i32 -1
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
@job_core = internal global i32 -1            ; where the caller ran when it posted the job
; What jobs took: function, chunks, runs, ns alone, ns shared. Whoever holds `busy` may look.
@times = internal global [256 x [5 x i64]] zeroinitializer, align 64
@always = internal global i64 0               ; 1: share every job, for tests
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

define i64 @fb_pool_threads() {
  %n = load atomic i32, ptr @limit monotonic, align 4
  %r = sext i32 %n to i64
  ret i64 %r
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
  %core = call i32 @fb_core()
  %callers = load atomic i32, ptr @job_core monotonic, align 4
  %in.way = icmp eq i32 %core, %callers
  %known = icmp sge i32 %core, 0
  %leave = and i1 %in.way, %known
  br i1 %leave, label %sleep, label %poll
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

declare i32 @clock_gettime(i32, ptr)
declare i64 @llvm.smin.i64(i64, i64)

define internal i64 @nanoseconds() {
  %t = alloca [2 x i64], align 8
  %e = call i32 @clock_gettime(i32 $CLOCK, ptr %t)
  %s = load i64, ptr %t, align 8
  %p = getelementptr i64, ptr %t, i64 1
  %n = load i64, ptr %p, align 8
  %w = mul i64 %s, 1000000000
  %r = add i64 %w, %n
  ret i64 %r
}

; The record of a job, empty if its place was another's.
define internal ptr @record(ptr %fn, i64 %chunks) {
entry:
  %a = ptrtoint ptr %fn to i64
  %b = lshr i64 %a, 4
  %c = lshr i64 %a, 12
  %d = xor i64 %b, %c
  %e = add i64 %d, %chunks
  %at = and i64 %e, 255
  %r = getelementptr [5 x i64], ptr @times, i64 %at
  %r.chunks = getelementptr i64, ptr %r, i64 1
  %was.fn = load ptr, ptr %r, align 8
  %was.chunks = load i64, ptr %r.chunks, align 8
  %same.fn = icmp eq ptr %was.fn, %fn
  %same.chunks = icmp eq i64 %was.chunks, %chunks
  %same = and i1 %same.fn, %same.chunks
  br i1 %same, label %out, label %new
new:
  call void @llvm.memset.p0.i64(ptr %r, i8 0, i64 40, i1 false)
  store ptr %fn, ptr %r, align 8
  store i64 %chunks, ptr %r.chunks, align 8
  br label %out
out:
  ret ptr %r
}

declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)

; Is the job to be shared? Long ones are, others if it is known to be faster, or to find out.
define internal i1 @shared(ptr %r, i64 %now) {
entry:
  %p.runs = getelementptr i64, ptr %r, i64 2
  %p.alone = getelementptr i64, ptr %r, i64 3
  %p.both = getelementptr i64, ptr %r, i64 4
  %runs = load i64, ptr %p.runs, align 8
  %alone = load i64, ptr %p.alone, align 8
  %both = load i64, ptr %p.both, align 8
  %more = add i64 %runs, 1
  store i64 %more, ptr %p.runs, align 8
  %long = icmp sgt i64 %both, 1000000
  %young = icmp slt i64 %runs, 6
  %odd = trunc i64 %runs to i1
  %even = xor i1 %odd, true
  %faster = icmp sle i64 %both, %alone
  %window = lshr i64 %now, 20
  %phase = and i64 %window, 63
  %try.alone = icmp eq i64 %phase, 0
  %try.both = icmp eq i64 %phase, 1
  %better = select i1 %try.both, i1 true, i1 %faster
  %old = select i1 %try.alone, i1 false, i1 %better
  %chosen = select i1 %young, i1 %even, i1 %old
  %told = load i64, ptr @always, align 8
  %must = icmp ne i64 %told, 0
  %sure = or i1 %long, %must
  %r1 = or i1 %chosen, %sure
  ret i1 %r1
}

; Less time counts at once, more only by a quarter.
define internal void @note(ptr %place, i64 %start) {
  %end = call i64 @nanoseconds()
  %took = sub i64 %end, %start
  %was = load i64, ptr %place, align 8
  %none = icmp eq i64 %was, 0
  %off = sub i64 %took, %was
  %part = ashr i64 %off, 2
  %slow = add i64 %was, %part
  %less = icmp slt i64 %off, 0
  %now = or i1 %none, %less
  %new = select i1 %now, i64 %took, i64 %slow
  store i64 %new, ptr %place, align 8
  ret void
}

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
  %r = call ptr @record(ptr %fn, i64 %chunks)
  %start = call i64 @nanoseconds()
  %shared = call i1 @shared(ptr %r, i64 %start)
  %p.alone = getelementptr i64, ptr %r, i64 3
  %p.both = getelementptr i64, ptr %r, i64 4
  %p = select i1 %shared, ptr %p.both, ptr %p.alone
  br i1 %shared, label %together, label %by.itself
by.itself:
  call void @serial(ptr %fn, ptr %ctx, i64 %chunks)
  br label %out
together:
  call void @share(ptr %fn, ptr %ctx, i64 %chunks, i32 %limit)
  br label %out
out:
  call void @note(ptr %p, i64 %start)
  store atomic i32 0, ptr @busy release, align 4
  ret void
}

; The caller polls for a third of a worker's time: a chunk that is still not done then is likely on
; a core that somebody else is using, and a sleeping caller lets the system move it to this one.
define internal void @share(ptr %fn, ptr %ctx, i64 %chunks, i32 %limit) noinline {
mine:
  %core = call i32 @fb_core()
  store atomic i32 %core, ptr @job_core monotonic, align 4
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
  ret void
}

define void @fb_pool_limit(i64 %n, i64 %spins) {
  %limit = trunc i64 %n to i32
  store atomic i64 %spins, ptr @spins monotonic, align 8
  store atomic i32 %limit, ptr @limit seq_cst, align 4
  call void @fb_wake(ptr @limit, i32 1024)
  %e = atomicrmw add ptr @epoch, i32 1 seq_cst, align 4
  call void @fb_wake(ptr @epoch, i32 1024)
  ret void
}

define void @fb_pool_always(i64 %yes) {
  store i64 %yes, ptr @always, align 8
  ret void
}

define void @fb_pool_reset() {
  call void @fb_wait_reset()
  call void @llvm.memset.p0.i64(ptr @times, i8 0, i64 10240, i1 false)
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
  call void @serial(ptr %fn, ptr %ctx, i64 %chunks)
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
define void @fb_pool_always(i64 %yes) {
  ret void
}
define i64 @fb_pool_threads() {
  ret i64 1
}
define i64 @fb_pool_started() {
  ret i64 0
}
"""
