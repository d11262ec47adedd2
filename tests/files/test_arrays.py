"""npy, npz and safetensors: round trips, agreement with others' readers and writers, refusals."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau import files
from flambeau.compiler import dtype as dt

SHAPES = ((), (0,), (3,), (2, 0, 3), (2, 3, 4))


def sample(dtype: Any, shape: tuple[int, ...]) -> Any:
    """A tensor whose values differ."""
    values = fb.tensor(np.arange(int(np.prod(shape))).reshape(shape) % 120)
    return (values % 2 == 1) if dtype is dt.bool_ else values.to(dtype)


def same(a: Any, b: Any) -> None:
    assert a.dtype is b.dtype and a.shape == b.shape
    assert bytes(a.buffer()) == bytes(b.buffer())


@pytest.mark.parametrize("dtype", dt.DTYPES, ids=lambda d: d.name)
def test_npy_round_trip(dtype: Any, tmp_path: Path) -> None:
    for shape in SHAPES:
        x = sample(dtype, shape)
        files.save_npy(tmp_path / "x.npy", x)
        same(files.load_npy(tmp_path / "x.npy"), x)
        same(files.load_npy(tmp_path / "x.npy", mmap=True), x)
        if dtype is not dt.bfloat16:
            assert np.array_equal(np.load(tmp_path / "x.npy"), x.numpy())


def test_npy_from_numpy(tmp_path: Path) -> None:
    """Fortran order, big-endian numbers, and a header of version 2 and 3."""
    x = np.arange(24.0).reshape(2, 3, 4)
    for array in (np.asfortranarray(x), x.astype(">f8"), x.astype(">i2")):
        np.save(tmp_path / "x.npy", array)
        assert np.array_equal(files.load_npy(tmp_path / "x.npy").numpy(), array)
    for version in ((2, 0), (3, 0)):
        out = io.BytesIO()
        np.lib.format.write_array(out, x, version)
        assert np.array_equal(files.load_npy(out.getvalue()).numpy(), x)


@pytest.mark.parametrize("kind", ["complex64", "complex128"])
def test_npy_of_complex_numbers(kind: str, tmp_path: Path) -> None:
    a = (np.arange(6) - 1j * np.arange(6)[::-1] ** 2).reshape(2, 3).astype(kind)
    fb.save(fb.tensor(a).T, tmp_path / "x.npy")
    fb.save({"x": fb.tensor(a)}, tmp_path / "x.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), a.T)
    assert np.load(tmp_path / "x.npz")["x"].dtype == kind
    for i, form in enumerate((a, np.asfortranarray(a), a.astype(a.dtype.newbyteorder(">")))):
        np.save(tmp_path / f"{i}.npy", form)
        found = fb.load(tmp_path / f"{i}.npy")
        assert found.dtype.name == kind and np.array_equal(found.numpy(), a)


def test_mmap_shares_the_file_and_leaves_it_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(4.0))
    x = files.load_npy(tmp_path / "x.npy", mmap=True)
    assert x.storage().shared is not None
    x += 1
    assert x.tolist() == [1, 2, 3, 4]
    assert np.load(tmp_path / "x.npy").tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("compress", [False, True])
def test_npz_round_trip(compress: bool, tmp_path: Path) -> None:
    given = {d.name: sample(d, (2, 3)) for d in dt.DTYPES} | {"a/b": fb.ones(2), "": fb.ones(1)}
    files.save_npz(tmp_path / "x.npz", given, compress)
    found = files.load_npz(tmp_path / "x.npz")
    assert list(found) == list(given)
    for name, x in given.items():
        same(found[name], x)
    with np.load(tmp_path / "x.npz") as theirs:
        assert theirs["float16"].tolist() == given["float16"].tolist()


def npy(descr: str, shape: Any, data: bytes) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": descr, "fortran_order": False,
                                               "shape": shape})
    return out.getvalue() + data


@pytest.mark.parametrize(("data", "text"), [
    (b"", r"npy: bytes, byte 0: expected 6 bytes of magic, got 0 until the end"),
    (b"\x93NUMPX\x01\x00", r"npy: bytes, byte 0: expected the magic of .npy, got b'\\x93NUMPX'"),
    (b"\x93NUMPY\x09\x00\x00\x00\x00\x00", r"byte 6: expected version 1.0 to 3.0 with a header"),
    (b"\x93NUMPY\x01\x00\x04\x00(((\n", r"byte 14: expected a header of .npy, got "),
    (npy("<f8", (3,), b"12345678"), r"expected elements within 8 bytes, got shape \(3,\)"),
    (npy("<f8", (1 << 62, 1 << 62), b""), "expected a shape of up to 64 extents"),
    (npy("<f8", (1 << 40,), b""), r"expected elements within 0 bytes, got shape \(10995"),
    (npy("<f8", (0,), b"1"), r"expected 0 bytes for float64 \(0,\), got 1"),
    (npy("|O", (1,), b"12345678"), "object arrays hold pickles, which are code"),
    (npy("<M8[s]", (1,), b"12345678"), r"expected a dtype that Flambeau has, got datetime64\[s\]"),
    (npy("|b1", (2,), b"\x01\x02"), "expected bools as bytes 0 and 1, got a byte 2"),
])
def test_npy_refusals(data: bytes, text: str) -> None:
    with pytest.raises(files.FileError, match=text):
        files.load_npy(data)


def archive(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in entries:
            made.writestr(name, data)
    return out.getvalue()


def test_npz_refusals() -> None:
    with pytest.raises(files.FileError, match=r"expected a zip archive of .npy entries, got B"):
        files.load_npz(b"PK")
    one = npy("<f8", (1,), b"12345678")
    with pytest.warns(UserWarning), pytest.raises(files.FileError, match="each name once, got 'x'"):
        files.load_npz(archive(("x.npy", one), ("x.npy", one)))
    bomb = archive(("x.npy", npy("|u1", (80 << 20,), bytes(80 << 20))))
    with pytest.raises(files.FileError, match=r"expected at most \d+ more bytes once inflated"):
        files.load_npz(bomb)
    assert files.load_npz(bomb, limit=1 << 28)["x"].shape == (80 << 20,)
    with pytest.raises(files.FileError, match="expected entries stored or deflated, got method 12"):
        files.load_npz(archive(("x.npy", one), method=zipfile.ZIP_BZIP2))


# -- safetensors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mmap", [False, True])
def test_safetensors_round_trip(mmap: bool, tmp_path: Path) -> None:
    given = {f"{d.name}{s}": sample(d, s) for d in dt.DTYPES if d.name != "complex128"
             for s in SHAPES}
    files.save_safetensors(tmp_path / "x.safetensors", given, {"by": "näme", "": ""})
    found = files.load_safetensors(tmp_path / "x.safetensors", mmap)
    assert found.metadata == {"by": "näme", "": ""} and set(found) == set(given)
    for name, x in given.items():
        same(found[name], x)
    assert mmap == (found["float32(3,)"].storage().shared is not None)


def test_safetensors_agree_with_the_reference(tmp_path: Path) -> None:
    """Byte for byte what the format's own library writes, and it reads ours."""
    theirs = pytest.importorskip("safetensors.numpy")
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([True, False]),
              "c": np.arange(3, dtype=np.int64), "empty": np.zeros((0, 2), np.uint8)}
    files.save_safetensors(tmp_path / "x", arrays, {"k": "v"})
    assert (tmp_path / "x").read_bytes() == theirs.save(arrays, {"k": "v"})
    found = theirs.load_file(tmp_path / "x")
    assert all(np.array_equal(found[k], v) for k, v in arrays.items())


