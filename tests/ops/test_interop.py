"""NumPy's protocols, conversions to Python, printing, pickle and copy."""

from __future__ import annotations

import copy
import pickle

import flambeau as fb
import numpy as np
import pytest
from cases import array, check


def test_ufuncs_give_lazy_tensors():
    a = array("float32", (3, 4))
    t = fb.tensor(a)
    for name in ("exp", "sin", "sqrt", "negative", "isnan", "square", "rint", "logical_not"):
        with np.errstate(invalid="ignore"):
            expected = getattr(np, name)(a)
        found = getattr(np, name)(t)
        assert found.is_lazy
        check(found, expected)
    for name in ("add", "multiply", "maximum", "less", "arctan2", "logical_and"):
        expected = getattr(np, name)(a, a[0])
        check(getattr(np, name)(t, a[0]), expected)
        check(getattr(np, name)(a, t[0]), expected)
    check(a + t, a + a)
    check(np.float32(2) * t, 2 * a, "float32")
    check(np.float64(2) * t, 2 * a, "float64")
    check(np.add.reduce(t), a.sum(0))
    check(np.maximum.reduce(t, axis=None), a.max())
    b = a.copy()
    b += t
    np.testing.assert_array_equal(b, a + a)
    with pytest.raises(TypeError):
        np.spacing(t)


def test_array_functions():
    a = array("float32", (3, 4))
    t = fb.tensor(a)
    check(np.concatenate([t, a]), np.concatenate([a, a]))
    check(np.where(t > 0, t, 0), np.where(a > 0, a, 0))
    check(np.sum(t, axis=1, keepdims=True), a.sum(1, keepdims=True))
    check(np.var(t, axis=0), a.var(0))
    check(np.sort(t), np.sort(a))
    check(np.stack([t, t], axis=1), np.stack([a, a], 1))
    check(np.einsum("ij->j", t), a.sum(0))
    check(np.linalg.norm(t), np.linalg.norm(a))
    check(np.clip(t, -1, 1), np.clip(a, -1, 1))
    assert np.shape(t) == (3, 4) and np.allclose(t, a)
    with pytest.raises(TypeError, match=r"numpy\.unwrap: expected .* pass t\.numpy"):
        np.unwrap(t)


def test_arrays():
    a = array("float32", (3, 4))
    t = fb.tensor(a)
    shared, copied = np.asarray(t), np.array(t)
    assert not shared.flags.writeable and copied.flags.writeable
    assert np.asarray(t, np.float64).dtype == np.float64
    assert np.shares_memory(t.numpy(), t[1:].numpy())
    np.testing.assert_array_equal(t.t()[1:, ::-1].numpy(), a.T[1:, ::-1])
    np.testing.assert_array_equal(t[:0].numpy(), a[:0])
    with pytest.raises(ValueError, match="asarray: expected float32 without a copy"):
        np.asarray(t, np.float64, copy=False)
    assert bytes(t.buffer()) == a.tobytes()
    assert t.tolist() == a.tolist()
    np.testing.assert_array_equal([*map(np.asarray, t)], a)


def test_numbers():
    assert float(fb.tensor(2.5)) == 2.5
    assert int(fb.tensor([3])) == 3
    assert bool(fb.tensor([[0.0]])) is False
    assert [10, 20, 30][fb.tensor(1)] == 20
    assert list(range(fb.tensor(3))) == [0, 1, 2]
    assert complex(fb.tensor(2)) == 2
    assert fb.tensor([[1, 2], [3, 4]]).item(1, 0) == 3
    assert len(fb.zeros(4, 2)) == 4
    assert f"{fb.tensor(1.23456):.2f}" == "1.23"
    assert f"{fb.tensor(3)}" == "3"
    assert fb.tensor(1.0) in [fb.tensor(1.0)]


