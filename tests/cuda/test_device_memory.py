"""The allocator and copies of the CUDA device, call by call."""

from __future__ import annotations

import gc

import flambeau as fb
import numpy as np
import pytest
from flambeau.runtime import devices, memory
from flambeau.runtime.cuda import allocator, drivers, streams, transfers


def gpu(index=0):
    return devices.find(f"cuda:{index}")


def allocations(driver):
    return [c.arguments[0] for c in driver.calls if c.name == "mem_alloc"]


def test_sizes_are_rounded_in_steps():
    assert [allocator.rounded(n) for n in (0, 1, 512, 513, 4096, 4097, 5000)] == [
        512, 512, 512, 1024, 4096, 4608, 5120]
    for n in (10_000, 1 << 20, (1 << 20) + 1, 123_456_789):
        got = allocator.rounded(n)
        assert got >= n and got % 512 == 0 and got <= n * 1.13
    with pytest.raises(ValueError, match="allocate: expected 0 bytes or more, got -1"):
        allocator.rounded(-1)


def test_a_freed_block_is_used_again_and_counted(driver):
    pool = gpu().pool
    a, b = gpu().allocate(1000), gpu().allocate(3000)
    pointer = a.pointer
    assert pool.statistics() == {"current": 1024 + 3072, "peak": 4096, "reserved": 4096,
                                 "peak_reserved": 4096, "cached": 0, "allocations": 2,
                                 "retries": 0}
    del a
    assert pool.statistics()["cached"] == 1024
    a = gpu().allocate(700)
    assert a.pointer == pointer and allocations(driver) == [1024, 3072]
    del a, b
    pool.reset_peak()
    assert pool.statistics()["peak"] == 0
    assert fb.cuda.empty_cache() == 4096 and fb.cuda.memory_reserved() == 0
    assert driver.names().count("mem_free") == 2 and fb.cuda.memory_info()[0] == 256 << 20


def test_the_cache_is_given_back_before_memory_is_said_to_be_out(machine):
    driver = machine(memory=1 << 20)
    kept, idle = gpu().allocate(300 << 10), gpu().allocate(400 << 10)
    del idle
    taken = gpu().allocate(600 << 10)  # fits only where the idle block was
    assert gpu().pool.statistics()["retries"] == 1 and driver.names().count("mem_free") == 1
    with pytest.raises(MemoryError) as error:
        gpu().allocate(1 << 20)
    assert str(error.value) == (
        "allocate: expected 1 MiB on cuda:0, got out of memory: 64 KiB of 1 MiB are free, tensors "
        "and programs hold 960 KiB (the most in blocks: 1 of 640 KiB, 1 of 320 KiB), others hold "
        "0 bytes")
    del kept, taken
    assert gpu().allocate(900 << 10).nbytes == 900 << 10


def test_garbage_in_cycles_is_collected_when_memory_is_short(machine):
    machine(memory=1 << 20)
    cycle = [gpu().allocate(700 << 10)]
    cycle.append(cycle)
    gc.disable()
    try:
        del cycle
        assert gpu().allocate(700 << 10).nbytes == 700 << 10
    finally:
        gc.enable()


def test_another_streams_block_is_waited_for(driver):
    side = fb.cuda.Stream()
    with fb.cuda.stream(side):
        pointer = gpu().allocate(100).pointer
    before = len(driver.calls)
    again = gpu().allocate(100)
    names = [c.name for c in driver.calls[before:]]
    assert again.pointer == pointer and "Event.record" in names and "mem_alloc" not in names
    assert again.block.last is streams.default(0)
    with fb.cuda.stream(side):
        again.use(side)
    waits = [c for c in driver.calls if c.name == "Stream.wait_for_event"]
    assert len(waits) == 1 and waits[0].stream == side.handle


def test_device_memory_has_no_host_address(driver):
    held = gpu().allocate(12)
    with pytest.raises(memory.Elsewhere, match="device: expected memory of the host, got 12 bytes "
                                               "on cuda:0"):
        _ = held.address
    with pytest.raises(ValueError, match="array: expected to read at most 12 bytes, got int64"):
        held.array(np.int64, (2,))
    assert "12 bytes at 0x" in repr(held) and "cuda:0, owned" in repr(held)


@pytest.mark.parametrize("lazy", [False, True])
def test_long_copies_go_in_pieces_and_come_back(machine, monkeypatch, lazy):
    monkeypatch.setattr(transfers, "PIECE", 1000)
    driver = machine(lazy=lazy)
    given = np.random.default_rng(0).integers(0, 255, 4321).astype(np.uint8)
    held, got = gpu().allocate(4321), np.empty(4321, np.uint8)
    gpu().copy_in(held, given)
    was = given.copy()
    given[:] = 0  # staged: the array may change once the copy was asked for
    gpu().copy_out(held, got)
    assert (got == was).all()
    pieces = [c.arguments[1] for c in driver.calls if c.name == "memcpy_htod_async"]
    assert pieces == [1000, 1000, 1000, 1000, 321]
    count = driver.names().count("pagelocked_empty")
    gpu().copy_out(held, got)
    assert driver.names().count("pagelocked_empty") == count  # staging blocks come round again


def test_contexts_are_popped_even_after_errors(driver):
    x = fb.tensor([1.0, 2.0], device="cuda")
    (x + 1).tolist()
    with pytest.raises(RuntimeError, match="inside"), drivers.active(0):
        with drivers.active(0):
            assert len(driver.stack) == 1
        assert len(driver.stack) == 1
        raise RuntimeError("inside")
    assert not driver.stack
    names = driver.names()
    assert names.count("Context.push") == names.count("Context.pop")
    assert names.count("Device.retain_primary_context") == 1
    assert not any("make_context" in n for n in names)


def test_two_gpus_and_copies_between_them(machine):
    driver = machine(devices=2, lazy=True)
    x = fb.tensor([1.0, 2.0, 3.0], device="cuda:1")
    y = x.cuda(0)
    assert (x.device, y.device) == ("cuda:1", "cuda:0") and (y * 2).tolist() == [2, 4, 6]
    assert "memcpy_peer_async" in driver.names()
    with pytest.raises(ValueError, match=r"add: expected tensors on one device, got cuda:1 and "
                                         r"cuda:0; use \.to\(\) or \.cuda\(\)"):
        x + y
    with pytest.raises(RuntimeError, match="zeros: expected cuda:0 to cuda:1, got cuda:2"):
        fb.zeros(3, device="cuda:2")
    assert fb.cuda.device_count() == 2 and fb.cuda.current_device() == 0
    with fb.cuda.device(1):
        assert fb.zeros(2, device="cuda").device == "cuda:1"
    fb.cuda.set_device("cuda:1")
    assert fb.ones(2).cuda().device == "cuda:1" and fb.cuda.get_device() == 1
    fb.cuda.set_device(0)


def test_only_one_gpu(driver):
    with pytest.raises(RuntimeError, match="cuda: expected cuda:0, got cuda:7"):
        fb.ones(2).cuda(7)
    with pytest.raises(ValueError, match="synchronize: expected a GPU, got 'cpu'"):
        fb.cuda.synchronize("cpu")
