"""Python's values as JSON and named tensors, and back: what a checkpoint is made of.

Plain data only: numbers, texts, lists, dicts, tensors, dtypes, modules, and the state of optimisers
and generators. Never code: classes are looked up by name among those defined.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler.dtype import DType

from .. import nn
from ..optim import Optimizer
from ..random import Generator
from ..tensor import Tensor
from .arrays import bits_of, by_name, tensor_of
from .modules import build, describe, load_state, state_of
from .source import Source

DEEP = 200  # how far lists, dicts and modules may nest
PLAIN = (bool, int, float, str, type(None))


class Encoder:
    """JSON of values; `tensors` gathers what they hold. An object met twice is stored once."""

    def __init__(self) -> None:
        self.tensors: dict[str, Any] = {}
        self.names: dict[int, str] = {}
        self.modules: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no identity is used twice

    def encode(self, x: Any, path: str = "") -> Any:
        """The JSON of a value at a path. Raises TypeError for what is no plain data."""
        if isinstance(x, np.generic):
            x = x.item()
        if isinstance(x, complex):
            return {"complex": [self.encode(x.real), self.encode(x.imag)]}
        if isinstance(x, float) and not math.isfinite(x):
            return {"float": str(x)}
        if isinstance(x, PLAIN):
            return x
        if isinstance(x, Tensor | np.ndarray):
            return self.tensor(x, path)
        if isinstance(x, nn.Module):
            return {"module": self.module(x, path)}
        if isinstance(x, list | tuple):
            found = [self.encode(v, _join(path, i)) for i, v in enumerate(x)]
            return {"tuple": found} if isinstance(x, tuple) else found
        if isinstance(x, dict):
            if all(isinstance(k, str) for k in x):
                return {"dict": {k: self.encode(v, _join(path, k)) for k, v in x.items()}}
            return {"pairs": [[self.encode(k, path), self.encode(v, _join(path, k))]
                              for k, v in x.items()]}
        return self.other(x, path)

    def other(self, x: Any, path: str) -> Any:
        if isinstance(x, DType):
            return {"dtype": x.name}
        if isinstance(x, bytes):
            return {"bytes": x.hex()}
        if isinstance(x, Optimizer):
            return self.encode(x.state_dict(), path)
        if isinstance(x, Generator):
            return {"generator": x.get_state().hex()}
        raise TypeError(f"save: {path or 'the value'}: expected plain data, tensors or modules, "
                        f"got {type(x).__name__}")

    def tensor(self, x: Any, path: str) -> dict[str, Any]:
        """A tensor's name in the file, and what the file does not say."""
        kind = "array" if isinstance(x, np.ndarray) else "tensor"
        if id(x) not in self.names:
            name, number = path or "tensor", 2
            while name in self.tensors or name == "__metadata__":
                name, number = f"{path}#{number}", number + 1
            self.names[id(x)], self.tensors[name] = name, x
            self.kept.append(x)
            if getattr(x.dtype, "name", "") == "complex128":  # which safetensors lacks
                bits, _ = bits_of("save", x)
                self.tensors[name] = np.ascontiguousarray(bits).view(np.float64).reshape(
                    *bits.shape, 2)
        found: dict[str, Any] = {kind: self.names[id(x)]}
        if getattr(x.dtype, "name", "") == "complex128":
            found["complex"] = True
        if kind == "tensor":
            if isinstance(x, nn.Parameter | nn.Buffer):
                found["kind"] = type(x).__name__
            if x.requires_grad and x.is_leaf:
                found["grad"] = True
        return found

    def module(self, m: Any, path: str) -> dict[str, Any]:
        made = describe(self, m, path)
        return made if "same" in made else made | state_of(self, m, path)


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


