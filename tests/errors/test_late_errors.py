# ruff: noqa: E501
"""Errors that come late, from inside programs, and those of compiled functions, memory and files."""

from __future__ import annotations

import re

import flambeau as fb
import numpy as np
import pytest
from flambeau import nn, optim

T = fb.zeros(2, 3)
ARRAY = np.arange(6.0, dtype=np.float32).reshape(2, 3)
FIVE = fb.tensor([0, 5])

LATE = [
    (lambda: T[FIVE], "gather: expected indices below 2 along the indexed axes of [2, 3], got one out of range (recorded at getitem, "),
    (lambda: T.index_select(0, FIVE), "gather: expected indices below 2 along the indexed axes of [2, 3]"),
    (lambda: T.gather(0, FIVE[None]), "gather: expected indices below 2, 3 along the indexed axes of [2, 3], got one out of range (recorded at gather, "),
    (lambda: T.take(FIVE + 1), "gather: expected indices below 6 along the indexed axes of [6]"),
    (lambda: T.scatter(0, FIVE[None], 1.0), "scatter: expected indices below 2, 3 along the indexed axes of [2, 3], got one out of range (recorded at scatter, "),
    (lambda: T.index_add(0, FIVE, fb.ones(2, 3)), "scatter: expected indices below 2 along the indexed axes of [2, 3], got one out of range (recorded at index_add, "),
    (lambda: fb.scan(lambda c, i: (c + T[i].sum(), c), fb.tensor(0.0), FIVE)[0], "gather: expected indices below 2"),
    (lambda: fb.compile(lambda i: T[i])(FIVE), "gather: expected indices below 2 along the indexed axes of [2, 3], got one out of range (recorded at getitem, "),
]


@pytest.mark.parametrize("number", range(len(LATE)))
def test_late_message_and_line(number):
    run, text = LATE[number]
    with pytest.raises(IndexError) as error:
        run().numpy()
    assert text in str(error.value)
    assert "test_late_errors.py:" in str(error.value)


def _step():
    model = nn.Sequential(nn.Linear(4, 3), nn.LogSoftMax())
    return model, model.compile(nn.ClassNLLCriterion(), optim.SGD(model, lr=0.5))


@pytest.mark.parametrize("label", [3, -1, 255])
def test_labels_out_of_range(label):
    model, step = _step()
    x, y = np.ones((20, 4), np.float32), np.zeros(20, np.int64)
    y[12] = label
    with pytest.raises(IndexError, match=r"expected indices below 3 .*labels from 0 to 2.*test_late_errors"):
        step.fit(x, y, batch_size=5, shuffle=False)
    after = [p.numpy().copy() for p in model.parameters()[0]]
    with pytest.raises(IndexError, match=r"labels from 0 to 2"):
        step(x[10:15], y[10:15]).numpy()
    assert all(np.array_equal(a, p.numpy()) for a, p in zip(after, model.parameters()[0]))
    assert np.isfinite(step.fit(x, np.zeros(20, np.int64))[0]["loss"])


