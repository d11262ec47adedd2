"""Functions of neural networks: derivatives, layouts, halves, errors. Their values against another
implementation are tests/onnx's."""

from __future__ import annotations

import math

import flambeau as fb
import numpy as np
import pytest
from cases import array, check

RNG = np.random.default_rng(5)


def d(*shape: int) -> fb.Tensor:
    """Reproducible doubles."""
    return fb.tensor(RNG.standard_normal(shape))


# -- derivatives ---------------------------------------------------------------------------------

NORMAL = {
    "layer_norm": (lambda x, w, b: fb.layer_norm(x, (3, 4), w, b), (2, 3, 4), (3, 4), (3, 4)),
    "rms_norm": (lambda x, w: fb.rms_norm(x, 4, w), (2, 3, 4), (4,)),
    "group_norm": (lambda x, w, b: fb.group_norm(x, 2, w, b), (2, 4, 3), (4,), (4,)),
    "instance_norm": (lambda x, w, b: fb.instance_norm(x, w, b), (2, 3, 5), (3,), (3,)),
    "batch_norm": (lambda x, w, b: fb.batch_norm(x, None, None, w, b, True), (4, 3, 2), (3,), (3,)),
    "local_response_norm": (lambda x: fb.local_response_norm(x, 3, 0.5), (2, 5, 3)),
    "normalize": (lambda x: fb.normalize(x, 3, 1), (2, 5)),
    "lp_pool": (lambda x: fb.lp_pool(x, 3, 2, 1, ((1, 0), (0, 1)), (1, 2)), (1, 2, 5, 5)),
    "avg_pool": (lambda x: fb.avg_pool(x, 2, 1, ((1, 0), (0, 1)), count_include_pad=False,
                                       dilation=2), (1, 2, 5, 5)),
    "adaptive_avg_pool": (lambda x: fb.adaptive_avg_pool(x, (3, 2)), (1, 2, 5, 4)),
    "adaptive_max_pool": (lambda x: fb.adaptive_max_pool(x, (3, None)), (1, 2, 5, 4)),
    "attention": (lambda q, k, v, m: fb.scaled_dot_product_attention(q, k, v, m, True, softcap=2),
                  (2, 4, 3, 5), (2, 2, 3, 5), (2, 2, 3, 4), (3, 3)),
    "rotary": (lambda x, c, s: fb.rotary_embedding(x, c, s, True), (2, 3, 5), (3, 2), (3, 2)),
    "interpolate": (lambda x: fb.interpolate(x, (5, 3), mode="bicubic"), (1, 2, 3, 4)),
    "antialias": (lambda x: fb.interpolate(x, 2, mode="linear", antialias=True), (1, 2, 7)),
    "nearest": (lambda x: fb.interpolate(x, scale_factor=1.5), (1, 1, 4, 4)),
    "affine": (lambda x, t: fb.grid_sample(x, fb.affine_grid(t * 0.3, (1, 2, 3, 4))), (1, 2, 4, 3),
               (1, 2, 3)),
    "bicubic grid": (lambda x, g: fb.grid_sample(x, g, "bicubic", "reflection"), (1, 2, 4, 3),
                     (1, 3, 2)),
    "shuffle": (lambda x: fb.pixel_unshuffle(fb.pixel_shuffle(x, 2) ** 2, 2), (1, 4, 2, 3)),
    "cross_entropy": (lambda x, w: fb.cross_entropy(x, fb.tensor([[0, 2], [1, -100]]), w.exp()),
                      (2, 3, 2), (3,)),
    "soft labels": (lambda x, p: fb.cross_entropy(x, p, label_smoothing=0.1), (2, 3), (2, 3)),
    "smooth labels": (lambda x: fb.cross_entropy(x, fb.tensor([1, 2]), label_smoothing=0.1),
                      (2, 3)),
    "mse_loss": (fb.mse_loss, (2, 3), (2, 3)), "l1_loss": (fb.l1_loss, (2, 3), (2, 3)),
    "smooth_l1_loss": (lambda x, y: fb.smooth_l1_loss(x, y, beta=0.5), (2, 3), (2, 3)),
    "bce": (lambda x, y: fb.binary_cross_entropy(x.sigmoid(), y.sigmoid()), (2, 3), (2, 3)),
    "bce of logits": (lambda x, y: fb.binary_cross_entropy_with_logits(x, y), (2, 3), (2, 3)),
}


@pytest.mark.parametrize("name", NORMAL)
def test_derivatives(name: str) -> None:
    function, *shapes = NORMAL[name]
    assert fb.gradcheck(function, [d(*s) for s in shapes])


# -- values --------------------------------------------------------------------------------------


