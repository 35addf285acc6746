"""Write imported videos as shards: features of all kinds, and the rows of the corpus tables."""

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.tables import CAPTIONS, SPLITS, VIDEOS
from workflow_scripts.lib.features.imports.videos import ImportedVideo
from workflow_scripts.lib.features.layout import SIDE_OF, shard_path
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.files import whole_file
from workflow_scripts.lib.keys import caption_key, video_key


class ImportWriter:
    """Feature shards and tables, one after another; those that are whole are left as they are."""

    def __init__(self, features: Path, tables: Path, encoder: dict[str, Any], language: str):
        """`encoder`: identity of the features; its `sentences` says whether captions are [1, D] in the frames' space."""
        self.features, self.tables = features, tables
        self.encoder, self.language = encoder, language
        self.shards = self.captions = self.without_text = 0
        self.splits: Counter[str] = Counter()

    def write_shard(self, videos: Iterable[ImportedVideo]) -> None:
        """The next shard, of checked and numbered videos."""
        files = [self.tables / f"{table}_{self.shards:03d}.parquet" for table in ("videos", "captions")]
        if files[1].is_file():  # written last, by an import that was killed later
            rows = [self._rows(video) for video in videos]
            print(f"shard {self.shards}: {len(rows)} videos are there already", flush=True)
        else:
            rows = self._write_features(videos)
            video_rows = [video_row for video_row, _ in rows]
            caption_rows = [row for _, its_captions in rows for row in its_captions]
            for file, of_table, schema in zip(
                files, (video_rows, caption_rows), (VIDEOS, CAPTIONS), strict=True
            ):
                with whole_file(file) as temporary:
                    pq.write_table(pa.Table.from_pylist(of_table, schema), temporary)
            print(f"shard {self.shards}: {len(video_rows)} videos, {len(caption_rows)} captions", flush=True)
        self.shards += 1

    def counts(self) -> str:
        """`6 videos (4 train, 0 val, 2 test) and 6 captions`."""
        splits = ", ".join(f"{self.splits[split]} {split}" for split in SPLITS)
        return f"{self.splits.total()} videos ({splits}) and {self.captions} captions"

    def _write_features(self, videos: Iterable[ImportedVideo]) -> list[tuple[dict, list[dict]]]:
        """The feature shards; gives the rows of their videos and captions."""
        rows = []
        with ExitStack() as stack:
            shards = {
                kind: stack.enter_context(
                    ShardWriter(
                        shard_path(self.features, kind, self.shards), self.encoder, self.encoder["dtype"]
                    )
                )
                for kind in SIDE_OF
            }
            kinds = ("text", "sentence") if self.encoder["sentences"] else ("text",)
            for video in videos:
                shards["video"].write(video_key(video.number), video.frames)
                for caption in video.captions:
                    for kind in kinds:
                        shards[kind].write(caption_key(video.number, caption.number), caption.features)
                rows.append(self._rows(video))
        return rows

    def _rows(self, video: ImportedVideo) -> tuple[dict, list[dict]]:
        """Its row of the video table, whose path is its name: no file is known; and those of the caption table."""
        row = {
            "index": video.number,
            "id": video.name,
            "path": video.name,
            "source": video.id,
            "split": video.split,
        }
        captions = [
            {
                "video": video.number,
                "caption": caption.number,
                "key": caption_key(video.number, caption.number),
                "split": video.split,
                "language": self.language,
                "text": caption.text,
                "attributes": [],
            }
            for caption in video.captions
        ]
        self.splits[video.split] += 1
        self.captions += len(captions)
        self.without_text += sum(not caption.text for caption in video.captions)
        return row, captions
