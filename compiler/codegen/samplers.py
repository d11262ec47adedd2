"""Random numbers by rejection, inside kernels: every lane tries until its number is accepted.

The `sample` op's functions. Try t of element i takes the Philox blocks of stream 2**15 + t and
number i, so a number depends on its element alone: not on lanes that need more tries. Lanes that
are done keep their result while the others go on; parameters without a distribution give NaN.
Each function is written once per type and number of lanes, and called.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from flambeau.compiler.codegen import maths, philox
from flambeau.compiler.codegen.emit import Block, Function, Module, Type, Value
from flambeau.compiler.codegen.maths_lanes import (
    INLINE,
    Lanes,
    at_least,
    at_most,
    mad,
    unless,
    where,
)

TRIES = 1 << 10  # more than any number ever needs; a bound on every loop
STREAMS = 1 << 15  # tries have the upper half of a draw's streams
SECOND = 44  # a try's second block has this bit of its number; elements are fewer


@dataclass(frozen=True)
class Source:
    """The random bits of each lane's element."""

    index: Lanes
    draw: Lanes
    key: Lanes

    def words(self, attempt: Lanes, second: bool = False) -> tuple[Lanes, Lanes]:
        """Two words of 64 bits for this try."""
        number = self.index ^ ((attempt + STREAMS) << philox.STREAM)
        if second:
            number = number ^ (1 << SECOND)
        block = self.index.block
        return tuple(map(self.index.put, philox.pairs(  # type: ignore[return-value]
            block, number.value, self.draw.value, self.key.value)))


def unit(word: Lanes, like: Lanes) -> Lanes:
    """Uniform in (0, 1), from the upper 53 bits of a word; or for floats from its lower 32."""
    if like.type.scalar == "double":
        return (word.lshr(11).convert("sitofp", "double") + 0.5) * 2.0 ** -53
    number = word.convert("trunc", "i32").convert("uitofp", "float")
    return ((number + 0.5) * 2.0 ** -32).intrinsic("llvm.minimum", 1 - 2.0 ** -24)


def call(name: str, *args: Lanes) -> Lanes:
    """An elementary function."""
    return args[0].put(maths.call(args[0].block, name, *(a.value for a in args)))


# -- loops ---------------------------------------------------------------------------------------


def until_done(state: list[Lanes], step: Callable[[list[Lanes]], tuple[list[Lanes], Lanes]]
               ) -> list[Lanes]:
    """Repeats step, which gives the next state and the lanes that go on, until none does."""
    block, names = state[0].block, state[0].block.names
    before, top, done = (names.fresh(word) for word in ("before", "top", "done"))
    block.branch(before)
    block.label(before)
    block.branch(top)
    block.label(top)
    slot = block.child()  # for the phis, written once their second sources are known
    now = [s.put(Value(s.type, names.fresh())) for s in state]
    after, again = step(now)
    last = names.fresh("last")
    block.branch(last)
    block.label(last)
    for a, s, n in zip(state, now, after):
        slot.line(f"{s.value.text} = phi {s.type} [ {a.value.text}, %{before} ], "
                  f"[ {n.value.text}, %{last} ]")
    block.branch_if(again.any(), top, done)
    block.label(done)
    return after


def accepted(source: Source, valid: Lanes, like: Lanes,
             propose: Callable[[Lanes], tuple[Lanes, Lanes]]) -> Lanes:
    """The first accepted proposal of each lane; NaN where it is not valid.

    propose(number of the try) gives a value and whether it is accepted.
    """
    def step(state: list[Lanes]) -> tuple[list[Lanes], Lanes]:
        attempt, found, open_ = state[0], state[1], state[2]
        value, good = propose(attempt)
        more = open_ & ~good
        return [attempt + 1, where(open_ & good, value, found), more], more & (
            attempt < TRIES)

    start = [source.index & 0, like * 0.0 + math.nan, valid]
    return until_done(start, step)[1]


# -- the distributions -----------------------------------------------------------------------------


