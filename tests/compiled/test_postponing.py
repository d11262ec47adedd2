"""Updates of big weights that wait for the next step: nobody who looks can tell."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau import nn, optim
from flambeau.postponing import Postponing
from flambeau.runtime import memory

SIZES = (300, 260, 5)  # the first weight has 312,000 bytes


def made(**options: Any) -> tuple[nn.Sequential, Any]:
    """A net and its compiled step; the same start every time."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(SIZES[0], SIZES[1]), nn.Tanh(), nn.Linear(SIZES[1], SIZES[2]),
                          nn.LogSoftMax())
    with fb.no_grad():
        for p in model.params():
            p.copy_(fb.tensor((rng.normal(size=p.shape) * 0.1).astype(np.float32)))
    options.setdefault("lr", 0.05)
    step = model.compile(nn.ClassNLLCriterion(), optim.SGD(model.params(), **options))
    return model, step


def batch(i: int) -> tuple[fb.Tensor, fb.Tensor]:
    x = np.random.default_rng(100 + i).normal(size=(1, SIZES[0])).astype(np.float32)
    return fb.tensor(x), fb.tensor([i % SIZES[2]])


def values(model: nn.Sequential) -> list[np.ndarray]:
    return [p.numpy().copy() for p in model.params()]


def twin(count: int, lr: Any = lambda i: 0.05, decay: float = 0.0) -> list[np.ndarray]:
    """The same training in NumPy with float64."""
    model, _ = made()
    w1, b1, w2, b2 = (v.astype(np.float64) for v in values(model))
    for i in range(count):
        x = batch(i)[0].numpy().astype(np.float64)[0]
        h = np.tanh(w1 @ x + b1)
        y = w2 @ h + b2
        d = np.exp(y - y.max())
        d /= d.sum()
        d[i % SIZES[2]] -= 1
        back = (w2.T @ d) * (1 - h * h)
        for p, g in ((w1, np.outer(back, x)), (b1, back), (w2, np.outer(d, h)), (b2, d)):
            p -= lr(i) * (g + decay * p)
    return [w1, b1, w2, b2]


def close(model: nn.Sequential, expected: list[np.ndarray]) -> None:
    for got, want in zip(values(model), expected):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-6)


def test_the_weight_waits_and_is_right_whenever_it_is_asked_for() -> None:
    model, step = made()
    for i in range(9):
        step(*batch(i))
    assert isinstance(step.compiled.last, Postponing)
    weight = model.params()[0]
    assert weight.is_lazy and not model.params()[2].is_lazy
    assert "wait for the next call" in step.explain()
    close(model, twin(9))


@pytest.mark.parametrize("look", ["numpy", "forward", "state", "print", "expression", "nothing"])
def test_looking_between_steps_changes_nothing(look: str) -> None:
    model, step = made()
    kept: list[tuple[int, Any]] = []
    for i in range(12):
        step(*batch(i))
        if i in (0, 1, 4, 5, 9):
            weight = model.params()[0]
            if look == "numpy":
                kept.append((i + 1, weight.numpy()))
            elif look == "forward":
                model.forward(batch(0)[0]).numpy()
            elif look == "state":
                kept.append((i + 1, model.state_dict()["0.weight"]))
            elif look == "print":
                str(weight)
            elif look == "expression":
                kept.append((i + 1, weight + 0))
    close(model, twin(12))
    for count, value in kept:
        np.testing.assert_allclose(np.asarray(value.detach() if isinstance(value, fb.Tensor)
                                              else value), twin(count)[0], rtol=2e-4, atol=2e-6)


def test_a_rate_that_changes_belongs_to_its_own_step() -> None:
    rates = [0.05, 0.01, 0.2, 0.2, 0.003, 0.1, 0.1]
    model, step = made()
    for i, rate in enumerate(rates):
        step.optimizer.lr = rate
        step(*batch(i))
    close(model, twin(len(rates), lambda i: rates[i]))


def test_weight_decay_waits_too() -> None:
    model, step = made(weight_decay=0.1)
    for i in range(8):
        step(*batch(i))
    assert isinstance(step.compiled.last, Postponing)
    close(model, twin(8, decay=0.1))


def test_momentum_is_not_postponed() -> None:
    _, step = made(momentum=0.9)
    for i in range(3):
        step(*batch(i))
    assert not isinstance(step.compiled.last, Postponing)


