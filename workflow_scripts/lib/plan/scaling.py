"""What the work of every rule grows with: the one table of it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Protocol

from workflow_scripts.lib.config import CaptionerConfig, ClipConfig, RetrievalConfig
from workflow_scripts.lib.plan.items import Items


class Sections(Protocol):
    """The sections of a configuration that decide how often things are looked at."""

    clip: ClipConfig
    retrieval: RetrievalConfig
    captioner: CaptionerConfig


@dataclass(frozen=True)
class Work:
    """What a job has before it. `variant`: which of a rule's kinds of jobs it is, an encoder or a split."""

    items: Items
    sections: Sections
    variant: str


@dataclass(frozen=True)
class Scaling:
    """`amount` of a job's work, in `unit`; `by_shard`: a job sees a shard. `note`: what one number does not tell."""

    unit: str
    amount: Callable[[Work], float]
    by_shard: bool = False
    note: str | None = None


def _videos(work: Work) -> float:
    return work.items.all_videos


def _captions(work: Work) -> float:
    return work.items.all_captions


def _side(work: Work) -> float:
    """Of corpus_shard and collect_features, whose jobs are about videos or about captions."""
    is_video = work.variant.rpartition("/")[2] in ("video", "videos")
    return work.items.all_videos if is_video else work.items.all_captions


def _training_captions(work: Work, epochs: int = 1) -> float:
    return work.items.captions["train"] * epochs


def _clip_training(work: Work) -> float:
    """Own pairs do not grow with the corpus."""
    data, epochs = work.sections.clip.data, work.sections.clip.epochs
    own = data.train is not None or data.dataset_type == "synthetic"
    return epochs if own else _training_captions(work, epochs)


def _clip_test(work: Work) -> float:
    return 1 if work.sections.clip.data.test is not None else work.items.captions["test"]


def _retrieval_training(work: Work) -> float:
    retrieval = work.sections.retrieval
    epoch = min(work.items.videos["train"], retrieval.train_shard_size or float("inf"))
    if retrieval.steps_per_epoch > 0:
        epoch = min(epoch, retrieval.steps_per_epoch * retrieval.batch_size)
    return epoch * retrieval.epochs


def _indexed(work: Work) -> float:
    return sum(work.items.videos[split] for split in work.sections.retrieval.index)


def _demo_language_model(work: Work) -> float:
    model = work.sections.captioner.demo_language_model
    return _training_captions(work, model.epochs) if model else 0.0  # a benchmark file of former settings


RANKING = (
    "ranking grows with the square of the test split, encoding with the split: much larger ones take more"
)
PATIENCE = "at most: `patience` may end it earlier, and may have ended the pilot's"
SCALING: dict[str, Scaling] = {
    "make_demo_corpus": Scaling("videos", _videos),
    "ingest_corpus": Scaling("annotated videos", lambda work: work.items.annotated),
    "corpus_shard": Scaling("rows", _side, by_shard=True),
    "import_features": Scaling("videos", _videos),
    "extract_frames": Scaling("videos", _videos, by_shard=True),
    "make_demo_clip_model": Scaling("training captions", _training_captions),
    "pack_pairs": Scaling("captions", _captions, by_shard=True),
    "train_clip": Scaling("captions x epochs", _clip_training),
    "evaluate_clip": Scaling("test captions", _clip_test, note=RANKING),
    "extract_video_features": Scaling("stored frames", lambda work: work.items.frames, by_shard=True),
    "extract_text_features": Scaling("captions", _captions, by_shard=True),
    "collect_features": Scaling("rows", _side),
    "list_captions": Scaling("captions", _captions),
    "train_retrieval": Scaling("videos x epochs", _retrieval_training, note=PATIENCE),
    "evaluate_retrieval": Scaling(
        "val and test captions",
        lambda work: work.items.captions["val"] + work.items.captions["test"],
        note=RANKING,
    ),
    "build_index": Scaling("videos of its splits", _indexed),
    "make_demo_language_model": Scaling("captions x epochs", _demo_language_model),
    "train_captioner_stage1": Scaling(
        "captions x epochs",
        lambda work: _training_captions(work, work.sections.captioner.settled.stage1.epochs),
    ),
    "train_captioner_stage2": Scaling(
        "captions x epochs",
        lambda work: _training_captions(work, work.sections.captioner.settled.stage2.epochs),
    ),
    "generate_captions": Scaling("captions of the split", lambda work: work.items.captions[work.variant]),
    "evaluate_captions": Scaling("test captions", lambda work: work.items.captions["test"]),
    "collect_metrics": Scaling("captions", _captions),
    "build_report": Scaling("captions", _captions),
}


@dataclass(frozen=True)
class Name:
    """Which job of a rule it is."""

    rule: str
    variant: str = ""
    shard: int | None = None


FEATURES = re.compile(r"^(resources|results)/[^/]+/features/")
"""Where features lie: with the corpus or with the run, whose names are no part of a job's."""
SHARD = re.compile(r"^(?:(.*)[/_])?(\d{3,})$")


def job_name(benchmark: PurePath) -> Name:
    """Of a benchmark file, relative to the folder of its run: `extract_frames/007.tsv` is shard 7 of extract_frames."""
    rule, _, rest = benchmark.with_suffix("").as_posix().partition("/")
    rest = FEATURES.sub("", rest)
    found = SHARD.match(rest) if rule in SCALING and SCALING[rule].by_shard else None
    return Name(rule, found[1] or "", int(found[2])) if found else Name(rule, rest)
