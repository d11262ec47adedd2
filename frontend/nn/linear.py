"""Layers with a matrix: Linear and LookupTable."""

from __future__ import annotations

from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N

from ..contracting import dot_node
from ..creation import zeros
from ..distributions import randn
from ..elementwise import eq
from ..indexing import index_select
from ..tensor import Tensor, derive, read
from .init import Initializer, reset_parameter
from .module import Module
from .parameters import Parameter


class Linear(Module):
    """y = x W' + b. Input (..., in), output (..., out). Torch7 nn.Linear.

    weight (out, in), bias (out), both drawn from U(-s, s), s = 1 / sqrt(in); init: a function that
    fills the weight instead (see nn.init).
    """

    bias: Parameter | None

    def __init__(self, inputs: int, outputs: int, bias: bool = True,
                 init: Initializer | None = None) -> None:
        if inputs < 0 or outputs < 0:
            raise ValueError(f"Linear: expected sizes of 0 or more, got {inputs} and {outputs}")
        self.inputs, self.outputs, self.init = inputs, outputs, init
        self.weight = Parameter(zeros(outputs, inputs))
        self.bias = Parameter(zeros(outputs)) if bias else None
        self.reset()

    def reset(self, stdv: Any = None) -> None:
        reset_parameter(self.weight, self.inputs, stdv, self.init)
        if self.bias is not None:
            reset_parameter(self.bias, self.inputs, stdv)

    def no_bias(self) -> Linear:
        """Drops the bias (Torch7 noBias)."""
        self.bias = None
        return self

    def compute(self, input: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        shape = input.shape
        if shape[-1:] != weight.shape[1:]:
            raise ValueError(f"{self.label()}: expected input (..., {self.inputs}), got "
                             f"{input.dtype.name} {shape}")
        x, w = read(input), read(weight)
        if x.dtype is not w.dtype:
            common = dt.promote(x.dtype, w.dtype)
            x, w = N.cast(x, common), N.cast(w, common)
        rows = 1 if len(shape) == 1 else shape[0] if len(shape) == 2 else (
            N.Node.size.fget(x) // shape[-1] if shape[-1] else 0)  # type: ignore[attr-defined]
        k, m = w.shape[1], w.shape[0]
        y = dot_node(N.reshape(x, (1, rows, k)), N.permute(N.reshape(w, (1, m, k)), (0, 2, 1)))
        y = N.reshape(y, (*shape[:-1], m))
        if bias is None:
            return derive(y, input, weight)
        b = N.expand_to(N.cast(read(bias), y.dtype), y.shape)
        return derive(N.node("add", y.dtype, y.shape, (y, b)), input, weight, bias)

    def extra(self) -> str:
        return f"{self.inputs} -> {self.outputs}"

    def __repr__(self) -> str:
        return f"nn.{self.label()}" + ("" if self.bias is not None else " without bias")


class LookupTable(Module):
    """Rows of a table: y = W[x]. Input int64 (...), output (..., size). Torch7 nn.LookupTable.

    weight (count, size) ~ N(0, 1). padding: an index whose row gets no gradient. Indices out of
    range raise IndexError when values are computed.
    """

    def __init__(self, count: int, size: int, padding: int | None = None,
                 init: Initializer | None = None) -> None:
        self.count, self.size, self.padding, self.init = count, size, padding, init
        self.weight = Parameter(randn(count, size))
        if init is not None:
            self.reset()

    def reset(self, stdv: Any = None) -> None:
        if self.init is not None and stdv is None:
            reset_parameter(self.weight, self.count, None, self.init)
        else:
            self.weight.data = randn(self.count, self.size, dtype=self.weight.dtype) * (stdv or 1)

    def compute(self, input: Tensor) -> Tensor:
        if input.dtype.is_float or input.dtype is dt.bool_:
            raise TypeError(f"{self.label()}: expected integer indices, got {input.dtype.name}")
        rows = index_select(self.weight, 0, input.reshape(-1)).reshape(*input.shape, self.size)
        if self.padding is None:
            return rows  # type: ignore[no-any-return]
        padded = eq(input, self.padding).unsqueeze(-1)
        return padded.where(rows.detach(), rows)  # type: ignore[no-any-return]

    def extra(self) -> str:
        return f"{self.count}, {self.size}"
