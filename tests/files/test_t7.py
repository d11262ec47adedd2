"""Torch7's files: those that Torch7 itself wrote (tests/data/t7) against its own account of them,
and back byte for byte."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import flambeau as fb
import flambeau.nn as nn
import numpy as np
import pytest
from flambeau import files
from flambeau.files import TorchObject

DATA = Path(__file__).parent.parent / "data" / "t7"
RECORDED = sorted(p.name for p in DATA.glob("*.t7"))
VALUES = np.load(DATA / "values.npz")


def expected(name: str) -> Any:
    return json.loads((DATA / f"{name.split('.')[0]}.json").read_text())


def numbers(values: list[Any]) -> np.ndarray:
    return np.array([float(v["number"]) if isinstance(v, dict) else v for v in values], float)


class Agree:
    """Compares a value with Torch7's account; what has one id there is one object here."""

    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}

    def check(self, x: Any, want: Any) -> None:
        if isinstance(want, dict) and "ref" in want:
            assert x is self.seen[want["ref"]]
        elif isinstance(want, dict) and "type" in want:
            self.seen[want["id"]] = x
            self.instance(x, want)
        else:
            assert type(x) in (type(want), int, float) and x == want

    def instance(self, x: Any, want: Any) -> None:
        kind = want["type"]
        if kind == "table":
            found = dict(enumerate(x, 1)) if isinstance(x, list) else x
            assert len(found) == len(want["entries"])
            for key, value in want["entries"]:
                self.check(found[key], value)
        elif kind.endswith("Storage"):
            values = x.numpy()
            np.testing.assert_array_equal(values.astype(float), numbers(want["data"]))
        elif kind.endswith("Tensor"):
            assert x.shape == (tuple(want["size"]) or (0,))
            np.testing.assert_array_equal(x.numpy().reshape(-1).astype(float),
                                          numbers(want["data"]))
            if want["storage"] is not None:
                assert x.stride() == tuple(want["stride"])
                assert x.storage_offset() == want["storage_offset"] - 1
                self.check(x.storage(), want["storage"])
        else:
            assert isinstance(x, TorchObject) and x.name == kind
            assert len(x.fields) == len(want["fields"])
            for key, value in want["fields"]:
                self.check(x.fields[key], value)


@pytest.mark.parametrize("name", RECORDED)
def test_files_of_torch7(name: str) -> None:
    """Every object, number, stride and shared storage, and the same bytes back."""
    found = files.load_t7(DATA / name, modules=False)
    if name == "tensor_half.t7":  # Torch7 has no account of halves
        assert np.array_equal(found.numpy(), VALUES["t7.tensor_half.1:value"])
    else:
        Agree().check(found, expected(name))
    out = io.BytesIO()
    files.save_t7(out, found, "ascii" if "ascii" in name else "binary")
    assert out.getvalue() == (DATA / name).read_bytes()


@pytest.mark.parametrize("form", ["binary", "b32", "ascii"])
@pytest.mark.parametrize("name", [n for n in RECORDED if "ascii" not in n])
def test_other_spellings(name: str, form: str) -> None:
    """Longs of 4 bytes and ASCII are found out, and hold the same."""
    out = io.BytesIO()
    if name == "extremes.t7" and form == "b32":
        with pytest.raises(ValueError, match="save_t7: expected integers that longs of 4 bytes h"):
            files.save_t7(out, files.load_t7(DATA / name), form)
        return
    files.save_t7(out, files.load_t7(DATA / name, modules=False), form)
    again = files.load_t7(out.getvalue(), modules=False)
    if name == "tensor_half.t7":
        assert np.array_equal(again.numpy(), VALUES["t7.tensor_half.1:value"])
    else:
        Agree().check(again, expected(name))


NETS = [n for n in RECORDED if n.split(".")[0] in (
    "convnet", "convnet_float", "convnet_with_buffers", "mlp")]


