"""How a captioner's visual tokens were made: recorded in its folder, so that a new video is seen in the same way."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from workflow_scripts.lib.config import EncoderConfig, load_section
from workflow_scripts.lib.config_errors import explain
from workflow_scripts.lib.config_types import Section
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.made_by import parsed
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.files import read_json, write_json
from workflow_scripts.lib.frames.shard import read_identity

SOURCES = "sources.json"


class Sources(Section):
    """Content of sources.json."""

    format: Literal[1] = 1
    frames: dict[str, Any] | None
    """By what settings frames were chosen and stored; null: the status tables do not tell."""
    encoder: EncoderConfig | None
    """What of the encoder's section decides about visual tokens; null: the features were extracted elsewhere."""
    identity: dict[str, Any] | None
    """What the visual tokens say that they were made by."""
    trained_clip: str | None
    """Folder of train_clip, for an encoder of that kind; relative to the folder of this file."""


def copy_sources(features: Path, frames: Path, folder: Path) -> None:
    """Record in `folder` how the visual tokens in `features` were made, and the frames of the tables in `frames`.

    What these do not tell stays open: the training does not need it.
    """
    section = Path(features, "encoder_video.yaml")
    encoder = load_section(EncoderConfig, section) if section.is_file() else None
    identity = parsed(open_features(features, "token").encoder)
    tables = sorted(Path(frames).glob("status_*.parquet"))
    sources = Sources(
        frames=read_identity(tables[0]).get("settings") if tables else None,
        encoder=encoder,
        identity=identity if isinstance(identity, dict) else None,
        trained_clip=_trained_clip(features, folder) if encoder and encoder.kind == "trained_clip" else None,
    )
    write_json(Path(folder, SOURCES), sources.model_dump(mode="json"))


def read_sources(folder: Path) -> Sources:
    """What a stage's folder says; UserError when it says nothing, or something else."""
    file = Path(folder, SOURCES)
    if not file.is_file():
        raise UserError(
            f"{folder}: there is no {SOURCES} in it, so how to look at a video is not known; give a folder that"
            " train_captioner_stage1 or train_captioner_stage2 wrote"
        )
    try:
        return Sources.model_validate(read_json(file))
    except ValidationError as error:
        raise UserError(f"{file}: {explain(error, Sources)}; train the stage again") from None


def _trained_clip(features: Path, folder: Path) -> str | None:
    """Where train_clip's folder lies: a model of a run and the features made with it lie below the run's folder.

    Whether it is the right one shows when it is used: its digest is in the identity.
    """
    model = Path(features).absolute().parents[1] / "clip/trained"
    return os.path.relpath(model, Path(folder).absolute()) if model.is_dir() else None
