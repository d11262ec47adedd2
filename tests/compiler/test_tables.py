"""Every question asked of ops is a table keyed by op: each covers every op, or says why not."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from flambeau.compiler import check, planes, simplify
from flambeau.compiler.codegen import gpu, gpu_host, scalar
from flambeau.compiler.differentiate import NONDIFFERENTIABLE, RULES, ZERO
from flambeau.compiler.ops import COMPLEX, ELEMENTWISE, MOVEMENT, OPS, REDUCTIONS, SCANS
from flambeau.compiler.sorted_once import FROM_ORDER
from flambeau.runtime import externs, reference

ROOT = Path(__file__).resolve().parents[2]
RULES_OF_DTYPE = {"same", "float", "bits", "compare", "same1", "part", "pair", "given"}
PLANES = {"real", "imag", "modulus", "conj", "complex"}  # gone before there is code
NO_LAW = {"mark": "its operand's dtype and shape are all there is to say"}


def test_rows_are_well_formed() -> None:
    for name, row in OPS.items():
        assert name == row.name and row.rule in RULES_OF_DTYPE and row.cost >= 1, name
        assert row.arity >= -1 and (not row.commutative or row.arity == 2), name


def test_code_for_every_elementwise_op() -> None:
    assert set(scalar.EMIT) == ELEMENTWISE - PLANES


def test_gpu_code_for_every_op() -> None:
    """Each has its way there; what the host must do is said so, and is only the extern."""
    assert set(gpu.HOW) == set(OPS)
    assert {n for n, how in gpu.HOW.items() if how == "host"} == {"extern"}
    assert {n for n, how in gpu.HOW.items() if how == "expression"} == set(scalar.EMIT)


def test_every_routine_of_the_host_is_declared() -> None:
    """One list says what a GPU's program leaves to the host, and docs/cuda.md shows it."""
    for name in ("fourier", "linear", "spectral"):
        importlib.import_module(f"flambeau.runtime.{name}")
    ours = {n for n, f in externs.EXTERNS.items() if f.__module__.startswith("flambeau.")
            and not n.startswith("custom")}
    elsewhere = {*gpu_host.NEVER, *FROM_ORDER}
    assert set(gpu_host.HOST) | elsewhere == ours and not elsewhere & set(gpu_host.HOST)
    assert gpu_host.markdown() in (ROOT / "docs" / "cuda.md").read_text(encoding="utf-8")


def test_derivative_of_every_op() -> None:
    tables = (RULES, ZERO, NONDIFFERENTIABLE)
    assert set().union(*tables) == set(OPS)
    assert sum(map(len, tables)) == len(OPS), "an op stands in two tables"
    assert all(isinstance(reason, str) and reason for t in (ZERO, NONDIFFERENTIABLE)
               for reason in t.values())


def test_numpy_meaning_of_every_op() -> None:
    by_row = {n for n, row in OPS.items() if row.family == "elementwise" and row.numpy is not None}
    assert by_row | set(reference.EVALUATE) == set(OPS)


def test_law_of_every_op() -> None:
    assert set(check._LAWS) | ELEMENTWISE | set(NO_LAW) == set(OPS)


def test_complex_ops_are_taken_apart() -> None:
    assert set(planes.RULES) - MOVEMENT - {"const", "param"} == COMPLEX


def test_rules_are_about_ops() -> None:
    for table in (simplify.ALGEBRA, simplify.STABLE, simplify.SHAPES):
        assert set(table) <= set(OPS)


def test_traits_agree_with_numpy() -> None:
    assert all(OPS[n].numpy is not None for n in REDUCTIONS | SCANS)
    assert all(OPS[n].numpy is None for n in MOVEMENT)


def test_the_page_of_ops_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("ops_table", ROOT / "docs" / "ops_table.py")
    assert spec is not None and spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    assert set(table.FAMILIES) == {row.family for row in OPS.values()}
    assert table.PAGE.read_text() == table.page(), "run python docs/ops_table.py"
