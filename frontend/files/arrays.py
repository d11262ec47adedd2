"""Tensors as the bits that files hold, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler.dtype import DType

from .. import realize as door
from ..recording import as_tensor
from ..tensor import Tensor, result
from .source import Source

LIMIT = 1 << 48  # elements: no file is as long, and products of extents stay exact


def bits_of(name: str, x: Any) -> tuple[np.ndarray, DType]:
    """The bits of a tensor or array, row-major, and their dtype. bfloat16 comes as uint16."""
    t = as_tensor(name, x)
    return np.asarray(t.buffer()).reshape(t.shape), t.dtype


def tensor_of(bits: np.ndarray, dtype: DType, share: bool = False) -> Tensor:
    """A tensor from the bits of its elements; with share, over their memory where it may be."""
    if share and bits.flags.c_contiguous and bits.flags.aligned and bits.flags.writeable:
        made = result(door.shared_leaf(bits, dtype))
        made._storage.shared = bits
        return made
    return result(door.leaf_of(bits, dtype))


def checked_shape(source: Source, shape: Any, itemsize: int, room: int) -> tuple[int, ...]:
    """A shape from a file: integers of 0 or more whose elements fit into `room` bytes."""
    if not isinstance(shape, list | tuple) or len(shape) > 64 or not all(
            isinstance(e, int) and not isinstance(e, bool) and 0 <= e <= LIMIT for e in shape):
        raise source.error("a shape of up to 64 extents of 0 or more", shape)
    count = 1
    for extent in shape:
        count = min(count * max(extent, 1), LIMIT)
    if (0 not in shape and count * itemsize > room) or count >= LIMIT:
        raise source.error(f"elements within {room} bytes", f"shape {tuple(shape)}")
    return tuple(shape)


def check_bools(source: Source, bits: np.ndarray) -> np.ndarray:
    """Bytes as bools; anything but 0 and 1 is an error."""
    bytes_ = bits.view(np.uint8)
    if bytes_.size and bytes_.max() > 1:
        raise source.error("bools as bytes 0 and 1", f"a byte {int(bytes_.max())}")
    return bytes_.view(np.bool_)


def check_named(name: str, tensors: Any) -> None:
    """Raises TypeError for what is no dict with texts as keys."""
    wrong = [k for k in tensors if not isinstance(k, str)] if isinstance(tensors, dict) else None
    if wrong or wrong is None:
        found = f"{wrong[0]!r} as a name" if wrong else type(tensors).__name__
        raise TypeError(f"{name}: expected a dict of tensors by name, got {found}")


def by_name(name: str) -> DType | None:
    """The dtype of that name, if Flambeau has it."""
    found = [d for d in dt.DTYPES if d.name == name]
    return found[0] if found else None


def write_bits(out: Any, bits: np.ndarray) -> None:
    """The elements' bytes, row-major, without a copy where they lie so."""
    if bits.size:
        out.write(np.ascontiguousarray(bits).reshape(-1).view(np.uint8).data)
