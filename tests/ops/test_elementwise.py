"""Every elementwise function against NumPy or SciPy, over dtypes and layouts."""

from __future__ import annotations

import math

import flambeau as fb
import numpy as np
import pytest
import scipy.special as sp
from cases import ALL, FLOATS, INTEGERS, array, check, layouts

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

# name, reference, lowest and highest argument
FLOAT_UNARY = [
    ("sqrt", np.sqrt, 0, 9), ("exp", np.exp, -4, 4), ("exp2", np.exp2, -4, 4),
    ("expm1", np.expm1, -4, 4), ("log", np.log, 0.1, 9), ("log2", np.log2, 0.1, 9),
    ("log10", np.log10, 0.1, 9), ("log1p", np.log1p, -0.9, 9), ("sin", np.sin, -7, 7),
    ("cos", np.cos, -7, 7), ("tan", np.tan, -1.4, 1.4), ("asin", np.arcsin, -1, 1),
    ("acos", np.arccos, -1, 1), ("atan", np.arctan, -9, 9), ("sinh", np.sinh, -3, 3),
    ("cosh", np.cosh, -3, 3), ("tanh", np.tanh, -3, 3), ("asinh", np.arcsinh, -9, 9),
    ("acosh", np.arccosh, 1, 9), ("atanh", np.arctanh, -0.9, 0.9), ("erf", sp.erf, -3, 3),
    ("erfc", sp.erfc, -3, 3), ("cbrt", np.cbrt, -9, 9), ("lgamma", sp.gammaln, 0.2, 9),
    ("digamma", sp.psi, 0.2, 9), ("sigmoid", sp.expit, -6, 6),
    ("softplus", lambda x: np.logaddexp(x, x.dtype.type(0)), -9, 9),
    ("reciprocal", lambda x: 1 / x, 0.5, 9), ("rsqrt", lambda x: 1 / np.sqrt(x), 0.5, 9),
    ("log_sigmoid", lambda x: -np.logaddexp(x.dtype.type(0), -x), -9, 9),
    ("silu", lambda x: x * sp.expit(x), -6, 6),
    ("mish", lambda x: x * np.tanh(np.logaddexp(x, x.dtype.type(0))), -6, 6),
    ("tanhshrink", lambda x: x - np.tanh(x), 0.5, 3), ("sinc", np.sinc, -3, 3),
    ("softsign", lambda x: x / (1 + abs(x)), -5, 5), ("frac", lambda x: x - np.trunc(x), -5, 5),
    ("hard_sigmoid", lambda x: np.clip(x + 3, 0, 6) / 6, -5, 5),
    ("hard_swish", lambda x: x * np.clip(x + 3, 0, 6) / 6, -5, 5),
    ("deg2rad", np.deg2rad, -180, 180), ("rad2deg", np.rad2deg, -3, 3),
    ("erfinv", sp.erfinv, -0.9, 0.9), ("logit", sp.logit, 0.1, 0.9),
    ("gelu", lambda x: x * sp.ndtr(x), -3, 3), ("elu", lambda x: np.where(x > 0, x, np.expm1(x)),
                                                  -3, 3),
    ("selu", lambda x: 1.0507009873554805 * np.where(
        x > 0, x, 1.6732632423543772 * np.expm1(x)), -3, 3),
    ("leaky_relu", lambda x: np.where(x > 0, x, 0.01 * x), -3, 3),
    ("softshrink", lambda x: np.where(x > 0.5, x - 0.5, np.where(x < -0.5, x + 0.5, 0)), -3, 3),
    ("hardshrink", lambda x: np.where(abs(x) > 0.5, x, 0), -3, 3),
    ("hard_tanh", lambda x: np.clip(x, -1, 1), -3, 3),
]


# at special values the reference's formula, not the function, differs
UNLIKE = ("lgamma", "digamma", "logit", "erfinv", "sinc", "elu", "selu", "gelu", "softshrink",
          "hardshrink", "mish", "silu", "hard_swish", "frac", "tanhshrink", "softsign")


