"""What is left out and why, what became of every case, and the page docs/onnx.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache

import onnx
import operators_attention
import operators_maths
import operators_nets
import operators_shapes
import operators_states
from flambeau.compiler.config import override
from importer import DTYPES, OPERATORS, Case, cases, check
from onnx import TensorProto, TypeProto

# importing them fills the table
ROWS = (operators_attention, operators_maths, operators_nets, operators_shapes, operators_states)
OWN_TYPES = frozenset((0, *DTYPES))

# operators without a row, each with its reason
LEFT_OUT = {
    **dict.fromkeys(("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit",
                     "TfIdfVectorizer", "LabelEncoder"), "tensors of strings"),
    "ImageDecoder": "files of images are not arithmetic on tensors",
    "TreeEnsemble": "decision trees are another library's",
    "MelWeightMatrix": "a table for speech, with roundings of its own",
    "Bernoulli": "random numbers from the reference's own generator",
    "RandomUniformLike": "random numbers from the reference's own generator",
}

# cases of covered operators that differ by a decision of ours, each with its reason
_EXTREME = "the largest of no elements is an error, as in NumPy, PyTorch and the Array API"
_RANDOM = "the mask is random, by another generator"
_HALVES = ("16-bit floats differ in the last place: softmax and products are calculated in float32 "
           "here, which is nearer to the result in float64 than the expected values are")
_SIXTEEN = ("attention_4d_causal_bf16", "attention_4d_causal_fp16", "attention_4d_padded_kv_bf16",
            "attention_4d_causal_padded_kv_bf16", "attention_4d_attn_mask_causal_bf16",
            "attention_3d_causal_bf16")
DIFFERENT = {
    **dict.fromkeys(("training_dropout", "training_dropout_default", "training_dropout_mask",
                     "training_dropout_default_mask"), _RANDOM),
    **dict.fromkeys(_SIXTEEN, _HALVES),
    **dict.fromkeys((f"{n}_expanded" for n in _SIXTEEN), _HALVES),
    "reduce_max_empty_set": _EXTREME, "reduce_max_empty_set_bool": _EXTREME,
    "reduce_min_empty_set": _EXTREME,
}


def _element_types(type_: TypeProto) -> Iterable[int]:
    kind = type_.WhichOneof("value")
    if kind == "tensor_type":
        yield type_.tensor_type.elem_type
    elif kind in ("sequence_type", "optional_type"):
        yield from _element_types(getattr(type_, kind).elem_type)


def foreign(case: Case) -> tuple[str, ...]:
    """The case's element types that Flambeau does not have: strings, 8-bit floats, 4-bit integers.
    """
    graph = case.model.graph
    found = {t for v in (*graph.input, *graph.output) for t in _element_types(v.type)}
    return tuple(sorted(TensorProto.DataType.Name(t) for t in found - OWN_TYPES))


def plain() -> list[Case]:
    """The cases that are one operator, not its definition written out."""
    return [c for c in cases() if "_expanded" not in c.name]


def expressible(case: Case) -> bool:
    """Is there a row for every operator, and a dtype for every value?"""
    return not foreign(case) and all(o in OPERATORS for o in case.operators)


@cache
def outcome(name: str, device: str) -> str:
    """"" for a case that passes on a device, else what went wrong."""
    case = next(c for c in cases() if c.name == name)
    try:
        with override(device=device):
            check(case)
    except Exception as problem:  # whatever an operator raises is the case's result
        return f"{type(problem).__name__}: {problem}".strip()
    return ""


# -- the page ------------------------------------------------------------------------------------


def page() -> str:
    """docs/onnx.md: operators with their cases and passes, and what is left out."""
    passed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for case in plain():
        name = case.operators[0]
        if name in LEFT_OUT:
            continue
        if foreign(case):
            types[", ".join(foreign(case))] += 1
            continue
        total[name] += 1
        passed[name] += not outcome(case.name, "reference")
    rows = "\n".join(f"| {n} | {total[n]} | {passed[n]} |" for n in sorted(total))
    written = [c for c in cases() if "_expanded" in c.name and expressible(c)]
    good = sum(not outcome(c.name, "reference") for c in written)
    reasons = sorted(set(DIFFERENT.values()))
    different = "\n".join(f"* {r}: " + ", ".join(
        f"`{n}`" for n, why in sorted(DIFFERENT.items()) if why == r) for r in reasons)
    out = Counter(c.operators[0] for c in plain())
    left = "\n".join(f"* {n} ({out[n]}): {r}." for n, r in sorted(LEFT_OUT.items()) if out[n])
    lacking = "\n".join(f"* {n} ({k})" for n, k in sorted(types.items()))
    return f"""# ONNX's test cases

The onnx package brings test cases for the operators of its standard: a model of one node, inputs
and outputs. `tests/onnx` maps each operator to a few public calls of `fb` and compares dtypes,
shapes and values within onnx's own tolerances. `make test` runs all of them on the reference device
and a fixed sample on the CPU. All of them on the CPU:

    make test-onnx

With onnx {onnx.__version__}: {sum(passed.values())} of {len(plain())} cases pass.
{sum(total.values())} can be expressed; the rest need operators or element types that Flambeau does
not have (below). Of the cases in which an operator is written out in simpler ones, {good} of
{len(written)} that can be expressed pass.

<!-- Written by `pytest tests/onnx --update-golden`. -->

## Operators

| operator | cases | pass |
|---|---|---|
{rows}

## Cases that differ by decision

{different}

## Operators left out

{left}

## Element types that Flambeau does not have

{lacking}
"""
