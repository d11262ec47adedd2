"""Without a GPU: every way to ask for one says what is missing, and the host's tensors work."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from flambeau.compiler.config import override
from flambeau.runtime import devices, memory
from flambeau.runtime.cuda import drivers


@pytest.fixture(params=["no driver", "no PyCUDA", "no GPU", "an error"])
def why(request, monkeypatch):
    """One thing after another is missing; gives the words that name it."""
    class Device:
        @staticmethod
        def count():
            if request.param == "an error":
                raise ValueError("cuDeviceGetCount failed: unknown error")
            return 0

    class Driver:
        init = staticmethod(lambda: None)

    Driver.Device = Device
    words = {"no driver": "the NVIDIA driver's libcuda.so.1 is not on this machine",
             "no PyCUDA": "PyCUDA is missing: pip install 'flambeau[cuda]'",
             "no GPU": "the NVIDIA driver finds no GPU",
             "an error": "the NVIDIA driver answers: cuDeviceGetCount failed: unknown error"}
    said = words[request.param]
    if request.param in ("no driver", "no PyCUDA"):
        monkeypatch.setattr(drivers, "_missing", lambda: said)
    else:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        drivers.use(Driver())
    yield said
    drivers.use(None)


def test_asking_for_a_gpu_says_what_is_missing(why):
    for name, ask in (("zeros", lambda: fb.zeros(3, device="cuda")),
                      ("tensor", lambda: fb.tensor([1.0], device="cuda:1")),
                      ("to", lambda: fb.ones(3).to("cuda")), ("cuda", lambda: fb.ones(3).cuda())):
        with pytest.raises(RuntimeError) as error:
            ask()
        assert str(error.value) == f"{name}: expected a CUDA device, got none: {why}"


def test_hidden_devices_are_named(monkeypatch):
    class Driver:
        init = staticmethod(lambda: None)

        class Device:
            count = staticmethod(lambda: 0)

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    drivers.use(Driver())
    try:
        assert drivers.reason() == ("the NVIDIA driver finds no GPU (CUDA_VISIBLE_DEVICES=7)")
    finally:
        drivers.use(None)


def test_names_of_devices():
    with pytest.raises(ValueError, match="zeros: expected device 'cpu', 'cuda' or 'cuda:N', "
                                         "got 'gpu'"):
        fb.zeros(3, device="gpu")
    with pytest.raises(ValueError, match="device: expected cpu or cuda, got 'tpu'"):
        devices.find("tpu")
    x = fb.ones(3, device="cpu")
    assert x.device == "cpu" and not x.is_cuda and x.cpu() is x and x.to("cpu") is x


def test_the_default_device_is_the_flags(why):
    with override(device="cuda"), pytest.raises(RuntimeError, match="rand"):
        fb.rand(3)


def test_the_host_is_a_device_like_others():
    host = devices.find("cpu")
    made = host.allocate(12)
    given, got = np.arange(3, dtype=np.float32), np.empty(3, np.float32)
    host.copy_in(made, given)
    host.copy_out(devices.move(made, "cpu"), got)
    host.synchronize()
    assert got.tolist() == given.tolist() and host.target().kind == "cpu"


def test_a_devices_memory_has_no_address():
    """What the host's programs rely on to notice a tensor that lies elsewhere."""
    assert issubclass(memory.Elsewhere, RuntimeError)
