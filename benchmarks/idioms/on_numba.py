"""Numba: the loop written out, fastmath for its vectors, prange where there are several threads."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from . import Work
from .text import constants, names

LOOP = """
def loop({arguments}):
    out = np.empty_like({first})
    for i in {range}({first}.size):
        out[i] = {body}
    return out
"""
parallel = False


def start(threads: int) -> None:
    """Before any work."""
    global parallel
    parallel = threads > 1
    if parallel:
        numba.set_num_threads(threads)


def version() -> str:
    """What is measured."""
    return str(numba.__version__)


def expression(text: str, arrays: list[np.ndarray]) -> Work:
    """A loop over flat arrays."""
    body, known = constants(text, arrays[0].dtype.type, "{}[i]")
    arguments = names(text)
    source = LOOP.format(arguments=", ".join(arguments), first=arguments[0], body=body,
                         range="numba.prange" if parallel else "range")
    space: dict[str, Any] = {"np": np, "numba": numba, "exp": np.exp, "tanh": np.tanh, **known}
    exec(source, space)
    loop = numba.njit(fastmath=True, parallel=parallel)(space["loop"])
    return Work(lambda: loop(*arrays), lambda value: [value])
