"""Programs on the CUDA device: launches, scalars, graphs, streams, errors that come late."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import flambeau as fb
import numpy as np
import pytest
from flambeau.compiler.config import override
from flambeau.runtime import devices
from flambeau.runtime.cuda import graphs, modules


def launches(driver):
    return [c for c in driver.calls if c.name == "launch"]


@pytest.fixture
def scaled(driver):
    """A compiled function of one launch or more, its argument, and the driver."""
    @fb.compile
    def scaled(x, rate):
        return ((x[:, None] - x) @ x).softmax(0) * rate  # two kernels at least

    return scaled, fb.tensor([1.0, 2.0, 4.0], device="cuda"), driver


def test_launches_get_addresses_in_the_order_of_the_plan(driver):
    x = fb.tensor([1.0, 2.0, 4.0], device="cuda")
    y = (x * 0.25 + x).realize()
    (call,) = launches(driver)
    name, grid, block, arguments, shared = call.arguments
    assert "mul_add" in name and call.stream in (0, None) and shared == 0
    assert len(grid) == len(block) == 3 and min(*grid, *block) >= 1
    held = {y._storage.leaf.arg.pointer, x._storage.leaf.arg.pointer}
    assert held < set(arguments)  # and the scalars
    assert y.tolist() == [1.25, 2.5, 5.0]


def test_scalars_are_written_only_when_they_change(scaled):
    f, x, driver = scaled
    f(x, 0.5)
    before = driver.names().count("memcpy_htod_async")
    f(x, 0.5)
    assert driver.names().count("memcpy_htod_async") == before
    got = f(x, 0.75)
    assert driver.names().count("memcpy_htod_async") == before + 1
    want = fb.compile(f.fn)(x.cpu(), 0.75)
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6)


def test_nothing_waits_until_values_are_asked_for(scaled):
    f, x, driver = scaled
    f(x, 0.5)
    driver.calls.clear()
    y = f(x, 0.5)
    assert not [n for n in driver.names() if "synchronize" in n or "dtoh" in n]
    y.tolist()
    assert "Event.synchronize" in driver.names()


def test_a_program_that_comes_back_is_replayed_as_a_graph(scaled):
    f, x, driver = scaled
    seen = []
    for rate in (0.5, 0.5, 0.5, 0.5, 0.75):
        y = f(x, rate)
        seen.append(y.tolist())
        del y
    names = [n for n in driver.names() if n.startswith("cu")]
    assert names[:4] == ["cuStreamBeginCapture_v2", "cuStreamEndCapture",
                         "cuGraphInstantiateWithFlags", "cuGraphLaunch"]
    assert names.count("cuGraphLaunch") == 5 - graphs.AFTER
    want = [fb.compile(f.fn)(x.cpu(), rate).tolist() for rate in (0.5, 0.75)]
    np.testing.assert_allclose([seen[0], seen[3], seen[4]], [want[0], want[0], want[1]], rtol=1e-6)


def test_a_graph_is_told_other_addresses(scaled, monkeypatch):
    """Only kernels that see them; and it goes back when the old memory does."""
    f, x, driver = scaled
    monkeypatch.setattr(graphs, "AFTER", 1)
    other = fb.tensor([3.0, 1.0, 0.5], device="cuda")
    seen = [f(t, 0.5).tolist() for t in (x, x, other, x)]
    names = driver.names()
    assert names.count("cuGraphInstantiateWithFlags") == 1 and names.count("cuGraphLaunch") == 3
    changed = names.count("cuGraphExecKernelNodeSetParams")
    assert changed and changed % 2 == 0
    assert seen[0] == seen[1] == seen[3]
    want = fb.compile(f.fn)
    np.testing.assert_allclose(seen[2], want(other.cpu(), 0.5).numpy(), rtol=1e-6)


def test_other_threads_may_use_the_default_stream_while_one_records(scaled, monkeypatch):
    """And whoever waits for the whole context waits for the recording first."""
    f, x, driver = scaled
    monkeypatch.setattr(graphs, "AFTER", 0)
    seen = []

    def record(index, walk, operations):
        def busy(stream):
            walk(stream)
            block = driver.mem_alloc(8)
            driver.memset_d8_async(block, 0, 8, None)
            other = threading.Thread(target=lambda: (fb.cuda.synchronize(), seen.append("waited")))
            other.start()
            other.join(0.05)
            seen.append("recorded")
        return recorded(index, busy, operations)

    recorded = graphs.record
    monkeypatch.setattr(graphs, "record", record)
    f(x, 0.5)
    while len(seen) < 2:
        time.sleep(0.001)
    assert seen == ["recorded", "waited"]


def test_other_memory_is_recorded_anew_and_old_graphs_go(scaled, monkeypatch):
    f, _, driver = scaled
    monkeypatch.setattr(graphs, "AFTER", 0)
    monkeypatch.setattr(graphs.Graph, "move", lambda graph, operations: False)
    xs = [fb.tensor([float(i), 2.0, 4.0], device="cuda") for i in range(graphs.LIMIT + 1)]
    for t in xs:
        f(t, 0.5)
    assert driver.names().count("cuStreamBeginCapture_v2") == graphs.LIMIT + 1
    assert driver.names().count("cuGraphExecDestroy") == 1


def test_host_routines_are_walked_and_never_recorded(driver, monkeypatch):
    monkeypatch.setattr(graphs, "AFTER", 0)

    @fb.compile
    def f(x):
        return fb.linalg.inv(x) * 2

    x = fb.tensor([[2.0, 0.0], [0.0, 4.0]], device="cuda")
    assert f(x).tolist() == [[1.0, 0.0], [0.0, 0.5]]
    assert not [n for n in driver.names() if "apture" in n]
    assert "on the host" in f.explain()


def test_a_loop_runs_on_the_device(driver):
    xs = np.random.default_rng(1).random((5, 3)).astype(np.float32)

    def total(c, x):
        c = c * 0.5 + x
        return c, c.sum()

    got = fb.scan(total, fb.zeros(3, device="cuda"), fb.tensor(xs, device="cuda"))
    want = fb.scan(total, fb.zeros(3), fb.tensor(xs))
    assert got[0].device == got[1].device == "cuda:0"
    for a, b in zip(got, want):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
    found = fb.while_loop(lambda c: c.sum() < 100, lambda c: c * 3, fb.ones(2, device="cuda"))
    assert found.tolist() == [81.0, 81.0]


def test_a_failing_call_of_libcuda_is_named(scaled, monkeypatch):
    f, x, driver = scaled
    monkeypatch.setattr(graphs, "AFTER", 0)
    monkeypatch.setattr(driver.library, "cuGraphLaunch", lambda *_: 1)
    with pytest.raises(RuntimeError, match=r"cuGraphLaunch: expected success, got error 1 \(CUDA_"
                                           r"ERROR_INVALID_VALUE\)"):
        f(x, 0.5)


def test_a_missing_wait_between_streams_would_be_seen(machine):
    """The driver runs work as late as it may, each stream for itself."""
    driver = machine(lazy=True)
    a, b = fb.cuda.Stream(), fb.cuda.Stream()
    assert a is not b and a.handle != 0
    x = fb.tensor([1.0, 2.0], device="cuda")
    with fb.cuda.stream(a):
        y = (x + 0.5).realize()
        assert fb.cuda.current_stream() is a
    with fb.cuda.stream(b):
        z = (y * 3.5).realize()
    total = (z + y).realize()
    assert total.tolist() == [6.75, 11.25]
    used = {c.stream for c in launches(driver)}
    assert {a.handle, b.handle} <= used
    a.synchronize()
    assert a.query() and fb.cuda.current_stream().handle == 0


def test_events_measure(driver):
    first, last = fb.cuda.Event(), fb.cuda.Event()
    first.record()
    (fb.ones(3, device="cuda") + 0.5).realize()
    last.record()
    last.synchronize()
    assert last.query() and first.elapsed_time(last) >= 0
    other = fb.cuda.Stream()
    other.wait_event(last)
    last.wait(other)
    fb.cuda.default_stream().wait_stream(other)


def test_an_index_out_of_range_is_told_when_somebody_waits(driver):
    x = fb.tensor([1.0, 2.0, 3.0], device="cuda")
    y = x[fb.tensor([0, 7], device="cuda")].realize()  # no error yet
    with pytest.raises(IndexError) as there:
        fb.cuda.synchronize()
    with pytest.raises(IndexError) as here:
        fb.tensor([1.0, 2.0, 3.0])[fb.tensor([0, 7])].numpy()
    cut = "(recorded at"
    assert str(there.value).partition(cut)[0] == str(here.value).partition(cut)[0]
    assert "test_running.py" in str(there.value)
    fb.cuda.synchronize()  # told once
    assert (x + 1).tolist() == [2, 3, 4] and y.shape == (2,)
    with pytest.raises(IndexError, match="test_running"):  # of what it should have made
        y.numpy()


def test_a_refused_module_is_told_in_the_drivers_words(driver):
    with pytest.raises(RuntimeError, match="cuda: expected the driver to load a module, got: "):
        modules.load(0, b"this is no PTX", "sm_90")


def test_a_text_is_loaded_once(scaled):
    f, x, driver = scaled
    f(x, 0.5)
    count = driver.names().count("module_from_buffer")
    again = fb.compile(f.fn)
    again(x, 0.5)
    assert driver.names().count("module_from_buffer") == count


def test_a_fault_of_a_kernel_ends_the_device(driver, monkeypatch):
    x = (fb.ones(4, device="cuda") * 0.5).realize()

    def fail(*_):
        raise driver.LaunchError("an illegal memory access was encountered")

    monkeypatch.setattr(type(devices.find("cuda:0").staging), "to_host", fail)
    with pytest.raises(RuntimeError, match="cuda:0: expected all kernels to end well, got: an "
                                           "illegal memory access was encountered; this process "
                                           "cannot use the device any more"):
        x.numpy()


@pytest.mark.parametrize(("sm", "name"), [(75, "sm_75"), (89, "sm_89"), (99, "sm_90"),
                                          (130, "sm_121")])
def test_the_newest_processor_that_llvm_knows(machine, sm, name):
    machine(sm=sm)
    assert devices.find("cuda:0").target().cpu == name


def test_old_processors_are_refused(machine):
    machine(sm=61)
    with pytest.raises(RuntimeError, match=r"cuda: expected compute capability 7.5 or later, got "
                                           r"6.1 \(cuda:0\)"):
        (fb.ones(3, device="cuda") + 0.5).realize()


FORK = """
import os, sys
sys.path.insert(0, sys.argv[1])
import flambeau as fb
from emulator.installed import emulated
with emulated(memory=1 << 20):
    x = (fb.tensor([1.0, 2.0], device="cuda") * 1).realize()
    if not os.fork():
        try:
            x.numpy()
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    os.wait()
    print(x.tolist())  # the parent goes on
