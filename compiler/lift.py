"""What a rolled loop need not do step by step: products lifted out of scans.

Three forms. A product of sequences alone (x[t] @ w) is one tall product before the loop. A product
that is only stacked is one tall product behind it. A carry that only adds up (a weight's gradient
over the steps) is one deep product, or one sum, behind it; the loop then stores the factors of each
step. So a weight is read once, not once a step, and the register tiles get rows enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flambeau.compiler import loop as rolled
from flambeau.compiler import node as nd
from flambeau.compiler.loop import VIEWS, Loop, climb, count_users
from flambeau.compiler.node import Node
from flambeau.compiler.ops import ELEMENTWISE

LARGEST = 512 << 20  # bytes that the steps' values may take, kept side by side
_LIFTED = (ELEMENTWISE - {"require", "philox", "sample"}) | VIEWS | {"pad", "concat", "dot", "sum",
                                                                     "const", "iota"}


def lift_from_loops(roots: list[Node]) -> list[Node]:
    """Takes products out of scans, before them or behind them."""
    order = nd.toposort(roots)
    if not any(n.op == "loop" for n in order):
        return roots
    done: dict[Node, Node] = {}
    results: dict[Node, list[Node]] = {}
    for n in order:
        if n.op == "output":
            done[n] = results[n.src[0]][n.arg]
            continue
        done[n] = made = nd.rebuild(n, tuple(done[s] for s in n.src))
        if n.op == "loop":
            results[n] = _lifted(made)
    return [done[r] for r in roots]


def _lifted(n: Node) -> list[Node]:
    """The loop's outputs, computed with less inside it."""
    if n.arg.condition is not None or n.arg.count < 2:
        return rolled.outputs(n)
    body = Body.of(n)
    body = _products_before(body) or body
    return _sums_behind(body)


class Body:
    """A scan that is being taken apart: its leaves are values of the graph around it.

    leaves: what stands for the carries and for the rows; `sources`: their start values and
    sequences. What does not depend on them is spelled in the graph around.
    """

    def __init__(self, n: Node, leaves: list[Node], sources: list[Node], carried: list[Node],
                 stacked: list[Node]) -> None:
        self.n, self.loop = n, n.arg
        self.leaves, self.sources, self.carried, self.stacked = leaves, sources, carried, stacked
        self.carries = len(carried)
        self.order = nd.toposort([*carried, *stacked])
        self.level = self._levels()
        self.users = count_users(self.order)
        self.wide: dict[Node, Node] = dict(zip(leaves[self.carries:], sources[self.carries:]))

    @staticmethod
    def of(n: Node) -> Body:
        """The loop node n, opened."""
        loop: Loop = n.arg
        own = loop.carries + loop.sequences
        leaves = [rolled.unique(x) for x in loop.inputs[:own]]
        replace = dict(zip(loop.inputs, [*leaves, *n.src[own:]]))
        made = nd.substitute(loop.results, replace)
        return Body(n, leaves, list(n.src[:own]), made[:loop.carries], made[loop.carries:])

    def _levels(self) -> dict[Node, int]:
        """0: the same at every step, 1: known before the loop runs, 2: depends on the carries."""
        level = dict.fromkeys(self.leaves[:self.carries], 2)
        level |= dict.fromkeys(self.leaves[self.carries:], 1)
        for n in self.order:
            if n not in level:
                found = max((level[s] for s in n.src), default=0)
                level[n] = 2 if found == 1 and n.op not in _LIFTED else found
        return level

    def close(self, leaves: Sequence[Node], sources: Sequence[Node], carried: Sequence[Node],
              stacked: Sequence[Node]) -> list[Node]:
        """The loop's outputs again; sequences that nothing reads are left out."""
        count = len(carried)
        read = set(nd.toposort([*carried, *stacked]))
        rows = [(x, s) for x, s in zip(leaves[count:], sources[count:]) if x in read]
        made = rolled.close(self.loop.count, [*leaves[:count], *(x for x, _ in rows)],
                            sources[:count], [s for _, s in rows], carried, stacked, None,
                            self.loop.reverse)
        for whole in {m.src[0] for m in made}:
            whole.where = whole.where or self.n.where
        return made

    def fits(self, values: Iterable[Node]) -> bool:
        """May these values of all steps lie side by side?"""
        return self.loop.count * sum(v.nbytes for v in values) <= LARGEST

    def widen(self, root: Node) -> Node:
        """A value of level 0 or 1 for all steps at once, along a new first axis."""
        for n in nd.toposort([root], stop=lambda m: m in self.wide or self.level[m] == 0):
            if n not in self.wide:
                self.wide[n] = _repeated(n, self.loop.count) if self.level[n] == 0 \
                    else self._wide(n)
        return self.wide[root]

    def _wide(self, n: Node) -> Node:
        if n.op == "dot":
            return self.wide_dot(n)
        return _with_axis(n, [self.wide[s] for s in n.src], self.loop.count)

    def wide_dot(self, n: Node) -> Node:
        """One product for all steps, of wide sources: taller, or a batch."""
        (a, b), steps = n.src, self.loop.count
        batch, rows, depth = a.shape
        columns = b.shape[2]
        if batch == 1 and self.level[b] == 0:
            tall = nd.reshape(self.wide[a], (1, steps * rows, depth))
            return nd.reshape(dot(tall, b), (steps, *n.shape))
        if batch == 1 and self.level[a] == 0 and columns == 1:
            tall = nd.reshape(self.wide[b], (1, steps, depth))
            return nd.reshape(dot(tall, nd.permute(a, (0, 2, 1))), (steps, *n.shape))
        left = nd.reshape(self.wide[a], (steps * batch, rows, depth))
        right = nd.reshape(self.wide[b], (steps * batch, depth, columns))
        return nd.reshape(dot(left, right), (steps, *n.shape))