def test_normalisation_of_halves_adds_in_float32() -> None:
    a = (RNG.standard_normal((2, 3000)) + 30).astype(np.float16)
    wide = a.astype(np.float64)
    expected = (wide - wide.mean(1, keepdims=True)) / wide.std(1, keepdims=True)
    check(fb.layer_norm(fb.tensor(a), 3000, eps=0), expected, "float16", 4e-3)
    check(fb.rms_norm(fb.tensor(a), 3000), wide / np.sqrt((wide ** 2).mean(1, keepdims=True)),
          "float16", 4e-3)


def test_batch_norm_follows_in_place() -> None:
    x, mean, var = d(6, 3), fb.zeros(3), fb.ones(3)
    made = fb.batch_norm(x, mean, var, training=True, momentum=0.5)
    a = x.numpy()
    check(made, (a - a.mean(0)) / np.sqrt(a.var(0) + 1e-5), "float64", 1e-12)
    check(mean, a.mean(0) / 2, tolerance=1e-6)
    check(var, 0.5 + a.var(0, ddof=1) / 2, tolerance=1e-6)
    check(fb.batch_norm(x, mean, var), (a - mean.numpy()) / np.sqrt(var.numpy() + 1e-5),
          tolerance=1e-6)


def test_normalize_of_nothing() -> None:
    check(fb.normalize(fb.zeros(2, 3)), np.zeros((2, 3)))
    check(fb.normalize(fb.tensor([[3.0, 4.0]]), 1), [[3 / 7, 4 / 7]], tolerance=1e-6)


def test_pooling_keeps_integers_and_positions() -> None:
    a = array("int8", (1, 2, 5, 5), 3, -100, 100)
    found = fb.max_pool2d(fb.tensor(a), 2, 2, return_indices=True)
    check(found.values, fb.max_pool2d(fb.tensor(a.astype("float64")), 2, 2), "int8")
    back = fb.max_unpool(found.values, found.indices, (5, 5)).numpy()
    assert (back[back != 0] == a[back != 0]).all() and (back != 0).sum() <= 8
    check(fb.avg_pool(fb.ones(1, 1, 4), (2,), 1, ((1, 1),), count_include_pad=False, dilation=2),
          np.ones((1, 1, 4)))
    check(fb.lp_pool(fb.zeros(1, 4, 4), 2, 2), np.zeros((1, 2, 2)))


def test_attention_that_may_see_nothing() -> None:
    q, k, v = d(2, 3, 4), d(2, 5, 4), d(2, 5, 2)
    mask = np.ones((3, 5), bool)
    mask[1] = False
    found = fb.scaled_dot_product_attention(q, k, v, mask)
    scores = np.where(mask, q.numpy() @ k.numpy().swapaxes(1, 2) / 2, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True, initial=-1e300))
    expected = weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300) @ v.numpy()
    check(found, expected, "float64", 1e-12)
    grads = fb.grad(lambda q: fb.scaled_dot_product_attention(q, k, v, mask).sum())(q)
    assert np.isfinite(grads.numpy()).all() and not grads[:, 1].numpy().any()
    grouped = fb.scaled_dot_product_attention(d(1, 4, 3, 2), d(1, 2, 3, 2), d(1, 2, 3, 2))
    assert grouped.shape == (1, 4, 3, 2)
    check(fb.scaled_dot_product_attention(q, k, v, scale=-0.5),
          _plain(-0.5 * q.numpy() @ k.numpy().swapaxes(1, 2)) @ v.numpy(), "float64", 1e-12)


def _plain(s: np.ndarray) -> np.ndarray:
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_interpolation() -> None:
    a = np.arange(4.0).reshape(1, 1, 4)
    t = fb.tensor(a)
    check(fb.interpolate(t, 8), np.repeat(a, 2, 2))
    check(fb.interpolate(t, 7, mode="linear", align_corners=True), np.linspace(0, 3, 7)[None, None])
    check(fb.interpolate(t, scale_factor=2, mode="linear")[0, 0, :3], [0, 0.25, 0.75])
    check(fb.interpolate(t, 2, mode="area"), [[[0.5, 2.5]]])
    check(fb.interpolate(t, 3, mode="nearest-exact"), [[[0, 2, 3]]])
    check(fb.resample(fb.arange(5), 0, [0.5, 3.25]), [0.5, 3.25], "float32")
    check(fb.resample(t ** 3, 2, [1.5], "cubic", -0.5), [[[3.375]]])


def test_a_grid_of_the_elements_is_the_image() -> None:
    x = d(1, 2, 3, 4)
    eye = fb.tensor([[[1.0, 0, 0], [0, 1, 0]]]).double()
    for corners in (False, True):
        grid = fb.affine_grid(eye, x.shape, corners)
        for mode in ("bilinear", "nearest", "bicubic"):
            check(fb.grid_sample(x, grid, mode, align_corners=corners), x.numpy(), "float64", 1e-12)
    far = fb.tensor([[[5.0, -5.0], [math.nan, 0.0]]]).double()
    check(fb.grid_sample(x, far)[0, :, 0], [0, 0])
    check(fb.grid_sample(x, far, padding_mode="border")[0, :, 0], x[0, :, 0, 3].numpy())


