"""Modules made of modules. Their backward is the graph's: nothing is written here but forwards.

An error inside reads as a path: `Sequential[2] > Linear(10 -> 4): expected ..., got ...`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..joining import concatenate
from ..movement import select
from ..tensor import Tensor
from .module import M, Module


class Container(Module):
    """A module with a list of children, `modules`."""

    modules: list[Module]

    def __init__(self, *modules: Module) -> None:
        self.modules = []
        for m in modules:
            self.add(m)

    def add(self: M, module: Module) -> M:
        """Appends a child; gives this container, so that calls chain."""
        _check(type(self).__name__, module)
        self.modules.append(module)  # type: ignore[attr-defined]
        return self

    def get(self, index: int) -> Module:
        """The child at an index (0-based)."""
        return self.modules[index]

    def size(self) -> int:
        """Number of children."""
        return len(self.modules)

    def apply_to_modules(self, function: Callable[[Module], Any]) -> None:
        """Calls function on each direct child (Torch7 applyToModules)."""
        for m in self.modules:
            function(m)

    def __len__(self) -> int:
        return len(self.modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.modules)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(*self.modules[index])
        return self.modules[index]

    def __repr__(self) -> str:
        """Torch7's tree: the input goes to every child."""
        lines = ["input"]
        for i, m in enumerate(self.modules):
            last = i == len(self.modules) - 1
            bar = "       " if last else "  |    "
            text = repr(m).replace("\n", "\n  " + bar)
            lines.append(f"{'   `-> ' if last else '  |`-> '}({i}): {text}")
        lines.append("   ... -> output")
        return f"nn.{self.label()} {{\n  " + "\n  ".join(lines) + "\n}"


def _check(name: str, module: Any) -> None:
    if not isinstance(module, Module):
        raise TypeError(f"{name}: expected a module, got {type(module).__name__}")


class Sequential(Container):
    """Modules one after the other. Torch7 nn.Sequential. Index, slice, iterate, len()."""

    def insert(self, module: Module, index: int | None = None) -> Sequential:
        """Puts a child before `index` (appends without)."""
        _check("Sequential", module)
        self.modules.insert(len(self.modules) if index is None else index, module)
        return self

    def remove(self, index: int = -1) -> Module:
        """Takes a child out (the last) and gives it."""
        if not -len(self.modules) <= index < len(self.modules):
            raise IndexError(f"Sequential: expected an index below {len(self.modules)}, got "
                             f"{index}")
        return self.modules.pop(index)

    def compute(self, input: Any) -> Any:
        for m in self.modules:
            input = m.forward(input)
        return input

    def __repr__(self) -> str:
        chain = " -> ".join(["input", *(f"({i})" for i in range(len(self.modules))), "output"])
        lines = "".join(f"\n  ({i}): " + repr(m).replace("\n", "\n  ")
                        for i, m in enumerate(self.modules))
        return f"nn.{self.label()} {{\n  [{chain}]{lines}\n}}"


class Concat(Container):
    """Every child sees the input; their outputs are joined along dim. Torch7 nn.Concat."""

    def __init__(self, dim: int, *modules: Module) -> None:
        self.dim = dim
        super().__init__(*modules)

    def compute(self, input: Any) -> Tensor:
        return concatenate([m.forward(input) for m in self.modules], self.dim)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Concat(self.dim, *self.modules[index])
        return self.modules[index]


class Parallel(Container):
    """Child i sees slice i of the input along input_dim; outputs are joined along output_dim.

    Torch7 nn.Parallel.
    """

    def __init__(self, input_dim: int, output_dim: int, *modules: Module) -> None:
        self.input_dim, self.output_dim = input_dim, output_dim
        super().__init__(*modules)

    def compute(self, input: Tensor) -> Tensor:
        if input.shape[self.input_dim] != len(self.modules):
            raise ValueError(f"{self.label()}: expected {len(self.modules)} slices along dimension "
                             f"{self.input_dim}, got shape {input.shape}")
        parts = [m.forward(select(input, self.input_dim, i)) for i, m in enumerate(self.modules)]
        return concatenate(parts, self.output_dim)

    def __getitem__(self, index: Any) -> Any:
        return self.modules[index]


class ConcatTable(Container):
    """Every child sees the input; the output is the table of theirs. Torch7 nn.ConcatTable."""

    def compute(self, input: Any) -> list[Any]:
        return [m.forward(input) for m in self.modules]


class ParallelTable(Container):
    """Child i sees entry i of the input table; the output is a table. Torch7 nn.ParallelTable."""

    def compute(self, input: Any) -> list[Any]:
        if not isinstance(input, list | tuple) or len(input) != len(self.modules):
            got = f"{len(input)}" if isinstance(input, list | tuple) else type(input).__name__
            raise ValueError(f"{self.label()}: expected a table of {len(self.modules)} tensors, "
                             f"got {got}")
        return [m.forward(x) for m, x in zip(self.modules, input)]


class Identity(Module):
    """The input, as it is. Torch7 nn.Identity."""

    def compute(self, input: Any) -> Any:
        return input
