"""The vocabulary as methods: tables of functions that become methods of Tensor.

A function whose first parameter is the tensor is a method of the same name; an elementwise one
also has an in-place form with a trailing underscore.
"""

from __future__ import annotations

import importlib
from functools import wraps
from typing import Any

from . import (
    activations,
    choosing,
    complexes,
    contracting,
    conversion,
    creation,
    distributions,
    exchange,
    indexing,
    inspecting,
    interop,
    joining,
    kernels,
    movement,
    pictures,
    printing,
    products,
    putting,
    random,
    recording,
    reductions,
    scanning,
    sets,
    sharing,
    sorting,
)
from . import elementwise as e
from .storage import Storage
from .tensor import Tensor, default_dtype, read

_ELEMENTWISE = (
    e.neg, e.sign, e.floor, e.ceil, e.trunc, e.sqrt, e.exp, e.exp2, e.expm1, e.log, e.log2,
    e.log10, e.log1p, e.sin, e.cos, e.tan, e.asin, e.acos, e.atan, e.sinh, e.cosh, e.tanh, e.asinh,
    e.acosh, e.atanh, e.erf, e.erfc, e.cbrt, e.lgamma, e.digamma, e.sigmoid, e.softplus, e.abs,
    e.round, e.add, e.sub, e.mul, e.div, e.floor_divide, e.remainder, e.fmod, e.pow, e.atan2,
    e.hypot, e.copysign, e.maximum, e.minimum, e.bitwise_and, e.bitwise_or, e.bitwise_xor,
    e.left_shift, e.right_shift, e.invert, e.logical_not, e.logical_and, e.logical_or,
    e.logical_xor,
    activations.reciprocal, activations.rsqrt, activations.square, activations.frac,
    activations.relu, activations.clamp, activations.clamp_min, activations.clamp_max,
    activations.lerp, activations.addcmul, activations.addcdiv, activations.nan_to_num,
    activations.logit, activations.sinc, activations.deg2rad, activations.rad2deg,
    activations.erfinv, activations.threshold, activations.heaviside, activations.xlogy,
    complexes.conj,
    products.addmm, products.addmv, products.addr, products.baddbmm, products.addbmm,
    products.renorm, products.tril, products.triu,
    reductions.cumsum, reductions.cumprod,
    indexing.masked_fill, indexing.masked_scatter, indexing.scatter, indexing.scatter_add,
    indexing.index_add, indexing.index_copy, indexing.index_fill, putting.put,
    putting.scatter_reduce, putting.index_reduce,
)
_FUNCTIONS = (
    e.positive, e.isnan, e.isinf, e.signbit, e.logaddexp, e.eq, e.ne, e.lt, e.le, e.gt, e.ge,
    activations.isfinite, activations.isclose, activations.allclose, activations.equal,
    activations.gelu, activations.silu, activations.elu, activations.leaky_relu,
    activations.log_sigmoid, activations.isposinf, activations.isneginf,
    reductions.sum, reductions.prod, reductions.mean, reductions.var, reductions.std,
    reductions.max, reductions.min, reductions.amax, reductions.amin, reductions.aminmax,
    reductions.ptp, reductions.argmax, reductions.argmin, reductions.any, reductions.all,
    reductions.count_nonzero, reductions.norm, reductions.dist, reductions.softmax,
    reductions.log_softmax, reductions.logsumexp, reductions.cummax, reductions.cummin,
    reductions.nansum, reductions.nanmean,
    movement.reshape, movement.view, movement.view_as, movement.reshape_as, movement.flatten,
    movement.unflatten, movement.ravel, movement.contiguous, movement.clone, movement.squeeze,
    movement.unsqueeze, movement.expand_dims, movement.permute, movement.transpose,
    movement.swapaxes, movement.moveaxis, movement.t, movement.expand, movement.expand_as,
    movement.broadcast_to, movement.narrow, movement.select, movement.split, movement.chunk,
    movement.unbind, movement.flip, movement.rot90, movement.diagonal, joining.unfold,
    joining.tile, joining.repeat, joining.repeat_interleave, joining.roll, joining.pad,
    complexes.angle, complexes.is_complex, complexes.adjoint,
    indexing.nonzero, indexing.masked_select, indexing.take, indexing.index_select,
    indexing.gather, indexing.take_along_axis,
    products.matmul, products.mm, products.bmm, products.mv, products.dot, products.inner,
    products.outer, products.ger, products.trace, products.kron, products.cross, products.diag,
    products.diag_embed, contracting.tensordot,
    sorting.sort, sorting.argsort, sorting.topk, sorting.kthvalue, sorting.median,
    sorting.nanmedian, sorting.quantile, sorting.nanquantile, sorting.percentile, sorting.mode,
    sorting.msort, sorting.partition, sorting.argpartition, sets.unique, sets.isin,
    sets.unique_consecutive, sets.histc, sets.bhistc, sets.bincount,
    sets.searchsorted, sets.bucketize, scanning.diff, scanning.logcumsumexp,
    choosing.multinomial, choosing.bernoulli_, choosing.random_, *distributions.FILLING,
    conversion.to, conversion.astype, conversion.type_as, conversion.bitcast, conversion.fill_,
    conversion.zero_, conversion.copy_, kernels.apply_, kernels.map_, kernels.map2_, kernels.apply,
    conversion.cuda, conversion.cpu,
    sharing.set_, sharing.resize_, sharing.resize_as_, sharing.is_set_to, sharing.is_same_size,
    sharing.is_size, sharing.as_strided,
)
_ALIASES = {
    "negative": "neg", "absolute": "abs", "true_divide": "div", "divide": "div", "multiply": "mul",
    "subtract": "sub", "power": "pow", "mod": "remainder", "cmul": "mul", "cdiv": "div",
    "cmax": "maximum", "cmin": "minimum", "cinv": "reciprocal", "clip": "clamp",
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2", "greater": "gt",
    "less": "lt", "not_equal": "ne", "copy": "clone", "bitwise_not": "invert",
    "totable": "tolist", "n_element": "numel", "n_dimension": "dim", "bitand": "bitwise_and",
    "bitor": "bitwise_or", "bitxor": "bitwise_xor", "lshift": "left_shift",
    "rshift": "right_shift", "csub": "sub", "cpow": "pow", "cfmod": "fmod",
    "cremainder": "remainder", "repeat_tensor": "tile", "index": "index_select",
}
_INPLACE_OPERATORS = {
    "__iadd__": "add_", "__isub__": "sub_", "__imul__": "mul_", "__itruediv__": "div_",
    "__ifloordiv__": "floor_divide_", "__imod__": "remainder_", "__ipow__": "pow_",
    "__iand__": "bitwise_and_", "__ior__": "bitwise_or_", "__ixor__": "bitwise_xor_",
    "__ilshift__": "left_shift_", "__irshift__": "right_shift_",
}


