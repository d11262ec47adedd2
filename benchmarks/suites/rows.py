"""What walks along rows: softmax, norms, sums, scans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import Row, numbers

TITLE = "Row by row"
ABOUT = ("Softmax, the loss of a classifier with its gradient, layer norm, sums over each axis, "
         "argmax and running sums of float32 matrices. Seconds a call.")
SHAPES = ((60, 10), (60, 1000), (1000, 1000), (4096, 4096))
# by name: what, flops of an element, how many matrices are read and written
KINDS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "softmax": (lambda x, a: x.softmax(a), 24, 2),
    "loss and gradient": (lambda x, a, y: x.loss_and_gradient(a, y), 26, 2),
    "layer norm": (lambda x, a, w, b: x.layer_norm(a, w, b), 8, 2),
    "sum of all": (lambda x, a: x.sum(a), 1, 1),
    "sums of columns": (lambda x, a: x.sum(a, 0), 1, 1),
    "sums of rows": (lambda x, a: x.sum(a, 1), 1, 1),
    "argmax": (lambda x, a: x.argmax(a), 1, 1),
    "cumsum": (lambda x, a: x.cumsum(a), 1, 2),
}


def data(kind: str, m: int, n: int) -> Callable[[np.random.Generator], list[np.ndarray]]:
    """The operands of one kind."""
    if kind == "layer norm":
        return numbers("float32", (m, n), (n,), (n,))
    if kind == "loss and gradient":
        return lambda rng: [rng.standard_normal((m, n), dtype=np.float32), rng.integers(0, n, m)]
    return numbers("float32", (m, n))


def rows() -> list[Row]:
    """Every kind at every shape, one thread; the larger ones on two."""
    return [Row(f"{kind}, {m}x{n}" + (", 2 threads" if threads > 1 else ""), f, data(kind, m, n),
                threads=threads, flops=float(flops * m * n), nbytes=4.0 * trips * m * n,
                held=4.0 * trips * m * n, group=f"{kind}, threads {threads}", n=m * n,
                quick=(m, n) == (1000, 1000) and threads == 1 and
                kind in ("softmax", "loss and gradient", "sums of rows"),
                tolerance=1e-3 if "sum" in kind else 1e-5)
            for threads in (1, 2) for kind, (f, flops, trips) in KINDS.items() for m, n in SHAPES
            if threads == 1 or m >= 1000]
