"""The fft extension of the Array API standard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flambeau as fb
from flambeau import Tensor


def _one(name: str) -> Callable[..., Tensor]:
    function = getattr(fb.fft, name)

    def transform(x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward"
                  ) -> Tensor:
        return function(x, n, axis, norm)  # type: ignore[no-any-return]

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = function.__doc__
    return transform


def _many(name: str) -> Callable[..., Tensor]:
    function = getattr(fb.fft, name)

    def transform(x: Tensor, /, *, s: Sequence[int] | None = None,
                  axes: Sequence[int] | None = None, norm: str = "backward") -> Tensor:
        return function(x, s, axes, norm)  # type: ignore[no-any-return]

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = function.__doc__
    return transform


fft, ifft, rfft, irfft, hfft, ihfft = map(_one, ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"))
fftn, ifftn, rfftn, irfftn = map(_many, ("fftn", "ifftn", "rfftn", "irfftn"))


def fftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of `fft`'s points."""
    found = fb.fft.fftfreq(n, d, dtype)
    return found if device is None else found.to(device=device)  # type: ignore[no-any-return]


def rfftfreq(n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None) -> Tensor:
    """The frequencies of `rfft`'s points."""
    found = fb.fft.rfftfreq(n, d, dtype)
    return found if device is None else found.to(device=device)  # type: ignore[no-any-return]


def fftshift(x: Tensor, /, *, axes: Any = None) -> Tensor:
    """Frequency 0 moved to the middle."""
    return fb.fft.fftshift(x, axes)  # type: ignore[no-any-return]


def ifftshift(x: Tensor, /, *, axes: Any = None) -> Tensor:
    """The inverse of `fftshift`."""
    return fb.fft.ifftshift(x, axes)  # type: ignore[no-any-return]


__all__ = ["fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft",
           "irfft", "irfftn", "rfft", "rfftfreq", "rfftn"]
