"""Videos of foreign features as a reader yields them, the checks of them, and the list of what cannot be taken."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

import numpy as np

from workflow_scripts.lib.corpus.annotations import is_text, readable
from workflow_scripts.lib.corpus.seen import HashTable
from workflow_scripts.lib.corpus.tables import SPLITS

SHOWN = 20

KINDS = {
    "text_without_video": "a text whose video is not there, or cannot be taken",
    "video_without_text": "a video whose texts are not there, or cannot be taken",
    "caption_without_features": "a caption whose text features are not there",
    "features_without_caption": "text features that no caption file names",
    "shape": "an array of another shape or kind than its format has",
    "not_finite": "NaN, infinite, or too large for the number format of the shards",
    "unreadable": "features that the source names, and that cannot be read",
    "bad_id": "an id that is empty, not UTF-8, or was there before",
    "bad_index": "a row of the index that pairs nothing",
    "bad_line": "a line of a caption file that is not `<id> <text>` in UTF-8",
    "unknown_file": "a file whose name does not tell what it holds",
}


@dataclass(slots=True)
class ImportedCaption:
    """A caption and its features as read."""

    item: str
    """Its id, or row in the file of its features."""
    features: np.ndarray | None
    """[L, Dq], a row a token; [1, D], the sentence in the space of the frames, for sources with `sentences`. None where
    there is no array of floating-point numbers."""
    text: str
    """Empty where none is known."""
    number: int | None = None
    """j, where the source's ids are the pipeline's own `vid_{i}#cap_{j}`."""


@dataclass(slots=True)
class ImportedVideo:
    """A video and its captions as read: unchecked, but for what belongs together."""

    id: str
    split: str
    frames: np.ndarray | None
    """[T, D], an embedding a frame; None where there is no array of floating-point numbers."""
    file: Path
    """Where the frames are from."""
    captions: list[ImportedCaption]
    text_file: Path
    """Where the features of the captions are from."""
    number: int | None = None
    """i, where the source's ids are the pipeline's own `vid_{i}`."""
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
        self.handle.write(json.dumps(row, ensure_ascii=False) + "\n")
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


class Source(Protocol):
    """Features in a foreign format."""

    files: list[Path]
    """All that is read."""
    sentences: bool
    """Whether captions have an embedding [1, D] in the space of the frames, and not features of their tokens."""

    def videos(self, not_taken: NotTaken) -> Iterator[ImportedVideo]:
        """All videos with their captions; ascending where they have numbers. Tells `not_taken` what it must leave out."""

    def close(self) -> None:
        """Let go of files."""


class Checks:
    """The checks of one import, for features of every format. Remembers their widths, and 48 bytes a video at most."""

    def __init__(self, dtype: str, sentences: bool, not_taken: NotTaken):
        """`dtype`, of the shards; `sentences`: captions are [1, D], as wide as the frames."""
        self.dtype = np.dtype(dtype)
        self.sentences = sentences
        self.not_taken = not_taken
        self.width: int | None = None
        self.text_width: int | None = None
        self.ids = HashTable()
        self.renamed = self.rounded = 0

    def usable(self, videos: Iterable[ImportedVideo]) -> Iterator[ImportedVideo]:
        """Videos that can be written, with those of their captions that can, in the shards' number format.

        All have the width of the first.
        """
        for video in videos:
            problem = self._id_problem(video)
            if problem is None:
                frames, problem = self._usable(video.frames, "[frames, {}]", self.width)
            if problem is not None:
                self.not_taken(problem[0], video.file, video.id, problem[1])
                what = f"its video {video.id} cannot be taken"
                for caption in video.captions:
                    self.not_taken("text_without_video", video.text_file, caption.item, what)
            elif captions := list(self._usable_captions(video, frames.shape[1])):
                self.width, self.text_width = frames.shape[1], captions[0].features.shape[1]
                video.frames, video.captions = frames, captions
                yield video
            else:
                what = "none of its texts can be taken"
                self.not_taken("video_without_text", video.file, video.id, what)

    def _usable_captions(self, video: ImportedVideo, frames_width: int) -> Iterator[ImportedCaption]:
        form = "[1, {}]" if self.sentences else "[tokens, {}]"
        width = frames_width if self.sentences else self.text_width
        for caption in video.captions:
            features, problem = self._usable(caption.features, form, width)
            if problem is not None:
                self.not_taken(problem[0], video.text_file, caption.item, problem[1])
            else:
                caption.features = features
                width = features.shape[1]
                yield caption

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

    def _usable(
        self, array: np.ndarray | None, form: str, width: int | None
    ) -> tuple[np.ndarray | None, tuple[str, str] | None]:
        """The array in the shards' number format, or kind and words of what is wrong with it.

        `form` says its shape, with {} for the width; it may be any where `width` is None.
        """
        if array is None:
            return None, ("shape", f"{form.format('width')} is expected; found no floating-point numbers")
        if (
            array.ndim != 2
            or 0 in array.shape
            or (width is not None and array.shape[1] != width)
            or (form.startswith("[1,") and len(array) != 1)
        ):
            expected = form.format("width" if width is None else width)
            return None, ("shape", f"{expected} is expected; found {list(array.shape)}")
        with np.errstate(over="ignore"):
            stored = array.astype(self.dtype, copy=False)
        if not np.isfinite(stored).all():
            if not np.isfinite(array).all():
                return None, ("not_finite", "NaN or infinite values")
            what = f"a value of {np.abs(array).max():.3g} does not fit {self.dtype}"
            return None, ("not_finite", what + ("; --dtype float32" if self.dtype != np.float32 else ""))
        if array.dtype.itemsize > 4 and not np.array_equal(stored, array):
            self.rounded += 1
        return stored, None
