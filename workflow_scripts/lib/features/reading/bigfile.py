"""The original GMMFormer's frame features, a BigFile: one matrix of all frames, and texts that say whose they are.

| file | content |
|---|---|
| `shape.txt` | first line `N D` |
| `id.txt` | N frame ids, separated by whitespace; row i of the matrix is of id i |
| `feature.bin` | [N, D] little-endian float32, row by row |
| `video2frames.txt` | a Python dict literal, video id -> list of frame ids |

Both texts are UTF-8 or, where they are not, ISO-8859-1 (as which the original reads every `id.txt`): Korean ids come out
right, and no id of the original's is lost, since ISO-8859-1 with letters beyond ASCII is hardly ever valid UTF-8.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.index import memory_map
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.reading.mapped import refuse_not_finite

SHAPE, IDS, MATRIX, VIDEOS = "shape.txt", "id.txt", "feature.bin", "video2frames.txt"
NUMBER = np.dtype("<f4")
TOGETHER = 100_000  # frame ids that are Python objects at a time

_STRING = r"""[uU]?+(?:'[^'\\\n]*+(?:\\.[^'\\\n]*+)*+'|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+")"""
_LIST = rf"\[\s*+(?:{_STRING}\s*+,\s*+)*+(?:{_STRING}\s*+)?+\]"
_ENTRY = re.compile(rf"\s*+({_STRING})\s*+:\s*+({_LIST})\s*+([,}}])", re.DOTALL)


def is_bigfile(folder: Path) -> bool:
    """Whether a folder is meant as one; what is missing is told when it is opened."""
    return any((folder / name).is_file() for name in (SHAPE, MATRIX))


class BigFile:
    """The videos of a BigFile: `keys`, and `array(row)` [T, D] float32 of each, mapped from the disk.

    Frames that lie one behind the other are a view; others are gathered. Neither can be written to.
    UserError: a file that is missing, a matrix of another size than `shape.txt` says, a frame id that is not in
    `id.txt`, ids that are there twice, a text that cannot be understood.
    """

    encoder = digest = None

    def __init__(self, folder: Path):
        self.file = Path(folder)
        rows, width = self._shape()
        names, lengths, frames = self._videos()
        place = self._places(rows, names, lengths, frames)
        try:
            self.keys, order = Keys.of(names)
        except UnicodeEncodeError as error:
            raise UserError(f"{self.file / VIDEOS}: the video id {error.object!r} is no text") from None
        if (row := self.keys.duplicate()) is not None:
            raise UserError(
                f"{self.file / VIDEOS}: video {self.keys.key(row)} is there twice; give each video one list of frames"
            )
        self.tail, self.dtype = (width,), NUMBER
        self._rows = place
        self._first = (np.cumsum(lengths) - lengths)[order]
        self._lengths = lengths[order]
        # how many frames up to here do not follow the one before: the same for all of a video in one run
        self._breaks = np.cumsum(np.diff(place, prepend=0) != 1)
        matrix = memory_map(self.file / MATRIX) if rows * width else b""
        self._matrix = np.ndarray((rows, width), NUMBER, matrix)

    def array(self, row: int) -> np.ndarray:
        """[T, D] of a row of `keys`; UserError names a video with values that are not finite."""
        array = self.unchecked(row)
        refuse_not_finite(self.file / MATRIX, self.keys.key(row), array)
        return array

    def unchecked(self, row: int) -> np.ndarray:
        """The same, whatever its values are."""
        first, length = self._first.item(row), self._lengths.item(row)
        rows = self._rows[first : first + length]
        if length and self._breaks.item(first) == self._breaks.item(first + length - 1):
            start = rows.item(0)
            return self._matrix[start : start + length]
        array = self._matrix[rows]
        array.flags.writeable = False
        return array

    def _shape(self) -> tuple[int, int]:
        file, matrix = self.file / SHAPE, self.file / MATRIX
        line = _read(file).partition("\n")[0]
        if not re.fullmatch(r"\s*\d{1,18}\s+\d{1,9}\s*", line, re.ASCII):
            raise UserError(
                f"{file}: the first line is {line[:80]!r}; rows and width are expected, like `1000 512`"
            )
        rows, width = map(int, line.split())
        if not matrix.is_file():
            raise UserError(
                f"{matrix}: there is no such file; a BigFile has {SHAPE}, {IDS}, {MATRIX} and {VIDEOS}"
            )
        size, wanted = matrix.stat().st_size, rows * width * NUMBER.itemsize
        if size != wanted:
            raise UserError(
                f"{matrix}: has {size} bytes, but {file} says {rows} rows of {width} float32, which are {wanted};"
                " get the files again"
            )
        return rows, width

    def _ids(self, rows: int) -> pa.Array:
        """The id of every row of the matrix."""
        file = self.file / IDS
        text = pa.array([_read(file)], pa.large_string())
        ids = pc.list_flatten(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(text)))
        ids = ids.filter(pc.not_equal(ids, ""))
        if len(ids) != rows:
            raise UserError(
                f"{file}: has {len(ids)} frame ids, but {SHAPE} says {rows} rows; get the files again"
            )
        if len(pc.unique(ids)) != len(ids):
            counts = pc.value_counts(ids)
            twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"].as_py()
            raise UserError(
                f"{file}: frame id {twice} is there twice, so its row is not known; get the files again"
            )
        return ids

    def _videos(self) -> tuple[list[str], np.ndarray, pa.ChunkedArray]:
        """Video ids, their numbers of frames, and all frame ids, one video after another."""
        file = self.file / VIDEOS
        names, lengths, chunks, waiting = [], [], [], []
        try:
            for name, frames in _entries(file):
                names.append(name)
                lengths.append(len(frames))
                waiting += frames
                if len(waiting) >= TOGETHER:
                    chunks.append(pa.array(waiting, pa.large_string()))
                    waiting = []
            chunks.append(pa.array(waiting, pa.large_string()))
        except UnicodeEncodeError as error:
            raise UserError(f"{file}: the frame id {error.object!r} is no text, and not in {IDS}") from None
        return names, np.array(lengths, dtype=np.int64), pa.chunked_array(chunks)

    def _places(
        self, rows: int, names: list[str], lengths: np.ndarray, frames: pa.ChunkedArray
    ) -> np.ndarray:
        """[frames] the row of each frame in the matrix."""
        found = pc.index_in(frames, value_set=self._ids(rows)).combine_chunks()
        if found.null_count:
            first = pc.index(found.is_null(), True).as_py()
            video = names[int(np.searchsorted(np.cumsum(lengths), first, side="right"))]
            raise UserError(
                f"{self.file / VIDEOS}: frame {frames[first].as_py()} of video {video} is not in {self.file / IDS};"
                " get the files again"
            )
        rows_of_frames = found.to_numpy()
        pa.default_memory_pool().release_unused()  # of the texts: several times what is kept
        return rows_of_frames


def _read(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}); a BigFile has {SHAPE}, {IDS}, {MATRIX} and {VIDEOS}"
        ) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("iso-8859-1")


