"""benchmarks/sgd.py keeps its contract, and trains as NumPy by hand does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "sgd.py"
KEYS = {"framework", "net", "batch", "threads", "examples_per_second", "first_step_seconds",
        "loss_first", "loss_last"}


def measure(framework: str, net: str, batch: int) -> dict[str, Any]:
    words = [sys.executable, str(SCRIPT), "--framework", framework, "--net", net, "--batch",
             str(batch), "--threads", "1", "--seconds", "0.05", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    row: dict[str, Any] = json.loads(lines[0])
    assert row.keys() >= KEYS and row["examples_per_second"] > 0
    return row


@pytest.mark.parametrize(("net", "batch"), [("mlp0", 1), ("mlp1", 7)])
def test_losses_agree_with_numpy(net: str, batch: int) -> None:
    ours, judge = measure("flambeau", net, batch), measure("numpy", net, batch)
    assert ours["loss_first"] == pytest.approx(judge["loss_first"], rel=1e-5)
    assert ours["loss_16"] == pytest.approx(judge["loss_16"], rel=1e-4)


def test_a_convolutional_net_trains_as_in_the_other_frameworks() -> None:
    """PyTorch 2.13, JAX 0.10 and Theano-PyMC 1.1 give these losses for the seeded net and data."""
    row = measure("flambeau", "cnn32", 2)
    assert row["loss_first"] == pytest.approx(2.3795025, rel=1e-5)
    assert row["loss_16"] == pytest.approx(2.3119898, rel=1e-4)
