"""What each elementwise op is in LLVM IR: one row per op, for any number of lanes, CPU and PTX.

Registers hold i1 for bool, float for the 16-bit floats, and the type itself for the rest.
`register(dtype)` and `memory(dtype)` name the two; `from_memory` and `to_memory` convert.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from flambeau.compiler import dtype as dt
from flambeau.compiler.codegen import maths, philox, samplers
from flambeau.compiler.codegen.emit import Block, Type, Value, const, make_type
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node

_REGISTER = {"bool": "i1", "float16": "float", "bfloat16": "float", "float32": "float",
             "float64": "double"}
_MEMORY = {"bool": "i8", "float16": "half", "bfloat16": "i16", "float32": "float",
           "float64": "double"}


def register(dtype: DType, lanes: int = 1) -> Type:
    """The type a value of `dtype` has in registers."""
    return make_type(_REGISTER.get(dtype.name) or f"i{dtype.itemsize * 8}", lanes)


def memory(dtype: DType, lanes: int = 1) -> Type:
    """The type a value of `dtype` has in memory."""
    return make_type(_MEMORY.get(dtype.name) or f"i{dtype.itemsize * 8}", lanes)


def from_memory(b: Block, dtype: DType, v: Value) -> Value:
    if dtype is dt.bool_:
        return b.cmp("ne", v, const(v.type, 0))
    if dtype is dt.float16:
        return b.convert("fpext", v, "float")
    if dtype is dt.bfloat16:
        return b.bitcast(b.shl(b.convert("zext", v, "i32"), 16), "float")
    return v


def to_memory(b: Block, dtype: DType, v: Value) -> Value:
    if dtype is dt.bool_:
        return b.convert("zext", v, "i8")
    if dtype is dt.float16:
        return b.convert("fptrunc", v, "half")
    if dtype is dt.bfloat16:
        return b.convert("trunc", b.lshr(_round_bfloat(b, v), 16), "i16")
    return v


def _round_bfloat(b: Block, v: Value) -> Value:
    """The float's bits rounded to their upper half, to nearest even; NaN stays a quiet NaN."""
    bits = b.bitcast(v, "i32")
    odd = b.and_(b.lshr(bits, 16), const(bits.type, 1))
    rounded = b.add(bits, b.add(odd, const(bits.type, 0x7FFF)))
    quiet = b.or_(bits, const(bits.type, 0x400000))
    return b.select(b.cmp("uno", v, v), quiet, rounded)


def round_to(b: Block, dtype: DType, v: Value) -> Value:
    """A register value rounded as if stored: what keeps fused and unfused 16-bit results equal."""
    if dtype not in (dt.float16, dt.bfloat16):
        return v
    return from_memory(b, dtype, to_memory(b, dtype, v))


# -- conversion ------------------------------------------------------------------------------------


def cast(b: Block, source: DType, target: DType, v: Value) -> Value:
    """As NumPy's astype; a float beyond an integer type's range gives that type's nearest end."""
    to = register(target, v.type.lanes)
    if target is dt.bool_:
        return b.cmp("une" if v.type.is_float else "ne", v, const(v.type, 0))
    if v.type.is_float and to.is_float:
        if v.type.bits == to.bits:
            return v
        return b.convert("fpext" if v.type.bits < to.bits else "fptrunc", v, to.scalar)
    if v.type.is_float:
        return _to_integer(b, target, to, v)
    if to.is_float:
        return b.convert("sitofp" if source.kind == "i" else "uitofp", v, to.scalar)
    if v.type.bits == to.bits:
        return v
    if v.type.bits > to.bits:
        return b.convert("trunc", v, to.scalar)
    return b.convert("sext" if source.kind == "i" else "zext", v, to.scalar)


