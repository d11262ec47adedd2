"""The commands as a user meets them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau.cli import info, pictures, progress
from flambeau.cli.main import main
from flambeau.compiler.config import override

KEYS = {"test_accuracy", "examples_per_second", "compile_seconds", "epochs", "device", "threads",
        "net", "data", "loss"}


def fails(capsys: Any, *words: str) -> str:
    """The one line with which a command refuses; its exit code must be 2."""
    try:
        code = main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert code == 2 and out == "" and "Traceback" not in err
    return str(err).strip()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: Any) -> Path:
    """A folder with a net trained by the default command."""
    folder = tmp_path_factory.mktemp("run")
    threads = fb.num_threads()
    assert main(["train", "--out", str(folder)]) == 0
    fb.set_num_threads(threads)
    return folder


def test_train_with_defaults_reaches_96_percent(trained: Path) -> None:
    history = json.loads((trained / "history.json").read_text())
    assert [row["epoch"] for row in history] == list(range(1, len(history) + 1))
    assert history[-1]["val_accuracy"] >= 0.96
    assert (trained / "weights.png").stat().st_size > 1000
    assert (trained / "curve.svg").read_text().startswith("<svg")


def test_json_is_the_last_line(tmp_path: Path, capsys: Any) -> None:
    before = fb.num_threads()
    assert main(["train", "--net", "logreg", "--epochs", "2", "--batch", "50", "--threads", "1",
                 "--json", "--out", str(tmp_path)]) == 0
    fb.set_num_threads(before)
    out, err = capsys.readouterr()
    row = json.loads(out.splitlines()[-1])
    assert row.keys() >= KEYS
    assert row["epochs"] == 2 and row["threads"] == 1 and row["device"] == "cpu"
    assert 0.5 < row["test_accuracy"] <= 1 and row["examples_per_second"] > 0
    assert err.count("epoch ") >= 2


@pytest.mark.parametrize("options", [["--net", "lenet"], ["--optimizer", "adam"],
                                     ["--momentum", "0", "--schedule", "constant"]])
def test_nets_and_optimizers_learn(tmp_path: Path, capsys: Any, options: list[str]) -> None:
    assert main(["train", "--epochs", "3", "--json", "--out", str(tmp_path), *options]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["test_accuracy"] > 0.85


def test_the_same_seed_gives_the_same_net(tmp_path: Path, capsys: Any) -> None:
    rows = []
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        main(["train", "--epochs", "2", "--json", "--seed", seed, "--out", str(tmp_path / name)])
        rows.append(json.loads(capsys.readouterr().out.splitlines()[-1])["loss"])
    assert rows[0] == rows[1] != rows[2]


def test_predict_sees_test_digits(trained: Path, tmp_path: Path, capsys: Any) -> None:
    _, _, x, y = fb.data.digits()
    names = []
    for i in range(20):
        pixels = (x[i, 0] * 255).astype(np.uint8).repeat(9, 0).repeat(9, 1)
        names.append(str(tmp_path / f"{i}.png"))
        pictures.write_png(Path(names[-1]), pixels)
    assert main(["predict", str(trained), *names, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(row["label"] == str(label) for row, label in zip(rows, y)) >= 18
    assert all(abs(sum(row["probabilities"].values()) - 1) < 1e-3 for row in rows)


def test_predict_inverted_paper(trained: Path, tmp_path: Path, capsys: Any) -> None:
    _, _, x, _ = fb.data.digits()
    pixels = (x[1, 0] * 255).astype(np.uint8)
    pictures.write_png(tmp_path / "a.png", pixels)
    pictures.write_png(tmp_path / "b.png", 255 - pixels)
    main(["predict", str(trained / "model.safetensors"), str(tmp_path / "a.png")])
    main(["predict", str(trained / "model.safetensors"), str(tmp_path / "b.png"), "--invert"])
    plain, inverted = capsys.readouterr().out.splitlines()
    assert plain.split(": ")[1] == inverted.split(": ")[1]


def test_a_model_file_is_a_plain_module(trained: Path) -> None:
    net = fb.load(trained / "model.safetensors")["model"]
    assert net.forward(fb.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(("words", "message"), [
    (["train", "--epoch", "3"], "flambeau train: unknown option --epoch 3"),
    (["train", "--data", "cifar"], "argument --data: invalid choice: 'cifar'"),
    (["train", "--epochs", "0"], "--epochs: expected a whole number of at least 1, got '0'"),
    (["train", "--lr", "nan"], "argument --lr: expected a number above 0, got 'nan'"),
    (["train", "--device", "tpu"],
     "--device: expected device 'cpu', 'cuda' or 'cuda:N', got 'tpu'"),
    (["predict", "nowhere.npz", "a.png"], "expected a model file, got 'nowhere.npz'"),
    (["predict"], "the following arguments are required: MODEL, IMAGE"),
    (["cache", "burn"], "invalid choice: 'burn'"),
    (["fly"], "invalid choice: 'fly'"),
])
def test_mistakes_exit_with_2(capsys: Any, words: list[str], message: str) -> None:
    assert message in fails(capsys, *words)


def test_other_mistakes(capsys: Any, tmp_path: Path, trained: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "--out: expected a folder" in fails(capsys, "train", "--out", str(tmp_path / "file"))
    assert "expected a model written by `flambeau train`" in fails(
        capsys, "predict", str(tmp_path / "file"), "a.png")
    assert "expected an image file, got 'no.png'" in fails(
        capsys, "predict", str(trained), "no.png")


def test_a_data_set_without_network(capsys: Any, tmp_path: Path, monkeypatch: Any) -> None:
    def unreachable(*args: object, **options: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    with override(data="", cache=str(tmp_path)):
        text = fails(capsys, "train", "--data", "mnist")
    assert "set FLAMBEAU_DATA to the folder" in text and "no route" in text


def test_no_command_prints_the_help(capsys: Any) -> None:
    assert main([]) == 2
    assert "train a net on a data set" in capsys.readouterr().out


def test_a_loss_that_explodes_is_explained(capsys: Any, tmp_path: Path) -> None:
    code = main(["train", "--lr", "1e12", "--epochs", "2", "--out", str(tmp_path)])
    assert code == 2 and "expected a smaller --lr" in capsys.readouterr().err


def test_info_names_the_facts(capsys: Any) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    names = [line.split()[0] for line in out.splitlines()]
    assert names == ["flambeau", "python", "packages", "target", "features", "caches", "threads",
                     "blas", "cuda", "cache", "flags"]


def test_info_says_why_there_is_no_cuda() -> None:
    assert info.cuda().startswith(("no: ", "driver"))


def test_cache_list_and_clear(capsys: Any, tmp_path: Path) -> None:
    with override(cache=str(tmp_path)):
        (tmp_path / "abc.fbo").write_bytes(b"12345")
        assert main(["cache", "list"]) == 0
        assert "1 entries, 5 bytes" in capsys.readouterr().out
        assert main(["cache", "clear"]) == 0
        assert "deleted 1 entry" in capsys.readouterr().out
        assert list(tmp_path.iterdir()) == []
    with override(cache="off"):
        assert main(["cache", "list"]) == 0
        assert "the cache is off" in capsys.readouterr().out


def test_progress_is_a_bar_on_terminals_and_lines_elsewhere() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    row = {"loss": 0.5, "accuracy": 0.9, "val_accuracy": 0.8, "examples_per_second": 1e5}
    for stream, bars in ((io.StringIO(), 0), (Terminal(), 2)):
        shown = progress.Progress(3, stream)
        shown.start(1)
        for batch in (5, 10):
            shown.batch({"batch": batch, "batches": 10, "loss": 0.7})
        shown.done(row)
        assert stream.getvalue().count("▕") == bars
        assert stream.getvalue().endswith(
            "epoch 1/3  loss 0.5000  accuracy  90.00%  test  80.00%     100,000 examples/s\n")


def test_python_m_flambeau() -> None:
    done = subprocess.run([sys.executable, "-m", "flambeau", "cache", "list"], capture_output=True,
                          text=True, check=True)
    assert "entries" in done.stdout or "off" in done.stdout
