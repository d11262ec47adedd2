"""The epoch driver: one native call runs many training steps over data in memory.

Owns: the loop over batches in LLVM IR and the record it reads. For every batch it brings the input
rows, calls the step `void entry(ptr buffers, ptr scalars, ptr arena)`, advances the counters among
the scalars, and adds each metric to a double.

Rows in order and well aligned are not copied: the step's buffer slot is pointed at them. Rows in a
permuted order are gathered into the stream's staging buffer, in parallel when there are many.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from flambeau.runtime import cache, jit

SLICE_SECONDS = 0.1  # a native call lasts about this long, so that Ctrl-C is heard

_KINDS = {"float32": 0, "float64": 1, "int64": 2}


@dataclass(frozen=True)
class Stream:
    """An input of the step: `rows` rows of row_bytes each at address `source`.

    slot: its place in the table of buffers. staging: address of batch * row_bytes bytes for rows
    that must be copied; 0 when there is none, and then rows must be in order and aligned.
    """

    source: int
    rows: int
    row_bytes: int
    slot: int
    staging: int = 0


@dataclass(frozen=True)
class Metric:
    """A scalar the step writes at `address` (float32, float64, int64), summed times `weight`."""

    address: int
    dtype: str = "float32"
    weight: float = 1.0


@dataclass(frozen=True)
class Counter:
    """A scalar at byte `offset` of the scalars to which every step adds `by` when it is done."""

    offset: int
    dtype: str = "int64"
    by: float = 1


class EpochJob:
    """The native record of an epoch: made once, run often.

    entry: address of the step. buffers: address of its table of pointers, whose stream slots are
    overwritten. scalars, arena: passed on. batch: rows of a step. base: the row batch 0 begins at.
    align: what the step demands of its inputs' addresses. stop: end at the first batch with a
    metric that is not finite. The caller keeps everything at these addresses alive.
    """

    def __init__(self, entry: int, buffers: int, scalars: int, arena: int, batch: int,
                 streams: Sequence[Stream], metrics: Sequence[Metric] = (),
                 counters: Sequence[Counter] = (), base: int = 0, align: int = 64,
                 stop: bool = False) -> None:
        self._streams = tuple(streams)
        self._batch, self._base, self._align = batch, base, align
        self._check(batch)
        self._order: np.ndarray | None = None
        self._native_streams = _words(4 * len(streams))
        self._metrics = _words(3 * len(metrics))
        for i, m in enumerate(metrics):
            self._metrics[3 * i:3 * i + 3] = (m.address, _KINDS[m.dtype], _double_bits(m.weight))
        self._counters = _words(3 * len(counters))
        for i, c in enumerate(counters):
            step = _double_bits(c.by) if c.dtype != "int64" else int(c.by)
            self._counters[3 * i:3 * i + 3] = (scalars + c.offset, _KINDS[c.dtype], step)
        self.sums = np.zeros(len(metrics))  # the accumulators: read and reset them at will
        self._sums_address = self.sums.ctypes.data
        self._record = _words(16)
        self._record[:16] = (
            entry, buffers, scalars, arena, batch, base, 0, len(streams),
            ctypes.addressof(self._native_streams), len(metrics), ctypes.addressof(self._metrics),
            self._sums_address, len(counters), ctypes.addressof(self._counters), int(stop), 0)
        self._address = ctypes.addressof(self._record)
        self.permute(None)

    def permute(self, order: np.ndarray | None) -> None:
        """Sets the order of rows: int64 indices, or None for rows as they lie.

        Raises ValueError for an index outside a stream's rows or a stream without staging.
        """
        if order is not None:
            order = np.ascontiguousarray(order, np.int64)
            rows = min(s.rows for s in self._streams) if self._streams else 0
            if order.ndim != 1 or (order.size and not 0 <= order.min() <= order.max() < rows):
                raise ValueError(f"permute: expected a vector of rows 0 to {rows - 1}, got "
                                 f"{order.shape} with {order.min()} to {order.max()}")
        self._order = order
        self._record[6] = order.ctypes.data if order is not None else 0
        for i, s in enumerate(self._streams):
            copied = order is not None or self._misaligned(s)
            if copied and not s.staging:
                raise ValueError(f"permute: expected a staging buffer for stream {i}, whose rows "
                                 "are permuted or not aligned, got none")
            self._native_streams[4 * i:4 * i + 4] = (
                s.source, s.row_bytes, s.slot, s.staging if copied else 0)

    def run(self, first: int, last: int) -> int | None:
        """Runs batches [first, last). None when all ran; else the batch a metric was not finite at.

        Raises IndexError when there are not so many rows.
        """
        self._check_range(first, last)
        step, count = _driver(), 1
        while first < last:
            upto = min(last, first + count)
            start = time.perf_counter()
            stopped = step(self._address, first, upto)
            if stopped >= 0:
                return int(stopped)
            first = upto
            seconds = time.perf_counter() - start
            if seconds < SLICE_SECONDS / 2:
                count *= 2
            elif seconds > SLICE_SECONDS * 2 and count > 1:
                count //= 2
        return None

    def _check(self, batch: int) -> None:
        if batch < 1:
            raise ValueError(f"EpochJob: expected a batch of 1 row or more, got {batch}")

    def _check_range(self, first: int, last: int) -> None:
        rows = [s.rows for s in self._streams] if self._order is None else [self._order.size]
        end = self._base + last * self._batch
        if first < 0 or (rows and last > first and end > min(rows)):
            raise IndexError(f"run: expected batches within {min(rows)} rows, got batches {first} "
                             f"to {last} of {self._batch} from row {self._base}")

    def _misaligned(self, s: Stream) -> bool:
        start = s.source + self._base * s.row_bytes
        return start % self._align != 0 or self._batch * s.row_bytes % self._align != 0


def _words(n: int) -> Any:
    """Zeroed int64 words at a fixed address."""
    return (ctypes.c_int64 * max(n, 1))()


def _double_bits(value: float) -> int:
    return int(np.float64(value).view(np.int64))


@lru_cache(maxsize=1)
def _driver() -> Any:
    """i64 fb_epoch(record, first, last): -1, or the batch it stopped at."""
    code = jit.load(_SOURCE, cache.digest("epoch", _SOURCE), jit.host_target())
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    driver = function(code.address("fb_epoch"))
    driver.code = code  # type: ignore[attr-defined]
    return driver


# record: entry, buffers, scalars, arena, batch, base, order, streams, stream*, metrics, metric*,
#         sums, counters, counter*, stop.
# stream: source, row bytes, slot, staging (0: point at the rows).
# metric: address, kind, weight.  counter: address, kind, step.
_SOURCE = """
%record = type { ptr, ptr, ptr, ptr, i64, i64, ptr, i64, ptr, i64, ptr, ptr, i64, ptr, i64, i64 }
%stream = type { ptr, i64, i64, ptr }
%metric = type { ptr, i64, double }
%counter = type { ptr, i64, i64 }
%copy = type { ptr, ptr, ptr, i64, i64, i64 }
declare void @fb_parallel(ptr, ptr, i64)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare i64 @llvm.smin.i64(i64, i64)
declare i1 @llvm.is.fpclass.f64(double, i32)

