"""NumPy's ufuncs over tensors: a table from ufunc to our function, and a ufunc's methods.

`np.add(t, a, where=mask, out=o)`, `np.add.reduce`, `accumulate`, `outer`, `reduceat` and `at` give
lazy tensors. A ufunc or an option that is not here raises rather than copying in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import activations, complexes, joining, products, reductions, scanning
from . import elementwise as e
from .indexing import index_add
from .movement import moveaxis, reshape
from .putting import scatter_reduce
from .recording import as_tensor
from .tensor import Tensor, as_dtype, check_axis, no_grad

_UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: e.add, np.subtract: e.sub, np.multiply: e.mul, np.true_divide: e.div,
    np.floor_divide: e.floor_divide, np.remainder: e.remainder, np.fmod: e.fmod, np.power: e.pow,
    np.float_power: e.pow, np.negative: e.neg, np.positive: e.positive, np.absolute: e.abs,
    np.fabs: e.abs, np.sign: e.sign, np.floor: e.floor, np.ceil: e.ceil, np.trunc: e.trunc,
    np.rint: e.round, np.sqrt: e.sqrt, np.square: activations.square, np.cbrt: e.cbrt,
    np.reciprocal: activations.reciprocal, np.exp: e.exp, np.exp2: e.exp2, np.expm1: e.expm1,
    np.log: e.log, np.log2: e.log2, np.log10: e.log10, np.log1p: e.log1p, np.sin: e.sin,
    np.cos: e.cos, np.tan: e.tan, np.arcsin: e.asin, np.arccos: e.acos, np.arctan: e.atan,
    np.arctan2: e.atan2, np.hypot: e.hypot, np.sinh: e.sinh, np.cosh: e.cosh, np.tanh: e.tanh,
    np.arcsinh: e.asinh, np.arccosh: e.acosh, np.arctanh: e.atanh, np.logaddexp: e.logaddexp,
    np.maximum: e.maximum, np.minimum: e.minimum, np.copysign: e.copysign,
    np.bitwise_and: e.bitwise_and, np.bitwise_or: e.bitwise_or, np.bitwise_xor: e.bitwise_xor,
    np.invert: e.invert, np.left_shift: e.left_shift, np.right_shift: e.right_shift,
    np.equal: e.eq, np.not_equal: e.ne, np.less: e.lt, np.less_equal: e.le, np.greater: e.gt,
    np.greater_equal: e.ge, np.logical_and: e.logical_and, np.logical_or: e.logical_or,
    np.logical_xor: e.logical_xor, np.logical_not: e.logical_not, np.isnan: e.isnan,
    np.isinf: e.isinf, np.isfinite: activations.isfinite, np.signbit: e.signbit,
    np.heaviside: activations.heaviside, np.deg2rad: activations.deg2rad,
    np.rad2deg: activations.rad2deg, np.radians: activations.deg2rad,
    np.degrees: activations.rad2deg, np.nextafter: activations.nextafter,
    np.divmod: lambda x, y: (e.floor_divide(x, y), e.remainder(x, y)),
    np.modf: lambda x: (activations.frac(x), e.trunc(x)), np.vecdot: products.vecdot,
    np.matmul: products.matmul, np.conjugate: complexes.conj,
}
_REDUCTIONS: dict[Any, Callable[..., Any]] = {
    np.add: reductions.sum, np.multiply: reductions.prod, np.maximum: reductions.amax,
    np.minimum: reductions.amin, np.logical_and: reductions.all, np.logical_or: reductions.any,
    np.logaddexp: reductions.logsumexp,
}


_SCANS: dict[Any, Callable[..., Any]] = {
    np.add: reductions.cumsum, np.multiply: reductions.cumprod,
    np.maximum: lambda x, axis: reductions.cummax(x, axis).values,
    np.minimum: lambda x, axis: reductions.cummin(x, axis).values,
    np.logaddexp: scanning.logcumsumexp,
}
_NEUTRAL: dict[Any, Any] = {np.add: 0, np.multiply: 1, np.logical_and: True, np.logical_or: False}
_SCATTERS: dict[Any, str] = {np.maximum: "amax", np.minimum: "amin", np.multiply: "prod"}


def ufunc(self: Tensor, function: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """NumPy's `__array_ufunc__`; NotImplemented, hence TypeError, for what we do not have."""
    out = options.pop("out", None)
    maker = _METHODS.get(method)
    if maker is None or (method == "at" and out is not None):
        return NotImplemented
    options = {k: v for k, v in options.items() if v is not np._NoValue}
    target = out[0] if isinstance(out, tuple) and len(out) == 1 else out
    value = maker(function, inputs, options, target)
    if value is NotImplemented or target is None:
        return value
    values, targets = (value, target) if isinstance(target, tuple) else ((value,), (target,))
    stored = tuple(v if t is None else _store(function, v, t) for v, t in zip(values, targets))
    return stored if isinstance(target, tuple) else stored[0]


