"""Good files of every format, changed at random: readers give values or FileErrors, nothing else.

    python tests/files/fuzz.py --count 100000 --seed 1

prints a line for each format: files tried, how many still loaded, seconds. Memory is limited, so
that an absurd allocation fails here rather than the machine, and a file that takes longer than
SLOW seconds counts as a hang.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flambeau as fb
import h5py
import numpy as np
import scipy.io
import scipy.sparse
from flambeau import files, nn, optim

DATA = Path(__file__).parent.parent / "data" / "t7"
SLOW = 10  # seconds
MEMORY = 3 << 30  # bytes of address space beyond what the process has at the start
ABSURD = (0, 1, -1, 2, 7, 127, 255, 256, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
          1 << 40, 1 << 62, (1 << 63) - 1, (1 << 64) - 1)

Maker = Callable[[], list[bytes]]
Format = tuple[Callable[[Any], Any], Maker]


def written(save: Callable[..., None], *args: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    save(out, *args, **options)
    return out.getvalue()


def tensors() -> dict[str, Any]:
    return {"f": fb.arange(6.0).reshape(2, 3), "i": fb.arange(5), "b": fb.tensor([True, False]),
            "h": fb.ones(3, dtype=fb.bfloat16), "e": fb.zeros(0, 2)}


def npys() -> list[bytes]:
    return [written(files.save_npy, x) for x in tensors().values()]


def npzs() -> list[bytes]:
    return [written(files.save_npz, tensors(), compress) for compress in (False, True)]


def t7s() -> list[bytes]:
    small = [p for p in sorted(DATA.glob("*.t7")) if p.stat().st_size < 6000]
    return [p.read_bytes() for p in small]


def plains() -> list[bytes]:
    return [written(files.save_safetensors, tensors(), {"a": "b"}),
            written(files.save_safetensors, {})]


def own() -> list[bytes]:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNormalization(3), nn.Dropout(0.1),
                        nn.Concat(1, nn.Linear(3, 1), nn.Identity()))
    values = {"a": [1, 2.5, None, (True, "x")], "inf": float("inf"), "c": 1 + 2j, "t": tensors(),
              "pairs": {1: 2}, "d": fb.float32, "g": fb.Generator(1), "array": np.arange(3)}
    return [written(lambda out, x: fb.save(x, out), x) for x in (net, values)] + [
        written(fb.save_checkpoint, net, optim.Adam(net), epoch=1)]


def mats() -> list[bytes]:
    values = {"f": fb.arange(6.0).reshape(2, 3), "b": fb.tensor([True, False]), "s": "text",
              "c": [1, ["x", None]], "d": {"a": fb.ones(2, 1, 2), "b": {}}}
    sparse, old = io.BytesIO(), io.BytesIO()
    scipy.io.savemat(sparse, {"s": scipy.sparse.eye(3, format="csc"), "r": np.array(["ab", "cd"])})
    scipy.io.savemat(old, {"s": scipy.sparse.eye(3, format="csc"), "t": "abc", "x": np.eye(2)},
                     format="4")
    return [written(fb.mat.save, values), written(fb.mat.save, values, True), sparse.getvalue(),
            old.getvalue()]


def deflated(rng: np.random.Generator, _: list[bytes]) -> bytes:
    """Changed variables inside sound compressed elements."""
    plain = mats()[0]
    packed = zlib.compress(mutate(rng, [plain[128:]]))
    return plain[:128] + struct.pack("<II", 15, len(packed)) + packed


def hdf5s() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.mat"
        with h5py.File(path, "w", userblock_size=512) as file:
            for name, data, kind in (("a", np.arange(6.0).reshape(2, 3), "double"),
                                     ("t", np.array([[104], [105]], "u2"), "char")):
                file.create_dataset(name, data=data).attrs["MATLAB_class"] = np.bytes_(kind)
            inner = file.create_group("s")
            inner.create_dataset("f", data=np.ones((1, 1))).attrs["MATLAB_class"] = b"double"
        return [path.read_bytes()]


def load_mat(data: bytes) -> Any:
    return fb.mat.load(data, dense=True)


FORMATS: dict[str, Format] = {
    "npy": (files.load_npy, npys), "npz": (files.load_npz, npzs), "t7": (files.load_t7, t7s),
    "safetensors": (files.load_safetensors, plains),
    "checkpoint": (fb.load, own), "mat": (load_mat, mats), "mat73": (load_mat, hdf5s),
}
SHARES = {"mat73": 50}  # one in so many: each starts a process


def mutate(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """One to four changes of one good file."""
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.integers(1, 5)):
        if not data:
            break
        at = int(rng.integers(len(data)))
        kind = rng.integers(9)
        if kind == 0:  # cut off
            del data[at:]
        elif kind == 1:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            data[at] = int(rng.integers(256))
        elif kind == 3:  # an absurd number
            value = ABSURD[rng.integers(len(ABSURD))] & ((1 << 64) - 1)
            form, mask = (("<Q", (1 << 64) - 1), ("<I", (1 << 32) - 1))[rng.integers(2)]
            number = struct.pack(form, value & mask)
            data[at:at + len(number)] = number
        elif kind == 4:  # digits, for texts
            places = [i for i, c in enumerate(data) if 48 <= c < 58]
            if places:
                at = places[rng.integers(len(places))]
                data[at:at + 1] = str(ABSURD[rng.integers(len(ABSURD))]).encode()
        elif kind == 5:  # a part twice, or many times: nesting
            end = min(len(data), at + int(rng.integers(1, 40)))
            data[at:at] = data[at:end] * int(rng.choice([1, 2, 50, 2000], p=[.6, .3, .08, .02]))
        elif kind == 6:
            del data[at:at + int(rng.integers(1, 40))]
        elif kind == 7:  # a part of another file
            other = seeds[rng.integers(len(seeds))]
            start = int(rng.integers(len(other) + 1))
            data[at:at + 20] = other[start:start + 20]
        else:  # swap two bytes
            b = int(rng.integers(len(data)))
            data[at], data[b] = data[b], data[at]
    return bytes(data)


def archive(rng: np.random.Generator, _: list[bytes]) -> bytes:
    """An archive around a changed entry, with its checksum right, so that entries are reached."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.npy", mutate(rng, npys()))
    return out.getvalue()


