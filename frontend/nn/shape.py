"""Layers that only rearrange: Reshape, View, Flatten."""

from __future__ import annotations

import math
from typing import Any

from ..tensor import Tensor
from .module import Module


def _sizes(name: str, sizes: Any) -> tuple[int, ...]:
    """From f(2, 3) or f((2, 3))."""
    found = tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
    if not found or any(not isinstance(s, int) for s in found):
        raise TypeError(f"{name}: expected integers, got {sizes}")
    return tuple(found)


class Reshape(Module):
    """Each sample in another shape. Torch7 nn.Reshape.

    batch_mode True: the first axis is a batch and stays; False: all elements take the shape. None:
    the whole input if its count is that of the shape, unless its first axis has length 1; else as
    a batch. Say which if in doubt.
    """

    def __init__(self, *sizes: Any, batch_mode: bool | None = None) -> None:
        self.sizes, self.batch_mode = _sizes("Reshape", sizes), batch_mode

    def compute(self, input: Tensor) -> Tensor:
        count = math.prod(self.sizes)
        whole = self.batch_mode is False or (
            self.batch_mode is None and input.size == count
            and (input.ndim == 0 or input.shape[0] != 1))
        wanted = self.sizes if whole else (*input.shape[:1], *self.sizes)
        if math.prod(wanted) != input.size:
            raise ValueError(f"{self.label()}: expected {count} elements a sample, got shape "
                             f"{input.shape}")
        return input.reshape(wanted)  # type: ignore[no-any-return]

    def extra(self) -> str:
        return "x".join(map(str, self.sizes))


class View(Module):
    """Each sample as a view of another shape, one extent of which may be -1. Torch7 nn.View.

    set_num_input_dims(n): a sample has n axes, what stands before is the batch. Without it the
    batch follows from the number of elements; a first axis of length 1 in front of more axes than
    the view has counts as a batch of one (Torch7 dropped it).
    """

    num_input_dims: int | None = None

    def __init__(self, *sizes: Any) -> None:
        self.sizes = _sizes("View", sizes)
        if self.sizes.count(-1) > 1:
            raise ValueError(f"View: expected at most one -1, got {self.sizes}")

    def set_num_input_dims(self, count: int) -> View:
        """How many axes a sample has (Torch7 setNumInputDims)."""
        self.num_input_dims = count
        return self

    def compute(self, input: Tensor) -> Tensor:
        shape, ndim = input.shape, input.ndim
        inner = ndim if self.num_input_dims is None else min(self.num_input_dims, ndim)
        sample = math.prod(shape[ndim - inner:])
        known = math.prod(s for s in self.sizes if s != -1)
        if known == 0 or sample % known:
            raise ValueError(f"{self.label()}: expected elements in multiples of {known}, got "
                             f"shape {shape}")
        batch = math.prod(shape[:ndim - inner])
        if -1 not in self.sizes:
            batch *= sample // known
        single = batch == 1 and inner == ndim and not (
            self.num_input_dims is None and ndim > len(self.sizes) and shape[0] == 1)
        if single:
            return input.reshape(self.sizes)  # type: ignore[no-any-return]
        return input.reshape(batch, *self.sizes)  # type: ignore[no-any-return]

    def extra(self) -> str:
        return ", ".join(map(str, self.sizes))


class Flatten(Module):
    """All axes from start_dim (1) as one."""

    def __init__(self, start_dim: int = 1) -> None:
        self.start_dim = start_dim

    def compute(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim)  # type: ignore[no-any-return]
