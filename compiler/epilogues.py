"""Costly work on a row's result, moved out of the walk over rows.

A rows kernel computes what follows a reduction one row at a time, on one lane. Where that is a
tanh or an exp over many rows, a map kernel over all the results does it in vectors: the results
wait in memory, which is little beside the rows.
"""

from __future__ import annotations

import math

from flambeau.compiler.fuse import COSTLY
from flambeau.compiler.kernel import Kernel, Store
from flambeau.compiler.node import Node
from flambeau.compiler.ops import ELEMENTWISE, OPS

MANY = 32  # rows that are worth a kernel of their own
LONG = 64  # elements of a row that is walked in vectors, so that its result is one lane's work


def split_epilogues(kernels: list[Kernel]) -> list[Kernel]:
    """The kernels, with the costly epilogues of rows as map kernels behind them."""
    out: list[Kernel] = []
    for k in kernels:
        out.append(k)
        if k.kind == "rows" and _along_memory(k):
            out += [_moved(k, s) for s in list(k.stores) if _worthwhile(k, s)]
    return out


def _along_memory(k: Kernel) -> bool:
    """Is the row what vectors walk along? Windows of a pooling are not: there lanes are results."""
    last = max((i for i, e in enumerate(k.space) if e > 1), default=-1)
    return last in k.axes and math.prod(k.space[i] for i in k.axes) >= LONG


def _worthwhile(k: Kernel, s: Store) -> bool:
    if s.region is not None or s.value.size < MANY or s.value in k.anchors:
        return False
    if any(s.value.size != a.size for a in k.anchors):
        return False
    own = _after(k, [s.value])
    others = _after(k, [o.value for o in k.stores if o is not s] + [a.src[0] for a in k.anchors])
    cost = sum(OPS[n.op].cost for n in own if n.op in ELEMENTWISE and n.size == s.value.size)
    return cost > COSTLY and not own & others and any(a in k.anchors for n in own for a in n.src)


def _after(k: Kernel, roots: list[Node]) -> set[Node]:
    """What k computes inline for these values, down to its anchors."""
    found: set[Node] = set()
    homes, stack = {s.home for s in k.stores}, list(roots)
    while stack:
        n = stack.pop()
        if n in found or n in k.anchors or (n not in k.inlined and n not in homes):
            continue
        found.add(n)
        stack.extend(n.src)
    return found


def _moved(k: Kernel, s: Store) -> Kernel:
    """Takes a store out of k, which then stores the anchors it needs; returns its kernel."""
    inside = _after(k, [s.value])
    k.stores.remove(s)
    for a in k.anchors:
        if any(a in n.src for n in inside) and all(o.home is not a for o in k.stores):
            k.stores.append(Store(a, a))
    return Kernel("map", [s], s.value.shape, inlined=inside)
