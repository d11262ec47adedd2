"""Random numbers: counter-based (Philox), the same on every device and at any thread count.

An element is a function of its row-major position, the number of the draw and the generator's
seed. Each call takes the next number, so two calls differ; the same seed gives the same sequence.
Inside a compiled function the number is an argument, which every run takes anew (`Draw`); inside
the body of a scan or while_loop every step draws anew.
"""

from __future__ import annotations

import functools
import math
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, Scalar, Shape

from .creation import constant, flat_index, number
from .devices import bound
from .tensor import Tensor, result
from .tracing import bodies

_MASK = (1 << 64) - 1


class Generator:
    """A source of random numbers: a seed and how many draws were made (Torch7 Generator).

    Its methods are the functions of fb that draw: `Generator(7).normal(0, 1, (3,))` is
    `fb.normal(0, 1, (3,), generator=...)`. Without a seed it takes one from the system.
    """

    __slots__ = ("draws", "key")

    if TYPE_CHECKING:  # distributions.py and choosing.py give it their functions
        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, seed: int | None = None) -> None:
        self.key = self.draws = 0
        self.manual_seed(int.from_bytes(os.urandom(8), "little") if seed is None else seed)

    def manual_seed(self, seed: int) -> Generator:
        """Starts the sequence of that seed (taken modulo 2**64). Torch7 manualSeed."""
        try:
            self.key = seed.__index__() & _MASK
        except AttributeError:
            raise TypeError("manual_seed: expected an integer, got "
                            f"{type(seed).__name__}") from None
        self.draws = 0
        return self

    def seed(self) -> int:
        """Starts the sequence of a seed from the system; gives the seed. Torch7 seed."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self.key

    def initial_seed(self) -> int:
        """The seed. Torch7 initialSeed."""
        return self.key

    def next(self) -> int:
        """The number of the next draw."""
        self.draws += 1
        return self.draws

    def get_state(self) -> bytes:
        """Seed and draws made, as 16 bytes: what `set_state` takes. Torch7 getRNGState."""
        return struct.pack("<QQ", self.key, self.draws)

    def set_state(self, state: Any) -> None:
        """Continues from a state of `get_state`, or its 16 bytes as uint8. Torch7 setRNGState.

        Raises ValueError for what is no such state.
        """
        found = bytes(state) if isinstance(state, bytes | bytearray) else np.asarray(state)
        held = found if isinstance(found, bytes) else found.tobytes()
        if len(held) != 16 or getattr(found, "dtype", np.uint8) != np.uint8:
            raise ValueError(f"set_state: expected 16 bytes, got {len(held)}"
                             f"{'' if isinstance(found, bytes) else f' of {found.dtype}'}")
        self.key, self.draws = struct.unpack("<QQ", held)

    def split(self, count: int) -> list[Generator]:
        """`count` generators whose numbers have nothing to do with each other's or this one's;
        takes one draw. Their seeds are NumPy's SeedSequence of this seed, the draw and 0, 1, ..."""
        if count < 0:
            raise ValueError(f"split: expected a count of 0 or more, got {count}")
        draw = self.next()
        seeds = [np.random.SeedSequence(self.key, spawn_key=(draw, i)) for i in range(count)]
        return [Generator(int(s.generate_state(1, np.uint64)[0])) for s in seeds]

    def fork(self) -> Generator:
        """One generator of its own: `split(1)[0]`."""
        return self.split(1)[0]

    def __repr__(self) -> str:
        return f"Generator(seed={self.key}, draws={self.draws})"


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
        super().__init__(generator.key)
        self.generator = generator

    def current(self) -> int:
        return self.generator.key


default_generator = Generator(0x5EED)


def manual_seed(seed: int) -> Generator:
    """Seeds the default generator; gives it. Torch7 manualSeed."""
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seeds the default generator from the system; gives the seed. Torch7 seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The default generator's seed. Torch7 initialSeed."""
    return default_generator.initial_seed()


def get_rng_state() -> bytes:
    """The default generator's state, 16 bytes. Torch7 getRNGState (a ByteTensor)."""
    return default_generator.get_state()


def set_rng_state(state: Any) -> None:
    """Continues the default generator from a state. Torch7 setRNGState."""
    default_generator.set_state(state)


def drawn(n: Node, device: str) -> Tensor:
    """A tensor of random numbers on a device."""
    return result(bound(n, device), False, device)


# -- draws as nodes ------------------------------------------------------------------------------


def word_nodes(shape: Shape, generator: Generator | None) -> Callable[..., Node]:
    """One draw: a function of a stream's number, and of uint32 or uint64, that gives each element's
    random bits there."""
    source = generator or default_generator
    index = flat_index(dt.uint64, shape)
    draw = N.node("scalar", dt.uint64, (), (), Draw(source))
    key = N.node("scalar", dt.uint64, (), (), Seed(source))
    for body in bodies():  # a loop draws in every step: the step's number is itself a draw
        if body.step is None:
            body.step = N.buffer(dt.uint64, (), body)
        draw = N.elementwise("philox", body.step, draw, key, dtype=dt.uint64)
    draw, key = N.expand_to(draw, shape), N.expand_to(key, shape)

    def words(dtype: DType, stream: int = 0) -> Node:
        return N.elementwise("philox", index, draw, key, dtype=dtype, arg=stream or None)

    return words


def wide_of(dtype: DType) -> DType:
    """What numbers of a floating dtype are computed in."""
    return dt.float64 if dtype is dt.float64 else dt.float32


