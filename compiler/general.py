"""From graphs that differ in one size to one graph over a `Size`.

A request's key is taken apart into a skeleton and the numbers in it (extents, starts, steps).
Requests of one skeleton whose numbers are functions of one varying extent are one general request:
`fit` finds the functions, `matches` says whether another request is an instance, and `raised`
gives the graph with Sizes in the numbers' places. Nothing is assumed about how a graph came about:
every instance is compared number by number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import fold
from flambeau.compiler import node as nd
from flambeau.compiler.loop import Loop
from flambeau.compiler.node import Node
from flambeau.compiler.ops import Conv
from flambeau.compiler.request import Request
from flambeau.compiler.size import Size, Symbol, fitted, valued

Numbers = tuple[int, ...]
_Each = Callable[[int], Any]  # what to put in a number's place


def take_apart(request: Request) -> tuple[Any, Numbers, range]:
    """(skeleton, its numbers, the places among these that are extents of leaves)."""
    rows, places, gifts = request.key
    found: list[int] = []

    def hole(v: int) -> Any:
        found.append(v)
        return ...  # which no key has by itself, as it may have None

    leaves = [_row(row, hole) for row in rows if _is_leaf(row)]
    count = len(found)
    inner = [_row(row, hole) for row in rows if not _is_leaf(row)]
    kinds = tuple([_is_leaf(row) for row in rows])
    return (tuple(leaves), tuple(inner), kinds, places, gifts), tuple(found), range(count)


def _whole(row: Any) -> tuple[str, int] | None:
    """A constant that may be a size, or one over a size, with that size. None for others, and for
    0, 1 and 2, of which algebra knows."""
    if row[0] != "const" or row[2] or dt.DTYPES[row[1]].is_complex:
        return None
    dtype = dt.DTYPES[row[1]]
    value = nd.decode(dtype, row[3])
    if 2 < value < 1 << 53 and value == int(value):
        return "whole", int(value)
    if dtype.is_float and 1e-15 < value < 0.5:
        size = round(1 / value)
        if size > 2 and fold.number(dtype, 1 / size).item() == value:
            return "over", size
    return None


def _is_leaf(row: Any) -> bool:
    return len(row) == 2 and type(row[0]) is int


def _row(row: Any, each: _Each) -> Any:
    """A row of a key with its numbers replaced."""
    if _is_leaf(row):
        return row[0], _numbers(row[1], each)
    if row[0] == "scalar" and len(row) == 2:
        return row
    whole = _whole(row)
    if whole is not None:
        return whole[0], row[1], each(whole[1])
    op, rank, shape, arg, *src = row
    return (op, rank, _numbers(shape, each), _arg(op, arg, each), *src)


def _arg(op: str, arg: Any, each: _Each) -> Any:
    return arg if op == "const" else _numbers(arg, each)


def _numbers(v: Any, each: _Each) -> Any:
    if type(v) is int:
        return each(v)
    if type(v) is tuple:
        return tuple([_numbers(w, each) for w in v])
    if type(v) is Conv:
        return Conv, _numbers(astuple(v), each)
    if type(v) is Loop:
        count, *facts, roots, rows = v.structure
        return Loop, each(count), tuple(facts), roots, tuple([_row(row, each) for row in rows])
    return v


def _body(loop: Loop) -> list[Node]:
    roots = (*loop.inputs, *loop.results,
             *(() if loop.condition is None else (loop.condition,)))
    return nd.toposort(roots)


@dataclass(frozen=True)
class Template:
    """Each number as an expression (or a plain number) over n, and where n itself stands."""

    place: int
    sizes: tuple[Any, ...]

    def matches(self, numbers: Numbers) -> int | None:
        """The n at which the numbers are these; None when they are not."""
        n = numbers[self.place]
        for found, size in zip(numbers, self.sizes, strict=True):
            if found != valued(size, n):
                return None
        return n

    @property
    def spelt(self) -> tuple[Any, ...]:
        """What tells templates apart: comparing Sizes would lay down laws."""
        return self.place, *[s.terms if type(s) is Size else s for s in self.sizes]

    def over(self, symbol: Symbol) -> Template:
        """The same over another symbol."""
        return Template(self.place, tuple([symbol.size(s.terms) if type(s) is Size else s
                                           for s in self.sizes]))


def fit(vectors: Sequence[Numbers], extents: range, hint: int | None = None) -> Template | None:
    """The template of which these are instances; None where no single size explains them."""
    varying = [i for i, values in enumerate(zip(*vectors)) if len(set(values)) > 1]
    spread = {i: max(v[i] for v in vectors) - min(v[i] for v in vectors) for i in varying}
    candidates = sorted((i for i in varying if len({v[i] for v in vectors}) == len(vectors)),
                        key=lambda i: (i not in extents, spread[i], i))
    for place in candidates[:4]:
        symbol = Symbol(vectors[-1][place] if hint is None else hint)
        points = [v[place] for v in vectors]
        known: dict[Numbers, Any] = {}
        sizes: list[Any] = []
        for values in zip(*vectors):
            if values not in known:
                known[values] = fitted(zip(points, values), symbol)
            if known[values] is None:
                break
            sizes.append(known[values])
        else:
            return Template(place, tuple(sizes))
    return None


def raised(request: Request, template: Template, symbol: Symbol) -> Request:
    """The request with the template's Sizes in the places of its numbers."""
    rows, places, gifts = request.key
    sizes = iter(template.over(symbol).sizes)

    def following(_: int) -> Any:
        return next(sizes)

    shapes = {i: _numbers(row[1], following) for i, row in enumerate(rows) if _is_leaf(row)}
    order: list[Node] = []
    leaves: list[Node] = []
    key: list[Any] = []
    scalars = iter(request.scalars)
    wholes: list[tuple[Node, tuple[str, Size]]] = []
    for i, (row, n) in enumerate(zip(rows, request.order, strict=True)):
        if i in shapes:
            made = nd.node("param", n.dtype, shapes[i], (), (len(leaves),))
            leaves.append(made)
            key.append((row[0], shapes[i]))
        elif len(row) == 2:
            made = next(scalars)
            key.append(row)
        elif (whole := _whole(row)) is not None:
            number = following(0)
            made, row = n, (whole[0], row[1], number)
            if type(number) is Size:  # a number that is passed at run time
                made = nd.scalar(n.dtype, 0)
                wholes.append((made, (whole[0], number)))
            key.append(row)
        else:
            op, rank, shape, arg, *src = row
            shape = _numbers(shape, following)
            arg = arg if op == "const" else _rebuilt(arg, following)
            made = nd.node(op, n.dtype, shape, tuple([order[j] for j in src]), arg)
            if made.where is None:
                made.where = n.where
            key.append((op, rank, shape, arg, *src))
        order.append(made)
    roots = [order[p] for p in places]
    return Request(roots, order, leaves, [*request.scalars, *(n for n, _ in wholes)],
                   (tuple(key), places, gifts), request.donate, symbol, [v for _, v in wholes])


def _rebuilt(v: Any, each: _Each) -> Any:
    """`_numbers`, but what is no plain data becomes what it was."""
    if type(v) is tuple:
        return tuple([_rebuilt(w, each) for w in v])
    if type(v) is Conv:
        return Conv(*_numbers(astuple(v), each))
    if type(v) is Loop:
        return _loop(v, each)
    return _numbers(v, each)


def _loop(loop: Loop, each: _Each) -> Loop:
    count = each(loop.count)
    done: dict[Node, Node] = {}
    for n in _body(loop):
        shape = _numbers(n.shape, each)
        arg = n.arg if n.op == "const" else _rebuilt(n.arg, each)
        done[n] = made = nd.node(n.op, n.dtype, shape, tuple([done[s] for s in n.src]), arg)
        if made.where is None:
            made.where = n.where

    def new(nodes: Sequence[Node]) -> tuple[Node, ...]:
        return tuple([done[n] for n in nodes])

    condition = None if loop.condition is None else done[loop.condition]
    return replace(loop, count=count, inputs=new(loop.inputs), carried=new(loop.carried),
                   stacked=new(loop.stacked), condition=condition)