def st(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def f32(start: int, end: int, *shape: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize(("data", "text"), [
    (b"123", "safetensors: bytes, byte 0: expected 8 bytes of a header's length, got 3"),
    (st({}, length=1 << 60), "byte 0: expected a header of at most 2 bytes, got 11529"),
    (st(b"[]"), r"byte 8: expected a header that begins with \{, got b'\[\]'"),
    (st(b"{x"), "expected a JSON header, got JSONDecodeError"),
    (st(b'{"\xff":1}'), "expected a JSON header, got UnicodeDecodeError"),
    (st(b'{"a":' * 9999), "expected a JSON header, got "),
    (st(b'{"a":{},"a":{}}'), "expected each name once, got 'a' twice"),
    (st({"__metadata__": {"a": 1}}), "expected metadata of texts"),
    (st({"a": {"dtype": "F32"}}), "expected dtype, shape and data_offsets of 'a'"),
    (st({"a": f32(0, 4, 1) | {"dtype": "Q8"}}, b"1234"), "expected a dtype of 'a' among"),
    (st({"a": f32(0, 4, -1)}, b"1234"), "expected a shape of up to 64 extents of 0 or more"),
    (st({"a": f32(0, 4, 1 << 40)}, b"1234"), "expected elements within 4 bytes"),
    (st({"a": f32(0, 8, 2)}, b"1234"), r"expected elements within 4 bytes, got shape \(2,\)"),
    (st({"a": f32(0, True, 1)}, b"1234"), r"expected two offsets of 'a' in \[0, 4\]"),
    (st({"a": f32(0, 4, 0)}, b"1234"), r"expected 0 bytes for 'a', float32 \(0,\), got 4"),
    (st({"a": f32(0, 4, 1), "b": f32(0, 4, 1)}, b"1234"), "'b' to begin at byte 4 of the data, got "
     "an overlap: 0"),
    (st({"a": f32(4, 8, 1)}, b"12345678"), "'a' to begin at byte 0 of the data, got a gap: 4"),
    (st({"a": f32(0, 4, 1)}, b"12345678"), "expected tensors that cover all 8 bytes of the data, "
     "got 4"),
    (st({"a": {"dtype": "BOOL", "shape": [1], "data_offsets": [0, 1]}}, b"\x02"), "got a byte 2"),
])
def test_safetensors_refusals(data: bytes, text: str) -> None:
    with pytest.raises(files.FileError, match=text):
        files.load_safetensors(data)


def test_save_refusals(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="save_safetensors: expected metadata of texts, got 'a'"):
        files.save_safetensors(tmp_path / "x", {}, {"a": 1})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="expected a name for each tensor, got '__metadata__'"):
        files.save_safetensors(tmp_path / "x", {"__metadata__": fb.ones(1)})
    for save in (files.save_npz, files.save_safetensors):
        with pytest.raises(TypeError, match=f"{save.__name__}: expected a dict of tensors by"):
            save(tmp_path / "x", [fb.ones(1)])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="tensors by name, got 1 as a name"):
            save(tmp_path / "x", {1: fb.ones(1)})  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    files.save_npz(path, {"a": fb.ones(2)})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        files.save_npz(path, {"a": fb.ones(3), "b": object()})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    files.save_npz(path, {"a": fb.zeros(2)})
    assert path.read_bytes() != before and path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    import os
    found = os.umask(0)
    os.umask(found)
    return found


