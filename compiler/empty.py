"""Takes values without elements out of a graph, so that no kernel ever walks an empty axis."""

from __future__ import annotations

from flambeau.compiler import node as nd
from flambeau.compiler.codegen.accumulate import identity
from flambeau.compiler.node import Node


def drop_empty(roots: list[Node]) -> list[Node]:
    """Replaces what is made from nothing: reductions by their identities, products by zeros,
    joins by their other parts, writes of nothing by what they write to, loops of no steps by what
    they start from."""
    done: dict[Node, Node] = {}
    for n in nd.toposort(roots):
        src = tuple(done[s] for s in n.src)
        simpler = None
        if n.op == "output":
            simpler = _never_run(n, src[0])
        elif n.size and any(not s.size for s in src):
            simpler = _from_nothing(n, src)
        done[n] = nd.rebuild(n, src) if simpler is None else simpler
    return [done[r] for r in roots]


def _from_nothing(n: Node, src: tuple[Node, ...]) -> Node | None:
    if n.op in ("sum", "prod", "max", "min"):
        nothing = 0 if n.op == "sum" else identity(n.op, n.dtype)
        return nd.const(n.dtype, nothing, n.shape)
    if n.op in ("dot", "conv"):
        return nd.const(n.dtype, 0, n.shape)
    if n.op == "pad":
        return nd.const(n.dtype, nd.decode(n.dtype, n.arg[1]), n.shape)
    if n.op == "concat":
        return nd.concat([s for s in src if s.size], n.arg)
    if n.op in ("put", "scatter"):
        return src[0]
    return None


def _never_run(n: Node, loop: Node) -> Node | None:
    """A carry of a loop without steps."""
    return loop.src[n.arg] if loop.arg.count == 0 and n.arg < loop.arg.carries else None
