"""Trainings of a step or two on models and pairs that are made here, by the command train_clip."""

import io
import json
import logging
import tarfile
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file

from tests.unit.clip.fake_corpus import COLOURS, jpeg
from tests.unit.clip.pipeline import run
from workflow_scripts.lib.config import ClipConfig, freeze

PAIRS = 16
SIZE = 32
NO_CROPS = {"scale": [1, 1], "ratio": [1, 1], "use_timm": True}
"""Timm's crop of the whole picture: nothing of the augmentation is random."""
VIT = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
RESNET = {**VIT, "vision_cfg": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 2, "head_width": 8}}
COCA = {
    **VIT,
    "custom_text": True,
    "vision_cfg": {**VIT["vision_cfg"], "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
    "text_cfg": {**VIT["text_cfg"], "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": {
        "context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1, "attn_pooler_heads": 2,
    },
}  # fmt: skip


def make_pairs(folder: Path, pairs: int = PAIRS) -> Path:
    """Pictures with a `pairs.csv`, and the same in two tars, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(pairs):
        colour = list(COLOURS)[number % len(COLOURS)]
        picture = folder / f"{number:03d}.jpg"
        picture.write_bytes(jpeg(colour, number))
        rows.append((picture, f"a {colour} square, number {number}"))
    lines = ["filepath\ttitle", *(f"{picture}\t{text}" for picture, text in rows)]
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for half in (0, 1):
        with tarfile.open(folder / f"pairs_{half}.tar", "w") as tar:
            for picture, text in rows[half::2]:
                for name, data in (
                    (picture.name, picture.read_bytes()),
                    (f"{picture.stem}.txt", text.encode()),
                ):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


def write_model(folder: Path, model: dict = VIT, name: str = "tiny") -> str:
    """A JSON of a custom model; returns its path. Each folder has a name of its own: open_clip knows models by it."""
    path = folder / f"{name}_{abs(hash(folder)):x}.json"
    path.write_text(json.dumps(model), encoding="utf-8")
    return str(path)


def csv_data(pairs: Path, **more: Any) -> dict:
    """A section `data` of the CSV of `make_pairs`."""
    files = {"files": [str(pairs / "pairs.csv")]}
    return {"dataset_type": "csv", "train": files, "val": files, **more}


def tar_data(pairs: Path, **more: Any) -> dict:
    """The same of its tars."""
    files = {"files": [str(pairs / "pairs_{0..1}.tar")]}
    return {"train": files, "val": files, **more}


def section(folder: Path, **settings: Any) -> Path:
    """The frozen section for two steps on synthetic pairs; the flags are not in it."""
    defaults = {
        "batch_size": 8, "epochs": 1, "lr": 1e-3, "warmup": 1, "precision": "fp32",
        "data": {"dataset_type": "synthetic", "samples": PAIRS},
    }  # fmt: skip
    settings = {**defaults, **settings}
    if "model" not in settings:
        settings["model"] = write_model(folder)
    path = folder / "clip.yaml"
    path.write_text(freeze(ClipConfig(**settings)), encoding="utf-8")
    return path


def train(folder: Path, flags: dict[str, Any] | None = None, seed: int = 1, **settings: Any) -> Path:
    """Run train_clip with the settings; returns the folder of the run's checkpoints."""
    standard = {"workers": 0, "log_every_n_steps": 1}
    logging.getLogger().handlers.clear()  # each training adds its own
    run(
        "train_clip", config=section(folder, **settings), shards=1, checkpoints=folder / "checkpoints",
        model=folder / "trained", curve=folder / "curve.csv", threads=1, seed=seed, **standard | (flags or {}),
    )  # fmt: skip
    return newest_run(folder)


def newest_run(folder: Path) -> Path:
    """The folder of the checkpoints of the last run."""
    return max((folder / "checkpoints").glob("*/run.json"), key=lambda file: file.stat().st_mtime_ns).parent


def options_of(run: Path) -> dict[str, str]:
    """What open_clip_train says that it was given."""
    lines = (run / "params.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def journal(run: Path, name: str = "train/loss") -> list[float]:
    """The values of one name, as they came."""
    lines = map(json.loads, (run / "curve.jsonl").read_text(encoding="utf-8").splitlines())
    return [line["value"] for line in lines if line["name"] == name]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of the trained model."""
    return load_file(folder / "trained" / "open_clip_model.safetensors")


def initial_weights(folder: Path, seed: int = 1, **more: Any) -> dict[str, torch.Tensor]:
    """Of the model that training started from, without pretrained ones."""
    from open_clip_train.main import random_seed

    random_seed(seed, 0)
    file = next(folder.glob("*.json"))
    open_clip.add_model_config(file)
    return open_clip.create_model(file.stem, **more).state_dict()


def moved(folder: Path, **more: Any) -> set[str]:
    """Names of the weights that training has changed."""
    before, after = initial_weights(folder, **more), weights(folder)
    assert set(before) == set(after)
    return {name for name in after if not torch.equal(before[name], after[name])}
