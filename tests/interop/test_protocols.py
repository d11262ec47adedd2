"""NumPy's ufunc methods and Python's protocols, as they are for arrays."""

from __future__ import annotations

import copy
import math
import pickle
import statistics

import flambeau as fb
import numpy as np
import pytest

A = np.arange(12.0).reshape(3, 4)
MASK = A > 4


def same(found, expected) -> None:
    assert isinstance(found, fb.Tensor), type(found)
    np.testing.assert_allclose(found.numpy(), expected)


@pytest.mark.parametrize("run", [
    lambda x: np.add.accumulate(x), lambda x: np.maximum.accumulate(x, axis=1),
    lambda x: np.multiply.accumulate(x, 1), lambda x: np.minimum.accumulate(x),
    lambda x: np.multiply.outer(x[0], x[1]), lambda x: np.subtract.outer(x, x[0]),
    lambda x: np.add.reduceat(x, [0, 2, 1]), lambda x: np.maximum.reduceat(x, [0, 2, 1], axis=1),
    lambda x: np.add.reduce(x, axis=(0, 1), keepdims=True, initial=5.0),
    lambda x: np.add.reduce(x, where=MASK), lambda x: np.maximum.reduce(x, where=MASK, initial=-1),
    lambda x: np.logaddexp.reduce(x, axis=1), lambda x: np.divmod(x, 3)[1],
    lambda x: np.modf(x / 3)[0], lambda x: np.add(x, 1, dtype="float32"),
    lambda x: np.median(x, axis=0), lambda x: np.quantile(x, [0.1, 0.6]), lambda x: np.fliplr(x),
    lambda x: np.linalg.det(x[:, :3] + np.eye(3)), lambda x: np.fft.fft(x).real,
    lambda x: np.diff(x), lambda x: np.pad(x, 1), lambda x: np.digitize(x, [1, 3, 7]),
    lambda x: np.nanpercentile(x, 30), lambda x: np.array_split(x, 2)[1],
    lambda x: np.histogram(x, 3)[0]])
def test_numpy_functions(run) -> None:
    same(run(fb.tensor(A)), run(A))


def test_ufuncs_in_place() -> None:
    t, a = fb.tensor(A), A.copy()
    for f, index, values in ((np.add, [0, 0, 2], 1.5), (np.maximum, [1, 1], A[2:] + 1),
                             (np.subtract, 1, 2.0), (np.multiply, [0, 0], 2.0)):
        f.at(t, index, fb.tensor(values) if isinstance(values, np.ndarray) else values)
        f.at(a, index, values)
        same(t, a)
    out = fb.zeros(3, 4, dtype="float64")
    assert np.sqrt(t, out=out) is out
    np.negative(t, out=out, where=MASK)
    expected = np.sqrt(a)
    np.negative(a, out=expected, where=MASK)
    same(out, expected)
    array = np.zeros((3, 4))
    np.add(t, t, out=array)
    array += t
    np.testing.assert_allclose(array, 3 * a)


@pytest.mark.parametrize(("run", "kind", "text"), [
    (lambda t: np.negative(t, where=MASK), TypeError,
     "negative: expected out beside where, which leaves elements alone, got none"),
    (lambda t: np.add(t, 1, out=fb.zeros(2)), ValueError,
     "add: expected out of shape (3, 4), got (2,)"),
    (lambda t: np.add(t, 1, out=fb.zeros(3, 4, dtype="int64")), TypeError,
     "add: expected out of a dtype that holds float64, got int64"),
    (lambda t: np.minimum.reduce(t, where=MASK), ValueError,
     "minimum: expected initial beside where, for there is no neutral element, got none")])
def test_messages(run, kind, text) -> None:
    with pytest.raises(kind) as error:
        run(fb.tensor(A))
    assert str(error.value) == text


def test_ufuncs_that_are_not_there() -> None:
    t = fb.tensor(A)
    for run in (lambda: np.spacing(t), lambda: np.negative.at(t, [0])):
        with pytest.raises(TypeError):
            run()


def test_comparison_and_membership() -> None:
    t, x = fb.tensor(A), fb.tensor(2.5)
    assert (t == None) is False and (t != None) is True and (t == "a") is False  # noqa: E711
    assert 5 in t and 99 not in t and t[1] in t and [9, 9, 9, 9] not in t and "a" not in t
    assert math.nan not in fb.tensor([math.nan]) and None not in t
    assert {t: 1}[t] == 1 and len({t, t, x}) == 2 and hash(t) != hash(t + 0)
    for run in (lambda: bool(t), lambda: (t,) == (t + 0,), lambda: bool(fb.zeros(0))):
        with pytest.raises(ValueError, match="bool: expected a tensor of one element"):
            run()


