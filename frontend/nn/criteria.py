"""Losses: `forward(input, target)` gives a 0-d tensor, `backward(input, target)` the gradient by
the input. A criterion writes `compute(input, target)`; called, it is its forward.

The losses are lazy like everything: `loss.item()` gives the number.
"""

from __future__ import annotations

from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.node import Node

from .. import activations as a
from .. import realize as door
from .. import reductions as r
from .. import tracing
from ..creation import constant, iota
from ..elementwise import abs, log
from ..recording import as_tensor
from ..tensor import Tensor, derive, read
from .labels import checked
from .module import Module
from .parameters import Buffer
from .running import ByHand, Run, current, forget_after_trace


class Criterion(Module):
    """Base of all losses. size_average: the mean over what the loss counts, else the sum."""

    size_average = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._by_hand = cls.update_grad_input is not Criterion.update_grad_input

    def __init__(self, size_average: bool = True) -> None:
        self.size_average = size_average

    def compute(self, input: Any, target: Any = None) -> Tensor:
        """The loss as a formula; what a new criterion writes."""
        raise NotImplementedError(f"{type(self).__name__}: expected a compute(input, target)")

    def update_output(self, input: Any, target: Any = None) -> Tensor:
        return self.compute(input, target)

    def forward(self, input: Any, target: Any = None) -> Tensor:
        """The loss (0-d)."""
        outer = current.run
        run = Run(input)
        current.run = run
        try:
            output = self.update_output(run.stand_in, target)
        finally:
            current.run = outer
        run.finish(output)
        if self._by_hand:
            output = ByHand(_WithTarget(self, target), run).around(output)
        if tracing.active():
            forget_after_trace(self)
        self._run, self.output = run, output
        return output

    def __call__(self, input: Any, target: Any = None) -> Tensor:
        return self.forward(input, target)

    def backward(self, input: Any, target: Any = None) -> Any:  # type: ignore[override]
        """The gradient of the loss by the input."""
        self.grad_input = self.update_grad_input(input, target)
        return self.grad_input

    def update_grad_input(self, input: Any, target: Any = None) -> Any:
        """The gradient by the input; by differentiation unless written."""
        if self._run is None or not self._run.saw(input):
            self.forward(input, target)
        assert self._run is not None
        door.along.add(self.output._storage)
        return self._run.shaped(self._run.back([None], 1, "inputs")[0])

    def _mean(self, loss: Tensor, count: int | None = None) -> Tensor:
        """The sum of losses, divided by their number (or count) when averaging."""
        total = r.sum(loss)
        return total / max(int(loss.size) if count is None else count, 1) if (
            self.size_average) else total

    def _same_shape(self, input: Tensor, target: Any) -> Tensor:
        t = as_tensor(type(self).__name__, target)
        if t.shape != input.shape:
            raise ValueError(f"{self.label()}: expected a target of the input's shape "
                             f"{input.shape}, got {t.shape}")
        return t if t.dtype is input.dtype else t.astype(input.dtype)  # type: ignore[no-any-return]


class _WithTarget:
    """A criterion with a backward of its own, seen as a module of the input alone."""

    def __init__(self, criterion: Criterion, target: Any) -> None:
        self.criterion, self.target = criterion, target

    def update_grad_input(self, input: Any, grad_output: Tensor) -> Any:
        found = self.criterion.update_grad_input(input, self.target)
        return [g * grad_output for g in found] if isinstance(found, list) else found * grad_output

    def acc_grad_parameters(self, input: Any, grad_output: Tensor, scale: float) -> None:
        """Criteria have no parameters."""


