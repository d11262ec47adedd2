"""Torch7's nn classes as ours, and ours as theirs: one row each way for every class of both.

From a file: dimensions and labels count from 0 afterwards, outputs, buffers and gradients are left
behind, parameters of one storage and geometry become one parameter. A class or an option that
Flambeau lacks leaves the object as it is, an inert `TorchObject`, and with it all that hold it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import nn
from ..creation import zeros
from ..random import get_rng_state, set_rng_state
from ..storage import Storage
from ..tensor import Tensor, no_grad
from .arrays import bits_of
from .source import FileError, Source
from .t7_values import NAMES, TorchObject

DEEP = 100  # how far containers may nest
NO_LABEL = -100  # Torch7's ignoreIndex of criteria that ignore nothing


class Inert(Exception):
    """An object stays what it was: something about it has no counterpart here."""


class Importer:
    """Modules from objects; the same object, or parameter, gives the same one again."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.made: dict[int, Any] = {}
        self.parameters: dict[Any, nn.Parameter] = {}
        self.depth = 0

    def replace(self, root: Any) -> Any:
        """The value with every object replaced that has a module here, wherever it is held."""
        state = get_rng_state()
        try:
            found = self.module(root)
            todo = [found]
            seen = set()
            while todo:
                x = todo.pop()
                holder = x.fields if isinstance(x, TorchObject) else x
                if isinstance(holder, list | dict) and id(holder) not in seen:
                    seen.add(id(holder))
                    for key, value in list(holder.items() if isinstance(holder, dict)
                                           else enumerate(holder)):
                        holder[key] = self.module(value)
                        todo.append(holder[key])
            return found
        finally:
            set_rng_state(state)  # first draws of parameters, never used

    def module(self, x: Any) -> Any:
        """A module for an object, or x itself."""
        if not isinstance(x, TorchObject):
            return x
        if id(x) not in self.made:
            self.made[id(x)] = x  # what holds itself stays inert
            self.depth += 1
            if self.depth > DEEP:
                raise Fields(self, x).error(f"modules nested up to {DEEP} deep", "deeper ones")
            try:
                self.made[id(x)] = self.convert(x)
            except Inert:
                pass
            finally:
                self.depth -= 1
        return self.made[id(x)]

    def convert(self, x: TorchObject) -> Any:
        read = READ.get(x.name.removeprefix("nn.").removeprefix("cudnn."))
        if read is None or x.name.partition(".")[0] not in ("nn", "cudnn"):
            return x
        fields = Fields(self, x)
        try:
            made = read(fields)
        except (Inert, FileError):
            raise
        except (ValueError, TypeError, IndexError) as error:
            raise fields.error("fields that fit together", str(error)) from error
        made.is_training = fields.flag("train", True)
        return made


class Fields:
    """The fields of one object, each of the type that a module needs."""

    def __init__(self, importer: Importer, x: TorchObject) -> None:
        self.importer, self.name = importer, x.name
        if not isinstance(x.fields, dict):
            raise self.error("a table of fields", type(x.fields).__name__)
        self.fields = x.fields

    def error(self, wanted: str, found: Any) -> FileError:
        source = self.importer.source
        return FileError(source.format, source.name, None, f"{wanted} in {self.name} (modules=False"
                         " loads it as fields)", str(found))

    def _typed(self, name: str, kinds: Any, wanted: str, default: Any) -> Any:
        value = self.fields.get(name)
        if value is None:
            if default is ...:
                raise self.error(f"{wanted} {name!r}", "none")
            return default
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise self.error(f"{wanted} {name!r}", repr(value)[:80])
        return value

    def number(self, name: str, default: Any = ...) -> Any:
        return self._typed(name, (int, float), "a number", default)

    def int(self, name: str, default: Any = ...) -> Any:
        """An integer of up to 31 bits."""
        value = self._typed(name, int, "an integer", default)
        if value is not None and abs(value) >= 1 << 31:
            raise self.error(f"a small integer {name!r}", value)
        return value

    def flag(self, name: str, default: Any = ...) -> Any:
        return self._typed(name, bool, "a boolean", default)

    def tensor(self, name: str, default: Any = ...) -> Any:
        """A floating tensor with no more elements than its storage."""
        t = self._typed(name, Tensor, "a tensor", default)
        if t is not None and (not t.dtype.is_float or int(t.size) > t.storage().size):
            raise self.error(f"a floating tensor {name!r} that is not expanded",
                             f"{t.dtype.name} {t.shape}")
        return t

    def sizes(self, name: str) -> list[Any]:
        storage = self._typed(name, Storage, "a storage", ...)
        if storage.size > 64 or not storage.dtype.is_integer:
            raise self.error(f"up to 64 sizes {name!r}", storage)
        return bits_of(name, storage.tensor())[0].tolist()

    def modules(self) -> list[Any]:
        """Children, which must all be modules here."""
        found = [self.importer.module(m) for m in self._typed("modules", list, "a list", ...)]
        if not all(isinstance(m, nn.Module) for m in found):
            raise Inert
        return found

    def parameter(self, name: str, default: Any = ...) -> Any:
        """A tensor as a parameter: one for each storage and geometry."""
        t = self.tensor(name, default)
        if t is None:
            return None
        key = (id(t.storage()), t.shape, t.stride(), t.storage_offset())
        known = self.importer.parameters
        if key not in known:
            known[key] = nn.Parameter(t)
        return known[key]

    def give(self, made: Any, *names: str) -> Any:
        """Sets parameters of the module; those that it has and the fields do not become None."""
        for name in names:
            p, mine = self.parameter(name, None), getattr(made, name)
            if p is not None and (mine is None or mine.shape != p.shape):
                raise self.error(f"{name!r} of shape {None if mine is None else mine.shape}",
                                 p.shape)
            setattr(made, name, p)
        return made


