"""State of compiled functions: donated buffers, aliases, other threads, errors on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable

import flambeau as fb
import numpy as np
import pytest


def test_swapped_reversed_and_shifted_state() -> None:
    a, b = fb.arange(5).float(), fb.arange(5).float() * 10
    s = fb.arange(9).float().view(3, 3)

    @fb.compile
    def f() -> None:
        t = a.clone()
        a.copy_(b)
        b.copy_(t)
        s.copy_(s.t() + s[::-1])
        b[1:] = b[:-1]

    A, B, S = np.arange(5.0), np.arange(5.0) * 10, np.arange(9.0).reshape(3, 3)
    for _ in range(5):
        f()
        A, B, S = B.copy(), A.copy(), S.T + S[::-1]
        B[1:] = B[:-1].copy()
    for t, want in ((a, A), (b, B), (s, S)):
        assert t.tolist() == want.tolist()


def test_lazy_values_and_snapshots_keep_what_they_saw() -> None:
    a = fb.zeros(4)

    @fb.compile
    def f() -> fb.Tensor:
        return a.add_(1).sum()

    for _ in range(3):
        f()
    lazy, seen = a * 2, a.numpy()
    f()
    f()
    assert lazy.tolist() == [6] * 4 and seen.tolist() == [3] * 4 and a.tolist() == [5] * 4


def test_arguments_that_are_views_do_not_cost_a_copy_of_state() -> None:
    a, x = fb.zeros(1000), fb.ones(2, 1000)
    f = fb.compile(lambda row: a.add_(row).sum())
    f(x[0])
    where = a._storage.leaf.arg.address
    for i in range(4):
        f(x[i % 2])
    assert a._storage.leaf.arg.address == where and a.tolist() == [5] * 1000


def test_written_arguments_change() -> None:
    f = fb.compile(lambda x: x.add_(1) * 2)
    x = fb.zeros(6)
    for _ in range(3):
        y = f(x[::2])
    assert x.tolist() == [3, 0] * 3 and y.tolist() == [6] * 3


def test_state_in_numpy_memory() -> None:
    array = np.zeros(3, np.float32)
    a = fb.from_numpy(array)
    f = fb.compile(lambda x: a.add_(x) * 2)
    for _ in range(3):
        y = f(fb.ones(3))
    assert array.tolist() == a.tolist() == [3] * 3 and y.tolist() == [6] * 3
    array[0] = 10
    assert f(fb.ones(3)).tolist() == [22, 8, 8]


def test_nests_are_arguments() -> None:
    f = fb.compile(lambda pair, options: pair[0] * options["a"] + pair[1][0])
    one = fb.ones(2)
    assert f((one, [one]), {"a": 2.0}).tolist() == [3, 3]
    assert f((one * 2, [one]), {"a": 5.0}).tolist() == [11, 11]
    assert len(f.variants) == 1
    g = fb.compile(lambda x, shape: x.view(shape))
    assert g(fb.ones(6), (2, 3)).shape == (2, 3) and g(fb.ones(6), (3, 2)).shape == (3, 2)


def test_numpy_numbers_are_arguments() -> None:
    f = fb.compile(lambda x, rate: x * rate)
    for i in range(3):
        assert f(fb.ones(1), np.float32(i)).tolist() == [i]
    assert len(f.variants) == 1


@pytest.mark.parametrize("write", [
    lambda a, t, i: (a.add_(1), a.add_(t[i].sum())),
    lambda a, t, i: (t[i], a.add_(1))[0],
    lambda a, t, i: a.add_(t[i].sum() + 1)])
def test_an_index_out_of_range_leaves_state_alone(write: Callable[..., object]) -> None:
    a, t = fb.zeros(4), fb.arange(5).float()
    f = fb.compile(lambda i: (write(a, t, i), t[i])[1])
    good, bad = fb.tensor([0, 0]).realize(), fb.tensor([0, 9]).realize()
    f(good)
    f(good)
    for _ in range(3):
        with pytest.raises(IndexError, match="gather: expected indices below 5"):
            f(bad)
    f(good)
    assert a.tolist() == [3] * 4


def _together(work: Callable[[], None], count: int = 4) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


def test_calls_from_several_threads_take_turns() -> None:
    a, one = fb.zeros(4), fb.ones(4).realize()
    f = fb.compile(lambda x: a.add_(x).sum())
    f(one)
    _together(lambda: [f(one) for _ in range(100)] and None)
    assert a.tolist() == [401] * 4


def test_other_threads_work_while_one_records() -> None:
    stop = threading.Event()
    wrong: list[object] = []

    def eager() -> None:
        i = 0
        while not stop.is_set():
            i += 1
            y = fb.tensor([float(i)])
            if y.add_(1).tolist() != [i + 1]:
                wrong.append(i)

    workers = [threading.Thread(target=eager) for _ in range(2)]
    for w in workers:
        w.start()
    for k in range(1, 8):
        state = fb.zeros(k)

        def step(x: fb.Tensor, state: fb.Tensor = state) -> fb.Tensor:
            return state.add_(x) * 2

        f = fb.compile(step)
        f(fb.ones(k))
        assert f(fb.ones(k)).tolist() == [4] * k
        assert len(f.last.state_of) == 1
    stop.set()
    for w in workers:
        w.join()
    assert not wrong


def test_a_result_handed_out_again_is_the_functions_own() -> None:
    f = fb.compile(lambda x: x * 2)
    xs = [fb.full(5, float(i)).realize() for i in range(6)]
    f(xs[0])
    y = f(xs[1])
    y.set_(xs[5])
    del y
    assert f(xs[2]).tolist() == [4] * 5 and xs[5].tolist() == [5] * 5
    y = f(xs[1])
    part, lazy, rows = y[1:], y + 0, iter(y)
    del y
    f(xs[3])
    assert part.tolist() == [2] * 4 and lazy.tolist() == [2] * 5 and sum(map(float, rows)) == 10
    y = f(xs[1])
    y.resize_(2)
    del y
    assert f(xs[2]).tolist() == [4] * 5


def test_ten_thousand_steps_are_two_programs_and_leak_nothing() -> None:
    """A rate that changes at every step, and a short last batch."""
    net = fb.nn.Sequential(fb.nn.Linear(20, 16), fb.nn.Tanh(), fb.nn.Linear(16, 5),
                           fb.nn.LogSoftMax())
    optimizer = fb.optim.SGD(net, lr=0.1)
    step = net.compile(fb.nn.ClassNLLCriterion(), optimizer)
    sizes = [100] * 10 + [30]
    batches = [(fb.randn(n, 20).realize(), fb.randint(0, 5, (n,)).realize()) for n in sizes]
    live = []
    for i in range(910):
        for x, y in batches:
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + i)
            step(x, y)
        if i in (5, 909):
            live.append(fb.memory()["current"])
    assert len(step.compiled.variants) == 2
    assert live[1] <= live[0]
