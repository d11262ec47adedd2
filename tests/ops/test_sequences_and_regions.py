"""Recurrent layers, quantised numbers, windows and short-time transforms, boxes and patches:
derivatives, errors, and values where a plain reference is short. More values are tests/onnx's."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
import scipy.signal
from cases import check

RNG = np.random.default_rng(8)


def d(*shape: int) -> fb.Tensor:
    """Reproducible doubles."""
    return fb.tensor(RNG.standard_normal(shape))


# -- derivatives ---------------------------------------------------------------------------------

LENGTHS = fb.tensor([3, 2])
DERIVATIVES = {
    "rnn": (lambda x, w, u, b, c: fb.rnn(x, w, u, b, c, lengths=LENGTHS)[0],
            (3, 2, 2), (3, 2), (3, 3), (3,), (3,)),
    "lstm": (lambda x, w, u, b, h, c, p: fb.lstm(x, w, u, b, None, (h, c), LENGTHS, True, p)[0],
             (3, 2, 2), (12, 2), (12, 3), (12,), (2, 3), (2, 3), (9,)),
    "gru": (lambda x, w, u, b, c: fb.gru(x, w, u, b, c)[1], (3, 2, 2), (9, 2), (9, 3), (9,), (9,)),
    "gru of the paper": (lambda x, w, u, b, c: fb.gru(x, w, u, b, c, reset_after=False)[0],
                         (2, 2, 2), (9, 2), (9, 3), (9,), (9,)),
    "celu": (lambda x: fb.celu(x, 0.7), (2, 5)),
    "prelu": (lambda x, s: fb.prelu(x, s), (2, 3, 4), (3, 1)),
    "stft": (lambda x: fb.stft(x, 8, 2, 6, fb.hann_window(6).double()).abs(), (2, 16)),
    "istft": (lambda x: fb.istft(fb.complex(x, x * x), 8, 2), (5, 4)),
    "roi_align": (lambda x: fb.roi_align(x, [[0.5, 0.7, 3.2, 2.9], [1, 0, 4, 4]], [0, 1], (2, 2)),
                  (2, 2, 5, 4)),
    "roi_align of boxes": (lambda x, b: fb.roi_align(x, b.sigmoid().cumsum(1), [1], 2, 1.3, 2, True,
                                                     "max"), (2, 1, 5, 5), (1, 4)),
    "box_iou": (lambda a, b: fb.box_iou(a.abs().cumsum(1), b.abs().cumsum(1)), (2, 4), (3, 4)),
    "col2im": (lambda x: fb.col2im(x, (4, 5), 2, padding=((1, 0), (0, 1)), dilation=(1, 2)),
               (1, 8, 16)),
    "deform_conv2d": (lambda x, o, w, b, m: fb.deform_conv2d(x, o, w, b, 1, 1, 1, m, 2),
                      (1, 4, 3, 3), (1, 16, 4, 4), (2, 2, 2, 2), (2,), (1, 8, 4, 4)),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives(name: str) -> None:
    function, *shapes = DERIVATIVES[name]
    assert fb.gradcheck(function, [d(*s) for s in shapes])


# -- values --------------------------------------------------------------------------------------


def test_lengths_and_directions() -> None:
    """A sequence that ends early gives what it gives alone, in both directions."""
    x, w, u = d(4, 2, 3), d(8, 3), d(8, 2)
    for reverse in (False, True):
        ys, (h, c) = fb.lstm(x, w, u, lengths=[4, 2], reverse=reverse)
        alone, (h1, c1) = fb.lstm(x[:2, 1:], w, u, reverse=reverse)
        check(ys[:2, 1:], alone.numpy(), "float64", 1e-12)
        check(ys[2:, 1], np.zeros((2, 2)))
        check(h[1:], h1.numpy(), "float64", 1e-12)
        check(c[1:], c1.numpy(), "float64", 1e-12)
    backwards, _ = fb.rnn(x, w[:2], u[:2], reverse=True, nonlinearity="relu")
    check(backwards, fb.rnn(x.flip(0), w[:2], u[:2], nonlinearity="relu")[0].flip(0).numpy(),
          "float64", 1e-12)


def test_quantised_numbers() -> None:
    x = fb.tensor([[-1.0, 0.5, 300.0], [2.5, 3.5, -0.2]])
    check(fb.quantize(x, 1.0, fb.tensor(10, "uint8")), [[9, 10, 255], [12, 14, 10]], "uint8")
    check(fb.quantize(x, [1.0, 0.1, 2.0], dtype="int8"), [[-1, 5, 127], [2, 35, 0]], "int8")
    q = fb.quantize(x, [[0.5], [0.25]], dtype="int16", axis=1)
    check(q, [[-2, 1, 600], [10, 14, -1]], "int16")
    check(fb.dequantize(q, [[0.5], [0.25]]), [[-1, 0.5, 300], [2.5, 3.5, -0.25]], "float32")
    big = fb.tensor([200, 255], "uint8")
    check(fb.dequantize(big, 2.0, fb.tensor(255, "uint8")), [-110, 0], "float32")
    grads = fb.grad(lambda x: fb.fake_quantize(x, 1.0, dtype="int8").sum())(x)
    check(grads, [[1, 1, 0], [1, 1, 1]])
    check(fb.fake_quantize(x, 1.0, dtype="int8"), [[-1, 0, 127], [2, 4, 0]])


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8])
def test_windows(n: int) -> None:
    for name, make in (("hann", fb.hann_window), ("hamming", fb.hamming_window),
                       ("blackman", fb.blackman_window), ("bartlett", fb.bartlett_window)):
        for periodic in (True, False):
            expected = scipy.signal.get_window(name, n, periodic) if n else np.zeros(0)
            check(make(n, periodic, dtype="float64"), expected, "float64", 1e-12)


def test_short_time_transforms() -> None:
    x = d(2, 50)
    w = fb.hann_window(16, dtype="float64")
    z = fb.stft(x, 16, 4, window=w)
    _, _, expected = scipy.signal.stft(
        np.pad(x.numpy(), ((0, 0), (8, 8)), "reflect"), window="hann", nperseg=16, noverlap=12,
        boundary=None, padded=False)
    check(z.real, expected.real * 8, "float64", 1e-12)
    check(z.imag, expected.imag * 8, "float64", 1e-12)
    check(fb.istft(z, 16, 4, window=w, length=50)[:, :48], x[:, :48].numpy(), "float64", 1e-10)
    assert fb.istft(z, 16, 4, window=w, length=60).shape == (2, 60)
    both = fb.stft(x, 16, 4, 12, fb.hamming_window(12).double(), normalized=True, onesided=False)
    assert both.shape == (2, 16, 13)
    back = fb.istft(both, 16, 4, 12, fb.hamming_window(12).double(), normalized=True)
    check(back.real, x[:, :48].numpy(), "float64", 1e-10)


def test_boxes() -> None:
    boxes = fb.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 2, 2.1], [5, 5, 5, 5]])
    check(fb.box_iou(boxes[:2], boxes[1:])[:, 0], [1 / 7, 1], tolerance=1e-6)
    assert fb.nms(boxes, fb.tensor([0.5, 0.9, 0.5, 0.1]), 0.5).tolist() == [1, 0, 3]
    assert fb.nms(boxes[:0], fb.zeros(0), 0.5).shape == (0,)
    assert fb.roi_align(fb.ones(1, 3, 4, 4), fb.zeros(0, 4), fb.zeros(0, dtype="int64"), 2
                        ).shape == (0, 3, 2, 2)


def test_a_deformed_convolution_without_offsets_is_one() -> None:
    x, w, b = d(2, 4, 5, 6), d(6, 2, 3, 2), d(6)
    made = fb.deform_conv2d(x, fb.zeros(2, 12, 3, 7), w, b, (2, 1), (1, 1), 1, None, 2)
    check(made, fb.conv2d(x, w, b, (2, 1), (1, 1), groups=2).numpy(), "float64", 1e-12)


# -- errors --------------------------------------------------------------------------------------

X, W = fb.ones(3, 2, 4), fb.ones(5, 5)
IMAGE = fb.ones(1, 2, 4, 4)


@pytest.mark.parametrize(("call", "error", "text"), [
    (lambda: fb.rnn(X, W, W), ValueError, r"rnn: expected x \(steps, n, i\), weight_ih \(1 h, i\)"),
    (lambda: fb.gru(X, fb.ones(9, 4), fb.ones(9, 3), fb.ones(3)), ValueError,
     r"gru: expected biases of shape \(9,\), got"),
    (lambda: fb.rnn(X, fb.ones(5, 4), W, state=fb.ones(5)), ValueError,
     r"rnn: expected a state of shape \(2, 5\), got"),
    (lambda: fb.rnn(X, fb.ones(5, 4), W, nonlinearity="exp"), ValueError,
     "rnn: expected nonlinearity tanh or relu, got 'exp'"),
    (lambda: fb.celu(X, 0), ValueError, "celu: expected alpha other than 0, got 0"),
    (lambda: fb.quantize(X, 1.0, dtype="int32"), TypeError,
     "quantize: expected an integer dtype of 8 or 16 bits, got int32"),
    (lambda: fb.quantize(X, [1.0] * 3), ValueError,
     "quantize: expected one number, 2 along axis 1"),
    (lambda: fb.dequantize(X, 1.0), TypeError, "dequantize: expected integers, got float32"),
    (lambda: fb.hann_window(-1), ValueError, "hann_window: expected a length of 0 or more, got -1"),
    (lambda: fb.bartlett_window(-1), ValueError, "bartlett_window: expected a length of 0 or more"),
    (lambda: fb.stft(X, 4, window=fb.ones(3)), ValueError, "stft: expected a window of 4 elements"),
    (lambda: fb.stft(X, 8, center=False), ValueError, "stft: expected at least 8 elements"),
    (lambda: fb.stft(X, 8, 0), ValueError, "stft: expected .* n_fft and hop_length from 1"),
    (lambda: fb.istft(X, 8), ValueError, r"istft: expected \(..., frequencies, frames\) for n_fft"),
    (lambda: fb.box_iou(X, X), ValueError, r"box_iou: expected boxes \(n, 4\), got shapes"),
    (lambda: fb.nms(W[:, :4], W, 0.5), ValueError,
     r"nms: expected boxes \(n, 4\) and scores \(n\), got"),
    (lambda: fb.roi_align(IMAGE, W, [0], 2), ValueError, r"roi_align: expected x \(n, c, h, w\)"),
    (lambda: fb.col2im(X, (4, 4), 2), ValueError, r"col2im: expected \(n, c \* 4, 9\) for images"),
    (lambda: fb.deform_conv2d(IMAGE, X, W), ValueError,
     r"deform_conv2d: expected x \(n, c, h, w\)"),
    (lambda: fb.deform_conv2d(IMAGE, IMAGE, fb.ones(1, 2, 2, 2)), ValueError,
     r"deform_conv2d: expected offsets \(n, g 8, 3, 3\) of groups that divide 2 channels"),
])
def test_errors(call, error, text) -> None:
    with pytest.raises(error, match=text):
        call()
