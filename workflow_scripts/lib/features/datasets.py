"""Features with captions as torch data sets that hold files mapped into memory, and integers: neither texts nor keys."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.caption_lists import TABLE
from workflow_scripts.lib.features.index import DAMAGED, memory_map
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.keys import caption_key, video_key

Rows = np.ndarray | slice
ALL = slice(None)
AGAIN = "delete it and run list_captions again, which writes it"


class CaptionTable:
    """The captions of a split that `list_captions` wrote, ascending by video and caption; row i is caption i.

    `languages` and `number` choose rows: captions in these languages, and those in this place among their video's.
    Columns are maps of the file; a choice is held as row numbers. A pickled table opens its file anew.
    """

    def __init__(self, file: Path, languages: Sequence[str] | None = None, number: int | None = None):
        self.file, self.chosen = Path(file), (languages, number)
        batch = _read(self.file)
        columns = (batch["video"], batch["caption"], batch["language"].indices)
        self._videos, self._captions, self._languages = map(np.from_dlpack, columns)  # nothing is copied
        self._texts = batch["text"]
        self.language_names: list[str] = batch["language"].dictionary.to_pylist()
        """By the numbers that `languages` gives."""
        self._rows = self._choose(languages, number)

    def __len__(self) -> int:
        return len(self._videos) if self._rows is None else len(self._rows)

    def __reduce__(self) -> tuple:
        return CaptionTable, (self.file, *self.chosen)

    def videos(self, rows: Rows = ALL) -> np.ndarray:
        """int64, index of the video of these captions."""
        return self._videos[self._places(rows)]

    def captions(self, rows: Rows = ALL) -> np.ndarray:
        """int32, position of these captions among their video's."""
        return self._captions[self._places(rows)]

    def languages(self, rows: Rows = ALL) -> np.ndarray:
        """int16, language of these captions, as a position in `language_names`."""
        return self._languages[self._places(rows)]

    def text(self, row: int) -> str:
        """The text of a caption, read from the file; UserError where it is damaged."""
        row = range(len(self))[row]
        text = self._texts.slice(row if self._rows is None else int(self._rows[row]), 1)
        try:
            text.validate(full=True)  # as_py of a damaged one ends the process
        except DAMAGED as error:
            raise UserError(f"{self.file}: a text is damaged ({error}); {AGAIN}") from None
        return text[0].as_py()

    @cached_property
    def first(self) -> np.ndarray:
        """[videos + 1] int64: the captions of the k-th video are the rows first[k] to first[k + 1] - 1."""
        videos = self.videos()
        begins = np.ones(len(videos), dtype=bool)
        begins[1:] = videos[1:] != videos[:-1]
        return np.append(np.flatnonzero(begins), len(videos))

    @property
    def video_count(self) -> int:
        return len(self.first) - 1

    def unique_videos(self, positions: Rows = ALL) -> np.ndarray:
        """int64, index of these videos, of which each counts once."""
        return self.videos(self.first[:-1][positions])

    def owner(self, rows: slice) -> np.ndarray:
        """int64, position of these captions' videos among the `unique_videos`."""
        return np.searchsorted(self.first, np.arange(len(self))[rows], side="right") - 1

    def _places(self, rows: Rows) -> Rows:
        return rows if self._rows is None else self._rows[rows]

    def _choose(self, languages: Sequence[str] | None, number: int | None) -> np.ndarray | None:
        """Row numbers in the file; None for all."""
        kept = None
        if languages is not None:
            kept = np.array([name in languages for name in self.language_names], dtype=bool)[self._languages]
        if number is not None:
            its_number = self._captions == number
            kept = its_number if kept is None else kept & its_number
        return None if kept is None or kept.all() else np.flatnonzero(kept)


class Aligned(NamedTuple):
    """A video and a caption of it; the arrays cannot be written to."""

    frames: np.ndarray
    """[T, D]; [T, P, D] of visual tokens."""
    words: np.ndarray
    """[L, D]"""
    video: int
    """Index in the corpus."""
    caption: int
    """Position among the video's captions."""


