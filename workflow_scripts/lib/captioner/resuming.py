"""Checkpoints of a stage that it may go on from."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflow_scripts.lib.checkpoints import OTHER_CODE, differences, finished_by_other_code, set_aside, told
from workflow_scripts.lib.files import read_json, write_json

MADE_BY = "made_by.json"


def usable_checkpoint(folder: Path, made_by: Mapping[str, Any]) -> Path | None:
    """The last whole checkpoint made by the same configuration and inputs; one of others is set aside.

    For the first process alone; the others read `last_checkpoint` after it.
    """
    record = folder / MADE_BY
    if folder.is_dir():
        if not record.is_file():
            if any(folder.iterdir()):
                set_aside(folder, "not known to be of this training: it has no made_by.json")
        elif changed := differences(_decisive(read_json(record)), _decisive(made_by)):
            set_aside(folder, f"made under another configuration or other inputs:{told(changed)}")
        elif finished_by_other_code(folder, "captioner"):
            set_aside(folder, OTHER_CODE)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(record, dict(made_by))
    for checkpoint in folder.glob("checkpoint-*"):
        if not _is_whole(checkpoint):
            shutil.rmtree(checkpoint)  # a kill cut it off
    return last_checkpoint(folder)


def _decisive(made_by: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON, without the preset's name: what it has filled in stands beside it."""
    return {name: value for name, value in json.loads(json.dumps(made_by)).items() if name != "preset"}


def last_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint with the most steps."""
    steps = {
        int(path.name.rpartition("-")[2]): path for path in folder.glob("checkpoint-*") if _is_whole(path)
    }
    return steps[max(steps)] if steps else None


def _is_whole(checkpoint: Path) -> bool:
    """The Trainer writes trainer_state.json last; a removal that a kill cut off may have left it alone."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((checkpoint / name).is_file() for name in ("adapter_model.safetensors", "optimizer.pt"))