@pytest.mark.parametrize("name", NETS)
def test_nets_compute_what_they_computed(name: str) -> None:
    net = files.load_t7(DATA / name)
    case = f"t7.{name.split('.')[0]}.1"
    x = fb.tensor(VALUES[f"{case}:input"]).to(net.type())
    tolerance = 1e-5 if net.type() == "float32" else 1e-12
    assert isinstance(net, nn.Sequential) and net.is_training == ("conv" in name)
    net.evaluate()
    np.testing.assert_allclose(net(x).numpy(), VALUES[f"{case}:output"], tolerance, tolerance)
    for form in ("binary", "ascii"):
        out = io.BytesIO()
        files.save_t7(out, net, form)
        again = files.load_t7(out.getvalue())
        assert not again.is_training and repr(again) == repr(net)
        assert np.array_equal(again(x).numpy(), net(x).numpy())


def test_what_we_write_has_the_fields_that_torch7_wrote() -> None:
    """Class by class: Torch7 must find every field that it keeps in its own files, of its type."""
    checked = set()
    for name in [NETS[0], "mlp.t7", "criterion.t7", "tied_weights.t7"]:
        theirs = files.load_t7(DATA / name, modules=False)
        out = io.BytesIO()
        files.save_t7(out, files.load_t7(DATA / name))
        ours = files.load_t7(out.getvalue(), modules=False)
        pairs = [(ours, theirs)]
        while pairs:
            a, b = pairs.pop()
            assert (a.name, a.version) == (b.name, b.version)
            checked.add(a.name)
            for key, value in b.fields.items():
                # sizes of the last input, and a mark of sharing, which later calls make anew
                if key not in ("iheight", "iwidth", "shared", "indices", "inplace"):
                    assert type(a.fields[key]) is type(value), (a.name, key)
            pairs += list(zip(a.fields.get("modules", []), b.fields.get("modules", [])))
    assert len(checked) >= 11


def test_tied_weights_stay_tied() -> None:
    net = files.load_t7(DATA / "tied_weights.t7")
    assert net.modules[0].weight is net.modules[1].weight and len(net.params()) == 2


def test_a_class_that_flambeau_lacks_stays_inert() -> None:
    net = files.load_t7(DATA / "table_net.t7")
    assert isinstance(net, TorchObject) and net.name == "nn.Sequential"
    table, add = net.fields["modules"]
    assert isinstance(table, nn.ParallelTable) and isinstance(table.modules[1], nn.LookupTable)
    assert repr(add).startswith("TorchObject(nn.CAddTable) {\n  _type: 'torch.DoubleTensor'")


def test_a_checkpoint_of_torch7() -> None:
    found = files.load_t7(DATA / "checkpoint.t7")
    assert isinstance(found["model"], nn.Linear) and found["epoch"] == 4
    assert found["optim"]["learningRate"] == 0.1 and found["optim"]["m"].tolist() == [1, 1]


MODULES = [
    nn.Sequential(nn.Linear(3, 4, bias=False), nn.ELU(0.5), nn.LeakyReLU(0.2), nn.SoftPlus(2.0),
                  nn.Identity(), nn.SoftMax(dim=None)),
    nn.Sequential(nn.SpatialConvolution(2, 4, 3, 2, 1, 2, 1, 0), nn.SpatialBatchNormalization(4),
                  nn.SpatialMaxPooling(2, 2).ceil(), nn.Sigmoid(), nn.View(-1)),
    nn.Sequential(nn.SpatialDilatedConvolution(2, 2, 2, 2, 1, 1, 0, 0, 2, 2),
                  nn.SpatialAveragePooling(2, 2, 1, 1, count_include_pad=False), nn.ReLU()),
    nn.Concat(1, nn.Linear(3, 2), nn.Tanh()),
    nn.Parallel(0, 0, nn.Identity(), nn.Dropout(0.3)),
    nn.Sequential(nn.ConcatTable(nn.Linear(3, 2), nn.Linear(3, 2)),
                  nn.ParallelTable(nn.Tanh(), nn.Identity())),
    nn.LookupTable(5, 3, padding=2), nn.Reshape(2, 3, batch_mode=True), nn.BatchNormalization(3),
    nn.View(3).set_num_input_dims(1), nn.LogSoftMax(dim=None), nn.Sequential(),
    nn.ClassNLLCriterion(fb.ones(3), False, 1), nn.CrossEntropyCriterion(), nn.MSECriterion(False),
    nn.AbsCriterion(), nn.SmoothL1Criterion(), nn.BCECriterion(fb.ones(2)),
]


