"""Max pooling that tiles: what its gradient, one element a window, lets the graph leave out.

Owns: the pass that finds max poolings and their gradients as they come from the derivative rules,
and says the same with less. Four laws:

* max(f(x)) = f(max(x)) for a rising f, so that f is computed once a window. (Elements that f
  rounds to the same value are no ties any more: the largest gets the gradient.)
* A factor of the gradient that depends on the pooled values alone is applied to the pooled
  cotangent, which every later reader then shares.
* The gradient's sum over whole windows is the pooled cotangent's.
* A convolution's gradients by its weights and its input are sums over the windows, not over all
  elements (`sparse_conv`). So the zeros are not multiplied, not even by infinity or NaN: they
  are masked, as everywhere in derivatives (algebra.times).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flambeau.compiler import node as nd
from flambeau.compiler.codegen import index as ix
from flambeau.compiler.dtype import DType
from flambeau.compiler.fold import constant
from flambeau.compiler.node import Node, Shape
from flambeau.compiler.ops import ELEMENTWISE, Sparse

RISING = frozenset(("tanh", "sigmoid", "softplus"))
DEEP = 8  # nested operations of a factor of the gradient
WORTH = 16  # elements of a window times taps in a row from which a sum over windows is quicker
LARGEST = 1 << 16  # elements of a plane of the input: a core sums one near to itself
WIDEST = 1 << 12  # taps of one map


@dataclass(frozen=True, eq=False)
class Pool:
    """A pooling of a rising function of some x. cells: x as (lead..., p1, s1, p2, s2) in the new
    graph; largest: its maxima, with the s axes 1; source: the old node of what is pooled; below:
    of x."""

    rank: int
    cells: Node
    largest: Node
    source: Node
    below: Node

    def applied(self, x: Node) -> Node:
        """The function of some of x's elements."""
        if self.below is self.source:
            return x
        if self.source.op == "where":
            return _rectified(x)
        return nd.elementwise(self.source.op, x)

    @property
    def window(self) -> Shape:
        return self.cells.shape[-2 * self.rank + 1::2]

    @property
    def pooled(self) -> Shape:
        """Windows along each axis."""
        return self.cells.shape[-2 * self.rank::2]

    @property
    def axes(self) -> tuple[int, ...]:
        """The window axes of cells."""
        return tuple(range(len(self.cells.shape) - 2 * self.rank + 1, len(self.cells.shape), 2))

    @property
    def maxima(self) -> Shape:
        """(lead..., p1, p2)"""
        return (*self.cells.shape[:-2 * self.rank], *self.pooled)

    @property
    def plain(self) -> Shape:
        """(lead..., p1*s1, p2*s2)"""
        sizes = [p * s for p, s in zip(self.pooled, self.window)]
        return (*self.maxima[:-self.rank], *sizes)

    def forms(self, shape: Shape) -> list[tuple[Sequence[int], Sequence[int]]]:
        """The axes of maxima and of windows where a gradient has this shape."""
        count = len(self.cells.shape)
        lead = count - 2 * self.rank
        last = range(lead + self.rank), range(lead + self.rank, count)
        turns = (*range(lead), *range(lead, count, 2)), range(lead + 1, count, 2)
        return ([last] if shape == (*self.maxima, *self.window) else []) + (
            [turns] if shape == self.cells.shape else [])

    def place(self, kept: Sequence[ix.Index], window: Sequence[ix.Index]) -> tuple[ix.Index, ...]:
        """Where in the source an element of a window lies."""
        return _place(kept, window, self.window)

    def spread(self, lead: Shape) -> tuple[Shape, Shape]:
        """The shapes of cells and of maxima for other leading axes."""
        pairs = list(zip(self.pooled, self.window))
        return ((*lead, *(e for pair in pairs for e in pair)),
                (*lead, *(e for p, _ in pairs for e in (p, 1))))


@dataclass(frozen=True, eq=False)
class Pick:
    """A gradient: `value` where the window's element is number `place`, else 0.

    value, place: (lead..., p1, p2) of the new graph. shape: (lead..., x1, x2), zeros behind the
    windows; None between the old node `root`, where the gradient has an axis for each window axis
    (`axes`: those of the maxima and of the windows), and the reshape that takes these away.
    straight: do the leading axes stand as the pooling's?
    """

    pool: Pool
    value: Node
    place: Node
    root: Node
    axes: tuple[Sequence[int], Sequence[int]]
    shape: Shape | None = None
    straight: bool = True

    @property
    def lead(self) -> Shape:
        return self.value.shape[:-self.pool.rank]


