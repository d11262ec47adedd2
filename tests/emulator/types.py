"""PTX types: their widths, how NumPy sees their bits, immediates, bfloat16, exact rounding."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from emulator.faults import PtxError
from emulator.parse import Immediate

Array = np.ndarray[Any, Any]

BITS = {"pred": 1, "b8": 8, "u8": 8, "s8": 8,
        "b16": 16, "u16": 16, "s16": 16, "f16": 16, "bf16": 16,
        "b32": 32, "u32": 32, "s32": 32, "f32": 32, "f16x2": 32, "bf16x2": 32, "tf32": 32,
        "b64": 64, "u64": 64, "s64": 64, "f64": 64}
NUMPY = {"pred": np.bool_, "b8": np.uint8, "u8": np.uint8, "s8": np.int8, "b16": np.uint16,
         "u16": np.uint16, "s16": np.int16, "f16": np.float16, "bf16": np.uint16, "b32": np.uint32,
         "u32": np.uint32, "s32": np.int32, "f32": np.float32, "f16x2": np.float16,
         "bf16x2": np.uint16, "tf32": np.uint32, "b64": np.uint64, "u64": np.uint64,
         "s64": np.int64, "f64": np.float64}
FLOATS = ("f16", "bf16", "f32", "f64", "f16x2", "bf16x2")
SIGNED = ("s8", "s16", "s32", "s64")
PLAIN = {8: "b8", 16: "b16", 32: "b32", 64: "b64"}  # bits alone
DIGITS = {"f16": (11, -24, 15), "bf16": (8, -133, 127), "f32": (24, -149, 127),
          "f64": (53, -1074, 1023)}  # precision, exponent of the least number, greatest exponent
ROUNDINGS = ("rn", "rz", "rm", "rp")


def is_type(word: str) -> bool:
    """Whether an opcode's part is a type."""
    return word in BITS


def view(base: Array, type_: str) -> Array:
    """A register's bits as an array of the type, which may be narrower than the register."""
    wanted = NUMPY[type_]
    if base.dtype == np.bool_ or wanted is np.bool_:
        if base.dtype != wanted:
            raise PtxError(f"ptx: expected a register of type {type_}, got another")
        return base
    seen: Array = base.view(wanted)
    ratio = len(seen) // len(base) if type_ not in ("f16x2", "bf16x2") and len(base) else 1
    return seen[::ratio] if ratio > 1 else seen


def constant(o: Immediate, type_: str) -> Array:
    """An immediate as a 0-d array of the type. Raises PtxError for a float in an integer's
    place."""
    kind = NUMPY[type_]
    bits = BITS[type_]
    if type_ == "pred":
        return np.asarray(bool(o.value))
    if o.bits:
        if o.bits != bits and not (type_ in FLOATS and bits in (32, 64)):
            raise PtxError(f"ptx: expected a constant of type {type_}, got one of {o.bits} bits")
        data = int(o.value).to_bytes(o.bits // 8, "little")
        exact = struct.unpack("<f" if o.bits == 32 else "<d", data)
        if o.bits != bits:
            return np.asarray(exact[0], kind)
        return np.asarray(o.value, f"u{bits // 8}").view(kind)
    if isinstance(o.value, float) or type_ in ("f32", "f64"):
        if type_ not in ("f32", "f64"):
            raise PtxError(f"ptx: expected a constant of type {type_}, got {o.value!r}")
        return np.asarray(float(o.value), kind)
    return np.asarray(o.value & ((1 << bits) - 1), f"u{bits // 8}").view(kind)


# -- bfloat16 ----------------------------------------------------------------------------------

def from_bf16(x: Array) -> Array:
    """float32 values of bfloat16 bits."""
    return (x.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bf16(x: Array) -> Array:
    """bfloat16 bits of float32 values, to nearest even."""
    bits = np.atleast_1d(np.asarray(x, np.float32)).view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))
               >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(0x7FFF), rounded)


def narrow(x: Array, type_: str) -> Array:
    """float64 or float32 values as the float type, to nearest even, rounded once.

    A float64 on its way to bfloat16 goes through a float32 rounded to odd, which keeps what the
    second rounding must know.
    """
    if type_ not in ("bf16", "bf16x2"):
        return x.astype(NUMPY[type_])
    return to_bf16(odd_float32(x) if x.dtype == np.float64 else x)


def odd_float32(x: Array) -> Array:
    """float64 values as float32, rounded to odd."""
    near = x.astype(np.float32)
    back = near.astype(np.float64)
    zero = np.where(np.abs(back) > np.abs(x), np.nextafter(near, np.float32(0)), near)
    inexact = (zero.astype(np.float64) != x) & np.isfinite(x)
    bits = zero.view(np.uint32) | inexact.astype(np.uint32)
    return bits.view(np.float32)


def widen(x: Array, type_: str) -> Array:
    """A register's float values as something NumPy computes with."""
    return from_bf16(x) if type_ in ("bf16", "bf16x2") else x


# -- exact rounding, one lane at a time, for what NumPy rounds otherwise ------------------------

def rounded(value: Fraction, type_: str, mode: str) -> float:
    """The float of the type next to an exact value: rn, rz, rm (down) or rp (up)."""
    if value == 0:
        return 0.0
    digits, least, greatest = DIGITS[type_]
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exponent > size:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - digits + 1, least)
    steps = size / unit
    whole = int(steps)
    rest = steps - whole
    negative = value < 0
    if mode == "rn":
        up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1)
    else:
        up = rest > 0 and ((mode == "rp" and not negative) or (mode == "rm" and negative))
    size = (whole + up) * unit
    limit = (Fraction(2) ** digits - 1) * Fraction(2) ** (greatest - digits + 1)
    if size > limit:
        outward = mode == "rn" or ((mode == "rp") != negative and mode != "rz")
        made = math.inf if outward else float(limit)
    else:
        made = float(size)
    return -made if negative else made


def exactly(f: Callable[..., Fraction], near: Array, args: list[Array], type_: str, mode: str
            ) -> Array:
    """f of the lanes' exact values, rounded by mode; `near` is kept where it is 0, inf or NaN
    for an exact reason."""
    args = [np.broadcast_to(a, near.shape) for a in args]
    out = near.astype(np.float64)
    for i in range(len(near)):
        lane = [float(a[i]) for a in args]
        if not all(math.isfinite(x) for x in lane):
            continue
        try:
            value = f(*(Fraction(x) for x in lane))
        except ZeroDivisionError:
            continue
        if value:
            out[i] = rounded(value, type_, mode)
    return out


def flush(x: Array) -> Array:
    """Subnormal float32 numbers as zeros of their sign (.ftz)."""
    return np.where(np.abs(x) < np.float32(2.0 ** -126), np.copysign(np.float32(0), x), x)
