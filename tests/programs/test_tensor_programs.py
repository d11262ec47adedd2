"""Random programs in the user's language, judged by NumPy, by the reference device, by other thread
counts, by central differences, and as compiled functions with state."""

from __future__ import annotations

import numpy as np
import pytest

import tensor_compare


@pytest.mark.parametrize("start", range(0, 60, 10))
@pytest.mark.parametrize("judge", ["eager", "second_opinion", "compiled", "gradients"])
def test_programs(judge: str, start: int) -> None:
    with np.errstate(all="ignore"):
        for seed in range(start, start + 10):
            assert getattr(tensor_compare, judge)(seed) is None, f"{judge}({seed})"
