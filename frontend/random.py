"""Random numbers: counter-based (Philox), the same on every device and at any thread count.

An element is a function of its row-major position, the number of the draw and the generator's
seed. Each call takes the next number, so two calls differ; the same seed gives the same sequence.
Inside a compiled function the number is an argument, which every run takes anew (`Draw`); inside
the body of a scan or while_loop every step draws anew.
"""

from __future__ import annotations

import math
import os
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, Scalar, Shape

from .creation import constant, flat_index, number
from .devices import bound, resolve
from .movement import reshape
from .recording import as_tensor, broadcast_shapes
from .sorting import argsort_node
from .tensor import (
    Tensor,
    as_dtype,
    assign,
    check_shape,
    check_writable,
    default_dtype,
    read,
    result,
    write,
)
from .tracing import bodies

_MASK = (1 << 64) - 1


class Generator:
    """A source of random numbers: a seed and how many draws were made (Torch7 Generator)."""

    __slots__ = ("draws", "initial_seed")

    def __init__(self, seed: int | None = None) -> None:
        self.initial_seed = 0
        self.draws = 0
        self.manual_seed(int.from_bytes(os.urandom(8), "little") if seed is None else seed)

    def manual_seed(self, seed: int) -> Generator:
        """Starts the sequence of that seed."""
        self.initial_seed = seed & _MASK
        self.draws = 0
        return self

    def next(self) -> int:
        """The number of the next draw."""
        self.draws += 1
        return self.draws

    def get_state(self) -> tuple[int, int]:
        """(seed, draws made): what `set_state` takes (Torch7 getRNGState)."""
        return self.initial_seed, self.draws

    def set_state(self, state: tuple[int, int]) -> None:
        """Continues from a state of `get_state`."""
        self.initial_seed, self.draws = state

    def __repr__(self) -> str:
        return f"Generator(seed={self.initial_seed}, draws={self.draws})"


class Draw(Scalar):
    """The number of a draw as a graph's argument; a compiled function asks `generator.next()` for
    each run's."""

    __slots__ = ("generator",)

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator.next())
        self.generator = generator

    def current(self) -> int:
        return self.generator.next()


class Seed(Scalar):
    """A generator's seed as a graph's argument."""

    __slots__ = ("generator",)

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator.initial_seed)
        self.generator = generator

    def current(self) -> int:
        return self.generator.initial_seed


default_generator = Generator(0x5EED)


def manual_seed(seed: int) -> Generator:
    """Seeds the default generator. Torch7 manualSeed."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seeds the default generator from the system; gives the seed. Torch7 seed."""
    default_generator.manual_seed(int.from_bytes(os.urandom(8), "little"))
    return default_generator.initial_seed


def initial_seed() -> int:
    """The default generator's seed. Torch7 initialSeed."""
    return default_generator.initial_seed


def get_rng_state() -> tuple[int, int]:
    """The default generator's state. Torch7 getRNGState."""
    return default_generator.get_state()


def set_rng_state(state: tuple[int, int]) -> None:
    """Continues the default generator from a state. Torch7 setRNGState."""
    default_generator.set_state(state)


# -- draws as nodes ------------------------------------------------------------------------------


def word_nodes(shape: Shape, generator: Generator | None, count: int) -> list[Node]:
    """One draw: `count` (1 or 2) independent uint64 words for each element."""
    source = generator or default_generator
    index = flat_index(dt.uint64, shape)
    draw = N.node("scalar", dt.uint64, (), (), Draw(source))
    key = N.node("scalar", dt.uint64, (), (), Seed(source))
    for body in bodies():  # a loop draws in every step: the step's number is itself a draw
        if body.step is None:
            body.step = N.buffer(dt.uint64, (), body)
        draw = N.elementwise("philox", body.step, draw, key, dtype=dt.uint64)
    draw, key = N.expand_to(draw, shape), N.expand_to(key, shape)
    return [N.elementwise("philox", index, draw, key, dtype=dt.uint64, arg=arg)
            for arg in (None, 1)[:count]]


def unit_node(word: Node, dtype: DType) -> Node:
    """A uniform number in [0, 1): the top 24 bits of a word, 53 for float64."""
    wide = dt.float64 if dtype is dt.float64 else dt.float32
    bits = 53 if wide is dt.float64 else 24
    shifted = N.elementwise("shr", word, constant(dt.uint64, 64 - bits, word.shape))
    exact = N.cast(N.cast(shifted, dt.int64 if bits == 53 else dt.int32), wide)
    unit = N.elementwise("mul", exact, constant(wide, 2.0 ** -bits, word.shape))
    return N.cast(unit, dtype)


