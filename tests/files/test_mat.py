"""MATLAB's files against SciPy's reader and writer, and version 7.3 as h5py lays it out."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import flambeau as fb
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from flambeau.compiler import dtype as dt
from flambeau.files import FileError

rng = np.random.default_rng(0)
HAS_COMPLEX = any(d.name == "complex128" for d in dt.DTYPES)


def theirs(**options: Any) -> dict[str, Any]:
    """Variables of every kind, as NumPy and SciPy hold them."""
    return {
        "double": rng.standard_normal((2, 3)), "single": np.ones((1, 4), np.float32),
        "cube": np.arange(24, dtype=np.int16).reshape(2, 3, 4), "empty": np.zeros((0, 3)),
        **{np.dtype(k).name: np.array([[1, 2], [3, 100]], k)
           for k in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")},
        "logical": np.array([[True, False]]), "text": "häl\U0001F600o", "none": "",
        "rows": np.array(["abc", "def"]), "wide": np.array([[1e300, -0.0, np.inf]]),
        "cells": np.array([[np.ones((1, 2)), "x"], [np.zeros((0, 0)), np.arange(2)]], object),
        "struct": {"a": 1.0, "b": "text", "c": {"d": np.eye(2)}}}


def check(found: Any, want: Any) -> None:
    """Our value against what SciPy was given."""
    if isinstance(want, str):
        assert found == want
    elif isinstance(want, dict):
        assert set(found) == set(want)
        for key, value in want.items():
            check(found[key], value)
    elif isinstance(want, np.ndarray) and want.dtype.kind == "U":
        assert found == want.tolist()
    elif isinstance(want, np.ndarray) and want.dtype == object:
        rows = [found] if want.shape[0] == 1 else found
        for row, wanted in zip(rows, want, strict=True):
            for a, b in zip(row, wanted, strict=True):
                check(a, b)
    else:
        array = np.atleast_2d(want)
        assert found.dtype.name == array.dtype.name and found.shape == array.shape
        np.testing.assert_array_equal(found.numpy(), array)


@pytest.mark.parametrize("compress", [False, True])
def test_scipys_version_5(compress: bool, tmp_path: Path) -> None:
    given = theirs()
    scipy.io.savemat(tmp_path / "x.mat", given, do_compression=compress)
    found = fb.mat.load(tmp_path / "x.mat")
    assert list(found) == list(given)
    for name, want in given.items():
        check(found[name], want)
    assert list(fb.mat.load(tmp_path / "x.mat", names=["text", "int8"])) == ["int8", "text"]


def test_scipys_version_4(tmp_path: Path) -> None:
    given = {"double": rng.standard_normal((2, 3)), "single": np.ones((1, 4), np.float32),
             "i": np.array([[1, -2]], np.int32), "text": "hello", "rows": np.array(["ab", "cd"])}
    scipy.io.savemat(tmp_path / "x.mat", given, format="4")
    found = fb.mat.load(tmp_path / "x.mat")
    for name, want in given.items():
        check(found[name], want)


@pytest.mark.parametrize("form", ["4", "5"])
def test_sparse(form: str, tmp_path: Path) -> None:
    full = np.array([[0, 1.5, 0], [2, 0, 0]])
    scipy.io.savemat(tmp_path / "x.mat", {"s": scipy.sparse.csc_matrix(full)}, format=form)
    with pytest.raises(FileError, match=r"expected full matrices, or dense=True, got a sparse one"):
        fb.mat.load(tmp_path / "x.mat")
    assert fb.mat.load(tmp_path / "x.mat", dense=True)["s"].tolist() == full.tolist()


@pytest.mark.parametrize("form", ["4", "5"])
def test_complex(form: str, tmp_path: Path) -> None:
    given = rng.standard_normal((2, 3)) + 1j * rng.standard_normal((2, 3))
    scipy.io.savemat(tmp_path / "x.mat", {"c": given}, format=form)
    if not HAS_COMPLEX:
        with pytest.raises(FileError, match="expected real numbers, for there is no complex dtype"):
            fb.mat.load(tmp_path / "x.mat")
        return
    found = fb.mat.load(tmp_path / "x.mat")
    assert np.array_equal(found["c"].numpy(), given)
    fb.mat.save(tmp_path / "y.mat", found)
    assert np.array_equal(scipy.io.loadmat(tmp_path / "y.mat")["c"], given)


@pytest.mark.parametrize("compress", [False, True])
def test_scipy_reads_ours(compress: bool, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        d.name: fb.tensor(np.arange(6).reshape(2, 3) % 2).to(d) for d in dt.DTYPES
        if d.name not in ("float16", "bfloat16") and d.kind != "c"}
    given |= {"column": fb.arange(3), "point": fb.tensor(2.5),
              "cube": fb.arange(24).reshape(2, 3, 4),
              "turned": fb.arange(6).reshape(2, 3).t(), "empty": fb.zeros(0, 3), "n": 3, "b": True,
              "text": "äß", "no": "", "cells": [1, "two", fb.ones(2)],
              "s": {"a": 1, "b": {"c": "d"}}, "none": None}
    fb.mat.save(tmp_path / "x.mat", given, compress)
    found = scipy.io.loadmat(tmp_path / "x.mat")
    for d in ("bool", "int8", "uint64", "float32"):
        assert np.array_equal(found[d], given[d].numpy())
        assert found[d].dtype == ("uint8" if d == "bool" else d)  # SciPy's logical
    assert found["column"].shape == (3, 1) and found["point"].tolist() == [[2.5]]
    assert np.array_equal(found["cube"], given["cube"].numpy())
    assert found["turned"].tolist() == given["turned"].tolist()
    assert found["text"].tolist() == ["äß"] and found["n"].tolist() == [[3]]
    assert found["cells"].shape == (1, 3) and found["cells"][0, 1].tolist() == ["two"]
    assert found["s"]["b"][0, 0]["c"][0, 0].tolist() == ["d"] and found["none"].shape == (0, 0)
    again = fb.mat.load(tmp_path / "x.mat", squeeze=True)
    assert again["bool"].dtype is fb.bool_ and again["cells"][0].tolist() == 1
    assert again["column"].shape == (3,) and again["s"]["b"] == {"c": "d"} and again["no"] == ""

def test_text_beyond_16_bits(tmp_path: Path) -> None:
    """Two characters to MATLAB, whose are 16 bits wide."""
    fb.mat.save(tmp_path / "x.mat", {"x": "a\U0001F600"})
    assert fb.mat.load(tmp_path / "x.mat") == {"x": "a\U0001F600"}


def test_one_tensor_and_ascii(tmp_path: Path) -> None:
    fb.save(fb.ones(2, 2), tmp_path / "x.mat")
    assert fb.load(tmp_path / "x.mat")["x"].tolist() == [[1, 1], [1, 1]]
    fb.mat.save_table(tmp_path / "y.mat", {"a": fb.ones(1), "b": fb.ones(2)})
    assert [x.shape for x in fb.mat.load(tmp_path / "y.mat").values()] == [(1, 1), (2, 1)]
    fb.mat.save_ascii(tmp_path / "x.txt", fb.tensor([[1.5, 2], [0.1, 4]], dtype=fb.float64))
    assert np.loadtxt(tmp_path / "x.txt").tolist() == [[1.5, 2], [0.1, 4]]


def test_what_cannot_be_saved() -> None:
    for x, text in (({"a": fb.ones(1, dtype=fb.float16)}, "mat.save: a: expected a dtype that"),
                    ({"a": [1, {"b": {1, 2}}]}, r"mat.save: a\{2\}.b: expected tensors, numbers")):
        with pytest.raises(TypeError, match=text):
            fb.mat.save(io.BytesIO(), x)
    for x in ({"1a": 1}, {"a": {"b c": 1}}, {"a" * 64: 1}):
        with pytest.raises(ValueError, match="of up to 63 letters, digits and _ that begins with"):
            fb.mat.save(io.BytesIO(), x)
    with pytest.raises(ValueError, match="save_ascii: expected real numbers of up to two axes"):
        fb.mat.save_ascii(io.BytesIO(), fb.ones(1, 1, 1))


def v5(*variables: bytes) -> bytes:
    return b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"".join(variables)


def variable(x: Any) -> bytes:
    out = io.BytesIO()
    fb.mat.save(out, {"x": x})
    return out.getvalue()[128:]


def test_a_bomb_and_damage() -> None:
    out = io.BytesIO()
    fb.mat.save(out, {"x": fb.zeros(80 << 20, dtype=fb.uint8)}, compress=True)
    with pytest.raises(FileError, match=r"expected at most \d+ bytes once inflated \(limit=\)"):
        fb.mat.load(out.getvalue())
    good = variable(fb.ones(2, 2))
    for data, text in (
            (b"", "expected a .mat file, got an empty one"),
            (b"abc", "expected 4 bytes of a type, got 3"),
            (b"\x87\x13\0\0" + bytes(30), "byte 0: expected a .mat file, got type 4999"),
            (v5(good, good), "expected each name once, got 'x' twice"),
            (v5(good[:30]), "bytes of an "),
            (v5(b"\x01\0\0\0\x04\0\0\0abcdabcd"), "expected a matrix, got an element of type 1"),
            (v5(b"\x0f\0\0\0\x04\0\0\0abcd"), "expected compressed data"),
            (v5(good.replace(b"\x05\0\0\0\x08\0\0\0\x02", b"\x05\0\0\0\x08\0\0\0\x03")),
             "expected 6 elements"),
            (v5(good.replace(b"\x06\0\0\0\x08\0\0\0\x07", b"\x06\0\0\0\x08\0\0\0\x10")),
             "expected numbers, text, cells or structs, got a function, which is code")):
        with pytest.raises(FileError, match=text):
            fb.mat.load(data)
    x: Any = 1
    for _ in range(120):
        x = [x]
    with pytest.raises(FileError, match="expected cells and structs nested up to 100 deep"):
        fb.mat.load(v5(variable(x)))


# -- version 7.3 -----------------------------------------------------------------------------------


def hdf5(path: Path, fill: Any) -> Path:
    """A file as MATLAB lays it out: a block of 512 bytes, then HDF5 with attributes."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")

        def put(where: Any, name: str, data: Any, kind: str, **attrs: Any) -> Any:
            made = where.create_dataset(name, data=data)
            made.attrs["MATLAB_class"] = np.bytes_(kind)
            for key, value in attrs.items():
                made.attrs[key] = value
            return made

        fill(file, refs, put, h5py)
    data = path.read_bytes()
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + data[128:])
    return path


