"""Runs ONNX graphs on Flambeau: each operator is a row of `OPERATORS`, a few public calls.

A row's function takes the node's inputs (None where one is left out) and its attributes by name. It
may ask for `opset`, the version of the operator set, and `results`, the number of outputs.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import flambeau as fb
import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.helper import get_attribute_value

OPERATORS: dict[str, Callable[..., Any]] = {}
DTYPES = {getattr(TensorProto, theirs): ours for theirs, ours in {
    "FLOAT": "float32", "UINT8": "uint8", "INT8": "int8", "UINT16": "uint16", "INT16": "int16",
    "INT32": "int32", "INT64": "int64", "BOOL": "bool", "FLOAT16": "float16",
    "DOUBLE": "float64", "UINT32": "uint32", "UINT64": "uint64", "COMPLEX64": "complex64",
    "COMPLEX128": "complex128", "BFLOAT16": "bfloat16"}.items()}


def row(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Puts a function into the table under operators' names."""
    def put(function: Callable[..., Any]) -> Callable[..., Any]:
        OPERATORS.update(dict.fromkeys(names, function))
        return function
    return put


@dataclass(frozen=True)
class Case:
    """One of onnx's test cases."""

    name: str
    operators: tuple[str, ...]
    model: ModelProto
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    rtol: float
    atol: float


@cache
def cases() -> tuple[Case, ...]:
    """Every node test case that the onnx package makes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the reference's own overflows
        from onnx.backend.test.case.node import collect_testcases
        found = collect_testcases(None)
    return tuple(Case(c.name.removeprefix("test_"),
                      tuple(dict.fromkeys(n.op_type for n in c.model.graph.node)), c.model,
                      tuple(c.data_sets[0][0]), tuple(c.data_sets[0][1]), c.rtol, c.atol)
                 for c in found)


# -- running -------------------------------------------------------------------------------------


def ours(value: Any) -> Any:
    """A test's value as tensors; TypeError for dtypes that Flambeau does not have."""
    if isinstance(value, list):
        return [ours(v) for v in value]
    if isinstance(value, TensorProto):
        value = numpy_helper.to_array(value)
    if value is None:
        return None
    return fb.tensor(value)


@dataclass(frozen=True)
class Subgraph:
    """The body of an If, Loop or Scan, with the values around it."""

    graph: GraphProto
    around: dict[str, Any]
    opset: int

    def __call__(self, *inputs: Any) -> list[Any]:
        """Its outputs."""
        names = [i.name for i in self.graph.input]
        return evaluate(self.graph, {**self.around, **dict(zip(names, inputs))}, self.opset)


def evaluate(graph: GraphProto, values: dict[str, Any], opset: int) -> list[Any]:
    """The graph's outputs, from values by name."""
    values = {"": None, **values}
    values.update({t.name: ours(t) for t in graph.initializer if t.name not in values})
    for node in graph.node:
        outputs = apply(node, values, opset)
        values.update({k: v for k, v in zip(node.output, outputs) if k})
    return [values[o.name] for o in graph.output]


def apply(node: NodeProto, values: dict[str, Any], opset: int) -> Iterable[Any]:
    """One operator."""
    function = OPERATORS[node.op_type]
    options = {a.name: attribute(get_attribute_value(a), values, opset) for a in node.attribute}
    asked = inspect.signature(function).parameters
    if "opset" in asked:
        options["opset"] = opset
    if "results" in asked:
        options["results"] = len(node.output)
    found = function(*(values[name] for name in node.input), **options)
    return found if isinstance(found, tuple) else (found,)


def attribute(value: Any, values: dict[str, Any], opset: int) -> Any:
    """An attribute as Python has it."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, TensorProto):
        return ours(value)
    if isinstance(value, GraphProto):
        return Subgraph(value, values, opset)
    if isinstance(value, str | int | float):
        return value
    return [attribute(v, values, opset) for v in value]


def run(case: Case) -> list[Any]:
    """The case's outputs as Flambeau calculates them."""
    graph = case.model.graph
    opset = next((o.version for o in case.model.opset_import if not o.domain), 1)
    names = [i.name for i in graph.input]
    return evaluate(graph, dict(zip(names, map(ours, case.inputs))), opset)


# -- comparing -----------------------------------------------------------------------------------


def compare(found: Any, expected: Any, rtol: float, atol: float, name: str = "") -> None:
    """As onnx compares a backend's outputs: dtype, shape, and values within the case's tolerance.
    """
    if isinstance(expected, list):
        assert isinstance(found, list) and len(found) == len(expected), f"{name}: {found}"
        for i, (f, e) in enumerate(zip(found, expected)):
            compare(f, e, rtol, atol, f"{name}[{i}]")
        return
    if isinstance(expected, TensorProto):
        expected = numpy_helper.to_array(expected)
    if expected is None:
        assert found is None, f"{name}: {found}"
        return
    expected = np.asarray(expected)
    assert isinstance(found, fb.Tensor), f"{name}: expected a tensor, got {type(found).__name__}"
    assert found.dtype.name == expected.dtype.name, (
        f"{name}: expected {expected.dtype.name}, got {found.dtype.name}")
    assert found.shape == expected.shape, f"{name}: expected {expected.shape}, got {found.shape}"
    if expected.dtype.name == "bfloat16":
        expected = expected.astype(np.float32)
    np.testing.assert_allclose(found.numpy(), expected, rtol=rtol, atol=atol, err_msg=name)


def check(case: Case) -> None:
    """Runs a case; raises what its operators raise, AssertionError for other values."""
    found = run(case)
    assert len(found) == len(case.outputs), f"{len(found)} outputs for {len(case.outputs)}"
    for f, e, o in zip(found, case.outputs, case.model.graph.output):
        compare(f, e, case.rtol, case.atol, o.name)
