"""Recurrent layers as functions of weights: one layer, one direction, over (steps, n, width).

The products with the inputs are made for all steps at once; the rest is one rolled loop. Gates
stand in PyTorch's order. Lengths say how many steps of each sequence count: the state stays where
a sequence has ended, and outputs there are 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .activations import relu
from .creation import arange, zeros
from .elementwise import sigmoid, tanh, where
from .loops import scan
from .movement import chunk, t, unsqueeze
from .products import matmul
from .recording import as_tensor, as_tensors
from .tensor import Tensor

State = tuple[Tensor, ...]


def rnn(x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None,
        state: Any = None, lengths: Any = None, reverse: bool = False, nonlinearity: str = "tanh"
        ) -> tuple[Tensor, Tensor]:
    """h = f(w_ih x + b_ih + w_hh h + b_hh) for each step of x (steps, n, i): all h (steps, n, h)
    and the last (n, h).

    weight_ih (h, i), weight_hh (h, h), biases (h), state (n, h) or zeros, lengths (n).
    nonlinearity: tanh or relu. reverse: from the last step to the first. PyTorch nn.RNN; Elman
    1990. Raises ValueError for shapes that do not fit.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"rnn: expected nonlinearity tanh or relu, got {nonlinearity!r}")
    turn = tanh if nonlinearity == "tanh" else relu
    found = _prepare("rnn", 1, x, weight_ih, weight_hh, bias_ih, bias_hh)
    start = _start("rnn", found[0], weight_hh, (state,))

    def cell(gates: Tensor, carry: State) -> State:
        return (turn(gates + _inner(carry[0], *found[1:])),)

    ys, last = _run(cell, found[0], start, lengths, reverse)
    return ys, last[0]


def lstm(x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None,
         state: Any = None, lengths: Any = None, reverse: bool = False, peephole: Any = None
         ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Long short-term memory over x (steps, n, i): all h (steps, n, h) and the last (h, c).

    weight_ih (4 h, i), weight_hh (4 h, h) and biases (4 h) hold the gates i, f, g, o: c = f c + i g
    and h = o tanh(c). state: the pair (h, c) of (n, h), or zeros; lengths (n). peephole (3 h): what
    the gates i, f (of the old c) and o (of the new c) see of c. PyTorch nn.LSTM; Hochreiter and
    Schmidhuber 1997. Raises ValueError for shapes that do not fit.
    """
    found = _prepare("lstm", 4, x, weight_ih, weight_hh, bias_ih, bias_hh)
    start = _start("lstm", found[0], weight_hh, (None, None) if state is None else tuple(state))
    look = None if peephole is None else chunk(as_tensor("lstm", peephole), 3)

    def cell(gates: Tensor, carry: State) -> State:
        h, c = carry
        i, f, g, o = chunk(gates + _inner(h, *found[1:]), 4, -1)
        if look is not None:
            i, f = i + look[0] * c, f + look[1] * c
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        o = o if look is None else o + look[2] * c
        return sigmoid(o) * tanh(c), c

    ys, last = _run(cell, found[0], start, lengths, reverse)
    return ys, (last[0], last[1])


def gru(x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None,
        state: Any = None, lengths: Any = None, reverse: bool = False, reset_after: bool = True
        ) -> tuple[Tensor, Tensor]:
    """Gated recurrent units over x (steps, n, i): all h (steps, n, h) and the last (n, h).

    weight_ih (3 h, i), weight_hh (3 h, h) and biases (3 h) hold the gates r, z, n: h = (1 - z) n +
    z h, and r multiplies w_hn h + b_hn in n (PyTorch), or, without reset_after, h before that
    product (the paper). state (n, h) or zeros; lengths (n). PyTorch nn.GRU; Cho et al. 2014. Raises
    ValueError for shapes that do not fit.
    """
    found = _prepare("gru", 3, x, weight_ih, weight_hh, bias_ih, bias_hh)
    start = _start("gru", found[0], weight_hh, (state,))
    w, b = found[1:]
    size = w.shape[0]

    def cell(gates: Tensor, carry: State) -> State:
        h = carry[0]
        outer = chunk(gates, 3, -1)
        if reset_after:
            inner = chunk(_inner(h, w, b), 3, -1)
            r, z = (sigmoid(outer[k] + inner[k]) for k in (0, 1))
            new = tanh(outer[2] + r * inner[2])
        else:
            both = None if b is None else b[:2 * size]
            inner = chunk(_inner(h, w[:, :2 * size], both), 2, -1)
            r, z = (sigmoid(outer[k] + inner[k]) for k in (0, 1))
            new = tanh(outer[2] + _inner(r * h, w[:, 2 * size:], None if b is None
                                         else b[2 * size:]))
        return ((1 - z) * new + z * h,)

    ys, last = _run(cell, found[0], start, lengths, reverse)
    return ys, last[0]


def _prepare(name: str, gates: int, x: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any,
             bias_hh: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    """What the inputs bring to the gates of every step; the state's weights, turned; their bias."""
    v, w, u = as_tensors(name, x, weight_ih, weight_hh)
    size = u.shape[-1] if u.ndim == 2 else -1
    if v.ndim != 3 or w.shape != (gates * size, v.shape[2]) or u.shape != (gates * size, size):
        raise ValueError(f"{name}: expected x (steps, n, i), weight_ih ({gates} h, i) and "
                         f"weight_hh ({gates} h, h), got {v.shape}, {w.shape} and {u.shape}")
    biases = [None if b is None else as_tensors(name, v, b)[1] for b in (bias_ih, bias_hh)]
    if any(b is not None and b.shape != (gates * size,) for b in biases):
        raise ValueError(f"{name}: expected biases of shape {(gates * size,)}, got "
                         f"{[None if b is None else b.shape for b in biases]}")
    outer = matmul(v, t(w))
    return outer if biases[0] is None else outer + biases[0], t(u), biases[1]


def _start(name: str, outer: Tensor, weight_hh: Any, state: tuple[Any, ...]) -> State:
    """The first state, of zeros where none is given."""
    shape = (outer.shape[1], as_tensor(name, weight_hh).shape[1])
    found = tuple(zeros(*shape, dtype=outer.dtype, device=outer.device) if s is None
                  else as_tensors(name, outer, s)[1] for s in state)
    if any(s.shape != shape for s in found):
        raise ValueError(f"{name}: expected a state of shape {shape}, got "
                         f"{[s.shape for s in found]}")
    return found


def _inner(h: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    made = matmul(h, w)
    return made if b is None else made + b


def _run(cell: Callable[[Tensor, State], State], outer: Tensor, start: State, lengths: Any,
         reverse: bool) -> tuple[Tensor, State]:
    """All steps' outputs and the last state."""
    if lengths is None:
        def step(carry: State, gates: Tensor) -> tuple[State, Tensor]:
            after = cell(gates, carry)
            return after, after[0]

        last, ys = scan(step, start, outer, reverse=reverse)
        return ys, last
    many = unsqueeze(as_tensors("lengths", outer, lengths)[1], -1)

    def masked(carry: State, row: tuple[Tensor, Tensor]) -> tuple[State, Tensor]:
        alive = row[1] < many
        after = cell(row[0], carry)
        kept = tuple(where(alive, a, b) for a, b in zip(after, carry))
        return kept, where(alive, after[0], 0)

    numbers = arange(outer.shape[0], device=outer.device)
    last, ys = scan(masked, start, (outer, numbers), reverse=reverse)
    return ys, last
