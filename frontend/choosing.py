"""Chances and choices: bernoulli, dropout, integers, permutations, drawing with given weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, Shape

from . import random
from .creation import constant, number, tensor
from .devices import resolve
from .distributions import device_of, exponential, float_dtype, rand, result_shape
from .elementwise import where
from .movement import reshape
from .random import Generator, drawn
from .recording import as_tensor, coerce, required
from .sorting import argsort_node
from .tensor import (
    Tensor,
    as_dtype,
    check_shape,
    check_writable,
    default_dtype,
    read,
    write,
)

__all__ = [
    "bernoulli", "dropout", "dropout_mask", "multinomial", "multinomial_alias",
    "multinomial_alias_setup", "randint", "randperm", "shuffle",
]

# -- chances -----------------------------------------------------------------------------------


def _chance(name: str, shape: Shape, p: Any, generator: Generator | None) -> Node:
    """True with probability p: a number, met to 2**-32, or a tensor, to 2**-24 (53 for float64)."""
    words = random.word_nodes(shape, generator)
    if isinstance(p, Tensor):
        p = required(name, "expected probabilities in [0, 1], got one outside", p,
                     (p >= 0) & (p <= 1))
        wide = random.wide_of(p.dtype)
        unit = random.unit_node(words(random.bits_of(wide)), wide)
        return N.elementwise("lt", unit, N.expand_to(N.cast(read(p), wide), shape))
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: expected a probability in [0, 1], got {p}")
    limit = round(p * 2 ** 32)
    if limit == 1 << 32:
        return constant(dt.bool_, True, shape)
    return N.elementwise("lt", words(dt.uint32), number(name, limit, dt.uint32, shape))


def bernoulli(p: Any = 0.5, size: Any = None, dtype: Any = None,
              generator: Generator | None = None, device: Any = None) -> Tensor:
    """1 with probability p (a number or a tensor, whose shape and dtype are the result's), else 0.

    Torch7 bernoulli. Raises ValueError for p outside [0, 1]; in a tensor when it is computed.
    """
    p = coerce("bernoulli", p)
    shape = result_shape("bernoulli", size, (p,))
    own = p.dtype if isinstance(p, Tensor) else default_dtype()
    n = N.cast(_chance("bernoulli", shape, p, generator),
               own if dtype is None else as_dtype("bernoulli", dtype))
    return drawn(n, device_of("bernoulli", device, (p,)))


def bernoulli_(self: Tensor, p: Any = 0.5, generator: Generator | None = None) -> Tensor:
    """Fills with 1, with probability p (a number or a tensor), and 0. Torch7 bernoulli."""
    return _fill("bernoulli_", self, _chance("bernoulli_", self.shape, coerce("bernoulli_", p),
                                             generator))


def _fill(name: str, t: Tensor, n: Node) -> Tensor:
    check_writable(name, t)
    return write(t, N.cast(n, t.dtype))


def dropout_mask(shape: Any, p: float, dtype: Any = None, generator: Generator | None = None,
                 device: Any = None) -> Tensor:
    """0 with probability p, else 1 / (1 - p): what dropout multiplies by."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: expected a probability in [0, 1], got {p}")
    found = float_dtype("dropout", dtype)
    kept = drawn(N.cast(_chance("dropout", tuple(shape), 1.0 - p, generator), found),
                 resolve("dropout", device))
    return kept * (1.0 / (1.0 - p)) if p < 1 else kept


def dropout(x: Any, p: float = 0.5, training: bool = True, generator: Generator | None = None
            ) -> Tensor:
    """x with elements set to 0 with probability p, the others divided by 1 - p. nn.Dropout."""
    t = as_tensor("dropout", x)
    if not training or p == 0:
        return t
    return t * dropout_mask(t.shape, p, t.dtype, generator, t.device)


# -- integers ----------------------------------------------------------------------------------


def randint(low: int, high: int | None = None, size: Any = (), dtype: Any = None,
            generator: Generator | None = None, device: Any = None) -> Tensor:
    """Integers in [low, high), or [0, low) without high; int64 unless dtype is given.

    Each has the same chance, to within 2**-64. NumPy integers and randint; Torch7 random included
    both ends. Raises ValueError for an empty range or one that the dtype does not hold.
    """
    if high is None:
        low, high = 0, low
    wanted = dt.int64 if dtype is None else as_dtype("randint", dtype)
    _check_range("randint", low, high, wanted)
    n = random.integer_node(check_shape("randint", (size,)), low, high, generator)
    return drawn(_as_integers(n, wanted), resolve("randint", device))


