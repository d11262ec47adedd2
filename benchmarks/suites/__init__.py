"""The suites: each is a file with `TITLE`, `ABOUT` and `rows()`, and measures nothing itself.

A row is one piece of work that several frameworks do; how each says it stands in idioms/ and
peers/. Importable in every framework's own Python: NumPy and the standard library alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from idioms import SitsOut, Work
from idioms.text import function
from peers import nets

SUITES = ("sgd", "elementwise", "rows", "matmul", "conv", "recurrent", "start", "overhead",
          "memory", "scaling")
ALL = ("flambeau", "numpy", "numexpr", "numba", "jax", "pytorch", "torch_compile", "theano",
       "pytensor")
TRAINERS = ("flambeau", "numpy", "jax", "pytorch", "theano", "pytensor")


@dataclass(frozen=True)
class Row:
    """name: unique in its suite. says: an expression as text, or f(x, *operands) over a
    framework's namespace x, or for nets ("mlp1", batch). data: makes the operands. how: "work",
    "lazy" (one call that need not compute), "train", "loop", or the name of a probe, which takes a
    process of its own. flops, nbytes: of one call; held: the bytes among which it works. items: a
    call's examples. group, n: the line of the plot it stands on, and where."""

    name: str
    says: Any
    data: Callable[[np.random.Generator], list[np.ndarray]] = lambda rng: []
    how: str = "work"
    threads: int = 1
    flops: float = 0.0
    nbytes: float = 0.0
    held: float = 0.0
    items: int = 1
    dtype: str = "float32"
    group: str = ""
    n: int = 0
    quick: bool = False
    frameworks: tuple[str, ...] = ALL
    tolerance: float = 1e-4  # of the largest number in a result

    @property
    def probe(self) -> bool:
        """Does it take a process of its own?"""
        return self.how not in ("work", "lazy", "train", "loop")

    @property
    def unit(self) -> str:
        """What the table shows: a rate of examples, seconds or bytes."""
        return "examples/s" if self.how == "train" else \
            "bytes" if self.how in ("peak", "installed") else "s"


def find(suite: str) -> Any:
    """A suite's module."""
    return importlib.import_module(f"suites.{suite}")


def numbers(dtype: str, *shapes: tuple[int, ...]) -> Callable[[np.random.Generator],
                                                             list[np.ndarray]]:
    """Normal operands of these shapes."""
    def data(rng: np.random.Generator) -> list[np.ndarray]:
        kind: Any = np.dtype(dtype)
        return [rng.standard_normal(shape, dtype=kind) for shape in shapes]
    return data


def build(framework: str, row: Row) -> Work:
    """The row's work in this process's framework. Raises SitsOut where it has nothing such."""
    if row.how in ("train", "loop", "step"):
        return _net(framework, row)
    idiom = importlib.import_module(f"idioms.on_{framework}")
    idiom.start(row.threads)
    arrays = row.data(np.random.default_rng(0))
    if isinstance(row.says, str) and hasattr(idiom, "expression"):
        return idiom.expression(row.says, arrays)
    make = getattr(idiom, row.how, None)
    if make is None:
        raise SitsOut(row.how)
    return make(function(row.says) if isinstance(row.says, str) else row.says, arrays)


def _net(framework: str, row: Row) -> Work:
    peer = importlib.import_module(f"peers.on_{framework}")
    make = getattr(peer, {"train": "make", "loop": "loop", "step": "first"}[row.how], None)
    if row.how == "step" and make is None:
        make = peer.make
    if make is None:
        raise SitsOut(row.how)
    name, batch = row.says
    net = nets.NETS[name]
    try:
        step = make(net, nets.weights(net), nets.batches(net, batch), row.threads)
    except SystemExit as stop:
        raise SitsOut(str(stop)) from None
    count = [0]

    def call() -> Any:
        count[0] += 1
        return step((count[0] - 1) % 8)
    return Work(call, lambda loss: [np.asarray(float(loss))], float)


def sample(results: Iterable[np.ndarray], most: int = 4096) -> list[np.ndarray]:
    """What two frameworks compare: up to so many elements of each result, and its shape."""
    taken: list[np.ndarray] = []
    for a in results:
        flat = np.asarray(a).reshape(-1)
        taken += [np.asarray(np.shape(a)), flat[::max(1, flat.size // most)][:most].copy()]
    return taken


def disagreement(ours: list[np.ndarray], judge: list[np.ndarray], tolerance: float) -> str:
    """Why two samples are not the same result, or ""."""
    if len(ours) != len(judge):
        return f"expected {len(judge) // 2} results, got {len(ours) // 2}"
    for i in range(0, len(judge), 2):
        if ours[i].tolist() != judge[i].tolist():
            return f"expected shape {judge[i].tolist()}, got {ours[i].tolist()}"
        a, b = (np.asarray(s[i + 1], np.float64) for s in (ours, judge))
        with np.errstate(invalid="ignore"):
            off = float(np.max(np.abs(a - b), initial=0.0))
        most = tolerance * max(float(np.max(np.abs(b), initial=0.0)), 1e-30)
        if not off <= most:
            return f"expected results within {most:.3g}, got {off:.3g} apart"
    return ""
