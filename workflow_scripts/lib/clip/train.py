"""Training or fine-tuning by open_clip_train: what it is given, and what becomes of its result."""

import difflib
from dataclasses import dataclass
from pathlib import Path

import open_clip
from open_clip.factory import parse_model_name

from workflow_scripts.lib.checkpoints import OTHER_CODE, finished_by_other_code, set_aside
from workflow_scripts.lib.config import ClipConfig
from workflow_scripts.lib.corpus.tables import shard_files
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import file_digest, read_json, text_digest

MAX_VAL_PAIRS = 10_000
"""open_clip_train holds all validation features and their product in memory."""
LOG_STEPS = 10
"""Optimizer steps between two values of the loss curve."""
# AdamW of the CLIP paper (Radford et al., 2021, table 18). open_clip_train would otherwise choose by
# whether the model's name contains "vit".
BETA1, BETA2, EPS = 0.9, 0.98, 1e-6


@dataclass(frozen=True)
class Pairs:
    """The tars of one split that hold anything, and the number of pairs in each."""

    tars: list[Path]
    counts: list[int]

    @property
    def total(self) -> int:
        return sum(self.counts)


def find_pairs(folder: Path, shards: int, split: str) -> Pairs:
    """The tars of `split` that pack_pairs wrote; empty ones are left out."""
    tars = shard_files(folder, f"{split}_%03d.tar", shards)
    counts = [read_json(file)[split] for file in shard_files(folder, "counts_%03d.json", shards)]
    filled = [(tar, count) for tar, count in zip(tars, counts, strict=True) if count]
    return Pairs([tar for tar, _ in filled], [count for _, count in filled])


def few_enough(pairs: Pairs, most: int = MAX_VAL_PAIRS) -> Pairs:
    """The first tars with at most `most` pairs together, at least one tar."""
    total = 0
    for kept, count in enumerate(pairs.counts):
        total += count
        if total > most and kept:
            print(
                f"validation: {kept} of {len(pairs.tars)} tars, which hold {total - count} pairs", flush=True
            )
            return Pairs(pairs.tars[:kept], pairs.counts[:kept])
    return pairs


