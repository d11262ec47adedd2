"""The `reference` device: what every op means, node by node, in NumPy.

The authority and the judge of random tests, so plain rather than fast. Laws: a value in flight has
the node's shape and the NumPy dtype of the node's compute type; 16-bit floats travel as float32
whose values fit, rounded to nearest even after each op, and are bit patterns (bfloat16: uint16)
only at buffers and results. Floating sums accumulate in float64. NumPy's warnings are silent.

A table, EVALUATE, holds one function(node, *arrays) for each op that its row's `numpy` does not
already define.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler.dtype import DType
from flambeau.compiler.fold import from_bfloat16, number, round_to, to_bfloat16
from flambeau.compiler.node import Node, decode, toposort
from flambeau.compiler.ops import OPS
from flambeau.runtime import externs, samples
from flambeau.runtime.samples import philox_words

Evaluator = Callable[..., Any]


def evaluate(nodes: Iterable[Node], given: Mapping[Node, np.ndarray] | None = None
             ) -> list[np.ndarray]:
    """The values of nodes; `given` replaces some nodes by arrays (bit patterns for bfloat16).

    Results have `node.dtype.numpy` and never alias a buffer.
    """
    nodes = list(nodes)
    values: dict[Node, np.ndarray] = {}
    for n, array in (given or {}).items():
        values[n] = _load(n.dtype, np.asarray(array).reshape(n.shape))
    with np.errstate(all="ignore"):
        for n in toposort(nodes, stop=lambda m: m in values or m.value is not None):
            if n not in values:
                values[n] = _step(n, values)
        return [_store(n.dtype, values[n]) for n in nodes]


def apply(n: Node, *src: np.ndarray) -> np.ndarray:
    """One op on arrays already in compute dtypes: for constant folding and tests."""
    with np.errstate(all="ignore"):
        return _run(n, src)


def _step(n: Node, values: dict[Node, np.ndarray]) -> np.ndarray:
    if n.value is not None:
        return _run(n.value, ())
    return _run(n, tuple(values[s] for s in n.src))


def _run(n: Node, src: tuple[np.ndarray, ...]) -> np.ndarray:
    row = OPS[n.op]
    function = EVALUATE.get(n.op)
    if function is not None:
        found = function(n, *src)
    elif row.family == "elementwise" and row.numpy is not None:
        found = row.numpy(*src)
    else:
        raise NotImplementedError(f"reference: no meaning for op {n.op!r}")
    if n.op == "loop":
        return found  # type: ignore[no-any-return]
    found = np.asarray(found)
    if found.shape != n.shape:
        raise AssertionError(f"reference: {n.op}: expected {n.shape}, got {found.shape}")
    return round_to(n.dtype, found)


# -- memory and flight ---------------------------------------------------------------------------


def _load(dtype: DType, array: np.ndarray) -> np.ndarray:
    """From memory to flight."""
    if dtype is dt.bfloat16 and array.dtype == np.uint16:
        return from_bfloat16(array)
    return round_to(dtype, array)


def _store(dtype: DType, array: np.ndarray) -> np.ndarray:
    """From flight to memory."""
    if dtype is dt.bfloat16:
        return to_bfloat16(array)
    return np.array(array, dtype=dtype.numpy, order="C")


def _accumulator(dtype: DType) -> np.dtype:
    if dtype.is_complex:
        return np.dtype(np.complex128)
    return np.dtype(np.float64) if dtype.is_float else dtype.numpy


# -- leaves ------------------------------------------------------------------------------------


def _buffer(n: Node) -> np.ndarray:
    held = n.arg
    if not isinstance(held, np.ndarray):
        exported = held.exported
        held = held.array(n.dtype.numpy, n.shape)
        n.arg.exported = exported  # the view does not outlive this call
        held = held.copy()
    return _load(n.dtype, held.reshape(n.shape))


def _number(n: Node) -> Any:
    return number(n.dtype, decode(n.dtype, n.arg) if n.op == "const" else n.arg.value)


def _iota(n: Node) -> Any:
    shape = [1] * len(n.shape)
    shape[n.arg] = n.shape[n.arg]
    line = np.arange(n.shape[n.arg]).reshape(shape)
    return np.broadcast_to(line, n.shape).astype(n.dtype.compute.numpy)


# -- elementwise, where the row has no function or NumPy refuses -----------------------------------


def _cast(n: Node, x: np.ndarray) -> Any:
    """As astype; a float beyond an integer type's range gives the nearest end, NaN gives 0."""
    if n.dtype.compute is not n.dtype:
        return x.real
    if x.dtype.kind == "c" and n.dtype.kind not in "bc":
        x = x.real
    if x.dtype.kind == "f" and n.dtype.kind in "iu":
        ends = np.iinfo(n.dtype.numpy)
        inside = (x > ends.min) & (x < ends.max)
        return np.where(inside, np.where(inside, x, 0).astype(n.dtype.numpy),
                        np.where(x >= ends.max, ends.max, np.where(x <= ends.min, ends.min, 0))
                        .astype(n.dtype.numpy))
    return x.astype(n.dtype.numpy)


