"""Who shares what: set_, resize_, as_strided, and Storage's own vocabulary (Torch7's Storage).

A tensor is steps over its storage (views.py). What Torch7 says with an offset, sizes and strides is
turned into such steps here, or refused when no steps express it.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, Shape

from . import views
from .creation import from_numpy, tensor, zeros
from .storage import Storage
from .tensor import Tensor, as_dtype, check_shape, derive, make, read
from .views import Step, View

Steps = tuple[Step, ...]


def _slice1(steps: Steps, start: Shape, axis: int, at: int, count: int, by: int = 1) -> Steps:
    """One more step: `count` elements from `at`, `by` apart, along an axis."""
    shape = steps[-1][1] if steps else start
    spec = tuple((at, by if count > 1 else 1) if i == axis and count else (0, 1)
                 for i in range(len(shape)))
    return views.extend(steps, start, ("slice", (*shape[:axis], count, *shape[axis + 1:]), spec))


def strided_steps(start: Shape, offset: int, shape: Shape, strides: tuple[int, ...]
                  ) -> Steps | None:
    """Steps from a storage of shape `start` to that layout, or None when it is none of ours (its
    elements overlap, or its rows do not fit).

    Axes are taken by falling stride: all but the last split a run of elements into rows.
    """
    room, at = math.prod(start), offset
    steps = views.extend((), start, ("reshape", (room,), None))
    if 0 in shape:
        return views.extend(_slice1(steps, start, 0, 0, 0), start, ("reshape", shape, None))
    walked = sorted((i for i, e in enumerate(shape) if e > 1 and strides[i] > 0),
                    key=lambda i: -strides[i])
    span = sum((shape[i] - 1) * strides[i] for i in walked)
    for k, i in enumerate(walked):
        extent, stride = shape[i], strides[i]
        span -= (extent - 1) * stride
        if k == len(walked) - 1:
            if at + (extent - 1) * stride >= room:
                return None
            steps = _slice1(steps, start, k, at, extent, stride)
            break
        found = _rows(room, at, span, extent, stride)
        if found is None:
            return None
        base, rows, row = found
        steps = _slice1(steps, start, k, base, rows * row)
        before = steps[-1][1] if steps else start
        steps = views.extend(steps, start, ("reshape", (*before[:k], rows, row), None))
        steps = _slice1(steps, start, k, 0, extent, stride // row)
        at, room = at - base, row
    if not walked:
        steps = _slice1(steps, start, 0, at, 1)
    return _ordered(steps, start, shape, strides, walked)


def _rows(room: int, at: int, span: int, extent: int, stride: int) -> tuple[int, int, int] | None:
    """How a run of `room` elements splits into rows so that `extent` of them, `stride` elements
    apart, hold what starts at `at` and reaches `span` further: where the first begins, how many
    rows, their length. None when the run is too short."""
    small = [d for d in range(1, math.isqrt(stride) + 1) if stride % d == 0]
    for row in sorted({*small, *(stride // d for d in small)}):
        rows = (extent - 1) * (stride // row) + 1
        base = max(0, min(at, room - rows * row))
        if row > span and base + rows * row <= room and at - base + span < row:
            return base, rows, row
    return None


def _ordered(steps: Steps, start: Shape, shape: Shape, strides: tuple[int, ...],
             walked: list[int]) -> Steps:
    """Walked axes in their places, with unit axes and repeated ones between them."""
    if walked == sorted(walked):  # a reshape says it all, and unit axes get the strides they had
        whole = tuple(e if i in walked else 1 for i, e in enumerate(shape))
        steps = views.extend(steps, start, ("reshape", whole, None))
        return views.extend(steps, start, ("expand", shape, None)) if whole != shape else steps
    units = tuple(shape[i] for i in walked) + (1,) * (len(shape) - len(walked))
    steps = views.extend(steps, start, ("reshape", units, None))
    spare = iter(range(len(walked), len(shape)))
    order = tuple(walked.index(i) if i in walked else next(spare) for i in range(len(shape)))
    if order != tuple(range(len(shape))):
        steps = views.extend(steps, start, ("permute", tuple(units[i] for i in order), order))
    if any(e > 1 and s == 0 for e, s in zip(shape, strides)):
        steps = views.extend(steps, start, ("expand", shape, None))
    return steps


def _over(name: str, storage: Storage, offset: int, shape: Shape, strides: tuple[int, ...]
          ) -> View | None:
    """The view of a storage with that layout. Raises ValueError where there is none."""
    if len(strides) != len(shape) or any(s < 0 for s in strides):
        raise ValueError(f"{name}: expected a stride of 0 or more for each axis of {shape}, got "
                         f"{strides}")
    last = offset + sum((e - 1) * s for e, s in zip(shape, strides)) if 0 not in shape else -1
    if offset < 0 or last >= storage.node.size:
        raise ValueError(f"{name}: expected a layout inside a storage of {storage.node.size} "
                         f"elements, got offset {offset}, shape {shape}, strides {strides}")
    steps = strided_steps(storage.shape, offset, shape, strides)
    if steps is None:
        raise ValueError(f"{name}: expected strides whose axes lie inside one another, got shape "
                         f"{shape}, strides {strides} in {storage.node.size} elements; gather "
                         "elements with indices instead")
    return View(steps, 0 if storage.requires else None) if steps or storage.requires else None


def as_strided(x: Tensor, shape: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of x's storage with that shape, strides and offset (in elements; x's own offset if
    none is given). Gradients do not flow through it.

    PyTorch as_strided. Raises ValueError for layouts that overlap or leave the storage.
    """
    offset = x.storage_offset() if storage_offset is None else storage_offset
    wanted = check_shape("as_strided", (tuple(shape),))
    view = _over("as_strided", x._storage, offset, wanted, tuple(stride))
    return make(x._storage, view, wanted)


