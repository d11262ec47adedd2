"""Floats beyond the four operations: conversions, narrow types, min and max, .approx."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from emulator.machine import Machine
from emulator.snippets import launch, module, refused
from emulator.test_instructions import COUNT, KINDS, Row, bits_of, neighbour, run_loaded, text_of
from emulator.types import from_bf16, rounded

FLOATS = ("f16", "bf16", "f32", "f64")
DIGITS = {"f16": (10, 5), "bf16": (7, 8), "f32": (23, 8), "f64": (52, 11)}


def value(bits: int, type_: str) -> float:
    """The number behind an IEEE pattern, by hand."""
    fraction, exponent = DIGITS[type_]
    bias = (1 << (exponent - 1)) - 1
    low, high = bits & ((1 << fraction) - 1), bits >> fraction & ((1 << exponent) - 1)
    sign = -1.0 if bits >> (fraction + exponent) else 1.0
    if high == (1 << exponent) - 1:
        return sign * math.inf if low == 0 else math.nan
    if high == 0:
        return sign * math.ldexp(low, 1 - bias - fraction)
    return sign * math.ldexp(low + (1 << fraction), high - bias - fraction)


def numbers(array: np.ndarray, type_: str) -> list[float]:
    if type_ in KINDS and type_[0] != "f" and type_ != "bf16":
        return array.tolist()
    bits = array.view(f"u{array.itemsize}").tolist()
    return [value(b, type_) for b in bits]


def right(exact: Fraction, got: float, type_: str, mode: str) -> bool:
    """Is got the float of the type that exact rounds to?"""
    if type_ != "bf16":
        return neighbour(exact, got, type_, mode)
    if math.isinf(got):
        limit, step = Fraction(value(0x7F7F, "bf16")), Fraction(2) ** 120
        return abs(exact) >= limit + step / 2 if mode == "rn" else abs(exact) > limit
    unit = Fraction(2) ** (max(math.frexp(got)[1], -125) - 8) if got else Fraction(2) ** -133
    gap = abs(exact - Fraction(got))
    if mode == "rn":
        even = abs(int(Fraction(got) / unit)) % 2 == 0
        inner = unit / 2 if math.frexp(abs(got))[0] == 0.5 and \
            abs(exact) < abs(got) and abs(got) > 2.0 ** -126 else unit
        return gap < inner / 2 or (gap == inner / 2 and even)
    below = Fraction(got) <= exact
    return gap < unit and (below if mode == "rm" or (mode == "rz" and exact > 0) else
                           Fraction(got) >= exact)


def check(rows: list[Row], judge: Callable[[Row, list[Any], float], bool], sm: int = 90) -> None:
    """Every row is accepted by ptxas, and every lane's result satisfies the judge."""
    text = module(*(text_of(r, f"k{i}") for i, r in enumerate(rows)), sm=sm, version="8.6")
    assert refused(text, sm) == ""
    machine = Machine(4 << 20, sm=sm)
    loaded = machine.load(text)
    wrong = []
    for i, row in enumerate(rows):
        got, given = run_loaded(machine, loaded, row, f"k{i}")
        results = numbers(got, row[2])
        lanes = list(zip(*(numbers(g, t) for g, t in zip(given, row[1].split()))))
        for k in range(COUNT):
            if not judge(row, list(lanes[k]), results[k]):
                wrong.append(f"{row[0]}: {lanes[k]} -> {results[k]!r}")
                break
    assert not wrong, "\n".join(wrong)


# -- conversions -------------------------------------------------------------------------------

