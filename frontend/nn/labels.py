"""Class labels: integers below the number of classes, checked as early as possible."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N

from .. import tracing
from ..creation import iota
from ..realize import user_frame
from ..tensor import Tensor, read


def checked(criterion: Any, labels: Tensor, classes: int, ignored: int | None) -> N.Node:
    """int64 labels that are in range when their values are, as a node.

    Known values are looked at now; others pass through a gather of 0, 1, ..., classes - 1, which
    raises IndexError when the program meets one out of range. Raises TypeError for floats.
    """
    if not labels.dtype.is_integer:
        raise TypeError(f"{criterion.label()}: expected integer labels from 0, got "
                        f"{labels.dtype.name}")
    n = N.cast(read(labels), dt.int64)
    if not tracing.active() and not labels.is_lazy:
        _check_once(criterion, labels, classes, ignored)
        return n
    if ignored is None:
        return _looked_up(criterion, n, classes)
    skip = N.elementwise("eq", n, N.const(dt.int64, ignored, n.shape))
    safe = N.elementwise("where", skip, N.const(dt.int64, 0, n.shape), n)
    return N.elementwise("where", skip, n, _looked_up(criterion, safe, classes))


_checked: weakref.WeakKeyDictionary[N.Node, Any] = weakref.WeakKeyDictionary()


def _check_once(criterion: Any, labels: Tensor, classes: int, ignored: int | None) -> None:
    """Looks at values unless these very ones passed the last look."""
    storage = labels._storage
    seen = (storage.version, labels._view, classes, ignored)
    if storage.shared is None and _checked.get(storage.node) == seen:
        return
    _check(criterion, labels.numpy(), classes, ignored)
    _checked[storage.node] = seen


def _check(criterion: Any, values: np.ndarray, classes: int, ignored: int | None) -> None:
    if values.size == 0:
        return
    if values.dtype == np.int64 and ignored is None:  # negatives are huge as unsigned
        if values.view(np.uint64).max() < classes:
            return
    elif values.min() >= 0 and values.max() < classes:
        return
    wrong = (values < 0) | (values >= classes)
    if ignored is not None:
        wrong &= values != ignored
    if wrong.any():
        place = tuple(int(i[0]) for i in np.nonzero(wrong))
        where = f" at {list(place)}" if place else ""
        raise IndexError(f"{criterion.label()}: expected labels in [0, {classes}), got "
                         f"{int(values[place])}{where}")


def _looked_up(criterion: Any, n: N.Node, classes: int) -> N.Node:
    found = N.node("gather", dt.int64, n.shape, (iota(dt.int64, (classes,), 0), n))
    if found.where is None:
        file, line = user_frame()
        found.where = (f"{criterion.label()} with labels from 0 to {classes - 1}, {file}", line)
    return found
