"""More threads, and more work."""

from __future__ import annotations

import os

from . import Row, elementwise, matmul, numbers, sgd

TITLE = "Scaling"
ABOUT = ("The same work on one, two and all threads; and work that grows by tens, whose cost must "
         "grow no faster (beyond what leaving a cache costs). Seconds a call.")


def counts() -> list[int]:
    """One, two, four ... threads up to all."""
    cores = os.cpu_count() or 1
    return sorted({1, *(2 ** i for i in range(1, 12) if 2 ** i <= cores), cores})


def rows() -> list[Row]:
    """Threads first, then sizes."""
    made = []
    for threads in counts():
        for name in ("mlp3", "cnn96", "cnn256"):
            made.append(sgd.row(name, 60, threads))
        made.append(elementwise.row("tanh, exp, sigmoid", 1_000_000, "float32", threads))
        made.append(matmul.row(1024, 1024, 1024, "nn", threads=threads))
    for power in range(1, 9):
        n = 10 ** power
        for name, says, trips in (("sum", lambda x, a: x.sum(a), 1),
                                  ("exp", lambda x, a: x.exp(a), 2)):
            made.append(Row(f"{name}, n={n:,}", says, numbers("float32", (n,)), flops=float(n),
                            nbytes=4.0 * trips * n, held=4.0 * trips * n, group=f"growth of {name}",
                            n=n, quick=power in (3, 6), tolerance=1e-2 if name == "sum" else 2e-6,
                            frameworks=("flambeau", "numpy", "jax", "pytorch")))
    return made
