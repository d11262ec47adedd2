"""Tensors among others: NumPy's protocols, pickle and copy.

`np.exp(t)` and `array + t` give lazy tensors through a table from ufunc to our function; a NumPy
function that is not in the tables raises rather than copying in silence.
"""

from __future__ import annotations

import copy as copying
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt

from . import (
    activations,
    complexes,
    contracting,
    correlation,
    creation,
    indexing,
    joining,
    movement,
    products,
    reductions,
    scanning,
    sets,
    sorting,
)
from . import elementwise as e
from . import realize as door
from .creation import tensor
from .recording import as_tensor
from .storage import Storage
from .tensor import Tensor, make
from .ufuncs import ufunc
from .views import Step, View


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
    np.fliplr: movement.fliplr, np.flipud: movement.flipud, np.rot90: movement.rot90,
    np.meshgrid: movement.meshgrid, np.array_split: movement.array_split,
    np.unstack: lambda x, axis=0: movement.unbind(x, axis), np.dstack: joining.dstack,
    np.pad: lambda x, pad_width, mode="constant", constant_values=0: joining.pad(
        x, pad_width, mode, constant_values),
    np.median: lambda x, axis=None, keepdims=False: sorting.quantile(x, 0.5, axis, keepdims),
    np.quantile: sorting.quantile, np.percentile: sorting.percentile,
    np.nanquantile: sorting.nanquantile, np.nanpercentile: lambda x, q, axis=None: (
        sorting.nanquantile(x, np.asarray(q) / 100, axis)),
    np.nansum: reductions.nansum, np.nanmean: reductions.nanmean, np.nanmax: reductions.nanmax,
    np.nanmin: reductions.nanmin, np.nanprod: reductions.nanprod, np.diff: scanning.diff,
    np.ediff1d: scanning.ediff1d, np.trapezoid: scanning.trapezoid,
    np.cumulative_sum: scanning.cumulative_sum, np.cumulative_prod: scanning.cumulative_prod,
    np.argwhere: indexing.argwhere, np.flatnonzero: indexing.flatnonzero,
    np.isin: sets.isin, np.bincount: sets.bincount, np.histogram: sets.histogram,
    np.digitize: lambda x, bins, right=False: sets.bucketize(x, bins, not right),
    np.vdot: products.vdot, np.convolve: correlation.convolve, np.correlate: correlation.correlate,
    np.array2string: lambda x, *a, **k: np.array2string(x.numpy(), *a, **k),
    np.array_repr: lambda x, *a, **k: repr(x),
}


def _of_room(function: Any) -> Callable[..., Any] | None:
    """Our function for one of np.linalg or np.fft, which ours follow in name and arguments."""
    room = {"numpy.linalg": "linalg", "numpy.fft": "fft"}.get(function.__module__)
    if room is None or function.__name__ in ("norm", "svd", "lstsq", "cross"):
        return None
    found = importlib.import_module(f"{__package__}.{room}")
    return getattr(found, function.__name__, None)


def _function(self: Tensor, function: Any, types: Any, args: Any, options: Any) -> Any:
    """NumPy functions by table, `np.linalg` and `np.fft` by name; TypeError with a hint for others.
    """
    ours = _FUNCTIONS.get(function) or _of_room(function)
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


# -- Python's protocols ----------------------------------------------------------------------------


def _contains(self: Tensor, x: Any) -> bool:
    """Is x (a number, or a row that broadcasts) equal to an element or row? Forces."""
    found = self == x
    if not isinstance(found, Tensor):
        return False
    rows = found.ndim - int(as_tensor("in", x).ndim)
    if rows > 0 and rows < found.ndim:
        found = reductions.all(found, tuple(range(rows, found.ndim)))
    return bool(reductions.any(found))


def _divmod(self: Tensor, other: Any) -> Any:
    return NotImplemented if isinstance(other, str) or other is None else (
        e.floor_divide(self, other), e.remainder(self, other))


def _rdivmod(self: Tensor, other: Any) -> Any:
    return NotImplemented if isinstance(other, str) or other is None else (
        e.floor_divide(other, self), e.remainder(other, self))


def _bytes(self: Tensor) -> bytes:
    """The elements' bytes, row-major."""
    return self.buffer().tobytes()


def _buffer(self: Tensor, flags: int) -> memoryview:
    """The buffer protocol, read-only (PEP 688: from Python 3.12 on)."""
    if flags & 1:  # PyBUF_WRITABLE
        raise BufferError("buffer: expected a request to read, got one to write; use from_numpy "
                          "to share memory that both may write")
    return self.buffer()


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
        "__array__": _array, "__array_ufunc__": ufunc, "__array_function__": _function,
        "__reduce_ex__": _reduce,
        "__contains__": _contains, "__divmod__": _divmod, "__rdivmod__": _rdivmod,
        "__trunc__": Tensor.__int__, "__bytes__": _bytes, "__buffer__": _buffer,
        "__copy__": _copy, "__deepcopy__": _deepcopy}
    for name, method in methods.items():
        setattr(Tensor, name, method)
    Storage.__reduce__ = _reduce_storage  # type: ignore[method-assign,assignment]
    Storage.__deepcopy__ = _deepcopy_storage  # type: ignore[attr-defined]