def fill(file: Any, refs: Any, put: Any, h5py: Any) -> None:
    put(file, "a", np.arange(6.0).reshape(2, 3).T, "double")
    put(file, "t", np.array([[ord(c)] for c in "hey"], "u2"), "char", MATLAB_int_decode=2)
    put(file, "b", np.array([[1], [0]], "u1"), "logical", MATLAB_int_decode=1)
    put(file, "e", np.array([0, 3], "u8"), "double", MATLAB_empty=1)
    one = put(refs, "one", np.array([[7]], "i4"), "int32")
    two = put(refs, "two", np.array([[ord("x")]], "u2"), "char")
    put(file, "c", np.array([[one.ref], [two.ref]], h5py.ref_dtype), "cell")
    struct = file.create_group("s")
    struct.attrs["MATLAB_class"] = np.bytes_("struct")
    put(struct, "f", np.array([[2.5]]), "double")
    several = file.create_group("many")
    several.attrs["MATLAB_class"] = np.bytes_("struct")
    several.create_dataset("f", data=np.array([[one.ref], [two.ref]], h5py.ref_dtype))
    sparse = file.create_group("sp")
    sparse.attrs["MATLAB_class"], sparse.attrs["MATLAB_sparse"] = np.bytes_("double"), 2
    for name, data in (("ir", [1, 0]), ("jc", [0, 1, 2, 2]), ("data", [2.0, 1.5])):
        sparse.create_dataset(name, data=data)


