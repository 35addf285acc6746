"""The keys of a shard, as arrays: no Python object a key, however many there are."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workflow_scripts.lib.features.layout import KEY, parse_key
from workflow_scripts.lib.keys import caption_key, video_key

TEXT = np.dtypes.StringDType()
_GROUPS = KEY.pattern.replace("(0|", "(?P<video>0|", 1).replace("(0|", "(?P<caption>0|", 1)


@dataclass(frozen=True)
class Keys:
    """The keys of a shard as integers, ascending; of a shard that was written elsewhere, possibly as text.

    A row is a key's place in this order.
    """

    videos: np.ndarray | None = None
    """[N] int64; None where keys are text."""
    captions: np.ndarray | None = None
    """[N] int32; None where keys name no caption."""
    names: np.ndarray | None = None
    """[N] StringDType, ascending: keys of which some are not of the form `vid_3`, or `vid_3#cap_1`."""

    @classmethod
    def of(cls, names: Sequence[str]) -> tuple["Keys", np.ndarray]:
        """Keys in ascending order, and the places [N] that they have among `names`.

        UnicodeEncodeError: a key that is no text.
        """
        keys = _parsed(names)
        return (cls(names=np.array(names, dtype=TEXT)) if keys is None else keys)._ascending()

    @classmethod
    def joined(cls, parts: Sequence["Keys"]) -> tuple["Keys", np.ndarray]:
        """The keys of several shards in ascending order, and the places [N] that they have one shard after another."""
        parts = [part for part in parts if len(part)]
        forms = {(part.names is None, part.captions is None) for part in parts}
        if len(forms) > 1 or (False, True) in forms:
            names = [np.array(list(part), dtype=TEXT) if part.names is None else part.names for part in parts]
            return cls(names=np.concatenate(names))._ascending()
        if not parts:
            return cls(np.empty(0, np.int64)), np.empty(0, np.int64)
        captions = None
        if parts[0].captions is not None:
            captions = np.concatenate([part.captions for part in parts])
        return cls(np.concatenate([part.videos for part in parts]), captions)._ascending()

    def __len__(self) -> int:
        return len(self.videos) if self.names is None else len(self.names)

    def __iter__(self) -> Iterator[str]:
        if self.names is not None:
            yield from self.names
        elif self.captions is None:
            yield from map(video_key, self.videos.tolist())
        else:
            yield from map(caption_key, self.videos.tolist(), self.captions.tolist())

    def key(self, row: int) -> str:
        """The key of a row."""
        if self.names is not None:
            return str(self.names[row])
        video = self.videos.item(row)
        return video_key(video) if self.captions is None else caption_key(video, self.captions.item(row))

    def __getitem__(self, rows: np.ndarray | slice) -> "Keys":
        """The keys of some rows, ascending."""
        return Keys(*(None if of is None else of[rows] for of in (self.videos, self.captions, self.names)))

    def row(self, key: str) -> int | None:
        """The row of a key; None when it is not there."""
        if self.names is None:
            parsed = parse_key(key)
            row = -1 if parsed is None else self.find(*parsed)
        else:
            row = self._name_row(key)
        return None if row < 0 else row

    def find(self, video: int, caption: int | None = None) -> int:
        """The row of `vid_{video}`, or `vid_{video}#cap_{caption}`; -1 when it is not there."""
        videos, captions = self.videos, self.captions
        if videos is None:
            return self._name_row(video_key(video) if caption is None else caption_key(video, caption))
        if not len(videos) or (caption is None) != (captions is None):
            return -1
        row = video - videos.item(0)  # where none is missing, with one caption a video
        if 0 <= row < len(videos) and self._is(row, video, caption):
            return row
        row = bisect_left(videos.data, video)
        if caption is not None:
            row = bisect_left(captions.data, caption, row, bisect_right(videos.data, video, row))
        return row if row < len(videos) and self._is(row, video, caption) else -1

    def _is(self, row: int, video: int, caption: int | None) -> bool:
        return self.videos.item(row) == video and (caption is None or self.captions.item(row) == caption)

    def rows(self, videos: np.ndarray, captions: np.ndarray | None = None) -> np.ndarray:
        """[n] int64 rows of keys given as integers; -1 where one is not there."""
        if self.videos is None or not len(self) or (captions is None) != (self.captions is None):
            return np.full(len(videos), -1)
        row = np.searchsorted(self.videos, videos)
        if captions is not None:
            row = self._caption_rows(row, videos, captions)
        row = np.minimum(row, len(self) - 1)
        same = self.videos[row] == videos
        if captions is not None:
            same &= self.captions[row] == captions
        return np.where(same, row, -1)

    def duplicate(self) -> int | None:
        """A row whose key is that of the next one, too."""
        if self.names is not None:
            same = self.names[1:] == self.names[:-1]
        else:
            same = self.videos[1:] == self.videos[:-1]
            if self.captions is not None:
                same &= self.captions[1:] == self.captions[:-1]
        return int(np.argmax(same)) if same.any() else None

    def first_missing(self, others: "Keys") -> str | None:
        """The first key that is not among others."""
        if self.videos is not None and others.videos is not None:
            missing = others.rows(self.videos, self.captions) < 0
            return self.key(int(np.argmax(missing))) if missing.any() else None
        return next((key for key in self if others.row(key) is None), None)

    def outside(self, first: int, end: int) -> str | None:
        """A key that is of no video from `first` to `end` - 1, or of none at all."""
        if self.videos is None:
            return next(key for key in self if (parse_key(key) or (-1,))[0] not in range(first, end))
        if len(self) and self.videos.item(0) < first:
            return self.key(0)
        return self.key(-1) if len(self) and self.videos.item(-1) >= end else None

    def _caption_rows(self, first: np.ndarray, videos: np.ndarray, captions: np.ndarray) -> np.ndarray:
        """From the first row of each caption's video to its own: usually `captions` rows on."""
        guess = np.minimum(first + captions, len(self) - 1)
        hit = (self.videos[guess] == videos) & (self.captions[guess] == captions)
        for i in np.flatnonzero(~hit):  # captions are missing before it
            end = np.searchsorted(self.videos, videos[i], side="right")
            guess[i] = first[i] + np.searchsorted(self.captions[first[i] : end], captions[i])
        return guess

    def _name_row(self, name: str) -> int:
        row = bisect_left(self.names, name)  # searchsorted fails where a StringDType is longer than 15 bytes
        return row if row < len(self.names) and self.names[row] == name else -1

    def _ascending(self) -> tuple["Keys", np.ndarray]:
        if self.names is not None:
            order = np.argsort(self.names, kind="stable")
        elif self.captions is None:
            order = np.argsort(self.videos, kind="stable")
        else:
            order = np.lexsort((self.captions, self.videos))
        return self[order], order


def _parsed(names: Sequence[str]) -> Keys | None:
    """Keys as integers, in their order; None when any is foreign, or only some name a caption."""
    found = pc.extract_regex(pa.array(names, pa.string()), f"^{_GROUPS}$")
    if found.null_count:
        return None
    videos, captions = (found.field(group) for group in ("video", "caption"))
    without = pc.sum(pc.equal(captions, "")).as_py() or 0
    if without not in (0, len(names)):
        return None
    numbers = pc.cast(videos, pa.int64()).to_numpy()
    return Keys(numbers, None if without == len(names) else pc.cast(captions, pa.int32()).to_numpy())