def _bitcast(n: Node, x: np.ndarray) -> Any:
    stored = np.atleast_1d(_store(n.src[0].dtype, x))
    return _load(n.dtype, stored.view(n.dtype.numpy)).reshape(n.shape)


def _pow(n: Node, base: np.ndarray, exponent: np.ndarray) -> Any:
    """Integers to a negative power are 1/x rounded to zero, and 0 for base 0, as in division."""
    if n.dtype.is_inexact:
        return np.power(base, exponent)
    if n.dtype.kind != "i":
        return np.power(base, exponent).astype(n.dtype.numpy)
    positive = np.power(base, np.where(exponent < 0, 0, exponent).astype(base.dtype))
    inverse = np.where(base == 1, 1, np.where(base == -1, 1 - 2 * (exponent & 1), 0))
    return np.where(exponent < 0, inverse, positive).astype(base.dtype)


def _require(n: Node, x: np.ndarray, ok: np.ndarray) -> Any:
    if not ok.all():
        raise ValueError(n.arg)
    return x


def _philox(n: Node, index: np.ndarray, draw: np.ndarray, seed: np.ndarray) -> Any:
    per = np.uint64(8 // n.dtype.itemsize * 2)
    number = (index // per) ^ (np.uint64(n.arg or 0) << np.uint64(48))
    words = np.stack(philox_words(number, draw, seed))
    if per == 4:
        return _picked(words, index % per).astype(np.uint32)
    low, high = (_picked(words, index % per * np.uint64(2) + np.uint64(i)) for i in (0, 1))
    return low | (high << np.uint64(32))


def _picked(words: np.ndarray, which: np.ndarray) -> Any:
    return np.take_along_axis(words, which[None].astype(np.int64), 0)[0]


# -- movement ----------------------------------------------------------------------------------


def _region(spec: tuple[tuple[int, int], ...], lengths: tuple[int, ...]) -> Any:
    """The index of a slice: every start + i * step, on all axes at once."""
    return np.ix_(*(start + step * np.arange(length)
                    for (start, step), length in zip(spec, lengths)))


def _bounded(n: Node, shape: tuple[int, ...], spec: Any, lengths: tuple[int, ...]) -> None:
    for axis, ((start, step), length) in enumerate(zip(spec, lengths)):
        ends = (start, start + step * (length - 1)) if length else ()
        if any(not 0 <= e < shape[axis] for e in ends):
            raise IndexError(f"{n.op}: axis {axis} of {shape}: expected indices in "
                             f"[0, {shape[axis]}), got {ends}")


def _slice(n: Node, x: np.ndarray) -> Any:
    _bounded(n, x.shape, n.arg, n.shape)
    return x[_region(n.arg, n.shape)]


def _pad(n: Node, x: np.ndarray) -> Any:
    spec, fill = n.arg
    _bounded(n, n.shape, spec, x.shape)
    result = np.full(n.shape, decode(n.dtype, fill), x.dtype)
    result[_region(spec, x.shape)] = x
    return result


# -- indexing ----------------------------------------------------------------------------------


def _checked(n: Node, shape: tuple[int, ...], indices: tuple[np.ndarray, ...]) -> Any:
    for axis, index in enumerate(indices):
        bad = (index < 0) | (index >= shape[axis])
        if bad.any():
            raise IndexError(f"{n.op}: axis {axis}: expected indices in [0, {shape[axis]}), "
                             f"got {index[bad].flat[0]}")
    return tuple(indices)


def _gather(n: Node, x: np.ndarray, *indices: np.ndarray) -> Any:
    return x[_checked(n, x.shape, indices)]


_COMBINE = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _scatter(n: Node, base: np.ndarray, value: np.ndarray, *indices: np.ndarray) -> Any:
    where = _checked(n, base.shape, indices)
    wide = base.astype(_accumulator(n.dtype)) if n.arg == "add" else base.copy()
    if n.arg != "set":
        _COMBINE[n.arg].at(wide, where, value)
        return wide
    rest = base.shape[len(indices):]
    lines = value.reshape((-1, *rest))
    for i, place in enumerate(zip(*(index.ravel() for index in indices))):
        wide[place] = lines[i]  # NumPy does not promise which of equals wins; we do: the last
    return wide


def _put(n: Node, base: np.ndarray, value: np.ndarray) -> Any:
    _bounded(n, base.shape, n.arg, value.shape)
    result = base.copy()
    result[_region(n.arg, value.shape)] = value
    return result


# -- reductions, scans, contractions ---------------------------------------------------------------


def _reduce(n: Node, x: np.ndarray) -> Any:
    f = OPS[n.op].numpy
    assert f is not None
    if n.op in ("sum", "prod"):
        wide = _accumulator(n.dtype)
        start = {"initial": -0.0} if n.op == "sum" and n.dtype.is_float and x.size else {}
        return f(x, axis=n.arg, keepdims=True, dtype=wide, **start)
    if n.op in ("argmax", "argmin"):
        return f(x, axis=n.arg[0], keepdims=True)
    return f(x, axis=n.arg, keepdims=True)


def _scan(n: Node, x: np.ndarray) -> Any:
    f = OPS[n.op].numpy
    assert f is not None
    if n.op in ("cumsum", "cumprod"):
        return f(x, axis=n.arg, dtype=_accumulator(n.dtype))
    return f(x, axis=n.arg)


def _dot(n: Node, a: np.ndarray, b: np.ndarray) -> Any:
    wide = _accumulator(n.dtype)
    return np.matmul(a.astype(wide), b.astype(wide))


def _conv(n: Node, x: np.ndarray, w: np.ndarray) -> Any:
    """For each kernel offset, one product over channels of the inputs it meets."""
    geometry, wide = n.arg, _accumulator(n.dtype)
    groups, batch, out = geometry.groups, x.shape[0], w.shape[0]
    field = _frame(x.astype(wide), n, w.shape[2:])
    field = field.reshape(batch, groups, -1, *field.shape[2:])
    taps = w.astype(wide).reshape(groups, out // groups, *w.shape[1:])
    result = np.zeros((batch, groups, out // groups, *n.shape[2:]), wide)
    for offset in itertools.product(*map(range, w.shape[2:])):
        meet: tuple[Any, ...] = tuple(slice(k * d, k * d + (y - 1) * s + 1, s) for k, d, s, y in
                     zip(offset, geometry.dilation, geometry.stride, n.shape[2:]))
        if 0 in n.shape:
            break
        result += np.einsum("ngc...,goc->ngo...", field[(..., *meet)],
                            taps[(slice(None),) * 3 + offset])
    return result.reshape(n.shape)


def _sparse_conv(n: Node, other: np.ndarray, value: np.ndarray, place: np.ndarray) -> Any:
    """Window after window: the one element's share of the gradient."""
    g = n.arg
    result = np.zeros(n.shape, _accumulator(n.dtype))
    taps = n.shape[2:] if g.of == "weight" else other.shape[2:]
    extents = other.shape[2:] if g.of == "weight" else n.shape[2:]
    for at in np.ndindex(value.shape):
        inside = divmod(int(place[at]), g.window[1])
        first = [(p * e + d) * s - b for p, e, d, s, b in
                 zip(at[2:], g.window, inside, g.stride, g.before)]
        for k in itertools.product(*map(range, taps)):
            q = tuple(f + i * d for f, i, d in zip(first, k, g.dilation))
            if all(0 <= i < e for i, e in zip(q, extents)):
                if g.of == "weight":
                    result[(at[1], slice(None), *k)] += value[at] * other[(at[0], slice(None), *q)]
                else:
                    result[(at[0], slice(None), *q)] += value[at] * other[(at[1], slice(None), *k)]
    return result


def _frame(x: np.ndarray, n: Node, kernel: tuple[int, ...]) -> np.ndarray:
    """x dilated and padded or cropped, as far as the kernel reaches."""
    g = n.arg
    reach = [max(0, (y - 1) * s + (k - 1) * d + 1) for y, s, k, d in
             zip(n.shape[2:], g.stride, kernel, g.dilation)]
    field = np.zeros((*x.shape[:2], *reach), x.dtype)
    to, take = [], []
    for axis, length in enumerate(reach):
        places = np.arange(x.shape[axis + 2]) * g.input_dilation[axis] + g.before[axis]
        inside = np.flatnonzero((places >= 0) & (places < length))
        to.append(places[inside])
        take.append(inside)
    all_ = [np.arange(x.shape[0]), np.arange(x.shape[1])]
    field[np.ix_(*all_, *to)] = x[np.ix_(*all_, *take)]
    return field


# -- the rest ----------------------------------------------------------------------------------


def _extern(n: Node, *src: np.ndarray) -> Any:
    name, options = n.arg
    return externs.find(name)(options, *src)


def _unbound(n: Node) -> np.ndarray:
    raise ValueError(f"reference: a {n.op} leaf has no value of its own: pass it in `given`")


def _loop(n: Node, *src: np.ndarray) -> list[np.ndarray]:
    """A rolled loop, step by step: its carries, then its stacked outputs."""
    loop = n.arg
    carries, rows = loop.carries, src[loop.carries:loop.carries + loop.sequences]
    state, fixed = list(src[:carries]), src[carries + loop.sequences:]
    stacked: list[list[np.ndarray]] = [[] for _ in loop.stacked]
    steps = range(loop.count) if loop.count >= 0 else itertools.count()
    for t in (reversed(steps) if loop.reverse else steps):  # type: ignore[arg-type]
        values = dict(zip(loop.inputs, (*state, *(r[t] for r in rows), *fixed)))
        given = {x: _store(x.dtype, v) for x, v in values.items()}
        if loop.condition is not None and not evaluate([loop.condition], given)[0]:
            break
        found = [_load(r.dtype, v)
                 for r, v in zip(loop.results, evaluate(loop.results, given))]
        state = found[:carries]
        for kept, y in zip(stacked, found[carries:]):
            kept.append(y)
    if loop.reverse:
        stacked = [kept[::-1] for kept in stacked]
    return state + [np.stack(kept) if kept else np.zeros((0, *r.shape))
                    for kept, r in zip(stacked, loop.stacked)]


EVALUATE: dict[str, Evaluator] = {
    "buffer": _buffer, "param": _unbound, "scalar": _number, "const": _number, "iota": _iota,
    "cast": _cast, "bitcast": _bitcast, "pow": _pow, "philox": _philox,
    "require": _require, "sample": samples.sample,
    "reshape": lambda n, x: x.reshape(n.shape),
    "permute": lambda n, x: x.transpose(n.arg),
    "expand": lambda n, x: np.broadcast_to(x, n.shape),
    "slice": _slice, "pad": _pad,
    "concat": lambda n, *src: np.concatenate(src, axis=n.arg),
    "gather": _gather, "scatter": _scatter, "put": _put,
    "sum": _reduce, "prod": _reduce, "max": _reduce, "min": _reduce,
    "argmax": _reduce, "argmin": _reduce,
    "cumsum": _scan, "cumprod": _scan, "cummax": _scan, "cummin": _scan,
    "dot": _dot, "conv": _conv, "sparse_conv": _sparse_conv,
    "mark": lambda n, x: x, "extern": _extern, "loop": _loop,
    "output": lambda n, results: results[n.arg],
}
