"""The op tests ask what the user's functions mean, on generated code unless told otherwise.

FLAMBEAU_TEST_DEVICE: cpu, reference (NumPy, node by node), cuda, cuda-emulated, which runs the PTX
of every op on tests/emulator, or ptxas, which runs on the CPU and assembles all kernels for GPUs.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest
from flambeau.compiler.config import override

from emulator.assembled import assembling, find_ptxas
from emulator.installed import emulated

DEVICE = os.environ.get("FLAMBEAU_TEST_DEVICE", "cpu")
HOST_ONLY = {  # what a test asks of the host's memory or of its graphs alone
    "test_a_chain_of_slices_is_one_put": "graphs on a device carry marks",
    "test_marks_lead_to_the_leaves": "graphs on a device carry marks",
    "test_the_same_bits_on_any_number_of_threads": "asks of the host's threads",
    "test_zeros_are_not_multiplied": "convolutions are dense there: a zero times infinity is NaN",
    "test_shared_numpy_memory": "shares the host's memory",
    "test_arrays": "shares the host's memory",
    "test_casts": "moves to the CPU and back",
    "test_repr": "the text names the device",
    "test_numpy_python_and_pickle": "the text names the device"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what only the host can do."""
    for item in items if DEVICE.startswith("cuda") else ():
        reason = HOST_ONLY.get(item.name)
        if reason and "tests/ops/" in item.path.as_posix():
            item.add_marker(pytest.mark.skip(reason=reason))


def _devices() -> ExitStack:
    """The device for the whole run, from before test modules are read: they make tensors too."""
    made = ExitStack()
    if DEVICE == "cuda-emulated":
        made.enter_context(emulated())
        made.enter_context(override(device="cuda"))
    elif DEVICE == "ptxas":
        ptxas = find_ptxas()
        assert ptxas is not None, "no ptxas: install the test extra"
        made.enter_context(assembling(ptxas, os.environ.get("FLAMBEAU_TEST_REPORT")))
    else:
        made.enter_context(override(device=DEVICE))
    return made


_OPEN = _devices() if DEVICE != "cpu" else ExitStack()


def pytest_sessionfinish() -> None:
    """Ends what `_devices` began; kernels that ptxas refused are told here."""
    _OPEN.close()
