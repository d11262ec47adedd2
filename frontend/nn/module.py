"""Module: what every layer, container and network is.

A layer writes `compute(input)`: its forward formula over tensors. From it the base class makes the
whole of Torch7's contract by differentiation: `forward`, `backward`, `update_grad_input`,
`acc_grad_parameters`, ... Everything stays lazy: a training step is one program, run when a value
is asked for. A layer may also write Torch7's methods (`update_output`, `update_grad_input`,
`acc_grad_parameters`) by hand; all other ways to a gradient then use those.

`module.grad_weight` is `module.weight.grad`: Torch7's loop (`backward`, `update_parameters`) and
PyTorch's (`loss.backward()`, `optimizer.step()`) work on the same gradients.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N

from .. import realize as door
from .. import tracing
from ..autograd import accumulate, settle
from ..creation import tensor
from ..devices import resolve
from ..tensor import Tensor, as_dtype, leaves, read, result, write
from ..training import Step
from . import parameters as P
from .parameters import Parameter, gradient_of
from .running import ByHand, Run, cotangents, current, forget_after_trace
from .tree import PRIVATE, Tree, blame

_ERRORS = (ValueError, TypeError, IndexError, RuntimeError)
M = TypeVar("M", bound="Module")
known: dict[str, Any] = {}  # classes by name, for loading
Real = float  # Module has a method called float


class Module(Tree):
    """Base of everything with a forward and a backward pass.

    output, grad_input: results of the last passes. is_training: set by training() and evaluate().
    Parameters, buffers and children are whatever attributes hold them, also inside lists and dicts.
    """

    output: Any = None
    _run: Run | None = None
    _grad_input: Any = None
    _flat: tuple[Tensor, Tensor] | None = None
    _by_hand = False  # does the class write a backward of its own?
    _config: tuple[tuple[Any, ...], dict[str, Any]]
    _ready = False  # are the parameters' first values computed?

    def __new__(cls, *args: Any, **options: Any) -> Any:
        made = object.__new__(cls)
        made._config = (args, options)  # what saving writes down
        return made

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._by_hand = (cls.update_grad_input is not Module.update_grad_input
                        or cls.acc_grad_parameters is not Module.acc_grad_parameters)
        known[cls.__name__] = cls

    # -- the passes --------------------------------------------------------------------------

    def compute(self, input: Any) -> Any:
        """The layer's formula; what a new layer writes."""
        raise NotImplementedError(f"{type(self).__name__}: expected a compute(input) method")

    def update_output(self, input: Any) -> Any:
        """The forward pass without its bookkeeping; `compute` unless a layer writes it."""
        return self.compute(input)

    def forward(self, input: Any) -> Any:
        """The output for an input: a tensor, or a table (list) of tensors."""
        outer = current.run
        if outer is None and not tracing.active():
            if not self._ready:
                self._prepare()
            if door.due or door.postponed.new:  # the last step's updates: its graph ends here
                door.settle()
        try:
            run = Run(input)
            current.run = run
            output = self.update_output(run.stand_in)
            run.finish(output)
        except _ERRORS as error:
            blame(self, error)
            raise
        finally:
            current.run = outer
        if self._by_hand:
            output = ByHand(self, run).around(output)
        if tracing.active():
            forget_after_trace(self)
        self._run = run
        self.output = output
        return output

    def _prepare(self) -> None:
        """Computes the parameters' first draws, all in one program apart from training's."""
        if not tracing.active():
            settle([*self.params(), *(b for _, b in self.named_buffers())])
            self._ready = True

    def __call__(self, input: Any, grad_output: Any = None, *more: Any, **options: Any) -> Any:
        """`forward`; with grad_output also `backward`: then the pair (output, grad_input).

        A module that writes `forward` itself, PyTorch's way, gets all arguments there.
        """
        if type(self).forward is not Module.forward:
            return self.forward(input, *(() if grad_output is None else (grad_output,)), *more,
                                **options)
        if grad_output is None:
            return self.forward(input)
        return self.forward(input), self.backward(input, grad_output)

    def compile(self, criterion: Any, optimizer: Any) -> Step:
        """Forward, loss, backward and update as one native call.

        criterion: called as `criterion.forward(output, target)`. optimizer: from `fb.optim`, made
        over this module's parameters. Gives a `Step`: `step(x, y)` trains on a batch and gives the
        loss, `step.fit(x, y, ...)` on data in memory.
        """
        return Step(self, criterion, optimizer)

    def backward(self, input: Any, grad_output: Any, scale: Real = 1) -> Any:
        """The gradient by the input, which it returns; parameters' gradients grow by scale times
        theirs. input is that of the last forward pass (for another one, that pass runs again)."""
        if not self._by_hand:
            return self._pull(input, grad_output, scale, "all")
        self._ran(input)
        self._grad_input = self.update_grad_input(input, grad_output)
        self.acc_grad_parameters(input, grad_output, scale)
        return self._grad_input

    def update_grad_input(self, input: Any, grad_output: Any) -> Any:
        """Only the gradient by the input."""
        return self._pull(input, grad_output, 1, "inputs")

    def acc_grad_parameters(self, input: Any, grad_output: Any, scale: Real = 1) -> None:
        """Only the parameters' gradients: adds scale times theirs."""
        self._pull(input, grad_output, scale, "parameters")

    def _ran(self, input: Any) -> Run:
        """The last run, if it was with this input; else a new one."""
        if self._run is None or not self._run.saw(input):
            if type(self).forward is Module.forward:
                self.forward(input)
            else:  # a forward written by the user, PyTorch's way
                run = Run(input)
                run.finish(self.forward(run.stand_in))
                self._run = run
        assert self._run is not None
        return self._run

    def _pull(self, input: Any, grad_output: Any, scale: Real, want: str) -> Any:
        run = self._ran(input)
        given = cotangents(type(self).__name__, run.nodes, grad_output)
        found, of_leaves = run.back(given, scale, want)
        if want != "inputs":
            for token, n in of_leaves.items():
                leaf = leaves.get(token)
                if leaf is not None:
                    if scale != 1:
                        factor = N.scalar(n.dtype, scale)
                        n = N.elementwise("mul", n, N.expand_to(factor, n.shape))
                    accumulate(leaf, n)
        if want == "parameters":
            return None
        run.cotangents = given
        self._grad_input = run.shaped(found)
        return self._grad_input

    @property
    def grad_input(self) -> Any:
        """The gradient by the input of the last backward pass, of this module or one around it."""
        if self._grad_input is None and self._run is not None:
            outer: Run | None = self._run
            while outer is not None and outer.cotangents is None:
                outer = outer.parent
            if outer is not None and outer.cotangents is not None:
                outer_marks, outer.marks = outer.marks, self._run.marks
                try:
                    found, _ = outer.back(outer.cotangents, 1, "inputs")
                finally:
                    outer.marks = outer_marks
                self._grad_input = self._run.shaped(found)
        return self._grad_input

    @grad_input.setter
    def grad_input(self, value: Any) -> None:
        self._grad_input = value

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles keep: everything but results."""
        return {k: v for k, v in self.__dict__.items() if k not in PRIVATE or k == "_config"}

    def forget(self) -> None:
        """Drops output, grad_input and what backward needs, of this module alone."""
        for name in ("output", "_grad_input", "_run"):
            self.__dict__.pop(name, None)

    # -- parameters --------------------------------------------------------------------------

    def parameters(self) -> tuple[list[Parameter], list[Tensor]]:
        """All parameters and their gradients (Torch7 parameters)."""
        found = self.params()
        return found, [gradient_of(p) for p in found]

    def get_parameters(self) -> tuple[Tensor, Tensor]:
        """One flat vector of all parameters and one of their gradients.

        The first call moves parameters and gradients into two storages; they stay views of these.
        Calling again, or on a part, gives views of the same memory. Sharing is kept.
        Raises ValueError for no parameters, TypeError for several dtypes.
        """
        found = self.params()
        if not found:
            raise ValueError(f"get_parameters: expected parameters, {type(self).__name__} has none")
        if any(p.dtype is not found[0].dtype for p in found):
            raise TypeError("get_parameters: expected parameters of one dtype, got "
                            f"{sorted({p.dtype.name for p in found})}")
        grads = [gradient_of(p) for p in found]
        flat, flat_grads = P.flat_view(found), P.flat_view(grads)
        if flat is None or flat_grads is None:
            inner = [(m, m.params()) for m in self.list_modules() if m._flat is not None]
            flat, flat_grads = P.flatten(found), P.flatten(grads)
            for m, parts in inner:  # vectors given out earlier follow
                for old, new in zip(m._flat or (), (P.flat_view(parts),
                                                    P.flat_view([gradient_of(p) for p in parts]))):
                    if new is not None:
                        old.set_(new)
        before = self._flat
        if before is not None and before[0].is_set_to(flat) and before[1].is_set_to(flat_grads):
            return before
        self._flat = (flat, flat_grads)
        return self._flat

    def zero_grad_parameters(self) -> None:
        """Sets all gradients to zero."""
        P.zero([p.grad for p in self.params() if p.grad is not None])

    def update_parameters(self, learning_rate: Any) -> None:
        """parameter -= learning_rate * gradient, for each parameter that has a gradient."""
        found = [p for p in self.params() if p.grad is not None]
        settle(found)
        rates: dict[Any, Any] = {}
        for p in found:
            rate = rates.get(p.dtype)
            if rate is None:
                rate = rates[p.dtype] = N.scalar(p.dtype, learning_rate) if not isinstance(
                    learning_rate, Tensor) else N.cast(read(learning_rate.detach()), p.dtype)
            assert p.grad is not None
            step = N.elementwise("mul", read(p.grad.detach()), N.expand_to(rate, p.shape))
            write(p, N.elementwise("sub", P.value_of(p), step))
            door.due.add(p._storage)

    def acc_update_grad_parameters(self, input: Any, grad_output: Any,
                                   learning_rate: Real) -> None:
        """A step along this gradient alone, which is not kept."""
        found = self.params()
        kept = [p.grad for p in found]
        for p in found:
            p.grad = None
        self.acc_grad_parameters(input, grad_output, 1)
        self.update_parameters(learning_rate)
        for p, g in zip(found, kept):
            p.grad = g

    shared_acc_update_grad_parameters = acc_update_grad_parameters

    def backward_update(self, input: Any, grad_output: Any, learning_rate: Real) -> Any:
        """`update_grad_input`, then `acc_update_grad_parameters`."""
        found = self.update_grad_input(input, grad_output)
        self.acc_update_grad_parameters(input, grad_output, learning_rate)
        return found

    @property
    def grad_weight(self) -> Tensor:
        """The gradient of `weight`: the same tensor as `weight.grad`."""
        return gradient_of(self.weight)

    @grad_weight.setter
    def grad_weight(self, value: Tensor) -> None:
        self.weight.grad = value

    @property
    def grad_bias(self) -> Tensor | None:
        """The gradient of `bias`: the same tensor as `bias.grad`; None without a bias."""
        return None if self.bias is None else gradient_of(self.bias)

    @grad_bias.setter
    def grad_bias(self, value: Tensor) -> None:
        self.bias.grad = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("grad_") and name not in ("grad_weight", "grad_bias"):
            p = vars(self).get(name[5:])
            if isinstance(p, Parameter):
                return gradient_of(p)
        raise AttributeError(f"{type(self).__name__}: no attribute {name!r}")

    # -- copies and types --------------------------------------------------------------------

    def clone(self: M, *names: str) -> M:
        """A copy with parameters of its own, but for those called `names`, which are shared."""
        from .copying import copy
        made = copy(self)
        return made.share(self, *names) if names else made

    def __deepcopy__(self: M, memo: Any) -> M:
        from .copying import copy
        return copy(self, memo)  # type: ignore[no-any-return]

    def type(self, dtype: Any = None) -> Any:
        """Converts parameters and buffers in place and gives itself; without dtype, their dtype's
        name (Torch7 type)."""
        tensors = [*self.params(), *(b for _, b in self.named_buffers())]
        if dtype is None:
            return tensors[0].dtype.name if tensors else None
        wanted = as_dtype("type", dtype)
        for t in tensors:
            if t.dtype.is_float:
                P.convert(t, wanted)
        return self.clear_state()

    def float(self: M) -> M:
        """Parameters in float32."""
        return self.type(dt.float32)  # type: ignore[no-any-return]

    def double(self: M) -> M:
        """Parameters in float64."""
        return self.type(dt.float64)  # type: ignore[no-any-return]

    def half(self: M) -> M:
        """Parameters in float16."""
        return self.type(dt.float16)  # type: ignore[no-any-return]

    def to(self: M, *targets: Any) -> M:
        """Parameters and buffers on another device ("cuda:1") or in another floating dtype, in
        place: optimisers and whoever holds them keep holding them."""
        tensors = [*self.params(), *(b for _, b in self.named_buffers())]
        for target in targets:
            if isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda"):
                P.move(tensors, resolve("to", target))
            else:
                self.type(target)
        return self.clear_state()

    def cuda(self: M, device: Any = None) -> M:
        """Parameters and buffers on a GPU: the current one, a number or "cuda:N". Torch7 cuda.

        Raises RuntimeError where there is no such device.
        """
        P.move([*self.params(), *(b for _, b in self.named_buffers())], resolve("cuda", (
            "cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)))
        return self.clear_state()

    def cpu(self: M) -> M:
        """Parameters and buffers in the host's memory."""
        return self.to("cpu")

    def clear_state(self: M) -> M:
        """Drops outputs and gradients by inputs here and below; parameters stay."""
        for m in self.list_modules():
            m.forget()
        return self

    # -- state -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers by path, as they are now: later training does not change them."""
        found = [*self.named_parameters(), *self.named_buffers()]
        return {name: result(P.value_of(t), False, t.device) for name, t in found}

    def load_state_dict(self: M, state: dict[str, Any], strict: bool = True) -> M:
        """Takes values from a `state_dict` (or arrays by path). All fit, or nothing is changed.

        Raises ValueError for missing and unknown paths if strict, and for other shapes: one error
        that lists them all.
        """
        mine = dict([*self.named_parameters(), *self.named_buffers()])
        given = {name: v if isinstance(v, Tensor) else tensor(np.asarray(v))
                 for name, v in state.items() if name in mine}
        wrong = [f"{name} of shape {v.shape} in place of {mine[name].shape}"
                 for name, v in given.items() if v.shape != mine[name].shape]
        missing, unknown = [n for n in mine if n not in state], [n for n in state if n not in mine]
        if wrong or (strict and (missing or unknown)):
            found = [f"{what} {', '.join(names)}" for what, names in
                     (("missing", missing), ("unknown", unknown), ("mismatched", wrong)) if names]
            raise ValueError(f"load_state_dict: expected the {len(mine)} entries of {self.label()},"
                             f" got {'; '.join(found)}")
        for name, value in given.items():
            t = mine[name]
            write(t, N.cast(P.value_of(value.to(t.device)), t.dtype))
        return self
