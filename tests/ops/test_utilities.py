"""Timer and CmdLine."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import flambeau as fb
import pytest
from flambeau import utilities


def test_timer(monkeypatch: Any) -> None:
    now = [10.0, 1.0, 0.5]
    monkeypatch.setattr(utilities, "_clocks", lambda: tuple(now))
    timer = fb.Timer()
    now[:] = [13.0, 2.0, 0.75]
    assert timer.time() == {"real": 3.0, "user": 1.0, "sys": 0.25}
    timer.stop()
    now[0] = 100.0
    assert timer.time()["real"] == 3.0 and timer.resume().resume().time()["real"] == 3.0
    now[0] = 101.0
    assert timer.time()["real"] == 4.0
    assert repr(timer) == "Timer(real 4.000000 s, user 1.000000 s, sys 0.250000 s, running)"
    assert timer.reset().time()["real"] == 0 and timer.stop().reset().time()["real"] == 0
    now[0] = 200.0
    assert timer.time()["real"] == 0 and "stopped" in repr(timer)


def test_timer_really_counts() -> None:
    timer = fb.Timer()
    assert timer.time()["real"] > 0 and set(timer.time()) == {"real", "user", "sys"}


def command() -> Any:
    cmd = fb.CmdLine()
    cmd.text("Trains").text().text("Options:")
    cmd.argument("data", "the data set").argument("count", "how many", "number")
    cmd.option("-lr", 0.01, "learning rate").option("-units", 100).option("--name", "net")
    return cmd.option("-gpu", False, "use one").option("-shuffle", True)


def test_parse() -> None:
    cmd = command()
    assert cmd.parse(["mnist", "3"]) == {"data": "mnist", "count": 3.0, "lr": 0.01, "units": 100,
                                         "name": "net", "gpu": False, "shuffle": True}
    found = cmd.parse(["a", "1", "-lr", "1e-3", "-units", "7", "--name", "b", "-gpu", "-shuffle"])
    assert found == {"data": "a", "count": 1.0, "lr": 1e-3, "units": 7, "name": "b", "gpu": True,
                     "shuffle": False}
    assert cmd.parse(["a", "1", "-lr", "-2"])["lr"] == -2


def test_help_and_mistakes(capsys: Any) -> None:
    cmd = command()
    for word in ("-h", "-help", "--help"):
        with pytest.raises(SystemExit) as end:
            cmd.parse([word])
        assert end.value.code == 0
        assert "learning rate [0.01]" in capsys.readouterr().out
    assert "Trains\n\nOptions:" in cmd.help()
    for words, text in (([], "required: data, count"), (["a", "1", "-lr", "x"], "argument -lr"),
                        (["a", "1", "-what"], "unrecognized arguments: -what")):
        with pytest.raises(SystemExit):
            cmd.parse(words)
        assert text in capsys.readouterr().err
    with pytest.raises(ValueError, match="CmdLine: expected an option as -name with a default, got "
                       "'lr' and 1"):
        cmd.option("lr", 1)
    with pytest.raises(ValueError, match="got '-lr' and None"):
        cmd.option("-lr", None)


def test_string() -> None:
    cmd = command()
    params = cmd.parse(["a", "1", "-units", "7", "-gpu", "-lr", "0.5"])
    assert cmd.string("run", params) == "run,data=a,count=1.0,gpu=t,lr=0.5,units=7"
    assert cmd.string("", params, {"data", "count", "lr"}) == "gpu=t,units=7"
    assert fb.CmdLine("_", ":").option("-a", 1).string("r", {"a": 2}) == "r_a:2"
    with pytest.raises(KeyError, match=r"expected keys of this command line, got \['other'\]"):
        cmd.string("run", {"other": 1})


def test_log(tmp_path: Path, capsys: Any) -> None:
    cmd, out = command(), sys.stdout
    with cmd.log(tmp_path / "log", {"lr": 0.1, "a": 2}):
        print("one")
    print("two")
    assert sys.stdout is out
    assert (tmp_path / "log").read_text() == "a: 2\nlr: 0.1\none\n"
    assert capsys.readouterr().out == "a: 2\nlr: 0.1\none\ntwo\n"
    log = cmd.silent().add_time("run", "%Y").log(tmp_path / "log")
    print("a", "b")
    log.close()
    assert re.fullmatch(r"\[run \d{4}\] a b\n", (tmp_path / "log").read_text())
    assert capsys.readouterr().out == ""
