"""The six benchmark nets at toy sizes: training steps on the emulated GPU lose what the CPU loses.

The lists of layers are the benchmarks' own; kernels, poolings and depths are theirs too.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau import nn, optim

from emulator.installed import emulated

TOYS = {"mlp0": ((20, 10), 0), "mlp1": ((20, 12, 10), 0), "mlp3": ((20, 12, 11, 12, 10), 0),
        "cnn32": ((2, 5, 10), 16), "cnn96": ((2, 5, 10), 33), "cnn256": ((2, 5, 10), 56)}
BATCH, STEPS = 2, 3


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The benchmarks' nets and their Flambeau models."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    return importlib.import_module("peers.nets"), importlib.import_module("peers.on_flambeau")


@pytest.mark.parametrize("name", TOYS)
def test_training_steps(peers: tuple[Any, Any], name: str) -> None:
    nets, ours = peers
    sizes, side = TOYS[name]
    whole = nets.NETS[name]
    assert len(sizes) == len(whole.sizes)
    net = nets.Net(sizes, side, tuple((maps, kernel, pool) for maps, (_, kernel, pool)
                                      in zip((1, 2), whole.convs)))
    batches = nets.batches(net, BATCH, STEPS)

    def run(device: str) -> tuple[list[float], list[np.ndarray]]:
        model = ours.model(net, nets.weights(net)).to(device)
        step = model.compile(nn.ClassNLLCriterion(), optim.SGD(model.params(), lr=0.1))
        data = [(fb.tensor(x, device=device), fb.tensor(y, device=device)) for x, y in batches]
        losses = [float(step(*data[i])) for i in range(STEPS)]
        return losses, [p.numpy() for p in model.params()]

    with emulated(races=side < 30) as driver:  # looking for races doubles the large nets' time
        there, weights = run("cuda")
        assert "launch" in driver.names()
    here, wanted = run("cpu")
    np.testing.assert_allclose(there, here, rtol=2e-6)
    for a, b in zip(weights, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
