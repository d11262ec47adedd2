"""The hook for compute-sanitizer, by stand-ins for it, on the emulator."""

from __future__ import annotations

from pathlib import Path

import pytest
import sanitized

GOOD = """#!/bin/sh
test "$1 $3 $4" = "--tool --error-exitcode 9" || exit 2
echo "========= COMPUTE-SANITIZER $2"
shift 4
"$@" || exit $?
echo "========= ERROR SUMMARY: 0 errors"
"""
BAD = """#!/bin/sh
echo "========= Invalid __global__ write of size 4 bytes"
exit 9
"""


def stand_in(folder: Path, text: str) -> str:
    path = folder / "compute-sanitizer"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_every_part_runs_under_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAMBEAU_TEST_DEVICE", "cuda-emulated")
    told = sanitized.watch(stand_in(tmp_path, GOOD), "memcheck")
    assert "COMPUTE-SANITIZER memcheck" in told and told.count(": done") == len(sanitized.PARTS)


def test_a_fault_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"racecheck: expected no faults, got status 9:\n.*In"):
        sanitized.watch(stand_in(tmp_path, BAD), "racecheck")
