"""Order on the host: sorts, order statistics and frequencies, for `extern` nodes.

Long lines are sorted by their bytes (radix.py); short ones, and 8- and 16-bit numbers, by NumPy.
Lines of one array are shared among threads. NaN counts as largest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from flambeau.runtime import radix

_SHORT = 256  # from here on a line is long: its order is worth passes over bytes
_LONG = 4096  # and here its values too, where NumPy's sort is vectorised


def sort(options: tuple[int, bool], x: np.ndarray) -> np.ndarray:
    """Values in order along an axis. options: (axis, descending)."""
    axis, descending = options
    ordered = _sorted(np.moveaxis(x, axis, -1))
    return np.moveaxis(ordered[..., ::-1] if descending else ordered, -1, axis)


def sort_into(options: tuple[int, bool], out: np.ndarray, x: np.ndarray) -> bool:
    """Rising `sort` along the last axis, written where it is wanted."""
    axis, descending = options
    if descending or axis != x.ndim - 1 or not x.size or (x.itemsize == 1 and x.ndim == 1):
        return False
    flat, made = _flat(x), _flat(out)
    if _is_long(flat):
        radix.sort(flat, made)
        return True
    made[...] = flat
    _sort_rows(made)
    return True


def _sort_rows(rows: np.ndarray) -> None:
    kind = "stable" if rows.itemsize <= 2 and rows.dtype.kind != "f" else None  # by bytes, too
    radix.share(lambda part: part.sort(axis=-1, kind=kind), rows)


def _sorted(lines: np.ndarray) -> np.ndarray:
    """Each last-axis line in order."""
    flat = _flat(lines)
    if _is_long(flat):
        return radix.sort(flat).reshape(lines.shape)
    made = np.array(flat, order="C", copy=True)
    if made.itemsize == 1 and made.shape[0] == 1:  # counted: there are no more than 256
        first = made[0].astype(np.int16) + 128 if made.dtype.kind == "i" else made[0]
        counts = np.bincount(first, minlength=256)
        base = np.arange(256) - (128 if made.dtype.kind == "i" else 0)
        return np.repeat(base.astype(made.dtype), counts).reshape(lines.shape)
    _sort_rows(made)
    return made.reshape(lines.shape)


def _is_long(flat: np.ndarray) -> bool:
    """Are rows worth passes over their bytes?"""
    return flat.itemsize in (4, 8) and flat.shape[1] >= _LONG


def _flat(lines: np.ndarray) -> np.ndarray:
    """Last-axis lines as the rows of a matrix."""
    return lines.reshape(-1, lines.shape[-1]) if lines.size else lines.reshape(0, lines.shape[-1])


def argsort(options: tuple[int, bool], x: np.ndarray) -> np.ndarray:
    """Stable order along an axis, int64. options: (axis, descending)."""
    axis, descending = options
    lines = np.moveaxis(x, axis, -1)
    if descending:
        turned = _stable(lines[..., ::-1])[..., ::-1]
        return np.moveaxis(x.shape[axis] - 1 - turned, -1, axis)
    return np.moveaxis(_stable(lines), -1, axis)


def argsort_into(options: tuple[int, bool], out: np.ndarray, x: np.ndarray) -> bool:
    """Rising `argsort` along the last axis, written where it is wanted."""
    axis, descending = options
    if descending or axis != x.ndim - 1 or not x.size:
        return False
    flat = _flat(x)
    if _by_bytes(flat):
        radix.order(flat, out.reshape(flat.shape))
        return True

    def rows(x: np.ndarray, found: np.ndarray) -> None:
        found[...] = np.argsort(x, axis=-1, kind="stable")

    radix.share(rows, flat, out.reshape(flat.shape))
    return True


def _by_bytes(flat: np.ndarray) -> bool:
    """Are orders of rows worth passes over their bytes?"""
    return flat.itemsize in (4, 8) and flat.shape[1] >= _SHORT


def _stable(lines: np.ndarray) -> np.ndarray:
    """The stable order of each last-axis line."""
    flat = _flat(lines)
    if _by_bytes(flat):
        return radix.order(flat).reshape(lines.shape)
    found = np.empty(flat.shape, np.int64)

    def rows(x: np.ndarray, found: np.ndarray) -> None:
        found[...] = np.argsort(x, axis=-1, kind="stable")

    radix.share(rows, np.ascontiguousarray(flat), found)
    return found.reshape(lines.shape)


# -- order statistics ------------------------------------------------------------------------------


def kth(options: tuple[int, int], x: np.ndarray) -> np.ndarray:
    """Where the k-th smallest element (from 0) is along an axis, which stays with length 1; int64.
    options: (axis, k)."""
    axis, k = options
    return _places(x, axis, 1, lambda rows, found: _kth(rows, k, found))


def _kth(rows: np.ndarray, k: int, found: np.ndarray) -> None:
    if rows.shape[0] <= 4:
        values = np.array([select(row, k) for row in rows])
    else:
        values = np.partition(rows, k, axis=1)[:, k]
    equal = rows == values[:, None]
    nan = np.flatnonzero(values != values)
    equal[nan] = rows[nan] != rows[nan]
    found[:, 0] = equal.argmax(1)


_SAMPLE = 8192  # elements that tell about where in a long line a value lies
_MARGIN = 4 * 45  # four standard deviations of a rank among them


def select(line: np.ndarray, k: int) -> Any:
    """The k-th smallest value (from 0) of a vector; NaN counts as largest.

    A sample bounds the value from both sides, and only what lies between is put in order (Floyd and
    Rivest 1975). Where the bounds miss it, the whole line is.
    """
    count = line.size
    if count >= 4 * _SAMPLE:
        some = np.sort(line[::count // _SAMPLE])
        at = k * some.size // count
        low, high = some[max(0, at - _MARGIN)], some[min(some.size - 1, at + _MARGIN)]
        above = line >= low
        below = np.count_nonzero(line < low)
        above &= line <= high
        inside = np.count_nonzero(above)
        if below <= k < below + inside <= below + count // 4:
            between = line[above]
            between.partition(k - below)
            return between[k - below]
    return np.partition(line, k)[k]


def placed(options: tuple[tuple[int, ...], bool], x: np.ndarray) -> np.ndarray:
    """Last-axis lines with elements in their places, if no others. options: the places; whether
    NaN is left out, so that a line with some needs other places and is sorted."""
    out = np.empty(x.shape, x.dtype)
    placed_into(options, out, x)
    return out


def placed_into(options: tuple[tuple[int, ...], bool], out: np.ndarray, x: np.ndarray) -> bool:
    """`placed`, written where it is wanted."""
    places, skip = options
    rows, found = _flat(x), _flat(out)
    if skip and x.size and np.isnan(x.max()):
        found[...] = _sorted(rows)
    elif rows.shape[0] <= 4 and len(places) <= 4:
        found[...] = rows
        for row, line in zip(rows, found):
            line[list(places)] = [select(row, k) for k in places]
    else:
        found[...] = rows
        radix.share(lambda part: part.partition(places, axis=-1), found)
    return True


def partition(options: tuple[int, int], x: np.ndarray) -> np.ndarray:
    """Values with the k-th in its place, smaller ones before it. options: (axis, k)."""
    axis, k = options
    made = np.array(np.moveaxis(x, axis, -1), order="C", copy=True)
    radix.share(lambda rows: rows.partition(k, axis=-1), _flat(made))
    return np.moveaxis(made, -1, axis)


def partition_into(options: tuple[int, int], out: np.ndarray, x: np.ndarray) -> bool:
    """`partition` along the last axis, written where it is wanted."""
    axis, k = options
    if axis != x.ndim - 1 or not x.size:
        return False
    out[...] = x
    radix.share(lambda rows: rows.partition(k, axis=-1), _flat(out))
    return True


def argpartition_into(options: tuple[int, int], out: np.ndarray, x: np.ndarray) -> bool:
    """`argpartition` along the last axis, written where it is wanted."""
    axis, k = options
    if axis != x.ndim - 1 or not x.size:
        return False

    def rows(lines: np.ndarray, found: np.ndarray) -> None:
        for line, places in zip(lines, found):
            _split(line, k, places)

    radix.share(rows, _flat(x), _flat(out))
    return True


def _split(line: np.ndarray, k: int, found: np.ndarray) -> None:
    """Where a vector's smaller elements are than the k-th, its equals, and the larger ones."""
    if line.size < 4 * _SAMPLE or line.itemsize == 1:
        found[...] = np.argpartition(line, k)
        return
    value = select(line, k)
    nan = value != value
    small = line == line if nan else line < value
    some = np.flatnonzero(small)
    found[:some.size] = some
    if not nan:
        np.less_equal(line, value, out=small)
    last = np.flatnonzero(~small)
    found[line.size - last.size:] = last
    if some.size + last.size < line.size:
        found[some.size:line.size - last.size] = np.flatnonzero(line == value)


