"""Order on the host: sorts, order statistics and frequencies, for `extern` nodes.

NumPy's sort of plain values is vectorised and its stable argsort is not. So an order comes from a
sort of values wherever they fit into 64 bits together with their positions, and from an unstable
order whose ties are put right elsewhere. NaN counts as largest.
"""

from __future__ import annotations

import numpy as np

_SHORT = 512  # from here on a line is long: worth passes of its own


def sort(options: tuple[int, bool], x: np.ndarray) -> np.ndarray:
    """Values in order along an axis. options: (axis, descending)."""
    axis, descending = options
    ordered = np.sort(x, axis=axis)
    return np.flip(ordered, axis) if descending else ordered


def argsort(options: tuple[int, bool], x: np.ndarray) -> np.ndarray:
    """Stable order along an axis, int64. options: (axis, descending)."""
    axis, descending = options
    lines = np.moveaxis(x, axis, -1)
    if descending:
        turned = _stable(np.ascontiguousarray(lines[..., ::-1]))[..., ::-1]
        return np.moveaxis(x.shape[axis] - 1 - turned, -1, axis)
    return np.moveaxis(_stable(np.ascontiguousarray(lines)), -1, axis)


def _stable(x: np.ndarray) -> np.ndarray:
    """The stable order of each last-axis line."""
    count = x.shape[-1]
    if count < _SHORT or x.itemsize < 4 or count >= 1 << 31:
        return np.argsort(x, axis=-1, kind="stable")
    if x.itemsize == 4:
        packed = _keys(x).astype(np.uint64) << np.uint64(32)
        packed |= np.arange(count, dtype=np.uint64)
        packed.sort(axis=-1)
        packed &= np.uint64(0xFFFFFFFF)
        return packed.view(np.int64)
    if x.dtype.kind in "iu":
        low, bits = x.min(), count.bit_length()
        if int(x.max()) - int(low) < 1 << (63 - bits):
            places = np.arange(count, dtype=np.int64)
            packed64 = ((x - low).astype(np.int64) << bits) | places
            packed64.sort(axis=-1)
            return packed64 & ((1 << bits) - 1)
        return np.argsort(x, axis=-1, kind="stable")
    order = np.argsort(x, axis=-1)
    return _untied(np.take_along_axis(x, order, -1), order)


def _keys(x: np.ndarray) -> np.ndarray:
    """Unsigned numbers in the order of x's 32-bit elements."""
    if x.dtype.kind == "u":
        return x
    top = np.uint32(0x80000000)
    if x.dtype.kind == "i":
        return x.view(np.uint32) ^ top
    bits = (x + np.float32(0)).view(np.uint32)  # -0 becomes 0: they are equal
    keys = np.where(bits & top, ~bits, bits | top)
    return np.where(np.isnan(x), np.uint32(0xFFFFFFFF), keys)