class Decoder:
    """Values from JSON and tensors. Raises FileError for JSON that no `Encoder` writes."""

    def __init__(self, source: Source, tensors: dict[str, Tensor], device: Any = None) -> None:
        self.source, self.tensors, self.device = source, tensors, device
        self.made: dict[str, Any] = {}
        self.modules: dict[int, Any] = {}
        self.depth = 0

    def error(self, wanted: str, found: Any) -> Exception:
        return self.source.error(wanted, found, 8)

    def decode(self, x: Any) -> Any:
        """The value that x is the JSON of."""
        if isinstance(x, PLAIN):
            return x
        self.depth += 1
        if self.depth > DEEP:
            raise self.error(f"values nested up to {DEEP} deep", "deeper ones")
        try:
            if isinstance(x, list):
                return [self.decode(v) for v in x]
            kind = next(iter(x), "")
            read = READ.get(kind)
            if read is None:
                raise self.error(f"one of {sorted(READ)}", kind)
            return read(self, x[kind], x)
        finally:
            self.depth -= 1

    def typed(self, x: Any, kind: Any, wanted: str) -> Any:
        """x, which must be of a type."""
        if not isinstance(x, kind) or isinstance(x, bool):
            raise self.error(wanted, x)
        return x

    def tensor(self, name: Any, more: dict[str, Any]) -> Tensor:
        """The tensor of a name: the same object each time."""
        if self.typed(name, str, "a tensor's name") not in self.tensors:
            raise self.error("a tensor of this file", name)
        if name not in self.made:
            t = self.tensors[name]
            if more.get("complex"):
                t = self._complex(t)
            if self.device is not None:
                t = t.to(device=self.device)
            kind = more.get("kind")
            if kind == "Parameter":
                t = nn.Parameter(t, bool(more.get("grad")))
            elif kind == "Buffer":
                t = nn.Buffer(t)
            elif more.get("grad"):
                t.requires_grad_()
            self.made[name] = t
        return self.made[name]  # type: ignore[no-any-return]

    def _complex(self, t: Tensor) -> Tensor:
        wide = by_name("complex128")
        if wide is None or t.dtype is not dt.float64 or t.shape[-1:] != (2,):
            raise self.error("pairs of float64 as complex128", f"{t.dtype.name} {t.shape}")
        bits, _ = bits_of("load", t)
        return tensor_of(np.ascontiguousarray(bits).view(np.complex128)[..., 0], wide)

    def module(self, x: Any) -> Any:
        made = build(self, x)
        if "same" not in x:
            load_state(self, made, x)
        return made

    def array(self, name: Any, more: dict[str, Any]) -> np.ndarray:
        return np.array(self.tensor(name, {k: v for k, v in more.items() if k == "complex"}))

    def pairs(self, x: Any) -> dict[Any, Any]:
        found = {}
        for pair in self.typed(x, list, "a list of pairs"):
            if not isinstance(pair, list) or len(pair) != 2:
                raise self.error("a pair", pair)
            key = self.decode(pair[0])
            try:
                found[key] = self.decode(pair[1])
            except TypeError:
                raise self.error("a key that a dict can have", type(key).__name__) from None
        return found

    def number(self, x: Any) -> float:
        if x not in ("inf", "-inf", "nan"):
            raise self.error("inf, -inf or nan", x)
        return float(x)

    def complex(self, x: Any) -> complex:
        parts = self.decode(self.typed(x, list, "two parts"))
        if len(parts) != 2 or not all(isinstance(p, int | float) for p in parts):
            raise self.error("two numbers", x)
        return complex(*parts)

    def raw(self, x: Any) -> bytes:
        text = self.typed(x, str, "bytes as text")
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise self.error("bytes as hexadecimal digits", x) from None

    def dtype(self, x: Any) -> DType:
        found = by_name(self.typed(x, str, "a dtype's name"))
        if found is None:
            raise self.error("a dtype that Flambeau has", x)
        return found

    def generator(self, x: Any) -> Generator:
        made = Generator(0)
        try:
            made.set_state(bytes.fromhex(self.typed(x, str, "a generator's state")))
        except ValueError:
            raise self.error("a generator's state of 16 bytes", x) from None
        return made


READ: dict[str, Any] = {
    "tensor": lambda d, x, more: d.tensor(x, more),
    "array": lambda d, x, more: d.array(x, more),
    "module": lambda d, x, more: d.module(d.typed(x, dict, "a module")),
    "tuple": lambda d, x, more: tuple(d.decode(d.typed(x, list, "a list"))),
    "dict": lambda d, x, more: {k: d.decode(v) for k, v in d.typed(x, dict, "a dict").items()},
    "pairs": lambda d, x, more: d.pairs(x),
    "float": lambda d, x, more: d.number(x),
    "complex": lambda d, x, more: d.complex(x),
    "bytes": lambda d, x, more: d.raw(x),
    "dtype": lambda d, x, more: d.dtype(x),
    "generator": lambda d, x, more: d.generator(x),
}
