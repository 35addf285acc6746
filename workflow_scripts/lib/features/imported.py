"""Videos of foreign features as a reader yields them, the checks of them, and the list of what cannot be taken."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from workflow_scripts.lib.corpus.annotations import is_text, readable
from workflow_scripts.lib.corpus.seen import HashTable
from workflow_scripts.lib.corpus.tables import SPLITS

SHOWN = 20

KINDS = {
    "text_without_video": "a text whose video is not there, or cannot be taken",
    "video_without_text": "a video whose texts are not there, or cannot be taken",
    "shape": "an array of another shape or kind than its format has",
    "not_finite": "NaN, infinite, or too large for the number format of the shards",
    "bad_id": "an id that is empty, not UTF-8, or was there before",
    "bad_index": "a row of the index that pairs nothing",
    "unknown_file": "a file whose name does not tell what it holds",
}


@dataclass(slots=True)
class ImportedVideo:
    """A video and its texts as read: unchecked, but for what belongs together."""

    id: str
    split: str
    frames: np.ndarray | None
    """[T, D] float32, an embedding a frame; None where there is no array of floating-point numbers."""
    file: Path
    """Where the frames are from."""
    texts: dict[str, np.ndarray | None]
    """[D] float32 each, an embedding a text, by its id or row in `text_file`."""
    text_file: Path
    name: str = ""
    """The id; with the split before it where another split has that id, too. Set by the checks."""


class NotTaken:
    """Counts what cannot be taken by its kind, lists all of it as JSON lines, and prints the first."""

    def __init__(self, handle: TextIO):
        self.handle = handle
        self.kinds: Counter[str] = Counter()
        self.entries = 0

    def __call__(self, kind: str, file: Path, item: str, what: str, count: int = 1) -> None:
        """`item` names the entry in `file` that is left out; `count` entries, where it stands for several."""
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind}")
        row = {"file": str(file), "item": item, "kind": kind, "what": what, "count": count}
        self.handle.write(json.dumps(row) + "\n")
        self.kinds[kind] += count
        self.entries += 1
        if self.entries <= SHOWN:
            print(readable(f"not taken: {file}: {item}: {what}"), flush=True)
        elif self.entries == SHOWN + 1:
            print("not taken: ... the others are in the list", flush=True)

    def summary(self) -> str:
        """`3 not taken (2 shape, 1 not_finite)`."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common())
        return f"{self.kinds.total()} not taken ({kinds})" if kinds else "everything taken"


class Checks:
    """The checks of one import, for features of every format. Remembers their width, and 48 bytes a video at most."""

    def __init__(self, dtype: str, not_taken: NotTaken):
        self.dtype, self.largest = dtype, float(np.finfo(dtype).max)
        self.not_taken = not_taken
        self.width: int | None = None
        self.ids = HashTable()
        self.renamed = 0

    def usable(self, videos: Iterable[ImportedVideo]) -> Iterator[ImportedVideo]:
        """Videos that can be written, with those of their texts that can; all have the width of the first."""
        for video in videos:
            problem = self._id_problem(video) or self._problem(video.frames, "[frames, width]")
            if problem:
                self.not_taken(problem[0], video.file, video.id, problem[1])
                what = f"its video {video.id} cannot be taken"
                for item in video.texts:
                    self.not_taken("text_without_video", video.text_file, item, what)
            elif texts := dict(self._usable_texts(video)):
                self.width = video.frames.shape[1]
                video.texts = texts
                yield video
            else:
                what = "none of its texts can be taken"
                self.not_taken("video_without_text", video.file, video.id, what)

    def _usable_texts(self, video: ImportedVideo) -> Iterator[tuple[str, np.ndarray]]:
        for item, text in video.texts.items():
            width = self.width or video.frames.shape[1]
            if problem := self._problem(text, "[width]", width):
                self.not_taken(problem[0], video.text_file, item, problem[1])
            else:
                yield item, text

    def _id_problem(self, video: ImportedVideo) -> tuple[str, str] | None:
        """Kind and words; gives the video its name where there is none."""
        if not video.id.strip() or not is_text(video.id):
            return "bad_id", "the id is empty, or not UTF-8"
        here = SPLITS.index(video.split)
        first = self.ids.add(video.id, here)
        video.name = video.id if first is None else f"{video.split}/{video.id}"
        if first is None:
            return None
        if first == here or self.ids.add(video.name, here) is not None:
            return "bad_id", f"the id was there before, in {video.split}"
        self.renamed += 1
        return None

    def _problem(
        self, array: np.ndarray | None, form: str, width: int | None = None
    ) -> tuple[str, str] | None:
        """Kind and words of what is wrong with an embedding of the form `[frames, width]` or `[width]`."""
        width = width or self.width
        if array is None:
            return "shape", f"{form} is expected; found no array of floating-point numbers"
        if (
            array.ndim != form.count(",") + 1
            or 0 in array.shape
            or array.shape[-1] != (width or array.shape[-1])
        ):
            return (
                "shape",
                f"{form.replace('width', str(width or 'width'))} is expected; found {list(array.shape)}",
            )
        if not np.isfinite(array).all():
            return "not_finite", "NaN or infinite values"
        if np.abs(array).max() > self.largest:
            return (
                "not_finite",
                f"a value of {np.abs(array).max():.3g} does not fit {self.dtype}; --dtype float32",
            )
        return None
