"""Fourier transforms on the host: NumPy's pocketfft, for `extern` nodes.

Lines of one array are shared among threads, and none knows of the others: the bits are the same at
any number of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from flambeau.runtime import radix
from flambeau.runtime.externs import COMPLEX, EXTERNS, INTO


def c2c(options: tuple[tuple[int, ...], bool, Any], x: np.ndarray) -> np.ndarray:
    """Complex to complex. options: (axes, inverse, norm)."""
    axes, inverse, norm = options
    return (np.fft.ifftn if inverse else np.fft.fftn)(x, axes=axes, norm=norm)


def r2c(options: tuple[int, int, Any], x: np.ndarray) -> np.ndarray:
    """Real to half a spectrum. options: (axis, its length, norm)."""
    return np.fft.rfft(x, axis=options[0], norm=options[2])


def c2r(options: tuple[int, int, Any], x: np.ndarray) -> np.ndarray:
    """Half a spectrum to real. options: (axis, its length in the result, norm)."""
    return np.fft.irfft(x, options[1], options[0], norm=options[2])


def c2c_into(options: tuple[tuple[int, ...], bool, Any], out: np.ndarray, x: np.ndarray) -> bool:
    """`c2c`, written where it is wanted: pass after pass, the last one into `out`."""
    axes, inverse, norm = options
    f = np.fft.ifft if inverse else np.fft.fft
    spare = radix.empty(out.shape, out.dtype) if len(axes) > 1 else out
    made = out if len(axes) % 2 else spare  # the last pass ends in out
    for axis in axes[::-1]:
        _lines(f, x, made, axis, norm)
        x, made = made, spare if made is out else out
    return True


def r2c_into(options: tuple[int, int, Any], out: np.ndarray, x: np.ndarray) -> bool:
    """`r2c`, written where it is wanted."""
    _lines(np.fft.rfft, x, out, options[0], options[2])
    return True


def c2r_into(options: tuple[int, int, Any], out: np.ndarray, x: np.ndarray) -> bool:
    """`c2r`, written where it is wanted."""
    _lines(np.fft.irfft, x, out, options[0], options[2], options[1])
    return True


def _lines(f: Any, x: np.ndarray, out: np.ndarray, axis: int, norm: Any, n: int | None = None
           ) -> None:
    """f of the lines along an axis, shared among threads: no line knows of the others."""
    others = [i for i in range(x.ndim) if i != axis]
    if not others:
        f(x, n, axis, norm, out)
        return
    lead = max(others, key=lambda i: (x.shape[i], -i))
    place = axis + 1 if axis < lead else axis
    radix.share(lambda a, b: f(a, n, place, norm, b), np.moveaxis(x, lead, 0),
                np.moveaxis(out, lead, 0))


EXTERNS.update({"fft.c2c": c2c, "fft.r2c": r2c, "fft.c2r": c2r})
INTO.update({"fft.c2c": c2c_into, "fft.r2c": r2c_into, "fft.c2r": c2r_into})
COMPLEX.update((c2c_into, r2c_into))