# -- from Torch7 -----------------------------------------------------------------------------------


def _plain(kind: Any, *numbers: str) -> Callable[[Fields], Any]:
    """A class made from numbers of these names (or its own defaults)."""
    def read(f: Fields) -> Any:
        return kind(*(f.number(name) for name in numbers))
    return read


def _relu(f: Fields) -> Any:
    if f.number("threshold", 0) != 0 or f.number("val", 0) != 0:
        raise Inert
    return nn.ReLU()


def _by_rank(kind: Any) -> Callable[[Fields], Any]:
    return lambda f: kind(dim=None)


def _dropout(f: Fields) -> Any:
    if f.flag("stochastic_inference", False):
        raise Inert
    return nn.Dropout(f.number("p"), v1=not f.flag("v2", False))


def _linear(f: Fields) -> Any:
    weight = f.tensor("weight")
    outputs, inputs = weight.shape
    return f.give(nn.Linear(inputs, outputs, f.tensor("bias", None) is not None), "weight", "bias")


def _lookup(f: Fields) -> Any:
    if f.number("maxNorm", None) is not None or f.flag("shouldScaleGradByFreq", False):
        raise Inert
    count, size = f.tensor("weight").shape
    padding = f.int("paddingValue", 0)
    return f.give(nn.LookupTable(count, size, padding - 1 if padding else None), "weight")


def _normalization(kind: Any) -> Callable[[Fields], Any]:
    def read(f: Fields) -> Any:
        mean = f.tensor("running_mean")
        (n,) = mean.shape
        eps = f.number("eps", 1e-5)
        var = f.tensor("running_var", None)
        if var is None:  # files from before 2015
            var = f.tensor("running_std") ** -2 - eps
        if var.shape != mean.shape:
            raise f.error(f"'running_var' of shape {mean.shape}", var.shape)
        affine = f.tensor("weight", None) is not None
        made = f.give(kind(n, eps, f.number("momentum", 0.1), affine), "weight", "bias")
        made.running_mean, made.running_var = nn.Buffer(mean), nn.Buffer(var)
        return made
    return read


def _convolution(f: Fields) -> Any:
    weight, groups = f.tensor("weight"), f.int("groups", 1)
    n_in, n_out, kw, kh = (f.int(n) for n in ("nInputPlane", "nOutputPlane", "kW", "kH"))
    pad = f.int("padding", 0)
    if groups < 1 or int(weight.size) * groups != n_in * n_out * kw * kh or min(kw, kh, n_in) < 1:
        raise f.error(f"'weight' for {n_in} -> {n_out} planes, {kw}x{kh}", weight.shape)
    bias = f.tensor("bias", None)
    shared = (n_in, n_out, kw, kh, f.int("dW", 1), f.int("dH", 1), f.int("padW", pad),
              f.int("padH", f.int("padW", pad)))
    made: Any
    if "dilationW" in f.fields:
        made = nn.SpatialDilatedConvolution(*shared, f.int("dilationW"), f.int("dilationH"),
                                            bias is not None)
    else:
        made = nn.SpatialConvolution(*shared, groups, bias=bias is not None)
    if weight.ndim == 2:  # SpatialConvolutionMM keeps a matrix
        made.weight = nn.Parameter(weight.reshape(made.weight.shape))
        return f.give(made, "bias")
    return f.give(made, "weight", "bias")


