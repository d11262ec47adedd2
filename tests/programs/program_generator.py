"""Random graphs over every family of ops, for comparing the compiler with the reference device.

One seed in ten has long axes, so that kernels run in parallel chunks, products pack their operands
and reductions are split; one in twenty has empty axes.
"""

from __future__ import annotations

import math

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import loop as rolled
from flambeau.compiler import node as nd
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node
from flambeau.compiler.ops import Conv
from flambeau.runtime import memory
from flambeau.runtime.reference import to_bfloat16

FLOAT_UNARY = ("neg", "abs", "tanh", "sigmoid", "exp", "floor", "round", "sign", "sin", "softplus",
               "log1p", "sqrt", "erf", "ceil", "trunc", "atan", "cos", "expm1", "cbrt", "asinh")
FLOAT_BINARY = ("add", "sub", "mul", "maximum", "minimum", "div", "hypot", "copysign", "logaddexp",
                "atan2")
INT_BINARY = ("add", "sub", "mul", "maximum", "minimum", "and", "or", "xor", "floordiv", "mod",
              "shl", "shr", "fmod")
SMALL = (1, 2, 3, 5, 8, 17, 33, 40)
LONG = (1, 3, 17, 64, 129, 400, 777)
DTYPES = (dt.float32,) * 5 + (dt.float64, dt.int64, dt.int32, dt.bool_, dt.uint8, dt.float16,
                              dt.bfloat16, dt.int8, dt.int16, dt.uint16, dt.uint32, dt.uint64)
KINDS = ("unary", "binary", "binary", "binary", "compare", "where", "cast", "reshape", "permute",
         "expand", "slice", "pad", "concat", "reduce", "reduce", "reduce", "arg", "scan", "gather",
         "put", "scatter", "dot", "conv", "softmax", "iota")


def leaf(array: np.ndarray, dtype: DType | None = None) -> Node:
    """A buffer leaf holding a copy of the array."""
    if dtype is dt.bfloat16:
        array = to_bfloat16(array.astype(np.float32))
    elif dtype is not None:
        array = array.astype(dtype.numpy)
    array = np.asarray(array, order="C")
    made = memory.allocate(array.nbytes)
    made.array(array.dtype, array.shape, writable=True)[...] = array
    made.exported = False
    return nd.buffer(dtype or dt.from_numpy(array.dtype), array.shape, made)


