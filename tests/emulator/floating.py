"""Floating-point arithmetic, the approximate functions, comparisons and selection.

The `.approx` functions are computed in float64 and rounded once: more exact than the hardware,
within every bound that the PTX manual states.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from emulator import native
from emulator.builder import Builder, Step, expect, operands, parts
from emulator.faults import PtxError
from emulator.integer import elementwise
from emulator.parse import Group, Instruction, Negated
from emulator.types import (
    BITS,
    FLOATS,
    NUMPY,
    ROUNDINGS,
    Array,
    exactly,
    flush,
    from_bf16,
    narrow,
    widen,
)

SINGLE = {"f16x2": "f16", "bf16x2": "bf16"}
F = Callable[..., Any]


def _float_step(b: Builder, ins: Instruction, f: F, type_: str, exact: F | None = None,
                addends: F | None = None) -> Step:
    """d = f(operands) with the opcode's rounding, .ftz, .sat and .relu. f takes and gives floats:
    float32 for bfloat16, float64 where it is told so by giving that."""
    words = ins.opcode[1:-1]
    mode = next((w for w in words if w in ROUNDINGS), "rn")
    ftz, sat, relu = ("ftz" in words and type_ == "f32"), "sat" in words, "relu" in words
    single = SINGLE.get(type_, type_)
    if mode == "rn" and isinstance(f, np.ufunc) and single != "bf16" and not (ftz or sat or relu):
        return _direct(b, ins, f, type_)
    count = len(ins.operands) - 1

    def g(*args: Array) -> Array:
        values = [flush(a) if ftz else widen(a, type_) for a in args]
        out = f(*values)
        if mode != "rn":
            shape = np.broadcast_shapes(*(a.shape for a in values))
            assert exact is not None
            out = exactly(exact, np.broadcast_to(out, shape), values, single, mode)
            if mode == "rm" and addends is not None:  # then x - x is -0
                one, other = addends(*values)
                both = (one == 0) & (other == 0) & ~np.signbit(one) & ~np.signbit(other)
                out = np.where((out == 0) & (one == -other) & ~both, -0.0, out)
        if sat:
            out = np.where(np.isnan(out), 0, np.clip(out, 0, 1))
        if relu:
            out = np.where(np.isnan(out), out, np.maximum(out, 0))
        made = narrow(out, type_)
        return flush(made) if ftz else made
    return elementwise(b, ins, g, type_, *[type_] * count)


def _direct(b: Builder, ins: Instruction, f: np.ufunc, type_: str) -> Step:
    d, *sources = operands(ins, f.nin + 1)
    reads = [b.read(o, type_) for o in sources]
    to = b.write(d, type_)
    if len(reads) == 3:
        x, y, z = reads
        return lambda v, m: f(v[x], v[y], v[z], v[to])
    if len(reads) == 2:
        x, y = reads
        return lambda v, m: f(v[x], v[y], v[to])
    x = reads[0]
    return lambda v, m: f(v[x], v[to])


def _checked(ins: Instruction, allowed: tuple[str, ...], types: tuple[str, ...] = FLOATS) -> str:
    """The type, when every other part is allowed."""
    type_ = ins.opcode[-1]
    words = ins.opcode[1:-1]
    expect(type_ in types and all(w in allowed for w in words), ins)
    expect("ftz" not in words or type_ not in ("f64", "bf16", "bf16x2"), ins)
    if type_ not in ("f32", "f64"):
        expect(not any(w in ("rz", "rm", "rp") for w in words), ins)
    return type_


def _binary(f: np.ufunc, exact: F, addends: F | None = None
            ) -> Callable[[Builder, Instruction], Step]:
    def build(b: Builder, ins: Instruction) -> Step:
        return _float_step(b, ins, f, _checked(ins, (*ROUNDINGS, "ftz", "sat")), exact, addends)
    return build


def odd_sum(p: Array, c: Array) -> Array:
    """p + c of float64 values, rounded to odd."""
    s = p + c
    back = s - p
    error = (p - (s - back)) + (c - back)
    s = np.atleast_1d(s)
    bits = s.view(np.int64)
    inexact = (error != 0) & np.isfinite(s) & (bits & 1 == 0)
    step = np.where((error > 0) == (s > 0), 1, -1)
    return np.where(inexact, bits + step, bits).view(np.float64)


def fma(b: Builder, ins: Instruction) -> Step:
    type_ = _checked(ins, (*ROUNDINGS, "ftz", "sat", "relu"))
    expect(any(w in ROUNDINGS for w in ins.opcode), ins)
    expect("relu" not in ins.opcode or SINGLE.get(type_, type_) in ("f16", "bf16"), ins)
    if type_ in ("f32", "f64"):
        f: F = native.ufunc("fma32" if type_ == "f32" else "fma64")
    else:
        def f(x: Array, y: Array, z: Array) -> Array:
            product = x.astype(np.float64) * y.astype(np.float64)
            return odd_sum(product, z.astype(np.float64))
    return _float_step(b, ins, f, type_, lambda x, y, z: x * y + z, lambda x, y, z: (x * y, z))


def mad(b: Builder, ins: Instruction) -> Step:
    _checked(ins, (*ROUNDINGS, "ftz", "sat"), ("f32", "f64"))
    return fma(b, ins)


def div(b: Builder, ins: Instruction) -> Step:
    type_ = _checked(ins, (*ROUNDINGS, "ftz", "approx", "full"), ("f32", "f64"))
    kind = [w for w in ins.opcode[1:-1] if w != "ftz"]
    expect(len(kind) == 1 and (kind[0] in ROUNDINGS or type_ == "f32"), ins)
    return _float_step(b, ins, np.divide, type_, lambda x, y: x / y)


def rcp(b: Builder, ins: Instruction) -> Step:
    type_ = _checked(ins, (*ROUNDINGS, "ftz", "approx"), ("f32", "f64"))
    return _float_step(b, ins, lambda x: x.dtype.type(1) / x, type_, lambda x: 1 / x)


def sqrt(b: Builder, ins: Instruction) -> Step:
    type_ = _checked(ins, ("rn", "ftz", "approx"), ("f32", "f64"))
    expect("rn" in ins.opcode or ("approx" in ins.opcode and type_ == "f32"), ins)
    return _float_step(b, ins, np.sqrt, type_)


def _through64(f: F) -> F:
    return lambda x: f(x.astype(np.float64))


def _approx(f: F, types: tuple[str, ...]) -> Callable[[Builder, Instruction], Step]:
    def build(b: Builder, ins: Instruction) -> Step:
        type_ = ins.opcode[-1]
        narrow_ = type_ in ("bf16", "bf16x2") and ins.opcode[0] == "ex2"  # always flushed
        if narrow_:
            expect(ins.opcode[1:-1] == ("approx", "ftz"), ins)
        else:
            _checked(ins, ("approx", "ftz"), types)
        expect("approx" in ins.opcode and type_ in types, ins)
        return _float_step(b, ins, _through64(f), type_)
    return build


def _tanh(b: Builder, ins: Instruction) -> Step:
    expect(b.sm >= 75, ins)
    return _approx(np.tanh, ("f32", "f16", "f16x2", "bf16", "bf16x2"))(b, ins)


def neg(b: Builder, ins: Instruction) -> Step:
    """neg and abs: the sign bit alone."""
    type_ = _checked(ins, ("ftz",))
    bits = BITS[type_]
    plain = f"b{bits}"
    signs = {16: 0x8000, 32: 0x80000000, 64: 1 << 63}[bits]
    if type_ in SINGLE:
        signs = 0x80008000
    sign = NUMPY[plain](signs)
    flip = ins.opcode[0] == "neg"

    def f(x: Array) -> Array:
        if "ftz" in ins.opcode and type_ == "f32":
            x = flush(np.atleast_1d(x).view(np.float32)).view(np.uint32)
        return x ^ sign if flip else x & ~sign
    return elementwise(b, ins, f, plain, plain)


def least(b: Builder, ins: Instruction) -> Step:
    """min and max: a NaN loses, or wins with .NaN; -0 is less than +0."""
    type_ = _checked(ins, ("ftz", "NaN", "xorsign", "abs"))
    expect("NaN" not in ins.opcode or type_ != "f64", ins)
    smaller, wins = ins.opcode[0] == "min", "NaN" in ins.opcode
    crossed = "abs" in ins.opcode
    plain = np.minimum if smaller else np.maximum
    quiet = np.fmin if smaller else np.fmax

    def f(x: Array, y: Array) -> Array:
        sign = np.signbit(x) ^ np.signbit(y)
        if crossed:
            x, y = np.abs(x), np.abs(y)
        out = (plain if wins else quiet)(x, y)
        zeros = (x == 0) & (y == 0)
        negative = np.signbit(x) | np.signbit(y) if smaller else np.signbit(x) & np.signbit(y)
        out = np.where(zeros, np.where(negative, -0.0, 0.0), out).astype(x.dtype)
        return np.where(sign, -np.abs(out), np.abs(out)) if crossed else out
    return _float_step(b, ins, f, type_)


def copysign(b: Builder, ins: Instruction) -> Step:
    type_ = _checked(ins, (), ("f32", "f64"))
    return elementwise(b, ins, lambda x, y: np.copysign(y, x), type_, type_, type_)


def testp(b: Builder, ins: Instruction) -> Step:
    kind, type_ = parts(ins)
    expect(type_ in ("f32", "f64"), ins)
    tiny = np.finfo(NUMPY[type_]).tiny
    tests: dict[str, F] = {"finite": np.isfinite, "infinite": np.isinf, "notanumber": np.isnan,
             "number": lambda x: ~np.isnan(x),
             "normal": lambda x: np.isfinite(x) & (np.abs(x) >= tiny),
             "subnormal": lambda x: (x != 0) & (np.abs(x) < tiny)}
    expect(kind in tests, ins)
    return elementwise(b, ins, tests[kind], "pred", type_)


OPS = {"fma": fma, "rcp": rcp, "sqrt": sqrt, "copysign": copysign, "testp": testp, "tanh": _tanh,
       "rsqrt": _approx(lambda x: 1 / np.sqrt(x), ("f32", "f64")),
       "ex2": _approx(np.exp2, ("f32", "f16", "f16x2", "bf16", "bf16x2")),
       "lg2": _approx(np.log2, ("f32",)), "sin": _approx(np.sin, ("f32",)),
       "cos": _approx(np.cos, ("f32",))}
BY_TYPE = {"add": _binary(np.add, Fraction.__add__, lambda x, y: (x, y)),
           "sub": _binary(np.subtract, Fraction.__sub__, lambda x, y: (x, -y)),
           "mul": _binary(np.multiply, Fraction.__mul__), "mad": mad, "div": div, "neg": neg,
           "abs": neg, "min": least, "max": least}  # when the type is a float's


# -- comparison and selection ------------------------------------------------------------------

def _either_nan(x: Array, y: Array) -> Array:
    return np.isnan(x) | np.isnan(y)


COMPARE: dict[str, F] = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
                         "gt": np.greater, "ge": np.greater_equal}
UNSIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
FLOAT_COMPARE: dict[str, F] = {
    **COMPARE, "ne": lambda x, y: (x != y) & ~_either_nan(x, y),
    "equ": lambda x, y: (x == y) | _either_nan(x, y), "neu": np.not_equal,
    "ltu": lambda x, y: ~(x >= y), "leu": lambda x, y: ~(x > y), "gtu": lambda x, y: ~(x <= y),
    "geu": lambda x, y: ~(x < y), "num": lambda x, y: ~_either_nan(x, y), "nan": _either_nan}


def comparison(ins: Instruction, name: str, type_: str, ftz: bool) -> F:
    """The function for a comparison's name at a type. Raises PtxError where there is none."""
    if type_ in FLOATS:
        expect(name in FLOAT_COMPARE, ins)
        f = FLOAT_COMPARE[name]
        if type_ == "bf16":
            return lambda x, y: f(from_bf16(x), from_bf16(y))
        return (lambda x, y: f(flush(x), flush(y))) if ftz and type_ == "f32" else f
    if type_[0] == "b":
        expect(name in ("eq", "ne"), ins)
    if name in UNSIGNED:
        expect(type_[0] == "u", ins)
        name = UNSIGNED[name]
    expect(name in COMPARE and type_ in NUMPY and BITS[type_] >= 16, ins)
    return COMPARE[name]


