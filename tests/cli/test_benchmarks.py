"""benchmarks/sgd.py keeps its contract and trains as NumPy by hand does; the suites measure, agree
and report."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPT = BENCHMARKS / "sgd.py"
KEYS = {"framework", "net", "batch", "threads", "examples_per_second", "first_step_seconds",
        "loss_first", "loss_last"}


def measure(framework: str, net: str, batch: int) -> dict[str, Any]:
    words = [sys.executable, str(SCRIPT), "--framework", framework, "--net", net, "--batch",
             str(batch), "--threads", "1", "--seconds", "0.05", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 1
    row: dict[str, Any] = json.loads(lines[0])
    assert row.keys() >= KEYS and row["examples_per_second"] > 0
    return row


@pytest.mark.parametrize(("net", "batch"), [("mlp0", 1), ("mlp1", 7)])
def test_losses_agree_with_numpy(net: str, batch: int) -> None:
    ours, judge = measure("flambeau", net, batch), measure("numpy", net, batch)
    assert ours["loss_first"] == pytest.approx(judge["loss_first"], rel=1e-5)
    assert ours["loss_16"] == pytest.approx(judge["loss_16"], rel=1e-4)


def test_a_convolutional_net_trains_as_in_the_other_frameworks() -> None:
    """PyTorch 2.13, JAX 0.10 and Theano-PyMC 1.1 give these losses for the seeded net and data."""
    row = measure("flambeau", "cnn32", 2)
    assert row["loss_first"] == pytest.approx(2.3795025, rel=1e-5)
    assert row["loss_16"] == pytest.approx(2.3119898, rel=1e-4)


# -- the suites --------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frameworks on three tiny rows of every kind: work, training, a probe."""
    folder = tmp_path_factory.mktemp("bench")
    words = [sys.executable, str(BENCHMARKS / "bench.py"), "--quick", "--suites", "elementwise",
             "sgd", "start", "--match", "2ab, n=10,", "mlp1 batch 1,", "import", "--rounds", "2",
             "--seconds", "0.002", "--frameworks", "flambeau", "numpy", "--out", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize(("suite", "unit"), [("elementwise", "s"), ("sgd", "examples/s"),
                                             ("start", "s")])
def test_suites_measure_each_framework_in_turn(measured: Path, suite: str, unit: str) -> None:
    run = json.loads((measured / f"{suite}.json").read_text())
    assert run["rows"] and {row["unit"] for row in run["rows"]} == {unit}
    for row in run["rows"]:
        assert row["frameworks"].keys() == {"flambeau", "numpy"}
        for found in row["frameworks"].values():
            assert "error" not in found
            assert found["least"] <= found["median"] <= found["most"]
            assert len(found["all"]) == (1 if suite == "start" else 2)


def test_the_report_shows_every_row(measured: Path) -> None:
    text, html = ((measured / f"report.{kind}").read_text() for kind in ("md", "html"))
    for file in measured.glob("*.json"):
        for row in json.loads(file.read_text())["rows"]:
            assert f"| {row['name']} |" in text and f">{row['name']}<" in html
    assert "http://" not in html.replace("http://www.w3.org", "")  # nothing is fetched


def test_rows_have_names_of_their_own_and_know_their_operands(benchmarks: Any) -> None:
    for suite in benchmarks.suites.SUITES:
        rows = benchmarks.suites.find(suite).rows()
        assert len({row.name for row in rows}) == len(rows)
        assert any(row.quick for row in rows)


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmarks' modules under the names that they have there."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return SimpleNamespace(**{name: importlib.import_module(name)
                              for name in ("suites", "bench", "tables", "install", "report")})


def result(median: float) -> dict[str, Any]:
    return {"median": median, "least": median, "most": median * 1.1, "all": [median]}


MACHINE = {"processor": "P", "cores": 1, "system": "S", "threads": {"1": {
    "flops": {"float32": 1e9, "float64": 5e8},
    "levels": [{"name": "L1", "holds": 1000.0, "read": 2e9, "copy": 1e9},
               {"name": "memory", "holds": 1e30, "read": 1e8, "copy": 1e8}]}}}
ROW = {"name": "r", "unit": "s", "threads": 1, "flops": 1e6, "nbytes": 1e3, "held": 1e3, "items": 1,
       "dtype": "float32", "group": "", "n": 0}


