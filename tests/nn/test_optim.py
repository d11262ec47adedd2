"""Optimisers: formulas, groups, lazy and compiled steps, state."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import flambeau.nn as nn
import flambeau.optim as optim
import numpy as np
import pytest
from flambeau import realize as door

MAKERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "dampening": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, lr=0.1, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.1),
}


def reference(name: str, w: np.ndarray, grads: Any, steps: int) -> np.ndarray:
    """The formulas in NumPy."""
    b, m, v = None, 0.0, 0.0
    for t in range(1, steps + 1):
        g = grads(w)
        if name in ("momentum", "adam"):
            g = g + 0.01 * w
        if name in ("adam", "adamw"):
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            if name == "adamw":
                w = w - 0.1 * 0.01 * w
            rate = 0.1 * np.sqrt(1 - 0.999 ** t) / (1 - 0.9 ** t)
            w = w - rate * m / (np.sqrt(v) + 1e-8)
            continue
        if name != "sgd":
            b = g if b is None else 0.9 * b + (0.5 if name == "dampening" else 1) * g
            g = g + 0.9 * b if name == "nesterov" else b
        w = w - 0.1 * g
    return w


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("compiled", [False, True], ids=["lazy", "compiled"])
def test_formulas(name: str, compiled: bool) -> None:
    start = np.array([[1.0, -2.0], [0.5, 3.0]])
    other = np.array([[0.0, 1.0], [2.0, 1.0]])
    w = fb.tensor(start).requires_grad_()
    unused = fb.zeros(3, requires_grad=True)
    opt = MAKERS[name]([w, unused])
    x = fb.tensor(other)

    def step(x: Any) -> Any:
        opt.zero_grad()
        loss = ((w * x).sin()).sum()
        loss.backward()
        opt.step()
        opt.zero_grad()
        return loss.detach()

    run = fb.compile(step) if compiled else step
    for _ in range(4):
        run(x)
    expected = reference(name, start, lambda w: np.cos(w * other) * other, 4)
    np.testing.assert_allclose(w.numpy(), expected, rtol=1e-6)
    assert not unused.numpy().any()


def test_groups_and_rates_that_change() -> None:
    a, b = fb.zeros(2).requires_grad_(), fb.zeros(2).requires_grad_()
    opt = optim.SGD([{"params": [a], "lr": 1.0}, {"params": b}], lr=0.5)

    def step() -> Any:
        opt.zero_grad()
        (a + b).sum().backward()
        opt.step()
        opt.zero_grad()
        return fb.zeros(1)

    step()
    assert (a.tolist(), b.tolist()) == ([-1, -1], [-0.5, -0.5])
    run = fb.compile(step)
    run()
    opt.param_groups[1]["lr"] = 2.0
    run()
    assert (a.tolist(), b.tolist()) == ([-3, -3], [-3, -3])
    opt.lr = 0.0
    run()
    assert a.tolist() == [-3, -3] and len(run.variants) == 1


def test_equal_rates_change_later_in_lazy_steps() -> None:
    """A step recorded with one rate keeps it, whatever the rate is when values are asked for."""
    a = fb.zeros(1).requires_grad_()
    opt = optim.SGD([a], lr=1.0)
    a.sum().backward()
    opt.step()
    opt.lr = 100.0
    assert a.item() == -1


def test_gradients_of_flat_vectors_become_zero() -> None:
    m = nn.Linear(2, 2)
    _, grads = m.get_parameters()
    opt = optim.SGD(m, lr=0.1)
    m(fb.ones(1, 2)).sum().backward()
    assert grads.numpy().any()
    opt.zero_grad()
    assert not grads.numpy().any() and m.weight.grad is not None
    free = nn.Linear(2, 2)
    free(fb.ones(1, 2)).sum().backward()
    optim.SGD(free).zero_grad()
    assert free.weight.grad is None


def test_state_continues() -> None:
    def run(opt: Any, w: Any, steps: int) -> None:
        for _ in range(steps):
            opt.zero_grad()
            (w * w).sum().backward()
            opt.step()

    w = fb.ones(3).requires_grad_()
    opt = optim.Adam([w], lr=0.1)
    run(opt, w, 3)
    state, middle = opt.state_dict(), w.numpy().copy()
    run(opt, w, 3)
    v = fb.tensor(middle).requires_grad_()
    other = optim.Adam([v], lr=0.9)
    other.load_state_dict(state)
    run(other, v, 3)
    assert other.lr == 0.1
    np.testing.assert_allclose(v.numpy(), w.numpy())


def test_closure() -> None:
    w = fb.ones(2).requires_grad_()
    opt = optim.SGD([w], lr=0.5)

    def closure() -> Any:
        opt.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert opt.step(closure).item() == 2 and w.tolist() == [0, 0]


def test_text() -> None:
    assert repr(optim.SGD(nn.Linear(2, 2), lr=0.5)) == (
        "SGD(lr=0.5, momentum=0, dampening=0, nesterov=False, weight_decay=0 on 2 tensors)")


def test_what_waits_is_computed_in_its_order() -> None:
    """By address it would be another program each time, and in the last bits another result."""
    kept = [fb.rand(2)._storage for _ in range(50)]
    waiting = door.Waiting()
    for s in kept[::-1] + kept:
        waiting.add(s)
    assert list(waiting) == kept[::-1] and len(waiting) == 50
    del s, kept[10:]
    assert list(waiting) == kept[::-1]
    waiting.clear()
    assert not waiting
