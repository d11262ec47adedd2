"""The Tensor: a view over a Storage, lazily computed.

This file owns what a tensor is: making one from a node, reading its value as a node, viewing,
writing through views, and asking for numbers. The vocabulary (add, sum, reshape, ...) is functions
in the files beside this one, and methods.py hands them to the class.

Invariant: the node of a tensor that requires no gradient has no differentiable path to a leaf
that does; where values cross that line (`detach`, `no_grad`) a mark with token 0 stops the path.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.config import config
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, Shape
from flambeau.compiler.ops import MOVEMENT

from . import realize as door
from . import tracing, views
from .devices import one_device
from .storage import Storage
from .views import Step, View

_new = object.__new__


class _Mode(threading.local):
    grad = True


mode = _Mode()  # per thread: is the recording of gradients on?
leaves: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()
_tokens = itertools.count(1)


class Size(int):
    """A tensor's number of elements that also answers as Torch7's `size(dim)`.

    `t.size` is the count (NumPy); `t.size()` the shape and `t.size(0)` an extent (Torch7).
    """

    shape: Shape

    def __call__(self, dim: int | None = None) -> Any:
        if dim is None:
            return self.shape
        return self.shape[check_axis("size", dim, len(self.shape))]


class Tensor:
    """An n-dimensional array of one dtype, computed when its values are asked for.

    Make tensors with `fb.tensor`, `fb.zeros`, ...; `Tensor(2, 3)` gives zeros of that shape (Torch7
    left memory uninitialised) and `Tensor(data)` the default dtype. `dtype` and `shape` never
    change. Slices, transposes and the like share storage with their tensor.
    """

    __slots__ = ("__weakref__", "_storage", "_view", "dtype", "grad", "shape")
    __array_priority__ = 100.0
    __hash__ = object.__hash__

    _storage: Storage
    _view: View | None
    dtype: DType
    shape: Shape
    grad: Tensor | None

    if TYPE_CHECKING:  # methods.py assigns the vocabulary
        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __setitem__(self, index: Any, value: Any) -> None: ...

    # -- what it is --------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> Size:
        """Number of elements; called, the shape or one extent (Torch7 size)."""
        count = Size(N.Node.size.fget(self))  # type: ignore[attr-defined]
        count.shape = self.shape
        return count

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return int(self.size) * self.dtype.itemsize

    @property
    def device(self) -> str:
        """Where the values live."""
        return self._storage.device

    @property
    def is_cuda(self) -> bool:
        """Do the values live on a GPU?"""
        return self._storage.device != "cpu"

    @property
    def requires_grad(self) -> bool:
        """Do gradients flow to or through this tensor?"""
        view = self._view
        if view is None or view.token is None:
            return self._storage.requires
        return view.token != 0

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        self.requires_grad_(wanted)

    @property
    def is_leaf(self) -> bool:
        """True for a tensor that no recorded operation made: there gradients arrive."""
        view = self._view
        if view is not None and view.token is not None:
            return view.base is None
        return not self._storage.requires

    @property
    def is_lazy(self) -> bool:
        """True while the values are not computed."""
        return self._storage.leaf is None

    def dim(self) -> int:
        """Number of axes (Torch7 dim, nDimension)."""
        return len(self.shape)

    def numel(self) -> int:
        """Number of elements (Torch7 nElement)."""
        return int(self.size)

    def element_size(self) -> int:
        """Bytes of one element (Torch7 elementSize)."""
        return self.dtype.itemsize

    def storage(self) -> Storage:
        """The storage that this tensor looks at."""
        return self._storage

    def stride(self, dim: int | None = None) -> Any:
        """Distance, in elements, between neighbours along each axis (or one) in the storage."""
        strides = self._layout()[0]
        return strides if dim is None else strides[check_axis("stride", dim, self.ndim)]

    def storage_offset(self) -> int:
        """Position in the storage of the first element (Torch7 storageOffset, 0-based)."""
        return self._layout()[1]

    def is_contiguous(self) -> bool:
        """Does a row-major walk of the view walk the storage without gaps?"""
        return self._view is None or views.is_contiguous(self.shape, self._layout()[0])

    def _layout(self) -> views.Layout:
        if self._view is None:
            return views.contiguous_strides(self.shape), 0
        return self._view.layout(self._storage.shape)

    # -- gradients -----------------------------------------------------------------------------

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Asks for gradients of this leaf (or stops asking); gives itself.

        Raises RuntimeError for a dtype that is not floating and for results of recorded operations.
        """
        if requires_grad == self.requires_grad:
            return self
        if not self.is_leaf:
            raise RuntimeError("requires_grad_: expected a leaf, got the result of an operation; "
                               "use detach() to cut it from its history")
        if requires_grad and not self.dtype.is_inexact:
            raise RuntimeError(f"requires_grad_: expected a floating dtype, got {self.dtype.name}")
        steps = self._view.steps if self._view is not None else ()
        if requires_grad:
            token = next(_tokens)
            leaves[token] = self
            self._view = View(steps, token)
        else:
            self._view = View(steps) if steps else None
        return self

    def detach(self) -> Tensor:
        """The same storage without gradients: nothing flows back through the result."""
        view = self._view
        if view is None and not self._storage.requires:
            return make(self._storage, None, self.shape)
        steps = view.steps if view is not None else ()
        stop = 0 if self._storage.requires else None
        wanted = View(steps, stop) if steps or stop == 0 else None
        return make(self._storage, wanted, self.shape)

    @property
    def data(self) -> Tensor:
        """`detach()`, as PyTorch spells it; assigning replaces the values, unrecorded."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        with no_grad():
            assign("data", self, value)

    # -- values --------------------------------------------------------------------------------

    def realize(self) -> Tensor:
        """Computes the values now; gives itself."""
        door.realize([self._storage])
        return self

    def _array(self) -> np.ndarray:
        """The values as a NumPy view of the buffer (bit patterns for bfloat16), forced."""
        storage = self._storage
        leaf = storage.leaf
        if leaf is None:
            leaf = door.leaf_of_storage(storage, door.force)
        view = self._view
        if storage.shared is not None:
            base = storage.shared
        elif view is None or not view.steps or leaf.arg.device == "cpu":
            base = leaf.arg.array(leaf.dtype.numpy, leaf.shape)
        else:
            return view.fetched(storage.shape, self.shape, leaf)
        if view is None or not view.steps:
            return base
        strides, offset = view.layout(storage.shape)
        size = self.dtype.itemsize
        if 0 in self.shape:
            empty = np.empty(self.shape, base.dtype)
            empty.flags.writeable = base.flags.writeable
            return empty
        array: np.ndarray = np.ndarray(self.shape, base.dtype, base, offset * size,
                                       tuple([s * size for s in strides]))
        return array

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array, without a copy.

        The array is a read-only snapshot: later in-place changes of the tensor do not show in it.
        For a tensor from `fb.from_numpy` it is the shared memory itself, writable. bfloat16, which
        NumPy lacks, comes as float32.
        """
        if self.dtype is dt.bfloat16:
            return _widen(self._array())
        return self._array()

    def item(self, *index: int) -> Any:
        """The only value (or the one at `index`) as a Python number."""
        if index:
            return self[index].item()
        if self.size != 1:
            raise ValueError(f"item: expected a tensor of one element, got shape {self.shape}")
        return self.numpy().item()  # type: ignore[no-any-return]

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers (Torch7 totable)."""
        return self.numpy().tolist()

    def buffer(self) -> memoryview:
        """The values as a read-only memoryview, row-major."""
        return memoryview(np.ascontiguousarray(self._array())).toreadonly()  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return bool(self._only("bool"))

    def __int__(self) -> int:
        return int(self._only("int"))

    def __float__(self) -> float:
        return float(self._only("float"))

    def __complex__(self) -> complex:
        return complex(self._only("complex"))

    def __index__(self) -> int:
        if not self.dtype.is_integer or self.size != 1:
            raise TypeError(f"index: expected one integer, got {self.dtype.name} {self.shape}")
        return int(self._only("index"))

    def _only(self, name: str) -> Any:
        if self.size != 1:
            hint = "; use any() or all()" if name == "bool" else ""
            raise ValueError(f"{name}: expected a tensor of one element, got shape "
                             f"{self.shape}{hint}")
        return self.numpy().item()

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: expected at least one axis, got a 0-d tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise TypeError("iter: expected at least one axis, got a 0-d tensor")
        return (self[i] for i in range(self.shape[0]))


def _widen(bits: np.ndarray) -> np.ndarray:
    """bfloat16 patterns as float32."""
    wide = np.asarray(bits.astype(np.uint32) << 16).view(np.float32)  # 0-d ones come as scalars
    wide.flags.writeable = False
    return wide


# -- making, reading, writing ------------------------------------------------------------------


def result(n: Node, requires: bool = False, device: str = "cpu") -> Tensor:
    """A fresh tensor with its own storage. The hot path of every recorded operation."""
    s = _new(Storage)
    s.node = n
    s.version = 0
    s.device = device
    s.requires = requires
    s.shared = None
    t = _new(Tensor)
    t._storage = s
    t._view = None
    t.dtype = n.dtype
    t.shape = n.shape
    t.grad = None
    if len(_nodes) > _watch[0]:
        _watch_growth(s)
    return t


_nodes = N._table  # every live node
_watch = [1000]  # how many live nodes make us look at what a new tensor's graph holds
_each: list[Callable[[Storage], None]] = []  # debugging: what looks at every value; _watch is -1
_node_slot = Storage.__dict__["node"]


def _watch_growth(storage: Storage) -> None:
    """Computes a storage whose lazy graph has outgrown the budgets, so that a loop that never asks
    for values does not grow without bound. Looks rarely: each time, half as many nodes again."""
    watching = Storage.__dict__["node"] is not _node_slot  # a trace, which must not compute
    if _each:
        if not watching:
            _each[-1](storage)
        return
    if not watching:
        pending = [n for n in N.toposort([storage.node], lambda n: n.value is not None)
                   if n.value is None and n.op not in ("buffer", "const", "scalar", "iota")]
        held = sum(n.nbytes for n in pending if n.op not in MOVEMENT)
        if len(pending) > config.graph_nodes or held > config.graph_bytes:
            door.realize([storage])
            _watch[0] = 0
    _watch[0] = max(1000, _watch[0], len(_nodes) + len(_nodes) // 2)


def make(storage: Storage, view: View | None, shape: Shape) -> Tensor:
    """A tensor that looks at an existing storage."""
    t = _new(Tensor)
    t._storage = storage
    t._view = view
    t.dtype = storage.node.dtype
    t.shape = shape
    t.grad = None
    return t


def read(t: Tensor) -> Node:
    """The tensor's value as a node, marked where gradients are asked for."""
    storage, view = t._storage, t._view
    if mode.grad or (not storage.requires and (view is None or view.token is None)):
        return storage.node if view is None else view.node(storage)
    n = storage.node if view is None else views.apply(storage.node, view.steps)
    return stop(n) if storage.requires else n


