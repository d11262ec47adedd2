"""Legal graphs pass; each law broken is named, with the stage and the neighbourhood."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.algebra import add, unary
from flambeau.compiler.check import IllegalGraph, check
from flambeau.compiler.node import Node, node
from flambeau.compiler.ops import Conv
from graph_helpers import leaf

X = leaf(np.ones((2, 3)))
I = leaf(np.ones((2, 3), np.int64))
B = leaf(np.ones((2, 3), bool))
V = leaf(np.arange(2))
CUBE = leaf(np.ones((1, 2, 3)))
F64, SHAPE = dt.float64, (2, 3)
GEOMETRY = Conv((1,), (0,), (0,), (1,), (1,))

BAD: list[tuple[str, Callable[[], Node]]] = [
    ("op of the table", lambda: node("frobnicate", F64, SHAPE, (X,))),
    ("extents", lambda: node("neg", F64, (2, -3), (X,))),
    ("1 operands", lambda: node("neg", F64, SHAPE, (X, X))),
    ("dtype float64", lambda: node("neg", dt.float32, SHAPE, (X,))),
    ("one dtype", lambda: node("add", F64, SHAPE, (X, I))),
    ("dtype bool", lambda: node("lt", F64, SHAPE, (X, X))),
    ("floating", lambda: node("exp", dt.int64, SHAPE, (I,))),
    ("bool or integers", lambda: node("and", F64, SHAPE, (X, X))),
    ("bool condition", lambda: node("where", F64, SHAPE, (I, X, X))),
    ("operands of shape", lambda: node("add", F64, (3, 2), (X, X))),
    ("one size", lambda: node("bitcast", dt.int32, SHAPE, (X,))),
    ("uint64", lambda: node("philox", dt.uint64, SHAPE, (I, I, I))),
    ("bits of a number", lambda: node("const", F64, (), (), 1.5)),
    ("a Scalar", lambda: node("scalar", F64, (), (), 3)),
    ("an axis", lambda: node("iota", dt.int64, (2,), (), 1)),
    ("6 elements", lambda: node("reshape", F64, (7,), (X,))),
    ("order of 2", lambda: node("permute", F64, SHAPE, (X,), (0, 0))),
    ("shape (3, 2)", lambda: node("permute", F64, SHAPE, (X,), (1, 0))),
    ("repeat", lambda: node("expand", F64, (4, 3), (X,))),
    ("distinct places", lambda: node("slice", F64, (2, 3), (X,), ((0, 1), (1, 1)))),
    ("distinct places", lambda: node("slice", F64, (2, 2), (X,), ((0, 1), (1, 0)))),
    ("one (start, step)", lambda: node("slice", F64, (2, 3), (X,), ((0, 1),))),
    ("apart", lambda: node("pad", F64, (4, 3), (X,), (((0, 0), (0, 1)), 0))),
    ("places inside", lambda: node("pad", F64, (2, 3), (X,), (((1, 1), (0, 1)), 0))),
    ("differ along", lambda: node("concat", F64, (4, 3), (X, CUBE), 0)),
    ("shape (4, 3)", lambda: node("concat", F64, (5, 3), (X, X), 0)),
    ("int64 indices", lambda: node("gather", F64, (2, 3), (X, X))),
    ("shape (2, 3)", lambda: node("gather", F64, (2, 2), (X, V))),
    ("1 to 2 indices", lambda: node("gather", F64, (2,), (X, V, V, V))),
    ("set, add", lambda: node("scatter", F64, SHAPE, (X, X, V), "or")),
    ("a value of shape", lambda: node("scatter", F64, SHAPE, (X, CUBE, V), "add")),
    ("inside", lambda: node("put", F64, SHAPE, (X, X), ((1, 1), (0, 1)))),
    ("distinct axes", lambda: node("sum", F64, (1, 1), (X,), (0, 2))),
    ("int64", lambda: node("argmax", F64, (1, 3), (X,), (0,))),
    ("shape (1, 3)", lambda: node("sum", F64, (3,), (X,), (0,))),
    ("an axis", lambda: node("cumsum", F64, SHAPE, (X,), 2)),
    ("(b, m, k)", lambda: node("dot", F64, (1, 2, 2), (CUBE, CUBE))),
    ("channels", lambda: node("conv", F64, (1, 1, 1), (CUBE, leaf(np.ones((1, 3, 1)))), GEOMETRY)),
    ("Conv over", lambda: node("conv", F64, (1, 1, 1), (X, X), GEOMETRY)),
    ("a loop", lambda: node("output", F64, SHAPE, (X,), 0)),
    ("the op's form", lambda: node("slice", F64, SHAPE, (X,), None)),
]


@pytest.mark.parametrize("message,build", BAD, ids=[f"{i} {m}" for i, (m, _) in enumerate(BAD)])
def test_broken_laws(message: str, build: Callable[[], Node]) -> None:
    with pytest.raises(IllegalGraph, match="after the pass") as caught:
        check([build()], "the pass")
    assert message in str(caught.value)


def test_the_neighbourhood_is_printed() -> None:
    bad = node("add", F64, (3, 2), (unary("exp", X), X))
    bad.where = ("user.py", 12)
    with pytest.raises(IllegalGraph) as caught:
        check([add(bad, bad)])
    report = str(caught.value)
    assert "user.py:12" in report and "exp f64[2,3]" in report and "add f64[3,2]" in report


def test_legal_graphs_pass() -> None:
    w = leaf(np.ones((1, 2, 2)))
    good = [
        N.slice_(X, (1, 2), (2, 3), (-1, -1)), N.pad(X, (0, 1), (3, 6), 7, (2, 2)),
        N.concat((X, X), 1), N.reduce_("argmax", X, (1,)), N.elementwise("where", B, X, X),
        node("gather", F64, (2, 3), (X, V)), node("conv", F64, (1, 1, 2), (CUBE, w), GEOMETRY),
        node("put", F64, SHAPE, (X, N.const(F64, 0, (1, 0))), ((0, 1), (0, 1))),
        node("mark", F64, SHAPE, (X,), 1), N.scalar(F64, 2), N.cast(X, dt.int8),
    ]
    check(good, "test")