def _to_integer(b: Block, target: DType, to: Type, v: Value) -> Value:
    """A float without its fraction; beyond the type's range its nearest end, and of NaN 0."""
    signed = target.kind == "i"
    if v.type.lanes == 1:
        stem = "llvm.fptosi.sat" if signed else "llvm.fptoui.sat"
        return b.intrinsic(stem, to, v, suffix=f"{to.mangled}.{v.type.mangled}")
    # LLVM takes such vectors apart. Ends that are powers of two are exact in every float; short
    # integers go by way of 32 bits.
    low, high = (-(1 << (to.bits - 1)), 1 << (to.bits - 1)) if signed else (0, 1 << to.bits)
    above = b.cmp("oge", v, const(v.type, float(high)))
    inside = b.and_(b.cmp("oge", v, const(v.type, float(low))), b.not_(above))
    plain = b.select(inside, v, const(v.type, 0))
    found = (b.convert("trunc", b.convert("fptosi", plain, "i32"), to.scalar) if to.bits < 32
             else b.convert("fptosi" if signed else "fptoui", plain, to.scalar))
    found = b.select(above, const(to, high - 1), found)
    if not signed:
        return found
    return b.select(b.cmp("olt", v, const(v.type, float(low))), const(to, low), found)


def _cast(b: Block, n: Node, v: Value) -> Value:
    return cast(b, n.src[0].dtype, n.dtype, v)


def _bitcast(b: Block, n: Node, v: Value) -> Value:
    source, target = n.src[0].dtype, n.dtype
    raw = to_memory(b, source, v)
    want = memory(target, v.type.lanes)
    return from_memory(b, target, b.bitcast(raw, want.scalar) if raw.type != want else raw)


# -- arithmetic ------------------------------------------------------------------------------------


def _abs(b: Block, n: Node, v: Value) -> Value:
    if v.type.is_float:
        return b.intrinsic("llvm.fabs", v.type, v)
    if n.dtype.kind != "i":
        return v
    return b.select(b.cmp("slt", v, const(v.type, 0)), b.neg(v), v)


def _sign(b: Block, n: Node, v: Value) -> Value:
    zero, one = const(v.type, 0), const(v.type, 1)
    if v.type.is_float:
        unit = b.intrinsic("llvm.copysign", v.type, one, v)
        plain = b.cmp("one", v, zero)  # false for zeros and NaN, which is its own sign
        return b.select(plain, unit, b.select(b.cmp("oeq", v, zero), zero, v))
    if n.dtype.kind == "i":
        negative = b.select(b.cmp("slt", v, zero), const(v.type, -1), zero)
        return b.select(b.cmp("sgt", v, zero), one, negative)
    return v if v.type.scalar == "i1" else b.select(b.cmp("ne", v, zero), one, zero)


def _isinf(b: Block, n: Node, v: Value) -> Value:
    if not v.type.is_float:
        return const(v.type.mask, False)
    return _endless(b, v)


def _isnan(b: Block, n: Node, v: Value) -> Value:
    return b.cmp("uno", v, v) if v.type.is_float else const(v.type.mask, False)


def _signbit(b: Block, n: Node, v: Value) -> Value:
    if v.type.is_float:
        v = b.bitcast(v, f"i{v.type.bits}")
    elif n.src[0].dtype.kind != "i":
        return const(v.type.mask, False)
    return b.cmp("slt", v, const(v.type, 0))


def _nonzero(b: Block, divisor: Value) -> tuple[Value, Value]:
    """(is the divisor zero, a divisor that is safe to divide by)."""
    zero = b.cmp("eq", divisor, const(divisor.type, 0))
    return zero, b.select(zero, const(divisor.type, 1), divisor)


