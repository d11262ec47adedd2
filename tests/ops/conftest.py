"""The op tests ask what the user's functions mean, on generated code unless told otherwise.

FLAMBEAU_TEST_DEVICE: cpu, reference (NumPy, node by node), cuda, cuda-emulated, which runs the PTX
of every op on tests/emulator, or ptxas, which runs on the CPU and assembles all kernels for GPUs.
"""

from __future__ import annotations

import os

import pytest
from flambeau.compiler.config import override

from emulator.assembled import assembling, find_ptxas
from emulator.installed import emulated

DEVICE = os.environ.get("FLAMBEAU_TEST_DEVICE", "cpu")
HOST_ONLY = {  # what a test asks of the host's memory or of its graphs alone
    "test_a_chain_of_slices_is_one_put": "graphs on a device carry marks",
    "test_marks_lead_to_the_leaves": "graphs on a device carry marks",
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


@pytest.fixture(autouse=True, scope="session")
def _device():
    if DEVICE == "cuda-emulated":
        with emulated(), override(device="cuda"):
            yield
    elif DEVICE == "ptxas":
        ptxas = find_ptxas()
        assert ptxas is not None, "no ptxas: install the test extra"
        with assembling(ptxas, os.environ.get("FLAMBEAU_TEST_REPORT")), override(cache="off"):
            yield
    else:
        with override(device=DEVICE):
            yield