def _store(function: Any, value: Tensor, target: Any) -> Any:
    """value inside target, a tensor or an array (`array += t`)."""
    if not isinstance(target, Tensor):
        np.copyto(target, value.numpy(), casting="same_kind")
        return target
    if value.shape != target.shape:
        raise ValueError(f"{function.__name__}: expected out of shape {value.shape}, got "
                         f"{target.shape}")
    if not np.can_cast(value.dtype.numpy, target.dtype.numpy, "same_kind"):
        raise TypeError(f"{function.__name__}: expected out of a dtype that holds "
                        f"{value.dtype.name}, got {target.dtype.name}")
    return target.copy_(value)


def _call(function: Any, inputs: tuple[Any, ...], options: dict[str, Any], out: Any) -> Any:
    ours = _UFUNCS.get(function)
    where, dtype = options.pop("where", True), options.pop("dtype", None)
    if ours is None or options.keys() - {"casting", "order", "subok"}:
        return NotImplemented
    if dtype is not None:
        wanted = as_dtype(function.__name__, dtype)
        inputs = tuple(as_tensor(function.__name__, x).to(wanted) for x in inputs)
    value = ours(*inputs)
    if where is True:
        return value
    if not isinstance(out, Tensor | np.ndarray):
        raise TypeError(f"{function.__name__}: expected out beside where, which leaves elements "
                        "alone, got none")
    return e.where(as_tensor(function.__name__, where), value, out)


def _reduce(function: Any, inputs: tuple[Any, ...], options: dict[str, Any], out: Any) -> Any:
    ours = _REDUCTIONS.get(function)
    options.setdefault("axis", 0)
    where, initial = options.pop("where", True), options.pop("initial", None)
    dtype = options.pop("dtype", None)
    if ours is None:
        return NotImplemented
    x = as_tensor(function.__name__, inputs[0])
    x = x if dtype is None else x.to(as_dtype(function.__name__, dtype))
    if where is not True:
        neutral = _NEUTRAL.get(function, initial)
        if neutral is None:
            raise ValueError(f"{function.__name__}: expected initial beside where, for there is no "
                             "neutral element, got none")
        x = e.where(as_tensor(function.__name__, where), x, neutral)
    found = ours(x, **options)
    return found if initial is None else _UFUNCS[function](found, initial)


def _accumulate(function: Any, inputs: tuple[Any, ...], options: dict[str, Any], out: Any) -> Any:
    ours = _SCANS.get(function)
    dtype, axis = options.pop("dtype", None), options.pop("axis", 0)
    if ours is None or options:
        return NotImplemented
    x = as_tensor(function.__name__, inputs[0])
    return ours(x if dtype is None else x.to(as_dtype(function.__name__, dtype)), axis=axis)


def _outer(function: Any, inputs: tuple[Any, ...], options: dict[str, Any], out: Any) -> Any:
    a, b = (as_tensor(function.__name__, x) for x in inputs)
    return _call(function, (reshape(a, (*a.shape, *[1] * b.ndim)), b), options, out)


def _reduceat(function: Any, inputs: tuple[Any, ...], options: dict[str, Any], out: Any) -> Any:
    """Reductions from each index to the next; of one element where the next is not behind."""
    ours = _REDUCTIONS.get(function)
    x, axis = as_tensor(function.__name__, inputs[0]), options.pop("axis", 0)
    if ours is None or options.keys() - {"dtype"}:
        return NotImplemented
    lines = moveaxis(x, check_axis(function.__name__, axis, x.ndim), 0)
    starts = [int(i) for i in np.asarray(inputs[1])]
    ends = [*starts[1:], lines.shape[0]]
    parts = [ours(lines[i:max(j, i + 1)], axis=0) for i, j in zip(starts, ends)]
    return moveaxis(joining.stack(parts), 0, axis)


def _at(function: Any, inputs: tuple[Any, ...], options: dict[str, Any], out: Any) -> Any:
    """In place and unbuffered: every index counts, equal ones too."""
    target, index, *values = inputs
    if not isinstance(target, Tensor) or isinstance(index, tuple | slice):
        return NotImplemented
    i = as_tensor(function.__name__, index)
    if not values:  # a function of one operand, once for every time that an index comes
        return NotImplemented
    shape = (*i.shape, *target.shape[1:])
    given = as_tensor(function.__name__, values[0]).to(target.dtype).expand(*shape)
    places, given = reshape(i, -1), reshape(given, (int(i.size), *target.shape[1:]))
    if function in (np.add, np.subtract):
        made = index_add(target, 0, places, given, alpha=1 if function is np.add else -1)
    elif function in _SCATTERS:
        wide = reshape(places, (-1, *[1] * (target.ndim - 1))).expand(*given.shape)
        made = scatter_reduce(target, 0, wide, given, _SCATTERS[function])
    else:
        return NotImplemented
    with no_grad():
        target.copy_(made)
    return None


_METHODS: dict[str, Callable[..., Any]] = {
    "__call__": _call, "reduce": _reduce, "accumulate": _accumulate, "outer": _outer,
    "reduceat": _reduceat, "at": _at}
