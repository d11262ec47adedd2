"""Sorting of numbers by their bytes, in machine code: values, and stable orders.

Owns: `sort` and `order` of rows. A row is moved once for each byte of its keys, the lowest first;
a byte that is the same in the whole row costs no move. Keys are unsigned and ordered as the
numbers are. Rows are shared among threads, and none knows of the others.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from flambeau.runtime import cache, jit, memory, pool

SHARED = 1 << 16  # elements from which a second thread is worth its start


def sort(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Each row of x (2-d, 4- or 8-byte numbers) in order, NaN last; in `out` if it is given."""
    keys = _keys(x, out)
    bits = 8 * x.itemsize
    share(lambda rows: _run(bits, rows, None, 0), keys)
    values = _numbers(keys, x.dtype)
    if x.dtype.kind == "f":
        _turn_negative_nans(values)
    return values


def order(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """The stable order of each row of x (2-d, 4- or 8-byte numbers), int64, in `out` if it is
    given; NaN last, and zeros of both signs are equal."""
    found = (empty(x.shape, np.int64) if out is None else out).view(np.uint64)
    if x.itemsize == 4 and x.shape[1] < 1 << 32:  # key and place in one word
        share(_pack_and_run, np.ascontiguousarray(x), found)
        found &= np.uint64(0xFFFFFFFF)
        return found.view(np.int64)
    if x.dtype.kind == "f":
        x = x + x.dtype.type(0)
        x[x != x] = np.nan
    _order_wide(_keys(x).astype(np.uint64, copy=False), found)
    return found.view(np.int64)


def _pack_and_run(x: np.ndarray, words: np.ndarray) -> None:
    _pack(x, words)
    _run(64, words, None, 32)


def _order_wide(keys: np.ndarray, found: np.ndarray) -> None:
    """Puts the stable order of rows of uint64, which are overwritten, into found."""
    unused = 0
    if keys.size:
        keys -= keys.min()
        unused = 64 - int(keys.max()).bit_length()
    if unused:
        keys <<= np.uint64(min(unused, 63))
    places = np.arange(keys.shape[1], dtype=np.uint64)
    if unused >= 32 or _spread(keys):  # the upper half decides, but for a few
        np.bitwise_and(keys, _UPPER, out=found)
        found |= places
        share(lambda part: _run(64, part, None, 32), found)
        tied = _tied(found) if unused < 32 else np.zeros(0, bool)
        found &= np.uint64(0xFFFFFFFF)
        if 16 * np.count_nonzero(tied) <= keys.size:
            for row in np.flatnonzero(tied.any(1)) if tied.size else ():
                _settle(found[row], keys[row], tied[row])
            return
    found[...] = places
    share(lambda part, at: _run(64, part, at, 0), keys, found)


_UPPER = np.uint64(0xFFFFFFFF00000000)
_SAMPLE = 8192


def _spread(keys: np.ndarray) -> bool:
    """Do the upper halves of long rows tell nearly all keys apart? Asks a sample of them."""
    if keys.shape[1] < 4 * _SAMPLE or keys.shape[1] >= 1 << 32:
        return False
    some = keys[0, ::keys.shape[1] // _SAMPLE] & _UPPER
    return some.size - np.unique(some).size < 2


def _tied(words: np.ndarray) -> np.ndarray:
    """Which neighbours have equal upper halves."""
    differ = words[:, 1:] ^ words[:, :-1]
    return differ < np.uint64(1 << 32)


def _settle(places: np.ndarray, keys: np.ndarray, tied: np.ndarray) -> None:
    """Orders places whose upper halves are tied by their whole keys."""
    at = np.flatnonzero(tied)
    at = np.union1d(at, at + 1)
    some = places[at]
    places[at] = some[np.lexsort((some, keys[some]))]


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Memory of our own allocator, whose pages are there already."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    return memory.allocate(nbytes).array(dtype, shape, writable=True)


def share(f: Callable[..., Any], *arrays: np.ndarray) -> None:
    """f of all rows, in as many parts as there are threads to take them."""
    rows = arrays[0].shape[0]
    count = min(pool.num_threads(), rows)
    if count < 2 or arrays[0].size < SHARED:
        f(*arrays)
        return
    edges = [rows * i // count for i in range(count + 1)]
    parts = [[a[i:j] for a in arrays] for i, j in itertools.pairwise(edges)]
    failed: list[BaseException] = []

    def run(part: list[np.ndarray]) -> None:
        try:
            f(*part)
        except BaseException as error:
            failed.append(error)

    others = [threading.Thread(target=run, args=(part,)) for part in parts[1:]]
    for thread in others:
        thread.start()
    run(parts[0])
    for thread in others:
        thread.join()
    if failed:
        raise failed[0]


def _keys(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """Unsigned numbers that are ordered as x's elements, in fresh memory or that of `out`."""
    unsigned = np.dtype(f"u{x.itemsize}")
    bits = empty(x.shape, unsigned) if out is None else out.view(unsigned)
    bits.view(x.dtype)[...] = x
    top = unsigned.type(1 << (8 * x.itemsize - 1))
    if x.dtype.kind == "i":
        bits ^= top
    elif x.dtype.kind == "f":  # negative ones turn around
        sign = (bits.view(f"i{x.itemsize}") >> (8 * x.itemsize - 1)).view(unsigned)
        sign |= top
        bits ^= sign
    return bits


def _numbers(keys: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """What `_keys` made keys of, in their place."""
    top = keys.dtype.type(1 << (8 * dtype.itemsize - 1))
    if dtype.kind == "i":
        keys ^= top
    elif dtype.kind == "f":
        sign = ~(keys.view(f"i{dtype.itemsize}") >> (8 * dtype.itemsize - 1)).view(keys.dtype)
        sign |= top
        keys ^= sign
    return keys.view(dtype)


def _turn_negative_nans(values: np.ndarray) -> None:
    """NaNs with a sign stand in front: they go to the end."""
    if values.shape[1]:
        for i in np.flatnonzero(np.isnan(values[:, 0])):
            count = int(np.argmin(np.isnan(values[i])))  # 0 when all are NaN
            values[i] = np.roll(values[i], -count)


# -- the machine code --------------------------------------------------------------------------


def _run(bits: int, words: np.ndarray, places: np.ndarray | None, first: int) -> None:
    """Orders rows of words by their bits from `first` on, and places along with them."""
    rows, count = words.shape
    spare, counts = empty((count,), words.dtype), np.empty(256, np.uint64)
    if places is None:
        _function(bits, False)(words.ctypes.data, spare.ctypes.data, None, None,
                               counts.ctypes.data, count, rows, first)
    else:
        along = empty((count,), np.uint64)
        _function(bits, True)(words.ctypes.data, spare.ctypes.data, places.ctypes.data,
                              along.ctypes.data, counts.ctypes.data, count, rows, first)


def _pack(x: np.ndarray, words: np.ndarray) -> None:
    """Words with the keys of 32-bit rows above, and places below."""
    _packer(x.dtype.kind)(x.ctypes.data, words.ctypes.data, *x.shape)


@lru_cache(maxsize=3)
def _packer(kind: str) -> Callable[..., None]:
    text = _PACK.replace("$KEY", _KEYS[kind])
    code = jit.load(text, cache.digest("radix", text), jit.host_target())
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    made = ctypes.CFUNCTYPE(None, pointer, pointer, integer, integer)(code.address("fb_pack"))
    made.code = code  # type: ignore[attr-defined]  # as long as the function lives
    return made


@lru_cache(maxsize=4)
def _function(bits: int, along: bool) -> Callable[..., None]:
    text = _PASS + _ROWS
    for name, value in (("$W", f"i{bits}"), ("$BITS", str(bits)), ("$BYTES", str(bits // 8)),
                        ("$ALONG", _ALONG if along else ""), ("$KEEP", _KEEP if along else ""),
                        ("$STEP", "8" if along else "0")):
        text = text.replace(name, value)
    code = jit.load(text, cache.digest("radix", text), jit.host_target())
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    made = ctypes.CFUNCTYPE(None, *[pointer] * 5, *[integer] * 3)(code.address("fb_radix_rows"))
    made.code = code  # type: ignore[attr-defined]  # as long as the function lives
    return made


_KEYS = {
    "u": "  %key = add i32 %bits, 0",
    "i": "  %key = xor i32 %bits, -2147483648",
    "f": """  %x.f = bitcast i32 %bits to float
  %plain = fadd float %x.f, 0.0
  %plain.i = bitcast float %plain to i32
  %sign = ashr i32 %plain.i, 31
  %turn = or i32 %sign, -2147483648
  %turned = xor i32 %plain.i, %turn
  %nan = fcmp uno float %x.f, 0.0
  %key = select i1 %nan, i32 -1, i32 %turned""",
}

_PACK = """
define void @fb_pack(ptr noalias %x, ptr noalias %words, i64 %rows, i64 %n) {
entry:
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %row, label %out
row:
  %r = phi i64 [ 0, %entry ], [ %r.next, %row.done ]
  %go = icmp slt i64 %r, %rows
  br i1 %go, label %row.start, label %out
row.start:
  %at = mul i64 %r, %n
  %x.row = getelementptr i32, ptr %x, i64 %at
  %w.row = getelementptr i64, ptr %words, i64 %at
  br label %each
each:
  %i = phi i64 [ 0, %row.start ], [ %i.next, %each ]
  %x.p = getelementptr i32, ptr %x.row, i64 %i
  %bits = load i32, ptr %x.p
$KEY
  %wide = zext i32 %key to i64
  %high = shl i64 %wide, 32
  %word = or i64 %high, %i
  %w.p = getelementptr i64, ptr %w.row, i64 %i
  store i64 %word, ptr %w.p
  %i.next = add i64 %i, 1
  %more = icmp slt i64 %i.next, %n
  br i1 %more, label %each, label %row.done
row.done:
  %r.next = add i64 %r, 1
  br label %row
out:
  ret void
}
"""

_ALONG = """
  %p.p = getelementptr i64, ptr %pa, i64 %j
  %p = load i64, ptr %p.p
  %p.to = getelementptr i64, ptr %pb, i64 %at
  store i64 %p, ptr %p.to"""
_KEEP = "  call void @llvm.memcpy.p0.p0.i64(ptr %p.row, ptr %p.from.next, i64 %p.bytes, i1 false)"

# Moves n words from a to b in stable order of the byte at bit `shift`; false when all are equal
# there and nothing was moved.
_PASS = """
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define internal i1 @pass(ptr noalias %a, ptr noalias %b, ptr noalias %pa, ptr noalias %pb,
                         ptr noalias %counts, i64 %n, i64 %shift) {
entry:
  %by.w = zext i64 %shift to i65
  %by = trunc i65 %by.w to $W
  call void @llvm.memset.p0.i64(ptr %counts, i8 0, i64 2048, i1 false)
  br label %count
count:
  %i = phi i64 [ 0, %entry ], [ %i.next, %count ]
  %w.p = getelementptr $W, ptr %a, i64 %i
  %w = load $W, ptr %w.p
  %w.s = lshr $W %w, %by
  %w.d = and $W %w.s, 255
  %d = zext $W %w.d to i65
  %d.i = trunc i65 %d to i64
  %c.p = getelementptr i64, ptr %counts, i64 %d.i
  %c = load i64, ptr %c.p
  %c.more = add i64 %c, 1
  store i64 %c.more, ptr %c.p
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, %n
  br i1 %more, label %count, label %look
look:
  %same = icmp eq i64 %c.more, %n
  br i1 %same, label %still, label %sums
still:
  ret i1 false
sums:
  %k = phi i64 [ 0, %look ], [ %k.next, %sums ]
  %sum = phi i64 [ 0, %look ], [ %sum.next, %sums ]
  %s.p = getelementptr i64, ptr %counts, i64 %k
  %s = load i64, ptr %s.p
  store i64 %sum, ptr %s.p
  %sum.next = add i64 %sum, %s
  %k.next = add i64 %k, 1
  %k.more = icmp ult i64 %k.next, 256
  br i1 %k.more, label %sums, label %move
move:
  %j = phi i64 [ 0, %sums ], [ %j.next, %move ]
  %v.p = getelementptr $W, ptr %a, i64 %j
  %v = load $W, ptr %v.p
  %v.s = lshr $W %v, %by
  %v.d = and $W %v.s, 255
  %e = zext $W %v.d to i65
  %e.i = trunc i65 %e to i64
  %at.p = getelementptr i64, ptr %counts, i64 %e.i
  %at = load i64, ptr %at.p
  %to = getelementptr $W, ptr %b, i64 %at
  store $W %v, ptr %to$ALONG
  %at.next = add i64 %at, 1
  store i64 %at.next, ptr %at.p
  %j.next = add i64 %j, 1
  %j.more = icmp ult i64 %j.next, %n
  br i1 %j.more, label %move, label %done
done:
  ret i1 true
}
"""

_ROWS = """
define void @fb_radix_rows(ptr %words, ptr %spare, ptr %places, ptr %p.spare, ptr %counts, i64 %n,
                           i64 %rows, i64 %first) {
entry:
  %bytes = mul i64 %n, $BYTES
  %p.bytes = mul i64 %n, $STEP
  %some = icmp sgt i64 %n, 0
  br i1 %some, label %next.row, label %out
next.row:
  %r = phi i64 [ 0, %entry ], [ %r.next, %row.done ]
  %go = icmp slt i64 %r, %rows
  br i1 %go, label %row.start, label %out
row.start:
  %r.at = mul i64 %r, %bytes
  %row = getelementptr i8, ptr %words, i64 %r.at
  %p.at = mul i64 %r, %p.bytes
  %p.row = getelementptr i8, ptr %places, i64 %p.at
  br label %byte
byte:
  %shift = phi i64 [ %first, %row.start ], [ %shift.next, %byte ]
  %from = phi ptr [ %row, %row.start ], [ %from.next, %byte ]
  %to = phi ptr [ %spare, %row.start ], [ %to.next, %byte ]
  %p.from = phi ptr [ %p.row, %row.start ], [ %p.from.next, %byte ]
  %p.to = phi ptr [ %p.spare, %row.start ], [ %p.to.next, %byte ]
  %moved = call i1 @pass(ptr %from, ptr %to, ptr %p.from, ptr %p.to, ptr %counts, i64 %n,
                         i64 %shift)
  %from.next = select i1 %moved, ptr %to, ptr %from
  %to.next = select i1 %moved, ptr %from, ptr %to
  %p.from.next = select i1 %moved, ptr %p.to, ptr %p.from
  %p.to.next = select i1 %moved, ptr %p.from, ptr %p.to
  %shift.next = add i64 %shift, 8
  %again = icmp slt i64 %shift.next, $BITS
  br i1 %again, label %byte, label %settle
settle:
  %home = icmp eq ptr %from.next, %row
  br i1 %home, label %row.done, label %bring
bring:
  call void @llvm.memcpy.p0.p0.i64(ptr %row, ptr %from.next, i64 %bytes, i1 false)
$KEEP
  br label %row.done
row.done:
  %r.next = add i64 %r, 1
  br label %next.row
out:
  ret void
}
"""
