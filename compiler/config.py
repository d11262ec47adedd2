"""Every flag, once: name, default, meaning. Environment variables set the start value.

`config.debug` reads a flag; `with override(debug=2):` changes it for a while. The table prints
itself into docs/flags.md.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flag:
    name: str
    default: Any
    meaning: str

    @property
    def variable(self) -> str:
        return f"FLAMBEAU_{self.name.upper()}"

    def start(self) -> Any:
        text = os.environ.get(self.variable)
        if text is None:
            return self.default
        if isinstance(self.default, bool):
            return text not in ("", "0", "false", "no")
        try:
            return type(self.default)(text)
        except ValueError:
            raise ValueError(f"{self.variable}: expected a number, got {text!r}") from None


FLAGS = (
    Flag("debug", 0, "ladder: 1 programs and their times, 2 what fused with what, 3 the graph "
                     "after each pass, 4 loop nests, 5 LLVM IR or PTX, 6 assembly"),
    Flag("dump", "", "a folder that receives every stage of every program as numbered files"),
    Flag("check", False, "check the graph's laws after every pass (on in the tests)"),
    Flag("skip", "", "passes to leave out, by name, separated by commas: for bisecting"),
    Flag("eager", False, "compute every operation when it is recorded, for debugging; "
                         "`fb.eager()` does so in a block"),
    Flag("device", "cpu", "the default device: cpu, cuda, reference or null"),
    Flag("matmul", "generated", "matrix products: generated kernels, or 'blas' for the OpenBLAS in "
                                "NumPy's wheel where operands allow"),
    Flag("cublas", "auto", "large matrix products on a GPU by cuBLAS, where it is installed: auto, "
                           "always or off"),
    Flag("tf32", False, "matrix products of float32 on a GPU may round their operands to tf32 "
                        "(11 bits), for its tensor cores"),
    Flag("num_threads", 0, "threads of the pool; 0: OMP_NUM_THREADS, else what affinity and "
                           "cgroup allow"),
    Flag("cache", "", "folder of the object cache; empty: the user's cache folder; 'off': none"),
    Flag("cpu", "", "generate code for this LLVM processor name instead of the host's"),
    Flag("vector_bytes", 0, "widest vector register to use; 0: what the processor has"),
    Flag("data", "", "folder with data sets (idx files)"),
    Flag("general", 3, "the how manyth size of one structure gets a program for all sizes; "
                       "0: none does"),
    Flag("graph_nodes", 4000, "a lazy graph with more nodes than this is computed by itself"),
    Flag("graph_bytes", 1 << 30, "a lazy graph whose values would take more bytes is computed"),
)


class Config:
    """The flags' current values, as attributes."""

    def __init__(self) -> None:
        for flag in FLAGS:
            setattr(self, flag.name, flag.start())

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"config: no flag {name!r}; flags are {[f.name for f in FLAGS]}")


config = Config()


@contextmanager
def override(**values: Any) -> Iterator[None]:
    """Sets flags for the length of a with block."""
    before = {name: getattr(config, name) for name in values}
    for name, value in values.items():
        setattr(config, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)


_dumped = 0  # files written into the dump folder


def wanted(level: int) -> bool:
    """Will `say` at this level be heard? For texts that are costly to make."""
    return config.debug >= level or bool(config.dump)


def say(title: str, text: str, level: int) -> None:
    """One stage's text: to stderr from this rung of the debug ladder on, and to the dump folder."""
    global _dumped
    if config.debug >= level:
        print(f"--- {title}\n{text}", file=sys.stderr)
    if config.dump:
        os.makedirs(config.dump, exist_ok=True)
        _dumped += 1
        with open(os.path.join(config.dump, f"{_dumped:04d}_{title}.txt"), "w") as f:
            f.write(text + "\n")


def markdown() -> str:
    """The table of flags for the docs."""
    rows = [f"| `{f.variable}` | `{f.default!r}` | {f.meaning} |" for f in FLAGS]
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])
