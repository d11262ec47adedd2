"""The allocator: alignment, reuse, lifetime, numbers."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from flambeau.runtime import memory

SIZES = [0, 1, 63, 64, 65, 1000, 4032, 4033, 100_000, (1 << 20) - 64, 1 << 20, 5_000_001]


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    gc.collect()
    memory.empty_cache()
    budget = memory.memory()["budget"]
    yield
    memory.set_budget(budget)


@pytest.mark.parametrize("nbytes", SIZES)
def test_aligned_padded_and_writable(nbytes: int) -> None:
    buffers = [memory.allocate(nbytes) for _ in range(3)]
    assert len({b.address for b in buffers}) == 3
    for i, buffer in enumerate(buffers):
        assert buffer.address % 64 == 0 and buffer.address > 0 and buffer.nbytes == nbytes
        assert buffer.aligned and not buffer.exported and buffer.owner is None
        buffer.array(np.uint8, (nbytes,), writable=True)[:] = i + 1
    for i, buffer in enumerate(buffers):
        view = buffer.array(np.uint8, (nbytes,))
        assert (view == i + 1).all()


def test_blocks_do_not_overlap() -> None:
    rng = np.random.default_rng(1)
    buffers = [memory.allocate(int(n)) for n in rng.integers(0, 20_000, 300)]
    spans = sorted((b.address, b.address + b.nbytes + memory.SLACK) for b in buffers)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@pytest.mark.parametrize("nbytes", SIZES)
def test_reuse(nbytes: int) -> None:
    first = memory.allocate(nbytes)
    address = first.address
    del first
    before = memory.memory()
    second = memory.allocate(nbytes)
    assert second.address == address
    assert memory.memory()["allocations"] == before["allocations"]


def test_statistics() -> None:
    start = memory.memory()
    memory.reset_peak()
    a, b = memory.allocate(1000), memory.allocate(3 << 20)
    now = memory.memory()
    grown = now["current"] - start["current"]
    assert 1000 + (3 << 20) <= grown <= 1.2 * (1000 + (3 << 20))
    assert now["allocations"] == start["allocations"] + 2 and now["peak"] == now["current"]
    del a, b
    end = memory.memory()
    assert end["current"] == start["current"] and end["peak"] == now["peak"]
    assert end["cached"] == start["cached"] + grown
    memory.empty_cache()
    assert memory.memory()["cached"] == 0
    memory.reset_peak()
    assert memory.memory()["peak"] == memory.memory()["current"]


def test_no_leak() -> None:
    kept = [memory.allocate(int(n)) for n in range(0, 9000, 100)]
    del kept
    blocks = memory.memory()["blocks"]
    for n in list(range(0, 9000, 100)) * 20:
        memory.allocate(n)
    assert memory.memory()["blocks"] == blocks


def test_budget_bounds_the_idle_bytes() -> None:
    memory.set_budget(4 << 20)
    buffers = [memory.allocate(1 << 20) for _ in range(8)]
    del buffers
    now = memory.memory()
    assert 0 < now["cached"] <= 4 << 20


def test_array_keeps_the_buffer() -> None:
    buffer = memory.allocate(80)
    watch = weakref.ref(buffer)
    array = buffer.array(np.float64, (2, 5), writable=True)
    assert buffer.exported and array.flags.c_contiguous
    array[:] = np.arange(10.0).reshape(2, 5)
    address = buffer.address
    row = array[1]
    del buffer, array
    gc.collect()
    assert watch() is not None and row.tolist() == [5, 6, 7, 8, 9]
    assert memory.allocate(80).address != address
    del row
    assert watch() is None


def test_array_is_read_only_unless_asked() -> None:
    view = memory.allocate(8).array(np.int32, (2,))
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    with pytest.raises(ValueError, match="expected at most 8 bytes"):
        memory.allocate(8).array(np.int32, (3,))
    assert memory.allocate(0).array(np.float32, (0, 4)).shape == (0, 4)
    assert memory.allocate(4).array(np.float32, ()).shape == ()


def test_wrap_shares_and_keeps_the_array() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    watch = weakref.ref(array)
    buffer = memory.wrap(array)
    assert buffer.address == array.ctypes.data and buffer.nbytes == 24
    assert buffer.exported and not buffer.aligned and buffer.owner is array
    array[0, 0] = 7
    view = buffer.array(np.float32, (2, 3))
    assert view[0, 0] == 7
    del array, buffer
    assert watch() is not None
    del view
    assert watch() is None
    with pytest.raises(ValueError, match="expected a C-contiguous array"):
        memory.wrap(np.zeros((4, 4))[:, ::2])


def test_wrapped_memory_never_enters_a_bin() -> None:
    before = memory.memory()
    memory.wrap(np.zeros(1000))
    assert memory.memory() == before


def test_error_names_the_bytes() -> None:
    kept = memory.allocate(1000)
    with pytest.raises(MemoryError, match=r"expected 4611686018427387904 bytes.*in use.*cached"):
        memory.allocate(1 << 62)
    with pytest.raises(ValueError, match="expected 0 bytes or more"):
        memory.allocate(-1)
    assert kept.nbytes == 1000


def test_many_threads() -> None:
    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        held: list[tuple[memory.Buffer, np.ndarray, int]] = []
        for _ in range(1500):
            nbytes = int(rng.choice([8, 100, 5000]))
            buffer = memory.allocate(nbytes)
            view = buffer.array(np.uint8, (nbytes,), writable=True)
            view[:] = mark = int(rng.integers(256))
            held.append((buffer, view, mark))
            if len(held) > 20:
                _, old, expected = held.pop(int(rng.integers(20)))
                failures.extend([] if (old == expected).all() else [seed])

    failures: list[int] = []
    members = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for member in members:
        member.start()
    for member in members:
        member.join()
    assert not failures
