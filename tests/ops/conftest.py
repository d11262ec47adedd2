"""The op tests ask what the user's functions mean, on generated code unless told otherwise.

FLAMBEAU_TEST_DEVICE: cpu, reference (NumPy, node by node), cuda, or cuda-emulated, which runs the
PTX of every op on tests/emulator.
"""

from __future__ import annotations

import os

import pytest
from flambeau.compiler.config import override

from emulator.installed import emulated

DEVICE = os.environ.get("FLAMBEAU_TEST_DEVICE", "cpu")


@pytest.fixture(autouse=True, scope="session")
def _device():
    if DEVICE == "cuda-emulated":
        with emulated(), override(device="cuda"):
            yield
    else:
        with override(device=DEVICE):
            yield
