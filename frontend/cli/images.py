"""Reading pictures as grey levels: 8-bit PNG, PGM/PPM and .npy here, other kinds through Pillow.

Every reader gives float32 (height, width) with 0 for black and 1 for white.
"""

from __future__ import annotations

import importlib
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from .failure import CommandError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # PNG colour type -> bytes a pixel
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
LIMIT = 1 << 26  # pixels


class Unsupported(Exception):
    """A picture of a kind that only Pillow reads."""


def read_image(name: str) -> np.ndarray:
    """The grey levels of a picture file."""
    path = Path(name)
    if not path.is_file():
        raise CommandError(f"expected an image file, got {name!r}, which does not exist")
    try:
        if path.suffix == ".npy":
            return _grey(np.load(path, allow_pickle=False))
        data = path.read_bytes()
        if data.startswith(SIGNATURE):
            return read_png(data)
        if data[:2] in (b"P2", b"P5", b"P6"):
            return _read_pnm(data)
        raise Unsupported("neither PNG, PGM nor .npy")
    except Unsupported as reason:
        return _with_pillow(path, str(reason))
    except (ValueError, EOFError, OSError, zlib.error, struct.error, IndexError) as error:
        raise CommandError(f"expected a whole image in {name}, got damage: {error}") from None


def _with_pillow(path: Path, reason: str) -> np.ndarray:
    try:
        pillow = importlib.import_module("PIL.Image")
    except ImportError:
        raise CommandError(f"{path}: expected an 8-bit PNG, a PGM or a .npy file, got one that is "
                           f"{reason}; pip install pillow for more kinds") from None
    try:
        with pillow.open(path) as image:
            return np.asarray(image.convert("L"), np.float32) / 255
    except (OSError, SyntaxError, ValueError) as error:
        raise CommandError(f"expected an image in {path}, got {error}") from None


def _grey(array: np.ndarray) -> np.ndarray:
    """(h, w), (1, h, w) or (h, w, 3 or 4) as grey levels; integers are divided by 255."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"expected numbers, got {array.dtype}")
    level = array.astype(np.float32)
    if array.dtype.kind in "iu":
        level /= 255
    if level.ndim == 3 and level.shape[0] == 1:
        level = level[0]
    elif level.ndim == 3 and level.shape[2] in (3, 4):
        level = level[..., :3] @ LUMA
    if level.ndim != 2 or not level.size:
        raise ValueError(f"expected shape (height, width), got {array.shape}")
    return level


def read_png(data: bytes) -> np.ndarray:
    """Grey levels of a PNG with 8 bits a channel and no interlacing; clear pixels are white."""
    head, palette, packed = b"", b"", b""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if len(body) < length:
            raise ValueError("a chunk is cut off")
        if kind == b"IHDR":
            head = body
        elif kind == b"PLTE":
            palette = body
        elif kind == b"IDAT":
            packed += body
        elif kind == b"IEND":
            break
        at += 12 + length
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    if not 0 < width * height <= LIMIT:
        raise ValueError(f"{width} x {height} pixels")
    if bits != 8 or interlaced or colour not in CHANNELS:
        raise Unsupported(f"a PNG with {bits} bits a channel{' and interlacing' * interlaced}")
    pixels = _unfilter(_inflate(packed, height * (1 + width * CHANNELS[colour])), height, width,
                       CHANNELS[colour])
    return _levels(pixels, colour, palette)


def _inflate(packed: bytes, size: int) -> bytes:
    """`size` bytes and no more, whatever the data says."""
    raw = zlib.decompressobj().decompress(packed, size)
    if len(raw) != size:
        raise ValueError(f"expected {size} bytes of pixels, got {len(raw)}")
    return raw


def _unfilter(raw: bytes, height: int, width: int, channels: int) -> np.ndarray:
    """Undoes PNG's five row filters; (height, width, channels) of uint8."""
    rows = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * channels)
    pixels = np.zeros((height, width, channels), np.uint8)
    above = np.zeros((width, channels), np.uint8)
    for y in range(height):
        kind, line = int(rows[y, 0]), rows[y, 1:].reshape(width, channels)
        if kind == 0:
            pixels[y] = line
        elif kind == 1:
            pixels[y] = np.cumsum(line, axis=0, dtype=np.uint32)
        elif kind == 2:
            pixels[y] = line + above
        elif kind in (3, 4):
            _unfilter_row(kind, line, above, pixels[y])
        else:
            raise ValueError(f"row filter {kind}")
        above = pixels[y]
    return pixels