@pytest.mark.parametrize("name, reference, low, high", FLOAT_UNARY, ids=lambda v: str(v)[:12])
def test_float_unary(name, reference, low, high):
    for dtype in FLOATS:
        for t, a in layouts(dtype, low, high):
            if a.shape == (8,) and name in UNLIKE:
                continue
            wide = a.astype(np.float64)
            expected = reference(wide).astype(dtype)
            check(getattr(fb, name)(t), expected, dtype, message=f"{name} {dtype} {a.shape}")
    if name != "hard_tanh":
        found = getattr(fb, name)(fb.tensor(np.array([1], np.int32)))
        assert found.dtype is fb.float32
        assert getattr(fb, name)(fb.tensor([True])).dtype is fb.float32


SAME_UNARY = [
    ("neg", np.negative, (*INTEGERS, *FLOATS)), ("sign", np.sign, (*INTEGERS, *FLOATS)),
    ("abs", np.abs, ALL), ("floor", np.floor, ALL), ("ceil", np.ceil, ALL),
    ("trunc", np.trunc, ALL), ("round", np.round, (*INTEGERS, *FLOATS)), ("square", np.square, ALL),
    ("positive", lambda x: x, ALL), ("relu", lambda x: np.where(x > 0, x, x.dtype.type(0)), ALL),
    ("relu6", lambda x: np.clip(x, 0, 6), (*INTEGERS, *FLOATS)),
    ("invert", np.invert, ("bool", *INTEGERS)),
]


@pytest.mark.parametrize("name, reference, dtypes", SAME_UNARY, ids=lambda v: str(v)[:12])
def test_same_unary(name, reference, dtypes):
    for dtype in dtypes:
        for t, a in layouts(dtype, -4, 8):
            expected = reference(a)
            if a.dtype.kind == "f" and name in ("relu", "relu6"):
                expected = np.where(np.isnan(a), a, expected)
            check(getattr(fb, name)(t), np.asarray(expected).astype(dtype), dtype,
                  message=f"{name} {dtype}")


@pytest.mark.parametrize("name", ["isnan", "isinf", "isfinite", "signbit", "logical_not",
                                  "isposinf", "isneginf"])
def test_questions(name):
    reference = getattr(np, name)
    for dtype in ALL:
        if name in ("signbit", "isposinf", "isneginf") and not dtype.startswith("float"):
            continue
        for t, a in layouts(dtype):
            check(getattr(fb, name)(t), reference(a), "bool", message=f"{name} {dtype}")
    check(fb.signbit(fb.tensor([-1, 0, 2])), [True, False, False])


def floor_divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """NumPy's; of infinities the floor of the quotient, as the Array API standard prefers."""
    found = np.floor_divide(a, b)
    if found.dtype.kind != "f":
        return found
    return np.where(np.isinf(a) | np.isinf(b), np.floor(np.true_divide(a, b)), found)


BINARY = [
    ("add", np.add, ALL), ("sub", np.subtract, (*INTEGERS, *FLOATS)), ("mul", np.multiply, ALL),
    ("maximum", np.maximum, ALL), ("minimum", np.minimum, ALL),
    ("floor_divide", floor_divide, (*INTEGERS, *FLOATS)),
    ("remainder", np.remainder, (*INTEGERS, *FLOATS)), ("fmod", np.fmod, (*INTEGERS, *FLOATS)),
    ("bitwise_and", np.bitwise_and, ("bool", *INTEGERS)),
    ("bitwise_or", np.bitwise_or, ("bool", *INTEGERS)),
    ("bitwise_xor", np.bitwise_xor, ("bool", *INTEGERS)),
    ("left_shift", np.left_shift, INTEGERS), ("right_shift", np.right_shift, INTEGERS),
    ("div", np.true_divide, FLOATS), ("atan2", np.arctan2, FLOATS), ("hypot", np.hypot, FLOATS),
    ("logaddexp", np.logaddexp, FLOATS), ("copysign", np.copysign, FLOATS),
]
COMPARE = [(n, getattr(np, m), ALL) for n, m in (
    ("eq", "equal"), ("ne", "not_equal"), ("lt", "less"), ("le", "less_equal"), ("gt", "greater"),
    ("ge", "greater_equal"), ("logical_and", "logical_and"), ("logical_or", "logical_or"),
    ("logical_xor", "logical_xor"))]


