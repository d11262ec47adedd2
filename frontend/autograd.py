"""Gradients for users: `loss.backward()`, and functions of functions (`fb.grad`, `fb.vjp`, ...).

Both pull cotangents through the recorded graph (pullback.py), so everything stays lazy: gradients
are expressions that fuse with the rest when values are asked for.

Gradients of leaves start absent (`grad` is None) and add up until `grad` is set to None again. They
carry no history of their own unless `create_graph` asks for it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flambeau.compiler import node as N
from flambeau.compiler.node import Node, node

from . import realize as door
from . import tracing, trees
from .joining import stack
from .movement import reshape
from .pullback import marked_by_others, pull
from .recording import as_tensor
from .tensor import Tensor, enable_grad, leaves, mode, read, result, stop, write

_tokens = itertools.count(1 << 40)  # of functional gradients: never those of leaves


# -- loss.backward() -----------------------------------------------------------------------------


def backward(self: Tensor, grad: Any = None, *, create_graph: bool = False,
             retain_graph: bool | None = None) -> None:
    """Adds d self / d leaf to `grad` of every leaf below that requires grad.

    grad: the cotangent, of this tensor's shape; a tensor of one element takes 1. create_graph: the
    gradients can be differentiated themselves. retain_graph is accepted and ignored: graphs live
    as long as tensors hold them. Lazy: nothing is computed yet.
    Raises RuntimeError for a tensor that does not require grad, ValueError without a cotangent for
    more than one element.
    """
    if not self.requires_grad:
        raise RuntimeError(f"backward: expected a tensor that requires grad, got {_describe(self)}"
                           " that was made from none")
    given = None if grad is None else _cotangent("backward", self, grad)
    if given is None and self.dtype.is_complex:
        raise ValueError(f"backward: expected a real result or a grad, got {_describe(self)} and "
                         "no grad")
    if given is None and self.size != 1:
        raise ValueError(f"backward: expected one element or a grad of the same shape, got shape "
                         f"{self.shape} and no grad")
    if mode.grad:
        n = self._storage.node if self._view is None else read(self)
    else:
        with enable_grad():
            n = read(self)
    found = pull([n], [given])
    for token, n in found.leaves.items():
        leaf = leaves.get(token)
        if leaf is not None:
            accumulate(leaf, n, create_graph)
    door.along.add(self._storage)


def _describe(t: Tensor) -> str:
    return f"{t.dtype.name}{list(t.shape)}"


def _cotangent(name: str, t: Tensor, grad: Any) -> Node:
    g = as_tensor(name, grad)
    if g.shape != t.shape:
        raise ValueError(f"{name}: expected a grad of shape {t.shape}, got {g.shape}")
    return N.cast(read(g), t.dtype)


def accumulate(leaf: Tensor, n: Node, keep: bool = False) -> None:
    """Adds n to the leaf's gradient. keep: the gradient is itself differentiable."""
    if not keep:
        n = stop(n)
    old = leaf.grad
    if old is None:
        leaf.grad = result(n, keep, leaf._storage.device)
        return
    storage = old._storage
    before = storage.node if old._view is None else read(old)
    if not N.is_const(before, 0):
        n = N.elementwise("add", before, n)
        if old._view is None:  # a sum of several passes: computed with the next values
            door.along.add(storage)
    write(old, n, keep)


Tensor.backward = backward  # type: ignore[attr-defined]


# -- functions of functions ----------------------------------------------------------------------


class _Inputs:
    """Tensors that a gradient is asked for, each under a mark of its own."""

    def __init__(self, name: str, trees_: Sequence[Any]) -> None:
        self.tensors: list[Tensor] = []
        self.specs = [trees.flatten(t, self.tensors) for t in trees_]
        for t in self.tensors:
            if not t.dtype.is_inexact:
                raise TypeError(f"{name}: expected tensors of a floating dtype, got {_describe(t)}")
        self.requires = mode.grad and any(t.requires_grad for t in self.tensors)
        self.marks = [node("mark", t.dtype, t.shape, (read(t),), next(_tokens))
                      for t in self.tensors]

    def stand_ins(self) -> list[Any]:
        made = [result(m, True, t.device) for m, t in zip(self.marks, self.tensors)]
        return [trees.unflatten(s, made) for s in self.specs]

    def shaped(self, found: Sequence[Tensor]) -> list[Any]:
        """Tensors, one for each input, in the inputs' nests."""
        return [trees.unflatten(s, list(found)) for s in self.specs]


