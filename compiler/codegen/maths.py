"""Elementary functions as LLVM IR: one text for every processor, any number of lanes.

Owns: the names and arities of the functions, their error bounds, and the random bits of Philox.
The formulas are in maths_exp, maths_log, maths_trig and maths_special, their constants in
maths_tables. No libm, no processor's own instructions: fused multiply-add, integer bits, sqrt,
rint. The only branches are the reduction of huge angles and the loop of fmod.

`float` and `double` only; 16-bit types are widened by the caller. NaN, infinities, signed zeros
and denormals follow C99; nothing is flushed.
"""

from __future__ import annotations

from . import maths_exp, maths_log, maths_special, maths_trig
from .emit import Block, Value, const
from .maths_lanes import invoke

TABLE = {**maths_exp.TABLE, **maths_log.TABLE, **maths_trig.TABLE, **maths_special.TABLE}

BINARY = ("pow", "atan2", "hypot", "fmod", "logaddexp")
FUNCTIONS: dict[str, int] = {name: 2 if name in BINARY else 1 for name in TABLE}


def call(block: Block, name: str, *args: Value) -> Value:
    """Calls the function on values of type float/double x lanes; defines it on first use."""
    if name not in TABLE:
        raise KeyError(f"maths: no function {name!r}")
    if len(args) != FUNCTIONS[name] or args[0].type.scalar not in ("float", "double"):
        kinds = ", ".join(str(a.type) for a in args)
        raise TypeError(f"{name}: expected {FUNCTIONS[name]} of float or double, got {kinds}")
    return invoke(block, name, TABLE[name], args)


# -- random bits -----------------------------------------------------------------------------------
PHILOX_FACTORS = (0xD2511F53, 0xCD9E8D57)
PHILOX_STEPS = (0x9E3779B9, 0xBB67AE85)  # the golden ratio and sqrt(3) - 1, as 32-bit fractions
PHILOX_ROUNDS = 10


def philox(block: Block, counter: list[Value], key: list[Value]) -> list[Value]:
    """Philox 4x32-10 (Salmon et al., 2011): 4 x i32 lanes from a 4 x i32 counter and 2 x i32 key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for i in range(PHILOX_ROUNDS):
        if i:
            k0 = block.add(k0, const(k0.type, PHILOX_STEPS[0]))
            k1 = block.add(k1, const(k1.type, PHILOX_STEPS[1]))
        high0, low0 = wide_product(block, c0, PHILOX_FACTORS[0])
        high1, low1 = wide_product(block, c2, PHILOX_FACTORS[1])
        c0, c1, c2, c3 = (block.xor(block.xor(high1, c1), k0), low1,
                          block.xor(block.xor(high0, c3), k1), low0)
    return [c0, c1, c2, c3]


def wide_product(block: Block, a: Value, factor: int) -> tuple[Value, Value]:
    """The high and low words of a 32 x 32 bit product."""
    wide = block.convert("zext", a, "i64")
    product = block.mul(wide, const(wide.type, factor))
    return (block.convert("trunc", block.lshr(product, 32), "i32"),
            block.convert("trunc", product, "i32"))
