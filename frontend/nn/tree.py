"""Trees of modules: children, parameters by path, walks, training and evaluation, text.

A module's children and parameters are whatever its attributes hold, also inside lists and dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ..tensor import Tensor
from .parameters import Buffer, Parameter
from .running import Run

PRIVATE = frozenset(("_config", "_flat", "_grad_input", "_run", "output"))
M = TypeVar("M", bound="Tree")


class Tree:
    """What a module is as a node of a tree; `Module` adds the passes."""

    is_training: bool = True

    def _prepare(self) -> None:
        """Computes the parameters' first values."""

    def named_children(self) -> Iterator[tuple[str, Tree]]:
        """Direct children with their names: attribute, or number in a container."""
        for name, value in vars(self).items():
            if isinstance(value, Tree):
                yield name, value
            elif isinstance(value, list | tuple | dict) and name not in PRIVATE:
                pairs = value.items() if isinstance(value, dict) else enumerate(value)
                for key, child in pairs:
                    if isinstance(child, Tree):
                        yield (str(key) if name == "modules" else f"{name}.{key}"), child

    def _own(self, kind: type) -> Iterator[tuple[str, Any]]:
        for name, value in vars(self).items():
            if isinstance(value, kind):
                yield name, value
            elif isinstance(value, list | tuple | dict) and name not in PRIVATE:
                pairs = value.items() if isinstance(value, dict) else enumerate(value)
                yield from ((f"{name}.{k}", v) for k, v in pairs if isinstance(v, kind))

    def _named(self, kind: type, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
        for name, value in self._own(kind):
            if id(value) not in seen:
                seen.add(id(value))
                yield prefix + name, value
        for name, child in self.named_children():
            yield from child._named(kind, f"{prefix}{name}.", seen)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter) of this module and those below it, each parameter once."""
        return self._named(Parameter, "", set())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """(path, buffer): what is saved but not learnt."""
        return self._named(Buffer, "", set())

    def params(self) -> list[Parameter]:
        """All parameters, each once: what optimisers take."""
        found: dict[int, Parameter] = {}
        _gather(self, found)
        return list(found.values())

    # -- walks and modes ----------------------------------------------------------------------

    def training(self: M) -> M:
        """Switches to training: Dropout drops, batch statistics are used."""
        return self.train(True)

    def evaluate(self: M) -> M:
        """Switches to evaluation."""
        return self.train(False)

    def train(self: M, mode: bool = True) -> M:
        """`training()` or `evaluate()`, PyTorch's name."""
        self._prepare()
        for m in self.list_modules():
            m.is_training = mode
        return self

    eval = evaluate

    def list_modules(self) -> list[Any]:
        """This module and all below it, parents first, each once."""
        found: dict[int, Tree] = {}
        _walk(self, found)
        return list(found.values())

    def apply(self: M, function: Callable[[Any], Any]) -> M:
        """Calls function on this module, then on all below it."""
        for m in self.list_modules():
            function(m)
        return self

    def replace(self, function: Callable[[Any], Any]) -> Any:
        """The tree rebuilt: each module replaced by function(module), parents first."""
        made = function(self)
        for name, value in list(vars(made).items()):
            if isinstance(value, Tree):
                setattr(made, name, value.replace(function))
            elif isinstance(value, list) and name not in PRIVATE:
                value[:] = [v.replace(function) if isinstance(v, Tree) else v for v in value]
        return made

    def find_modules(self, kind: type | str) -> tuple[list[Any], list[Any]]:
        """The modules of a class (or class name), and in parallel their parents."""
        found: list[Any] = []
        parents: list[Any] = []

        def visit(m: Tree, parent: Tree | None) -> None:
            if isinstance(m, kind) if isinstance(kind, type) else (
                    type(m).__name__ == kind.removeprefix("nn.")):
                found.append(m)
                parents.append(parent)
            for _, child in m.named_children():
                visit(child, m)

        visit(self, None)
        return found, parents

    def share(self: M, other: Tree, *names: str) -> M:
        """Takes the parameters called `names` from other (and below, in parallel): the same
        objects, so gradients are shared too."""
        for name in names:
            if isinstance(vars(other).get(name), Parameter):
                setattr(self, name, getattr(other, name))
        for (_, mine), (_, theirs) in zip(self.named_children(), other.named_children()):
            mine.share(theirs, *names)
        return self

    def reset(self, stdv: Any = None) -> None:
        """Draws the parameters anew, here and below; stdv: their standard deviation."""
        for _, child in self.named_children():
            child.reset(stdv)

    # -- text --------------------------------------------------------------------------------

    def extra(self) -> str:
        """What stands in parentheses after the class name."""
        return ""

    def label(self) -> str:
        """One line: class and main arguments, as Linear(10 -> 4)."""
        text = self.extra()
        return f"{type(self).__name__}({text})" if text else type(self).__name__

    def __repr__(self) -> str:
        children = list(self.named_children())
        if not children:
            return f"nn.{self.label()}"
        lines = "".join(f"\n  ({name}): {_indented(child, '  ')}" for name, child in children)
        return f"nn.{self.label()} {{{lines}\n}}"


def _indented(m: Tree, by: str) -> str:
    return repr(m).replace("\n", "\n" + by)


def _walk(m: Tree, found: dict[int, Tree]) -> None:
    if id(m) not in found:
        found[id(m)] = m
        for _, child in m.named_children():
            _walk(child, found)


_LEAVES = frozenset((bool, int, float, str, type(None), Tensor, Run))


def _gather(m: Tree, found: dict[int, Parameter]) -> None:
    """The parameters of m, then of its children: as `named_parameters`, without the names."""
    below: list[Any] = []
    for name, value in m.__dict__.items():
        kind = type(value)
        if kind is Parameter:
            found[id(value)] = value
        elif kind not in _LEAVES and name not in PRIVATE:
            several = isinstance(value, list | tuple | dict)
            parts = value.values() if kind is dict else value if several else (value,)
            for part in parts:
                if isinstance(part, Tree):
                    below.append(part)
                elif isinstance(part, Parameter):
                    found[id(part)] = part
    for child in below:
        _gather(child, found)


def blame(m: Tree, error: Exception) -> None:
    """Says in the error's text where in the net it happened, as a path."""
    text = error.args[0] if error.args and isinstance(error.args[0], str) else None
    if text is None:
        return
    child = getattr(error, "_module", None)
    if child is None:
        own = text.startswith(m.label())
        text = text if own else f"{m.label()}: {text}"
    elif child is not m:
        names = [name for name, c in m.named_children() if c is child]
        name = names[0] if names else "?"
        place = f"[{name}]" if name.isdigit() else f".{name}"
        text = f"{type(m).__name__}{place} > {text}"
    error.args = (text, *error.args[1:])
    error._module = m  # type: ignore[attr-defined]
