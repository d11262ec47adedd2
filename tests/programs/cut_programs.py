"""Random elementwise programs, cut into pieces at random places: the same bits however it is done.

No rule may round a product and a sum together because they share a kernel. Sums are left out, for
the order of their terms follows the plan of the kernel they are in, and so are the spellings that
`stabilise.py` makes stable and the signs of zeros, which rules may move (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Callable

import flambeau as fb
import numpy as np

Step = tuple[Callable[..., fb.Tensor], tuple[int, ...]]

BINARY: tuple[Callable[..., fb.Tensor], ...] = (
    lambda x, y: x * y, lambda x, y: x * y, lambda x, y: x + y, lambda x, y: x + y,
    lambda x, y: x - y, lambda x, y: x - y, lambda x, y: x / (y * y + 1.25),
    fb.maximum, lambda x, y: fb.where(x < y, y, -x))
UNARY: tuple[Callable[..., fb.Tensor], ...] = (
    fb.tanh, fb.abs, lambda x: -x, lambda x: x * 0.3 - 1.7, lambda x: x.t(), lambda x: x[:, 2:3],
    lambda x: 2.5 - x, lambda x: x * x)


class Program:
    """Leaves of shape (n, n), which broadcast with their own columns, and steps over values."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        dtype = (np.float32, np.float64, np.float16)[seed % 5 % 3]
        n = (5, 16, 37)[seed % 3]
        self.leaves = [rng.standard_normal((n, n)).astype(dtype) for _ in range(2)]
        self.steps: list[Step] = []
        columns: set[int] = set()
        for number in range(2, 14):
            recent = [int(rng.integers(max(0, number - 6), number)) for _ in range(2)]
            if rng.random() < 0.7:
                f = BINARY[int(rng.integers(len(BINARY)))]
                column = set(recent) <= columns
            else:
                f, recent = UNARY[int(rng.integers(len(UNARY)))], recent[:1]
                if recent[0] in columns and f in UNARY[4:6]:
                    f = fb.abs
                column = recent[0] in columns or f is UNARY[5]
            columns |= {number} if column else set()
            self.steps.append((f, tuple(recent)))

    def play(self, leaves: list[fb.Tensor], cuts: np.ndarray | None = None) -> list[fb.Tensor]:
        """Every value; with `cuts`, those it names are computed as soon as they are recorded."""
        values = list(leaves)
        for f, operands in self.steps:
            values.append(f(*(values[i] for i in operands)))
            if cuts is not None and cuts[len(values) - 1]:
                values[-1].realize()
        return values[len(leaves):]


def differ(seed: int) -> str | None:
    """Where the last value, or one on the way, has other bits when the program is cut."""
    program = Program(seed)
    rng = np.random.default_rng([seed, 1])

    def leaves() -> list[fb.Tensor]:
        return [fb.tensor(leaf) for leaf in program.leaves]

    whole = program.play(leaves())
    want = whole[-1].numpy()  # nobody has asked for the others: they are computed again below
    got = {"all, later": [v.numpy() for v in whole]}
    cuts = rng.random(len(whole) + 2) < 0.3
    got["cut"] = [v.numpy() for v in program.play(leaves(), cuts)]
    with fb.eager():
        got["eager"] = [v.numpy() for v in program.play(leaves())]
    compiled = fb.compile(lambda *x: tuple(program.play(list(x))))
    got["compiled"] = [v.numpy() for v in compiled(*leaves())]
    for how, values in got.items():
        if not np.array_equal(values[-1], want, equal_nan=True):
            return f"{how}: the last value is not what it was alone"
        for i, (x, y) in enumerate(zip(values, got["eager"], strict=True)):
            if not np.array_equal(x, y, equal_nan=True):
                return f"{how}: value {i} is not what it is when it is eager"
    return None
