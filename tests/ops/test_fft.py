"""Fourier transforms against NumPy and SciPy, their gradients and errors."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest

RNG = np.random.default_rng(5)
REAL = RNG.normal(size=(3, 4, 6))
FULL = REAL + 1j * RNG.normal(size=(3, 4, 6))
ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
MANY = ("fftn", "ifftn", "rfftn", "irfftn", "fft2", "ifft2", "rfft2", "irfft2")


def data(name: str) -> np.ndarray:
    return REAL if name in ("rfft", "rfftn", "rfft2", "ihfft") else FULL


def close(found: fb.Tensor, want: np.ndarray, rtol: float = 1e-12) -> None:
    assert found.shape == want.shape and found.dtype.numpy == want.dtype
    np.testing.assert_allclose(found.numpy(), want, rtol=rtol, atol=rtol * 10)


@pytest.mark.parametrize("name", ONE)
def test_one_axis(name: str) -> None:
    x = data(name)
    for n, axis, norm in ((None, -1, None), (5, 0, "ortho"), (8, 1, "forward"), (3, 2, "backward"),
                          (1, 1, None)):
        want = getattr(np.fft, name)(x, n, axis, norm)
        close(getattr(fb.fft, name)(fb.tensor(x), n, axis, norm), want)
    small = x.astype(np.float32 if x.dtype == np.float64 else np.complex64)
    close(getattr(fb.fft, name)(fb.tensor(small)), getattr(np.fft, name)(small), 1e-5)


@pytest.mark.parametrize("name", MANY)
def test_many_axes(name: str) -> None:
    x = data(name)
    cases = [((3, 5), (0, 2), "ortho"), (None, (1, 2), None), ((4, 4), (-1, 0), "forward")]
    if name[-1] == "n":
        cases.append((None, None, None))
    for s, axes, norm in cases:
        want = getattr(np.fft, name)(x, s, axes, norm)
        close(getattr(fb.fft, name)(fb.tensor(x), s, axes, norm), want)


def test_views_promotion_and_composition() -> None:
    t = fb.tensor(FULL)
    close(fb.fft.fft(t[::-1, 1:].permute(2, 0, 1)), np.fft.fft(FULL[::-1, 1:].transpose(2, 0, 1)))
    assert fb.fft.fft(fb.ones(4, dtype=fb.int32)).dtype is fb.complex64
    assert fb.fft.rfft(fb.ones(4, dtype=fb.float16)).dtype is fb.complex64
    close(fb.fft.ifft(fb.fft.fft(t) * 2 + 1), np.fft.ifft(np.fft.fft(FULL) * 2 + 1))
    close(fb.fft.irfft(fb.fft.rfft(fb.tensor(REAL))), REAL)

    @fb.compile
    def filtered(x: fb.Tensor) -> fb.Tensor:
        return fb.fft.irfft(fb.fft.rfft(x) * 0.5)

    for _ in range(3):
        close(filtered(fb.tensor(REAL)), REAL / 2)


def test_frequencies_and_shifts() -> None:
    for n in (1, 4, 5):
        close(fb.fft.fftfreq(n, 0.5, dtype=fb.float64), np.fft.fftfreq(n, 0.5))
        close(fb.fft.rfftfreq(n, 0.5, dtype=fb.float64), np.fft.rfftfreq(n, 0.5))
    for axes in (None, 0, (0, 2)):
        close(fb.fft.fftshift(fb.tensor(REAL), axes), np.fft.fftshift(REAL, axes))
        close(fb.fft.ifftshift(fb.tensor(REAL), axes), np.fft.ifftshift(REAL, axes))


@pytest.mark.parametrize("norm", [None, "ortho"])
def test_cosine_transforms(norm: str | None) -> None:
    scipy_fft = pytest.importorskip("scipy.fft")
    for n in (1, 4, 5):
        x = REAL.reshape(-1)[:3 * n].reshape(3, n)
        close(fb.fft.dct(fb.tensor(x), norm=norm), scipy_fft.dct(x, norm=norm))
        close(fb.fft.idct(fb.tensor(x), norm=norm), scipy_fft.idct(x, norm=norm))
        close(fb.fft.dct(fb.tensor(x), 0, norm), scipy_fft.dct(x, axis=0, norm=norm))


@pytest.mark.parametrize("name", [*ONE, "fft2", "rfft2", "irfft2"])
def test_gradients(name: str) -> None:
    f = getattr(fb.fft, name)
    x = fb.tensor(data(name)[0, :2, :4])
    lengths = [(4, 3), (3, 5)] if name[-1] == "2" else [4, 5]
    assert fb.gradcheck(lambda t: [f(t, n, norm="ortho") for n in lengths], x)


def test_second_derivative_and_dct_gradient() -> None:
    assert fb.gradcheck(lambda t: fb.fft.fft(t).abs() ** 2, fb.tensor(FULL[0, 0, :3]), order=2)
    assert fb.gradcheck(lambda t: [fb.fft.dct(t), fb.fft.idct(t)], fb.tensor(REAL[0, 0, :4]))


@pytest.mark.parametrize(("call", "kind", "message"), [
    (lambda: fb.fft.fft(fb.ones(4), norm="both"), ValueError,
     "fft: expected norm 'backward', 'ortho' or 'forward', got 'both'"),
    (lambda: fb.fft.fft(fb.ones(4), 0), ValueError,
     "fft: expected at least 1 point along axis 0, got 0"),
    (lambda: fb.fft.irfft(fb.ones(1)), ValueError,
     "irfft: expected at least 1 point along axis 0, got 0"),
    (lambda: fb.fft.rfft(fb.tensor([1j])), TypeError,
     "rfft: expected a real dtype, got complex64"),
    (lambda: fb.fft.fftn(fb.ones(4, 4), axes=(0, 0)), ValueError,
     "fftn: expected distinct axes, got (0, 0)"),
    (lambda: fb.fft.fftn(fb.ones(4, 4), (4,), (0, 1)), ValueError,
     "fftn: expected as many lengths as axes, got (4,) and (0, 1)"),
    (lambda: fb.fft.rfftn(fb.ones(4), axes=()), ValueError,
     "rfftn: expected at least one axis, got none"),
    (lambda: fb.fft.irfftn(fb.ones(4), axes=()), ValueError,
     "irfftn: expected at least one axis, got none"),
    (lambda: fb.fft.fftfreq(0), ValueError, "fftfreq: expected at least 1 point, got 0"),
    (lambda: fb.fft.rfftfreq(0), ValueError, "rfftfreq: expected at least 1 point, got 0"),
    (lambda: fb.fft.dct(fb.ones(2, 0)), ValueError,
     "dct: expected at least 1 point along axis 1, got 0"),
])
def test_errors(call, kind: type, message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1), (2, 0), (0, 1, 2)])
def test_lines_shared_among_threads_give_the_same_bits(axes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((40, 45, 44)) + 1j * rng.standard_normal((40, 45, 44))
    t = fb.tensor(x, dtype="complex128")
    found, before = [], fb.num_threads()
    try:
        for threads in (1, 2, 3):
            fb.set_num_threads(threads)
            found.append([f(v, axes=axes).numpy() for f, v in (
                (fb.fft.fftn, t), (fb.fft.rfftn, t.real), (fb.fft.irfftn, t))])
    finally:
        fb.set_num_threads(before)
    for one, two, three in zip(*found, strict=True):
        assert np.array_equal(one, two) and np.array_equal(one, three)
    wanted = [f(v, axes=axes) for f, v in ((np.fft.fftn, x), (np.fft.rfftn, x.real),
                                           (np.fft.irfftn, x))]
    for one, other in zip(found[0], wanted, strict=True):
        assert np.allclose(one, other, 1e-12, 1e-12 * np.abs(other).max())


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_frequencies_are_numpys(n: int) -> None:
    assert np.array_equal(fb.fft.fftfreq(n, 0.3, dtype="float64").numpy(), np.fft.fftfreq(n, 0.3))
    assert np.array_equal(fb.fft.rfftfreq(n, 0.3, dtype="float64").numpy(), np.fft.rfftfreq(n, 0.3))
