"""The op tests ask what the user's functions mean, so they run on the reference device.

FLAMBEAU_TEST_DEVICE=cpu runs them on generated code instead (slower: each case compiles).
"""

from __future__ import annotations

import os

import pytest
from flambeau.compiler.config import override


@pytest.fixture(autouse=True, scope="session")
def _device():
    with override(device=os.environ.get("FLAMBEAU_TEST_DEVICE", "cpu")):
        yield