def stop(n: Node) -> Node:
    """The same value, through which no gradient flows."""
    return N.node("mark", n.dtype, n.shape, (n,), 0)


def needs_grad(*tensors: Tensor) -> bool:
    """Does a result of these tensors require gradients?"""
    return any(t.requires_grad for t in tensors) and mode.grad


def derive(n: Node, *src: Tensor) -> Tensor:
    """A fresh tensor computed from `src`: requires gradients as they do, on their device."""
    requires = False
    for t in src:
        if t.requires_grad:
            requires = mode.grad
            break
    device = src[0]._storage.device if src else "cpu"
    if len(src) > 1:
        device = one_device(n.op, src)
    return result(n, requires, device)


def look(t: Tensor, kind: str, shape: Shape, arg: Any = None) -> Tensor:
    """A view of t: one more movement step. The caller has checked that it can be a view."""
    step: Step = (kind, shape, arg)
    old, storage = t._view, t._storage
    steps = views.extend(old.steps if old is not None else (), storage.shape, step)
    token = old.token if old is not None else None
    if not mode.grad:
        view = View(steps, 0 if storage.requires else None)
    elif token:
        assert old is not None
        base = old.base or old
        after = views.extend(old.after, t.shape if old.base is None else _leaf_shape(t), step)
        view = View(steps, token, base, after)
    else:
        view = View(steps, token)
    return make(storage, view if steps or view.token is not None else None, shape)


