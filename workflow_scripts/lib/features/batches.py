"""What an encoder is given: batches that are the same in every run, whoever computes them.

An item is a frame or a caption. Batch k holds the items from k * size to (k + 1) * size, whatever is done already; all
batches have that size, the last one filled up by repeating. So a resumed run and several processes give the bytes of
an uninterrupted one, and torch.compile sees one shape of frames and a few of captions.
"""

import io
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from PIL import Image
from torch import Tensor

from workflow_scripts.lib.corpus.tables import read_columns
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.encoders.encoder import Encoder, Tokens
from workflow_scripts.lib.features.index import Keys
from workflow_scripts.lib.features.layout import Kind
from workflow_scripts.lib.files import text_digest
from workflow_scripts.lib.frames.shard import FrameShard


class Batches:
    """Which items are in which batch, and which rows of the shards come from them."""

    def __init__(self, items: int, batch_size: int, item_of: Mapping[Kind, np.ndarray]):
        """`item_of`: by kind of shard, the item of each row [rows]."""
        self.items = items
        self.size = max(1, min(batch_size, items))
        self._item_of = dict(item_of)
        self._order = {kind: np.argsort(of, kind="stable") for kind, of in item_of.items()}

    def __len__(self) -> int:
        return -(-self.items // self.size)

    def count(self, batches: Iterable[int]) -> int:
        """Items in these batches together."""
        return sum(min(self.size, self.items - batch * self.size) for batch in batches)

    def of_rows(self, kind: Kind, rows: np.ndarray) -> np.ndarray:
        """The batches, ascending, that rows of a shard come from; `rows` are numbers, or a mask of all."""
        return np.unique(self._item_of[kind][rows] // self.size)

    def rows(self, kind: Kind, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows [n] of a shard that come from a batch, ascending, and the item [n] of each within the batch."""
        of, order = self._item_of[kind], self._order[kind]
        start, end = np.searchsorted(of, [batch * self.size, (batch + 1) * self.size], sorter=order)
        rows = np.sort(order[start:end])
        return rows, of[rows] - batch * self.size


class FrameBatches(Batches, torch.utils.data.Dataset):
    """The frames of a tar; one that a video repeats (the same JPEG) is one item. A context manager.

    `frames[batch]` is what the encoder is given, on the CPU; or the UserError that came up, for it shall cross the
    borders of processes. Raises UserError when tar and status table are of different runs.
    """

    def __init__(self, tar: Path, status: Path, encoder: Encoder, batch_size: int):
        self.tar = Path(tar)
        self._preprocess = encoder.preprocess
        self._shard = FrameShard(tar)
        try:
            videos = np.array(sorted(self._shard.videos), dtype=np.int64)
            self.keys = Keys(videos)
            self.lengths = np.array([len(self._shard.places(video)) for video in videos], dtype=np.int64)
            _check(self.tar, self.keys, self.lengths, status)
            places = [place for video in videos.tolist() for place in self._shard.places(video)]
            self._places = np.array(places, dtype=np.int64).reshape(-1, 2)
            item_of, self._first_row = self._distinct()
            super().__init__(len(self._first_row), batch_size, {"video": item_of, "token": item_of})
            made = self.tar.stat()  # a digest of its bytes would read all of them before the first batch
            self.source = f"{made.st_size} bytes of {made.st_mtime_ns}, {self.size} a batch"
        except BaseException:
            self._shard.close()
            raise

    def __getitem__(self, batch: int) -> dict[str, Tensor] | UserError:
        try:
            rows = self._first_row[batch * self.size : (batch + 1) * self.size]
            found = self._preprocess([self._image(row) for row in rows])
        except UserError as error:
            return error
        short = self.size - len(rows)
        return {
            name: torch.cat([value, value[-1:].expand(short, *value.shape[1:])]) if short else value
            for name, value in found.items()
        }

    def probe(self) -> dict[str, Tensor]:
        """A batch of one black frame, as large as the first one, to see what becomes of it."""
        size = self._image(0).size if self.items else (256, 256)
        return self._preprocess([Image.new("RGB", size)])

    def __enter__(self) -> "FrameBatches":
        return self

    def __exit__(self, *_) -> None:
        self._shard.close()

    def _image(self, row: int) -> Image.Image:
        try:
            return Image.open(io.BytesIO(self._jpeg(row))).convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises
            key = int(np.searchsorted(np.cumsum(self.lengths), row, side="right"))
            raise UserError(
                f"{self.tar}: a frame of video {self.keys.videos[key]} is no picture ({error});"
                " run extract_frames again"
            ) from None

    def _jpeg(self, row: int) -> bytes:
        start, size = self._places[row]
        return self._shard.read(int(start), int(size))

    def _distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """[rows] the item of each frame, and [items] the first frame of each item."""
        item_of, first_row = np.empty(len(self._places), dtype=np.int64), []
        sizes = self._places[:, 1].tolist()
        for start, end in itertools.pairwise([0, *np.cumsum(self.lengths).tolist()]):
            seen: dict[int | bytes, int] = {}
            of_size = Counter(sizes[start:end])
            for row in range(start, end):
                alone = of_size[sizes[row]] == 1  # no other frame can be the same
                item_of[row] = seen.setdefault(row if alone else self._jpeg(row), len(first_row))
                if item_of[row] == len(first_row):
                    first_row.append(row)
        return item_of, np.array(first_row, dtype=np.int64)


class CaptionBatches(Batches):
    """The captions of a corpus shard, tokenized."""

    def __init__(self, captions: pa.Table, encoder: Encoder, batch_size: int):
        """`captions`: columns video, caption and text, in the order of the corpus."""
        texts = captions["text"].to_pylist()
        self.keys = Keys(captions["video"].to_numpy(), captions["caption"].to_numpy())
        count, size = len(texts), max(1, min(batch_size, len(texts)))
        filled = texts + texts[-1:] * (-count % size)
        # by batches: together, all would be as long as the longest
        self._tokens = [encoder.tokenize(filled[i : i + size]) for i in range(0, count, size)]
        none = np.empty(0, dtype=np.int64)
        self.lengths = np.concatenate([none, *(tokens.lengths for tokens in self._tokens)])[:count]
        self.cut = int(np.concatenate([none, *(tokens.cut for tokens in self._tokens)])[:count].sum())
        items = np.arange(count)
        super().__init__(count, batch_size, {"text": np.repeat(items, self.lengths), "sentence": items})
        self.source = text_digest([str(self.size), *texts])

    def rows(self, kind: Kind, batch: int) -> tuple[np.ndarray, np.ndarray]:
        rows, items = super().rows(kind, batch)
        return (rows, np.arange(len(rows))) if kind == "text" else (rows, items)  # word after word

    def __getitem__(self, batch: int) -> Tokens:
        return self._tokens[batch]


def _check(tar: Path, keys: Keys, lengths: np.ndarray, status: Path) -> None:
    """Every video has as many frames as its status row has timestamps; UserError names the first that has not."""
    table = read_columns(status, ["index", "outcome", "timestamps"], "extract_frames")
    told = pc.if_else(pc.equal(table["outcome"], "ok"), pc.list_value_length(table["timestamps"]), 0)
    videos, expected = table["index"].to_numpy(), told.to_numpy()
    at = keys.rows(videos)
    found = np.where(at >= 0, np.append(lengths, 0)[at], 0)
    if (wrong := found != expected).any():
        row = int(np.argmax(wrong))
        raise _mismatch(tar, videos[row], found[row], f"its status says {expected[row]}")
    if (strange := ~np.isin(keys.videos, videos)).any():
        row = int(np.argmax(strange))
        raise _mismatch(tar, keys.videos[row], lengths[row], "there is no status")


def _mismatch(tar: Path, video: int, found: int, told: str) -> UserError:
    return UserError(
        f"{tar}: {found} frames of video {video} where {told};"
        " tar and status are of different runs: run extract_frames again"
    )