def bits_of(dtype: DType) -> DType:
    """The words that numbers of a floating dtype are made from."""
    return dt.uint64 if dtype is dt.float64 else dt.uint32


_DIGITS = {dt.float64: 53, dt.float32: 24, dt.float16: 11, dt.bfloat16: 8}


def unit_node(word: Node, dtype: DType) -> Node:
    """Uniform in [0, 1): every multiple of 2**-53 (24, 11, 8 for shorter dtypes) as likely."""
    bits, wide = _DIGITS[dtype], wide_of(dtype)
    signed = dt.int64 if wide is dt.float64 else dt.int32
    unused = constant(word.dtype, word.dtype.itemsize * 8 - bits, word.shape)
    exact = N.cast(N.cast(N.elementwise("shr", word, unused), signed), wide)
    unit = N.elementwise("mul", exact, constant(wide, 2.0 ** -bits, word.shape))
    return N.cast(unit, dtype)


def positive_node(word: Node) -> Node:
    """Uniform in (0, 1), with steps of 2**-32 (64 for float64) near 0: what logarithms take."""
    wide = dt.float64 if word.dtype is dt.uint64 else dt.float32
    bits, digits = word.dtype.itemsize * 8, _DIGITS[wide]
    half, step, last = (constant(wide, v, word.shape)
                        for v in (0.5, 2.0 ** -bits, 1 - 2.0 ** -digits))
    middle = N.elementwise("add", N.cast(word, wide), half)
    return N.elementwise("minimum", N.elementwise("mul", middle, step), last)


def signed_node(word: Node) -> Node:
    """Uniform in (-1/2, 1/2), symmetric and never 0, with steps of 2**-32 (64) near 0."""
    wide, whole = ((dt.float64, dt.int64) if word.dtype is dt.uint64 else (dt.float32, dt.int32))
    half, step = (constant(wide, v, word.shape)
                  for v in (0.5, 2.0 ** -(word.dtype.itemsize * 8)))
    number = N.cast(N.elementwise("bitcast", word, dtype=whole), wide)
    return N.elementwise("mul", N.elementwise("add", number, half), step)


def normal_node(words: Callable[..., Node], wide: DType) -> Node:
    """Standard normal in float32 or float64, by Box and Muller from two words."""
    radius, angle = _box_muller(words, wide, 2)
    return N.elementwise("mul", radius, N.elementwise("cos", angle))


def complex_normal_node(words: Callable[..., Node], wide: DType) -> Node:
    """Standard normal in complex64 or complex128 (E |z|^2 = 1, parts of variance 1/2): Box and
    Muller's pair."""
    radius, angle = _box_muller(words, wide, 1)
    return N.elementwise("complex", *(N.elementwise("mul", radius, N.elementwise(f, angle))
                                      for f in ("cos", "sin")))


def _box_muller(words: Callable[..., Node], wide: DType, square: int) -> tuple[Node, Node]:
    """A radius whose square has the mean `square`, and an angle."""
    e = N.elementwise
    first, second = (words(bits_of(wide), stream) for stream in (0, 1))
    scaled = e("mul", e("log", positive_node(first)), constant(wide, -square, first.shape))
    angle = e("mul", unit_node(second, wide), constant(wide, 2 * math.pi, first.shape))
    return e("sqrt", scaled), angle


_HALF = (1 << 32) - 1


def below_node(words: Callable[..., Node], span: int) -> Node:
    """uint64 uniform in [0, span), span at most 2**64: the upper part of span times random bits,
    64 of them for spans up to 2**32, else 128. No chance differs from 1 / span by 2**-64."""
    word = words(dt.uint64)
    if span > _MASK:
        return word
    factor = number("randint", span, dt.uint64, word.shape)
    low, high = _halves(word)
    if span <= 1 << 32:
        carried = _upper(_times(low, factor))
        return _upper(_plus(_times(high, factor), carried))
    top, rest = _product(word, factor)
    extra, _ = _product(words(dt.uint64, 1), factor)
    total = _plus(rest, extra)
    return _plus(top, N.cast(N.elementwise("lt", total, rest), dt.uint64))


def _halves(x: Node) -> tuple[Node, Node]:
    return N.elementwise("and", x, constant(dt.uint64, _HALF, x.shape)), _upper(x)


def _upper(x: Node) -> Node:
    return N.elementwise("shr", x, constant(dt.uint64, 32, x.shape))


def _plus(*terms: Node) -> Node:
    return functools.reduce(lambda a, b: N.elementwise("add", a, b), terms)


def _times(a: Node, b: Node) -> Node:
    return N.elementwise("mul", a, b)


def _product(a: Node, b: Node) -> tuple[Node, Node]:
    """The upper and the lower 64 bits of a product."""
    (a0, a1), (b0, b1) = _halves(a), _halves(b)
    cross, other, low = _times(a0, b1), _times(a1, b0), _times(a0, b0)
    middle = _plus(_upper(low), _halves(cross)[0], _halves(other)[0])
    top = _plus(_times(a1, b1), _upper(cross), _upper(other), _upper(middle))
    return top, _times(a, b)


def integer_node(shape: Shape, low: int, high: int, generator: Generator | None) -> Node:
    """uint64 uniform in [low, high), modulo 2**64."""
    offset = number("randint", low & _MASK, dt.uint64, shape)
    return _plus(below_node(word_nodes(shape, generator), high - low), offset)
