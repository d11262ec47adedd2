"""Stochastic gradient descent, as a class and as Torch7's function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flambeau.compiler import node as N
from flambeau.compiler.algebra import add, mul, sub
from flambeau.compiler.node import Node

from .. import realize as door
from ..autograd import settle
from ..tensor import Tensor, no_grad
from .optimizer import Group, Optimizer, Rule


class SGD(Optimizer):
    """p -= lr * g, with g + weight_decay * p for g, and momentum: b = momentum * b +
    (1 - dampening) * g stands for g (nesterov: g + momentum * b). The first b is g.

    Torch7's sgd took dampening = momentum unless told; here it is 0.
    """

    def __init__(self, params: Any, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0,
                 nesterov: bool = False, weight_decay: float = 0) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("SGD: expected momentum and no dampening for nesterov, got momentum "
                             f"{momentum}, dampening {dampening}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening,
                                  "nesterov": nesterov, "weight_decay": weight_decay})

    def state_names(self, group: Group) -> Iterable[str]:
        if not group["momentum"]:
            return ()
        return ("momentum", "step") if group["dampening"] else ("momentum",)

    def update(self, p: Node, g: Node, h: Rule) -> Node:
        if h.group["weight_decay"]:
            g = add(g, mul(h["weight_decay"], p))
        if h.group["momentum"]:
            fresh = g
            if h.group["dampening"]:
                step = h.keep("step", add(h.state("step"), 1))
                first = N.elementwise("eq", step, N.const(step.dtype, 1))
                kept = sub(1, h["dampening"])
                factor = N.elementwise("where", N.expand_to(first, p.shape),
                                       N.const(p.dtype, 1, p.shape), kept)
                fresh = mul(factor, g)
            b = h.keep("momentum", add(mul(h["momentum"], h.state("momentum")), fresh))
            g = add(g, mul(h["momentum"], b)) if h.group["nesterov"] else b
        return sub(p, mul(h["lr"], g))


Evaluate = Callable[[Tensor], tuple[Any, Tensor]]


def sgd(opfunc: Evaluate, x: Tensor, config: dict[str, Any] | None = None,
        state: dict[str, Any] | None = None) -> tuple[Tensor, list[Any]]:
    """One step of Torch7's optim.sgd: opfunc(x) gives (f, df/dx); changes x; gives (x, [f]).

    config: learning_rate 1e-3, learning_rate_decay 0, weight_decay 0, momentum 0, dampening 0
    (Torch7: momentum), nesterov False, learning_rates and weight_decays (tensors like x).
    state (config if None) keeps eval_counter and the momentum.
    """
    config = {} if config is None else config
    state = config if state is None else state
    momentum, dampening = config.get("momentum", 0), config.get("dampening", 0)
    if config.get("nesterov") and (momentum <= 0 or dampening != 0):
        raise ValueError("sgd: expected momentum and no dampening for nesterov, got momentum "
                         f"{momentum}, dampening {dampening}")
    f, g = opfunc(x)
    count = state.get("eval_counter", 0)
    settle([x])
    with no_grad():
        if config.get("weight_decay", 0):
            g = g + x * config["weight_decay"]
        elif config.get("weight_decays") is not None:
            g = g + x * config["weight_decays"]
        if momentum:
            b = state.get("dfdx")
            b = g.clone() if b is None else b * momentum + g * (1 - dampening)
            state["dfdx"] = b
            door.due.add(b._storage)
            g = g + b * momentum if config.get("nesterov") else b
        decay = 1 + count * config.get("learning_rate_decay", 0)
        rate = config.get("learning_rate", 1e-3) / decay
        if config.get("learning_rates") is not None:
            g = g * config["learning_rates"]
        x.sub_(g * rate)
        door.due.add(x._storage)
    state["eval_counter"] = count + 1
    return x, [f]
