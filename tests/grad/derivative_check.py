"""Derivatives of one function against each other and against differences, in float64.

Everything is asked along one random direction v with one random cotangent w, which sees every entry
of the Jacobian J at the price of one number: w.(Jv) by differences, by reverse mode and by forward
mode, and for second order the change of that number along another direction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flambeau as fb
import numpy as np
from derivative_cases import Case
from flambeau import trees

STEP = 1e-3  # of differences of fourth order: their error is about 1e-12 of the function's scale
STENCIL = ((2, -1 / 12), (1, 8 / 12), (-1, -8 / 12), (-2, 1 / 12))
Arrays = list[np.ndarray]


def outputs(case: Case, tensors: list[fb.Tensor]) -> list[fb.Tensor]:
    """The floating results as a list."""
    found: list[fb.Tensor] = []
    trees.flatten(case.fn(*tensors), found)
    return [t for t in found if t.dtype.is_inexact]


def like(random: np.random.Generator, shapes: list[Any]) -> Arrays:
    """Random numbers of those shapes and kinds, of at most 1."""
    made = []
    for t in shapes:
        a = random.uniform(-1, 1, t.shape)
        complex_ = np.dtype(t.dtype.numpy if isinstance(t, fb.Tensor) else t.dtype).kind == "c"
        made.append(a + 1j * random.uniform(-1, 1, t.shape) if complex_ else a)
    return made


def dot(a: list[Any], b: list[Any]) -> fb.Tensor:
    """The real inner product: the sum of Re(conj(a) b)."""
    total: Any = 0.0
    for x, y in zip(a, b):
        product = (x.conj() * y).real if x.dtype.is_complex or y.dtype.is_complex else x * y
        total = total + product.sum()
    return total if isinstance(total, fb.Tensor) else fb.tensor(0.0, dtype=fb.float64)


def tensors(arrays: Arrays) -> list[fb.Tensor]:
    return [fb.tensor(a) for a in arrays]


def moved(start: Arrays, along: Arrays, steps: float) -> list[fb.Tensor]:
    return tensors([a + steps * STEP * d for a, d in zip(start, along)])


class Check:
    """The numbers of one case, all lazy until they are asked for together."""

    def __init__(self, name: str, case: Case, kind: str = "real") -> None:
        self.name = f"{name} ({kind})"
        random = np.random.default_rng(3)
        start = case.arrays(kind)
        given = tensors(start)
        shapes = outputs(case, given)
        assert shapes, f"{name}: no floating result"
        w, v = tensors(like(random, shapes)), like(random, start)
        self.pairs: list[tuple[str, fb.Tensor, fb.Tensor, float]] = []

        def pulled(*xs: fb.Tensor) -> fb.Tensor:
            """w.J v as a function of where it is taken."""
            _, back = fb.vjp(lambda *ts: outputs(case, list(ts)), *xs)
            return dot(tensors(v), list(back(w)))

        self.exact = pulled(*given)
        self.numeric = self.differences(lambda xs: dot(w, outputs(case, xs)), start, v)
        _, slopes = fb.jvp(lambda *ts: outputs(case, list(ts)), given, tensors(v))
        self.forward = dot(w, slopes)
        self.pairs = [("reverse mode", self.exact, self.numeric, 1e-7),
                      ("forward mode", self.forward, self.exact, 1e-9)]
        if case.smooth:
            along = like(random, start)
            _, second = fb.vjp(pulled, *given)
            self.pairs.append((
                "second order", dot(tensors(along), list(second(fb.tensor(1.0, dtype=fb.float64)))),
                self.differences(lambda xs: pulled(*xs), start, along), 1e-6))

    def differences(self, f: Callable[[list[fb.Tensor]], fb.Tensor], start: Arrays, v: Arrays
                    ) -> fb.Tensor:
        """The derivative of f, one number, at start along v."""
        parts = [f(moved(start, v, k)) * weight for k, weight in STENCIL]
        return (parts[0] + parts[1] + parts[2] + parts[3]) / STEP

    def values(self) -> list[fb.Tensor]:
        return [t for _, a, b, _ in self.pairs for t in (a, b)]

    def failures(self) -> list[str]:
        """What does not agree, in words."""
        found = []
        for what, got, expected, tolerance in self.pairs:
            a, b = got.item(), expected.item()
            if not abs(a - b) <= tolerance * (1 + abs(b)):
                found.append(f"{self.name}: {what}: expected {b:.10g}, got {a:.10g}")
        return found
