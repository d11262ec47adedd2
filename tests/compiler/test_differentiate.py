"""Derivatives against finite differences in float64, corners, and odd convolutions."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.algebra import add, compare, flip, like, mul, where
from flambeau.compiler.differentiate import (
    NONDIFFERENTIABLE,
    RULES,
    ZERO,
    NotDifferentiable,
    gradients,
    jvp,
)
from flambeau.compiler.node import Node, elementwise, reduce_
from flambeau.compiler.ops import OPS, Conv
from flambeau.runtime.reference import evaluate
from graph_helpers import leaf, value

Build = Callable[..., Node]
RNG = np.random.default_rng(7)
COVERED: set[str] = set()


def parameters(arrays: list[np.ndarray]) -> list[Node]:
    return [N.node("param", dt.float64, a.shape, (), (i, None)) for i, a in enumerate(arrays)]


def weigh(y: Node) -> Node:
    """A scalar that depends on every element of y in its own way."""
    return reduce_("sum", mul(y, weights(y)), tuple(range(len(y.shape))))


def weights(y: Node) -> Node:
    return leaf(np.random.default_rng(y.size).uniform(0.5, 1.5, y.shape))


def differences(y: Node, src: list[Node], arrays: list[np.ndarray], h: float) -> list[np.ndarray]:
    found = []
    for k, array in enumerate(arrays):
        slope = np.zeros_like(array)
        for at in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                moved = array.copy()
                moved[at] += sign * h
                given = dict(zip(src, [*arrays[:k], moved, *arrays[k + 1:]]))
                ends.append(evaluate([y], given)[0].item())
            slope[at] = (ends[0] - ends[1]) / (2 * h)
        found.append(slope)
    return found


def check(build: Build, *arrays: np.ndarray, second: bool = True, h: float = 1e-5) -> None:
    """First and second derivatives of build(*nodes) at arrays against central differences."""
    src = parameters(list(arrays))
    y = build(*src)
    COVERED.update(n.op for n in N.toposort([y]))
    loss = weigh(y)
    grads = gradients([loss], [like(loss, 1)], src)
    compare_to_differences(loss, grads, src, list(arrays), h)
    if second:
        known = [g for g in grads if g is not None]
        total = like(loss, 0)
        for g in known:
            if g.size:
                total = add(total, N.reshape(weigh(g), total.shape))
        again = gradients([total], [like(total, 1)], src)
        compare_to_differences(total, again, src, list(arrays), h)


def compare_to_differences(y: Node, grads: list[Node | None], src: list[Node],
                           arrays: list[np.ndarray], h: float) -> None:
    expected = differences(y, src, arrays, h)
    given = dict(zip(src, arrays))
    for g, e, s in zip(grads, expected, src):
        got = np.zeros(s.shape) if g is None else evaluate([g], given)[0]
        scale = max(1.0, float(np.abs(e).max(initial=0)))
        np.testing.assert_allclose(got, e, rtol=1e-5, atol=2e-6 * scale)


def away(*shape: int, low: float = 0.3, high: float = 1.8) -> np.ndarray:
    return RNG.uniform(low, high, shape)


def signed(*shape: int) -> np.ndarray:
    return away(*shape) * RNG.choice([-1.0, 1.0], shape)


def test_every_op_is_classified() -> None:
    tables = [set(RULES), set(ZERO), set(NONDIFFERENTIABLE)]
    assert set().union(*tables) == set(OPS)
    assert sum(map(len, tables)) == len(OPS)


ANYWHERE = ["neg", "abs", "exp", "exp2", "expm1", "sin", "cos", "tan", "atan", "sinh", "cosh",
            "tanh", "asinh", "erf", "erfc", "cbrt", "digamma", "lgamma", "sigmoid", "softplus"]
POSITIVE = ["sqrt", "log", "log2", "log10", "log1p"]
INSIDE = ["asin", "acos", "atanh"]


@pytest.mark.parametrize("op", [*ANYWHERE, *POSITIVE, *INSIDE, "acosh"])
def test_one_operand(op: str) -> None:
    x = signed(7) * 0.7 if op in ANYWHERE else away(7)
    x = x / 2 * RNG.choice([-1, 1], 7) if op in INSIDE else x + 1 if op == "acosh" else x
    check(lambda a: elementwise(op, a), x, h=1e-6 if op in ("digamma", "lgamma") else 1e-5)


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "mod", "fmod", "atan2", "hypot",
                                "logaddexp", "maximum", "minimum", "copysign"])
def test_two_operands(op: str) -> None:
    check(lambda a, b: elementwise(op, a, b), signed(6), signed(6))


def test_pow() -> None:
    check(lambda a, b: elementwise("pow", a, b), away(6), signed(6))
    for exponent in (0, 1, 2, 3, -1, 0.5, -1.5):
        check(lambda a, e=exponent: elementwise("pow", a, like(a, e)), away(4))


def test_pow_at_zero() -> None:
    """As PyTorch: 0 for the exponent where base is 0 and exponent is not negative."""
    a, b = leaf(np.array([0.0, 0.0, 0.0, 2.0])), leaf(np.array([2.0, 0.0, 1.0, 0.0]))
    y = elementwise("pow", a, b)
    da, db = gradients([y], [like(y, 1)], [a, b])
    assert value(da).tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(value(db), [0, 0, 0, np.log(2)])


def test_corners() -> None:
    zero = leaf(np.zeros(1))
    for op, expected in (("abs", 0), ("sqrt", np.inf), ("log", np.inf)):
        y = elementwise(op, zero)
        assert value(gradients([y], [like(y, 1)], [zero])[0])[0] == expected
    a, b = leaf(np.array([1.0, 2, 3])), leaf(np.array([1.0, 3, 2]))
    for op, expected in (("maximum", [0.5, 0, 1]), ("minimum", [0.5, 1, 0])):
        y = elementwise(op, a, b)
        da, db = gradients([y], [like(y, 1)], [a, b])
        assert value(da).tolist() == expected
        assert value(add(da, db)).tolist() == [1, 1, 1]
    low = leaf(np.full(1, -np.inf))
    y = elementwise("logaddexp", low, leaf(np.full(1, -np.inf)))
    assert value(gradients([y], [like(y, 1)], [low])[0]).tolist() == [0.5]


def test_where_keeps_nan_inside() -> None:
    x = leaf(np.array([-1.0, 0.0, 4.0]))
    safe = compare("lt", like(x, 0), x)
    y = where(safe, elementwise("log", elementwise("sqrt", x)), mul(x, 3))
    assert value(gradients([y], [like(y, 1)], [x])[0]).tolist() == [3, 3, 0.125]
    check(lambda a: where(compare("lt", a, 0), mul(a, a), elementwise("sin", a)), signed(6))


def test_cast_goes_through_floats_only() -> None:
    x = leaf(np.ones(2, np.float32))
    y = N.cast(x, dt.float64)
    assert gradients([y], [like(y, 2)], [x])[0].dtype is dt.float32
    z = N.cast(N.cast(x, dt.int32), dt.float64)
    assert gradients([z], [like(z, 2)], [x]) == [None]


MOVES: dict[str, Build] = {
    "reshape": lambda x: N.reshape(x, (4, 6)),
    "permute": lambda x: N.permute(x, (2, 0, 1)),
    "slice": lambda x: N.slice_(x, (1, 2, 0), (1, 2, 2), (1, -2, 3)),
    "slice backward": lambda x: flip(x, (0, 2)),
    "empty slice": lambda x: N.slice_(x, (0, 0, 0), (2, 0, 4), (1, 1, 1)),
    "pad": lambda x: N.pad(x, (1, 0, 2), (4, 5, 9), 3, (2, 2, 1)),
    "concat": lambda x: N.concat([x, flip(x, (1,)), N.slice_(x, (0, 1, 0), (2, 1, 4), (1, 1, 1))],
                                 1),
    "sum": lambda x: reduce_("sum", x, (0, 2)),
    "mark": lambda x: N.node("mark", x.dtype, x.shape, (x,), 1),
    "require": lambda x: N.elementwise("require", x, compare("lt", x, 1e9), dtype=x.dtype, arg=""),
    "cumsum": lambda x: N.node("cumsum", x.dtype, x.shape, (x,), 1),
}


@pytest.mark.parametrize("name", MOVES)
def test_linear(name: str) -> None:
    check(lambda x: mul(MOVES[name](x), MOVES[name](x)), signed(2, 3, 4))


def test_expand() -> None:
    check(lambda x: mul(N.expand(x, (2, 3, 4)), N.expand(mul(x, x), (2, 3, 4))), signed(2, 1, 4))


INDEX = (np.array([[1, 0], [1, 1]]), np.array([[2, 0], [2, 1]]))


@pytest.mark.parametrize("k", [1, 2])
def test_gather(k: int) -> None:
    indices = tuple(leaf(i) for i in INDEX[:k])
    x = signed(2, 3)
    rest = (3,) if k == 1 else ()
    check(lambda a: elementwise("sin", N.node("gather", a.dtype, (2, 2, *rest), (a, *indices))), x)


@pytest.mark.parametrize("mode", ["add", "set", "mul", "max", "min"])
@pytest.mark.parametrize("k", [1, 2])
def test_scatter(mode: str, k: int) -> None:
    indices = tuple(leaf(i) for i in INDEX[:k])
    rest = (3,) if k == 1 else ()
    check(lambda b, v: elementwise("sin", N.node("scatter", b.dtype, b.shape, (b, v, *indices),
                                                 mode)), signed(2, 3), signed(2, 2, *rest))


def test_scatter_set_gives_to_the_last() -> None:
    base, v = leaf(np.zeros(2)), leaf(np.ones(3))
    y = N.node("scatter", dt.float64, (2,), (base, v, leaf(np.array([0, 0, 1]))), "set")
    db, dv = gradients([y], [like(y, 1)], [base, v])
    assert (value(db).tolist(), value(dv).tolist()) == ([0, 0], [0, 1, 1])


def test_scatter_mul_with_zeros() -> None:
    """One zero factor of a place has a derivative, of two none has."""
    base, v = leaf(np.array([2.0, 3, 0])), leaf(np.array([0.0, 5, 0, 0, 7]))
    y = N.node("scatter", dt.float64, (3,), (base, v, leaf(np.array([0, 0, 1, 1, 2]))), "mul")
    db, dv = gradients([y], [like(y, 1)], [base, v])
    assert (value(db).tolist(), value(dv).tolist()) == ([0, 0, 7], [10, 0, 0, 0, 0])


def test_put() -> None:
    spec = ((1, 1), (3, -2))
    check(lambda b, v: elementwise("sin", N.node("put", b.dtype, b.shape, (b, v), spec)),
          signed(3, 4), signed(2, 2))


@pytest.mark.parametrize("op", ["prod", "max", "min"])
@pytest.mark.parametrize("axes", [(1,), (0, 2), (0, 1, 2), ()])
def test_reductions(op: str, axes: tuple[int, ...]) -> None:
    check(lambda x: elementwise("sin", reduce_(op, x, axes)), signed(2, 3, 2))


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_prod_and_cumprod_with_zeros(zeros: int) -> None:
    x = signed(2, 5)
    x[0, [3, 1, 4][:zeros]] = 0
    check(lambda a: reduce_("prod", a, (1,)), x)
    check(lambda a: N.node("cumprod", a.dtype, a.shape, (a,), 1), x, second=zeros == 0)


def test_extrema_give_all_to_the_first() -> None:
    x = leaf(np.array([[3.0, 1, 3], [3, 2, 0]]))
    for axes, expected in (((1,), [[1, 0, 0], [1, 0, 0]]), ((0, 1), [[1, 0, 0], [0, 0, 0]]),
                           ((0,), [[1, 0, 1], [0, 1, 0]])):
        y = reduce_("max", x, axes)
        assert value(gradients([y], [like(y, 1)], [x])[0]).tolist() == expected


@pytest.mark.parametrize("op", ["cummax", "cummin"])
def test_running_extrema(op: str) -> None:
    check(lambda x: elementwise("sin", N.node(op, x.dtype, x.shape, (x,), 1)), signed(3, 5))
    x = leaf(np.array([2.0, 2, 1, np.nan, 5]) * (1 if op == "cummax" else -1))
    y = N.node(op, x.dtype, x.shape, (x,), 0)
    assert value(gradients([y], [like(y, 1)], [x])[0]).tolist() == [3, 0, 0, 2, 0]


def test_dot() -> None:
    check(lambda a, b: N.node("dot", a.dtype, (2, 2, 3), (a, b)), signed(2, 2, 4), signed(2, 4, 3))


GEOMETRIES = [
    Conv((1,), (0,), (0,), (1,), (1,)),
    Conv((2,), (1,), (0,), (1,), (1,)),  # a remainder the stride never reaches
    Conv((3,), (-1,), (2,), (2,), (2,)),
    Conv((2,), (3,), (-2,), (1,), (3,), 2),
    Conv((2,), (-2,), (-1,), (1,), (1,)),
    Conv((1, 2), (1, 0), (0, 1), (2, 1), (1, 1), 2),
    Conv((2, 3), (-1, 2), (3, -1), (1, 2), (2, 1), 1),
    Conv((1, 1, 2), (1, 0, 0), (0, 1, 0), (1, 1, 1), (1, 1, 1), 1),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_conv(geometry: Conv) -> None:
    axes, groups = len(geometry.stride), geometry.groups
    size, kernel = {1: ((6,), (3,)), 2: ((4, 5), (2, 3)), 3: ((2, 2, 3), (2, 1, 2))}[axes]
    x, w = signed(2, 2 * groups, *size), signed(2 * groups, 2, *kernel)
    shape = geometry.output_shape(x.shape, w.shape)
    assert 0 not in shape
    check(lambda a, b: N.node("conv", a.dtype, shape, (a, b), geometry), x, w,
          second=axes == 1, h=1e-4)


def test_conv_of_nothing() -> None:
    g = Conv((1,), (0,), (0,), (1,), (1,))
    x, w = leaf(np.ones((1, 1, 2))), leaf(np.ones((1, 1, 5)))
    y = N.node("conv", dt.float64, g.output_shape(x.shape, w.shape), (x, w), g)
    assert y.shape == (1, 1, 0)
    dx, _ = gradients([y], [like(y, 1)], [x, w])
    assert value(dx).tolist() == [[[0, 0]]]


def test_conv_geometries_by_the_hundred() -> None:
    """<g, conv(x, w)> is bilinear: both cotangents must reproduce it, whatever the geometry."""
    rng = np.random.default_rng(3)
    options = itertools.product((1, 2, 3), (-1, 0, 2), (-1, 0, 1), (1, 2), (1, 2), (1, 2))
    for stride, before, after, dilation, inner, groups in options:
        g = Conv((stride,), (before,), (after,), (dilation,), (inner,), groups)
        x, w = leaf(rng.normal(size=(2, 2, 7))), leaf(rng.normal(size=(2, 2 // groups, 3)))
        shape = g.output_shape(x.shape, w.shape)
        y = N.node("conv", dt.float64, shape, (x, w), g)
        cotangent = leaf(rng.normal(size=shape))
        dx, dw = gradients([y], [cotangent], [x, w])
        whole = (value(y) * value(cotangent)).sum()
        assert dx.shape == x.shape and dw.shape == w.shape
        np.testing.assert_allclose((value(dx) * value(x)).sum(), whole, atol=1e-9)
        np.testing.assert_allclose((value(dw) * value(w)).sum(), whole, atol=1e-9)


def test_accumulation_and_independence() -> None:
    x, other = leaf(signed(3)), leaf(signed(3))
    y = add(mul(x, x), elementwise("exp", x))
    dx, none = gradients([y, x], [like(y, 1), like(x, 10)], [x, other])
    assert none is None
    np.testing.assert_allclose(value(dx), 2 * value(x) + np.exp(value(x)) + 10)
    inner = mul(x, x)  # with respect to a node inside the graph
    assert value(gradients([mul(inner, inner)], [like(x, 1)], [inner])[0]).tolist() == \
        (2 * value(inner)).tolist()


def test_jvp() -> None:
    x, w, t = leaf(signed(2, 3)), leaf(signed(2, 3)), leaf(signed(2, 3))
    y, z = elementwise("sin", mul(x, w)), elementwise("exp", w)
    dy, dz = jvp([y, z], [x], [t])
    np.testing.assert_allclose(value(dy), np.cos(value(x) * value(w)) * value(w) * value(t))
    assert dz is None
    assert not any(n.op == "mark" for n in N.toposort([dy]))


def test_no_derivative_says_why() -> None:
    x = leaf(signed(2))
    n = N.node("extern", dt.float64, (2,), (x,), ("schur", ()))
    n.where = ("user.py", 3)
    with pytest.raises(NotDifferentiable, match="schur"):
        gradients([n], [like(n, 1)], [x])
    with pytest.raises(TypeError, match="cotangent"):
        gradients([x], [N.const(dt.float32, 1, (2,))], [x])


def test_deep_graphs_do_not_recurse() -> None:
    x = leaf(np.ones(1))
    y = x
    for _ in range(20000):
        y = elementwise("sin", y)
    assert gradients([y], [like(y, 1)], [x])[0] is not None


def test_every_rule_was_tried() -> None:
    """Runs last in this file; meaningless alone."""
    if len(COVERED) > 40:
        complex_ = {"real", "imag", "conj", "complex", "modulus"}  # in tests/ops/test_complex.py
        assert set(RULES) - COVERED <= {"cast", "extern", *complex_}