; Copies rows [chunk * grain, ...) of copy { dst, src, order, row bytes, rows, grain }.
define internal void @gather(ptr %c, i64 %chunk) {
entry:
  %dst = load ptr, ptr %c
  %src.p = getelementptr %copy, ptr %c, i64 0, i32 1
  %src = load ptr, ptr %src.p
  %order.p = getelementptr %copy, ptr %c, i64 0, i32 2
  %order = load ptr, ptr %order.p
  %bytes.p = getelementptr %copy, ptr %c, i64 0, i32 3
  %bytes = load i64, ptr %bytes.p
  %rows.p = getelementptr %copy, ptr %c, i64 0, i32 4
  %rows = load i64, ptr %rows.p
  %grain.p = getelementptr %copy, ptr %c, i64 0, i32 5
  %grain = load i64, ptr %grain.p
  %low = mul i64 %chunk, %grain
  %high.all = add i64 %low, %grain
  %high = call i64 @llvm.smin.i64(i64 %high.all, i64 %rows)
  %ordered = icmp eq ptr %order, null
  br i1 %ordered, label %block, label %head
block:
  %at = mul i64 %low, %bytes
  %count = sub i64 %high, %low
  %size = mul i64 %count, %bytes
  %to = getelementptr i8, ptr %dst, i64 %at
  %from = getelementptr i8, ptr %src, i64 %at
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %size, i1 false)
  br label %out
head:
  %some = icmp slt i64 %low, %high
  br i1 %some, label %row, label %out
