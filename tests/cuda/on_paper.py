"""What test_pycuda.py runs in a process of its own, with PyCUDA over the paper GPU: the host's side
of everything. Kernels do nothing there, so only copied values are looked at."""

from __future__ import annotations

import ctypes

import flambeau as fb
import numpy as np
from flambeau import nn, optim
from flambeau.runtime.cuda import drivers

PAPER = ctypes.CDLL("libcuda.so.1")


def count(name: str) -> int:
    """One of the paper GPU's counters."""
    return ctypes.c_int.in_dll(PAPER, name).value


def memory_and_copies() -> None:
    x = np.arange(1 << 22, dtype=np.float32)
    t = fb.tensor(x, device="cuda")
    assert np.array_equal(t.numpy(), x) and t.device == "cuda:0"  # in several pieces
    assert np.array_equal(t.cpu().numpy(), x)
    assert fb.cuda.memory_allocated() >= x.nbytes and fb.cuda.memory_info() == (1 << 30, 1 << 32)
    try:
        fb.zeros(1 << 31, dtype="uint8", device="cuda").realize()
    except MemoryError as error:
        assert "got out of memory: 1 GiB of 4 GiB are free" in str(error), error
    else:
        raise AssertionError("expected a MemoryError, got none")
    del t
    fb.cuda.empty_cache()
    fb.cuda.synchronize()


def the_device() -> None:
    assert fb.cuda.device_count() == 1 and fb.cuda.get_device_name() == "Paper GPU"
    properties = fb.cuda.get_device_properties()
    assert (properties.major, properties.minor, properties.multi_processor_count) == (9, 0, 132)
    a, b = fb.cuda.Event(), fb.cuda.Event()
    with fb.cuda.stream(fb.cuda.Stream()) as stream:
        a.record()
        (fb.rand(100, device="cuda") * 2).realize()
        b.record()
        stream.synchronize()
    assert a.query() and a.elapsed_time(b) == 1.0
    fb.cuda.synchronize()


def programs() -> None:
    x = fb.rand(64, 100, device="cuda")
    before = count("paper_launches")
    run = fb.compile(lambda x: (x.softmax(1), (x @ x.t()).sum(), x.sort(1)[0], x[[1, 5]],
                                x.cumsum(1)))
    for _ in range(3):
        fb.cuda.synchronize()
        run(x)
    assert count("paper_launches") > before + 9
    assert "24 registers, 24 bytes of local memory" in run.explain(), run.explain()
    assert run.profile(x)
    made = fb.while_loop(lambda i: i < 0, lambda i: i + 1, fb.zeros((), device="cuda"))
    assert fb.stack([fb.ones(3, device="cuda")] * 2).shape == (2, 3) and made is not None


def training() -> None:
    model = nn.Sequential(nn.Linear(20, 10), nn.Tanh(), nn.Linear(10, 3), nn.LogSoftMax()).cuda()
    step = model.compile(nn.ClassNLLCriterion(), optim.SGD(model.params(), lr=0.1))
    x, y = fb.rand(6, 20, device="cuda"), fb.zeros(6, dtype="int64", device="cuda")
    for _ in range(8):
        step(x, y)
    assert count("paper_replays") > 0, "no graph was replayed"
    fb.cuda.synchronize()


def shared() -> None:
    t = fb.arange(6, device="cuda").realize()
    view = t.__cuda_array_interface__
    assert view["shape"] == (6,) and view["data"][0] % 256 == 0
    assert fb.from_dlpack(t).shape == (6,)


if __name__ == "__main__":
    assert fb.cuda.is_available(), fb.cuda.why_not()
    assert drivers.current().__name__ == "pycuda.driver"
    for part in (memory_and_copies, the_device, programs, training, shared):
        part()
        print(part.__name__, "done", flush=True)
