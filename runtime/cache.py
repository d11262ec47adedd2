"""The object cache on disk: one checksummed file per entry, no locks.

Owns: where the folder is, how an entry is laid out, what counts as damaged. Knows nothing of LLVM.

An entry is written under a temporary name and renamed, so a reader sees a whole file or none, and
two writers of one entry leave one of two equal files. Anything odd (short, altered, unreadable, of
another format, of another key) is a miss. A folder that cannot be written is a cache that stays
empty. Names are digests: no paths and no times enter them, so a cache may be copied about.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from flambeau.compiler.config import config

MAGIC = b"flambeau object 1\n"
SUFFIX = ".fbo"
LIMIT = 1 << 30  # bytes on disk; beyond it the entries longest unused go

_DIGEST_BYTES = 32
_HEAD = len(MAGIC) + _DIGEST_BYTES + 4
_trimmed = False


def digest(*parts: str | bytes) -> str:
    """A hexadecimal digest of the parts and of where they end."""
    state = hashlib.blake2b(digest_size=20)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def folder() -> Path | None:
    """The folder that `config.cache` and the environment ask for; None when caching is off."""
    if config.cache == "off":
        return None
    if config.cache:
        return Path(config.cache).expanduser()
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "flambeau"


def read(name: str) -> tuple[dict[str, Any], bytes] | None:
    """The header and the object code of entry `name`, or None."""
    where = folder()
    if where is None:
        return None
    try:
        data = (where / (name + SUFFIX)).read_bytes()
        return _unpack(name, data)
    except (OSError, ValueError):
        return None


def write(name: str, header: dict[str, Any], code: bytes) -> None:
    """Keeps an entry if the folder allows it; never raises for what the disk does."""
    where = folder()
    if where is None:
        return
    with contextlib.suppress(OSError):
        where.mkdir(parents=True, exist_ok=True)
        _replace(where / (name + SUFFIX), _pack(name, header, code))
        _trim_once(where)


def clear() -> int:
    """Deletes every entry of the current folder; how many there were."""
    gone = 0
    for entry in entries():
        with contextlib.suppress(OSError):
            entry.unlink()
            gone += 1
    return gone


def entries() -> list[Path]:
    """The files of the current folder."""
    where = folder()
    if where is None:
        return []
    try:
        return sorted(where.glob("*" + SUFFIX))
    except OSError:
        return []


def info() -> dict[str, Any]:
    """Folder, number of entries and their bytes: for `python -m flambeau info`."""
    files = entries()
    return {"folder": str(folder()), "entries": len(files), "bytes": sum(map(_size, files))}


def _pack(name: str, header: dict[str, Any], code: bytes) -> bytes:
    head = json.dumps({**header, "name": name}).encode()
    body = len(head).to_bytes(4, "little") + head + code
    return MAGIC + hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() + body


def _unpack(name: str, data: bytes) -> tuple[dict[str, Any], bytes]:
    """ValueError when the bytes are not what `_pack` made for this name."""
    if len(data) < _HEAD or not data.startswith(MAGIC):
        raise ValueError("cache: expected an entry, got something else")
    body = data[len(MAGIC) + _DIGEST_BYTES:]
    stored = data[len(MAGIC):len(MAGIC) + _DIGEST_BYTES]
    if hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != stored:
        raise ValueError("cache: checksum differs")
    end = 4 + int.from_bytes(body[:4], "little")
    header = json.loads(body[4:end])
    if header.pop("name") != name:
        raise ValueError("cache: entry of another name")
    return header, body[end:]


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _trim_once(where: Path) -> None:
    """Once a process: drops the oldest entries beyond LIMIT."""
    global _trimmed
    if _trimmed:
        return
    _trimmed = True
    files = [(p.stat(), p) for p in where.glob("*" + SUFFIX)]
    total = sum(s.st_size for s, _ in files)
    for stat, path in sorted(files, key=lambda pair: max(pair[0].st_atime, pair[0].st_mtime)):
        if total <= LIMIT:
            return
        path.unlink()
        total -= stat.st_size
