"""Random programs: the compiler against the reference device, and 1 against 2 and 5 threads."""

from __future__ import annotations

import numpy as np
import pytest
from flambeau.runtime import pool

from program_compare import compiled, mismatch
from program_generator import Programs


@pytest.mark.parametrize("block", range(10))
def test_values(block: int) -> None:
    with np.errstate(all="ignore"):
        for seed in range(block * 30, block * 30 + 30):
            programs = Programs(seed)
            roots = programs.graph(int(programs.rng.integers(1, 14)))
            assert mismatch(roots) is None, f"seed {seed}"


@pytest.mark.parametrize("seed", range(20))
def test_same_bits_for_any_number_of_threads(seed: int) -> None:
    rng = np.random.default_rng(seed)
    import flambeau as fb

    x = fb.tensor(rng.standard_normal((301, 777)).astype(np.float32))
    w = fb.tensor(rng.standard_normal((777, 130)).astype(np.float32))
    with_threads = []
    for n in (1, 2, 5):
        with pool.threads(n):
            y = fb.matmul(x, w)
            results = [x.sum(), x.sum(0), x.mean(1), fb.softmax(y, -1), fb.tanh(x) * x, y.argmax(0),
                       fb.cumsum(x, seed % 2)]
            with_threads.append([r.numpy().tobytes() for r in results])
    assert with_threads[0] == with_threads[1] == with_threads[2]


def test_random_program_threads() -> None:
    with np.errstate(all="ignore"):
        for seed in range(1000, 1040):
            programs = Programs(seed)
            roots = programs.graph(8)
            bits = []
            for n in (1, 2, 5):
                with pool.threads(n):
                    bits.append([a.tobytes() for a in compiled(roots)])
            assert bits[0] == bits[1] == bits[2], f"seed {seed}"
