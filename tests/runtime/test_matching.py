"""Graphs compared with known ones in machine code: what is taken for the same, and what is not."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau import pullback, realize
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.compiler.node import Node
from flambeau.compiler.request import prepare
from flambeau.runtime import matching, memory
from flambeau.runtime.matching import INNER, LEAF, SCALAR, Pattern


def leaf(*shape: int) -> Node:
    return nd.buffer(dt.float32, shape, memory.allocate(4 * int(np.prod(shape))))


def pattern_of(roots: list[Node]) -> Pattern:
    return realize._remembered(prepare(roots), None).pattern  # type: ignore[arg-type]


def mul(a: Node, b: Node) -> Node:
    return nd.elementwise("mul", a, b)


def test_nodes_come_out_in_the_order_of_the_pattern() -> None:
    def graph(x: Node, y: Node) -> list[Node]:
        s = nd.expand_to(nd.scalar(dt.float32, 2.0), x.shape)
        return [mul(mul(x, y), s), nd.reduce_("sum", x, (0,))]
    pattern = pattern_of(graph(leaf(3), leaf(3)))
    new = graph(leaf(3), leaf(3))
    assert pattern.match(new) == prepare(new).order


@pytest.mark.parametrize("change", ["shape", "dtype", "op", "arg", "sharing", "leaf twice",
                                    "inner known", "roots", "order", "leaf for inner"])
def test_another_structure_is_another(change: str) -> None:
    x, y = leaf(3), leaf(3)
    shared = nd.elementwise("exp", x)
    pattern = pattern_of([mul(mul(shared, y), shared), nd.reduce_("sum", x, (0,))])
    a, b = leaf(3), leaf(3)
    axis: tuple[int, ...] = (0,)
    if change == "shape":
        a, b = leaf(4), leaf(4)
    if change == "dtype":
        a, b = (nd.buffer(dt.float64, (3,), memory.allocate(24)) for _ in range(2))
    if change == "leaf twice":
        b = a
    one = nd.elementwise("log" if change == "op" else "exp", a)
    two = nd.elementwise("tanh", a) if change == "sharing" else one
    if change == "inner known":
        one.value = leaf(3)
    if change == "leaf for inner":
        one = two = leaf(3)
    if change == "arg":
        axis = ()
    roots = [mul(mul(one, b), two), nd.reduce_("sum", a, axis)]
    if change == "roots":
        roots = roots[:1]
    if change == "order":
        roots = roots[::-1]
    assert pattern.match(roots) is None


def test_marks_and_known_values_are_looked_through() -> None:
    x, y = leaf(3), leaf(3)
    pattern = pattern_of([mul(x, y)])
    known = nd.elementwise("exp", leaf(3))
    known.value = leaf(3)
    b = leaf(3)
    marked = nd.node("mark", dt.float32, (3,), (known,), 77)
    twice = nd.node("mark", dt.float32, (3,), (marked,), 78)
    root = mul(twice, b)
    assert pattern.match([root]) == [known.value, b, root]
    assert pattern.match([nd.node("mark", dt.float32, (3,), (root,), 79)]) is not None


def test_constants_are_compared_by_value() -> None:
    def graph(value: float) -> list[Node]:
        return [mul(leaf(3), nd.const(dt.float32, value, (3,)))]
    pattern = pattern_of(graph(0.5))
    assert pattern.match(graph(0.5)) is not None
    assert pattern.match(graph(0.25)) is None
    assert pattern_of(graph(0.0)).match(graph(-0.0)) is None
    assert pattern_of(graph(float("nan"))).match(graph(float("nan"))) is not None


def test_random_graphs_against_the_key() -> None:
    rng = np.random.default_rng(0)
    patterns: list[tuple[Any, Pattern]] = []
    matched = 0
    for _ in range(150):
        leaves = [leaf(2) for _ in range(3)]
        made = list(leaves)
        for _ in range(int(rng.integers(1, 5))):
            i, k = rng.integers(len(made), size=2)
            made.append(nd.elementwise(("add", "mul")[rng.integers(2)], made[i], made[k]))
        roots = [made[-1]] if made[-1].src else [mul(made[-1], made[0])]
        request = prepare(roots)
        for key, pattern in patterns:
            found = pattern.match(roots)
            assert (found is not None) == (key == request.key)
            if found is not None:
                matched += 1
                assert found == request.order
        patterns.append((request.key, pattern_of(roots)))
    assert matched > 100


def test_the_latest_of_use_comes_first() -> None:
    recent: matching.Recent[Any] = matching.Recent()

    class Fixed:
        def __init__(self, name: str) -> None:
            self.name = name
            self.pattern = self

        def match(self, wanted: str) -> list[Node] | None:
            return [] if wanted == self.name else None

    for name in "abcdefghij":
        recent.add("hint", Fixed(name))
    assert recent.find("hint", "a") is None and recent.find("other", "j") is None
    for name in "jcd":
        found = recent.find("hint", name)
        assert found is not None and found[0].name == name
    assert [k.name for k in recent._places["hint"]] == list("dcjihgfe")


def test_lazy_graphs_and_gradients_are_found_again() -> None:
    x = fb.tensor(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))

    def step(scale: float) -> tuple[np.ndarray, np.ndarray]:
        w = (x * scale).realize().requires_grad_()
        loss = (w.tanh() * x).sum()
        loss.backward()
        assert w.grad is not None
        return loss.numpy(), w.grad.numpy()
    for _ in range(3):
        step(1.5)
    before = (sum(map(len, realize._known._places.values())),
              sum(map(len, pullback._known._places.values())))
    for scale in (0.5, -2.0, 3.0):
        loss, grad = step(scale)
        w = x.numpy() * np.float32(scale)
        np.testing.assert_allclose(loss, (np.tanh(w) * x.numpy()).sum(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(grad, (1 - np.tanh(w) ** 2) * x.numpy(), rtol=1e-5, atol=1e-6)
    assert before == (sum(map(len, realize._known._places.values())),
                      sum(map(len, pullback._known._places.values())))
    assert LEAF != SCALAR != INNER


def test_another_set_of_leaves_that_require_grad_is_another_structure() -> None:
    a, b = fb.ones(3), fb.ones(3)
    for needs in ((a,), (a, b), (b,), (a, b), (a,), ()) * 2:
        for t in (a, b):
            t.requires_grad_(any(t is n for n in needs))
            t.grad = None
        loss = (a.exp() * b).sum()
        if not needs:
            continue
        loss.backward()
        for t in (a, b):
            assert (t.grad is not None) == any(t is n for n in needs)
