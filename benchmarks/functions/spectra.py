"""Fourier transforms."""

from __future__ import annotations

from collections.abc import Iterator

import flambeau as fb
import numpy as np

from . import Case, array, case, with_


def cases(n: int) -> Iterator[Case]:
    """The section's cases over n elements."""
    rows = max(1, int(n ** 0.5))
    for real, whole in (("float32", "complex64"), ("float64", "complex128")):
        x, z = array(real, n), array(whole, n)
        half = array(whole, n // 2 + 1)
        for name, operand in (("fft", z), ("ifft", z), ("rfft", x), ("irfft", half),
                              ("hfft", half), ("ihfft", x)):
            yield case(f"fft.{name}", operand.dtype.name, getattr(fb.fft, name),
                       getattr(np.fft, name), operand)
        yield case("fft.fft", f"{real} input", fb.fft.fft, np.fft.fft, x)
        square, wave = array(real, rows, n // rows), array(whole, rows, n // rows)
        yield case("fft.fft", f"rows {whole}", fb.fft.fft, np.fft.fft, wave)
        yield case("fft.fft", f"axis 0 {whole}", lambda t: fb.fft.fft(t, axis=0),
                   lambda a: np.fft.fft(a, axis=0), wave)
        for name in ("fft2", "ifft2", "fftn", "ifftn", "irfft2", "irfftn"):
            yield case(f"fft.{name}", whole, getattr(fb.fft, name), getattr(np.fft, name), wave)
        for name in ("rfft2", "rfftn"):
            yield case(f"fft.{name}", real, getattr(fb.fft, name), getattr(np.fft, name), square)
        for name in ("fftshift", "ifftshift"):
            yield case(f"fft.{name}", real, getattr(fb.fft, name), getattr(np.fft, name), square)
    for name in ("fftfreq", "rfftfreq"):
        yield case(f"fft.{name}", "", with_(getattr(fb.fft, name), n, dtype="float64"),
                   with_(getattr(np.fft, name), n))