def _integer_division(b: Block, n: Node, x: Value, y: Value) -> tuple[Value, Value, Value]:
    """(zero divisor mask, quotient, remainder), truncating; the overflow MIN / -1 wraps."""
    zero, safe = _nonzero(b, y)
    signed = n.src[0].dtype.kind == "i"
    minus = b.cmp("eq", safe, const(y.type, -1)) if signed else None
    divisor = b.select(minus, const(y.type, 1), safe) if minus else safe
    if x.type.lanes > 1 and x.type.bits <= 32:
        q = _float_quotient(b, x, divisor, signed)
    elif x.type.lanes > 1 and b.module.vector_bytes == 64:  # floats from and to i64 in vectors
        q = _long_quotient(b, x, divisor, signed)
    else:
        q = b.op("sdiv" if signed else "udiv", x, divisor)
    if minus:
        q = b.select(minus, b.neg(x), q)
    return zero, q, b.sub(x, b.mul(q, safe))


def _float_quotient(b: Block, x: Value, y: Value, signed: bool) -> Value:
    """Truncating x / y of vectors of up to 32 bits, by floats, since processors divide no vectors
    of integers. Exact: a quotient that is no integer is at least 1 / x, relatively, away from the
    next one; the reciprocal, made larger by less, gives no quotient that is too small. Where y is
    one number, the division stands outside the loop."""
    bits = x.type.bits
    short = bits <= 16
    if short:
        x, y = (b.convert("sext" if signed else "zext", v, "i32") for v in (x, y))
    convert = "sitofp" if signed or short else "uitofp"
    x, y = (b.convert(convert, v, "float" if short else "double") for v in (x, y))
    inverse = b.fdiv(const(y.type, 1 + 2.0 ** (-20 if short else -48)), y)
    q = b.convert("fptosi" if signed or short else "fptoui", b.mul(x, inverse), "i32")
    return b.convert("trunc", q, f"i{bits}") if short else q


def _long_quotient(b: Block, x: Value, y: Value, signed: bool) -> Value:
    """Truncating x / y of vectors of 64 bits. The reciprocal is a little too small, so that the
    quotient of floats never overflows, and what is left has the sign of x; a second step divides
    that, and then one divisor more may still fit."""
    to, back = ("sitofp", "fptosi") if signed else ("uitofp", "fptoui")
    inverse = b.convert(to, y, "double")
    inverse = b.fdiv(const(inverse.type, 1 - 2.0 ** -50), inverse)
    q, rest = const(x.type, 0), x
    for _ in range(2):
        step = b.convert(back, b.mul(b.convert(to, rest, "double"), inverse), "i64")
        q, rest = b.add(q, step), b.sub(rest, b.mul(step, y))
    if not signed:
        return b.select(b.cmp("uge", rest, y), b.add(q, const(q.type, 1)), q)
    one = b.or_(b.ashr(b.xor(x, y), 63), const(q.type, 1))  # 1 or -1, the quotient's sign
    sizes = [b.intrinsic("llvm.abs", v.type, v, const(make_type("i1"), False)) for v in (rest, y)]
    return b.select(b.cmp("uge", *sizes), b.add(q, one), q)


def _floordiv(b: Block, n: Node, x: Value, y: Value) -> Value:
    if x.type.is_float:
        return _float_floordiv(b, x, y)
    if x.type.scalar == "i1":
        return b.and_(x, y)
    zero, q, r = _integer_division(b, n, x, y)
    if n.dtype.kind == "i":
        off = _other_sign(b, r, y)
        q = b.select(off, b.sub(q, const(q.type, 1)), q)
    return b.select(zero, const(x.type, 0), q)


def _other_sign(b: Block, r: Value, y: Value) -> Value:
    """Is the remainder nonzero and of the other sign than the divisor?"""
    zero = const(r.type, 0)
    if r.type.is_float:
        apart = b.xor(b.cmp("olt", r, zero), b.cmp("olt", y, zero))
        return b.and_(b.cmp("une", r, zero), apart)
    return b.and_(b.cmp("ne", r, zero), b.cmp("slt", b.xor(r, y), zero))