def _entries(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Videos and their frames; of Python, nothing but a dict of lists of texts is understood, and nothing executed."""
    text = _read(file)
    start = re.match(r"\s*\{", text)
    at, last = (start.end(), ",") if start else (0, "")
    while last == "," and (entry := _ENTRY.match(text, at)):
        [name] = _strings(file, f"[{entry[1]}]")
        yield name, _strings(file, entry[2])
        at, last = entry.end(), entry[3]
    if last == ",":  # of an empty dict, or behind the last entry
        end = re.compile(r"\s*\}").match(text, at)
        at, last = (end.end(), "}") if end else (at, last)
    if last != "}" or text[at:].strip():
        found = repr(text[at:].strip()[:60]) if text[at:].strip() else "its end"
        raise UserError(
            f"{file}: at character {at} comes {found}; a dict `{{'video': ['frame', ...], ...}}` of texts is expected"
        )


def _strings(file: Path, source: str) -> list[str]:
    """The texts of a Python list; `ast.literal_eval` needs five times as long, and is asked about escapes alone."""
    if "\\" not in source:
        return [text[2:-1] if text[0] in "uU" else text[1:-1] for text in re.findall(_STRING, source)]
    try:
        return ast.literal_eval(source)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{file}: cannot understand {source[:60]!r} ({error})") from None
