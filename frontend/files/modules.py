"""Modules as plain data: which classes were called with which arguments, and what they hold by
path.

Activations and gradients stay behind. Building a module again calls its class, looked up by name
among those that are defined, with the arguments that it was first called with; then every parameter
and buffer takes its value from the file. Nothing is computed before shapes are known to agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flambeau.compiler.config import override

from .. import nn
from ..nn.module import known
from ..nn.parameters import take
from ..nn.tree import PRIVATE
from ..random import get_rng_state, set_rng_state
from ..tensor import Tensor

if TYPE_CHECKING:
    from .structure import Decoder, Encoder

FIELDS = (bool, int, float, str, type(None))
NO_LIMIT = 1 << 62


# -- to data ---------------------------------------------------------------------------------------


def describe(encoder: Encoder, m: Any, path: str) -> dict[str, Any]:
    """Class and arguments; of a module met before, only its number."""
    if id(m) in encoder.modules:
        return {"same": encoder.modules[id(m)]}
    number = encoder.modules[id(m)] = len(encoder.modules)
    encoder.kept.append(m)
    args, options = m._config
    made: dict[str, Any] = {
        "class": _name(type(m)), "number": number,
        "args": [_argument(encoder, m, a, f"{path}.args.{i}") for i, a in enumerate(args)
                 if not (isinstance(m, nn.Container) and isinstance(a, nn.Module))],
        "options": {k: _argument(encoder, m, v, f"{path}.args.{k}") for k, v in options.items()}}
    if isinstance(m, nn.Container):
        made["modules"] = [describe(encoder, c, f"{path}.{i}") for i, c in enumerate(m.modules)]
    return made


def _name(kind: type) -> str:
    """Flambeau's classes with their package, so that a user's of the same name is another."""
    return f"nn.{kind.__name__}" if getattr(nn, kind.__name__, None) is kind else kind.__name__


def _argument(encoder: Encoder, m: Any, x: Any, path: str) -> Any:
    if isinstance(x, nn.Module):
        return {"module": describe(encoder, x, path)}
    if isinstance(x, list | tuple):
        found = [_argument(encoder, m, v, f"{path}.{i}") for i, v in enumerate(x)]
        return {"tuple": found} if isinstance(x, tuple) else found
    if callable(x) and not isinstance(x, Tensor):
        return None  # an initialiser: the values come from the file
    try:
        return encoder.encode(x, path.removeprefix("."))
    except TypeError:
        raise TypeError(f"save: {m.label()}: expected plain arguments, got {type(x).__name__}"
                        ) from None


def state_of(encoder: Encoder, m: Any, path: str) -> dict[str, Any]:
    """Parameters and buffers, and plain attributes, by path; a tied parameter has several paths and
    one name."""
    state = {place: encoder.tensor(holder[key], f"{path}.{place}" if path else place)
             for place, holder, key in places(m)}
    fields = {place: {k: encoder.encode(v) for k, v in vars(c).items()
                      if isinstance(v, FIELDS) and k[0] != "_"} for place, c in below(m)}
    return {"state": state, "fields": fields}


def below(m: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, module) of a module and all below it; shared ones at each of their paths."""
    yield path, m
    for name, child in m.named_children():
        yield from below(child, f"{path}.{name}" if path else name)


def places(m: Any) -> Iterator[tuple[str, Any, Any]]:
    """(path, holder, key) of each parameter and buffer: `holder[key]` is the tensor."""
    for path, c in below(m):
        prefix = f"{path}." if path else ""
        for name, value in vars(c).items():
            if isinstance(value, nn.Parameter | nn.Buffer):
                yield prefix + name, vars(c), name
            elif isinstance(value, list | tuple | dict) and name not in PRIVATE:
                pairs = value.items() if isinstance(value, dict) else enumerate(value)
                for key, v in pairs:
                    if isinstance(v, nn.Parameter | nn.Buffer):
                        yield f"{prefix}{name}.{key}", value, key


# -- from data -------------------------------------------------------------------------------------


