"""`fb.save` and `fb.load`: any format by the file's ending, and our own for everything else.

Our own is a .safetensors file whose metadata hold, under "flambeau", the JSON of the structure.
Other programs read its tensors, by path; Flambeau reads models, optimisers' state, counters and
texts as they were saved. It holds no code, no activations, no gradients and no device.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from ..nn import Module
from ..random import Generator, default_generator
from ..tensor import Tensor
from . import mat, npy, t7
from .safetensors import Tensors, load_source, save_safetensors
from .source import Source, open_source, refusing
from .structure import Decoder, Encoder

FORMAT = 1
KEY = "flambeau"

_SAVE: dict[str, Callable[[Any, Any], None]] = {
    ".npy": npy.save_npy, ".npz": npy.save_npz, ".t7": t7.save_t7, ".mat": mat.save}
_LOAD: dict[str, Callable[[Any], Any]] = {
    ".npy": npy.load_npy, ".npz": npy.load_npz, ".t7": t7.load_t7, ".mat": mat.load}


def save(x: Any, path: Any) -> None:
    """Writes x in the format that the name ends in: .npy (a tensor), .npz (tensors by name), .t7
    (Torch7), .mat (MATLAB), and our own for .safetensors and every other ending.

    Our own holds modules, optimisers' state (as its dict), generators, tensors and plain data,
    nested in lists, tuples and dicts. The file is there whole or not at all. Raises TypeError for
    what a format does not hold. Torch7 save.
    """
    write = _SAVE.get(_ending(path))
    if write is not None:
        write(path, x)
        return
    encoder = Encoder()
    text = json.dumps({"format": FORMAT, "root": encoder.encode(x)}, allow_nan=False)
    save_safetensors(path, encoder.tensors, {KEY: text})


def load(path: Any, device: Any = None) -> Any:
    """What a file holds, as `save` wrote it or another program did; formats as there.

    A .safetensors file of another program gives its tensors by name. device: where tensors go.
    Raises FileError for bytes that the format does not allow and for classes of modules that are
    not defined; OSError where there is no file. Torch7 load.
    """
    read = _LOAD.get(_ending(path))
    if read is not None:
        return _moved(read(path), device)
    found, source = _tensors(path)
    if KEY not in found.metadata:
        return _moved(found, device)
    decoder, root = _decoder(found, source, device)
    with refusing(source, "values that were saved"):
        return decoder.decode(root)


def _ending(path: Any) -> str:
    return os.path.splitext(os.fspath(path))[1] if isinstance(path, str | os.PathLike) else ""


def _tensors(path: Any) -> tuple[Tensors, Source]:
    source = open_source("load", path)
    return load_source(source, False), source


def _decoder(found: Tensors, source: Source, device: Any) -> tuple[Decoder, Any]:
    with refusing(source, "JSON in the metadata"):
        text = json.loads(found.metadata[KEY])
    if not isinstance(text, dict) or text.get("format") != FORMAT or "root" not in text:
        raise source.error(f"a structure of format {FORMAT}", text, 8)
    return Decoder(source, found, device), text["root"]


def _moved(x: Any, device: Any) -> Any:
    """Tensors, alone or by name, on a device."""
    if device is None:
        return x
    if isinstance(x, Tensor):
        return x.to(device=device)
    return {k: _moved(v, device) for k, v in x.items()} if isinstance(x, dict) else x


# -- checkpoints -----------------------------------------------------------------------------------


def save_checkpoint(path: Any, model: Any, optimizer: Any = None,
                    generator: Generator | None = default_generator, **more: Any) -> None:
    """Writes all that training needs to go on: model, optimiser's state, random numbers' state, and
    whatever else is named (`epoch=3`, `history=[...]`).

    Going on from `load_checkpoint` gives the same bits as not having stopped.
    """
    state = {"model": model, "optimizer": optimizer, "generator": generator, "more": more}
    save({"checkpoint": state}, path)


def load_checkpoint(path: Any, model: Module | None = None, optimizer: Any = None,
                    generator: Generator | None = default_generator, strict: bool = True,
                    device: Any = None) -> dict[str, Any]:
    """Goes on from `save_checkpoint`: fills model, optimiser and generator in place and gives the
    rest by name, with "model" and "optimizer" (its state, unless one was given).

    model: None builds it anew. strict: False skips tensors that only one side has. Raises
    ValueError where names or shapes differ, listing all of them, and FileError for other files.
    """
    found, source = _tensors(path)
    if KEY not in found.metadata:
        raise source.error("a checkpoint", "tensors alone", 8)
    decoder, root = _decoder(found, source, device)
    with refusing(source, "a checkpoint"):
        parts = root["dict"]["checkpoint"]["dict"]
        rest = {name: decoder.decode(parts[name]) for name in ("optimizer", "generator", "more")}
        if model is None:
            model = decoder.decode(parts["model"])
            state = None
        else:
            state = {k: decoder.tensor(v["tensor"], v)
                     for k, v in parts["model"]["module"]["state"].items()}
    if state is not None and model is not None:
        model.load_state_dict(_named_as(model, state), strict)
    if optimizer is not None and rest["optimizer"] is not None:
        optimizer.load_state_dict(rest["optimizer"])
        rest["optimizer"] = optimizer
    if generator is not None and rest["generator"] is not None:
        generator.set_state(rest["generator"].get_state())
    return {"model": model, "optimizer": rest["optimizer"], **rest["more"]}


def _named_as(model: Module, state: dict[str, Any]) -> dict[str, Any]:
    """The state without second paths of tied tensors, unless the model has them on their own."""
    mine = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    seen: set[int] = set()
    found = {}
    for path, t in state.items():
        if path in mine or id(t) not in seen:
            found[path] = t
        seen.add(id(t))
    return found