def gamma(shape: Lanes, unused: Lanes, source: Source) -> Lanes:
    """Gamma of shape 1 or more and scale 1 (Marsaglia and Tsang, 2000)."""
    d = shape - 1 / 3
    c = 1.0 / (d * 9.0).sqrt()

    def propose(attempt: Lanes) -> tuple[Lanes, Lanes]:
        first, second = source.words(attempt)
        if shape.type.scalar == "double":
            angle, chance = unit(second, shape), unit(source.words(attempt, True)[0], shape)
        else:
            angle, chance = unit(second, shape), unit(second.lshr(32), shape)
        radius = (call("log", unit(first, shape)) * -2.0).sqrt()
        x = radius * call("cos", angle * (2 * math.pi))
        step = c * x
        t = step * mad(step, step + 3.0, 3.0)  # (1 + step)^3 - 1
        log_v = call("log1p", t)
        good = call("log", chance) < x * x * 0.5 + d * (log_v - t)
        return d * t + d, good & (step > -1.0)

    return accepted(source, (shape >= 1.0) & (shape < math.inf), shape, propose)


def poisson(rate: Lanes, unused: Lanes, source: Source) -> Lanes:
    """Poisson: by search from 0 for rates below 10, else Hörmann's PTRS (1993)."""
    few = where(rate < 10.0, rate, 1.0)

    def ratio(k: Lanes) -> Lanes:
        return few / k

    valid = (rate >= 0.0) & (rate < math.inf)
    low = where(valid, searched(call("exp", -few), ratio, source, few), math.nan)
    large = valid & (rate >= 10.0)
    return unless(large, low, lambda: _ptrs(rate, large, source))


def _ptrs(rate: Lanes, valid: Lanes, source: Source) -> Lanes:
    root, log_rate = rate.sqrt(), call("log", rate)
    b = root * 2.53 + 0.931
    a = b * 0.02483 - 0.059
    log_alpha = call("log", 1.1328 / (b - 3.4) + 1.1239)
    sure = 0.9277 - 3.6224 / (b - 2.0)

    def propose(attempt: Lanes) -> tuple[Lanes, Lanes]:
        u, v = (unit(w, rate) for w in source.words(attempt))
        u = u - 0.5
        us = 0.5 - abs(u)
        k = mad(a * 2.0 / us + b, u, rate + 0.43).intrinsic("llvm.floor")
        left = call("log", v) + log_alpha - call("log", a / (us * us) + b)
        right = k * log_rate - rate - call("lgamma", k + 1.0)
        quick = (us >= 0.07) & (v <= sure)
        hopeless = (k < 0.0) | ((us < 0.013) & (v > us))
        return k, quick | (~hopeless & (left <= right))

    return accepted(source, valid, rate, propose)


def searched(first: Lanes, ratio: Callable[[Lanes], Lanes], source: Source, like: Lanes) -> Lanes:
    """The smallest k whose probabilities 0 to k exceed a uniform number: they start with `first`
    and go on by ratio(k)."""
    zero = like * 0.0
    aim = unit(source.words(source.index & 0)[0], like)

    def step(state: list[Lanes]) -> tuple[list[Lanes], Lanes]:
        k, p, total, more = state
        next_k = k + 1.0
        next_p = p * ratio(next_k)
        next_total = total + next_p
        go = more & (next_total < aim) & (next_k < 200.0)
        return [where(more, next_k, k), next_p, next_total, go], go

    return where(first < aim, until_done([zero, first, first, first < aim], step)[0], 0.0)


def binomial(count: Lanes, p: Lanes, source: Source) -> Lanes:
    """Binomial: by search from 0 for an expectation below 10, else Hörmann's BTRS (1993).

    More than half: the failures are counted.
    """
    mirrored = p > 0.5
    q = where(mirrored, 1.0 - p, p)
    valid = (p >= 0.0) & (p <= 1.0) & (count >= 0.0) & (count < math.inf)
    small = count * q < 10.0
    few, odds = where(small, count, 1.0), q / (1.0 - q)

    def ratio(k: Lanes) -> Lanes:
        return (few + 1.0 - k) / k * odds

    low = searched(call("exp", few * call("log1p", -q)), ratio, source, few)
    low = where(low > few, few, low)  # a last probability that rounding has lost
    large = valid & ~small
    found = unless(large, low, lambda: _btrs(count, q, odds, large, source))
    return where(valid, where(mirrored, count - found, found), math.nan)