"""


def test_a_forked_child_says_that_it_cannot():
    tests = str(Path(__file__).resolve().parents[1])
    made = subprocess.run([sys.executable, "-c", FORK, tests], capture_output=True, text=True)
    assert made.stdout.splitlines() == [
        "cuda: expected a process that has not forked since its first use of CUDA, got a child; "
        "start workers with the 'spawn' method", "[1.0, 2.0]"], made.stderr


def test_tf32_is_another_program_also_for_graphs_seen_before(driver):
    x = fb.tensor(np.random.default_rng(0).random((40, 40)), device="cuda").float()

    def product():
        return (x @ x + 1.0).numpy()

    plain = [product() for _ in range(3)]
    with override(tf32=True):
        rounded = [product() for _ in range(3)]
    assert (plain[0] == plain[2]).all() and (rounded[0] == rounded[2]).all()
    off = np.abs(rounded[0] - plain[0]).max()
    assert 1e-5 < off < 40 * 2.0 ** -10 and (product() == plain[0]).all()


def test_machine_code_is_made_once_where_there_is_an_assembler(driver, monkeypatch, tmp_path):
    """A script in ptxas's place: it notes its arguments and gives what ptxas would begin with."""
    tool = tmp_path / "ptxas"
    tool.write_text("#!/bin/sh\n"
                    f"echo \"$@\" >> {tmp_path}/said\n"
                    "case $1 in --version) echo one; exit;; -arch=sm_75) exit 1;; esac\n"
                    "printf '\\177ELF' > $4\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    modules.assembler.cache_clear()
    monkeypatch.setattr(modules.drivers, "replaced", lambda: False)  # not for an emulated GPU
    text = f"// {tmp_path}".encode()
    try:
        assert [modules._machine_code(text, "sm_90") for _ in range(2)] == [b"\x7fELF"] * 2
        assert [modules._machine_code(text, "sm_75") for _ in range(2)] == [None] * 2  # refused
    finally:
        modules.assembler.cache_clear()
    said = (tmp_path / "said").read_text().splitlines()
    assert [s.split()[0] for s in said] == ["--version", "-arch=sm_90", "-arch=sm_75"]


def test_programs_for_many_sizes_are_the_hosts(driver):
    """dynamic=True asks for one program; a GPU makes one for each size, and says so."""
    run = fb.compile(lambda x: (x * 2 + 1).softmax(1).sum(0), dynamic=True)
    for n in (3, 4, 5, 9):
        x = np.random.default_rng(n).standard_normal((6, n)).astype(np.float32)
        e = np.exp(2 * x)
        np.testing.assert_allclose(run(fb.tensor(x, device="cuda")).numpy(),
                                   (e / e.sum(1, keepdims=True)).sum(0), rtol=2e-6)
    assert run.explain().count("for these sizes alone: only the CPU has programs for many") == 4


def test_a_driver_that_was_replaced_is_let_go(machine):
    """Programs in memory used to keep every emulated device that they were loaded on."""
    driver = machine()
    for _ in range(3):
        assert (fb.ones(5, device="cuda") * 3).sum().item() == 15
    gone = weakref.ref(driver)
    del driver
    machine()
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("f", [
    lambda x: x.reshape(1, 7).expand(2 ** 31, 7).reshape(7 * 2 ** 31)[5::2 ** 31 + 1] + 1,
    lambda x: x.reshape(7, 1).expand(7, 2 ** 31).reshape(7 * 2 ** 31)[5::2 ** 31 + 1] + 1,
    lambda x: fb.arange(2 ** 34, device=x.device)[2 ** 34 - 7:] - 2 ** 34 + x,
    lambda x: x[:2] @ x.reshape(1, 7).expand(2 ** 31, 7).reshape(7 * 2 ** 31)[5::2 ** 32 + 1][:2]])
def test_positions_beyond_32_bits_in_values_that_are_never_stored(f, driver):
    x = np.arange(7, dtype=np.float32)
    got = fb.compile(f)(fb.tensor(x, device="cuda"))
    np.testing.assert_array_equal(got.numpy(), fb.compile(f)(fb.tensor(x)).numpy())
