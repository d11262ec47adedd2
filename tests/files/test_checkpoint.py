"""Checkpoints: structure, models, going on with training, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flambeau as fb
import flambeau.nn as nn
import numpy as np
import pytest
from flambeau import files, optim
from flambeau.files import FileError


def round_trip(x: Any, tmp_path: Path) -> Any:
    fb.save(x, tmp_path / "x.fb")
    return fb.load(tmp_path / "x.fb")


def test_plain_data(tmp_path: Path) -> None:
    given = {"n": None, "b": [True, False], "i": 1 << 70, "f": 0.1, "z": -0.0, "text": "ä\n\ud7ff",
             "t": (1, (2, [3])), "inf": float("-inf"), "c": 1 + 2j, "raw": b"\0\xff",
             "d": {1: "a", (2, 3): "b"},
             "dtype": fb.bfloat16, "empty": [{}, [], ()], "np": np.float32(0.5)}
    found = round_trip(given, tmp_path)
    assert found == given and str(found["z"]) == "-0.0"
    assert np.isnan(round_trip(float("nan"), tmp_path))


def test_tensors(tmp_path: Path) -> None:
    x = fb.arange(6.0).reshape(2, 3)
    given = {"x": x, "again": [x], "view": x[1], "g": fb.ones(2).requires_grad_(),
             "p": nn.Parameter(fb.ones(2), requires_grad=False), "a": np.arange(3),
             "half": fb.ones(2, dtype=fb.bfloat16), "zero": fb.tensor(2),
             "c": fb.tensor([1 + 2j, 0.1j]),
             "c128": fb.tensor([[1 - 1e-300j]], dtype=fb.complex128),
             "point": fb.tensor(1j, dtype=fb.complex128), "wide": np.array([2j])}
    found = round_trip(given, tmp_path)
    assert found["again"][0] is found["x"] and found["x"].tolist() == x.tolist()
    assert found["view"].tolist() == [3, 4, 5]
    assert found["g"].requires_grad and type(found["p"]) is nn.Parameter
    assert not found["p"].requires_grad and not found["x"].requires_grad
    assert isinstance(found["a"], np.ndarray) and found["half"].dtype is fb.bfloat16
    assert set(files.load_safetensors(tmp_path / "x.fb")) == {"x", "view", "g", "p", "a", "half",
                                                              "zero", "c", "c128", "point", "wide"}
    for name in ("c", "c128", "point", "wide"):
        assert found[name].dtype.name == given[name].dtype.name  # type: ignore[attr-defined]
        assert found[name].tolist() == given[name].tolist()  # type: ignore[attr-defined]


def test_other_formats_by_ending(tmp_path: Path) -> None:
    x = fb.arange(3.0)
    for ending, value in ((".npy", x), (".npz", {"x": x}), (".t7", [x, "a"])):
        fb.save(value, tmp_path / f"x{ending}")
        found = fb.load(tmp_path / f"x{ending}", device="cpu")
        first = found if ending == ".npy" else found["x"] if ending == ".npz" else found[0]
        assert first.tolist() == [0, 1, 2]
    assert np.load(tmp_path / "x.npy").tolist() == [0, 1, 2]
    files.save_safetensors(tmp_path / "y.safetensors", {"a": x})
    assert fb.load(tmp_path / "y.safetensors")["a"].tolist() == [0, 1, 2]
    with pytest.raises(FileNotFoundError):
        fb.load(tmp_path / "none")


class Pair(nn.Module):
    """Children made inside, tied to each other, and a list of parameters."""

    def __init__(self, size: int, names: Any = ()) -> None:
        self.size, self.names = size, names
        self.first, self.second = nn.Linear(size, size), nn.Linear(size, size, bias=False)
        self.second.weight = self.first.weight
        self.scales = [nn.Parameter(fb.ones(size)), nn.Parameter(fb.ones(1))]
        self.count = nn.Buffer(fb.zeros(1))

    def compute(self, input: Any) -> Any:
        return self.second(self.first(input)) * self.scales[0] * self.scales[1]


def test_models(tmp_path: Path) -> None:
    shared = nn.Linear(3, 3)
    m = nn.Sequential(Pair(3, names=("a", "b")), shared, nn.Tanh(), shared,
                      nn.Linear(3, 3).no_bias(), nn.Dropout(0.2), nn.BatchNormalization(3),
                      nn.Concat(1, nn.Identity(), nn.Linear(3, 1)))
    m[4].weight.requires_grad_(False)
    m.note, m[5].p = "mine", 0.4
    m.share(m)  # nothing
    x = fb.randn(4, 3)
    m(x)
    m.evaluate()
    before = fb.get_rng_state()
    found = round_trip({"m": m, "last": m[7], "crit": nn.ClassNLLCriterion([1.0, 2.0])}, tmp_path)
    again = found["m"]
    assert fb.get_rng_state() == before
    assert repr(again) == repr(m) and again.note == "mine" and again[5].p == 0.4
    assert again[1] is again[3] and found["last"] is again[7] and not again[0].is_training
    assert again[0].second.weight is again[0].first.weight and again[0].names == ("a", "b")
    assert not again[4].weight.requires_grad and again[4].bias is None
    assert [p.shape for p in again.params()] == [p.shape for p in m.params()]
    assert np.array_equal(again(x).numpy(), m(x).numpy())
    assert found["crit"].weights.tolist() == [1, 2]
    names = set(files.load_safetensors(tmp_path / "x.fb"))
    assert {"m.0.first.weight", "m.0.scales.1", "m.6.running_mean"} <= names
    assert not any(n.startswith("m.0.second") for n in names)


def test_halves_and_doubles(tmp_path: Path) -> None:
    for dtype in (fb.float64, fb.bfloat16):
        m = nn.Linear(2, 2).type(dtype)
        again = round_trip(m, tmp_path)
        assert again.type() == dtype.name
        assert bytes(again.weight.buffer()) == bytes(m.weight.buffer())


def parts() -> tuple[Any, Any, Any]:
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNormalization(8), nn.ReLU(), nn.Dropout(0.3),
                        nn.Linear(8, 3), nn.LogSoftMax())
    return net, optim.Adam(net, lr=0.01), nn.ClassNLLCriterion()


def train(net: Any, optimizer: Any, criterion: Any, x: Any, y: Any, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = criterion(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss)
    return [float(v) for v in losses]


@pytest.mark.parametrize("anew", [False, True])
def test_going_on_gives_the_same_bits(anew: bool, tmp_path: Path) -> None:
    fb.manual_seed(3)
    x, y = fb.randn(16, 4), fb.randint(0, 3, 16)
    net, optimizer, criterion = parts()
    train(net, optimizer, criterion, x, y, 3)
    fb.save_checkpoint(tmp_path / "c", net, optimizer, epoch=3, history=[1.0])
    straight = train(net, optimizer, criterion, x, y, 3)
    bits = [bytes(t.buffer()) for t in net.state_dict().values()]

    fb.manual_seed(99)
    net, optimizer, criterion = parts()
    optimizer.lr = 5.0
    found = fb.load_checkpoint(tmp_path / "c", None if anew else net,
                               None if anew else optimizer)
    if anew:
        net, state = found["model"], found["optimizer"]
        optimizer = optim.Adam(net, lr=1.0)
        optimizer.load_state_dict(state)
    assert found["epoch"] == 3 and found["history"] == [1.0] and found["model"] is net
    assert train(net, optimizer, criterion, x, y, 3) == straight
    assert [bytes(t.buffer()) for t in net.state_dict().values()] == bits


def test_going_on_with_a_compiled_step(tmp_path: Path) -> None:
    fb.manual_seed(3)
    x, y = fb.randn(16, 4), fb.randint(0, 3, 16)
    net, optimizer, criterion = parts()
    step = net.compile(criterion, optimizer)
    for _ in range(3):
        step(x, y)
    fb.save_checkpoint(tmp_path / "c", net, optimizer)
    straight = [float(step(x, y)) for _ in range(3)]
    net, optimizer, criterion = parts()
    fb.load_checkpoint(tmp_path / "c", net, optimizer)
    step = net.compile(criterion, optimizer)
    assert [float(step(x, y)) for _ in range(3)] == straight


def test_a_generator_of_its_own(tmp_path: Path) -> None:
    g = fb.Generator(5)
    fb.rand(3, generator=g)
    fb.save({"g": g}, tmp_path / "g")
    again = fb.load(tmp_path / "g")["g"]
    assert fb.rand(3, generator=again).tolist() == fb.rand(3, generator=g).tolist()


def test_loading_into_a_model_that_differs(tmp_path: Path) -> None:
    fb.save_checkpoint(tmp_path / "c", nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
    other = nn.Sequential(nn.Linear(2, 4), nn.Linear(3, 1, bias=False), nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"load_state_dict: expected the 5 entries of Sequential, "
                       r"got missing 2.weight, 2.bias; unknown 1.bias; mismatched 0.weight of "
                       r"shape \(3, 2\) in place of \(4, 2\), 0.bias of shape \(3,\) in .*"):
        fb.load_checkpoint(tmp_path / "c", other)
    part = nn.Sequential(nn.Linear(2, 3))
    fb.load_checkpoint(tmp_path / "c", part, strict=False)
    fb.save(fb.ones(2), tmp_path / "x")
    with pytest.raises(FileError, match="expected a checkpoint, got"):
        fb.load_checkpoint(tmp_path / "x")


def test_a_file_holds_no_activations(tmp_path: Path) -> None:
    m = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    fb.save(m, tmp_path / "before")
    m.backward(fb.ones(500, 4), m(fb.ones(500, 4)))
    fb.save(m, tmp_path / "after")
    assert (tmp_path / "before").stat().st_size == (tmp_path / "after").stat().st_size


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"save: a.1: expected plain data, tensors or modules"):
        fb.save({"a": [1, {2}]}, tmp_path / "x")
    with pytest.raises(ValueError, match="to: expected device 'cpu'"):
        fb.save(fb.ones(2), tmp_path / "x")
        fb.load(tmp_path / "x", device="tpu")


def broken(root: Any, path: Path, tensors: dict[str, Any] | None = None) -> None:
    text = root if isinstance(root, str) else json.dumps({"format": 1, "root": root})
    files.save_safetensors(path, tensors or {}, {"flambeau": text})


LINEAR = {"class": "nn.Linear", "number": 0, "args": [2, 2], "options": {}, "state": {},
          "fields": {}}


@pytest.mark.parametrize(("root", "text"), [
    ("{", "expected JSON in the metadata"),
    ("[]", r"expected a structure of format 1, got \[\]"),
    ({"code": "print()"}, "expected one of .*, got code"),
    ({"tensor": "x"}, "expected a tensor of this file, got x"),
    ({"pairs": [[{"dict": {}}, 1]]}, "expected a key that a dict can have, got dict"),
    ({"float": "1"}, "expected inf, -inf or nan, got 1"),
    ({"bytes": "0g"}, "expected bytes as hexadecimal digits, got 0g"),
    ({"dtype": "str"}, "expected a dtype that Flambeau has, got str"),
    ({"module": LINEAR | {"class": "os.system"}}, "expected a known module; define or import its"),
    ({"module": LINEAR | {"class": "nn.init"}}, "expected a known module"),
    ({"module": LINEAR | {"args": ["a", 2]}}, "expected arguments that Linear takes, got"),
    ({"module": LINEAR}, r"expected the 2 tensors of Linear\(2 -> 2\), got missing \['weight', 'b"),
    ({"module": LINEAR | {"args": [1 << 20, 1 << 30]}}, "expected the 2 tensors of Linear"),
    ({"module": LINEAR | {"fields": {"": {"forward": 1}}}}, "expected a plain attribute of Linear"),
    ({"module": LINEAR | {"fields": {"": {"_run": 1}}}}, "attribute of Linear, got '_run': 1"),
    ({"module": {"same": 3}}, "expected the number of a module before, got 3"),
])
def test_refusals(root: Any, text: str, tmp_path: Path) -> None:
    broken(root, tmp_path / "x")
    with pytest.raises(FileError, match=text):
        fb.load(tmp_path / "x")


def test_deep_structures_are_refused(tmp_path: Path) -> None:
    x: Any = 1
    for _ in range(300):
        x = [x]
    broken(x, tmp_path / "x")
    with pytest.raises(FileError, match="expected values nested up to 200 deep"):
        fb.load(tmp_path / "x")