@pytest.mark.parametrize("form", ["binary", "ascii"])
@pytest.mark.parametrize("net", MODULES, ids=lambda m: m.label().partition("(")[0])
def test_modules_round_trip(net: Any, form: str) -> None:
    out = io.BytesIO()
    files.save_t7(out, {"net": net, "again": net}, form)
    before = fb.get_rng_state()
    found = files.load_t7(out.getvalue())
    again = found["net"]
    assert fb.get_rng_state() == before and found["again"] is again
    assert repr(again) == repr(net) and type(again) is type(net)
    mine, theirs = net.state_dict(), again.state_dict()
    assert list(mine) == list(theirs)
    assert all(mine[k].numpy().tolist() == theirs[k].numpy().tolist() for k in mine)
    plain = (bool, int, float, tuple)
    kept = {k: v for k, v in vars(net).items() if isinstance(v, plain) and k[0] != "_"}
    assert all(getattr(again, k) == v for k, v in kept.items())


def test_the_table_covers_every_class() -> None:
    """Each class of nn is written, or Torch7 has none like it."""
    lacking = {"GELU", "SiLU", "Flatten", "Module", "Container", "Criterion"}
    ours = {name for name in vars(nn) if isinstance(getattr(nn, name), type)
            and issubclass(getattr(nn, name), nn.Module)}
    from flambeau.files.t7_modules import READ, WRITE
    assert {k.__name__ for k in WRITE} == ours - lacking
    assert set(READ) - {"SpatialConvolutionMM"} == ours - lacking
    with pytest.raises(TypeError, match="save_t7: expected a module that Torch7 has, got GELU"):
        files.save_t7(io.BytesIO(), nn.Sequential(nn.GELU()))


def test_softmax_chooses_its_axis_by_rank() -> None:
    m = nn.SoftMax(dim=None)
    for shape, axis in (((3,), 0), ((2, 3), 1), ((2, 3, 4), 0), ((2, 3, 4, 5), 1)):
        x = fb.randn(*shape)
        assert np.array_equal(m(x).numpy(), fb.softmax(x, axis).numpy())


# -- values ----------------------------------------------------------------------------------------


def round_trip(x: Any, form: str = "binary") -> Any:
    out = io.BytesIO()
    files.save_t7(out, x, form)
    return files.load_t7(out.getvalue())


@pytest.mark.parametrize("form", ["binary", "b32", "ascii"])
def test_values_round_trip(form: str) -> None:
    given = {"n": None, "t": True, "f": False, "i": 3, "x": 0.1, "s": "ä\n\t ", "e": "",
             "l": [1, [2]], "d": {2.5: "a", True: "b", -1: "c"}, "minus": -0.0,
             "inf": float("inf"), 1: [], 7: {}}
    found = round_trip(given, form)
    assert "n" not in found and found.pop(7) == []  # nil is not there; an empty table is a list
    del given["n"], given[7]
    assert found == given and str(found["minus"]) == "-0.0"
    assert np.isnan(round_trip(float("nan"), form))


def test_views_share_their_storage_after_loading() -> None:
    whole = fb.arange(24.0).reshape(2, 3, 4)
    views = [whole, whole[1], whole[:, 1:], whole.permute(2, 0, 1), whole[0, :, ::2],
             whole[:, 1, 1:3], whole[1, 2, 3], whole[0, 0].reshape(4, 1).expand(4, 3),
             whole.reshape(6, 4)[1:5, 2]]
    found = round_trip(views)
    for a, b in zip(found, views):
        assert a.storage() is found[0].storage()
        assert a.tolist() == (b.tolist() if b.shape else [b.item()])
    found[0].fill_(7)
    assert all((v.numpy() == 7).all() for v in found)
    found[2].copy_(fb.zeros(2, 2, 4))
    assert found[0].numpy()[:, 1:].max() == 0 and found[0].numpy()[:, 0].min() == 7