def build(decoder: Decoder, x: dict[str, Any]) -> Any:
    """A module with first values, which are never drawn: random numbers go on where they were."""
    if "same" in x:
        if x["same"] not in decoder.modules:
            raise decoder.error("the number of a module before", x["same"])
        return decoder.modules[x["same"]]
    kind = _class(decoder, x.get("class"))
    args = decoder.decode(decoder.typed(x.get("args"), list, "a module's arguments"))
    given = decoder.typed(x.get("options"), dict, "a module's options")
    options = {k: decoder.decode(v) for k, v in given.items()}
    before = get_rng_state()
    try:
        with override(graph_nodes=NO_LIMIT, graph_bytes=NO_LIMIT):
            made: Any = kind(*args, **options)
    except Exception as error:  # a class may dislike what a file says in its own way
        raise decoder.error(f"arguments that {kind.__name__} takes",
                            f"{type(error).__name__}: {error}") from error
    finally:
        set_rng_state(before)
    decoder.modules[decoder.typed(x.get("number"), int, "a module's number")] = made
    if "modules" in x:
        if not isinstance(made, nn.Container):
            raise decoder.error(f"a container for modules, not {kind.__name__}", "modules")
        made.modules = []
        for child in decoder.typed(x["modules"], list, "a list of modules"):
            made.add(_child(decoder, child))
    return made


def _child(decoder: Decoder, x: Any) -> Any:
    decoder.depth += 1
    if decoder.depth > 200:
        raise decoder.error("modules nested up to 200 deep", "deeper ones")
    found = build(decoder, decoder.typed(x, dict, "a module"))
    decoder.depth -= 1
    return found


def _class(decoder: Decoder, name: Any) -> Any:
    text = decoder.typed(name, str, "a class's name")
    kind = getattr(nn, text[3:], None) if text.startswith("nn.") else known.get(text)
    if not isinstance(kind, type) or not issubclass(kind, nn.Module):
        raise decoder.error("a known module; define or import its class first", text)
    return kind


def load_state(decoder: Decoder, m: Any, x: dict[str, Any]) -> None:
    """Gives a built module its plain attributes, then its parameters and buffers."""
    modules = dict(below(m))
    for path, fields in decoder.typed(x.get("fields"), dict, "fields by path").items():
        if path not in modules or not isinstance(fields, dict):
            raise decoder.error(f"fields of modules among {sorted(modules)}", path)
        for name, value in fields.items():
            _set_field(decoder, modules[path], name, decoder.decode(value))
    state = decoder.typed(x.get("state"), dict, "tensors by path")
    mine = {path: (holder, key) for path, holder, key in places(m)}
    found = {path: _stored(decoder, v) for path, v in state.items()}
    wrong = [f"{path} of shape {t.shape} in place of {_shape(mine[path])}"
             for path, t in found.items() if path in mine and t.shape != _shape(mine[path])]
    missing = [path for path in mine if path not in found]
    unknown = [path for path in found if path not in mine]
    if wrong or missing or unknown:
        raise decoder.error(f"the {len(mine)} tensors of {m.label()}", f"missing {missing}, unknown"
                            f" {unknown}, mismatched {wrong}")
    tied: dict[int, Any] = {}
    for path, (holder, key) in mine.items():
        t = found[path]
        if id(t) not in tied:
            tied[id(t)] = holder[key]
            take(holder[key], t)
            if t.requires_grad != holder[key].requires_grad:
                holder[key].requires_grad_(t.requires_grad)
        elif holder[key] is not tied[id(t)]:
            if isinstance(holder, tuple):
                raise decoder.error("parameters tied outside of tuples", path)
            holder[key] = tied[id(t)]


def _stored(decoder: Decoder, x: Any) -> Tensor:
    if not isinstance(x, dict):
        raise decoder.error("a tensor's name", x)
    return decoder.tensor(x.get("tensor"), x)


def _shape(place: tuple[Any, Any]) -> Any:
    return place[0][place[1]].shape


def _set_field(decoder: Decoder, m: Any, name: str, value: Any) -> None:
    """A plain attribute; never one that is a method, nor what a class keeps for itself."""
    mine = getattr(m, name, None)
    if not isinstance(value, FIELDS) or name[:1] in ("_", "") or not (
            isinstance(mine, FIELDS) or (value is None and isinstance(mine, Tensor))):
        raise decoder.error(f"a plain attribute of {type(m).__name__}", f"{name!r}: {value!r}")
    setattr(m, name, value)