def _pooling(f: Fields) -> tuple[Any, ...]:
    return (f.int("kW"), f.int("kH"), f.int("dW"), f.int("dH"), f.int("padW", 0), f.int("padH", 0))


def _rounded(f: Fields, made: Any) -> Any:
    return made.ceil() if f.flag("ceil_mode", False) else made


def _average_pooling(f: Fields) -> Any:
    if not f.flag("divide", True):
        raise Inert
    made = nn.SpatialAveragePooling(*_pooling(f))
    made.count_include_pad = f.flag("count_include_pad", True)
    return _rounded(f, made)


def _view(f: Fields) -> Any:
    made = nn.View(*f.sizes("size"))
    dims = f.int("numInputDims", None)
    return made if dims is None else made.set_num_input_dims(dims)


def _class_nll(f: Fields) -> Any:
    ignored = f.int("ignoreIndex", NO_LABEL)
    return nn.ClassNLLCriterion(f.tensor("weights", None), f.flag("sizeAverage", True),
                                None if ignored == NO_LABEL else ignored - 1)


def _cross_entropy(f: Fields) -> Any:
    nll = f.importer.module(f.fields.get("nll"))
    if not isinstance(nll, nn.ClassNLLCriterion):
        raise f.error("a ClassNLLCriterion 'nll'", type(nll).__name__)
    return nn.CrossEntropyCriterion(nll.weights, nll.size_average, nll.ignore_index)


def _averaging(kind: Any) -> Callable[[Fields], Any]:
    return lambda f: kind(f.flag("sizeAverage", True))


def _dim(f: Fields, name: str) -> int:
    dim: int = f.int(name)
    if dim < 1:
        raise f.error(f"a dimension {name!r} of 1 or more", dim)
    return dim - 1


READ: dict[str, Callable[[Fields], Any]] = {
    "Sequential": lambda f: nn.Sequential(*f.modules()),
    "Concat": lambda f: nn.Concat(_dim(f, "dimension"), *f.modules()),
    "Parallel": lambda f: nn.Parallel(_dim(f, "inputDimension"), _dim(f, "outputDimension"),
                                      *f.modules()),
    "ConcatTable": lambda f: nn.ConcatTable(*f.modules()),
    "ParallelTable": lambda f: nn.ParallelTable(*f.modules()),
    "Identity": _plain(nn.Identity), "Tanh": _plain(nn.Tanh), "Sigmoid": _plain(nn.Sigmoid),
    "ReLU": _relu, "LeakyReLU": _plain(nn.LeakyReLU, "negval"), "ELU": _plain(nn.ELU, "alpha"),
    "SoftPlus": _plain(nn.SoftPlus, "beta"), "SoftMax": _by_rank(nn.SoftMax),
    "LogSoftMax": _by_rank(nn.LogSoftMax), "Dropout": _dropout, "Linear": _linear,
    "LookupTable": _lookup, "BatchNormalization": _normalization(nn.BatchNormalization),
    "SpatialBatchNormalization": _normalization(nn.SpatialBatchNormalization),
    "SpatialConvolution": _convolution, "SpatialConvolutionMM": _convolution,
    "SpatialDilatedConvolution": _convolution,
    "SpatialMaxPooling": lambda f: _rounded(f, nn.SpatialMaxPooling(*_pooling(f))),
    "SpatialAveragePooling": _average_pooling,
    "Reshape": lambda f: nn.Reshape(*f.sizes("size"), batch_mode=f.flag("batchMode", None)),
    "View": _view, "ClassNLLCriterion": _class_nll, "CrossEntropyCriterion": _cross_entropy,
    "MSECriterion": _averaging(nn.MSECriterion), "AbsCriterion": _averaging(nn.AbsCriterion),
    "SmoothL1Criterion": _averaging(nn.SmoothL1Criterion),
    "BCECriterion": lambda f: nn.BCECriterion(f.tensor("weights", None),
                                              f.flag("sizeAverage", True)),
}