def test_random_views_by_stride() -> None:
    """Every view that slicing, transposing and reshaping make comes back, over shared memory."""
    rng = np.random.default_rng(0)
    flat = fb.arange(60.0)
    for _ in range(60):
        shape = [(60,), (5, 12), (3, 4, 5), (2, 3, 2, 5)][rng.integers(4)]
        view = flat.reshape(shape)
        for axis, extent in enumerate(shape):
            start = int(rng.integers(extent))
            stop, step = int(rng.integers(start + 1, extent + 1)), int(rng.integers(1, 3))
            view = view[(slice(None),) * axis + (slice(start, stop, step),)]
        view = view.permute(*rng.permutation(len(shape)).tolist())
        a, b = round_trip([flat, view])
        assert b.tolist() == view.tolist() and a.storage() is b.storage()


def test_other_tensors() -> None:
    assert round_trip(fb.tensor(2.5)).tolist() == [2.5]  # Torch7 has no 0-d tensors
    assert round_trip(fb.zeros(2, 0, 3)).shape == (0,)  # nor empty axes
    assert round_trip(fb.arange(4).flip(0)).tolist() == [3, 2, 1, 0]  # nor negative strides
    assert round_trip(fb.tensor([True, False])).dtype is fb.uint8  # nor bools
    assert round_trip(np.arange(3)).tolist() == [0, 1, 2]
    with pytest.raises(TypeError, match=r"save_t7: expected a dtype among .* got bfloat16; conv"):
        round_trip(fb.ones(2, dtype=fb.bfloat16))
    with pytest.raises(TypeError, match=r"save_t7: expected numbers, strings, .* got set"):
        round_trip({1: set()})
    with pytest.raises(ValueError, match="save_t7: expected a number that a double holds, got 9"):
        round_trip(2 ** 53 + 1)
    with pytest.raises(ValueError, match=r"save_t7: expected a format among .* got 'json'"):
        files.save_t7(io.BytesIO(), 1, "json")


def binary(*parts: Any) -> bytes:
    """ints of 4 bytes; strings with their length; floats as doubles; ("long", n)."""
    out = b""
    for p in parts:
        if isinstance(p, bytes):
            out += struct.pack("<i", len(p)) + p
        elif isinstance(p, tuple):
            out += struct.pack("<q", p[1])
        else:
            out += struct.pack("<d" if isinstance(p, float) else "<i", p)
    return out


def tensor_bytes(name: bytes, size: int, stride: int, offset: int, *data: float) -> bytes:
    kind = name.replace(b"Tensor", b"Storage")
    return binary(4, 1, b"V 1", name, 1, ("long", size), ("long", stride), ("long", offset),
                  4, 2, b"V 1", kind, ("long", len(data)), *data)


def test_overlapping_windows_are_copied() -> None:
    data = binary(4, 1, b"V 1", b"torch.DoubleTensor", 2, ("long", 3), ("long", 2), ("long", 1),
                  ("long", 1), ("long", 1), 4, 2, b"V 1", b"torch.DoubleStorage", ("long", 4),
                  1.0, 2.0, 3.0, 4.0)
    assert files.load_t7(data).tolist() == [[1, 2], [2, 3], [3, 4]]


def test_cuda_tensors_come_to_the_cpu() -> None:
    data = binary(4, 1, b"V 1", b"torch.CudaDoubleTensor", 1, ("long", 1), ("long", 1), ("long", 1),
                  4, 2, b"V 1", b"torch.CudaDoubleStorage", ("long", 1), 2.5)
    assert files.load_t7(data).tolist() == [2.5]


def test_the_oldest_files_have_no_version() -> None:
    assert files.load_t7(binary(4, 1, b"my.Class", 3, 2, 1, 2, b"a", 1, 1.0)).fields == {"a": 1}