def set_(self: Tensor, source: Any, offset: int = 0, shape: Any = None, stride: Any = None
         ) -> Tensor:
    """Becomes a view of source's storage: with its shape if source is a tensor, else of a Storage
    from offset, with a shape (all of the rest) and strides (row-major). Gives itself.

    Torch7 set. Raises TypeError for other sources, ValueError for layouts outside the storage.
    """
    if isinstance(source, Storage):
        wanted = check_shape("set_", (tuple(shape),)) if shape is not None else (
            max(source.node.size - offset, 0),)
        strides = views.contiguous_strides(wanted) if stride is None else tuple(stride)
        source = make(source, _over("set_", source, offset, wanted, strides), wanted)
    elif not isinstance(source, Tensor):
        raise TypeError(f"set_: expected a tensor or a storage, got {type(source).__name__}")
    self._storage, self._view = source._storage, source._view
    self.dtype, self.shape = source.dtype, source.shape
    return self


def resize_(self: Tensor, *shape: Any) -> Tensor:
    """Becomes contiguous with that shape over its own storage, from its offset: elements come in
    the storage's order. Gives itself.

    A storage with too few elements is left to its other views: this tensor moves to a longer copy,
    with zeros behind the old elements. Torch7 resize. Raises RuntimeError for a tensor that
    requires grad.
    """
    wanted = check_shape("resize_", shape)
    if self.requires_grad:
        raise RuntimeError("resize_: expected a tensor without gradients, got one that requires "
                           "grad; use reshape")
    if wanted == self.shape and self.is_contiguous():
        return self
    storage, offset, count = self._storage, self.storage_offset(), math.prod(wanted)
    if offset + count <= storage.node.size:
        view = _over("resize_", storage, offset, wanted, views.contiguous_strides(wanted))
        return set_(self, make(storage, view, wanted))
    flat = read(make(storage, None, storage.shape))
    flat = N.reshape(flat, (flat.size,))
    rest = N.slice_(flat, (min(offset, flat.size),), (max(flat.size - offset, 0),), (1,))
    longer = N.pad(rest, (0,), (count,)) if rest.size else N.const(self.dtype, 0, (count,))
    return set_(self, derive(N.reshape(longer, wanted), self))


def resize_as_(self: Tensor, other: Tensor) -> Tensor:
    """`resize_` to other's shape; nothing when the shapes agree. Torch7 resizeAs."""
    return self if self.shape == other.shape else resize_(self, other.shape)


def is_set_to(self: Tensor, other: Tensor) -> bool:
    """Same storage, offset, shape and strides? Torch7 isSetTo."""
    return (self._storage is other._storage and self.shape == other.shape
            and self._layout() == other._layout())


def is_same_size(self: Tensor, other: Tensor) -> bool:
    """Same shape? Torch7 isSameSizeAs."""
    return self.shape == other.shape


def is_size(self: Tensor, *shape: Any) -> bool:
    """Is this the shape? Torch7 isSize."""
    return self.shape == check_shape("is_size", shape)


# -- storages --------------------------------------------------------------------------------------


_of_node = Storage.__new__


def _construct(cls: type, data: Any = 0, *rest: Any, dtype: Any = None, **options: Any) -> Storage:
    """`Storage(5)`: that many zeros (Torch7 left them uninitialised); `Storage([1, 2, 3])`: the
    elements of a list, array or tensor, in order. Torch7 FloatStorage(...) and kin."""
    if isinstance(data, Node):
        return _of_node(Storage, data, *rest, **options)
    if isinstance(data, int):
        return zeros(data, dtype=dtype)._storage
    flat = tensor(data, dtype)
    return flat.reshape(-1 if flat.size else 0).clone()._storage  # type: ignore[no-any-return]


