"""What all trainings do with checkpoints that are not theirs, or of a training that is done."""

import shutil
from pathlib import Path
from typing import Any

from workflow_scripts.lib.files import text_digest, whole_file
from workflow_scripts.lib.nested import differing

FINISHED = "finished"
SHOWN = 10
ALSO = {"retrieval": ("features/datasets.py",)}
"""Code that a training runs on beside that of its stage."""


def differences(old: Any, new: Any) -> list[str]:
    """Where two nested mappings differ: `config.lr: 0.001 -> 0.002`."""
    return [f"{name}: {before!r} -> {after!r}" for name, before, after in differing(old, new)]


def told(changed: list[str]) -> str:
    """Differences as lines for the log, the first of them."""
    more = [f"and {len(changed) - SHOWN} more"] if len(changed) > SHOWN else []
    return "".join(f"\n  {line}" for line in [*changed[:SHOWN], *more])


def set_aside(folder: Path, reason: str, *beside: Path) -> None:
    """Move `folder` to `<folder>.previous`, in the place of what lay there, and say why in the log.

    So are the folders `beside` it, if any; before it, so that after a kill in between it still says what they are of.
    """
    print(f"training starts anew: the checkpoint in {folder} is {reason}", flush=True)
    for moved in (*beside, folder):
        if moved.exists():
            previous = moved.with_name(moved.name + ".previous")
            shutil.rmtree(previous, ignore_errors=True)
            moved.rename(previous)


def mark_finished(folder: Path, stage: str) -> None:
    """Say that the training is done. A rerun writes its results again; only after a change of code it trains anew.

    So neither a kill behind the last epoch nor a lost job record costs a training.
    """
    with whole_file(folder / FINISHED) as temporary:
        temporary.write_text(_code_digest(stage), encoding="utf-8")


def finished_by_other_code(folder: Path, stage: str) -> bool:
    """Whether the training in `folder` is done, and the code of `workflow_scripts/lib/<stage>` is not what did it."""
    marker = folder / FINISHED
    return marker.is_file() and marker.read_text(encoding="utf-8") != _code_digest(stage)


OTHER_CODE = "of a training that is finished, and the code has changed since"


def _code_digest(stage: str) -> str:
    lib = Path(__file__).parent
    files = [*sorted((lib / stage).rglob("*.py")), *(lib / name for name in ALSO.get(stage, ()))]
    return text_digest(text for file in files for text in (file.name, file.read_text(encoding="utf-8")))