def _unfilter_row(kind: int, line: np.ndarray, above: np.ndarray, out: np.ndarray) -> None:
    """Filters 3 (average) and 4 (Paeth), whose pixels wait for the one to their left."""
    for c in range(line.shape[1]):
        left = corner = 0
        column = []
        for value, up in zip(line[:, c].tolist(), above[:, c].tolist()):
            guess = (left + up) // 2 if kind == 3 else _paeth(left, up, corner)
            left, corner = (value + guess) & 255, up
            column.append(left)
        out[:, c] = column


def _paeth(left: int, up: int, corner: int) -> int:
    p = left + up - corner
    a, b, c = abs(p - left), abs(p - up), abs(p - corner)
    if a <= b and a <= c:
        return left
    return up if b <= c else corner


def _levels(pixels: np.ndarray, colour: int, palette: bytes) -> np.ndarray:
    level = pixels.astype(np.float32) / 255
    if colour == 3:
        table = np.frombuffer(palette, np.uint8).reshape(-1, 3).astype(np.float32) / 255
        return table[pixels[..., 0]] @ LUMA
    alpha = level[..., -1] if colour in (4, 6) else np.float32(1)
    grey = level[..., :3] @ LUMA if colour in (2, 6) else level[..., 0]
    return (grey * alpha + (1 - alpha)).astype(np.float32)


def _read_pnm(data: bytes) -> np.ndarray:
    """PGM as text (P2) or bytes (P5), and PPM as bytes (P6)."""
    token = rb"(?:\s|#[^\n]*\n)+(\d+)"
    match = re.match(rb"P[256]" + token * 3 + rb"\s", data)
    if match is None:
        raise ValueError("expected width, height and top level after the first two letters")
    width, height, top = (int(g) for g in match.groups())
    channels = 3 if data[:2] == b"P6" else 1
    if not 0 < width * height <= LIMIT or not 0 < top < 1 << 16:
        raise ValueError(f"{width} x {height} pixels with levels to {top}")
    count = width * height * channels
    if data[:2] == b"P2":
        values = np.array(re.sub(rb"#[^\n]*", b"", data[match.end():]).split()[:count], np.float32)
    else:
        kind = np.dtype(">u2" if top > 255 else "u1")
        values = np.frombuffer(data, kind, count, match.end()).astype(np.float32)
    level = values.reshape(height, width, channels) / np.float32(top)
    return level @ LUMA if channels == 3 else level[..., 0]


# -- fitting a picture to a net ----------------------------------------------------------------

def fit_image(level: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture on a black square, resized to (height, width) by areas or interpolation."""
    side = max(level.shape)
    square = np.zeros((side, side), np.float32)
    y, x = ((side - n) // 2 for n in level.shape)
    square[y:y + level.shape[0], x:x + level.shape[1]] = level
    return (_weights(side, height) @ square @ _weights(side, width).T).astype(np.float32)


def _weights(source: int, target: int) -> np.ndarray:
    """(target, source): how much of each input pixel goes into each output pixel."""
    ratio = source / target
    at, out = np.arange(source)[None], np.arange(target)[:, None]
    if ratio >= 1:  # the part of the output pixel's span that the input pixel covers
        weights = np.minimum(at + 1, (out + 1) * ratio) - np.maximum(at, out * ratio)
    else:
        weights = 1 - np.abs(at - np.clip((out + 0.5) * ratio - 0.5, 0, source - 1))
    weights = np.maximum(0.0, weights)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)
