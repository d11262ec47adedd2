"""Views as movement steps, and the strided layout that they amount to.

A View is a tuple of steps from its storage's shape: ("reshape", shape, None), ("permute", shape,
order), ("slice", shape, ((start, step), ...)), ("expand", shape, None); shape is the step's result.
Only steps that a strided layout can express become views, as in NumPy and PyTorch. Slices move in
front of permutes and of reshapes that only add or drop unit axes, and there melt into one slice:
so a write through `x[1].t()[2:5]` is one `put`.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from flambeau.compiler import node as N
from flambeau.compiler.node import Node, Shape

Step = tuple[str, Shape, Any]
Layout = tuple[tuple[int, ...], int]  # strides in elements, offset


class View:
    """How a tensor looks at its storage, and who asks for gradients there.

    steps: from the storage. token: identity of a leaf that requires gradients, 0 for a detached
    tensor, None otherwise. base, after: for a view of such a leaf, the leaf's view and the steps
    from there.
    """

    __slots__ = ("_layout", "after", "base", "ref", "stamp", "steps", "token")

    def __init__(self, steps: tuple[Step, ...], token: int | None = None,
                 base: View | None = None, after: tuple[Step, ...] = ()) -> None:
        self.steps = steps
        self.token = token
        self.base = base
        self.after = after
        self.stamp = -1  # the storage's version at which `ref` was made
        self.ref: weakref.ref[Node] | None = None
        self._layout: Layout | None = None

    def layout(self, shape: Shape) -> Layout:
        """Strides and offset over a C-contiguous storage of that shape."""
        if self._layout is None:
            self._layout = layout(shape, self.steps)
        return self._layout

    def fetched(self, whole: Shape, shape: Shape, leaf: Node) -> np.ndarray:
        """The view's values from memory of another device: what lies between its ends is copied."""
        kind, size = leaf.dtype.numpy, leaf.dtype.itemsize
        base: np.ndarray
        if 0 in shape:
            base = leaf.arg.array(kind, shape)
            return base
        strides, offset = self.layout(whole)
        ends = [s * (e - 1) for s, e in zip(strides, shape)]
        first = offset + sum(min(0, end) for end in ends)
        base = leaf.arg.array(kind, (1 + sum(map(abs, ends)),), start=first * size)
        return np.ndarray(shape, kind, base, (offset - first) * size,
                          tuple([s * size for s in strides]))

    def node(self, storage: Any) -> Node:
        """The view's value now, with its mark if gradients are asked for."""
        if self.stamp == storage.version and self.ref is not None:
            found = self.ref()
            if found is not None:
                return found
        if self.base is not None:
            made = apply(self.base.node(storage), self.after)
        else:
            made = apply(storage.node, self.steps)
            if self.token is not None:
                made = N.node("mark", made.dtype, made.shape, (made,), self.token)
        self.stamp = storage.version
        self.ref = weakref.ref(made)
        return made


def apply(x: Node, steps: tuple[Step, ...]) -> Node:
    """The steps as movement nodes."""
    for kind, shape, arg in steps:
        if kind == "slice":
            x = N.slice_(x, tuple(a for a, _ in arg), shape, tuple(s for _, s in arg))
        elif kind == "reshape":
            x = N.reshape(x, shape)
        elif kind == "permute":
            x = N.permute(x, arg)
        else:
            x = N.expand(x, shape)
    return x


def write(base: Node, steps: tuple[Step, ...], value: Node) -> Node:
    """The storage's value after `value` is written through the steps."""
    if not steps:
        return value
    kind, _, arg = steps[0]
    rest = steps[1:]
    if kind == "permute":
        inner = write(N.permute(base, arg), rest, value)
        return N.permute(inner, inverse(arg))
    if kind == "reshape":
        return N.reshape(write(N.reshape(base, steps[0][1]), rest, value), base.shape)
    if kind == "slice":
        region = write(apply(base, steps[:1]), rest, value)
        return N.node("put", base.dtype, base.shape, (base, region), arg)
    raise RuntimeError("a write through an expanded view")  # refused earlier, with a message


def inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes `order`."""
    result = [0] * len(order)
    for i, axis in enumerate(order):
        result[axis] = i
    return tuple(result)


def extend(steps: tuple[Step, ...], start: Shape, step: Step) -> tuple[Step, ...]:
    """steps (from shape `start`) followed by one more, in the normal form."""
    kind, shape, arg = step
    before = steps[-1][1] if steps else start
    if kind == "slice":
        return _push_slice(steps, start, shape, arg)
    if kind == "permute":
        if arg == tuple(range(len(arg))):
            return steps
        if steps and steps[-1][0] == "permute":
            order = tuple(steps[-1][2][i] for i in arg)
            inner = steps[:-1]
            return inner if order == tuple(range(len(order))) else (*inner, (kind, shape, order))
        return (*steps, step)
    if shape == before:
        return steps
    if kind == "reshape" and steps and steps[-1][0] == "reshape":
        outer = steps[-2][1] if len(steps) > 1 else start
        return steps[:-1] if shape == outer else (*steps[:-1], step)
    return (*steps, step)


def _push_slice(steps: tuple[Step, ...], start: Shape, shape: Shape,
                spec: tuple[tuple[int, int], ...]) -> tuple[Step, ...]:
    before = steps[-1][1] if steps else start
    if shape == before and all(s == (0, 1) for s in spec):
        return steps
    if not steps:
        return (("slice", shape, spec),)
    kind, _, arg = steps[-1]
    inner = steps[:-1]
    outer = inner[-1][1] if inner else start
    if kind == "slice":
        merged = tuple((b + s * t, t * u) for (b, t), (s, u) in zip(arg, spec))
        return (*inner, ("slice", shape, merged))
    if kind == "permute":
        back = inverse(arg)
        pushed = _push_slice(inner, start, tuple(shape[i] for i in back),
                             tuple(spec[i] for i in back))
        return (*pushed, ("permute", shape, arg))
    if kind == "reshape":
        matched = _match_units(outer, before)
        if matched is not None:
            lengths = tuple(1 if i is None else shape[i] for i in matched)
            inside = tuple((0, 1) if i is None else spec[i] for i in matched)
            if all(shape[i] == 1 for i in range(len(shape)) if i not in matched):
                pushed = _push_slice(inner, start, lengths, inside)
                return (*pushed, ("reshape", shape, None))
    return (*steps, ("slice", shape, spec))


def _match_units(outer: Shape, before: Shape) -> list[int | None] | None:
    """For each axis of outer its axis in before, None for a dropped unit axis; None if the
    reshape does more than add and drop unit axes."""
    kept = [i for i, e in enumerate(before) if e != 1]
    if [before[i] for i in kept] != [e for e in outer if e != 1]:
        return None
    axes = iter(kept)
    return [None if e == 1 else next(axes) for e in outer]


# -- layouts -------------------------------------------------------------------------------------


def contiguous_strides(shape: Shape) -> tuple[int, ...]:
    """Row-major strides, in elements."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * max(shape[i + 1], 1)
    return tuple(strides)


def layout(shape: Shape, steps: tuple[Step, ...]) -> Layout:
    """Strides and offset after the steps, over C-contiguous memory of that shape."""
    strides = contiguous_strides(shape)
    offset = 0
    for kind, result, arg in steps:
        if kind == "slice":
            if 0 not in result:
                offset += sum(a * s for (a, _), s in zip(arg, strides))
            strides = tuple(step * s for (_, step), s in zip(arg, strides))
        elif kind == "permute":
            strides = tuple(strides[i] for i in arg)
        elif kind == "expand":
            strides = tuple(0 if e != f else s for s, e, f in zip(strides, shape, result))
        else:
            found = reshape_strides(shape, strides, result)
            assert found is not None
            strides = found
        shape = result
    return strides, offset


def reshape_strides(shape: Shape, strides: tuple[int, ...],
                    target: Shape) -> tuple[int, ...] | None:
    """Strides of the reshaped view, or None when no strided view shows that reshape."""
    if 0 in shape:
        return contiguous_strides(target)
    axes = [(e, s) for e, s in zip(shape, strides) if e != 1]
    groups: list[list[int]] = []  # [extent, stride of the last axis] of mergeable runs
    for extent, stride in axes:
        if groups and groups[-1][1] == extent * stride:
            groups[-1] = [groups[-1][0] * extent, stride]
        else:
            groups.append([extent, stride])
    result = [1] * len(target)
    position = len(target) - 1
    for extent, stride in reversed(groups):
        left = extent
        while left > 1 and position >= 0:
            if left % target[position]:
                return None
            result[position] = stride
            stride *= target[position]
            left //= target[position]
            position -= 1
        if left > 1:
            return None
    return tuple(result)


def is_contiguous(shape: Shape, strides: tuple[int, ...]) -> bool:
    """Row-major without gaps, whatever the strides of unit axes."""
    expected = 1
    for extent, stride in zip(reversed(shape), reversed(strides)):
        if extent == 0:
            return True
        if extent != 1:
            if stride != expected:
                return False
            expected *= extent
    return True


def overlaps(shape: Shape, strides: tuple[int, ...]) -> bool:
    """Do two elements of the view share memory? (Our steps overlap only by expanding.)"""
    return any(e > 1 and s == 0 for e, s in zip(shape, strides))
