"""Where data files are, and how they come: found on this machine, else downloaded and checked.

A file counts when its contents (after gzip) have the right digest; a download that does not is
thrown away. Files are written under another name first, so a broken download leaves nothing.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import sys
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambeau.compiler.config import config

CHUNK = 1 << 16
GZIP = b"\x1f\x8b"
TIMEOUT = 20  # seconds without an answer


class DataError(RuntimeError):
    """A data set is missing, damaged, or could not be downloaded."""


@dataclass(frozen=True)
class Remote:
    """A file of a data set: its name without .gz, the SHA-256 of its contents, and its size."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Source:
    """A data set's files, addresses to try in turn, and folders of systems that package it."""

    name: str
    files: tuple[Remote, ...]
    addresses: tuple[str, ...]
    folders: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Where downloads are kept: `data` inside the cache folder."""
    if config.cache and config.cache != "off":
        return Path(config.cache).expanduser() / "data"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "flambeau" / "data"


def find(source: Source) -> Path | None:
    """The first folder that has all files of the set, or None."""
    for folder in _folders(source):
        if all(file_in(folder, f.name) for f in source.files) and _is_set(folder, source):
            return folder
    return None


def _is_set(folder: Path, source: Source) -> bool:
    """Sets share their file names: a folder of another name must prove itself by its last file."""
    if folder.name == source.name:
        return True
    path = file_in(folder, source.files[-1].name)
    assert path is not None
    try:
        check(path, source.files[-1])
    except (OSError, EOFError, zlib.error, ValueError):
        return False
    return True


def file_in(folder: Path, name: str) -> Path | None:
    """The file `name` in a folder, plain or gzipped."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def locate(source: Source, download: bool = True) -> Path:
    """The folder with the set's files; downloads them when they are nowhere."""
    found = find(source)
    if found is not None:
        return found
    if not download:
        raise DataError(_missing(source, "downloads are off"))
    folder = cache_folder() / source.name
    for remote in source.files:
        if file_in(folder, remote.name) is None:
            _fetch(source, remote, folder)
    return folder


def _folders(source: Source) -> Iterator[Path]:
    if config.data:
        base = Path(config.data).expanduser()
        yield base / source.name
        yield base
    yield cache_folder() / source.name
    for folder in source.folders:
        yield Path(folder)


def _missing(source: Source, why: str) -> str:
    looked = "\n".join(f"  {folder}" for folder in _folders(source))
    names = ", ".join(f"{f.name}.gz" for f in source.files)
    return (f"{source.name}: expected {names} (or without .gz) in one of\n{looked}\n"
            f"and {why}. Put the files there, or set FLAMBEAU_DATA to the folder that has them.")


def _fetch(source: Source, remote: Remote, folder: Path) -> None:
    """Downloads one file into the folder; DataError when no address has it."""
    reasons = []
    for address in source.addresses:
        url = f"{address}{remote.name}.gz"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _download(url, remote, folder)
            return
        except (OSError, EOFError, zlib.error, ValueError) as error:
            reasons.append(f"{url}: {error}")
    raise DataError(_missing(source, "no download worked (" + "; ".join(reasons) + ")"))


def _download(url: str, remote: Remote, folder: Path) -> None:
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=folder)
    try:
        with os.fdopen(handle, "wb") as out, urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            with contextlib.closing(Bar(f"{remote.name}.gz", total)) as bar:
                while piece := answer.read(CHUNK):
                    out.write(piece)
                    bar.add(len(piece))
        check(Path(temporary), remote)
        os.replace(temporary, folder / f"{remote.name}.gz")
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def check(path: Path, remote: Remote) -> None:
    """ValueError unless the file, plain or gzipped, holds the contents that `remote` describes."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as raw:
        packed = raw.read(2) == GZIP
    with gzip.open(path, "rb") if packed else open(path, "rb") as file:
        while size <= remote.size and (piece := file.read(CHUNK)):
            digest.update(piece)
            size += len(piece)
    if size != remote.size or digest.hexdigest() != remote.sha256:
        raise ValueError(f"expected {remote.size} bytes with SHA-256 {remote.sha256}, "
                         f"got {size} bytes with {digest.hexdigest()}")


class Bar:
    """A progress bar on stderr, in megabytes; silent where stderr is no terminal."""

    WIDTH = 30

    def __init__(self, label: str, total: int, stream: Any = None) -> None:
        self.label, self.total, self.done = label, total, 0
        self.stream = sys.stderr if stream is None else stream
        self.shown = -1
        self.active = self.stream.isatty()

    def add(self, count: int) -> None:
        """Counts more bytes."""
        self.done += count
        step = self.done * 100 // self.total if self.total else self.done >> 20
        if self.active and step != self.shown:
            self.shown = step
            self._draw()

    def _draw(self) -> None:
        text = f"{self.done / 1e6:.1f} MB"
        if self.total:
            filled = min(self.WIDTH, self.WIDTH * self.done // self.total)
            text = f"{'━' * filled}{' ' * (self.WIDTH - filled)} {text} of {self.total / 1e6:.1f}"
        self.stream.write(f"\r{self.label} {text}")
        self.stream.flush()

    def close(self) -> None:
        """Ends the line."""
        if self.active:
            self.stream.write("\n")
