"""What Torch7 itself computed (tests/data/torch7_tensor.*), said in Flambeau's words.

`SPELLINGS[name]` calls Flambeau as a port of that Torch7 call would; `DECISIONS` lists by case or
name where Flambeau differs on purpose, with the reason that docs/torch7.md gives.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flambeau as fb
import numpy as np

_DATA = Path(__file__).parent.parent / "data"
_INDEX = json.loads((_DATA / "torch7_tensor.json").read_text())
_VALUES = np.load(_DATA / "torch7_tensor.npz")
CASES = {c["id"]: c for c in _INDEX["cases"]}
# dimensions that the recording forgot to list as 1-based
CASES["tensor_create.squeeze.2"]["one_based"] = ["args/0"]
CASES["tensor_create.permute.1"]["one_based"] = ["args/0", "args/1", "args/2"]
CASES["tensor_elementwise.renorm.1"]["one_based"] = ["args/1"]


def array(key: str) -> np.ndarray:
    name, start, shape = _INDEX["arrays"][key]
    return np.array(_VALUES[name][start:start + int(np.prod(shape))].reshape(shape))


def decode(case: dict[str, Any], path: str, node: Any) -> Any:
    """A part of a case: arrays as tensors, 1-based numbers as 0-based."""
    shift = int(path in case.get("one_based", ()))
    if isinstance(node, dict):
        if "number" in node:
            return float(node["number"])
        found = array(node["array"]) - shift
        return fb.tensor(found, dtype=found.dtype.name)
    if isinstance(node, list):
        return [decode(case, f"{path}/{i}", v) for i, v in enumerate(node)]
    return node - shift if shift else node


def _scaled(function: Callable[..., Any]) -> Callable[..., Any]:
    """addmm and kin: ([beta,] M, [alpha,] A, B); as a method M, [beta,] [alpha,] A, B."""
    def call(*args: Any) -> Any:
        numbers = [a for a in args if not isinstance(a, fb.Tensor)]
        beta, alpha = numbers or (1, 1)
        return function(*(a for a in args if isinstance(a, fb.Tensor)), beta=beta, alpha=alpha)
    return call


def _pair(function: Callable[..., Any]) -> Callable[..., Any]:
    """The extremes: values alone for the whole tensor, a pair along an axis."""
    return lambda x, *dim: function(x, dim=dim[0], keepdim=True) if dim else function(x)


def _weighted(function: Callable[..., Any]) -> Callable[..., Any]:
    """addcmul and addcdiv: (x, [v,] a, b)."""
    return lambda x, *rest: function(x, *rest[-2:], value=rest[0] if len(rest) == 3 else 1)


def _kept(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *dim: function(x, *dim, keepdims=bool(dim))


def _moment(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, dim: Any = None, population: bool = False) -> Any:
        return function(x, dim, keepdims=dim is not None, correction=int(not population))
    return call


def _add(x: Any, *rest: Any) -> Any:
    return fb.add(x, rest[1], alpha=rest[0]) if len(rest) == 2 else fb.add(x, rest[0])


def _cat(*args: Any) -> Any:
    parts, rest = (args[0], args[1:]) if isinstance(args[0], list) else (args[:2], args[2:])
    axis = rest[0] if rest else -1
    if axis >= parts[0].ndim:  # along an axis that is not there yet
        return fb.stack(parts, axis)
    return fb.cat(parts, axis)


def _div(x: Any, y: Any) -> Any:
    return fb.div(x, y) if x.dtype.is_float else fb.div(x, y, rounding_mode="trunc")


def _shift(sign: int, function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, n: x * 2.0 ** (sign * n) if x.dtype.is_float else function(x, n)


def _cumulated(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim=0: function(x, dim, dtype=x.dtype)


def _made(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: function(*args, dtype=fb.double)


SPELLINGS: dict[str, Callable[..., Any]] = {
    **{name: _made(getattr(fb, name)) for name in ("zeros", "ones", "eye", "linspace", "logspace")},
    **{name: _scaled(getattr(fb, name))
       for name in ("addmm", "addmv", "addr", "baddbmm", "addbmm")},
    **{name: _kept(getattr(fb, name)) for name in ("sum", "prod", "mean")},
    "range": _made(fb.range_), "add": _add, "cat": _cat, "div": _div, "cdiv": _div,
    "dot": fb.vdot, "max": _pair(fb.max), "min": _pair(fb.min), "var": _moment(fb.var),
    "std": _moment(fb.std), "addcmul": _weighted(fb.addcmul), "addcdiv": _weighted(fb.addcdiv),
    "norm": lambda x, p=2, dim=None: fb.norm(x, p, dim, keepdims=dim is not None),
    "median": lambda x, dim=-1: fb.median(x, dim, keepdims=True),
    "mode": lambda x, dim=-1: fb.mode(x, dim, keepdims=True),
    "kthvalue": lambda x, k, dim=-1: fb.kthvalue(x, k + 1, dim, keepdims=True),
    "topk": lambda x, k, dim, descending, ordered: fb.topk(x, k, dim, descending, ordered),
    "sort": lambda x, dim=-1, descending=False: fb.sort(x, dim, descending),
    "cumsum": _cumulated(fb.cumsum), "cumprod": _cumulated(fb.cumprod),
    "cross": lambda a, b, dim=0: fb.cross(a, b, dim),
    "lshift": _shift(1, fb.lshift), "rshift": _shift(-1, fb.rshift),
    "clshift": fb.lshift, "crshift": fb.rshift,
    "cbitand": fb.bitand, "cbitor": fb.bitor, "cbitxor": fb.bitxor,
    "reshape": lambda x, *shape: fb.reshape(x, shape), "numel": lambda x: x.numel(),
    "histc": fb.histc, "bhistc": fb.bhistc, "repeatTensor": fb.repeat_tensor,
    "index": lambda x, dim, i: fb.index_select(x, dim, i),
    "maskedSelect": lambda x, mask: fb.masked_select(x, mask.bool()),
    "maskedFill": lambda x, mask, v: fb.masked_fill(x, mask.bool(), v),
    "maskedCopy": lambda x, mask, v: fb.masked_scatter(x, mask.bool(), v),
    "indexCopy": fb.index_copy, "indexAdd": fb.index_add, "indexFill": fb.index_fill,
    "mod": fb.fmod, "view": lambda x, *shape: x.view(*shape),
    "fill": lambda x, v: x.fill_(v), "zero": lambda x: x.zero_(),
    **{name: (lambda x, name=name: getattr(x, name)())
       for name in ("byte", "char", "short", "int", "long", "float")},
}


def call(name: str, *args: Any) -> Any:
    """The call of that Torch7 name, as Flambeau spells it."""
    return SPELLINGS[name](*args) if name in SPELLINGS else getattr(fb, name)(*args)


DECISIONS = {  # by case: what Flambeau does instead
    "tensor_elementwise.add.4": "shapes must broadcast; say y.view_as(x)",
    "tensor_elementwise.cmul.2": "shapes must broadcast; say y.view_as(x)",
    "tensor_elementwise.round.2": "halves are rounded to even, as NumPy does",
}


def _sub(x: fb.Tensor, *ends: int) -> fb.Tensor:
    """Torch7's sub: inclusive ranges, ends counted from the back when negative."""
    index = []
    for start, stop in zip(ends[::2], ends[1::2]):
        index.append(slice(start - 1 if start > 0 else start, stop if stop >= 0 else (
            stop + 1 or None)))
    return x[tuple(index)]


