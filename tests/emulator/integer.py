"""Integer arithmetic, bits and shifts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from emulator import native
from emulator.builder import Builder, Step, expect, operands, parts
from emulator.parse import Immediate, Instruction
from emulator.types import BITS, NUMPY, SIGNED, Array

INTEGERS = ("u16", "s16", "u32", "s32", "u64", "s64")


def elementwise(b: Builder, ins: Instruction, f: Callable[..., Any], out: str, *types: str
                ) -> Step:
    """d = f(operands); a ufunc of one type writes in place."""
    d, *sources = operands(ins, 1 + len(types))
    reads = [b.read(o, t) for o, t in zip(sources, types)]
    to = b.write(d, out)
    direct = isinstance(f, np.ufunc) and all(NUMPY[t] is NUMPY[out] for t in types)
    if direct and len(reads) == 2:
        x, y = reads
        return lambda v, m: f(v[x], v[y], out=v[to])
    if direct and len(reads) == 1:
        x = reads[0]
        return lambda v, m: f(v[x], v[to])

    def step(v: list[Array], m: object) -> None:
        v[to][...] = f(*(v[r] for r in reads))
    return step


# -- arithmetic --------------------------------------------------------------------------------

def divide(a: Array, b: Array) -> Array:
    """Quotient toward zero; all ones for a zero divisor, which PTX leaves open."""
    safe = np.where(b == 0, np.ones_like(b), b)
    exact = a - np.fmod(a, safe)
    return np.where(b == 0, ~np.zeros_like(b), exact // safe)


def remainder(a: Array, b: Array) -> Array:
    """What is left of `divide`, with the sign of a."""
    return np.where(b == 0, a, np.fmod(a, np.where(b == 0, np.ones_like(b), b)))


def high(a: Array, b: Array) -> Array:
    """The upper half of the product."""
    if a.dtype.itemsize == 8:
        return native.ufunc("high_u64" if a.dtype.kind == "u" else "high_s64")(a, b)
    wide = np.dtype(f"{a.dtype.kind}{2 * a.dtype.itemsize}")
    bits = 8 * a.dtype.itemsize
    return ((a.astype(wide) * b.astype(wide)) >> wide.type(bits)).astype(a.dtype)


def wider(type_: str) -> str:
    return f"{type_[0]}{2 * BITS[type_]}"


def wide(a: Array, b: Array) -> Array:
    made = np.dtype(f"{a.dtype.kind}{2 * a.dtype.itemsize}")
    return a.astype(made) * b.astype(made)


def low24(a: Array, b: Array) -> Array:
    return (_signed24(a).astype(np.int64) * _signed24(b).astype(np.int64)).astype(a.dtype)


def high24(a: Array, b: Array) -> Array:
    product = _signed24(a).astype(np.int64) * _signed24(b).astype(np.int64)
    return (product >> 16).astype(a.dtype)


def _signed24(a: Array) -> Array:
    kept = a & a.dtype.type(0xFFFFFF)
    return (kept ^ 0x800000) - 0x800000 if a.dtype.kind == "i" else kept


def saturated(f: Callable[..., Any]) -> Callable[..., Any]:
    """f of int32 values, clamped to int32 instead of wrapped."""
    def run(*args: Array) -> Array:
        exact = f(*(a.astype(np.int64) for a in args))
        return np.clip(exact, -2 ** 31, 2 ** 31 - 1).astype(np.int32)
    return run


def _sum(b: Builder, ins: Instruction, f: np.ufunc) -> Step:
    """add and sub of integers."""
    words = parts(ins)
    if "cc" in words or ins.opcode[0] in ("addc", "subc"):
        return _carried(b, ins)
    if words[0] == "sat":
        expect(words == ["sat", "s32"], ins)
        return elementwise(b, ins, saturated(f), "s32", "s32", "s32")
    if words in (["s16x2"], ["u16x2"]):
        expect(b.sm >= 90, ins)
        return _pairs(b, ins, f)
    expect(len(words) == 1 and words[0] in INTEGERS, ins)
    return elementwise(b, ins, f, words[0], words[0], words[0])


def _pairs(b: Builder, ins: Instruction, f: np.ufunc) -> Step:
    d, x, y = operands(ins, 3)
    kind = np.uint16 if ins.opcode[-1] == "u16x2" else np.int16
    slots = b.read(x, "f16x2"), b.read(y, "f16x2"), b.write(d, "f16x2")

    def step(v: list[Array], m: object) -> None:
        v[slots[2]].view(kind)[...] = f(v[slots[0]].view(kind), v[slots[1]].view(kind))
    return step


def add(b: Builder, ins: Instruction) -> Step:
    return _sum(b, ins, np.add)


def sub(b: Builder, ins: Instruction) -> Step:
    return _sum(b, ins, np.subtract)


def _carried(b: Builder, ins: Instruction) -> Step:
    """add.cc, addc, sub.cc, subc: with the carry (of a subtraction: the borrow) in and out."""
    name, type_ = ins.opcode[0], ins.opcode[-1]
    expect(type_ in ("u32", "s32", "u64", "s64", "b32", "b64"), ins)
    unsigned = f"u{BITS[type_]}"
    d, x, y = operands(ins, 3)
    first, second = b.read(x, unsigned), b.read(y, unsigned)
    carry = b.hidden("%cc", 1)
    flag = b.slot(carry, "pred")
    takes, gives = name.endswith("c"), "cc" in ins.opcode
    if takes:
        b.uses.add(carry)
    if gives:
        b.defs.add(carry)
    to = b.write(d, unsigned)
    minus = name.startswith("sub")

    def step(v: list[Array], m: object) -> None:
        a, c = v[first], v[second]
        one = v[flag].astype(NUMPY[unsigned]) if takes else NUMPY[unsigned](0)
        part = a - c if minus else a + c
        whole = part - one if minus else part + one
        out = (a < c) | (part < one) if minus else (part < a) | (whole < part)
        v[to][...] = whole
        if gives:
            v[flag][...] = out
    return step


def mul(b: Builder, ins: Instruction) -> Step:
    expect(len(parts(ins)) == 2 and ins.opcode[-1] in INTEGERS, ins)
    half, type_ = parts(ins)
    if half == "wide":
        expect(BITS[type_] < 64, ins)
        return elementwise(b, ins, wide, wider(type_), type_, type_)
    expect(half in ("lo", "hi"), ins)
    return elementwise(b, ins, np.multiply if half == "lo" else high, type_, type_, type_)


def mad(b: Builder, ins: Instruction) -> Step:
    words = parts(ins)
    expect(words[-1] in INTEGERS and len(words) in (2, 3), ins)
    half, type_ = words[0], words[-1]
    if half == "wide":
        expect(BITS[type_] < 64 and len(words) == 2, ins)
        out = wider(type_)
        return elementwise(b, ins, lambda x, y, z: wide(x, y) + z, out, type_, type_, out)
    expect(half in ("lo", "hi"), ins)
    product = np.multiply if half == "lo" else high
    if len(words) == 3:
        expect(words == ["hi", "sat", "s32"], ins)
        return elementwise(b, ins, lambda x, y, z: saturated(np.add)(high(x, y), z), "s32", "s32",
                           "s32", "s32")
    return elementwise(b, ins, lambda x, y, z: product(x, y) + z, type_, type_, type_, type_)


def mul24(b: Builder, ins: Instruction) -> Step:
    half, type_ = parts(ins)
    expect(half in ("lo", "hi") and type_ in ("u32", "s32"), ins)
    product = low24 if half == "lo" else high24
    if ins.opcode[0] == "mad24":
        return elementwise(b, ins, lambda x, y, z: product(x, y) + z, type_, type_, type_, type_)
    return elementwise(b, ins, product, type_, type_, type_)


def div(b: Builder, ins: Instruction) -> Step:
    type_ = ins.opcode[-1]
    expect(parts(ins) == [type_] and type_ in INTEGERS, ins)
    f = divide if ins.opcode[0] == "div" else remainder
    return elementwise(b, ins, f, type_, type_, type_)


def neg(b: Builder, ins: Instruction) -> Step:
    type_ = ins.opcode[-1]
    expect(parts(ins) == [type_] and type_ in SIGNED, ins)
    f = np.negative if ins.opcode[0] == "neg" else np.absolute
    return elementwise(b, ins, f, type_, type_)


def least(b: Builder, ins: Instruction) -> Step:
    words = parts(ins, ("relu",))
    type_ = words[-1]
    expect(len(words) == 1 and type_ in INTEGERS, ins)
    f = np.minimum if ins.opcode[0] == "min" else np.maximum
    if "relu" in ins.opcode:
        expect(type_ == "s32" and b.sm >= 90, ins)
        return elementwise(b, ins, lambda x, y: np.maximum(f(x, y), 0), type_, type_, type_)
    return elementwise(b, ins, f, type_, type_, type_)


def sad(b: Builder, ins: Instruction) -> Step:
    type_ = ins.opcode[-1]
    expect(parts(ins) == [type_] and type_ in INTEGERS, ins)
    return elementwise(b, ins, lambda x, y, z: z + np.where(x < y, y - x, x - y), type_, type_,
                       type_, type_)


def dp4a(b: Builder, ins: Instruction) -> Step:
    one, two = parts(ins)
    expect({one, two} <= {"u32", "s32"}, ins)
    d, x, y, z = operands(ins, 4)
    out = "s32" if "s32" in (one, two) else "u32"
    first, second = b.read(x, one), b.read(y, two)
    third, to = b.read(z, out), b.write(d, out)

    def step(v: list[Array], m: object) -> None:
        total = v[third].astype(np.int64)
        for i in range(4):
            total = total + _byte(v[first], i) * _byte(v[second], i)
        v[to][...] = total.astype(NUMPY[out])
    return step


def _byte(a: Array, i: int) -> Array:
    kind = np.uint8 if a.dtype.kind == "u" else np.int8
    return (a >> a.dtype.type(8 * i)).astype(kind).astype(np.int64)


# -- bits --------------------------------------------------------------------------------------

def logic(b: Builder, ins: Instruction) -> Step:
    type_ = ins.opcode[-1]
    expect(parts(ins) == [type_] and type_ in ("pred", "b16", "b32", "b64"), ins)
    f = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[ins.opcode[0]]
    return elementwise(b, ins, f, type_, type_, type_)


def invert(b: Builder, ins: Instruction) -> Step:
    type_ = ins.opcode[-1]
    expect(parts(ins) == [type_] and type_ in ("pred", "b16", "b32", "b64"), ins)
    return elementwise(b, ins, np.invert, type_, type_)


def logical_not(b: Builder, ins: Instruction) -> Step:
    type_ = ins.opcode[-1]
    expect(parts(ins) == [type_] and type_ in ("b16", "b32", "b64"), ins)
    return elementwise(b, ins, lambda x: x == 0, type_, type_)


def shift(b: Builder, ins: Instruction) -> Step:
    """shl, shr: amounts past the width shift everything out."""
    name, type_ = ins.opcode[0], ins.opcode[-1]
    allowed = ("b16", "b32", "b64") if name == "shl" else (*INTEGERS, "b16", "b32", "b64")
    expect(parts(ins) == [type_] and type_ in allowed, ins)
    f = np.left_shift if name == "shl" else np.right_shift
    kind, bits = NUMPY[type_], np.uint32(BITS[type_])
    d, x, amount = operands(ins, 3)
    if isinstance(amount, Immediate):
        first = b.read(x, type_)
        by = b.constant(np.asarray(min(int(amount.value) & 0xFFFFFFFF, BITS[type_]), kind))
        to = b.write(d, type_)
        return lambda v, m: f(v[first], v[by], v[to])
    return elementwise(b, ins, lambda a, s: f(a, np.minimum(s, bits).astype(kind)), type_, type_,
                       "u32")


def funnel(b: Builder, ins: Instruction) -> Step:
    side, kind, type_ = parts(ins)
    expect(side in "lr" and kind in ("clamp", "wrap") and type_ == "b32", ins)

    def f(a: Array, c: Array, s: Array) -> Array:
        n = (s & np.uint32(31) if kind == "wrap" else np.minimum(s, np.uint32(32))
             ).astype(np.uint64)
        both = (c.astype(np.uint64) << np.uint64(32)) | a
        return (both << n >> np.uint64(32) if side == "l" else both >> n).astype(np.uint32)
    return elementwise(b, ins, f, "b32", "b32", "b32", "u32")


def low_bits(count: Array, kind: type) -> Array:
    """A mask of `count` low bits, all of them from the width on."""
    return (np.left_shift(kind(1), count.astype(kind)) - kind(1)).astype(kind)


def bfe(b: Builder, ins: Instruction) -> Step:
    type_ = ins.opcode[-1]
    expect(parts(ins) == [type_] and type_ in ("u32", "s32", "u64", "s64"), ins)
    bits = BITS[type_]
    kind = NUMPY[f"u{bits}"]

    def f(a: Array, position: Array, length: Array) -> Array:
        at, count = position & np.uint32(0xFF), length & np.uint32(0xFF)
        plain: Array = a.view(kind) if a.ndim else a.astype(kind)
        mask = low_bits(count, kind)
        made = np.right_shift(plain, at.astype(kind)) & mask
        if type_[0] == "s":
            end: Array = np.minimum(at + count - np.uint32(1), np.uint32(bits - 1)).astype(kind)
            sign = np.where(count == 0, False, (plain >> end) & kind(1) != 0)
            kept = low_bits(np.minimum(count, np.maximum(np.uint32(bits), at) - at), kind)
            made = np.where(sign, made | ~kept, made)
        return made.astype(kind).view(NUMPY[type_])
    return elementwise(b, ins, f, type_, type_, "u32", "u32")


def bfi(b: Builder, ins: Instruction) -> Step:
    type_ = ins.opcode[-1]
    expect(parts(ins) == [type_] and type_ in ("b32", "b64"), ins)
    kind = NUMPY[type_]

    def f(a: Array, c: Array, position: Array, length: Array) -> Array:
        at: Array = (position & np.uint32(0xFF)).astype(kind)
        count = length & np.uint32(0xFF)
        mask = np.left_shift(low_bits(count, kind), at)
        return (c & ~mask) | (np.left_shift(a, at) & mask)
    return elementwise(b, ins, f, type_, type_, type_, "u32", "u32")


def leading_zeros(a: Array) -> Array:
    """Zeros above the highest one, of uint32 or uint64."""
    if a.dtype == np.uint32:
        return np.uint32(32) - np.frexp(a.astype(np.float64))[1].astype(np.uint32)
    upper = (a >> np.uint64(32)).astype(np.uint32)
    return np.where(upper != 0, leading_zeros(upper),
                    np.uint32(32) + leading_zeros(a.astype(np.uint32)))


def reverse(a: Array) -> Array:
    """The bits in the opposite order."""
    kind = a.dtype.type
    bits = 8 * a.dtype.itemsize
    out = np.zeros_like(a)
    for i in range(bits):
        out = out | (((a >> kind(i)) & kind(1)) << kind(bits - 1 - i))
    return out


def count_bits(b: Builder, ins: Instruction) -> Step:
    """popc, clz, brev."""
    name, type_ = ins.opcode[0], ins.opcode[-1]
    expect(parts(ins) == [type_] and type_ in ("b32", "b64"), ins)
    if name == "brev":
        return elementwise(b, ins, reverse, type_, type_)
    return elementwise(b, ins, np.bitwise_count if name == "popc" else leading_zeros, "u32", type_)


def bfind(b: Builder, ins: Instruction) -> Step:
    words = parts(ins, ("shiftamt",))
    type_ = words[-1]
    expect(len(words) == 1 and type_ in ("u32", "s32", "u64", "s64"), ins)
    shifted = "shiftamt" in ins.opcode
    bits = BITS[type_]

    def f(a: Array) -> Array:
        plain: Array = np.where(a < 0, ~a, a).astype(NUMPY[f"u{bits}"])
        zeros = leading_zeros(plain)
        found = zeros if shifted else np.uint32(bits - 1) - zeros
        return np.where(plain == 0, np.uint32(0xFFFFFFFF), found)
    return elementwise(b, ins, f, "u32", type_)


def prmt(b: Builder, ins: Instruction) -> Step:
    expect(parts(ins) == ["b32"], ins)

    def f(a: Array, c: Array, selector: Array) -> Array:
        both = (c.astype(np.uint64) << np.uint64(32)) | a
        out = np.zeros(np.broadcast_shapes(both.shape, selector.shape), np.uint32)
        for i in range(4):
            nibble = (selector >> np.uint32(4 * i)) & np.uint32(15)
            byte = (both >> ((nibble & np.uint32(7)) * np.uint32(8)).astype(np.uint64)
                    ).astype(np.uint8)
            sign = np.where(byte & np.uint8(0x80), np.uint8(0xFF), np.uint8(0))
            byte = np.where(nibble & np.uint32(8), sign, byte)
            out = out | (byte.astype(np.uint32) << np.uint32(8 * i))
        return out
    return elementwise(b, ins, f, "b32", "b32", "b32", "u32")


def lop3(b: Builder, ins: Instruction) -> Step:
    expect(parts(ins) == ["b32"], ins)
    d, x, y, z, table = operands(ins, 5)
    expect(isinstance(table, Immediate) and 0 <= table.value <= 255, ins)
    rows = [i for i in range(8) if int(table.value) >> i & 1]  # type: ignore[union-attr]
    slots = b.read(x, "b32"), b.read(y, "b32"), b.read(z, "b32"), b.write(d, "b32")

    def step(v: list[Array], m: object) -> None:
        a, c, e = (v[s] for s in slots[:3])
        out: Any = np.uint32(0)
        for i in rows:
            out = out | ((a if i & 4 else ~a) & (c if i & 2 else ~c) & (e if i & 1 else ~e))
        v[slots[3]][...] = out
    return step


OPS = {"addc": add, "subc": sub, "mul24": mul24, "mad24": mul24, "rem": div, "sad": sad,
       "dp4a": dp4a, "and": logic, "or": logic, "xor": logic, "not": invert, "cnot": logical_not,
       "shl": shift, "shr": shift, "shf": funnel, "bfe": bfe, "bfi": bfi, "popc": count_bits,
       "clz": count_bits, "brev": count_bits, "bfind": bfind, "prmt": prmt, "lop3": lop3}
BY_TYPE = {"add": add, "sub": sub, "mul": mul, "mad": mad, "div": div, "neg": neg, "abs": neg,
           "min": least, "max": least}  # when the type is an integer's