def _float_floordiv(b: Block, x: Value, y: Value) -> Value:
    """NumPy's: floor of the exact quotient, found from the exact remainder; of infinities the
    floor of the quotient, since there is no remainder."""
    quotient = b.fdiv(x, y)
    r = maths.call(b, "fmod", x, y)
    q = b.fdiv(b.op("fsub", x, r), y)
    q = b.select(_other_sign(b, r, y), b.op("fsub", q, const(q.type, 1)), q)
    floor = b.intrinsic("llvm.floor", q.type, q)
    high = b.cmp("ogt", b.op("fsub", q, floor), const(q.type, 0.5))
    snapped = b.select(high, b.op("fadd", floor, const(q.type, 1)), floor)
    signed_zero = b.intrinsic("llvm.copysign", q.type, const(q.type, 0), quotient)
    snapped = b.select(b.cmp("une", q, const(q.type, 0)), snapped, signed_zero)
    plain = b.and_(b.cmp("une", y, const(y.type, 0)), b.not_(b.or_(_endless(b, x), _endless(b, y))))
    return b.select(plain, snapped, b.intrinsic("llvm.floor", q.type, quotient))


def _endless(b: Block, v: Value) -> Value:
    return b.cmp("oeq", b.intrinsic("llvm.fabs", v.type, v), const(v.type, math.inf))


def _mod(b: Block, n: Node, x: Value, y: Value) -> Value:
    if x.type.is_float:
        r = maths.call(b, "fmod", x, y)
        moved = b.select(_other_sign(b, r, y), b.op("fadd", r, y), r)
        zero = b.intrinsic("llvm.copysign", r.type, const(r.type, 0), y)
        return b.select(b.cmp("oeq", r, const(r.type, 0)), zero, moved)
    if x.type.scalar == "i1":
        return const(x.type, False)
    zero_mask, _, r = _integer_division(b, n, x, y)
    if n.dtype.kind == "i":
        r = b.select(_other_sign(b, r, y), b.add(r, y), r)
    return b.select(zero_mask, const(x.type, 0), r)


def _fmod(b: Block, n: Node, x: Value, y: Value) -> Value:
    if x.type.is_float:
        return maths.call(b, "fmod", x, y)
    if x.type.scalar == "i1":
        return const(x.type, False)
    zero, _, r = _integer_division(b, n, x, y)
    return b.select(zero, const(x.type, 0), r)


def _pow(b: Block, n: Node, x: Value, y: Value) -> Value:
    if x.type.is_float:
        return maths.call(b, "pow", x, y)
    if x.type.scalar == "i1":
        return b.or_(x, b.not_(y))
    result, one = const(x.type, 1), const(x.type, 1)
    bits = min(x.type.bits, 64)
    power, rest = x, y
    for i in range(bits if bits < 64 else 63):  # square and multiply over every exponent bit
        odd = b.cmp("ne", b.and_(rest, one), const(x.type, 0))
        result = b.select(odd, b.mul(result, power), result)
        if i + 1 < bits:
            power, rest = b.mul(power, power), b.lshr(rest, 1)
    if n.dtype.kind == "i":  # a negative power of an integer truncates to 1, -1 or 0
        result = b.select(b.cmp("slt", y, const(y.type, 0)), _reciprocal(b, x, y), result)
    return result


def _reciprocal(b: Block, x: Value, y: Value) -> Value:
    one, zero = const(x.type, 1), const(x.type, 0)
    minus = b.cmp("eq", x, const(x.type, -1))
    odd = b.cmp("ne", b.and_(y, one), zero)
    sign = b.select(odd, const(x.type, -1), one)
    return b.select(minus, sign, b.select(b.cmp("eq", x, one), one, zero))


def _shift(left: bool) -> Callable[..., Value]:
    def emit(b: Block, n: Node, x: Value, y: Value) -> Value:
        if x.type.scalar == "i1":
            return b.and_(x, b.not_(y))
        wide = b.cmp("uge", y, const(y.type, x.type.bits))
        count = b.select(wide, const(y.type, 0), y)
        opcode = "shl" if left else "ashr" if n.dtype.kind == "i" else "lshr"
        inside = b.op(opcode, x, count)
        beyond = const(x.type, 0) if opcode != "ashr" else b.ashr(x, x.type.bits - 1)
        return b.select(wide, beyond, inside)
    return emit


