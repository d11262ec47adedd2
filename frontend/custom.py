"""`custom_op`: a function of NumPy arrays (or of pointers, by ctypes) as an operation of the graph.

It is lazy, is compiled into programs as a host routine between kernels, and has the derivative that
its author writes in tensor functions, so that it can be differentiated again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Shape

from . import routines
from .movement import reshape
from .recording import as_tensor
from .tensor import Tensor, as_dtype

Spec = tuple[Shape, DType]


class CustomOp:
    """What `custom_op` makes: call it with tensors (and options by keyword).

    name: part of every program's key. body, shape_rule, derivative: see `custom_op`.
    """

    def __init__(self, body: Callable[..., Any], name: str) -> None:
        self.body, self.name = body, name
        self.shape_rule: Callable[..., Any] | None = None
        self.derivative: Callable[..., Any] | None = None
        self.__doc__ = body.__doc__
        self.__name__ = getattr(body, "__name__", name)
        routines.register(name, self._run, self._pull)

    def shape(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: `rule(*operands, **options)` gives (shape, dtype) of the result, or a list of
        such pairs for several results."""
        self.shape_rule = rule
        return rule

    def backward(self, derivative: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: `derivative(cotangent, result, *operands, **options)` gives each operand's
        cotangent, a tensor or None; a tuple where there are several operands. Written in tensor
        functions or other custom ops. With several results, the first two are tuples."""
        self.derivative = derivative
        return derivative

    def __call__(self, *operands: Any, **options: Any) -> Any:
        tensors = [as_tensor(self.__name__, x) for x in operands]
        specs, several = self._specs(tensors, options)
        plain = _plain(self.__name__, options)
        given = [t.to(dt.float32) if t.dtype is dt.bfloat16 else t for t in tensors]
        wide = [(s, dt.float32 if d is dt.bfloat16 else d) for s, d in specs]
        made: dict[DType, Tensor] = {}
        for dtype in dict.fromkeys(d for _, d in wide):  # one routine call for each dtype
            count = sum(math.prod(s) for s, d in wide if d is dtype)
            made[dtype] = routines.call(self.name, (dtype.name, _packed(wide), plain), dtype,
                                        (count,), *given)
        parts = _parts([made[d] for _, d in wide], wide)
        parts = [p if p.dtype is d else p.to(d) for p, (_, d) in zip(parts, specs)]
        return tuple(parts) if several else parts[0]

    def __repr__(self) -> str:
        return f"custom_op {self.__name__}"

    def _specs(self, tensors: list[Tensor], options: dict[str, Any]) -> tuple[list[Spec], bool]:
        if self.shape_rule is None:
            if not tensors:
                raise TypeError(f"{self.__name__}: expected operands or a shape rule, got neither")
            return [(tensors[0].shape, tensors[0].dtype)], False
        found = self.shape_rule(*tensors, **options)
        several = isinstance(found, list)
        try:
            specs = [(tuple(e.__index__() for e in shape), as_dtype(self.__name__, dtype))
                     for shape, dtype in (found if several else [found])]
        except (AttributeError, TypeError, ValueError):
            raise TypeError(f"{self.__name__}: expected a shape rule that gives (shape, dtype) or "
                            f"a list of such pairs, got {found!r}") from None
        return specs, several

    def _run(self, options: Any, *arrays: np.ndarray) -> np.ndarray:
        """The body's results of one dtype, end to end."""
        name, specs, plain = options
        for x in arrays:
            x.flags.writeable = False
        found = self.body(*arrays, **dict(plain))
        results = list(found) if isinstance(found, tuple | list) else [found]
        if len(results) != len(specs):
            raise ValueError(f"{self.__name__}: expected {len(specs)} results, got {len(results)}")
        kept = []
        for r, (shape, kind) in zip(results, specs):
            array = np.asarray(r)
            if array.shape != tuple(shape) or array.dtype.name != kind:
                raise ValueError(f"{self.__name__}: expected a result of shape {tuple(shape)} and "
                                 f"{kind}, got {array.shape} and {array.dtype.name}")
            if kind == name:
                kept.append(array.reshape(-1))
        return np.concatenate(kept)

    def _pull(self, options: Any, operands: Sequence[Tensor], result: Tensor, cotangent: Tensor
              ) -> list[Tensor | None]:
        name, packed, plain = options
        if self.derivative is None:
            raise TypeError(f"gradients: {self!r} has no derivative; give it one with "
                            f"@{self.__name__}.backward")
        specs = [(tuple(shape), dt.by_name(kind)) for shape, kind in packed]
        found: Any
        if len(specs) == 1:
            shape = specs[0][0]
            found = self.derivative(reshape(cotangent, shape), reshape(result, shape), *operands,
                                    **dict(plain))
        else:
            found = self._pull_several(name, specs, operands, result, cotangent, dict(plain))
        several = isinstance(found, tuple | list)
        slopes: list[Any] = list(found) if several else [found]
        if len(slopes) != len(operands):
            raise ValueError(f"{self.__name__}: expected {len(operands)} cotangents, got "
                             f"{len(slopes)}")
        for slope, x in zip(slopes, operands):
            if slope is not None and slope.shape != x.shape:
                raise ValueError(f"{self.__name__}: expected a cotangent of shape {x.shape}, got "
                                 f"{slope.shape}")
        return [None if g is None else g.to(x.dtype) for g, x in zip(slopes, operands)]

    def _pull_several(self, name: str, specs: list[Spec], operands: Sequence[Tensor],
                      result: Tensor, cotangent: Tensor, options: dict[str, Any]) -> Any:
        """The derivative with tuples; results of another dtype get no cotangent here, since theirs
        comes on its own."""
        assert self.derivative is not None
        own = {dt.by_name(name): result}
        for kind in dict.fromkeys(d for _, d in specs if d.name != name):
            count = sum(math.prod(s) for s, d in specs if d is kind)
            own[kind] = routines.call(self.name, (kind.name, _packed(specs), _plain("", options)),
                                      kind, (count,), *operands)
        results = _parts([own[d] for _, d in specs], specs)
        slopes = _parts([cotangent if d.name == name else own[d] * 0 for _, d in specs], specs)
        return self.derivative(tuple(slopes), tuple(results), *operands, **options)


def _packed(specs: list[Spec]) -> tuple[Any, ...]:
    return tuple((s, d.name) for s, d in specs)


def _parts(flat: list[Tensor], specs: list[Spec]) -> list[Tensor]:
    """Each result from the flat vector of its dtype."""
    at: dict[DType, int] = {}
    parts = []
    for t, (shape, dtype) in zip(flat, specs):
        start, count = at.get(dtype, 0), math.prod(shape)
        parts.append(reshape(t if count == t.shape[0] else t[start:start + count], shape))
        at[dtype] = start + count
    return parts


def _plain(name: str, options: dict[str, Any]) -> tuple[Any, ...]:
    """Options as plain data. Raises TypeError for what cannot be part of a key."""
    def clean(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple(clean(v) for v in value)
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"{name}: expected options of numbers, text and tuples, got "
                        f"{type(value).__name__}; pass arrays as operands")
    return tuple((k, clean(v)) for k, v in sorted(options.items()))


_made: dict[str, int] = {}


def custom_op(body: Callable[..., Any] | None = None, *, shape: Callable[..., Any] | None = None,
              backward: Callable[..., Any] | None = None, name: str | None = None) -> Any:
    """A function of NumPy arrays as an operation on tensors: lazy, compiled, differentiable.

    body(*arrays, **options) gives an array or a tuple of arrays, of the shapes and dtypes that
    `shape(*operands, **options)` says (without it: the first operand's). It must be a pure function
    of what it gets: it may run any number of times or, unasked for, never. Arrays are read-only;
    bfloat16 arrives as float32. Operands are tensors; options are plain data given by keyword.
    backward(cotangent, result, *operands, **options) gives the operands' cotangents as tensors.
    Also a decorator, with `op.shape` and `op.backward` as decorators of the other two. A body may
    hand `array.ctypes` to a C library. Not inside `scan` and `while_loop`. Wrong results raise
    ValueError when values are asked for.
    """
    if body is None:
        return lambda found: custom_op(found, shape=shape, backward=backward, name=name)
    if not callable(body):
        raise TypeError(f"custom_op: expected a function, got {type(body).__name__}")
    base = name or f"{getattr(body, '__module__', '')}.{getattr(body, '__qualname__', 'op')}"
    count = _made[base] = _made.get(base, 0) + 1  # one defined anew is another operation
    op = CustomOp(body, f"custom.{base}" + (f"#{count}" if count > 1 else ""))
    op.shape_rule, op.derivative = shape, backward
    return op
