"""The answers of docs/lazy.md to what users of lazy libraries complain about."""

from __future__ import annotations

import gc
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau import realize as door
from flambeau.compiler.config import override
from flambeau.compiler.node import live_nodes

ROOT = Path(__file__).resolve().parents[2]


def new_programs(run: Any) -> int:
    """How many programs a call asked for that were not in memory."""
    fb.compile_report(reset=True)
    run()
    return sum(count for count, _ in fb.compile_report(reset=True).values())


def line() -> int:
    """The caller's line."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def test_every_answer_has_its_test() -> None:
    page = (ROOT / "docs" / "lazy.md").read_text()
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", page)
    assert len(named) == 26
    for path, name in named:
        text = (ROOT / "tests" / path).read_text()
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{path} lacks {name}"
    rows = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert rows == [str(i) for i in range(1, 26)]


def test_what_is_recorded_can_be_seen() -> None:
    x = fb.arange(4).float().realize()
    y = (x * 3.5).sin()
    assert y.is_lazy and "sin f32[4]" in str(y.graph()) and "lazy" in repr(y.storage())
    assert "lazy" in y._repr_html_()
    y.realize()
    assert not y.is_lazy and "ready" in repr(y.storage()) and "sin" not in str(y.graph())
    array = np.linspace(0, 1, 5) ** 2  # NumPy's work stays NumPy's
    assert str(fb.tensor(array).graph()).count("\n") == 1


def test_eager_gives_the_same_numbers() -> None:
    def work() -> list[fb.Tensor]:
        x = fb.arange(12).double().view(3, 4) / 7
        w = x.t()[1:] @ x
        w += 1
        w[0] *= 3
        loss = fb.grad(lambda v: (fb.softmax(v) ** 2).sum())(w)
        return [x, w, loss, fb.sort(w).values, fb.scan(lambda c, r: (c + r, c), x[0], x)[0]]

    lazy = [t.numpy() for t in work()]
    with fb.eager():
        made = work()
        assert not any(t.is_lazy for t in made)
        with fb.eager():
            pass
        assert not (made[0] + 1).is_lazy
    assert (made[0] + 1).is_lazy
    for a, t in zip(lazy, made):
        np.testing.assert_allclose(t.numpy(), a, 1e-14, 1e-15)
    code = "import flambeau as fb; print((fb.ones(3) * fb.rand(3)).is_lazy)"
    assert child(code, FLAMBEAU_EAGER="1") == "False"


def test_eager_leaves_compiled_functions_alone() -> None:
    state = fb.zeros(2)

    @fb.compile
    def step(x: fb.Tensor) -> fb.Tensor:
        state.add_(x * 2)
        return state.sum()

    with fb.eager():
        assert [step(fb.ones(2)).item() for _ in range(3)] == [4, 8, 12]


def test_detect_nan() -> None:
    with fb.detect_nan():
        data = fb.tensor([np.nan, 1.0]) * 2  # NaN in data is nobody's fault
        assert data[1].item() == 2
        fb.log(fb.zeros(1))
    with pytest.raises(FloatingPointError) as caught, fb.detect_nan():
        x = fb.ones(3) - 3
        at = line() + 1
        fb.softmax(x) + fb.sqrt(x * 2)
    assert f"got NaN from 'sqrt' (float32[3]), recorded at {__file__}:{at}" in str(caught.value)
    with pytest.raises(FloatingPointError, match="got NaN or infinity from 'log'"), \
            fb.detect_nan(inf=True):
        fb.log(fb.zeros(1))
    t = fb.tensor([0.0, 1.0], requires_grad=True)
    with pytest.raises(FloatingPointError) as caught, fb.detect_nan():
        at = line() + 1
        root = fb.sqrt(t)
        (root * 0).sum().backward()
    assert f":{at + 1}, from a value recorded at {__file__}:{at}" in str(caught.value)
    t = fb.zeros(2)
    with pytest.raises(FloatingPointError, match="from 'div'"), fb.detect_nan():
        t /= t
    assert (fb.ones(3) + 1).is_lazy


def test_graphs_are_bounded() -> None:
    gc.collect()
    before = live_nodes()
    with override(graph_nodes=500, device="reference"):
        total = fb.zeros((), dtype=fb.float64)
        for i in range(3000):  # a loss that nobody asks for
            total = total + i
    assert live_nodes() < before + 6000 and total.item() == 3000 * 2999 / 2
    with override(graph_bytes=1 << 20, device="reference"):
        x = fb.zeros(1 << 12)
        for _ in range(800):
            x = x + 1
        assert x.storage().nbytes == 1 << 14
        fb.reset_peak_memory()
        assert x[0].item() == 800
        assert fb.memory()["peak"] - fb.memory()["current"] < 32 << 20


def test_forced_values_are_counted_by_line() -> None:
    x = fb.rand(4)
    fb.sync_report(reset=True)
    for _ in range(3):
        if (x * 2).sum() > -1:
            x = x + 1
    at = line() - 2
    assert dict(fb.sync_report()) == {f"{__file__}:{at}": 3}
    with pytest.raises(RuntimeError, match="no_sync: expected no computation"), fb.no_sync():
        float(x.sum())


def test_temporaries_do_not_change_the_key() -> None:
    def run(keep: bool) -> None:
        x = fb.rand(5).realize()
        y = x * 1.25 + 0.75
        kept = [y * 3, y - 1] if keep else []
        assert (y.sum() / 3).item() < 10 and len(kept) in (0, 2)

    run(False)
    assert new_programs(lambda: run(True)) == 0
    assert new_programs(lambda: run(False)) == 0


def test_a_changing_number_is_one_program() -> None:
    x = fb.rand(7).realize()

    def run() -> None:
        for i in range(1000):
            (x * (0.1 + i)).sum().item()

    assert new_programs(run) == 1


def test_a_short_last_batch_is_one_more_program() -> None:
    data, w = np.random.default_rng(0).random((70, 3)), fb.rand(3).double().realize()

    def epoch() -> None:
        for start in range(0, 70, 32):
            (fb.tensor(data[start:start + 32], dtype="float64") @ w).sum().item()

    assert new_programs(epoch) == 2
    assert new_programs(epoch) == 0


def test_compilation_is_explained() -> None:
    fb.compile_report(reset=True)
    assert str(fb.compile_report()) == "no program was new"
    at = line() + 1
    fb.rand(11).cosh().sum().item()
    report = fb.compile_report(reset=True)
    assert list(report) == [f"{__file__}:{at}"] and report[f"{__file__}:{at}"][0] == 1
    assert "1 programs" in str(report)
    f = fb.compile(lambda x: x + 1)
    f(fb.ones(2))
    assert f.last.reason == "first call"
    f(fb.ones(3))
    assert "argument 0" in f.last.reason and "3" in f.last.reason


def child(code: str, **environment: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, **environment})
    return done.stdout.strip()


def test_another_process_compiles_nothing(tmp_path: Path) -> None:
    code = ("import flambeau as fb, sys; print((fb.ones(3) * 5 + fb.arange(3)).tolist(), "
            "'flambeau.compiler.pipeline' in sys.modules)")
    assert child(code, FLAMBEAU_CACHE=str(tmp_path)) == "[5.0, 6.0, 7.0] True"
    assert child(code, FLAMBEAU_CACHE=str(tmp_path)) == "[5.0, 6.0, 7.0] False"


def test_no_tools_are_needed() -> None:
    code = "import flambeau as fb; print((fb.ones(3) * 2).sum().item())"
    assert child(code, PATH="", FLAMBEAU_CACHE="off") == "6.0"


def test_three_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", d).group() for d in project["dependencies"]}  # type: ignore[union-attr]
    assert names == {"llvmlite", "numpy", "networkx"}


def test_nan_and_infinity_keep_their_meaning() -> None:
    x = fb.tensor([np.nan, np.inf, -np.inf, 0.0])
    assert x.isnan().tolist() == [True, False, False, False]
    assert (x == x).tolist() == [False, True, True, True]
    assert np.isnan((x - x).numpy()).tolist() == [True, True, True, False]
    assert np.isnan((x * 0).numpy()).tolist() == [True, True, True, False]
    assert np.isnan(x.max().item()) and (1 / x[3]).item() == np.inf


def test_precision_is_what_was_asked_for() -> None:
    third = fb.tensor(1 / 3, dtype=fb.float64)
    assert third.item() == 1 / 3 and (third + fb.ones(1)).dtype is fb.float64
    big = fb.tensor([2 ** 53 + 1])
    assert big.dtype is fb.int64 and (big + 1).tolist() == [2 ** 53 + 2]
    assert fb.tensor(np.float64(0.1)).dtype is fb.float64 and fb.tensor(0.1).dtype is fb.float32
    assert door.config.device == "cpu"
