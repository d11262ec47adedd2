"""einops, pandas, matplotlib, Pillow and notebooks take tensors as they are."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import flambeau as fb
import numpy as np
import pytest

RNG = np.random.default_rng(0)


# -- einops ----------------------------------------------------------------------------------------


def test_einops() -> None:
    """Every operation of einops gives a lazy tensor with NumPy's values."""
    einops = pytest.importorskip("einops")
    a = RNG.standard_normal((2, 6, 4)).astype("float32")
    t = fb.tensor(a)

    def same(f, *operands, **sizes) -> None:
        found = f(*[fb.tensor(x) for x in operands], **sizes)
        np.testing.assert_allclose(found.numpy(), f(*operands, **sizes), rtol=1e-5)

    found = einops.rearrange(t * 2, "b (h p) c -> b h (p c)", p=3)
    assert isinstance(found, fb.Tensor) and found.is_lazy
    same(lambda x: einops.rearrange(x, "b (h p) c -> (b h) c p", p=3), a)
    same(lambda x: einops.rearrange(x, "b ... -> ... b"), a)
    same(lambda x, y: einops.rearrange([x, y], "n b h c -> b h (n c)"), a, a)
    same(lambda x: einops.repeat(x, "b h c -> b (h two) c", two=2), a)
    same(lambda x: einops.repeat(x, "b h c -> b h c k", k=3), a)
    for how in ("max", "min", "sum", "mean", "prod"):
        same(lambda x, how=how: einops.reduce(x, "b (h p) c -> b h", how, p=2), a)
    for how in ("any", "all"):
        same(lambda x, how=how: einops.reduce(x, "b h c -> b c", how), a > 0)
    same(lambda x, y: einops.einsum(x, y, "b h c, b k c -> b h k"), a, a)
    packed, shapes = einops.pack([t, t[:, 0]], "b * c")
    assert packed.shape == (2, 7, 4)
    first, second = einops.unpack(packed, shapes, "b * c")
    np.testing.assert_array_equal(second.numpy(), a[:, 0])
    assert einops.parse_shape(t, "b _ c") == {"b": 2, "c": 4} and first.shape == (2, 6, 4)
    assert isinstance(einops.asnumpy(t), np.ndarray)
    t.requires_grad_()
    einops.reduce(t, "b h c -> b", "mean").sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), np.full(a.shape, 1 / 24), rtol=1e-6)


@pytest.mark.parametrize("order", ["einops, flambeau", "flambeau, einops"])
def test_either_import_may_come_first(order: str) -> None:
    pytest.importorskip("einops")
    code = (f"import {order}; print(einops.rearrange(flambeau.ones(2, 3), 'a b -> b a').shape, "
            "any('_Watch' in str(type(f)) for f in __import__('sys').meta_path))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(3, 2) False"


# -- pandas ----------------------------------------------------------------------------------------


def test_pandas() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1.5, 2.5], "b": [1, 2]})
    assert fb.tensor(frame["a"]).dtype is fb.float64 and fb.tensor(frame["b"]).dtype is fb.int64
    np.testing.assert_array_equal(fb.tensor(frame).numpy(), [[1.5, 1], [2.5, 2]])
    assert fb.tensor(pd.Series([1, 2], dtype="Int64")).tolist() == [1, 2]
    t = fb.arange(3, dtype=fb.float32)
    assert pd.Series(t * 2).tolist() == [0, 2, 4]
    made = pd.DataFrame({"x": t, "y": t + 1})
    made["z"] = t * t
    assert made["z"].tolist() == [0, 1, 4] and str(made["x"].dtype) == "float32"
    assert pd.DataFrame(fb.ones(2, 3), columns=list("abc")).shape == (2, 3)
    assert np.isnan(fb.tensor(pd.Series([1, None], dtype="Int64"))[1].item())
    for bad, text in ((pd.Series([True, None], dtype="boolean"),
                       "tensor: expected numbers, got Series with missing values; fillna() first, "
                       "or astype('float64') for NaN"),
                      (pd.Series(pd.to_datetime(["2020-01-01"])), "tensor: expected numbers, got "
                       "Series of datetime64")):
        with pytest.raises(TypeError, match=re.escape(text)):
            fb.tensor(bad)


