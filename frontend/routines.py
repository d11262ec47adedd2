"""The door to host routines: functions of NumPy arrays that run between kernels.

`register` names a routine and, if it has one, its derivative, which is written in terms of tensor
functions and therefore differentiable again. `call` records the routine as one node of the graph.
Registered names are part of a program's key: a name must always mean the same function.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from flambeau.compiler import node as N
from flambeau.compiler.differentiate import EXTERN_RULES
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, Shape
from flambeau.runtime.externs import EXTERNS
from flambeau.runtime.lapack import LinAlgError as LinAlgError

from . import realize as door
from .devices import resolve
from .tensor import Tensor, derive, enable_grad, read, result
from .tensor import _watch as watch

Body = Callable[..., np.ndarray]
Derivative = Callable[[Any, Sequence[Tensor], Tensor, Tensor], Sequence[Tensor | None]]


def register(name: str, body: Body, derivative: Derivative | None = None) -> None:
    """Makes `body` the routine called `name`.

    body(options, *arrays) gives an array of the node's shape; it must not keep or change its
    operands. derivative(options, operands, result, cotangent) gives every operand's cotangent, a
    tensor of its shape and dtype, or None where there is none. Without one, asking for a gradient
    through the routine raises TypeError.
    """
    EXTERNS[name] = body
    if derivative is not None:
        differentiate_by(name, derivative)


def differentiate_by(name: str, derivative: Derivative) -> None:
    """Gives a routine of the runtime its derivative; see `register`."""
    EXTERN_RULES[name] = _rule(derivative)


def call(name: str, options: Any, dtype: DType, shape: Shape, *operands: Tensor) -> Tensor:
    """The routine's result as a tensor of that dtype and shape, computed when it is asked for.

    options: plain data (numbers, text, tuples), part of the program's key.
    """
    n = N.node("extern", dtype, shape, tuple([read(t) for t in operands]), (name, options))
    if n.where is None:
        n.where = door.user_frame()
    return derive(n, *operands)


@contextmanager
def _unwatched() -> Iterator[None]:
    """Inside the block no graph is computed by itself: it may stand on placeholders."""
    before, watch[0] = watch[0], sys.maxsize
    try:
        yield
    finally:
        watch[0] = before


def _rule(derivative: Derivative) -> Callable[[Node, Node], tuple[Node | None, ...]]:
    """A derivative on tensors as a rule on nodes. What it records over the rule's placeholders
    must never be computed, however large the graph grows. A node knows no device: the tensors are
    said to be where new ones are made, so that all of them agree."""
    def rule(n: Node, g: Node) -> tuple[Node | None, ...]:
        with enable_grad(), _unwatched():
            here = resolve("backward")
            operands = [result(s, s.dtype.is_inexact, here) for s in n.src]
            found = derivative(n.arg[1], operands, result(n, True, here), result(g, True, here))
            return tuple([None if t is None else read(t) for t in found])
    return rule
