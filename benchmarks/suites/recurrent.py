"""Recurrent nets: loss and gradients through time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import Row

TITLE = "Recurrent nets"
ABOUT = ("Elman nets and LSTMs with 128 inputs and 128 states: the mean square of the last state, "
         "and its gradient by all weights. float32. Seconds a call.")
INPUTS = STATES = 128
GATES = {"elman": 1, "lstm": 4}


def data(kind: str, steps: int, batch: int) -> Callable[[np.random.Generator], list[np.ndarray]]:
    """Inputs, the two matrices and the bias."""
    def made(rng: np.random.Generator) -> list[np.ndarray]:
        shapes = ((steps, batch, INPUTS), (GATES[kind] * STATES, INPUTS),
                  (GATES[kind] * STATES, STATES), (GATES[kind] * STATES,))
        x, *weights = (rng.standard_normal(s, dtype=np.float32) for s in shapes)
        return [x, *(w * np.float32(0.08) for w in weights)]
    return made


def row(kind: str, steps: int, batch: int, threads: int) -> Row:
    """Forward, and backward by inputs of the step and by both matrices."""
    weights = GATES[kind] * STATES * (INPUTS + STATES)
    says = (lambda x, *a: x.elman(*a)) if kind == "elman" else (lambda x, *a: x.lstm(*a))
    return Row(f"{kind}, {steps} steps, batch {batch}" + (", 2 threads" if threads > 1 else ""),
               says, data(kind, steps, batch), threads=threads,
               flops=2.0 * steps * batch * GATES[kind] * STATES * (2 * INPUTS + 3 * STATES),
               nbytes=4.0 * steps * weights * (1 if batch == 1 else 0) + 8.0 * weights,
               held=8.0 * weights, group=f"{kind}, batch {batch}, threads {threads}", n=steps,
               quick=(steps, batch) == (20, 16) and threads == 1, tolerance=1e-3)


def rows() -> list[Row]:
    """20 to 200 steps, batch 1 to 64."""
    return [row(kind, steps, batch, threads) for threads in (1, 2) for kind in GATES
            for steps in (20, 100, 200) for batch in (1, 16, 64) if threads == 1 or batch == 64]