# -- pictures --------------------------------------------------------------------------------------


def test_plotting_a_tensor() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib.figure import Figure
    axes = Figure().subplots()
    t = fb.linspace(0, 1, 5)
    line, = axes.plot(t, t ** 2)
    np.testing.assert_allclose(line.get_ydata(), np.linspace(0, 1, 5) ** 2, rtol=1e-6)
    shown = axes.imshow(fb.arange(6).view(2, 3))
    np.testing.assert_array_equal(shown.get_array(), [[0, 1, 2], [3, 4, 5]])
    axes.hist(t)
    axes.scatter(t, t, c=t)


def test_pillow_images() -> None:
    image = pytest.importorskip("PIL.Image")
    levels = RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)
    picture = image.fromarray(levels)
    t = fb.from_pil(picture)
    assert t.shape == (3, 9, 8) and t.dtype is fb.float32
    np.testing.assert_allclose(t.numpy(), levels.transpose(2, 0, 1) / 255, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(fb.to_pil(t)), levels)
    assert fb.from_pil(picture, "uint8").dtype is fb.uint8
    np.testing.assert_array_equal(np.asarray(fb.to_pil(fb.tensor(levels))), levels)
    np.testing.assert_array_equal(fb.tensor(picture).numpy(), levels)
    grey = fb.to_pil(fb.tensor([[0.0, 2.0], [-1.0, 0.5]]))
    assert grey.mode == "L" and np.asarray(grey).tolist() == [[0, 255], [0, 128]]
    for mode, channels in (("L", 1), ("RGBA", 4), ("P", 3), ("1", 1), ("LA", 4), ("CMYK", 3)):
        assert fb.from_pil(picture.convert(mode)).shape == (channels, 9, 8), mode
    with pytest.raises(TypeError, match="from_pil: expected an image of Pillow's, got ndarray"):
        fb.from_pil(levels)
    with pytest.raises(ValueError, match=r"to_pil: expected \(height, width\) or .* shape \(2, 3"):
        fb.to_pil(fb.ones(2, 3, 3))
    with pytest.raises(TypeError, match="to_pil: expected uint8 or floats, got int64"):
        fb.to_pil(fb.ones(3, 3).long())


def test_notebooks_show_pictures() -> None:
    """Pillow reads our PNG; what is no picture is text."""
    image = pytest.importorskip("PIL.Image")
    levels = RNG.integers(0, 256, (9, 8, 4), dtype=np.uint8)
    for t, expected in ((fb.tensor(levels), levels), (fb.tensor(levels[..., :3]), levels[..., :3]),
                        (fb.tensor(levels.transpose(2, 0, 1)), levels),
                        (fb.tensor(levels[None, ..., 0]), levels[..., 0]),
                        (fb.tensor(levels.transpose(2, 0, 1) / 255.0), levels)):
        np.testing.assert_array_equal(np.asarray(image.open(io.BytesIO(t._repr_png_()))), expected)
        assert "data:image/png;base64," in t._repr_html_()
    for t in (fb.ones(9, 8), fb.ones(3, 9, 8) * 2, fb.ones(3, 9, 8) * np.nan, fb.ones(3, 9, 7),
              fb.ones(3, 9, 8).long(), fb.ones(9, 8, 3)):
        assert t._repr_png_() is None and "<pre>tensor(" in t._repr_html_()


def test_notebooks_show_corners_of_lazy_tensors() -> None:
    big = fb.arange(1_000_000, dtype=fb.float32).view(1000, 1000) * 2
    shown = big._repr_html_()
    assert big.is_lazy and "float32 (1000, 1000) on cpu, lazy" in shown and "..." in shown
    assert len(shown) < 1000 and ", ready<" in big.realize()._repr_html_()
