"""Gradients through max pooling: sums over windows agree with dense convolutions, on every kind of
processor, and the graph says with less what it said before."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.config import config, override
from flambeau.compiler.ops import Sparse
from flambeau.compiler.pooling import sparse_gradients
from flambeau.runtime import jit
from flambeau.runtime.reference import evaluate

PROCESSORS = [{}, {"cpu": "x86-64-v3", "vector_bytes": 32}, {"cpu": "x86-64", "vector_bytes": 16}]
X86 = jit.host_target().triple.startswith("x86_64")
ACTIVATIONS = {"tanh": fb.tanh, "relu": fb.relu, "sigmoid": fb.sigmoid, "none": lambda x: x}


def gradients(shape, maps, kernel, pool, act="tanh", dtype="float32", groups=1, **geometry):
    """The function from (x, w, b) to the three gradients of a pooled convolution, and such."""
    rng = np.random.default_rng(sum(shape) + maps)
    x = rng.standard_normal(shape).astype(dtype)
    w = rng.standard_normal((maps, shape[1] // groups, *kernel)).astype(dtype) / 3
    b = rng.standard_normal(maps).astype(dtype)

    def loss(x, w, b):
        y = ACTIVATIONS[act](fb.conv2d(x, w, b, groups=groups, **geometry))
        return (fb.max_pool2d(y, pool) ** 3).sum()
    return fb.grad(loss, (0, 1, 2)), [fb.tensor(a) for a in (x, w, b)]


def values(f, arguments, **flags):
    with override(**flags):
        run = fb.compile(f)
        return [t.numpy() for t in run(*arguments)], run.explain()


CASES = [
    {"shape": (2, 3, 14, 15), "maps": 4, "kernel": (3, 3), "pool": 3},
    {"shape": (1, 1, 12, 12), "maps": 5, "kernel": (5, 5), "pool": 2},
    {"shape": (7, 2, 20, 17), "maps": 3, "kernel": (5, 4), "pool": 2, "stride": 2, "act": "none"},
    {"shape": (2, 2, 20, 20), "maps": 3, "kernel": (3, 5), "pool": 4, "padding": (1, 2),
     "act": "relu"},
    {"shape": (2, 2, 21, 23), "maps": 3, "kernel": (3, 3), "pool": (3, 4),
     "dilation": (2, 1), "act": "sigmoid"},
    {"shape": (20, 3, 13, 13), "maps": 4, "kernel": (5, 5), "pool": 2, "act": "none",
     "dtype": "float64"},
    {"shape": (1, 2, 26, 40), "maps": 3, "kernel": (3, 19), "pool": 3},
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c.values())))
def test_sums_over_windows(case):
    f, arguments = gradients(**case)
    dense, told = values(f, arguments, skip="sparse_gradients", cpu="", vector_bytes=0)
    assert "sparse convolution" not in told
    tolerance = 1e-5 if case.get("dtype") != "float64" else 1e-13
    here = config.device == "cpu"  # a GPU's stay dense, in another form
    for processor in PROCESSORS if X86 and here else [{}]:
        sparse, told = values(f, arguments, **processor)
        assert told.count("sparse convolution by") == (2 if here else 0)
        for a, b in zip(sparse, dense):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


def test_what_stays_dense():
    """Groups, dilated rows, small windows with small kernels."""
    for case in ({"shape": (2, 4, 14, 14), "maps": 6, "kernel": (5, 5), "pool": 2, "groups": 2},
                 {"shape": (2, 2, 16, 16), "maps": 3, "kernel": (3, 3), "pool": 2},
                 {"shape": (2, 2, 20, 20), "maps": 3, "kernel": (3, 3), "pool": 3,
                  "dilation": (1, 2)}):
        f, arguments = gradients(**case)
        found, told = values(f, arguments)
        assert "sparse convolution" not in told
        for a, b in zip(found, values(f, arguments, skip="sparse_gradients")[0]):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


def test_the_same_bits_on_any_number_of_threads():
    f, arguments = gradients((20, 3, 40, 40), 8, (7, 7), 4)
    run, threads, found = fb.compile(f), fb.openmp.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            fb.openmp.set_num_threads(n)
            found.append([t.numpy() for t in run(*arguments)])
    finally:
        fb.openmp.set_num_threads(threads)
    assert "sparse convolution" in run.explain()
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other))


def test_zeros_are_not_multiplied():
    """A pixel that no window chose does not reach the weight's gradient, whatever it is."""
    x = np.zeros((1, 1, 8, 8), np.float32)
    x[0, 0, ::4, ::4] = 5
    x[0, 0, 3, 3] = -np.inf
    w = fb.ones(1, 1, 1, 4)  # the windows' maxima lie apart from the pixel's row
    f = fb.compile(fb.grad(lambda w: fb.max_pool2d(fb.conv2d(fb.tensor(x), w), (4, 5)).sum()))
    found = f(w).numpy()
    assert "sparse convolution" in f.explain() and np.isfinite(found).all()


