"""Indexing: x[...] with NumPy's meaning, and the functions that gather and scatter.

Ints, slices, None and Ellipsis give views. Integer arrays gather, and assigning scatters. Masks
force a count of their true elements, except `x[mask] = v` with a v that needs no count, which is a
`where`. Ints and arrays known now are checked now; others when they are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.node import Node, Shape

from . import realize as door
from .creation import constant, iota, number, owning, tensor
from .elementwise import check_real_cast, truth
from .movement import moveaxis, reshape, slice_view
from .recording import accepts_dim, as_tensor, broadcast_shapes, located, real_only
from .tensor import (
    Tensor,
    assign,
    check_axis,
    check_writable,
    derive,
    look,
    needs_grad,
    read,
    result,
    write,
)
from .views import inverse

_BASIC = (int, slice, type(None), type(Ellipsis))


# -- x[...] --------------------------------------------------------------------------------------


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index]: a view for ints, slices, None and Ellipsis, else a gathered copy."""
    if type(index) is int:
        return _row(x, index)
    flagged = _one_bool(x, index)
    if flagged is not None:
        return getitem(*flagged)
    view, arrays, place = _parse(x, index)
    if not arrays:
        return view
    moved, _ = _lead(view, arrays)
    found = located("getitem", N.node("gather", x.dtype, _gathered(moved, arrays),
                                       (moved, *arrays.values())))
    return derive(_settle(found, arrays, place), view)


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """x[index] = value: value broadcasts and is cast to x's dtype (within its kind, or from
    floats as astype does)."""
    if isinstance(value, Tensor) and _is_same_region(x, index, value):
        return
    check_writable("setitem", x)
    v = as_value(x, value)
    mask = _lone_mask(x, index)
    if mask is not None and v.ndim <= x.ndim - mask.ndim:
        _fill_mask(x, mask, v)
        return
    flagged = _one_bool(x, index)
    if flagged is not None:
        setitem(*flagged, value)
        return
    view, arrays, place = _parse(x, index)
    if not arrays:
        _check_fits(v, view.shape)
        assign("setitem", view, v)
        return
    moved, order = _lead(view, arrays)
    target = _gathered(moved, arrays)
    lines = _unsettle(_fit(v, _placed(target, arrays, place)), arrays, place)
    if 0 in lines.shape:
        return
    n = located("setitem", N.node("scatter", x.dtype, moved.shape,
                                   (moved, lines, *arrays.values()), "set"))
    write(view, N.permute(n, inverse(order)), needs_grad(v, view))


def _is_same_region(x: Tensor, index: Any, value: Tensor) -> bool:
    """After `x[i] += v` Python assigns the view to itself: nothing is left to do."""
    if value._storage is not x._storage or not _is_basic(index):
        return False
    mine = getitem(x, index)._view
    steps = mine.steps if mine is not None else ()
    return steps == (value._view.steps if value._view is not None else ())


def _is_basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(isinstance(p, _BASIC) and not isinstance(p, bool) for p in parts)


def as_value(x: Tensor, value: Any, name: str = "setitem") -> Tensor:
    """What is stored into x: a tensor of x's dtype. Raises TypeError for complex into real."""
    if isinstance(value, Tensor):
        check_real_cast(name, value.dtype, x.dtype)
        return value if value.dtype is x.dtype else derive(N.cast(read(value), x.dtype), value)
    if type(value) in (bool, int, float) or (type(value) is complex and x.dtype.is_complex):
        if x.dtype.is_integer and type(value) is float:
            value = int(value)
        return result(number(name, value, x.dtype), False, x.device)
    return tensor(value, x.dtype, x.device)


def _check_fits(v: Tensor, shape: Shape) -> None:
    lead = v.ndim - len(shape)
    tail = v.shape[lead:] if lead > 0 else v.shape
    if any(e != 1 for e in v.shape[:max(0, lead)]) or (
            broadcast_shapes("setitem", tail, shape) != shape):
        raise ValueError(f"setitem: expected a value that broadcasts to {shape}, got {v.shape}")


def _fit(v: Tensor, shape: Shape) -> Node:
    _check_fits(v, shape)
    n = read(v)
    if len(n.shape) > len(shape):
        n = N.reshape(n, n.shape[len(n.shape) - len(shape):])
    return N.expand_to(n, shape)


