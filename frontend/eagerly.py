"""Debugging: `eager` computes every operation when it is recorded, `detect_nan` also finds the one
that makes the first NaN."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.config import config
from flambeau.compiler.node import Node
from flambeau.runtime import reference

from . import realize as door
from .storage import Storage
from .tensor import _each as each
from .tensor import _watch as watch

_LEAVES = frozenset(("buffer", "const", "scalar", "iota", "param"))


@contextmanager
def _asked(hook: Callable[[Storage], None]) -> Iterator[None]:
    """Inside the block every new value is handed to `hook`."""
    before = watch[0]
    each.append(hook)
    watch[0] = -1
    try:
        yield
    finally:
        each.pop()
        watch[0] = -1 if each else max(before, 1000)


@contextmanager
def eager() -> Iterator[None]:
    """Inside the block every operation is computed when it is recorded, one program each.

    For debugging: errors come at their own lines, and times and memory are those of single
    operations. The numbers are those of lazy evaluation, but that a multiplication and an
    addition of one expression may be rounded once when they are fused. Holds in all threads;
    FLAMBEAU_EAGER=1 holds for the whole run. What `fb.compile` compiled stays compiled.
    """
    with _asked(_compute):
        yield


def _compute(storage: Storage) -> None:
    door.realize([storage])


@contextmanager
def detect_nan(inf: bool = False) -> Iterator[None]:
    """Inside the block the first operation whose result has NaN (or infinities, if asked), while
    its operands had none, raises FloatingPointError that names it and the line that recorded it.

    Everything is computed at once, as in `eager`; backward passes are looked at too, with the
    forward line that the failing derivative belongs to. NaN in data is not an error. Inside what
    `fb.compile` compiled nothing is looked at: call the plain function.
    """
    places: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()

    def check(storage: Storage) -> None:
        n = storage.node
        door.realize([storage])
        if n.op in _LEAVES:
            return
        file, line = door.user_frame()
        places.setdefault(n, f"{file}:{line}")
        leaf = storage.leaf
        assert leaf is not None
        if leaf.dtype.is_inexact and _is_bad(_numbers(leaf, reference.evaluate([leaf])[0]), inf):
            _report(n, inf, places)

    with _asked(check):
        yield


def _numbers(n: Node, bits: np.ndarray) -> np.ndarray:
    """Values as the reference gives them, bfloat16 widened."""
    return (bits.astype(np.uint32) << 16).view(np.float32) if n.dtype is dt.bfloat16 else bits


def _is_bad(values: np.ndarray, inf: bool) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.isnan(values).any() or (inf and np.isinf(values).any()))


def _report(root: Node, inf: bool, places: weakref.WeakKeyDictionary[Node, str]) -> None:
    """Raises if the NaN was made by this expression; does nothing if it came from data."""
    order = [n for n in N.toposort([root], lambda n: n is not root and n.value is not None)
             if n.op != "loop" and n.dtype.is_inexact]
    bad = {n for n, bits in zip(order, reference.evaluate(order))
           if _is_bad(_numbers(n, bits), inf)}
    for n in order:
        if n in bad and n.op not in _LEAVES and not bad.intersection(n.src):
            raise FloatingPointError(_message(n, root, inf, places))


def _message(n: Node, root: Node, inf: bool, places: weakref.WeakKeyDictionary[Node, str]) -> str:
    kinds = "NaN or infinity" if inf else "NaN"
    shape = list(n.shape)
    text = (f"detect_nan: expected finite numbers, got {kinds} from {n.op!r} "
            f"({n.dtype.name}{shape}), recorded at {places[root]}")
    for s in N.toposort([n])[-2::-1]:
        if s in places and s is not root and places[s] != places[root]:
            return f"{text}, from a value recorded at {places[s]}"
    return text


if config.eager:
    each.append(_compute)
    watch[0] = -1
