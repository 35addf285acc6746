"""A checkpoint of the original GMMFormer's release to a model folder, without running anything that is in the file.

The release is a pickle of {config, epoch, model_val, state_dict, optimizer}, and its optimizer holds objects of the
release's own classes, so torch.load refuses it.
"""

import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig


class Inert:
    """Takes the place of whatever a pickle names that is not known to be harmless: takes all, keeps and does nothing."""

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_released(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state_dict and the config (empty when there is none) of a released checkpoint, on the CPU.

    Nothing that the pickle names is imported or called, whatever it names. UserError for a file that is missing, that
    is no such checkpoint, or that needs more than that to be read.
    """
    try:
        stand_ins = [(Inert, name) for name in _foreign_names(path)]
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: the checkpoint cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise
    except Exception as error:  # damaged and hostile pickles fail in every way
        raise UserError(
            f"{path}: cannot be read as a checkpoint of torch.save without running code of it"
            f" ({type(error).__name__}: {_first_sentence(error)}); get the file anew from where it is published"
        ) from None
    return _checked(path, content)


def _foreign_names(path: Path) -> list[str]:
    """What the file's pickle names beyond what torch takes for harmless; found without unpickling it."""
    if zipfile.is_zipfile(path):
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    # Of torch before 1.6: magic number, protocol, system, and the object, a pickle each.
    with path.open("rb") as file:
        operations = [operation for _ in range(4) for operation in pickletools.genops(file)]
    named = [argument.replace(" ", ".") for opcode, argument, _ in operations if opcode.name == "GLOBAL"]
    return [name for name in dict.fromkeys(named) if not name.startswith(("torch.", "collections."))]


def _checked(path: Path, content: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), Mapping):
        found = f"a dict with {list(content)[:5]}" if isinstance(content, dict) else type(content).__name__
        raise UserError(
            f"{path}: no checkpoint of GMMFormer's release: expected a dict with weights under `state_dict`, found {found}"
        )
    weights, config = dict(content["state_dict"]), content.get("config", {})
    odd = [
        name for name, value in weights.items() if not (isinstance(name, str) and isinstance(value, Tensor))
    ]
    if odd:
        raise UserError(
            f"{path}: `state_dict` has no named tensor under {odd[0]!r}; only weights can be converted"
        )
    return weights, dict(config) if isinstance(config, Mapping) else {}


def released_model(
    path: Path, *, n_heads: int | None = None, map_size: int | None = None
) -> tuple[dict[str, Tensor], GMMFormerConfig]:
    """Weights (float32) and sizes of a released checkpoint, with the windows that it was trained with.

    Widths and lengths are those of its tensors. Heads and segments cannot be seen in them: the file's own config says
    them, or else the arguments. UserError when nothing does, both do and differ, or names or shapes are not those of
    a GMMFormer.
    """
    weights, stated = read_released(path)
    if any(name.startswith("module.") for name in weights):
        raise UserError(
            f"{path}: the names in `state_dict` begin with 'module.': it is of a DataParallel wrapper; save"
            " model.module.state_dict() under `state_dict` instead"
        )
    hidden, visual_input_size = _matrix(path, weights, "clip_input_proj.net.1.weight")
    _, query_input_size = _matrix(path, weights, "query_input_proj.net.1.weight")
    max_ctx_l, _ = _matrix(path, weights, "clip_pos_embed.position_embeddings.weight")
    max_desc_l, _ = _matrix(path, weights, "query_pos_embed.position_embeddings.weight")
    rates = {name: stated[name] for name in ("input_drop", "drop", "initializer_range") if name in stated}
    try:
        config = GMMFormerConfig(
            visual_input_size=visual_input_size,
            query_input_size=query_input_size,
            hidden_size=hidden,
            max_ctx_l=max_ctx_l,
            max_desc_l=max_desc_l,
            map_size=_said(path, stated, "map_size", map_size),
            n_heads=_said(path, stated, "n_heads", n_heads),
            window_length="batch",
            **rates,
        )
        with torch.device("meta"):  # names and shapes, without memory or numbers
            expected = GMMFormer(config).state_dict()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path}: not the sizes of a GMMFormer: {error}") from None
    _check_shapes(path, _shapes(weights), _shapes(expected))
    return {name: value.float().contiguous() for name, value in weights.items()}, config


def _matrix(path: Path, weights: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    if name not in weights or weights[name].ndim != 2:
        found = f"of shape {list(weights[name].shape)}" if name in weights else "missing"
        raise UserError(
            f"{path}: `state_dict` is not a GMMFormer's: {name} is {found}, and should be a matrix; is it another model?"
        )
    return tuple(weights[name].shape)


def _said(path: Path, stated: Mapping[str, Any], name: str, given: int | None) -> int:
    """A size that the file's config says, or the argument."""
    own, flag = stated.get(name), f"--{name.replace('_', '-')}"
    if own is None and given is None:
        raise UserError(
            f"{path}: its config does not say `{name}`, which cannot be seen in the weights; give {flag}"
        )
    if own is not None and given is not None and own != given:
        raise UserError(f"{path}: its config says {name} {own}, and {flag} {given}; leave {flag} out")
    size = given if own is None else own
    if not isinstance(size, int) or size < 1:
        raise UserError(f"{path}: {name} is {size!r}, expected a whole number from 1")
    return size


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in weights.items()}


def _check_shapes(path: Path, found: dict[str, list[int]], expected: dict[str, list[int]]) -> None:
    for problem, names in (
        ("lacks", [name for name in expected if name not in found]),
        ("has, unlike GMMFormer,", [name for name in found if name not in expected]),
    ):
        if names:
            raise UserError(
                f"{path}: `state_dict` {problem} {len(names)} of {len(expected)} tensors, among them {names[0]}; is it"
                " another version of the model?"
            )
    for name, shape in expected.items():
        if found[name] != shape:
            raise UserError(
                f"{path}: {name} has shape {found[name]}, and {shape} by the other tensors' shapes; the file is damaged"
                " or of another model"
            )


def _first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0][:200]