def _check_range(name: str, low: int, high: int, dtype: DType) -> None:
    if high <= low:
        raise ValueError(f"{name}: expected low < high, got {low} and {high}")
    if dtype.is_integer:
        ends = np.iinfo(dtype.numpy)
        if low < ends.min or high - 1 > ends.max:
            raise ValueError(f"{name}: expected a range that {dtype.name} holds, got {low} to "
                             f"{high}")


def _as_integers(n: Node, dtype: DType) -> Node:
    """uint64 modulo 2**64 as a number of dtype."""
    return n if dtype is dt.uint64 else N.cast(N.cast(n, dt.int64), dtype)


def random_(self: Tensor, low: int | None = None, high: int | None = None,
            generator: Generator | None = None) -> Tensor:
    """Fills with integers in [low, high); [0, low) without high; of the dtype's whole positive
    range without either (2**24 and 2**53 for floats). Torch7 random, which included both ends."""
    if low is None and high is not None:
        raise ValueError("random_: expected low with high, got high alone")
    if low is None:
        bits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53, "bool": 1}
        low, high = 0, 1 << (bits.get(self.dtype.name)
                             or self.dtype.itemsize * 8 - (self.dtype.kind == "i"))
    elif high is None:
        low, high = 0, low
    assert high is not None
    _check_range("random_", low, high, self.dtype)
    n = random.integer_node(self.shape, low, high, generator)
    return _fill("random_", self, _as_integers(n, self.dtype))


# -- orders --------------------------------------------------------------------------------------


def randperm(n: int, dtype: Any = None, generator: Generator | None = None, device: Any = None
             ) -> Tensor:
    """The integers 0 to n - 1 in random order, int64. Torch7 randperm."""
    words = random.word_nodes(check_shape("randperm", (n,)), generator)
    order = argsort_node(words(dt.uint64), 0, False)
    order = N.cast(order, dt.int64 if dtype is None else as_dtype("randperm", dtype))
    return drawn(order, resolve("randperm", device))


def shuffle(x: Any, generator: Generator | None = None) -> Tensor:
    """x's slices along axis 0 in random order, a copy; for an integer those below it. NumPy
    permutation. Raises ValueError for a tensor without axes."""
    if isinstance(x, int):
        return randperm(x, generator=generator)
    t = as_tensor("shuffle", x)
    if not t.ndim:
        raise ValueError("shuffle: expected at least one axis, got a 0-d tensor")
    order = randperm(t.shape[0], generator=generator, device=t.device)
    return t.index_select(0, order)  # type: ignore[no-any-return]


# -- by weight -----------------------------------------------------------------------------------


def multinomial(p: Any, num_samples: int, replacement: bool = False,
                generator: Generator | None = None) -> Tensor:
    """num_samples indices from each row of weights p (1-d or 2-d, need not sum to 1), int64.

    Torch7 multinomial. Raises ValueError for more samples than columns without replacement and,
    when it is computed, for weights that are negative or not finite, for rows whose sum is 0 and,
    without replacement, for fewer weights above 0 than samples.
    """
    t = as_tensor("multinomial", p)
    if t.ndim not in (1, 2) or not t.dtype.is_float:
        raise ValueError(f"multinomial: expected floating rows of weights, got {t.dtype.name} "
                         f"{t.shape}")
    if num_samples < 0:
        raise ValueError(f"multinomial: expected a number of samples of 0 or more, got "
                         f"{num_samples}")
    rows = t.detach().to(dt.float64)
    rows = rows if t.ndim == 2 else reshape(rows, 1, -1)
    columns = rows.shape[1]
    if not replacement and num_samples > columns:
        raise ValueError(f"multinomial: expected at most {columns} samples without "
                         f"replacement, got {num_samples}")
    if num_samples and not columns:
        raise ValueError("multinomial: expected weights to choose from, got none")
    rows = required("multinomial", "expected finite weights of 0 or more, got another", rows,
                    (rows >= 0) & (rows < float("inf")))
    pick = _with_replacement if replacement else _without
    found = pick(rows, num_samples, generator)
    return found if t.ndim == 2 else reshape(found, -1)