def conversions() -> list[Row]:
    rows: list[Row] = []
    modes = ("rn", "rz", "rm", "rp")
    for a in FLOATS:
        for b in FLOATS:
            if bits_of(b) < bits_of(a):
                allowed = modes if (a, b) == ("f64", "f32") else ("rn", "rz") if b == "bf16" \
                    else ("rn",)
                if "bf16" in (a, b) and a == "f64":
                    allowed = ("rn",)
                rows += [(f"cvt.{m}.{b}.{a} $o, $a", a, b, lambda x: x) for m in allowed]
            elif bits_of(b) > bits_of(a):
                rows.append((f"cvt.{b}.{a} $o, $a", a, b, lambda x: x))
    for a in ("u16", "s16", "u32", "s32", "u64", "s64"):
        for b in FLOATS:
            for m in modes if b in ("f32", "f64") else ("rn",):
                rows.append((f"cvt.{m}.{b}.{a} $o, $a", a, b, lambda x: x))
    return rows


def test_conversions_round_to_the_right_neighbour() -> None:
    def judge(row: Row, lane: list[Any], got: float) -> bool:
        (x,) = lane
        if isinstance(x, float) and not math.isfinite(x):
            return got == x or (got != got and x != x)
        if x == 0:
            return got == 0 and (isinstance(x, int) or math.copysign(1, x) == math.copysign(1, got))
        mode = next((m for m in row[0].split()[0].split(".") if m in ("rz", "rm", "rp")), "rn")
        return right(Fraction(x), got, row[2], mode)
    check(conversions(), judge)


def test_saturation_and_relu() -> None:
    rows: list[Row] = [
        ("cvt.sat.f32.f32 $o, $a", "f32", "f32", lambda x: 0.0 if x != x else min(max(x, 0), 1)),
        ("add.sat.f32 $o, $a, $b", "f32 f32", "f32",
         lambda a, b: 0.0 if a + b != a + b else min(max(a + b, 0.0), 1.0)),
        ("fma.rn.sat.f32 $o, $a, $b, $c", "f32 f32 f32", "f32",
         lambda a, b, c: 0.0 if a * b + c != a * b + c else min(max(a * b + c, 0.0), 1.0)),
        ("cvt.rn.relu.bf16.f32 $o, $a", "f32", "bf16", lambda x: x if x != x else max(x, 0.0)),
        ("cvt.rn.relu.f16.f32 $o, $a", "f32", "f16", lambda x: x if x != x else max(x, 0.0))]

    def judge(row: Row, lane: list[Any], got: float) -> bool:
        want = row[3](*lane)
        near = abs(want) * 0.004 + 1e-7
        return got == want or (got != got and want != want) or abs(got - want) <= near or \
            (math.isinf(got) and abs(want) > 60000)
    check(rows, judge)


def test_flushing_subnormals() -> None:
    def flat(x: float) -> float:
        return math.copysign(0.0, x) if abs(x) < 2.0 ** -126 else x

    rows: list[Row] = [
        ("mul.ftz.f32 $o, $a, $b", "f32 f32", "f32", lambda a, b: flat(a) * flat(b)),
        ("add.ftz.f32 $o, $a, $b", "f32 f32", "f32", lambda a, b: flat(a) + flat(b)),
        ("abs.ftz.f32 $o, $a", "f32", "f32", lambda a: abs(flat(a))),
        ("neg.ftz.f32 $o, $a", "f32", "f32", lambda a: -flat(a)),
        ("min.ftz.f32 $o, $a, $b", "f32 f32", "f32",
         lambda a, b: flat(b) if a != a else flat(a) if b != b else min(flat(a), flat(b)))]

    def judge(row: Row, lane: list[Any], got: float) -> bool:
        with np.errstate(all="ignore"):
            want = flat(float(np.float32(row[3](*lane))))
        return got == want or (got != got and want != want)
    check(rows, judge)


def test_halves_in_pairs() -> None:
    rows: list[Row] = [("cvt.rn.f16x2.f32 $o, $a, $b", "f32 f32", "b32", lambda a, b: 0),
                       ("cvt.rn.bf16x2.f32 $o, $a, $b", "f32 f32", "b32", lambda a, b: 0),
                       ("cvt.rz.f16x2.f32 $o, $a, $b", "f32 f32", "b32", lambda a, b: 0)]

    def judge(row: Row, lane: list[Any], got: float) -> bool:
        parts = row[0].split()[0].split(".")
        type_, mode = parts[2].removesuffix("x2"), parts[1]
        for x, half in zip(lane, (int(got) >> 16, int(got) & 0xFFFF)):
            number = value(half, type_)
            if not math.isfinite(x):
                if not (number == x or (x != x and number != number)):
                    return False
            elif not (x == number or right(Fraction(x), number, type_, mode)):
                return False
        return True
    check(rows, judge)


