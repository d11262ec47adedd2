"""Every test here has an emulated driver of its own in PyCUDA's place."""

from __future__ import annotations

import gc

import pytest
from flambeau.runtime.cuda import drivers

from emulator.driver import Driver


@pytest.fixture
def machine():
    """Makes emulated drivers and puts the latest one to use: machine(devices=2, memory=...)."""
    def make(**options):
        driver = Driver(**options)
        drivers.use(driver, driver.library)
        return driver

    yield make
    gc.collect()
    drivers.use(None)


@pytest.fixture
def driver(machine):
    """One emulated GPU."""
    return machine()
