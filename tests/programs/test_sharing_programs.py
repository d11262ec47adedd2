"""Random programs of views, in-place writes, set_ and resize_ against a NumPy twin."""

from __future__ import annotations

import pytest

from sharing_programs import play


@pytest.mark.parametrize("mode", ["reference", "lazy", "eager"])
def test_programs(mode: str) -> None:
    for seed in range(40 if mode == "reference" else 12):
        assert play(seed, mode=mode) is None, f"play({seed}, mode={mode!r})"
