"""Operators with states, of signals and of quantised numbers."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import flambeau as fb
from importer import DTYPES, OPERATORS, row

# -- recurrent nets ------------------------------------------------------------------------------


def _gates(w: Any, order: str, wanted: str) -> Any:
    """Gates in another order; w stacks one block for each letter."""
    parts = dict(zip(order, fb.chunk(w, len(order), 0)))
    return fb.concatenate([parts[g] for g in wanted], 0)


def _recurrent(layer: Any, order: str, wanted: str, states: int) -> Any:
    """ONNX's form of a layer: (directions, ...) weights, outputs (steps, directions, n, h)."""
    def function(x: Any, w: Any, u: Any, b: Any = None, lengths: Any = None, h: Any = None,
                 c: Any = None, peephole: Any = None, hidden_size: int = 0,
                 direction: str = "forward", layout: int = 0, activations: Any = None,
                 linear_before_reset: int = 0, **_: Any) -> Any:
        x = x.transpose(0, 1) if layout else x
        rows, lasts = [], []
        for k in range(w.shape[0]):
            turned = direction == "reverse" or k == 1
            biases = (None, None) if b is None else (
                _gates(part, order, wanted) for part in fb.chunk(b[k], 2))
            options = {"lengths": lengths, "reverse": turned}
            given = [None if s is None else (s[:, k] if layout else s[k]) for s in (h, c)][:states]
            if states == 2:
                options["state"] = None if h is None else tuple(given)
                if peephole is not None:
                    options["peephole"] = _gates(peephole[k], "iof", "ifo")
            else:
                options["state"] = given[0]
            if order == "zrh":
                options["reset_after"] = bool(linear_before_reset)
            ys, last = layer(x, _gates(w[k], order, wanted), _gates(u[k], order, wanted), *biases,
                             **options)
            rows.append(ys)
            lasts.append(last if states == 2 else (last,))
        made = fb.stack(rows, 1)
        ends = [fb.stack(parts) for parts in zip(*lasts)]
        if layout:
            return (made.permute(2, 0, 1, 3), *(e.transpose(0, 1) for e in ends))
        return (made, *ends)
    return function


OPERATORS.update({"RNN": _recurrent(fb.rnn, "h", "h", 1),
                  "LSTM": _recurrent(fb.lstm, "iofc", "ifco", 2),
                  "GRU": _recurrent(fb.gru, "zrh", "rzh", 1)})


@row("CausalConvWithState")
def _causal_conv(x: Any, w: Any, b: Any = None, past: Any = None, activation: str = "none",
                 results: int = 1, **_: Any) -> Any:
    reach = w.shape[-1] - 1
    if past is None:
        past = fb.zeros(x.shape[0], x.shape[1], reach, dtype=x.dtype)
    whole = fb.concatenate([past, x], 2)
    made = fb.conv1d(whole, w, b, groups=x.shape[1])
    made = fb.silu(made) if activation in ("silu", "swish") else made
    return (made, whole[:, :, whole.shape[2] - reach:])[:results]


@row("TensorScatter")
def _tensor_scatter(cache: Any, update: Any, at: Any = None, axis: int = -2, mode: str = "linear"
                    ) -> Any:
    axis = axis % cache.ndim
    first = fb.zeros(cache.shape[0], dtype="int64") if at is None else at
    where = first.reshape(-1, *[1] * (cache.ndim - 1)) + fb.iota_like(update, axis)
    where = where % cache.shape[axis] if mode == "circular" else where
    return fb.scatter(cache, axis, where, update)


# -- optimisers, as formulas ---------------------------------------------------------------------


def _for_each(formula: Any) -> Any:
    """rate, count and then groups of as many tensors: the formula over each, results by kind."""
    def function(rate: Any, count: Any, *tensors: Any, kinds: int, **options: Any) -> Any:
        n = len(tensors) // kinds
        made = [formula(rate, count, *tensors[i::n], **options) for i in range(n)]
        return tuple(x for parts in zip(*made) for x in parts)
    return function


def _adagrad(rate: Any, count: Any, x: Any, g: Any, h: Any, decay_factor: float = 0.0,
             epsilon: float = 0.0, norm_coefficient: float = 0.0) -> Any:
    g = g + norm_coefficient * x
    h = h + g * g
    return x - rate / (1 + count * decay_factor) * g / (h.sqrt() + epsilon), h


def _adam(rate: Any, count: Any, x: Any, g: Any, v: Any, h: Any, alpha: float = 0.9,
          beta: float = 0.999, epsilon: float = 0.0, norm_coefficient: float = 0.0,
          norm_coefficient_post: float = 0.0) -> Any:
    g = g + norm_coefficient * x
    v, h = alpha * v + (1 - alpha) * g, beta * h + (1 - beta) * g * g
    t = count.item()
    if t > 0:
        rate = rate * math.sqrt(1 - beta ** t) / (1 - alpha ** t)
    x = x - rate * (v / (h.sqrt() + epsilon))
    return (1 - norm_coefficient_post) * x, v, h