def dot(a: Node, b: Node) -> Node:
    """The batched matrix product (b, m, k) x (b, k, n)."""
    return nd.node("dot", a.dtype, (a.shape[0], a.shape[1], b.shape[2]), (a, b))


def _repeated(n: Node, steps: int) -> Node:
    return nd.expand(nd.reshape(n, (1, *n.shape)), (steps, *n.shape))


def _with_axis(n: Node, src: list[Node], steps: int) -> Node:
    """n over sources that have the steps as a first axis."""
    shape = (steps, *n.shape)
    if n.op == "reshape":
        return nd.reshape(src[0], shape)
    if n.op == "permute":
        return nd.permute(src[0], (0, *(i + 1 for i in n.arg)))
    if n.op == "expand":
        return nd.expand(src[0], shape)
    if n.op == "slice":
        return nd.node("slice", n.dtype, shape, (src[0],), ((0, 1), *n.arg))
    if n.op == "pad":
        places, fill = n.arg
        return nd.node("pad", n.dtype, shape, (src[0],), (((0, 1), *places), fill))
    arg = n.arg
    if n.op in ("concat", "iota"):
        arg = n.arg + 1
    if n.op == "sum":
        arg = tuple(i + 1 for i in n.arg)
    return nd.node(n.op, n.dtype, shape, tuple(src), arg)


# -- before the loop -------------------------------------------------------------------------------


def _products_before(body: Body) -> Body | None:
    """Products of sequences become sequences."""
    level, kept = body.level, {*body.carried, *body.stacked}
    tops = {climb(n, body.users, lambda m: level[m] == 1, kept): None
            for n in body.order if n.op == "dot" and level[n] == 1}
    if not tops or not body.fits(tops):
        return None
    replace = {top: rolled.unique(top) for top in tops}
    results = nd.substitute([*body.carried, *body.stacked], replace)
    leaves, sources = [*body.leaves, *replace.values()], [*body.sources, *map(body.widen, tops)]
    read = set(nd.toposort(results))
    keep = [i for i, x in enumerate(leaves) if i < body.carries or x in read]
    return Body(body.n, [leaves[i] for i in keep], [sources[i] for i in keep],
                results[:body.carries], results[body.carries:])


# -- behind the loop -------------------------------------------------------------------------------


def _sums_behind(body: Body) -> list[Node]:
    """Carries that only add up lose the products and sums that they add."""
    taken, factors = _terms_to_take(body)
    shown = {r: None for r in body.stacked if _only_shown(body, r)}
    for r in shown:
        factors |= dict.fromkeys(_inside(body, _base(r).src))
    if not (taken or shown) or not body.fits(factors):
        return body.close(body.leaves, body.sources, body.carried, body.stacked)
    stacked = list(dict.fromkeys([*(r for r in body.stacked if r not in shown), *factors]))
    keep = [i for i in range(body.carries) if i not in taken or taken[i][0]]
    carried = [_total([body.leaves[i], *taken[i][0]]) if i in taken else body.carried[i]
               for i in keep]
    leaves = [*(body.leaves[i] for i in keep), *body.leaves[body.carries:]]
    sources = [*(body.sources[i] for i in keep), *body.sources[body.carries:]]
    made = body.close(leaves, sources, carried, stacked)
    last = dict(zip(keep, made))
    body.wide |= dict(zip(stacked, made[len(keep):]))
    out = []
    for i in range(body.carries):
        found = last.get(i, body.sources[i])
        if i in taken:
            found = _total([found, *(_over_steps(body, t) for t in taken[i][1])])
        out.append(found)
    return out + [_of_all_steps(body, r) for r in body.stacked]