def test_version_7_3(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "x.mat", fill)
    found = fb.mat.load(path, dense=True)
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["a"].dtype is fb.float64
    assert found["t"] == "hey" and found["b"].tolist() == [[True, False]]
    assert found["e"].shape == (0, 3) and found["s"]["f"].tolist() == [[2.5]]
    assert found["c"][0].tolist() == [[7]] and found["c"][1] == "x"
    assert [type(x["f"]).__name__ for x in found["many"]] == ["Tensor", "str"]
    assert found["sp"].tolist() == [[0, 1.5, 0], [2, 0, 0]]
    assert list(fb.mat.load(path.read_bytes(), names=["t"])) == ["t"]
    with pytest.raises(FileError, match="expected full matrices, or dense=True"):
        fb.mat.load(path)


def test_version_7_3_reads_no_other_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"12345678")

    def linked(file: Any, refs: Any, put: Any, h5py: Any) -> None:
        file["x"] = h5py.ExternalLink(str(secret), "/a")

    def outside(file: Any, refs: Any, put: Any, h5py: Any) -> None:
        made = file.create_dataset("x", (1, 1), "f8", external=[(str(secret), 0, 8)])
        made.attrs["MATLAB_class"] = np.bytes_("double")

    def absurd(file: Any, refs: Any, put: Any, h5py: Any) -> None:
        made = file.create_dataset("x", (1 << 40, 1), "f8", chunks=(1024, 1))
        made.attrs["MATLAB_class"] = np.bytes_("double")

    for case, text in ((linked, "a link 'x', which is not followed"),
                       (outside, "a data set in another file"), (absurd, "more data than allowed")):
        path = hdf5(tmp_path / "x.mat", case)
        with pytest.raises(FileError, match=f"expected a file of version 7.3 that HDF5 .*{text}"):
            fb.mat.load(path)


