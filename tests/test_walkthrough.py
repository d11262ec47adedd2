"""The walkthrough runs: its asserts are the claims it makes about the compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WALKTHROUGH = Path(__file__).resolve().parent.parent / "docs" / "walkthrough.py"


def test_walkthrough() -> None:
    made = subprocess.run([sys.executable, str(WALKTHROUGH)], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr
    for shown in ("%2 = mul f32[300,200]", "('sum', 11, (1, 1), (0, 1), 11)", "split_reductions",
                  "16200*p + 200*q + r", "define internal void @rows_mul", "slot 3: output 0",
                  "compiled then: disk", "outputs updated in place", "after merge_loops: 2"):
        assert shown in made.stdout, shown
