"""What there is to work on: videos, captions and stored frames, of a shard or of a whole corpus."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workflow_scripts.lib.config import Config
from workflow_scripts.lib.corpus.tables import SPLITS, read_columns
from workflow_scripts.lib.errors import UserError


@dataclass(frozen=True)
class Items:
    """Counts; those of videos and captions by split."""

    videos: Mapping[str, float]
    captions: Mapping[str, float]
    frames: float
    """Stored frames of all videos; where features are imported, the videos themselves."""
    annotated: float
    """Videos in the annotations, whether a shard holds them or not."""

    @property
    def all_videos(self) -> float:
        return sum(self.videos.values())

    @property
    def all_captions(self) -> float:
        return sum(self.captions.values())

    def share(self, part: float) -> "Items":
        """So large a part of everything that shards divide."""
        return Items(
            {split: count * part for split, count in self.videos.items()},
            {split: count * part for split, count in self.captions.items()},
            self.frames * part,
            self.annotated,
        )


def corpus_items(resources: Path, shards: int) -> list[Items]:
    """Of each shard that is finished, by its tables; UserError names one that is missing."""
    ingested = resources / "ingest" / "videos.parquet"
    annotated = pq.read_metadata(ingested).num_rows if ingested.is_file() else None
    found = []
    for shard in range(shards):
        videos = _by_split(resources / "corpus" / f"videos_{shard:03d}.parquet")
        captions = _by_split(resources / "corpus" / f"captions_{shard:03d}.parquet")
        status = resources / "frames" / f"status_{shard:03d}.parquet"
        frames = sum(videos.values())
        if annotated is not None:
            frames = pc.sum(read_columns(status, ["frames"], "extract_frames")["frames"]).as_py() or 0
        found.append(Items(videos, captions, frames, 0))
    whole = sum(items.all_videos for items in found) if annotated is None else annotated
    return [Items(items.videos, items.captions, items.frames, whole) for items in found]


def total(shards: list[Items]) -> Items:
    """Of all shards together."""
    return Items(
        {split: sum(items.videos[split] for items in shards) for split in SPLITS},
        {split: sum(items.captions[split] for items in shards) for split in SPLITS},
        sum(items.frames for items in shards),
        shards[0].annotated,
    )


def planned_items(config: Config, resources: Path, like: Items) -> tuple[Items, bool]:
    """Of the corpus of a configuration, and whether they are counted, or at most so many.

    Counted in the tables of ingest_corpus, where they are there. Otherwise every shard is taken for full, with as many
    captions a video in each split as `like` has. Stored frames always are those a video that `like` has.
    """
    if not like.all_videos:
        raise UserError(f"{resources}: the pilot has no videos; measure a shard that holds some")
    ingested = resources / "ingest"
    room = config.corpus.shards * config.corpus.videos_per_shard
    is_ingested = (ingested / "captions.parquet").is_file()
    if is_ingested:
        videos = _by_split(ingested / "videos.parquet", "index", room)
        captions = _by_split(ingested / "captions.parquet", "video", room)
        annotated = pq.read_metadata(ingested / "videos.parquet").num_rows
        counted = Items(videos, captions, 0, annotated)
    else:
        known = min(room, config.corpus.demo.videos) if config.corpus.adapter == "demo" else room
        counted = like.share(known / like.all_videos)
        counted = Items(counted.videos, counted.captions, 0, known)
    frames = counted.all_videos * like.frames / like.all_videos
    is_exact = is_ingested or config.corpus.adapter == "demo"
    return Items(counted.videos, counted.captions, frames, counted.annotated), is_exact


def shard_share(config: Config, items: Items, shard: int) -> float:
    """The part of the corpus that a shard holds: all are full but for the last ones."""
    each = config.corpus.videos_per_shard
    return max(0.0, min(each, items.all_videos - shard * each)) / items.all_videos


def _by_split(file: Path, column: str | None = None, below: int = 0) -> dict[str, float]:
    """Rows by split; with a column, only those where it is below a number."""
    table: pa.Table = read_columns(file, ["split", *([column] if column else [])], "the pilot")
    splits = table["split"] if column is None else table.filter(pc.field(column) < below)["split"]
    counts = {row["values"]: row["counts"] for row in pc.value_counts(splits).to_pylist()}
    return {split: counts.get(split, 0) for split in SPLITS}