def uniform_node(shape: Shape, dtype: DType, generator: Generator | None) -> Node:
    """Uniform in [0, 1)."""
    return unit_node(word_nodes(shape, generator, 1)[0], dtype)


def normal_node(shape: Shape, dtype: DType, generator: Generator | None) -> Node:
    """Standard normal, by Box and Muller from both words."""
    wide = dt.float64 if dtype is dt.float64 else dt.float32
    first, second = (unit_node(w, wide) for w in word_nodes(shape, generator, 2))
    e = N.elementwise
    one, minus_two = constant(wide, 1, shape), constant(wide, -2, shape)
    radius = e("sqrt", e("mul", e("log", e("sub", one, first)), minus_two))
    angle = e("mul", second, constant(wide, 2 * math.pi, shape))
    return N.cast(e("mul", radius, e("cos", angle)), dtype)


def integer_node(shape: Shape, low: int, high: int, generator: Generator | None) -> Node:
    """int64 uniform in [low, high)."""
    word = word_nodes(shape, generator, 1)[0]
    span = number("randint", (high - low) & _MASK, dt.uint64, shape)
    rest = N.cast(N.elementwise("mod", word, span), dt.int64)
    return N.elementwise("add", rest, number("randint", low, dt.int64, shape))


def _finish(name: str, n: Node, requires_grad: bool = False, device: Any = None) -> Tensor:
    where = resolve(name, device)
    made = result(bound(n, where), False, where)
    return made.requires_grad_() if requires_grad else made


def _float_dtype(name: str, dtype: Any) -> DType:
    found = default_dtype() if dtype is None else as_dtype(name, dtype)
    if not found.is_float:
        raise TypeError(f"{name}: expected a floating dtype, got {found.name}")
    return found


# -- fresh tensors -------------------------------------------------------------------------------


def rand(*shape: Any, dtype: Any = None, generator: Generator | None = None,
         requires_grad: bool = False, device: Any = None) -> Tensor:
    """Uniform in [0, 1). Torch7 rand."""
    n = uniform_node(check_shape("rand", shape), _float_dtype("rand", dtype), generator)
    return _finish("rand", n, requires_grad, device)


def randn(*shape: Any, dtype: Any = None, generator: Generator | None = None,
          requires_grad: bool = False, device: Any = None) -> Tensor:
    """Standard normal. Torch7 randn."""
    n = normal_node(check_shape("randn", shape), _float_dtype("randn", dtype), generator)
    return _finish("randn", n, requires_grad, device)


def rand_like(x: Tensor, dtype: Any = None, generator: Generator | None = None) -> Tensor:
    """Uniform in [0, 1), with the shape and dtype of x."""
    return rand(x.shape, dtype=x.dtype if dtype is None else dtype, generator=generator,
                device=x.device)


def randn_like(x: Tensor, dtype: Any = None, generator: Generator | None = None) -> Tensor:
    """Standard normal, with the shape and dtype of x."""
    return randn(x.shape, dtype=x.dtype if dtype is None else dtype, generator=generator,
                 device=x.device)


def uniform(low: Any = 0.0, high: Any = 1.0, size: Any = (), dtype: Any = None,
            generator: Generator | None = None, device: Any = None) -> Tensor:
    """Uniform in [low, high), numbers or tensors that broadcast. Torch7 and NumPy uniform."""
    unit = rand(_size("uniform", size, low, high), dtype=dtype, generator=generator,
                device=_device_of(device, low, high))
    return unit * (high - low) + low


def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = (), dtype: Any = None,
           generator: Generator | None = None, device: Any = None) -> Tensor:
    """Normal with mean and std, numbers or tensors that broadcast. Torch7 and NumPy normal."""
    unit = randn(_size("normal", size, mean, std), dtype=dtype, generator=generator,
                 device=_device_of(device, mean, std))
    return unit * std + mean


def _device_of(device: Any, *parameters: Any) -> Any:
    """The device asked for, or where a tensor among the parameters lies."""
    found = [p.device for p in parameters if isinstance(p, Tensor) and p.ndim]
    return found[0] if device is None and found else device


def _size(name: str, size: Any, *parameters: Any) -> Shape:
    """The shape asked for, or the broadcast of the parameters' shapes."""
    if size == () or size is None:
        return broadcast_shapes(name, *(getattr(p, "shape", ()) for p in parameters))
    return check_shape(name, (size,))


