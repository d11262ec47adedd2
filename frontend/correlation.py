"""Correlation and convolution of planes and volumes without batch or stride: Torch7's conv2,
xcorr2, conv3 and xcorr3, and NumPy's convolve and correlate of vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .convolution import convnd
from .recording import as_tensor
from .tensor import Tensor

_MODES = {"V": "valid", "F": "full", "S": "same", "valid": "valid", "full": "full", "same": "same"}


def _padding(name: str, mode: str, kernel: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """What is added on both sides. "same" is the middle of "full", as NumPy and SciPy cut it."""
    if mode not in _MODES:
        raise ValueError(f"{name}: expected mode 'V' (valid), 'F' (full) or 'S' (same), got "
                         f"{mode!r}")
    kind = _MODES[mode]
    if kind == "valid":
        return ((0, 0),) * len(kernel)
    if kind == "full":
        return tuple((k - 1, k - 1) for k in kernel)
    return tuple((k // 2, (k - 1) // 2) for k in kernel)


def _correlate(name: str, x: Any, kernel: Any, mode: str, rank: int, flip: bool) -> Tensor:
    t, k = as_tensor(name, x), as_tensor(name, kernel)
    known = {(rank, rank), (rank + 1, rank + 1), (rank + 1, rank + 2)}
    if (t.ndim, k.ndim) not in known:
        ranks = ", ".join(str(pair) for pair in sorted(known))
        raise ValueError(f"{name}: expected ranks {ranks}, got shapes {t.shape} and {k.shape}")
    padding = _padding(name, mode, k.shape[k.ndim - rank:])
    if flip:
        k = k.flip(tuple(range(k.ndim - rank, k.ndim)))
    if t.ndim == rank:
        return convnd(t[None], k[None, None], None, 1, padding, name=name)[0]
    if k.ndim == rank + 1:
        return convnd(t, k.unsqueeze(1), None, 1, padding, 1, t.shape[0], name)
    return convnd(t, k, None, 1, padding, name=name)


def _family(name: str, rank: int, flip: bool, doc: str) -> Callable[..., Tensor]:
    def function(x: Any, kernel: Any, mode: str = "V") -> Tensor:
        return _correlate(name, x, kernel, mode, rank, flip)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


_RANKS = ("3-d with 3-d plane by plane; 3-d with 4-d (out, in, kh, kw) summed over planes; "
          "'V' valid, 'F' full, 'S' same.")
conv2 = _family("conv2", 2, True, f"True convolution (flipped kernel) of 2-d with 2-d; {_RANKS}\n\n"
                "Torch7 conv2. Raises ValueError for other ranks and modes.")
xcorr2 = _family("xcorr2", 2, False, f"Correlation (kernel as it is) of 2-d with 2-d; {_RANKS}\n\n"
                 "Torch7 xcorr2. Raises ValueError for other ranks and modes.")
conv3 = _family("conv3", 3, True, "`conv2` one axis higher: 3-d with 3-d, 4-d with 4-d, 4-d with "
                "5-d. Torch7 conv3.")
xcorr3 = _family("xcorr3", 3, False, "`xcorr2` one axis higher: 3-d with 3-d, 4-d with 4-d, 4-d "
                 "with 5-d. Torch7 xcorr3.")


def _vectors(name: str, x: Any, kernel: Any) -> tuple[Tensor, Tensor]:
    a, b = as_tensor(name, x), as_tensor(name, kernel)
    if a.ndim != 1 or b.ndim != 1 or not a.shape[0] or not b.shape[0]:
        raise ValueError(f"{name}: expected two vectors with elements, got shapes {a.shape} and "
                         f"{b.shape}")
    return a, b


def convolve(x: Any, kernel: Any, mode: str = "full") -> Tensor:
    """The convolution of two vectors: "full" (n + m - 1), "same" (the longer's length) or "valid".

    NumPy convolve.
    """
    a, b = _vectors("convolve", x, kernel)
    if a.shape[0] < b.shape[0]:
        a, b = b, a
    return _correlate("convolve", a, b, mode, 1, True)


def correlate(x: Any, kernel: Any, mode: str = "valid") -> Tensor:
    """The correlation of two vectors; exchanging them turns the result round. NumPy correlate."""
    a, b = _vectors("correlate", x, kernel)
    if a.shape[0] < b.shape[0]:
        return _correlate("correlate", b, a, mode, 1, False).flip(0)  # type: ignore[no-any-return]
    return _correlate("correlate", a, b, mode, 1, False)
