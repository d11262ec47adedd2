"""Adam, as classes and as Torch7's function."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flambeau.compiler import node as N
from flambeau.compiler.algebra import add, div, mul, square, sub, unary
from flambeau.compiler.node import Node

from .. import realize as door
from ..autograd import settle
from ..tensor import Tensor, no_grad
from .optimizer import Group, Optimizer, Rule
from .sgd import Evaluate


class Adam(Optimizer):
    """p -= lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps), where m and v are running
    means of g and g^2 with betas, and g includes weight_decay * p. Torch7 optim.adam.
    """

    decoupled = False  # does weight decay shrink the parameter itself?

    def __init__(self, params: Any, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0) -> None:
        if not all(0 <= b < 1 for b in betas):
            raise ValueError(f"{self._name}: expected betas in [0, 1), got {betas}")
        super().__init__(params, {"lr": lr, "beta1": betas[0], "beta2": betas[1], "eps": eps,
                                  "weight_decay": weight_decay})

    def state_names(self, group: Group) -> Iterable[str]:
        return "m", "v", "step"

    def update(self, p: Node, g: Node, h: Rule) -> Node:
        if h.group["weight_decay"] and not self.decoupled:
            g = add(g, mul(h["weight_decay"], p))
        step = h.keep("step", add(h.state("step"), 1))
        m = h.keep("m", _mean(h["beta1"], h.state("m"), g))
        v = h.keep("v", _mean(h["beta2"], h.state("v"), square(g)))
        of_m, of_v = (sub(1, N.elementwise("pow", h.wide(b), step)) for b in ("beta1", "beta2"))
        rate = N.cast(div(mul(h.wide("lr"), unary("sqrt", of_v)), of_m), p.dtype)
        if self.decoupled and h.group["weight_decay"]:
            p = sub(p, mul(mul(h["lr"], h["weight_decay"]), p))
        return sub(p, mul(N.expand_to(rate, p.shape), div(m, add(unary("sqrt", v), h["eps"]))))


def _mean(beta: Node, old: Node, new: Node) -> Node:
    return add(mul(beta, old), mul(sub(1, beta), new))


class AdamW(Adam):
    """Adam whose weight decay shrinks parameters by lr * weight_decay * p, apart from m and v."""

    decoupled = True

    def __init__(self, params: Any, lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 1e-2) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)


def adam(opfunc: Evaluate, x: Tensor, config: dict[str, Any] | None = None,
         state: dict[str, Any] | None = None) -> tuple[Tensor, list[Any]]:
    """One step of Torch7's optim.adam: opfunc(x) gives (f, df/dx); changes x; gives (x, [f]).

    config: learning_rate 1e-3, learning_rate_decay 0, beta1 0.9, beta2 0.999, epsilon 1e-8,
    weight_decay 0. state (config if None) keeps t, m and v.
    """
    config = {} if config is None else config
    state = config if state is None else state
    beta1, beta2 = config.get("beta1", 0.9), config.get("beta2", 0.999)
    f, g = opfunc(x)
    t = state.get("t", 0)
    rate = config.get("learning_rate", 1e-3) / (1 + t * config.get("learning_rate_decay", 0))
    t += 1
    settle([x])
    with no_grad():
        if config.get("weight_decay", 0):
            g = g + x * config["weight_decay"]
        m, v = state.get("m"), state.get("v")
        m = g * (1 - beta1) if m is None else m * beta1 + g * (1 - beta1)
        v = g * g * (1 - beta2) if v is None else v * beta2 + g * g * (1 - beta2)
        step = rate * ((1 - beta2 ** t) ** 0.5 / (1 - beta1 ** t))
        x.sub_(m / (v.sqrt() + config.get("epsilon", 1e-8)) * step)
        for s in (x, m, v):
            door.due.add(s._storage)
    state.update(t=t, m=m, v=v)
    return x, [f]
