"""The emulated driver in PyCUDA's place, for the device `cuda`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flambeau.runtime import devices
from flambeau.runtime.cuda import allocator, drivers

from emulator.driver import Driver


def exact(nbytes: int) -> int:
    """Bytes to reserve for so many: no more, so that an access behind them is seen."""
    return max(nbytes, 1)


@contextmanager
def emulated(**options: Any) -> Iterator[Driver]:
    """While it is open, `cuda` is an emulated device. options: those of `Driver`.

    Memory is reserved to the byte, and work is done as late as the program allows.
    """
    driver = Driver(**{"memory": 1 << 30, "lazy": True, **options})
    rounded = allocator.rounded
    allocator.rounded = exact
    devices.forget()
    drivers.use(driver, driver.library)
    try:
        yield driver
    finally:
        allocator.rounded = rounded
        drivers.use(None)
        devices.forget()