def test_losses() -> None:
    x, y = fb.tensor([0.0, 1000, -1000]), fb.tensor([1.0, 0, 1])
    check(fb.binary_cross_entropy_with_logits(x, y, "none"), [math.log(2), 1000, 1000],
          tolerance=1e-6)
    check(fb.binary_cross_entropy(fb.tensor([0.0, 1.0]), fb.tensor([1.0, 1.0]), "sum"), 100)
    logs = d(2, 3).log_softmax(1)
    check(fb.nll_loss(logs, [2, -100], reduction="sum"), -logs.numpy()[0, 2], tolerance=1e-12)
    check(fb.nll_loss(logs, [2, 0], [1.0, 5, 3]),
          -(3 * logs.numpy()[0, 2] + logs.numpy()[1, 0]) / 4, tolerance=1e-6)
    for wrong in (3, -1):
        with pytest.raises(IndexError, match="gather: expected ind"):
            fb.nll_loss(logs, fb.tensor([1, wrong])).item()


# -- errors --------------------------------------------------------------------------------------

X = fb.ones(2, 3, 4, 4)


@pytest.mark.parametrize(("call", "text"), [
    (lambda: fb.layer_norm(X, (3, 4)), r"layer_norm: expected last axes of \(3, 4\), got shape"),
    (lambda: fb.layer_norm(X, 4, fb.ones(3)), "layer_norm: expected weight and bias of 4 elements"),
    (lambda: fb.rms_norm(X, 5), r"rms_norm: expected last axes of \(5,\), got shape"),
    (lambda: fb.group_norm(X, 2), "group_norm: expected .* channels that 2 groups divide, got"),
    (lambda: fb.instance_norm(X[0, 0]), "instance_norm: expected .* with axes behind"),
    (lambda: fb.batch_norm(X), "batch_norm: expected .* outside of training, running_mean"),
    (lambda: fb.local_response_norm(X, 0), "local_response_norm: expected .* a size from 1"),
    (lambda: fb.lp_pool(X, 0, 2), "lp_pool: expected p above 0, got 0"),
    (lambda: fb.avg_pool(X, 2, 1, ((2, 0), (0, 0))), r"avg_pool: expected padding of at most \(1"),
    (lambda: fb.adaptive_avg_pool(X, 0), "adaptive_avg_pool: expected at most 3 sizes from 1"),
    (lambda: fb.max_unpool(X, fb.zeros(2, dtype="int64"), (8, 8)), "max_unpool: expected indices"),
    (lambda: fb.scaled_dot_product_attention(X, X[..., :2], X),
     "scaled_dot_product_attention: expected query"),
    (lambda: fb.scaled_dot_product_attention(X, X[:, :2], X[:, :2]),
     "scaled_dot_product_attention: expected heads that divide 3, got 2"),
    (lambda: fb.rotary_embedding(X, fb.ones(3), fb.ones(3)), "rotary_embedding: expected cos"),
    (lambda: fb.interpolate(X), "interpolate: expected .* size or scale_factor, got shape"),
    (lambda: fb.interpolate(X, (1, 2, 3)), r"interpolate: expected 2 sizes from 1, got \(1, 2, 3"),
    (lambda: fb.interpolate(X, 3, mode="magic"), "interpolate: expected mode nearest, .* 'magic'"),
    (lambda: fb.resample(X, 2, [0], "magic"), "resample: expected mode linear or cubic"),
    (lambda: fb.resample(X, 2, [0], stretch=0.5), "resample: expected a stretch of 1 or more"),
    (lambda: fb.pixel_shuffle(X, 2), "pixel_shuffle: expected .* channels that 4 divides"),
    (lambda: fb.pixel_unshuffle(X, 3), "pixel_unshuffle: expected .* sizes that 3 divides"),
    (lambda: fb.affine_grid(X, (2, 3, 4, 4)), "affine_grid: expected matrices of shape"),
    (lambda: fb.grid_sample(X, X), r"grid_sample: expected \(n, c, ...\) and positions"),
    (lambda: fb.grid_sample(X, X[..., :2], "magic"), "grid_sample: expected mode bilinear"),
    (lambda: fb.nll_loss(X, X), "nll_loss: expected .* integer labels"),
    (lambda: fb.nll_loss(X[:, :, 0, 0], [0, 0], [1.0]), "nll_loss: expected 3 weights, got"),
    (lambda: fb.mse_loss(X, X[0]), "mse_loss: expected a target of shape"),
    (lambda: fb.l1_loss(X, X, "all"), "l1_loss: expected reduction mean, sum or none, got 'all'"),
    (lambda: fb.smooth_l1_loss(X, X, beta=0), "smooth_l1_loss: expected beta above 0, got 0"),
    (lambda: fb.cross_entropy(X[:, :, 0, 0], [0, 1], fb.ones(3), label_smoothing=0.5),
     "cross_entropy: expected label_smoothing without weight"),
])
def test_errors(call, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()