def pool_gradients(roots: list[Node]) -> list[Node]:
    """Applies the laws; convolutions' gradients stay dense."""
    return _Pass(False).run(roots)


def sparse_gradients(roots: list[Node]) -> list[Node]:
    """Applies all laws."""
    return _Pass(True).run(roots)


class _Pass:
    def __init__(self, sparse: bool) -> None:
        self.sparse = sparse
        self.done: dict[Node, Node] = {}
        self.pools: dict[Node, Pool] = {}  # by the old max
        self.firsts: dict[Node, tuple[Pool, Node]] = {}  # old: the pool, and the new (.., p1, p2)
        self.picks: dict[Node, Pick] = {}

    def run(self, roots: list[Node]) -> list[Node]:
        order = nd.toposort(roots)
        if not any(n.op == "max" for n in order):
            return roots
        for n in order:
            self.done[n] = self.step(n)
        return [self.done[r] for r in roots]

    def step(self, n: Node) -> Node:
        """The new node for n; notes poolings and their gradients."""
        made = None
        if n.op == "max":
            made = self.maximum(n)
        elif n.op == "min":
            made = self.first(n)
        elif n.op == "where" and n.src[0].op == "eq":
            self.selection(n)
        if any(s in self.picks for s in n.src):
            if n.op == "sum":
                made = self.total(n)
            elif n.op == "conv" and self.sparse:
                made = self.convolution(n)
            else:
                self.follow(n)
        if n in self.picks and self.picks[n].shape is not None:
            made = _dense(self.picks[n])
        return nd.rebuild(n, tuple(self.done[s] for s in n.src)) if made is None else made

    # -- poolings ------------------------------------------------------------------------------
    def maximum(self, n: Node) -> Node | None:
        """max over windows, through a rising function."""
        top = _windows(n) if n.dtype.is_float else None
        if top is None:
            return None
        rank, below = len(n.arg), _under_rising(top)
        kept = [e for i, e in enumerate(n.shape) if i not in n.arg]
        window = [n.src[0].shape[i] for i in n.arg]
        plain = (*kept[:-rank], *(p * e for p, e in zip(kept[-rank:], window)))
        x = nd.slice_(self.done[below], (0,) * len(plain), plain, (1,) * len(plain))
        shape = (*kept[:-rank], *(e for pair in zip(kept[-rank:], window) for e in pair))
        cells = nd.reshape(x, shape)
        largest = nd.reduce_("max", cells, tuple(range(len(kept) - rank + 1, len(shape), 2)))
        pool = self.pools[n] = Pool(rank, cells, largest, top, below)
        return nd.reshape(pool.applied(largest), n.shape)

    def first(self, n: Node) -> Node | None:
        """The number of each window's first maximum, as the derivative rule finds it."""
        x, count = n.src[0], math.prod(n.src[0].shape[i] for i in n.arg)
        if x.op != "where" or x.src[0].op != "or" or constant(x.src[2]) != count:
            return None
        variables = _variables(x.shape)
        same, nan = (_under(s, variables) for s in x.src[0].src)
        if (same[0].op, nan[0].op) != ("eq", "isnan"):
            return None
        y, largest = (_under(s, same[1]) for s in same[0].src)
        pool = self.pools.get(largest[0])
        if pool is None or y != _under(nan[0].src[0], nan[1]) or y[0] is not pool.source:
            return None
        kept = [v for i, v in enumerate(variables) if i not in n.arg]
        window = [v for i, v in enumerate(variables) if i in n.arg]
        if (tuple(x.shape[i] for i in n.arg) != pool.window or y[1] != pool.place(kept, window)
                or _flat(largest) != ix.flatten(tuple(kept), pool.maxima)
                or _position(x.src[1], variables) != ix.flatten(tuple(window), pool.window)):
            return None
        place = _number(pool, pool.cells.shape, n.dtype)
        e = nd.elementwise
        m = pool.largest  # one comparison an element; beside a NaN infinity is as large
        bound = e("where", e("isnan", m), nd.const(m.dtype, math.inf, m.shape), m)
        less = e("lt", pool.cells, nd.expand(bound, pool.cells.shape))
        candidates = e("where", less, nd.const(n.dtype, count, pool.cells.shape), place)
        made = nd.reduce_("min", candidates, pool.axes)
        self.firsts[n] = pool, nd.reshape(made, pool.maxima)
        return nd.reshape(made, n.shape)

    # -- gradients -----------------------------------------------------------------------------
    def selection(self, n: Node) -> None:
        """where(number == first, g, 0)."""
        condition, yes, no = n.src
        variables = _variables(n.shape)
        for number, first in (condition.src, condition.src[::-1]):
            base, at = _under(first, variables)
            if base in self.firsts and constant(no) == 0:
                pool, place = self.firsts[base]
                for axes in pool.forms(n.shape):
                    kept, window = ([variables[i] for i in some] for some in axes)
                    if (_position(number, variables) == ix.flatten(tuple(window), pool.window)
                            and ix.flatten(at, base.shape) == ix.flatten(tuple(kept), pool.maxima)
                            and not _depends(yes, variables, window)):
                        value = self.steady(yes, axes[1], pool.maxima)
                        self.picks[n] = Pick(pool, value, place, n, axes)
                        return

    def steady(self, n: Node, axes: Sequence[int], shape: Shape) -> Node:
        """n's first elements along some axes, without them."""
        narrow = tuple(1 if i in axes else e for i, e in enumerate(n.shape))
        ones = (1,) * len(narrow)
        first = nd.slice_(self.done[n], (0,) * len(narrow), narrow, ones)
        return nd.reshape(first, shape)

    def follow(self, n: Node) -> None:
        """What becomes of gradients in views and elementwise operations."""
        p = self.picks.get(n.src[0])
        if n.op in ELEMENTWISE:
            q = next(self.picks[s] for s in n.src if s in self.picks)
            value = self.inside(n, q)
            if value is not None:
                self.picks[n] = replace(q, value=value)
        elif p is not None:
            moved = {"permute": _permuted, "reshape": _reshaped, "pad": _padded}.get(n.op)
            if p.shape is None:
                moved = _flattened
            found = moved(n, p) if moved else None
            if found is not None:
                self.picks[n] = found

    def inside(self, n: Node, p: Pick) -> Node | None:
        """The pooled value of an operation on gradients that is 0 where they are."""
        if p.shape is None:
            return None
        values: list[Node | None] = []
        picked = []
        for s in n.src:
            q = self.picks.get(s)
            if q is not None and (q.pool is not p.pool or q.shape != p.shape
                                  or q.place is not p.place):
                return None
            picked.append(q is not None)
            values.append(q.value if q is not None else self.lift(s, p, DEEP))
        zero = [q or constant(s) == 0 for q, s in zip(picked, n.src)]
        holds = {"mul": any(zero), "div": zero[0], "neg": zero[0], "add": all(zero),
                 "sub": all(zero), "where": all(zero[1:]) and not picked[0]}.get(n.op, False)
        if not holds or any(v is None for v in values):
            return None
        return nd.elementwise(n.op, *[v for v in values if v is not None])

    def lift(self, n: Node, p: Pick, depth: int) -> Node | None:
        """n, a value at every element, for each window's largest element; None: not known."""
        rank, shape = p.pool.rank, p.value.shape
        source = p.pool.source
        if p.straight and p.shape == source.shape:
            largest = nd.reshape(p.pool.largest, shape)
            if n is source:
                return p.pool.applied(largest)
            if n is p.pool.below:
                return largest
        if constant(n) is not None:
            return nd.const(n.dtype, constant(n) or 0, shape)
        if n.op == "expand" and n.shape == p.shape and all(e == 1 for e in n.src[0].shape[-rank:]):
            return nd.expand(self.done[n.src[0]], shape)
        if n.op not in ELEMENTWISE or not depth or n.arg is not None:
            return None
        src = [self.lift(s, p, depth - 1) for s in n.src]
        if any(s is None for s in src):
            return None
        return nd.elementwise(n.op, *[s for s in src if s is not None], dtype=n.dtype)

    def total(self, n: Node) -> Node | None:
        """A sum over whole windows."""
        p = self.picks[n.src[0]]
        lead = len(p.lead)
        if p.shape is None or not set(range(lead, lead + p.pool.rank)) <= set(n.arg):
            return None
        return nd.reshape(nd.reduce_("sum", p.value, n.arg), n.shape)

    # -- convolutions --------------------------------------------------------------------------
    def convolution(self, n: Node) -> Node | None:
        """A gradient of a 2-d convolution, as differentiate.py writes them."""
        g, (a, b) = n.arg, n.src
        p = self.picks[a if a in self.picks else b]
        whole = p.shape is not None and p.pool.rank == len(p.lead) == 2
        if not whole or g.groups != 1 or (a in self.picks and b in self.picks):
            return None
        if n.dtype.name not in ("float32", "float64") or 0 in n.shape:
            return None
        return self.by_input(n, p) if a in self.picks else self.by_weight(n, p)

    def by_weight(self, n: Node, p: Pick) -> Node | None:
        g, field = n.arg, n.src[0]
        taps = n.shape[2:]
        if (any(d != 1 for d in g.input_dilation) or min(g.before) < 0 or g.stride[1] != 1
                or not _worth(p, field.shape[0], taps)):
            return None
        x = nd.permute(self.done[field], (1, 0, 2, 3))
        after = [max(0, a) for a in g.after]
        if any((*g.before, *after)):
            wide = [e + b + a for e, b, a in zip(x.shape[2:], g.before, after)]
            x = nd.pad(x, (0, 0, *g.before), (*x.shape[:2], *wide))
        value, place = (nd.permute(s, (1, 0, 2, 3)) for s in (p.value, p.place))
        arg = Sparse("weight", _pair(p), g.dilation, (0, 0), g.stride)
        shape = (n.shape[1], n.shape[0], *taps)
        made = nd.node("sparse_conv", n.dtype, shape, (x, value, place), arg)
        return nd.permute(made, (1, 0, 2, 3))

    def by_input(self, n: Node, p: Pick) -> Node | None:
        g, turned = n.arg, n.src[1]
        taps = turned.shape[2:]
        before = tuple((k - 1) * d - b for k, d, b in zip(taps, g.dilation, g.before))
        if (any(s != 1 for s in g.stride) or g.dilation[1] != 1 or min(before) < 0
                or math.prod(n.shape[2:]) > LARGEST or not _worth(p, turned.shape[0], taps)):
            return None
        starts = tuple(0 if i < 2 else e - 1 for i, e in enumerate(turned.shape))
        flipped = nd.slice_(self.done[turned], starts, turned.shape, (1, 1, -1, -1))
        w = nd.permute(flipped, (1, 0, 2, 3))
        arg = Sparse("input", _pair(p), g.input_dilation, before, g.dilation)
        return nd.node("sparse_conv", n.dtype, n.shape, (w, p.value, p.place), arg)


