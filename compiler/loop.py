"""Rolled loops: a body graph that one native loop runs many times.

A `Loop` is the arg of a "loop" node, whose sources are the start values of the carries, then the
sequences (walked along axis 0), then the invariants. Results come through "output" nodes: the last
carries first, then the stacked outputs, one row a step. The body is a graph of its own over
numbered `param` leaves ("body", i), so equal loops are equal values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from flambeau.compiler import node as nd
from flambeau.compiler.dtype import float32
from flambeau.compiler.node import Node
from flambeau.compiler.ops import CONTRACTIONS, ELEMENTWISE, REDUCTIONS

VIEWS = frozenset(("reshape", "permute", "expand", "slice", "mark"))


@dataclass(frozen=True, eq=False)
class Loop:
    """A scan (fixed number of steps) or a while loop.

    inputs: the body's leaves: carries, one row of each sequence, invariants. carried, stacked: the
    body's results. condition: of a while loop, a bool over the same leaves, asked before each step.
    count: steps of a scan; of a while loop the limit, or -1. reverse: walk sequences from the end.
    """

    count: int
    inputs: tuple[Node, ...]
    carries: int
    sequences: int
    carried: tuple[Node, ...]
    stacked: tuple[Node, ...]
    condition: Node | None = None
    reverse: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "_key", self._structure())
        object.__setattr__(self, "_hash", hash(self._key))  # type: ignore[attr-defined]

    @property
    def results(self) -> tuple[Node, ...]:
        """The body's results in the order of the loop's outputs."""
        return self.carried + self.stacked

    @property
    def structure(self) -> tuple[Any, ...]:
        """What equality, hashing and digests look at; its last two: the places of inputs and
        results among the nodes, and the nodes' rows."""
        return self._key  # type: ignore[attr-defined, no-any-return]

    def _structure(self) -> tuple[object, ...]:
        """What equality, hashing and digests look at."""
        number: dict[Node, int] = {}
        rows: list[object] = []
        roots = (*self.inputs, *self.results, *(() if self.condition is None
                                               else (self.condition,)))
        for n in nd.toposort(roots):
            number[n] = len(rows)
            rows.append((n.op, n.dtype.rank, n.shape, n.arg, *[number[s] for s in n.src]))
        return (self.count, self.carries, self.sequences, len(self.inputs), self.reverse,
                len(self.stacked), self.condition is not None,
                tuple(number[r] for r in roots), tuple(rows))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loop) and (self is other or self._key == other._key)  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined, no-any-return]

    def __repr__(self) -> str:
        return f"Loop{self._key!r}"  # type: ignore[attr-defined]


def placeholder(n: Node, i: int) -> Node:
    """The body's leaf number i for values like n."""
    return nd.node("param", n.dtype, n.shape, (), ("body", i))


def close(count: int, leaves: Sequence[Node], start: Sequence[Node], sequences: Sequence[Node],
          carried: Sequence[Node], stacked: Sequence[Node], condition: Node | None = None,
          reverse: bool = False) -> list[Node]:
    """Makes the loop from a traced body and gives its outputs (carries, then stacks).

    leaves: the unique nodes that stood for the carries and the rows while the body was traced. What
    the body reads but does not compute from them becomes an invariant, computed once outside.
    """
    roots = [*carried, *stacked, *([condition] if condition is not None else [])]
    roots = _without_marks(roots, set(leaves))
    carried = roots[:len(carried)]
    stacked = roots[len(carried):len(carried) + len(stacked)]
    condition = roots[-1] if condition is not None else None
    inside = _dependent(roots, set(leaves))
    invariants: dict[Node, None] = {}
    for n in nd.toposort(roots):
        for s in n.src:
            if n in inside and s not in inside:
                invariants |= dict.fromkeys(_handed_in(s, n.op))
    for r in roots:
        if r not in inside:
            invariants |= dict.fromkeys(_handed_in(r, ""))
    replace = {n: placeholder(n, i) for i, n in enumerate([*leaves, *invariants])}
    body = nd.substitute(roots, replace)
    carries = len(carried)
    loop = Loop(count, tuple(replace.values()), carries, len(sequences),
                tuple(body[:carries]), tuple(body[carries:carries + len(stacked)]),
                body[-1] if condition is not None else None, reverse)
    return outputs(nd.node("loop", float32, (), (*start, *sequences, *invariants), loop))


def _without_marks(roots: list[Node], leaves: set[Node]) -> list[Node]:
    """Marks that modules leave inside a body name one run; without them equal bodies are equal.
    Marks on what comes from outside stay, since gradients are asked for there."""
    inside = _dependent(roots, leaves)
    done: dict[Node, Node] = {}
    for n in nd.toposort(roots):
        src = tuple(done[s] for s in n.src)
        passing = n.op == "mark" and n.arg != 0 and n in inside
        done[n] = src[0] if passing else nd.rebuild(n, src)
    return [done[r] for r in roots]


