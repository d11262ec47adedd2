"""Random legal graphs over small float64 leaves, for tests that compare two ways to compute."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.algebra import compare, iota, like, where
from flambeau.compiler.differentiate import dot
from flambeau.compiler.node import Node, elementwise, reduce_
from graph_helpers import leaf

UNARY = ["neg", "abs", "exp", "log", "sigmoid", "tanh", "softplus", "sqrt", "expm1", "log1p",
         "floor", "sign", "sin", "neg", "exp", "log"]
BINARY = ["add", "sub", "mul", "div", "maximum", "minimum", "add", "sub", "mul", "logaddexp"]
CONSTANTS = [0.0, 1.0, -1.0, 2.0, 0.5, -3.0, 0.1]


class RandomGraph:
    """Grows a pool of nodes; `root` is the last ones joined."""

    def __init__(self, seed: int, steps: int = 14) -> None:
        self.rng = random.Random(seed)
        data = np.random.default_rng(seed)
        shapes = [(2, 3), (1, 3), (2, 1), (3, 2), (2, 3), (6,), (1, 2, 3), (3, 1, 2)]
        self.leaves = [leaf(data.normal(size=s).round(2)) for s in self.rng.sample(shapes, 4)]
        self.pool = list(self.leaves)
        for _ in range(steps):
            made = self.rng.choice(STEPS)(self, self.pick())
            if made.size <= 64 and len(made.shape) <= 4:
                self.pool.append(made)
        self.roots = self.pool[-4:]

    def pick(self) -> Node:
        return self.pool[-1] if self.rng.random() < 0.5 else self.rng.choice(self.pool)

    def like(self, x: Node) -> Node:
        """Something of x's shape."""
        found = [n for n in self.pool if n.shape == x.shape]
        if self.rng.random() < 0.4:
            return like(x, self.rng.choice(CONSTANTS))
        for n in self.rng.sample(self.pool, len(self.pool)):
            if len(n.shape) == len(x.shape) and n.shape != x.shape and all(
                    a in (1, b) for a, b in zip(n.shape, x.shape)):
                found.append(N.expand(n, x.shape))
        return self.rng.choice(found)


def _unary(g: RandomGraph, x: Node) -> Node:
    return elementwise(g.rng.choice(UNARY), x)


def _binary(g: RandomGraph, x: Node) -> Node:
    pair = [x, g.like(x)]
    g.rng.shuffle(pair)
    return elementwise(g.rng.choice(BINARY), *pair)


def _power(g: RandomGraph, x: Node) -> Node:
    return elementwise("pow", x, like(x, g.rng.choice([0, 1, 2, 3, -1, -2, 5])))


def _where(g: RandomGraph, x: Node) -> Node:
    condition = compare(g.rng.choice(["lt", "le", "eq", "ne"]), x, g.like(x))
    if g.rng.random() < 0.3:
        condition = elementwise("not", condition)
    return where(condition, g.like(x), g.like(x))