def _momentum(rate: Any, count: Any, x: Any, g: Any, v: Any, alpha: float, beta: float,
              norm_coefficient: float, mode: str) -> Any:
    g = g + norm_coefficient * x
    v = alpha * v + (beta if count.item() > 0 else 1.0) * g
    return x - rate * (g + alpha * v if mode == "nesterov" else v), v


OPERATORS.update({"Adagrad": partial(_for_each(_adagrad), kinds=3),
                  "Adam": partial(_for_each(_adam), kinds=4),
                  "Momentum": partial(_for_each(_momentum), kinds=3)})


# -- signals -------------------------------------------------------------------------------------


def _window(of: Any) -> Any:
    def function(size: Any, periodic: int = 1, output_datatype: int = 1) -> Any:
        return of(int(size.item()), bool(periodic), dtype=DTYPES[output_datatype])
    return function


OPERATORS.update({"HannWindow": _window(fb.hann_window), "HammingWindow": _window(
    partial(fb.hamming_window, alpha=25 / 46, beta=21 / 46)),
    "BlackmanWindow": _window(fb.blackman_window)})


def _complex(x: Any) -> Any:
    """A last axis of one real part, or of both parts."""
    return x.squeeze(-1) if x.shape[-1] == 1 else fb.view_as_complex(x)


@row("DFT")
def _dft(x: Any, length: Any = None, given: Any = None, axis: int | None = None, inverse: int = 0,
         onesided: int = 0, opset: int = 20) -> Any:
    default = 1 if opset < 20 else -2
    at = (default if axis is None else axis) if given is None else int(given.item())
    at = at % x.ndim
    n = None if length is None else int(length.item())
    z = _complex(x)
    if inverse and onesided:
        return fb.fft.irfft(z, n, at).unsqueeze(-1)
    if onesided:
        return fb.view_as_real(fb.fft.rfft(z, n, at))
    return fb.view_as_real((fb.fft.ifft if inverse else fb.fft.fft)(z, n, at))


@row("STFT")
def _stft(x: Any, step: Any, window: Any = None, length: Any = None, onesided: int = 1) -> Any:
    size = window.shape[0] if length is None else int(length.item())
    made = fb.stft(_complex(x), size, int(step.item()), None, window, False,
                   onesided=bool(onesided))
    return fb.view_as_real(made.transpose(1, 2))


# -- quantised numbers ---------------------------------------------------------------------------


@row("QuantizeLinear")
def _quantize(x: Any, scale: Any, zero: Any = None, axis: int = 1, saturate: int = 1,
              block_size: int = 0, output_dtype: int = 0, precision: int = 0) -> Any:
    return fb.quantize(x, scale, zero, DTYPES[output_dtype] if output_dtype else None,
                       axis if scale.size > 1 else 0)


@row("DequantizeLinear")
def _dequantize(x: Any, scale: Any, zero: Any = None, axis: int = 1, block_size: int = 0,
                output_dtype: int = 0) -> Any:
    return fb.dequantize(x, scale, zero, axis if scale.size > 1 else 0)


@row("DynamicQuantizeLinear")
def _dynamic(x: Any) -> Any:
    low, high = fb.minimum(x.amin(), 0), fb.maximum(x.amax(), 0)
    scale = (high - low) / 255
    zero = fb.clamp(fb.round(-low / scale), 0, 255).to("uint8")
    return fb.quantize(x, scale, zero), scale, zero


def _centred(x: Any, zero: Any, shape: Any = None) -> Any:
    if zero is None:
        return x.int()
    return x.int() - (zero.int() if zero.ndim != 1 or shape is None else zero.int().reshape(shape))


@row("MatMulInteger")
def _matmul_integer(a: Any, b: Any, za: Any = None, zb: Any = None) -> Any:
    return _centred(a, za, (-1, 1)) @ _centred(b, zb)


@row("ConvInteger")
def _conv_integer(x: Any, w: Any, zx: Any = None, zw: Any = None, **options: Any) -> Any:
    return OPERATORS["Conv"](_centred(x, zx), _centred(w, zw, (-1, 1, 1, 1)), **options)


@row("QLinearMatMul")
def _qlinear_matmul(a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any, sy: Any, zy: Any) -> Any:
    made = fb.dequantize(a, sa.float(), za) @ fb.dequantize(b, sb.float(), zb)
    return fb.quantize(made, sy.float(), zy)


@row("QLinearConv")
def _qlinear_conv(x: Any, sx: Any, zx: Any, w: Any, sw: Any, zw: Any, sy: Any, zy: Any,
                  b: Any = None, **options: Any) -> Any:
    made = OPERATORS["Conv"](fb.dequantize(x, sx, zx), fb.dequantize(w, sw, zw, 0), None, **options)
    return fb.quantize(made, sy, zy)
