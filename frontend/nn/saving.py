"""Copies of modules, and files: a model is its configuration, parameters and buffers.

Activations never go into a file. A file is an .npz: arrays by path and one JSON text that says
which classes were called with which arguments. Loading looks classes up by name among those
defined, and runs nothing from the file.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..tensor import Tensor, result
from .module import Module, known
from .parameters import Buffer, Parameter, value_of

_DROPPED = frozenset(("output", "_grad_input", "_run", "_flat"))
FORMAT = 1


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


# -- files ---------------------------------------------------------------------------------------


def describe(module: Module) -> dict[str, Any]:
    """The configuration as plain data. Raises TypeError for arguments that are no plain data."""
    args, options = module._config
    found: dict[str, Any] = {"class": type(module).__name__, "args": _plain(module, args),
                             "options": _plain(module, options)}
    if isinstance(getattr(module, "modules", None), list):
        found["modules"] = [describe(m) for m in module.modules]
    found["fields"] = {k: v for k, v in vars(module).items()
                       if isinstance(v, bool | int | float | str) and k[0] != "_"}
    return found


def _plain(module: Module, x: Any) -> Any:
    if x is None or isinstance(x, bool | int | float | str):
        return x
    if isinstance(x, list | tuple):
        return [_plain(module, v) for v in x if not isinstance(v, Module)]
    if isinstance(x, dict):
        return {k: _plain(module, v) for k, v in x.items()}
    if isinstance(x, Module):
        return describe(x)
    if isinstance(x, Tensor | np.ndarray):
        return {"zeros": list(x.shape), "dtype": str(getattr(x.dtype, "name", x.dtype))}
    if callable(x):
        return None  # an initialiser: the values come from the file
    raise TypeError(f"save: {module.label()}: expected plain arguments, got {type(x).__name__}")


def build(config: dict[str, Any]) -> Module:
    """A module from its configuration. Raises ValueError for classes that are not defined here."""
    kind = known.get(config["class"])
    if kind is None:
        raise ValueError(f"load: expected a known module, got {config['class']!r}; define or "
                         "import its class first")
    made: Module = kind(*map(_value, config["args"]),
                        **{k: _value(v) for k, v in config["options"].items()})
    if "modules" in config and not getattr(made, "modules", None):
        for child in config["modules"]:
            made.add(build(child))  # type: ignore[attr-defined]
    for name, value in config["fields"].items():
        setattr(made, name, value)
    return made


def _value(x: Any) -> Any:
    if isinstance(x, dict) and "class" in x:
        return build(x)
    if isinstance(x, dict) and "zeros" in x:
        return np.zeros(x["zeros"], x["dtype"])
    return x


def save(module: Module, path: Any) -> None:
    """Writes configuration, parameters and buffers into one .npz file, whatever its name."""
    state = {name: t.numpy() for name, t in module.state_dict().items()}
    text = json.dumps({"format": FORMAT, "dtype": module.type(), "model": describe(module)})
    with open(path, "wb") as file:
        np.savez(file, **{"flambeau.json": np.array(text), **state})  # type: ignore[arg-type]


def load(path: Any) -> Module:
    """The module that `save` wrote. Runs no code from the file."""
    with np.load(path, allow_pickle=False) as found:
        if "flambeau.json" not in found:
            raise ValueError(f"load: expected a model written by nn.save, got {path}")
        text = json.loads(str(found["flambeau.json"]))
        made = build(text["model"])
        if text["dtype"] is not None:
            made.type(text["dtype"])
        return made.load_state_dict({k: found[k] for k in found.files if k != "flambeau.json"})