def test_tf32_has_ten_bits() -> None:
    rows: list[Row] = [("cvt.rna.tf32.f32 $o, $a", "f32", "b32", lambda a: 0)]

    def judge(row: Row, lane: list[Any], got: float) -> bool:
        (x,) = lane
        number = value(int(got), "f32")
        if not math.isfinite(x) or x == 0:
            return number == x or number != number
        unit = Fraction(2) ** (max(math.frexp(x)[1], -125) - 11)
        exact = int(abs(Fraction(x)) / unit + Fraction(1, 2)) * unit  # ties away from zero
        return abs(Fraction(number)) == exact if math.isfinite(number) else abs(x) > 3.4e38
    check(rows, judge)


# -- arithmetic in 16 bits, min, max, signs ----------------------------------------------------

def narrow_rows() -> list[Row]:
    rows: list[Row] = []
    for t in ("bf16", "f16"):
        rows += [(f"{name}.rn.{t} $o, $a, $b", f"{t} {t}", t, f) for name, f in
                 {"add": Fraction.__add__, "sub": Fraction.__sub__,
                  "mul": Fraction.__mul__}.items()]
        rows.append((f"fma.rn.{t} $o, $a, $b, $c", f"{t} {t} {t}", t, lambda a, b, c: a * b + c))
    return rows


def test_sixteen_bit_arithmetic() -> None:
    def judge(row: Row, lane: list[Any], got: float) -> bool:
        if not all(map(math.isfinite, lane)):
            a, b, *c = lane
            name = row[0][:3]
            plain = {"add": a + b, "sub": a - b, "mul": a * b}.get(name, a * b + (c or [0])[0])
            return got == plain or (got != got and plain != plain)
        exact = row[3](*map(Fraction, lane))
        return got == 0 if exact == 0 else right(exact, got, row[2], "rn")
    check(narrow_rows(), judge)


def extreme(a: float, b: float, smaller: bool, wins: bool) -> float:
    if a != a or b != b:
        return math.nan if wins or (a != a and b != b) else b if a != a else a
    if a == b == 0:
        negative = math.copysign(1, a) < 0, math.copysign(1, b) < 0
        return -0.0 if (any(negative) if smaller else all(negative)) else 0.0
    return min(a, b) if smaller else max(a, b)


def test_extremes_and_signs() -> None:
    rows: list[Row] = []
    for t in FLOATS:
        two = f"{t} {t}"
        for name in ("min", "max"):
            rows.append((f"{name}.{t} $o, $a, $b", two, t,
                         lambda a, b, n=name: extreme(a, b, n == "min", False)))
            if t != "f64":
                rows.append((f"{name}.NaN.{t} $o, $a, $b", two, t,
                             lambda a, b, n=name: extreme(a, b, n == "min", True)))
        rows += [(f"neg.{t} $o, $a", t, t, lambda a: -a), (f"abs.{t} $o, $a", t, t, abs)]
        if t in ("f32", "f64"):
            rows.append((f"copysign.{t} $o, $a, $b", two, t, lambda a, b: math.copysign(b, a)))
    rows.append(("min.xorsign.abs.f32 $o, $a, $b", "f32 f32", "f32", lambda a, b: math.copysign(
        abs(extreme(abs(a), abs(b), True, False)), math.copysign(1, a) * math.copysign(1, b))))

    def judge(row: Row, lane: list[Any], got: float) -> bool:
        want = row[3](*lane)
        return (got != got and want != want) or (
            got == want and math.copysign(1, got) == math.copysign(1, want))
    check(rows, judge)


