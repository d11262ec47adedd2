"""Ways to draw first parameters: `nn.Linear(10, 4, init=nn.init.kaiming_normal_)`.

Each fills a tensor in place, unrecorded, and gives it back. Fans count inputs and outputs of a
weight of shape (out, in, kernel...).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..tensor import Tensor, no_grad

Initializer = Callable[[Tensor], Any]


def fans(t: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, kernel...); a vector has both equal to its length."""
    if t.ndim < 2:
        return max(int(t.size), 1), max(int(t.size), 1)
    kernel = math.prod(t.shape[2:])
    return t.shape[1] * kernel, t.shape[0] * kernel


def uniform_(t: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform in [low, high)."""
    with no_grad():
        return t.uniform_(low, high)  # type: ignore[no-any-return]


def normal_(t: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal with mean and std."""
    with no_grad():
        return t.normal_(mean, std)  # type: ignore[no-any-return]


def constant_(t: Tensor, value: float) -> Tensor:
    """One number everywhere."""
    with no_grad():
        return t.fill_(value)  # type: ignore[no-any-return]


def zeros_(t: Tensor) -> Tensor:
    """0 everywhere."""
    return constant_(t, 0)


def ones_(t: Tensor) -> Tensor:
    """1 everywhere."""
    return constant_(t, 1)


def standard_(t: Tensor, fan_in: int | None = None) -> Tensor:
    """Torch7's: uniform in (-s, s), s = 1 / sqrt(fan_in)."""
    s = 1 / math.sqrt(max(fan_in if fan_in is not None else fans(t)[0], 1))
    return uniform_(t, -s, s)


def xavier_uniform_(t: Tensor, gain: float = 1.0) -> Tensor:
    """Glorot's: uniform in (-a, a), a = gain * sqrt(6 / (fan_in + fan_out))."""
    a = gain * math.sqrt(6 / sum(fans(t)))
    return uniform_(t, -a, a)


def xavier_normal_(t: Tensor, gain: float = 1.0) -> Tensor:
    """Glorot's: normal with std gain * sqrt(2 / (fan_in + fan_out))."""
    return normal_(t, 0, gain * math.sqrt(2 / sum(fans(t))))


def kaiming_uniform_(t: Tensor, gain: float = math.sqrt(2)) -> Tensor:
    """He's, for ReLU: uniform in (-a, a), a = gain * sqrt(3 / fan_in)."""
    a = gain * math.sqrt(3 / fans(t)[0])
    return uniform_(t, -a, a)


def kaiming_normal_(t: Tensor, gain: float = math.sqrt(2)) -> Tensor:
    """He's, for ReLU: normal with std gain / sqrt(fan_in)."""
    return normal_(t, 0, gain / math.sqrt(fans(t)[0]))


def reset_parameter(t: Tensor, fan_in: int, stdv: Any = None, init: Initializer | None = None
                    ) -> None:
    """What layers do at birth and in `reset`: `init`, or the standard draw, or one of std stdv."""
    if init is not None and stdv is None:
        with no_grad():
            init(t)
    elif stdv is None:
        standard_(t, fan_in)
    else:
        s = stdv * math.sqrt(3)
        uniform_(t, -s, s)
