"""Flambeau's functions for SciPy: over one flat float64 vector, and as linear operators.

SciPy's optimisers and iterative solvers hand over a NumPy vector and take numbers, vectors and
products back. Here each of these is one compiled call, whatever nest of tensors lies behind.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt

from . import trees
from .autograd import jvp, value_and_grad, vjp
from .compiled import compile
from .creation import tensor, zeros
from .joining import concatenate
from .tensor import Tensor, no_grad


class Flat:
    """Tensors in a nest as one vector, in the order of the nest."""

    def __init__(self, name: str, tree: Any) -> None:
        self.tensors: list[Tensor] = []
        self.spec = trees.flatten(tree, self.tensors)
        for t in self.tensors:
            if not isinstance(t, Tensor) or not t.dtype.is_float:
                raise TypeError(f"{name}: expected floating tensors, got {_described(t)}")
        self.shapes = [(t.shape, t.dtype) for t in self.tensors]

    def parts(self, x: Tensor) -> list[Tensor]:
        """The tensors that a vector stands for, each in its own shape and dtype."""
        found, start = [], 0
        for shape, dtype in self.shapes:
            stop = start + math.prod(shape)
            found.append(x[start:stop].reshape(shape).to(dtype))
            start = stop
        return found

    def tree(self, x: Tensor) -> Any:
        """The nest that a vector stands for."""
        return trees.unflatten(self.spec, self.parts(x))


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors as one float64 vector."""
    if not tensors:
        return zeros(0, dtype="float64")
    return concatenate([t.reshape(-1).to(dt.float64) for t in tensors])


def _described(t: Any) -> str:
    return f"{t.dtype.name}{list(t.shape)}" if isinstance(t, Tensor) else type(t).__name__


class FlatFunction:
    """A function of tensors as SciPy calls it: one float64 vector in, float64 out, compiled.

    `f(x)` gives the pair that `minimize(f, f.x0, jac=True)` and `root(f, f.x0, jac=True)` ask for:
    the value and its gradient, or the values and their Jacobian. `f.value`, `f.gradient`,
    `f.jacobian` and `f.hessian_product` give these alone.
    """

    def __init__(self, fn: Callable[..., Any], start: tuple[Any, ...], wrt: Sequence[Tensor]
                 ) -> None:
        if bool(start) == bool(wrt):
            raise TypeError("flat_function: expected tensors to start from or wrt, got "
                            f"{'both' if wrt else 'neither'}")
        self.fn, self.wrt = fn, list(wrt)
        self.flat = Flat("flat_function", self.wrt if wrt else list(start))
        with no_grad():
            self.x0 = joined(self.flat.tensors).numpy().copy()
            found = fn(*start)
        if not isinstance(found, Tensor) or not found.dtype.is_float or found.ndim > 1:
            raise TypeError("flat_function: expected a function that gives a floating number or "
                            f"vector, got {_described(found)}")
        self.scalar = not found.ndim
        self.count = int(found.size)
        if wrt and not self.scalar:
            raise TypeError("flat_function: expected a function that gives one number beside wrt, "
                            f"got {_described(found)}")

    def __repr__(self) -> str:
        what = "a number" if self.scalar else f"{self.count} numbers"
        return f"FlatFunction({self.x0.size} numbers -> {what})"

    def _of_vector(self, x: Tensor) -> Tensor:
        return self.fn(*self.flat.tree(x)).to(dt.float64)  # type: ignore[no-any-return]

    def assign(self, x: Any) -> None:
        """Writes a vector into the tensors of wrt: afterwards they hold the solution."""
        with no_grad():
            for t, part in zip(self.wrt, self.flat.parts(_vector("assign", x, self.x0.size))):
                t.copy_(part)

    def unflatten(self, x: Any) -> Any:
        """The tensors that a vector stands for: one, or the list of the function's arguments."""
        found = self.flat.tree(_vector("unflatten", x, self.x0.size))
        return found[0] if len(found) == 1 else found

    @cached_property
    def _value(self) -> Any:
        def run(x: Tensor) -> Tensor:
            if self.wrt:
                self.assign(x)
                return self.fn().to(dt.float64)  # type: ignore[no-any-return]
            return self._of_vector(x)
        return compile(run)

    @cached_property
    def _both(self) -> Any:
        def run(x: Tensor) -> tuple[Tensor, Tensor]:
            if not self.wrt:
                value, gradient = value_and_grad(self._of_vector)(x)
                return value, gradient
            self.assign(x)
            value, gradients = value_and_grad(self.fn, wrt=self.wrt)()
            return value.to(dt.float64), joined(gradients)
        return compile(run)

    @cached_property
    def _along(self) -> Any:
        return compile(lambda x, v: jvp(self._of_vector, [x], [v])[1])

    @cached_property
    def _across(self) -> Any:
        return compile(lambda x, w: vjp(self._of_vector, x)[1](w)[0])

    @cached_property
    def _curve(self) -> Any:
        def slope(x: Tensor) -> Tensor:
            return value_and_grad(self._of_vector)(x)[1]  # type: ignore[no-any-return]
        return compile(lambda x, v: jvp(slope, [x], [v])[1])

    def value(self, x: Any) -> Any:
        """fn's value at a vector: a float, or a NumPy vector."""
        with no_grad():
            found = self._value(_vector("value", x, self.x0.size)).numpy()
        return float(found) if self.scalar else found.copy()

    def gradient(self, x: Any) -> np.ndarray:
        """The gradient of a function that gives one number."""
        return self(x)[1]  # type: ignore[no-any-return]

    def __call__(self, x: Any) -> tuple[Any, np.ndarray]:
        if not self.scalar:
            return self.value(x), self.jacobian(x)
        value, gradient = self._both(_vector("flat_function", x, self.x0.size))
        return float(value), gradient.numpy().copy()

    def jacobian(self, x: Any) -> np.ndarray:
        """The Jacobian, one row for each value: a compiled product for each row or column, the
        fewer of the two. The gradient, for a function that gives one number."""
        if self.scalar:
            return self.gradient(x)
        at, (rows, columns) = _vector("jacobian", x, self.x0.size), (self.count, self.x0.size)
        if columns <= rows:
            made = [self._along(at, tensor(e)).numpy() for e in np.eye(columns)]
            return np.stack(made, 1) if made else np.zeros((rows, 0))
        made = [self._across(at, tensor(e)).numpy() for e in np.eye(rows)]
        return np.stack(made) if made else np.zeros((0, columns))

    def hessian_product(self, x: Any, v: Any) -> np.ndarray:
        """The Hessian at x times v (SciPy's hessp), without the Hessian.

        Raises TypeError for a function of several numbers, or of wrt."""
        if not self.scalar or self.wrt:
            raise TypeError("hessian_product: expected a function of tensors that gives one "
                            f"number, got {self!r}")
        size = self.x0.size
        found = self._curve(_vector("hessian_product", x, size), _vector("v", v, size))
        return found.numpy().copy()  # type: ignore[no-any-return]