def randint(low: int, high: int | None = None, size: Any = (), dtype: Any = None,
            generator: Generator | None = None, device: Any = None) -> Tensor:
    """Integers in [low, high), or [0, low) without high; int64 unless dtype is given.

    NumPy randint; Torch7 random included both ends. Raises ValueError for an empty range.
    """
    if high is None:
        low, high = 0, low
    if high <= low:
        raise ValueError(f"randint: expected low < high, got {low} and {high}")
    n = integer_node(check_shape("randint", (size,)), low, high, generator)
    n = N.cast(n, dt.int64 if dtype is None else as_dtype("randint", dtype))
    return _finish("randint", n, device=device)


def randperm(n: int, dtype: Any = None, generator: Generator | None = None, device: Any = None
             ) -> Tensor:
    """The integers 0 to n - 1 in random order, int64. Torch7 randperm."""
    words = word_nodes(check_shape("randperm", (n,)), generator, 1)[0]
    order = argsort_node(words, 0, False)
    order = N.cast(order, dt.int64 if dtype is None else as_dtype("randperm", dtype))
    return _finish("randperm", order, device=device)


def shuffle(x: Any, generator: Generator | None = None) -> Tensor:
    """x's slices along axis 0 in random order, a copy. NumPy permutation."""
    t = as_tensor("shuffle", x)
    order = randperm(t.shape[0], generator=generator, device=t.device)
    return t.index_select(0, order)  # type: ignore[no-any-return]


def _chance(shape: Shape, p: Any, generator: Generator | None) -> Node:
    """True with probability p, a number or a tensor."""
    unit = uniform_node(shape, dt.float32, generator)
    if isinstance(p, Tensor):
        return N.elementwise("lt", unit, N.expand_to(N.cast(read(p), dt.float32), shape))
    if not 0 <= p <= 1:
        raise ValueError(f"bernoulli: expected a probability in [0, 1], got {p}")
    return N.elementwise("lt", unit, number("bernoulli", float(p), dt.float32, shape))


def bernoulli(p: Any = 0.5, size: Any = None, dtype: Any = None,
              generator: Generator | None = None, device: Any = None) -> Tensor:
    """1 with probability p (a number or a tensor, whose shape and dtype are the result's), else 0.

    Torch7 bernoulli. Raises ValueError for a number outside [0, 1].
    """
    shape = _size("bernoulli", size, p)
    wanted = p.dtype if dtype is None and isinstance(p, Tensor) else (
        default_dtype() if dtype is None else as_dtype("bernoulli", dtype))
    n = N.cast(_chance(shape, p, generator), wanted)
    return _finish("bernoulli", n, device=_device_of(device, p))