row:
  %i = phi i64 [ %low, %head ], [ %next, %row ]
  %index.p = getelementptr i64, ptr %order, i64 %i
  %index = load i64, ptr %index.p
  %there = mul i64 %index, %bytes
  %here = mul i64 %i, %bytes
  %row.to = getelementptr i8, ptr %dst, i64 %here
  %row.from = getelementptr i8, ptr %src, i64 %there
  call void @llvm.memcpy.p0.p0.i64(ptr %row.to, ptr %row.from, i64 %bytes, i1 false)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %high
  br i1 %more, label %row, label %out
out:
  ret void
}

; Brings the rows from `start` of one stream, and points its slot at them.
define internal void @feed(ptr %r, ptr %s, i64 %start, ptr %c) {
entry:
  %buffers.p = getelementptr %record, ptr %r, i64 0, i32 1
  %buffers = load ptr, ptr %buffers.p
  %batch.p = getelementptr %record, ptr %r, i64 0, i32 4
  %batch = load i64, ptr %batch.p
  %order.p = getelementptr %record, ptr %r, i64 0, i32 6
  %order = load ptr, ptr %order.p
  %source = load ptr, ptr %s
  %bytes.p = getelementptr %stream, ptr %s, i64 0, i32 1
  %bytes = load i64, ptr %bytes.p
  %slot.p = getelementptr %stream, ptr %s, i64 0, i32 2
  %slot = load i64, ptr %slot.p
  %staging.p = getelementptr %stream, ptr %s, i64 0, i32 3
  %staging = load ptr, ptr %staging.p
  %place = getelementptr ptr, ptr %buffers, i64 %slot
  %offset = mul i64 %start, %bytes
  %inside = getelementptr i8, ptr %source, i64 %offset
  %direct = icmp eq ptr %staging, null
  br i1 %direct, label %point, label %copy
point:
  store ptr %inside, ptr %place
  ret void
copy:
  store ptr %staging, ptr %place
  %ordered = icmp eq ptr %order, null
  %order.at = getelementptr i64, ptr %order, i64 %start
  %order.here = select i1 %ordered, ptr null, ptr %order.at
  %src = select i1 %ordered, ptr %inside, ptr %source
  %grain.less = udiv i64 65535, %bytes
  %grain = add i64 %grain.less, 1
  store ptr %staging, ptr %c
  %src.p = getelementptr %copy, ptr %c, i64 0, i32 1
  store ptr %src, ptr %src.p
  %o.p = getelementptr %copy, ptr %c, i64 0, i32 2
  store ptr %order.here, ptr %o.p
  %b.p = getelementptr %copy, ptr %c, i64 0, i32 3
  store i64 %bytes, ptr %b.p
  %rows.p = getelementptr %copy, ptr %c, i64 0, i32 4
  store i64 %batch, ptr %rows.p
  %grain.p = getelementptr %copy, ptr %c, i64 0, i32 5
  store i64 %grain, ptr %grain.p
  %up = add i64 %batch, %grain.less
  %chunks = udiv i64 %up, %grain
  call void @fb_parallel(ptr @gather, ptr %c, i64 %chunks)
  ret void
}

; Adds one metric; 0 when the value is not finite, else 1.
define internal i1 @measure(ptr %m, ptr %sum) {
entry:
  %address = load ptr, ptr %m
  %kind.p = getelementptr %metric, ptr %m, i64 0, i32 1
  %kind = load i64, ptr %kind.p
  %weight.p = getelementptr %metric, ptr %m, i64 0, i32 2
  %weight = load double, ptr %weight.p
  switch i64 %kind, label %single [ i64 1, label %double  i64 2, label %whole ]
single:
  %s = load float, ptr %address, align 1
  %s.d = fpext float %s to double
  br label %add
double:
  %d = load double, ptr %address, align 1
  br label %add
whole:
  %w = load i64, ptr %address, align 1
  %w.d = sitofp i64 %w to double
  br label %add
add:
  %value = phi double [ %s.d, %single ], [ %d, %double ], [ %w.d, %whole ]
  %part = fmul double %value, %weight
  %before = load double, ptr %sum
  %after = fadd double %before, %part
  store double %after, ptr %sum
  %finite = call i1 @llvm.is.fpclass.f64(double %value, i32 504)
  ret i1 %finite
}

