"""A value and the block it is written to, so that the formulas of the maths room read as formulas.

Owns: operators over `Value`, and the small exact tools every elementary function needs (Horner's
scheme, error-free sums, scaling by powers of two). `+ - *` carry no fast-math flags: results are
then the same for one lane and for sixteen, and the error-free transformations stay exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flambeau.compiler.codegen.emit import I1, Block, Function, Module, Type, Value, const

INLINE = "alwaysinline nounwind willreturn memory(none)"
COLD = "cold noinline nounwind willreturn memory(none)"


@dataclass(frozen=True, slots=True)
class Format:
    """One IEEE format. `digits`: stored fraction bits; `magic`: adding it rounds to an integer."""

    scalar: str
    integer: str
    digits: int
    bias: int

    @property
    def magic(self) -> float:
        return 1.5 * 2.0 ** self.digits

    @property
    def one(self) -> int:
        """The bit pattern of 1.0."""
        return self.bias << self.digits

    @property
    def fraction(self) -> int:
        """The mask of the fraction bits."""
        return (1 << self.digits) - 1

    @property
    def sign(self) -> int:
        """The mask of the sign bit, as a signed integer."""
        return -1 << (self.width - 1)

    @property
    def width(self) -> int:
        return 32 if self.scalar == "float" else 64

    @property
    def smallest(self) -> float:
        """The smallest normal number."""
        return 2.0 ** (1 - self.bias)


FLOAT = Format("float", "i32", 23, 127)
DOUBLE = Format("double", "i64", 52, 1023)
FORMATS = {"float": FLOAT, "double": DOUBLE, "i32": FLOAT, "i64": DOUBLE}


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """A value in the block that is being written; numbers mix in as constants of its type."""

    block: Block
    value: Value

    @property
    def type(self) -> Type:
        return self.value.type

    @property
    def format(self) -> Format:
        return FORMATS[self.type.scalar]

    def pick(self, single: float, double: float) -> float:
        """A number that depends on the format."""
        return single if self.format is FLOAT else double

    def lift(self, other: Lanes | float) -> Value:
        return other.value if isinstance(other, Lanes) else const(self.type, other)

    def constant(self, number: float) -> Lanes:
        return Lanes(self.block, const(self.type, number))

    def put(self, value: Value) -> Lanes:
        return Lanes(self.block, value)

    def arithmetic(self, word: str, a: Value, b: Value) -> Lanes:
        return self.put(self.block.op("f" + word if a.type.is_float else word, a, b))

    # -- arithmetic --------------------------------------------------------------------------
    def __add__(self, other: Lanes | float) -> Lanes:
        return self.arithmetic("add", self.value, self.lift(other))

    def __radd__(self, other: float) -> Lanes:
        return self.arithmetic("add", self.lift(other), self.value)

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self.arithmetic("sub", self.value, self.lift(other))

    def __rsub__(self, other: float) -> Lanes:
        return self.arithmetic("sub", self.lift(other), self.value)

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self.arithmetic("mul", self.value, self.lift(other))

    def __rmul__(self, other: float) -> Lanes:
        return self.arithmetic("mul", self.lift(other), self.value)

    def __truediv__(self, other: Lanes | float) -> Lanes:
        return self.put(self.block.fdiv(self.value, self.lift(other)))

    def __rtruediv__(self, other: float) -> Lanes:
        return self.put(self.block.fdiv(self.lift(other), self.value))

    def __neg__(self) -> Lanes:
        return self.put(self.block.neg(self.value))

    # -- comparison: ordered, so false with a NaN ----------------------------------------------
    def compare(self, word: str, other: Lanes | float) -> Lanes:
        prefix = "o" if self.type.is_float else "" if word in ("eq", "ne") else "s"
        return self.put(self.block.cmp(prefix + word, self.value, self.lift(other)))

    def __lt__(self, other: Lanes | float) -> Lanes:
        return self.compare("lt", other)

    def __le__(self, other: Lanes | float) -> Lanes:
        return self.compare("le", other)

    def __gt__(self, other: Lanes | float) -> Lanes:
        return self.compare("gt", other)

    def __ge__(self, other: Lanes | float) -> Lanes:
        return self.compare("ge", other)

    def equals(self, other: Lanes | float) -> Lanes:
        return self.compare("eq", other)

    # -- bits ----------------------------------------------------------------------------------
    def __and__(self, other: Lanes | int) -> Lanes:
        return self.put(self.block.and_(self.value, self.lift(other)))

    def __or__(self, other: Lanes | int) -> Lanes:
        return self.put(self.block.or_(self.value, self.lift(other)))

    def __xor__(self, other: Lanes | int) -> Lanes:
        return self.put(self.block.xor(self.value, self.lift(other)))

    def __invert__(self) -> Lanes:
        return self.put(self.block.not_(self.value))

    def __lshift__(self, other: Lanes | int) -> Lanes:
        return self.put(self.block.op("shl", self.value, self.lift(other)))

    def __rshift__(self, other: Lanes | int) -> Lanes:
        return self.put(self.block.op("ashr", self.value, self.lift(other)))

    def lshr(self, other: Lanes | int) -> Lanes:
        return self.put(self.block.op("lshr", self.value, self.lift(other)))

    @property
    def bits(self) -> Lanes:
        return self.put(self.block.bitcast(self.value, self.format.integer))

    @property
    def floats(self) -> Lanes:
        return self.put(self.block.bitcast(self.value, self.format.scalar))

    def convert(self, opcode: str, scalar: str) -> Lanes:
        return self.put(self.block.convert(opcode, self.value, scalar))

    # -- intrinsics ----------------------------------------------------------------------------
    def intrinsic(self, stem: str, *others: Lanes | float) -> Lanes:
        args = [self.value, *map(self.lift, others)]
        return self.put(self.block.intrinsic(stem, self.type, *args))

    def __abs__(self) -> Lanes:
        return self.intrinsic("llvm.fabs")

    def sqrt(self) -> Lanes:
        return self.intrinsic("llvm.sqrt")

    def rint(self) -> Lanes:
        return self.intrinsic("llvm.rint")

    def trunc(self) -> Lanes:
        return self.intrinsic("llvm.trunc")

    def with_sign(self, other: Lanes) -> Lanes:
        return self.intrinsic("llvm.copysign", other)

    def any(self) -> Value:
        """i1: whether any lane of this mask is set."""
        if self.type.lanes == 1:
            return self.value
        return self.block.intrinsic("llvm.vector.reduce.or", I1, self.value,
                                    suffix=self.type.mangled)


def fma(a: Lanes, b: Lanes | float, c: Lanes | float) -> Lanes:
    """a*b + c, rounded once: for residuals and reductions, which would be wrong otherwise."""
    return a.intrinsic("llvm.fma", b, c)


def mad(a: Lanes, b: Lanes | float, c: Lanes | float) -> Lanes:
    """a*b + c, fused where the target can: for polynomial steps."""
    return a.intrinsic("llvm.fmuladd", b, c)


def where(mask: Lanes, yes: Lanes | float, no: Lanes | float) -> Lanes:
    """yes where the mask is set, else no; at least one of them is no number."""
    kind = yes if isinstance(yes, Lanes) else no
    assert isinstance(kind, Lanes)
    return mask.put(mask.block.select(mask.value, kind.lift(yes), kind.lift(no)))


def horner(x: Lanes, coefficients: Mapping[str, Sequence[float]] | Sequence[float]) -> Lanes:
    """c0 + c1 x + c2 x^2 + ..., from a table by format or a plain list."""
    row = coefficients[x.format.scalar] if isinstance(coefficients, Mapping) else coefficients
    total = x.constant(row[-1])
    for c in row[-2::-1]:
        total = mad(total, x, c)
    return total


def at_most(x: Lanes, limit: float) -> Lanes:
    """min(x, limit); a NaN stays."""
    return where(x > limit, limit, x)


def at_least(x: Lanes, limit: float) -> Lanes:
    """max(x, limit); a NaN stays."""
    return where(x < limit, limit, x)


def two_sum(a: Lanes, b: Lanes | float) -> tuple[Lanes, Lanes]:
    """a + b exactly, as the rounded sum and its error."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def fast_two_sum(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """a + b exactly, where |a| >= |b| or a is zero."""
    total = a + b
    return total, (a - total) + b


def two_product(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """a * b exactly, as the rounded product and its error."""
    product = a * b
    return product, fma(a, b, -product)


def power_of_two(field: Lanes, offset: int = 0) -> Lanes:
    """2^(n + offset) from `field` = n << digits; the exponent must be that of a normal number."""
    form = field.format
    return (field + (form.one + (offset << form.digits))).floats


def scale(x: Lanes, field: Lanes) -> Lanes:
    """x 2^n from `field` = n << digits, rounded once.

    Two steps, because 2^n itself may be no number; the first one is exact, so a denormal result
    is rounded only by the second.
    """
    half = (field >> 1) & ~field.format.fraction
    return x * power_of_two(half) * power_of_two(field - half)


# -- functions -----------------------------------------------------------------------------------
def invoke(block: Block, name: str, build: Callable[..., Lanes], args: Sequence[Value],
           attributes: str = INLINE) -> Value:
    """Calls the function `build` writes, at the type of args[0]; writes it on first use."""
    type = args[0].type
    symbol = f"fb_{name}_{type.mangled}"
    if symbol not in block.module.definitions:
        define(block.module, symbol, build, type, len(args), attributes)
    return block.call(symbol, type, *args)


def define(module: Module, symbol: str, build: Callable[..., Lanes], type: Type, arity: int,
           attributes: str) -> None:
    """Writes the function of `arity` arguments into the module."""
    params = [(f"x{i}", type, "") for i in range(arity)]
    function = Function(module, symbol, type, params, module.attribute_group(attributes),
                        "internal")
    args = [Lanes(function.entry, function[i]) for i in range(arity)]
    function.ret(function.entry, build(*args).value)
    function.finish()


def unless(mask: Lanes, fast: Lanes, slow: Callable[[], Lanes]) -> Lanes:
    """`fast`, but slow() in the lanes of the mask; slow() runs only if there is such a lane."""
    block, names = mask.block, mask.block.names
    before, rare, last, done = (names.fresh(word) for word in ("before", "rare", "last", "done"))
    block.branch(before)
    block.label(before)
    block.branch_if(mask.any(), rare, done)
    block.label(rare)
    merged = where(mask, slow(), fast)
    block.branch(last)  # slow() may have ended in another block
    block.label(last)
    block.branch(done)
    block.label(done)
    sources = f"[ {fast.value.text}, %{before} ], [ {merged.value.text}, %{last} ]"
    return mask.put(block.value(fast.type, f"phi {fast.type} {sources}"))
