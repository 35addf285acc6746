"""Which checkpoints a run goes on from, and when it starts anew.

Checkpoints lie in a folder that is named after what they depend on: every key that changes the model, the pairs, the
weights that training starts from and the seed. `epochs` is not among it: a run that is given more of them goes on.
Its learning rate then follows the longer schedule from that step on: a cosine that had fallen to zero after 4 epochs
stands at half its peak there when 8 are wanted, and a constant one goes on as if nothing had been. To stretch a run so
that it ends where a longer one would have, start it anew.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch

from workflow_scripts.lib.checkpoints import (
    FINISHED,
    OTHER_CODE,
    differences,
    finished_by_other_code,
    set_aside,
    told,
)
from workflow_scripts.lib.clip.remote import RemoteCopy, remote_copy
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


def prepare(checkpoints: Path, run: dict[str, Any], config: ClipConfig) -> Path | None:
    """Make the folder of this run ready, and tell what happens; returns the checkpoint that it goes on from, if any.

    For the first process alone: the others would find what it has changed meanwhile. A checkpoint of other code, or of more
    epochs, is set aside together with its remote copy. Where the folder is lost, the newest remote checkpoint is brought
    back.
    """
    folder = checkpoints / name_of(run)
    remote = remote_copy(config, folder.name)
    if finished_by_other_code(folder, "clip"):
        _start_anew(folder, OTHER_CODE, remote)
    done = epochs_done(folder / LATEST)
    if done is not None and done > config.epochs:
        _start_anew(folder, f"of {done} epochs, and {config.epochs} are wanted", remote)
        done = None
    if done is not None:
        _go_on(folder, done, config)
    folder.mkdir(parents=True, exist_ok=True)
    _keep_log(folder)
    write_json(folder / RECORD, {"run": run, "epochs": config.epochs})
    if done is None and not (remote and _brought_back(folder, remote, config.epochs)):
        _say_what_changed(checkpoints, run)
        return None
    return folder / LATEST


class Unreadable(UserError):
    """Of a checkpoint."""


def epochs_done(checkpoint: Path) -> int | None:
    """Epochs behind a checkpoint; None where there is none. Unreadable when it cannot be read."""
    try:
        return torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["epoch"]
    except FileNotFoundError:
        return None
    except Exception as error:  # of pickle, zip, torch
        raise Unreadable(
            f"{checkpoint}: cannot be read as a checkpoint ({error}); delete it to start anew"
        ) from None


def _start_anew(folder: Path, reason: str, remote: RemoteCopy | None) -> None:
    """The copy first: as long as the folder is there, it says what its copy is of."""
    if remote:
        remote.set_aside()
    set_aside(folder, reason)


def _go_on(folder: Path, done: int, config: ClipConfig) -> None:
    before = read_json(folder / RECORD)["epochs"]
    print(f"going on from the checkpoint of epoch {done} in {folder}", flush=True)
    if before != config.epochs:
        how = (
            "stays as it is" if config.skip_scheduler else f"follows `{config.lr_scheduler}` over all of them"
        )
        print(
            f"epochs: {config.epochs} instead of {before}; from here on the learning rate {how}", flush=True
        )
    if done < config.epochs:
        (folder / FINISHED).unlink(missing_ok=True)


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


def _brought_back(folder: Path, remote: RemoteCopy, epochs: int) -> bool:
    """Put the newest remote checkpoint of at most so many epochs, and the curve up to it, where the lost ones were.

    A checkpoint that was cut off while it was copied is left out. False where there is none to go on from; the copy is then
    set aside if it has others: the package would take an old file of the same length for a new one.
    """
    names = remote.names(LATEST.parent.name)
    found = {int(match[1]): name for name in names if (match := re.fullmatch(r"epoch_(\d+)\.pt", name))}
    for epoch in sorted(found, reverse=True):
        copy = f"{LATEST.parent.name}/{found[epoch]}"
        if epoch > epochs:
            continue
        try:
            with whole_file(folder / LATEST) as temporary:
                remote.fetch(copy, temporary)
                epochs_done(temporary)
                if CURVE in remote.names():
                    remote.fetch(CURVE, folder / CURVE)
                (folder / CURVE).touch()
        except Unreadable:
            print(f"the copy {remote.place}/{copy} is cut off; the one before it is looked for", flush=True)
            continue
        print(f"going on from the copy {remote.place}/{copy}", flush=True)
        return True
    if found:
        remote.set_aside()
    return False