def _untied(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """An order whose equal values come by position."""
    differ = values[..., 1:] != values[..., :-1]
    if values.dtype.kind == "f":
        differ &= ~(np.isnan(values[..., 1:]) & np.isnan(values[..., :-1]))
    if differ.all():
        return order
    runs = np.zeros(order.shape, np.int64)
    np.cumsum(differ, axis=-1, out=runs[..., 1:])
    runs *= order.shape[-1]
    return np.sort(runs + order, axis=-1) - runs


# -- order statistics ------------------------------------------------------------------------------


def kth(options: tuple[int, int], x: np.ndarray) -> np.ndarray:
    """Where the k-th smallest element (from 0) is along an axis, which stays with length 1; int64.
    options: (axis, k)."""
    axis, k = options
    return _lines(x, axis, 1, lambda line: _kth(line, k), lambda order: order[..., k:k + 1])


def _kth(line: np.ndarray, k: int) -> np.ndarray:
    value = np.partition(line, k)[k]
    return np.array([np.argmax(line == value if value == value else line != line)])


def topk(options: tuple[int, int, bool], x: np.ndarray) -> np.ndarray:
    """Where the k largest (or smallest) elements are along an axis, in order; of equal ones those
    that come first; int64. options: (axis, k, largest)."""
    axis, k, largest = options
    if x.shape[axis] < _SHORT or k * 4 > x.shape[axis]:
        return np.take(argsort((axis, largest), x), np.arange(k), axis)
    return _lines(x, axis, k, lambda line: _topk(line, k, largest), lambda order: order[..., :k])


def _topk(line: np.ndarray, k: int, largest: bool) -> np.ndarray:
    if k == 0:
        return np.zeros(0, np.int64)
    at = line.size - k if largest else k - 1
    split = np.argpartition(line, at)
    chosen = split[at:] if largest else split[:k]
    bound = line[split[at]]
    if np.isnan(line[chosen]).any():
        return argsort((0, largest), line)[:k]
    equal = line == bound
    if np.count_nonzero(equal) != np.count_nonzero(equal[chosen]):  # of equal ones, the first
        surely = chosen[~equal[chosen]]
        chosen = np.concatenate((surely, np.flatnonzero(equal)[:k - surely.size]))
    chosen = np.sort(chosen)
    return chosen[argsort((0, largest), line[chosen])]


def median(options: tuple[int, bool], x: np.ndarray) -> np.ndarray:
    """Where the lower median is along an axis, which stays with length 1; int64. NaN wins, or is
    left out. options: (axis, leave NaN out)."""
    axis, skip = options
    nans = np.isnan(x) if x.dtype.kind == "f" else np.zeros(x.shape, bool)
    if not nans.any():
        return kth((axis, (x.shape[axis] - 1) // 2), x)
    order = argsort((axis, False), x)
    known = x.shape[axis] - np.count_nonzero(nans, axis=axis, keepdims=True)
    place = np.where(known > 0, np.maximum(known - 1, 0) // 2, 0)
    if not skip:  # the first NaN
        place = np.where(known < x.shape[axis], known, place)
    return np.take_along_axis(order, place, axis)


def _lines(x: np.ndarray, axis: int, count: int, each: object, all_: object) -> np.ndarray:
    """Positions along an axis: line by line where lines are long, else from the order of all."""
    assert callable(each) and callable(all_)
    lines = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    if lines.shape[-1] < _SHORT:
        return np.moveaxis(all_(_stable(lines)), -1, axis)
    flat = lines.reshape(-1, lines.shape[-1])
    found = np.array([each(line) for line in flat], np.int64)
    return np.moveaxis(found.reshape(*lines.shape[:-1], count), -1, axis)


def mode(axis: int, x: np.ndarray) -> np.ndarray:
    """Where the last occurrence of the most frequent element (the smallest of equals) is along an
    axis, which stays with length 1; int64. options: axis."""
    lines = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    order = _stable(lines)
    values = np.take_along_axis(lines, order, -1)
    at = np.arange(lines.shape[-1])
    starts = np.zeros(lines.shape, np.int64)
    starts[..., 1:] = np.where(values[..., 1:] != values[..., :-1], at[1:], 0)
    runs = at - np.maximum.accumulate(starts, axis=-1)
    best = np.argmax(runs, axis=-1, keepdims=True)
    return np.moveaxis(np.take_along_axis(order, best, -1), -1, axis)


def searchsorted(side: str, line: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Where x's elements go in sorted vectors (one, or one for each leading position), int64.
    options: "left" or "right"."""
    if line.ndim == 1:
        return np.asarray(np.searchsorted(line, x, side=side), np.int64)  # type: ignore[call-overload]
    rows = line.reshape(-1, line.shape[-1])
    wanted = x.reshape(rows.shape[0], -1)
    found = [np.searchsorted(r, v, side=side) for r, v in zip(rows, wanted)]  # type: ignore[call-overload]
    return np.asarray(found, np.int64).reshape(x.shape)
