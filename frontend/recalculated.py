"""Values that are calculated a second time, and kept then.

Only what is asked for is stored, so what an algorithm asks for piece by piece from one growing
graph would be calculated from its beginning for every piece. Owns the memory of what the programs
worked out on their way: where a new program would work the same out again, it keeps it.
"""

from __future__ import annotations

import weakref

from flambeau.compiler.node import Node

LONG = 48  # nodes of a graph from which on it is worth a look
BYTES = 64 << 20  # what one program keeps of such values
CHEAP = frozenset(("const", "scalar", "iota", "buffer", "reshape", "permute", "expand", "slice",
                   "mark", "cast"))

_met: weakref.WeakSet[Node] = weakref.WeakSet()


def again(roots: list[Node], order: list[Node]) -> list[Node]:
    """What a new program should keep, for an earlier one has worked it out already: the last such
    values on the way to the roots. order: the graph, sources first."""
    if len(order) < LONG:
        return []
    old = [n for n in order if n in _met and n.value is None]
    known, wanted = set(old), dict.fromkeys(roots)
    found: dict[Node, None] = {}
    for n in order:
        if n.value is None and (n not in known or n in wanted):
            for s in n.src:
                base = _base(s)
                if base in known and base not in wanted and base.op != "loop" and base.size:
                    found[base] = None
    _met.update(n for n in order if n.value is None and n.src)
    kept, total = [], 0
    for n in sorted(found, key=lambda n: n.nbytes):
        total += n.nbytes
        if total > BYTES:
            break
        kept.append(n)
    return kept


def _base(n: Node) -> Node:
    """The value that n shows other places of."""
    while n.op in CHEAP and n.src and n.value is None:
        n = n.src[0]
    return n
