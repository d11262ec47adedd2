"""Walking arrays in batches, and cutting them in two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def batches(*arrays: Any, size: int, shuffle: bool = False, seed: int | None = None,
            drop_last: bool = False) -> Iterator[tuple[Any, ...]]:
    """Goes once through arrays that share their first axis, `size` rows at a time.

    Yields tuples with one piece of each array. The last piece may be short; drop_last leaves it
    out. shuffle: rows in random order, the same for all arrays and, with a seed, for each run.
    """
    rows = _rows("batches", arrays)
    if size < 1:
        raise ValueError(f"batches: expected a size of at least 1, got {size}")
    order = np.random.default_rng(seed).permutation(rows) if shuffle else None
    stop = rows - rows % size if drop_last else rows
    for first in range(0, stop, size):
        part: Any = slice(first, min(first + size, rows))
        if order is not None:
            part = order[part]
        yield tuple(a[part] for a in arrays)


def split(*arrays: Any, test: float | int = 0.2, seed: int = 0) -> tuple[Any, ...]:
    """Cuts arrays that share their first axis into two random parts.

    test: a share (float below 1) or a number of rows for the second part. Gives
    (a_train, a_test, b_train, b_test, ...).
    """
    rows = _rows("split", arrays)
    count = round(test * rows) if isinstance(test, float) else test
    if not 0 < count < rows:
        raise ValueError(f"split: expected 1 to {rows - 1} of {rows} rows for the test part, "
                         f"got {count}")
    order = np.random.default_rng(seed).permutation(rows)
    first, second = np.sort(order[count:]), np.sort(order[:count])
    return tuple(a[part] for a in arrays for part in (first, second))


def _rows(name: str, arrays: tuple[Any, ...]) -> int:
    if not arrays:
        raise ValueError(f"{name}: expected at least one array, got none")
    lengths = [len(a) for a in arrays]
    if len(set(lengths)) > 1:
        raise ValueError(f"{name}: expected arrays with equally many rows, got {lengths}")
    return lengths[0]
