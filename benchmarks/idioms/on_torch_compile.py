"""PyTorch's torch.compile: fused loops by its own compiler and a C++ compiler."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from . import Work, on_pytorch
from .on_pytorch import start, version

__all__ = ("X", "start", "version", "work")


def work(f: Callable[..., Any], arrays: list[np.ndarray]) -> Work:
    """One compiled call."""
    torch._dynamo.reset()  # a row's shapes are its own: no generalising over the last row's
    compiled = torch.compile(lambda *given: f(X, *given), dynamic=False)
    operands = [torch.from_numpy(a) for a in arrays]
    return Work(lambda: compiled(*operands), on_pytorch.fetch)


# what has loops to fuse; the rest would be the eager calls again
X = SimpleNamespace(**{name: getattr(on_pytorch.X, name) for name in (
    "exp", "tanh", "sum", "softmax", "argmax", "cumsum", "layer_norm")})