def test_a_wrong_label_leaves_everything_as_it_was() -> None:
    model, step = made()
    for i in range(9):
        if i in (2, 3, 7):
            with pytest.raises(IndexError, match="label"):
                step(batch(50)[0], fb.tensor([SIZES[2]]))
        step(*batch(i))
    close(model, twin(9))


def test_the_same_bits_with_several_threads() -> None:
    found = []
    threads = fb.num_threads()
    try:
        for n in (1, 2, 5):
            fb.set_num_threads(n)
            model, step = made()
            for i in range(7):
                step(*batch(i))
            found.append(values(model))
    finally:
        fb.set_num_threads(threads)
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)


def test_copies_of_a_waiting_model() -> None:
    model, step = made()
    for i in range(5):
        step(*batch(i))
    copies = [model.clone(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    for i in range(5, 8):
        step(*batch(i))
    for other in copies:
        close(other, twin(5))
    close(model, twin(8))


def test_fit_and_single_steps_in_turn() -> None:
    model, step = made()
    for i in range(3):
        step(*batch(i))
    x = fb.cat([batch(i)[0] for i in (3, 4)])
    y = fb.cat([batch(i)[1] for i in (3, 4)])
    step.fit(x, y, batch_size=1, shuffle=False)
    for i in range(5, 8):
        step(*batch(i))
    close(model, twin(8))


def test_no_memory_grows() -> None:
    _, step = made()
    for i in range(6):
        step(*batch(i % 4))
    before = memory.memory()["current"]
    for i in range(200):
        step(*batch(i % 4))
    assert memory.memory()["current"] <= before + 8192


def test_a_last_batch_of_one_example_is_no_reason_to_wait() -> None:
    _, step = made()
    x = fb.tensor(np.random.default_rng(0).normal(size=(7, SIZES[0])).astype(np.float32))
    y = fb.tensor([0, 1, 2, 3, 4, 0, 1])
    whole, rest = (x[:6].clone().realize(), y[:6].clone().realize()), batch(0)
    for _ in range(4):
        step(*whole)
        step(*rest)
    programs = step.compiled.variants.values()
    assert len(programs) == 2 and not any(isinstance(v, Postponing) for v in programs)


def test_threads_that_meet_the_first_calls_lose_no_update() -> None:
    # Both programs take the function's own turns, and only one thread traces at a time.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(8):
            met_by_threads()
    finally:
        sys.setswitchinterval(interval)


def met_by_threads() -> None:
    w, x = fb.zeros(300, 260), fb.ones(1, 300)

    @fb.compile
    def step(x: fb.Tensor) -> fb.Tensor:
        y = x @ w
        w.add_(x.reshape(300, 1) @ (y * 0 + 1))
        return y.sum()

    def work() -> None:
        for _ in range(3):
            step(x)
    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (w.numpy() == 9).all()
    both = next(iter(step.variants.values()))
    assert isinstance(both, Postponing)
    assert both.turns is both.first.turns is step.turns


def test_a_waiting_weight_as_an_argument_loses_no_update() -> None:
    # Computing the argument put the weight in order after the steady program had found it waiting.
    w, x = fb.zeros(300, 260), fb.ones(1, 300)

    @fb.compile
    def step(x: fb.Tensor, other: fb.Tensor) -> fb.Tensor:
        y = x @ w
        w.add_(x.reshape(300, 1) @ (y * 0 + 1))
        return y.sum() + other.sum()
    zeros = fb.zeros(300, 260)
    for i in range(12):
        found = float(step(x, w if i in (3, 7, 8) else zeros))
        assert found == i * 300 * 260 * (2 if i in (3, 7, 8) else 1)
    assert isinstance(step.last, Postponing) and (w.numpy() == 12).all()


def test_a_thread_that_reads_meanwhile_loses_no_update() -> None:
    w = fb.zeros(300, 400)

    @fb.compile
    def step(x: fb.Tensor) -> fb.Tensor:
        y = x @ w
        w.add_(x.reshape(300, 1) @ (y * 0 + 1))
        return y.sum()

    x = fb.ones(1, 300)
    for _ in range(4):
        step(x)
    stop = threading.Event()
    errors: list[BaseException] = []

    def read() -> None:
        try:
            while not stop.is_set():
                w.numpy()
        except BaseException as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(300):
        step(x)
    stop.set()
    reader.join()
    assert not errors
    np.testing.assert_array_equal(w.numpy(), np.full((300, 400), 304, np.float32))
