"""Tensors among others: NumPy's protocols, pickle and copy.

`np.exp(t)` and `array + t` give lazy tensors through a table from ufunc to our function; a NumPy
function that is not in the tables raises rather than copying in silence.
"""

from __future__ import annotations

import copy as copying
from collections.abc import Callable
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt

from . import (
    activations,
    complexes,
    contracting,
    creation,
    indexing,
    joining,
    movement,
    products,
    reductions,
    sets,
    sorting,
)
from . import elementwise as e
from . import realize as door
from .creation import tensor
from .storage import Storage
from .tensor import Tensor, make
from .views import Step, View

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
    np.rad2deg: activations.rad2deg, np.matmul: products.matmul, np.conjugate: complexes.conj,
}
_REDUCTIONS: dict[Any, Callable[..., Any]] = {
    np.add: reductions.sum, np.multiply: reductions.prod, np.maximum: reductions.amax,
    np.minimum: reductions.amin, np.logical_and: reductions.all, np.logical_or: reductions.any,
}


def _ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """NumPy's ufuncs and their `reduce`, lazily. NotImplemented for what we do not have."""
    out = options.pop("out", None)
    if out is not None:
        return _ufunc_out(self, ufunc, method, inputs, options, out)
    if method == "__call__" and ufunc in _UFUNCS and not options:
        return _UFUNCS[ufunc](*inputs)
    if method == "reduce" and ufunc in _REDUCTIONS:
        options.setdefault("axis", 0)
        options = {k: v for k, v in options.items() if v is not None or k == "axis"}
        return _REDUCTIONS[ufunc](*inputs, **options)
    return NotImplemented


def _ufunc_out(self: Tensor, ufunc: Any, method: str, inputs: tuple[Any, ...],
               options: dict[str, Any], out: Any) -> Any:
    """A ufunc whose result goes into a tensor or, as in `array += t`, an array."""
    target = out[0]
    value = _ufunc(self, ufunc, method, *inputs, **options)
    if value is NotImplemented:
        return NotImplemented
    if isinstance(target, Tensor):
        target.copy_(value)
    else:
        np.copyto(target, value.numpy(), casting="same_kind")
    return target


def _sort_values(x: Any, axis: int = -1) -> Tensor:
    return sorting.sort(x, axis).values  # type: ignore[no-any-return]