def _row(x: Tensor, index: int) -> Tensor:
    """x[i]: the commonest index."""
    shape = x.shape
    if not shape or not -shape[0] <= index < shape[0]:
        raise IndexError(_bounds("getitem", index, 0, shape))
    spec = ((index % shape[0], 1), *(((0, 1),) * (len(shape) - 1)))
    return look(look(x, "slice", (1, *shape[1:]), spec), "reshape", shape[1:])


def _bounds(name: str, index: int, axis: int, shape: Shape) -> str:
    if axis >= len(shape):
        return f"{name}: expected at most {len(shape)} indices for shape {shape}, got more"
    return (f"{name}: expected an index in [{-shape[axis]}, {shape[axis]}) for axis {axis} of "
            f"shape {shape}, got {index}")


Parsed = tuple[Tensor, dict[int, Node], int | None]


def _parse(x: Tensor, index: Any) -> Parsed:
    """The view that the basic parts of index give, the index arrays by axis of that view, and
    where their axes go in the result (None: to the front)."""
    parts = _expand_index(x, index)
    advanced = any(isinstance(p, Node | np.ndarray | _Chosen) for p in parts)
    spec: list[tuple[int, int]] = []
    lengths: list[int] = []
    shape: list[int] = []  # of the view, without axes that ints drop
    arrays: dict[int, Node | np.ndarray] = {}
    runs: list[int] = []  # positions in `parts` of advanced entries, to see if they are adjacent
    axis = 0
    for position, part in enumerate(parts):
        if part is None:
            shape.append(1)
            continue
        extent = x.shape[axis]
        if isinstance(part, int) and not advanced:
            if not -extent <= part < extent:
                raise IndexError(_bounds("getitem", part, axis, x.shape))
            spec.append((part % extent, 1))
            lengths.append(1)
        elif isinstance(part, slice):
            start, stop, step = _slice_range(part, extent)
            count = len(range(start, stop, step))
            spec.append((start, step))
            lengths.append(count)
            shape.append(count)
        else:
            arrays[len(shape)] = _wrap(part, extent, axis, x.shape)
            runs.append(position)
            spec.append((0, 1))
            lengths.append(extent)
            shape.append(extent)
        axis += 1
    view = slice_view(x, spec, tuple(lengths))
    view = look(view, "reshape", tuple(shape)) if tuple(shape) != view.shape else view
    nodes = _broadcast_arrays(arrays) if arrays else {}
    adjacent = bool(runs) and runs[-1] - runs[0] == len(runs) - 1
    return view, nodes, min(nodes) if adjacent else None


def _slice_range(part: slice, extent: int) -> tuple[int, int, int]:
    try:
        return part.indices(extent)
    except TypeError:
        ends = (part.start, part.stop, part.step)
        if not all(v is None or hasattr(v, "__index__") for v in ends):
            raise TypeError(f"getitem: expected integers in a slice, got {part}") from None
        plain = [None if v is None else v.__index__() for v in ends]
        return slice(*plain).indices(extent)
    except ValueError:
        raise ValueError(f"getitem: expected a step other than 0, got {part}") from None


def _expand_index(x: Tensor, index: Any) -> list[Any]:
    """One part for each axis: int, slice, Node or array; and None for new axes. Masks become the
    arrays of their true positions."""
    given = index if isinstance(index, tuple) else (index,)
    parts: list[Any] = []
    rest = -1
    for p in given:
        if p is Ellipsis:
            if rest >= 0:
                raise IndexError("getitem: expected at most one Ellipsis, got two")
            rest = len(parts)
        else:
            parts.extend(_part(p, x, sum(q is not None for q in parts), rest >= 0))
    used = sum(p is not None for p in parts)
    if used > x.ndim:
        raise IndexError(f"getitem: expected at most {x.ndim} indices for shape {x.shape}, got "
                         f"{used}")
    fill = [slice(None)] * (x.ndim - used)
    at = rest if rest >= 0 else len(parts)
    return parts[:at] + fill + parts[at:]


