"""benchmarks/gpu.py runs through on the emulated GPU, at toy sizes."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import flambeau as fb
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu")


def test_every_part_gives_rows(driver, gpu, monkeypatch):
    monkeypatch.setattr(gpu, "ROUNDS", 1)
    peers = importlib.import_module("peers.on_gpu")
    libraries = {"flambeau": peers.Flambeau()}
    top = gpu.ceilings(libraries, 0.0, length=1000, side=8)
    assert top["copy_gb_per_s"] >= 0 and set(top["product_tflop_per_s"]) == {"flambeau"}
    rows = gpu.kernels(libraries, 0.0, (100,), ((3, 5),))
    rows += gpu.products(libraries, 0.0, ((4, 5, 6),), ((1, 1, 5, 2, 3),))
    assert [r["what"] for r in rows] == ["a * b + tanh(a)", "sum", "softmax", "product",
                                         "convolution"]
    (row,) = gpu.nets(libraries, 0.0, ("mlp0",), (1,))
    assert row["library"] == "flambeau compiled" and 1 < row["loss_first"] < 10


def test_without_a_gpu_it_says_why():
    if fb.cuda.is_available():
        pytest.skip("there is a GPU")
    made = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "gpu.py")],
                          capture_output=True, text=True)
    assert made.returncode == 1
    assert made.stderr.startswith("gpu: expected a CUDA device, got none: ")