def _std_of(f: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def numpy_form(x: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
        return f(x, axis, keepdims, ddof=ddof)
    return numpy_form


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.concatenate: joining.concatenate, np.stack: joining.stack, np.hstack: joining.hstack,
    np.vstack: joining.vstack, np.where: e.where, np.sum: reductions.sum,
    np.prod: reductions.prod, np.mean: reductions.mean, np.var: _std_of(reductions.var),
    np.std: _std_of(reductions.std), np.max: reductions.amax, np.min: reductions.amin,
    np.argmax: reductions.argmax, np.argmin: reductions.argmin, np.any: reductions.any,
    np.all: reductions.all, np.cumsum: reductions.cumsum, np.cumprod: reductions.cumprod,
    np.reshape: movement.reshape, np.transpose: movement.transpose, np.ravel: movement.ravel,
    np.squeeze: movement.squeeze, np.atleast_1d: movement.atleast_1d,
    np.atleast_2d: movement.atleast_2d, np.expand_dims: movement.expand_dims,
    np.swapaxes: movement.swapaxes, np.moveaxis: movement.moveaxis, np.flip: movement.flip,
    np.roll: joining.roll, np.tile: joining.tile, np.repeat: joining.repeat_interleave,
    np.broadcast_to: movement.broadcast_to, np.clip: activations.clamp, np.round: e.round,
    np.isclose: activations.isclose, np.allclose: activations.allclose,
    np.array_equal: activations.array_equal, np.dot: products.dot, np.outer: products.outer,
    np.inner: products.inner, np.einsum: contracting.einsum, np.tensordot: contracting.tensordot,
    np.trace: products.trace, np.kron: products.kron, np.cross: products.cross,
    np.diag: products.diag, np.tril: products.tril, np.triu: products.triu,
    np.diagonal: movement.diagonal, np.sort: _sort_values, np.argsort: sorting.argsort,
    np.take: indexing.take, np.take_along_axis: indexing.take_along_axis,
    np.nonzero: lambda x: indexing.nonzero(x, as_tuple=True), np.unique: sets.unique,
    np.searchsorted: sets.searchsorted, np.zeros_like: creation.zeros_like,
    np.ones_like: creation.ones_like, np.full_like: creation.full_like,
    np.empty_like: creation.empty_like, np.nan_to_num: activations.nan_to_num,
    np.count_nonzero: reductions.count_nonzero, np.ptp: reductions.ptp,
    np.linalg.norm: lambda x, ord=2, axis=None, keepdims=False: reductions.norm(
        x, 2 if ord is None else ord, axis, keepdims),
    np.shape: lambda x: x.shape, np.ndim: lambda x: x.ndim, np.size: lambda x: int(x.size),
    np.copy: movement.clone, np.iscomplexobj: complexes.is_complex,
    np.real: complexes.real, np.imag: complexes.imag, np.angle: complexes.angle,
    np.array2string: lambda x, *a, **k: np.array2string(x.numpy(), *a, **k),
    np.array_repr: lambda x, *a, **k: repr(x),
}


def _function(self: Tensor, function: Any, types: Any, args: Any, options: Any) -> Any:
    """NumPy functions by table; TypeError with a hint for others."""
    ours = _FUNCTIONS.get(function)
    if ours is None:
        raise TypeError(f"numpy.{function.__name__}: expected a function that takes Flambeau "
                        "tensors, got one that does not; pass t.numpy()")
    options = {k: v for k, v in options.items() if v is not None and v is not np._NoValue}
    return ours(*args, **options)


def _array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """np.asarray(t) shares (read-only), np.array(t) copies."""
    array = self.numpy()
    if dtype is not None and np.dtype(dtype) != array.dtype:
        if copy is False:
            raise ValueError(f"asarray: expected {array.dtype} without a copy, got a request for "
                             f"{np.dtype(dtype)}")
        return array.astype(dtype)
    return array.copy() if copy else array


# -- pickle and copy -----------------------------------------------------------------------------


def _rebuild_storage(array: np.ndarray, name: str) -> Storage:
    """A storage from the bits of its elements."""
    return Storage(door.leaf_of(np.asarray(array), dt.by_name(name)))


def _reduce_storage(self: Storage) -> Any:
    if self.leaf is None:
        door.force([self])
    leaf = self.leaf
    assert leaf is not None
    base = self.shared if self.shared is not None else leaf.arg.array(leaf.dtype.numpy, leaf.shape)
    return _rebuild_storage, (base, self.dtype.name)


def _rebuild(storage: Storage, steps: tuple[Step, ...], shape: tuple[int, ...], leaf: bool,
             grad: Tensor | None) -> Tensor:
    made = make(storage, View(steps) if steps else None, shape)
    if leaf:
        made.requires_grad_()
    made.grad = grad
    return made


def _reduce(self: Tensor, protocol: Any = None) -> Any:
    """Views of one storage still share it after a round trip; history does not travel."""
    steps = self._view.steps if self._view is not None else ()
    leaf = self.requires_grad and self.is_leaf
    return _rebuild, (self._storage, steps, self.shape, leaf, self.grad)


def _copy(self: Tensor) -> Tensor:
    """A tensor that shares this one's storage, as Python's shallow copy does."""
    made = self.detach()
    return made.requires_grad_() if self.requires_grad and self.is_leaf else made


def _deepcopy(self: Tensor, memo: dict[int, Any]) -> Tensor:
    known = memo.get(id(self))
    if known is not None:
        return known  # type: ignore[no-any-return]
    storage = copying.deepcopy(self._storage, memo)
    _, (_, steps, shape, leaf, grad) = _reduce(self)
    made = _rebuild(storage, steps, shape, leaf, copying.deepcopy(grad, memo))
    memo[id(self)] = made
    return made


def _deepcopy_storage(self: Storage, memo: dict[int, Any]) -> Storage:
    """The value is immutable, so the copy shares it until one of them is written."""
    made = Storage(self.node, self.device)
    if self.shared is not None or self.requires:
        made = tensor(make(self, None, self.shape).numpy().copy())._storage
    memo[id(self)] = made
    return made


def install() -> None:
    """Gives the protocols to the classes."""
    methods: dict[str, Any] = {
        "__array__": _array, "__array_ufunc__": _ufunc, "__array_function__": _function,
        "__reduce_ex__": _reduce, "__copy__": _copy, "__deepcopy__": _deepcopy}
    for name, method in methods.items():
        setattr(Tensor, name, method)
    Storage.__reduce__ = _reduce_storage  # type: ignore[method-assign,assignment]
    Storage.__deepcopy__ = _deepcopy_storage  # type: ignore[attr-defined]
