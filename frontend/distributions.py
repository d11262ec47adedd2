"""Random numbers of many distributions: from uniform bits by a formula, or by rejection in kernels.

Each distribution is one function of its draws and parameters; `distribution` makes three doors of
it: `fb.laplace(loc, scale, size)`, `tensor.laplace_(loc, scale)` and `generator.laplace(...)`.
Parameters are numbers or tensors that broadcast. Numbers are checked at once, tensors when they are
computed. Where the result is a smooth formula of its parameters, gradients flow through it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, Shape

from . import pathwise, random
from .activations import clamp
from .creation import number
from .devices import resolve
from .elementwise import abs as absolute
from .elementwise import exp, le, log, log1p, maximum, sigmoid, sqrt, where
from .random import Generator, drawn
from .recording import broadcast_shapes, coerce, common_dtype, required
from .reductions import softmax
from .tensor import (
    Tensor,
    as_dtype,
    assign,
    check_shape,
    default_dtype,
    mode,
    read,
    stop,
)

__all__ = [
    "beta", "binomial", "cauchy", "chisquare", "dirichlet", "exponential", "gamma", "geometric",
    "gumbel", "laplace", "log_normal", "logistic", "normal", "poisson", "rand", "rand_like",
    "randn", "randn_like", "student_t", "truncated_normal", "uniform", "von_mises", "weibull",
]

Words = Callable[..., Node]


@dataclass(frozen=True)
class Draws:
    """One draw for every element of a result: its random numbers as tensors of dtype `wide`.

    stream: different ones of a draw are independent; normal() uses 0 and 1.
    """

    name: str
    shape: Shape
    wide: DType
    words: Words
    device: str
    generator: Generator | None

    def _bits(self, stream: int) -> Node:
        return self.words(random.bits_of(self.wide), stream)

    def unit(self, stream: int = 0) -> Tensor:
        """Uniform in [0, 1)."""
        return drawn(random.unit_node(self._bits(stream), self.wide), self.device)

    def positive(self, stream: int = 0) -> Tensor:
        """Uniform in (0, 1), fine near 0."""
        return drawn(random.positive_node(self._bits(stream)), self.device)

    def signed(self, stream: int = 0) -> Tensor:
        """Uniform in (-1/2, 1/2), fine near 0."""
        return drawn(random.signed_node(self._bits(stream)), self.device)

    def normal(self) -> Tensor:
        """Standard normal."""
        return drawn(random.normal_node(self.words, self.wide), self.device)

    def sample(self, kind: str, a: Any, b: Any = 0.0) -> Tensor:
        """By rejection: the op `sample`. Gradients flow to a gamma's shape. Raises TypeError for
        other parameters that require gradients."""
        moves = kind == "gamma" and isinstance(a, Tensor) and a.requires_grad and mode.grad
        src = tuple(self._parameter(v, moves) for v in (a, b))
        index, draw, key = self.words(dt.uint64).src
        still = [stop(n) for n in src] if moves else src
        z = drawn(N.elementwise("sample", *still, index, draw, key, arg=kind), self.device)
        return pathwise.follow(z, src[0]) if moves else z

    def _parameter(self, v: Any, moves: bool = False) -> Node:
        if not isinstance(v, Tensor):
            return number(self.name, float(v), self.wide, self.shape)
        if v.requires_grad and not moves:
            raise TypeError(f"{self.name}: expected parameters that require no gradient, for its "
                            "numbers are no smooth function of them; got one that does (detach it)")
        return N.expand_to(N.cast(read(v), self.wide), self.shape)

    def again(self) -> Draws:
        """Another draw of the same shape."""
        return replace(self, words=random.word_nodes(self.shape, self.generator))

    # -- what parameters must be -----------------------------------------------------------------

    def check(self, text: str, value: Any, holds: Callable[[Any], Any]) -> Any:
        """value, of which `holds`. Raises ValueError, for a tensor when it is computed."""
        if isinstance(value, Tensor):
            return required(self.name, f"expected {text}, got one that is not", value,
                            holds(value))
        if not holds(value):
            raise ValueError(f"{self.name}: expected {text}, got {value}")
        return value

    def above(self, word: str, value: Any) -> Any:
        """A parameter above 0."""
        return self.check(f"{word} above 0", value, lambda v: v > 0)

    def least(self, word: str, value: Any) -> Any:
        """A parameter of 0 or more."""
        return self.check(f"{word} of 0 or more", value, lambda v: v >= 0)

    def chance(self, word: str, value: Any) -> Any:
        """A probability."""
        return self.check(f"{word} in [0, 1]", value, lambda v: (v >= 0) & (v <= 1))

    def ordered(self, low: Any, high: Any) -> tuple[Any, Any]:
        """Two ends, low <= high."""
        if isinstance(low, Tensor) or isinstance(high, Tensor):
            upper = maximum(low, high)
            return low, required(self.name, "expected low <= high, got low above high", upper,
                                 le(low, high))
        if not low <= high:
            raise ValueError(f"{self.name}: expected low <= high, got {low} and {high}")
        return low, high


def result_shape(name: str, size: Any, parameters: tuple[Any, ...]) -> Shape:
    """The shape asked for, or the broadcast of the parameters' shapes."""
    shapes = [p.shape for p in parameters if isinstance(p, Tensor)]
    if size is None or (type(size) is tuple and not size):
        return broadcast_shapes(name, *shapes)
    wanted = check_shape(name, (size,))
    if shapes and broadcast_shapes(name, wanted, *shapes) != wanted:
        raise ValueError(f"{name}: expected parameters that broadcast to {wanted}, got shapes "
                         f"{' and '.join(map(str, shapes))}")
    return wanted


