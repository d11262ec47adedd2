"""Results with wide gaps between their elements, such as diagonal matrices: filled, then written.

A test an element, with its division, costs more than the fill of all and a store for each of the
few that are no fill.
"""

from __future__ import annotations

from flambeau.compiler import node as nd
from flambeau.compiler.node import Node, decode
from flambeau.compiler.size import unknown

WIDE = 16  # places for each element from which two walks are cheaper than one with tests


def fill_gaps(roots: list[Node]) -> list[Node]:
    """Makes every root that is a sparse pad, or a reshape of one, a write into its fill."""
    return [_filled(r) for r in roots]


def _filled(root: Node) -> Node:
    n = root
    while n.op == "reshape":
        n = n.src[0]
    if n.op != "pad" or unknown(n.size) or n.size < WIDE * n.src[0].size:
        return root
    spec, fill = n.arg
    if all(between == 1 for _, between in spec):
        return root
    blank = nd.const(n.dtype, decode(n.dtype, fill), n.shape)
    return nd.reshape(nd.node("put", n.dtype, n.shape, (blank, n.src[0]), spec), root.shape)