def _part(p: Any, x: Tensor, axis: int, after_ellipsis: bool) -> list[Any]:
    """One entry of an index as parts."""
    if p is None or isinstance(p, slice):
        return [p]
    if isinstance(p, Tensor):
        if p.dtype is dt.bool_:
            return _mask_parts(p.numpy(), x, axis, after_ellipsis)
        if not p.dtype.is_integer:
            raise IndexError(f"getitem: expected integers or bools as indices, got {p.dtype.name}")
        return [N.cast(read(p), dt.int64)]
    if isinstance(p, bool | np.bool_):
        return _mask_parts(np.asarray(p), x, axis, after_ellipsis)
    if hasattr(p, "__index__") and not isinstance(p, np.ndarray):
        return [p.__index__()]
    array = np.asarray(p) if not isinstance(p, list | tuple) or p else np.zeros(0, np.int64)
    if array.dtype == object:
        array = np.asarray([np.asarray(v) for v in p])
    if array.dtype.kind == "b":
        return _mask_parts(array, x, axis, after_ellipsis)
    if array.dtype.kind not in "iu":
        raise IndexError(f"getitem: expected integers or bools as indices, got {array.dtype}")
    return [array.astype(np.int64)]


def _mask_parts(mask: np.ndarray, x: Tensor, axis: int, after_ellipsis: bool) -> list[Any]:
    if mask.ndim == 0:
        raise IndexError("getitem: expected a mask with axes, got one bool; use x[None][[b]]")
    covered = x.shape[axis:axis + mask.ndim]
    fits = len(covered) == mask.ndim and all(m in (e, 0) for e, m in zip(covered, mask.shape))
    if not after_ellipsis and not fits:  # an empty mask selects nothing of any extent, as in NumPy
        raise IndexError(f"getitem: expected a mask of shape {covered}, got {mask.shape}")
    return [_Chosen(door.shared_leaf(np.ascontiguousarray(v), dt.int64)) for v in _places(mask)]


@dataclass(frozen=True)
class _Chosen:
    """Where a mask is true along one axis: inside by birth."""

    leaf: Node


def _wrap(part: Any, extent: int, axis: int, shape: Shape) -> Node | np.ndarray:
    """An index with negative ones counted from the end; checked if known."""
    if isinstance(part, _Chosen):
        return part.leaf
    if isinstance(part, Node):
        zero = constant(dt.int64, 0, part.shape)
        wrapped = N.elementwise("add", part, constant(dt.int64, extent, part.shape))
        return N.elementwise("where", N.elementwise("lt", part, zero), wrapped, part)
    array = np.asarray(part, np.int64)
    bad = (array < -extent) | (array >= extent)
    if bad.any():
        raise IndexError(_bounds("getitem", int(array[bad].flat[0]), axis, shape))
    return np.where(array < 0, array + extent, array)


def _broadcast_arrays(arrays: dict[int, Node | np.ndarray]) -> dict[int, Node]:
    shape = broadcast_shapes("getitem", *(a.shape for a in arrays.values()))
    return {axis: N.expand_to(
        a if isinstance(a, Node) else door.leaf_of(a, dt.int64), shape)
        for axis, a in arrays.items()}


def _lead(view: Tensor, arrays: dict[int, Node]) -> tuple[Node, tuple[int, ...]]:
    """The view's node with indexed axes in front, and the order that did it."""
    order = (*arrays, *(i for i in range(view.ndim) if i not in arrays))
    return N.permute(read(view), order), order


def _gathered(moved: Node, arrays: dict[int, Node]) -> Shape:
    index = next(iter(arrays.values()))
    return (*index.shape, *moved.shape[len(arrays):])


def _place_order(rank: int, arrays: dict[int, Node], place: int | None) -> tuple[int, ...]:
    """The permutation that puts the indices' axes at `place`."""
    count = len(next(iter(arrays.values())).shape)
    rest = list(range(count, rank))
    return (*rest[:place], *range(count), *rest[place:]) if place is not None else (
        tuple(range(rank)))


def _placed(shape: Shape, arrays: dict[int, Node], place: int | None) -> Shape:
    return tuple(shape[i] for i in _place_order(len(shape), arrays, place))


def _settle(n: Node, arrays: dict[int, Node], place: int | None) -> Node:
    return N.permute(n, _place_order(len(n.shape), arrays, place))


def _unsettle(n: Node, arrays: dict[int, Node], place: int | None) -> Node:
    return N.permute(n, inverse(_place_order(len(n.shape), arrays, place)))


def _lone_mask(x: Tensor, index: Any) -> Tensor | None:
    """The mask, if the index is one and fits."""
    if isinstance(index, bool | np.bool_) or (
            isinstance(index, np.ndarray) and index.dtype == np.bool_):
        index = tensor(index)
    if isinstance(index, Tensor) and index.dtype is dt.bool_:
        return index if x.shape[:index.ndim] == index.shape else None
    return None


