"""Torch7's small tools for scripts: `Timer`, and `CmdLine` over Python's argparse."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Collection, Sequence
from typing import Any, TextIO


def _clocks() -> tuple[float, float, float]:
    """Real, user and system seconds of this process."""
    used = os.times()
    return time.perf_counter(), used.user, used.system


class Timer:
    """A stopwatch that runs from the start: real, user and system seconds. Torch7 Timer.

    `timer.time()` gives a dict of the three, `timer.stop()` and `timer.resume()` leave time out,
    `timer.reset()` counts from 0 on. Lazy values take their time where they are asked for.
    """

    def __init__(self) -> None:
        self._before = (0.0, 0.0, 0.0)
        self._since: tuple[float, float, float] | None = _clocks()

    def _seconds(self) -> tuple[float, float, float]:
        if self._since is None:
            return self._before
        before, since, now = self._before, self._since, _clocks()
        return (before[0] + now[0] - since[0], before[1] + now[1] - since[1],
                before[2] + now[2] - since[2])

    def reset(self) -> Timer:
        """Counts from 0 on; goes on running, or not, as before."""
        self._before = (0.0, 0.0, 0.0)
        self._since = None if self._since is None else _clocks()
        return self

    def stop(self) -> Timer:
        """Stands still until `resume`."""
        self._before, self._since = self._seconds(), None
        return self

    def resume(self) -> Timer:
        """Goes on counting."""
        self._since = _clocks() if self._since is None else self._since
        return self

    def time(self) -> dict[str, float]:
        """Seconds so far, as "real", "user" and "sys"."""
        return dict(zip(("real", "user", "sys"), self._seconds()))

    def __repr__(self) -> str:
        state = "stopped" if self._since is None else "running"
        text = ", ".join(f"{name} {value:.6f} s" for name, value in self.time().items())
        return f"Timer({text}, {state})"


# -- command lines ---------------------------------------------------------------------------------

_KINDS = {"number": float, "string": str, "boolean": bool}


def _number(text: str) -> Any:
    """An int where the text is one, else a float."""
    try:
        return int(text)
    except ValueError:
        return float(text)


class CmdLine:
    """Arguments and options of a script, as a dict. Torch7 CmdLine, over argparse.

    argsep, keysep: between entries and within them in `string`. Keys lose their leading dashes.
    """

    def __init__(self, argsep: str = ",", keysep: str = "=") -> None:
        self.argsep, self.keysep = argsep, keysep
        self.parser = argparse.ArgumentParser(
            add_help=False, allow_abbrev=False, formatter_class=argparse.RawTextHelpFormatter)
        self.parser.add_argument("-h", "-help", "--help", action="help", help="prints this")
        self.defaults: dict[str, Any] = {}
        self.arguments: list[str] = []
        self.about: list[str] = []
        self.stamp: str | None = None
        self.quiet = False

    def text(self, line: str = "") -> CmdLine:
        """A line of the help's beginning."""
        self.about.append(line)
        self.parser.description = "\n".join(self.about)
        return self

    def argument(self, key: str, help: str = "", kind: Any = str) -> CmdLine:
        """A value that must be given, by its place. kind: its type, or Torch7's name for one."""
        self.arguments.append(key)
        self.parser.add_argument(key, help=help, type=_KINDS.get(kind, kind))
        return self

    def option(self, key: str, default: Any, help: str = "", kind: Any = None) -> CmdLine:
        """A value with a default, by name. A boolean takes no value: naming it flips the default.

        Raises ValueError for a key without a dash or a default None.
        """
        name = key.lstrip("-")
        if name == key or not name or default is None:
            raise ValueError(f"CmdLine: expected an option as -name with a default, got {key!r} "
                             f"and {default!r}")
        self.defaults[name] = default
        told = f"{help} [{default}]"
        if isinstance(default, bool):
            self.parser.add_argument(key, dest=name, default=default, help=told,
                                     action="store_false" if default else "store_true")
            return self
        if kind is None:
            kind = _number if isinstance(default, int | float) else type(default)
        self.parser.add_argument(key, dest=name, default=default, help=told, metavar="VALUE",
                                 type=_KINDS.get(kind, kind))
        return self

    def parse(self, given: Sequence[str] | None = None) -> dict[str, Any]:
        """The values by key, from `given` or the script's own arguments. -h prints the help and
        ends the script; so does a mistake, with a message."""
        return vars(self.parser.parse_args(given))

    def help(self) -> str:
        """What -h prints."""
        return self.parser.format_help()

    def string(self, prefix: str, params: dict[str, Any], ignore: Collection[str] = ()) -> str:
        """A name for an experiment's folder: prefix, arguments, and options that are not at their
        default, but for those to ignore. Booleans are t and f.

        Raises KeyError for a key that is neither argument nor option.
        """
        unknown = set(params) - set(self.defaults) - set(self.arguments) - set(ignore)
        if unknown:
            raise KeyError(f"CmdLine.string: expected keys of this command line, got "
                           f"{sorted(unknown)}")
        wanted = [k for k in self.arguments if k in params and k not in ignore]
        wanted += sorted(k for k, v in params.items() if k in self.defaults and k not in ignore
                         and v != self.defaults[k])
        parts = [f"{k}{self.keysep}{_short(params[k])}" for k in wanted]
        return self.argsep.join([prefix, *parts] if prefix else parts)

    def silent(self) -> CmdLine:
        """With `log`, only the file hears what is printed."""
        self.quiet = True
        return self

    def add_time(self, name: str = "", format: str = "%Y-%m-%d %H:%M:%S") -> CmdLine:
        """With `log`, every line begins with the name and the time."""
        self.stamp = f"{name} {format}".strip()
        return self

    def log(self, file: Any, params: dict[str, Any] | None = None) -> Log:
        """From now on what is printed goes into the file too, after the values of params. As a
        context manager, or until its `close()`."""
        log = Log(file, self.stamp, self.quiet)
        for key, value in sorted((params or {}).items()):
            log.write(f"{key}: {value}\n")
        return log


def _short(value: Any) -> str:
    return ("t" if value else "f") if isinstance(value, bool) else str(value)


class Log:
    """Stands in for standard output and copies what is written into a file."""

    def __init__(self, file: Any, stamp: str | None, quiet: bool) -> None:
        self.file = open(file, "w", encoding="utf-8")  # noqa: SIM115 (closed by close)
        self.stamp, self.quiet = stamp, quiet
        self.before: TextIO = sys.stdout
        self.fresh = True  # does a line begin?
        sys.stdout = self  # type: ignore[assignment]

    def write(self, text: str) -> int:
        """Into the file, and on unless silent."""
        for line in text.splitlines(keepends=True):
            if self.fresh and self.stamp is not None:
                self.file.write(f"[{time.strftime(self.stamp)}] ")
            self.file.write(line)
            self.fresh = line.endswith("\n")
        if not self.quiet:
            self.before.write(text)
        return len(text)

    def flush(self) -> None:
        """Both."""
        self.file.flush()
        self.before.flush()

    def isatty(self) -> bool:
        """A file is none."""
        return False

    def close(self) -> None:
        """Standard output is what it was."""
        if sys.stdout is self:
            sys.stdout = self.before
        self.file.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
