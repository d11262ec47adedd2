"""The device `cuda`: NVIDIA GPUs through PyCUDA. `device(index)` is the door.

Importing this package loads neither PyCUDA nor the driver.
"""

from __future__ import annotations

from flambeau.runtime import devices
from flambeau.runtime.cuda import drivers
from flambeau.runtime.cuda.drivers import check as check
from flambeau.runtime.cuda.gpu import Gpu

_gpus: dict[int, Gpu] = {}
drivers.on_change(_gpus.clear)
drivers.on_change(devices.forget)


def device(index: int) -> Gpu:
    """The GPU of that number. Raises RuntimeError when it is not there."""
    found = _gpus.get(index)
    if found is None:
        found = _gpus.setdefault(index, Gpu(index))
    return found
