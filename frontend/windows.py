"""Windows of signal processing, and the short-time Fourier transform with its inverse."""

from __future__ import annotations

import math
from typing import Any

from . import fft
from .creation import arange, linspace, ones, zeros
from .elementwise import abs as abs_
from .elementwise import cos
from .indexing import index_add, take
from .joining import pad
from .movement import matrix_transpose, reshape
from .recording import as_tensor, as_tensors
from .tensor import Tensor, as_dtype, default_dtype


def _cosines(name: str, n: int, periodic: bool, dtype: Any, device: Any, *weights: float
             ) -> Tensor:
    """The sum of weights[k] cos(2 pi k i / (n or n - 1)), calculated in float64."""
    if n < 0:
        raise ValueError(f"{name}: expected a length of 0 or more, got {n}")
    wanted = default_dtype() if dtype is None else as_dtype(name, dtype)
    if n == 1:
        return ones(1, dtype=wanted, device=device)
    turn = arange(n, dtype="float64", device=device) * (2 * math.pi / max(n - (not periodic), 1))
    total: Any = weights[0]
    for k, w in enumerate(weights[1:], 1):
        total = total + cos(turn * k) * w
    return total.to(wanted)


def hann_window(n: int, periodic: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """0.5 - 0.5 cos(2 pi i / n), or of i / (n - 1) if not periodic; (n), the default dtype. PyTorch
    hann_window. Raises ValueError for n below 0."""
    return _cosines("hann_window", n, periodic, dtype, device, 0.5, -0.5)


def hamming_window(n: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46,
                   dtype: Any = None, device: Any = None) -> Tensor:
    """alpha - beta cos(2 pi i / n), or of i / (n - 1) if not periodic; (n), the default dtype.
    PyTorch hamming_window. Raises ValueError for n below 0."""
    return _cosines("hamming_window", n, periodic, dtype, device, alpha, -beta)


def blackman_window(n: int, periodic: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """0.42 - 0.5 cos(2 pi i / n) + 0.08 cos(4 pi i / n), or of i / (n - 1) if not periodic; (n),
    the default dtype. PyTorch blackman_window. Raises ValueError for n below 0."""
    return _cosines("blackman_window", n, periodic, dtype, device, 0.42, -0.5, 0.08)


def bartlett_window(n: int, periodic: bool = True, dtype: Any = None, device: Any = None) -> Tensor:
    """The triangle 1 - |2 i / n - 1|, or of i / (n - 1) if not periodic; (n), the default dtype.
    PyTorch bartlett_window. Raises ValueError for n below 0."""
    wanted = default_dtype() if dtype is None else as_dtype("bartlett_window", dtype)
    if n < 0:
        raise ValueError(f"bartlett_window: expected a length of 0 or more, got {n}")
    if n == 1:
        return ones(1, dtype=wanted, device=device)
    line = linspace(-1, 1, n, dtype="float64", endpoint=not periodic, device=device)
    return (1 - abs_(line)).to(wanted)


def _window(name: str, t: Tensor, n_fft: int, win_length: int | None, window: Any) -> Tensor:
    """The window, in the middle of n_fft elements."""
    length = n_fft if win_length is None else win_length
    kind = t.dtype.real if t.dtype.is_inexact else default_dtype()
    w = ones(length, dtype=kind, device=t.device) if window is None else (
        as_tensors(name, t, window)[1])
    if w.shape != (length,) or not 1 <= length <= n_fft:
        raise ValueError(f"{name}: expected a window of {length} elements, at most {n_fft}, got "
                         f"shape {w.shape}")
    before = (n_fft - length) // 2
    return pad(w, [(before, n_fft - length - before)])


def stft(x: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
         window: Any = None, center: bool = True, pad_mode: str = "reflect",
         normalized: bool = False, onesided: bool | None = None) -> Tensor:
    """The Fourier transforms of windows of x (..., length), hop_length apart: complex
    (..., frequencies, frames).

    hop_length: n_fft // 4 unless given. window: win_length elements (n_fft unless given), ones
    unless given. center: frames lie around multiples of hop_length, x is padded at both ends.
    onesided: n_fft // 2 + 1 frequencies (the default for real x), else n_fft. normalized: divided
    by sqrt(n_fft). PyTorch stft. Raises ValueError where no frame fits.
    """
    t = as_tensor("stft", x)
    hop = max(n_fft // 4, 1) if hop_length is None else hop_length
    if t.ndim < 1 or n_fft < 1 or hop < 1:
        raise ValueError(f"stft: expected (..., length), n_fft and hop_length from 1, got shape "
                         f"{t.shape}, {n_fft} and {hop}")
    w = _window("stft", t, n_fft, win_length, window)
    if center:
        t = pad(t, [(0, 0)] * (t.ndim - 1) + [(n_fft // 2, n_fft // 2)], pad_mode)
    if t.shape[-1] < n_fft:
        raise ValueError(f"stft: expected at least {n_fft} elements for a frame, got shape "
                         f"{t.shape}")
    frames = take(t, _places(n_fft, hop, (t.shape[-1] - n_fft) // hop + 1, t), -1) * w
    half = not t.dtype.is_complex if onesided is None else onesided
    norm = "ortho" if normalized else "backward"
    made = fft.rfft(frames, norm=norm) if half else fft.fft(frames, norm=norm)
    return matrix_transpose(made)


def _places(n_fft: int, hop: int, frames: int, like: Tensor) -> Tensor:
    """(frames, n_fft): the elements of each frame."""
    first = reshape(arange(frames, device=like.device) * hop, (frames, 1))
    return first + arange(n_fft, device=like.device)


def istft(x: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
          window: Any = None, center: bool = True, normalized: bool = False,
          onesided: bool | None = None, length: int | None = None) -> Tensor:
    """The signal (..., length) whose `stft` is nearest to x (..., frequencies, frames): windowed
    frames, added where they overlap, over the sum of the windows' squares. Real if onesided (the
    default where x has n_fft // 2 + 1 frequencies). Arguments as `stft`; length cuts or pads with
    zeros. PyTorch istft; Griffin and Lim 1984. Raises ValueError for other shapes.
    """
    t = as_tensor("istft", x)
    hop = max(n_fft // 4, 1) if hop_length is None else hop_length
    half = t.ndim > 1 and t.shape[-2] == n_fft // 2 + 1 if onesided is None else onesided
    if t.ndim < 2 or t.shape[-2] != (n_fft // 2 + 1 if half else n_fft) or not t.shape[-1]:
        raise ValueError(f"istft: expected (..., frequencies, frames) for n_fft {n_fft}, got shape "
                         f"{t.shape}")
    norm = "ortho" if normalized else "backward"
    turned = matrix_transpose(t)
    frames = fft.irfft(turned, n_fft, norm=norm) if half else fft.ifft(turned, norm=norm)
    w = _window("istft", frames, n_fft, win_length, window)
    count = frames.shape[-2]
    places = reshape(_places(n_fft, hop, count, t), (-1,))
    room = (count - 1) * hop + n_fft
    total = _overlapped(frames * w, places, room)
    weight = index_add(zeros(room, dtype=w.dtype, device=t.device), 0, places,
                       reshape((w * w).expand(count, n_fft), (-1,)))
    start = n_fft // 2 if center else 0
    stop = room - start if length is None else min(start + length, room)
    made = total[..., start:stop] / weight[start:stop]
    if length is not None and made.shape[-1] < length:
        made = pad(made, [(0, 0)] * (made.ndim - 1) + [(0, length - made.shape[-1])])
    return made


def _overlapped(frames: Tensor, places: Tensor, room: int) -> Tensor:
    """Frames (..., count, n) added at their places."""
    lead = frames.shape[:-2]
    lines = reshape(frames, (*lead, places.shape[0]))
    start = zeros(*lead, room, dtype=frames.dtype, device=frames.device)
    return index_add(start, -1, places, lines)
