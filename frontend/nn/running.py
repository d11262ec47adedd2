"""One run of a module or criterion: what went in, what came out, and the way back.

Every input passes under a mark of its own, so that gradients by exactly this input can be asked
for later. Modules that write their backward themselves put a boundary around their output, which
any gradient that comes back through the graph respects.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from typing import Any

import numpy as np
from flambeau.compiler import node as N
from flambeau.compiler.node import Node, node

from .. import tracing, trees
from ..pullback import Boundary, pull
from ..recording import as_tensor
from ..tensor import Tensor, enable_grad, mode, read, result, stop

_tokens = itertools.count(1 << 41)  # never those of leaves


class _Current(threading.local):
    run: Run | None = None


current = _Current()  # the run under way in this thread


class Run:
    """The inputs of a forward pass under marks, its results, and the run it was part of.

    sources: the inputs' nodes. marks: those over floating inputs. nodes: the results.
    """

    __slots__ = ("cotangents", "given", "marks", "nodes", "parent", "sources", "spec", "stand_in")

    def __init__(self, given: Any) -> None:
        self.given = given
        self.cotangents: list[Node | None] | None = None
        self.parent = current.run
        if isinstance(given, Tensor):
            storage = given._storage
            grad = mode.grad
            n = storage.node if grad and given._view is None else read(given)
            self.spec: Any = 0
            self.sources = [n]
            if n.dtype.kind == "f":
                m = node("mark", n.dtype, n.shape, (n,), next(_tokens))
                self.marks: list[Node | None] = [m]
                self.stand_in: Any = result(m, grad or given.requires_grad, storage.device)
            else:
                self.marks = [None]
                self.stand_in = given
        else:
            self._many(given)

    def _many(self, given: Any) -> None:
        found: list[Tensor] = []
        self.spec = trees.flatten(_tensors(given), found)
        if not found:
            raise TypeError(f"expected a tensor or a table of tensors, got {given!r}")
        self.sources = [read(t) for t in found]
        self.marks = [node("mark", n.dtype, n.shape, (n,), next(_tokens)) if n.dtype.is_float
                      else None for n in self.sources]
        self.stand_in = trees.unflatten(self.spec, [
            t if m is None else result(m, mode.grad or t.requires_grad, t.device)
            for t, m in zip(found, self.marks)])

    @property
    def device(self) -> str:
        """Where the inputs lie."""
        found: list[Tensor] = []
        trees.flatten(self.stand_in, found)
        return found[0].device

    def finish(self, output: Any) -> None:
        """Remembers the results."""
        if isinstance(output, Tensor):
            self.nodes = [output._storage.node if mode.grad and output._view is None
                          else read(output)]
            return
        found: list[Tensor] = []
        trees.flatten(output, found)
        self.nodes = [read(t) for t in found]

    def saw(self, given: Any) -> bool:
        """Was this run made with that input, as it is now?"""
        if not isinstance(given, Tensor):
            if given is self.given and not isinstance(given, list | tuple | dict):
                return True
            found: list[Tensor] = []
            return (trees.flatten(given, found) == self.spec
                    and all(map(self._same, found, self.sources, self.marks)))
        return len(self.sources) == 1 and self._same(given, self.sources[0], self.marks[0])

    @staticmethod
    def _same(t: Tensor, source: Node, mark: Node | None) -> bool:
        n = read(t)
        return n is source or n is mark or source.value is n or n.value is source

    def back(self, given: list[Node | None], scale: float, want: str
             ) -> tuple[list[Node | None], dict[int, Node]]:
        """Cotangents of the inputs (None: no float, or independent) and of leaves, by token."""
        marks = [m for m in self.marks if m is not None]
        found = pull(self.nodes, given, marks, scale, want)
        of_marks = iter(found.wanted)
        return [None if m is None else next(of_marks) for m in self.marks], found.leaves

    def shaped(self, found: list[Node | None]) -> Any:
        """Cotangents of the inputs as tensors in the inputs' nest; zeros where independent."""
        made = []
        for n, source in zip(found, self.sources):
            n = N.const(source.dtype, 0, source.shape) if n is None else stop(n)
            made.append(result(n, False, self.device))
        return made[0] if self.spec == 0 else trees.unflatten(self.spec, made)


def cotangents(name: str, nodes: list[Node], given: Any) -> list[Node | None]:
    """The nodes of grad_output, checked against the results they belong to."""
    found: list[Tensor] = []
    trees.flatten(_tensors(given), found)
    if len(found) != len(nodes):
        raise ValueError(f"{name}: expected {len(nodes)} tensors as grad_output, got {len(found)}")
    made: list[Node | None] = []
    for t, n in zip(found, nodes):
        if t.shape != n.shape:
            raise ValueError(f"{name}: expected grad_output of shape {n.shape}, got {t.shape}")
        made.append(N.cast(read(t), n.dtype))
    return made


def _tensors(given: Any) -> Any:
    """Arrays become tensors; everything else stays."""
    if isinstance(given, np.ndarray | np.generic):
        return as_tensor("forward", given)
    if isinstance(given, list | tuple) and not hasattr(given, "_fields"):
        return type(given)(_tensors(v) for v in given)
    return given


class ByHand:
    """A module with a backward of its own, and the input of one of its runs."""

    __slots__ = ("module", "run")

    def __init__(self, module: Any, run: Run) -> None:
        self.module = module
        self.run = run

    def pull_back(self, cotangent: Node, scale: float, want: str) -> list[Node | None]:
        """Cotangents of the module's inputs; its parameters' are accumulated by the module."""
        given = result(cotangent, False, self.run.device)
        x = self.run.stand_in
        found: list[Tensor] = []
        with enable_grad():
            trees.flatten(self.module.update_grad_input(x, given), found)
            if want != "inputs":
                self.module.acc_grad_parameters(x, given, scale)
            return [read(t) for t in found]

    def around(self, output: Any) -> Any:
        """The output inside a boundary."""
        if not isinstance(output, Tensor):
            raise TypeError("expected one tensor as output of a module with a backward of its "
                            f"own, got {type(output).__name__}")
        n = read(output)
        edge = Boundary([m if m is not None else s
                         for m, s in zip(self.run.marks, self.run.sources)], self)
        return result(node("mark", n.dtype, n.shape, (n,), edge), mode.grad, output.device)


def forget_after_trace(owner: Any) -> None:
    """What a module holds from inside a traced function means nothing outside."""
    weakref.finalize(tracing.active(), _forget, weakref.ref(owner)).atexit = False


def _forget(owner: Any) -> None:
    found = owner()
    if found is not None:
        found.forget()
