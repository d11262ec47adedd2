"""fb.compile: signatures, state, donation, numbers as arguments, looking inside."""

from __future__ import annotations

import gc
import multiprocessing
import threading

import flambeau as fb
import numpy as np
import pytest
from flambeau.runtime import memory


def test_function_of_tensors_and_nests() -> None:
    f = fb.compile(lambda x, y: {"sum": x + y, "pair": (x * y, [x - y])})
    a, b = fb.tensor([1.0, 2.0]), fb.tensor([3.0, 4.0])
    for _ in range(3):
        out = f(a, b)
    assert out["sum"].tolist() == [4, 6]
    assert out["pair"][0].tolist() == [3, 8] and out["pair"][1][0].tolist() == [-2, -2]
    assert len(f.variants) == 1


def test_views_lazies_and_arrays_as_arguments() -> None:
    f = fb.compile(lambda x: x * 2 + 1)
    x = fb.arange(12).reshape(3, 4).float()
    want = x.numpy() * 2 + 1
    np.testing.assert_array_equal(f(x).numpy(), want)
    np.testing.assert_array_equal(f(x.T).numpy(), want.T)
    np.testing.assert_array_equal(f(x[::-1, 1:3]).numpy(), want[::-1, 1:3])
    np.testing.assert_array_equal(f(x + 0.5).numpy(), want + 1)
    np.testing.assert_array_equal(f(x.numpy()).numpy(), want)


def test_state_is_updated_in_place() -> None:
    w = fb.zeros(4)

    @fb.compile
    def step(x: fb.Tensor, lr: float) -> fb.Tensor:
        w.add_(x * lr)
        return (w * w).sum()

    x = fb.ones(4)
    losses = [float(step(x, 0.5)) for _ in range(3)]
    assert losses == [1.0, 4.0, 9.0]
    address = w.storage().leaf.arg.address
    step(x, 0.25)
    assert w.storage().leaf.arg.address == address  # donated, not copied
    assert step.last.alias.count(-1) == 1 and len(step.variants) == 1
    assert w.tolist() == [1.75] * 4


def test_a_snapshot_of_state_survives_donation() -> None:
    w = fb.zeros(3)
    step = fb.compile(lambda: (w.add_(1.0), None)[1])
    step()
    before = w.numpy()
    lazy = w * 10
    step()
    assert before.tolist() == [1, 1, 1] and w.tolist() == [2, 2, 2]
    assert lazy.tolist() == [10, 10, 10]


def test_ten_thousand_learning_rates_are_one_program() -> None:
    w = fb.ones(8)
    step = fb.compile(lambda x, lr: (w.sub_(x * lr), None)[1])
    x = fb.ones(8)
    for i in range(1000):
        step(x, 1.0 / (i + 1))
    assert len(step.variants) == 1


def test_no_leak() -> None:
    f = fb.compile(lambda x: x * 2)
    x = fb.ones(1000)
    f(x)
    gc.collect()
    before = memory.memory()["current"]
    for _ in range(2000):
        y = f(x)
    del y
    gc.collect()
    assert memory.memory()["current"] <= before + 3 * 4096  # what quick keeps for its next result


def test_results_are_their_own_values() -> None:
    f = fb.compile(lambda x: x * 2)
    a = [f(fb.full((3,), float(i))) for i in range(5)]
    assert [t.tolist() for t in a] == [[2.0 * i] * 3 for i in range(5)]
    x = fb.ones(3)
    arrays = [f(x).numpy() for _ in range(3)]
    lazy = f(x) + 1
    views = f(x)[1:]
    f(fb.zeros(3))
    f(fb.zeros(3))
    assert all(v.tolist() == [2, 2, 2] for v in arrays)
    assert lazy.tolist() == [3, 3, 3] and views.tolist() == [2, 2]
    f(x).requires_grad_()
    assert not f(x).requires_grad
    f(x).add_(5)
    assert f(x).tolist() == [2, 2, 2]


def test_random_numbers_are_new_in_every_run() -> None:
    fb.manual_seed(3)
    f = fb.compile(lambda: fb.rand(5))
    a, b = f().tolist(), f().tolist()
    fb.manual_seed(3)
    assert a != b and fb.rand(5).tolist() == a


def test_gather_out_of_range_names_the_operation() -> None:
    f = fb.compile(lambda x, i: fb.index_select(x, 0, i))
    x = fb.arange(5)
    assert f(x, fb.tensor([1, 4])).tolist() == [1, 4]
    with pytest.raises(IndexError, match=r"gather: expected indices below 5.*test_compile.py:\d+"):
        f(x, fb.tensor([1, 5]))
    assert f(x, fb.tensor([0, 0])).tolist() == [0, 0]


def test_looking_inside() -> None:
    f = fb.compile(lambda x, y: fb.tanh(x @ y).sum())
    with pytest.raises(RuntimeError, match="expected a call before"):
        f.llvm_ir()
    f(fb.ones(8, 16), fb.ones(16, 4))
    text = f.explain()
    assert "dot" in text and "flops" in text and "first call" in text
    f(fb.ones(9, 16), fb.ones(16, 4))
    assert "argument 0: shape (8, 16) -> shape (9, 16)" in f.explain()
    assert "define" in f.llvm_ir() and "ret" in f.asm()
    graph = f.graph().networkx()
    assert graph.number_of_nodes() >= 4 and "digraph" in f.graph().dot()
    rows = f.profile(seconds=0.02).rows
    assert rows and all(r["microseconds"] >= 0 for r in rows)


def test_several_python_threads() -> None:
    f = fb.compile(lambda x: (x @ x.T).sum())
    x = fb.ones(50, 50)
    want, found = float(f(x)), []

    def work() -> None:
        for _ in range(50):
            found.append(float(f(x)))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    assert found == [want] * 200


def _in_child(queue: object) -> None:
    x = fb.ones(600, 600)
    queue.put(float((x @ x).sum()))  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_child_processes(method: str) -> None:
    float((fb.ones(600, 600) @ fb.ones(600, 600)).sum())  # threads are running before the fork
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == 600.0**3
    child.join(timeout=60)
    assert child.exitcode == 0


def test_a_value_asked_for_while_recording_says_so() -> None:
    f = fb.compile(lambda x: x + 1 if float(x.sum()) > 0 else x)
    with pytest.raises(RuntimeError, match="compile: expected a function that only records"):
        f(fb.ones(2))


def test_compiled_functions_call_each_other() -> None:
    inner = fb.compile(lambda x: x + 1)
    outer = fb.compile(lambda x: inner(x) * 2)
    assert outer(fb.ones(2)).tolist() == [4, 4]


def test_what_a_failed_trace_recorded_is_asked_for_by_nobody() -> None:
    criterion = fb.nn.MSECriterion()
    kept = []

    @fb.compile
    def f(x: fb.Tensor) -> fb.Tensor:
        kept.append(criterion.forward(x, x * 0))
        criterion.backward(x, x * 0)
        raise ZeroDivisionError("in the middle")

    with pytest.raises(ZeroDivisionError):
        f(fb.ones(3))
    assert (fb.ones(3) + 1).tolist() == [2, 2, 2]  # asked for kept's value with it before