def argpartition(options: tuple[int, int], x: np.ndarray) -> np.ndarray:
    """Where the elements of such an order come from, int64. options: (axis, k)."""
    axis, k = options

    def rows(lines: np.ndarray, found: np.ndarray) -> None:
        found[...] = np.argpartition(lines, k, axis=-1)

    return _places(x, axis, x.shape[axis], rows)


def topk(options: tuple[int, int, bool], x: np.ndarray) -> np.ndarray:
    """Where the k largest (or smallest) elements are along an axis, in order; of equal ones those
    that come first; int64. options: (axis, k, largest)."""
    axis, k, largest = options
    if x.shape[axis] < 16 or k * 4 > x.shape[axis] or k == 0:
        return np.take(argsort((axis, largest), x), np.arange(k), axis)
    return _places(x, axis, k, lambda rows, found: _topk(rows, k, largest, found))


def _topk(rows: np.ndarray, k: int, largest: bool, found: np.ndarray) -> None:
    if _few_best(rows, k, largest, found):
        return
    count = rows.shape[1]
    at = count - k if largest else k - 1
    split = np.argpartition(rows, at, axis=1)
    chosen = np.sort(split[:, at:] if largest else split[:, :k], axis=1)
    values = np.take_along_axis(rows, chosen, 1)
    order = argsort((1, largest), values)
    found[...] = np.take_along_axis(chosen, order, 1)
    bound = np.take_along_axis(rows, split[:, at:at + 1], 1)
    several = (rows == bound).sum(1) != (values == bound).sum(1)  # of equal ones, the first
    for i in np.flatnonzero(several | (values != values).any(1)):
        found[i] = argsort((0, largest), rows[i])[:k]


