"""What other libraries are told of tensors when they are imported, whichever import comes first.

einops finds the library of a tensor among the subclasses of its `AbstractBackend`; ours is made as
soon as einops is there. Nothing of it is imported by us.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from . import joining, reductions
from .contracting import einsum
from .creation import arange, tensor
from .movement import permute, unsqueeze
from .tensor import Tensor

EINOPS = "einops._backends"
_REDUCTIONS = {"max": reductions.amax, "min": reductions.amin, "sum": reductions.sum,
               "mean": reductions.mean, "prod": reductions.prod, "any": reductions.any,
               "all": reductions.all}
_backends: list[type] = []  # einops keeps no strong reference to subclasses


def register_einops(module: Any) -> None:
    """Gives einops its backend for tensors: rearrange, reduce, repeat, einsum, pack, unpack."""
    methods: dict[str, Any] = {
        "framework_name": "flambeau",
        "is_appropriate_type": lambda self, x: isinstance(x, Tensor),
        "from_numpy": lambda self, x: tensor(x), "to_numpy": lambda self, x: x.detach().numpy(),
        "arange": lambda self, start, stop: arange(start, stop),
        "transpose": lambda self, x, axes: permute(x, tuple(axes)),
        "reduce": lambda self, x, operation, axes: _REDUCTIONS[operation](x, tuple(axes)),
        "stack_on_zeroth_dimension": lambda self, tensors: joining.stack(tensors),
        "add_axis": lambda self, x, place: unsqueeze(x, place),
        "tile": lambda self, x, repeats: joining.tile(x, tuple(repeats)),
        "concat": lambda self, tensors, axis: joining.concatenate(tensors, axis),
        "is_float_type": lambda self, x: x.dtype.is_inexact,
        "einsum": lambda self, pattern, *x: einsum(pattern, *x)}
    _backends.append(type("FlambeauBackend", (module.AbstractBackend,), methods))


class _Watch(MetaPathFinder):
    """Waits for the import of einops, then is gone."""

    def find_spec(self, name: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        if name != EINOPS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                register_einops(module)

            loader.exec_module = exec_module
        return spec


def install() -> None:
    """Registers with what is imported already, and waits for the rest."""
    if EINOPS in sys.modules:
        register_einops(sys.modules[EINOPS])
    else:
        sys.meta_path.insert(0, _Watch())