def _leaf_shape(t: Tensor) -> Shape:
    """Shape of the leaf that t, a view of a leaf, looks at."""
    assert t._view is not None and t._view.base is not None
    steps = t._view.base.steps
    return steps[-1][1] if steps else t._storage.shape


def assign(name: str, t: Tensor, value: Tensor) -> Tensor:
    """Writes value (same dtype, shape broadcast to t's) through t into its storage; gives t."""
    check_writable(name, t)
    if value._storage.device != t._storage.device and value.shape:
        raise ValueError(f"{name}: expected values on {t.device}, got some on {value.device}; "
                         "copy_ and to copy between devices")
    n = read(value)
    if n.shape != t.shape:
        n = N.expand_to(n, t.shape)
    return write(t, N.cast(n, t.dtype), needs_grad(value))


def check_writable(name: str, t: Tensor) -> None:
    """Raises RuntimeError or ValueError when t must not be written in place."""
    view = t._view
    if view is None:
        return
    if view.token and mode.grad:
        what = "a leaf that requires grad" if view.base is None else (
            "a view of a leaf that requires grad")
        raise RuntimeError(f"{name}: expected a tensor that may change in place, got {what}; "
                           "write inside `with fb.no_grad():`")
    expanded = any(step[0] == "expand" for step in view.steps)
    if expanded or views.overlaps(t.shape, t._layout()[0]):
        raise ValueError(f"{name}: expected elements of their own, got an expanded view of shape "
                         f"{t.shape} whose elements share memory; clone() it first")


