"""Operators that move, index, join and make tensors, and those over sequences and graphs."""

from __future__ import annotations

import math
from typing import Any

import flambeau as fb
from importer import DTYPES, OPERATORS, Subgraph, row


def ints(t: Any) -> list[int]:
    """A vector of integers, or a number as one, or none."""
    return [] if t is None else t.reshape(-1).tolist()


# -- making --------------------------------------------------------------------------------------


@row("Constant")
def _constant(value: Any = None, value_float: float = 0.0, value_int: int | None = None,
              value_ints: Any = None, value_floats: Any = None) -> Any:
    if value is not None:
        return value
    if value_ints is not None or value_int is not None:
        return fb.tensor(value_int if value_ints is None else value_ints, "int64")
    return fb.tensor(value_float if value_floats is None else value_floats, "float32")


@row("ConstantOfShape")
def _constant_of_shape(shape: Any, value: Any = None) -> Any:
    if value is None:
        return fb.zeros(ints(shape), dtype="float32")
    return fb.full(ints(shape), value.item(), dtype=value.dtype)


@row("EyeLike")
def _eye_like(x: Any, dtype: int | None = None, k: int = 0) -> Any:
    return fb.eye(*x.shape, k, dtype=x.dtype if dtype is None else DTYPES[dtype])


@row("Range")
def _range(start: Any, limit: Any, delta: Any) -> Any:
    return fb.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


@row("OneHot")
def _one_hot(index: Any, depth: Any, values: Any, axis: int = -1) -> Any:
    count = int(depth.item())
    index = index.to("int64")
    inside = (index >= -count) & (index < count)
    hot = fb.one_hot(fb.where(inside, index % count, 0), count, "bool") & inside.unsqueeze(-1)
    return fb.where(hot, values[1], values[0]).moveaxis(-1, axis)


# -- shapes --------------------------------------------------------------------------------------


@row("Shape")
def _shape(x: Any, start: int = 0, end: int | None = None) -> Any:
    return fb.tensor(list(x.shape)[start:end], "int64")


@row("Size")
def _size(x: Any) -> Any:
    return fb.tensor(math.prod(x.shape), "int64")


@row("Reshape")
def _reshape(x: Any, shape: Any, allowzero: int = 0) -> Any:
    wanted = ints(shape)
    if not allowzero:
        wanted = [x.shape[i] if e == 0 else e for i, e in enumerate(wanted)]
    return x.reshape(wanted)


@row("Flatten")
def _flatten(x: Any, axis: int = 1) -> Any:
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


@row("Squeeze")
def _squeeze(x: Any, given: Any = None, axes: Any = None) -> Any:
    chosen = ints(given) or axes
    return x.squeeze(tuple(chosen)) if chosen else x.squeeze()


@row("Unsqueeze")
def _unsqueeze(x: Any, given: Any = None, axes: Any = None) -> Any:
    return fb.expand_dims(x, tuple(ints(given) or axes))


@row("Expand")
def _expand(x: Any, shape: Any) -> Any:
    return x.broadcast_to(fb.broadcast_shapes(x.shape, tuple(ints(shape))))


@row("Transpose")
def _transpose(x: Any, perm: Any = None) -> Any:
    return x.permute(tuple(range(x.ndim))[::-1] if perm is None else tuple(perm))


@row("Identity")
def _identity(x: Any) -> Any:
    return x


# -- joining and cutting -------------------------------------------------------------------------


@row("Concat")
def _concat(*xs: Any, axis: int) -> Any:
    return fb.concatenate(xs, axis)