def test_numbers() -> None:
    x, i = fb.tensor(2.75), fb.tensor(3)
    assert math.sqrt(x) == math.sqrt(2.75) and math.floor(x) == 2 and math.ceil(x) == 3
    assert math.trunc(-x) == -2 and round(x).item() == 3
    assert round(x, 1).item() == pytest.approx(2.8)
    assert hex(i) == "0x3" and "a" * i == "aaa" and [1, 2, 3, 4, 5][fb.tensor(1):i] == [2, 3]
    assert A[i - 1].tolist() == A[2].tolist() and A[fb.tensor(A) > 4].size == 7
    quotient, rest = divmod(fb.tensor(A), 5)
    same(quotient, A // 5)
    same(rest, A % 5)
    assert [t.tolist() for t in divmod(7, fb.tensor([2, 3]))] == [[3, 2], [1, 1]]
    assert f"{x:.1f} {i:>4d} {x}" == "2.8    3 2.75"
    assert f"{fb.tensor(A[:2, :2]):.1f}" == "[[0.0, 1.0],\n [4.0, 5.0]]"
    assert (np.float64(2) * fb.ones(2)).dtype is fb.float64
    assert (np.bool_(True) & (fb.ones(2) > 0)).tolist() == [True, True]
    assert statistics.fmean(fb.tensor([1.0, 2.0])) == 1.5


def test_sequences() -> None:
    t = fb.tensor([3, 1, 2])
    assert [v.item() for v in sorted(t)] == [1, 2, 3] and max(t).item() == 3
    assert [v.item() for v in reversed(t)] == [2, 1, 3] and sum([t, t]).tolist() == [6, 2, 4]
    first, *rest = t
    assert first.item() == 3 and len(rest) == 2
    np.testing.assert_allclose(t, [3, 1, 2])
    np.testing.assert_array_equal(np.asarray([t, t]), [[3, 1, 2]] * 2)
    with pytest.raises(AssertionError, match="Mismatched elements: 3 / 3"):
        np.testing.assert_allclose(t, t + 1)


def test_lists_of_tensors_and_numbers() -> None:
    """Python numbers are weak beside tensors in a list, as they are beside them in a sum."""
    x = fb.tensor(2.5)
    assert fb.tensor([[x, 1.0], [2, x]]).dtype is fb.float32
    assert fb.tensor([fb.tensor(1, dtype="int8"), 2]).dtype is fb.int8
    assert fb.tensor([fb.tensor(1, dtype="int8"), 0.5]).dtype is fb.float32
    assert fb.tensor([x, 1j]).dtype is fb.complex64
    assert fb.tensor([fb.tensor(True), 2]).dtype is fb.int64
    assert fb.tensor([x, np.float64(1)]).dtype is fb.float64
    assert fb.tensor([x.bfloat16(), 1]).dtype is fb.bfloat16


def test_buffers() -> None:
    t = fb.tensor(A)[:, ::2]
    view = t.buffer()
    assert (view.format, view.readonly, view.shape) == ("d", True, (3, 2))
    assert bytes(t) == view.tobytes() == np.ascontiguousarray(A[:, ::2]).tobytes()
    assert t.__buffer__(0).tolist() == t.tolist()  # memoryview(t) from Python 3.12 on
    with pytest.raises(BufferError, match="buffer: expected a request to read, got one to write"):
        t.__buffer__(1)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "bool", "complex64", "uint16"])
def test_pickle_out_of_band_and_copies(name: str) -> None:
    t = (fb.arange(4000) % 2).to(name)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps({"t": t, "tail": t[3:]}, 5, buffer_callback=buffers.append)
    assert len(data) < 1500 and len(buffers) == 1
    found = pickle.loads(data, buffers=buffers)
    for other in (found["t"], pickle.loads(pickle.dumps(t, 2)), copy.deepcopy(t), copy.copy(t)):
        assert other.dtype is t.dtype and (other == t).all()
    found["tail"].zero_()
    assert not found["t"][3:].any() and t[3:].any()


CASES = ["bool", "int8", "uint64", "float16", "float32", "complex128"]


@pytest.mark.parametrize("name", CASES)
def test_dlpack_with_numpy(name: str) -> None:
    t = (fb.arange(12).view(3, 4) % 3).to(name)
    for view in (t, t.t(), t[::2, 1:], t[:0], t[1, 2]):
        found = np.from_dlpack(view)
        assert found.dtype == name and not found.flags.writeable
        np.testing.assert_array_equal(found, view.numpy())
        assert np.from_dlpack(view, copy=True).flags.writeable
        np.testing.assert_array_equal(fb.from_dlpack(found).numpy(), view.numpy())
    array = np.ones((3, 2), name)
    shared, copied = fb.from_dlpack(array), fb.from_dlpack(array, copy=True)
    array[:] = 0
    assert not shared.any() and copied.all()
    turned = t[::-1, ::-1]  # PyTorch ends the process over negative strides
    np.testing.assert_array_equal(np.from_dlpack(turned), turned.numpy())
    assert min(np.from_dlpack(turned).strides) > 0
    with pytest.raises(BufferError, match="dlpack: expected strides of 0 or more without a copy"):
        np.from_dlpack(turned, copy=False)
    assert t.__dlpack_device__() == (1, 0)
    assert "versioned" in str(t.__dlpack__(max_version=(1, 0)))
    assert "versioned" not in str(t.__dlpack__())
