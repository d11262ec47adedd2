"""How tensors print: values as NumPy prints them, with what is not usual said behind.

Of a big lazy tensor only the corners that show are computed.
"""

from __future__ import annotations

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N

from .storage import Storage
from .tensor import Tensor, default_dtype, make, no_grad, read, result

_USUAL = (dt.bool_, dt.int64)


def text(t: Tensor) -> str:
    """`tensor([[1., 2.],\\n        [3., 4.]])`, with dtype, device and requires_grad if unusual."""
    values = _values(t)
    body = np.array2string(values, separator=", ", prefix="tensor(") if values.size else "[]"
    notes = [""]
    if t.dtype is not default_dtype() and t.dtype not in _USUAL:
        notes.append(f"dtype=flambeau.{t.dtype.name}")
    if not values.size and t.shape != (0,):
        notes.append(f"shape={t.shape}")
    if t.device != "cpu":
        notes.append(f"device={t.device!r}")
    if t.requires_grad:
        notes.append("requires_grad=True" if t.is_leaf else "grad_fn=<lazy>")
    return f"tensor({body}{', '.join(notes)})"


def _values(t: Tensor) -> np.ndarray:
    options = np.get_printoptions()
    edge = options["edgeitems"]
    if t.size <= options["threshold"] or not t.is_lazy:
        return t.numpy()
    return _corners(t, edge)


def _corners(t: Tensor, edge: int) -> np.ndarray:
    """An array of t's shape that is right at the corners, which is all that prints; elsewhere it
    is untouched zeros that the system never backs with memory."""
    with no_grad():
        n = read(t)
    places = []
    for axis, extent in enumerate(t.shape):
        if extent <= 2 * edge + 1:
            places.append(np.arange(extent))
            continue
        starts, steps = [0] * t.ndim, (1,) * t.ndim
        shape = (*n.shape[:axis], edge, *n.shape[axis + 1:])
        first = N.slice_(n, tuple(starts), shape, steps)
        starts[axis] = extent - edge
        last = N.slice_(n, tuple(starts), shape, steps)
        n = N.concat((first, last), axis)
        places.append(np.r_[0:edge, extent - edge:extent])
    small = result(n, False, t.device)
    whole = np.zeros(t.shape, small.numpy().dtype)
    whole[np.ix_(*places)] = small.numpy()
    return whole


def storage_text(storage: Storage) -> str:
    """The values of a storage, in order, as Torch7 lists them."""
    return text(make(storage, None, storage.shape))


def tensor_format(t: Tensor, spec: str) -> str:
    """`f"{t:.3f}"`: one element as Python formats it, several each of them in NumPy's layout."""
    if not spec:
        return text(t) if t.shape else str(t.item())
    if t.size == 1:
        return format(t.item(), spec)
    return np.array2string(_values(t), separator=", ",
                           formatter={"all": lambda v: format(v, spec)})
