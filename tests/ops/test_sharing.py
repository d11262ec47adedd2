"""Who shares what: Torch7's set, resize and Storage, and layouts against NumPy's strides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flambeau as fb
import numpy as np
import pytest
from cases import check


def layout(a: np.ndarray, whole: np.ndarray) -> tuple[tuple[int, ...], int]:
    """Strides and offset of a view in its array, in elements."""
    start = a.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return tuple(s // a.itemsize for s in a.strides), start // a.itemsize


def random_view(rng: np.random.Generator, a: np.ndarray) -> np.ndarray:
    v = a
    for _ in range(rng.integers(1, 4)):
        choice = rng.integers(4)
        if choice == 0 and v.ndim:
            v = v.transpose(rng.permutation(v.ndim))
        elif choice == 1 and v.ndim:
            v = v[tuple(slice(int(rng.integers(0, e)), None, int(rng.integers(1, 3)))
                        for e in v.shape)]
        elif choice == 2 and v.ndim > 1:
            v = v[int(rng.integers(0, v.shape[0]))]
        else:
            v = v[None]
    return v


def test_every_layout_of_numpys_views_is_a_view_of_ours() -> None:
    rng = np.random.default_rng(0)
    for trial in range(300):
        start = tuple(int(e) for e in rng.integers(1, 6, rng.integers(1, 4)))
        a = np.arange(int(np.prod(start))).reshape(start)
        v = random_view(rng, a)
        strides, offset = layout(v, a)
        t = fb.tensor(a)
        w = t.as_strided(v.shape, strides, offset)
        found, at = w._layout()
        held = np.lib.stride_tricks.as_strided(a.reshape(-1)[at:], v.shape,
                                               tuple(s * a.itemsize for s in found))
        assert np.array_equal(held, v) and w.storage() is t.storage()
        if trial % 30 == 0:
            w += 100
            v += 100
            check(t, a)


def test_layouts_that_are_refused() -> None:
    t = fb.arange(6)
    with pytest.raises(ValueError, match=r"as_strided: expected a layout inside a storage of 6"):
        t.as_strided((3,), (3,))
    with pytest.raises(ValueError, match=r"as_strided: expected strides whose axes lie inside"):
        t.as_strided((4, 2), (1, 1))
    with pytest.raises(ValueError, match=r"as_strided: expected a stride of 0 or more for each"):
        t.as_strided((2,), (-1,), 3)
    repeated = t.as_strided((3, 2), (0, 1), 2)
    assert repeated.tolist() == [[2, 3]] * 3
    with pytest.raises(ValueError, match="elements share memory"):
        repeated += 1
    assert t.as_strided((0, 2), (2, 1)).shape == (0, 2)
    assert t.as_strided((), (), 4).item() == 4


def test_resize_walks_the_storage() -> None:
    x = fb.arange(12).view(3, 4)
    y = x.t().resize_(2, 2)  # the storage's order, not the transposed one
    assert y.tolist() == [[0, 1], [2, 3]] and y.storage() is x.storage()
    y.fill_(9)
    assert x[0].tolist() == [9] * 4
    part = x[1:].resize_(4)
    assert part.tolist() == [4, 5, 6, 7] and part.storage_offset() == 4
    longer = x[2:].resize_(2, 3)  # eight more are not there
    assert longer.tolist() == [[8, 9, 10], [11, 0, 0]] and longer.storage() is not x.storage()
    assert x.resize_(3, 4) is x and x.resize_as_(y).shape == (2, 2)
    assert x.is_size(2, 2) and not x.is_size((4,))
    empty = fb.Tensor()
    assert empty.resize_(2).tolist() == [0, 0]
    with pytest.raises(RuntimeError, match="resize_: expected a tensor without gradients"):
        fb.ones(3, requires_grad=True).resize_(2)


def test_set_looks_at_a_storage() -> None:
    s = fb.Storage([1.0, 2, 3, 4, 5, 6])
    t = fb.Tensor().set_(s, 1, (2, 2))
    assert t.tolist() == [[2, 3], [4, 5]] and t.is_set_to(s.tensor()[1:5].view(2, 2))
    t.fill_(0)
    assert s.tolist() == [1, 0, 0, 0, 0, 6]
    columns = fb.Tensor().set_(s, 0, (3, 2), (1, 3))
    assert columns.stride() == (1, 3) and columns[0].tolist() == [1, 0]
    assert fb.Tensor().set_(s, 4).tolist() == [0, 6]
    with pytest.raises(ValueError, match=r"set_: expected a layout inside a storage of 6 elements"):
        t.set_(s, 5, (2,))


def test_storage_vocabulary() -> None:
    s = fb.Storage(4, dtype=fb.int32)
    assert len(s) == 4 and s.dtype is fb.int32 and s.element_size() == 4 and s.nbytes == 16
    t = s.tensor().view(2, 2)
    s.fill(3)
    s[1] = 7
    assert t.tolist() == [[3, 7], [3, 3]] and s[1] == 7 and s[1:3] == [7, 3]
    s.copy(fb.Storage([1.9, 2, 3, 4]))
    assert s.totable() == [1, 2, 3, 4] and s.numpy().dtype == np.int32
    assert s.double().dtype is fb.float64 and s.to("uint8").tolist() == [1, 2, 3, 4]
    assert s.resized(6).tolist() == [1, 2, 3, 4, 0, 0] and s.resized(2).tolist() == [1, 2]
    with pytest.raises(ValueError, match="copy: expected 4 elements, got 3"):
        s.copy([1, 2, 3])
    raw = fb.Storage(5, dtype=fb.uint8).string("abc")
    assert raw.string() == "abc\0\0" and raw.tolist()[:3] == [97, 98, 99]
    with pytest.raises(ValueError, match="string: expected at most 5 bytes, got 6"):
        raw.string("abcdef")
    with pytest.raises(TypeError, match="string: expected a storage of int8 or uint8, got int32"):
        s.string()
    assert s.data_ptr() == s.numpy().__array_interface__["data"][0]


def test_a_storage_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    np.arange(4, dtype="f").tofile(path)
    private = fb.map_storage(path)
    private.fill(7)
    assert np.fromfile(path, "f").tolist() == [0, 1, 2, 3] and private.tolist() == [7] * 4
    shared = fb.map_storage(path, shared=True, size=6)
    shared[4] = 5
    del shared
    assert np.fromfile(path, "f").tolist() == [0, 1, 2, 3, 5, 0]
    with pytest.raises(ValueError, match="map_storage: expected a file of 9 elements of float32"):
        fb.map_storage(path, size=9)
    (tmp_path / "empty").touch()
    assert len(fb.map_storage(tmp_path / "empty")) == 0


def test_sharing_survives_compiled_functions() -> None:
    state = fb.zeros(6)
    view = state.as_strided((2, 2), (3, 1), 1)

    @fb.compile
    def bump(x: Any) -> Any:
        view.add_(x)
        return state.sum()

    for i in range(3):
        assert bump(fb.ones(2, 2)).item() == 4 * (i + 1)
    assert state.tolist() == [0, 3, 3, 0, 3, 3]