class Programs:
    """Draws graphs from a NumPy generator."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.pool: list[Node] = []
        self.extents = LONG if seed % 10 == 3 else SMALL
        if seed % 20 == 7:
            self.extents = (0, *SMALL)
        self.depth = 0

    def graph(self, steps: int) -> list[Node]:
        """The roots of a random graph with about `steps` operations."""
        for _ in range(self.pick(range(1, 4))):
            self.pool.append(self.fresh(self.shape()))
        for _ in range(steps):
            self.pool.append(self.step())
        roots = self.pool[-self.pick(range(1, 4)):]
        return list(dict.fromkeys(r for r in roots if r.op != "buffer")) or [
            nd.elementwise("add", self.pool[0], self.pool[0])]

    def pick(self, items: object) -> object:
        items = list(items)  # type: ignore[call-overload]
        return items[self.rng.integers(len(items))]

    def shape(self) -> tuple[int, ...]:
        rank = int(self.pick((0, 1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 5)))
        shape: list[int] = []
        for _ in range(rank):
            extents = SMALL[:4] if rank > 3 or np.prod(shape) > 1000 else self.extents
            shape.append(int(self.pick(extents)))
        return tuple(shape)

    def fresh(self, shape: tuple[int, ...], dtype: DType | None = None) -> Node:
        dtype = dtype or self.pick(DTYPES)
        if dtype.is_float:
            values = self.rng.standard_normal(shape) * 2
            if self.rng.random() < 0.1 and values.size:
                flat = values.reshape(-1)
                flat[self.rng.integers(flat.size)] = self.pick((np.nan, np.inf, -np.inf, -0.0))
        elif dtype is dt.bool_:
            values = self.rng.integers(0, 2, shape)
        else:
            values = self.rng.integers(0 if dtype.kind == "u" else -5, 6, shape)
        return leaf(np.asarray(values), dtype)

    def any(self) -> Node:
        return self.pool[int(self.rng.integers(len(self.pool)))]

    def like(self, x: Node) -> Node:
        """Some value of x's dtype and shape: broadcast, cast, fresh or constant."""
        choice = self.rng.random()
        if choice < 0.5:
            y = self.any()
            try:
                np.broadcast_shapes(y.shape, x.shape)
            except ValueError:
                return self.fresh(x.shape, x.dtype)
            if np.broadcast_shapes(y.shape, x.shape) == x.shape:
                return nd.cast(nd.expand_to(y, x.shape), x.dtype)
        if choice < 0.7:
            return nd.const(x.dtype, self.pick((0, 1, 2, 3)), x.shape)
        if choice < 0.8:
            return nd.expand_to(nd.scalar(x.dtype, self.pick((1, 3))), x.shape)
        return self.fresh(x.shape, x.dtype)

    def step(self) -> Node:
        kind = self.pick((*KINDS, "loop") if self.depth == 0 else KINDS)
        x = self.any()
        if x.size == 0 and kind in ("slice", "pad", "put", "gather", "scatter", "conv", "reshape",
                                    "reduce", "arg", "softmax"):
            kind = "sum"
        return getattr(self, f"_{kind}")(x)

    def _unary(self, x: Node) -> Node:
        if x.dtype.is_float:
            return nd.elementwise(self.pick(FLOAT_UNARY), x)
        return nd.elementwise("not", x) if x.dtype is dt.bool_ else nd.elementwise("neg", x)

    def _binary(self, x: Node) -> Node:
        y = self.like(x)
        if x.dtype.is_float:
            return nd.elementwise(self.pick(FLOAT_BINARY), x, y)
        if x.dtype is dt.bool_:
            return nd.elementwise(self.pick(("and", "or", "xor")), x, y)
        return nd.elementwise(self.pick(INT_BINARY), x, y)

    def _compare(self, x: Node) -> Node:
        return nd.elementwise(self.pick(("eq", "ne", "lt", "le")), x, self.like(x))

    def _where(self, x: Node) -> Node:
        return nd.elementwise("where", self._compare(x), x, self.like(x))

    def _cast(self, x: Node) -> Node:
        if x.dtype.is_float:
            return nd.cast(x, self.pick((dt.float32, dt.float64, dt.float16, dt.bfloat16)))
        return nd.cast(x, self.pick((dt.float32, dt.int64, dt.int32, dt.uint8, dt.int8, dt.uint64,
                                     dt.int16, dt.uint16, dt.uint32)))

    def _reshape(self, x: Node) -> Node:
        factors, rest = [], x.size
        for f in (2, 3, 5, 8, 17):
            if rest % f == 0 and self.rng.random() < 0.5:
                factors.append(f)
                rest //= f
        shape = [*factors, rest]
        self.rng.shuffle(shape)
        return nd.reshape(x, tuple(int(e) for e in shape))

    def _permute(self, x: Node) -> Node:
        return nd.permute(x, tuple(int(i) for i in self.rng.permutation(len(x.shape))))

    def _expand(self, x: Node) -> Node:
        shape = tuple(int(self.pick((2, 5))) if e == 1 and self.rng.random() < 0.7 else e
                      for e in x.shape)
        if self.rng.random() < 0.3 and x.size < 500 and len(shape) < 5:
            shape = (3, *shape)
        return nd.expand_to(x, shape)

    def _spec(self, x: Node) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        starts, lengths, steps = [], [], []
        for e in x.shape:
            step = int(self.pick((1, 1, 2, -1, -2)))
            length = int(self.rng.integers(1, (e + abs(step) - 1) // abs(step) + 1))
            span = (length - 1) * abs(step)
            low = int(self.rng.integers(0, e - span))
            starts.append(low if step > 0 else low + span)
            lengths.append(length)
            steps.append(step)
        return tuple(starts), tuple(lengths), tuple(steps)

    def _slice(self, x: Node) -> Node:
        return nd.slice_(x, *self._spec(x))

    def _pad(self, x: Node) -> Node:
        before = tuple(int(self.rng.integers(0, 3)) for _ in x.shape)
        between = tuple(int(self.pick((1, 1, 1, 2))) for _ in x.shape)
        shape = tuple((e - 1) * s + 1 + b + int(self.rng.integers(0, 3))
                      for e, s, b in zip(x.shape, between, before))
        return nd.pad(x, before, shape, self.pick((0, 1)), between)

    def _concat(self, x: Node) -> Node:
        if not x.shape:
            return x
        axis = int(self.rng.integers(len(x.shape)))
        return nd.concat([x, self.like(x), self._binary(x)], axis)

    def _axes(self, x: Node) -> tuple[int, ...]:
        return tuple(i for i in range(len(x.shape)) if self.rng.random() < 0.6) or (
            (0,) if x.shape else ())

    def _reduce(self, x: Node) -> Node:
        if x.dtype is dt.bool_:
            return nd.reduce_(self.pick(("max", "min")), x, self._axes(x))
        axes = self._axes(x)
        few = not x.dtype.is_float or math.prod(x.shape[i] for i in axes) <= 40  # no overflow
        return nd.reduce_(self.pick(("sum", "sum", "max", "min", *(["prod"] * few))), x, axes)

    def _sum(self, x: Node) -> Node:
        return x if x.dtype is dt.bool_ else nd.reduce_("sum", x, self._axes(x))

    def _arg(self, x: Node) -> Node:
        if not x.shape:
            return x
        return nd.reduce_(self.pick(("argmax", "argmin")), x,
                          (int(self.rng.integers(len(x.shape))),))

    def _scan(self, x: Node) -> Node:
        if not x.shape or x.dtype is dt.bool_:
            return x
        op = self.pick(("cumsum", "cummax", "cummin"))
        return nd.node(op, x.dtype, x.shape, (x,), int(self.rng.integers(len(x.shape))))

    def _gather(self, x: Node) -> Node:
        if not x.shape:
            return x
        count = int(self.rng.integers(1, len(x.shape) + 1))
        where = self.pick(((3,), (2, 4), ()))
        indices = tuple(leaf(np.asarray(self.rng.integers(0, e, where))) for e in x.shape[:count])
        return nd.node("gather", x.dtype, (*where, *x.shape[count:]), (x, *indices))

    def _put(self, x: Node) -> Node:
        starts, lengths, steps = self._spec(x)
        value = nd.cast(self._binary(nd.slice_(x, starts, lengths, steps)), x.dtype)
        return nd.node("put", x.dtype, x.shape, (x, value), tuple(zip(starts, steps)))

    def _scatter(self, x: Node) -> Node:
        if not x.shape:
            return x
        where = (4,)
        index = leaf(np.asarray(self.rng.integers(0, x.shape[0], where)))
        value = self.fresh((*where, *x.shape[1:]), x.dtype)
        mode = "set" if x.dtype is dt.bool_ else self.pick(("set", "add", "max", "min"))
        return nd.node("scatter", x.dtype, x.shape, (x, value, index), mode)

    def _dot(self, x: Node) -> Node:
        if len(x.shape) < 2 or x.dtype is dt.bool_ or x.size > 400_000:
            return self._binary(x)
        a = nd.reshape(x, (math.prod(x.shape[:-2]), *x.shape[-2:]))
        columns = int(self.pick((1, 4, 17, 70) if self.extents is SMALL else (1, 33, 130)))
        b = self.fresh((a.shape[0], a.shape[2], columns), x.dtype)
        if self.rng.random() < 0.3:  # the second operand comes transposed
            b = nd.permute(nd.reshape(b, (b.shape[0], b.shape[2], b.shape[1])), (0, 2, 1))
        if self.rng.random() < 0.2:
            a = nd.permute(nd.reshape(a, (a.shape[0], a.shape[2], a.shape[1])), (0, 2, 1))
        return nd.node("dot", x.dtype, (a.shape[0], a.shape[1], b.shape[2]), (a, b))

    def _conv(self, x: Node) -> Node:
        if not 2 <= len(x.shape) <= 5 or x.dtype is dt.bool_ or x.size > 50_000:
            return self._unary(x)
        n = x if len(x.shape) > 3 else nd.reshape(x, (1, *x.shape))
        rank = len(n.shape) - 2
        channels = n.shape[1]
        groups = int(self.pick([g for g in (1, 2, 3, channels) if channels % g == 0]))
        few = (1, 1, 2) if rank < 3 else (1,)
        dilation = tuple(int(self.pick(few)) for _ in range(rank))
        spread = tuple(int(self.pick((1, 1, 1, 2))) for _ in range(rank))
        kernel = tuple(int(self.rng.integers(1, min(4, 1 + (e - 1) // d) + 1))
                       for e, d in zip(n.shape[2:], dilation))
        w = self.fresh((groups * int(self.pick((1, 2, 6))), channels // groups, *kernel), x.dtype)
        pads = [tuple(int(self.pick((0, 0, 1, 2))) for _ in range(rank)) for _ in range(2)]
        stride = tuple(int(self.pick((1, 1, 2, 3))) for _ in range(rank))
        g = Conv(stride, pads[0], pads[1], dilation, spread, groups)
        return nd.node("conv", x.dtype, g.output_shape(n.shape, w.shape), (n, w), g)

    def _loop(self, x: Node) -> Node:
        """A scan over fresh rows whose carry is x; or a while loop that counts."""
        if x.size > 4000:
            return x
        count = int(self.pick((0, 1, 2, 4)))
        row = self.fresh((count, *self.pick((x.shape, (), (3,)))), x.dtype)
        start = leaf(np.asarray(0))
        stand_ins = [nd.buffer(x.dtype, x.shape, object()), nd.buffer(dt.int64, (), object()),
                     nd.buffer(row.dtype, row.shape[1:], object())]
        counting = self.rng.random() < 0.3
        if counting:
            stand_ins.pop()
        outer, self.pool, self.depth = self.pool, [*stand_ins, self.any()], 1
        for _ in range(int(self.rng.integers(1, 5))):
            self.pool.append(self.step())
        last, self.pool, self.depth = self.pool[-1], outer, 0
        if last.shape != x.shape:
            if last.dtype is dt.bool_ or not last.size:
                last = stand_ins[0]
            else:
                axes = tuple(range(len(last.shape)))
                last = nd.reshape(nd.reduce_("max", last, axes), ())
        after = nd.cast(nd.expand_to(last, x.shape), x.dtype)
        if x.dtype.is_float:
            after = nd.elementwise("atan", after)
        index = stand_ins[1]
        step = nd.elementwise("add", index, nd.const(dt.int64, 1))
        if counting:
            go = nd.elementwise("lt", index, nd.scalar(dt.int64, count))
            made = rolled.close(int(self.pick((-1, 2))), stand_ins, [x, start], [], [after, step],
                                [], go)
            return made[0]
        made = rolled.close(count, stand_ins, [x, start], [row], [after, step], [last], None,
                            bool(self.rng.random() < 0.5))
        return made[int(self.pick((0, 2)))]

    def _softmax(self, x: Node) -> Node:
        if not x.shape or not x.dtype.is_float:
            return self._unary(x)
        axes = (len(x.shape) - 1,)
        top = nd.expand(nd.reduce_("max", x, axes), x.shape)
        e = nd.elementwise("exp", nd.elementwise("sub", x, top))
        return nd.elementwise("div", e, nd.expand(nd.reduce_("sum", e, axes), x.shape))

    def _iota(self, x: Node) -> Node:
        if not x.shape:
            return x
        i = nd.node("iota", dt.int64, x.shape, (), int(self.rng.integers(len(x.shape))))
        return nd.cast(i, x.dtype) if x.dtype is not dt.bool_ else nd.elementwise("le", i, i)