def _one_bool(x: Tensor, index: Any) -> tuple[Tensor, Any] | None:
    """An index with one bool beside plain entries: the view with a new axis in the bool's place,
    and the index that takes all of that axis or nothing."""
    given = index if isinstance(index, tuple) else (index,)
    places = [i for i, p in enumerate(given) if _is_flag(p)]
    if len(places) != 1 or not _is_basic(tuple(p for p in given if not _is_flag(p))):
        return None
    at = places[0]
    view = getitem(x, (*given[:at], None, *given[at + 1:]))
    before = getitem(x, (*given[:at], ...)) if Ellipsis not in given[:at] else None
    behind = [p for p in given[at + 1:] if type(p) is not int]
    used = sum(p is not None for p in given[:at] if p is not Ellipsis)
    axis = (before.ndim - (x.ndim - used) if before is not None
            else view.ndim - 1 - len(behind))
    chosen = [i for i, p in enumerate(given) if i == at or type(p) is int]
    if chosen[-1] - chosen[0] >= len(chosen):  # as NumPy: apart from an int, the axis comes first
        view, axis = moveaxis(view, axis, 0), 0
    return view, (*[slice(None)] * axis, tensor([bool(given[at])]))


def _is_flag(p: Any) -> bool:
    if isinstance(p, Tensor):
        return not p.shape and p.dtype is dt.bool_
    return isinstance(p, bool | np.bool_) or (
        isinstance(p, np.ndarray) and not p.shape and p.dtype == np.bool_)


def _fill_mask(x: Tensor, mask: Tensor, value: Tensor) -> None:
    tail = x.shape[mask.ndim:]
    _check_fits(value, tail)
    test = N.expand(N.reshape(read(mask), (*mask.shape, *(1,) * len(tail))), x.shape)
    n = N.elementwise("where", test, N.expand_to(read(value), x.shape), read(x))
    write(x, n, needs_grad(value, x))


# -- masks ---------------------------------------------------------------------------------------


def nonzero(x: Any, as_tuple: bool = False) -> Any:
    """Positions of the elements other than 0, (n, ndim) int64; as_tuple: one vector an axis
    (NumPy's form). Forces the values. Torch7 nonzero."""
    t = as_tensor("nonzero", x)
    found = _true_places(t)
    if as_tuple:
        return tuple(owning(v, t.device) for v in found)
    places = np.stack(found, -1) if found else np.zeros((0, 0), np.int64)
    return owning(places, t.device)


def _true_places(t: Tensor) -> tuple[np.ndarray, ...]:
    """Positions of the elements other than 0, an array an axis: NumPy counts a flat mask first and
    then writes without a branch."""
    return _places(derive(truth(read(t)), t).numpy())


def _places(mask: np.ndarray) -> tuple[np.ndarray, ...]:
    if mask.ndim < 2:
        return np.nonzero(mask)
    return np.unravel_index(np.flatnonzero(mask), mask.shape)


def argwhere(x: Any) -> Tensor:
    """Positions of the elements other than 0, (n, ndim) int64. Forces. NumPy argwhere."""
    return nonzero(x)  # type: ignore[no-any-return]


def flatnonzero(x: Any) -> Tensor:
    """Positions in the flattened tensor. Forces. NumPy flatnonzero."""
    t = as_tensor("flatnonzero", x)
    return owning(_true_places(reshape(t, -1))[0], t.device)


def masked_select(x: Any, mask: Any) -> Tensor:
    """The elements where mask (broadcast) is true, 1-d. Forces the mask. Torch7 maskedSelect."""
    t, m = as_tensor("masked_select", x), as_tensor("masked_select", mask)
    shape = broadcast_shapes("masked_select", t.shape, m.shape)
    m = derive(N.expand_to(truth(read(m)), shape), m)
    return getitem(derive(N.expand_to(read(t), shape), t), m)


def masked_fill(x: Any, mask: Any, value: Any) -> Tensor:
    """x with value where mask (broadcast) is true. Shape and dtype of x. Torch7 maskedFill."""
    t, m = as_tensor("masked_fill", x), as_tensor("masked_fill", mask)
    v = as_value(t, value)
    test = N.expand_to(truth(read(m)), t.shape)
    return derive(N.elementwise("where", test, N.expand_to(read(v), t.shape), read(t)), t, v)