_JOIN = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def setp(b: Builder, ins: Instruction) -> Step:
    words = parts(ins, ("ftz",))
    type_ = words[-1]
    join = words[1] if len(words) == 3 else ""
    expect(len(words) in (2, 3) and (not join or join in _JOIN) and type_ in NUMPY, ins)
    f = comparison(ins, words[0], type_, "ftz" in ins.opcode)
    d, x, y, *more = operands(ins, 4 if join else 3)
    first, second = b.read(x, type_), b.read(y, type_)
    third = _predicate(b, more[0]) if join else None
    if not isinstance(d, Group):
        to = b.write(d, "pred")
        if isinstance(f, np.ufunc) and not join:
            return lambda v, m: f(v[first], v[second], v[to])
        pair: tuple[int, ...] = (to,)
    else:
        pair = tuple(b.write(o, "pred") for o in b.items(d, 2))

    def step(v: list[Array], m: object) -> None:
        held = f(v[first], v[second])
        outcomes = [held, ~held][:len(pair)]
        if third is not None:
            c = v[third[0]] ^ third[1]
            outcomes = [_JOIN[join](o, c) for o in outcomes]
        for to, o in zip(pair, outcomes):
            v[to][...] = o
    return step


def _predicate(b: Builder, o: object) -> tuple[int, bool]:
    """The slot of p or !p, and whether it is negated."""
    if isinstance(o, Negated):
        return b.read(o.register, "pred"), True
    return b.read(o, "pred"), False  # type: ignore[arg-type]