def _reshape(g: RandomGraph, x: Node) -> Node:
    shapes = [(x.size,), (1, x.size), (x.size, 1), (*x.shape, 1), (1, *x.shape)]
    if x.size % 2 == 0:
        shapes += [(2, x.size // 2), (x.size // 2, 2), (x.size // 2, 1, 2)]
    return N.reshape(x, g.rng.choice(shapes))


def _permute(g: RandomGraph, x: Node) -> Node:
    return N.permute(x, tuple(g.rng.sample(range(len(x.shape)), len(x.shape))))


def _expand(g: RandomGraph, x: Node) -> Node:
    return N.expand(x, tuple(g.rng.choice([1, 2, 3]) if e == 1 else e for e in x.shape))


def _cut(g: RandomGraph, extent: int) -> tuple[int, int, int]:
    length = g.rng.randint(1, extent)
    step = g.rng.choice([1, 1, 2, -1, -2]) if length > 1 else 1
    while abs(step) * (length - 1) >= extent:
        step = step // abs(step)
    reach = step * (length - 1)
    return g.rng.randint(max(0, -reach), extent - 1 - max(0, reach)), length, step


def _slice(g: RandomGraph, x: Node) -> Node:
    cuts = [_cut(g, e) for e in x.shape]
    return N.slice_(x, tuple(c[0] for c in cuts), tuple(c[1] for c in cuts),
                    tuple(c[2] for c in cuts))


def _pad(g: RandomGraph, x: Node) -> Node:
    before = tuple(g.rng.randint(0, 2) for _ in x.shape)
    between = tuple(g.rng.randint(1, 2) for _ in x.shape)
    shape = tuple(b + (e - 1) * k + 1 + g.rng.randint(0, 2)
                  for b, e, k in zip(before, x.shape, between))
    return N.pad(x, before, shape, g.rng.choice([0, 0, 1]), between)


def _concat(g: RandomGraph, x: Node) -> Node:
    axis = g.rng.randrange(len(x.shape))
    return N.concat([g.like(x) for _ in range(g.rng.randint(1, 3))], axis)


def _put(g: RandomGraph, x: Node) -> Node:
    cuts = [_cut(g, e) for e in x.shape]
    spec = tuple((c[0], c[2]) for c in cuts)
    part = N.node("slice", x.dtype, tuple(c[1] for c in cuts), (g.like(x),), spec)
    return N.node("put", x.dtype, x.shape, (x, part), spec)


def _gather(g: RandomGraph, x: Node) -> Node:
    k = g.rng.randint(1, len(x.shape))
    length = g.rng.choice([1, x.shape[0]])
    indices = [iota((length,), 0) if e == length and g.rng.random() < 0.6 else
               leaf(np.array([g.rng.randrange(e) for _ in range(length)])) for e in x.shape[:k]]
    return N.node("gather", x.dtype, (length, *x.shape[k:]), (x, *indices))


def _scatter(g: RandomGraph, x: Node) -> Node:
    k = g.rng.randint(1, len(x.shape))
    length = x.shape[0]
    indices = [iota((length,), 0) if e == length and g.rng.random() < 0.6 else
               leaf(np.array([g.rng.randrange(e) for _ in range(length)])) for e in x.shape[:k]]
    values = N.node("gather", x.dtype, (length, *x.shape[k:]), (x, *indices))
    return N.node("scatter", x.dtype, x.shape, (g.like(x), values, *indices), "add")


def _reduce(g: RandomGraph, x: Node) -> Node:
    axes = tuple(sorted(g.rng.sample(range(len(x.shape)), g.rng.randint(1, len(x.shape)))))
    return reduce_(g.rng.choice(["sum", "sum", "sum", "max", "min", "prod"]), x, axes)


def _softmax(g: RandomGraph, x: Node) -> Node:
    e = elementwise("exp", x)
    total = reduce_("sum", e, (g.rng.randrange(len(x.shape)),))
    if g.rng.random() < 0.3:
        return elementwise("log", total)
    return elementwise("div", e, N.expand(total, x.shape))


def _scan(g: RandomGraph, x: Node) -> Node:
    return N.node(g.rng.choice(["cumsum", "cummax"]), x.dtype, x.shape, (x,),
                  g.rng.randrange(len(x.shape)))


def _dot(g: RandomGraph, x: Node) -> Node:
    rows = x.shape[-1]
    a = N.reshape(x, (1, x.size // rows, rows))
    b = N.permute(N.reshape(g.like(x), a.shape), (0, 2, 1))
    return N.permute(dot(a, b), (0, 2, 1)) if g.rng.random() < 0.5 else dot(b, a)


def _cast(g: RandomGraph, x: Node) -> Node:
    return N.cast(N.cast(x, g.rng.choice([dt.float32, dt.float64])), dt.float64)


STEPS: list[Callable[[RandomGraph, Node], Node]] = [
    _unary, _unary, _binary, _binary, _binary, _power, _where, _reshape, _reshape, _permute,
    _expand, _expand, _slice, _pad, _concat, _put, _gather, _scatter, _reduce, _reduce, _softmax,
    _scan, _dot, _cast,
]