def usable_workers(pairs: Pairs, wanted: int, ranks: int, batch: int) -> int:
    """How many of `wanted` reading processes the tars allow, for `batch` pairs a rank.

    A tar is read by one worker of one rank, and a worker that cannot fill a batch would wait for ever.
    UserError when even one worker a rank cannot.
    """
    for workers in range(wanted, -1, -1):
        readers = ranks * max(1, workers)
        fewest = sum(sorted(pairs.counts)[: len(pairs.counts) // readers])
        if fewest >= batch:
            if workers < wanted:
                print(
                    f"workers: {workers} instead of {wanted}, for {len(pairs.tars)} tars of pairs", flush=True
                )
            return workers
    if not pairs.tars:
        raise UserError(
            "clip: no training pairs; look at the split of the annotations and at the frames' failures"
        )
    if len(pairs.tars) < ranks:
        raise UserError(
            f"clip: {len(pairs.tars)} tars of training pairs for {ranks} processes, and each needs one of its own; "
            "raise corpus.shards, or lower the rule's gpu"
        )
    raise UserError(
        f"clip.batch_size: {batch * ranks} over {ranks} processes cannot be filled from {pairs.total} training"
        f" pairs in {len(pairs.tars)} tars; give a batch_size of at most"
        f" {sum(sorted(pairs.counts)[: len(pairs.counts) // ranks]) * ranks}"
    )


def model_name(config: ClipConfig, demo_model: Path | None) -> str:
    """The model as open_clip names it; UserError when it or its weights cannot be had."""
    if config.demo_model is not None:
        if demo_model is None:
            raise UserError("clip.demo_model is set, but --demo-model names no folder")
        if config.pretrained:
            raise UserError("clip.pretrained: a demo_model is trained from scratch; give clip.model instead")
        return f"local-dir:{demo_model}"
    schema, name = parse_model_name(config.model)
    if schema is None:
        _known(name, config.pretrained)
    elif config.pretrained:
        raise UserError(
            f"clip.pretrained: open_clip ignores {config.pretrained!r} for the model {config.model!r}, whose weights"
            " come with it; leave it out, or put the weights into the folder"
        )
    elif schema == "local-dir" and not (Path(name) / "open_clip_config.json").is_file():
        raise UserError(f"clip.model: {name} is no folder with an open_clip_config.json")
    return config.model


def _known(name: str, pretrained: str | None) -> None:
    """Check a built-in name, and fetch its weights now rather than after the data has been read."""
    if name.replace("/", "-") not in open_clip.list_models():
        close = difflib.get_close_matches(name, open_clip.list_models(), 3)
        raise UserError(
            f"clip.model: open_clip knows no {name!r}" + (f"; near: {', '.join(close)}" if close else "")
        )
    if pretrained is None or Path(pretrained).is_file():
        return
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise UserError(f"clip.pretrained: {pretrained!r} is no file and no tag of {name}; its tags: {tags}")
    try:
        open_clip.download_pretrained(tag)
    except Exception as error:  # whatever the hub's client raises
        raise UserError(
            f"clip.pretrained: the weights {pretrained!r} of {name} could not be fetched ({error});"
            " without a network, give the path of a checkpoint file"
        ) from None


def training_arguments(
    config: ClipConfig,
    model: str,
    train: Pairs,
    val: Pairs,
    *,
    logs: Path,
    name: str,
    seed: int,
    ranks: int,
    device: str,
) -> list[str]:
    """The command line of open_clip_train."""
    if config.batch_size % ranks:
        raise UserError(f"clip.batch_size: {config.batch_size} is not a multiple of the {ranks} processes")
    batch = config.batch_size // ranks
    options = {
        "model": model,
        "pretrained": config.pretrained or "",
        "train-data": "::".join(map(str, train.tars)),
        "train-num-samples": train.total,
        "dataset-type": "webdataset",
        "batch-size": batch,
        "epochs": config.epochs,
        "lr": config.lr,
        "beta1": BETA1,
        "beta2": BETA2,
        "eps": EPS,
        "wd": config.weight_decay,
        "warmup": config.warmup,
        "precision": config.precision,
        "workers": usable_workers(train, config.workers, ranks, batch),
        "device": device,
        "seed": seed,
        "logs": logs,
        "name": name,
        "resume": "latest",
        "save-frequency": 0,
        "log-every-n-steps": LOG_STEPS,
    }
    if val.tars:
        options |= {"val-data": "::".join(map(str, val.tars)), "val-num-samples": val.total}
    return ["--save-most-recent", *(f"--{option}={value}" for option, value in options.items())]


def fingerprint(
    config: ClipConfig, frozen: Path, pairs: Path, shards: int, demo_model: Path | None, seed: int
) -> str:
    """What a checkpoint depends on: config, pairs, seed and the demo model's files, as 12 hex digits."""
    files = [frozen, *shard_files(pairs, "counts_%03d.json", shards)]
    if demo_model is not None:
        files += sorted(file for file in demo_model.iterdir() if file.is_file())
    texts = [file.read_text(encoding="utf-8") for file in files]
    if config.pretrained and Path(config.pretrained).is_file():
        texts.append(file_digest(Path(config.pretrained)))
    return text_digest([str(seed), *texts])[:12]


def look_at_checkpoints(checkpoints: Path, name: str) -> None:
    """Say whether this run goes on, or starts beside checkpoints of another config, or anew after a change of code."""
    if finished_by_other_code(checkpoints / name, "clip"):
        set_aside(checkpoints / name, OTHER_CODE)
    elif (checkpoints / name / "checkpoints" / "epoch_latest.pt").is_file():
        print(f"going on from the checkpoint in {checkpoints / name}", flush=True)
    elif checkpoints.is_dir() and (others := [path.name for path in checkpoints.iterdir()]):
        print(
            f"starting anew: the checkpoints {', '.join(others)} are of another config or other pairs",
            flush=True,
        )