def _divisor(name: str, b: np.ndarray) -> np.ndarray:
    if name in ("floor_divide", "remainder", "fmod") and b.dtype.kind in "iu":
        return np.where(b == 0, b.dtype.type(1), b).astype(b.dtype)
    if name.endswith("_shift"):
        return (np.abs(b.astype(np.int64)) % 4).astype(b.dtype)
    return b


@pytest.mark.parametrize("name, reference, dtypes", BINARY + COMPARE, ids=lambda v: str(v)[:14])
def test_binary(name, reference, dtypes):
    f = getattr(fb, name)
    for dtype in dtypes:
        for t, a in layouts(dtype):
            b = _divisor(name, array(dtype, a.shape, 7))
            expected = reference(a, b)
            check(f(t, fb.tensor(b)), expected, str(expected.dtype), message=f"{name} {dtype}")
    a, b = array(dtypes[-1], (4, 1, 3), 3), _divisor(name, array(dtypes[-1], (5, 1), 4))
    check(f(fb.tensor(a), fb.tensor(b)), reference(a, b), message=f"{name} broadcast")


@pytest.mark.parametrize("op", ["+", "-", "*", "/", "//", "%", "**", "<", "<=", ">", ">=", "==",
                                "!="])
def test_operators_with_numbers_and_arrays(op):
    run = eval(f"lambda x, y: x {op} y")
    a = array("float32", (3, 4), 5, 0.5, 3)
    t = fb.tensor(a)
    for other in (2, 2.5, 0, 1, True, np.float32(1.5), np.float64(1.5), array("float32", (4,), 6)):
        expected = run(a, other)
        check(run(t, other), expected, str(expected.dtype), message=f"t {op} {other!r}")
    for other in (2, 2.5, 3, np.float64(1.5), array("float32", (4,), 6)):
        expected = run(other, a)
        check(run(other, t), expected, str(expected.dtype), message=f"{other!r} {op} t")


def test_weak_python_numbers():
    assert (fb.tensor([1], dtype=fb.int8) + 1).dtype is fb.int8
    assert (fb.tensor([1], dtype=fb.int8) + 1.5).dtype is fb.float32
    assert (fb.tensor([True]) + 1).dtype is fb.int64
    assert (fb.tensor([1.0], dtype=fb.float16) * 3.5).dtype is fb.float16
    assert (fb.tensor([1], dtype=fb.uint8) / fb.tensor([2], dtype=fb.uint8)).dtype is fb.float32
    check(fb.tensor([250], dtype=fb.uint8) > 300, [False])
    check(fb.tensor([250], dtype=fb.uint8) < 300, [True])
    check(fb.tensor([1, -1]) > -5, [True, True])


def test_pow():
    for dtype in (*INTEGERS, *FLOATS):
        a = array(dtype, (5,), 1, 1, 4)
        for k in (0, 1, 2, 3):
            check(fb.tensor(a) ** k, a ** k, dtype)
    a = array("float64", (5,), 1, 0.5, 4)
    for k in (-1, -2, 0.5, -0.5, 1.7):
        check(fb.tensor(a) ** k, a ** k, "float64")
    b = array("float64", (5,), 2, -2, 2)
    check(fb.tensor(a) ** fb.tensor(b), a ** b)
    check(2.0 ** fb.tensor(b), 2.0 ** b)