def structure(rng: np.random.Generator, seeds: list[bytes]) -> bytes:
    """A sound file whose structure is changed, as text or by swapping values between places."""
    found = files.load_safetensors(seeds[rng.integers(len(seeds))])
    text = found.metadata["flambeau"]
    if rng.integers(2):
        text = mutate(rng, [text.encode()]).decode(errors="replace")
    else:
        text = json.dumps(shuffled(rng, json.loads(text)))
    return written(files.save_safetensors, found, {"flambeau": text})


def shuffled(rng: np.random.Generator, x: Any) -> Any:
    """JSON with one value in the place of another."""
    places: list[tuple[Any, Any]] = []
    todo = [x]
    while todo:
        holder = todo.pop()
        if isinstance(holder, dict | list):
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            places += [(holder, k) for k in keys]
            todo += [holder[k] for k in keys]
    for _ in range(int(rng.integers(1, 4))):
        (a, i), (b, j) = (places[rng.integers(len(places))] for _ in range(2))
        a[i] = json.loads(json.dumps(b[j])) if rng.integers(4) else int(
            ABSURD[rng.integers(len(ABSURD))])
    return x


OTHER = {"npz": archive, "checkpoint": structure, "mat": deflated}  # for every second file


def attempt(name: str, load: Callable[[Any], Any], data: bytes) -> bool:
    """True when the file loaded; anything but FileError goes up."""
    try:
        values_of(load(data))
    except files.FileError as error:
        assert str(error).count("expected") and "got" in str(error), str(error)
        return False
    return True


def values_of(x: Any) -> None:
    """Looks at what was loaded, as a user would at small values."""
    if isinstance(x, fb.Tensor) and x.size < 1000:
        x.numpy()
    elif isinstance(x, dict):
        for value in list(x.values())[:5]:
            if isinstance(value, fb.Tensor):
                values_of(value)


def run(name: str, count: int, seed: int) -> tuple[int, float]:
    """Tries `count` changed files of a format: how many loaded, and the seconds it took."""
    load, make = FORMATS[name]
    seeds = make()
    for data in seeds:
        assert attempt(name, load, data), f"{name}: a good file did not load"
    loaded, start = 0, time.perf_counter()
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        data = (OTHER.get(name, mutate) if i % 2 else mutate)(rng, seeds)
        before = time.perf_counter()
        try:
            loaded += attempt(name, load, data)
        except BaseException:
            Path(f"fuzz-{name}-{seed}-{i}.bin").write_bytes(data)
            print(f"{name}: seed {seed}, number {i}: kept as fuzz-{name}-{seed}-{i}.bin",
                  file=sys.stderr)
            raise
        assert time.perf_counter() - before < SLOW, f"{name}: number {i} took too long"
    return loaded, time.perf_counter() - start


def limit_memory() -> None:
    """Address space: what is in use, and MEMORY more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


def _hang(*_: Any) -> None:
    raise RuntimeError("fuzz: a reader hangs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="files of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("formats", nargs="*", default=list(FORMATS))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _hang)
    limit_memory()
    total = 0
    for name in args.formats or FORMATS:
        signal.alarm(3600)
        count = -(-args.count // SHARES.get(name, 1))
        loaded, seconds = run(name, count, args.seed)
        total += count
        print(f"{name:12} {count} files, {loaded} loaded, {count - loaded} refused, "
              f"{seconds:.1f} s", flush=True)
    print(f"{total} files, no other error, hang or crash")


if __name__ == "__main__":
    main()