def test_pairs_of_halves() -> None:
    """.f16x2 and .bf16x2 do to each half what .f16 and .bf16 do."""
    rows: list[Row] = []
    for t in ("f16", "bf16"):
        for name in ("add.rn", "sub.rn", "mul.rn", "min", "max.NaN"):
            rows.append((f"{name}.{t}x2 $o, $a, $b", f"{t}x2 {t}x2", f"{t}x2", lambda a, b: 0))
        rows.append((f"fma.rn.{t}x2 $o, $a, $b, $c", f"{t}x2 {t}x2 {t}x2", f"{t}x2",
                     lambda a, b, c: 0))
        rows.append((f"neg.{t}x2 $o, $a", f"{t}x2", f"{t}x2", lambda a: 0))
    text = module(*(text_of(r, f"k{i}") for i, r in enumerate(rows)), sm=90, version="8.6")
    assert refused(text, 90) == ""
    singles = [(r[0].replace("x2", ""), r[1].replace("x2", ""), r[2].removesuffix("x2"), r[3])
               for r in rows]
    machine = Machine(4 << 20, sm=90)
    wide = machine.load(text)
    thin = machine.load(module(*(text_of(r, f"k{i}") for i, r in enumerate(singles)), sm=90,
                               version="8.6"))
    for i, row in enumerate(rows):
        got, given = run_loaded(machine, wide, row, f"k{i}")
        for half in (0, 16):
            parts = [(g >> half).astype(np.uint16) for g in given]
            (*_, want) = launch(thin, *parts, np.zeros(COUNT, np.uint16), block=COUNT,
                                name=f"k{i}", machine=machine)
            mine = (got >> half).astype(np.uint16)
            t = singles[i][2]
            a, b = (x.view(np.float16) if t == "f16" else from_bf16(x) for x in (mine, want))
            assert ((mine == want) | (np.isnan(a) & np.isnan(b))).all(), row[0]


# -- approximations ----------------------------------------------------------------------------

APPROX: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "ex2.approx.f32": ("f32", np.exp2), "lg2.approx.f32": ("f32", np.log2),
    "sin.approx.f32": ("f32", np.sin), "cos.approx.f32": ("f32", np.cos),
    "tanh.approx.f32": ("f32", np.tanh), "rcp.approx.f32": ("f32", lambda x: 1 / x),
    "sqrt.approx.f32": ("f32", np.sqrt), "rsqrt.approx.f32": ("f32", lambda x: 1 / np.sqrt(x)),
    "sqrt.rn.f32": ("f32", np.sqrt), "sqrt.rn.f64": ("f64", np.sqrt),
    "rsqrt.approx.f64": ("f64", lambda x: 1 / np.sqrt(x)), "ex2.approx.f16": ("f16", np.exp2),
    "tanh.approx.f16": ("f16", np.tanh), "tanh.approx.bf16": ("bf16", np.tanh),
    "ex2.approx.ftz.bf16": ("bf16", np.exp2)}


def test_approximations_are_rounded_once() -> None:
    rows = [(f"{code} $o, $a", t, t, f) for code, (t, f) in APPROX.items()]

    def judge(row: Row, lane: list[Any], got: float) -> bool:
        with np.errstate(all="ignore"):
            want = float(row[3](np.float64(lane[0])))
        if not math.isfinite(want) or want == 0:
            return got == want or (got != got and want != want)
        return got == rounded(Fraction(want), row[2], "rn")
    check(rows, judge)


@pytest.mark.parametrize("kind", ["div.full.f32", "div.approx.f32"])
def test_fast_division(kind: str) -> None:
    def judge(row: Row, lane: list[Any], got: float) -> bool:
        with np.errstate(all="ignore"):
            want = float(np.float32(lane[0]) / np.float32(lane[1]))
        return got == want or (got != got and want != want)
    check([(f"{kind} $o, $a, $b", "f32 f32", "f32", lambda a, b: 0)], judge)