def test_repr():
    assert repr(fb.tensor([[1.0, 2], [3, 4]])) == "tensor([[1., 2.],\n        [3., 4.]])"
    assert repr(fb.tensor([1, 2])) == "tensor([1, 2])"
    assert repr(fb.tensor([True])) == "tensor([ True])"
    assert repr(fb.tensor(1.5, dtype=fb.float64)) == "tensor(1.5, dtype=flambeau.float64)"
    assert repr(fb.zeros(0, 3)) == "tensor([], shape=(0, 3))"
    assert repr(fb.zeros(0)) == "tensor([])"
    assert repr(fb.ones(1, requires_grad=True)) == "tensor([1.], requires_grad=True)"
    assert "grad_fn" in repr(fb.ones(1, requires_grad=True) * 2)
    big = fb.arange(1_000_000).view(1000, 1000) * 2
    text = repr(big)
    assert big.is_lazy
    assert "1999998" in text and "..." in text and "[      0," in text
    assert "lazy" in big._repr_html_()
    assert repr(fb.storage.Storage) and "1." in str(fb.ones(2).storage())


def test_pickle_keeps_sharing():
    t = fb.arange(6, dtype=fb.float32).view(2, 3)
    row = t[1]
    p = fb.ones(2, requires_grad=True)
    p.grad = fb.ones(2)
    t2, row2, p2 = pickle.loads(pickle.dumps((t, row, p)))
    check(t2, t.numpy(), "float32")
    row2.zero_()
    check(t2, [[0, 1, 2], [0, 0, 0]])
    assert p2.requires_grad and p2.is_leaf and p2.grad.tolist() == [1, 1]
    b = fb.tensor([1.5], dtype=fb.bfloat16)
    assert pickle.loads(pickle.dumps(b, 5)).dtype is fb.bfloat16
    buffers: list = []
    data = pickle.dumps(fb.zeros(1000).numpy(), 5, buffer_callback=buffers.append)
    assert len(data) < 1000 and pickle.loads(data, buffers=buffers).shape == (1000,)
    assert pickle.loads(pickle.dumps(fb.float16)) is fb.float16


def test_copies():
    t = fb.arange(4).view(2, 2)
    shallow, [deep, row] = copy.copy(t), copy.deepcopy([t, t[0]])
    t.zero_()
    check(shallow, [[0, 0], [0, 0]])
    check(deep, [[0, 1], [2, 3]])
    row.fill_(9)
    check(deep, [[9, 9], [2, 3]])
    p = fb.ones(2, requires_grad=True)
    q = copy.deepcopy(p)
    assert q.requires_grad and q is not p
    with fb.no_grad():
        q.zero_()
    check(p.detach(), [1, 1])


def test_bitcast():
    t = fb.tensor([1.0, -1.0])
    check(t.view("int32"), np.array([1.0, -1.0], "f").view("i4"), "int32")
    check(t.bitcast(fb.uint32).bitcast(fb.float32), [1, -1])
    check(fb.tensor([True, False]).bitcast(fb.uint8), [1, 0], "uint8")
    with pytest.raises(ValueError, match="bitcast: expected a dtype of 4 bytes, got float64"):
        t.view(fb.float64)


def test_numpy_takes_our_dtypes():
    for ours in (fb.bool_, fb.int16, fb.float32, fb.complex128):
        assert np.dtype(ours) == ours.numpy and np.zeros(2, ours).dtype == ours.numpy
    with pytest.raises(AttributeError, match="dtype: expected a dtype of NumPy's, got bfloat16"):
        fb.bfloat16.dtype  # noqa: B018


def test_bfloat16_of_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    a = np.array([[1.5, -3e38], [np.nan, 1 / 3]], ml_dtypes.bfloat16)
    check(fb.tensor(a.T), a.T.astype(np.float32), "bfloat16", 0)
    check(fb.asarray(a) + 1, (a.astype(np.float32) + 1), "bfloat16", 1e-2)
    check(fb.tensor(a, "float64"), a.astype(np.float64), "float64")