def _btrs(n: Lanes, p: Lanes, odds: Lanes, valid: Lanes, source: Source) -> Lanes:
    spread = (n * p * (1.0 - p)).sqrt()
    b = spread * 2.53 + 1.15
    a = b * 0.0248 + p * 0.01 - 0.0873
    centre = n * p + 0.5
    sure = 0.92 - 4.2 / b
    alpha = (5.1 / b + 2.83) * spread
    mode = ((n + 1.0) * p).intrinsic("llvm.floor")
    log_odds = call("log", odds)
    top = call("lgamma", mode + 1.0) + call("lgamma", n - mode + 1.0)

    def propose(attempt: Lanes) -> tuple[Lanes, Lanes]:
        u, v = (unit(w, n) for w in source.words(attempt))
        u = u - 0.5
        us = 0.5 - abs(u)
        k = mad(a * 2.0 / us + b, u, centre).intrinsic("llvm.floor")
        left = call("log", v * alpha / (a / (us * us) + b))
        inside = (k >= 0.0) & (k <= n)
        safe = where(inside, k, 0.0)
        right = (top - call("lgamma", safe + 1.0) - call("lgamma", n - safe + 1.0)
                 + (safe - mode) * log_odds)
        quick = (us >= 0.07) & (v <= sure)
        return k, inside & (quick | (left <= right))

    return accepted(source, valid, n, propose)


def von_mises(concentration: Lanes, unused: Lanes, source: Source) -> Lanes:
    """Von Mises around 0 (Best and Fisher, 1979)."""
    kappa = at_least(concentration, 1e-8)
    r = (kappa * kappa * 4.0 + 1.0).sqrt() + 1.0
    rho = (r - (r * 2.0).sqrt()) / (kappa * 2.0)
    s = where(kappa < 1e-5, 1.0 / kappa + kappa, (rho * rho + 1.0) / (rho * 2.0))

    def propose(attempt: Lanes) -> tuple[Lanes, Lanes]:
        turn, chance = (unit(w, kappa) for w in source.words(attempt))
        side = unit(source.words(attempt, True)[0], kappa) - 0.5
        z = call("cos", turn * math.pi)
        f = (s * z + 1.0) / (s + z)
        c = kappa * (s - f)
        good = (c * (2.0 - c) > chance) | (call("log", c / chance) + 1.0 - c >= 0.0)
        return call("acos", at_most(at_least(f, -1.0), 1.0)).with_sign(side), good

    valid = (concentration >= 0.0) & (concentration < math.inf)
    return accepted(source, valid, kappa, propose)


def truncated(low: Lanes, high: Lanes, source: Source) -> Lanes:
    """Standard normal between two ends (after Robert, 1995).

    Mirrored so that the nearer end is the lower: exponential proposals above 0, normal or uniform
    ones around it. At least two of five are accepted.
    """
    mirrored = low + high < 0.0
    a, b = where(mirrored, -high, low), where(mirrored, -low, high)
    rate = (a + (a * a + 4.0).sqrt()) * 0.5
    beyond, wide = a > 0.0, b - a > 2.5
    share = -call("expm1", -rate * (b - a))

    def propose(attempt: Lanes) -> tuple[Lanes, Lanes]:
        first, second = (unit(w, low) for w in source.words(attempt))
        chance = unit(source.words(attempt, True)[0], low)
        tail = a - call("log1p", -first * share) / rate
        normal = (call("log", first) * -2.0).sqrt() * call("cos", second * (2 * math.pi))
        flat = a + first * (b - a)
        x = where(beyond, tail, where(wide, normal, flat))
        off = where(beyond, x - rate, where(wide, 0.0, x))
        good = (call("log", chance) <= off * off * -0.5) & (x >= a) & (x <= b)
        return where(mirrored, -x, x), good

    return accepted(source, low < high, low, propose)


SAMPLERS: dict[str, Callable[[Lanes, Lanes, Source], Lanes]] = {
    "gamma": gamma, "poisson": poisson, "binomial": binomial, "von_mises": von_mises,
    "truncated": truncated}


def sample(b: Block, name: str, args: tuple[Value, ...]) -> Value:
    """Calls the sampler at the type of args: two parameters, index, draw, key."""
    kind = args[0].type
    symbol = f"fb_sample_{name}_{kind.mangled}"
    if symbol not in b.module.definitions:
        _define(b.module, symbol, name, kind)
    return b.call(symbol, kind, *args)


def _define(module: Module, symbol: str, name: str, kind: Type) -> None:
    kinds = [kind, kind, *(kind.of("i64"),) * 3]
    function = Function(module, symbol, kind, [(f"x{i}", t, "") for i, t in enumerate(kinds)],
                        module.attribute_group(INLINE), "internal")
    a, c, *bits = (Lanes(function.entry, function[i]) for i in range(5))
    function.ret(function.entry, SAMPLERS[name](a, c, Source(*bits)).value)
    function.finish()
