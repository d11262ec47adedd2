"""Data sets: the digits, the idx reader and its refusals, where files are looked for, batches."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import flambeau as fb
import numpy as np
import pytest
from flambeau.compiler.config import override
from flambeau.data import store
from flambeau.data.idx import parse_idx
from flambeau.data.sets import FASHION_MNIST, FILES, MNIST
from flambeau.data.store import Remote, Source


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


# -- digits ------------------------------------------------------------------------------------

def test_digits_are_the_1797_of_scikit_learn() -> None:
    x, y, x_test, y_test = fb.data.digits()
    assert x.shape == (1500, 1, 8, 8) and x_test.shape == (297, 1, 8, 8)
    assert x.dtype == np.float32 and y.dtype == np.int64
    assert x.min() == 0 and x.max() == 1
    assert set(np.unique(x * 16)) <= set(range(17))
    total = np.bincount(y, minlength=10) + np.bincount(y_test, minlength=10)
    assert total.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert set(np.bincount(y_test)) == {29, 30}  # classes in equal parts


def test_raw_digits_are_bytes() -> None:
    x = fb.data.digits(raw=True)[0]
    assert x.dtype == np.uint8 and x.max() == 16


def test_load_by_name() -> None:
    assert len(fb.data.load("digits")[0]) == 1500
    with pytest.raises(fb.data.DataError, match=r"load: expected one of digits, mnist, fashion-m"):
        fb.data.load("cifar")


# -- idx ---------------------------------------------------------------------------------------

@pytest.mark.parametrize(("kind", "dtype"), [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"),
                                             (13, "f4"), (14, "f8")])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_reads_every_type(tmp_path: Path, kind: int, dtype: str, packed: bool) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    data = idx(array, kind)
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(data) if packed else data)
    found = fb.data.read_idx(path)
    assert found.dtype == np.dtype(dtype) and found.dtype.isnative
    np.testing.assert_array_equal(found, array)


def test_idx_may_be_empty() -> None:
    assert parse_idx(idx(np.zeros((0, 28, 28), np.uint8))).shape == (0, 28, 28)


GOOD = idx(np.arange(12, dtype=np.uint8).reshape(3, 4))


@pytest.mark.parametrize(("data", "message"), [
    (b"", r"expected two zero bytes, a type and a number of axes, got b''"),
    (b"\x01\0\x08\x02", r"expected two zero bytes"),
    (b"\0\0\x07\x02" + GOOD[4:], r"expected a type of 0x08, .*, got 0x07"),
    (b"\0\0\x08\x00" + GOOD[4:], r"expected 1 to 8 axes, got 0"),
    (b"\0\0\x08\xff" + GOOD[4:], r"expected 1 to 8 axes, got 255"),
    (GOOD[:9], r"expected 2 lengths of axes, got 5 bytes and the end of the file"),
    (GOOD[:-1], r"expected 12 bytes of numbers for shape \(3, 4\), got 11"),
    (GOOD + b"!", r"expected 12 bytes of numbers for shape \(3, 4\), got more"),
    (b"\0\0\x0e\x04" + b"\xff" * 16, r"expected at most \d+ bytes, got a header that declares"),
])
def test_idx_refuses_damage(data: bytes, message: str) -> None:
    with pytest.raises(fb.data.DataError, match=message):
        parse_idx(data)


def test_idx_with_a_lying_header_costs_no_memory() -> None:
    huge = struct.pack(">BBBBI", 0, 0, 8, 1, (1 << 32) - 1) + bytes(10)
    with pytest.raises(fb.data.DataError, match=r"expected 4294967295 bytes .*, got 10"):
        parse_idx(huge)


@pytest.mark.parametrize("cut", [1, 12, 30])
def test_idx_refuses_damaged_gzip(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx(np.random.default_rng(0).integers(
        0, 255, 400).astype(np.uint8)))[:-cut])
    with pytest.raises(fb.data.DataError, match="expected whole gzip data, got damage"):
        fb.data.read_idx(path)


def test_idx_names_a_missing_file() -> None:
    with pytest.raises(fb.data.DataError, match=r"read_idx: expected an idx file, got 'nowhere'"):
        fb.data.read_idx("nowhere")


# -- where files are ---------------------------------------------------------------------------

def put(folder: Path, train: int = 5, test: int = 3, labels: int | None = None) -> None:
    """A tiny data set in MNIST's files, half of them gzipped."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    sizes = (train, train if labels is None else labels, test, test)
    for i, (name, n) in enumerate(zip(FILES, sizes)):
        shape = (n, 28, 28) if i % 2 == 0 else (n,)
        data = idx(rng.integers(0, 10, shape).astype(np.uint8))
        if i < 2:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Path]:
    """A machine without data and without network: an empty cache and FLAMBEAU_DATA."""
    with override(data=str(tmp_path / "data"), cache=str(tmp_path / "cache")):
        yield tmp_path


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("place", ["data", "cache/data"])
def test_sets_are_found_in_their_folders(alone: Path, name: str, place: str) -> None:
    put(alone / place / name)
    x, y, x_test, y_test = fb.data.load(name)
    assert x.shape == (5, 1, 28, 28) and x.dtype == np.float32 and y.shape == (5,)
    assert len(x_test) == len(y_test) == 3 and x.max() <= 9 / 255