def _handed_in(n: Node, reader: str) -> list[Node]:
    """What the body gets where it reads n from outside. Constants stay inside, where they fold;
    so do broadcasts, and for products, which read any layout, transposes: less memory is moved."""
    while n.op in ("expand", "reshape") or (reader == "dot" and n.op == "permute"):
        n = n.src[0]
    return [] if nd.is_const(n) or n.op == "iota" else [n]


def _dependent(roots: Sequence[Node], leaves: set[Node]) -> set[Node]:
    found: set[Node] = set()
    for n in nd.toposort(roots):
        if n in leaves or any(s in found for s in n.src):
            found.add(n)
    return found


def outputs(n: Node) -> list[Node]:
    """All results of a loop node."""
    loop: Loop = n.arg
    made = []
    for i, r in enumerate(loop.results):
        shape = r.shape if i < loop.carries else (loop.count, *r.shape)
        made.append(nd.node("output", r.dtype, shape, (n,), i))
    return made


# -- derivative ------------------------------------------------------------------------------------


def pull_back(n: Node, given: dict[int, Node], gradients: object) -> list[Node | None]:
    """Cotangents of a scan's sources from those of its outputs: a scan that walks back.

    The forward scan is asked once more for its carries before each step; `merge_loops` makes one
    loop of the two.
    """
    loop: Loop = n.arg
    if loop.condition is not None:
        raise TypeError("while_loop: expected no derivative to be needed, got one; a loop whose "
                        "number of steps is known only at run time cannot walk back: use scan")
    c, s = loop.carries, loop.sequences
    floats = [i for i, x in enumerate(loop.inputs) if x.dtype.is_inexact]
    d_carry = [i for i in floats if i < c]
    d_rows = [i for i in floats if c <= i < c + s]
    d_inv = [i for i in floats if i >= c + s]
    uniques = {x: unique(x) for x in loop.inputs}
    body = nd.substitute(loop.results, uniques)  # type: ignore[arg-type]
    cot_carry = {i: unique(loop.inputs[i]) for i in d_carry}
    acc = {i: unique(loop.inputs[i]) for i in d_inv}
    stacked = [i for i in given if i >= c]
    cot_rows = {i: unique(loop.results[i]) for i in stacked}
    outs = [body[i] for i in d_carry] + [body[i] for i in stacked]
    cots = [cot_carry[i] for i in d_carry] + [cot_rows[i] for i in stacked]
    pulled = gradients(outs, cots, [uniques[loop.inputs[i]] for i in floats])  # type: ignore[operator]
    pulled, kept = _keep_results(loop, pulled, uniques)
    saved = outputs(_saving(n, list(kept)))[len(loop.results):]
    grads = dict(zip(floats, pulled))
    zero = {i: nd.const(loop.inputs[i].dtype, 0, loop.inputs[i].shape) for i in floats}
    carried = [grads[i] or zero[i] for i in d_carry]
    carried += [nd.elementwise("add", acc[i], g) if (g := grads[i]) is not None else acc[i]
                for i in d_inv]
    rows = [grads[i] or zero[i] for i in d_rows]
    start = [given.get(i) or zero[i] for i in d_carry] + [zero[i] for i in d_inv]
    sequences = [*saved, *n.src[c:c + s], *(given[i] for i in stacked)]
    replace_inv = {uniques[x]: src for x, src in zip(loop.inputs[c + s:], n.src[c + s:])}
    carried, rows = (nd.substitute(part, replace_inv) for part in (carried, rows))
    leaves = [*(cot_carry[i] for i in d_carry), *(acc[i] for i in d_inv),
              *(uniques[x] for x in loop.inputs[:c]), *kept.values(),
              *(uniques[x] for x in loop.inputs[c:c + s]), *(cot_rows[i] for i in stacked)]
    made = close(loop.count, leaves, start, sequences, carried, rows, None, not loop.reverse)
    result: list[Node | None] = [None] * len(n.src)
    for i, g in zip([*d_carry, *d_inv, *d_rows], made):
        result[i] = g
    return result


def unique(n: Node) -> Node:
    """A leaf of n's kind that is equal to nothing else."""
    return nd.buffer(n.dtype, n.shape, object())


