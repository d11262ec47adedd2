"""`fb.compile`: a Python function over tensors becomes one native program per signature.

The function is traced once for each signature (dtypes and shapes of its tensors, values of its
other arguments). Storages it writes are state: the program updates them in place. Numbers given as
Python floats are run-time arguments, so a new learning rate compiles nothing.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import postponing, tracing
from .creation import asarray
from .devices import HOST
from .tensor import Tensor
from .tracing import recorders
from .variant import Traced, Turns, Variant


class _Same:
    """An argument that cannot be hashed, as a key: equal only to itself, and kept alive."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __repr__(self) -> str:
        return f"{type(self.value).__name__} object"


def _signature(v: Any) -> Any:
    if isinstance(v, Tensor):
        return (v.dtype.rank, v.shape, v.requires_grad, v._storage.device)
    if type(v) is float:
        return float
    try:
        hash(v)
    except TypeError:
        return _Same(v)
    return (type(v), v)


_NESTS = (tuple, list, dict)


def _ends(v: Any, found: list[Any]) -> Any:
    """The shape of a nest of tuples, lists and dicts, hashable; its ends are appended to found."""
    if isinstance(v, tuple | list):
        return type(v), tuple([_ends(e, found) for e in v])
    if isinstance(v, dict):
        return dict, tuple(v), tuple([_ends(e, found) for e in v.values()])
    found.append(v)
    return None


def _nest(spec: Any, ends: Any) -> Any:
    """`_ends` undone; ends is an iterator."""
    if spec is None:
        return next(ends)
    if spec[0] is dict:
        return dict(zip(spec[1], [_nest(e, ends) for e in spec[2]]))
    items = [_nest(e, ends) for e in spec[1]]
    return spec[0](*items) if hasattr(spec[0], "_fields") else spec[0](items)


