"""Parameters and buffers: tensors that belong to a module, and the flat vector of many of them.

A parameter is an identity: sharing means being the same object, and its gradient is its `grad`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.compiler import node as N

from .. import views
from ..creation import constant, relocate
from ..recording import as_tensor
from ..tensor import Tensor, make, no_grad, read, result, write
from ..views import View


def _adopt(cls: type, name: str, data: Any) -> Any:
    """A tensor of class cls that looks where data looks."""
    t = as_tensor(name, data).detach()
    if t._view is not None and t._view.token == 0:  # an expression with history: only its value
        with no_grad():
            t = result(read(t), False, t.device)
    made: Any = object.__new__(cls)
    made._storage, made._view, made.dtype, made.shape = t._storage, t._view, t.dtype, t.shape
    made.grad = None
    return made


class Parameter(Tensor):
    """A tensor that a module learns: found by `params()`, stepped by optimisers, saved.

    Becomes part of a module by assignment: `self.weight = nn.Parameter(fb.zeros(3, 4))`.
    """

    __slots__ = ()

    def __new__(cls, data: Any, requires_grad: bool = True) -> Parameter:
        made: Parameter = _adopt(cls, "Parameter", data)
        return made.requires_grad_() if requires_grad else made  # type: ignore[return-value]

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        pass

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Parameter, (self.detach(), self.requires_grad)

    def __deepcopy__(self, memo: Any) -> Parameter:
        return Parameter(result(value_of(self), False, self.device), self.requires_grad)


class Buffer(Tensor):
    """A tensor that a module keeps and saves but does not learn, as running statistics."""

    __slots__ = ()

    def __new__(cls, data: Any) -> Buffer:
        return _adopt(cls, "Buffer", data)  # type: ignore[no-any-return]

    def __init__(self, data: Any = None) -> None:
        pass

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Buffer, (self.detach(),)


def gradient_of(p: Tensor) -> Tensor:
    """The gradient of a parameter; zeros, from now on its gradient, when there is none yet."""
    if p.grad is None:
        p.grad = result(constant(p.dtype, 0, p.shape), False, p.device)
    return p.grad


def zero(tensors: Sequence[Tensor]) -> None:
    """Fills tensors with 0; views that together are a whole storage, all at once."""
    left: dict[int, int] = {}
    for t in tensors:
        if t._view is not None:
            key = id(t._storage)
            left[key] = left.get(key, t._storage.size) - int(t.size)
    for t in tensors:
        whole = left.get(id(t._storage))
        if whole is None or whole > 0:
            write(t, constant(t.dtype, 0, t.shape))
        elif whole == 0:
            left[id(t._storage)] = -1  # once
            write(make(t._storage, None, t._storage.shape),
                  constant(t.dtype, 0, t._storage.shape))


def value_of(t: Tensor) -> N.Node:
    """The value without marks."""
    return t._storage.node if t._view is None else views.apply(t._storage.node, t._view.steps)


def convert(t: Tensor, dtype: Any) -> None:
    """Changes a parameter's dtype in place; who holds it keeps holding it."""
    take(t, result(N.cast(value_of(t), dtype), False, t.device))
    if t.grad is not None:
        t.grad = t.grad.detach().to(dtype)


def take(t: Tensor, value: Tensor) -> None:
    """Gives a parameter a tensor's value, dtype and device, in a storage of its own."""
    t._storage = result(value_of(value), False, value.device)._storage
    if t._view is not None:
        t._view = None if t._view.token is None else View((), t._view.token)
    t.dtype = value.dtype


def move(tensors: Sequence[Tensor], device: str) -> None:
    """Takes tensors and their gradients to a device, in place; who holds them keeps holding
    them, and what shares their storage comes along."""
    for t in tensors:
        relocate(t._storage, device)
        if t.grad is not None:
            relocate(t.grad._storage, device)


# -- one flat vector -----------------------------------------------------------------------------


def flat_view(tensors: Sequence[Tensor]) -> Tensor | None:
    """The vector of tensors that already lie one after the other in one storage; else None."""
    storage = tensors[0]._storage
    if len(storage.shape) != 1:
        return None
    at = start = tensors[0].storage_offset()
    for t in tensors:
        if t._storage is not storage or not t.is_contiguous() or t.storage_offset() != at:
            return None
        at += int(t.size)
    return make(storage, _place(storage.shape, start, (at - start,), None), (at - start,))


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Moves tensors into one storage, where they stay as views; gives the vector of all."""
    value = N.concat([N.reshape(value_of(t), (int(t.size),)) for t in tensors], 0)
    flat = result(value, False, tensors[0].device)
    at = 0
    for t in tensors:
        token = t._view.token if t._view is not None else None
        t._storage = flat._storage
        t._view = _place(flat.shape, at, t.shape, token)
        at += int(t.size)
    return flat


def _place(whole: N.Shape, start: int, shape: N.Shape, token: int | None) -> View | None:
    """The view of `shape` at `start` in a vector."""
    size = 1
    for extent in shape:
        size *= extent
    steps = views.extend((), whole, ("slice", (size,), ((start, 1),)))
    steps = views.extend(steps, whole, ("reshape", shape, None))
    return View(steps, token) if steps or token is not None else None