class ClassNLLCriterion(Criterion):
    """-w[t] x[t] for log-probabilities x (n, classes) or (classes) and labels t (n) or a number.

    Labels are integers from 0. weights: one a class. The average divides by the sum of weights
    used. ignore_index: a label that counts nothing (Torch7: -100). Labels out of range raise
    IndexError: at once where their values are known, else when values are computed.
    Torch7 nn.ClassNLLCriterion.
    """

    def __init__(self, weights: Any = None, size_average: bool = True,
                 ignore_index: int | None = None) -> None:
        self.size_average, self.ignore_index = size_average, ignore_index
        self.weights = None if weights is None else Buffer(as_tensor("ClassNLLCriterion", weights))

    def compute(self, input: Tensor, target: Any = None) -> Tensor:
        if input.ndim not in (1, 2) or not input.dtype.is_float:
            raise ValueError(f"{self.label()}: expected log-probabilities (n, classes), got "
                             f"{input.dtype.name} {input.shape}")
        t = target if isinstance(target, Tensor) else as_tensor("ClassNLLCriterion", target)
        if t.shape != input.shape[:-1] and not (input.ndim == 1 and t.shape == (1,)):
            raise ValueError(f"{self.label()}: expected labels of shape {input.shape[:-1]} for "
                             f"input {input.shape}, got {t.shape}")
        labels = checked(self, t, input.shape[-1], self.ignore_index)
        return derive(self._loss(self._log_probabilities(read(input)),
                                 N.reshape(labels, input.shape[:-1])), input)

    def _log_probabilities(self, x: Node) -> Node:
        return x

    def _loss(self, x: Node, labels: Node) -> Node:
        """Labels are compared with a count of the classes: it fuses with log-softmax by rows."""
        last = len(x.shape) - 1
        wide = N.expand(N.reshape(labels, (*labels.shape, 1)), x.shape)
        hit = N.node("eq", dt.bool_, x.shape, (iota(dt.int64, x.shape, last), wide))
        picked = N.node("where", x.dtype, x.shape, (hit, x, constant(x.dtype, 0, x.shape)))
        picked = N.reshape(N.reduce_("sum", picked, (last,)), labels.shape)
        if self.weights is None and self.ignore_index is None:
            count = labels.size if self.size_average else 1
            total = _total(picked)
            return N.elementwise("mul", total, constant(x.dtype, -1 / max(count, 1)))
        weight = constant(x.dtype, 1, labels.shape)
        if self.weights is not None:
            weight = N.cast(read(self.weights), x.dtype)
            if weight.shape != x.shape[-1:]:
                raise ValueError(f"{self.label()}: expected {x.shape[-1]} weights, got "
                                 f"{weight.shape}")
            chosen = N.elementwise("where", hit, N.expand_to(weight, x.shape),
                                   constant(x.dtype, 0, x.shape))
            weight = N.reshape(N.reduce_("sum", chosen, (last,)), labels.shape)
        if self.ignore_index is not None:
            skip = N.elementwise("eq", labels, constant(dt.int64, self.ignore_index, labels.shape))
            weight = N.elementwise("where", skip, constant(x.dtype, 0, labels.shape), weight)
        total = N.elementwise("neg", _total(N.elementwise("mul", picked, weight)))
        return N.elementwise("div", total, _total(weight)) if self.size_average else total


def _total(n: Node) -> Node:
    """The sum of all elements, 0-d."""
    if len(n.shape) != 0:
        n = N.reduce_("sum", n, tuple(range(len(n.shape))))
    return N.reshape(n, ())


class CrossEntropyCriterion(ClassNLLCriterion):
    """ClassNLLCriterion of log-softmax: for scores (n, classes) or (classes) and labels.

    Torch7 nn.CrossEntropyCriterion.
    """

    def _log_probabilities(self, x: Node) -> Node:
        return r.log_softmax_node(x, (len(x.shape) - 1,))


class MSECriterion(Criterion):
    """The mean of (x - t)^2 over all elements, without a half. Torch7 nn.MSECriterion."""

    def compute(self, input: Tensor, target: Any = None) -> Tensor:
        return self._mean(a.square(input - self._same_shape(input, target)))


class AbsCriterion(Criterion):
    """The mean of |x - t| over all elements. Torch7 nn.AbsCriterion."""

    def compute(self, input: Tensor, target: Any = None) -> Tensor:
        return self._mean(abs(input - self._same_shape(input, target)))


class SmoothL1Criterion(Criterion):
    """The mean of z^2 / 2 where |z| < 1, else |z| - 1/2, z = x - t. Torch7 nn.SmoothL1Criterion."""

    def compute(self, input: Tensor, target: Any = None) -> Tensor:
        z = abs(input - self._same_shape(input, target))
        return self._mean((z < 1).where(z * z * 0.5, z - 0.5))


class BCECriterion(Criterion):
    """The mean of -(t log(x + eps) + (1 - t) log(1 - x + eps)), eps = 1e-12, x in [0, 1].

    weights: one an element of a sample. Torch7 nn.BCECriterion.
    """

    eps = 1e-12

    def __init__(self, weights: Any = None, size_average: bool = True) -> None:
        self.size_average = size_average
        self.weights = None if weights is None else Buffer(as_tensor("BCECriterion", weights))

    def compute(self, input: Tensor, target: Any = None) -> Tensor:
        t = self._same_shape(input, target)
        loss = t * log(input + self.eps) + (1 - t) * log(1 - input + self.eps)
        if self.weights is not None:
            loss = loss * self.weights.astype(input.dtype)
        return self._mean(-loss)


__all__ = ["AbsCriterion", "BCECriterion", "ClassNLLCriterion", "Criterion",
           "CrossEntropyCriterion", "MSECriterion", "SmoothL1Criterion"]
