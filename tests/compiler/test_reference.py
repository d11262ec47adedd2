"""The reference device: known answers, laws of the 16-bit floats, odd geometries."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.loop import close
from flambeau.compiler.ops import OPS, Conv
from flambeau.runtime import memory, reference
from flambeau.runtime.reference import evaluate
from graph_helpers import leaf, value


def test_every_op_has_a_meaning() -> None:
    for name, row in OPS.items():
        by_row = row.family == "elementwise" and row.numpy is not None
        assert by_row or name in reference.EVALUATE, name


def test_buffers() -> None:
    source = np.arange(6, dtype=np.float32).reshape(2, 3)
    n = N.node("buffer", dt.float32, (2, 3), (), memory.wrap(source))
    got = value(N.elementwise("add", n, n))
    assert (got == source * 2).all()
    plain = value(n)
    plain[:] = 7
    assert source[0, 1] == 1  # results never alias a buffer


def test_value_stands_in_for_a_graph() -> None:
    n = N.elementwise("exp", leaf(np.ones(3)))
    n.value = leaf(np.full(3, 5.0))
    assert value(N.elementwise("neg", n)).tolist() == [-5, -5, -5]


def test_given_replaces_nodes() -> None:
    x = N.node("param", dt.float64, (2,), (), (0, None))
    assert evaluate([N.elementwise("neg", x)], {x: np.array([1.0, 2.0])})[0].tolist() == [-1, -2]
    with pytest.raises(ValueError, match="param"):
        value(x)


def test_constants_wrap_and_round() -> None:
    assert value(N.const(dt.uint8, 300)) == 44
    assert value(N.const(dt.int64, -3)) == -3
    assert value(N.const(dt.uint64, 2**64 - 1)) == 2**64 - 1
    assert value(N.const(dt.float32, 0.1)).dtype == np.float32
    assert value(N.scalar(dt.float64, 0.1)) == 0.1
    assert value(N.node("iota", dt.int32, (2, 3), (), 1)).tolist() == [[0, 1, 2]] * 2


def test_bfloat16_rounds_to_nearest_even() -> None:
    one, step = 0x3F80, 2.0 ** -7
    x = leaf(np.array([one] * 4, np.uint16), dt.bfloat16)
    for factor, expected in ((0.5, one), (0.499, one), (0.51, one + 1), (1.5, one + 2)):
        y = N.elementwise("add", x, N.const(dt.bfloat16, factor * step, (4,)))
        assert value(y).dtype == np.uint16
        assert value(y)[0] == expected, factor
    nan = N.elementwise("log", N.elementwise("neg", x))
    assert value(N.elementwise("isnan", nan)).all()


def test_float16_overflows_to_infinity() -> None:
    x = leaf(np.full(2, 60000, np.float16))
    assert np.isinf(value(N.elementwise("add", x, x))).all()
    total = N.reduce_("sum", leaf(np.full(4096, 1, np.float16)), (0,))
    assert value(total)[0] == 4096  # accumulated wide


def test_bitcast_of_bfloat16() -> None:
    x = leaf(np.array([0x3F80, 0xFF80], np.uint16), dt.bfloat16)
    assert value(N.elementwise("bitcast", x, dtype=dt.int16)).tolist() == [0x3F80, 0xFF80 - 65536]
    there = N.elementwise("bitcast", leaf(np.float32([1.5, -0.0])), dtype=dt.int32)
    assert value(N.elementwise("bitcast", there, dtype=dt.float32)).tolist() == [1.5, -0.0]


def test_philox_known_answers() -> None:
    """Random123's own vectors for philox4x32-10."""
    full = 2**64 - 1
    cases = [
        (0, 0, 0, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (full, full, full, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (0x85A308D3243F6A88, 0x0370734413198A2E, 0x299F31D0A4093822,
         "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]
    for number, draw, seed, words in cases:
        got = reference.philox_words(*(np.array([v], np.uint64) for v in (number, draw, seed)))
        assert [int(w[0]) for w in got] == [int(word, 16) for word in words.split()]


def test_philox_deals_its_blocks_in_order() -> None:
    """Element i is word i of the stream (of 32 bits, or of 64), whatever the rest asks for."""
    index = np.arange(10, dtype=np.uint64)
    draw, seed = (np.full(10, v, np.uint64) for v in (7, 11))
    blocks = reference.philox_words(np.arange(8, dtype=np.uint64), draw[:8], seed[:8])
    words = np.stack(blocks, 1).ravel().astype(np.uint32)
    src = [leaf(v) for v in (index, draw, seed)]
    assert np.array_equal(value(N.elementwise("philox", *src, dtype=dt.uint32)), words[:10])
    wide = value(N.elementwise("philox", *src, dtype=dt.uint64))
    assert np.array_equal(wide.view(np.uint32), words[:20])
    other = value(N.elementwise("philox", *src, dtype=dt.uint32, arg=3))
    there = reference.philox_words(np.array([3 << 48], np.uint64), draw[:1], seed[:1])
    assert other[:4].tolist() == [int(w[0]) for w in there]


def test_integer_corners() -> None:
    a, b = leaf(np.array([7, -7, 7, 2, -1, 5, 0])), leaf(np.array([2, 2, 0, -1, -3, -2, -1]))
    assert value(N.elementwise("floordiv", a, b)).tolist() == [3, -4, 0, -2, 0, -3, 0]
    assert value(N.elementwise("mod", a, b)).tolist() == [1, 1, 0, 0, -1, -1, 0]
    assert value(N.elementwise("fmod", a, b)).tolist() == [1, -1, 0, 0, -1, 1, 0]
    assert value(N.elementwise("pow", a, b)).tolist() == [49, 49, 1, 0, -1, 0, 0]
    yes, no = leaf(np.array([True, True, False])), leaf(np.array([False, True, True]))
    for op in ("shl", "shr"):  # a bool is one bit wide
        assert value(N.elementwise(op, yes, no)).tolist() == [True, False, False]
    big = leaf(np.array([127], np.int8))
    assert value(N.elementwise("add", big, big)).tolist() == [-2]
    assert value(N.reduce_("sum", leaf(np.full(3, 100, np.int8)), (0,))).tolist() == [44]


def test_movement() -> None:
    data = np.arange(24.0).reshape(2, 3, 4)
    x = leaf(data)
    assert (value(N.permute(x, (2, 0, 1))) == data.transpose(2, 0, 1)).all()
    assert (value(N.slice_(x, (1, 2, 3), (1, 2, 2), (1, -2, -2))) == data[1:, 2::-2, 3::-2]).all()
    spread = value(N.pad(x, (0, 1, 2), (2, 7, 8), 9, (1, 2, 1)))
    expected = np.full((2, 7, 8), 9.0)
    expected[:, 1:6:2, 2:6] = data
    assert (spread == expected).all()
    parts = N.concat([x, N.slice_(x, (0, 0, 0), (2, 1, 4), (1, 1, 1))], 1)
    assert (value(parts) == np.concatenate([data, data[:, :1]], 1)).all()
    empty = N.slice_(x, (0, 0, 0), (0, 3, 4), (1, 1, 1))
    assert value(empty).shape == (0, 3, 4)
    with pytest.raises(IndexError, match="slice"):
        value(N.slice_(x, (1, 0, 0), (2, 3, 4), (1, 1, 1)))


def test_gather_checks_bounds() -> None:
    x = leaf(np.arange(6.0).reshape(2, 3))
    i, j = leaf(np.array([[1, 0]])), leaf(np.array([[2, 1]]))
    assert value(N.node("gather", dt.float64, (1, 2), (x, i, j))).tolist() == [[5, 1]]
    rows = N.node("gather", dt.float64, (1, 2, 3), (x, i))
    assert value(rows).tolist() == [[[3, 4, 5], [0, 1, 2]]]
    for bad in (-1, 2):
        with pytest.raises(IndexError, match=f"got {bad}"):
            value(N.node("gather", dt.float64, (1, 3), (x, leaf(np.array([bad])))))


@pytest.mark.parametrize("mode,expected", [
    ("set", [3, 0, 2, 0]), ("add", [5, 0, 2, 0]), ("max", [4, 0, 2, 0]), ("min", [-2, 0, 0, 0])])
def test_scatter(mode: str, expected: list[int]) -> None:
    base, index = leaf(np.zeros(4)), leaf(np.array([0, 0, 2, 0]))
    v = leaf(np.array([-2.0, 4, 2, 3]))
    got = value(N.node("scatter", dt.float64, (4,), (base, v, index), mode))
    assert got.tolist() == expected
    rows = leaf(np.ones((4, 2)))
    base2 = leaf(np.zeros((4, 2)))
    got = value(N.node("scatter", dt.float64, (4, 2), (base2, rows, index), "add"))
    assert got.sum(1).tolist() == [6, 0, 2, 0]


def test_put() -> None:
    base, v = leaf(np.zeros((3, 4))), leaf(np.array([[1.0, 2]]))
    got = value(N.node("put", dt.float64, (3, 4), (base, v), ((1, 1), (3, -2))))
    assert got.tolist() == [[0] * 4, [0, 2, 0, 1], [0] * 4]


def test_reductions_nan_wins() -> None:
    x = leaf(np.array([[1.0, np.nan, 3], [4, 5, 5]]))
    for op, expected in (("max", [np.nan, 5]), ("min", [np.nan, 4]), ("sum", [np.nan, 14])):
        np.testing.assert_array_equal(value(N.reduce_(op, x, (1,)))[:, 0], expected)
    assert value(N.reduce_("argmax", x, (1,))).tolist() == [[1], [1]]
    assert value(N.reduce_("argmin", x, (1,))).tolist() == [[1], [0]]
    assert value(N.node("cummax", dt.float64, (2, 3), (x,), 1))[1].tolist() == [4, 5, 5]
    assert value(N.node("cumprod", dt.float64, (2, 3), (x,), 0))[1, 2] == 15


def test_sum_is_accurate() -> None:
    x = leaf(np.full(1 << 20, 0.1, np.float32))
    assert value(N.reduce_("sum", x, (0,)))[0] == np.float32((1 << 20) * float(np.float32(0.1)))


def slow_conv(x: np.ndarray, w: np.ndarray, g: Conv) -> np.ndarray:
    """The law of the op table's Conv, word for word."""
    y = np.zeros(g.output_shape(x.shape, w.shape))
    c, o = w.shape[1], w.shape[0] // g.groups
    for n, f, *p in itertools.product(*map(range, y.shape)):
        for ch, *k in itertools.product(*map(range, w.shape[1:])):
            at = [pi * s - b + ki * d for pi, s, b, ki, d in
                  zip(p, g.stride, g.before, k, g.dilation)]
            inner = [a // e for a, e in zip(at, g.input_dilation)]
            hit = all(a % e == 0 and 0 <= i < size for a, e, i, size in
                      zip(at, g.input_dilation, inner, x.shape[2:]))
            if hit:
                y[(n, f, *p)] += x[(n, f // o * c + ch, *inner)] * w[(f, ch, *k)]
    return y


@pytest.mark.parametrize("geometry", [
    Conv((1, 1), (0, 0), (0, 0), (1, 1), (1, 1)),
    Conv((2, 1), (1, 2), (0, 1), (1, 2), (1, 1), 2),
    Conv((2, 3), (-1, 2), (3, -1), (2, 1), (2, 3)),
    Conv((1, 2), (-2, 0), (-1, 4), (1, 1), (3, 1), 2),
])
def test_conv_matches_its_definition(geometry: Conv) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 5, 6))
    w = rng.normal(size=(6, 4 // geometry.groups, 3, 2))
    shape = geometry.output_shape(x.shape, w.shape)
    got = value(N.node("conv", dt.float64, shape, (leaf(x), leaf(w)), geometry))
    np.testing.assert_allclose(got, slow_conv(x, w, geometry), atol=1e-12)


def test_conv_one_and_three_axes() -> None:
    rng = np.random.default_rng(1)
    for axes in (1, 3):
        g = Conv((2,) * axes, (1,) * axes, (0,) * axes, (1,) * axes, (1,) * axes)
        x, w = rng.normal(size=(1, 2, *(4,) * axes)), rng.normal(size=(3, 2, *(2,) * axes))
        n = N.node("conv", dt.float64, g.output_shape(x.shape, w.shape), (leaf(x), leaf(w)), g)
        np.testing.assert_allclose(value(n), slow_conv(x, w, g), atol=1e-12)


def test_loop() -> None:
    """A scan: the running sum of squares of rows, and every stage of it."""
    start, rows = leaf(np.zeros(2)), leaf(np.arange(6.0).reshape(3, 2))
    total, row = (N.node("param", dt.float64, (2,), (), ("test", i)) for i in range(2))
    after = N.elementwise("add", total, N.elementwise("mul", row, row))
    last, stages = close(3, [total, row], [start], [rows], [after], [after])
    expected = np.cumsum(np.arange(6.0).reshape(3, 2) ** 2, axis=0)
    assert (value(stages) == expected).all() and (value(last) == expected[-1]).all()


def test_unknown_externs_say_so() -> None:
    with pytest.raises(NotImplementedError, match="frob"):
        value(N.node("extern", dt.float64, (), (leaf(np.zeros(())),), ("frob", ())))