def _pair(p: Pick) -> tuple[int, int]:
    rows, columns = p.pool.window
    return rows, columns


def _worth(p: Pick, channels: int, taps: Shape) -> bool:
    return math.prod(p.pool.window) * taps[1] >= WORTH and channels * math.prod(taps) <= WIDEST


# -- shapes of windows -----------------------------------------------------------------------------


def _windows(n: Node) -> Node | None:
    """The array (lead..., x1, x2) over whose tiles n is a reduction; None where it is none."""
    variables, rank = _variables(n.src[0].shape), len(n.arg)
    kept = [v for i, v in enumerate(variables) if i not in n.arg]
    window = tuple(n.src[0].shape[i] for i in n.arg)
    x, at = _under(n.src[0], variables)
    if len(x.shape) != len(kept) or rank > len(kept) or x is n.src[0]:
        return None
    inside = [v for i, v in enumerate(variables) if i in n.arg]
    return x if at == _place(kept, inside, window) else None


def _place(kept: Sequence[ix.Index], inside: Sequence[ix.Index], window: Shape
           ) -> tuple[ix.Index, ...]:
    lead = len(kept) - len(window)
    return (*kept[:lead], *(p * e + d for p, e, d in zip(kept[lead:], window, inside)))


def _variables(shape: Shape) -> tuple[ix.Index, ...]:
    return tuple(ix.of(ix.Var(i, e)) for i, e in enumerate(shape))


