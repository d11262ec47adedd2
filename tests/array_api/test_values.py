"""The namespace against NumPy on arrays that hypothesis draws: dtypes, shapes, special values.

FLAMBEAU_TEST_EXAMPLES says how many arrays a function gets (2). Every new shape is a compiled
program, so the usual run is short.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import flambeau as fb
import flambeau.array_api as xp
import numpy as np
import pytest

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra.array_api import make_strategies_namespace  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # hypothesis knows versions of the standard up to 2024.12
    xps = make_strategies_namespace(xp, api_version="2024.12")

few = settings(max_examples=int(os.environ.get("FLAMBEAU_TEST_EXAMPLES", "2")), deadline=None,
               derandomize=True, database=None,
               suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
SHAPES = st.sampled_from([(), (3,), (2, 3), (0, 2)])
FULL = st.sampled_from([(3,), (2, 3), (2, 1, 3)])
KINDS = {"b": ("bool",), "i": ("int8", "int64", "uint8", "uint32"), "f": ("float32", "float64"),
         "c": ("complex64", "complex128")}


def draw_array(data: Any, kinds: str, shapes: Any = SHAPES) -> fb.Tensor:
    """A tensor of one of the kinds; numbers stay in a range that no function overflows in."""
    dtype = data.draw(st.sampled_from([d for k in kinds for d in KINDS[k]]), label="dtype")
    special = st.sampled_from([0.0, -0.0, np.inf, -np.inf, np.nan])
    floats = st.floats(-9, 9, width=32, allow_subnormal=False)
    elements = {"b": st.booleans(), "i": st.integers(1, 9), "u": st.integers(1, 9),
                "f": st.one_of(floats, special), "c": st.complex_numbers(
                    max_magnitude=9, allow_nan=False, allow_subnormal=False, width=64)}
    return data.draw(xps.arrays(dtype=getattr(xp, dtype), shape=shapes,
                                elements=elements[dtype[0]]))


def agree(found: Any, want: Any, name: str) -> None:
    if isinstance(want, tuple | list):
        assert len(found) == len(want)
        for f, w in zip(found, want):
            agree(f, w, name)
        return
    want = np.asarray(want)
    assert isinstance(found, fb.Tensor) and found.shape == want.shape, name
    kind = found.dtype.numpy.kind
    assert kind == want.dtype.kind or {kind, want.dtype.kind} == {"i", "u"}, name
    single = found.dtype in (fb.float32, fb.complex64)
    np.testing.assert_allclose(found.numpy(), want, rtol=2e-5 if single else 1e-12,
                               atol=1e-5 if single else 1e-13, err_msg=name)


UNARY = {
    "abs": "ifc", "acos": "fc", "acosh": "fc", "asin": "fc", "asinh": "fc", "atan": "fc",
    "atanh": "fc", "bitwise_invert": "bi", "ceil": "if", "conj": "c", "cos": "fc", "cosh": "fc",
    "exp": "fc", "expm1": "fc", "floor": "if", "imag": "c", "isfinite": "ifc", "isinf": "ifc",
    "isnan": "ifc", "log": "fc", "log1p": "fc", "log2": "fc", "log10": "fc", "logical_not": "b",
    "negative": "fc", "positive": "ifc", "real": "c", "reciprocal": "fc", "round": "ifc",
    "sign": "ifc", "signbit": "f", "sin": "fc", "sinh": "fc", "square": "ifc", "sqrt": "fc",
    "tan": "fc", "tanh": "fc", "trunc": "if"}
BINARY = {
    "add": "ifc", "atan2": "f", "bitwise_and": "bi", "bitwise_left_shift": "i",
    "bitwise_or": "bi", "bitwise_right_shift": "i", "bitwise_xor": "bi", "copysign": "f",
    "divide": "fc", "equal": "bifc", "floor_divide": "if", "greater": "if", "greater_equal": "if",
    "hypot": "f", "less": "if", "less_equal": "if", "logaddexp": "f", "logical_and": "b",
    "logical_or": "b", "logical_xor": "b", "maximum": "if", "minimum": "if", "multiply": "ifc",
    "nextafter": "f", "not_equal": "bifc", "pow": "f", "remainder": "if", "subtract": "fc"}


@pytest.mark.parametrize("name", UNARY)
@few
@given(data=st.data())
def test_one_operand(name: str, data: Any) -> None:
    x = draw_array(data, UNARY[name])
    with np.errstate(all="ignore"):
        agree(getattr(xp, name)(x), getattr(np, name)(x.numpy()), name)


@pytest.mark.parametrize("name", BINARY)
@few
@given(data=st.data())
def test_two_operands(name: str, data: Any) -> None:
    x = draw_array(data, BINARY[name])
    y = draw_array(data, x.dtype.kind.replace("u", "i"), st.just(x.shape or (2,))).to(x.dtype)
    if name == "floor_divide" and x.dtype.is_float:
        y = fb.where(fb.isfinite(y), y, 1.0)
    if name in ("floor_divide", "remainder") and x.dtype.is_integer:
        y = xp.maximum(y, 1)
    if "shift" in name:
        y = xp.bitwise_and(y, 7)
    if name == "pow":
        y = fb.round(y.clamp(-3, 3))
    with np.errstate(all="ignore"):
        want = getattr(np, name)(x.numpy(), y.numpy())
    if name == "logaddexp" or (name == "remainder" and x.dtype.is_float):
        y_ok = np.isfinite(want)
        agree(xp.where(xp.asarray(y_ok), getattr(xp, name)(x, y), 0), np.where(y_ok, want, 0), name)
    else:
        agree(getattr(xp, name)(x, y), want, name)


REDUCTIONS = {"sum": "ifc", "prod": "ifc", "mean": "f", "var": "f", "std": "f", "max": "if",
              "min": "if", "all": "bif", "any": "bif", "count_nonzero": "bif", "argmax": "if",
              "argmin": "if"}


@pytest.mark.parametrize("name", REDUCTIONS)
@few
@given(data=st.data())
def test_reductions(name: str, data: Any) -> None:
    x = draw_array(data, REDUCTIONS[name], FULL)
    axis = data.draw(st.sampled_from([None, 0, -1]))
    keepdims = data.draw(st.booleans())
    with np.errstate(all="ignore"):
        want = getattr(np, name)(x.numpy(), axis=axis, keepdims=keepdims)
    agree(getattr(xp, name)(x, axis=axis, keepdims=keepdims), want, name)


MOVES = {
    "broadcast_to": lambda m, x: m.broadcast_to(x, (2, *x.shape)),
    "concat": lambda m, x: m.concat([x, x], axis=-1),
    "concat_flat": lambda m, x: m.concat([x, x], axis=None),
    "expand_dims": lambda m, x: m.expand_dims(x, (0, -1)),
    "flip": lambda m, x: m.flip(x, axis=-1), "flip_all": lambda m, x: m.flip(x),
    "moveaxis": lambda m, x: m.moveaxis(x, 0, -1),
    "permute_dims": lambda m, x: m.permute_dims(x, tuple(range(-1, -1 - x.ndim, -1))),
    "repeat": lambda m, x: m.repeat(x, 2, axis=0), "repeat_flat": lambda m, x: m.repeat(x, 2),
    "reshape": lambda m, x: m.reshape(x, (-1,), copy=True),
    "roll": lambda m, x: m.roll(x, (1, -1), axis=(0, -1)), "roll_flat": lambda m, x: m.roll(x, 2),
    "squeeze": lambda m, x: m.squeeze(m.expand_dims(x, 0), 0),
    "stack": lambda m, x: m.stack([x, x], axis=1), "unstack": lambda m, x: m.unstack(x, axis=-1),
    "tile": lambda m, x: m.tile(x, (2, 1)),
    "cumulative_sum": lambda m, x: m.cumulative_sum(x, axis=-1, include_initial=True),
    "cumulative_prod": lambda m, x: m.cumulative_prod(x, axis=0),
    "diff": lambda m, x: m.diff(x, axis=-1, n=2),
    "take": lambda m, x: m.take(x, m.asarray([2, 0]), axis=-1),
    "tril": lambda m, x: m.tril(m.stack([x, x], axis=-1), k=1),
    "matrix_transpose": lambda m, x: m.matrix_transpose(m.stack([x, x])),
    "nonzero": lambda m, x: m.nonzero(x), "where": lambda m, x: m.where(x == x, x, x[::-1]),
    "meshgrid": lambda m, x: m.meshgrid(x[..., 0].reshape(-1), x[..., 1].reshape(-1)),
}


@pytest.mark.parametrize("name", MOVES)
@few
@given(data=st.data())
def test_movement(name: str, data: Any) -> None:
    x = draw_array(data, "ifc" if name != "diff" else "f", FULL)
    with np.errstate(all="ignore"):
        agree(MOVES[name](xp, x), MOVES[name](np, x.numpy()), name)


@few
@given(data=st.data())
def test_order_and_sets(data: Any) -> None:
    x = draw_array(data, "if", FULL)
    a = x.numpy()
    agree(xp.sort(x, axis=0), np.sort(a, axis=0), "sort")
    agree(xp.argsort(x), np.argsort(a, stable=True), "argsort")
    agree(xp.unique_values(x), np.sort(np.unique_values(a)), "unique_values")
    for name in ("unique_all", "unique_counts", "unique_inverse"):
        agree(getattr(xp, name)(x), getattr(np, name)(a), name)
    agree(xp.isin(x, x[..., :1]), np.isin(a, a[..., :1]), "isin")
    line = np.sort(np.nan_to_num(a[..., 0].reshape(-1)))
    agree(xp.searchsorted(xp.asarray(line), xp.asarray(line[0])), np.searchsorted(line, line[0]),
          "searchsorted")


@few
@given(data=st.data())
def test_products(data: Any) -> None:
    x = draw_array(data, "c", st.just((2, 3)))
    a = x.numpy()
    agree(xp.matmul(x, xp.matrix_transpose(x)), a @ a.T, "matmul")
    agree(xp.vecdot(x, x), np.vecdot(a, a), "vecdot")
    agree(xp.tensordot(x, x, axes=((1,), (1,))), np.tensordot(a, a, axes=((1,), (1,))), "tensordot")
    agree(xp.fft.fftn(x, axes=(0, 1)), np.fft.fftn(a), "fftn")
    agree(xp.linalg.outer(x[0], x[1]), np.outer(a[0], a[1]), "outer")
    agree(xp.linalg.vector_norm(x, axis=0), np.linalg.norm(a, axis=0), "vector_norm")
    agree(xp.linalg.trace(x), np.trace(a), "trace")


def test_pseudo_inverses_of_several_tolerances() -> None:
    a = np.random.default_rng(0).normal(size=(2, 3, 4))
    rtol = np.array([1e-10, 0.9])
    agree(xp.linalg.pinv(xp.asarray(a), rtol=xp.asarray(rtol)), np.linalg.pinv(a, rtol=rtol),
          "pinv")


def test_creation() -> None:
    for dtype in ("int32", "float32", "float64", "complex64"):
        ours, theirs = {"dtype": getattr(xp, dtype)}, {"dtype": dtype}
        for make in (lambda m, d: m.zeros((2, 3), **d), lambda m, d: m.ones(4, **d),
                     lambda m, d: m.full((2,), 3, **d), lambda m, d: m.eye(2, 3, k=1, **d),
                     lambda m, d: m.asarray([[1, 2], [3, 4]], **d),
                     lambda m, d: m.zeros_like(m.ones(3), **d)):
            found = make(xp, ours)
            assert found.dtype.name == dtype
            agree(found, make(np, theirs), dtype)
    agree(xp.linspace(0, 1, 5, dtype=xp.float64), np.linspace(0, 1, 5), "linspace")
    agree(xp.linspace(0, 1j, 5, endpoint=False), np.linspace(0, 1j, 5, endpoint=False), "linspace")
    agree(xp.arange(5, 0, -2), np.arange(5, 0, -2), "arange")
    x = xp.asarray([1, 2])
    assert xp.asarray(x) is x and xp.asarray(x, copy=True) is not x
    with pytest.raises(ValueError, match="asarray: expected data that can be shared"):
        xp.asarray([1, 2], copy=False)


def test_dtypes() -> None:
    assert xp.result_type(xp.int8, xp.asarray([1], dtype=xp.uint8), 3) is xp.int16
    assert xp.result_type(xp.float32, 1j) is xp.complex64 and xp.result_type(1, 2.0) is xp.float32
    assert xp.can_cast(xp.int8, xp.int16) and not xp.can_cast(xp.float64, xp.float32)
    assert xp.isdtype(xp.uint8, "integral") and xp.isdtype(xp.bool, ("numeric", xp.bool))
    assert not xp.isdtype(xp.bool, "numeric") and xp.isdtype(xp.complex64, "complex floating")
    for name in ("float32", "float64", "complex64"):
        ours, theirs = xp.finfo(getattr(xp, name)), np.finfo(name)
        assert (ours.bits, ours.eps, ours.max, ours.min, ours.smallest_normal, ours.tiny) == (
            theirs.bits, theirs.eps, theirs.max, theirs.min, theirs.smallest_normal, theirs.tiny)
    assert fb.finfo(fb.bfloat16).eps == 2 ** -7 and fb.finfo().dtype is fb.float32
    info = xp.iinfo(xp.asarray([1], dtype=xp.uint8))
    assert (info.bits, info.min, info.max, info.dtype) == (8, 0, 255, xp.uint8)


def test_inspection() -> None:
    info = xp.ones(1).__array_namespace__(api_version="2025.12").__array_namespace_info__()
    assert info.capabilities()["boolean indexing"] and info.default_device() in info.devices()
    assert info.default_dtypes()["complex floating"] is xp.complex64
    assert set(info.dtypes(kind="real floating")) == {"float32", "float64"}
    assert len(info.dtypes()) == 13


def test_dlpack() -> None:
    x = xp.asarray([1.0, 2.0])
    assert x.__dlpack_device__() == (1, 0)
    np.testing.assert_array_equal(np.from_dlpack(x), [1, 2])
    a = np.arange(3)
    shared = xp.from_dlpack(a)
    a[0] = 7
    assert shared.tolist() == [7, 1, 2] and xp.from_dlpack(a, copy=True).tolist() == [7, 1, 2]
    assert x[::2].__dlpack__(copy=False) is not None and xp.ones(0).__dlpack__(copy=False)
    with pytest.raises(BufferError, match="expected strides of 0 or more without a copy"):
        x[::-1].__dlpack__(copy=False)
    assert xp.from_dlpack(x) is x and xp.from_dlpack(x, copy=True) is not x


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda x: x.__array_namespace__(api_version="2020.01"), ValueError,
     "__array_namespace__: expected a version up to 2025.12, got '2020.01'"),
    (lambda x: x.to_device("cpu", stream=1), ValueError, "to_device: expected no stream, got 1"),
    (lambda x: x.__dlpack__(stream=1), BufferError,
     "dlpack: expected no stream on the host, got 1"),
    (lambda x: x.__dlpack__(dl_device=(2, 0)), BufferError,
     "dlpack: expected device (1, 0), got (2, 0)"),
    (lambda x: x.bfloat16().__dlpack__(), BufferError,
     "dlpack: expected a dtype of NumPy's, got bfloat16"),
    (lambda x: xp.finfo(xp.int8), TypeError,
     "finfo: expected a floating or complex dtype, got int8"),
    (lambda x: xp.iinfo(xp.float32), TypeError, "iinfo: expected an integer dtype, got float32"),
    (lambda x: xp.isdtype(xp.int8, "whole"), ValueError,
     "isdtype: expected a kind such as 'integral', got 'whole'"),
    (lambda x: xp.result_type(), ValueError,
     "result_type: expected at least one operand, got none"),
    (lambda x: xp.squeeze(x, 0), ValueError,
     "squeeze: expected axes of length 1, got axis 0 of shape (2, 3)"),
    (lambda x: xp.take(x, xp.asarray([0])), ValueError,
     "take: expected an axis for shape (2, 3), got none"),
    (lambda x: xp.nonzero(xp.asarray(1)), ValueError,
     "nonzero: expected at least one axis, got a 0-d tensor"),
    (lambda x: xp.cumulative_sum(x), ValueError,
     "cumulative_sum: expected an axis for shape (2, 3), got none"),
    (lambda x: xp.linalg.outer(x, x), ValueError,
     "outer: expected two vectors, got shapes (2, 3) and (2, 3)"),
    (lambda x: xp.vecdot(x, x[:, :2]), ValueError,
     "vecdot: expected equal extents along axis -1, got shapes (2, 3) and (2, 2)"),
    (lambda x: xp.broadcast_shapes((2,), (3,)), ValueError,
     "broadcast_shapes: expected shapes that broadcast, got (2,) and (3,)"),
    (lambda x: fb.nextafter(x.half(), x.half()), TypeError,
     "nextafter: expected float32 or float64, got float16"),
])
def test_errors(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        call(xp.ones((2, 3)))
    assert str(caught.value) == message
