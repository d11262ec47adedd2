"""Flambeau against the values that Torch7 computed: every recorded tensor call."""

from __future__ import annotations

from typing import Any

import flambeau as fb
import numpy as np
import pytest
from recorded import CASES, DECISIONS, array, call, decode, write

TENSOR = [c for c in CASES.values() if c["kind"] == "tensor"]


def flat(results: Any) -> list[Any]:
    """One list of results, whatever they come in."""
    if isinstance(results, tuple | list):
        return [r for part in results for r in flat(part)]
    return [results]


def agree(got: Any, want: Any, case: dict[str, Any]) -> None:
    got, want = (v.numpy() if isinstance(v, fb.Tensor) else np.asarray(v) for v in (got, want))
    np.testing.assert_allclose(got.astype(float), want.astype(float), case["rtol"], case["atol"])
    assert got.shape == want.shape


@pytest.mark.parametrize("case", TENSOR, ids=lambda c: c["id"])
def test_call(case: dict[str, Any]) -> None:
    if case["id"] in DECISIONS:
        return  # test_decisions
    args = decode(case, "args", case["args"])
    if case["call"] == "method":
        args = [decode(case, "self", case["self"]), *args]
    found = call(case["name"], *args)
    if "self_after" in case:
        agree(found, decode(case, "self_after", case["self_after"]), case)
        return
    want = flat(decode(case, "results", case["results"]))
    got = flat(found)
    assert len(got) == len(want)
    for i, (g, w) in enumerate(zip(got, want)):
        if case.get("ambiguous") and i == 1:  # an index of any occurrence
            agree(fb.gather(args[0], case_axis(args), g), want[0], case)
        else:
            agree(g, w, case)


def case_axis(args: list[Any]) -> int:
    return args[1] if len(args) > 1 else -1


def test_decisions() -> None:
    def case(name: str) -> tuple[list[Any], Any]:
        found = CASES[f"tensor_elementwise.{name}"]
        assert found["id"] in DECISIONS
        return decode(found, "args", found["args"]), decode(found, "results", found["results"])[0]

    for name in ("add", "cmul"):
        (x, y), want = case(f"{name}.{4 if name == 'add' else 2}")
        with pytest.raises(ValueError, match="expected shapes that broadcast"):
            call(name, x, y)
        np.testing.assert_allclose(call(name, x, y.view_as(x)).numpy(), want.numpy(), 1e-9)
    (x,), want = case("round.2")
    assert x.tolist() == [0.5, 1.5, -0.5, -2.5] and want.tolist() == [1, 2, -1, -3]
    assert fb.round(x).tolist() == [0, 2, 0, -2]
    away = fb.sign(x) * fb.floor(fb.abs(x) + 0.5)  # half away from zero
    assert away.tolist() == want.tolist()


PROGRAMS = [c for c in CASES.values() if c["kind"] == "program"]


@pytest.mark.parametrize("case", PROGRAMS, ids=lambda c: c["id"])
def test_program(case: dict[str, Any]) -> None:
    """Views and writes: the values of all variables, and where each looks."""
    known = {k: decode(case, "", v) for k, v in case["vars"].items()}
    for step in case["program"]:
        args = [known[a[1:]] if isinstance(a, str) else decode(case, "", a) for a in step["args"]]
        target = known.get(step["object"][1:])
        made = write(step["method"], target, args)
        if step["dest"]:
            known[step["dest"]] = made
    for name, want in case["vars_after"].items():
        wanted = array(want["array"]) if isinstance(want, dict) else np.asarray(want)
        np.testing.assert_allclose(known[name].numpy(), wanted, case["rtol"], case["atol"])
    for name, where in case["geometry"].items():
        t = known[name]
        if case["id"] == "tensor_index.unfold.1":  # windows that overlap are a copy
            assert t.is_contiguous()
            continue
        if not isinstance(t, fb.Tensor) or not t.ndim:
            continue
        assert list(t.shape) == where["size"] and t.storage_offset() == where["offset"] - 1, name
        assert t.is_contiguous() == where["contiguous"]
        strides = [s for s, e in zip(t.stride(), t.shape) if e > 1]
        assert strides == [s for s, e in zip(where["stride"], where["size"]) if e > 1], name
