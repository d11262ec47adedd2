"""The base of optimisers: parameter groups, state, and steps that stay lazy.

A step writes each parameter in place as an expression over its gradient, so the update fuses with
the gradient's kernel. Hyperparameters are run-time numbers: a new learning rate compiles nothing,
also inside a compiled step. State is made when the optimiser is made, so that every step is the
same program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType, float64
from flambeau.compiler.node import Node

from .. import realize as door
from .. import tracing
from ..autograd import settle
from ..creation import relocate, tensor
from ..nn.module import Module
from ..nn.parameters import value_of, zero
from ..tensor import Tensor, enable_grad, result, write


class Setting(N.Scalar):
    """A hyperparameter's place in a program: a compiled step asks for its present value."""

    __slots__ = ("group", "name")

    def __init__(self, group: Group, name: str) -> None:
        super().__init__(float(group[name]))
        self.group, self.name = group, name

    def current(self) -> float:
        return float(self.group[self.name])

    @property
    def watch(self) -> tuple[dict[str, Any], str]:  # type: ignore[override]
        return self.group, self.name


class Group(dict[str, Any]):
    """Parameters that share hyperparameters: {"params": [...], "lr": 0.1, ...}.

    Change a number at any time; the next step uses it.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self._made: dict[tuple[str, DType], tuple[Any, Node]] = {}

    def node(self, name: str, dtype: DType) -> Node:
        """A hyperparameter as a 0-d node."""
        value = self[name]
        if isinstance(value, Tensor):
            return N.cast(N.reshape(value_of(value), ()), dtype)
        if tracing.active():
            return N.node("scalar", dtype, (), (), Setting(self, name))
        known = self._made.get((name, dtype))
        if known is None or known[0] != value:
            known = self._made[name, dtype] = (value, N.scalar(dtype, float(value)))
        return known[1]


class Rule:
    """What an update formula sees of one parameter: `h.lr` and other hyperparameters as nodes of
    the parameter's shape, and its state."""

    __slots__ = ("dtype", "group", "optimizer", "p", "shape")

    def __init__(self, optimizer: Optimizer, group: Group, p: Tensor) -> None:
        self.optimizer, self.group, self.p = optimizer, group, p
        self.dtype, self.shape = p.dtype, p.shape

    def __getitem__(self, name: str) -> Node:
        return N.expand_to(self.group.node(name, self.dtype), self.shape)

    def wide(self, name: str) -> Node:
        """A hyperparameter as a 0-d float64 node."""
        return self.group.node(name, float64)

    def state(self, name: str) -> Node:
        """The present value of a state tensor."""
        return value_of(self.optimizer._tensor(self.p, name))

    def keep(self, name: str, value: Node) -> Node:
        """Writes a state tensor; gives the value."""
        t = self.optimizer._tensor(self.p, name)
        write(t, value)
        door.due.add(t._storage)
        return value