class Compiled:
    """A compiled function: call it like the original. `variants` holds one program a signature."""

    def __init__(self, fn: Callable[..., Any], postpones: bool = True,
                 dynamic: bool | None = None) -> None:
        functools.update_wrapper(self, fn)
        self.fn, self.postpones, self.dynamic = fn, postpones, dynamic
        self.after = None if dynamic is None else 2 if dynamic else 0
        self.name = getattr(fn, "__name__", type(fn).__name__)
        self.variants: dict[Any, Variant] = {}
        self.last: Variant | None = None
        self.quick: Callable[..., Any] | None = None  # of the latest variant
        self.turns = Turns()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if recorders and tracing.recording():  # inside another compiled function: part of it
            return self.fn(*map(_from_array, args), **{k: _from_array(v)
                                                       for k, v in kwargs.items()})
        if self.quick is not None and not kwargs:
            found = self.quick(*args)
            if found is not NotImplemented:
                return found
        values = (*args, *kwargs.values()) if kwargs else args
        if any(isinstance(v, _NESTS) for v in values):
            return self._on_nests(args, kwargs)
        if any(isinstance(v, np.ndarray | np.generic) for v in values):
            args = tuple(map(_from_array, args))
            kwargs = {k: _from_array(v) for k, v in kwargs.items()}
            values = (*args, *kwargs.values())
        with self.turns:  # several threads may meet the first call, or the second
            variant = self.variant(args, kwargs)
        found = variant.run(values)
        if not kwargs:
            entry = variant.entry if variant.plan is None else None
            self.quick = entry.call if entry is not None else None
        return found

    def _on_nests(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call with tuples, lists or dicts among its arguments: their ends are arguments."""
        ends: list[Any] = []
        spec = _ends((args, kwargs), ends)
        values = tuple(map(_from_array, ends))

        def fn(*values: Any) -> Any:
            given, named = _nest(spec, iter(values))
            return self.fn(*given, **named)

        return self.variant(values, {}, fn, spec).run(values)

    def variant(self, args: tuple[Any, ...], kwargs: dict[str, Any],
                fn: Callable[..., Any] | None = None, spec: Any = None) -> Variant:
        """The program for these arguments' signature; traced and compiled when new."""
        values = (*args, *kwargs.values()) if kwargs else args
        key = (tuple(map(_signature, values)), tuple(kwargs), spec)
        found = self.variants.get(key)
        if found is None or found.moved:
            start = time.perf_counter()
            traced = Traced(self.name, fn or self.fn, args, kwargs)
            found = Variant(traced, traced.asked(), self.name, self.turns, self.after)
            found.give_draws_back()
            found.plan = postponing.plan(traced) if self.postpones else None
            traced.forget()
            found.seconds = time.perf_counter() - start
            found.reason = self._reason(key)
            self.variants[key] = found
        elif found.plan is not None and self.last is found:  # twice in a row: it is worth while
            found = self.variants[key] = found.plan.carried_out(found, values)
        self.last = found
        return found

    def _reason(self, key: Any) -> str:
        """Why a program had to be made: what differs from the last signature."""
        if not self.variants:
            return "first call"
        before = list(self.variants)[-1]
        changes = [f"argument {i}: {_word(a)} -> {_word(b)}"
                   for i, (a, b) in enumerate(zip(before[0], key[0])) if a != b]
        return "; ".join(changes) or "other argument names"

    def _latest(self) -> Variant:
        if self.last is None:
            raise RuntimeError(f"{self.name}: expected a call before looking inside, got none yet")
        return self.last

    def explain(self) -> str:
        """What was compiled, why, and what fused with what, for every signature so far."""
        return "\n\n".join(v.explain() for v in self.variants.values()) or \
            f"{self.name}: not called yet"

    def graph(self) -> Any:
        """The latest signature's graph (see `Graph`)."""
        return self._latest().graph()

    def llvm_ir(self, optimised: bool = False) -> str:
        """LLVM IR of the latest signature, as generated or after LLVM's passes."""
        return self._latest().llvm_ir(optimised)

    def asm(self) -> str:
        """Assembly of the latest signature."""
        return self._latest().asm()

    def ptx(self) -> str:
        """PTX of the latest signature. Raises RuntimeError for a program of the host."""
        return self._latest().ptx()

    def profile(self, *args: Any, seconds: float = 0.2, **kwargs: Any) -> Any:
        """Time, GB/s and GFLOP/s of each kernel of the latest signature (see `Profile`)."""
        return self._latest().profile(seconds)

    def __repr__(self) -> str:
        return f"<compiled {self.name}: {len(self.variants)} programs>"

    def __reduce__(self) -> Any:
        return (_again, (self.fn, self.dynamic))


def _word(signature: Any) -> str:
    if isinstance(signature, tuple) and len(signature) == 4 and isinstance(signature[1], tuple):
        where = "" if signature[3] == HOST else f" on {signature[3]}"
        return f"shape {signature[1]}{where}"
    return str(signature)


def _from_array(v: Any) -> Any:
    return asarray(v) if isinstance(v, np.ndarray | np.generic) else v


def _again(fn: Callable[..., Any], dynamic: bool | None) -> Compiled:
    return compile(fn, dynamic=dynamic)


def compile(fn: Callable[..., Any], *, dynamic: bool | None = None) -> Compiled:
    """A version of `fn` that runs as one native program for each signature of its arguments.

    fn takes tensors (or NumPy arrays), Python floats, which become run-time numbers of the default
    dtype, nests (tuples, lists, dicts) of these, and anything else, which is part of the signature.
    It returns tensors in any nest. Tensors it writes in place or assigns to, arguments among them,
    are updated. It is called once a signature to record what it does, so Python side effects happen
    only then. Compiled functions may call each other; calls of one that changes state, from several
    threads, take turns. Usable as a decorator.

    dynamic: shapes that differ in one size may share a program, which reads that size when it runs.
    None: from the third such shape on (the flag `general`); True: from the second; False: never.
    `explain()` says which dimension it is and for which sizes. Raises TypeError for anything else.
    """
    if not callable(fn):
        raise TypeError(f"compile: expected a function, got {type(fn).__name__}")
    if dynamic not in (None, True, False):
        raise TypeError(f"compile: expected dynamic to be None, True or False, got {dynamic!r}")
    return Compiled(fn, dynamic=dynamic)