def map_storage(path: str | os.PathLike[str], dtype: Any = None, shared: bool = False,
                size: int | None = None) -> Storage:
    """A storage over the bytes of a file, mapped into memory: writes reach the file if shared, else
    only this process. size: number of elements (all); a shared file is made or grown to it.

    Torch7 FloatStorage(filename, shared, size). Raises ValueError when the file is too short.
    """
    wanted = as_dtype("map_storage", dt.float32 if dtype is None else dtype)
    if shared and size is not None:
        with open(path, "ab") as file:
            file.truncate(max(file.tell(), size * wanted.itemsize))
    there = os.path.getsize(path) // wanted.itemsize
    count = there if size is None else size
    if count > there:
        raise ValueError(f"map_storage: expected a file of {count} elements of {wanted.name}, got "
                         f"{there}")
    if not count:
        return zeros(0, dtype=wanted)._storage
    mapped = np.memmap(path, wanted.numpy, "r+" if shared else "c", shape=(count,))
    return from_numpy(np.asarray(mapped).view())._storage


def whole(self: Storage) -> Tensor:
    """A flat tensor that looks at all of the storage."""
    view = _over("storage", self, 0, (self.node.size,), (1,))
    return make(self, view, (self.node.size,))


def _getitem(self: Storage, index: Any) -> Any:
    """One element as a Python number, or a slice of them as a list."""
    found = whole(self)[index]
    return found.item() if not found.shape else found.tolist()


def _setitem(self: Storage, index: Any, value: Any) -> None:
    """Writes elements: every tensor that looks at the storage sees them."""
    whole(self)[index] = value


def _fill(self: Storage, value: Any) -> Storage:
    """Every element becomes a number. Torch7 Storage:fill."""
    whole(self).fill_(value)
    return self


def _copy(self: Storage, source: Any) -> Storage:
    """Elements from a storage or tensor of as many elements, of any dtype. Torch7 Storage:copy.

    Raises ValueError for another number of elements.
    """
    flat = whole(source) if isinstance(source, Storage) else tensor(source).reshape(-1)
    if flat.size != self.node.size:
        raise ValueError(f"copy: expected {self.node.size} elements, got {int(flat.size)}")
    whole(self).copy_(flat)
    return self


def _tolist(self: Storage) -> list[Any]:
    """The elements as Python numbers. Torch7 Storage:totable."""
    return whole(self).tolist()  # type: ignore[no-any-return]


def _numpy(self: Storage) -> np.ndarray:
    """The elements as an array, as `Tensor.numpy` gives it."""
    return whole(self).numpy()


def _string(self: Storage, text: str | bytes | None = None) -> Any:
    """The bytes as text (latin-1), or, given text of at most as many bytes, sets them. Torch7
    Storage:string of byte and char storages. Raises TypeError for other dtypes."""
    if self.dtype.itemsize != 1 or self.dtype is dt.bool_:
        raise TypeError(f"string: expected a storage of int8 or uint8, got {self.dtype.name}")
    if text is None:
        return whole(self).numpy().tobytes().decode("latin-1")
    raw = np.frombuffer(text.encode("latin-1") if isinstance(text, str) else text, np.uint8)
    if raw.size > self.node.size:
        raise ValueError(f"string: expected at most {self.node.size} bytes, got {raw.size}")
    whole(self)[:raw.size] = raw.view(self.dtype.numpy)
    return self


def _resized(self: Storage, count: int) -> Storage:
    """A new storage of count elements: the first of this one, then zeros. (Torch7 Storage:resize
    changed the storage; here tensors that look at it keep it.)"""
    return resize_(whole(self), count).clone()._storage  # type: ignore[no-any-return]


def _to(self: Storage, dtype: Any) -> Storage:
    """A new storage with the elements as another dtype. Torch7 Storage:type."""
    return whole(self).to(as_dtype("to", dtype), copy=True)._storage  # type: ignore[no-any-return]


def _element_size(self: Storage) -> int:
    """Bytes of one element. Torch7 Storage:elementSize."""
    return self.dtype.itemsize


def _data_ptr(self: Storage) -> int:
    """The address of the first element, valid while the storage is not written. Torch7 data."""
    return int(whole(self).numpy().__array_interface__["data"][0])


def _caster(dtype: DType) -> Any:
    def method(self: Storage) -> Storage:
        return _to(self, dtype)
    method.__doc__ = f"A new storage with the elements as {dtype.name}. Torch7 Storage:type."
    return method


def install() -> None:
    """Gives Storage its vocabulary."""
    vocabulary: dict[str, Any] = {
        "__new__": staticmethod(_construct), "__getitem__": _getitem, "__setitem__": _setitem,
        "fill": _fill, "copy": _copy,
        "tolist": _tolist, "totable": _tolist, "numpy": _numpy, "string": _string,
        "resized": _resized, "to": _to, "element_size": _element_size, "data_ptr": _data_ptr,
        "tensor": whole}
    for name, dtype in (("byte", dt.uint8), ("char", dt.int8), ("short", dt.int16),
                        ("int", dt.int32), ("long", dt.int64), ("float", dt.float32),
                        ("double", dt.float64), ("half", dt.float16)):
        vocabulary[name] = _caster(dtype)
    for name, method in vocabulary.items():
        setattr(Storage, name, method)