def float_dtype(name: str, dtype: Any, parameters: tuple[Any, ...] = ()) -> DType:
    """The floating dtype asked for, or the parameters', or the default. Raises TypeError."""
    if dtype is None:
        tensors = tuple(p for p in parameters if isinstance(p, Tensor))
        found = common_dtype(name, tensors) if tensors else default_dtype()
        return found if found.is_float else default_dtype()
    found = as_dtype(name, dtype)
    if not found.is_float:
        raise TypeError(f"{name}: expected a floating dtype, got {found.name}")
    return found


def _plain_dtype(name: str, dtype: Any) -> DType:
    """The floating or complex dtype asked for, or the default. Raises TypeError for others."""
    found = default_dtype() if dtype is None else as_dtype(name, dtype)
    return found if found.is_complex else float_dtype(name, found)


def device_of(name: str, device: Any, parameters: tuple[Any, ...]) -> str:
    """The device asked for, or where a tensor among the parameters lies, or the default."""
    found = [p.device for p in parameters if isinstance(p, Tensor) and p.ndim]
    return found[0] if device is None and found else resolve(name, device)


# -- from a formula to functions -------------------------------------------------------------------

DISTRIBUTIONS: dict[str, Callable[..., Tensor]] = {}
FILLING: list[Callable[..., Tensor]] = []

_FLOATS = ("size: the result's shape, by default the broadcast of the parameters'. dtype: "
           "floating, by default the parameters' or the default dtype. generator: the source, by "
           "default `fb.default_generator`. device: by default the parameters'.")
_COUNTS = ("size: the result's shape, by default the broadcast of the parameters'. dtype: any, by "
           "default int64. generator: the source, by default `fb.default_generator`. device: by "
           "default the parameters'.")
_RAISES = "Raises ValueError for other parameters; for those in tensors when they are computed."


