"""Operators that calculate element by element, reduce, scan, order and multiply."""

from __future__ import annotations

from functools import reduce
from typing import Any

import flambeau as fb
from importer import DTYPES, OPERATORS, row

PLAIN = {
    "Abs": fb.abs, "Acos": fb.acos, "Acosh": fb.acosh, "Add": fb.add, "And": fb.logical_and,
    "Asin": fb.asin, "Asinh": fb.asinh, "Atan": fb.atan, "Atanh": fb.atanh,
    "BitwiseAnd": fb.bitwise_and, "BitwiseNot": fb.invert, "BitwiseOr": fb.bitwise_or,
    "BitwiseXor": fb.bitwise_xor, "Ceil": fb.ceil, "Cos": fb.cos, "Cosh": fb.cosh, "Det": fb.det,
    "Equal": fb.eq, "Erf": fb.erf, "Exp": fb.exp, "Floor": fb.floor, "Greater": fb.gt,
    "GreaterOrEqual": fb.ge, "HardSwish": fb.hard_swish, "IsNaN": fb.isnan, "Less": fb.lt,
    "LessOrEqual": fb.le, "Log": fb.log, "MatMul": fb.matmul, "Mish": fb.mish, "Mul": fb.mul,
    "Neg": fb.neg, "Not": fb.logical_not, "Or": fb.logical_or, "Reciprocal": fb.reciprocal,
    "Relu": fb.relu, "Round": fb.round, "Selu": fb.selu, "Sigmoid": fb.sigmoid, "Sign": fb.sign,
    "Sin": fb.sin, "Sinh": fb.sinh, "Softplus": fb.softplus, "Softsign": fb.softsign,
    "Sqrt": fb.sqrt, "Sub": fb.sub, "Tan": fb.tan, "Tanh": fb.tanh, "Where": fb.where,
    "Xor": fb.logical_xor, "Max": lambda *xs: reduce(fb.maximum, xs),
    "Min": lambda *xs: reduce(fb.minimum, xs), "Sum": lambda *xs: reduce(fb.add, xs),
    "Mean": lambda *xs: reduce(fb.add, xs) / len(xs),
}
OPERATORS.update(PLAIN)


# -- elementwise ---------------------------------------------------------------------------------


@row("Div")
def _div(x: Any, y: Any) -> Any:
    return fb.div(x, y, rounding_mode="trunc" if x.dtype.is_integer else None)


@row("Pow")
def _pow(x: Any, y: Any) -> Any:
    return fb.pow(x, y).to(x.dtype)


@row("Mod")
def _mod(x: Any, y: Any, fmod: int = 0) -> Any:
    return fb.fmod(x, y) if fmod else fb.remainder(x, y)


@row("BitShift")
def _shift(x: Any, y: Any, direction: str) -> Any:
    return fb.left_shift(x, y) if direction == "LEFT" else fb.right_shift(x, y)


