"""Elementary functions as LLVM IR: one text for every processor, any number of lanes.

Owns: the names and arities of the functions and their error bounds.
The formulas are in maths_exp, maths_log, maths_trig and maths_special, their constants in
maths_tables. No libm, no processor's own instructions: fused multiply-add, integer bits, sqrt,
rint. The only branches are the reduction of huge angles and the loop of fmod.

`float` and `double` only; 16-bit types are widened by the caller. NaN, infinities, signed zeros
and denormals follow C99; nothing is flushed. Without fused multiply-add in hardware the results
stay right but the functions turn slow. All numbers of lanes give the same bits.
"""

from __future__ import annotations

from flambeau.compiler.codegen import maths_exp, maths_log, maths_special, maths_trig
from flambeau.compiler.codegen.emit import Block, Value
from flambeau.compiler.codegen.maths_lanes import invoke

TABLE = {**maths_exp.TABLE, **maths_log.TABLE, **maths_trig.TABLE, **maths_special.TABLE}

BINARY = ("pow", "atan2", "hypot", "fmod", "logaddexp")
FUNCTIONS: dict[str, int] = {name: 2 if name in BINARY else 1 for name in TABLE}

# Largest errors (float, double) in units of the result's last place, rounded up: measured over all
# floats where a function is more than its own limit, and over millions of doubles. For logaddexp,
# a sum that may cancel, the unit is that of the largest of the result, max(a, b) and
# log(1 + e^-|a-b|).
BOUNDS: dict[str, tuple[float, float]] = {
    "exp": (0.9, 0.9), "exp2": (1.0, 0.9), "expm1": (1.5, 2.0),
    "sigmoid": (1.8, 1.8), "softplus": (1.9, 2.0), "logaddexp": (2.0, 2.0),
    "tanh": (2.0, 2.2), "sinh": (1.7, 1.7), "cosh": (1.4, 1.4),
    "log": (1.0, 0.9), "log2": (1.1, 1.3), "log10": (1.1, 1.1), "log1p": (1.6, 1.5),
    "asinh": (1.1, 1.1), "acosh": (1.6, 1.6), "atanh": (0.9, 0.9), "pow": (0.9, 1.0),
    "sin": (1.6, 1.6), "cos": (1.6, 1.6), "tan": (1.3, 2.0),
    "asin": (1.2, 1.2), "acos": (1.2, 1.2), "atan": (1.4, 1.5), "atan2": (1.6, 1.5),
    "erf": (1.4, 1.0), "erfc": (1.7, 1.5), "lgamma": (1.6, 1.6), "digamma": (2.0, 2.0),
    "cbrt": (0.51, 0.51), "rsqrt": (1.5, 1.5), "hypot": (1.0, 1.0), "fmod": (0.0, 0.0),
}

# The same below 0, where two terms are subtracted that cancel near every root: in units of the
# largest of the result, 1, and |log gamma(-x)| or |pi / tan(pi x)|.
BOUNDS_BELOW_0: dict[str, tuple[float, float]] = {"lgamma": (4.0, 4.0), "digamma": (6.0, 6.0)}


def call(block: Block, name: str, *args: Value) -> Value:
    """Calls the function on values of type float/double x lanes; defines it on first use."""
    if name not in TABLE:
        raise KeyError(f"maths: no function {name!r}")
    if len(args) != FUNCTIONS[name] or args[0].type.scalar not in ("float", "double"):
        kinds = ", ".join(str(a.type) for a in args)
        raise TypeError(f"{name}: expected {FUNCTIONS[name]} of float or double, got {kinds}")
    return invoke(block, name, TABLE[name], args)
