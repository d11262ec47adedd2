"""Structures that come in many sizes: after a few of them, one program serves the rest.

A family is what requests have in common when the numbers in them are left out. Its first sizes are
compiled each for itself, which is fastest to run; when as many as the flag `general` says have been
met and one varying extent explains all their numbers, the next is compiled with that extent as a
`Size`. A size that no general program's facts admit gets another one, or, where none can
be made and after MOST of them, a program of its own. Which numbers a request has is looked at every
time, so nothing can go wrong by assuming how a graph depends on a size.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from flambeau import compiler
from flambeau.compiler import general, size
from flambeau.compiler.config import config
from flambeau.compiler.request import Request
from flambeau.compiler.target import Target
from flambeau.compiler.terms import NotGeneral
from flambeau.runtime import execute

ALONE = "for these sizes alone: only the CPU has programs for many"
MOST = 6  # general programs of one family
TRIALS = 4  # sizes for which none could be made, after which only much larger ones try again
KEPT = 512  # families remembered
LOOKED = 8  # sizes from which the numbers' dependence is learnt


@dataclass
class Family:
    """What is known of one structure. refused: why there is no general program for some size."""

    met: list[general.Numbers] = field(default_factory=list)
    template: general.Template | None = None
    programs: list[execute.General] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    refused: str = ""


_families: OrderedDict[Any, Family] = OrderedDict()
_lock = threading.RLock()


def serve(request: Request, target: Target, after: int) -> execute.Executable | None:
    """A program from the request's family; None where the request must have its own.

    after: how many sizes are met before a general program is made.
    """
    if not after or target.kind != "cpu" or config.matmul != "generated":
        return None
    skeleton, numbers, extents = general.take_apart(request)
    with _lock:
        family = _found((skeleton, target, config.skip))
        n = _place_in(family, numbers, extents, after)
        if n is None:
            if numbers not in family.met:
                family.met = [*family.met, numbers][-LOOKED:]
            return None
        for program in family.programs:
            if program.serves(n):
                return program.at(n)
        if len(family.programs) >= MOST:
            family.refused = f"n = {n}: {MOST} general programs are for others"
        if len(family.programs) >= MOST or (
                len(family.failed) >= TRIALS and n <= 2 * max(family.failed)):
            return None
        made = _made(family, request, target, n)
        return None if made is None else made.at(n)


def note(request: Request, executable: execute.Executable, target: Target) -> str:
    """A line for explain(): for which sizes the program is, or why there is no general one."""
    family = _families.get((general.take_apart(request)[0], target, config.skip))
    if family is None:
        return ""
    made = executable.general
    if made is None or family.template is None:
        return f"no general program: {family.refused}" if family.refused else ""
    return (f"for every n with {size.spell_facts(made.facts)}; here n = {executable.n}, "
            f"{_named(request, family.template.place)}")


def _named(request: Request, place: int) -> str:
    """Which extent stands at a place among the numbers of a request's key."""
    for i, leaf in enumerate(request.leaves):
        if place < len(leaf.shape):
            return f"dimension {place} of input {i}"
        place -= len(leaf.shape)
    return "a size inside"


def forget() -> None:
    """Forgets all families."""
    with _lock:
        _families.clear()


def _found(key: Any) -> Family:
    family = _families.setdefault(key, Family())
    _families.move_to_end(key)
    if len(_families) > KEPT:
        _families.popitem(last=False)
    return family


def _place_in(family: Family, numbers: general.Numbers, extents: range, after: int) -> int | None:
    """The n that these numbers stand for, if the family knows how they depend on one size."""
    if family.template is not None:
        n = family.template.matches(numbers)
        if n is not None:
            return n if n >= size.LEAST else None
    met = [m for m in family.met if m != numbers]
    if len(met) + 1 < after:
        return None
    for first in range(len(met)):  # older ones may have differed in something else
        if len(met) - first + 1 < min(after, 3):
            break
        found = general.fit([*met[first:], numbers], extents)
        if found is not None and min(met[i][found.place] for i in range(first, len(met))) >= 0:
            n = numbers[found.place]
            if n < size.LEAST:
                return None
            if family.template is None or found.spelt != family.template.spelt:
                family.template, family.programs = found, []
            return n
    return None


def _made(family: Family, request: Request, target: Target, n: int) -> execute.General | None:
    """One more general program of the family, made with n at hand."""
    assert family.template is not None
    number = len(family.programs)
    symbol = size.Symbol(n)

    def build(timed: bool) -> tuple[Any, str, Any]:
        program, ir = compiler.build(asked, target, timed)
        return program, ir, symbol.facts()

    try:
        asked = general.raised(request, family.template, symbol)
        if any(not v & (v - 1) for _, s in asked.numbers for v in [size.valued(s, n)]):
            raise NotGeneral("a power of two in the formula")
        while number < MOST:
            digest = asked.digest(target) + f"-{number}"
            made = execute.load_general(digest, build, target, n)
            if made is not None:
                family.programs.append(made)
                return made
            number += 1
    except (NotGeneral, ZeroDivisionError) as reason:  # at a tried size an axis has nothing
        family.failed.append(n)
        family.refused = f"n = {n}: {reason}"
    except Exception as error:
        if config.check:  # a fault of ours: found by tests, and told by explain()
            raise
        family.failed.append(n)
        family.refused = f"n = {n}: {type(error).__name__}: {error}"
    return None
