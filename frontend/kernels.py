"""Kernels from users' functions of scalars: `elementwise`, and Torch7's `apply_`, `map_`, `map2_`.

A function is recorded over 0-d stand-ins, which no one may ask for a value; what it recorded is
then repeated over whole tensors. It becomes a part of the lazy graph like any operator, so it
fuses, is compiled and differentiated.
"""

from __future__ import annotations

import builtins
import dis
import functools
import inspect
import math
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.node import Node, Shape
from flambeau.compiler.ops import ELEMENTWISE

from . import activations
from . import elementwise as e
from .creation import number
from .devices import one_device, resolve
from .recording import as_tensor, broadcast_shapes, coerce
from .tensor import Tensor, default_dtype, mode, read, result


class Untraceable(TypeError):
    """A function cannot be recorded over stand-ins."""


class StandIn:
    """The memory of a scalar while a function is recorded: there is none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.exported = False

    @property
    def address(self) -> int:
        """Raises TypeError."""
        raise Untraceable(
            f"{self.name}: expected a function that only records operations, got one that asks for "
            "a scalar's value (if, and, or, while, int, float); use fb.where(condition, a, b)")

    @property
    def device(self) -> str:
        """Raises TypeError."""
        return str(self.address)

    def array(self, *_: Any, **__: Any) -> Any:
        """Raises TypeError."""
        return self.address


# -- Python's mathematics over tensors -------------------------------------------------------------

_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    name: getattr(e, name) for name in (
        "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "copysign",
        "cos", "cosh", "erf", "erfc", "exp", "exp2", "expm1", "floor", "fmod", "hypot", "isinf",
        "isnan", "lgamma", "log10", "log1p", "log2", "pow", "sin", "sinh", "sqrt", "tan", "tanh",
        "trunc")}
_FUNCTIONS |= {"fabs": e.abs, "degrees": activations.rad2deg, "radians": activations.deg2rad,
               "isfinite": activations.isfinite,
               "log": lambda x, *base: e.log(x) / e.log(base[0]) if base else e.log(x)}
_BUILTINS: dict[str, Callable[..., Tensor]] = {
    "min": lambda *xs: functools.reduce(e.minimum, xs),
    "max": lambda *xs: functools.reduce(e.maximum, xs)}


def _either(plain: Callable[..., Any], ours: Callable[..., Tensor]) -> Callable[..., Any]:
    """plain for Python numbers, ours where a tensor is among the arguments."""
    def function(*args: Any, **options: Any) -> Any:
        return (ours if any(isinstance(a, Tensor) for a in args) else plain)(*args, **options)
    return function


_SWAP: dict[int, Any] = {id(getattr(math, name)): _either(getattr(math, name), f)
                         for name, f in _FUNCTIONS.items()}
_SWAP |= {id(getattr(builtins, name)): _either(getattr(builtins, name), f)
          for name, f in _BUILTINS.items()}
_maths = types.SimpleNamespace(**{name: _SWAP.get(id(value), value)
                                  for name, value in vars(math).items()})
_SWAP[id(math)] = _maths


def _over_tensors(fn: Callable[..., Any]) -> Callable[..., Any]:
    """fn whose `math`, its functions and min and max take tensors; other callables as they are."""
    if not isinstance(fn, types.FunctionType):
        return fn
    scope = {word: getattr(builtins, word) for word in _BUILTINS} | fn.__globals__
    scope = {name: _SWAP.get(id(value), value) for name, value in scope.items()}
    made = types.FunctionType(fn.__code__, scope, fn.__name__, fn.__defaults__,
                              tuple(map(_cell, fn.__closure__ or ())) or None)
    made.__kwdefaults__ = fn.__kwdefaults__
    return made


def _cell(cell: Any) -> Any:
    try:
        held = cell.cell_contents
    except ValueError:  # not assigned yet
        return cell
    return types.CellType(_SWAP[id(held)]) if id(held) in _SWAP else cell


# -- recording -----------------------------------------------------------------------------------


def _repeated(name: str, root: Node, given: dict[Node, Node], shape: Shape) -> Node:
    """A 0-d graph over whole tensors; what does not depend on the stand-ins is broadcast."""
    done: dict[Node, Node] = {}
    order = N.toposort([root], stop=lambda n: n.value is not None)
    if any(n.op in ("philox", "sample") for n in order):
        raise Untraceable(f"{name}: expected a function without random numbers, got one that "
                          "draws; hand them in as an operand")
    for n in order:
        if n in given:
            done[n] = given[n]
        elif n.value is None and any(s in done for s in n.src):
            if n.op == "mark" and n.src[0] in given:
                done[n] = done[n.src[0]]
                continue
            if n.shape or not (n.op in ELEMENTWISE or n.op == "mark"):
                raise Untraceable(f"{name}: expected operations on scalars, got {n.op}")
            src = tuple(done.get(s) or N.expand_to(s, shape) for s in n.src)
            done[n] = N.node(n.op, n.dtype, shape, src, n.arg)
            done[n].where = n.where
    return done.get(root) or N.expand_to(root, shape)


def _recorded(name: str, fn: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]
              ) -> Any:
    """fn over tensors: recorded once over scalars, then repeated."""
    tensors = [a for a in (*args, *options.values()) if isinstance(a, Tensor)]
    shape = broadcast_shapes(name, *(t.shape for t in tensors))
    device = one_device(name, tensors) if tensors else resolve(name)
    given: dict[Node, Node] = {}

    def scalar(a: Any) -> Any:
        if not isinstance(a, Tensor):
            return a
        leaf = N.buffer(a.dtype, (), StandIn(name))
        given[leaf] = N.expand_to(read(a), shape)
        if not (a.requires_grad and mode.grad):
            return result(leaf, False, device)
        return result(N.node("mark", a.dtype, (), (leaf,), ("stand-in", name)), True, device)

    found = _over_tensors(fn)(*map(scalar, args), **{k: scalar(v) for k, v in options.items()})

    def whole(r: Any) -> Tensor:
        if isinstance(r, int | float) or (isinstance(r, np.generic) and r.dtype.kind in "biuf"):
            value = r.item() if isinstance(r, np.generic) else r
            d = {bool: dt.bool_, int: dt.int64}.get(type(value), default_dtype())
            return result(number(name, value, d, shape), False, device)
        if not isinstance(r, Tensor):
            raise Untraceable(f"{name}: expected a function that gives scalars, got "
                              f"{type(r).__name__}")
        if r.shape:
            raise Untraceable(f"{name}: expected a function that gives scalars, got shape "
                              f"{r.shape}")
        return result(_repeated(name, read(r), given, shape), r.requires_grad, device)

    return tuple(map(whole, found)) if isinstance(found, tuple) else whole(found)


def elementwise(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of scalars as one over tensors that broadcast; it fuses and has its derivative.

    fn takes and gives scalars (one, or a tuple of several): arithmetic, comparisons, `fb`
    functions, those of Python's `math`, `min`, `max` and `abs`. It is recorded at every call, over
    0-d tensors of the operands' dtypes; Python numbers and other arguments reach it as they are.
    Usable as a decorator. Raises TypeError for a function that asks for a scalar's value, as `if`
    does: use `fb.where(condition, a, b)`.
    """
    if not callable(fn):
        raise TypeError(f"elementwise: expected a function, got {type(fn).__name__}")
    name = getattr(fn, "__name__", type(fn).__name__)

    @functools.wraps(fn)
    def kernel(*args: Any, **options: Any) -> Any:
        return _recorded(name, fn, [_operand(name, a) for a in args],
                         {k: _operand(name, v) for k, v in options.items()})

    return kernel


