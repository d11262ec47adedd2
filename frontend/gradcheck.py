"""Gradients against finite differences, in float64: public, for users' own functions and layers.

One random cotangent weighs all results, so that a check needs two evaluations an element and still
sees every entry of the Jacobian.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt

from . import trees
from .autograd import vjp
from .creation import tensor
from .tensor import Tensor, no_grad

Numbers = np.ndarray


def gradcheck(fn: Callable[..., Any], inputs: Any, eps: float = 1e-6, atol: float = 1e-5,
              rtol: float = 1e-3, order: int = 1, wrt: Sequence[Tensor] = ()) -> bool:
    """Do fn's gradients agree with central differences? True, or AssertionError with the place.

    inputs: a tensor or a list of them; floating ones are checked, as float64 copies, complex ones
    as complex128, by their real and imaginary parts. wrt: float64
    tensors that fn reads, as parameters, checked too. order 2 checks the gradient's gradient.
    Raises ValueError for other orders.
    """
    if order not in (1, 2):
        raise ValueError(f"gradcheck: expected order 1 or 2, got {order}")
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    arrays: list[Any] = [_widest(t) if t.dtype.is_inexact else t for t in given]
    held: list[Any] = [_widest(t) for t in wrt]
    floats = [i for i, a in enumerate(arrays) if isinstance(a, np.ndarray)]
    random = np.random.default_rng(0)

    def call(*values: Tensor) -> list[Tensor]:
        """fn on the floating inputs and parameters, as a list of floating tensors."""
        full: list[Any] = list(arrays)
        for i, v in zip(floats, values):
            full[i] = v
        with _swapped(wrt, values[len(floats):]):
            found: list[Tensor] = []
            trees.flatten(fn(*full), found)
        return [t for t in found if t.dtype.is_inexact]

    start = [*(arrays[i] for i in floats), *held]
    function = call
    if order == 2:
        weights = [_weights(random, t) for t in call(*map(tensor, start))]

        def function(*values: Tensor) -> list[Tensor]:
            _, back = vjp(call, *values)
            return list(back([tensor(w) for w in weights]))

    return _compare(function, start, len(floats), eps, atol, rtol, random)


def _compare(function: Callable[..., list[Tensor]], start: list[Numbers], inputs: int, eps: float,
             atol: float, rtol: float, random: np.random.Generator) -> bool:
    values, back = vjp(function, *map(tensor, start))
    weights = [_weights(random, t) for t in values]
    exact = [g.numpy() for g in back([tensor(w) for w in weights])]

    def total(arrays: list[Numbers]) -> float:
        with no_grad():
            found = function(*map(tensor, arrays))
        return sum(float(np.sum(np.conj(w) * t.numpy()).real) for w, t in zip(weights, found))

    for k, g in enumerate(exact):
        name = f"input {k}" if k < inputs else f"parameter {k - inputs}"
        check_close(name, g, differences(total, start, k, eps), atol, rtol)
    return True


def _widest(t: Tensor) -> Numbers:
    return np.array(t.numpy(), np.complex128 if t.dtype.is_complex else np.float64)


def _weights(random: np.random.Generator, t: Tensor) -> Numbers:
    """A random cotangent like t."""
    found = random.standard_normal(t.shape)
    return found + 1j * random.standard_normal(t.shape) if t.dtype.is_complex else found


def differences(total: Callable[[list[Numbers]], float], start: list[Numbers], k: int, eps: float
                ) -> Numbers:
    """Central differences of total by the elements of start[k]; of complex elements by their real
    part, plus i times that by their imaginary part."""
    result = np.zeros_like(start[k])
    directions = (1, 1j) if result.dtype.kind == "c" else (1,)
    for place in np.ndindex(start[k].shape):
        for direction in directions:
            ends = []
            for step in (eps, -eps):
                moved = [a.copy() if i == k else a for i, a in enumerate(start)]
                moved[k][place] += step * direction
                ends.append(total(moved))
            result[place] += direction * (ends[0] - ends[1]) / (2 * eps)
    return result


def check_close(name: str, exact: Numbers, numeric: Numbers, atol: float, rtol: float) -> None:
    """Raises AssertionError that names the place where two gradients differ most."""
    error = np.abs(exact - numeric) - (atol + rtol * np.abs(numeric))
    error = np.where(np.isnan(exact) | np.isnan(numeric), np.inf, error)
    if error.size and error.max() > 0:
        place = tuple(int(i) for i in np.unravel_index(np.argmax(error), error.shape))
        raise AssertionError(
            f"gradcheck: {name}, element {list(place)} of {list(exact.shape)}: expected "
            f"{numeric[place]:.8g} by differences, got {exact[place]:.8g}")


class _swapped:
    """Tensors look at other tensors' values inside the block."""

    def __init__(self, tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        self.tensors, self.values = tensors, values

    def __enter__(self) -> None:
        self.kept = [(t._storage, t._view) for t in self.tensors]
        for t, v in zip(self.tensors, self.values):
            t._storage, t._view = v._storage, v._view

    def __exit__(self, *error: object) -> None:
        for t, (storage, view) in zip(self.tensors, self.kept):
            t._storage, t._view = storage, view


def gradcheck_module(module: Any, input: Any, eps: float = 1e-6, atol: float = 1e-5,
                     rtol: float = 1e-3) -> bool:
    """Do a module's backward pass and parameter gradients agree with differences? (Torch7
    nn.Jacobian). The module's parameters must be float64 (`module.double()`); input is a tensor or
    a table. Checks `backward`, not only differentiation, so hand-written passes are checked too.
    """
    params = module.params()
    for p in params:
        if p.dtype is not dt.float64:
            raise TypeError(f"gradcheck_module: expected float64 parameters, got {p.dtype.name}; "
                            "call double() first")
    found: list[Tensor] = []
    spec = trees.flatten(input, found)
    start = [np.array(t.numpy(), np.float64) if t.dtype.is_float else t.numpy() for t in found]
    held = [np.array(p.numpy()) for p in params]

    def outputs(arrays: list[Numbers]) -> tuple[Any, list[Tensor]]:
        x = trees.unflatten(spec, [tensor(a) for a in arrays])
        made: list[Tensor] = []
        out_spec = trees.flatten(module.forward(x), made)
        return (x, out_spec), made

    (x, out_spec), made = outputs(start)
    random = np.random.default_rng(0)
    weights = [random.standard_normal(t.shape) for t in made]
    for p in params:
        p.grad = None
    module.backward(x, trees.unflatten(out_spec, [tensor(w) for w in weights]))
    grad_inputs: list[Tensor] = []
    trees.flatten(module.grad_input, grad_inputs)
    exact = [g.numpy() for g in grad_inputs] + [
        np.zeros(p.shape) if p.grad is None else p.grad.numpy() for p in params]

    def total(arrays: list[Numbers]) -> float:
        for p, a in zip(params, arrays[len(start):]):
            p.data = tensor(a)
        with no_grad():
            _, found = outputs(arrays[:len(start)])
        return sum(float(np.sum(w * t.numpy())) for w, t in zip(weights, found))

    everything = [*start, *held]
    try:
        for k, (a, g) in enumerate(zip(everything, exact)):
            if a.dtype == np.float64:
                name = f"input {k}" if k < len(start) else f"parameter {k - len(start)}"
                check_close(f"{module.label()}: {name}", g,
                            differences(total, everything, k, eps), atol, rtol)
    finally:
        total(everything)
    return True