class Optimizer:
    """Base of optimisers. params: tensors, a module, or a list of dicts with "params" and
    hyperparameters of their own (a group each).

    A subclass gives its defaults, `state_names` for a group, and `update`.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: dict[int, dict[str, Tensor]] = {}  # by id of the parameter
        self.param_groups: list[Group] = []
        given = self._listed(params)
        if not given:
            raise ValueError(f"{self._name}: expected parameters, got none")
        if not isinstance(given[0], dict):
            given = [{"params": given}]
        for group in given:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _listed(self, params: Any) -> list[Any]:
        if isinstance(params, Module):
            return list(params.params())
        if isinstance(params, Tensor):
            return [params]
        if not isinstance(params, Iterable):
            raise TypeError(f"{self._name}: expected a module, tensors or groups of tensors, got "
                            f"{params!r}")
        return list(params)

    def add_param_group(self, group: dict[str, Any]) -> None:
        """More parameters, with hyperparameters of their own where given."""
        tensors = self._listed(group["params"])
        unknown = set(group) - set(self.defaults) - {"params"}
        if unknown:
            raise TypeError(f"{self._name}: expected hyperparameters among "
                            f"{sorted(self.defaults)}, got {sorted(unknown)}")
        seen = {id(p) for g in self.param_groups for p in g["params"]}
        for p in tensors:
            if not isinstance(p, Tensor) or not p.dtype.is_float:
                raise TypeError(f"{self._name}: expected floating tensors, got {p!r}")
            if id(p) in seen:
                raise ValueError(f"{self._name}: expected each parameter once, got one of shape "
                                 f"{p.shape} twice")
            seen.add(id(p))
        made = Group({**self.defaults, **group, "params": tensors})
        self._check(made)
        self.param_groups.append(made)
        for p in tensors:
            for name in self.state_names(made):
                self._tensor(p, name)

    def _check(self, group: Group) -> None:
        for name, value in group.items():
            if name != "params" and isinstance(value, int | float) and value < 0:
                raise ValueError(f"{self._name}: expected {name} of 0 or more, got {value}")

    # -- what a subclass writes ----------------------------------------------------------------

    def state_names(self, group: Group) -> Iterable[str]:
        """The state tensors of each parameter: "step" is 0-d float64, others like the parameter."""
        return ()

    def update(self, p: Node, g: Node, h: Rule) -> Node:
        """The parameter's new value from its value and gradient."""
        raise NotImplementedError

    # -- stepping ------------------------------------------------------------------------------

    def _tensor(self, p: Tensor, name: str) -> Tensor:
        own = self.state.setdefault(id(p), {})
        if name not in own:
            if tracing.active():
                raise RuntimeError(f"{self._name}: expected {name!r} to be used from the start, "
                                   "got it first inside a compiled function; make a new optimiser "
                                   "with the new settings")
            step = name == "step"
            own[name] = result(N.const(float64, 0) if step else N.const(p.dtype, 0, p.shape),
                               False, p.device)
        relocate(own[name]._storage, p._storage.device)
        return own[name]

    def follow(self) -> None:
        """Takes the state to where the parameters are now, after a model moved."""
        for p in self._params():
            for t in self.state.get(id(p), {}).values():
                relocate(t._storage, p._storage.device)

    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Updates every parameter that has a gradient. closure: computes the loss and gradients
        first; its value is given back. Nothing is computed until a value is asked for, or until
        the step after."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        self.apply([(p, p.grad, group) for group in self.param_groups for p in group["params"]
                    if p.grad is not None])
        return loss

    def apply(self, work: list[tuple[Tensor, Tensor, Group]]) -> None:
        """Updates parameters along the gradients given."""
        settle([p for p, _, _ in work])
        for p, grad, group in work:
            g = value_of(grad)
            new = self.update(value_of(p), g, Rule(self, group, p))
            write(p, new)
            door.due.add(p._storage)

    def zero_grad(self) -> None:
        """Drops gradients; those that are views of a flat vector become zero instead."""
        views = []
        for group in self.param_groups:
            for p in group["params"]:
                g = p.grad
                if g is not None and g._view is not None and g._view.steps:
                    views.append(g)
                else:
                    p.grad = None
        if views:
            zero(views)

    @property
    def lr(self) -> Any:
        """The learning rate of the first group; setting it sets all groups'."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: Any) -> None:
        for group in self.param_groups:
            group["lr"] = value

    # -- state ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Hyperparameters and state, parameters by number: plain values and tensors."""
        number = {id(p): i for i, p in enumerate(self._params())}
        return {"state": {number[k]: {name: result(value_of(t), False, t.device)
                                        for name, t in own.items()}
                          for k, own in self.state.items()},
                "groups": [{k: v for k, v in g.items() if k != "params"}
                           for g in self.param_groups]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from a `state_dict`. Raises ValueError for other groups or shapes."""
        if len(state["groups"]) != len(self.param_groups):
            raise ValueError(f"{self._name}: expected {len(self.param_groups)} groups, got "
                             f"{len(state['groups'])}")
        for group, values in zip(self.param_groups, state["groups"]):
            group.update(values)
        for i, p in enumerate(self._params()):
            for name, value in state["state"].get(i, {}).items():
                mine = self._tensor(p, name)
                given = value if isinstance(value, Tensor) else tensor(value, mine.dtype)
                if given.shape != mine.shape:
                    raise ValueError(f"{self._name}: expected {name} of shape {mine.shape}, got "
                                     f"{given.shape}")
                write(mine, N.cast(value_of(given), mine.dtype))

    def _params(self) -> list[Tensor]:
        return [p for g in self.param_groups for p in g["params"]]

    def __repr__(self) -> str:
        groups = "; ".join(", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}"
                                     for k, v in g.items() if k != "params")
                           + f" on {len(g['params'])} tensors" for g in self.param_groups)
        return f"{self._name}({groups})"
