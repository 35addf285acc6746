"""The disk that a run takes, by what the pilot left there."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from workflow_scripts.lib.config import Config
from workflow_scripts.lib.corpus.tables import read_columns
from workflow_scripts.lib.frames.space import MEMBER
from workflow_scripts.lib.plan.estimate import PlannedJob
from workflow_scripts.lib.plan.items import Items
from workflow_scripts.lib.plan.pilot import Pilot
from workflow_scripts.lib.plan.scaling import SCALING, Work
from workflow_scripts.lib.plan.schedule import Schedule


@dataclass(frozen=True)
class Disk:
    """Bytes of one kind of files; None: the pilot has none to go by. `unit`: what they grow with."""

    what: str
    bytes: float | None
    unit: str


OF_VIDEOS, OF_CAPTIONS = (
    ("FeatureData", "TokenData", "video_*"),
    ("TextData", "SentenceData", "text_*", "captions_*"),
)


def frame_bytes(pilot: Pilot) -> float | None:
    """Bytes of a video's frames in a tar, the mean over the pilot; None where there are no frames."""
    if not pilot.items.all_videos or not (pilot.resources / "frames").is_dir():
        return None
    stored = 0.0
    for shard in range(len(pilot.shards)):
        status = pilot.resources / "frames" / f"status_{shard:03d}.parquet"
        table = read_columns(status, ["bytes", "frames"], "extract_frames")
        stored += (pc.sum(table["bytes"]).as_py() or 0) + MEMBER * (pc.sum(table["frames"]).as_py() or 0)
    return stored / pilot.items.all_videos


def disk(config: Config, items: Items, pilot: Pilot) -> list[Disk]:
    """Of everything but frames, at the end of the run."""

    def scaled(what: str, folders: Sequence[Path], unit: str, amount: Callable[[Work], float]) -> Disk:
        there = sum(_sizes(folders))
        before = amount(Work(pilot.items, pilot, "")) if there else 0
        return Disk(what, there * amount(Work(items, config, "")) / before if before else None, unit)

    def videos(work: Work) -> float:
        return work.items.all_videos

    def captions(work: Work) -> float:
        return work.items.all_captions

    def annotated(work: Work) -> float:
        return work.items.annotated

    found = [scaled("corpus tables", [pilot.resources / "corpus"], "captions", captions)]
    if not config.corpus.is_imported:  # the tables of all annotations, those outside of the shards included
        found.append(scaled("annotations", [pilot.resources / "ingest"], "annotated videos", annotated))
    for encoder in config.features.encoders:
        place = pilot.results if encoder.kind == "trained_clip" else pilot.resources
        root = place / "features" / encoder.name
        if "video" in encoder.sides():
            files = [file for pattern in OF_VIDEOS for file in root.glob(pattern)]
            found.append(scaled(f"features of frames, {encoder.name}", files, "videos", videos))
        if "text" in encoder.sides():
            files = [file for pattern in OF_CAPTIONS for file in root.glob(pattern)]
            found.append(scaled(f"features of captions, {encoder.name}", files, "captions", captions))
    pairs, index = pilot.results / "clip/pairs", pilot.results / "retrieval/index"
    if config.clip.enabled:
        found.append(scaled("training pairs of CLIP", [pairs], "captions", captions))
    if config.retrieval.enabled and config.retrieval.index:
        indexed = SCALING["build_index"]
        found.append(scaled("search index", [index], indexed.unit, indexed.amount))
    stages = [pilot.results / stage for stage in ("clip", "retrieval", "captioner", "report")]
    rest = sum(_sizes(stages)) - sum(_sizes([pairs, index]))
    return [*found, Disk("models, checkpoints, metrics", float(rest), "nothing: as in the pilot")]


def is_tar(file: str) -> bool:
    """Whether it is one of frames."""
    return file.endswith(".tar")


def frames_at_peak(
    planned: Sequence[PlannedJob], amounts: Sequence[float], made: Schedule, a_video: float
) -> float:
    """Bytes of frames at the worst moment where tars go after their last use; `amounts`: videos of each job.

    A tar counts from the start of the job that writes it to the end of the last one that reads it.
    """
    users: dict[str, list[int]] = {}
    for position, job in enumerate(planned):
        for file in job.inputs:
            users.setdefault(file, []).append(position)
    changes = []
    for position, job in enumerate(planned):
        if job.name.rule == "extract_frames":
            of_tar = [made.ends[user] for file in job.outputs if is_tar(file) for user in users.get(file, [])]
            size = amounts[position] * a_video
            changes += [(made.starts[position], size), (max([made.ends[position], *of_tar]), -size)]
    peak = now = 0.0
    for _, change in sorted(changes):  # at one moment, what goes goes first
        now += change
        peak = max(peak, now)
    return peak


def _sizes(places: Sequence[Path]) -> Iterator[int]:
    for place in places:
        files = place.rglob("*") if place.is_dir() else [place]
        yield sum(file.stat().st_size for file in files if file.is_file())
