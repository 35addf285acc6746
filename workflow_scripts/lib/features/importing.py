"""Features that were extracted elsewhere, as a corpus and feature shards of the pipeline's own layout."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from workflow_scripts.lib.config_types import Language, Name, Positive
from workflow_scripts.lib.corpus.tables import CAPTIONS, SPLITS, VIDEOS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.caption_texts import CaptionTexts
from workflow_scripts.lib.features.collect import collect
from workflow_scripts.lib.features.imported import Checks, ImportedVideo, NotTaken
from workflow_scripts.lib.features.pt_shards import read_pt_shards
from workflow_scripts.lib.features.shards import FOLDERS, PATTERNS, ShardWriter
from workflow_scripts.lib.files import read_json, text_digest, whole_file, write_json
from workflow_scripts.lib.keys import caption_key, video_key

# By the name of the format: what yields its videos, and tells what it cannot take.
FORMATS: dict[str, Callable[[Path, NotTaken], Iterator[ImportedVideo]]] = {"webvid_pt": read_pt_shards}

NOT_TAKEN = "not_taken.jsonl"
MADE_OF = "import.json"  # in an unfinished folder


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
    captions: Path | None
    """CSV in the `webvid` format with the texts of the captions."""
    language: str
    """Of the captions."""
    dtype: str
    """Number format of the shards, float16 or float32."""

    def identity(self) -> dict[str, Any]:
        """The `encoder` of the shards: nobody has told which model made them, but which files they are from."""
        files = sorted(file for file in self.source.iterdir() if file.is_file())
        return {
            "kind": "imported",
            "format": self.format,
            "source": self.source.resolve().name,
            "files_sha256": text_digest(f"{file.name} {file.stat().st_size}" for file in files),
            "dtype": self.dtype,
        }

    def made_of(self) -> dict[str, Any]:
        """All that decides about the files that are written."""
        captions = self.captions and [str(self.captions.resolve()), self.captions.stat().st_mtime_ns]
        settings = [self.name, self.videos_per_shard, self.language]
        return {**self.identity(), "settings": settings, "captions": captions}


def import_features(job: Import, root: Path, corpus: Path) -> None:
    """Write features below `root` and the corpus tables into `corpus`, and print the counts.

    Both folders appear when all of it is there; a killed import goes on behind its last whole shard. What cannot be
    taken is listed in `not_taken.jsonl` below `root`. UserError when one of the folders is there and not empty, the
    source cannot be read, or nothing in it can be taken.
    """
    _check(job, root, corpus)
    with ExitStack() as stack:
        features, tables = (stack.enter_context(_unfinished(folder, job)) for folder in (root, corpus))
        texts = stack.enter_context(closing(CaptionTexts(job.captions)))
        not_taken = NotTaken(stack.enter_context((features / NOT_TAKEN).open("w", encoding="utf-8")))
        checks = Checks(job.dtype, not_taken)
        writer = _Writer(job, features, tables, texts)
        for videos in _shards(
            checks.usable(FORMATS[job.format](job.source, not_taken)), job.videos_per_shard
        ):
            writer.write_shard(videos)
        print(f"{job.source}: {not_taken.summary()}; {root / NOT_TAKEN}", flush=True)
        if not writer.shards:
            raise UserError(f"{job.source}: nothing that can be imported; {not_taken.summary()}")
        if job.captions and not texts.found:
            raise UserError(
                f"{job.captions}: holds the id of no imported video; the first of them is {writer.first_id!r}"
            )
        collect(features, tables, job.name, writer.shards, job.videos_per_shard)
    writer.print_counts()
    if checks.renamed:
        print(
            f"{checks.renamed} ids are in several splits, and got the split's name before them; if they mean the same "
            "videos, the splits are not apart",
            flush=True,
        )


def _check(job: Import, root: Path, corpus: Path) -> None:
    """UserError when the folders cannot be read or written, or a setting makes no sense."""
    if not job.source.is_dir():
        raise UserError(f"{job.source}: no such folder; give the one that holds the features to import")
    settings = {"name": Name, "language": Language, "videos_per_shard": Positive}
    for setting, kind in settings.items():
        try:
            TypeAdapter(kind).validate_python(value := getattr(job, setting))
        except ValidationError as error:
            flag = setting.replace("_", "-")
            raise UserError(f"--{flag} {value!r}: {error.errors()[0]['msg']}") from None
    places = {"--root": root.resolve(), "--corpus": corpus.resolve(), "--source": job.source.resolve()}
    for flag, place in places.items():
        for other, folder in places.items():
            if flag != other and place.is_relative_to(folder):
                raise UserError(f"{flag} {place}: lies in {other} {folder}; give folders that are apart")
    if job.captions and not job.captions.is_file():
        raise UserError(f"{job.captions}: no such file; give the CSV that holds the captions")
    for folder in (root, corpus):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder}: is there already and not empty; remove it, or give another folder")


@contextmanager
def _unfinished(folder: Path, job: Import) -> Iterator[Path]:
    """A folder beside `folder`, with what a killed import of the same has left; takes its place when the block succeeds."""
    unfinished = folder.with_name(f".{folder.name}.part")
    if not (unfinished / MADE_OF).is_file() or read_json(unfinished / MADE_OF) != job.made_of():
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        write_json(unfinished / MADE_OF, job.made_of())
    try:
        yield unfinished
    except UserError:  # trying again will not help
        shutil.rmtree(unfinished)
        raise
    (unfinished / MADE_OF).unlink()
    if folder.exists():  # empty
        folder.rmdir()
    unfinished.replace(folder)


def _shards(videos: Iterator[ImportedVideo], size: int) -> Iterator[Iterable[ImportedVideo]]:
    """`size` videos each, to be used up before the next."""
    for first in videos:
        yield chain([first], islice(videos, size - 1))


class _Writer:
    """Feature shards and tables, one after another; videos are numbered through all splits."""

    def __init__(self, job: Import, features: Path, tables: Path, texts: CaptionTexts):
        self.job, self.encoder = job, job.identity()
        self.features, self.tables, self.texts = features, tables, texts
        self.shards = self.captions = self.without_text = 0
        self.splits: Counter[str] = Counter()
        self.first_id = ""

    def write_shard(self, videos: Iterable[ImportedVideo]) -> None:
        """The next shard: features of all kinds (no visual tokens), and the rows of its videos and captions."""
        tables = [self.tables / f"{table}_{self.shards:03d}.parquet" for table in ("videos", "captions")]
        if tables[1].is_file():  # written last, by an import that was killed later
            rows = [self._rows(video) for video in videos]
            print(f"shard {self.shards}: {len(rows)} videos are there already", flush=True)
        else:
            video_rows, caption_rows = self._write_features(videos)
            for file, rows, schema in zip(
                tables, (video_rows, caption_rows), (VIDEOS, CAPTIONS), strict=True
            ):
                with whole_file(file) as temporary:
                    pq.write_table(pa.Table.from_pylist(rows, schema), temporary)
            print(f"shard {self.shards}: {len(video_rows)} videos, {len(caption_rows)} captions", flush=True)
        self.shards += 1

    def _write_features(self, videos: Iterable[ImportedVideo]) -> tuple[list[dict], list[dict]]:
        """The feature shards; gives the rows of their videos and captions."""
        video_rows, caption_rows = [], []
        with ExitStack() as stack:
            files = {kind: self.features / FOLDERS[kind] / (PATTERNS[kind] % self.shards) for kind in FOLDERS}
            shards = {
                kind: stack.enter_context(ShardWriter(file, self.encoder, self.job.dtype))
                for kind, file in files.items()
            }
            for video in videos:
                row, captions = self._rows(video)
                shards["video"].write(video_key(row["index"]), video.frames)
                for caption, text in zip(captions, video.texts.values(), strict=True):
                    for kind in ("text", "sentence"):  # nothing is known of single tokens
                        shards[kind].write(caption["key"], text[None])
                video_rows.append(row)
                caption_rows += captions
        return video_rows, caption_rows

    def _rows(self, video: ImportedVideo) -> tuple[dict, list[dict]]:
        """Its row of the video table, whose path is its name: no file is known; and those of the caption table."""
        index = self.splits.total()
        self.splits[video.split] += 1
        self.first_id = self.first_id or video.id
        row = {
            "index": index,
            "id": video.name,
            "path": video.name,
            "source": video.id,
            "split": video.split,
        }
        # The file of texts tells one caption a video: nobody knows which of several it would be.
        text = self.texts(video.id) if len(video.texts) == 1 else ""
        captions = [
            {
                "video": index,
                "caption": j,
                "key": caption_key(index, j),
                "split": video.split,
                "language": self.job.language,
                "text": text,
                "attributes": [],
            }
            for j in range(len(video.texts))
        ]
        self.captions += len(captions)
        self.without_text += 0 if text else len(captions)
        return row, captions

    def print_counts(self) -> None:
        splits = ", ".join(f"{self.splits[split]} {split}" for split in SPLITS)
        print(
            f"{self.splits.total()} videos ({splits}) and {self.captions} captions in {self.shards} shards of "
            f"{self.job.videos_per_shard} videos",
            flush=True,
        )
        if self.without_text:
            print(
                f"{self.without_text} captions have an empty text: the features come without, and --captions tells none "
                "for their videos",
                flush=True,
            )
