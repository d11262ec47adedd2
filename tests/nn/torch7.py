"""What Torch7 itself computed (tests/data/torch7_nn.*): cases as our modules, arrays and labels.

The files are a part of the recorded fixtures: all cases of classes that `flambeau.nn` has, arrays
packed into one vector.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import flambeau as fb
import flambeau.nn as nn
import numpy as np

_DATA = Path(__file__).parent.parent / "data"
_INDEX = json.loads((_DATA / "torch7_nn.json").read_text())
_VALUES = np.load(_DATA / "torch7_nn.npz")["values"]


def array(key: str) -> np.ndarray:
    """A recorded array; integers as int64."""
    start, shape, kind = _INDEX["arrays"][key]
    found = _VALUES[start:start + int(np.prod(shape))].reshape(shape)
    return found.astype(np.int64) if kind in "iu" else found


def cases(kind: str, *classes: str) -> list[Any]:
    """Recorded cases of a kind, of these classes if named."""
    return [c for c in _INDEX["cases"]
            if c["kind"] == kind and (not classes or c["class"] in classes)]


def values(node: Any) -> Any:
    """A part of a case with its arrays filled in."""
    if isinstance(node, dict):
        return array(node["array"]) if "array" in node else {k: values(v) for k, v in node.items()}
    return [values(v) for v in node] if isinstance(node, list) else node


def tensors(node: Any) -> Any:
    """Arrays as tensors, lists as tables."""
    if isinstance(node, list):
        return [tensors(v) for v in node]
    return node if node is None else fb.tensor(np.asarray(node))


def snake(name: str) -> str:
    """camelCase as snake_case."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def build(ctor: dict[str, Any], one_based: list[str] = (), path: str = "ctor") -> Any:
    """A module from its recorded construction, with 0-based dimensions, in float64."""
    name = ctor["class"].removeprefix("nn.")
    args = [a - 1 if f"{path}/args/{i}" in one_based and isinstance(a, int) else values(a)
            for i, a in enumerate(ctor["args"])]
    made = make(name, args)
    for call in ctor.get("calls", []):
        inner = [build(a) if isinstance(a, dict) and "class" in a else a for a in call["args"]]
        getattr(made, snake(call["method"]))(*inner)
    return made.double()


def make(name: str, args: list[Any]) -> Any:
    """A module from Torch7's positional arguments."""
    args = [a if a is not None else ... for a in args]
    if name == "SpatialConvolutionMM":
        name = "SpatialConvolution"
    if name in ("ReLU", "LeakyReLU", "ELU", "Dropout"):  # the flag for working in place
        args = args[:{"ReLU": 0, "LeakyReLU": 1, "ELU": 1, "Dropout": 2}[name]]
    kind = getattr(nn, name)
    if name == "Reshape" and args and isinstance(args[-1], bool):
        return kind(*args[:-1], batch_mode=args[-1])
    if name in ("View", "Reshape") or not args:
        return kind(*args)
    names = list(inspect.signature(kind.__init__).parameters)[1:]
    return kind(**{n: a for n, a in zip(names, args) if a is not ...})


def parameter(module: Any, path: str) -> Any:
    """The parameter at a Torch7 path: children count from 1."""
    *children, name = path.split(".")
    for c in children:
        module = module.modules[int(c) - 1]
    return getattr(module, snake(name))


def set_parameters(module: Any, recorded: dict[str, Any]) -> None:
    """Gives parameters and statistics their recorded values."""
    for path, value in values(recorded).items():
        p = parameter(module, path)
        p.data = fb.tensor(value.reshape(p.shape))
