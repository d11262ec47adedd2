"""Random programs as PTX, executed by the emulator, against the reference device."""

from __future__ import annotations

import numpy as np
import pytest

from emulator import programs
from program_generator import Programs

BLOCKS = 4
EACH = 15


@pytest.mark.parametrize("block", range(BLOCKS))
def test_random_programs(block: int) -> None:
    with np.errstate(all="ignore"):
        for seed in range(EACH * block, EACH * block + EACH):
            roots = Programs(seed).graph(6)
            assert programs.mismatch(roots) is None, f"seed {seed}"
