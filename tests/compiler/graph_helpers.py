"""Leaves that hold NumPy arrays, and values by the reference device."""

from __future__ import annotations

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.node import Node
from flambeau.runtime.reference import evaluate


class Held(np.ndarray):
    """An ndarray that hashes by identity, so that it may be a node's arg."""

    def __new__(cls, array: np.ndarray) -> Held:
        return array.view(cls)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:  # type: ignore[override]
        return self is other


def leaf(array: object, dtype: dt.DType | None = None) -> Node:
    """A buffer leaf over an array."""
    array = np.asarray(array)
    return N.node("buffer", dtype or dt.from_numpy(array.dtype), array.shape, (), Held(array))


def value(n: Node) -> np.ndarray:
    return evaluate([n])[0]


def text(n: Node, names: dict[Node, str] | None = None) -> str:
    """A graph as one expression: constants as numbers, broadcasts of constants unseen."""
    names = names or {}
    if n in names:
        return names[n]
    known = N.const_value(n)
    if known is not None:
        return f"{known:g}" if not isinstance(known, bool) else str(known)
    src = [text(s, names) for s in n.src]
    if n.op in ("expand", "reshape"):
        src.append("x".join(map(str, n.shape)))
    elif n.op == "cast":
        src.append(n.dtype.name)
    elif n.op == "iota":
        src.append(str(n.shape[n.arg]))
    elif n.arg is not None and n.op not in ("buffer", "param", "scalar"):
        src.append(str(n.arg).replace(" ", ""))
    return f"{n.op}({', '.join(src)})"
