"""The commands and their options. Mistakes of the user exit with code 2 and one clear line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NoReturn

from flambeau.data.sets import NAMES

from .failure import CommandError

Command = Callable[[argparse.Namespace], None]
NETS = ("mlp", "lenet", "logreg")


class Parser(argparse.ArgumentParser):
    """argparse, with one line for a mistake instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with code 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line. Gives the exit code.

    0, or 2 for a mistake of the user, 1 for a broken pipe, 130 for Ctrl-C.
    """
    parser = make_parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        prog = " ".join(filter(None, (parser.prog, arguments.command)))
        parser.exit(2, f"{prog}: unknown option {' '.join(unknown)} (see {prog} --help)\n")
    if arguments.command is None:
        parser.print_help()
        return 2
    try:
        command(arguments.module)(arguments)
        sys.stdout.flush()
    except CommandError as error:
        print(f"{parser.prog} {arguments.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(f"\n{parser.prog} {arguments.command}: interrupted", file=sys.stderr)
        return 130
    return 0


def command(module: str) -> Command:
    """The function `run` of a command's file, loaded when asked for."""
    run: Command = import_module(f"flambeau.cli.{module}").run
    return run


def make_parser() -> Parser:
    """All commands and options."""
    parser = Parser(prog="flambeau", allow_abbrev=False,
                    description="Train small nets, use them, and look at this installation.")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    _train(_command(commands, "train", "train", "train a net on a data set"))
    _predict(_command(commands, "predict", "predict", "say what a trained net sees in images"))
    _command(commands, "info", "info", "versions, processor, threads, BLAS, CUDA, cache, flags")
    cache = _command(commands, "cache", "caching", "the folder of compiled programs")
    cache.add_argument("action", choices=("list", "clear"), help="show the entries, or delete them")
    return parser


def _command(commands: Any, name: str, module: str, text: str) -> Parser:
    parser: Parser = commands.add_parser(name, help=text, description=text.capitalize() + ".",
                                         allow_abbrev=False)
    parser.set_defaults(command=name, module=module)
    return parser


def _train(parser: Parser) -> None:
    add = parser.add_argument
    add("--data", choices=NAMES, default="digits", help="data set (default: digits)")
    add("--net", choices=NETS, default="mlp", help="network (default: mlp)")
    add("--epochs", type=_at_least(int, 1), help="passes over the data (default: by data and net)")
    add("--batch", type=_at_least(int, 1), help="examples a step (default: by data and net)")
    add("--lr", type=_above_zero, help="learning rate (default: by data, net and optimizer)")
    add("--schedule", choices=("linear", "constant"), default="linear",
        help="learning rate over the epochs: falling to zero, or constant (default: linear)")
    add("--optimizer", choices=("sgd", "adam"), default="sgd", help="default: sgd")
    add("--momentum", type=_at_least(float, 0.0), default=0.9, help="of sgd (default: 0.9)")
    add("--threads", type=_at_least(int, 1), help="default: as many as this process may use")
    add("--device", default="cpu", help="cpu (default), cuda or cuda:N")
    add("--seed", type=_at_least(int, 0), default=0, help="of weights and order (default: 0)")
    add("--out", metavar="DIR", help="folder for the results (default: runs/DATA-NET)")
    add("--json", action="store_true", help="print one JSON object as the last line")


def _predict(parser: Parser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model.safetensors written by train, or its folder")
    add("images", metavar="IMAGE", nargs="+", help="PNG, PGM or .npy (others with Pillow)")
    add("--invert", action="store_true", help="dark ink on a light ground, as on paper")
    add("--top", type=_at_least(int, 1), default=3, help="how many labels to print (default: 3)")
    add("--json", action="store_true", help="print one JSON object for each image")


def _at_least(kind: Callable[[str], Any], least: float) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value < float("inf"):
            word = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"expected {word} of at least {least:g}, got {text!r}")
        return value
    return parse


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value