define internal void @advance(ptr %c) {
entry:
  %address = load ptr, ptr %c
  %kind.p = getelementptr %counter, ptr %c, i64 0, i32 1
  %kind = load i64, ptr %kind.p
  %step.p = getelementptr %counter, ptr %c, i64 0, i32 2
  %step = load i64, ptr %step.p
  %real = load double, ptr %step.p
  switch i64 %kind, label %single [ i64 1, label %double  i64 2, label %whole ]
single:
  %s = load float, ptr %address, align 1
  %s.step = fptrunc double %real to float
  %s.new = fadd float %s, %s.step
  store float %s.new, ptr %address, align 1
  ret void
double:
  %d = load double, ptr %address, align 1
  %d.new = fadd double %d, %real
  store double %d.new, ptr %address, align 1
  ret void
whole:
  %w = load i64, ptr %address, align 1
  %w.new = add i64 %w, %step
  store i64 %w.new, ptr %address, align 1
  ret void
}

define i64 @fb_epoch(ptr %r, i64 %first, i64 %last) {
entry:
  %c = alloca %copy
  %step = load ptr, ptr %r
  %buffers.p = getelementptr %record, ptr %r, i64 0, i32 1
  %buffers = load ptr, ptr %buffers.p
  %scalars.p = getelementptr %record, ptr %r, i64 0, i32 2
  %scalars = load ptr, ptr %scalars.p
  %arena.p = getelementptr %record, ptr %r, i64 0, i32 3
  %arena = load ptr, ptr %arena.p
  %batch.p = getelementptr %record, ptr %r, i64 0, i32 4
  %batch = load i64, ptr %batch.p
  %base.p = getelementptr %record, ptr %r, i64 0, i32 5
  %base = load i64, ptr %base.p
  %streams.p = getelementptr %record, ptr %r, i64 0, i32 7
  %streams = load i64, ptr %streams.p
  %stream.pp = getelementptr %record, ptr %r, i64 0, i32 8
  %stream.first = load ptr, ptr %stream.pp
  %metrics.p = getelementptr %record, ptr %r, i64 0, i32 9
  %metrics = load i64, ptr %metrics.p
  %metric.pp = getelementptr %record, ptr %r, i64 0, i32 10
  %metric.first = load ptr, ptr %metric.pp
  %sums.p = getelementptr %record, ptr %r, i64 0, i32 11
  %sums = load ptr, ptr %sums.p
  %counters.p = getelementptr %record, ptr %r, i64 0, i32 12
  %counters = load i64, ptr %counters.p
  %counter.pp = getelementptr %record, ptr %r, i64 0, i32 13
  %counter.first = load ptr, ptr %counter.pp
  %stop.p = getelementptr %record, ptr %r, i64 0, i32 14
  %stop = load i64, ptr %stop.p
  %stops = icmp ne i64 %stop, 0
  br label %head
head:
  %b = phi i64 [ %first, %entry ], [ %b.next, %next ]
  %any = icmp slt i64 %b, %last
  br i1 %any, label %body, label %done
body:
  %at = mul i64 %b, %batch
  %start = add i64 %at, %base
  br label %feeding
feeding:
  %i = phi i64 [ 0, %body ], [ %i.next, %feed ]
  %i.more = icmp slt i64 %i, %streams
  br i1 %i.more, label %feed, label %call
feed:
  %s = getelementptr %stream, ptr %stream.first, i64 %i
  call void @feed(ptr %r, ptr %s, i64 %start, ptr %c)
  %i.next = add i64 %i, 1
  br label %feeding
call:
  call void %step(ptr %buffers, ptr %scalars, ptr %arena)
  br label %counting
counting:
  %k = phi i64 [ 0, %call ], [ %k.next, %count ]
  %k.more = icmp slt i64 %k, %counters
  br i1 %k.more, label %count, label %measuring
count:
  %counter = getelementptr %counter, ptr %counter.first, i64 %k
  call void @advance(ptr %counter)
  %k.next = add i64 %k, 1
  br label %counting
measuring:
  %m = phi i64 [ 0, %counting ], [ %m.next, %measure ]
  %fine = phi i1 [ true, %counting ], [ %fine.next, %measure ]
  %m.more = icmp slt i64 %m, %metrics
  br i1 %m.more, label %measure, label %judge
measure:
  %metric = getelementptr %metric, ptr %metric.first, i64 %m
  %sum = getelementptr double, ptr %sums, i64 %m
  %finite = call i1 @measure(ptr %metric, ptr %sum)
  %fine.next = and i1 %fine, %finite
  %m.next = add i64 %m, 1
  br label %measuring
judge:
  %bad = xor i1 %fine, true
  %quit = and i1 %bad, %stops
  br i1 %quit, label %stopped, label %next
next:
  %b.next = add i64 %b, 1
  br label %head
stopped:
  ret i64 %b
done:
  ret i64 -1
}
"""