def test_where_clamp_lerp_addcmul():
    a, b = array("float32", (3, 4), 1), array("float32", (4,), 2)
    t, u = fb.tensor(a), fb.tensor(b)
    check(fb.where(t > 0, t, u), np.where(a > 0, a, b), "float32")
    check(fb.where(t > 0, t, 0), np.where(a > 0, a, 0), "float32")
    check(t.where(t > 0, u), np.where(a > 0, a, b))
    check((t > 0).where(1, -1), np.where(a > 0, 1, -1), "int64")
    check(t.clamp(-1, 1), np.clip(a, -1, 1), "float32")
    check(t.clamp(min=0.5), np.maximum(a, np.float32(0.5)))
    check(t.clamp(max=u), np.minimum(a, b))
    check(fb.lerp(t, u, 0.25), a + np.float32(0.25) * (b - a))
    check(fb.addcmul(t, u, u, value=2), a + 2 * b * b)
    check(fb.addcdiv(t, u, u, value=0.5), a + 0.5)
    check(fb.add(t, u, alpha=3), a + 3 * b)
    check(fb.sub(t, u, alpha=3), a - 3 * b)
    check(fb.heaviside(t, 0.5), np.heaviside(a, np.float32(0.5)))
    check(fb.threshold(t, 0.1, 20), np.where(a > np.float32(0.1), a, 20))
    check(fb.xlogy(fb.tensor([0.0, 2.0, 0.0]), fb.tensor([0.0, 3.0, math.nan])),
          [0, 2 * math.log(3), math.nan])
    special = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    check(fb.nan_to_num(fb.tensor(special)), np.nan_to_num(special))
    check(fb.tensor([2.345, -1.25]).round(1), np.round([2.345, -1.25], 1), "float32")
    check(fb.gelu(t, "tanh"), 0.5 * a * (1 + np.tanh(np.sqrt(2 / np.pi) * (a + 0.044715 * a**3))),
          tolerance=1e-5)


def test_isclose():
    a = np.array([1, 1 + 1e-9, np.nan, np.inf, -np.inf, 0])
    b = np.array([1, 1, np.nan, np.inf, np.inf, 1e-9])
    for equal_nan in (False, True):
        check(fb.isclose(fb.tensor(a), fb.tensor(b), equal_nan=equal_nan),
              np.isclose(a, b, equal_nan=equal_nan))
    assert fb.allclose(fb.tensor([1.0]), fb.tensor([1.0]))
    assert fb.equal(fb.tensor([1, 2]), [1, 2])
    assert not fb.array_equal(fb.tensor([1, 2]), [1, 2, 3])