def _vector(name: str, x: Any, size: int) -> Tensor:
    """A float64 vector of that size from what SciPy hands over."""
    if isinstance(x, Tensor):
        return x
    array = np.asarray(x, np.float64)
    if array.shape != (size,):
        raise ValueError(f"{name}: expected a vector of {size} numbers, got shape {array.shape}")
    return tensor(array)


def flat_function(fn: Callable[..., Any], *start: Any, wrt: Sequence[Tensor] = ()) -> FlatFunction:
    """fn as SciPy's optimisers call it: of one flat float64 vector, compiled, with derivatives.

    start: the tensors (or nests of them) that fn takes, where the search begins: `f.x0`. Or wrt:
    tensors that fn() reads, as `model.params()`; a call writes them. fn gives one number or a
    vector. `minimize(f, f.x0, jac=True)`, `least_squares(f.value, f.x0, jac=f.jacobian)`,
    `root(f, f.x0, jac=True)`; then `f.unflatten(r.x)` or `f.assign(r.x)`.
    Raises TypeError for other results and for tensors that are not floating.
    """
    return FlatFunction(fn, start, wrt)


def linear_operator(a: Any, *at: Any) -> Any:
    """SciPy's LinearOperator of a matrix (m, n), or of the derivative of a function at tensors
    `at`, which is never formed: products by forward mode, with its adjoint by reverse mode.

    float64, or complex128 for a complex matrix. Raises ImportError without SciPy, TypeError for
    tensors that are not floating and ValueError for other shapes.
    """
    if isinstance(a, Tensor):
        shape, forward, back, dtype = _of_matrix(a)
    else:
        shape, forward, back = _of_derivative(a, at)
        dtype = np.dtype("float64")
    try:
        sparse: Any = importlib.import_module("scipy.sparse.linalg")
    except ImportError:
        raise ImportError("linear_operator: expected SciPy, got none; install flambeau[scipy]"
                          ) from None
    return sparse.LinearOperator(shape, matvec=forward, rmatvec=back, dtype=dtype)


_Product = Callable[[Any], np.ndarray]


def _of_matrix(a: Tensor) -> tuple[tuple[int, ...], _Product, _Product, Any]:
    if a.ndim != 2 or not a.dtype.is_inexact:
        raise ValueError(f"linear_operator: expected a floating matrix, got {_described(a)}")
    wide = dt.complex128 if a.dtype.is_complex else dt.float64
    still = a.detach().to(wide)
    times = compile(lambda m, v: m @ v.to(wide))
    adjoint = still.mH.clone() if a.dtype.is_complex else still.t()
    return (a.shape, lambda v: times(still, tensor(np.ravel(v))).numpy().copy(),
            lambda v: times(adjoint, tensor(np.ravel(v))).numpy().copy(), wide.numpy)


def _of_derivative(fn: Callable[..., Any], at: tuple[Any, ...]
                   ) -> tuple[tuple[int, int], _Product, _Product]:
    flat = Flat("linear_operator", list(at))
    place = joined(flat.tensors).detach().realize()

    def of_vector(x: Tensor) -> Tensor:
        found: list[Tensor] = []
        trees.flatten(fn(*flat.tree(x)), found)
        return joined(found)

    rows, columns = int(of_vector(place).size), int(place.size)
    along = compile(lambda x, v: jvp(of_vector, [x], [v])[1])
    across = compile(lambda x, w: vjp(of_vector, x)[1](w)[0])
    return ((rows, columns),
            lambda v: along(place, _vector("matvec", np.ravel(v), columns)).numpy().copy(),
            lambda w: across(place, _vector("rmatvec", np.ravel(w), rows)).numpy().copy())