def _without(rows: Tensor, count: int, generator: Generator | None) -> Tensor:
    """The first to arrive, each after an exponential time of rate its weight."""
    enough = (rows > 0).sum(1, keepdims=True) >= count
    rows = required("multinomial", "expected as many weights above 0 as samples, got fewer", rows,
                    enough.expand(rows.shape))
    race = exponential(1.0, rows.shape, dt.float64, generator, device=rows.device) / rows
    return race.argsort(1).narrow(1, 0, count)  # type: ignore[no-any-return]


def _with_replacement(rows: Tensor, count: int, generator: Generator | None) -> Tensor:
    """Where a uniform number falls among the running sums of shares."""
    sums = rows.cumsum(1)
    total = sums[:, -1:]
    total = required("multinomial", "expected weights with a sum above 0, got all 0", total,
                     ~(total <= 0))
    aim = rand(rows.shape[0], count, dtype=dt.float64, generator=generator, device=rows.device)
    return _last_at_most(sums / total, aim)


def _last_at_most(edges: Tensor, aim: Tensor) -> Tensor:
    """How many of its row's ascending edges are <= aim, by halving: (r, c), (r, k) -> (r, k)."""
    count, columns = edges.shape
    flat = reshape(edges, -1)
    first = tensor(np.arange(count)[:, None] * columns, device=edges.device)
    found = aim.to(dt.int64) * 0
    step = 1 << max(0, columns.bit_length() - 1)
    while step:
        probe = found + (step - 1)
        inside = probe < columns
        at = where(inside, probe, 0) + first
        found = where(inside & (flat.take(at) <= aim), found + step, found)
        step //= 2
    return found


def multinomial_alias_setup(p: Any) -> tuple[Tensor, Tensor]:
    """(alias, threshold) of a vector of weights: what `multinomial_alias` draws from in a step that
    does not depend on their number; int64 and float64. Torch7 multinomialAliasSetup.

    Walker's method with Vose's set-up (1991), on the host: forces p. Raises ValueError for weights
    that are negative, not finite or all 0.
    """
    t = as_tensor("multinomial_alias_setup", p)
    weights = np.asarray(t.numpy(), np.float64)
    if weights.ndim != 1 or not weights.size:
        raise ValueError(f"multinomial_alias_setup: expected a vector of weights, got shape "
                         f"{t.shape}")
    total = weights.sum()
    if not (weights >= 0).all() or not 0 < total < np.inf:
        raise ValueError("multinomial_alias_setup: expected finite weights of 0 or more with a sum "
                         f"above 0, got a smallest of {weights.min()} and a sum of {total}")
    share = (weights * (weights.size / total)).tolist()
    alias = list(range(weights.size))
    small = [i for i, s in enumerate(share) if s < 1]
    large = [i for i, s in enumerate(share) if s >= 1]
    while small and large:
        less, more = small.pop(), large[-1]
        alias[less] = more
        share[more] -= 1 - share[less]
        if share[more] < 1:
            small.append(large.pop())
    for i in small + large:  # one of them is empty; what rounding has left in the other is whole
        share[i] = float(weights[i] > 0)
        alias[i] = int(weights.argmax())
    return tensor(np.array(alias), device=t.device), tensor(np.array(share), device=t.device)


def multinomial_alias(state: tuple[Tensor, Tensor], size: Any = (),
                      generator: Generator | None = None) -> Tensor:
    """Indices with replacement, int64, by the tables of `multinomial_alias_setup`. Torch7
    multinomialAlias, whose output tensor gave the size."""
    alias, threshold = state
    shape = check_shape("multinomial_alias", (size,))
    words = random.word_nodes(shape, generator)
    column = drawn(N.cast(random.below_node(words, alias.shape[0]), dt.int64), alias.device)
    unit = drawn(random.unit_node(words(dt.uint64, 2), dt.float64), alias.device)
    return where(unit < threshold.take(column), column, alias.take(column))  # type: ignore[no-any-return]


CHOICES = (bernoulli, dropout, randint, randperm, shuffle, multinomial, multinomial_alias)