def test_a_folder_of_another_name_must_hold_the_real_set(alone: Path) -> None:
    """MNIST and Fashion-MNIST share their file names: one is never taken for the other."""
    put(alone / "data")
    with pytest.raises(fb.data.DataError, match="downloads are off"):
        fb.data.mnist(download=False)


def test_missing_files_are_named_with_the_folders(alone: Path) -> None:
    with pytest.raises(fb.data.DataError) as caught:
        fb.data.mnist(download=False)
    text = str(caught.value)
    assert text.startswith("mnist: expected train-images-idx3-ubyte.gz, ")
    assert str(alone / "data" / "mnist") in text and str(alone / "cache") in text
    assert "set FLAMBEAU_DATA" in text


def test_labels_must_match_images(alone: Path) -> None:
    put(alone / "data" / "mnist", labels=4)
    with pytest.raises(fb.data.DataError, match="expected as many labels as images, got 4 labels"):
        fb.data.mnist()


def test_debians_folder_is_known() -> None:
    assert [Path(f).name for f in FASHION_MNIST.folders] == ["fashion-mnist"]
    assert MNIST.folders == ()


# -- downloads, from a server on this machine --------------------------------------------------

class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "served"
    folder.mkdir()
    made = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}/", folder
    made.shutdown()
    thread.join()
    made.server_close()


def source(address: str, contents: bytes) -> Source:
    remote = Remote("thing", hashlib.sha256(contents).hexdigest(), len(contents))
    return Source("things", (remote,), (f"{address}nowhere/", address))


def test_a_download_is_checked_and_kept(alone: Path, server: tuple[str, Path]) -> None:
    address, folder = server
    contents = bytes(range(256)) * 40
    (folder / "thing.gz").write_bytes(gzip.compress(contents))
    found = store.locate(source(address, contents))
    assert gzip.decompress((found / "thing.gz").read_bytes()) == contents
    (folder / "thing.gz").unlink()
    assert store.locate(source(address, contents)) == found  # no second download


@pytest.mark.parametrize("served", [b"wrong", bytes(range(256)) * 40 + b"more"])
def test_a_wrong_download_leaves_nothing(alone: Path, server: tuple[str, Path],
                                         served: bytes) -> None:
    address, folder = server
    (folder / "thing.gz").write_bytes(gzip.compress(served))
    with pytest.raises(fb.data.DataError, match=r"no download worked .*with SHA-256"):
        store.locate(source(address, bytes(range(256)) * 40))
    assert list((alone / "cache" / "data" / "things").iterdir()) == []


def test_no_network_is_a_clear_error(alone: Path) -> None:
    with pytest.raises(fb.data.DataError, match=r"no download worked \(http://127.0.0.1:9/nowh"):
        store.locate(source("http://127.0.0.1:9/", b"x"))


def test_the_bar_draws_only_on_terminals() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, drawn in ((io.StringIO(), False), (Terminal(), True)):
        bar = store.Bar("file.gz", 4_000_000, stream)
        bar.add(2_000_000)
        bar.close()
        assert bool(stream.getvalue()) == drawn
        assert ("2.0 MB of 4.0" in stream.getvalue()) == drawn


# -- batches -----------------------------------------------------------------------------------

def test_batches_cover_every_row_once() -> None:
    x, y = np.arange(10)[:, None], np.arange(10)
    pieces = list(fb.data.batches(x, y, size=4))
    assert [len(b) for _, b in pieces] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([b for _, b in pieces]), y)
    assert [len(b) for _, b in fb.data.batches(x, y, size=4, drop_last=True)] == [4, 4]


def test_shuffled_batches_keep_rows_together() -> None:
    x, y = np.arange(100), np.arange(100) * 2
    first = list(fb.data.batches(x, y, size=7, shuffle=True, seed=3))
    again = list(fb.data.batches(x, y, size=7, shuffle=True, seed=3))
    order = np.concatenate([a for a, _ in first])
    assert sorted(order) == list(range(100)) and list(order) != list(range(100))
    for (a, b), (c, _) in zip(first, again):
        np.testing.assert_array_equal(2 * a, b)
        np.testing.assert_array_equal(a, c)


def test_batches_take_tensors() -> None:
    pieces = list(fb.data.batches(fb.arange(5), size=2))
    assert [p[0].tolist() for p in pieces] == [[0, 1], [2, 3], [4]]


def test_split_cuts_in_two() -> None:
    x, y = np.arange(50), np.arange(50)
    a, b, c, d = fb.data.split(x, y, test=0.2)
    assert len(a) == len(c) == 40 and len(b) == 10
    np.testing.assert_array_equal(b, d)
    assert sorted([*a, *b]) == list(range(50))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: list(fb.data.batches(size=3)), "batches: expected at least one array, got none"),
    (lambda: list(fb.data.batches([1], [1, 2], size=3)),
     r"batches: expected arrays with equally many rows, got \[1, 2\]"),
    (lambda: list(fb.data.batches([1], size=0)), "batches: expected a size of at least 1, got 0"),
    (lambda: fb.data.split([1, 2], test=2), "split: expected 1 to 1 of 2 rows .*, got 2"),
])
def test_mistakes_are_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
