"""What compute-sanitizer watches: a program of each family, and training steps. Prints a line for
each part. With FLAMBEAU_TEST_DEVICE=cuda-emulated it runs on the emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import flambeau as fb
import numpy as np
from flambeau import nn, optim

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> fb.Tensor:
    """Normal numbers on the GPU."""
    return fb.tensor(RNG.standard_normal(shape).astype(np.float32), device="cuda")


def elementwise() -> None:
    x = numbers(1003)
    ((x * 0.5).tanh() + x[::-1].exp()).numpy()
    (numbers(33, 65).t()[::2] > 0).numpy()


def reductions() -> None:
    x = numbers(33, 1030)
    for t in (x.sum(), x.sum(0), x.amax(1), x.argmin(1), x.softmax(1), x.logsumexp(1)):
        t.numpy()


def products() -> None:
    (numbers(70, 130) @ numbers(130, 50)).relu().numpy()
    (numbers(64, 64).half() @ numbers(64, 64).half()).numpy()
    fb.conv2d(numbers(2, 3, 9, 9), numbers(4, 3, 3, 3), padding=1).numpy()


def scans() -> None:
    numbers(5, 300).cumsum(1).numpy()
    numbers(300, 5).cumsum(0).numpy()


def scatters() -> None:
    base = numbers(50, 4)
    where = fb.tensor(RNG.integers(0, 50, 300), device="cuda")
    base.index_add_(0, where, numbers(300, 4)).numpy()
    base[where[:9]] = 0.0
    base[where].numpy()
    numbers(40, 7).sort(0)[0].numpy()


def training() -> None:
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 5), nn.LogSoftMax()).cuda()
    step = model.compile(nn.ClassNLLCriterion(), optim.SGD(model.params(), lr=0.1, momentum=0.9))
    x, y = numbers(17, 20), fb.tensor(RNG.integers(0, 5, 17), device="cuda")
    losses = [float(step(x, y)) for _ in range(5)]  # the last ones are replayed graphs
    assert losses[-1] < losses[0], losses


CHECKS = ("memcheck", "racecheck", "synccheck")  # initcheck cannot know what LLVM's wide loads drop
PARTS = (elementwise, reductions, products, scans, scatters, training)


def watch(tool: str, check: str) -> str:
    """What all parts print under compute-sanitizer. Raises RuntimeError with what it says when it
    finds a fault or a part fails."""
    made = subprocess.run([tool, "--tool", check, "--error-exitcode", "9", sys.executable,
                           __file__], capture_output=True, text=True)
    told = [f"{part.__name__}: done" for part in PARTS]
    if made.returncode or [line for line in made.stdout.splitlines() if line in told] != told:
        raise RuntimeError(f"{check}: expected no faults, got status {made.returncode}:\n"
                           f"{made.stdout}{made.stderr}")
    return made.stdout


def main() -> None:
    """All parts, in order."""
    context = nullcontext()
    if os.environ.get("FLAMBEAU_TEST_DEVICE") == "cuda-emulated":
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        from emulator.installed import emulated
        context = emulated()
    with context:
        for part in PARTS:
            part()
            fb.cuda.synchronize()
            print(f"{part.__name__}: done", flush=True)


if __name__ == "__main__":
    main()