def _under(n: Node, at: tuple[ix.Index, ...]) -> tuple[Node, tuple[ix.Index, ...]]:
    """The node under views, and where its element is that n's element `at` is."""
    while n.op in ("reshape", "permute", "expand", "slice"):
        at = ix.movement(n.op, at, n.shape, n.src[0].shape, n.arg)
        n = n.src[0]
    return n, at


def _flat(found: tuple[Node, tuple[ix.Index, ...]]) -> ix.Index:
    return ix.flatten(found[1], found[0].shape)


def _depends(n: Node, variables: tuple[ix.Index, ...], window: Sequence[ix.Index]) -> bool:
    """May n differ along some axes?"""
    flat = _flat(_under(n, variables))
    return any(ix.depends(flat, v) for w in window for v, _ in w.terms)


def _under_rising(n: Node) -> Node:
    """x where n is a rising function of x, else n."""
    if n.op in RISING:
        return n.src[0]
    return n.src[2] if n.op == "where" and n is _rectified(n.src[2]) else n


def _rectified(x: Node) -> Node:
    """The larger of x and 0, as the frontend writes it."""
    zero = nd.const(x.dtype, 0, x.shape)
    return nd.elementwise("where", nd.elementwise("le", x, zero), zero, x)


def _position(n: Node, at: tuple[ix.Index, ...]) -> ix.Index | None:
    """Element `at` of a sum of multiples of iotas."""
    value = constant(n)
    if value is not None:
        return ix.Index(int(value))
    n, at = _under(n, at)
    if n.op == "iota":
        return at[n.arg]
    if n.op not in ("add", "mul"):
        return None
    a, b = (_position(s, at) for s in n.src)
    if a is None or b is None:
        return None
    if n.op == "add":
        return a + b
    return a * b.const if not b.terms else b * a.const if not a.terms else None