def dropout_mask(shape: Any, p: float, dtype: Any = None, generator: Generator | None = None,
                 device: Any = None) -> Tensor:
    """0 with probability p, else 1 / (1 - p): what dropout multiplies by."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected a probability in [0, 1], got {p}")
    kept = bernoulli(1.0 - p, tuple(shape), dtype, generator, device) if tuple(shape) else (
        _finish("dropout", N.cast(_chance((), 1.0 - p, generator), _float_dtype("dropout", dtype)),
                device=device))
    return kept * (1.0 / (1.0 - p)) if p < 1 else kept


def dropout(x: Any, p: float = 0.5, training: bool = True, generator: Generator | None = None
            ) -> Tensor:
    """x with elements set to 0 with probability p, the others divided by 1 - p. nn.Dropout."""
    t = as_tensor("dropout", x)
    if not training or p == 0:
        return t
    return t * dropout_mask(t.shape, p, t.dtype, generator)


def multinomial(p: Any, num_samples: int, replacement: bool = False,
                generator: Generator | None = None) -> Tensor:
    """num_samples indices from each row of weights p (1-d or 2-d, need not sum to 1), int64.

    Torch7 multinomial. Raises ValueError for more samples than columns without replacement.
    """
    t = as_tensor("multinomial", p)
    if t.ndim not in (1, 2) or not t.dtype.is_float:
        raise ValueError(f"multinomial: expected floating rows of weights, got {t.dtype.name} "
                         f"{t.shape}")
    rows = t if t.ndim == 2 else reshape(t, 1, -1)
    count, columns = rows.shape
    if not replacement:
        if num_samples > columns:
            raise ValueError(f"multinomial: expected at most {columns} samples without "
                             f"replacement, got {num_samples}")
        race = exponential(1.0, rows.shape, generator=generator) / rows
        found = race.argsort(1).narrow(1, 0, num_samples)
    else:
        edges = rows.cumsum(1)
        aim = rand(count, num_samples, dtype=t.dtype, generator=generator) * edges[:, -1:]
        found = (edges.unsqueeze(1) <= aim.unsqueeze(2)).sum(2).clamp(max=columns - 1)
    return found if t.ndim == 2 else reshape(found, -1)


def exponential(lambd: float = 1.0, size: Any = (), dtype: Any = None,
                generator: Generator | None = None) -> Tensor:
    """Exponential with rate lambd. Torch7 exponential."""
    unit = rand(_size("exponential", size, lambd), dtype=dtype, generator=generator)
    return -((-unit).log1p()) / lambd


# -- in place ------------------------------------------------------------------------------------


def _fill(name: str, t: Tensor, n: Node) -> Tensor:
    check_writable(name, t)
    return write(t, N.cast(n, t.dtype))


def _floating(name: str, t: Tensor) -> DType:
    if not t.dtype.is_float:
        raise TypeError(f"{name}: expected a floating dtype, got {t.dtype.name}")
    return t.dtype


def uniform_(self: Tensor, low: float = 0.0, high: float = 1.0,
             generator: Generator | None = None) -> Tensor:
    """Fills with numbers uniform in [low, high). Torch7 uniform."""
    dtype = _floating("uniform_", self)
    return assign("uniform_", self,
                  uniform(low, high, self.shape or None, dtype, generator))


def normal_(self: Tensor, mean: float = 0.0, std: float = 1.0,
            generator: Generator | None = None) -> Tensor:
    """Fills with normal numbers. Torch7 normal. Raises ValueError for std below 0."""
    if std < 0:
        raise ValueError(f"normal_: expected std of 0 or more, got {std}")
    dtype = _floating("normal_", self)
    return assign("normal_", self, normal(mean, std, self.shape or None, dtype, generator))


def bernoulli_(self: Tensor, p: Any = 0.5, generator: Generator | None = None) -> Tensor:
    """Fills with 1, with probability p, and 0. Torch7 bernoulli."""
    return _fill("bernoulli_", self, _chance(self.shape, p, generator))


def random_(self: Tensor, low: int | None = None, high: int | None = None,
            generator: Generator | None = None) -> Tensor:
    """Fills with integers in [low, high); [0, low) without high; of the dtype's whole positive
    range without either (2**24 and 2**53 for floats). Torch7 random, which included both ends."""
    if low is None:
        bits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53, "bool": 1}
        top = bits.get(self.dtype.name) or min(63, self.dtype.itemsize * 8
                                               - (self.dtype.kind == "i"))
        low, high = 0, 1 << top
    elif high is None:
        low, high = 0, low
    if high is None or high <= low:
        raise ValueError(f"random_: expected low < high, got {low} and {high}")
    if high - low > 1 << 63:
        high = low + (1 << 63) - 1
    return _fill("random_", self, integer_node(self.shape, low, high, generator))


def exponential_(self: Tensor, lambd: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fills with exponential numbers of rate lambd. Torch7 exponential."""
    dtype = _floating("exponential_", self)
    return assign("exponential_", self,
                  exponential(lambd, self.shape or None, dtype, generator))


def cauchy_(self: Tensor, median: float = 0.0, sigma: float = 1.0,
            generator: Generator | None = None) -> Tensor:
    """Fills with Cauchy numbers. Torch7 cauchy."""
    dtype = _floating("cauchy_", self)
    unit = rand(self.shape, dtype=dtype, generator=generator)
    return assign("cauchy_", self, ((unit - 0.5) * math.pi).tan() * sigma + median)


def log_normal_(self: Tensor, mean: float = 1.0, std: float = 2.0,
                generator: Generator | None = None) -> Tensor:
    """Fills with exp of normal numbers of mean and std. Torch7 logNormal."""
    dtype = _floating("log_normal_", self)
    unit = randn(self.shape, dtype=dtype, generator=generator)
    return assign("log_normal_", self, (unit * std + mean).exp())


def geometric_(self: Tensor, p: float, generator: Generator | None = None) -> Tensor:
    """Fills with 1, 2, ...: i with probability (1 - p) * p**(i - 1). Torch7 geometric: p is the
    chance to go on. Raises ValueError for p outside (0, 1)."""
    if not 0 < p < 1:
        raise ValueError(f"geometric_: expected p in (0, 1), got {p}")
    unit = rand(self.shape, dtype=dt.float64, generator=generator)
    found = ((-unit).log1p() / math.log(p)).floor() + 1
    return _fill("geometric_", self, read(found))
