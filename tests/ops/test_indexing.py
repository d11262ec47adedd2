"""Indexing against NumPy: examples, and random programs of views, reads and writes."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from cases import array, check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

I = np.array
INDICES = [
    0, -1, slice(None), slice(1, 3), slice(None, None, -1), slice(3, None, -2), slice(5, 2),
    (0, 1), (0, slice(None), 2), (slice(None), 1), (..., 0), (0, ...), (None, 0), (0, None, ..., 1),
    (slice(1, 2), None, slice(None, None, 2)), Ellipsis, None, (), (..., None),
    I([0, 2]), [0, 2], [-1, 0], I([[0, 1], [2, -1]]), (I([0, 1]), I([1, 2])),
    (I([0, 1]), slice(None), I([1, 2])), (slice(None), I([0, 2]), I([1, 1])),
    (slice(None), I([[0], [2]]), I([1, 3])), (0, I([0, 1])), (0, slice(None), I([0, 1])),
    (I([0, 1]), 1), (I([0, 1]), slice(1, None), 2), (None, I([0, 1])),
    (I([0]), None, I([1])), (I(1), 0), (slice(None, None, 2), [1, 0]), (..., I([2, 0])),
    (I([0, 1]), ..., I([1, 2])), I([], np.int64), [], (slice(None), [], 0),
    (I([0, 1]), slice(3, 3)),
]


def _ours(index):
    """Arrays in an index become tensors."""
    if isinstance(index, tuple):
        return tuple(_ours(i) for i in index)
    return fb.tensor(index) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_get_and_set(index):
    a = array("float32", (3, 4, 5))
    t = fb.tensor(a)
    expected = a[index]
    check(t[index], expected, message="NumPy index")
    check(t[_ours(index)], expected, message="tensor index")
    check(t.permute(2, 0, 1)[_ours(index)] if _fits(index, (5, 3, 4)) else t[index],
          a.transpose(2, 0, 1)[index] if _fits(index, (5, 3, 4)) else expected)
    for value in (7.0, array("float32", expected.shape, 9),
                  array("float32", expected.shape[-1:], 8)):
        if np.ndim(value) and np.shape(value) != expected.shape and not expected.ndim:
            continue
        b, u = a.copy(), fb.tensor(a)
        b[index] = value
        u[_ours(index)] = fb.tensor(value) if isinstance(value, np.ndarray) else value
        check(u, b)
    b, u = a.copy(), fb.tensor(a)
    b[index] += 2
    u[_ours(index)] += 2
    check(u, b)


def _fits(index, shape) -> bool:
    try:
        np.zeros(shape)[index]
    except IndexError:
        return False
    return True


def test_masks():
    a = array("float32", (3, 4))
    for mask in (a > 0, a[:, 0] > 0, np.zeros((3, 4), bool), np.ones(3, bool)):
        t, m = fb.tensor(a), fb.tensor(mask)
        check(t[m], a[mask])
        check(t[mask], a[mask])
        b = a.copy()
        b[mask] = 5
        t[m] = 5
        check(t, b)
        rows = array("float32", a[mask].shape, 3)
        b[mask] = rows
        t[m] = fb.tensor(rows)
        check(t, b)
        b[mask] *= 2
        t[m] *= 2
        check(t, b)
    column = np.array([True, False, True, True])
    check(fb.tensor(a)[:, column], a[:, column])
    check(fb.tensor(a)[1:, fb.tensor(column)], a[1:, column])
    check(fb.tensor(a)[..., column], a[..., column])
    check(fb.masked_select(fb.tensor(a), fb.tensor(column)), a[:, column].ravel())
    check(fb.masked_fill(fb.tensor(a), fb.tensor(column), -1), np.where(column, -1, a))
    check(fb.masked_scatter(fb.tensor(a), fb.tensor(a > 0), fb.arange(12)),
          _masked_scatter(a, a > 0))
    check(fb.nonzero(fb.tensor(a) > 0), np.argwhere(a > 0), "int64")
    for f, e in zip(fb.where(fb.tensor(a) > 0), np.where(a > 0)):
        check(f, e)
    check(fb.flatnonzero(fb.tensor(a) > 0), np.flatnonzero(a > 0))
    check(fb.flatnonzero(fb.tensor(a)), np.flatnonzero(a))


def test_nonzero_and_compress_count_a_mask():
    a = np.array([[0.0, np.nan, -0.0], [np.inf, 0.0, -1e-45]], "float32")
    cube = np.stack([a, a[::-1], np.zeros_like(a), a[:, ::-1]])
    for x in (a, cube, cube.astype("float16"), np.zeros((0, 3)), cube[:, 0, ::2] > 0):
        check(fb.nonzero(fb.tensor(x)), np.argwhere(x), "int64")
        for f, e in zip(fb.nonzero(fb.tensor(x), as_tuple=True), np.nonzero(x)):
            check(f, e)
    for condition, x, axis in (([1, 0, 1], a, None), ([True] * 6, a, None), ([0, 2], a, 0),
                               ([0.0, np.nan], cube, 1), ([], a, 0), ([1, 0, 0, 0, 0, 0, 0], a, 0)):
        check(fb.compress(condition, fb.tensor(x), axis), np.compress(condition, x, axis))
    with pytest.raises(IndexError):
        fb.compress([0, 0, 1], fb.tensor(a), 0)
    found = fb.nonzero(fb.tensor(a), as_tuple=True)[0]
    kept = found.numpy().copy()
    found += 1  # the memory that NumPy made is the tensor's own
    assert (found.numpy() == kept + 1).all()


def _masked_scatter(a, mask):
    b = a.copy()
    b[mask] = np.arange(mask.sum())
    return b


def test_gather_family():
    a = array("float32", (4, 5))
    t = fb.tensor(a)
    index = np.array([[0, 2, -1], [1, 1, 3]])
    check(fb.take(t, index), a.take(index))
    check(fb.take(t, index, 0), a.take(index, 0))
    check(t.take(index, axis=1), a.take(index, 1))
    check(t.index_select(1, fb.tensor([0, -1])), a[:, [0, -1]])
    for axis in (0, 1):
        i = np.random.default_rng(0).integers(0, 4, (3, 5) if axis == 0 else (4, 3))
        check(t.gather(axis, fb.tensor(i)), np.take_along_axis(a, i, axis))
        check(fb.take_along_axis(t, i, axis), np.take_along_axis(a, i, axis))
        v = array("float32", i.shape, 5)
        b = a.copy()
        np.put_along_axis(b, i[:1] if axis == 0 else i[:, :1], v[:1] if axis == 0 else v[:, :1],
                          axis)
        first = fb.tensor(i[:1] if axis == 0 else i[:, :1])
        check(t.scatter(axis, first, fb.tensor(v)), b)
        b = a.copy()
        where = np.indices(i.shape)
        np.add.at(b, (i, where[1]) if axis == 0 else (where[0], i), v)
        check(t.scatter_add(axis, fb.tensor(i), fb.tensor(v)), b, tolerance=1e-5)
        b = a.copy()
        np.maximum.at(b, (i, where[1]) if axis == 0 else (where[0], i), v)
        check(t.scatter(axis, fb.tensor(i), fb.tensor(v), reduce="amax"), b)
        b = a.copy()
        np.multiply.at(b, (i, where[1]) if axis == 0 else (where[0], i), v)
        check(t.scatter(axis, fb.tensor(i), fb.tensor(v), reduce="prod"), b, tolerance=1e-5)
    rows = array("float32", (3, 5), 6)
    i = np.array([1, 3, 1])
    b = a.copy()
    np.add.at(b, i, 2 * rows)
    check(t.index_add(0, i, fb.tensor(rows), alpha=2), b, tolerance=1e-5)
    b = a.copy()
    b[:, [0, 2]] = 1.5
    check(t.index_fill(1, fb.tensor([0, 2]), 1.5), b)
    b[:, [0, 2]] = rows[:, :2].sum()
    b = a.copy()
    b[[0, 2]] = rows[:2]
    check(t.index_copy(0, fb.tensor([0, 2]), fb.tensor(rows[:2])), b)
    u = fb.tensor(a)
    u.index_add_(0, fb.tensor([1, 1]), fb.ones(2, 5)).scatter_(1, fb.tensor([[0]]), 9.0)
    b = a.copy()
    b[1] += 2
    b[0, 0] = 9
    check(u, b)


def test_small_ones():
    check(fb.one_hot(fb.tensor([0, 2, 1])), np.eye(3)[[0, 2, 1]], "int64")
    check(fb.one_hot(fb.tensor([[1]]), 3, dtype=fb.float32), [[[0, 1, 0]]], "float32")
    check(fb.bincount(fb.tensor([0, 1, 1, 3])), [1, 2, 0, 1])
    check(fb.bincount(fb.tensor([1]), minlength=4), [0, 1, 0, 0])
    a = array("float32", (4, 5))
    check(fb.tensor(a)[fb.ix_([0, 2], [1, 3])], a[np.ix_([0, 2], [1, 3])])


def test_repeated_places_in_a_write():
    t = fb.zeros(3)
    t[fb.tensor([1, 1, 1])] = fb.tensor([1.0, 2.0, 3.0])
    check(t, [0, 3, 0])
    t[fb.tensor([0, 0])] += 1  # as in NumPy: once
    check(t, [1, 3, 0])


def test_writes_see_the_old_values():
    a = np.arange(6.0, dtype="f")
    t = fb.tensor(a)
    t[1:] = t[:-1]
    check(t, [0, 0, 1, 2, 3, 4])
    t[:] = t.flip(0)
    check(t, [4, 3, 2, 1, 0, 0])


# -- random programs -----------------------------------------------------------------------------

_SLICES = st.builds(slice, st.one_of(st.none(), st.integers(-6, 6)),
                    st.one_of(st.none(), st.integers(-6, 6)),
                    st.one_of(st.none(), st.sampled_from([-3, -2, -1, 1, 2, 3])))


@st.composite
def _index(draw, shape):
    """An index that fits a shape: ints, slices, None, Ellipsis and up to two arrays."""
    parts, arrays = [], draw(st.integers(0, 2))
    for extent in shape[:draw(st.integers(0, len(shape)))]:
        if draw(st.integers(0, 6)) == 0:
            parts.append(None)
        kind = draw(st.integers(0, 3))
        if kind == 0 and extent:
            parts.append(draw(st.integers(-extent, extent - 1)))
        elif kind == 1 and extent and arrays:
            arrays -= 1
            parts.append(np.array(draw(st.lists(st.integers(-extent, extent - 1), min_size=2,
                                                max_size=2))))
        else:
            parts.append(draw(_SLICES))
    if draw(st.booleans()):
        parts.append(Ellipsis)
    return tuple(parts)


@settings(max_examples=150, deadline=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_reads_and_writes(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    a = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    t = fb.tensor(a)
    for step in range(data.draw(st.integers(1, 3))):
        index = data.draw(_index(shape))
        expected = a[index]
        check(t[_ours(index)], expected)
        kind = data.draw(st.integers(0, 2))
        if kind == 0:
            a[index] = -step
            t[_ours(index)] = -step
        elif kind == 1:
            value = np.random.default_rng(step).uniform(size=expected.shape)
            if _repeats(index):
                continue
            a[index] = value
            t[_ours(index)] = value
        else:
            a[index] += 10
            t[_ours(index)] += 10
        check(t, a)


def _repeats(index) -> bool:
    """Do index arrays name a place twice? NumPy does not say who wins."""
    arrays = [i for i in index if isinstance(i, np.ndarray)]
    return bool(arrays) and len({tuple(int(x) for x in row) for row in zip(*arrays)}) < 2


@st.composite
def _chain(draw, shape):
    """A chain of view steps as (name, argument), and the functions for both libraries."""
    steps = []
    for _ in range(draw(st.integers(1, 5))):
        steps.append((draw(st.sampled_from(["index", "permute", "reshape", "flip"])),
                      draw(st.integers(0, 10_000))))
    return steps


def _step(name, seed, a):
    """A random view step of an array: a function that works on both kinds."""
    rng = np.random.default_rng(seed)
    if name == "permute":
        order = tuple(int(i) for i in rng.permutation(a.ndim))
        return lambda x: x.transpose(order) if isinstance(x, np.ndarray) else x.permute(order)
    if name == "flip" and a.ndim:
        axis = int(rng.integers(a.ndim))
        return lambda x: np.flip(x, axis) if isinstance(x, np.ndarray) else x.flip(axis)
    if name == "reshape":
        shapes = [(-1,), (1, *a.shape), (*a.shape, 1), tuple(e for e in a.shape if e != 1)]
        if a.ndim > 1:
            shapes.append((a.shape[0] * a.shape[1], *a.shape[2:]))
        if a.ndim and a.shape[0] % 2 == 0 and a.shape[0]:
            shapes.append((2, a.shape[0] // 2, *a.shape[1:]))
        shape = shapes[rng.integers(len(shapes))]
        try:
            b = a.view()
            b.shape = tuple(a.size if e == -1 else e for e in shape)
        except AttributeError:
            return None  # NumPy would copy
        return lambda x: x.reshape(shape) if x.size else x
    parts = []
    for extent in a.shape:
        if rng.integers(3) == 0 and extent:
            parts.append(int(rng.integers(extent)))
        else:
            step = int(rng.choice([-2, -1, 1, 2]))
            parts.append(slice(None, None, step))
    return lambda x: x[tuple(parts)]


@settings(max_examples=200, deadline=None, derandomize=True,
          suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_chains_of_views(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    a = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    t = fb.tensor(a)
    view, ours = a, t
    for name, seed in data.draw(_chain(shape)):
        step = _step(name, seed, view)
        if step is None:
            continue
        view, ours = step(view), step(ours)
        if not isinstance(view, np.ndarray):
            view = np.asarray(view)
            return
        check(ours, view)
        assert ours._storage is t._storage
    value = np.random.default_rng(0).uniform(size=view.shape)
    view[...] = value
    ours[...] = value
    check(t, a)
    view *= 2
    ours *= 2
    check(t, a)
    check(ours, view)


@pytest.mark.parametrize("index", [
    (True,), (False,), (..., True), (0, True), (True, 0), (slice(None), False, slice(1, 3)),
    (..., True, 0), (True, ..., 0), (None, True), (0, ..., False, slice(None, 2)), (True, None, 1)])
def test_one_bool_is_a_new_axis(index: tuple) -> None:
    a = np.arange(24).reshape(2, 3, 4)
    as_tensors = tuple(fb.tensor(p) if isinstance(p, bool) else p for p in index)
    for entries in (index, as_tensors):
        t = fb.tensor(a)
        check(t[entries], a[index])
        t[entries] = 7
        b = a.copy()
        b[index] = 7
        check(t, b)


def test_an_empty_mask_selects_nothing_of_any_extent() -> None:
    a = np.arange(12.0).reshape(3, 4)
    for mask in (np.zeros((0, 4), bool), np.zeros((3, 0), bool), np.zeros(0, bool)):
        assert fb.tensor(a)[fb.tensor(mask)].shape == a[mask].shape
        t = fb.tensor(a)
        t[fb.tensor(mask)] = 5
        assert np.array_equal(t.numpy(), a)
    with pytest.raises(IndexError, match="expected a mask of shape"):
        fb.tensor(a)[fb.tensor(np.zeros((0, 3), bool))]
