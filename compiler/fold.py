"""Numbers the compiler knows: rounding to each dtype, and ops applied to constants.

A constant is a `const` node behind any broadcast. Folding asks the op's own NumPy function, so that
a folded number is what the reference device would compute.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node
from flambeau.compiler.ops import OPS

Number = float | int | bool

_WRAPPED = frozenset(("const", "expand", "reshape", "permute"))
_NEVER = frozenset(("bitcast", "philox", "require", "sample"))  # bits, draws, errors


def constant(n: Node) -> Number | None:
    """`node.const_value`, quick to say no."""
    return N.const_value(n) if n.op in _WRAPPED else None


def round_to(dtype: DType, array: np.ndarray) -> np.ndarray:
    """array in dtype's compute type, rounded to nearest even among the values dtype holds."""
    if dtype is dt.float16:
        return array.astype(np.float16).astype(np.float32)
    if dtype is dt.bfloat16:
        return from_bfloat16(to_bfloat16(array.astype(np.float32)))
    return array if array.dtype == dtype.numpy else array.astype(dtype.numpy)


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Bit patterns of float32 values, to nearest even; NaN stays NaN (and quiet)."""
    bits = np.atleast_1d(x).view(np.uint32)
    half = np.uint32(16)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> half) & np.uint32(1))) >> half
    chosen = np.where(np.isnan(np.atleast_1d(x)), (bits >> half) | np.uint32(0x40), rounded)
    return chosen.astype(np.uint16).reshape(x.shape)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The float32 values of bit patterns."""
    wide = np.atleast_1d(bits).astype(np.uint32) << np.uint32(16)
    return wide.view(np.float32).reshape(bits.shape)


def number(dtype: DType, value: Any) -> np.ndarray:
    """A Python number as a 0-d array of dtype's compute type: integers wrap, floats round."""
    if dtype.is_integer:
        return np.array(int(value) & 0xFFFFFFFFFFFFFFFF, np.uint64).astype(dtype.numpy)
    kind = np.complex128 if dtype.is_complex else np.float64 if dtype.is_float else bool
    return round_to(dtype, np.asarray(value, kind))


def fold(n: Node) -> Node | None:
    """An elementwise node over constants, as a constant; None when it is not one."""
    values = []
    for s in n.src:
        value = constant(s)
        if value is None:
            return None
        values.append(value)
    if n.op in _NEVER or not values:
        return None
    src = [number(s.dtype, v) for s, v in zip(n.src, values)]
    found = src[0] if n.op == "cast" else _apply(n.op, src)
    if found is None:
        return None
    with np.errstate(all="ignore"):
        result = round_to(n.dtype, np.asarray(found))
    return N.const(n.dtype, result.item(), n.shape)


def _apply(op: str, src: list[np.ndarray]) -> np.ndarray | None:
    if op == "pow" and src[0].dtype.kind == "i" and src[1] < 0:
        return None
    function = OPS[op].numpy
    assert function is not None
    try:
        with np.errstate(all="ignore"):
            return np.asarray(function(*src))
    except TypeError:  # NumPy refuses, say, the negative of a bool
        return None
