#!/usr/bin/env python3
"""One virtual environment for each peer, under build/peers, from the package index: `make peers`.

    python benchmarks/install.py [--only torch jax ...] [--into build/peers]
        [--spec torch=torch==2.13.0+cpu]

A peer that is there already is left alone; one that cannot be installed is reported and skipped,
and nothing of it stays behind. Only the standard library is needed here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PLACE = Path(__file__).resolve().parents[1] / "build" / "peers"
# which BLAS Theano finds; without it, it asks NumPy in a way that NumPy's wheels have no answer to
THEANO_FLAGS = "blas__ldflags=-lopenblas,floatX=float32"
PRODUCT = ("import theano, theano.tensor as T; x = T.fmatrix(); "
           "theano.function([x], T.dot(x, x))([[1.0]])")


@dataclass(frozen=True)
class Peer:
    """steps: the words after `pip install`, one call each. proof: what must then run."""

    steps: tuple[tuple[str, ...], ...]
    proof: str
    python: str = ""  # the only version that will do
    note: str = ""  # what else it wants


PEERS = {
    "theano": Peer((("setuptools<60", "wheel", "numpy==1.23.5", "scipy<1.11"),
                    ("--no-build-isolation", "Theano-PyMC==1.1.2")), PRODUCT, "3.11",
                   "a C++ compiler, and OpenBLAS with its headers (Debian: libopenblas-dev)"),
    "pytensor": Peer((("pytensor",),), "import pytensor", note="a C++ compiler"),
    "torch": Peer((("torch", "numpy", "setuptools"),), "import torch",
                  note="a C++ compiler for torch.compile"),
    "jax": Peer((("jax", "numpy"),), "import jax"),
    "numba": Peer((("numba", "numpy"),), "import numba"),
    "numexpr": Peer((("numexpr", "numpy"),), "import numexpr"),
    "mkl": Peer((("mkl", "numpy"),), "import numpy"),
}


def main() -> None:
    """Installs what the command line asks for; exit status 0 even where peers were skipped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--into", type=Path, default=PLACE)
    parser.add_argument("--spec", action="append", default=[], metavar="NAME=REQUIREMENT",
                        help="instead of a package's bare name: a version, a URL")
    args = parser.parse_args()
    specs = dict(pair.split("=", 1) for pair in args.spec)
    skipped = []
    for name in args.only:
        reason = install(name, args.into / name, specs)
        print(f"{name}: " + (f"skipped: {reason}" if reason else "ready"), flush=True)
        skipped += [name] if reason else []
    if skipped:
        print(f"benchmarks will run without {', '.join(skipped)}")


def install(name: str, place: Path, specs: dict[str, str] | None = None) -> str:
    """Makes a peer's environment; gives the reason why not, or ""."""
    peer, python = PEERS[name], place / "bin" / "python"
    if python.exists() and not run([python, "-c", peer.proof]):
        return ""
    base = sys.executable
    if peer.python and peer.python != "{}.{}".format(*sys.version_info):
        found = shutil.which(f"python{peer.python}")
        if found is None:
            return f"expected Python {peer.python}, got none on the path"
        base = found
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    wanted = [[(specs or {}).get(word, word) for word in step] for step in peer.steps]
    commands = [[base, "-m", "venv", "--clear", place], *([*pip, *step] for step in wanted),
                [python, "-c", peer.proof]]
    for command in commands:
        reason = run(command)
        if reason:
            shutil.rmtree(place, ignore_errors=True)
            return reason + (f" (it needs {peer.note})" if peer.note else "")
    return ""


def run(command: list[object]) -> str:
    """"", or the last line of what went wrong."""
    done = subprocess.run([str(w) for w in command], capture_output=True, text=True,
                          env=os.environ | {"THEANO_FLAGS": THEANO_FLAGS})
    said = (done.stderr or done.stdout).strip().splitlines()
    return "" if done.returncode == 0 else said[-1] if said else f"exit status {done.returncode}"


if __name__ == "__main__":
    main()
