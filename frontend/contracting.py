"""Sums of products over labelled axes: einsum and tensordot, as a chain of `dot` nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from flambeau.compiler import node as N
from flambeau.compiler.node import Node, Shape

from .contraction_order import plan
from .movement import diagonal
from .recording import accepts_dim, as_tensor, common_dtype
from .reductions import reduce_node
from .tensor import Tensor, check_axis, needs_grad, read, result


def dot_node(a: Node, b: Node) -> Node:
    """(b, m, k) x (b, k, n)."""
    return N.node("dot", a.dtype, (a.shape[0], a.shape[1], b.shape[2]), (a, b))


class _Term:
    """An operand of einsum: a node and one label an axis."""

    __slots__ = ("labels", "node")

    def __init__(self, node: Node, labels: str) -> None:
        self.node, self.labels = node, labels


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products by labels, as "ij,jk->ik"; ellipsis and repeated labels included.

    Pairs are contracted as `dot`s in a good order (see contraction_order.py). Without "->" the
    result has the labels that occur once, in alphabetic order. Axes of length 1 broadcast. NumPy
    einsum. Raises ValueError for labels that do not fit the operands.
    """
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = tuple(operands[0])
    tensors = [as_tensor("einsum", x) for x in operands]
    inputs, output = _parse_einsum(equation, tensors)
    dtype = common_dtype("einsum", tuple(tensors))
    terms = [_diagonalize(t, labels) for t, labels in zip(tensors, inputs)]
    for term in terms:
        term.node = N.cast(term.node, dtype)
    _match_extents(equation, terms)
    extents = {c: e for term in terms for c, e in zip(term.labels, term.node.shape)}
    order = plan(tuple("".join(sorted(t.labels)) for t in terms), output,
                 tuple(sorted(extents.items())))
    for i, j in order:
        b, a = terms.pop(j), terms.pop(i)
        keep = set(output).union(*(set(t.labels) for t in terms))
        terms.append(_contract(a, b, keep))
    last = _sum_away(terms[0], set(output))
    n = N.permute(last.node, tuple(last.labels.index(c) for c in output))
    return result(n, needs_grad(*tensors), tensors[0]._storage.device)


def _parse_einsum(equation: str, tensors: Sequence[Tensor]) -> tuple[list[str], str]:
    """One string of labels for each operand, and the result's; ellipses spelled out."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    inputs = left.split(",")
    strange = [c for c in (left + right).replace("...", "").replace(",", "")
               if not (c.isascii() and c.isalpha())]
    if strange:
        raise ValueError(f"einsum: expected letters for labels, got {strange[0]!r} in {equation!r}")
    if len(inputs) != len(tensors):
        raise ValueError(f"einsum: expected {len(inputs)} operands for {equation!r}, got "
                         f"{len(tensors)}")
    spare = [chr(c) for c in range(0x100, 0x140)]
    widest = 0
    for i, (labels, t) in enumerate(zip(inputs, tensors)):
        named = len(labels.replace("...", ""))
        extra = t.ndim - named
        if extra < 0 or (extra and "..." not in labels):
            raise ValueError(f"einsum: expected {named} axes for {labels!r}, got shape {t.shape}")
        widest = max(widest, extra if "..." in labels else 0)
        inputs[i] = labels.replace("...", "".join(spare[len(spare) - extra:]))
    dots = "".join(spare[len(spare) - widest:])
    if not arrow:
        joined = "".join(inputs)
        right = dots + "".join(sorted(c for c in set(joined) - set(dots) if joined.count(c) == 1))
    output = right.replace("...", dots)
    if len(set(output)) != len(output) or set(output) - set("".join(inputs)):
        raise ValueError(f"einsum: expected distinct labels of the operands after ->, got "
                         f"{equation!r}")
    return inputs, output


def _diagonalize(t: Tensor, labels: str) -> _Term:
    """Repeated labels become diagonals."""
    for c in dict.fromkeys(labels):
        while labels.count(c) > 1:
            i = labels.index(c)
            j = labels.index(c, i + 1)
            if t.shape[i] != t.shape[j]:
                raise ValueError(f"einsum: expected equal extents for label {c!r}, got "
                                 f"{t.shape[i]} and {t.shape[j]}")
            t = diagonal(t, 0, i, j)
            labels = labels[:i] + labels[i + 1:j] + labels[j + 1:] + c
    return _Term(read(t), labels)


def _match_extents(equation: str, terms: list[_Term]) -> None:
    """Axes of length 1 repeat to their label's extent; other differences are errors."""
    extent: dict[str, int] = {}
    for term in terms:
        for c, e in zip(term.labels, term.node.shape):
            known = extent.setdefault(c, e)
            if known == 1:
                extent[c] = e
            elif e not in (1, known):
                raise ValueError(f"einsum: expected one extent for label {c!r} of {equation!r}, "
                                 f"got {known} and {e}")
    for term in terms:
        term.node = N.expand(term.node, tuple(extent[c] for c in term.labels))