def test_deep_nesting_is_no_danger() -> None:
    depth = 20_000
    data = b"".join(binary(3, i, 1, 1, 1.0) for i in range(1, depth + 1)) + binary(0)
    found, count = files.load_t7(data), 0
    while found is not None:
        found, count = found[0], count + 1
    assert count == depth


def test_deep_nets() -> None:
    for depth, text in ((90, None), (150, "expected modules nested up to 100 deep in nn.Seq")):
        x = TorchObject("nn.Sequential", {"modules": []})
        for _ in range(depth - 1):
            x = TorchObject("nn.Sequential", {"modules": [x]})
        out = io.BytesIO()
        files.save_t7(out, x)
        if text is None:
            assert isinstance(files.load_t7(out.getvalue()), nn.Sequential)
        else:
            with pytest.raises(files.FileError, match=text):
                files.load_t7(out.getvalue())


def test_texts_that_would_take_forever() -> None:
    """A long token is no number, and lines are not looked for beyond what is asked."""
    with pytest.raises(files.FileError, match="expected a number, got b'1111"):
        files.load_t7(b"4\n1\n3\nV 1\n19\ntorch.DoubleStorage\n1\n" + b"1" * 2_000_000 + b"x\n")
    many = 20_000
    pairs = b"".join(b"1 %d 4 %d 3\nV 1\n18\ntorch.DoubleTensor\n0 1 0 " % (i, i + 1)
                     for i in range(1, many + 1))
    assert len(files.load_t7(b"3 1 %d " % many + pairs)) == many


@pytest.mark.parametrize(("data", "text"), [
    (b"", "load_t7: bytes, byte 0: expected 4 bytes of a type from 0 to 8, got 0 until the end"),
    (b"4\n1", "byte 3: expected a version, got|expected the length of a version"),
    (b"1\nx\n", "byte 2: expected a number, got b'x'"),
    (b"1\n1\n1\n", "byte 4: expected the end of the file, got 2 more bytes"),
    (binary(9), "byte 0: expected 4 bytes|expected a type from 0 to 8"),
    (binary(8, 1), "byte 0: expected data, got a function, which is code and is never loaded"),
    (binary(3, 1, -1), "expected a table of at most 0 pairs, got -1"),
    (binary(3, 1, 1 << 30), "expected a table of at most 0 pairs, got 1073741824"),
    (binary(2, -5), "expected -5 bytes of a string, got 0 until the end"),
    (binary(3, 1, 1, 3, 1, 0), "expected keys that are numbers, strings, booleans or objects"),
    (binary(3, 1, 2, 5, 1, 0, 1, 1.0, 0), "expected each key once, got 1 twice"),
    (binary(3, 1, 1, 1, 1.0, 4, 1), "expected a class by index 1, got Table"),
    (tensor_bytes(b"torch.DoubleTensor", 3, 1, 1, 1.0, 2.0), "expected elements inside a storage "
     r"of 2, got size \(3,\), stride \(1,\), offset 1"),
    (tensor_bytes(b"torch.DoubleTensor", 2, -1, 2, 1.0, 2.0), "expected elements inside a storage"),
    (tensor_bytes(b"torch.DoubleTensor", 2, 1, 0, 1.0, 2.0), "expected elements inside a storage"),
    (tensor_bytes(b"torch.DoubleTensor", 1 << 60, 0, 1, 1.0), "expected elements inside a storage"),
    (binary(4, 1, b"V 1", b"torch.DoubleStorage", ("long", 1 << 60)), "expected a storage that"),
    (binary(4, 1, b"V 1", b"nn.Linear", 3, 2, 0), "expected a tensor 'weight' in nn.Linear "
     r"\(modules=False loads it as fields\), got none"),
    (binary(4, 1, b"V 1", b"nn.Concat", 3, 2, 1, 2, b"dimension", 1, 0.0),
     "expected a dimension 'dimension' of 1 or more in nn.Concat"),
])
def test_refusals(data: bytes, text: str) -> None:
    with pytest.raises(files.FileError, match=text):
        files.load_t7(data)
