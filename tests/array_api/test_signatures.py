"""Every name of the Array API standard 2025.12 is there, with the standard's signature.

signatures.json holds the standard's names and parameters, by chapter.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import flambeau as fb
import flambeau.array_api as xp
import pytest

STANDARD = json.loads((Path(__file__).parent / "signatures.json").read_text())
EXTENSIONS = {"fft": xp.fft, "linalg": xp.linalg}
FUNCTIONS = [(chapter, name) for chapter in STANDARD
             if chapter.endswith("_functions") or chapter in EXTENSIONS
             for name in STANDARD[chapter]]
# the object's operators and conversions are checked by use; these by their parameters
METHODS = ("__array_namespace__", "__dlpack__", "__dlpack_device__", "to_device")


def parameters(text: str) -> list[inspect.Parameter]:
    """The parameters of a signature written in a string."""
    scope: dict[str, object] = {}
    exec(f"def f({text}): ...", scope)
    return list(inspect.signature(scope["f"]).parameters.values())  # type: ignore[arg-type]


def compare(function: object, text: str) -> None:
    wanted = parameters(text)
    found = list(inspect.signature(function).parameters.values())  # type: ignore[arg-type]
    names = [p.name for p in found]
    for w in wanted:
        assert w.name in names or w.kind is w.POSITIONAL_ONLY, w.name
    fixed = [p for p in wanted if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    ours = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    assert [p.name for p in ours[:len(fixed)]] == [p.name for p in fixed]
    by_name = {p.name: p for p in found}
    for w in wanted:
        p = by_name[w.name]
        assert p.default == w.default or p.default is w.default or w.default is w.empty, w.name
        if w.kind is not w.POSITIONAL_ONLY:
            assert p.kind is w.kind, w.name
    for p in found:  # what is more has a default
        assert p.name in {w.name for w in wanted} or p.default is not p.empty or p.kind in (
            p.VAR_POSITIONAL, p.VAR_KEYWORD), p.name


@pytest.mark.parametrize(("chapter", "name"), FUNCTIONS, ids=lambda v: v)
def test_functions(chapter: str, name: str) -> None:
    function = getattr(EXTENSIONS.get(chapter, xp), name)
    assert callable(function) and function.__doc__
    compare(function, STANDARD[chapter][name])


def test_dtypes_and_constants() -> None:
    assert all(isinstance(getattr(xp, name), fb.DType) for name in STANDARD["dtypes"])
    assert all(getattr(xp, name) is None or isinstance(getattr(xp, name), float)
               for name in STANDARD["constants"])
    assert xp.newaxis is None and xp.__array_api_version__ == "2025.12"


def test_array_object() -> None:
    x = xp.ones((2, 3))
    for name in STANDARD["array"]["attributes"]:
        assert hasattr(x, name), name
    for name in STANDARD["array"]["methods"]:
        assert callable(getattr(fb.Tensor, name)), name
    for name in METHODS:
        compare(getattr(fb.Tensor, name), STANDARD["array"]["methods"][name])
    for name, text in STANDARD["info"].items():
        compare(getattr(type(xp.__array_namespace_info__()), name), "self, " + text if text
                else "self")


def test_the_list_is_whole() -> None:
    """What `import *` gives is the standard's main namespace."""
    wanted = {name for chapter, name in FUNCTIONS if chapter not in EXTENSIONS}
    wanted |= {*STANDARD["dtypes"], *STANDARD["constants"], "fft", "linalg",
               "__array_namespace_info__", "__array_api_version__"}
    assert set(xp.__all__) == wanted