def _operand(name: str, a: Any) -> Any:
    return coerce(name, a) if isinstance(a, np.ndarray | list) else a


# -- Torch7's apply and map ------------------------------------------------------------------------


def apply_(self: Tensor, function: Callable[[Any], Any]) -> Tensor:
    """Each element becomes function(element); None leaves it. Gives itself. Torch7 apply.

    A function of arithmetic and `math` alone is recorded once, in float64, and is a kernel. Any
    other (with `if`, with a memory, with calls of something else) is called in Python for each
    element in row-major order, about half a microsecond each, and forces the values.
    """
    return _changed("apply_", self, function)


def map_(self: Tensor, other: Any, function: Callable[[Any, Any], Any]) -> Tensor:
    """Each element becomes function(element, other's element); None leaves it. Torch7 map.

    As `apply_`. Raises ValueError when other has not as many elements.
    """
    return _changed("map_", self, function, other)


def map2_(self: Tensor, first: Any, second: Any, function: Callable[[Any, Any, Any], Any]
          ) -> Tensor:
    """Each element becomes function(element, first's, second's); None leaves it. Torch7 map2.

    As `apply_`. Raises ValueError when first or second have not as many elements.
    """
    return _changed("map2_", self, function, first, second)


def apply(self: Tensor, function: Callable[[Any], Any]) -> Tensor:
    """A copy of which each element is function(element): `clone().apply_(function)`."""
    return _changed("apply", self.clone(), function)


def _changed(name: str, t: Tensor, function: Callable[..., Any], *others: Any) -> Tensor:
    operands = [t]
    for other in others:
        o = as_tensor(name, other)
        if o.numel() != t.numel():
            raise ValueError(f"{name}: expected {t.numel()} elements, got {o.numel()} of shape "
                             f"{o.shape}")
        operands.append(o.reshape(t.shape))
    if is_plain(function):
        try:
            found = _recorded(name, function, [o.to(dt.float64) for o in operands], {})
        except (TypeError, ValueError, RuntimeError, ArithmeticError):
            found = None  # Python's own scalars may know better
        if isinstance(found, Tensor):
            return t.copy_(found)
    return _one_by_one(t, function, operands)


def _one_by_one(t: Tensor, function: Callable[..., Any], operands: list[Tensor]) -> Tensor:
    array = t.numpy().copy()
    flat = array.reshape(-1)
    for i, values in enumerate(zip(*(o.numpy().reshape(-1).tolist() for o in operands))):
        found = function(*values)
        if found is not None:
            flat[i] = found
    return t.copy_(array)


_MEMORY = ("STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR", "STORE_SUBSCR", "STORE_SLICE", "DELETE_",
           "IMPORT_", "YIELD", "SEND", "MAKE_FUNCTION", "LOAD_BUILD_CLASS", "SETUP_", "RAISE_")


def is_plain(function: Callable[..., Any]) -> bool:
    """Is a Python function known to be of its arguments alone? It stores nothing outside and names
    only numbers, `math`, its functions and abs, min and max."""
    if not isinstance(function, types.FunctionType) or inspect.iscoroutinefunction(function):
        return False
    if any(i.opname.startswith(_MEMORY) for i in dis.get_instructions(function)):
        return False
    named = inspect.getclosurevars(function)
    held = [*named.nonlocals.values(), *named.globals.values(), *named.builtins.values()]
    held += list(function.__defaults__ or ())
    return all(type(v) in (int, float, bool) or id(v) in _SWAP or v is abs for v in held)
