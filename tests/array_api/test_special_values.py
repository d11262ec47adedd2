"""Special values of the complex functions: the tables of the Array API standard 2025.12.

special_values.json holds them, a row a case: the kind of the real part, the kind of the imaginary
part, and the two parts of the result ("±" where the sign is open), or one formula with cis(b). What
the tables leave out follows from the conjugate, from parity, and for the circular functions from
the hyperbolic ones by a quarter turn.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import flambeau.array_api as xp
import numpy as np
import pytest

TABLES = json.loads((Path(__file__).parent / "special_values.json").read_text())
FINITE = (0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0, 40.0, -40.0, 1e30, -1e30, 1e-30)
VALUES = (*FINITE, math.inf, -math.inf, math.nan)
POINTS = np.array([complex(a, b) for a in VALUES for b in VALUES])
ODD = ("asinh", "atanh", "sinh", "tanh")
TURNED = {"sin": "sinh", "tan": "tanh", "asin": "asinh", "atan": "atanh"}


def is_kind(kind: str, v: float) -> bool:
    """Is a part of an operand of the kind that a table names?"""
    if kind in ("finite", "finite nonzero", "finite positive"):
        return math.isfinite(v) and ("nonzero" not in kind or v != 0) and (
            "positive" not in kind or v > 0)
    if kind in ("any", "nonzero"):
        return kind == "any" or (v == v and v != 0)
    return same(v, float(kind), kind not in ("0", "inf"))


def same(found: float, want: float, signs: bool = True) -> bool:
    if math.isnan(want):
        return math.isnan(found)
    near = math.isclose(abs(found), abs(want), rel_tol=1e-6)
    return near and (not signs or math.copysign(1, found) == math.copysign(1, want))


def number(text: str) -> float:
    """'3pi/4', '-inf', '0' as a float."""
    top, _, bottom = text.partition("/")
    factor = top.removesuffix("pi")
    value = float(factor + "1" if factor in ("", "-") else factor)
    return value * (math.pi if top.endswith("pi") else 1) / float(bottom or 1)


def fits(found: complex, wanted: list[str], b: float) -> bool:
    if len(wanted) == 1:
        size = math.inf if "inf" in wanted[0] else 0.0
        shift = 1.0 if wanted[0].endswith("- 1.0") else 0.0
        return (same(found.real, size * math.cos(b) - shift)
                and same(found.imag, size * math.sin(b)))
    return all(same(part, number(text.lstrip("±")), "±" not in text)
               for part, text in zip((found.real, found.imag), wanted))


def evaluated(name: str, points: np.ndarray) -> np.ndarray:
    return getattr(xp, name)(xp.asarray(points)).numpy()


@pytest.mark.parametrize("kind", ["complex64", "complex128"])
@pytest.mark.parametrize("name", TABLES)
def test_tables(name: str, kind: str) -> None:
    with np.errstate(over="ignore"):
        points = POINTS.astype(kind)
    found = evaluated(name, points)
    met = [False] * len(TABLES[name])
    for z, w in zip(points.tolist(), found.tolist()):
        for i, (a, b, *wanted) in enumerate(TABLES[name]):
            if is_kind(a, z.real) and is_kind(b, z.imag):
                assert fits(w, wanted, z.imag), (z, w, TABLES[name][i])
                met[i] = True
                break
    assert sum(met) >= len(met) - 1  # a NaN row that an earlier one covers


@pytest.mark.parametrize("name", [*TABLES, "log2", "log10"])
def test_symmetries(name: str) -> None:
    """f(conj z) is conj f(z), odd functions are odd, signs of zeros included."""
    found = evaluated(name, POINTS)
    mirrored = evaluated(name, POINTS.conj())
    assert all(alike(m, w.conjugate(), not math.isnan(z.imag))
               for z, m, w in zip(POINTS.tolist(), mirrored.tolist(), found.tolist()))
    if name in ODD:
        opposite = evaluated(name, -POINTS)
        assert all(alike(o, -w) for o, w in zip(opposite.tolist(), found.tolist()))
    if name == "cosh":
        opposite = evaluated(name, -POINTS)
        assert all(alike(o, w) for o, w in zip(opposite.tolist(), found.tolist()))


@pytest.mark.parametrize("name", TURNED)
def test_circular_functions_are_hyperbolic_ones_turned(name: str) -> None:
    """f(z) = -i g(iz), with exact turns."""
    turned = [complex(-z.imag, z.real) for z in POINTS.tolist()]
    want = [complex(w.imag, -w.real)
            for w in evaluated(TURNED[name], np.array(turned)).tolist()]
    assert all(alike(w, v) for w, v in zip(evaluated(name, POINTS).tolist(), want))


def test_cosine() -> None:
    turned = np.array([complex(-z.imag, z.real) for z in POINTS.tolist()])
    found = evaluated("cos", POINTS).tolist()
    assert all(alike(w, v) for w, v in zip(found, evaluated("cosh", turned).tolist()))


def alike(found: complex, want: complex, signs: bool = True) -> bool:
    """The same parts; a part beside a NaN has either sign."""
    signs = signs and want == want
    return all(same(f, w, signs)
               for f, w in zip((found.real, found.imag), (want.real, want.imag)))


@pytest.mark.parametrize(("name", "wanted"), [
    ("abs", lambda z: math.inf if math.isinf(z.real) or math.isinf(z.imag)
     else math.hypot(z.real, z.imag)),
    ("isnan", lambda z: z != z), ("isfinite", lambda z: math.isfinite(z.real + 0 * z.imag)),
    ("isinf", lambda z: math.isinf(z.real) or math.isinf(z.imag)),
])
def test_real_answers(name: str, wanted: object) -> None:
    found = evaluated(name, POINTS).tolist()
    for z, f in zip(POINTS.tolist(), found):
        w = wanted(z)  # type: ignore[operator]
        assert same(f, w) if name == "abs" else f is w, (z, f, w)


def test_signs() -> None:
    for z, w in zip(POINTS.tolist(), evaluated("sign", POINTS).tolist()):
        if z != z:
            assert math.isnan(w.real) and math.isnan(w.imag), (z, w)
        elif z == 0:
            assert same(w.real, 0.0) and same(w.imag, 0.0), (z, w)
        elif math.isfinite(abs(z)):
            assert abs(w - z / abs(z)) < 1e-12, (z, w)
