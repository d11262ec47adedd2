"""Tensors as pictures: which ones are, their PNG, Pillow's images in and out, and notebooks.

Torch7's convention comes first: (channels, height, width) with floats in [0, 1]. uint8 may also be
(height, width, channels), as files hold it.
"""

from __future__ import annotations

import base64
import importlib
import struct
import zlib
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt

from .creation import tensor
from .printing import text
from .tensor import Tensor, default_dtype, no_grad

SMALL, LARGE = 8, 4096  # pixels a side of what is shown as a picture
CHANNELS = (1, 3, 4)
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # of PNG, by channels


def _places(t: Tensor) -> bool | None:
    """Are the channels of a picture in front (True) or behind (False)? None: t is no picture."""
    if t.ndim != 3 or not (t.dtype is dt.uint8 or t.dtype.is_float):
        return None
    for front, (c, h, w) in ((False, (t.shape[2], *t.shape[:2])), (True, t.shape)):
        sides = min(h, w) >= SMALL and max(h, w) <= LARGE
        if sides and c in CHANNELS and (front or (t.dtype is dt.uint8 and c > 1)):
            return front
    return None


def pixels(t: Tensor) -> np.ndarray | None:
    """A picture's (height, width, channels), uint8; None for what is no picture: another shape or
    dtype, or floats outside [0, 1]."""
    front = _places(t)
    if front is None:
        return None
    with no_grad():
        array = t.detach().numpy()
    if t.dtype is not dt.uint8:
        if not (array.min() >= 0 and array.max() <= 1):  # also NaN
            return None
        array = _bytes(array)
    return np.ascontiguousarray(np.moveaxis(array, 0, -1) if front else array)


def _bytes(array: np.ndarray) -> np.ndarray:
    """Levels in [0, 1] as 0 to 255."""
    return np.rint(np.clip(array.astype(np.float64), 0, 1) * 255).astype(np.uint8)


def encode(rows: np.ndarray) -> bytes:
    """A PNG of (height, width, channels) uint8 with 1, 3 or 4 channels."""
    height, width, channels = rows.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with filter 0
    lines[:, 1:] = rows.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks)


def png(t: Tensor) -> bytes | None:
    """A notebook's picture of a tensor that is one, else None."""
    found = pixels(t)
    return None if found is None else encode(found)


def html(t: Tensor) -> str:
    """A notebook's view: a line on what it is, whether it was computed, and the values' corners or
    the picture."""
    state = "lazy" if t.is_lazy else "ready"
    head = f"{t.dtype.name} {t.shape} on {t.device}, {state}"
    found = png(t)
    if found is not None:
        code = base64.b64encode(found).decode()
        return (f'<div><small>{head}</small><br><img style="image-rendering: pixelated; '
                f'max-width: 100%" src="data:image/png;base64,{code}" alt="{head}"></div>')
    body = text(t).replace("&", "&amp;").replace("<", "&lt;")
    return f"<div><small>{head}</small><pre>{body}</pre></div>"


# -- Pillow ----------------------------------------------------------------------------------------


def from_pil(image: Any, dtype: Any = None) -> Tensor:
    """Pillow's image as (channels, height, width): floats in [0, 1] of the default dtype, or uint8
    levels if asked for. One channel for grey levels; palettes and the rest become RGB.

    Torch7 image.load. Raises TypeError for other things.
    """
    if not hasattr(image, "getbands") or not hasattr(image, "convert"):
        raise TypeError(f"from_pil: expected an image of Pillow's, got {type(image).__name__}")
    if image.mode in ("1", "P", "CMYK", "YCbCr", "LAB", "HSV", "LA", "PA", "RGBX", "La", "RGBa"):
        image = image.convert("L" if image.mode == "1" else
                              "RGBA" if "A" in image.mode or "a" in image.mode else "RGB")
    array = np.asarray(image)
    levels = 255 if array.dtype == np.uint8 else 65535 if image.mode.startswith("I") else 1
    array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    if dtype is not None and tensor(0, dtype).dtype is dt.uint8:
        return tensor(array, dt.uint8)
    return tensor(array.astype(np.float64) / levels,
                  default_dtype() if dtype is None else dtype)


def to_pil(t: Tensor) -> Any:
    """Pillow's image of (height, width), or of 1, 3 or 4 channels in front (or behind, of uint8):
    floats are clamped to [0, 1].

    Torch7 image.save, image.display. Raises ValueError for other shapes, TypeError for other
    dtypes, ImportError without Pillow.
    """
    if not (t.dtype is dt.uint8 or t.dtype.is_float):
        raise TypeError(f"to_pil: expected uint8 or floats, got {t.dtype.name}")
    behind = t.ndim == 3 and t.dtype is dt.uint8 and t.shape[2] in CHANNELS
    front = t.ndim == 3 and t.shape[0] in CHANNELS
    if (t.ndim != 2 and not front and not behind) or not t.size:
        raise ValueError("to_pil: expected (height, width) or (channels, height, width) with 1, 3 "
                         f"or 4 channels, got shape {t.shape}")
    try:
        pillow: Any = importlib.import_module("PIL.Image")
    except ImportError:
        raise ImportError("to_pil: expected Pillow, got none; install flambeau[image]") from None
    array = t.detach().numpy()
    array = array if t.dtype is dt.uint8 else _bytes(array)
    if t.ndim == 3 and not (behind and t.shape[2] > 1):
        array = np.moveaxis(array, 0, -1) if front else array
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return pillow.fromarray(np.ascontiguousarray(array))