def _give(n: Node | None, like: Tensor, requires: bool) -> Tensor:
    """A result: zeros where nothing depends."""
    if n is None:
        n = N.const(like.dtype, 0, like.shape)
    return result(n, requires, like.device)


def _one_element(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.size != 1:
        got = _describe(value) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name}: expected a function that gives one number, got {got}")
    if not value.dtype.is_float:
        raise TypeError(f"{name}: expected a floating result, got {_describe(value)}")
    return value


def _convert(x: Any) -> Any:
    """Python floats and arrays among arguments become tensors."""
    if isinstance(x, tuple | list):
        return type(x)(_convert(v) for v in x) if not hasattr(x, "_fields") else x
    if isinstance(x, dict):
        return {k: _convert(v) for k, v in x.items()}
    if isinstance(x, Tensor) or type(x) in (bool, int, str) or x is None or callable(x):
        return x
    return as_tensor("grad", x)


@contextmanager
def _marked(wrt: Sequence[Tensor]) -> Iterator[list[Node]]:
    """Tensors that are not leaves yet require grad inside; gives their marks."""
    fresh = [t for t in wrt if not t.requires_grad]
    for t in fresh:
        t.requires_grad_()
    try:
        yield [read(t) for t in wrt]
    finally:
        for t in fresh:
            t.requires_grad_(False)


def value_and_grad(fn: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False,
                   wrt: Sequence[Tensor] | None = None) -> Callable[..., tuple[Any, Any]]:
    """A function that gives (fn's value, its gradient by the arguments `argnums`).

    fn gives one number, or with has_aux a pair (number, anything). Arguments are tensors or nests
    of tuples, lists and dicts of them; gradients come in the same nests. argnums: an int (one
    gradient) or several (a tuple). wrt: instead, a list of tensors fn reads, as a model's
    parameters; the gradients are a list. Nests: gradients of gradients are fine.
    Raises ValueError when fn gives more than one number, TypeError for integers.
    """
    @functools.wraps(fn)
    def function(*args: Any, **options: Any) -> tuple[Any, Any]:
        if wrt is not None:
            return _by_tensors(fn, list(wrt), has_aux, args, options)
        chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        values = [_convert(a) for a in args]
        try:
            picked = [values[i] for i in chosen]
        except IndexError:
            raise ValueError(f"grad: expected argnums below {len(args)}, got {argnums}") from None
        inputs = _Inputs("grad", picked)
        for i, stand_in in zip(chosen, inputs.stand_ins()):
            values[i] = stand_in
        with enable_grad():
            outcome = fn(*values, **options)
            value, aux = outcome if has_aux else (outcome, None)
            n = read(_one_element("grad", value))
            found = pull([n], [None], inputs.marks)
        requires = inputs.requires or (mode.grad and marked_by_others([n], inputs.marks))
        grads = inputs.shaped([_give(g, t, requires)
                               for g, t in zip(found.wanted, inputs.tensors)])
        gradient = grads[0] if isinstance(argnums, int) else tuple(grads)
        first = result(n, requires, value.device)
        return ((first, _settled(aux, requires)) if has_aux else first), gradient

    return function


def _settled(aux: Any, requires: bool) -> Any:
    """Extra results: they carry gradients only if something outside wants them."""
    found: list[Tensor] = []
    spec = trees.flatten(aux, found)
    return trees.unflatten(spec, [result(read(t), requires and t.requires_grad, t.device)
                                  for t in found])


def _by_tensors(fn: Callable[..., Any], wrt: list[Tensor], has_aux: bool, args: tuple[Any, ...],
                options: dict[str, Any]) -> tuple[Any, Any]:
    with enable_grad(), _marked(wrt) as marks:
        outcome = fn(*args, **options)
        value, aux = outcome if has_aux else (outcome, None)
        n = read(_one_element("grad", value))
        found = pull([n], [None], marks)
    grads = [_give(None if g is None else stop(g), t, False) for g, t in zip(found.wanted, wrt)]
    first = result(stop(n), False, value.device)
    return ((first, _settled(aux, False)) if has_aux else first), grads


def grad(fn: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False,
         wrt: Sequence[Tensor] | None = None) -> Callable[..., Any]:
    """A function that gives fn's gradient; see `value_and_grad`. With has_aux: (gradient, aux)."""
    both = value_and_grad(fn, argnums, has_aux, wrt)

    @functools.wraps(fn)
    def function(*args: Any, **options: Any) -> Any:
        value, gradient = both(*args, **options)
        return (gradient, value[1]) if has_aux else gradient

    return function