def _where(self: Tensor, x: Any, other: Any = None) -> Any:
    """`x.where(condition, other)`: this tensor where condition, else other (PyTorch). A bool
    tensor is itself the condition: `mask.where(a, b)`."""
    if isinstance(x, Tensor) and x.dtype.name == "bool" and self.dtype.name != "bool":
        return e.where(x, self, other)
    return e.where(self, x, other)


def _cuda_array_interface(self: Tensor) -> Any:
    """A tensor on a GPU as CuPy, Numba and PyTorch take it; AttributeError on the host."""
    if not self.is_cuda:
        raise AttributeError("__cuda_array_interface__: expected a tensor on a GPU, got one on cpu")
    return importlib.import_module("flambeau.foreign").interface(self)


def _construct(cls: type, *data: Any) -> Tensor:
    """`Tensor(2, 3)`: zeros of that shape; `Tensor(data)`: a copy in the default dtype."""
    if not data or all(isinstance(d, int) for d in data):
        return creation.zeros(data if data else (0,))
    if len(data) > 1:
        raise TypeError(f"Tensor: expected data or extents, got {len(data)} arguments")
    return creation.tensor(data[0], default_dtype())


def _matmul(self: Tensor, other: Any) -> Any:
    return products.matmul(self, other) if isinstance(other, (*recording._ACCEPTED, Tensor)) else (
        NotImplemented)


def _imatmul(self: Tensor, other: Any) -> Any:
    """`x @= y`, where the product has x's shape and dtype."""
    made = _matmul(self, other)
    if made is NotImplemented:
        return made
    if made.shape != self.shape or made.dtype is not self.dtype:
        raise ValueError(f"matmul: expected a product {self.dtype.name}{self.shape} for @=, got "
                         f"{made.dtype.name}{made.shape}")
    return conversion.copy_(self, made)


def _rmatmul(self: Tensor, other: Any) -> Any:
    return products.matmul(other, self) if isinstance(other, recording._ACCEPTED) else (
        NotImplemented)


