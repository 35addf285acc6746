"""Which checkpoints a run goes on from, and when it starts anew.

Checkpoints lie in a folder that is named after what they depend on: every key that changes the model, the pairs, the
weights that training starts from and the seed. `epochs` is not among it: a run that is given more of them goes on.
Its learning rate then follows the longer schedule from that step on: a cosine that had fallen to zero after 4 epochs
stands at half its peak there when 8 are wanted, and a constant one goes on as if nothing had been. To stretch a run so
that it ends where a longer one would have, start it anew.
"""

import json
from pathlib import Path
from typing import Any

import fsspec
import torch
from open_clip_train import main as program

from workflow_scripts.lib.checkpoints import (
    FINISHED,
    OTHER_CODE,
    differences,
    finished_by_other_code,
    set_aside,
    told,
)
from workflow_scripts.lib.config_clip import ClipConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import file_digest, read_json, text_digest, whole_file, write_json

LATEST = Path("checkpoints/epoch_latest.pt")
CURVE = "curve.jsonl"
RECORD = "run.json"
NOT_IDENTIFYING = {
    **ClipConfig.NOT_FROZEN, "enabled": True, "epochs": True, "val_frequency": True, "cache_dir": True,
    "data": {"test": True, "val": True},
}  # fmt: skip


def what_it_depends_on(config: ClipConfig, demo_model: Path | None, pairs: str, seed: int) -> dict[str, Any]:
    """What a checkpoint depends on, as a mapping that JSON has; `pairs` tells those of training from others."""
    keys = ("model", "pretrained", "distill_model", "distill_pretrained")
    places = {key: Path(name.removeprefix("local-dir:")) for key in keys if (name := getattr(config, key))}
    if demo_model is not None:
        places["demo_model"] = demo_model
    digests = {
        f"{key}: {file.name}": file_digest(file)
        for key, place in places.items()
        for file in (sorted(place.iterdir()) if place.is_dir() else [place])
        if file.is_file()
    }
    settings = config.model_dump(mode="json", exclude=NOT_IDENTIFYING)
    return {"clip": settings, "pairs": pairs, "files": digests, "seed": seed}


def name_of(run: dict[str, Any]) -> str:
    """12 hex digits."""
    return text_digest([json.dumps(run, sort_keys=True)])[:12]


def prepare(checkpoints: Path, run: dict[str, Any], config: ClipConfig, checkpoint: str | None) -> None:
    """Make the folder of this run ready, by the first process: another code's is set aside, and what happens is told.

    `checkpoint` is what `checkpoint_of` said before: of a lost folder, a remote copy that is brought back.
    """
    folder = checkpoints / name_of(run)
    if finished_by_other_code(folder, "clip"):
        set_aside(folder, OTHER_CODE)
    done = epochs_done(folder / LATEST)
    if done is not None and done > config.epochs:
        set_aside(folder, f"of {done} epochs, and {config.epochs} are wanted")
        done = None
    if done is not None:
        before = read_json(folder / RECORD)["epochs"]
        print(f"going on from the checkpoint of epoch {done} in {folder}", flush=True)
        if before != config.epochs:
            how = (
                "stays as it is"
                if config.skip_scheduler
                else f"follows `{config.lr_scheduler}` over all of them"
            )
            print(
                f"epochs: {config.epochs} instead of {before}; from here on the learning rate {how}",
                flush=True,
            )
        if done < config.epochs:
            (folder / FINISHED).unlink(missing_ok=True)
    else:
        _say_what_changed(checkpoints, run)
    folder.mkdir(parents=True, exist_ok=True)
    _keep_log(folder)
    write_json(folder / RECORD, {"run": run, "epochs": config.epochs})
    if done is None and checkpoint is not None:
        _bring_back(folder, checkpoint, config)


def checkpoint_of(folder: Path, config: ClipConfig) -> str | None:
    """The checkpoint that a run goes on from: its last one, or where the folder is lost, the newest remote one."""
    if finished_by_other_code(folder, "clip"):
        return None  # the first process is about to set it aside
    if (folder / LATEST).is_file():
        done = epochs_done(folder / LATEST)
        return str(folder / LATEST) if done is not None and done <= config.epochs else None
    return _remote_checkpoint(folder.name, config) if config.remote_sync else None


def epochs_done(checkpoint: Path) -> int | None:
    """Epochs behind a checkpoint; None where there is none. UserError when it cannot be read."""
    try:
        return torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["epoch"]
    except FileNotFoundError:
        return None
    except Exception as error:  # of pickle, zip, torch
        raise UserError(
            f"{checkpoint}: cannot be read as a checkpoint ({error}); delete it to start anew"
        ) from None


def _say_what_changed(checkpoints: Path, run: dict[str, Any]) -> None:
    records = sorted(checkpoints.glob(f"*/{RECORD}"), key=lambda file: file.stat().st_mtime)
    records = [record for record in records if read_json(record)["run"] != run]
    if records:
        changed = differences(read_json(records[-1])["run"], run)
        print(
            f"starting anew beside {records[-1].parent}, which is of another run:{told(changed)}", flush=True
        )


def _keep_log(folder: Path) -> None:
    """open_clip_train refuses a folder with a log of its own: each start has one."""
    log = folder / "out.log"
    if log.is_file():
        log.rename(folder / f"out_{len(list(folder.glob('out_*.log'))) + 1}.log")


def _bring_back(folder: Path, copy_of_it: str, config: ClipConfig) -> None:
    """Put the remote checkpoint and the curve up to it where the lost ones were."""
    print(f"going on from the copy {copy_of_it}", flush=True)
    curve = f"{config.remote_sync.rstrip('/')}/{folder.name}/{CURVE}"
    for source, target in ((copy_of_it, folder / LATEST), (curve, folder / CURVE)):
        target.parent.mkdir(parents=True, exist_ok=True)
        with fsspec.open(source, "rb") as copy, whole_file(target) as temporary:
            temporary.write_bytes(copy.read())


def _remote_checkpoint(name: str, config: ClipConfig) -> str | None:
    place = f"{config.remote_sync.rstrip('/')}/{name}/checkpoints"
    if config.remote_sync_protocol == "s3":
        found = program.get_latest_checkpoint(place, remote=True)
    else:
        system, path = fsspec.core.url_to_fs(place)
        paths = {int(Path(one).stem.split("_")[1]): one for one in system.glob(f"{path}/epoch_*.pt")}
        usable = [epoch for epoch in paths if epoch <= config.epochs]
        found = system.unstrip_protocol(paths[max(usable)]) if usable else None
    return found
