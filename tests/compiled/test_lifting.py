"""Products taken out of scans: the same values and gradients, and smaller bodies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau.compiler import lift, loop, pipeline
from flambeau.compiler import node as nd
from flambeau.compiler.codegen import contract
from flambeau.compiler.node import Node
from flambeau.runtime import jit
from flambeau.tensor import read

Step = Callable[..., Any]


def inside(op: str, *tensors: fb.Tensor) -> int:
    """How many nodes of this kind stand in the bodies of the loops."""
    return sum(m.op == op for n in lifted(*tensors) if n.op == "loop"
               for m in nd.toposort(n.arg.results))


def lifted(*tensors: fb.Tensor) -> list[Node]:
    """The graph after the pass."""
    done: dict[Node, Node] = {}
    roots = [read(t) for t in tensors]
    for n in nd.toposort(roots):  # interned, as the compiler gets it
        src = tuple(done[s] for s in n.src)
        done[n] = nd.node(n.op, n.dtype, n.shape, src, n.arg) if n.op != "buffer" else n
    return nd.toposort(lift.lift_from_loops(pipeline.merge_loops([done[r] for r in roots])))


def unrolled(step: Step, carry: Any, xs: fb.Tensor, reverse: bool = False) -> tuple[Any, Any]:
    """What fb.scan means."""
    ys: list[Any] = []
    for x in (reversed(list(xs)) if reverse else xs):
        carry, y = step(carry, x)
        ys.append(y)
    ys = ys[::-1] if reverse else ys
    return carry, None if ys[0] is None else fb.stack(ys)


def randoms(*shapes: tuple[int, ...]) -> list[fb.Tensor]:
    rng = np.random.default_rng(7)
    return [fb.tensor(rng.standard_normal(s) * 0.5) for s in shapes]


def lstm(run: Step, x: Any, w: Any, u: Any, b: Any, reverse: bool = False) -> Any:
    n = u.shape[1]

    def step(state: Any, row: Any) -> Any:
        h, c = state
        gates = row @ w.t() + h @ u.t() + b
        i, f, g, o = (gates[:, k * n:(k + 1) * n] for k in range(4))
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return (o.sigmoid() * c.tanh(), c), None
    zero = fb.zeros((x.shape[1], n), dtype=fb.float64)
    (h, c), _ = run(step, (zero, zero), x, reverse=reverse)
    return (h * h).mean() + (h * c).sum()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_lstm(batch: int, reverse: bool) -> None:
    args = randoms((4, batch, 3), (8, 3), (8, 2), (8,))
    rolled, want = (fb.value_and_grad(lambda *a, run=run: lstm(run, *a, reverse=reverse),
                                      argnums=(0, 1, 2, 3))(*args)
                    for run in (fb.scan, unrolled))
    # of the products of a step, only those that wait for the step before are in a loop
    assert inside("dot", rolled[0], *rolled[1]) == 2
    for a, e in zip((rolled[0], *rolled[1]), (want[0], *want[1])):
        np.testing.assert_allclose(a.numpy(), e.numpy(), rtol=1e-12, atol=1e-14)
    loss = lambda *a: lstm(fb.scan, *a, reverse=reverse)  # noqa: E731
    assert fb.gradcheck(loss, args)
    assert batch == 3 or fb.gradcheck(loss, args[:1] + args[1:], order=2)


def cases() -> dict[str, tuple[Step, list[tuple[int, ...]], list[tuple[int, ...]], int]]:
    """Name: (step, shapes of the carry, of xs and of weights, products left inside)."""
    def columns(c: Any, x: Any, w: Any) -> Any:  # w @ x: the weight on the left
        return c * 0.5 + w @ x, c[0]

    def batched(c: Any, x: Any, w: Any) -> Any:
        return (c + x @ w).tanh(), None

    def summing(c: Any, x: Any, w: Any) -> Any:  # a sum of products that nothing in the loop reads
        return c + x.t() @ (x @ w).tanh(), None

    def watched(c: Any, x: Any, w: Any) -> Any:  # the same, but every step shows it
        return c + x.t() @ (x @ w), c.sum()

    def read_back(c: Any, x: Any, w: Any) -> Any:  # the same, but it goes into the sum
        return c + x.t() @ (x @ (w + c)), None

    def twice(c: Any, x: Any, w: Any) -> Any:
        return c + (x.t() @ x + x.sum() * w), None

    return {"columns": (columns, [(3,)], [(5, 2)], [(3, 2)], 0),
            "batched": (batched, [(2, 3, 2)], [(4, 2, 3, 2)], [(2, 2, 2)], 0),
            "summing": (summing, [(2, 4)], [(3, 5, 2)], [(2, 4)], 0),
            "watched": (watched, [(2, 4)], [(3, 5, 2)], [(2, 4)], 0),
            "read_back": (read_back, [(2, 2)], [(3, 5, 2)], [(2, 2)], 2),
            "twice": (twice, [(2, 2)], [(3, 5, 2)], [(2, 2)], 0)}


@pytest.mark.parametrize("name", cases())
def test_values_and_gradients(name: str) -> None:
    step, carry, xs, weights, left = cases()[name]
    args = randoms(*carry, *xs, *weights)

    def loss(run: Step, c: Any, x: Any, w: Any) -> Any:
        last, ys = run(lambda c, row: step(c, row, w), c, x)
        return (last * last).sum() + (0 if ys is None else (ys * ys).sum())

    value = loss(fb.scan, *args)
    assert inside("dot", value) == left
    got, want = (fb.value_and_grad(lambda *a, run=run: loss(run, *a), argnums=(0, 1, 2))(*args)
                 for run in (fb.scan, unrolled))
    for a, e in zip((got[0], *got[1]), (want[0], *want[1])):
        np.testing.assert_allclose(a.numpy(), e.numpy(), rtol=1e-11, atol=1e-13)


def test_what_is_too_large_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    args = randoms((4, 3, 3), (8, 3), (8, 2), (8,))
    with monkeypatch.context() as patch:
        patch.setattr(lift, "LARGEST", 0)
        value, grads = fb.value_and_grad(lambda *a: lstm(fb.scan, *a), argnums=(0, 1, 2, 3))(*args)
        assert inside("dot", value, *grads) == 6
        got = [t.numpy() for t in (value, *grads)]
    value, grads = fb.value_and_grad(lambda *a: lstm(fb.scan, *a), argnums=(0, 1, 2, 3))(*args)
    for a, e in zip(got, (value, *grads)):
        np.testing.assert_allclose(a, e.numpy(), rtol=1e-12, atol=1e-14)


def test_sequences_that_nothing_reads_are_left_out() -> None:
    x, w, u, b = randoms((4, 3, 3), (8, 3), (8, 2), (8,))
    _, (gu,) = fb.value_and_grad(lambda u: lstm(fb.scan, x, w, u, b), argnums=(0,))(u)
    for n in lifted(gu):
        if n.op == "loop":
            used = set(nd.toposort(n.arg.results))
            assert all(i in used for i in n.arg.inputs[n.arg.carries:])


def test_broadcasts_are_handed_in_small() -> None:
    def leaf(*shape: int) -> Node:
        return nd.buffer(fb.float32, shape, object())
    c, b = leaf(4, 5), leaf(1, 5)
    made = loop.close(3, [c], [leaf(4, 5)], [],
                      [nd.elementwise("add", c, nd.expand(b, (4, 5)))], [])
    assert made[0].src[0].src[1] is b


@pytest.mark.parametrize("batch, size", [(16, 128), (160, 256)])  # one chunk, and many
def test_a_weight_is_packed_once(batch: int, size: int) -> None:
    rng = np.random.default_rng(3)
    w, v, h = (rng.standard_normal(s) * 0.1 for s in ((size, size), (size, 48), (batch, size)))
    given = [fb.tensor(a, dtype=fb.float32) for a in (w, v, h)]

    def inner(h: Any, w: Any, v: Any) -> Any:  # the inner loop's weight changes with the outer
        def step(c: Any, _: Any) -> Any:
            return (c @ w).tanh(), None
        last, _ = fb.scan(step, h, length=3)
        return last, (last @ v).sum(0)

    @fb.compile
    def run(w: Any, v: Any, h: Any) -> Any:
        return fb.scan(lambda c, k: inner(c, w * (k + 1), v), h, fb.arange(2).float())
    for _ in range(2):
        last, ys = run(*given)
        c, want = h, []
        for k in range(2):
            for _ in range(3):
                c = np.tanh(c @ (w * (k + 1)))
            want.append((c @ v).sum(0))
        np.testing.assert_allclose(last.numpy(), c, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(ys.numpy(), want, rtol=1e-4, atol=1e-3)
    held = contract.plan(_product(batch, size, (1,)), jit.host_target())
    assert held.cycles <= contract.plan(_product(batch, size, ()), jit.host_target()).cycles
    if held.packs_once:
        assert held.tiling and held.tiling.columns.packing


def _product(m: int, n: int, held: tuple[int, ...]) -> contract.Contraction:
    axis = contract.Axis
    return contract.Contraction((axis(1, 0, 0),), (axis(m, n, None),), (axis(n, None, 1),),
                                (axis(n, 1, n),), "float", "float", "float", held=held)