class AlignedDataset(Dataset[Aligned]):
    """Item i is caption i and its video, for corpora with one caption a video.

    A DataLoader reads a batch at once; `pad` in its `collate_fn` makes tensors. UserError when a video has several
    captions, or names key and file of a feature that is missing or has a wrong shape.
    """

    def __init__(self, videos: FeatureReader, texts: FeatureReader, captions: CaptionTable):
        self.videos, self.texts, self.captions = videos, texts, captions
        of_video = captions.videos()
        again = of_video[1:] == of_video[:-1]
        if again.any():
            row = int(np.argmax(again)) + 1
            raise UserError(
                f"{captions.file}: {_key(captions, row)} is not the only caption of its video that was chosen; choose one"
                " by its `number` or `languages`, or use CaptionedVideos"
            )

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, item: int) -> Aligned:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> list[Aligned]:
        rows = np.asarray(items, dtype=np.int64)
        videos, captions = self.captions.videos(rows), self.captions.captions(rows)
        frames = take(self.videos, videos)
        words = take(self.texts, videos, captions)
        return list(map(Aligned, frames, words, videos.tolist(), captions.tolist()))


class Captioned(NamedTuple):
    """A video with all its captions; the arrays cannot be written to."""

    frames: np.ndarray
    """[T, D]; [T, P, D] of visual tokens."""
    words: list[np.ndarray]
    """[L, D] a caption."""
    video: int
    """Index in the corpus."""
    captions: np.ndarray
    """int32, position of each caption among the video's."""


class CaptionedVideos(Dataset[Captioned]):
    """Item i is the i-th video that has captions, with all of them: one or many.

    UserError names key and file of a feature that is missing or has a wrong shape.
    """

    def __init__(self, videos: FeatureReader, texts: FeatureReader, captions: CaptionTable):
        self.videos, self.texts, self.captions = videos, texts, captions

    def __len__(self) -> int:
        return self.captions.video_count

    def __getitem__(self, item: int) -> Captioned:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> list[Captioned]:
        positions = np.asarray(items, dtype=np.int64)
        starts, ends = self.captions.first[:-1][positions], self.captions.first[1:][positions]
        counts = ends - starts
        rows = np.repeat(ends - np.cumsum(counts), counts) + np.arange(counts.sum())
        videos, captions = self.captions.videos(rows), self.captions.captions(rows)
        frames = take(self.videos, self.captions.unique_videos(positions))
        words = take(self.texts, videos, captions)
        found, end = [], 0
        for its_frames, count in zip(frames, counts.tolist(), strict=True):
            start, end = end, end + count
            found.append(Captioned(its_frames, words[start:end], int(videos[start]), captions[start:end]))
        return found


def take(
    reader: FeatureReader, videos: np.ndarray, captions: np.ndarray | None = None, *, width: int | None = None
) -> list[np.ndarray]:
    """`reader.take`, checked: every feature has rows, of `width` numbers each.

    UserError names key and file of one that has not, or is not there.
    """
    arrays = reader.take(videos, captions)
    for place, array in enumerate(arrays):
        if len(array) == 0 or (width is not None and array[0].size != width):
            video = int(videos[place])
            key = video_key(video) if captions is None else caption_key(video, int(captions[place]))
            wanted = "rows" if width is None else f"rows of {width} numbers"
            raise UserError(
                f"{reader.file_of(key)}: the {reader.kind} feature {key} has the shape {list(array.shape)}, expected"
                f" {wanted}; extract (or import) the features again"
            )
    return arrays


def pad(arrays: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Arrays [l, D] -> [N, longest, D] float32 with zeros behind, and the mask [N, longest] float32, 1 at real rows."""
    lengths = np.array([len(array) for array in arrays])
    # As they are stored: float16 is half the bytes, and PyTorch converts it ten times as fast as NumPy.
    dtype = np.result_type(*{array.dtype for array in arrays}).newbyteorder("=")
    padded = np.zeros((len(arrays), lengths.max(), *arrays[0].shape[1:]), dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    mask = np.arange(lengths.max()) < lengths[:, None]
    return torch.from_numpy(padded).float(), torch.from_numpy(mask.astype(np.float32))


def _read(file: Path) -> pa.RecordBatch:
    """The one record batch of a table of captions, mapped."""
    try:
        reader = pa.ipc.open_file(memory_map(file))
        if reader.schema.equals(TABLE) and reader.num_record_batches == 1:
            batch = reader.get_batch(0)
            batch.validate()  # sizes alone: nothing is read
            batch["language"].validate(full=True)
            return batch
        found = f"has {reader.num_record_batches} record batches of the columns {reader.schema.names}"
    except DAMAGED as error:
        found = f"cannot be read ({error})"
    raise UserError(f"{file}: {found}; {AGAIN}")


def _key(captions: CaptionTable, row: int) -> str:
    return caption_key(int(captions.videos(slice(row, row + 1))[0]), int(captions.captions()[row]))
