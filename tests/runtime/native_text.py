"""LLVM text that several tests of this room compile."""

from __future__ import annotations

from flambeau.runtime import jit

# nested(ctx, i): adds 1 to ctx[i] through a parallel loop of its own, of one chunk per call.
PARALLEL = """
declare void @fb_parallel(ptr, ptr, i64)

define internal void @count(ptr %c, i64 %i) {
  %p = getelementptr i64, ptr %c, i64 %i
  %o = load i64, ptr %p
  %n = add i64 %o, 1
  store i64 %n, ptr %p
  ret void
}

define internal void @inner(ptr %p, i64 %i) {
  %o = atomicrmw add ptr %p, i64 1 monotonic, align 8
  ret void
}

define internal void @nested(ptr %c, i64 %i) {
  %p = getelementptr i64, ptr %c, i64 %i
  call void @fb_parallel(ptr @inner, ptr %p, i64 3)
  ret void
}

; run(counts, chunks, times), nest(counts, chunks, times): so many jobs in a row
define void @run(ptr %counts, ptr %n, ptr %t) {
  call void @repeat(ptr @count, ptr %counts, ptr %n, ptr %t)
  ret void
}

define void @nest(ptr %counts, ptr %n, ptr %t) {
  call void @repeat(ptr @nested, ptr %counts, ptr %n, ptr %t)
  ret void
}

define internal void @repeat(ptr %fn, ptr %counts, ptr %n, ptr %t) {
entry:
  %chunks = ptrtoint ptr %n to i64
  %times = ptrtoint ptr %t to i64
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  call void @fb_parallel(ptr %fn, ptr %counts, i64 %chunks)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %times
  br i1 %more, label %loop, label %out
out:
  ret void
}
"""


def parallel_code() -> jit.Code:
    return jit.load(PARALLEL, "tests parallel", jit.host_target())


def add_one(constant: float = 1.0, symbol: str = "entry") -> str:
    """void symbol(ptr x, ptr y, ptr): *y = *x + constant, as doubles."""
    return f"""
define void @{symbol}(ptr %x, ptr %y, ptr %z) {{
  %a = load double, ptr %x
  %b = fadd double %a, {constant:.6e}
  store double %b, ptr %y
  ret void
}}
"""