def _out_sum(out: fb.Tensor, x: fb.Tensor, dim: int) -> fb.Tensor:
    shape = [1 if i == dim - 1 else e for i, e in enumerate(x.shape)]
    return fb.sum(x, dim - 1, keepdims=True, out=out.resize_(shape))


WRITES: dict[str, Callable[..., Any]] = {  # methods of recorded programs, with 1-based arguments
    "narrow": lambda x, dim, start, n: x.narrow(dim - 1, start - 1, n), "sub": _sub,
    "select": lambda x, dim, i: x.select(dim - 1, i - 1),
    "transpose": lambda x, a, b: x.transpose(a - 1, b - 1), "t": lambda x: x.t(),
    "unfold": lambda x, dim, n, step: x.unfold(dim - 1, n, step),
    "expand": lambda x, *shape: x.expand(*shape), "view": lambda x, *shape: x.view(*shape),
    "permute": lambda x, *dims: x.permute(*[d - 1 for d in dims]),
    "contiguous": lambda x: x.contiguous(), "clone": lambda x: x.clone(),
    "squeeze": lambda x: x.squeeze(), "set": lambda x, y: x.set_(y),
    "resize": lambda x, *shape: x.resize_(*shape), "fill": lambda x, v: x.fill_(v),
    "zero": lambda x: x.zero_(), "mul": lambda x, v: x.mul_(v), "add": lambda x, v: x.add_(v),
    "cmul": lambda x, y: x.cmul_(y), "copy": lambda x, y: x.copy_(y),
    "indexFill": lambda x, dim, i, v: x.index_fill_(dim - 1, i - 1, v),
}


def write(method: str, target: Any, args: list[Any]) -> Any:
    """A step of a recorded program, in place where Torch7's is."""
    if target is None:  # a function of the torch table
        return _out_sum(*args) if method == "sum" else getattr(fb, method)(*args)
    return target.sum() if method == "sum" else WRITES[method](target, *args)