@row("Cast")
def _cast(x: Any, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
    return x.to(DTYPES[to])


@row("CastLike")
def _cast_like(x: Any, like: Any, saturate: int = 1, round_mode: str = "up") -> Any:
    return x.to(like.dtype)


@row("BitCast")
def _bitcast(x: Any, to: int) -> Any:
    return fb.bitcast(x, DTYPES[to])


@row("Clip")
def _clip(x: Any, low: Any = None, high: Any = None, min: Any = None, max: Any = None) -> Any:
    low, high = min if low is None else low, max if high is None else high
    return x if low is None and high is None else fb.clamp(x, low, high)


@row("Elu")
def _elu(x: Any, alpha: float = 1.0) -> Any:
    return fb.elu(x, alpha)


@row("Celu")
def _celu(x: Any, alpha: float = 1.0) -> Any:
    return fb.celu(x, alpha)


@row("PRelu")
def _prelu(x: Any, slope: Any) -> Any:
    return fb.prelu(x, slope)


@row("SwiGLU")
def _swiglu(x: Any, gate: Any = None, alpha: float = 1.0, axis: int = -1, **_: Any) -> Any:
    a, b = fb.chunk(x, 2, axis) if gate is None else (x, gate)
    return a * fb.sigmoid(a * alpha) * b


@row("Selu")
def _selu(x: Any, alpha: float = 1.67326319217681884765625,
          gamma: float = 1.05070102214813232421875) -> Any:
    return fb.elu(x, alpha) * gamma


@row("LeakyRelu")
def _leaky_relu(x: Any, alpha: float = 0.01) -> Any:
    return fb.leaky_relu(x, alpha)


@row("Gelu")
def _gelu(x: Any, approximate: str = "none") -> Any:
    return fb.gelu(x, approximate)


@row("HardSigmoid")
def _hard_sigmoid(x: Any, alpha: float = 0.2, beta: float = 0.5) -> Any:
    return fb.clamp(x * alpha + beta, 0, 1)


@row("Shrink")
def _shrink(x: Any, lambd: float = 0.5, bias: float = 0.0) -> Any:
    return fb.hardshrink(x, lambd) - fb.hardshrink(x, lambd).sign() * bias


@row("ThresholdedRelu")
def _thresholded_relu(x: Any, alpha: float = 1.0) -> Any:
    return fb.threshold(x, alpha, 0)


@row("Swish")
def _swish(x: Any, alpha: float = 1.0) -> Any:
    return x * fb.sigmoid(x * alpha)


@row("IsInf")
def _isinf(x: Any, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    return (fb.isneginf(x) & bool(detect_negative)) | (fb.isposinf(x) & bool(detect_positive))


# -- along axes ----------------------------------------------------------------------------------


def _flat(of: Any) -> Any:
    """The softmax family: before opset 13 over all axes from `axis` on."""
    def function(x: Any, axis: int | None = None, opset: int = 13) -> Any:
        if opset >= 13:
            return of(x, -1 if axis is None else axis)
        axis = 1 if axis is None else axis % x.ndim
        return of(fb.flatten(x, axis), axis).reshape(x.shape)
    return function


def _hardmax(x: Any, axis: int) -> Any:
    return fb.one_hot(x.argmax(axis), x.shape[axis], x.dtype).moveaxis(-1, axis)


OPERATORS.update({"Softmax": _flat(fb.softmax), "LogSoftmax": _flat(fb.log_softmax),
                  "Hardmax": _flat(_hardmax)})


def _arg(of: Any) -> Any:
    def function(x: Any, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
        if not select_last_index:
            return of(x, axis, bool(keepdims))
        return x.shape[axis] - 1 - of(x.flip(axis), axis, bool(keepdims))
    return function


OPERATORS.update({"ArgMax": _arg(fb.argmax), "ArgMin": _arg(fb.argmin)})


def _log_sum(x: Any, axis: Any, keepdims: bool) -> Any:
    return fb.log(fb.sum(x, axis, keepdims))


def _norm(p: int) -> Any:
    return lambda x, axis, keepdims: fb.norm(x, p, axis, keepdims)


def _square_sum(x: Any, axis: Any, keepdims: bool) -> Any:
    return fb.sum(fb.square(x), axis, keepdims)


def _reduction(of: Any) -> Any:
    """axes: an attribute, since opset 18 an input; none of them means all, or (noop) none."""
    def function(x: Any, given: Any = None, axes: Any = None, keepdims: int = 1,
                 noop_with_empty_axes: int = 0) -> Any:
        chosen = axes if given is None else given.tolist()
        if not chosen:
            chosen = () if noop_with_empty_axes else None
        made = of(x, None if chosen is None else tuple(chosen), bool(keepdims))
        return made.to(x.dtype)
    return function


OPERATORS.update({f"Reduce{name}": _reduction(of) for name, of in {
    "Sum": fb.sum, "Prod": fb.prod, "Mean": fb.mean, "Max": fb.amax, "Min": fb.amin,
    "LogSumExp": fb.logsumexp, "LogSum": _log_sum, "L1": _norm(1), "L2": _norm(2),
    "SumSquare": _square_sum}.items()})


def _scan(of: Any, start: int) -> Any:
    def function(x: Any, axis: Any, exclusive: int = 0, reverse: int = 0) -> Any:
        axis = axis.item()
        x = x.flip(axis) if reverse else x
        if exclusive:
            axes = [(0, 0)] * x.ndim
            axes[axis] = (1, -1)
            x = fb.pad(x, axes, value=start)
        made = of(x, axis, dtype=x.dtype)
        return made.flip(axis) if reverse else made
    return function


OPERATORS.update({"CumSum": _scan(fb.cumsum, 0), "CumProd": _scan(fb.cumprod, 1)})


@row("LpNormalization")
def _lp_normalization(x: Any, axis: int = -1, p: int = 2) -> Any:
    size = fb.norm(x, p, axis, True)
    return fb.where(size == 0, 0, x / size)


@row("MeanVarianceNormalization")
def _mvn(x: Any, axes: Any = (0, 2, 3)) -> Any:
    axes = tuple(axes)
    return (x - x.mean(axes, True)) / (x.std(axes, True, correction=0) + 1e-9)


# -- order and sets ------------------------------------------------------------------------------


@row("TopK")
def _top_k(x: Any, k: Any = None, axis: int = -1, largest: int = 1, sorted: int = 1) -> Any:
    return tuple(fb.topk(x, int(k.item()), axis, bool(largest), True))


@row("Unique")
def _unique(x: Any, axis: int | None = None, sorted: int = 1) -> Any:
    values, first, inverse, counts = fb.unique(x, True, True, axis, return_index=True)
    inverse = inverse.reshape(-1)
    if sorted:
        return values, first, inverse, counts
    order = first.argsort()
    return (values.take(order, axis), first.take(order), order.argsort().take(inverse),
            counts.take(order))


@row("NonZero")
def _nonzero(x: Any) -> Any:
    return fb.nonzero(x).t()


# -- products ------------------------------------------------------------------------------------


@row("Einsum")
def _einsum(*operands: Any, equation: str) -> Any:
    return fb.einsum(equation, *operands)


@row("Gemm")
def _gemm(a: Any, b: Any, c: Any = None, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
          transB: int = 0) -> Any:
    made = (a.t() if transA else a) @ (b.t() if transB else b)
    made = made if alpha == 1 else made * alpha
    return made if c is None else made + (c if beta == 1 else c * beta)