def _namespace(self: Tensor, /, *, api_version: str | None = None) -> Any:
    """The Array API standard's functions: `flambeau.array_api`. Raises ValueError for a version
    that is not known."""
    known = ("2021.12", "2022.12", "2023.12", "2024.12", "2025.12")
    if api_version is not None and api_version not in known:
        raise ValueError(f"__array_namespace__: expected a version up to {known[-1]}, got "
                         f"{api_version!r}")
    return importlib.import_module(f"{__package__}.array_api")


def _to_device(self: Tensor, device: Any, /, *, stream: Any = None) -> Tensor:
    """This tensor on a device (Array API); itself if it is there. Raises ValueError for a stream,
    which only the device's own library could give meaning."""
    if stream is not None:
        raise ValueError(f"to_device: expected no stream, got {stream!r}")
    return conversion.to(self, device=device)


def install() -> None:
    """Makes the functions methods of Tensor."""
    for function in (*_ELEMENTWISE, *_FUNCTIONS):
        setattr(Tensor, function.__name__, function)
    for function in _ELEMENTWISE:
        setattr(Tensor, f"{function.__name__}_", recording.in_place(function))
    for name, known in _ALIASES.items():
        setattr(Tensor, name, getattr(Tensor, known))
        if hasattr(Tensor, f"{known}_"):
            setattr(Tensor, f"{name}_", getattr(Tensor, f"{known}_"))
    for name, method in {**e.OPERATORS, **conversion.CASTS}.items():
        setattr(Tensor, name, method)
    for name, known in _INPLACE_OPERATORS.items():
        setattr(Tensor, name, getattr(Tensor, known))
    extra: dict[str, Any] = {
        "__getitem__": indexing.getitem, "__setitem__": indexing.setitem, "__repr__": printing.text,
        "__format__": printing.tensor_format, "_repr_html_": pictures.html,
        "_repr_png_": pictures.png, "where": _where, "graph": _graph,
        "__matmul__": _matmul, "__rmatmul__": _rmatmul, "__imatmul__": _imatmul,
        "type": conversion.type_,
        "__cuda_array_interface__": property(_cuda_array_interface),
        "T": property(movement.transpose), "mT": property(movement.matrix_transpose),
        "__new__": staticmethod(_construct), "new_zeros": _new("zeros"), "new_ones": _new("ones"),
        "mH": property(complexes.adjoint), "H": property(complexes.adjoint),
        "real": property(complexes.real), "imag": property(complexes.imag),
        "__array_namespace__": _namespace, "to_device": _to_device,
        "__dlpack__": exchange.dlpack, "__dlpack_device__": exchange.dlpack_device,
        "new_empty": _new("empty"), "new_tensor": _new_tensor, "new_full": _new_full}
    for name, method in extra.items():
        setattr(Tensor, name, method)
    for function in (*distributions.DISTRIBUTIONS.values(), *choosing.CHOICES):
        setattr(random.Generator, function.__name__, _of_generator(function))
    Storage.__str__ = printing.storage_text  # type: ignore[method-assign,assignment]
    sharing.install()
    interop.install()


def _of_generator(function: Any) -> Any:
    """The method of a Generator that draws from it."""
    @wraps(function)
    def method(self: random.Generator, *args: Any, **options: Any) -> Tensor:
        return function(*args, **options, generator=self)  # type: ignore[no-any-return]

    return method


def _graph(self: Tensor) -> Any:
    """What would be computed if the values were asked for: a Graph that prints as text. A computed
    tensor is a single buffer."""
    leaf = self._storage.leaf
    return inspecting.Graph([read(self) if leaf is None else leaf])


def _new(kind: str) -> Any:
    make = getattr(creation, kind)

    def method(self: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
        own = self.dtype if dtype is None else dtype
        return make(*shape, dtype=own, device=self.device)  # type: ignore[no-any-return]

    method.__name__ = f"new_{kind}"
    method.__doc__ = f"`fb.{kind}` with this tensor's dtype, on its device. PyTorch new_{kind}."
    return method


def _new_tensor(self: Tensor, data: Any, dtype: Any = None) -> Tensor:
    """`fb.tensor` with this tensor's dtype, on its device. PyTorch new_tensor."""
    return creation.tensor(data, self.dtype if dtype is None else dtype, self.device)


def _new_full(self: Tensor, shape: Any, value: Any, dtype: Any = None) -> Tensor:
    """`fb.full` with this tensor's dtype, on its device. PyTorch new_full."""
    return creation.full(shape, value, self.dtype if dtype is None else dtype, self.device)
