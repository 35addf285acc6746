"""What all trainings do with checkpoints that are not theirs, or of a training that is done."""

import shutil
from pathlib import Path
from typing import Any

from workflow_scripts.lib.files import text_digest, whole_file
from workflow_scripts.lib.nested import differing

FINISHED = "finished"
SHOWN = 10


def differences(old: Any, new: Any) -> list[str]:
    """Where two nested mappings differ: `config.lr: 0.001 -> 0.002`."""
    return [f"{name}: {before!r} -> {after!r}" for name, before, after in differing(old, new)]


def told(changed: list[str]) -> str:
    """Differences as lines for the log, the first of them."""
    more = [f"and {len(changed) - SHOWN} more"] if len(changed) > SHOWN else []
    return "".join(f"\n  {line}" for line in [*changed[:SHOWN], *more])


def set_aside(folder: Path, reason: str) -> None:
    """Move `folder` to `<folder>.previous`, in the place of what lay there, and say why in the log."""
    print(f"training starts anew: the checkpoint in {folder} is {reason}", flush=True)
    previous = folder.with_name(folder.name + ".previous")
    shutil.rmtree(previous, ignore_errors=True)
    folder.rename(previous)


def mark_finished(folder: Path, stage: str) -> None:
    """Say that the training is done. A rerun writes its results again; only after a change of code it trains anew.

    So neither a kill behind the last epoch nor a lost job record costs a training.
    """
    with whole_file(folder / FINISHED) as temporary:
        temporary.write_text(_code_digest(stage), encoding="utf-8")


def finished_by_other_code(folder: Path, stage: str) -> bool:
    """Whether the training in `folder` is done, and `workflow_scripts/lib/<stage>` is not what did it."""
    marker = folder / FINISHED
    return marker.is_file() and marker.read_text(encoding="utf-8") != _code_digest(stage)


OTHER_CODE = "of a training that is finished, and the code has changed since"


def _code_digest(stage: str) -> str:
    files = sorted((Path(__file__).parent / stage).rglob("*.py"))
    return text_digest(text for file in files for text in (file.name, file.read_text(encoding="utf-8")))