def _extreme(word: str, signed: str, unsigned: str) -> Callable[..., Value]:
    def emit(b: Block, n: Node, x: Value, y: Value) -> Value:
        if x.type.is_float:
            # the sign of zero, which no reduction promises, would cost five instructions more
            return b.intrinsic(f"llvm.{word}", x.type, x, y, flags="nsz ")
        if x.type.scalar == "i1":
            return b.or_(x, y) if word == "maximum" else b.and_(x, y)
        predicate = signed if n.dtype.kind == "i" else unsigned
        return b.select(b.cmp(predicate, x, y), x, y)
    return emit


def _compare(floats: str, signed: str, unsigned: str) -> Callable[..., Value]:
    def emit(b: Block, n: Node, x: Value, y: Value) -> Value:
        if x.type.is_float:
            return b.cmp(floats, x, y)
        return b.cmp(signed if n.src[0].dtype.kind == "i" else unsigned, x, y)
    return emit


def _add(b: Block, n: Node, x: Value, y: Value) -> Value:
    return b.or_(x, y) if x.type.scalar == "i1" else b.add(x, y)


def _mul(b: Block, n: Node, x: Value, y: Value) -> Value:
    return b.and_(x, y) if x.type.scalar == "i1" else b.mul(x, y)


def _sub(b: Block, n: Node, x: Value, y: Value) -> Value:
    return b.sub(x, y)


def _two(method: Callable[..., Value]) -> Callable[..., Value]:
    return lambda b, n, x, y: method(b, x, y)


def _rounding(intrinsic: str) -> Callable[..., Value]:
    return lambda b, n, v: b.intrinsic(intrinsic, v.type, v)


def _math(name: str) -> Callable[..., Value]:
    return lambda b, n, *v: maths.call(b, name, *v)


EMIT: dict[str, Callable[..., Value]] = {
    "neg": lambda b, n, v: b.neg(v), "abs": _abs, "sign": _sign,
    "floor": _rounding("llvm.floor"), "ceil": _rounding("llvm.ceil"),
    "round": _rounding("llvm.roundeven"), "trunc": _rounding("llvm.trunc"),
    "sqrt": _rounding("llvm.sqrt"),
    "not": lambda b, n, v: b.not_(v), "isnan": _isnan, "isinf": _isinf, "signbit": _signbit,
    "cast": _cast, "bitcast": _bitcast,
    "add": _add, "sub": _sub, "mul": _mul, "div": _two(Block.fdiv),
    "floordiv": _floordiv, "mod": _mod, "fmod": _fmod, "pow": _pow,
    "maximum": _extreme("maximum", "sgt", "ugt"), "minimum": _extreme("minimum", "slt", "ult"),
    "copysign": lambda b, n, x, y: b.intrinsic("llvm.copysign", x.type, x, y),
    "and": _two(Block.and_), "or": _two(Block.or_), "xor": _two(Block.xor),
    "shl": _shift(True), "shr": _shift(False),
    "eq": _compare("oeq", "eq", "eq"), "ne": _compare("une", "ne", "ne"),
    "lt": _compare("olt", "slt", "ult"), "le": _compare("ole", "sle", "ule"),
    "where": lambda b, n, m, x, y: b.select(m, x, y),
    "sample": lambda b, n, *v: samplers.sample(b, n.arg, v),
    "philox": philox.emit, "require": lambda b, n, x, ok: x,  # Lowering has asked ok
    **{name: _math(name) for name in (
        "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "asin",
        "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "cbrt",
        "lgamma", "digamma", "sigmoid", "softplus", "atan2", "hypot", "logaddexp")},
}


def emit(b: Block, n: Node, *operands: Value) -> Value:
    """The op's instructions; operands agree in lanes. 16-bit float results are rounded."""
    return round_to(b, n.dtype, EMIT[n.op](b, n, *operands))