def masked_scatter(x: Any, mask: Any, source: Any) -> Tensor:
    """x with source's elements, in order, where mask is true. Forces. Torch7 maskedCopy."""
    t = as_tensor("masked_scatter", x)
    made = derive(read(t), t)
    places = np.nonzero(np.broadcast_to(as_tensor("masked_scatter", mask).numpy(), t.shape))
    count = len(places[0]) if places else 0
    values = reshape(as_tensor("masked_scatter", source), -1)
    if values.shape[0] < count:
        raise ValueError(f"masked_scatter: expected {count} values or more, got {values.shape[0]}")
    made[places] = values[:count]
    return made


# -- along one axis ------------------------------------------------------------------------------


def index_node(name: str, index: Any, extent: int) -> Node:
    """User's indices as wrapped int64."""
    t = as_tensor(name, index)
    if not t.dtype.is_integer:
        if t.size:
            raise TypeError(f"{name}: expected integer indices, got {t.dtype.name}")
        return constant(dt.int64, 0, t.shape)
    if not isinstance(index, Tensor):
        array = t.numpy().astype(np.int64)
        bad = (array < -extent) | (array >= extent)
        if bad.any():
            raise IndexError(f"{name}: expected indices in [{-extent}, {extent}), got "
                             f"{array[bad].flat[0]}")
        return door.leaf_of(np.where(array < 0, array + extent, array), dt.int64)
    wrapped = _wrap(N.cast(read(t), dt.int64), extent, 0, ())
    assert isinstance(wrapped, Node)
    return wrapped


@accepts_dim
def take(x: Any, index: Any, axis: int | None = None) -> Tensor:
    """x's elements at integer indices along axis (of the flattened tensor without). NumPy take.

    The indices' axes stand where `axis` was.
    """
    t = as_tensor("take", x)
    if axis is None:
        t, axis = reshape(t, -1), 0
    axis = check_axis("take", axis, t.ndim)
    i = index_node("take", index, t.shape[axis])
    order = (axis, *(a for a in range(t.ndim) if a != axis))
    moved = N.permute(read(t), order)
    n = located("take", N.node("gather", t.dtype, (*i.shape, *moved.shape[1:]), (moved, i)))
    rest = list(range(len(i.shape), len(n.shape)))
    back = (*rest[:axis], *range(len(i.shape)), *rest[axis:])
    return derive(N.permute(n, back), t)


def index_select(x: Any, axis: int, index: Any) -> Tensor:
    """x's slices at a vector of indices along axis, a copy. Torch7 index, PyTorch index_select."""
    return take(x, index, axis)  # type: ignore[no-any-return]


def _along(name: str, t: Tensor, axis: int, i: Node) -> tuple[Node, ...]:
    """An index for every axis: i along `axis`, the position itself along the others."""
    if len(i.shape) != t.ndim:
        raise ValueError(f"{name}: expected an index with {t.ndim} axes, got shape {i.shape}")
    for a, (e, f) in enumerate(zip(i.shape, t.shape)):
        if a != axis and e > f:
            raise ValueError(f"{name}: expected an index inside shape {t.shape} but for axis "
                             f"{axis}, got shape {i.shape}")
    return tuple(i if a == axis else iota(dt.int64, i.shape, a) for a in range(t.ndim))


@accepts_dim
def gather(x: Any, axis: int, index: Any) -> Tensor:
    """result[i, j, k] = x[index[i, j, k], j, k] for axis 0, and so on. Torch7 gather.

    index has x's number of axes and its shape is the result's.
    """
    t = as_tensor("gather", x)
    axis = check_axis("gather", axis, t.ndim)
    i = index_node("gather", index, t.shape[axis])
    n = N.node("gather", t.dtype, i.shape, (read(t), *_along("gather", t, axis, i)))
    return derive(located("gather", n), t)