LACKING = {(name, ".t7") for name in ("bfloat16", "complex64", "complex128")} | {
    (name, ".mat") for name in ("float16", "bfloat16")}


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors", ".t7", ".mat"])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "complex64", "complex128", "bool"])
def test_every_dtype_through_every_format(name: str, ending: str, tmp_path: Path) -> None:
    """The same bits come back, or the format says that it lacks the dtype."""
    t = (fb.arange(6).view(2, 3) % 2 * 1.5).to(name)
    path = tmp_path / f"x{ending}"
    try:
        fb.save({"t": t} if ending in (".npz", ".mat") else t, path)
    except (TypeError, ValueError) as error:
        assert "expected" in str(error) and name in str(error), error
        assert (name, ending) in LACKING
        return
    assert (name, ending) not in LACKING
    found = fb.load(path)
    found = found["t"] if isinstance(found, dict) else found
    kept = fb.uint8 if (name, ending) == ("bool", ".t7") else t.dtype  # Torch7 has no bool
    assert found.dtype is kept and found.shape == t.shape and (found == t).all()


@pytest.mark.parametrize("ending", [".npy", ".npz", ".safetensors", ".t7", ".mat"])
def test_a_missing_file(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"none{ending}"
    with pytest.raises(FileNotFoundError, match=r"\w+: expected a file, got a path where there is "
                       rf"none: '.*none{ending}'"):
        fb.load(path)
