"""PNG written and read by our own code, PGM, fitting to a net, SVG curves."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import numpy as np
import pytest
from flambeau.cli import images, pictures
from flambeau.cli.failure import CommandError


def png(colour: int, rows: list[bytes], width: int, bits: int = 8, palette: bytes = b"") -> bytes:
    """A PNG file from filtered rows."""
    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    head = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    data = zlib.compress(b"".join(rows))
    return (images.SIGNATURE + chunk(b"IHDR", head) + (chunk(b"PLTE", palette) if palette else b"")
            + chunk(b"IDAT", data[:5]) + chunk(b"IDAT", data[5:]) + chunk(b"IEND", b""))


def filtered(pixels: np.ndarray, kind: int) -> list[bytes]:
    """Rows under a filter, written from its definition."""
    h, w, c = pixels.shape
    p = np.zeros((h + 1, w + 1, c), np.int64)
    p[1:, 1:] = pixels
    rows = []
    for y in range(1, h + 1):
        left, up, corner = p[y, :-1], p[y - 1, 1:], p[y - 1, :-1]
        guess = {0: 0 * left, 1: left, 2: up, 3: (left + up) // 2}.get(kind)
        if guess is None:
            t = left + up - corner
            a, b, d = abs(t - left), abs(t - up), abs(t - corner)
            guess = np.where((a <= b) & (a <= d), left, np.where(b <= d, up, corner))
        rows.append(bytes([kind]) + ((p[y, 1:] - guess) % 256).astype(np.uint8).tobytes())
    return rows


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_written_png_reads_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    pictures.write_png(tmp_path / "a.png", pixels)
    level = pixels / 255 if pixels.ndim == 2 else pixels / 255 @ images.LUMA
    np.testing.assert_allclose(images.read_image(str(tmp_path / "a.png")), level, atol=1e-6)


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_png_filters_and_colours(kind: int, colour: int, channels: int) -> None:
    pixels = np.random.default_rng(kind).integers(0, 256, (6, 5, channels)).astype(np.uint8)
    found = images.read_png(png(colour, filtered(pixels, kind), 5))
    value = pixels / 255
    grey = value[..., :3] @ images.LUMA if channels > 2 else value[..., 0]
    alpha = value[..., -1] if channels in (2, 4) else 1
    np.testing.assert_allclose(found, grey * alpha + 1 - alpha, atol=1e-6)


def test_png_with_a_palette() -> None:
    found = images.read_png(png(3, [b"\0\0\1"], 2, palette=bytes([0, 0, 0, 255, 255, 255])))
    np.testing.assert_allclose(found, [[0, 1]], atol=1e-6)


@pytest.mark.parametrize("data", [
    png(0, [b"\0\1\2"], 2)[:-30], png(0, [b"\7\1\2"], 2), png(0, [b"\0\1"], 2),
    images.SIGNATURE, images.SIGNATURE + b"\0\0\0\5IHDR"])
def test_damaged_png_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(CommandError, match=r"expected a whole image in .*a.png, got damage"):
        images.read_image(str(tmp_path / "a.png"))


def test_pgm_and_ppm(tmp_path: Path) -> None:
    for name, data, expected in (
            ("text.pgm", b"P2\n# made by hand\n3 1 # wide\n4\n0 2 4\n", [[0, 0.5, 1]]),
            ("bytes.pgm", b"P5 2 1 255\n\x00\xff", [[0, 1]]),
            ("words.pgm", b"P5 1 1 65535\n\xff\xff", [[1]]),
            ("colour.ppm", b"P6 1 1 255\n\xff\xff\xff", [[1]])):
        (tmp_path / name).write_bytes(data)
        np.testing.assert_allclose(images.read_image(str(tmp_path / name)), expected, atol=1e-6)


@pytest.mark.parametrize("data", [b"P5 2 2 255\n\0", b"P5 x", b"P5 0 1 255\n", b"P2 2 1 9\n1"])
def test_damaged_pgm_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.pgm").write_bytes(data)
    with pytest.raises(CommandError, match="expected a whole image"):
        images.read_image(str(tmp_path / "a.pgm"))


def test_npy(tmp_path: Path) -> None:
    for i, (array, expected) in enumerate((
            (np.array([[0, 255]], np.uint8), [[0, 1]]), (np.array([[[0.25]]]), [[0.25]]),
            (np.full((2, 1, 3), 255, np.uint8), [[1], [1]]))):
        np.save(tmp_path / f"{i}.npy", array)
        np.testing.assert_allclose(images.read_image(str(tmp_path / f"{i}.npy")), expected,
                                   atol=1e-6)
    np.save(tmp_path / "bad.npy", np.zeros(3))
    with pytest.raises(CommandError, match=r"expected shape \(height, width\), got \(3,\)"):
        images.read_image(str(tmp_path / "bad.npy"))


def test_npy_with_objects_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CommandError, match="expected a whole image"):
        images.read_image(str(tmp_path / "a.npy"))


def test_other_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(CommandError, match=r"a\.txt"):
        images.read_image(str(tmp_path / "a.txt"))
    with pytest.raises(CommandError, match=r"expected an image file, got 'nowhere\.png'"):
        images.read_image("nowhere.png")


def test_fitting_keeps_means_and_shape() -> None:
    level = np.random.default_rng(0).random((40, 40), np.float32)
    assert images.fit_image(level, 8, 8).shape == (8, 8)
    assert abs(images.fit_image(level, 8, 8).mean() - level.mean()) < 0.02
    np.testing.assert_array_equal(images.fit_image(level, 40, 40), level)
    big = level[:8, :8].repeat(9, 0).repeat(9, 1)
    np.testing.assert_allclose(images.fit_image(big, 8, 8), level[:8, :8], rtol=1e-5)
    np.testing.assert_allclose(images.fit_image(np.ones((3, 3), np.float32), 7, 5), 1, atol=1e-6)


def test_fitting_centres_on_black() -> None:
    fitted = images.fit_image(np.ones((4, 2), np.float32), 4, 4)
    np.testing.assert_allclose(fitted, [[0, 1, 1, 0]] * 4, atol=1e-6)


def test_colours_of_the_scale() -> None:
    blue, white, red = pictures.colours(np.array([-1.0, 0.0, 2.0]))
    assert blue[2] > blue[0] and red[0] > red[2] and min(white) > 240


def test_weight_sheet_shows_the_strongest() -> None:
    tiles = np.zeros((120, 4, 4))
    tiles[::2] = 1.0
    sheet = pictures.weight_sheet(tiles, limit=60)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3 and max(sheet.shape) <= 1000
    assert not (sheet == pictures.colours(np.zeros(1))).all(-1).any()  # no tile of zeros


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.01, 2.31), (5.0, 5.0), (0.913, 0.998),
                                           (-3.0, 1e6), (1e-9, 3e-9)])
def test_ticks_enclose_the_values(low: float, high: float) -> None:
    ticks = pictures.nice_ticks(low, high)
    assert ticks[0] <= low + 1e-12 and ticks[-1] >= high - 1e-12 and 2 <= len(ticks) <= 12


@pytest.mark.parametrize("epochs", [1, 2, 30])
def test_curve_is_xml_with_a_path_for_each_line(epochs: int) -> None:
    lines = [pictures.Line("a & b", "#123456", [1 / (i + 1) for i in range(epochs)]),
             pictures.Line("test", "#654321", [float("nan")] * epochs)]
    root = ET.fromstring(pictures.curve_svg("<title>", [("loss", lines, False),
                                                        ("accuracy", lines, True)]))
    words = [e.text for e in root.iter() if e.text]
    assert "a & b" in words and "<title>" in words
    marks = [e for e in root.iter() if e.get("stroke") == "#123456" or e.get("fill") == "#123456"]
    assert len(marks) == 4