X, Y = np.ones((4, 4), np.float32), np.zeros(4, np.int64)
CASES = [
    # memory
    (lambda: fb.from_numpy(ARRAY.T), ValueError, "from_numpy: expected a writable C-contiguous array, got one of shape (3, 2) with strides (4, 12); fb.tensor copies"),
    (lambda: fb.from_numpy(ARRAY[:, ::2]), ValueError, "from_numpy: expected a writable C-contiguous array, got one of shape (2, 2) with strides (12, 8)"),
    (lambda: fb.from_numpy([1, 2]), TypeError, "from_numpy: expected a NumPy array, got list"),
    (lambda: T.t().view(6), ValueError, "view: expected a layout that shows shape (6,), got shape (3, 2) with strides (1, 3); use reshape, which copies"),
    (lambda: T.expand(4, 2, 3).fill_(1), ValueError, "fill_: expected elements of their own, got an expanded view of shape (4, 2, 3)"),
    (lambda: T.expand(4, 2, 3).copy_(T), ValueError, "copy_: expected elements of their own, got an expanded view of shape (4, 2, 3)"),
    (lambda: T.expand(4, 2, 3).__setitem__(0, 1), ValueError, "setitem: expected elements of their own, got an expanded view of shape (4, 2, 3)"),
    (lambda: T.bitcast("float64"), ValueError, "bitcast: expected a dtype of 4 bytes, got float64"),
    # arguments
    (lambda: T.clone().fill_("a"), TypeError, "fill_: expected a number or 0-d tensor, got str"),
    (lambda: T.clone().fill_([1, 2]), TypeError, "fill_: expected a number or 0-d tensor, got list"),
    (lambda: T.sum("a"), TypeError, "sum: expected an integer for an axis, got 'a'"),
    (lambda: T.sum(1.5), TypeError, "sum: expected an integer for an axis, got 1.5"),
    (lambda: T[::0], ValueError, "getitem: expected a step other than 0, got slice(None, None, 0)"),
    (lambda: T["a":], TypeError, "getitem: expected integers in a slice, got slice('a', None, None)"),
    (lambda: fb.bincount(fb.tensor([-1])), ValueError, "bincount: expected integers of 0 or more, got -1"),
    (lambda: T.split(0), ValueError, "split: expected a size of 1 or more, got 0"),
    (lambda: T.unfold(0, 5, 1), ValueError, "unfold: expected windows inside axis 0 of shape (2, 3), got size 5, step 1"),
    (lambda: T.set_(3), TypeError, "set_: expected a tensor or a storage, got int"),
    # devices
    (lambda: T.to(device="tpu"), ValueError, "to: expected device 'cpu', 'cuda' or 'cuda:N', got 'tpu'"),
    # compiled functions
    (lambda: fb.compile(3), TypeError, "compile: expected a function, got int"),
    (lambda: fb.compile(lambda x: x.numpy())(T), RuntimeError, "compile: expected a function that only records operations, got one that asks for values"),
    (lambda: fb.compile(lambda x: print(x))(T), RuntimeError, "compile: expected a function that only records operations"),
    (lambda: fb.compile(lambda x: x[x > 0])(T), RuntimeError, "compile: expected a function that only records operations"),
    # gradients
    (lambda: T.backward(), RuntimeError, "backward: expected a tensor that requires grad, got float32[2, 3] that was made from none"),
    (lambda: (fb.ones(3).requires_grad_() * 2).backward(), ValueError, "backward: expected one element or a grad of the same shape, got shape (3,) and no grad"),
    (lambda: fb.grad(lambda x: x)(fb.ones(3)), ValueError, "grad: expected a function that gives one number, got float32[3]"),
    (lambda: fb.grad(lambda x: x.sum())(fb.arange(3)), TypeError, "grad: expected tensors of a floating dtype, got int64[3]"),
    # fit
    (lambda: _step()[1].fit(X[:2], Y), ValueError, "fit: expected x and y with the same number of rows, at least one, got shapes (2, 4) and (4,)"),
    (lambda: _step()[1].fit(X[:0], Y[:0]), ValueError, "fit: expected x and y with the same number of rows, at least one, got shapes (0, 4) and (0,)"),
    (lambda: _step()[1].fit(X, Y, batch_size=0), ValueError, "fit: expected a batch size of at least 1, got 0"),
    (lambda: _step()[1].fit(X[:, :3], Y), ValueError, "Sequential[0] > Linear(4 -> 3): expected input (..., 4), got float32 (4, 3)"),
    # files
    (lambda: fb.load("/nowhere/model"), FileNotFoundError, "/nowhere/model"),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_message(number):
    run, kind, text = CASES[number]
    with pytest.raises(kind, match=re.escape(text)):
        run()


def test_refused_writes_change_nothing():
    t = fb.ones(3)
    for value in ("a", [1, 2], fb.ones(2)):
        with pytest.raises((TypeError, ValueError)):
            t.fill_(value)
    assert t.tolist() == [1, 1, 1]


def test_a_late_error_repeats_and_spares_the_rest():
    bad, good = T[FIVE], T + 1
    for _ in range(2):
        with pytest.raises(IndexError):
            bad.numpy()
    assert good.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_a_flag_that_is_no_number(monkeypatch):
    from flambeau.compiler.config import Config

    monkeypatch.setenv("FLAMBEAU_DEBUG", "abc")
    with pytest.raises(ValueError, match="FLAMBEAU_DEBUG: expected a number, got 'abc'"):
        Config()


def test_a_processor_and_a_pass_that_are_none():
    from flambeau.compiler.config import override
    from flambeau.runtime import jit

    for name in ("nonsense", "athlon"):  # LLVM would end the process; athlon has no 64 bits
        with override(cpu=name), pytest.raises(ValueError, match=re.escape(
                "FLAMBEAU_CPU: expected a 64-bit processor by LLVM's name, such as ") + ".*got "
                f"'{name}'"):
            jit.host_target()
    text = r"FLAMBEAU_SKIP: expected names of passes \(.*turn_products.*\), got typo"
    with override(skip="simplify, typo"), pytest.raises(ValueError, match=text):
        (fb.ones(3).sin() * 1.25 - fb.full((3,), 0.3)).numpy()