def test_integers_wrap_and_division_by_zero_gives_zero():
    t = fb.tensor([127, -128], dtype=fb.int8)
    check(t + 1, [-128, -127], "int8")
    zero = fb.tensor([0, 0], dtype=fb.int8)
    check(t // zero, [0, 0], "int8")
    check(t % zero, [0, 0], "int8")


def test_floor_division_of_infinities():
    """The standard lets a library give Python's NaN and -1 here and prefers floor(x / y)."""
    x = fb.tensor([np.inf, np.inf, -np.inf, -np.inf, 1.0, -1.0, 1.0, np.inf, np.nan])
    y = fb.tensor([2.0, -2.0, 2.0, -2.0, -np.inf, np.inf, np.inf, np.inf, np.inf])
    want = [np.inf, -np.inf, -np.inf, np.inf, -0.0, -0.0, 0.0, np.nan, np.nan]
    for found in (x // y, fb.floor_divide(x, y), x.clone().floor_divide_(y)):
        assert str(found.tolist()) == str(want)


def test_out():
    a = array("float32", (3,), 1)
    out = fb.empty(3)
    for name in ("exp", "neg", "abs", "reciprocal", "square", "relu"):
        found = getattr(fb, name)(fb.tensor(a), out=out)
        assert found is out
        check(out, getattr(fb, name)(fb.tensor(a)).numpy())
    assert fb.add(fb.tensor(a), 1, out=out) is out
    check(out, a + 1)
    double = fb.empty(3, dtype=fb.float64)
    fb.mul(fb.tensor(a), 2, out=double)
    check(double, a * 2, "float64")


def test_bfloat16():
    t = fb.tensor([1.0, 2.5, 3.0], dtype=fb.bfloat16)
    assert (t * 2).dtype is fb.bfloat16
    np.testing.assert_array_equal((t * 2).numpy(), [2.0, 5.0, 6.0])
    assert (t + fb.tensor([1.0], dtype=fb.float16)).dtype is fb.float32
    assert t.tolist() == [1.0, 2.5, 3.0]


IN_PLACE = ["neg_", "abs_", "exp_", "sqrt_", "tanh_", "sigmoid_", "floor_", "reciprocal_", "relu_",
            "square_", "log1p_", "sin_"]


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_unary(name):
    a = array("float32", (4, 6), 1, 0.1, 3)
    t = fb.tensor(a)
    view = t.t()[2:4]
    expected = getattr(fb, name[:-1])(fb.tensor(a.T[2:4])).numpy()
    assert getattr(view, name)() is view
    a = a.copy()
    a.T[2:4] = expected
    check(t, a)


def test_in_place_binary():
    a, b = array("float32", (4, 3), 1, 1, 3), array("float32", (3,), 2, 1, 3)
    t, u = fb.tensor(a), fb.tensor(b)
    for name, op in (("add_", np.add), ("sub_", np.subtract), ("mul_", np.multiply),
                     ("div_", np.divide), ("pow_", np.power), ("fmod_", np.fmod),
                     ("maximum_", np.maximum), ("atan2_", np.arctan2)):
        getattr(t, name)(u)
        op(a, b, out=a)
        check(t, a, "float32", message=name)
    t += 1
    t -= u
    t *= 2.0
    t /= u
    check(t, (a + 1 - b) * 2 / b)
    i = fb.tensor([1, 2, 3])
    i <<= 2
    i |= 1
    i //= 2
    i %= 3
    check(i, ((np.array([1, 2, 3]) << 2) | 1) // 2 % 3)
    t.fill_(2).addcmul_(t, t, value=3).clamp_(max=5).lerp_(fb.tensor(0.0), 0.5)
    check(t, np.full((4, 3), 2.5))
    t.zero_()
    check(t, np.zeros((4, 3)))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
                                   "uint64"])
def test_vectors_of_integers_divide_exactly(dtype: str) -> None:
    """Quotients come from floats; those next to an integer are where these could be wrong. All
    sizes of divisors, multiples of them and their neighbours, the ends of the type."""
    info, rng = np.iinfo(dtype), np.random.default_rng(5)
    ends = np.array([v for v in (info.min, info.min + 1, -1, 0, 1, 2, 3, info.max - 1, info.max)
                     if v >= info.min], dtype)
    y = rng.integers(info.min, info.max, 8000, dtype, endpoint=True)
    y = y >> rng.integers(0, info.bits, y.size).astype(dtype)
    y = np.concatenate([ends.repeat(ends.size), y])
    y[y == 0] = 7
    with np.errstate(all="ignore"):
        some = rng.integers(info.min, info.max, y.size, dtype, endpoint=True)
        near = some // y * y + rng.integers(0, 3, y.size).astype(dtype) - y.dtype.type(1)
        x = np.where(rng.integers(0, 2, y.size) == 0, near, some)
    x[:ends.size ** 2] = np.tile(ends, ends.size)
    t, u = fb.tensor(x, dtype=dtype), fb.tensor(y, dtype=dtype)
    with np.errstate(all="ignore"):
        for ours, theirs in ((fb.floor_divide, np.floor_divide), (fb.remainder, np.remainder),
                             (fb.fmod, np.fmod)):
            np.testing.assert_array_equal(ours(t, u).numpy(), theirs(x, y))
            for one in {int(v) for v in (*ends, 7, info.max // 3)} - {0}:  # outside the loop
                np.testing.assert_array_equal(ours(t, one).numpy(), theirs(x, x.dtype.type(one)))
    assert not fb.floor_divide(t, fb.zeros_like(u)).numpy().any()


@pytest.mark.parametrize("target", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
                                    "uint64"])
@pytest.mark.parametrize("source", ["float16", "float32", "float64"])
def test_vectors_of_floats_become_the_nearest_integers(source: str, target: str) -> None:
    info = np.iinfo(target)
    ends = [float(info.min), float(info.max), info.min - 1.0, info.max + 1.0, 0.9, -0.9, -0.0,
            np.inf, -np.inf, np.nan, 1e30, -1e30, 1.5, -2.5]
    with np.errstate(over="ignore"):
        x = np.array(ends * 9).astype(source)
        x = np.concatenate([x, np.nextafter(x, x.dtype.type(0))])
    want = [0 if v != v else info.min if v <= info.min else info.max if v >= info.max else int(v)
            for v in x.astype("float64").tolist()]
    found = fb.tensor(x, dtype=source).to(getattr(fb, target)).numpy()
    np.testing.assert_array_equal(found, np.array(want, target))