# -- to Torch7 -------------------------------------------------------------------------------------


def torch_object(m: Any, known: dict[int, TorchObject], type_name: str | None = None
                 ) -> TorchObject:
    """The object that Torch7 would have for a module, complete enough for it to run.

    Raises TypeError for a module or an option that Torch7 lacks.
    """
    if id(m) in known:
        return known[id(m)]
    write = WRITE.get(type(m))
    if write is None:
        raise TypeError(f"save_t7: expected a module that Torch7 has, got {m.label()}")
    own = [*m.params(), *(b for _, b in m.named_buffers())]
    dtype = own[0].dtype if own else None
    if dtype is not None:
        if dtype not in NAMES:
            raise TypeError(f"save_t7: {m.label()}: expected a dtype that Torch7 has, got "
                            f"{dtype.name}")
        type_name = f"torch.{NAMES[dtype]}Tensor"
    made = known[id(m)] = TorchObject(f"nn.{type(m).__name__}", None, VERSIONS.get(type(m), 1))
    made.fields = _Out(m, type_name or "torch.FloatTensor", known).fields(write)
    return made


class _Out:
    """What a row needs to write a module's fields."""

    def __init__(self, m: Any, type_name: str, known: dict[int, TorchObject]) -> None:
        self.m, self.type_name, self.known = m, type_name, known

    def empty(self) -> Tensor:
        kind = {f"torch.{name}Tensor": dtype for dtype, name in NAMES.items()}[self.type_name]
        return zeros(0, dtype=kind)

    def fields(self, write: Callable[[_Out], dict[str, Any]]) -> dict[str, Any]:
        if isinstance(self.m, nn.Criterion):
            return {"output": 0, "gradInput": self.empty(), "_type": self.type_name, **write(self)}
        return {"_type": self.type_name, "output": self.empty(), "gradInput": self.empty(),
                "train": self.m.is_training, **write(self)}

    def parameters(self, *names: str) -> dict[str, Any]:
        """Parameters and gradients (zeros: Torch7 adds to what is there)."""
        found: dict[str, Any] = {}
        for name in names:
            p = getattr(self.m, name)
            if p is not None:
                found[name] = p
                found[f"grad{name.capitalize()}"] = zeros(*p.shape, dtype=p.dtype)
        return found

    def children(self, **more: Any) -> dict[str, Any]:
        return {"modules": [torch_object(c, self.known, self.type_name) for c in self.m.modules],
                **more}

    def refuse(self, wanted: str) -> TypeError:
        return TypeError(f"save_t7: {self.m.label()}: expected {wanted}")


def _sizes(values: Any) -> Storage:
    from_list = zeros(len(values), dtype="int64")
    with no_grad():
        from_list.copy_(list(values))
    return from_list.storage()


def _w_along(o: _Out) -> dict[str, Any]:
    if o.m.dim not in (None, -1, 1):
        raise o.refuse("dim None, -1 or 1, which Torch7 chooses by rank")
    return {}


def _w_convolution(o: _Out) -> dict[str, Any]:
    m = o.m
    (kh, kw), (dh, dw), (ph, pw) = m.kernel, m.stride, m.padding
    if m.groups != 1:
        raise o.refuse("one group")
    found = {"nInputPlane": m.n_in, "nOutputPlane": m.n_out, "kW": kw, "kH": kh, "dW": dw,
             "dH": dh, "padW": pw, "padH": ph, "finput": o.empty(), "fgradInput": o.empty()}
    if m.dilation != (1, 1) and type(m) is nn.SpatialConvolution:
        raise o.refuse("SpatialDilatedConvolution for a dilation")
    if isinstance(m, nn.SpatialDilatedConvolution):
        found |= {"dilationH": m.dilation[0], "dilationW": m.dilation[1]}
    return found | o.parameters("weight", "bias")


def _w_pooling(o: _Out) -> dict[str, Any]:
    (kh, kw), (dh, dw), (ph, pw) = o.m.kernel, o.m.stride, o.m.padding
    return {"kW": kw, "kH": kh, "dW": dw, "dH": dh, "padW": pw, "padH": ph,
            "ceil_mode": o.m.ceil_mode}


def _w_normalization(o: _Out) -> dict[str, Any]:
    m = o.m
    return {"eps": m.eps, "momentum": m.momentum, "affine": m.weight is not None,
            "running_mean": m.running_mean, "running_var": m.running_var, "save_mean": o.empty(),
            "save_std": o.empty(), **o.parameters("weight", "bias")}


