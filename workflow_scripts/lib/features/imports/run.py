"""Features that were extracted elsewhere, as a corpus and feature shards of the pipeline's own layout."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from workflow_scripts.lib.config_features import IMPORT_SETTINGS
from workflow_scripts.lib.config_types import Language, Name, Positive
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.caption_lists import list_captions
from workflow_scripts.lib.features.collect import collect
from workflow_scripts.lib.features.flags import check_flag
from workflow_scripts.lib.features.imports.gmmformer_root import GMMFormerRoot
from workflow_scripts.lib.features.imports.places import Places, TryAgain
from workflow_scripts.lib.features.imports.pt_shards import PtShards
from workflow_scripts.lib.features.imports.videos import Checks, ImportedVideo, NotTaken, Source
from workflow_scripts.lib.features.imports.writer import ImportWriter
from workflow_scripts.lib.files import text_digest

NOT_TAKEN = "not_taken.jsonl"
META = ("video_meta.json", "text_meta.json")
MAX_SHARDS = 10_000


@dataclass(frozen=True)
class Import:
    """Which features are imported, and as what."""

    format: str
    """A key of FORMATS."""
    source: Path
    """Folder of the features."""
    name: str
    """Of the corpus, for the caption files."""
    videos_per_shard: int
    shards: int | None = None
    """How many shards there must be; None: as many as are filled."""
    captions: Path | None = None
    """webvid_pt: CSV in the `webvid` format with the texts of the captions."""
    visual: str | None = None
    """bigfile, hdf5: name of the visual features, where there are several."""
    queries: str | None = None
    """bigfile, hdf5: name of the file of text features, where there are several."""
    language: str = "en"
    """Of the captions."""
    dtype: str = "float32"
    """Number format of the shards, float16 or float32."""

    def identity(self, source: Source) -> dict[str, Any]:
        """The `encoder` of the shards: nobody has told which model made them, but which files they are from."""
        files_sha256 = text_digest(f"{file.name} {file.stat().st_size}" for file in source.files)
        return {
            "kind": "imported",
            "format": self.format,
            "source": self.source.resolve().name,
            "files_sha256": files_sha256,
            "dtype": self.dtype,
            "sentences": source.sentences,
            # frames and sentences can be compared (see `identity.same_space`)
            "space": {"library": "imported", "files_sha256": files_sha256} if source.sentences else None,
        }

    def made_of(self, source: Source) -> dict[str, Any]:
        """All that decides about the files that are written, but for the number of shards, which is checked at the end."""
        files = [*source.files, *([self.captions] if self.captions else [])]
        return {
            **self.identity(source),
            "changed_ns": {str(file.resolve()): file.stat().st_mtime_ns for file in files},
            "settings": [self.name, self.videos_per_shard, self.language],
        }


# By the name of the format: what reads it. UserError when the source lacks something.
FORMATS: dict[str, Callable[[Import], Source]] = {
    "webvid_pt": lambda job: PtShards(job.source, job.captions),
    "bigfile": lambda job: GMMFormerRoot(job.source, "bigfile", job.visual, job.queries),
    "hdf5": lambda job: GMMFormerRoot(job.source, "hdf5", job.visual, job.queries),
    "sharded": lambda job: GMMFormerRoot(job.source, "sharded"),
}


def import_features(job: Import, root: Path, corpus: Path) -> None:
    """Write features below `root` and the corpus tables into `corpus`, and print the counts.

    The files appear when all of them are there; a killed import goes on behind its last whole shard. What cannot be
    taken is listed in `not_taken.jsonl` below `root`. Videos and captions whose ids are the pipeline's own,
    `vid_{i}` and `vid_{i}#cap_{j}`, keep their numbers; others are numbered in the order of the source.

    UserError when one of the folders holds other files, the source cannot be read, nothing in it can be taken, or it
    fills another number of shards than `job.shards`.
    """
    _check(job, root, corpus)
    with closing(FORMATS[job.format](job)) as source:
        places = Places([root, corpus], job.made_of(source), last=META)
        if places.moved():
            print(f"{root}: was whole already, but for some moving", flush=True)
            return
        places.remove_rest()
        places.refuse_others()
        with places.filled() as (features, tables):
            _fill(job, source, features, tables)
    print(f"{root / NOT_TAKEN}: the list of what was not taken", flush=True)


def _fill(job: Import, source: Source, features: Path, tables: Path) -> None:
    """All files, in these folders."""
    # in an id that is no text, JSON's own escapes stand for the bytes
    with (features / NOT_TAKEN).open("w", encoding="utf-8", errors="backslashreplace") as handle:
        not_taken = NotTaken(handle)
        checks = Checks(job.dtype, source.sentences, not_taken)
        writer = ImportWriter(features, tables, job.identity(source), job.language)
        videos = _numbered(checks.usable(source.videos(not_taken)), job.videos_per_shard)
        for shard, its_videos in groupby(videos, key=lambda video: video.number // job.videos_per_shard):
            while writer.shards < shard:  # numbers that were kept leave it empty
                writer.write_shard([])
            writer.write_shard(its_videos)
    print(f"{job.source}: {not_taken.summary()}", flush=True)
    if not writer.shards:
        raise UserError(f"{job.source}: nothing that can be imported; {not_taken.summary()}")
    for side in ("video", "text"):
        collect(features, side, tables, writer.shards, job.videos_per_shard)
    list_captions(features, tables, job.name, writer.shards)
    print(f"{writer.counts()} in {writer.shards} shards of {job.videos_per_shard} videos", flush=True)
    _tell(checks, writer)
    if job.shards not in (None, writer.shards):
        raise TryAgain(
            f"{job.source}: fills {writer.shards} shards of {job.videos_per_shard} videos, but {job.shards} are expected; "
            f"set `corpus.shards: {writer.shards}` (--shards {writer.shards}): what is done is kept"
        )


def _numbered(videos: Iterator[ImportedVideo], videos_per_shard: int) -> Iterator[ImportedVideo]:
    """The same, with the numbers of the source, or else from 0."""
    for number, video in enumerate(videos):
        if video.number is None:
            video.number = number
            for caption_number, caption in enumerate(video.captions):
                caption.number = caption_number
        elif video.number // videos_per_shard >= MAX_SHARDS:
            raise UserError(
                f"{video.file}: with the number of {video.id} there are {video.number // videos_per_shard + 1} shards of "
                f"{videos_per_shard} videos, most of them empty; at most {MAX_SHARDS} are made: give more --videos-per-shard"
            )
        yield video


def _tell(checks: Checks, writer: ImportWriter) -> None:
    """What a user should know of the result, beside its counts."""
    if writer.without_text:
        print(
            f"{writer.without_text} captions have an empty text: the source, or --captions, tells none",
            flush=True,
        )
    if checks.renamed:
        print(
            f"{checks.renamed} ids are in several splits, and got the split's name before them; if they mean the same "
            "videos, the splits are not apart",
            flush=True,
        )
    if checks.rounded:
        print(f"{checks.rounded} arrays have values that {checks.dtype} rounds", flush=True)


def _check(job: Import, root: Path, corpus: Path) -> None:
    """UserError when a folder cannot be read or written, or a setting makes no sense."""
    if not job.source.is_dir():
        raise UserError(f"{job.source}: no such folder; give the one that holds the features to import")
    settings = {"name": Name, "language": Language, "videos_per_shard": Positive, "shards": Positive | None}
    for setting, kind in settings.items():
        check_flag(f"--{setting.replace('_', '-')}", getattr(job, setting), kind)
    for setting, formats in IMPORT_SETTINGS.items():
        if getattr(job, setting) is not None and job.format not in formats:
            raise UserError(f"--{setting}: goes with --format {' or '.join(formats)}, not with {job.format}")
    places = {"--root": root.resolve(), "--corpus": corpus.resolve(), "--source": job.source.resolve()}
    for flag, place in places.items():
        for other, folder in places.items():
            if flag != other and place.is_relative_to(folder):
                raise UserError(f"{flag} {place}: lies in {other} {folder}; give folders that are apart")
    if job.captions and not job.captions.is_file():
        raise UserError(f"{job.captions}: no such file; give the CSV that holds the captions")
