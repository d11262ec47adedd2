"""A graph as a question: leaves numbered, a structural key, and no data.

`prepare` makes the key with one walk and compiles nothing. Between it and `pipeline.build` sits the
cache, so a known structure costs that walk alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from flambeau.compiler import node as nd
from flambeau.compiler.config import config
from flambeau.compiler.node import Node
from flambeau.compiler.size import Symbol
from flambeau.compiler.target import Target


@dataclass
class _Shadow:
    """What stays of a node when its graph is let go: where the user made it."""

    where: tuple[str, int] | None


@dataclass
class Request:
    """A graph whose leaves have been numbered: what is asked, apart from any data.

    leaves: the buffer leaves in order of their numbers; scalars: the scalar leaves; order: every
    node, sources first. donate[i] = j: root i may take over leaf j's memory.
    """

    roots: list[Node]
    order: list[Node]
    leaves: list[Node]
    scalars: list[Node]
    key: tuple[Any, ...]
    donate: dict[int, int] = field(default_factory=dict)
    symbol: Symbol | None = None  # of the Sizes in shapes and args, if there are any
    numbers: list[Any] = field(default_factory=list)  # the last scalars' values: kernel.Program

    def settled(self) -> Request:
        """The same request without any user data: leaves are parameters."""
        roots, params, scalars = parametrise(self)
        shadow = [_Shadow(n.where) for n in self.order]
        return Request(roots, shadow, params, scalars, self.key, self.donate)  # type: ignore[arg-type]

    def digest(self, target: Target) -> str:
        """A stable name for the structure on this target."""
        text = repr((self.key, target, config.matmul, config.skip, config.tf32))
        return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def prepare(roots: list[Node], donate: dict[Node, Node] | None = None) -> Request:
    """Numbers the graph under roots. A node whose value is known counts as that buffer.

    donate: root -> buffer leaf whose memory it may take over.
    """
    order: list[Node] = []
    leaves: list[Node] = []
    scalars: list[Node] = []
    key: list[tuple[Any, ...]] = []
    number: dict[Node, int] = {}
    get = number.get
    stack = roots[::-1]
    while stack:  # the walk that every lazy evaluation pays for: each node in one or two looks
        n = stack[-1]
        if n in number:
            stack.pop()
            continue
        src, leaf = n.src, _leaf(n)
        if leaf is not None:
            if leaf not in number:
                number[leaf] = len(order)
                order.append(leaf)
                leaves.append(leaf)
                key.append((n.dtype.rank, n.shape))
            number[n] = number[leaf]
            stack.pop()
            continue
        if len(src) == 1:
            i = get(src[0])
            if i is None:
                stack.append(src[0])
                continue
            if n.op == "mark":
                number[n] = i
                stack.pop()
                continue
            key.append((n.op, n.dtype.rank, n.shape, n.arg, i))
        elif len(src) == 2:
            i, j = get(src[0]), get(src[1])
            if i is None or j is None:
                stack += (src[1], src[0])
                continue
            key.append((n.op, n.dtype.rank, n.shape, n.arg, i, j))
        elif n.op == "scalar":
            scalars.append(n)
            key.append(("scalar", n.dtype.rank))
        else:
            waiting = [s for s in reversed(src) if s not in number]
            if waiting:
                stack += waiting
                continue
            key.append((n.op, n.dtype.rank, n.shape, n.arg, *[number[s] for s in src]))
        number[n] = len(order)
        order.append(n)
        stack.pop()
    places = tuple(number[r] for r in roots)
    place = {n: i for i, n in enumerate(leaves)}
    gifts = {i: place[donate[r]] for i, r in enumerate(roots)
             if donate and r in donate and donate[r] in place}
    return Request(roots, order, leaves, scalars, (tuple(key), places, tuple(gifts.items())), gifts)


def _leaf(n: Node) -> Node | None:
    """Where the value lies: what was noted as computed counts before the node itself."""
    if n.value is not None:
        return n.value
    return n if n.op in ("buffer", "param") else None


def _known(n: Node) -> bool:
    return n.value is not None


def _interned(n: Node, src: tuple[Node, ...]) -> Node:
    """The node that all equal ones are: what was recorded may hold some that are `nd.fresh`."""
    made = nd.node(n.op, n.dtype, n.shape, src, n.arg)
    if made.where is None:
        made.where = n.where
    return made


def parametrise(request: Request) -> tuple[list[Node], list[Node], list[Node]]:
    """The same graph over numbered parameters: (roots, params, scalars)."""
    done: dict[Node, Node] = {}
    params = []
    for i, leaf in enumerate(request.leaves):
        p = nd.node("param", leaf.dtype, leaf.shape, (), (i,))
        done[leaf] = p
        params.append(p)
    for n in nd.toposort(request.roots, stop=_known):
        held = _leaf(n)
        if held is not None:
            done[n] = done[held]
        elif n.op == "mark":
            done[n] = done[n.src[0]]
        elif n.op == "scalar":
            done[n] = n
        elif n not in done:
            done[n] = _interned(n, tuple([done[s] for s in n.src]))
    return [done[r] for r in request.roots], params, request.scalars
