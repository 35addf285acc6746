"""Files that the `clip` section names: a custom model, weights, folders of models."""

from pathlib import Path

from workflow_scripts.lib.config_clip import ClipConfig
from workflow_scripts.lib.errors import UserError

FOLDER = "local-dir:"


def named_files(config: ClipConfig, trained: Path) -> list[str]:
    """Those that are there, for a rule to depend on; other values are names that open_clip knows.

    UserError for one in `trained`, the folder of this run's own result: Snakemake empties it before the training.
    """
    found: list[str] = []
    for key in ("model", "pretrained", "distill_model", "distill_pretrained"):
        name = getattr(config, key)
        if name is None:
            continue
        path = Path(name.removeprefix(FOLDER))
        if path.resolve().is_relative_to(trained.resolve()):
            raise UserError(
                f"clip.{key}: {path} is what this run itself makes, and it would be gone before it is read; give the next"
                " training another `run`"
            )
        if name.startswith(FOLDER):
            found += sorted(str(file) for file in path.glob("*") if file.is_file())
        elif path.is_file():
            found.append(name)
    return found