def _few_best(rows: np.ndarray, k: int, largest: bool, found: np.ndarray) -> bool:
    """The k best of long rows: of `width` interleaved parts of a row, the best of k parts are no
    better than the k best of all, so only what reaches the worst of those has to be sorted. Says
    whether it did: not for NaN, short rows, and many equal elements."""
    count = rows.shape[1]
    width = max(8 * k, min(1024, count // 16))
    deep = count // width
    if deep < 4:
        return False
    whole = rows[:, :deep * width].reshape(len(rows), deep, width)
    best = whole.max(1) if largest else whole.min(1)
    tail = rows[:, deep * width:]
    if rows.dtype.kind == "f" and (np.isnan(best).any() or np.isnan(tail).any()):
        return False
    at = width - k if largest else k - 1
    bound = np.partition(best, at, axis=1)[:, at:at + 1]
    places = np.flatnonzero(rows >= bound if largest else rows <= bound)
    if 8 * places.size > rows.size:
        return False
    row, column = np.divmod(places, count)
    values = rows[row, column]
    if largest:
        values = -values if values.dtype.kind == "f" else ~values
    column = column[np.lexsort((values, row))]
    starts = np.searchsorted(row, np.arange(len(rows)))
    found[...] = column[starts[:, None] + np.arange(k)]
    return True


def median(options: tuple[int, bool], x: np.ndarray) -> np.ndarray:
    """Where the lower median is first along an axis, which stays with length 1; int64. NaN wins,
    or is left out. options: (axis, leave NaN out)."""
    axis, skip = options
    if x.dtype.kind != "f" or not np.isnan(x.max()):
        return kth((axis, (x.shape[axis] - 1) // 2), x)
    order = argsort((axis, False), x)
    known = np.count_nonzero(x == x, axis=axis, keepdims=True)
    place = np.where(known > 0, np.maximum(known - 1, 0) // 2, 0)
    if not skip:  # the first NaN
        place = np.where(known < x.shape[axis], known, place)
    value = np.take_along_axis(x, np.take_along_axis(order, place, axis), axis)
    equal = (x == value) | ((x != x) & (value != value))
    return np.argmax(equal, axis=axis, keepdims=True)


def _places(x: np.ndarray, axis: int, count: int, each: Callable[..., None]) -> np.ndarray:
    """`count` positions along an axis, written by each(rows, found) for parts of the lines."""
    lines = np.moveaxis(x, axis, -1)
    flat = np.ascontiguousarray(_flat(lines))
    found = np.empty((flat.shape[0], count), np.int64)
    if found.size:
        radix.share(each, flat, found)
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


def isin(invert: bool, x: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Which integers are (or are not) among those of a vector: by a table, where the span of its
    values allows one. options: invert."""
    return np.isin(x, line, invert=invert)