def vjp(fn: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """(fn(*primals), pull): pull(cotangent) gives the cotangents of the primals, as a tuple.

    A cotangent has the result's nest and shapes.
    """
    inputs = _Inputs("vjp", [_convert(p) for p in primals])
    with enable_grad():
        outcome = fn(*inputs.stand_ins())
        outputs: list[Tensor] = []
        spec = trees.flatten(outcome, outputs)
        nodes = [read(t) for t in outputs]

    def pull_back(cotangent: Any) -> tuple[Any, ...]:
        given: list[Tensor] = []
        if trees.flatten(_convert(cotangent), given) != spec:
            raise ValueError("vjp: expected a cotangent nested like the result")
        gs = [_cotangent("vjp", t, g) for t, g in zip(outputs, given)]
        found = pull(nodes, gs, inputs.marks)
        requires = mode.grad and (inputs.requires or any(g.requires_grad for g in given)
                                  or marked_by_others(nodes, inputs.marks))
        return tuple(inputs.shaped([_give(n, t, requires)
                                    for n, t in zip(found.wanted, inputs.tensors)]))

    return trees.unflatten(spec, [result(n, inputs.requires, t.device)
                                  for n, t in zip(nodes, outputs)]), pull_back


def jvp(fn: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """(fn(*primals), its derivative along tangents). Tangents are nested and shaped like primals.
    """
    inputs = _Inputs("jvp", [_convert(p) for p in primals])
    along: list[Tensor] = []
    trees.flatten([_convert(t) for t in tangents], along)
    if len(along) != len(inputs.tensors):
        raise ValueError(f"jvp: expected {len(inputs.tensors)} tangents, got {len(along)}")
    steps = [_cotangent("jvp", t, a) for t, a in zip(inputs.tensors, along)]
    with enable_grad():
        outputs: list[Tensor] = []
        spec = trees.flatten(fn(*inputs.stand_ins()), outputs)
        nodes = [read(t) for t in outputs]
    dummies = [node("mark", n.dtype, n.shape, (N.const(n.dtype, 0, n.shape),), next(_tokens))
               for n in nodes]
    back = pull(nodes, dummies, inputs.marks)
    pairs = [(g, s) for g, s in zip(back.wanted, steps) if g is not None]
    found = pull([g for g, _ in pairs], [s for _, s in pairs], dummies)
    requires = mode.grad and (inputs.requires or any(a.requires_grad for a in along)
                              or marked_by_others(nodes, inputs.marks))
    values = [result(n, requires, t.device) for n, t in zip(nodes, outputs)]
    slopes = [_give(n, t, requires) for n, t in zip(found.wanted, outputs)]
    return trees.unflatten(spec, values), trees.unflatten(spec, slopes)


def jacobian(fn: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """A function that gives d fn / d argument: shape of the result followed by the argument's.

    fn gives one tensor; the argument is one tensor. Row by row: one pull an element.
    """
    @functools.wraps(fn)
    def function(*args: Any) -> Tensor:
        def of_one(x: Tensor) -> Any:
            return fn(*args[:argnums], x, *args[argnums + 1:])

        x = _convert(args[argnums])
        value, back = vjp(of_one, x)
        size = int(value.size)
        rows = []
        for i in range(size):
            at = N.pad(N.const(value.dtype, 1, (1,)), (i,), (size,))
            rows.append(back(result(N.reshape(at, value.shape), False, value.device))[0])
        if not rows:
            return result(N.const(value.dtype, 0, (*value.shape, *x.shape)), False, x.device)
        return reshape(stack(rows), (*value.shape, *x.shape))

    return function


def hessian(fn: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """A function that gives the second derivatives of fn, which gives one number: shape of the
    argument twice."""
    return jacobian(grad(fn, argnums), argnums)


# -- training loops ------------------------------------------------------------------------------


def settle(tensors: Sequence[Tensor]) -> None:
    """Computes what is due, and `tensors` if they are still expressions; nothing while tracing."""
    if not tracing.active():
        for t in tensors:
            if t._storage.leaf is None:
                door.due.add(t._storage)
        door.settle()


__all__ = ["backward", "grad", "hessian", "jacobian", "jvp", "value_and_grad", "vjp"]
