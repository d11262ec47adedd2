"""What random numbers mean, in NumPy: Philox blocks, and the samplers that reject.

The `reference` device's part of compiler/codegen/philox.py and samplers.py: the same algorithms,
the same bits, one round of tries for all elements at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from flambeau.compiler.node import Node
from flambeau.compiler.ops import OPS

Array = np.ndarray
Propose = Callable[[int], tuple[Array, Array]]


def philox_words(index: np.ndarray, offset: np.ndarray, seed: np.ndarray
                 ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Philox 4x32-10 of counter (index, offset) and key seed, each a uint64 of two words."""
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    c0, c1, c2, c3 = index & low, index >> half, offset & low, offset >> half
    k0, k1 = seed & low, seed >> half
    for _ in range(10):
        first, second = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = ((second >> half) ^ c1 ^ k0, second & low,
                          (first >> half) ^ c3 ^ k1, first & low)
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return c0, c1, c2, c3


class Source:
    """The random bits of each element."""

    def __init__(self, index: Array, draw: Array, key: Array) -> None:
        self.place = (index, draw, key)

    def units(self, attempt: int, dtype: np.dtype, second: bool = False) -> list[Array]:
        """Four uniform float32 or two float64 in (0, 1) for this try."""
        index, draw, key = self.place
        number = index ^ np.uint64(((1 << 15) + attempt) << 48 | (second << 44))
        words = philox_words(number, draw, key)
        if dtype == np.float32:
            last = np.float32(1 - 2.0 ** -24)
            half, step = np.float32(0.5), np.float32(2.0 ** -32)
            return [np.minimum((w.astype(np.float32) + half) * step, last) for w in words]
        pairs = [words[i] | words[i + 1] << np.uint64(32) for i in (0, 2)]
        return [((p >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0 ** -53 for p in pairs]


def _accepted(valid: Array, like: Array, propose: Propose) -> Array:
    """The first accepted proposal of each element; NaN where it is not valid."""
    found, waiting, attempt = np.full_like(like, np.nan), valid.copy(), 0
    while waiting.any():
        value, good = propose(attempt)
        found = np.where(waiting & good, value, found)
        waiting &= ~good
        attempt += 1
    return found


def gamma(shape: Array, unused: Array, source: Source) -> Array:
    """Gamma of shape 1 or more and scale 1 (Marsaglia and Tsang, 2000)."""
    real = shape.dtype.type
    d = shape - real(1 / 3)
    c = 1 / np.sqrt(d * real(9))

    def propose(attempt: int) -> tuple[Array, Array]:
        units = source.units(attempt, shape.dtype)
        if shape.dtype == np.float64:
            chance, angle = source.units(attempt, shape.dtype, True)[0], units[1]
        else:
            angle, chance = units[2], units[3]
        x = np.sqrt(np.log(units[0]) * real(-2)) * np.cos(angle * real(2 * np.pi))
        step = c * x
        t = step * (step * (step + real(3)) + real(3))
        good = np.log(chance) < x * x * real(0.5) + d * (np.log1p(t) - t)
        return d * t + d, good & (step > -1)

    return _accepted((shape >= 1) & (shape < np.inf), shape, propose)


def _searched(first: Array, ratio: Callable[[int], Array], source: Source) -> Array:
    """The smallest k whose probabilities 0 to k exceed a uniform number."""
    aim = source.units(0, np.dtype(np.float64))[0]
    k, p, total = np.zeros_like(first), first, first
    for i in range(1, 200):
        more = total < aim
        if not more.any():
            break
        p = p * ratio(i)
        k, total = np.where(more, i, k), np.where(more, total + p, total)
    return k


def poisson(rate: Array, unused: Array, source: Source) -> Array:
    """Poisson: by search from 0 for rates below 10, else Hörmann's PTRS (1993)."""
    few = np.where(rate < 10, rate, 1.0)
    valid = (rate >= 0) & (rate < np.inf)
    low = np.where(valid, _searched(np.exp(-few), lambda k: few / k, source), np.nan)
    b = np.sqrt(rate) * 2.53 + 0.931
    a = b * 0.02483 - 0.059
    log_alpha = np.log(1.1328 / (b - 3.4) + 1.1239)

    def propose(attempt: int) -> tuple[Array, Array]:
        u, v = source.units(attempt, rate.dtype)
        u = u - 0.5
        us = 0.5 - np.abs(u)
        k = np.floor((a * 2 / us + b) * u + (rate + 0.43))
        left = np.log(v) + log_alpha - np.log(a / (us * us) + b)
        right = k * np.log(rate) - rate - _lgamma(k + 1)
        quick = (us >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
        hopeless = (k < 0) | ((us < 0.013) & (v > us))
        return k, quick | (~hopeless & (left <= right))

    large = valid & (rate >= 10)
    return np.where(large, _accepted(large, rate, propose), low)


def binomial(count: Array, p: Array, source: Source) -> Array:
    """Binomial: by search from 0 for an expectation below 10, else Hörmann's BTRS (1993)."""
    mirrored = p > 0.5
    q = np.where(mirrored, 1 - p, p)
    valid = (p >= 0) & (p <= 1) & (count >= 0) & (count < np.inf)
    small = count * q < 10
    few, odds = np.where(small, count, 1.0), q / (1 - q)
    low = _searched(np.exp(few * np.log1p(-q)), lambda k: (few + 1 - k) / k * odds, source)
    large = valid & ~small
    found = np.where(large, _btrs(count, q, odds, large, source), np.minimum(low, few))
    return np.where(valid, np.where(mirrored, count - found, found), np.nan)


def _btrs(n: Array, p: Array, odds: Array, valid: Array, source: Source) -> Array:
    spread = np.sqrt(n * p * (1 - p))
    b = spread * 2.53 + 1.15
    a = b * 0.0248 + p * 0.01 - 0.0873
    alpha = (5.1 / b + 2.83) * spread
    mode = np.floor((n + 1) * p)
    top = _lgamma(mode + 1) + _lgamma(n - mode + 1)

    def propose(attempt: int) -> tuple[Array, Array]:
        u, v = source.units(attempt, n.dtype)
        u = u - 0.5
        us = 0.5 - np.abs(u)
        k = np.floor((a * 2 / us + b) * u + (n * p + 0.5))
        left = np.log(v * alpha / (a / (us * us) + b))
        inside = (k >= 0) & (k <= n)
        safe = np.where(inside, k, 0)
        right = (top - _lgamma(safe + 1) - _lgamma(n - safe + 1) + (safe - mode) * np.log(odds))
        quick = (us >= 0.07) & (v <= 0.92 - 4.2 / b)
        return k, inside & (quick | (left <= right))

    return _accepted(valid, n, propose)


def von_mises(concentration: Array, unused: Array, source: Source) -> Array:
    """Von Mises around 0 (Best and Fisher, 1979)."""
    kappa = np.maximum(concentration, 1e-8)
    r = 1 + np.sqrt(1 + 4 * kappa * kappa)
    rho = (r - np.sqrt(2 * r)) / (2 * kappa)
    s = np.where(kappa < 1e-5, 1 / kappa + kappa, (1 + rho * rho) / (2 * rho))

    def propose(attempt: int) -> tuple[Array, Array]:
        turn, chance = source.units(attempt, kappa.dtype)
        side = source.units(attempt, kappa.dtype, True)[0] - 0.5
        z = np.cos(turn * np.pi)
        f = (s * z + 1) / (s + z)
        c = kappa * (s - f)
        good = (c * (2 - c) > chance) | (np.log(c / chance) + 1 - c >= 0)
        return np.copysign(np.arccos(np.clip(f, -1, 1)), side), good

    return _accepted((concentration >= 0) & (concentration < np.inf), kappa, propose)


def truncated(low: Array, high: Array, source: Source) -> Array:
    """Standard normal between two ends (after Robert, 1995)."""
    mirrored = low + high < 0
    a, b = np.where(mirrored, -high, low), np.where(mirrored, -low, high)
    rate = (a + np.sqrt(a * a + 4)) / 2
    beyond, wide = a > 0, b - a > 2.5
    share = -np.expm1(-rate * (b - a))

    def propose(attempt: int) -> tuple[Array, Array]:
        first, second = source.units(attempt, low.dtype)
        chance = source.units(attempt, low.dtype, True)[0]
        tail = a - np.log1p(-first * share) / rate
        normal = np.sqrt(np.log(first) * -2) * np.cos(second * (2 * np.pi))
        flat = a + first * (b - a)
        x = np.where(beyond, tail, np.where(wide, normal, flat))
        off = np.where(beyond, x - rate, np.where(wide, 0, x))
        good = (np.log(chance) <= off * off * -0.5) & (x >= a) & (x <= b)
        return np.where(mirrored, -x, x), good

    return _accepted(low < high, low, propose)


def _lgamma(x: Array) -> Array:
    f = OPS["lgamma"].numpy
    assert f is not None
    return np.asarray(f(np.asarray(x)))


SAMPLERS: dict[str, Callable[[Array, Array, Source], Array]] = {
    "gamma": gamma, "poisson": poisson, "binomial": binomial, "von_mises": von_mises,
    "truncated": truncated}


def sample(n: Node, a: Array, b: Array, index: Array, draw: Array, key: Array) -> Array:
    """The op `sample`."""
    return SAMPLERS[n.arg](a, b, Source(index, draw, key))