def test_a_damaged_file_of_version_7_3(tmp_path: Path) -> None:
    data = hdf5(tmp_path / "x.mat", fill).read_bytes()
    with pytest.raises(FileError, match=r"expected a file of version 7.3 that HDF5 reads, got O"):
        fb.mat.load(data[:700])


VALUES = {"a": np.arange(6.0).reshape(2, 3), "f": np.float32([[1.5, -2]]),
          "i": np.int32([[1], [2]]), "c": np.array([[1 + 2j, 3]]), "b": np.array([[True, False]]),
          "s": "hello", "e": np.zeros((0, 3)), "u": np.uint8([[7]])}


@pytest.mark.parametrize("version", [4, "7.3"])
def test_written_versions_are_read(version: Any, tmp_path: Path) -> None:
    if version == "7.3":
        pytest.importorskip("h5py")
    path = tmp_path / "x.mat"
    fb.mat.save(path, {**VALUES, "n": None, "t": fb.tensor([1.0, 2.0])}, version=version)
    found = fb.mat.load(path)
    for name, value in VALUES.items():
        got = found[name] if isinstance(value, str) else found[name].numpy()
        np.testing.assert_array_equal(got, value)
        if not isinstance(value, str) and version == "7.3":
            assert got.dtype == value.dtype, name
    assert found["n"].shape == (0, 0) and found["t"].tolist() == [[1], [2]]
    if version == 4:
        theirs = scipy.io.loadmat(path)
        for name, value in VALUES.items():
            np.testing.assert_array_equal(theirs[name], [value] if name == "s" else value)


def test_nested_values_in_version_7_3(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "x.mat"
    value = {"m": fb.ones(2, 2), "deep": {"text": "a\u03bb", "cells": [1.0, "two", [fb.zeros(1)]]},
             "none": []}
    fb.mat.save(path, value, version="7.3")
    found = fb.mat.load(path)
    assert found["m"].tolist() == [[1, 1], [1, 1]] and found["deep"]["text"] == "a\u03bb"
    first, second, [third] = found["deep"]["cells"]
    assert (first.item(), second, third.item(), found["none"]) == (1, "two", 0, [])
    with h5py.File(path) as file:
        assert file["m"].attrs["MATLAB_class"] == b"double" or (
            file["m"].attrs["MATLAB_class"] == b"single")
        assert file.userblock_size == 512


@pytest.mark.parametrize(("value", "version", "kind", "text"), [
    ({"x": [1]}, 4, TypeError, "mat.save: x: expected tensors, numbers, texts"),
    ({"x": np.int64([1])}, 4, TypeError, "mat.save: x: expected a dtype of version 4 (float64, "),
    ({"x": np.zeros((2, 2, 2))}, 4, ValueError,
     "mat.save: x: expected up to two axes in version 4, got shape (2, 2, 2)"),
    ({"x": fb.ones(2).half()}, "7.3", TypeError,
     "mat.save: x: expected a dtype that MATLAB has, got float16"),
    ({"x": 1.0}, 8, ValueError, "mat.save: expected version 4, 5, 6, 7 or 7.3, got 8")])
def test_versions_refuse(value, version, kind, text, tmp_path: Path) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        fb.mat.save(tmp_path / "x.mat", value, version=version)