def distribution(counts: bool = False) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Makes f(draws, parameters...) the function f(parameters..., size, dtype, generator) and the
    in-place method f_(parameters..., generator). counts: of integers, computed in float64."""
    def decorate(formula: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = formula.__name__
        own = list(inspect.signature(formula).parameters.values())[1:]
        more = [inspect.Parameter(word, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
                for word in ("size", "dtype", "generator", "device")]
        fresh = inspect.Signature([*own, *more])
        filling = inspect.Signature([*own, more[2]])

        def function(*args: Any, **options: Any) -> Tensor:
            bound = _bind(name, fresh, args, options)
            size, dtype, generator, device = (bound.pop(p.name) for p in more)
            values = tuple(coerce(name, v) for v in bound.values())
            given = dt.int64 if counts else float_dtype(name, dtype, values)
            if counts and dtype is not None:
                given = as_dtype(name, dtype)
            draws = _draws(name, result_shape(name, size, values), given, generator,
                           device_of(name, device, values), counts)
            return formula(draws, *values).to(given)  # type: ignore[no-any-return]

        def method(self: Tensor, *args: Any, **options: Any) -> Tensor:
            title = f"{name}_"
            bound = _bind(title, filling, args, options)
            generator = bound.pop("generator")
            if not counts and not self.dtype.is_float:
                raise TypeError(f"{title}: expected a floating dtype, got {self.dtype.name}")
            values = tuple(coerce(title, v) for v in bound.values())
            shape = result_shape(title, self.shape or None, values)
            draws = _draws(title, shape, self.dtype, generator, self.device, counts)
            return assign(title, self, formula(draws, *values).to(self.dtype))

        doc = inspect.cleandoc(formula.__doc__ or "")
        _name(function, name, f"{doc}\n\n{_COUNTS if counts else _FLOATS} {_RAISES}", fresh)
        _name(method, f"{name}_", f"Fills with numbers of `{name}`; gives itself.\n\n{doc}",
              filling)
        DISTRIBUTIONS[name] = function
        FILLING.append(method)
        return function

    return decorate


def _name(function: Any, name: str, doc: str, signature: inspect.Signature) -> None:
    function.__name__ = function.__qualname__ = name
    function.__module__, function.__doc__ = __name__, doc
    function.__signature__ = signature


def _bind(name: str, signature: inspect.Signature, args: tuple[Any, ...], options: dict[str, Any]
          ) -> dict[str, Any]:
    try:
        bound = signature.bind(*args, **options)
    except TypeError as error:
        raise TypeError(f"{name}: expected {', '.join(signature.parameters)}, got "
                        f"{error}") from None
    bound.apply_defaults()
    return bound.arguments


def _draws(name: str, shape: Shape, dtype: DType, generator: Generator | None, device: str,
           counts: bool = False) -> Draws:
    wide = dt.float64 if counts else random.wide_of(dtype)
    return Draws(name, shape, wide, random.word_nodes(shape, generator), device, generator)


# -- plain ones ------------------------------------------------------------------------------------


def rand(*shape: Any, dtype: Any = None, generator: Generator | None = None,
         requires_grad: bool = False, device: Any = None) -> Tensor:
    """Uniform in [0, 1): every multiple of 2**-24 (53 for float64, 11 for float16, 8 for bfloat16)
    below 1 is as likely. Torch7 rand.

    shape: as `rand(2, 3)` or `rand((2, 3))`. dtype: floating, by default the default dtype, or
    complex: both parts.
    """
    wanted, found = check_shape("rand", shape), _plain_dtype("rand", dtype)
    words = random.word_nodes(wanted, generator)
    part = found.real
    parts = [random.unit_node(words(random.bits_of(part), stream), part)
             for stream in range(2 if found.is_complex else 1)]
    made = drawn(parts[0] if len(parts) == 1 else N.elementwise("complex", *parts),
                 resolve("rand", device))
    return made.requires_grad_() if requires_grad else made


def randn(*shape: Any, dtype: Any = None, generator: Generator | None = None,
          requires_grad: bool = False, device: Any = None) -> Tensor:
    """Standard normal. Torch7 randn.

    shape: as `randn(2, 3)` or `randn((2, 3))`. dtype: floating, by default the default dtype, or
    complex: then the mean of |z|^2 is 1, that of each part's square 1/2.
    """
    wanted, found = check_shape("randn", shape), _plain_dtype("randn", dtype)
    words = random.word_nodes(wanted, generator)
    if found.is_complex:
        node = random.complex_normal_node(words, found.real)
    else:
        node = N.cast(random.normal_node(words, random.wide_of(found)), found)
    made = drawn(node, resolve("randn", device))
    return made.requires_grad_() if requires_grad else made


def rand_like(x: Tensor, dtype: Any = None, generator: Generator | None = None) -> Tensor:
    """Uniform in [0, 1), with the shape and dtype of x."""
    return rand(x.shape, dtype=x.dtype if dtype is None else dtype, generator=generator,
                device=x.device)


def randn_like(x: Tensor, dtype: Any = None, generator: Generator | None = None) -> Tensor:
    """Standard normal, with the shape and dtype of x."""
    return randn(x.shape, dtype=x.dtype if dtype is None else dtype, generator=generator,
                 device=x.device)


# -- by a formula ----------------------------------------------------------------------------------


@distribution()
def uniform(draws: Draws, low: Any = 0.0, high: Any = 1.0) -> Tensor:
    """Uniform in [low, high); the last rounding may give high. Torch7 and NumPy uniform."""
    low, high = draws.ordered(low, high)
    return draws.unit() * (high - low) + low


@distribution()
def normal(draws: Draws, mean: Any = 0.0, std: Any = 1.0) -> Tensor:
    """Normal with mean and standard deviation (0 or more). Torch7 and NumPy normal."""
    return draws.normal() * draws.least("std", std) + mean


@distribution()
def log_normal(draws: Draws, mean: Any = 1.0, std: Any = 2.0) -> Tensor:
    """exp of normal numbers of mean and std. Torch7 logNormal, NumPy lognormal."""
    return exp(draws.normal() * draws.least("std", std) + mean)


@distribution()
def exponential(draws: Draws, rate: Any = 1.0) -> Tensor:
    """Exponential: density rate exp(-rate x). Torch7 exponential (NumPy's takes 1 / rate)."""
    return -log(draws.positive()) / draws.above("rate", rate)


@distribution()
def cauchy(draws: Draws, median: Any = 0.0, sigma: Any = 1.0) -> Tensor:
    """Cauchy: density 1 / (pi sigma (1 + ((x - median) / sigma)**2)). Torch7 cauchy."""
    angle = draws.signed() * math.pi
    return angle.cos() / angle.sin() * draws.above("sigma", sigma) + median


@distribution()
def laplace(draws: Draws, loc: Any = 0.0, scale: Any = 1.0) -> Tensor:
    """Laplace: density exp(-|x - loc| / scale) / (2 scale). NumPy laplace."""
    side = draws.signed()
    size = -log(absolute(side) * 2)
    return size.copysign(side) * draws.above("scale", scale) + loc


@distribution()
def logistic(draws: Draws, loc: Any = 0.0, scale: Any = 1.0) -> Tensor:
    """Logistic: distribution function sigmoid((x - loc) / scale). NumPy logistic."""
    side = draws.signed()
    half = absolute(side)
    return (log1p(-half) - log(half)).copysign(side) * draws.above("scale", scale) + loc


def _standard_exponential(draws: Draws) -> Tensor:
    """Exponential, fine at both ends: near 0 and far out."""
    side = draws.signed()
    half = absolute(side)
    return -where(side > 0, log(half), log1p(-half))


@distribution()
def gumbel(draws: Draws, loc: Any = 0.0, scale: Any = 1.0) -> Tensor:
    """Gumbel: distribution function exp(-exp(-(x - loc) / scale)). NumPy gumbel."""
    return loc - log(_standard_exponential(draws)) * draws.above("scale", scale)


@distribution()
def weibull(draws: Draws, shape: Any, scale: Any = 1.0) -> Tensor:
    """Weibull: distribution function 1 - exp(-(x / scale)**shape). NumPy weibull."""
    power = 1.0 / draws.above("shape", shape)
    return exp(log(_standard_exponential(draws)) * power) * draws.above("scale", scale)


@distribution(counts=True)
def geometric(draws: Draws, p: Any) -> Tensor:
    """1, 2, ...: i with chance (1 - p) p**(i - 1). Torch7 geometric: p is the chance to go on
    (NumPy's is the chance to stop)."""
    going = draws.check("p in (0, 1)", p, lambda v: (v > 0) & (v < 1))
    rate = log(going.to(dt.float64)) if isinstance(going, Tensor) else math.log(going)
    return (log(draws.positive()) / rate).floor() + 1


# -- by rejection ------------------------------------------------------------------------------


def _gamma_parts(draws: Draws, shape: Any) -> tuple[Tensor, Tensor | None]:
    """(x, log b): x * b is gamma of that shape. Below 1 x is of shape + 1 and b may underflow;
    None: b is 1."""
    if not isinstance(shape, Tensor):
        if shape >= 1:
            return draws.sample("gamma", shape), None
        return draws.sample("gamma", shape + 1), log(draws.positive()) / shape
    shape = shape.to(draws.wide)
    small = shape < 1
    boost = where(small, log(draws.positive()) / shape, 0.0)
    return draws.sample("gamma", where(small, shape + 1, shape)), boost


def _gamma(draws: Draws, shape: Any) -> Tensor:
    value, boost = _gamma_parts(draws, shape)
    return value if boost is None else value * exp(boost)


def _log_gamma(draws: Draws, shape: Any) -> Tensor:
    value, boost = _gamma_parts(draws, shape)
    return log(value) if boost is None else log(value) + boost


@distribution()
def gamma(draws: Draws, shape: Any, scale: Any = 1.0) -> Tensor:
    """Gamma of a shape above 0, by Marsaglia and Tsang (2000). NumPy gamma.

    Gradients flow to the scale and, by implicit reparametrisation, to the shape."""
    return _gamma(draws, draws.above("shape", shape)) * draws.above("scale", scale)


@distribution()
def chisquare(draws: Draws, df: Any) -> Tensor:
    """Chi-square with df degrees of freedom. NumPy chisquare."""
    return _gamma(draws, draws.above("df", df) * 0.5) * 2


@distribution()
def student_t(draws: Draws, df: Any) -> Tensor:
    """Student's t with df degrees of freedom. NumPy standard_t."""
    df = draws.above("df", df)
    return draws.normal() * sqrt(df / (_gamma(draws.again(), df * 0.5) * 2))


@distribution()
def beta(draws: Draws, a: Any, b: Any) -> Tensor:
    """Beta: density x**(a - 1) (1 - x)**(b - 1) / B(a, b) in (0, 1). NumPy beta."""
    a, b = draws.above("a", a), draws.above("b", b)
    if not isinstance(a, Tensor) and not isinstance(b, Tensor) and min(a, b) >= 1:
        x, y = _gamma(draws, a), _gamma(draws.again(), b)
        return x / (x + y)
    return sigmoid(_log_gamma(draws, a) - _log_gamma(draws.again(), b))


@distribution(counts=True)
def poisson(draws: Draws, rate: Any = 1.0) -> Tensor:
    """Poisson of a rate of 0 or more, by search or Hörmann's PTRS (1993). NumPy poisson."""
    return draws.sample("poisson", draws.least("rate", rate))


@distribution(counts=True)
def binomial(draws: Draws, n: Any, p: Any) -> Tensor:
    """Successes among n with chance p each, by search or Hörmann's BTRS (1993). NumPy binomial."""
    return draws.sample("binomial", draws.least("n", n), draws.chance("p", p))


@distribution()
def von_mises(draws: Draws, mu: Any = 0.0, kappa: Any = 1.0) -> Tensor:
    """Von Mises: density proportional to exp(kappa cos(x - mu)), in mu - pi to mu + pi, by Best and
    Fisher (1979). NumPy vonmises, whose angles are brought back to -pi to pi."""
    return _in_double(draws).sample("von_mises", draws.least("kappa", kappa)) + mu


@distribution()
def truncated_normal(draws: Draws, mean: Any = 0.0, std: Any = 1.0, low: Any = -2.0,
                     high: Any = 2.0) -> Tensor:
    """Normal of mean and std between low and high, after Robert (1995). SciPy truncnorm, PyTorch
    trunc_normal (the ends are values, not multiples of std)."""
    std = draws.above("std", std)
    low, high = draws.ordered(low, high)
    standard = _in_double(draws).sample("truncated", (low - mean) / std, (high - mean) / std)
    return clamp(standard * std + mean, low, high)


def _in_double(draws: Draws) -> Draws:
    return replace(draws, wide=dt.float64)


def dirichlet(alpha: Any, size: Any = None, dtype: Any = None, generator: Generator | None = None,
              device: Any = None) -> Tensor:
    """Shares along the last axis that sum to 1, with concentrations alpha above 0. NumPy dirichlet.

    size: the shape in front of alpha's last axis, by default alpha's own. dtype: floating, by
    default alpha's or the default dtype. Raises ValueError for other alpha; when it is computed.
    """
    t = coerce("dirichlet", alpha)
    if not isinstance(t, Tensor) or not t.ndim:
        raise ValueError("dirichlet: expected concentrations along a last axis, got a number")
    own = float_dtype("dirichlet", dtype, (t,))
    wanted = None if size is None else (*check_shape("dirichlet", (size,)), t.shape[-1])
    shape = result_shape("dirichlet", wanted, (t,))
    draws = _draws("dirichlet", shape, own, generator, device_of("dirichlet", device, (t,)))
    return softmax(_log_gamma(draws, draws.above("alpha", t)), -1).to(own)  # type: ignore[no-any-return]


DISTRIBUTIONS["dirichlet"] = dirichlet
for _function in (rand, randn, rand_like, randn_like):
    DISTRIBUTIONS[_function.__name__] = _function
