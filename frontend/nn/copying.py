"""Copies of modules: parameters and buffers of their own, sharing inside kept, no activations."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor, result
from .module import Module
from .parameters import Buffer, Parameter, value_of

_DROPPED = frozenset(("output", "_grad_input", "_run", "_flat"))


def copy(module: Module, memo: dict[int, Any] | None = None) -> Any:
    """A module with tensors of its own; objects shared inside stay shared inside."""
    memo = {} if memo is None else memo
    return _copied(module, memo)


def _copied(x: Any, memo: dict[int, Any]) -> Any:
    if id(x) in memo:
        return memo[id(x)]
    made: Any = x
    if isinstance(x, Module):
        made = object.__new__(type(x))
        memo[id(x)] = made
        for name, value in vars(x).items():
            if name not in _DROPPED:
                made.__dict__[name] = value if name == "_config" else _copied(value, memo)
    elif isinstance(x, Parameter):
        made = Parameter(_fresh(x), x.requires_grad)
        made.grad = None if x.grad is None else _fresh(x.grad)
    elif isinstance(x, Buffer):
        made = Buffer(_fresh(x))
    elif isinstance(x, Tensor):
        made = _fresh(x)
    elif isinstance(x, list):
        made = [_copied(v, memo) for v in x]
    elif isinstance(x, dict):
        made = {k: _copied(v, memo) for k, v in x.items()}
    elif type(x) is tuple:
        made = tuple(_copied(v, memo) for v in x)
    memo[id(x)] = made
    return made


def _fresh(t: Tensor) -> Tensor:
    """The same value in a storage of its own: values are immutable, so nothing is copied."""
    return result(value_of(t), False, t.device)
