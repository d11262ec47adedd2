"""Thin products as loop nests: with a vector they are row reductions, outer ones elementwise.

On a GPU all of them: a tiled kernel would leave most of its threads idle; as loop nests they share
rows among threads and fuse with what is around them. On a CPU those with a matrix that is written
in the same program, and those of two vectors.
"""

from __future__ import annotations

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.compiler.codegen.contraction import TURNED
from flambeau.compiler.fuse import view_base
from flambeau.compiler.node import Node
from flambeau.compiler.ops import ELEMENTWISE
from flambeau.compiler.size import hint, unknown
from flambeau.compiler.terms import NotGeneral

FEW = 12  # columns that a large matrix may meet at once, with vectors along k
LONG = 128  # sums below this leave little to gain from it
LARGE = 256  # extents of a thin product worth a program of its own
SHORT = 64  # a product of two vectors below this stays one: its sums are in one order everywhere


def thin_products(roots: list[Node]) -> list[Node]:
    """Writes dots with m, n or k = 1 as multiplications and sums."""
    done: dict[Node, Node] = {}
    for n in nd.toposort(roots):
        m = nd.rebuild(n, tuple(done[s] for s in n.src))
        done[n] = _thin(m) if m.op == "dot" else m
    return [done[r] for r in roots]


def inner_products(roots: list[Node]) -> list[Node]:
    """Writes products of two vectors, alone or in a batch, as sums: there is nothing to use twice,
    and a long sum is cut into blocks that threads share."""
    done: dict[Node, Node] = {}
    for n in nd.toposort(roots):
        m = nd.rebuild(n, tuple(done[s] for s in n.src))
        done[n] = _thin(m) if _is_inner(m) else m
    return [done[r] for r in roots]


def _is_inner(n: Node) -> bool:
    if n.op != "dot" or any(unknown(e) for s in n.src for e in s.shape):
        return False
    return n.shape[1:] == (1, 1) and n.src[0].shape[2] >= SHORT


def line_up(roots: list[Node]) -> list[Node]:
    """Gives a product of a large matrix with a few columns a copy of those, turned.

    Vectors then lie along k in both operands, and the large one is read once, as it lies; without
    it the large one would have to be packed.
    """
    done: dict[Node, Node] = {}
    for n in nd.toposort(roots):
        m = nd.rebuild(n, tuple(done[s] for s in n.src))
        done[n] = _lined_up(m) if m.op == "dot" else m
    return [done[r] for r in roots]


def _lined_up(n: Node) -> Node:
    a, b = n.src
    if n.dtype not in (dt.float32, dt.float64):
        return n
    along = _along(a, 2), _along(b, 1)
    if along not in ((True, False), (False, True)):
        return n
    _, m, k = a.shape
    few, many = (b.shape[2], m) if along[0] else (m, b.shape[2])
    if not 1 < few <= FEW or many < 2 * FEW or k < LONG:
        return n
    if unknown(few) or (unknown(k) and hint(k) >= LARGE <= hint(many)):
        raise NotGeneral("vectors along a thin product's sums")
    if unknown(k):
        return n
    if along[0]:
        b = nd.permute(_copied(nd.permute(b, (0, 2, 1))), (0, 2, 1))
    else:
        a = _copied(a)
    return nd.node("dot", n.dtype, n.shape, (a, b))


def _along(n: Node, axis: int) -> bool:
    """Do neighbours along the axis lie side by side in memory?"""
    _, flat, variables = view_base(n)
    return flat is not None and flat.coefficient(variables[axis]) == 1


def _copied(n: Node) -> Node:
    """Memory of its own, in which the last axis is contiguous."""
    return nd.node("mark", n.dtype, n.shape, (n,), TURNED)


def join_written(roots: list[Node]) -> list[Node]:
    """Writes a vector's product with a matrix that is computed and stored here, row by row, as a
    sum: it is taken while the row is written, in one pass over memory."""
    stored = set(roots)
    done: dict[Node, Node] = {}
    for n in nd.toposort(roots):
        joined = _joined(n, stored, done) if n.op == "dot" else None
        done[n] = nd.rebuild(n, tuple(done[s] for s in n.src)) if joined is None else joined
    return [done[r] for r in roots]


def _joined(n: Node, stored: set[Node], done: dict[Node, Node]) -> Node | None:
    a, b = n.src
    if a.shape[0] != 1 or n.size < 2 or a.shape[2] < 2:
        return None
    if b.shape[2] == 1:
        matrix, vector = _rows_of(a, stored), b
    elif a.shape[1] == 1:
        matrix, vector = _rows_of(nd.permute(b, (0, 2, 1)), stored), a
    else:
        return None
    if matrix is None or matrix.shape[-1] != a.shape[2]:
        return None
    whole, last = done[matrix], len(matrix.shape) - 1
    row = nd.reshape(done[vector], (*[1] * last, a.shape[2]))
    product = nd.product(whole, nd.expand(row, whole.shape))
    return nd.reshape(nd.reduce_("sum", product, (last,)), n.shape)


def _rows_of(n: Node, stored: set[Node]) -> Node | None:
    """The stored elementwise value that n is in another shape."""
    while n.op in ("reshape", "mark") and n not in stored:
        n = n.src[0]
    floats = n.dtype.is_float and n.dtype.itemsize > 2
    return n if n in stored and n.op in ELEMENTWISE and floats else None


def _thin(n: Node) -> Node:
    a, b = n.src
    _, m, k = a.shape
    width = b.shape[2]
    if min(m, k, width) != 1:
        return n
    wide = dt.float32 if n.dtype.compute is dt.float32 else n.dtype  # sums of 16-bit floats
    a, b = nd.cast(a, wide), nd.cast(b, wide)
    if k == 1:
        product = nd.elementwise("mul", nd.expand(a, n.shape), nd.expand(b, n.shape))
    elif m == 1:
        column = nd.permute(a, (0, 2, 1))  # (batch, k, 1)
        product = nd.product(nd.expand(column, b.shape), b)
        product = nd.reduce_("sum", product, (1,))
    else:
        row = nd.permute(b, (0, 2, 1))  # (batch, 1, k)
        product = nd.product(a, nd.expand(row, a.shape))
        product = nd.reduce_("sum", product, (2,))
    return nd.cast(product, n.dtype)
