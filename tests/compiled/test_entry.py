"""The native entry of compiled calls: what it hands out, when it steps aside, and its turns."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau import compiled, nn, optim, quick


@pytest.fixture(params=["short", "long", "python"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Under the GIL, with the GIL released, and without machine code that knows Python."""
    if request.param == "long":
        monkeypatch.setattr(quick, "LONG", -1.0)
    if request.param == "python":
        monkeypatch.setattr(quick, "LAYOUT", None)
    yield request.param


def data(*shape: int) -> fb.Tensor:
    return fb.tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def settled(f: Any, *args: Any) -> Any:
    """A compiled function after enough calls that the shortest way is taken."""
    for _ in range(3):
        f(*args)
    return f


def test_entry_is_there(way: str) -> None:
    f = settled(fb.compile(lambda x: x + 1), data(3))
    entry = next(iter(f.variants.values())).entry
    assert (entry is None) == (way == "python")
    if entry is not None:
        assert entry.call(data(4)) is NotImplemented and entry.call() is NotImplemented
        assert entry.call(data(3), data(3)) is NotImplemented


def test_results_that_somebody_holds_stay(way: str) -> None:
    f = settled(fb.compile(lambda x, c: x * c), data(5), 1.0)
    x = data(5)
    kept = [f(x, float(i)) for i in range(6)]
    views = [f(x, float(i))[1:] for i in range(6)]
    arrays = [f(x, float(i)).numpy() for i in range(6)]
    lazy = [f(x, float(i)) + 0 for i in range(6)]
    for i in range(6):
        expected = x.numpy() * np.float32(i)
        np.testing.assert_array_equal(kept[i].numpy(), expected)
        np.testing.assert_array_equal(views[i].numpy(), expected[1:])
        np.testing.assert_array_equal(arrays[i], expected)
        np.testing.assert_array_equal(lazy[i].numpy(), expected)


def test_a_reused_result_forgets_what_was_done_to_it(way: str) -> None:
    f = settled(fb.compile(lambda x: x * 2), data(5))
    x = data(5)
    for _ in range(4):
        y = f(x)
        y.requires_grad_()
        (y * y).sum().backward()
        y = f(x)
        y += 1
        y = f(x)
        assert not y.requires_grad and y.grad is None
        np.testing.assert_array_equal(y.numpy(), x.numpy() * 2)


def test_arguments_of_every_kind(way: str) -> None:
    def fn(x: fb.Tensor, scale: float, times: int, name: str, none: None) -> fb.Tensor:
        assert name == "n" and none is None
        return x * scale * times
    f = fb.compile(fn)
    x = data(4)
    for scale in (1.0, 0.5, -2.0, 1e30, float("inf")):
        for times in (3, 3, 4):
            np.testing.assert_array_equal(f(x, scale, times, "n", None).numpy(),
                                          x.numpy() * np.float32(scale) * np.float32(times))


def test_arguments_that_need_the_long_way(way: str) -> None:
    f = settled(fb.compile(lambda x: x * 2), data(4, 4))
    x = data(4, 4)
    for given in (x.t(), x[::-1], x + 0, x.numpy(), x.double(), data(3, 4)):
        np.testing.assert_array_equal(f(given).numpy(), np.asarray(given) * 2)
    assert f(x.clone().requires_grad_()).shape == (4, 4)
    np.testing.assert_array_equal(f(x).numpy(), x.numpy() * 2)


def test_several_results(way: str) -> None:
    f = settled(fb.compile(lambda x, y: (x + y, x - y, x * y)), data(4), data(4))
    x, y = data(4), data(4) + 1
    kept = [f(x, y) for _ in range(5)]
    assert all(type(k) is tuple and len(k) == 3 for k in kept)
    for k in kept:
        for got, expected in zip(k, (x.numpy() + y.numpy(), x.numpy() - y.numpy(),
                                     x.numpy() * y.numpy())):
            np.testing.assert_array_equal(got.numpy(), expected)
    assert len({id(t) for k in kept for t in k}) == 15


def test_state_that_others_look_at_is_not_overwritten(way: str) -> None:
    state = data(6)
    first = state.numpy().copy()

    def add(x: fb.Tensor) -> fb.Tensor:
        state.add_(x)
        return state.sum()
    f = fb.compile(add)
    x = fb.ones(6)
    seen = []
    for i in range(8):
        f(x)
        if i % 3 == 1:
            seen.append((i + 1, state.numpy()))
        if i % 3 == 2:
            seen.append((i + 1, state + 0))
    for count, value in seen:
        np.testing.assert_allclose(np.asarray(value), first + count, rtol=1e-6)
    state.fill_(1.0)
    f(x)
    np.testing.assert_array_equal(state.numpy(), np.full(6, 2, np.float32))


