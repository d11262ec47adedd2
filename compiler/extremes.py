"""Where the extreme of one long axis is: which block holds it, then where in that block.

A position beside every lane's best is four to eight times as wide as a byte, so a walk that keeps
both is slow where a walk for the value alone is bound by memory. The blocks' extremes are values
alone; only the first block that has the extreme is walked for its place. A NaN is the extreme of
its block, so the first one is found the same way.
"""

from __future__ import annotations

from flambeau.compiler import algebra as al
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.compiler.node import Node
from flambeau.compiler.size import unknown

BLOCK = 4096  # long for the blocks' extremes to be few, short for the second walk to cost little
_VALUE = {"argmax": "max", "argmin": "min"}


def find_extremes(roots: list[Node]) -> list[Node]:
    """Writes argmax and argmin of one long line by blocks. The same places on any thread count."""
    done: dict[Node, Node] = {}
    for n in nd.toposort(roots):
        m = nd.rebuild(n, tuple(done[s] for s in n.src))
        done[n] = _by_blocks(m) if _is_long(m) else m
    return [done[r] for r in roots]


def _is_long(n: Node) -> bool:
    if n.op not in _VALUE or any(unknown(e) for e in n.src[0].shape):
        return False
    return n.size == 1 and n.src[0].size >= 8 * BLOCK


def _by_blocks(n: Node) -> Node:
    x = nd.reshape(n.src[0], (n.src[0].size,))
    if x.dtype is dt.bool_:
        x = nd.cast(x, dt.uint8)
    block = nd.reduce_(n.op, _extremes(x, _VALUE[n.op]), (0,))
    start = al.mul(block, BLOCK)
    at = al.add(nd.expand(start, (BLOCK,)), al.iota((BLOCK,), 0))
    if x.size % BLOCK:  # the last element again and again: the first place counts
        at = nd.elementwise("minimum", at, al.like(at, x.size - 1))
    line = nd.node("gather", x.dtype, at.shape, (x, at))
    return nd.reshape(al.add(start, nd.reduce_(n.op, line, (0,))), n.shape)


def _extremes(x: Node, op: str) -> Node:
    """The extreme of each block, and of what is left behind them."""
    count, rest = divmod(x.size, BLOCK)
    whole = nd.reshape(_cut(x, 0, count * BLOCK), (count, BLOCK))
    parts = [nd.reshape(nd.reduce_(op, whole, (1,)), (count,))]
    if rest:
        parts.append(nd.reduce_(op, _cut(x, count * BLOCK, rest), (0,)))
    return nd.concat(parts, 0)


def _cut(x: Node, start: int, length: int) -> Node:
    return nd.slice_(x, (start,), (length,), (1,))