def test_ties_and_nan():
    """The first of equals, as ever; NaN goes where it is."""
    x = np.ones((1, 1, 8, 8), np.float32)
    x[0, 0, 6, 6] = np.nan
    w = fb.full((1, 1, 1, 4), 0.25)
    def f(x, w):
        return fb.max_pool2d(fb.tanh(fb.conv2d(x, w)), (4, 5)).sum()
    for flags in ({}, {"skip": "sparse_gradients"}):
        (found,), _ = values(lambda x: (fb.grad(lambda x: f(x, w))(x),), [fb.tensor(x)], **flags)
        slope = (1 - np.tanh(np.float32(1)) ** 2) / 4
        np.testing.assert_allclose(found[0, 0, 0, :4], slope, rtol=1e-6)
        assert np.isnan(found[0, 0, 6, 3:7]).all()
        if not flags:  # dense, the slope of the next element, 0 * NaN, is there too
            assert np.isnan(found).sum() == 4 and np.count_nonzero(found) == 8


@pytest.mark.parametrize(("stride", "width", "dtype"), [
    (2, 17, "float32"), (3, 3, "bool"), (3, 35, "float64"), (5, 16, "float32"), (6, 3, "bool"),
    (6, 7, "int8"), (7, 33, "float32"), (8, 19, "float64"), (9, 5, "float32")])
def test_lanes_in_tiles(stride, width, dtype):
    """Lanes a few elements apart, from whole loads: strides and ends of all kinds."""
    x = (np.random.default_rng(width).standard_normal((3, width * stride)) * 9).astype(dtype)
    tiles, t = x.reshape(3, width, stride), fb.tensor(x)
    found = fb.compile(lambda t: fb.amax(t.reshape(*tiles.shape), 2))(t)
    np.testing.assert_array_equal(found.numpy(), tiles.max(-1))
    a, b = tiles[..., 0], tiles[..., 1]
    both = (lambda p, q: p | q) if dtype == "bool" else (lambda p, q: p + q)
    found = fb.compile(lambda t: both(t[:, 1::stride], t[:, ::stride]))(t)
    np.testing.assert_array_equal(found.numpy(), both(a, b))


def test_the_function_is_applied_once_a_window():
    """tanh rises: it is taken of the maxima; nn's loops of modules gain by it too."""
    x, w = fb.randn(2, 1, 12, 12), fb.randn(3, 1, 5, 5)
    run = fb.compile(lambda x, w: fb.max_pool2d(fb.tanh(fb.conv2d(x, w)), 2))
    with override(skip="sparse_gradients"):
        plain = fb.compile(lambda x, w: fb.max_pool2d(fb.tanh(fb.conv2d(x, w)), 2))
        expected = plain(x, w).numpy()
    np.testing.assert_allclose(run(x, w).numpy(), expected, rtol=1e-6)
    assert "rows_tanh_max" in plain.explain() and "rows_tanh_max" not in run.explain()


def test_the_meaning_of_sparse_conv():
    """The reference's loops against the convolution of the spread-out cotangent."""
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((2, 2, 11, 13)), rng.standard_normal((3, 2, 3, 2))
    value, place = rng.standard_normal((2, 3, 3, 4)), rng.integers(0, 6, (2, 3, 3, 4))
    spread = np.zeros((2, 3, 9, 12))
    for at in np.ndindex(value.shape):
        d, e = divmod(place[at], 2)
        spread[at[0], at[1], at[2] * 3 + d, at[3] * 2 + e] = value[at]
    nodes = {k: N.node("param", dt.float64 if a.dtype.kind == "f" else dt.int64, a.shape, (), (k,))
             for k, a in {"x": x, "w": w, "v": value, "p": place}.items()}
    given = dict(zip(nodes.values(), (x, w, value, place)))
    by_weight = N.node("sparse_conv", dt.float64, w.shape, (nodes["x"], nodes["v"], nodes["p"]),
                       Sparse("weight", (3, 2), (1, 1), (0, 0), (1, 1)))
    by_input = N.node("sparse_conv", dt.float64, x.shape, (nodes["w"], nodes["v"], nodes["p"]),
                      Sparse("input", (3, 2), (1, 1), (0, 0), (1, 1)))
    found = evaluate([by_weight, by_input], given)
    dense = [np.zeros(w.shape), np.zeros(x.shape)]
    for i, j in np.ndindex(3, 2):
        dense[0][:, :, i, j] = np.einsum("noyx,ncyx->oc", spread, x[:, :, i:i + 9, j:j + 12])
        dense[1][:, :, i:i + 9, j:j + 12] += np.einsum("noyx,oc->ncyx", spread, w[:, :, i, j])
    for a, b in zip(found, dense):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_softmax_is_no_pooling():
    """A maximum along an axis is none over tiles: the pass leaves its graph as it is."""
    x = N.node("param", dt.float32, (4, 10), (), (0,))
    y = N.elementwise("tanh", x)
    root = N.elementwise("sub", y, N.expand(N.reduce_("max", y, (1,)), y.shape))
    assert sparse_gradients([root]) == [root]


@pytest.mark.skipif(not X86, reason="x86-64 flags")
def test_a_padded_tail_on_two_registers():
    """LLVM 20 reads the second register of a masked load whole where all its lanes are off: at
    columns 24 and 25 the next row showed."""
    x = np.arange(88, dtype="f").reshape(4, 22) + 1
    (found,), _ = values(lambda x: [fb.pad(x, ((1, 1), (2, 2)))], [fb.tensor(x)], **PROCESSORS[1])
    np.testing.assert_array_equal(found, np.pad(x, ((1, 1), (2, 2))))
