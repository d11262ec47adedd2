"""Layers over images (n, c, h, w) or (c, h, w). Arguments come width first, as in Torch7."""

from __future__ import annotations

from typing import Any

from .. import convolution as c
from ..creation import zeros
from ..tensor import Tensor
from .init import Initializer, reset_parameter
from .module import M, Module
from .parameters import Parameter


class SpatialConvolution(Module):
    """Correlation of (n, in, h, w) with out kernels, plus a bias: (n, out, h', w').

    h' = (h + 2 pad_h - dil_h (kh - 1) - 1) // dh + 1, so w'. weight (out, in / groups, kh, kw),
    bias (out), both from U(-s, s), s = 1 / sqrt(kw kh in / groups). Torch7 nn.SpatialConvolution.
    """

    bias: Parameter | None

    def __init__(self, n_in: int, n_out: int, kw: int, kh: int | None = None, dw: int = 1,
                 dh: int = 1, pad_w: int = 0, pad_h: int | None = None, groups: int = 1,
                 dil_w: int = 1, dil_h: int = 1, bias: bool = True,
                 init: Initializer | None = None) -> None:
        kh, pad_h = kw if kh is None else kh, pad_w if pad_h is None else pad_h
        if groups < 1 or n_in % groups or n_out % groups:
            raise ValueError(f"SpatialConvolution: expected groups that divide {n_in} and {n_out}, "
                             f"got {groups}")
        self.n_in, self.n_out, self.groups, self.init = n_in, n_out, groups, init
        self.kernel, self.stride = (kh, kw), (dh, dw)
        self.padding, self.dilation = (pad_h, pad_w), (dil_h, dil_w)
        self.weight = Parameter(zeros(n_out, n_in // groups, kh, kw))
        self.bias = Parameter(zeros(n_out)) if bias else None
        self.reset()

    def reset(self, stdv: Any = None) -> None:
        fan_in = self.weight.shape[1] * self.kernel[0] * self.kernel[1]
        reset_parameter(self.weight, fan_in, stdv, self.init)
        if self.bias is not None:
            reset_parameter(self.bias, fan_in, stdv)

    def no_bias(self) -> SpatialConvolution:
        """Drops the bias (Torch7 noBias)."""
        self.bias = None
        return self

    def compute(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4) or input.shape[-3] != self.n_in:
            raise ValueError(f"{self.label()}: expected input (n, {self.n_in}, h, w), got "
                             f"{input.dtype.name} {input.shape}")
        return c.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation,
                        self.groups)

    def extra(self) -> str:
        (kh, kw), (dh, dw), (ph, pw) = self.kernel, self.stride, self.padding
        text = f"{self.n_in} -> {self.n_out}, {kw}x{kh}"
        if (dh, dw, ph, pw) != (1, 1, 0, 0):
            text += f", {dw},{dh}"
        if (ph, pw) != (0, 0):
            text += f", {pw},{ph}"
        if self.dilation != (1, 1):
            text += f", dilation {self.dilation[1]},{self.dilation[0]}"
        return text if self.groups == 1 else f"{text}, groups {self.groups}"

    def __repr__(self) -> str:
        return f"nn.{self.label()}" + ("" if self.bias is not None else " without bias")


class _Pooling(Module):
    """Windows over the two last axes."""

    ceil_mode = False

    def __init__(self, kw: int, kh: int | None, dw: int, dh: int, pad_w: int, pad_h: int) -> None:
        self.kernel = (kw if kh is None else kh, kw)
        self.stride, self.padding = (dh, dw), (pad_h, pad_w)

    def ceil(self: M) -> M:
        """A last window may reach over the end."""
        self.ceil_mode = True  # type: ignore[attr-defined]
        return self

    def floor(self: M) -> M:
        """All windows lie inside (the start)."""
        self.ceil_mode = False  # type: ignore[attr-defined]
        return self

    def extra(self) -> str:
        (kh, kw), (dh, dw), (ph, pw) = self.kernel, self.stride, self.padding
        return f"{kw}x{kh}, {dw},{dh}" + (f", {pw},{ph}" if ph or pw else "")


class SpatialMaxPooling(_Pooling):
    """The largest element of each window; the gradient goes to the first of equals.

    Strides default to the kernel; padding, at most half of it, counts as -inf. floor() and ceil()
    choose the rounding of output sizes. Torch7 nn.SpatialMaxPooling.
    """

    def __init__(self, kw: int, kh: int | None = None, dw: int | None = None,
                 dh: int | None = None, pad_w: int = 0, pad_h: int = 0) -> None:
        kh = kw if kh is None else kh
        super().__init__(kw, kh, kw if dw is None else dw, kh if dh is None else dh, pad_w, pad_h)

    def compute(self, input: Tensor) -> Tensor:
        return c.max_pool(input, self.kernel, self.stride, self.padding,  # type: ignore[no-any-return]
                          ceil_mode=self.ceil_mode, name=self.label())


class SpatialAveragePooling(_Pooling):
    """The mean of each window. Strides default to 1 (Torch7's choice; max pooling's is the kernel).

    count_include_pad: padding counts as elements. Torch7 nn.SpatialAveragePooling.
    """

    def __init__(self, kw: int, kh: int | None = None, dw: int = 1, dh: int = 1, pad_w: int = 0,
                 pad_h: int = 0, count_include_pad: bool = True) -> None:
        super().__init__(kw, kh, dw, dh, pad_w, pad_h)
        self.count_include_pad = count_include_pad

    def set_count_include_pad(self) -> SpatialAveragePooling:
        """Padding counts (Torch7 setCountIncludePad)."""
        self.count_include_pad = True
        return self

    def set_count_exclude_pad(self) -> SpatialAveragePooling:
        """Padding does not count (Torch7 setCountExcludePad)."""
        self.count_include_pad = False
        return self

    def compute(self, input: Tensor) -> Tensor:
        return c.avg_pool(input, self.kernel, self.stride, self.padding,
                          ceil_mode=self.ceil_mode, count_include_pad=self.count_include_pad)


class SpatialDilatedConvolution(SpatialConvolution):
    """SpatialConvolution with Torch7's order of arguments: dilation follows padding."""

    def __init__(self, n_in: int, n_out: int, kw: int, kh: int | None = None, dw: int = 1,
                 dh: int = 1, pad_w: int = 0, pad_h: int | None = None, dil_w: int = 1,
                 dil_h: int | None = None, bias: bool = True, init: Initializer | None = None
                 ) -> None:
        super().__init__(n_in, n_out, kw, kh, dw, dh, pad_w, pad_h, 1, dil_w,
                         dil_w if dil_h is None else dil_h, bias, init)