def _w_class_nll(o: _Out) -> dict[str, Any]:
    ignored = o.m.ignore_index
    return {"weights": o.m.weights, "sizeAverage": o.m.size_average,
            "ignoreIndex": NO_LABEL if ignored is None else ignored + 1,
            "output_tensor": zeros(1, dtype=o.empty().dtype),
            "total_weight_tensor": zeros(1, dtype=o.empty().dtype) + 1,
            "target": zeros(1, dtype="int64")}


def _w_cross_entropy(o: _Out) -> dict[str, Any]:
    m = o.m
    nll = nn.ClassNLLCriterion(m.weights, m.size_average, m.ignore_index)
    return {"lsm": torch_object(nn.LogSoftMax(), {}, o.type_name),
            "nll": torch_object(nll, {}, o.type_name)}


def _w_view(o: _Out) -> dict[str, Any]:
    count = 1
    for s in o.m.sizes:
        count *= s
    return {"size": _sizes(o.m.sizes), "numElements": abs(count),
            "numInputDims": o.m.num_input_dims}


def _w_reshape(o: _Out) -> dict[str, Any]:
    count = 1
    for s in o.m.sizes:
        count *= s
    return {"size": _sizes(o.m.sizes), "batchsize": _sizes((1, *o.m.sizes)), "nelement": count,
            "batchMode": o.m.batch_mode}


def _average(o: _Out) -> dict[str, Any]:
    return {"sizeAverage": o.m.size_average}


def _nothing(o: _Out) -> dict[str, Any]:
    return {}


VERSIONS: dict[type, int] = {nn.BatchNormalization: 2, nn.SpatialBatchNormalization: 2,
                             nn.LookupTable: 4}  # of their fields; others are at 1
WRITE: dict[type, Callable[[_Out], dict[str, Any]]] = {
    nn.Sequential: lambda o: o.children(),
    nn.Concat: lambda o: o.children(dimension=o.m.dim + 1, size=_sizes(())),
    nn.Parallel: lambda o: o.children(inputDimension=o.m.input_dim + 1,
                                      outputDimension=o.m.output_dim + 1),
    nn.ConcatTable: lambda o: o.children(output={}),
    nn.ParallelTable: lambda o: o.children(output={}, gradInput={}),
    nn.Identity: _nothing, nn.Tanh: _nothing, nn.Sigmoid: _nothing,
    nn.ReLU: lambda o: {"threshold": 0, "val": 0, "inplace": False},
    nn.LeakyReLU: lambda o: {"negval": o.m.slope, "inplace": False},
    nn.ELU: lambda o: {"alpha": o.m.alpha, "inplace": False},
    nn.SoftPlus: lambda o: {"beta": o.m.beta, "threshold": 20},
    nn.SoftMax: _w_along, nn.LogSoftMax: _w_along,
    nn.Dropout: lambda o: {"p": o.m.p, "v2": not o.m.v1, "inplace": False, "noise": o.empty(),
                           "stochastic_inference": False},
    nn.Linear: lambda o: {"addBuffer": o.empty(), **o.parameters("weight", "bias")},
    nn.LookupTable: lambda o: {
        "paddingValue": 0 if o.m.padding is None else o.m.padding + 1,
        "shouldScaleGradByFreq": False, "copiedInput": False, "_count": zeros(0, dtype="int32"),
        "_input": zeros(0, dtype="int64"), **o.parameters("weight")},
    nn.BatchNormalization: _w_normalization, nn.SpatialBatchNormalization: _w_normalization,
    nn.SpatialConvolution: _w_convolution, nn.SpatialDilatedConvolution: _w_convolution,
    nn.SpatialMaxPooling: lambda o: {**_w_pooling(o), "indices": zeros(0, dtype="int64")},
    nn.SpatialAveragePooling: lambda o: {
        **_w_pooling(o), "count_include_pad": o.m.count_include_pad, "divide": True},
    nn.View: _w_view, nn.Reshape: _w_reshape, nn.ClassNLLCriterion: _w_class_nll,
    nn.CrossEntropyCriterion: _w_cross_entropy, nn.MSECriterion: _average,
    nn.AbsCriterion: _average, nn.SmoothL1Criterion: _average,
    nn.BCECriterion: lambda o: {"weights": o.m.weights, **_average(o)},
}