@pytest.mark.parametrize(("change", "limit", "bound"), [
    ({}, 1e-3, "arithmetic"), ({"dtype": "float64"}, 2e-3, "arithmetic"),
    ({"nbytes": 1e7}, 5e-3, "L1"), ({"nbytes": 1e7, "held": 1e4}, 0.1, "memory"),
    ({"threads": 8}, 1e-3, "arithmetic"), ({"flops": 0.0}, None, "")])
def test_a_row_is_bounded_by_arithmetic_or_by_the_level_that_holds_it(
        benchmarks: Any, change: dict[str, Any], limit: float | None, bound: str) -> None:
    found, by = benchmarks.tables.limit({**ROW, **change}, MACHINE)
    assert by == bound and (found == pytest.approx(limit) if limit else found is None)


def test_the_best_peer_counts(benchmarks: Any) -> None:
    row = {**ROW, "frameworks": {"flambeau": result(2e-3), "numpy": result(6e-3),
                                 "jax": result(4e-3), "numba": {"error": "E"}}}
    benchmarks.tables.judge(row, MACHINE)
    assert row["best"] == "jax" and row["ratio"] == pytest.approx(2)
    assert row["share"] == pytest.approx(0.5)
    assert benchmarks.tables.verdict(row) == ["2.00x JAX", "50% arithmetic"]
    assert benchmarks.tables.cell(row["frameworks"]["jax"], row) == "4 ms ±5%"
    assert benchmarks.tables.failures({"rows": [row]}) == ["* Numba, r: E", ""]


def test_a_report_of_nothing_is_refused(benchmarks: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^report: expected a folder with results"):
        benchmarks.report.write(tmp_path)


def test_who_disagrees_is_found(benchmarks: Any) -> None:
    right, wrong = np.array([1.0, 2.0]), np.array([1.0, 2.5])
    samples = {f: benchmarks.suites.sample([a])
               for f, a in (("a", right), ("b", wrong), ("c", right + 1e-9))}
    assert benchmarks.bench.compared(samples, 1e-6) == {
        "b": "expected results within 2e-06, got 0.5 apart"}
    other = benchmarks.suites.sample([right[:1]])
    assert benchmarks.suites.disagreement(other, samples["a"], 1) == "expected shape [2], got [1]"
    assert benchmarks.suites.disagreement([], samples["a"], 1) == "expected 1 results, got 0"
    nan = benchmarks.suites.sample([np.array([1.0, np.nan])])
    assert "got nan apart" in benchmarks.suites.disagreement(nan, samples["a"], 1)


def test_a_worker_that_dies_is_an_error_and_not_the_end(benchmarks: Any) -> None:
    with benchmarks.bench.crew({"numpy": sys.executable}) as workers:
        found = workers.ask("numpy", 1, do="build", suite="sgd", row="no such row", sample="x")
        assert found == {"error": "StopIteration: StopIteration"}
        workers.running["numpy"].process.kill()
        workers.running["numpy"].process.wait()
        assert "error" in workers.ask("numpy", 1, do="drop")
        assert workers.ask("numpy", 1, do="drop") == {}


def test_numbers_in_expressions_become_names(benchmarks: Any) -> None:
    text = importlib.import_module("idioms.text")
    assert text.names("2*a + exp(b)") == ["a", "b"]
    assert text.constants("2*a + b**10", float, "{}[i]") == ("c0 * a[i] + b[i] ** 10", {"c0": 2.0})
    assert text.function("2*a + exp(b)")(np, 1.0, 0.0) == 3.0


def test_theano_is_tried_with_the_flags_it_will_run_with(benchmarks: Any) -> None:
    said = "import os; raise SystemExit(os.environ['THEANO_FLAGS'])"
    assert benchmarks.install.run([sys.executable, "-c", said]) == \
        benchmarks.bench.environment()["THEANO_FLAGS"] != ""


def test_a_peer_that_cannot_be_installed_is_reported(
        benchmarks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = benchmarks.install.Peer((), "raise SystemExit('no')", note="luck")
    monkeypatch.setitem(benchmarks.install.PEERS, "mkl", peer)
    monkeypatch.setattr(benchmarks.install, "run", lambda words: "no" if "-c" in words else "")
    assert benchmarks.install.install("mkl", tmp_path / "mkl") == "no (it needs luck)"
    assert not (tmp_path / "mkl").exists()
    monkeypatch.setitem(benchmarks.install.PEERS, "mkl",
                        benchmarks.install.Peer((), "", python="2.1"))
    assert benchmarks.install.install("mkl", tmp_path / "mkl") == \
        "expected Python 2.1, got none on the path"
