"""Shapes, joins, repeats and pads against NumPy; what is a view and what is not."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from cases import array, check, layouts
from flambeau.compiler.config import override
from flambeau.runtime import jit


def test_reshape_of_all_layouts():
    for t, a in layouts("float32"):
        check(t.reshape(-1), a.reshape(-1)) if a.size else None
        check(t.ravel(), a.ravel())
        check(t.flatten(), a.flatten())
        if a.shape == (4, 6):
            for shape in ((24,), (2, 12), (2, 2, 6), (3, 8), (1, 24, 1), (-1, 4)):
                check(t.reshape(shape), a.reshape(shape))
                check(t.reshape(*shape), a.reshape(shape))
        check(t.clone(), a)
        check(t.contiguous(), a)
        assert t.contiguous().is_contiguous()


def test_layout_reports_what_numpy_does():
    a = array("float64", (4, 6))
    t = fb.tensor(a)
    views = [(t, a), (t.t(), a.T), (t[1:], a[1:]), (t[:, 2], a[:, 2]), (t[::-1, ::2], a[::-1, ::2]),
             (t[1], a[1]), (t.reshape(2, 2, 6)[:, 1], a.reshape(2, 2, 6)[:, 1]),
             (t[1:3].reshape(-1), a[1:3].reshape(-1)), (t[:, None], a[:, None]),
             (t.t()[2].unsqueeze(0), a.T[2][None])]
    for u, b in views:
        strides = tuple(s // 8 for s in b.strides)
        offset = (b.__array_interface__["data"][0] - a.__array_interface__["data"][0]) // 8
        assert [s for s, e in zip(u.stride(), b.shape) if e != 1] == [
            s for s, e in zip(strides, b.shape) if e != 1]
        assert u.storage_offset() == offset
        assert u.is_contiguous() == b.flags.c_contiguous
        check(u, b)


def test_views_share_and_copies_do_not():
    def shares(make) -> bool:
        t = fb.arange(24).reshape(4, 6)
        base = fb.arange(24)
        t = base.view(4, 6)
        u = make(t)
        base.fill_(-1)
        return bool((u == -1).all())

    for make in (lambda t: t.view(2, 12), lambda t: t.t(), lambda t: t[1:3, ::2], lambda t: t[2],
                 lambda t: t.flip(0), lambda t: t.unsqueeze(1), lambda t: t.narrow(1, 2, 3),
                 lambda t: t.select(0, 1), lambda t: t.split(2)[1], lambda t: t.chunk(3, 1)[2],
                 lambda t: t.unbind(1)[0], lambda t: t[None, ..., 1], lambda t: t.expand(2, 4, 6),
                 lambda t: t.permute(1, 0)[1:], lambda t: t.reshape(24)[3:],
                 lambda t: t.unfold(1, 2, 3), lambda t: t.rot90(), lambda t: t.detach(),
                 lambda t: t.squeeze(), lambda t: t.T, lambda t: t.mT, lambda t: t.reshape(4, 2, 3),
                 lambda t: t.moveaxis(0, 1), lambda t: t.swapaxes(0, 1), lambda t: t.flatten()):
        assert shares(make)
    for make in (lambda t: t.clone(), lambda t: t.t().reshape(24), lambda t: t[[0, 1]],
                 lambda t: t + 0, lambda t: t.repeat(1, 1), lambda t: t.t().contiguous(),
                 lambda t: t.copy(), lambda t: t.unfold(1, 3, 1)):
        assert not shares(make)


def test_view_needs_a_layout():
    t = fb.arange(6).view(2, 3)
    with pytest.raises(ValueError, match=r"view: expected a layout that shows shape \(6,\)"):
        t.t().view(6)
    check(t.t().contiguous().view(6), [0, 3, 1, 4, 2, 5])
    check(t.view(3, 2).view_as(t), [[0, 1, 2], [3, 4, 5]])


def test_axes():
    a = array("float32", (2, 1, 3, 1))
    t = fb.tensor(a)
    check(t.squeeze(), a.squeeze())
    check(t.squeeze(1), a.squeeze(1))
    check(t.squeeze(0), a)
    check(t.unsqueeze(-1), a[..., None])
    check(fb.expand_dims(t, (0, 2)), np.expand_dims(a, (0, 2)))
    check(t.permute(2, 0, 1, 3), a.transpose(2, 0, 1, 3))
    check(t.transpose(0, 2), a.swapaxes(0, 2))
    check(fb.transpose(t), a.transpose())
    check(fb.transpose(t, (1, 0, 3, 2)), a.transpose(1, 0, 3, 2))
    check(fb.moveaxis(t, (0, 1), (2, 0)), np.moveaxis(a, (0, 1), (2, 0)))
    check(t.T, a.T)
    check(t.mT, a.swapaxes(-1, -2))
    check(fb.tensor([1, 2]).t(), [1, 2])
    check(t.unflatten(2, (3, -1)), a.reshape(2, 1, 3, 1, 1))
    check(fb.atleast_2d(fb.tensor(3.0)), [[3.0]])


def test_broadcasts():
    a = array("float32", (3, 1))
    t = fb.tensor(a)
    check(t.expand(2, -1, 4), np.broadcast_to(a, (2, 3, 4)))
    check(t.expand_as(fb.zeros(3, 5)), np.broadcast_to(a, (3, 5)))
    x, y = fb.broadcast_tensors(t, fb.arange(4))
    assert x.shape == y.shape == (3, 4)
    for indexing in ("xy", "ij"):
        expected = np.meshgrid([1, 2, 3], [4, 5], indexing=indexing)
        found = fb.meshgrid(fb.tensor([1, 2, 3]), fb.tensor([4, 5]), indexing=indexing)
        for f, e in zip(found, expected):
            check(f, e)


def test_splits():
    a = array("float32", (7, 4))
    t = fb.tensor(a)
    for found, expected in (
            (t.split(3), [a[:3], a[3:6], a[6:]]), (t.split([1, 6]), [a[:1], a[1:]]),
            (t.chunk(3), [a[:3], a[3:6], a[6:]]), (t.chunk(2, dim=1), [a[:, :2], a[:, 2:]]),
            (fb.array_split(t, 3), np.array_split(a, 3)),
            (fb.array_split(t, [2, 5], 0), np.array_split(a, [2, 5])), (t.unbind(), list(a))):
        assert len(found) == len(expected)
        for f, e in zip(found, expected):
            check(f, e)
    check(t.narrow(0, -3, 2), a[4:6])
    check(t.select(1, -1), a[:, -1])


def test_flips_rolls_rotations():
    a = array("float32", (3, 4, 2))
    t = fb.tensor(a)
    for axis in (None, 0, (0, 2), -1):
        check(t.flip(axis), np.flip(a, axis))
    check(fb.fliplr(t), np.fliplr(a))
    check(fb.flipud(t), np.flipud(a))
    for k in range(-1, 5):
        check(t.rot90(k), np.rot90(a, k))
        check(t.rot90(k, (1, 2)), np.rot90(a, k, (1, 2)))
    for shift, axis in ((1, None), (2, 0), (-1, 1), ((1, 2), (0, 1)), (7, 2)):
        check(t.roll(shift, axis), np.roll(a, shift, axis))


def test_diagonals():
    a = array("float32", (3, 5))
    t = fb.tensor(a)
    for k in range(-4, 7):
        check(t.diagonal(k), a.diagonal(k))
        check(fb.diag(t, k), np.diag(a, k))
        check(fb.diag(fb.tensor(a[0]), k), np.diag(a[0], k))
        check(t.tril(k), np.tril(a, k))
        check(t.triu(k), np.triu(a, k))
    b = array("float32", (2, 3, 4))
    check(fb.tensor(b).diagonal(1, 2, 1), b.diagonal(1, 2, 1))
    check(fb.trace(t), np.trace(a))
    check(fb.diag_embed(fb.tensor(b))[1, 2], np.diag(b[1, 2]))


def test_joins():
    a, b = array("float32", (2, 3)), array("float32", (4, 3), 5)
    t, u = fb.tensor(a), fb.tensor(b)
    check(fb.cat([t, u]), np.concatenate([a, b]))
    check(fb.concatenate([t, t], axis=1), np.concatenate([a, a], 1))
    check(fb.concat((t, u), None), np.concatenate((a, b), None))
    check(fb.cat([t, fb.zeros(0, 3)], dim=0), a)
    for axis in (0, 1, 2, -1):
        check(fb.stack([t, t], axis), np.stack([a, a], axis))
    check(fb.hstack([t, t]), np.hstack([a, a]))
    check(fb.vstack([t, u[0]]), np.vstack([a, b[0]]))
    check(fb.hstack([t[0], u[0]]), np.hstack([a[0], b[0]]))
    check(fb.dstack([t, t]), np.dstack([a, a]))


def test_repeats():
    a = array("float32", (2, 3))
    t = fb.tensor(a)
    for reps in ((2,), (2, 1), (3, 1, 2), (0, 1)):
        check(fb.tile(t, reps), np.tile(a, reps))
    check(t.repeat(2, 3), np.tile(a, (2, 3)))
    check(t.repeat_interleave(2), np.repeat(a, 2))
    check(t.repeat_interleave(3, dim=1), np.repeat(a, 3, 1))
    check(t.repeat_interleave([1, 2], 0), np.repeat(a, [1, 2], 0))


PROCESSORS = [{}, {"cpu": "x86-64-v3", "vector_bytes": 32}, {"cpu": "x86-64", "vector_bytes": 16}]


def processors():
    return PROCESSORS if jit.host_target().triple.startswith("x86_64") else PROCESSORS[:1]


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64"])
def test_copies_by_steps(dtype):
    """Every step that is read as one block, the first element of memory included."""
    a = np.arange(3 * 700).reshape(3, 700).astype(dtype)
    steps = [slice(None, None, -s) for s in (1, 2, 3, 8, 9)] + [slice(600, 3, -5), slice(1, 699, 5)]
    for flags in processors():
        with override(**flags):
            run = fb.compile(lambda t: [fb.copy(t[::-1, s]) for s in steps])
            for found, s in zip(run(fb.tensor(a)), steps):
                check(found, a[::-1, s])


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_repeats_of_many(dtype):
    a = np.arange(3 * 70).reshape(3, 70).astype(dtype)
    counts = (2, 3, 4, 8, 9)
    for flags in processors():
        with override(**flags):
            run = fb.compile(lambda t: [t.repeat_interleave(r, 1) for r in counts])
            for found, r in zip(run(fb.tensor(a)), counts):
                check(found, np.repeat(a, r, 1))


@pytest.mark.parametrize("k", [-3, 0, 2])
def test_large_diagonal_matrices(k):
    """They are filled and then written; what is calculated from them and views of them too."""
    a = np.arange(1.0, 61, dtype="float32")
    t = fb.tensor(a)
    check(fb.diag(t, k), np.diag(a, k))
    check(fb.diag(t + 1, k)[5:, ::2] * 2, np.diag(a + 1, k)[5:, ::2] * 2)
    check(fb.diag_embed(fb.stack([t, -t]), k), np.stack([np.diag(a, k), np.diag(-a, k)]))
    m = fb.diag(t, k)
    m[1] = 7
    m += 1
    expected = np.diag(a, k).copy()
    expected[1] = 7
    check(m, expected + 1)
    weight = fb.tensor(np.arange(m.numel(), dtype="float32").reshape(m.shape))
    check(fb.grad(lambda t: (fb.diag(t, k) * weight).sum())(t), weight.numpy().diagonal(k))
    check(fb.grad(lambda w: (fb.diagonal(w, k) * t).sum())(weight), np.diag(a, k))


def test_pads():
    a = array("float32", (3, 4))
    t = fb.tensor(a)
    check(fb.pad(t, (1, 2)), np.pad(a, ((0, 0), (1, 2))))
    check(fb.pad(t, (1, 2, 3, 0), value=7), np.pad(a, ((3, 0), (1, 2)), constant_values=7))
    check(fb.pad(t, [(1, 1), (0, 2)]), np.pad(a, [(1, 1), (0, 2)]))
    check(fb.pad(t, (-1, 1)), np.pad(a[:, 1:], ((0, 0), (0, 1))))
    for ours, numpys in (("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")):
        check(fb.pad(t, (2, 1, 1, 2), ours), np.pad(a, ((1, 2), (2, 1)), numpys), message=ours)
    check(fb.pad(fb.zeros(0, 2), (1, 1)), np.zeros((0, 4)))


def test_unfold():
    a = array("float32", (3, 10))
    t = fb.tensor(a)
    for size, step in ((2, 2), (3, 1), (4, 3), (5, 5), (2, 4), (10, 1), (1, 1)):
        expected = np.lib.stride_tricks.sliding_window_view(a, size, 1)[:, ::step]
        check(t.unfold(1, size, step), expected)
        expected = np.moveaxis(np.lib.stride_tricks.sliding_window_view(a.T, size, 0)[::step], 1, 1)
        check(t.t().unfold(0, size, step), expected)


def test_creation():
    check(fb.arange(5), np.arange(5), "int64")
    check(fb.arange(2, 9, 3), np.arange(2, 9, 3), "int64")
    check(fb.arange(5, 1, -2), np.arange(5, 1, -2))
    check(fb.arange(0, 1, 0.1), np.arange(0, 1, 0.1).astype("f"), "float32")
    check(fb.arange(3.0), np.arange(3.0), "float32")
    check(fb.range_(1, 4), [1, 2, 3, 4], "float32")
    for n in (0, 1, 2, 7):
        check(fb.linspace(-1, 2, n), np.linspace(-1, 2, n), "float32")
        check(fb.linspace(-1, 2, n, endpoint=False, dtype="float64"),
              np.linspace(-1, 2, n, endpoint=False))
    assert fb.linspace(0, 1).shape == (100,)
    check(fb.logspace(0, 2, 5, dtype="float64"), np.logspace(0, 2, 5), tolerance=1e-12)
    for args in ((3,), (3, 4), (3, 4, 1), (4, 3, -2)):
        check(fb.eye(*args), np.eye(*args), "float32")
        check(fb.tri(*args), np.tri(*args), "float32")
    check(fb.indices((2, 3)), np.indices((2, 3)))
    check(fb.full((2, 3), 7), np.full((2, 3), 7), "int64")
    check(fb.full(2, 1.5, dtype=fb.float64), np.full(2, 1.5), "float64")
    check(fb.full((2, 2), fb.tensor([1, 2])), [[1, 2], [1, 2]])
    for name in ("zeros", "ones", "empty"):
        t = getattr(fb, name)(2, 3)
        assert t.shape == getattr(fb, name)((2, 3)).shape == (2, 3)
        assert t.dtype is fb.float32
        assert getattr(fb, f"{name}_like")(t.long()).dtype is fb.int64
    check(fb.full_like(fb.zeros(2), 3), [3.0, 3.0], "float32")
    check(fb.Tensor(2, 3), np.zeros((2, 3)), "float32")
    check(fb.Tensor([1, 2]), [1.0, 2.0], "float32")
    t = fb.zeros(2, dtype=fb.float64)
    assert t.new_ones(3).dtype is fb.float64
    assert t.new_tensor([1]).dtype is fb.float64
    check(t.new_full((2,), 4), [4.0, 4.0])
    assert fb.zeros((), dtype=bool).item() is False
