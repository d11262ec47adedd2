"""The emulated driver: PyCUDA's names, habits and errors, and the record of calls."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest

from emulator.driver import Call, Driver
from emulator.snippets import kernel, module

AXPY = module(kernel("""
ld.param.u64 %d1, [p0]; ld.param.u64 %d2, [p1]; ld.param.f32 %f1, [p2]; ld.param.u32 %r9, [p3];
mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;
mad.lo.u32 %r4, %r2, %r3, %r1;
setp.ge.u32 %p1, %r4, %r9;
@%p1 bra end;
mul.wide.u32 %d3, %r4, 4;
add.u64 %d4, %d1, %d3; add.u64 %d5, %d2, %d3;
ld.global.f32 %f2, [%d4]; ld.global.f32 %f3, [%d5];
fma.rn.f32 %f3, %f2, %f1, %f3;
st.global.f32 [%d5], %f3;
end:""", "u64 u64 f32 u32", name="axpy"), before=".visible .global .align 4 .b32 counter = 41;")


def started(**options: object) -> Driver:
    """A driver with a context of device 0."""
    driver = Driver(memory=1 << 20, **options)  # type: ignore[arg-type]
    driver.init()
    driver.Device(0).retain_primary_context().push()
    return driver


def axpy(driver: Driver, n: int = 100, stream: object = None, said: int | None = None
         ) -> tuple[object, np.ndarray]:
    """y += 2 x on the device; y there, and what it should be."""
    f = driver.module_from_buffer(AXPY.encode() + b"\0").get_function("axpy").prepare("PPfI")
    x, y = np.arange(n, dtype=np.float32), np.ones(n, np.float32)
    there = driver.mem_alloc(x.nbytes), driver.mem_alloc(y.nbytes)
    driver.memcpy_htod(there[0], x)
    driver.memcpy_htod(there[1], y)
    f.prepared_async_call((2, 1, 1), (64, 1, 1), stream, *there, 2.0, said or n)
    return there, y + 2 * x


def test_a_kernel_runs_and_every_call_is_noted() -> None:
    driver = started()
    stream = driver.Stream()
    there, want = axpy(driver, stream=stream)
    got = np.empty_like(want)
    driver.memcpy_dtoh_async(got, there[1], stream)
    stream.synchronize()
    assert got.tolist() == want.tolist()
    assert driver.names() == [
        "init", "Device", "Device.retain_primary_context", "Context.push", "Stream",
        "module_from_buffer", "Module.get_function", "mem_alloc", "mem_alloc", "memcpy_htod",
        "memcpy_htod", "launch", "memcpy_dtoh_async", "Stream.synchronize"]
    pointers = int(there[0]), int(there[1])
    assert driver.calls[11] == Call("launch", ("axpy", (2, 1, 1), (64, 1, 1), (*pointers, 2.0, 100),
                                               0), stream.handle)


def test_facts_of_the_device() -> None:
    driver = started(devices=2, sm=89)
    assert driver.Device.count() == 2 and driver.Device(1).name() == "Emulated GPU"
    assert driver.Device(0).compute_capability() == (8, 9)
    assert driver.Device(0).total_memory() == 1 << 20
    assert driver.Device(0).get_attribute(driver.device_attribute.WARP_SIZE) == 32
    assert driver.Device(0).multiprocessor_count == 4
    assert driver.Device(0).get_attributes()["MAX_THREADS_PER_BLOCK"] == 1024
    assert driver.get_version() == (13, 0, 0)
    f = driver.module_from_buffer(AXPY.encode()).get_function("axpy")
    assert f.num_regs >= 16 and f.get_attribute("SHARED_SIZE_BYTES") == 0
    with pytest.raises(driver.LogicError, match="invalid device ordinal"):
        driver.Device(2)


def test_calls_need_init_and_a_context() -> None:
    driver = Driver(memory=1 << 20)
    with pytest.raises(driver.LogicError, match="initialization error"):
        driver.Device(0)
    driver.init()
    with pytest.raises(driver.LogicError, match="no context is current"):
        driver.mem_alloc(4)
    with pytest.raises(driver.LogicError, match="nothing was pushed"):
        driver.Context.pop()


def test_memory_runs_out_and_comes_back() -> None:
    driver = started()
    a = driver.mem_alloc(1 << 19)
    assert driver.mem_get_info() == (1 << 19, 1 << 20)
    with pytest.raises(driver.MemoryError, match="out of memory"):
        driver.mem_alloc((1 << 19) + 1)
    a.free()
    assert driver.mem_get_info() == (1 << 20, 1 << 20)
    with pytest.raises(driver.LogicError, match="freed before"):
        a.free()
    b = driver.mem_alloc(16)
    del b
    gc.collect()
    assert driver.mem_get_info()[0] == 1 << 20


def test_copies_stay_inside_allocations() -> None:
    driver = started()
    a = driver.mem_alloc(16)
    with pytest.raises(driver.LogicError, match="are no part of one allocation"):
        driver.memcpy_htod(a, np.zeros(5, np.float32))
    with pytest.raises(driver.LogicError, match="are no part of one allocation"):
        driver.memset_d8_async(int(a) + 9, 0, 8)
    with pytest.raises(driver.LogicError, match="contiguous"):
        driver.memcpy_htod(a, np.zeros((4, 4), np.uint8)[:, 1])
    with pytest.raises(driver.LogicError, match="that do not overlap"):
        driver.memcpy_dtod(int(a), int(a) + 4, 8)
    fixed = np.zeros(4, np.float32)
    fixed.flags.writeable = False
    with pytest.raises(driver.LogicError, match="read-only"):
        driver.memcpy_dtoh(fixed, a)


def test_fills_and_copies() -> None:
    driver = started(devices=2)
    a, b = driver.mem_alloc(16), driver.mem_alloc(16)
    driver.memset_d32(a, 0x01020304, 4)
    driver.memset_d8(int(a) + 12, 9, 4)
    driver.memcpy_dtod_async(b, a, 16)
    got = np.empty(16, np.uint8)
    driver.memcpy_dtoh(got, b)
    assert got.tolist() == [4, 3, 2, 1] * 3 + [9] * 4
    driver.Device(1).retain_primary_context().push()
    c = driver.mem_alloc(16)
    driver.memcpy_peer(c, b, 16)
    driver.memcpy_dtoh(got, c)
    assert got.tolist() == [4, 3, 2, 1] * 3 + [9] * 4
    with pytest.raises(driver.LogicError, match="memory of one device"):
        driver.memcpy_dtod(c, b, 16)


def test_modules_and_their_variables() -> None:
    driver = started()
    said = []
    held = driver.module_from_buffer(AXPY.encode(), message_handler=lambda *a: said.append(a))
    assert said == [(True, "", "")]
    address, size = held.get_global("counter")
    got = np.empty(1, np.int32)
    driver.memcpy_dtoh(got, address)
    assert size == 4 and got[0] == 41
    with pytest.raises(driver.LogicError, match=r"named symbol not found \(nobody\)"):
        held.get_function("nobody")
    with pytest.raises(driver.LogicError, match="PTX JIT compilation failed: ptx: line"):
        driver.module_from_buffer(AXPY.replace("fma.rn", "fma").encode(),
                                  message_handler=lambda *a: said.append(a))
    assert said[1][0] is False and "fma.f32" in said[1][2]
    with pytest.raises(driver.LogicError, match="expected PTX, got machine code"):
        driver.module_from_buffer(b"\x7fELF...")
    with pytest.raises(driver.LogicError, match="expected a target up to sm_90, got sm_100"):
        driver.module_from_buffer(AXPY.replace("sm_80", "sm_100").encode())


@pytest.mark.parametrize("grid, block, shared, words", [
    ((1, 1, 1), (2048, 1, 1), 0, "block X 2048 of 1024"),
    ((1, 1, 1), (32, 64, 1), 0, "threads 2048 of 1024"),
    ((1, 65536, 1), (1, 1, 1), 0, "grid Y 65536 of 65535"),
    ((0, 1, 1), (1, 1, 1), 0, "grid (0, 1, 1)"),
    ((1, 1, 1), (1, 1, 1), 50000, "dynamic shared bytes 50000 of 49152")])
def test_launches_that_no_device_takes(grid: tuple[int, ...], block: tuple[int, ...], shared: int,
                                       words: str) -> None:
    driver = started()
    f = driver.module_from_buffer(AXPY.encode()).get_function("axpy").prepare("PPfI")
    with pytest.raises(driver.LogicError) as caught:
        f.prepared_async_call(grid, block, None, 0, 0, 1.0, 0, shared_size=shared)
    assert words in str(caught.value)
    if shared:
        f.set_attribute(driver.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, shared)
        f.prepared_async_call(grid, block, None, 0, 0, 1.0, 0, shared_size=shared)


def test_arguments_are_counted() -> None:
    driver = started()
    f = driver.module_from_buffer(AXPY.encode()).get_function("axpy").prepare("PPf")
    with pytest.raises(driver.LogicError, match="20 bytes of parameters instead of 24"):
        f.prepared_call((1, 1), (1, 1, 1), 0, 0, 1.0)
    with pytest.raises(TypeError, match="expected NumPy scalars or allocations"):
        f(1, 2, 3.0, 4, block=(1, 1, 1))
    there = driver.mem_alloc(4)
    f(there, there, np.float32(1), np.uint32(0), block=(1, 1, 1))


@pytest.mark.parametrize("lazy", [False, True])
def test_a_fault_is_a_launch_error_and_breaks_the_device(lazy: bool) -> None:
    driver = started(lazy=lazy)
    with pytest.raises(driver.LaunchError, match=r"launch failed: kernel axpy, PTX line .* out of"):
        axpy(driver, said=101)
        driver.Context.synchronize()
    with pytest.raises(driver.LaunchError):
        driver.mem_alloc(4)


# -- lazy work: as late as the program allows --------------------------------------------------

def test_work_waits_until_somebody_waits_for_it() -> None:
    driver = started(lazy=True)
    stream, other = driver.Stream(), driver.Stream()
    a = driver.mem_alloc(4)
    host = np.array([7], np.uint32)
    driver.memcpy_htod_async(a, host, stream)
    host[0] = 8  # too early: the copy has not happened
    got = np.zeros(1, np.uint32)
    driver.memcpy_dtoh_async(got, a, stream)
    event = driver.Event().record(stream)
    assert got[0] == 0 and not stream.is_done() and not event.query()
    other.synchronize()
    assert got[0] == 0
    event.synchronize()
    assert got[0] == 8 and stream.is_done()


def test_streams_run_apart_unless_ordered() -> None:
    driver = started(lazy=True)
    one, two = driver.Stream(), driver.Stream()
    a = driver.mem_alloc(4)
    got = np.zeros(1, np.uint32)
    driver.memset_d32(a, 1, 1)
    driver.memset_d32_async(a, 2, 1, one)
    driver.memcpy_dtoh_async(got, a, two)
    two.synchronize()
    assert got[0] == 1  # nothing made it wait
    event = driver.Event().record(one)
    two.wait_for_event(event)
    driver.memcpy_dtoh_async(got, a, two)
    two.synchronize()
    assert got[0] == 2
    driver.memset_d32_async(a, 3, 1, one)
    driver.memcpy_dtoh(got, a)  # the default stream comes after all others
    assert got[0] == 3


def test_events_measure_and_order() -> None:
    driver = started()
    first, last = driver.Event(), driver.Event()
    with pytest.raises(driver.LogicError, match="not recorded"):
        first.time_till(last)
    first.record()
    last.record()
    assert first.time_till(last) == 1.0 and last.query()


# -- graphs ------------------------------------------------------------------------------------

def test_a_captured_stream_is_replayed() -> None:
    driver = started()
    library, stream = driver.library, driver.Stream()
    handle, graph, run = ctypes.c_void_p(stream.handle), ctypes.c_void_p(), ctypes.c_void_p()
    f = driver.module_from_buffer(AXPY.encode()).get_function("axpy").prepare("PPfI")
    x, y = driver.mem_alloc(4), driver.mem_alloc(4)
    driver.memcpy_htod(x, np.ones(1, np.float32))
    driver.memcpy_htod(y, np.zeros(1, np.float32))
    assert library.cuStreamBeginCapture_v2(handle, ctypes.c_int(1)) == 0
    f.prepared_async_call((1, 1, 1), (32, 1, 1), stream, x, y, 2.0, 1)
    with pytest.raises(driver.LogicError, match="not permitted when stream is capturing"):
        stream.synchronize()
    assert library.cuStreamEndCapture(handle, ctypes.byref(graph)) == 0
    assert library.cuGraphInstantiateWithFlags(ctypes.byref(run), graph, ctypes.c_ulonglong(0)) == 0
    assert library.cuGraphDestroy(graph) == 0
    for _ in range(3):
        assert library.cuGraphLaunch(run, handle) == 0
    got = np.empty(1, np.float32)
    driver.memcpy_dtoh(got, y)
    assert got[0] == 6
    assert library.cuGraphExecDestroy(run) == 0 and library.cuGraphLaunch(run, handle) == 1
    text = ctypes.c_char_p()
    library.cuGetErrorName(ctypes.c_int(1), ctypes.byref(text))
    assert text.value == b"CUDA_ERROR_INVALID_VALUE"
