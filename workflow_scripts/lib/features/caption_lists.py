"""The captions of the videos that have features, by split: as caption files, and as tables for data sets.

`captions_<split>.arrow` is an Arrow IPC file, ascending by video and caption, with the columns

    video     int64                        index of the video in the corpus
    caption   int32                        position among the video's captions
    language  dictionary of int16, string
    text      large_string                 as in the corpus: of any length, line breaks and all

in a single record batch, so that each column, mapped into memory, is one array, however many rows there are.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, DTypeLike

from workflow_scripts.lib.corpus.tables import SPLITS
from workflow_scripts.lib.features.corpus_rows import corpus_rows
from workflow_scripts.lib.features.index import read_index
from workflow_scripts.lib.features.layout import FOLDERS, shard_path
from workflow_scripts.lib.files import whole_file

TABLE = pa.schema(
    [
        pa.field("video", pa.int64(), nullable=False),
        pa.field("caption", pa.int32(), nullable=False),
        pa.field("language", pa.dictionary(pa.int16(), pa.string()), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
    ]
)

# Of the columns in the making; a text ends where `end` says, in bytes.
DTYPES = {"video": np.int64, "caption": np.int32, "language": np.int16, "end": np.int64, "text": np.uint8}


def caption_table(root: Path, split: str) -> Path:
    """The table of a split."""
    return Path(root) / f"captions_{split}.arrow"


def list_captions(root: Path, corpus: Path, name: str, shards: int) -> dict[str, int]:
    """Write `captions_<split>.arrow` and `TextData/<name><split>.caption.txt` below `root`; gives the counts by split.

    A caption file has a line a caption, `<key> <text>`, white space in the text made single blanks. Captions of videos
    without features are left out, and counted in the log.
    """
    left_out = 0
    with ExitStack() as stack:
        lists = [stack.enter_context(_caption_list(Path(root), name, split)) for split in SPLITS]
        for shard, rows in enumerate(corpus_rows(corpus, "text", shards, ("key", "language", "text"))):
            videos = read_index(shard_path(root, "video", shard)).keys
            has_features = videos.rows(rows.keys.videos) >= 0
            left_out += int((~has_features).sum())
            for code, its_list in enumerate(lists):
                for batch in rows.table.filter(pa.array(has_features & (rows.splits == code))).to_batches():
                    its_list.add(batch)
    if left_out:
        print(f"{left_out} captions of videos without features are left out", flush=True)
    return {split: its_list.count for split, its_list in zip(SPLITS, lists, strict=True)}


@contextmanager
def _caption_list(root: Path, name: str, split: str) -> Iterator["_CaptionList"]:
    """The two files of a split, both of them written when the block succeeds."""
    with ExitStack() as stack:
        table = stack.enter_context(whole_file(caption_table(root, split)))
        text = stack.enter_context(whole_file(root / FOLDERS["text"] / f"{name}{split}.caption.txt"))
        lines = stack.enter_context(text.open("wb"))
        columns = {name: stack.enter_context(tempfile.TemporaryFile(dir=root)) for name in DTYPES}
        its_list = _CaptionList(lines, columns)
        yield its_list
        with pa.ipc.new_file(str(table), TABLE) as writer:
            writer.write_batch(its_list.batch())


class _CaptionList:
    """A caption file as it is written, and the columns of the table, which grow in unnamed files until it is whole."""

    def __init__(self, lines: BinaryIO, columns: dict[str, BinaryIO]):
        self.lines, self.columns = lines, columns
        self.count = self._bytes = 0
        self._languages: dict[str, int] = {}
        self._append("end", [0])

    def add(self, rows: pa.RecordBatch) -> None:
        """Rows of the corpus's table, behind those before."""
        self._append("video", rows["video"])
        self._append("caption", rows["caption"])
        self._append("language", self._codes(rows["language"]))
        ends, data = _buffers(rows["text"])
        self._append("end", ends + self._bytes)
        self.columns["text"].write(data)
        self.lines.write(_lines(rows["key"], rows["text"]))
        self._bytes += len(data)
        self.count += len(rows)

    def batch(self) -> pa.RecordBatch:
        """All rows, mapped and not in memory."""
        maps = {name: _mapped(file, DTYPES[name]) for name, file in self.columns.items()}
        columns = [
            pa.array(maps["video"]),
            pa.array(maps["caption"]),
            pa.DictionaryArray.from_arrays(maps["language"], pa.array(list(self._languages), pa.string())),
            pa.LargeStringArray.from_buffers(
                self.count, pa.py_buffer(maps["end"]), pa.py_buffer(maps["text"])
            ),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=TABLE)

    def _codes(self, languages: pa.Array) -> np.ndarray:
        encoded = languages.dictionary_encode()
        for name in encoded.dictionary.to_pylist():
            self._languages.setdefault(name, len(self._languages))
        codes = [self._languages[name] for name in encoded.dictionary.to_pylist()]
        return np.array(codes)[encoded.indices]

    def _append(self, name: str, values: ArrayLike) -> None:
        self.columns[name].write(np.ascontiguousarray(values, dtype=DTYPES[name]))


def _lines(keys: pa.StringArray, texts: pa.StringArray) -> pa.Buffer:
    """Lines of a caption file, for many captions at once; blanks are what Unicode calls so."""
    words = pc.utf8_trim_whitespace(pc.binary_join(pc.utf8_split_whitespace(texts), " "))
    return _buffers(pc.binary_join_element_wise(keys, " ", words, "\n", ""))[1]


def _buffers(texts: pa.StringArray) -> tuple[np.ndarray, pa.Buffer]:
    """Where each text ends, and all of them, one after the other."""
    _, offsets, data = texts.buffers()
    offsets = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    return offsets[1:] - offsets[0], data[offsets[0] : offsets[-1]]


def _mapped(file: BinaryIO, dtype: DTypeLike) -> np.ndarray:
    file.flush()
    return np.memmap(file, dtype, "r") if file.tell() else np.empty(0, dtype)  # nothing cannot be mapped
