"""Convolutions and their two gradients."""

from __future__ import annotations

from . import Row, numbers

TITLE = "Convolutions"
ABOUT = ("Forward, gradient by the image and gradient by the kernels, of the convolutional nets' "
         "layers (no padding) and of 3x3 layers as in ResNets. float32. Seconds a call.")
# channels, maps, side, kernel, padding
NETS = {"cnn32.1": (1, 6, 32, 5, 0), "cnn32.2": (6, 16, 14, 5, 0), "cnn96.1": (1, 6, 96, 7, 0),
        "cnn96.2": (6, 16, 30, 7, 0), "cnn256.1": (1, 6, 256, 7, 0), "cnn256.2": (6, 16, 50, 7, 0)}
RESNET = {"3x3 of 64, side 56": (64, 64, 56, 3, 1), "3x3 of 128, side 28": (128, 128, 28, 3, 1),
          "3x3 of 256, side 14": (256, 256, 14, 3, 1), "3x3 of 512, side 7": (512, 512, 7, 3, 1)}


def three(name: str, batch: int, layer: tuple[int, int, int, int, int]) -> list[Row]:
    """The three products of one layer; the first layer of a net needs no gradient by the image."""
    c, o, side, k, p = layer
    out = side + 2 * p - k + 1
    x, w, y = (batch, c, side, side), (o, c, k, k), (batch, o, out, out)
    flops = 2.0 * batch * o * c * k * k * out * out
    nbytes = 4.0 * (batch * c * side * side + o * c * k * k + batch * o * out * out)
    label = f"{name}, batch {batch}"
    quick = label in ("cnn32.2, batch 60", "3x3 of 64, side 56, batch 1")

    def made(what: str, says: object, *shapes: tuple[int, ...]) -> Row:
        return Row(f"{label}, {what}", says, numbers("float32", *shapes), flops=flops,
                   nbytes=nbytes, held=nbytes, group=what, quick=quick and what == "forward",
                   tolerance=1e-4)
    rows = [made("forward", lambda f, x, w: f.conv(x, w, p), x, w),
            made("by kernels", lambda f, g, x: f.conv_grad_weight(g, x, w, p), y, x)]
    if c > 1:
        rows.append(made("by image", lambda f, g, w: f.conv_grad_input(g, w, x, p), y, w))
    return rows


def rows() -> list[Row]:
    """The nets' layers at batch 1 and 60, the others at 1 and 16."""
    return [row for layers, batches in ((NETS, (1, 60)), (RESNET, (1, 16)))
            for batch in batches for name, layer in layers.items()
            for row in three(name, batch, layer)]
