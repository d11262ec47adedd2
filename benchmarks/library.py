#!/usr/bin/env python3
"""The library's functions and NumPy's: `python benchmarks/library.py [--only order]`.

Turns alternate between the two, so that a busy machine hurts both alike, and each side's best turn
counts. Results are computed, operands are there. A section is a function that gives rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flambeau as fb
import numpy as np

SIZE = 1_000_000


class Case(NamedTuple):
    """One question: the same work here and in NumPy."""

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]


def seconds(f: Callable[[], Any]) -> float:
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def compare(case: Case, turns: int) -> tuple[float, float]:
    """The best turn of each side, in seconds."""
    case.ours()  # compiles
    case.theirs()
    pairs = [(seconds(case.ours), seconds(case.theirs)) for _ in range(turns)]
    return min(a for a, _ in pairs), min(b for _, b in pairs)


def order() -> Iterator[Case]:
    """Sorting, searching, scanning."""
    rng = np.random.default_rng(0)
    for dtype in ("float32", "float64", "int32", "int64"):
        a = (rng.standard_normal(SIZE) * 1e6).astype(dtype)
        t = fb.tensor(a, dtype=dtype).realize()
        small = a.astype("int64") % 1000
        counts = fb.tensor(np.abs(small), dtype="int64").realize()
        yield Case(f"sort values {dtype}", lambda t=t: fb.sort(t).values.realize(),
                   lambda a=a: np.sort(a))
        yield Case(f"argsort stable {dtype}", lambda t=t: fb.argsort(t).realize(),
                   lambda a=a: np.argsort(a, kind="stable"))
        yield Case(f"sort pair {dtype}", lambda t=t: fb.compute(*fb.sort(t)),
                   lambda a=a: (np.sort(a), np.argsort(a, kind="stable")))
        yield Case(f"topk 10 {dtype}", lambda t=t: fb.compute(*fb.topk(t, 10)),
                   lambda a=a: a[(i := np.argpartition(a, -10)[-10:])[np.argsort(a[i])]])
        yield Case(f"kthvalue {dtype}", lambda t=t: fb.kthvalue(t, SIZE // 2).values.realize(),
                   lambda a=a: np.partition(a, SIZE // 2)[SIZE // 2])
        yield Case(f"unique {dtype}", lambda t=t: fb.unique(t), lambda a=a: np.unique(a))
        yield Case(f"cumsum {dtype}", lambda t=t: fb.cumsum(t).realize(), lambda a=a: np.cumsum(a))
        yield Case(f"searchsorted {dtype}",
                   lambda t=t: fb.searchsorted(t[:1000].msort(), t).realize(),
                   lambda a=a: np.searchsorted(np.sort(a[:1000]), a))
    yield Case("bincount", lambda: fb.bincount(counts).realize(),
               lambda: np.bincount(np.abs(small)))
    x = rng.standard_normal(SIZE)
    v = fb.tensor(x, dtype="float64").realize()
    yield Case("histogram", lambda: fb.compute(*fb.histogram(v, 100)),
               lambda: np.histogram(x, 100))
    yield Case("median", lambda: fb.median(v).realize(),
               lambda: np.partition(x, (SIZE - 1) // 2)[(SIZE - 1) // 2])
    index = rng.integers(0, SIZE, SIZE)
    at = fb.tensor(index, dtype="int64").realize()
    yield Case("take", lambda: fb.take(v, at).realize(), lambda: np.take(x, index))
    yield Case("diff", lambda: fb.diff(v).realize(), lambda: np.diff(x))


def linalg() -> Iterator[Case]:
    """Factorisations and systems, n = 10, 100, 500; batches of small ones; a chain by einsum."""
    rng = np.random.default_rng(0)
    ours, theirs = fb.linalg, np.linalg
    for n in (10, 100, 500):
        a = rng.standard_normal((n, n)) + n * np.eye(n)
        p, b = a @ a.T, rng.standard_normal((n, 4))
        t, s, x = (fb.tensor(v).realize() for v in (a, p, b))
        yield Case(f"solve {n}", lambda t=t, x=x: ours.solve(t, x).realize(),
                   lambda a=a, b=b: theirs.solve(a, b))
        yield Case(f"inv {n}", lambda t=t: ours.inv(t).realize(), lambda a=a: theirs.inv(a))
        yield Case(f"cholesky {n}", lambda s=s: ours.cholesky(s).realize(),
                   lambda p=p: theirs.cholesky(p))
        yield Case(f"qr {n}", lambda t=t: fb.compute(*ours.qr(t)), lambda a=a: theirs.qr(a))
        yield Case(f"eigh {n}", lambda s=s: fb.compute(*ours.eigh(s)), lambda p=p: theirs.eigh(p))
        yield Case(f"svd {n}", lambda t=t: fb.compute(*ours.svd(t)), lambda a=a: theirs.svd(a))
    for count, n in ((10000, 3), (1000, 10)):
        a = rng.standard_normal((count, n, n)) + n * np.eye(n)
        b = rng.standard_normal((count, n, 1))
        t, x = fb.tensor(a).realize(), fb.tensor(b).realize()
        yield Case(f"solve {count} of {n}", lambda t=t, x=x: ours.solve(t, x).realize(),
                   lambda a=a, b=b: theirs.solve(a, b))
        yield Case(f"inv {count} of {n}", lambda t=t: ours.inv(t).realize(),
                   lambda a=a: theirs.inv(a))
        yield Case(f"det {count} of {n}", lambda t=t: ours.det(t).realize(),
                   lambda a=a: theirs.det(a))
    arrays = [rng.standard_normal(v) for v in ((200, 300), (300, 20), (20, 400), (400, 10))]
    chain = [fb.tensor(v).realize() for v in arrays]
    yield Case("einsum chain", lambda: fb.einsum("ab,bc,cd,de->ae", *chain).realize(),
               lambda: np.einsum("ab,bc,cd,de->ae", *arrays, optimize=True))


SECTIONS: dict[str, Callable[[], Iterator[Case]]] = {"linalg": linalg, "order": order}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(SECTIONS), help="one section")
    parser.add_argument("--match", default="", help="only cases whose name holds this text")
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    print(f"{'case':28} {'flambeau':>10} {'numpy':>10}   ratio")
    for name, section in SECTIONS.items():
        if options.only in (None, name):
            for case in section():
                if options.match in case.name:
                    ours, theirs = compare(case, options.turns)
                    print(f"{case.name:28} {ours * 1e3:8.2f}ms {theirs * 1e3:8.2f}ms "
                          f"{ours / theirs:7.2f}", flush=True)


if __name__ == "__main__":
    main()
