"""Convolution and pooling against plain loops."""

from __future__ import annotations

import itertools
import math

import flambeau as fb
import numpy as np
import pytest
import scipy.signal
from cases import array, check


def correlate(x, w, stride, padding, dilation, groups):
    """n-d correlation by loops over the kernel."""
    rank = w.ndim - 2
    x = np.pad(x, [(0, 0), (0, 0), *padding])
    out = [(x.shape[i + 2] - dilation[i] * (w.shape[i + 2] - 1) - 1) // stride[i] + 1
           for i in range(rank)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    per_in, per_out = w.shape[1], w.shape[0] // groups
    for g in range(groups):
        part = x[:, g * per_in:(g + 1) * per_in]
        taps = w[g * per_out:(g + 1) * per_out]
        for k in itertools.product(*map(range, w.shape[2:])):
            start = [j * d for j, d in zip(k, dilation)]
            area = tuple(slice(start[i], start[i] + (out[i] - 1) * stride[i] + 1, stride[i])
                         for i in range(rank))
            y[:, g * per_out:(g + 1) * per_out] += np.einsum(
                "nc...,oc->no...", part[(slice(None), slice(None), *area)],
                taps[(slice(None), slice(None), *k)])
    return y


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolution(rank):
    extent = (9, 8, 7)[:rank]
    for groups, stride, padding, dilation in ((1, 1, 0, 1), (1, 2, 1, 1), (2, 1, 2, 2),
                                              (4, 3, 1, 1)):
        x = array("float64", (2, 4, *extent), 1)
        w = array("float64", (8, 4 // groups, *(3, 2, 2)[:rank]), 2)
        b = array("float64", (8,), 3)
        expected = correlate(x, w, (stride,) * rank, [(padding, padding)] * rank,
                             (dilation,) * rank, groups)
        f = getattr(fb, f"conv{rank}d")
        found = f(fb.tensor(x), fb.tensor(w), None, stride, padding, dilation, groups)
        check(found, expected, tolerance=1e-12)
        found = fb.convnd(fb.tensor(x), fb.tensor(w), fb.tensor(b), stride, padding, dilation,
                          groups)
        check(found, expected + b.reshape(8, *(1,) * rank), tolerance=1e-12)
        check(f(fb.tensor(x[0]), fb.tensor(w), None, stride, padding, dilation, groups),
              expected[0], tolerance=1e-12)


@pytest.mark.parametrize("x, w, stride, padding, dilation", [
    ((4, 16, 7, 7), (64, 16, 3, 3), (1, 1), (1, 1), (1, 1)),  # a line of several images a tile
    ((1, 16, 14, 14), (64, 16, 3, 3), (1, 1), (1, 1), (1, 1)),
    ((5, 16, 10, 10), (6, 16, 5, 5), (1, 1), (4, 4), (1, 1)),  # vectors along the image
    ((3, 8, 11, 7), (40, 8, 4, 5), (2, 3), (6, 9), (3, 2)),  # lines that meet zeros alone
    ((2, 16, 40), (33, 16, 3), (1,), (2,), (2,)),
], ids=str)
def test_zeros_of_the_padding_are_left_out(x, w, stride, padding, dilation):
    a, b = array("float32", x, 1), array("float32", w, 2)
    expected = correlate(a.astype("d"), b.astype("d"), stride, [(p, p) for p in padding], dilation,
                         1)
    found = fb.convnd(fb.tensor(a), fb.tensor(b), None, stride, padding, dilation)
    check(found, expected.astype("f"), tolerance=1e-4)


def test_paddings():
    x, w = array("float64", (1, 2, 6, 7), 1), array("float64", (3, 2, 3, 4), 2)
    check(fb.conv2d(fb.tensor(x), fb.tensor(w), padding="same"),
          correlate(x, w, (1, 1), [(1, 1), (1, 2)], (1, 1), 1), tolerance=1e-12)
    check(fb.conv2d(fb.tensor(x), fb.tensor(w), padding=((1, 0), (2, 3))),
          correlate(x, w, (1, 1), [(1, 0), (2, 3)], (1, 1), 1), tolerance=1e-12)
    assert fb.conv2d(fb.tensor(x), fb.tensor(w), padding="valid").shape == (1, 3, 4, 4)


def test_transposed_convolution_is_the_adjoint():
    for groups, stride, padding, dilation, extra in ((1, 1, 0, 1, 0), (2, 2, 1, 1, 1),
                                                     (1, 3, 1, 2, 2)):
        w = array("float64", (4, 6 // groups, 3, 2), 2)
        y = array("float64", (2, 4, 4, 5), 1)
        out = fb.conv_transpose(fb.tensor(y), fb.tensor(w), None, stride, padding, extra, dilation,
                                groups)
        x = array("float64", out.shape, 5)
        forward = fb.conv2d(fb.tensor(x), fb.tensor(w), None, stride, padding, dilation, groups)
        assert forward.shape == y.shape
        left, right = (forward * fb.tensor(y)).sum().item(), (out * fb.tensor(x)).sum().item()
        assert math.isclose(left, right, rel_tol=1e-10)
    bias = fb.tensor([1.0, 2.0])
    found = fb.conv_transpose(fb.zeros(1, 3, 4), fb.zeros(3, 2, 3), bias)
    check(found, np.tile([[[1], [2]]], (1, 1, 6)))


def test_torch7_conv2():
    x, k = array("float64", (5, 6), 1), array("float64", (2, 3), 2)
    for mode, name in (("V", "valid"), ("F", "full")):
        check(fb.conv2(fb.tensor(x), fb.tensor(k), mode), scipy.signal.convolve2d(x, k, name))
        check(fb.xcorr2(fb.tensor(x), fb.tensor(k), mode), scipy.signal.correlate2d(x, k, name))
    planes = np.stack([x, 2 * x])
    kernels = np.stack([k, 3 * k])
    check(fb.xcorr2(fb.tensor(planes), fb.tensor(kernels)),
          np.stack([scipy.signal.correlate2d(p, q, "valid") for p, q in zip(planes, kernels)]))


def pool(x, kernel, stride, padding, dilation, ceil_mode, kind, include=True):
    """Pooling of the last axes by loops."""
    rank = len(kernel)
    lead, spatial = x.shape[:-rank], x.shape[-rank:]
    out = []
    for i in range(rank):
        room = spatial[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1
        n = (math.ceil if ceil_mode else math.floor)(room / stride[i]) + 1
        if ceil_mode and (n - 1) * stride[i] >= spatial[i] + padding[i]:
            n -= 1
        out.append(n)
    values, places = np.zeros((*lead, *out)), np.zeros((*lead, *out), np.int64)
    for p in itertools.product(*map(range, out)):
        cells = []
        padded = 1
        for i in range(rank):
            start = p[i] * stride[i] - padding[i]
            line = [start + j * dilation[i] for j in range(kernel[i])]
            padded *= sum(j < spatial[i] + padding[i] for j in line)
            cells.append([j for j in line if 0 <= j < spatial[i]])
        area = x[(..., *np.ix_(*cells))].reshape(*lead, -1)
        flat = np.arange(math.prod(spatial)).reshape(spatial)[np.ix_(*cells)].ravel()
        if kind == "max":
            values[(..., *p)] = area.max(-1)
            places[(..., *p)] = flat[area.argmax(-1)]
        else:
            values[(..., *p)] = area.sum(-1) / (padded if include else area.shape[-1])
    return values, places


CONFIGURATIONS = [
    ((7, 8), (2, 2), None, 0, 1, False), ((7, 8), (2, 2), None, 0, 1, True),
    ((6, 6), (3, 3), (3, 3), 0, 1, False), ((7, 8), (3, 3), (2, 2), 1, 1, False),
    ((7, 8), (3, 3), (2, 2), 1, 1, True), ((7, 8), (3, 2), (1, 1), (1, 0), 1, False),
    ((9, 9), (2, 2), (3, 3), 0, 1, False), ((9, 9), (2, 2), (3, 3), 0, 1, True),
    ((9, 9), (3, 3), (1, 1), 0, 2, False), ((7, 8), (3, 2), None, 1, 1, True),
    ((5,), (2,), None, 0, 1, True),
    ((4, 5, 6), (2, 2, 2), None, 0, 1, False), ((5, 5), (3, 3), (2, 2), 1, 1, True),
]


@pytest.mark.parametrize("extent, kernel, stride, padding, dilation, ceil", CONFIGURATIONS, ids=str)
def test_pooling(extent, kernel, stride, padding, dilation, ceil):
    x = array("float64", (2, 3, *extent), 1)
    x = np.round(x)  # with ties
    rank = len(extent)
    s = kernel if stride is None else stride
    p = padding if isinstance(padding, tuple) else (padding,) * rank
    d = (dilation,) * rank
    t = fb.tensor(x)
    values, places = pool(x, kernel, s, p, d, ceil, "max")
    check(fb.max_pool(t, kernel, stride, padding, dilation, ceil), values)
    pair = fb.max_pool(t, kernel, stride, padding, dilation, ceil, return_indices=True)
    check(pair.values, values)
    check(pair.indices, places, "int64")
    if dilation == 1:
        for include in (True, False):
            expected = pool(x, kernel, s, p, d, ceil, "avg", include)[0]
            check(fb.avg_pool(t, kernel, stride, padding, ceil, include), expected)
        total = fb.avg_pool(t, kernel, stride, padding, ceil, divide=False)
        assert total.shape == values.shape


def test_pooling_names_and_shapes():
    x = fb.rand(2, 3, 8, 8)
    assert fb.max_pool2d(x, 2).shape == (2, 3, 4, 4)
    assert fb.avg_pool2d(x[0], 2).shape == (3, 4, 4)
    assert fb.max_pool1d(x[0], 2).shape == (3, 8, 4)
    assert fb.avg_pool1d(x[0], 3, 1, 1).shape == (3, 8, 8)
    assert math.isnan(fb.max_pool1d(fb.tensor([[1.0, float("nan"), 2.0, 3.0]]), 3, 1)[0, 0].item())


@pytest.mark.parametrize("stride", [2, 1])
def test_the_gradient_of_max_pooling_goes_to_the_first_of_equals(stride):
    x = fb.ones(1, 4, 4, requires_grad=True)
    fb.max_pool2d(x, 2, stride).sum().backward()
    expected = np.zeros((1, 4, 4))
    for i in range(0, 3, stride):
        for j in range(0, 3, stride):
            expected[0, i, j] += 1
    check(x.grad, expected)


def test_gradients_of_convolution_and_average_pooling():
    x, w = fb.rand(1, 2, 5, 5, requires_grad=True), fb.rand(3, 2, 3, 3, requires_grad=True)
    fb.conv2d(x, w, padding=1, stride=2).sum().backward()
    assert x.grad.shape == x.shape and w.grad.shape == w.shape
    y = fb.ones(1, 1, 4, 4, requires_grad=True)
    fb.avg_pool2d(y, 2).sum().backward()
    check(y.grad, np.full((1, 1, 4, 4), 0.25))
