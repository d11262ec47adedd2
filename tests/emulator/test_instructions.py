"""Every elementwise instruction form against plain Python or NumPy, at edge and random inputs.

All forms of one processor generation stand in one module, which ptxas must accept as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from emulator.machine import Machine
from emulator.snippets import kernel, launch, module, refused

KINDS = {"u8": "u1", "s8": "i1", "u16": "u2", "s16": "i2", "u32": "u4", "s32": "i4", "u64": "u8",
         "s64": "i8", "b16": "u2", "b32": "u4", "b64": "u8", "f16": "f2", "bf16": "u2", "f32": "f4",
         "f64": "f8", "pred": "u4", "f16x2": "u4", "bf16x2": "u4"}
NAMES = {2: "h", 4: "r", 8: "d"}
COUNT = 320
Row = tuple[str, str, str, Callable[..., Any]]  # instruction, its inputs, its output, the meaning


def wrap(value: int, type_: str) -> int:
    bits = 8 * np.dtype(KINDS[type_]).itemsize
    value &= (1 << bits) - 1
    return value - (1 << bits) if type_[0] == "s" and value >> (bits - 1) else value


def towards_zero(a: int, b: int) -> int:
    q = abs(a) // abs(b)
    return q if (a < 0) == (b < 0) else -q


def clamp(value: int, type_: str) -> int:
    limits = np.iinfo(KINDS[type_])
    return min(max(value, int(limits.min)), int(limits.max))


def bits_of(type_: str) -> int:
    return 8 * np.dtype(KINDS[type_]).itemsize


# -- inputs ------------------------------------------------------------------------------------

def inputs(type_: str, place: int, count: int = COUNT) -> np.ndarray:
    """Edge values in every combination with the other operands', then random bits."""
    rng = np.random.default_rng(place + 7)
    kind = np.dtype(KINDS[type_])
    if type_ in ("f16", "f32", "f64", "bf16"):
        tiny = {"f16": 6e-8, "f32": 1e-45, "f64": 5e-324, "bf16": 1e-40}[type_]
        huge = {"f16": 65504.0, "f32": 3.4028234e38, "f64": 1.7e308, "bf16": 3.38e38}[type_]
        edges = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, tiny, -tiny, huge, -huge,
                          0.5, -1.5, 2.5, 3.0, 1 / 3])
        drawn = rng.standard_normal(count) * 10.0 ** rng.integers(-3, 4, count)
        values = np.concatenate([edges, drawn])
    elif type_ == "pred":
        return rng.integers(0, 2, count).astype(np.uint32)
    else:
        if kind.itemsize == 4 and type_.endswith("x2"):
            halves = inputs(type_[:-2], place, 2 * count)
            return halves.view(np.uint32)
        limits = np.iinfo(kind)
        edges = np.array([0, 1, 2, 3, 7, 31, 32, 33, 63, 64, 100, limits.max, limits.max - 1,
                          limits.min, limits.min + 1, limits.max // 3], kind)
        drawn = rng.integers(limits.min, limits.max, count, kind, endpoint=True)
        drawn[::3] >>= kind.type(rng.integers(0, 8 * kind.itemsize))
        values = np.concatenate([edges, drawn])
    every = values[:16]
    crossed = np.tile(every, 16) if place % 2 else np.repeat(every, 16)
    made = np.concatenate([crossed, values[16:]])[:count]
    if type_ == "bf16":
        return bf16(made.astype(np.float32))
    return made.astype(kind)


def bf16(x: np.ndarray) -> np.ndarray:
    """The upper half of float32 values: bfloat16 numbers near them."""
    return (x.view(np.uint32) >> 16).astype(np.uint16)


# -- running -----------------------------------------------------------------------------------

def text_of(row: Row, name: str) -> str:
    """A kernel that loads the inputs, runs the instruction, and stores the output."""
    code, types, out, _ = row
    lines = ["mov.u32 %r30, %tid.x;"]
    names = {}
    for i, t in enumerate([*types.split(), out]):
        size = np.dtype(KINDS[t]).itemsize
        register = f"%{NAMES.get(size, 'h')}{i + 1}"
        lines += [f"ld.param.u64 %d30, [p{i}];", f"mul.wide.u32 %d31, %r30, {size};",
                  f"add.u64 %d{20 + i}, %d30, %d31;"]
        names["abcd"[i] if i < len(types.split()) else "o"] = register
        if i < len(types.split()):
            lines.append(f"ld.global.b{8 * size} {register}, [%d{20 + i}];")
            if t == "pred":
                lines.append(f"setp.ne.u32 %p{i + 1}, {register}, 0;")
                names["abcd"[i]] = f"%p{i + 1}"
    if out == "pred":
        names["o"] = "%p9"
    operation, _, rest = code.partition(" ")
    for letter, register in names.items():
        rest = rest.replace("$" + letter, register)
    lines.append(f"{operation} {rest};")
    count = len(types.split())
    size = np.dtype(KINDS[out]).itemsize
    result = names["o"]
    if out == "pred":
        lines.append("selp.u32 %r29, 1, 0, %p9;")
        result = "%r29"
    lines.append(f"st.global.b{8 * size} [%d{20 + count}], {result};")
    return kernel("\n".join(lines), "u64 " * (count + 1), name)


def run(row: Row, text: str, name: str) -> tuple[np.ndarray, list[np.ndarray]]:
    given = [inputs(t, i) for i, t in enumerate(row[1].split())]
    out = np.zeros(COUNT, KINDS[row[2]])
    made = launch(text, *given, out, block=COUNT, name=name, machine=Machine(1 << 20, sm=100))
    return made[-1], given


def same(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Equal bits, or both NaN."""
    if got.dtype.kind == "f":
        return ((got == want) & (np.signbit(got) == np.signbit(want))) | \
            (np.isnan(got) & np.isnan(want))
    return got == want


# -- integers ----------------------------------------------------------------------------------

def integer_rows() -> list[Row]:
    rows: list[Row] = []

    def add(code: str, types: str, out: str, f: Callable[..., int]) -> None:
        rows.append((code, types, out, lambda *args: wrap(f(*args), out)))

    for t in ("u16", "s16", "u32", "s32", "u64", "s64"):
        n = bits_of(t)
        two = f"{t} {t}"
        add(f"add.{t} $o, $a, $b", two, t, lambda a, b: a + b)
        add(f"sub.{t} $o, $a, $b", two, t, lambda a, b: a - b)
        add(f"mul.lo.{t} $o, $a, $b", two, t, lambda a, b: a * b)
        add(f"mul.hi.{t} $o, $a, $b", two, t, lambda a, b, n=n: a * b >> n)
        add(f"mad.lo.{t} $o, $a, $b, $c", f"{two} {t}", t, lambda a, b, c: a * b + c)
        add(f"mad.hi.{t} $o, $a, $b, $c", f"{two} {t}", t, lambda a, b, c, n=n: (a * b >> n) + c)
        add(f"min.{t} $o, $a, $b", two, t, min)
        add(f"max.{t} $o, $a, $b", two, t, max)
        add(f"div.{t} $o, $a, $b", two, t, lambda a, b: towards_zero(a, b) if b else -1)
        add(f"rem.{t} $o, $a, $b", two, t, lambda a, b: a - b * towards_zero(a, b) if b else a)
        add(f"sad.{t} $o, $a, $b, $c", f"{two} {t}", t, lambda a, b, c: c + abs(a - b))
        add(f"shr.{t} $o, $a, $b", f"{t} u32", t, lambda a, s: a >> min(s, 64))
        if n < 64:
            w = f"{t[0]}{2 * n}"
            add(f"mul.wide.{t} $o, $a, $b", two, w, lambda a, b: a * b)
            add(f"mad.wide.{t} $o, $a, $b, $c", f"{two} {w}", w, lambda a, b, c: a * b + c)
        if t[0] == "s":
            add(f"neg.{t} $o, $a", t, t, lambda a: -a)
            add(f"abs.{t} $o, $a", t, t, abs)
    for t in ("b16", "b32", "b64"):
        n = bits_of(t)
        add(f"and.{t} $o, $a, $b", f"{t} {t}", t, lambda a, b: a & b)
        add(f"or.{t} $o, $a, $b", f"{t} {t}", t, lambda a, b: a | b)
        add(f"xor.{t} $o, $a, $b", f"{t} {t}", t, lambda a, b: a ^ b)
        add(f"not.{t} $o, $a", t, t, lambda a: ~a)
        add(f"cnot.{t} $o, $a", t, t, lambda a: int(a == 0))
        add(f"shl.{t} $o, $a, $b", f"{t} u32", t, lambda a, s: a << min(s, 64))
        add(f"shl.{t} $o, $a, {n + 3}", t, t, lambda a: 0)
    rows += _bit_rows()
    for t in ("u32", "s32"):
        add(f"mul24.lo.{t} $o, $a, $b", f"{t} {t}", t, lambda a, b, t=t: low24(a, t) * low24(b, t))
        add(f"mul24.hi.{t} $o, $a, $b", f"{t} {t}", t,
            lambda a, b, t=t: low24(a, t) * low24(b, t) >> 16)
    rows.append(("add.sat.s32 $o, $a, $b", "s32 s32", "s32", lambda a, b: clamp(a + b, "s32")))
    rows.append(("sub.sat.s32 $o, $a, $b", "s32 s32", "s32", lambda a, b: clamp(a - b, "s32")))
    rows.append(("dp4a.s32.u32 $o, $a, $b, $c", "s32 u32 s32", "s32",
                 lambda a, b, c: wrap(c + sum(wrap(a >> 8 * i, "s8") * wrap(b >> 8 * i, "u8")
                                              for i in range(4)), "s32")))
    return rows


def low24(a: int, t: str) -> int:
    a &= 0xFFFFFF
    return a - (1 << 24) if t == "s32" and a >> 23 else a


def _bit_rows() -> list[Row]:
    rows: list[Row] = []
    for t in ("b32", "b64"):
        n = bits_of(t)
        rows += [(f"popc.{t} $o, $a", t, "u32", lambda a: a.bit_count()),
                 (f"clz.{t} $o, $a", t, "u32", lambda a, n=n: n - a.bit_length()),
                 (f"brev.{t} $o, $a", t, t, lambda a, n=n: int(f"{a:0{n}b}"[::-1], 2)),
                 (f"bfi.{t} $o, $a, $b, $c, $d", f"{t} {t} u32 u32", t,
                  lambda a, b, p, c, n=n: insert(a, b, p & 255, c & 255, n))]
    for t in ("u32", "s32", "u64", "s64"):
        n = bits_of(t)
        rows += [(f"bfe.{t} $o, $a, $b, $c", f"{t} u32 u32", t,
                  lambda a, p, c, t=t: extract(a, p & 255, c & 255, t)),
                 (f"bfind.{t} $o, $a", t, "u32",
                  lambda a: wrap((a if a >= 0 else ~a).bit_length() - 1, "u32")),
                 (f"bfind.shiftamt.{t} $o, $a", t, "u32", lambda a, n=n: wrap(
                     n - (a if a >= 0 else ~a).bit_length() if a not in (0, -1) else -1, "u32"))]
    for kind in ("clamp", "wrap"):
        def amount(s: int, kind: str = kind) -> int:
            return min(s, 32) if kind == "clamp" else s & 31
        rows += [(f"shf.l.{kind}.b32 $o, $a, $b, $c", "b32 b32 u32", "b32",
                  lambda a, b, s, g=amount: ((b << 32 | a) << g(s) >> 32) & 0xFFFFFFFF),
                 (f"shf.r.{kind}.b32 $o, $a, $b, $c", "b32 b32 u32", "b32",
                  lambda a, b, s, g=amount: ((b << 32 | a) >> g(s)) & 0xFFFFFFFF)]
    rows.append(("prmt.b32 $o, $a, $b, $c", "b32 b32 b32", "b32", permute))
    for table in (0x80, 0xE8, 0x96, 0x1B, 0xFE):
        rows.append((f"lop3.b32 $o, $a, $b, $c, {table}", "b32 b32 b32", "b32",
                     lambda a, b, c, table=table: sum(
                         (table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1) & 1) << i
                         for i in range(32))))
    return rows


def insert(a: int, b: int, position: int, count: int, n: int) -> int:
    mask = (((1 << count) - 1) << position) & ((1 << n) - 1)
    return (b & ~mask) | (a << position & mask)


def extract(a: int, position: int, count: int, t: str) -> int:
    """Bit by bit, as the manual's loop does it."""
    n = bits_of(t)
    plain = a & ((1 << n) - 1)
    signed = t[0] == "s" and count != 0
    sign = plain >> min(position + count - 1, n - 1) & 1 if signed else 0
    made = 0
    for i in range(n):
        inside = i < count and position + i < n
        made |= (plain >> (position + i) & 1 if inside else sign) << i
    return wrap(made, t)


def permute(a: int, b: int, selector: int) -> int:
    source = (b << 32 | a).to_bytes(8, "little")
    made = []
    for i in range(4):
        nibble = selector >> 4 * i & 15
        byte = source[nibble & 7]
        made.append((255 if byte >> 7 else 0) if nibble & 8 else byte)
    return int.from_bytes(bytes(made), "little")


# -- comparison and selection ------------------------------------------------------------------

ORDER = {"eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b,
         "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b}


def comparison_rows() -> list[Row]:
    rows: list[Row] = []
    for t in ("u16", "s16", "u32", "s32", "u64", "s64"):
        rows += [(f"setp.{c}.{t} $o, $a, $b", f"{t} {t}", "pred", f) for c, f in ORDER.items()]
    for c, f in {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}.items():
        rows.append((f"setp.{c}.u32 $o, $a, $b", "u32 u32", "pred", ORDER[f]))
    for t in ("f32", "f64", "f16"):
        for c, f in ORDER.items():
            rows.append((f"setp.{c}.{t} $o, $a, $b", f"{t} {t}", "pred",
                         lambda a, b, f=f: f(a, b) and a == a and b == b))
            rows.append((f"setp.{c}u.{t} $o, $a, $b", f"{t} {t}", "pred",
                         lambda a, b, f=f: f(a, b) or a != a or b != b))
        rows.append((f"setp.num.{t} $o, $a, $b", f"{t} {t}", "pred",
                     lambda a, b: a == a and b == b))
        rows.append((f"setp.nan.{t} $o, $a, $b", f"{t} {t}", "pred",
                     lambda a, b: a != a or b != b))
    for join, g in {"and": lambda p, q: p and q, "or": lambda p, q: p or q,
                    "xor": lambda p, q: bool(p) != bool(q)}.items():
        rows.append((f"setp.lt.{join}.s32 $o, $a, $b, $c", "s32 s32 pred", "pred",
                     lambda a, b, p, g=g: g(a < b, p)))
        rows.append((f"setp.lt.{join}.s32 %p8|$o, $a, $b, !$c", "s32 s32 pred", "pred",
                     lambda a, b, p, g=g: g(not a < b, not p)))
    for t in ("b16", "b32", "b64", "f32", "f64", "u32", "s64"):
        rows.append((f"selp.{t} $o, $a, $b, $c", f"{t} {t} pred", t,
                     lambda a, b, p: a if p else b))
    rows += [("slct.b32.s32 $o, $a, $b, $c", "b32 b32 s32", "b32",
              lambda a, b, c: a if c >= 0 else b),
             ("slct.u64.f32 $o, $a, $b, $c", "u64 u64 f32", "u64",
              lambda a, b, c: a if c >= 0 else b),
             ("set.lt.u32.s32 $o, $a, $b", "s32 s32", "u32", lambda a, b: -(a < b) & 0xFFFFFFFF),
             ("set.ge.f32.f32 $o, $a, $b", "f32 f32", "f32", lambda a, b: float(a >= b))]
    for name, f in {"and": lambda a, b: a and b, "or": lambda a, b: a or b,
                    "xor": lambda a, b: a != b}.items():
        rows.append((f"{name}.pred $o, $a, $b", "pred pred", "pred", f))
    rows.append(("not.pred $o, $a", "pred", "pred", lambda a: not a))
    for t in ("f32", "f64"):
        tiny = 2.0 ** (-126 if t == "f32" else -1022)
        tests = {"finite": math.isfinite, "infinite": math.isinf, "notanumber": math.isnan,
                 "number": lambda a: not math.isnan(a),
                 "normal": lambda a, m=tiny: math.isfinite(a) and abs(a) >= m,
                 "subnormal": lambda a, m=tiny: 0 < abs(a) < m}
        rows += [(f"testp.{n}.{t} $o, $a", t, "pred", f) for n, f in tests.items()]
    return rows


# -- conversions -------------------------------------------------------------------------------

def conversion_rows() -> list[Row]:
    rows: list[Row] = []
    integers = ("u16", "s16", "u32", "s32", "u64", "s64")
    for a in integers:
        for b in integers:
            if a != b:
                rows.append((f"cvt.{b}.{a} $o, $a", a, b, lambda x, b=b: wrap(x, b)))
            if not holds(b, a):
                rows.append((f"cvt.sat.{b}.{a} $o, $a", a, b, lambda x, b=b: clamp(x, b)))
    for wide, narrow in (("u32", "u8"), ("u32", "s8"), ("u64", "u16"), ("s64", "s8"),
                         ("u16", "s8"), ("s32", "s16")):
        rows.append((f"cvt.{wide}.{narrow} $o, $a", wide, wide,
                     lambda x, n=narrow, w=wide: wrap(wrap(x, n), w)))
    whole = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}
    for f in ("f16", "f32", "f64"):
        for t in integers:
            for mode, g in whole.items():
                if mode in ("rzi", "rni") or f == "f32":
                    rows.append((f"cvt.{mode}.{t}.{f} $o, $a", f, t,
                                 lambda x, g=g, t=t, f=f: to_integer(x, g, t, f)))
        for mode, g in whole.items():
            rows.append((f"cvt.{mode}.{f}.{f} $o, $a", f, f,
                         lambda x, g=g: math.copysign(g(x), x) if math.isfinite(x) else x))
    return rows


def holds(big: str, small: str) -> bool:
    """Whether every value of one integer type is one of the other: then .sat is not allowed."""
    a, b = np.iinfo(KINDS[big]), np.iinfo(KINDS[small])
    return bool(a.min <= b.min and b.max <= a.max)


def to_integer(x: float, g: Callable[[float], int], t: str, f: str) -> int:
    if math.isnan(x):
        high = 1 << (bits_of(t) - 1)
        return wrap(high, t) if f == "f64" or bits_of(t) == 64 else 0
    if math.isinf(x):
        return clamp(1 << 70 if x > 0 else -1 << 70, t)
    return clamp(g(x), t)


# -- floats: results are checked for being the right neighbour of the exact one -------------------

def neighbour(exact: Fraction, got: float, type_: str, mode: str) -> bool:
    """Is `got` what `exact` rounds to? By looking at the numbers beside it."""
    kind = np.dtype(KINDS[type_]).type
    if type_ == "bf16":
        raise AssertionError("bf16 is compared through float32")
    g = kind(got)
    limit = Fraction(float(np.finfo(kind).max))
    if math.isinf(g):
        step = limit - Fraction(float(np.nextafter(np.finfo(kind).max, kind(0))))
        far = abs(exact) >= limit + step / 2 if mode == "rn" else abs(exact) > limit
        return far and (g > 0) == (exact > 0)
    here = Fraction(float(g))
    if here == exact:
        return True
    with np.errstate(over="ignore"):
        below, above = np.nextafter(g, kind(-np.inf)), np.nextafter(g, kind(np.inf))
    beyond = limit + (limit - Fraction(float(np.nextafter(np.finfo(kind).max, kind(0)))))
    beyond = beyond if mode == "rn" else Fraction(10) ** 5000
    low = Fraction(float(below)) if math.isfinite(below) else -beyond
    high = Fraction(float(above)) if math.isfinite(above) else beyond
    if mode == "rn":
        rivals = [r for r in (low, high) if abs(exact - r) <= abs(exact - here)]
        even = int(np.array([g]).view(f"u{g.itemsize}")[0]) % 2 == 0
        return all(abs(exact - r) == abs(exact - here) and even for r in rivals)
    down = mode == "rm" or (mode == "rz" and exact > 0)
    return low < here <= exact < high if down else low < exact <= here < high


EXACT: dict[str, Callable[..., Fraction]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b, "fma": lambda a, b, c: a * b + c, "rcp": lambda a: 1 / a,
    "mad": lambda a, b, c: a * b + c}
NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "fma": lambda a, b, c: a.astype("f8") * b + c, "mad": lambda a, b, c: a.astype("f8") * b + c,
    "rcp": lambda a: 1 / a}


def float_forms() -> list[tuple[str, str, str, int]]:
    """(name, mode, type, operands)."""
    forms = []
    for t in ("f32", "f64"):
        for mode in ("rn", "rz", "rm", "rp"):
            forms += [(n, mode, t, 2) for n in ("add", "sub", "mul", "div")]
            forms += [("fma", mode, t, 3), ("mad", mode, t, 3), ("rcp", mode, t, 1)]
    forms += [(n, "rn", "f16", 2) for n in ("add", "sub", "mul")] + [("fma", "rn", "f16", 3)]
    return forms


# -- the tests ---------------------------------------------------------------------------------

@lru_cache(maxsize=1)
def float_rows() -> list[Row]:
    return [(f"{n}.{mode}.{t} $o, {', '.join(('$a', '$b', '$c')[:count])}",
             " ".join([t] * count), t, EXACT[n]) for n, mode, t, count in float_forms()]


TABLES = {"integers": integer_rows(), "comparisons": comparison_rows(),
          "conversions": conversion_rows(), "floats": float_rows()}


@pytest.mark.parametrize("table", TABLES)
def test_ptxas_takes_every_form(table: str) -> None:
    rows = TABLES[table]
    text = module(*(text_of(r, f"k{i}") for i, r in enumerate(rows)), sm=90)
    assert refused(text, 90) == ""


@pytest.mark.parametrize("table", ["integers", "comparisons", "conversions"])
def test_meaning(table: str) -> None:
    wrong = []
    rows = TABLES[table]
    text = module(*(text_of(r, f"k{i}") for i, r in enumerate(rows)), sm=90)
    machine = Machine(4 << 20, sm=90)
    loaded = machine.load(text)
    for i, row in enumerate(rows):
        name = f"k{i}"
        got, given = run_loaded(machine, loaded, row, name)
        lanes = zip(*(g.tolist() for g in given))
        want = np.array([row[3](*lane) for lane in lanes], KINDS[row[2]])
        bad = ~same(got, want)
        if bad.any():
            k = int(np.flatnonzero(bad)[0])
            wrong.append(f"{row[0]}: {[g[k] for g in given]} -> {got[k]}, expected {want[k]}")
    assert not wrong, "\n".join(wrong)


def run_loaded(machine: Machine, loaded: Any, row: Row, name: str
               ) -> tuple[np.ndarray, list[np.ndarray]]:
    given = [inputs(t, i) for i, t in enumerate(row[1].split())]
    out = np.zeros(COUNT, KINDS[row[2]])
    return launch(loaded, *given, out, block=COUNT, name=name, machine=machine)[-1], given


@pytest.mark.parametrize("table", ["floats"])
def test_rounding(table: str) -> None:
    rows = TABLES[table]
    text = module(*(text_of(r, f"k{i}") for i, r in enumerate(rows)), sm=90)
    machine = Machine(4 << 20, sm=90)
    loaded = machine.load(text)
    for i, (row, form) in enumerate(zip(rows, float_forms())):
        got, given = run_loaded(machine, loaded, row, f"k{i}")
        name, mode, type_, _ = form
        with np.errstate(all="ignore"):
            plain = NUMPY[name](*given).astype(KINDS[type_])
        for k in range(COUNT):
            lane = [float(g[k]) for g in given]
            if not all(map(math.isfinite, lane)) or (name in ("div", "rcp") and lane[-1] == 0):
                assert same(got[k:k + 1], plain[k:k + 1]).all(), (row[0], lane, got[k], plain[k])
            else:
                exact = row[3](*map(Fraction, lane))
                assert neighbour(exact, got[k], type_, mode), (row[0], lane, got[k])
                if exact == 0 and mode != "rm":
                    assert same(got[k:k + 1], plain[k:k + 1]), (row[0], lane, got[k])
                elif exact == 0 and name in ("add", "sub"):  # -0, but for two positive zeros
                    second = lane[1] if name == "add" else -lane[1]
                    positive = lane[0] == 0 and not np.signbit(lane[0]) and not np.signbit(second)
                    assert np.signbit(got[k]) != positive, (row[0], lane, got[k])