def test_state_that_is_also_an_argument_is_read_before_it_is_written(way: str) -> None:
    # The program wrote the state in place and read the same memory as its argument afterwards.
    n = 1000
    state, expected = fb.tensor(np.arange(n, dtype=np.float32)), np.arange(n, dtype=np.float32)

    def turned(x: fb.Tensor) -> fb.Tensor:
        state[...] = state * 0.5 + x.flip(0)
        return x.sum()
    f, ones = fb.compile(turned), fb.ones(n)
    for x in (ones, ones, ones, state, state, ones, ones, state[:], state.detach()):
        old = np.ones(n, np.float32) if x is ones else expected
        assert abs(float(f(x)) - old.sum()) <= 1e-5 * old.sum()
        expected = expected * np.float32(0.5) + old[::-1]
    np.testing.assert_allclose(state.numpy(), expected, rtol=1e-5)


def test_versions_rise(way: str) -> None:
    state = data(6)
    f = settled(fb.compile(lambda x: state.add_(x).sum()), fb.ones(6))
    before = state._storage.version
    f(fb.ones(6))
    assert state._storage.version == before + 1


def test_an_index_out_of_range_is_reported_and_forgotten(way: str) -> None:
    table = data(5, 2)
    f = fb.compile(lambda i: table[i].sum())
    good, bad = fb.tensor([0, 4]), fb.tensor([0, 5])
    settled(f, good)
    for _ in range(3):
        with pytest.raises(IndexError, match="5"):
            f(bad)
        np.testing.assert_allclose(f(good).item(), table.numpy()[[0, 4]].sum(), rtol=1e-5)


def test_a_learning_rate_that_changes(way: str) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    twin = model.clone()
    x, y = data(4, 3), data(4, 2)
    opt = optim.SGD(model.params(), lr=0.1)
    step = model.compile(nn.MSECriterion(), opt)
    other = optim.SGD(twin.params(), lr=0.1)
    criterion = nn.MSECriterion()
    held = x.clone().requires_grad_()  # takes another way between the short ones
    for i in range(12):
        opt.lr = other.lr = 0.1 if i % 3 else 0.1 / (i + 1)
        step(held if i == 5 else x, y)
        twin.zero_grad_parameters()
        criterion.forward(twin.forward(x), y)
        twin.backward(x, criterion.backward(twin.output, y))
        other.step()
    for a, b in zip(model.params(), twin.params()):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_draws_go_on(way: str) -> None:
    fb.manual_seed(3)
    f = fb.compile(lambda x: x + fb.rand(4))
    x = fb.zeros(4)
    got = [f(x).numpy().copy() for _ in range(5)]
    fb.manual_seed(3)
    expected = [fb.rand(4).numpy().copy() for _ in range(5)]
    np.testing.assert_array_equal(got, expected)


def test_threads_share_a_compiled_step(way: str) -> None:
    state = fb.zeros(1000)

    def add(x: fb.Tensor) -> fb.Tensor:
        state.add_(x)
        return x * 3
    f = settled(fb.compile(add), fb.ones(1000))
    wrong: list[Any] = []

    def work(k: int) -> None:
        x = fb.full((1000,), float(k)).realize()
        for _ in range(200):
            if f(x).numpy()[0] != 3 * k:
                wrong.append(k)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    np.testing.assert_array_equal(state.numpy(), np.full(1000, 3 + 200 * 6, np.float32))


def test_a_call_steps_aside_when_another_came_in_while_it_asked(
        way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The other one put its own addresses in the table, and each handed out the other's results.
    f = settled(fb.compile(lambda x: (x + 1, x * 2)), data(3))
    variant, plain = next(iter(f.variants.values())), quick._renew
    if variant.entry is None:
        pytest.skip("no entry")

    def renew(variant: Any, k: int) -> None:
        plain(variant, k)
        variant.turns.enter()
    x = data(3)
    held = [f(x) for _ in range(3)]
    monkeypatch.setattr(quick, "_renew", renew)
    assert variant.entry.call(x) is NotImplemented and held
    variant.turns.leave()
    monkeypatch.setattr(quick, "_renew", plain)
    assert variant.entry.call(x) is not NotImplemented


def test_finalizers_that_call_the_function_while_its_results_are_handed_out() -> None:
    # Making the tuple collected garbage, and the finalizer's results were handed out instead.
    f = settled(fb.compile(lambda x: tuple(x * x[k:k + 1] for k in range(25))), fb.ones(25))
    fives, ones, held = fb.full((25,), 5.).realize(), fb.ones(25).realize(), []

    class Last:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            held.append([f(fives) for _ in range(3)])
    f(ones)
    f(ones)
    before = gc.get_threshold()
    gc.disable()
    Last()
    gc.set_threshold(1)
    gc.enable()
    found = f(ones)
    gc.set_threshold(*before)
    gc.collect()
    assert held and all((t.numpy() == 1).all() for t in found)
    assert all((t.numpy() == 25).all() for results in held for some in results for t in some)


def test_it_goes_when_nobody_uses_it(way: str) -> None:
    f = settled(fb.compile(lambda x: x + 1), data(3))
    gone = weakref.ref(next(iter(f.variants.values())))
    last = f(data(3))
    del f
    gc.collect()
    assert gone() is None and last.shape == (3,)


def test_a_function_kept_alone_still_works(way: str) -> None:
    f = settled(fb.compile(lambda x: x + 1), data(3))
    call = f.quick
    del f
    gc.collect()
    if call is not None:
        np.testing.assert_array_equal(call(data(3)).numpy(), data(3).numpy() + 1)
    assert compiled.Turns().enter()