@row("Split")
def _split(x: Any, given: Any = None, split: Any = None, axis: int = 0,
           num_outputs: int | None = None, results: int = 1) -> Any:
    sizes = ints(given) or split or -(-x.shape[axis] // (num_outputs or results))
    return tuple(fb.split(x, sizes, axis))


@row("Slice")
def _slice(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    first, last = ints(starts), ints(ends)
    over = ints(axes) or list(range(len(first)))
    step = ints(steps) or [1] * len(first)
    index = [slice(None)] * x.ndim
    for axis, a, b, s in zip(over, first, last, step):
        stop = None if s < 0 and b < -x.shape[axis] else b
        index[axis] = slice(a, stop, s)
    return x[tuple(index)]


@row("Pad")
def _pad(x: Any, widths: Any, value: Any = None, axes: Any = None, mode: str = "constant") -> Any:
    ends, over = ints(widths), ints(axes) or list(range(x.ndim))
    pairs = [(0, 0)] * x.ndim
    for axis, before, after in zip(over, ends, ends[len(over):]):
        pairs[axis] = (before, after)
    return fb.pad(x, pairs, mode, 0 if value is None else value.item())


@row("CenterCropPad")
def _center_crop_pad(x: Any, shape: Any, axes: Any = None) -> Any:
    pairs = [(0, 0)] * x.ndim
    for axis, wanted in zip(range(x.ndim) if axes is None else axes, ints(shape)):
        room = wanted - x.shape[axis]
        before = -(-room // 2) if room < 0 else room // 2
        pairs[axis] = (before, room - before)
    return fb.pad(x, pairs)


@row("Tile")
def _tile(x: Any, repeats: Any) -> Any:
    return fb.tile(x, ints(repeats))


@row("Trilu")
def _trilu(x: Any, k: Any = None, upper: int = 1) -> Any:
    return (fb.triu if upper else fb.tril)(x, 0 if k is None else int(k.item()))


# -- indexing ------------------------------------------------------------------------------------


@row("Gather")
def _gather(x: Any, index: Any, axis: int = 0) -> Any:
    return fb.take(x, index, axis)


@row("GatherElements")
def _gather_elements(x: Any, index: Any, axis: int = 0) -> Any:
    return fb.gather(x, axis, index)


_COMBINE = {"none": None, "add": "add", "mul": "prod", "max": "amax", "min": "amin"}


@row("Scatter", "ScatterElements")
def _scatter(x: Any, index: Any, updates: Any, axis: int = 0, reduction: str = "none") -> Any:
    return fb.scatter(x, axis, index, updates, _COMBINE[reduction])


@row("GatherND")
def _gather_nd(x: Any, index: Any, batch_dims: int = 0) -> Any:
    return fb.gather_nd(x, index, batch_dims)


@row("ScatterND")
def _scatter_nd(x: Any, index: Any, updates: Any, reduction: str = "none") -> Any:
    return fb.scatter_nd(x, index, updates, _COMBINE[reduction])


@row("Compress")
def _compress(x: Any, condition: Any, axis: int | None = None) -> Any:
    return fb.compress(condition, x, axis)


@row("ReverseSequence")
def _reverse_sequence(x: Any, lengths: Any, batch_axis: int = 1, time_axis: int = 0) -> Any:
    shape = [1] * x.ndim
    shape[batch_axis] = -1
    length = lengths.reshape(shape)
    step = fb.iota_like(x, time_axis)
    return fb.gather(x, time_axis, fb.where(step < length, length - 1 - step, step))


@row("ArrayFeatureExtractor")
def _array_feature_extractor(x: Any, index: Any) -> Any:
    return fb.take(x, index.reshape(-1), -1)


@row("Binarizer")
def _binarizer(x: Any, threshold: float = 0.0) -> Any:
    return (x > threshold).to(x.dtype)


# -- sequences and graphs ------------------------------------------------------------------------


@row("SequenceEmpty")
def _sequence_empty(dtype: int = 1) -> Any:
    return []


@row("SequenceConstruct")
def _sequence_construct(*xs: Any) -> Any:
    return list(xs)


@row("SequenceInsert")
def _sequence_insert(sequence: Any, x: Any, position: Any = None) -> Any:
    at = len(sequence) if position is None else int(position.item())
    return [*sequence[:at], x, *sequence[at:]]


@row("SequenceLength")
def _sequence_length(sequence: Any) -> Any:
    return fb.tensor(len(sequence), "int64")


@row("SequenceAt")
def _sequence_at(sequence: Any, position: Any) -> Any:
    return sequence[int(position.item())]


@row("SplitToSequence")
def _split_to_sequence(x: Any, split: Any = None, axis: int = 0, keepdims: int = 1) -> Any:
    if split is None:
        return list(fb.split(x, 1, axis) if keepdims else fb.unbind(x, axis))
    return list(fb.split(x, split.tolist(), axis))


@row("ConcatFromSequence")
def _concat_from_sequence(sequence: Any, axis: int, new_axis: int = 0) -> Any:
    return (fb.stack if new_axis else fb.concatenate)(sequence, axis)


@row("SequenceMap")
def _sequence_map(sequence: Any, *others: Any, body: Subgraph) -> Any:
    made = [body(x, *(o[i] if isinstance(o, list) else o for o in others))
            for i, x in enumerate(sequence)]
    return tuple(map(list, zip(*made)))


@row("OptionalHasElement")
def _optional_has_element(x: Any = None) -> Any:
    return fb.tensor(x is not None)


@row("OptionalGetElement")
def _optional_get_element(x: Any) -> Any:
    return x


@row("If")
def _if(condition: Any, then_branch: Subgraph, else_branch: Subgraph) -> Any:
    return tuple((then_branch if condition.item() else else_branch)())


@row("Loop")
def _loop(count: Any, condition: Any, *carry: Any, body: Subgraph) -> Any:
    """In Python, since sequences may be carried."""
    limit = math.inf if count is None else count.item()
    going, step, rows = condition is None or condition.item(), 0, []
    held = list(carry)
    while going and step < limit:
        going, *made = body(fb.tensor(step, "int64"), fb.tensor(bool(going)), *held)
        held = made[:len(carry)]
        rows.append(made[len(carry):])
        step += 1
    return (*held, *(fb.stack(r) for r in zip(*rows)))


@row("Scan")
def _scan(*inputs: Any, body: Subgraph, num_scan_inputs: int, opset: int = 9) -> Any:
    if opset < 9:  # a batch axis in front, and a vector of lengths
        made = [_scan(*(x[i] for x in inputs[1:]), body=body, num_scan_inputs=num_scan_inputs)
                for i in range(inputs[1].shape[0])]
        return tuple(fb.stack(parts) for parts in zip(*made))
    carries = len(inputs) - num_scan_inputs

    def step(carry: Any, rows: Any) -> Any:
        made = body(*carry, *rows)
        return tuple(made[:carries]), tuple(made[carries:])

    last, stacked = fb.scan(step, tuple(inputs[:carries]), tuple(inputs[carries:]))
    return (*last, *stacked)


OPERATORS["Optional"] = _optional_get_element