def _only_shown(body: Body, r: Node) -> bool:
    """Is r a product, or a view of one, of this step that no later step asks for?"""
    n, whole = _base(r), {*body.carried, *body.stacked}
    if n.op != "dot" or body.level[n] != 2:
        return False
    while n is not r:
        if n in whole or len(body.users[n]) != 1:
            return False
        n = body.users[n][0]
    return not body.users.get(r) and r not in body.carried


def _of_all_steps(body: Body, r: Node) -> Node:
    """A stacked result, computed behind the loop if it is not in memory."""
    if r not in body.wide:
        n = _base(r)
        for s in n.src:
            _widened(body, s)
        body.wide[n] = body.wide_dot(n)
    return _widened(body, r)


def _total(terms: list[Node]) -> Node:
    found = terms[0]
    for t in terms[1:]:
        found = nd.elementwise("add", found, t)
    return found


Terms = tuple[list[Node], list[Node]]  # what stays in the loop, what is summed behind it


def _terms_to_take(body: Body) -> tuple[dict[int, Terms], dict[Node, None]]:
    """The terms of each carry that only adds up, and the values they need of each step."""
    found = {i: terms for i in range(body.carries) if (terms := _added(body, i))}
    factors: dict[Node, None] = {}
    for terms in found.values():
        for t in terms:
            if _linear(t).op == "dot" and _separable(body, _linear(t)):
                factors |= dict.fromkeys(_inside(body, _linear(t).src))

    def takes(t: Node) -> bool:
        v = _linear(t)
        if v.op == "dot":
            return _separable(body, v)
        base = _base(v.src[0]) if v.op == "sum" else v
        return base in factors or body.level[base] == 1

    taken = {}
    for i, terms in found.items():
        out = [t for t in terms if takes(t)]
        if out:
            taken[i] = ([t for t in terms if t not in out], out)
    return taken, factors


def _added(body: Body, i: int) -> list[Node] | None:
    """The terms that carry i gains in a step, if adding is all that happens to it."""
    leaf, root = body.leaves[i], body.carried[i]
    if root.dtype.kind == "b" or [*body.carried, *body.stacked].count(root) > 1 or root is leaf:
        return None
    terms, n = [], leaf
    while n is not root:
        readers = body.users.get(n, [])
        if len(readers) != 1 or readers[0].op != "add" or n in (*body.carried, *body.stacked):
            return None
        a, b = readers[0].src
        terms.append(b if a is n else a)
        n = readers[0]
    return [] if body.users.get(root) else _flat(body, terms)


def _flat(body: Body, terms: list[Node]) -> list[Node]:
    """Sums of terms taken apart, where nobody else reads them."""
    out: list[Node] = []
    for t in terms:
        alone = len(body.users.get(t, ())) == 1
        out += _flat(body, list(t.src)) if t.op == "add" and alone else [t]
    return out


def _linear(t: Node) -> Node:
    """What a term is a view of, by movements that commute with a sum."""
    while t.op in VIEWS or (t.op == "pad" and t.arg[1] == nd.encode(t.dtype, 0)):
        t = t.src[0]
    return t


def _base(n: Node) -> Node:
    """The value that n is a view of."""
    while n.op in VIEWS:
        n = n.src[0]
    return n


def _separable(body: Body, v: Node) -> bool:
    """Is the sum of v over the steps one product, of two factors that change with them?"""
    return v.shape[0] == 1 and all(body.level[s] > 0 for s in v.src)


def _inside(body: Body, factors: Sequence[Node]) -> list[Node]:
    """The values behind the factors that only the loop can give."""
    return [b for f in factors if body.level[b := _base(f)] == 2]


def _over_steps(body: Body, t: Node) -> Node:
    """The sum of term t over all steps."""
    v = _linear(t)
    if v.op == "dot":
        a, b = (_widened(body, s) for s in v.src)
        steps, _, rows, depth = a.shape
        left = nd.reshape(nd.permute(a, (1, 2, 0, 3)), (1, rows, steps * depth))
        total = dot(left, nd.reshape(b, (1, steps * depth, b.shape[3])))
    elif v.op == "sum":
        wide = _widened(body, v.src[0])
        total = nd.reshape(nd.reduce_("sum", wide, (0, *(i + 1 for i in v.arg))), v.shape)
    else:
        total = nd.reshape(nd.reduce_("sum", _widened(body, v), (0,)), v.shape)
    return nd.substitute([t], {v: total})[0]


def _widened(body: Body, n: Node) -> Node:
    """n for all steps: a view of what the loop gives, or known before it."""
    base = _base(n)
    if n not in body.wide and base not in body.wide:
        body.widen(base)
    for m in nd.toposort([n], stop=lambda m: m in body.wide):
        if m not in body.wide:
            body.wide[m] = _with_axis(m, [body.wide[m.src[0]]], body.loop.count)
    return body.wide[n]