def set_(b: Builder, ins: Instruction) -> Step:
    words = parts(ins, ("ftz",))
    expect(len(words) == 3 and words[1] in ("u32", "s32", "f32"), ins)
    f = comparison(ins, words[0], words[2], "ftz" in ins.opcode)
    true = NUMPY[words[1]](1) if words[1] == "f32" else NUMPY["s32"](-1).astype(NUMPY[words[1]])
    zero = NUMPY[words[1]](0)
    return elementwise(b, ins, lambda x, y: np.where(f(x, y), true, zero), words[1], words[2],
                       words[2])


def selp(b: Builder, ins: Instruction) -> Step:
    type_ = ins.opcode[-1]
    expect(parts(ins) == [type_] and BITS.get(type_, 0) in (16, 32, 64)
           and type_ not in ("f16", "bf16", "f16x2", "bf16x2", "tf32"), ins)
    d, x, y, p = operands(ins, 4)
    if isinstance(p, Negated):
        raise PtxError(f"expected a predicate, got !{p.register.name}")
    first, second, third = b.read(x, type_), b.read(y, type_), b.read(p, "pred")
    to = b.write(d, type_)

    def step(v: list[Array], m: object) -> None:
        v[to][...] = np.where(v[third], v[first], v[second])
    return step


def slct(b: Builder, ins: Instruction) -> Step:
    words = parts(ins, ("ftz",))
    expect(len(words) == 2 and words[1] in ("s32", "f32"), ins)
    return elementwise(b, ins, lambda x, y, c: np.where(c >= 0, x, y), words[0], words[0],
                       words[0], words[1])


OPS |= {"setp": setp, "set": set_, "selp": selp, "slct": slct}
