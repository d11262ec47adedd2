"""Random programs of views, writes in place, set_ and resize_, in NumPy and Flambeau at once.

`play(seed)` gives None, or what went wrong. Numbers are whole and small, so that both worlds must
agree exactly. The twin of a storage is a flat array; the twin of a tensor is a strided view of it,
so that what is shared in Torch7's sense is shared in both worlds or the values differ.

As a script it plays many: `python tests/programs/sharing_programs.py START COUNT MODE`, where MODE
is lazy, eager or reference.
"""

from __future__ import annotations

import math
import sys
from contextlib import nullcontext
from typing import Any, NamedTuple

import flambeau as fb
import numpy as np
from flambeau.compiler.config import override

DTYPES = ("float64", "float64", "float32", "int32", "int64")
SHAPES = ((6,), (2, 3), (4, 3), (2, 2, 3), (12,), (1, 5), (3, 1, 2), ())


class Pair(NamedTuple):
    """A tensor and its twin; base: the flat array that the twin looks into."""

    t: fb.Tensor
    a: np.ndarray
    base: np.ndarray
    writable: bool = True


def offset(p: Pair) -> int:
    start = p.a.__array_interface__["data"][0] - p.base.__array_interface__["data"][0]
    return int(start // p.base.itemsize)


class Player:
    """Draws instructions and plays them in both worlds."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.pairs: list[Pair] = []
        self.held: list[tuple[fb.Tensor, np.ndarray]] = []  # expressions recorded before writes
        self.log: list[str] = []

    def pick(self, items: Any) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def number(self) -> int:
        return int(self.rng.integers(-3, 4))

    def fresh(self) -> None:
        shape = self.pick(SHAPES)
        base = self.rng.integers(-4, 5, max(1, math.prod(shape))).astype(self.pick(DTYPES))
        t = fb.tensor(base.reshape(shape).copy(), dtype=base.dtype.name)
        self.pairs.append(Pair(t, base.reshape(shape), base))

    def step(self) -> None:
        if len(self.pairs) < 2 or self.rng.random() < 0.05:
            self.fresh()
        name = self.pick(("view",) * 5 + ("write",) * 6 + ("expression", "set", "resize", "read"))
        i = int(self.rng.integers(len(self.pairs)))
        self.log.append(f"{name} {i}")
        getattr(self, f"_{name}")(i, self.pairs[i])

    # views
    def _view(self, i: int, p: Pair) -> None:
        kind = self.pick(("slice", "slice", "transpose", "select", "narrow", "reshape", "unit",
                          "expand", "strided", "unfold", "flip"))
        made = getattr(self, f"_by_{kind}")(p)
        if made is not None:
            t, a = made
            if not np.shares_memory(a, p.base) and a.size:
                return
            self.pairs.append(Pair(t, a, p.base, p.writable and kind != "expand"))

    def _by_slice(self, p: Pair) -> Any:
        index = tuple(slice(int(self.rng.integers(0, e + 1)), None, int(self.rng.integers(1, 3)))
                      for e in p.a.shape)
        return p.t[index], p.a[index]

    def _by_flip(self, p: Pair) -> Any:
        index = tuple(slice(None, None, self.pick((1, -1))) for _ in p.a.shape)
        return p.t[index], p.a[index]

    def _by_transpose(self, p: Pair) -> Any:
        order = tuple(int(k) for k in self.rng.permutation(p.a.ndim))
        return p.t.permute(order), p.a.transpose(order)

    def _by_select(self, p: Pair) -> Any:
        if not p.a.ndim:
            return None
        axis = int(self.rng.integers(p.a.ndim))
        if not p.a.shape[axis]:
            return None
        k = int(self.rng.integers(p.a.shape[axis]))
        index = (slice(None),) * axis + (k, ...)
        return p.t.select(axis, k), p.a[index]

    def _by_narrow(self, p: Pair) -> Any:
        if not p.a.ndim:
            return None
        axis = int(self.rng.integers(p.a.ndim))
        start = int(self.rng.integers(p.a.shape[axis] + 1))
        count = int(self.rng.integers(p.a.shape[axis] - start + 1))
        index = (slice(None),) * axis + (slice(start, start + count),)
        return p.t.narrow(axis, start, count), p.a[index]

    def _by_reshape(self, p: Pair) -> Any:
        shapes = [s for s in (*SHAPES, (-1,)) if -1 in s or math.prod(s) == p.a.size]
        if not p.a.size:
            return None
        shape = self.pick(shapes)
        twin = p.a.reshape(shape)
        if not np.shares_memory(twin, p.a):
            made = p.t.reshape(shape)  # a copy in both worlds
            self.pairs.append(Pair(made, twin, twin.reshape(-1)))
            return None
        return p.t.reshape(shape), twin

    def _by_unit(self, p: Pair) -> Any:
        axis = int(self.rng.integers(p.a.ndim + 1))
        if self.rng.random() < 0.3:
            return p.t.squeeze(), p.a.squeeze()
        return p.t.unsqueeze(axis), np.expand_dims(p.a, axis)

    def _by_expand(self, p: Pair) -> Any:
        if p.a.ndim > 3 or p.a.size > 60:
            return None
        shape = (2, *p.a.shape)
        return p.t.expand(shape), np.broadcast_to(p.a, shape)

    def _by_strided(self, p: Pair) -> Any:
        strides = tuple(s // p.a.itemsize for s in p.a.strides)
        if any(s <= 0 for s, e in zip(strides, p.a.shape) if e > 1) or 0 in p.a.shape:
            return None
        strides = tuple(max(s, 0) for s in strides)
        return p.t.as_strided(p.a.shape, strides, offset(p)), p.a

    def _by_unfold(self, p: Pair) -> Any:
        if not p.a.ndim or p.a.shape[0] < 2:
            return None
        size = int(self.rng.integers(1, 3))
        count = p.a.shape[0] // size
        if not p.a[:count * size].size:
            return None
        parts = p.a[:count * size]
        inner = (parts.strides[0] * size, *parts.strides[1:], parts.strides[0])
        twin = np.lib.stride_tricks.as_strided(parts, (count, *p.a.shape[1:], size), inner)
        made = p.t.unfold(0, size, size)
        return (made, twin) if made.storage() is p.t.storage() else None

    # writes
    def _write(self, i: int, p: Pair) -> None:
        if not p.writable:
            return
        kind = self.pick(("fill", "add", "scale", "tensor", "copy", "region", "mask", "index",
                          "scatter", "put"))
        self.log[-1] += f" {kind}"
        getattr(self, f"_do_{kind}")(p)

    def _other(self, p: Pair) -> Pair | None:
        fit = [q for q in self.pairs if _fits(q.a.shape, p.a.shape)]
        return self.pick(fit) if fit else None

    def _do_fill(self, p: Pair) -> None:
        k = self.number()
        p.t.fill_(k)
        p.a[...] = k

    def _do_add(self, p: Pair) -> None:
        k = self.number()
        p.t.add_(k)
        np.add(p.a, k, out=p.a, casting="unsafe")

    def _do_scale(self, p: Pair) -> None:
        p.t.neg_()
        p.a[...] = 0 - p.a  # NumPy 2.4's negative is wrong in place at 16 bytes between elements

    def _do_tensor(self, p: Pair) -> None:
        q = self._other(p)
        if q is not None and q.a.dtype == p.a.dtype and np.abs(p.a).max(initial=0) < 1e5:
            value = np.array(q.a)
            p.t.sub_(q.t)
            np.subtract(p.a, value, out=p.a)

    def _do_copy(self, p: Pair) -> None:
        q = self._other(p)
        if q is not None:
            value = np.array(q.a)
            p.t.copy_(q.t)
            p.a[...] = value.astype(p.a.dtype)

    def _do_region(self, p: Pair) -> None:
        index = tuple(slice(int(self.rng.integers(0, e + 1)), None, self.pick((1, 2)))
                      for e in p.a.shape)
        k = self.number()
        p.t[index] = k
        p.a[index] = k

    def _do_mask(self, p: Pair) -> None:
        if p.a.ndim:
            p.t[p.t > 0] = -1
            p.a[p.a > 0] = -1

    def _do_index(self, p: Pair) -> None:
        if p.a.ndim and p.a.shape[0]:
            rows = self.rng.integers(0, p.a.shape[0], 2)
            k = self.number()
            if self.rng.random() < 0.5:
                p.t.index_fill_(0, rows, k)
                p.a[rows] = k
            else:
                p.t.index_add_(0, rows, np.full((2, *p.a.shape[1:]), k))
                np.add.at(p.a, rows, np.array(k, p.a.dtype))

    def _do_scatter(self, p: Pair) -> None:
        if p.a.ndim and p.a.shape[-1]:
            index = self.rng.integers(0, p.a.shape[-1], (*p.a.shape[:-1], 1))
            k = self.number()
            p.t.scatter_(-1, index, k)
            np.put_along_axis(p.a, index, k, -1)

    def _do_put(self, p: Pair) -> None:
        if p.a.size:
            at = int(self.rng.integers(p.a.size))
            p.t.put_([at], 2)
            p.a[np.unravel_index(at, p.a.shape)] = 2

    # the rest
    def _expression(self, i: int, p: Pair) -> None:
        q = self._other(p)
        if q is not None and q.a.dtype == p.a.dtype:
            self.held.append((p.t - q.t, np.array(p.a) - q.a))
        else:
            self.held.append((p.t * 2, np.array(p.a) * 2))

    def _set(self, i: int, p: Pair) -> None:
        q = self.pick(self.pairs)
        mine = fb.Tensor().set_(q.t)
        self.pairs.append(Pair(mine, q.a, q.base, q.writable))
        start = int(self.rng.integers(q.base.size))
        rest = fb.Tensor().set_(q.t.storage(), start)
        self.pairs.append(Pair(rest, q.base[start:], q.base))

    def _resize(self, i: int, p: Pair) -> None:
        if any(s < 0 for s, e in zip(p.a.strides, p.a.shape) if e > 1) or not p.a.size:
            return
        start, shape = offset(p), self.pick(SHAPES)
        count = math.prod(shape)
        if p.t.shape == shape and p.t.is_contiguous():
            made = Pair(fb.Tensor().set_(p.t).resize_(shape), p.a, p.base, p.writable)
        elif start + count <= p.base.size:
            made = Pair(fb.Tensor().set_(p.t).resize_(shape),
                        p.base[start:start + count].reshape(shape), p.base)
        else:
            base = np.zeros(count, p.base.dtype)
            base[:p.base.size - start] = p.base[start:]
            made = Pair(fb.Tensor().set_(p.t).resize_(shape), base.reshape(shape), base)
        self.pairs.append(made)

    def _read(self, i: int, p: Pair) -> None:
        self.held.append((p.t.clone() if self.rng.random() < 0.5 else fb.tensor(p.t.numpy()),
                          np.array(p.a)))

    def wrong(self) -> str | None:
        """What differs: all tensors, then all expressions that were recorded on the way."""
        for i, p in enumerate(self.pairs):
            got = p.t.numpy()
            if got.dtype != p.a.dtype or not np.array_equal(got, p.a):
                return f"tensor {i}: got {got!r}, expected {p.a!r}; {self.log}"
        for i, (t, a) in enumerate(self.held):
            if not np.array_equal(t.numpy(), a):
                return f"expression {i}: got {t.numpy()!r}, expected {a!r}; {self.log}"
        return None


def _fits(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False


def play(seed: int, steps: int = 12, mode: str = "lazy") -> str | None:
    """One program in a mode: "lazy", "eager" (a program for each operation), or "reference"."""
    player = Player(seed)
    around = fb.eager() if mode == "eager" else (
        override(device="reference") if mode == "reference" else nullcontext())
    with around:
        for _ in range(steps):
            player.step()
        return player.wrong()


def main() -> None:
    start, count, mode = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    failures = 0
    before = fb.memory()["current"]
    for seed in range(start, start + count):
        found = play(seed, mode=mode)
        if found is not None:
            failures += 1
            print(f"seed {seed}: {found}", flush=True)
    grown = fb.memory()["current"] - before
    print(f"{mode}: {count} programs from {start}, {failures} wrong, {grown} bytes grown")


if __name__ == "__main__":
    main()
