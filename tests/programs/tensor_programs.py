"""Random programs in the user's language, which NumPy and Flambeau both can play.

A program is leaves and a list of instructions over numbered values: views, writes through views,
operations, reductions, values forced and snapshots taken. `play` runs it in either world. The
generator runs NumPy's world as it goes, so every instruction fits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import flambeau as fb
import numpy as np

Call = Callable[..., Any]
SMALL, LONG = (1, 2, 3, 4, 5, 7, 17), (1, 3, 16, 33, 130, 300)
DTYPES = ("float32", "float32", "float32", "float64", "int32", "int64", "uint8", "int8", "bool")
LIMIT = 60_000  # elements of a value


@dataclass
class Program:
    """leaves: the arrays it starts from; steps: (function of (world, *operands), operands)."""

    leaves: list[np.ndarray]
    steps: list[tuple[Call, tuple[int, ...]]] = field(default_factory=list)


def play(program: Program, leaves: list[Any], world: Any) -> list[Any]:
    """Every value of the program, in order: arrays or tensors; None for instructions that give
    nothing."""
    values = list(leaves)
    for step, operands in program.steps:
        values.append(step(world, *(values[i] for i in operands)))
    return values


def final(values: list[Any]) -> list[np.ndarray]:
    """What a played program ends with, as arrays."""
    return [np.array(v.numpy() if isinstance(v, fb.Tensor) else v) for v in values if v is not None]


# -- instructions: functions of a world (np or fb) and operands ------------------------------------


def copied(x: Any) -> Any:
    """NumPy keeps its operands' order of axes in results; ours are row-major."""
    return np.array(x, order="C") if isinstance(x, np.ndarray | np.generic) else x


def plain(name: str, *args: Any, **options: Any) -> Call:
    """The function of that name in either world."""
    return lambda world, *x: copied(getattr(world, name)(*x, *args, **options))


def of_operator(f: Call, *args: Any) -> Call:
    return lambda world, *x: copied(f(*x, *args))


def same_dtype(f: Call) -> Call:
    """f's result in the dtype of its first operand."""
    def step(world: Any, x: Any, *rest: Any) -> Any:
        made = f(world, x, *rest)
        return copied(made.astype(x.dtype))
    return step


def softmax(world: Any, x: Any) -> Any:
    top = x.max(-1, keepdims=True) if world is np else fb.amax(x, -1, keepdims=True)
    e = world.exp(x - top)
    return copied(e / world.sum(e, axis=-1, keepdims=True))


def view(f: Call) -> Call:
    return lambda world, x: f(x)


def diagonal(world: Any, x: Any) -> Any:
    return copied(x.diagonal())


def fill(value: Any) -> Call:
    def step(world: Any, x: Any) -> None:
        if world is np:
            x[...] = value
        else:
            x.fill_(value)
    return step


def copy_into(world: Any, x: Any, y: Any) -> None:
    if world is np:
        x[...] = y
    else:
        x.copy_(y)


def change(f: Call, *args: Any) -> Call:
    """An in-place operator; the name keeps its object, as in `x += y`."""
    def step(world: Any, x: Any, *rest: Any) -> None:
        f(x, *rest, *args)
    return step


def set_item(index: Any) -> Call:
    def step(world: Any, x: Any, y: Any) -> None:
        x[index] = y
    return step


def set_mask(value: Any) -> Call:
    def step(world: Any, x: Any, mask: Any) -> None:
        x[mask] = value
    return step


def snapshot(world: Any, x: Any) -> np.ndarray:
    """The values now, which later writes must not change."""
    return np.array(x) if world is np else x.numpy()


def force(world: Any, x: Any) -> None:
    if world is not np:
        x.realize()


# -- the generator ---------------------------------------------------------------------------------


