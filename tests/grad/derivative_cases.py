"""One case for each public differentiable function: how to call it, and on what.

A case's name is the function's, its aliases need none. `smooth`: the second order is checked too.
`complex`: it is checked once more on complex operands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flambeau as fb
import numpy as np

Spec = tuple[tuple[int, ...], float, float]


@dataclass(frozen=True)
class Case:
    """A function of tensors, and the shape and range of each."""

    fn: Callable[..., Any]
    specs: tuple[Spec, ...]
    smooth: bool = True
    complex: bool = False

    def arrays(self, kind: str) -> list[np.ndarray]:
        """Operands, float64 or complex128, the same in each run."""
        random = np.random.default_rng(7)
        made = [random.uniform(low, high, shape) for shape, low, high in self.specs]
        if kind == "complex":
            return [a + 1j * random.uniform(-0.9, 0.9, a.shape) for a in made]
        return made


def R(*shape: int, low: float = -2.0, high: float = 2.0) -> Spec:
    """Uniform numbers."""
    return shape, low, high


def P(*shape: int) -> Spec:
    """Numbers well above 0."""
    return shape, 0.4, 2.0


A, B = R(2, 3), P(2, 3)  # what most functions are given
U = R(2, 3, low=-0.9, high=0.9)
SQUARE = R(3, 3)
CASES: dict[str, Case] = {}


def public(name: str) -> Callable[..., Any]:
    """The function of that name: `linalg.det`, `fft.rfft`, `view_as` (a method)."""
    found: Any = fb
    for part in name.split("."):
        found = getattr(found, part) if hasattr(found, part) else getattr(fb.Tensor, part)
    return found  # type: ignore[no-any-return]


def add(names: str, *specs: Spec, args: tuple[Any, ...] = (), smooth: bool = True,
        complex: bool = False, fn: Callable[..., Any] | None = None, **options: Any) -> None:
    """Cases for functions of the same operands. args, options: what follows them."""
    for name in names.split():
        f = public(name)

        def call(*tensors: Any, f: Callable[..., Any] = f) -> Any:
            return f(*tensors, *args, **options)

        assert name not in CASES, name
        CASES[name] = Case(fn or call, specs or (A,), smooth, complex)


def listed(names: str, *specs: Spec, complex: bool = True, **options: Any) -> None:
    """Functions that take a list of tensors."""
    for name in names.split():
        f = public(name)
        add(name, *specs, complex=complex, fn=lambda *t, f=f: f(list(t), **options))


# -- elementwise -----------------------------------------------------------------------------------
add("abs neg sign positive deg2rad rad2deg nan_to_num clone contiguous", smooth=False)
add("acos asin atanh erfinv sinc", U)
add("acosh", R(2, 3, low=1.2, high=3))
add("asinh atan cosh sinh exp exp2 expm1 erf erfc sigmoid softplus tanh square sin cos", A,
    complex=False)
add("tan", R(2, 3, low=-1.2, high=1.2))
add("cbrt lgamma digamma log log2 log10 log1p reciprocal rsqrt sqrt", B)
add("logit", R(2, 3, low=0.1, high=0.9))
add("gelu silu mish log_sigmoid softsign tanhshrink", A)
add("elu celu selu relu leaky_relu relu6 hard_tanh hardshrink softshrink", A, smooth=False)
add("hard_sigmoid hard_swish", R(2, 3, low=-2.5, high=2.5), smooth=False)
add("frac", A, smooth=False)
add("floor ceil trunc round heaviside", A, smooth=False)
CASES["heaviside"] = Case(lambda x: fb.heaviside(x, 0.5), (A,), False)
add("threshold", A, args=(0.1, 3.0), smooth=False)
add("clamp", A, args=(-1.0, 0.7), smooth=False)
add("clamp_min", A, args=(-1.0,), smooth=False)
add("clamp_max", A, args=(0.7,), smooth=False)
add("add sub mul", A, R(3), complex=True)
add("div", A, B, complex=True)
add("pow", B, A)
add("atan2 hypot logaddexp", A, B)
add("maximum minimum fmod remainder floor_divide", A, R(2, 3, low=0.5, high=3), smooth=False)
add("copysign", A, R(2, 3), smooth=False)
add("prelu", A, R(3), smooth=False)
add("xlogy", A, B)
add("lerp", A, R(2, 3), R(3))
add("addcmul", A, R(2, 3), R(3))
add("addcdiv", A, R(2, 3), B)
add("where", A, R(2, 3), fn=lambda a, b: fb.where(a > b, a * a, b), smooth=False)

# -- complex ---------------------------------------------------------------------------------------
add("conj real imag angle adjoint", A, smooth=False, complex=True)
add("complex polar", A, R(2, 3))
add("view_as_complex", R(3, 2))
add("view_as_real", A, fn=lambda a: fb.view_as_real(fb.complex(a, a * a)))

# -- reductions and scans --------------------------------------------------------------------------
add("sum mean nansum nanmean", A, complex=False)
add("prod nanprod", A, args=(1,))
add("var std", A, args=(0,))
add("var_mean", A, args=(1,))
add("norm", A, fn=lambda a: [fb.norm(a), fb.norm(a, 3, 1), fb.norm(a, 1), fb.norm(a, 0.5, 0)])
add("dist cdist", A, R(2, 3), smooth=True)
add("amax amin ptp max min nanmax nanmin aminmax", A, args=(1,), smooth=False)
add("cummax cummin", A, args=(1,), smooth=False)
add("cumsum cumprod cumulative_sum cumulative_prod logcumsumexp", A, args=(1,))
add("logsumexp softmax log_softmax softmin", A, args=(1,))
add("trapezoid cumulative_trapezoid", A, R(2, 3),
    fn=None)
add("diff", R(2, 4), args=(2,))
add("ediff1d", R(5), R(2), fn=lambda a, b: fb.ediff1d(a, b, b * b))
add("renorm", R(3, 4), args=(2, 0, 1.5))
add("match", R(3, 4), R(2, 4), R(), fn=lambda a, b, gain: fb.match(a, b, gain.sum()))

# -- movement, joining -----------------------------------------------------------------------------
add("atleast_1d atleast_2d flatten ravel fliplr flipud matrix_transpose t squeeze rot90 unbind",
    R(2, 3), complex=False)
add("transpose swapaxes moveaxis", R(2, 1, 3), args=(0, 2))
add("permute", R(2, 1, 3), args=(2, 0, 1))
add("reshape view unflatten", R(2, 3), fn=None, args=(3, 2))
CASES["unflatten"] = Case(lambda a: fb.unflatten(a, 1, (3, 1)), (A,))
add("reshape_as view_as", A, R(3, 2), smooth=True)
add("expand broadcast_to", R(3), args=((2, 3),))
add("expand_as", R(3), A)
add("expand_dims unsqueeze", A, args=(1,))
add("broadcast_arrays", A, R(3))
add("meshgrid", R(3), R(2))
add("flip", A, args=(1,))
add("roll", A, args=(1, 1))
add("narrow", R(2, 4), args=(1, 1, 2))
add("select", A, args=(1, -1))
add("diagonal diag diag_embed trace tril triu", SQUARE)
CASES["diagonal"] = Case(lambda a: fb.diagonal(a, 1, 0, 1), (SQUARE,))
add("split chunk array_split", R(5), args=(2,))
add("tile repeat", A, args=(2, 2))
add("repeat_interleave", A, args=(2, 1))
add("pad", R(3, 4), fn=lambda a: [fb.pad(a, [(1, 2), (0, 1)], mode) for mode in
                                  ("constant", "reflect", "replicate", "circular")])
add("unfold", R(6), args=(0, 3, 2))
listed("concatenate stack hstack vstack dstack", A, R(2, 3))

# -- indexing --------------------------------------------------------------------------------------
I1, I2 = np.array([2, 0, 2]), np.array([[0, 2, 1, 1], [1, 0, 0, 2]])
MASK = np.array([[True, False, True], [False, True, True]])
add("gather", A, args=(1, I2), smooth=False)
add("take_along_axis", A, args=(I2, 1), smooth=False)
add("index_select", A, args=(1, I1), smooth=False)
add("take", A, args=(np.array([5, 0, 5]),), smooth=False)
add("masked_select", A, args=(MASK,), smooth=False)
add("masked_fill", A, args=(MASK, 2.0), smooth=False)
add("masked_scatter", A, R(6), fn=lambda a, b: fb.masked_scatter(a, MASK, b * b))
add("compress", A, fn=lambda a: fb.compress([True, False, True], a, 1))
add("choose", R(3), R(3), fn=lambda a, b: fb.choose(np.array([1, 0, 1]), [a, b * b]))
add("index_add index_copy", R(2, 3), R(2, 2), fn=None, smooth=False)
CASES["index_add"] = Case(lambda a, b: fb.index_add(a, 1, [2, 0], b * b), (A, R(2, 2)))
CASES["index_copy"] = Case(lambda a, b: fb.index_copy(a, 1, [2, 0], b * b), (A, R(2, 2)))
add("index_fill", A, args=(1, [2, 0], 1.5), smooth=False)
add("index_reduce scatter_reduce", A, fn=None)
CASES["index_reduce"] = Case(lambda a, b: [fb.index_reduce(a, 1, [2, 0], b, r) for r in
                                           ("prod", "mean", "amax", "amin")],
                             (A, R(2, 2)), False)
CASES["scatter_reduce"] = Case(lambda a, b: [fb.scatter_reduce(a, 1, I2, b, r) for r in
                                             ("sum", "prod", "mean", "amax", "amin")],
                               (A, R(2, 4)), False)
add("scatter", A, R(2, 2), fn=lambda a, b: fb.scatter(a, 1, [[2, 0], [0, 1]], b * b))
add("scatter_add", A, R(2, 4), fn=lambda a, b: fb.scatter_add(a, 1, I2, b * b))
add("gather_nd", A, args=([[1, 2], [0, 0], [1, 2]],), smooth=False)
add("scatter_nd", A, R(2), fn=lambda a, b: [
    fb.scatter_nd(a, [[1, 2], [0, 0]], b * b, how) for how in (None, "add", "prod", "max")])
add("put", A, R(2), fn=lambda a, b: fb.put(a, [0, 4], b * b))
add("put_along_axis", A, R(2, 2), fn=lambda a, b: fb.put_along_axis(a, [[0, 2], [1, 0]], b * b, 1))

# -- order -----------------------------------------------------------------------------------------
add("sort msort", A, smooth=False)
add("topk", A, args=(2,), smooth=False)
add("kthvalue partition", A, args=(2,), smooth=False)
add("median nanmedian mode", A, args=(1,), smooth=False)
add("quantile nanquantile", R(7), args=(0.37,), smooth=False)
add("percentile", R(7), args=([20, 70],), smooth=False)
add("unique unique_values unique_counts unique_all unique_inverse", R(4), smooth=False)
add("bincount", R(3), fn=lambda w: fb.bincount(np.array([2, 0, 2]), w * w))
add("histogram", R(3), fn=lambda w: fb.histogram(np.array([0.1, 0.9, 0.2]), 2, weights=w * w)[0])
add("unique_consecutive", R(4), smooth=False)

# -- products --------------------------------------------------------------------------------------
add("matmul mm", R(2, 3), R(3, 2), complex=True)
add("mv", R(2, 3), R(3), complex=True)
add("bmm", R(2, 2, 3), R(2, 3, 2))
add("dot vdot inner", R(3), R(3), complex=True)
add("vecdot", R(2, 3), R(2, 3), complex=True)
add("outer ger", R(2), R(3), complex=True)
add("kron", R(2, 2), R(2, 1), complex=True)
add("cross", R(2, 3), R(2, 3))
add("tensordot", R(2, 3), R(3, 2), args=(1,), complex=True)
add("einsum", R(2, 3), R(3, 2), complex=True,
    fn=lambda a, b: [fb.einsum("ij,jk->ki", a, b), fb.einsum("ij,ji->j", a, b)])
add("addmm", R(2, 2), R(2, 3), R(3, 2))
add("addmv", R(2), R(2, 3), R(3))
add("addr", R(2, 3), R(2), R(3))
add("baddbmm", R(2, 2, 2), R(2, 2, 3), R(2, 3, 2))
add("addbmm", R(2, 2), R(2, 2, 3), R(2, 3, 2))

# -- convolution, pooling --------------------------------------------------------------------------
add("conv1d", R(1, 2, 5), R(2, 2, 3), R(2))
add("conv2d", R(1, 2, 4, 4), R(2, 1, 2, 2), R(2), fn=lambda x, w, b: fb.conv2d(
    x, w, b, stride=2, padding=1, groups=2))
add("conv3d", R(1, 1, 3, 3, 3), R(1, 1, 2, 2, 2), R(1))
add("convnd", R(1, 1, 5), R(1, 1, 2), R(1))
add("conv_transpose", R(1, 2, 4), R(2, 1, 3), R(1), fn=lambda x, w, b: fb.conv_transpose(
    x, w, b, stride=2))
add("conv2 xcorr2", R(4, 4), R(2, 2))
add("conv3 xcorr3", R(3, 3, 3), R(2, 2, 2))
add("convolve correlate", R(5), R(3))
add("avg_pool1d max_pool1d avg_pool max_pool", R(1, 2, 6), args=(2,))
add("avg_pool2d max_pool2d", R(1, 1, 4, 4), args=(2,))
add("avg_pool3d max_pool3d", R(1, 1, 2, 4, 2), args=(2,))

# -- for nets --------------------------------------------------------------------------------------
IMAGE, CHANNELS = R(2, 4, 3, 3), R(4)
LABELS = np.array([2, 0])
add("adaptive_avg_pool", IMAGE, args=((2, 2),))
add("adaptive_max_pool", IMAGE, args=((2, 2),), smooth=False)
add("affine_grid", R(1, 2, 3), args=((1, 1, 2, 3),))
add("grid_sample", R(1, 1, 4, 4), R(1, 2, 2, 2, low=-0.8, high=0.8), fn=lambda x, g: [
    fb.grid_sample(x, g, mode, padding) for mode, padding in (
        ("bilinear", "zeros"), ("bicubic", "border"))], smooth=False)
add("batch_norm", IMAGE, CHANNELS, CHANNELS, fn=lambda x, w, b: [
    fb.batch_norm(x, None, None, w, b, training=True),
    fb.batch_norm(x, w, b * b + 1, w, b)])
add("group_norm", IMAGE, CHANNELS, CHANNELS, fn=lambda x, w, b: fb.group_norm(x, 2, w, b))
add("instance_norm", IMAGE, CHANNELS, CHANNELS)
add("layer_norm", R(2, 4), R(4), R(4), fn=lambda x, w, b: fb.layer_norm(x, 4, w, b))
add("rms_norm", R(2, 4), R(4), fn=lambda x, w: fb.rms_norm(x, 4, w))
add("local_response_norm", IMAGE, args=(3,))
add("normalize", A)
add("binary_cross_entropy", R(2, 3, low=0.1, high=0.9), R(2, 3, low=0, high=1))
add("binary_cross_entropy_with_logits", A, R(2, 3, low=0, high=1))
add("l1_loss", A, R(2, 3), smooth=False)
add("mse_loss", A, R(2, 3))
add("smooth_l1_loss", A, R(2, 3), smooth=False)
add("nll_loss", A, P(3), fn=lambda x, w: fb.nll_loss(x, LABELS, w))
add("cross_entropy", A, fn=lambda x: [fb.cross_entropy(x, LABELS, label_smoothing=0.1),
                                      fb.cross_entropy(x, fb.softmax(x * x))])
add("interpolate", R(1, 1, 3, 3), fn=lambda x: [
    fb.interpolate(x, (5, 4), mode=mode) for mode in ("nearest", "bilinear", "bicubic", "area")])
add("resample", A, fn=lambda x: [fb.resample(x, 1, [0.2, 1.7], mode) for mode in
                                 ("linear", "cubic")])
add("lp_pool", IMAGE, args=(2, 2))
add("max_unpool", R(1, 1, 2, 2), fn=lambda x: fb.max_unpool(
    x, np.array([[[[0, 3], [9, 14]]]]), (4, 4)))
add("pixel_shuffle", R(1, 4, 1, 2), args=(2,))
add("pixel_unshuffle", R(1, 1, 2, 4), args=(2,))
add("rotary_embedding", R(2, 4), R(2, 2), R(2, 2))
add("scaled_dot_product_attention", R(2, 3, 4), R(2, 3, 4), R(2, 3, 2), fn=lambda q, k, v: [
    fb.scaled_dot_product_attention(q, k, v, is_causal=True),
    fb.scaled_dot_product_attention(q, k, v, softcap=2.0)])

# -- random: the same draws at every point ---------------------------------------------------------


def drawing(name: str) -> Callable[..., Any]:
    """The law with draws that do not change between calls."""
    return lambda *p: public(name)(*p, generator=fb.Generator(5))


for _name in ("normal", "laplace", "logistic", "gumbel", "cauchy"):
    add(_name, A, B, fn=drawing(_name))
add("log_normal", P(2, 3), P(2, 3), fn=drawing("log_normal"))
add("uniform", R(2, 3, low=-2, high=-1), P(2, 3), fn=drawing("uniform"))
add("exponential", B, fn=drawing("exponential"))
add("weibull", B, P(2, 3), fn=drawing("weibull"))
add("dropout", A, fn=lambda x: fb.dropout(x, 0.4, generator=fb.Generator(5)))
add("permutation", A, fn=lambda x: fb.permutation(x, generator=fb.Generator(5)))

# -- linear algebra --------------------------------------------------------------------------------


def definite(a: Any) -> Any:
    """A symmetric (Hermitian) positive definite matrix that depends on all of a."""
    return a @ a.mH + 2 * fb.eye(a.shape[-1], dtype=a.dtype)


def regular(a: Any) -> Any:
    """A matrix far from singular."""
    return a + 4 * fb.eye(a.shape[-1], dtype=a.dtype)


L = fb.linalg
add("linalg.cholesky", SQUARE, fn=lambda a: L.cholesky(definite(a)), complex=True)
add("linalg.cholesky_inverse", SQUARE, fn=lambda a: L.cholesky_inverse(regular(a).tril()))
add("linalg.cholesky_solve", R(3, 2), SQUARE,
    fn=lambda b, a: L.cholesky_solve(b, regular(a).tril()))
add("linalg.cond", SQUARE, fn=lambda a: [L.cond(regular(a)), L.cond(regular(a), "fro")])
add("linalg.det linalg.inv linalg.pinv linalg.matrix_norm linalg.norm", SQUARE, complex=True)
add("linalg.vector_norm", A, complex=True)
add("linalg.logdet", SQUARE, fn=lambda a: L.logdet(definite(a)))
add("linalg.slogdet", SQUARE, fn=lambda a: L.slogdet(regular(a))[1], complex=True)
add("linalg.expm", SQUARE)
add("linalg.matrix_power", SQUARE, args=(3,), complex=True)
add("linalg.eigh", SQUARE, fn=lambda a: [L.eigh(a + a.mH)[0], abs(L.eigh(a + a.mH)[1])])
add("linalg.eigvalsh", SQUARE, fn=lambda a: L.eigvalsh(a + a.mH), complex=True)
add("linalg.eig linalg.eigvals", SQUARE)
CASES["linalg.eig"] = Case(lambda a: [L.eig(a)[0].abs() ** 2, L.eig(a)[1].abs() ** 2], (SQUARE,))
CASES["linalg.eigvals"] = Case(lambda a: L.eigvals(a).abs() ** 2, (SQUARE,))
add("linalg.svd", R(3, 2), fn=lambda a: [L.svd(a, False)[1], (L.svd(a, False)[0] ** 2),
                                         L.svd(a, False)[2] ** 2])
add("linalg.svdvals", R(3, 2), complex=True)
add("linalg.qr", R(3, 2), fn=lambda a: [L.qr(a)[0] ** 2, L.qr(a)[1] ** 2])
add("linalg.lu linalg.lu_factor", SQUARE)
CASES["linalg.lu"] = Case(lambda a: [L.lu(a)[1], L.lu(a)[2]], (SQUARE,))
CASES["linalg.lu_factor"] = Case(lambda a: L.lu_factor(a)[0], (SQUARE,))
add("linalg.lu_solve", SQUARE, R(3, 2), fn=lambda a, b: L.lu_solve(*L.lu_factor(a), b))
add("linalg.solve", SQUARE, R(3, 2), complex=True)
add("linalg.solve_triangular", SQUARE, R(3, 2), complex=True,
    fn=lambda a, b: L.solve_triangular(regular(a), b, upper=True))
add("linalg.lstsq", R(4, 2), R(4, 1), fn=lambda a, b: L.lstsq(a, b)[0])
add("linalg.multi_dot", R(2, 3), R(3, 2), fn=lambda a, b: L.multi_dot([a, b, a]))
add("linalg.tensorinv", R(2, 3, 6), args=(2,))
add("linalg.tensorsolve", R(2, 3, 6), R(2, 3))
add("linalg.householder_product", R(3, 2), R(2))
add("linalg.ormqr", R(3, 2), R(2), R(3, 2))
add("linalg.diagonal linalg.trace", SQUARE)
add("linalg.outer", R(2), R(3))

# -- Fourier ---------------------------------------------------------------------------------------
add("fft.fft fft.ifft fft.fftshift fft.ifftshift fft.irfft fft.hfft", R(4), complex=True)
add("fft.rfft fft.ihfft fft.dct fft.idct", R(5))
add("fft.fft2 fft.ifft2 fft.fftn fft.ifftn fft.irfft2 fft.irfftn", R(2, 3), complex=True)
add("fft.rfft2 fft.rfftn", R(2, 3))

# -- methods of other names ------------------------------------------------------------------------
add("to astype type", A, args=(fb.float64,))
add("to_device", A, args=("cpu",))
add("cpu", A)
add("type_as", A, R(2, 3))

# -- functions for signals, sequences and regions --------------------------------------------------
add("stft", R(12), fn=lambda x: fb.view_as_real(fb.stft(x, 4, 2, window=fb.hann_window(4))))
add("istft", R(3, 4, 2), fn=lambda z: fb.istft(fb.view_as_complex(z), 4, 2))
add("rnn", R(3, 2, 2), R(2, 2), R(2, 2), R(2), fn=lambda *t: fb.rnn(*t)[0])
add("lstm", R(3, 2, 2), R(8, 2), R(8, 2), R(8), fn=lambda *t: fb.lstm(*t)[0])
add("gru", R(3, 2, 2), R(6, 2), R(6, 2), R(6), fn=lambda *t: fb.gru(*t)[0])
add("roi_align", R(1, 1, 5, 5), fn=lambda x: fb.roi_align(
    x, fb.tensor([[0.3, 0.4, 3.2, 3.7]], dtype=fb.float64), fb.tensor([0]), (2, 2),
    sampling_ratio=2))
add("col2im", R(1, 4, 4), args=((3, 3), 2))
add("deform_conv2d", R(1, 1, 4, 4), R(1, 8, 3, 3, low=0.1, high=0.4), R(1, 1, 2, 2), smooth=False)
add("box_iou", R(2, 4), fn=lambda b: fb.box_iou(
    fb.cat([b[:, :2] * 0.2, b[:, 2:] * 0.2 + 2], 1),
    fb.tensor([[0.6, 0.7, 3.1, 3.3]], dtype=fb.float64)), smooth=False)
add("dequantize", R(), fn=lambda s: fb.dequantize(fb.tensor([3, -5], dtype=fb.int8), s))
