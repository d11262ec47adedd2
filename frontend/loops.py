"""Rolled loops: `scan` and `while_loop` run a Python body once to record it, and then as one native
loop of any length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import loop as rolled
from flambeau.compiler import node as nd
from flambeau.compiler.node import Node

from . import realize as door
from .devices import one_device
from .recording import as_tensor
from .tensor import Tensor, read, result
from .tracing import Body
from .trees import flatten, unflatten


def scan(fn: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None,
         length: int | None = None, reverse: bool = False) -> tuple[Any, Any]:
    """Runs `carry, y = fn(carry, x)` over the rows of xs; gives the last carry and the stacked ys.

    init: a tensor or nest (tuples, lists, dicts) of tensors; every step must give a carry of the
    same shapes and dtypes. xs: None or a nest of tensors with equal first axes; fn gets their rows.
    length: number of steps, needed when xs is None. reverse: walk from the last row to the first
    (ys keep the rows' order). fn may use other tensors; it is called once, and the loop compiles in
    the time of one step. It may change the carry, the row and tensors of its own in place, but
    none from outside. Random numbers are new in every step. Differentiable.
    Raises ValueError when lengths or shapes disagree, RuntimeError for a write to the outside.
    """
    carry, spec = _tensors("scan", init)
    rows, row_spec = _tensors("scan", xs) if xs is not None else ([], None)
    count = _length(rows, length)
    device = one_device("scan", [*carry, *rows])
    leaves = [_leaf(t.dtype, t.shape, t.requires_grad, device) for t in carry]
    row_leaves = [_leaf(t.dtype, t.shape[1:], t.requires_grad, device) for t in rows]
    bare = list(map(_bare, leaves + row_leaves))
    with Body("scan", leaves + row_leaves) as body:
        outcome = fn(unflatten(spec, leaves),
                     unflatten(row_spec, row_leaves) if row_spec is not None else None)
        if not isinstance(outcome, tuple) or len(outcome) != 2:
            raise ValueError("scan: expected a body that gives (carry, y), got "
                             f"{type(outcome).__name__}")
        after, ys = outcome
        carried = _results("scan", after, carry, spec)
        stacked: list[Tensor] = []
        y_spec = flatten(ys, stacked)
        results = list(map(read, stacked))
    start, more = _counted(body, bare, len(carry))
    made = rolled.close(count, bare, [*map(read, carry), *start], list(map(read, rows)),
                        [*carried, *more], results, None, reverse)
    _located("scan", made)
    made = made[:len(carry)] + made[len(carry) + len(more):]
    requires = any(t.requires_grad for t in [*carry, *rows, *after_tensors(after), *stacked])
    outs = [result(n, requires and n.dtype.is_inexact, device) for n in made]
    return unflatten(spec, outs[:len(carry)]), unflatten(y_spec, outs[len(carry):])


def _located(name: str, outputs: list[Node]) -> None:
    """Notes the user's line, for an index that turns out to be wrong in a step."""
    loop = outputs[0].src[0]
    if loop.where is None:
        file, line = door.user_frame()
        loop.where = (f"{name}, {file}", line)


def _counted(body: Body, bare: list[Node], carries: int) -> tuple[list[Node], list[Node]]:
    """A carry that numbers the steps, if the body drew random numbers: its start and its next.

    Puts its leaf among `bare`, after the other carries.
    """
    if body.step is None:
        return [], []
    bare.insert(carries, body.step)
    one = nd.const(dt.uint64, 1)
    return [nd.const(dt.uint64, 0)], [nd.elementwise("add", body.step, one)]


def while_loop(cond: Callable[[Any], Tensor], body: Callable[[Any], Any], init: Any,
               limit: int = -1) -> Any:
    """Runs `carry = body(carry)` while `cond(carry)` (a bool tensor of one element) holds.

    init: a tensor or nest of tensors whose shapes and dtypes the body keeps. limit: the most steps
    to take; -1 for no limit. One native loop; not differentiable (use scan): asking for a gradient
    through it raises TypeError. Writes and random numbers as in scan. Raises ValueError when
    the body changes a shape or dtype, TypeError when the condition is not one bool.
    """
    carry, spec = _tensors("while_loop", init)
    device = one_device("while_loop", carry)
    leaves = [_leaf(t.dtype, t.shape, False, device) for t in carry]
    bare = list(map(_bare, leaves))
    with Body("while_loop", leaves) as test:
        go = as_tensor("while_loop", cond(unflatten(spec, leaves)))
        asked = read(go)
    if go.dtype is not dt.bool_ or go.size != 1:
        raise TypeError(f"while_loop: expected cond to give one bool, got {go.dtype.name} "
                        f"{tuple(go.shape)}")
    for t, leaf in zip(leaves, bare):  # as they were, whatever the condition did to them
        t._storage = result(leaf, False, device)._storage
    with Body("while_loop", leaves) as step:
        step.step = test.step
        after = body(unflatten(spec, leaves))
        carried = _results("while_loop", after, carry, spec)
    start, more = _counted(step, bare, len(carry))
    made = rolled.close(limit, bare, [*map(read, carry), *start], [], [*carried, *more], [],
                        nd.reshape(asked, ()))
    _located("while_loop", made)
    requires = any(t.requires_grad for t in [*carry, *after_tensors(after)])
    return unflatten(spec, [result(n, requires and n.dtype.is_inexact, device)
                            for n in made[:len(carry)]])


def after_tensors(tree: Any) -> list[Tensor]:
    """The tensors of a nest."""
    found: list[Tensor] = []
    flatten(tree, found)
    return found


def _tensors(name: str, tree: Any) -> tuple[list[Tensor], Any]:
    found: list[Tensor] = []
    spec = flatten(tree, found)
    if not found:
        found = [as_tensor(name, tree)]
        spec = 0
    return found, spec


def _length(rows: list[Tensor], length: int | None) -> int:
    if any(not t.shape for t in rows):
        raise ValueError("scan: expected xs with at least one axis, got a 0-d tensor")
    lengths = {t.shape[0] for t in rows} | ({length} if length is not None else set())
    if len(lengths) != 1:
        got = ", ".join(map(str, sorted(lengths))) or "none"
        raise ValueError(f"scan: expected one length from xs and length, got {got}")
    return lengths.pop()


class _Row:
    """Stands for a value inside a loop's body."""

    @property
    def address(self) -> int:
        """There is none: raises RuntimeError."""
        raise RuntimeError("scan: expected a body that only records operations, got one that asks "
                           "for values (bool, float, print, numpy) of what changes in the loop")

    exported = False

    @property
    def device(self) -> str:
        """There is none: raises RuntimeError."""
        return str(self.address)

    def array(self, *_: Any, **__: Any) -> Any:
        """There is none: raises RuntimeError."""
        return self.address


def _leaf(dtype: dt.DType, shape: tuple[int, ...], requires: bool, device: str) -> Tensor:
    """A tensor that stands for a value inside the body."""
    return result(nd.buffer(dtype, shape, _Row()), requires, device)


def _bare(t: Tensor) -> Node:
    return t._storage.node


def _results(name: str, after: Any, carry: list[Tensor], spec: Any) -> list[Node]:
    found: list[Tensor] = []
    got = flatten(after, found)
    if not found and len(carry) == 1:
        found, got = [as_tensor(name, after)], spec
    if got != spec:
        raise ValueError(f"{name}: expected the body to give a carry built like init")
    nodes = []
    for i, (t, c) in enumerate(zip(found, carry)):
        if t.shape != c.shape or t.dtype is not c.dtype:
            raise ValueError(f"{name}: expected carry {i} to stay {c.dtype.name} {c.shape}, "
                             f"got {t.dtype.name} {t.shape}")
        nodes.append(read(t))
    return nodes