@accepts_dim
def take_along_axis(x: Any, index: Any, axis: int | None = -1) -> Tensor:
    """`gather` with NumPy's order of arguments; x and index broadcast but for axis."""
    t, i = as_tensor("take_along_axis", x), as_tensor("take_along_axis", index)
    if axis is None:
        return gather(reshape(t, -1), 0, reshape(i, -1))  # type: ignore[no-any-return]
    axis = check_axis("take_along_axis", axis, t.ndim)
    if i.ndim != t.ndim:
        raise ValueError(f"take_along_axis: expected an index with {t.ndim} axes, got {i.shape}")
    shared = broadcast_shapes("take_along_axis", *(
        tuple(1 if a == axis else e for a, e in enumerate(v.shape)) for v in (t, i)))
    wide = [derive(N.expand_to(read(v), (*shared[:axis], v.shape[axis], *shared[axis + 1:])), v)
            for v in (t, i)]
    return gather(wide[0], axis, wide[1])  # type: ignore[no-any-return]


def _scatter(name: str, kind: str, x: Any, axis: int, index: Any, source: Any) -> Tensor:
    t = as_tensor(name, x)
    axis = check_axis(name, axis, t.ndim)
    i = index_node(name, index, t.shape[axis])
    v = as_value(t, source)
    n = read(v)
    if kind not in ("set", "add"):
        real_only(name, t.dtype)
    if n.shape and n.shape != i.shape:
        if len(n.shape) != len(i.shape) or any(e > f for e, f in zip(i.shape, n.shape)):
            raise ValueError(f"{name}: expected values for an index of shape {i.shape}, got shape "
                             f"{n.shape}")
        n = N.slice_(n, (0,) * len(i.shape), i.shape, (1,) * len(i.shape))
    src = (read(t), N.expand_to(n, i.shape), *_along(name, t, axis, i))
    return derive(located(name, N.node("scatter", t.dtype, t.shape, src, kind)), t, v)


REDUCE = {"add": "add", "sum": "add", "prod": "mul", "multiply": "mul",
           "amax": "max", "max": "max", "amin": "min", "min": "min"}


@accepts_dim
def scatter(x: Any, axis: int, index: Any, source: Any, reduce: str | None = None) -> Tensor:
    """x with x[index[i, j], j] = source[i, j] for axis 0, and so on; of equal places the last in
    row-major order wins, or `reduce` combines: "add", "prod", "max", "min". Torch7 scatter.

    source is a number or has at least index's shape. Raises TypeError for products of complex
    numbers.
    """
    if reduce is not None and reduce not in REDUCE:
        raise ValueError(f"scatter: expected reduce of {sorted(REDUCE)}, got {reduce!r}")
    return _scatter("scatter", REDUCE.get(reduce or "", "set"), x, axis, index, source)


@accepts_dim
def scatter_add(x: Any, axis: int, index: Any, source: Any) -> Tensor:
    """x with source[i, j] added at [index[i, j], j] for axis 0, and so on. PyTorch scatter_add."""
    return _scatter("scatter_add", "add", x, axis, index, source)


def _index_write(name: str, kind: str, x: Any, axis: int, index: Any, source: Any) -> Tensor:
    t = as_tensor(name, x)
    axis = check_axis(name, axis, t.ndim)
    i = index_node(name, index, t.shape[axis])
    if len(i.shape) != 1:
        raise ValueError(f"{name}: expected a vector of indices, got shape {i.shape}")
    order = (axis, *(a for a in range(t.ndim) if a != axis))
    moved = N.permute(read(t), order)
    v = as_value(t, source)
    shape = tuple(i.shape[0] if a == axis else e for a, e in enumerate(t.shape))
    lines = N.permute(_fit(v, shape), order)
    n = located(name, N.node("scatter", t.dtype, moved.shape, (moved, lines, i), kind))
    return derive(N.permute(n, inverse(order)), t, v)


@accepts_dim
def index_add(x: Any, axis: int, index: Any, source: Any, *, alpha: float = 1) -> Tensor:
    """x with alpha * source's slices added at a vector of indices along axis; equal indices
    accumulate. Torch7 indexAdd."""
    if alpha != 1:
        source = as_tensor("index_add", source) * alpha
    return _index_write("index_add", "add", x, axis, index, source)


@accepts_dim
def index_copy(x: Any, axis: int, index: Any, source: Any) -> Tensor:
    """x with source's slices at a vector of indices along axis. Torch7 indexCopy."""
    return _index_write("index_copy", "set", x, axis, index, source)


@accepts_dim
def index_fill(x: Any, axis: int, index: Any, value: Any) -> Tensor:
    """x with a number at a vector of indices along axis. Torch7 indexFill."""
    return _index_write("index_fill", "set", x, axis, index, value)
