"""Backward graphs: from outputs and their cotangents to the cotangents of marked nodes.

A graph is surveyed once: its nodes are numbered and its structure becomes a key. The first graph of
a structure is stabilised and differentiated, and what comes out is kept as a recipe: a list of
nodes to make over the numbered ones. Later graphs of that structure only follow the recipe, so a
training step pays for one walk and for making its backward nodes.

Gradients arrive at marks: those asked for, and those of leaves that require grad. The walk stops
there, and at a `Boundary`: the output of a module with a backward of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from flambeau.compiler import node as N
from flambeau.compiler.algebra import add, like
from flambeau.compiler.differentiate import gradients
from flambeau.compiler.node import Node, fresh, node
from flambeau.compiler.simplify import simplify, stabilise
from flambeau.runtime.matching import ANY, INNER, STOP, Pattern, Recent, worth_it

from .tensor import leaves

_serial = itertools.count()
RECIPES = 1024  # kept; the oldest goes first


class Backward(Protocol):
    """What a boundary asks for the cotangents of its inputs."""

    def pull_back(self, cotangent: Node, scale: float, want: str) -> list[Node | None]: ...


class Boundary:
    """The argument of a mark around an output whose backward is written by hand.

    inputs: the nodes that went in. owner: gives their cotangents from the output's.
    """

    __slots__ = ("inputs", "owner", "serial")

    def __init__(self, inputs: list[Node], owner: Backward) -> None:
        self.inputs = inputs
        self.owner = owner
        self.serial = next(_serial)


class Pulled(NamedTuple):
    """Cotangents of the nodes asked for, and of leaves that require grad, by their tokens."""

    wanted: list[Node | None]
    leaves: dict[int, Node]


class _Survey:
    """A numbered graph. stops: numbers of the nodes where cotangents are collected."""

    __slots__ = ("key", "order", "outputs", "stops")

    def __init__(self, outputs: Sequence[Node], wanted: Sequence[Node]) -> None:
        order: list[Node] = []
        key: list[Any] = []
        number: dict[Node, int] = {}
        stops: list[int] = []
        get = number.get
        targets = wanted if len(wanted) < 5 else set(wanted)
        stack = list(outputs)
        while stack:
            n = stack[-1]
            if n in number:
                stack.pop()
                continue
            src = n.src
            if len(src) == 1:
                i = get(src[0])
                if n.op == "mark" and n.arg != 0:
                    token = n.arg
                    if n in targets or type(token) is Boundary or token in leaves:
                        stops.append(len(order))
                        key.append((0, n.dtype, n.shape))
                    else:  # somebody else's: looked through
                        if i is None:
                            stack.append(src[0])
                        else:
                            number[n] = i
                            stack.pop()
                        continue
                elif i is None:
                    stack.append(src[0])
                    continue
                else:
                    key.append((n.op, n.dtype, n.shape, n.arg, i))
            elif len(src) == 2:
                i, k = get(src[0]), get(src[1])
                if i is None or k is None:
                    stack += src
                    continue
                key.append((n.op, n.dtype, n.shape, n.arg, i, k))
            elif src:
                waiting = [s for s in src if s not in number]
                if waiting:
                    stack += waiting
                    continue
                key.append((n.op, n.dtype, n.shape, n.arg, *[number[s] for s in src]))
            elif n.op in ("buffer", "scalar", "param"):
                key.append((1, n.dtype, n.shape))
            else:
                key.append((n.op, n.dtype, n.shape, n.arg))
            number[n] = len(order)
            order.append(n)
            stack.pop()
        self.order, self.stops = order, stops
        self.outputs = tuple([number[y] for y in outputs])
        self.key = tuple(key)

    def pattern(self) -> Pattern:
        """What a graph of this structure is compared with."""
        kinds = [STOP if row[0] == 0 else ANY if row[0] == 1 else INNER for row in self.key]
        return Pattern(self.order, kinds, [row[4:] for row in self.key], self.outputs, True)

    def abstract(self) -> list[Node]:
        """The same graph over placeholders; looks through marks of others."""
        made: list[Node] = []
        for i, (n, row) in enumerate(zip(self.order, self.key)):
            if row[0] in (0, 1):
                made.append(_placeholder(n, i))
            else:
                made.append(node(n.op, n.dtype, n.shape,
                                 tuple([made[k] for k in row[4:]]), n.arg))
        return made


def _placeholder(n: Node, i: int) -> Node:
    return node("param", n.dtype, n.shape, (), ("pull", i))


class Recipe:
    """How to make the cotangents of a structure's stops.

    steps: nodes to make, whose sources are slots: numbered nodes, then cotangents, then made ones.
    results: slots of the stops' cotangents, -1 where there is none.
    """

    __slots__ = ("results", "steps")

    def __init__(self, survey: _Survey, given: Sequence[Node | None]) -> None:
        order, outputs = survey.abstract(), survey.outputs
        count = len(order)
        stable = stabilise([*order])
        cotangents = [like(stable[y], 1) if g is None else _placeholder(order[y], count + k)
                      for k, (y, g) in enumerate(zip(outputs, given))]
        found = gradients([stable[y] for y in outputs], cotangents,
                          [order[i] for i in survey.stops])
        shut = {n: _placeholder(n, i) for i, n in reversed(list(enumerate(order)))
                if n.src and not N.is_const(n)}
        cut = N.substitute([g for g in found if g is not None], shut)
        short = iter(simplify(cut))
        self.results, self.steps = self._write([None if g is None else next(short)
                                                for g in found], count + len(given))

    @staticmethod
    def _write(found: list[Node | None], start: int) -> tuple[list[int], list[tuple[Any, ...]]]:
        slot: dict[Node, int] = {}
        steps: list[tuple[Any, ...]] = []
        for n in N.toposort([g for g in found if g is not None]):
            if n.op == "param" and n.arg[0] == "pull":
                slot[n] = n.arg[1]
            else:
                slot[n] = start + len(steps)
                steps.append((n.op, n.dtype, n.shape, tuple([slot[s] for s in n.src]), n.arg))
        return [-1 if g is None else slot[g] for g in found], steps

    def follow(self, order: list[Node], given: Sequence[Node | None]) -> list[Node | None]:
        """The cotangents of the stops of a graph with this structure."""
        slots: list[Any] = [*order, *given]
        put = slots.append
        for op, dtype, shape, src, arg in self.steps:
            if len(src) == 1:
                put(fresh(op, dtype, shape, (slots[src[0]],), arg))
            elif len(src) == 2:
                put(fresh(op, dtype, shape, (slots[src[0]], slots[src[1]]), arg))
            elif src:
                put(fresh(op, dtype, shape, tuple([slots[i] for i in src]), arg))
            else:
                put(node(op, dtype, shape, (), arg))
        return [None if i < 0 else slots[i] for i in self.results]


_recipes: dict[Any, Recipe] = {}


class _Known(NamedTuple):
    """A surveyed graph to compare others with, and its recipe."""

    pattern: Pattern
    stops: list[int]
    recipe: Recipe


_known: Recent[_Known] = Recent()


def _once(outputs: Sequence[Node], given: Sequence[Node | None], wanted: Sequence[Node]
          ) -> tuple[list[int], list[Node], list[Node | None]]:
    """(stops, nodes by number, cotangents of the stops). A given None stands for ones."""
    roots, targets = list(outputs), list(wanted)
    absent = tuple([g is None for g in given])
    place = (absent, len(targets), roots[0].op, roots[0].shape)
    match = _known.find(place, roots, targets, leaves.data)  # type: ignore[attr-defined]
    if match is not None:
        known, order = match
        return known.stops, order, known.recipe.follow(order, given)
    survey = _Survey(outputs, wanted)
    key = (survey.key, survey.outputs, absent)
    recipe = _recipes.get(key)
    if recipe is None:
        recipe = Recipe(survey, given)
        if len(_recipes) >= RECIPES:
            _recipes.pop(next(iter(_recipes)))
        _recipes[key] = recipe
    elif worth_it(survey.order):  # seen before: it will come again
        _known.add(place, _Known(survey.pattern(), survey.stops, recipe))
    return survey.stops, survey.order, recipe.follow(survey.order, given)


def marked_by_others(outputs: Sequence[Node], wanted: Sequence[Node]) -> bool:
    """Does the graph hold marks besides those of `wanted` (an outer gradient, other leaves)?"""
    seen = set(wanted)
    stack = [n for n in outputs if n not in seen]
    while stack:
        n = stack.pop()
        if n.op == "mark" and n.arg != 0:
            return True
        fresh = [s for s in n.src if s not in seen]
        seen.update(fresh)
        stack += fresh
    return False


def pull(outputs: Sequence[Node], given: Sequence[Node | None], wanted: Sequence[Node] = (),
         scale: float = 1, want: str = "all") -> Pulled:
    """Cotangents of `wanted` and of the leaves under outputs, from those `given` for the outputs.

    A given None stands for ones. want: "inputs" or "parameters" keeps boundaries from computing the
    others; scale is handed to them. Raises NotDifferentiable.
    """
    if not outputs:
        return Pulled([None] * len(wanted), {})
    stops, order, found = _once(outputs, given, wanted)
    totals: dict[Node, Node] = {}
    of_leaves: dict[int, Node] = {}
    bounds: dict[Node, Node] = {}
    _collect(stops, order, found, totals, of_leaves, bounds)
    while bounds:  # the one made last: all its readers have been asked
        last = max(bounds, key=lambda n: n.arg.serial)
        edge: Boundary = last.arg
        back = edge.owner.pull_back(bounds.pop(last), scale, want)
        pairs = [(n, g) for n, g in zip(edge.inputs, back) if g is not None]
        if pairs:
            stops, order, found = _once([n for n, _ in pairs], [g for _, g in pairs], wanted)
            _collect(stops, order, found, totals, of_leaves, bounds)
    return Pulled([totals.get(w) for w in wanted], of_leaves)


def _collect(stops: list[int], order: list[Node], found: list[Node | None],
             totals: dict[Node, Node], of_leaves: dict[int, Node], bounds: dict[Node, Node]
             ) -> None:
    for i, g in zip(stops, found):
        if g is None:
            continue
        n = order[i]
        token = n.arg if n.op == "mark" else None
        if type(token) is Boundary:
            bounds[n] = add(bounds[n], g) if n in bounds else g
            continue
        totals[n] = add(totals[n], g) if n in totals else g
        if type(token) is int:
            of_leaves[token] = add(of_leaves[token], g) if token in of_leaves else g