def _sum_away(term: _Term, keep: set[str]) -> _Term:
    """Labels that nobody else needs are summed."""
    axes = tuple(i for i, c in enumerate(term.labels) if c not in keep)
    if not axes:
        return term
    n = reduce_node("sum", term.node, axes)
    shape = tuple(e for i, e in enumerate(n.shape) if i not in axes)
    return _Term(N.reshape(n, shape), "".join(c for c in term.labels if c in keep))


def _contract(a: _Term, b: _Term, keep: set[str]) -> _Term:
    """One dot: shared labels are batch (kept) or summed, the others rows and columns."""
    a = _sum_away(a, keep | set(b.labels))
    b = _sum_away(b, keep | set(a.labels))
    batch = [c for c in a.labels if c in b.labels and c in keep]
    summed = [c for c in a.labels if c in b.labels and c not in keep]
    rows = [c for c in a.labels if c not in b.labels]
    columns = [c for c in b.labels if c not in a.labels]
    extents = dict(zip(a.labels + b.labels, a.node.shape + b.node.shape))

    def count(labels: list[str]) -> int:
        return math.prod(extents[c] for c in labels)

    def arranged(term: _Term, order: list[str], shape: Shape) -> Node:
        n = N.permute(term.node, tuple(term.labels.index(c) for c in order))
        return N.reshape(n, shape)

    labels = batch + rows + columns
    left = arranged(a, batch + rows + summed, (count(batch), count(rows), count(summed)))
    right = arranged(b, batch + summed + columns, (count(batch), count(summed), count(columns)))
    if summed:
        n = dot_node(left, right)
    else:
        shape = (left.shape[0], left.shape[1], right.shape[2])
        n = N.elementwise("mul", N.expand(left, shape), N.expand(right, shape))
    return _Term(N.reshape(n, tuple(extents[c] for c in labels)), "".join(labels))


@accepts_dim
def tensordot(x: Any, other: Any, axes: Any = 2) -> Tensor:
    """Sums of products over pairs of axes: a number of last and first ones, or two lists.

    NumPy tensordot. Raises ValueError when the extents differ.
    """
    a, b = as_tensor("tensordot", x), as_tensor("tensordot", other)
    if isinstance(axes, int):
        first, second = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    else:
        first, second = (tuple(v) if isinstance(v, tuple | list) else (v,) for v in axes)
    first = tuple(check_axis("tensordot", i, a.ndim) for i in first)
    second = tuple(check_axis("tensordot", i, b.ndim) for i in second)
    if [a.shape[i] for i in first] != [b.shape[i] for i in second]:
        raise ValueError(f"tensordot: expected equal extents along {first} and {second}, got "
                         f"shapes {a.shape} and {b.shape}")
    left = [chr(0x100 + i) for i in range(a.ndim)]
    right = [chr(0x180 + i) for i in range(b.ndim)]
    for i, j in zip(first, second):
        right[j] = left[i]
    output = ([c for i, c in enumerate(left) if i not in first]
              + [c for j, c in enumerate(right) if j not in second])
    dtype = common_dtype("tensordot", (a, b))
    term = _contract(_Term(N.cast(read(a), dtype), "".join(left)),
                     _Term(N.cast(read(b), dtype), "".join(right)), set(output))
    n = N.permute(term.node, tuple(term.labels.index(c) for c in output))
    return result(n, needs_grad(a, b), a._storage.device)