def _keep_results(loop: Loop, pulled: list[Node | None], uniques: dict[Node, Node]
                  ) -> tuple[list[Node | None], dict[Node, Node]]:
    """The derivative with leaves for the products, convolutions, reductions and inner loops of the
    forward step, and which values of the step those stand for: they are stored, not done again."""
    asked = [g for g in pulled if g is not None]
    order = nd.toposort(asked)
    own = loop.carries + loop.sequences
    moving = _dependent(asked, {uniques[x] for x in loop.inputs[:own]})
    forward = set(nd.toposort(nd.substitute(loop.results, uniques)))  # type: ignore[arg-type]
    known = forward & moving
    users = count_users(order)
    tops = {climb(n, users, known.__contains__, set(asked)): None
            for n in order if n.op in _DEAR and n in known}
    leaves = {top: unique(top) for top in tops}
    back = {u: x for x, u in uniques.items()}
    kept = dict(zip(nd.substitute(tops, back), leaves.values()))
    made = iter(nd.substitute(asked, leaves))
    return [None if g is None else next(made) for g in pulled], kept


_DEAR = CONTRACTIONS | REDUCTIONS | {"output"}  # what takes longer to do again than to read


def _saving(n: Node, results: list[Node]) -> Node:
    """The same scan that also stacks its carries as they were before each step, and results."""
    loop: Loop = n.arg
    more = Loop(loop.count, loop.inputs, loop.carries, loop.sequences, loop.carried,
                loop.stacked + loop.inputs[:loop.carries] + tuple(results), None, loop.reverse)
    return nd.node("loop", float32, (), n.src, more)


# -- where a value is handed over ------------------------------------------------------------------


def count_users(order: Iterable[Node]) -> dict[Node, list[Node]]:
    """Who reads each node."""
    users: dict[Node, list[Node]] = {}
    for n in order:
        for s in n.src:
            users.setdefault(s, []).append(n)
    return users


def climb(n: Node, users: dict[Node, list[Node]], allowed: Callable[[Node], bool],
          kept: set[Node]) -> Node:
    """The last value that n's only readers make of it, one after the other, by views and
    elementwise operations of the same size; a value in `kept` is asked for itself."""
    best = n
    while n not in kept and len(users.get(n, ())) == 1:
        n = users[n][0]
        if not allowed(n) or n.op not in ELEMENTWISE | VIEWS or n.size != best.size:
            break
        if n.op in ELEMENTWISE:
            best = n
    return best


# -- passes ----------------------------------------------------------------------------------------


def merge_loops(roots: list[Node]) -> list[Node]:
    """Loops over the same sources with the same steps become one that gives all their results."""
    groups: dict[object, list[Node]] = {}
    order = nd.toposort(roots)
    for n in order:
        if n.op == "loop":
            loop = n.arg
            groups.setdefault((n.src, loop.count, loop.inputs, loop.carried, loop.sequences,
                               loop.condition, loop.reverse), []).append(n)
    joined: dict[Node, tuple[Node, dict[int, int]]] = {}
    for same in groups.values():
        if len(same) > 1:
            _join(same, joined)
    if not joined:
        return roots
    done: dict[Node, Node] = {}
    for n in order:
        if n.op == "output" and n.src[0] in joined:
            whole, places = joined[n.src[0]]
            src = nd.rebuild(whole, tuple(done[s] for s in whole.src))
            done[n] = nd.node("output", n.dtype, n.shape, (src,), places[n.arg])
        else:
            done[n] = nd.rebuild(n, tuple(done[s] for s in n.src))
    return [done[r] for r in roots]


def _join(same: list[Node], joined: dict[Node, tuple[Node, dict[int, int]]]) -> None:
    first: Loop = same[0].arg
    stacked = list(dict.fromkeys(r for n in same for r in n.arg.stacked))
    whole = Loop(first.count, first.inputs, first.carries, first.sequences, first.carried,
                 tuple(stacked), first.condition, first.reverse)
    made = nd.node("loop", float32, (), same[0].src, whole)
    made.where = made.where or next((n.where for n in same if n.where), None)
    for n in same:
        places = {i: i for i in range(first.carries)}
        for i, r in enumerate(n.arg.stacked):
            places[first.carries + i] = first.carries + stacked.index(r)
        joined[n] = (made, places)


def inside_loops(roots: list[Node], step: Callable[[list[Node]], list[Node]]) -> list[Node]:
    """Applies graph passes to the bodies of loops."""
    done: dict[Node, Node] = {}
    for n in nd.toposort(roots):
        src = tuple(done[s] for s in n.src)
        if n.op == "loop":
            done[n] = made = nd.node("loop", float32, (), src, _improved(n.arg, step))
            made.where = made.where or n.where
        else:
            done[n] = nd.rebuild(n, src)
    return [done[r] for r in roots]


def _improved(loop: Loop, step: Callable[[list[Node]], list[Node]]) -> Loop:
    body = step(list(loop.results))
    condition = step([loop.condition])[0] if loop.condition is not None else None
    return Loop(loop.count, loop.inputs, loop.carries, loop.sequences,
                tuple(body[:loop.carries]), tuple(body[loop.carries:]), condition, loop.reverse)