class Writer:
    """Draws a program. smooth: only float64 and differentiable instructions."""

    def __init__(self, seed: int, smooth: bool = False, observe: bool = True) -> None:
        self.rng = np.random.default_rng(seed)
        self.smooth, self.observe = smooth, observe
        self.extents = LONG if seed % 8 == 5 and not smooth else SMALL
        self.program = Program([])
        self.values: list[Any] = []
        self.fixed: set[int] = set()  # values that must not be written: expanded, snapshots

    def pick(self, items: Any) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def leaf(self) -> None:
        shape: list[int] = []
        for _ in range(self.pick((0, 1, 1, 2, 2, 2, 3, 3, 4))):
            shape.append(int(self.pick(self.extents if np.prod(shape) < 400 else SMALL[:3])))
        if not self.smooth and self.rng.random() < 0.03 and shape:
            shape[self.pick(range(len(shape)))] = 0
        dtype = "float64" if self.smooth else self.pick(DTYPES)
        values = np.round(self.rng.standard_normal(shape) * 16) / 8
        if dtype == "bool":
            values = values > 0
        elif not dtype.startswith("float"):
            values = np.abs(values) * 4 if dtype[0] == "u" else values * 4
        self.program.leaves.append(np.asarray(values).astype(dtype))
        self.values.append(self.program.leaves[-1].copy())

    def write(self, leaves: int, steps: int) -> Program:
        """The program; its leaves are as they were before it ran."""
        for _ in range(leaves):
            self.leaf()
        with np.errstate(all="ignore"):
            for _ in range(steps):
                self.step()
        return self.program

    def add(self, f: Call, *operands: int) -> None:
        made = f(np, *(self.values[i] for i in operands))
        self.values.append(made)
        self.program.steps.append((f, operands))

    def any(self, writable: bool = False) -> int:
        found = [i for i, v in enumerate(self.values) if isinstance(v, np.ndarray)
                 and not (writable and (i in self.fixed or not v.flags.writeable))]
        if self.rng.random() < 0.6:  # rather recent ones, so that programs grow deep
            found = found[-5:]
        return int(self.pick(found))

    def like(self, i: int, dtype: bool = True) -> int | None:
        """Another value that broadcasts to value i's shape (and has its dtype)."""
        x = self.values[i]
        fit = [k for k, v in enumerate(self.values) if isinstance(v, np.ndarray)
               and (v.dtype == x.dtype or not dtype) and _fits(v.shape, x.shape)]
        return int(self.pick(fit)) if fit else None

    def step(self) -> None:
        kinds = ["view", "view", "write", "write", "write", "unary", "binary", "binary", "reduce",
                 "shape", "index"]
        if self.observe:
            kinds += ["snapshot", "force"]
        kind = self.pick(kinds)
        getattr(self, f"_{kind}")(self.any(kind == "write"))

    # views
    def _view(self, i: int) -> None:
        x = self.values[i]
        choice = self.pick(("slice", "slice", "transpose", "reshape", "select", "unit", "expand",
                            "diagonal", "flip"))
        n = len(self.values)
        if choice == "slice" and x.ndim:
            index = tuple(_slice(self.rng, e) for e in x.shape)
            self.add(view(lambda t: t[index]), i)
        elif choice == "flip" and x.ndim:
            index = tuple(slice(None, None, self.pick((1, -1))) for _ in x.shape)
            self.add(view(lambda t: t[index]), i)
        elif choice == "transpose" and x.ndim > 1:
            a, b = (int(k) for k in self.rng.permutation(x.ndim)[:2])
            self.add(view(lambda t: t.swapaxes(a, b)), i)
        elif choice == "reshape" and x.size:
            shape = _factors(self.rng, x.size)
            self.add(view(lambda t: t.reshape(shape)), i)
        elif choice == "select" and x.ndim and all(x.shape):
            at = int(self.rng.integers(-x.shape[-1], x.shape[-1]))
            self.add(view(lambda t: t[..., at]), i)
            if not isinstance(self.values[n], np.ndarray):  # NumPy gives a number, we a view
                self.values.pop()
                self.program.steps.pop()
                self.add(view(lambda t: t[..., at:at + 1 or None]), i)
        elif choice == "diagonal" and x.ndim > 1:
            self.add(diagonal, i)
        elif choice == "expand" and x.size < 200 and x.ndim < 4:
            shape = (2, *x.shape)
            self.add(lambda world, t: world.broadcast_to(t, shape), i)
            self.fixed.add(n)
        else:
            self.add(view(lambda t: t[None]), i)
        if i in self.fixed and n < len(self.values):
            self.fixed.add(n)

    # writes
    def _write(self, i: int) -> None:
        x = self.values[i]
        choice = self.pick(("add", "add", "mul", "fill", "copy", "slice", "mask", "index", "zero"))
        j = self.like(i)
        number = 2 if x.dtype.kind in "iu" else 0.5
        if choice in ("add", "mul") and x.dtype.kind != "b":
            f = operator.iadd if choice == "add" else operator.imul
            if j is not None and self.rng.random() < 0.7:
                self.add(change(f), i, j)
            else:
                self.add(change(f, number), i)
        elif choice == "copy" and j is not None:
            self.add(copy_into, i, j)
        elif choice == "slice" and x.ndim:
            index = tuple(_slice(self.rng, e) for e in x.shape)
            part = x[index].shape
            fit = [k for k, v in enumerate(self.values) if isinstance(v, np.ndarray)
                   and v.dtype == x.dtype and _fits(v.shape, part)]
            if fit:
                self.add(set_item(index), i, int(self.pick(fit)))
        elif choice == "mask" and not self.smooth and x.ndim:
            masks = [k for k, v in enumerate(self.values) if isinstance(v, np.ndarray)
                     and v.dtype == bool and v.shape == x.shape]
            if masks:
                self.add(set_mask(x.dtype.type(1)), i, int(self.pick(masks)))
        elif choice == "index" and x.ndim and x.shape[0]:
            index = [int(k) for k in self.rng.permutation(x.shape[0])[:2]]
            fit = [k for k, v in enumerate(self.values) if isinstance(v, np.ndarray)
                   and v.dtype == x.dtype and _fits(v.shape, (len(index), *x.shape[1:]))]
            if fit:
                self.add(set_item(index), i, int(self.pick(fit)))
        else:
            self.add(fill(x.dtype.type(choice == "fill").item()), i)

    # operations
    def _unary(self, i: int) -> None:
        x = self.values[i]
        if x.dtype.kind == "f":
            self.add(plain(self.pick(("tanh", "sin", "exp2", "square", "arctan")))
                     if x.size == 0 or np.abs(x).max() < 10 else plain("tanh"), i)
        elif x.dtype == bool:
            self.add(plain("logical_not"), i)
        else:
            self.add(same_dtype(lambda world, t: t * 3 + 1), i)

    def _binary(self, i: int) -> None:
        j = self.like(i, dtype=self.rng.random() < 0.7)
        if j is None:
            return
        a, b = self.values[i], self.values[j]
        if a.dtype == bool or b.dtype == bool:
            if a.dtype == b.dtype:
                self.add(of_operator(self.pick((operator.and_, operator.or_, operator.xor))), i, j)
            else:
                self.add(plain("maximum"), i, j)
        elif not self.smooth and self.rng.random() < 0.2 and a.dtype.kind != "f" != b.dtype.kind:
            self.add(of_operator(self.pick((operator.lt, operator.eq, operator.ge))), i, j)
        elif self.smooth:
            self.add(of_operator(self.pick((operator.add, operator.sub, operator.mul))), i, j)
        else:
            self.add(self.pick((of_operator(operator.add), of_operator(operator.sub),
                                of_operator(operator.mul), plain("maximum"),
                                plain("minimum"))), i, j)
        self._settle(len(self.values) - 1)

    def _settle(self, i: int) -> None:
        """Keeps numbers small, so that rounding stays in proportion."""
        x = self.values[i]
        if x.dtype.kind == "f" and x.size and not np.abs(x).max() < 50:
            self.add(plain("tanh"), i)

    def _reduce(self, i: int) -> None:
        x = self.values[i]
        if not x.size or x.dtype == bool:
            return
        axis = int(self.rng.integers(-x.ndim, x.ndim)) if x.ndim and self.rng.random() < 0.8 \
            else None
        keep = bool(self.rng.random() < 0.4)
        if self.smooth:
            name = self.pick(("sum", "mean"))
        else:
            name = self.pick(("sum", "mean", "amax", "amin") if x.dtype.kind == "f" else
                             ("sum", "amax", "amin"))
        f = plain(name, axis=axis, keepdims=keep)
        if axis is not None and x.dtype.kind == "f" and self.rng.random() < 0.2:
            f = softmax
        elif axis is not None and self.rng.random() < 0.2:
            f = plain("cumsum", axis=axis)
        self.add(same_dtype(f) if x.dtype.kind in "iu" else f, i)
        self._settle(len(self.values) - 1)

    def _shape(self, i: int) -> None:
        x = self.values[i]
        if x.size > LIMIT // 4:
            return
        choice = self.pick(("concatenate", "matmul", "stack", "where", "copy"))
        if choice == "concatenate" and x.ndim:
            axis = int(self.rng.integers(x.ndim))
            self.add(lambda world, t: copied(world.concatenate([t, t[::-1], t], axis)), i)
        elif choice == "stack":
            axis = int(self.rng.integers(x.ndim + 1))
            self.add(lambda world, t: copied(world.stack([t, t], axis)), i)
        elif choice == "matmul" and x.ndim == 2 and x.dtype.kind == "f":
            self.add(of_operator(lambda t: t @ t.swapaxes(0, 1)), i)
        elif choice == "where":
            j = self.like(i)
            test = [k for k, v in enumerate(self.values) if isinstance(v, np.ndarray)
                    and v.dtype == bool and _fits(v.shape, x.shape)]
            if test:
                self.add(plain("where"), int(self.pick(test)), i, i if j is None else j)
        else:
            self.add(of_operator(lambda t: t.copy()), i)
        self._settle(len(self.values) - 1) if isinstance(self.values[-1], np.ndarray) else None

    def _index(self, i: int) -> None:
        x = self.values[i]
        if not x.ndim or not x.shape[0]:
            return
        index = [int(k) for k in self.rng.integers(-x.shape[0], x.shape[0], 3)]
        self.add(of_operator(lambda t: t[index]), i)

    # observers
    def _snapshot(self, i: int) -> None:
        self.add(snapshot, i)
        self.values[-1] = None  # nobody reads it

    def _force(self, i: int) -> None:
        self.add(force, i)


def _fits(shape: tuple[int, ...], goal: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, goal) == goal
    except ValueError:
        return False


def _slice(rng: np.random.Generator, extent: int) -> slice:
    if rng.random() < 0.4 or extent < 2:
        return slice(None)
    step = int(rng.choice((1, 1, 2, 3, -1, -2)))
    a, b = sorted(int(k) for k in rng.integers(0, extent + 1, 2))
    if a == b:
        a, b = 0, extent
    return slice(a, b, step) if step > 0 else slice(b - 1, a - 1 if a else None, step)


def _factors(rng: np.random.Generator, size: int) -> tuple[int, ...]:
    shape, rest = [], size
    for f in (2, 3, 5, 7, 17):
        if rest % f == 0 and rng.random() < 0.5:
            shape.append(f)
            rest //= f
    shape.append(rest)
    rng.shuffle(shape)
    return tuple(int(e) for e in shape)
