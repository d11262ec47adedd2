"""cvt, cvta and mov: conversions between types, spaces and register shapes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from emulator.builder import Builder, Step, expect, operands, parts
from emulator.floating import SINGLE
from emulator.integer import elementwise
from emulator.memory import WINDOWS
from emulator.parse import Group, Instruction, Register
from emulator.types import (
    BITS,
    FLOATS,
    NUMPY,
    ROUNDINGS,
    SIGNED,
    Array,
    exactly,
    flush,
    narrow,
    rounded,
    widen,
)

WHOLE = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
INTEGERS = ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64")


def cvt(b: Builder, ins: Instruction) -> Step:
    """Conversions in all rounding modes, with .ftz, .sat and .relu."""
    words = parts(ins)
    expect(len(words) >= 2, ins)
    to, source = words[-2:]
    modes = words[:-2]
    expect(all(w in (*ROUNDINGS, *WHOLE, "ftz", "sat", "relu", "rna", "satfinite") for w in modes),
           ins)
    if to == "tf32":
        return _tf32(b, ins, modes)
    if to in SINGLE:
        return _packed(b, ins, modes, to, source)
    known = (*FLOATS[:4], *INTEGERS)
    expect(to in known and source in known, ins)
    _modes_fit(ins, modes, to, source)
    d, x = operands(ins, 2)
    read = b.read(x, source, exact=False)
    write = _destination(b, d, to)

    def step(v: list[Array], m: object) -> None:
        v[write][...] = convert(v[read], modes, to, source)
    return step


def _modes_fit(ins: Instruction, modes: list[str], to: str, source: str) -> None:
    """A rounding where one is needed, none where none may be."""
    rounding = [w for w in modes if w in (*ROUNDINGS, *WHOLE)]
    to_float, from_float = to in FLOATS, source in FLOATS
    if to_float and from_float:
        narrowing = BITS[to] < BITS[source] or (BITS[to] == BITS[source] and to != source)
        expect(len(rounding) == 1 if narrowing else all(w in WHOLE for w in rounding), ins)
        expect(not narrowing or rounding[0] in ROUNDINGS, ins)
    elif to_float:
        expect(len(rounding) == 1 and rounding[0] in ROUNDINGS, ins)
    elif from_float:
        expect(len(rounding) == 1 and rounding[0] in WHOLE, ins)
    else:
        big, small = np.iinfo(NUMPY[to]), np.iinfo(NUMPY[source])
        needless = big.min <= small.min and small.max <= big.max
        expect(not rounding and not (needless and "sat" in modes), ins)


def _destination(b: Builder, d: object, to: str) -> int:
    """The slot of a destination that may be wider than the type: the value is extended."""
    expected = BITS[to]
    if isinstance(d, Register) and d.name != "_":
        bits = b.bits[b.register(d.name)]
        if bits > expected and bits > 1:
            return b.write(d, f"{'s' if to in SIGNED else 'u'}{bits}")
    return b.write(d, to)  # type: ignore[arg-type]


def convert(x: Array, modes: list[str], to: str, source: str) -> Array:
    """The values of x, of type source, as type `to`."""
    if source in FLOATS:
        values = flush(x) if "ftz" in modes and source == "f32" else widen(x, source)
        whole = next((WHOLE[w] for w in modes if w in WHOLE), None)
        if whole is not None:
            values = whole(values)
        if to not in FLOATS:
            return _to_integer(values, to, source)
        return _to_float(values, modes, to)
    if to in FLOATS:
        return _from_integer(x, modes, to)
    if "sat" in modes:
        limits = np.iinfo(NUMPY[to])
        low = max(limits.min, np.iinfo(x.dtype).min)
        x = np.clip(x, low, min(limits.max, np.iinfo(x.dtype).max))
    return x.astype(NUMPY[to])


def _to_integer(values: Array, to: str, source: str) -> Array:
    """Clamped; a NaN is 0, or the lowest bit pattern with the top bit set where 64 bits meet."""
    limits = np.iinfo(NUMPY[to])
    exact = values.astype(np.float64)
    inside = (exact >= limits.min) & (exact < float(limits.max) + (BITS[to] < 64))
    made: Array = np.where(inside, exact, 0).astype(NUMPY[to])
    made = np.where(exact < limits.min, NUMPY[to](limits.min), made)
    over = exact >= float(limits.max) if BITS[to] == 64 else exact > limits.max
    made = np.where(over, NUMPY[to](limits.max), made)
    odd = source == "f64" or BITS[to] == 64
    nan: Array = np.array(1 << (BITS[to] - 1) if odd else 0, f"u{BITS[to] // 8}").astype(NUMPY[to])
    return np.where(np.isnan(exact), nan, made)


def _to_float(values: Array, modes: list[str], to: str) -> Array:
    mode = next((w for w in modes if w in ROUNDINGS), "rn")
    made = values
    if mode != "rn":
        with np.errstate(over="ignore"):
            near = narrow(values, to)
        made = exactly(lambda x: x, np.atleast_1d(widen(near, to)), [np.atleast_1d(values)], to,
                       mode)
    if "sat" in modes:
        made = np.where(np.isnan(made), 0, np.clip(made, 0, 1)).astype(made.dtype)
    if "relu" in modes:
        made = np.where(np.isnan(made), made, np.maximum(made, 0)).astype(made.dtype)
    out = narrow(made, to)
    return flush(out) if "ftz" in modes and to == "f32" else out


def _from_integer(x: Array, modes: list[str], to: str) -> Array:
    mode = next(w for w in modes if w in ROUNDINGS)
    if mode != "rn":
        near = np.atleast_1d(widen(_from_integer(x, ["rn"], to), to))
        exact = [np.array([int(a) for a in np.atleast_1d(x)], object)]
        return narrow(_exact_integers(near, exact[0], to, mode), to)
    if x.dtype.itemsize == 8 and to in ("f32", "f64"):
        made: Array = x.astype(NUMPY[to])
    elif x.dtype.itemsize == 8:
        large = (x > 2 ** 53) | (x < -2 ** 53 if x.dtype.kind == "i" else False)
        sticky = np.where(x & x.dtype.type(0x7FF), x.dtype.type(0x800), x.dtype.type(0))
        odd = (x & ~x.dtype.type(0x7FF)) | sticky
        made = narrow(np.where(large, odd, x).astype(np.float64), to)
    else:
        made = narrow(x.astype(np.float64), to)
    if "sat" in modes:
        made = narrow(np.clip(widen(made, to), 0, 1), to)
    return made


def _exact_integers(near: Array, x: Array, to: str, mode: str) -> Array:
    made = [rounded(Fraction(int(a)), to, mode) for a in x]
    return np.array(made, np.float64).reshape(near.shape)


def _packed(b: Builder, ins: Instruction, modes: list[str], to: str, source: str) -> Step:
    """cvt.rn.f16x2.f32 d, a, b: a in the upper half."""
    expect(source == "f32" and b.sm >= 80 and any(w in ("rn", "rz") for w in modes), ins)
    d, upper, lower = operands(ins, 3)
    high, low = b.read(upper, "f32"), b.read(lower, "f32")
    write = b.write(d, "b32")
    single = SINGLE[to]

    def step(v: list[Array], m: object) -> None:
        halves = [convert(np.atleast_1d(v[s]), modes, single, "f32").view(np.uint16)
                  for s in (low, high)]
        v[write][...] = halves[0] | halves[1].astype(np.uint32) << np.uint32(16)
    return step


def _tf32(b: Builder, ins: Instruction, modes: list[str]) -> Step:
    """float32 with 10 bits of fraction: rna rounds ties away from zero, rn to even."""
    expect(ins.opcode[-1] == "f32" and b.sm >= 80 and modes in (["rna"], ["rn"], ["rz"]), ins)

    def f(x: Array) -> Array:
        bits = np.atleast_1d(x).view(np.uint32)
        half = np.uint32({"rna": 0x1000, "rn": 0xFFF, "rz": 0}[modes[0]])
        tie = (bits >> np.uint32(13)) & np.uint32(1) if modes[0] == "rn" else np.uint32(0)
        made = (bits + half + tie) & np.uint32(0xFFFFE000)
        return np.where(np.isfinite(x), made, bits)
    return elementwise(b, ins, f, "b32", "f32")


# -- moves -------------------------------------------------------------------------------------

def mov(b: Builder, ins: Instruction) -> Step:
    type_ = ins.opcode[-1]
    expect(parts(ins) == [type_] and type_ in NUMPY and BITS[type_] != 8
           and type_ not in ("f16", "bf16", "f16x2", "bf16x2", "tf32"), ins)
    d, x = operands(ins, 2)
    if isinstance(d, Group):
        return _unpack(b, ins, d, x, type_)
    if isinstance(x, Group):
        return _pack(b, ins, d, x, type_)
    read, write = b.read(x, type_), b.write(d, type_)

    def step(v: list[Array], m: object) -> None:
        np.copyto(v[write], v[read])
    return step


def _unpack(b: Builder, ins: Instruction, d: Group, x: object, type_: str) -> Step:
    bits = BITS[type_] // len(d.items)
    expect(bits in (8, 16, 32), ins)
    read = b.read(x, type_)  # type: ignore[arg-type]
    writes = [b.write(o, f"u{bits}") for o in d.items]
    kind = NUMPY[f"u{BITS[type_] // 8 * 8}"]

    def step(v: list[Array], m: object) -> None:
        whole: Array = np.array(v[read]).view(kind)
        for i, w in enumerate(writes):
            v[w][...] = (whole >> kind(bits * i)).astype(f"u{bits // 8}")
    return step


def _pack(b: Builder, ins: Instruction, d: object, x: Group, type_: str) -> Step:
    bits = BITS[type_] // len(x.items)
    expect(bits in (8, 16, 32), ins)
    reads = [b.read(o, f"u{bits}") for o in x.items]
    write = b.write(d, f"u{BITS[type_]}")  # type: ignore[arg-type]
    kind = NUMPY[f"u{BITS[type_]}"]

    def step(v: list[Array], m: object) -> None:
        whole = kind(0)
        for i, r in enumerate(reads):
            whole = whole | (v[r].astype(kind) << kind(bits * i))
        v[write][...] = whole
    return step


def cvta(b: Builder, ins: Instruction) -> Step:
    """Between generic addresses and those of one space."""
    words = parts(ins)
    back = words[0] == "to"
    space = words[1 if back else 0]
    expect(space in WINDOWS and words[-1] == "u64" and len(words) == 2 + back, ins)
    distance = np.asarray(WINDOWS[space], np.uint64)
    return elementwise(b, ins, (lambda x: x - distance) if back else (lambda x: x + distance),
                       "u64", "u64")


def isspacep(b: Builder, ins: Instruction) -> Step:
    space = ins.opcode[-1]
    expect(len(ins.opcode) == 2 and space in WINDOWS, ins)
    high = WINDOWS[space] >> 48
    return elementwise(b, ins, lambda x: (x >> np.uint64(48)) == high, "pred", "u64")


OPS = {"cvt": cvt, "mov": mov, "cvta": cvta, "isspacep": isspacep}