def _number(pool: Pool, shape: Shape, dtype: DType) -> Node:
    """Each element's number in its window, for cells of this shape."""
    total = nd.const(dtype, 0, shape)
    step = 1
    for i in range(pool.rank):
        axis = len(shape) - 1 - 2 * i
        along = nd.node("iota", dtype, shape, (), axis)
        scaled = along if step == 1 else nd.elementwise("mul", along, nd.const(dtype, step, shape))
        total = nd.elementwise("add", total, scaled) if i else scaled
        step *= shape[axis]
    return total


def _dense(p: Pick) -> Node:
    """The gradient as an array."""
    cells, narrow = p.pool.spread(p.lead)
    there = nd.elementwise("eq", _number(p.pool, cells, p.place.dtype),
                           nd.expand(nd.reshape(p.place, narrow), cells))
    n = nd.elementwise("where", there, nd.expand(nd.reshape(p.value, narrow), cells),
                       nd.const(p.value.dtype, 0, cells))
    n = nd.reshape(n, (*p.lead, *p.pool.plain[-p.pool.rank:]))
    assert p.shape is not None
    return n if n.shape == p.shape else nd.pad(n, (0,) * len(p.shape), p.shape)


def _flattened(n: Node, p: Pick) -> Pick | None:
    """A view between the windows' axes and none of them."""
    if n.op not in ("reshape", "permute"):
        return None
    if n.shape != p.pool.plain:
        return p
    kept, window = _variables(p.pool.maxima), _variables(p.pool.window)
    base, at = _under(n, p.pool.place(kept, window))
    wanted = [ix.ZERO] * len(p.root.shape)
    for axes, variables in zip(p.axes, (kept, window)):
        for i, v in zip(axes, variables):
            wanted[i] = v
    return replace(p, shape=n.shape) if base is p.root and at == tuple(wanted) else p


def _permuted(n: Node, p: Pick) -> Pick | None:
    lead, rank = len(p.lead), p.pool.rank
    if n.arg[lead:] != tuple(range(lead, lead + rank)):
        return None
    return replace(p, value=nd.permute(p.value, n.arg), place=nd.permute(p.place, n.arg),
                   shape=n.shape, straight=False)


def _reshaped(n: Node, p: Pick) -> Pick | None:
    rank, tail = p.pool.rank, p.pool.pooled
    assert p.shape is not None
    if n.shape[-rank:] != p.shape[-rank:] or math.prod(n.shape[:-rank]) != math.prod(p.lead):
        return None
    shape = (*n.shape[:-rank], *tail)
    return replace(p, value=nd.reshape(p.value, shape), place=nd.reshape(p.place, shape),
                   shape=n.shape, straight=False)


def _padded(n: Node, p: Pick) -> Pick | None:
    """Zeros behind."""
    spec, fill = n.arg
    lead, behind = len(p.lead), all(s == (0, 1) for s in spec) and not fill
    return replace(p, shape=n.shape) if behind and n.shape[:lead] == p.lead else None
