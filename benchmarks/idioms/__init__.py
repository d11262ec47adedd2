"""One file for each framework: how it says, in its own best idiom, what the suites ask for.

Each has `start(threads)`, `version()` and `work(f, arrays)`, which makes a Work of a function
`f(x, *operands)`; x is the framework's namespace: `exp`, `tanh`, `softmax`, `conv`, ...
A name that x lacks is a row that the framework sits out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Work(NamedTuple):
    """call: once, with its result complete, or on its way where `wait` waits for it."""

    call: Callable[[], Any]
    fetch: Callable[[Any], list[np.ndarray]]
    wait: Callable[[Any], Any] = lambda value: value


class SitsOut(Exception):
    """The framework has nothing of the kind."""


def listed(value: Any) -> list[Any]:
    """One result or several, as a list."""
    return list(value) if isinstance(value, tuple | list) else [value]