def write(t: Tensor, value: Node, requires: bool = False) -> Tensor:
    """The storage's new value, with `value` where t looks."""
    if 0 in t.shape:
        return t
    storage, view = t._storage, t._view
    if view is not None and view.steps:
        base = storage.node
        if storage.requires and not mode.grad:
            base = stop(base)
            requires = False
        else:
            requires = requires or storage.requires
        value = views.write(base, view.steps, value)
    if storage.shared is not None and not tracing.recording():
        door.write_shared(storage, value)
    else:
        storage.node = value
        storage.version += 1
        storage.requires = requires
    if _each:
        _watch_growth(storage)
    return t


@contextmanager
def set_grad_enabled(enabled: bool) -> Iterator[None]:
    """Inside the block gradients are recorded or not, as told."""
    before, mode.grad = mode.grad, enabled
    try:
        yield
    finally:
        mode.grad = before


def no_grad() -> AbstractContextManager[None]:
    """Inside the block nothing is recorded for gradients (also a decorator)."""
    return set_grad_enabled(False)


def enable_grad() -> AbstractContextManager[None]:
    """Inside the block gradients are recorded, even within `no_grad`."""
    return set_grad_enabled(True)


def is_grad_enabled() -> bool:
    """Are gradients being recorded in this thread?"""
    return mode.grad


# -- shared by every family ----------------------------------------------------------------------

_default = [dt.float32]


def default_dtype() -> DType:
    """The floating dtype of Python floats and of true division of integers."""
    return _default[0]


def set_default_dtype(dtype: Any) -> None:
    """Makes float32 (the start) or float64 the default dtype (Torch7 setdefaulttensortype)."""
    wanted = as_dtype("set_default_dtype", dtype)
    if not wanted.is_float:
        raise TypeError(f"set_default_dtype: expected a floating dtype, got {wanted.name}")
    _default[0] = wanted


_ALIASES: dict[Any, DType] = {
    bool: dt.bool_, int: dt.int64, "float": dt.float32, "double": dt.float64, "half": dt.float16,
    "long": dt.int64, "int": dt.int32, "short": dt.int16, "char": dt.int8, "byte": dt.uint8,
    **{d.name: d for d in dt.DTYPES},
}


def as_dtype(name: str, dtype: Any) -> DType:
    """A dtype from ours, NumPy's, a Python type (float: the default dtype) or a name."""
    if isinstance(dtype, DType):
        return dtype
    if dtype is float or dtype is complex:
        return _default[0] if dtype is float else _default[0].complex
    try:
        found = _ALIASES.get(dtype)
    except TypeError:
        found = None
    if found is not None:
        return found
    try:
        return dt.from_numpy(dtype)
    except TypeError:
        raise TypeError(f"{name}: expected a dtype, got {dtype!r}") from None


def check_axis(name: str, axis: int, ndim: int) -> int:
    """The axis, counted from the front. Raises IndexError outside [-ndim, ndim)."""
    try:
        axis = axis.__index__()
    except AttributeError:
        raise TypeError(f"{name}: expected an integer for an axis, got {axis!r}") from None
    if not -ndim <= axis < ndim:
        raise IndexError(f"{name}: expected an axis in [{-ndim}, {ndim}), got {axis}")
    return axis + ndim if axis < 0 else axis


def check_shape(name: str, shape: Any) -> Shape:
    """A shape from the arguments of `f(2, 3)` or `f((2, 3))`.

    Raises TypeError for other things than integers, ValueError for negative ones.
    """
    if len(shape) == 1 and not hasattr(shape[0], "__index__"):
        shape = shape[0]
    elif len(shape) == 1 and isinstance(shape[0], Tensor | np.ndarray) and shape[0].ndim:
        shape = shape[0].tolist()
    try:
        found = tuple(e.__index__() for e in shape)
    except (AttributeError, TypeError):
        raise TypeError(f"{name}: expected a shape of integers, got {shape!r}") from None
    if any(e < 0 for e in found):
        raise ValueError(f"{name}: expected extents of 0 or more, got {found}")
    return found
