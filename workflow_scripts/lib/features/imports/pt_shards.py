"""The `webvid_pt` format: CLIP features of WebVid as torch files, `{train,val,test}_{text,video,index}_<part>.pt`.

The files of one split and part belong together. `text` holds `[N, D]`, an embedding a text; `video` holds `[N, F, D]`,
F frames a video; and an `index`, if there is one, `[M, 2 or more]`, a pair a row: row of the text, row of the video
(further columns are ignored). Without an index, row i of the text belongs to row i of the video. Or text and video are
`{id: tensor}`, `[D]` (or `[1, D]`) and `[F, D]` each, and belong together by their ids.

Rows have no ids, so a video gets `<split>_<part>_<row>`.
"""

import pickle
import re
import zipfile
from collections.abc import Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workflow_scripts.lib.corpus.tables import SPLITS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.imports.caption_texts import CaptionTexts
from workflow_scripts.lib.features.imports.sources import files_below
from workflow_scripts.lib.features.imports.videos import ImportedCaption, ImportedVideo, NotTaken

FILE = re.compile(r"(train|val|test)_(text|video|index)_(.+)\.pt")
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
IN_NUMPY = (torch.float16, torch.float32, torch.float64)  # bfloat16, for one, is not


@dataclass
class Part:
    """The files of one split and number, by what they hold."""

    split: str
    name: str
    files: dict[str, Path] = field(default_factory=dict)


class PtShards:
    """A folder of such files, with the texts of the captions in a CSV beside it, or nowhere."""

    sentences = True

    def __init__(self, folder: Path, captions: Path | None):
        """UserError when no file has such a name, or the CSV cannot be read."""
        self.folder, self.csv = Path(folder), captions
        self.files = files_below(self.folder, "*.pt")
        if not any(FILE.fullmatch(file.name) for file in self.files):
            raise UserError(
                f"{folder}: no file like train_text_0.pt and train_video_0.pt here; give the folder that holds them"
            )
        self._texts = CaptionTexts(captions)

    def videos(self, not_taken: NotTaken) -> Iterator[ImportedVideo]:
        """The videos of all parts, split after split, each part mapped into memory while it is read.

        UserError when a file is no torch file of tensors alone, or the CSV knows none of the videos.
        """
        first_id = None
        for part in _parts(self.files, not_taken):
            for video in _videos_of(part, not_taken):
                first_id = first_id or video.id
                # The CSV tells one caption a video: nobody knows which of several it would be.
                if len(video.captions) == 1:
                    video.captions[0].text = self._texts(video.id)
                yield video
        if self.csv and first_id and not self._texts.found:
            raise UserError(
                f"{self.csv}: holds the id of no imported video; the first of them is {first_id!r}"
            )

    def close(self) -> None:
        self._texts.close()


def _videos_of(part: Part, not_taken: NotTaken) -> Iterator[ImportedVideo]:
    texts, videos = (_load(part.files[kind]) if kind in part.files else None for kind in ("text", "video"))
    if isinstance(texts, dict) and isinstance(videos, dict):
        yield from _by_ids(part, texts, videos, not_taken)
    elif isinstance(texts, Tensor) and isinstance(videos, Tensor):
        yield from _by_rows(part, texts, videos, not_taken)
    else:
        missing = texts is None or videos is None
        what = "its counterpart is not there" if missing else "one file has ids, and the other rows"
        _all_of(part, texts, videos, what, not_taken)


def _parts(files: list[Path], not_taken: NotTaken) -> list[Part]:
    """In the order train, val, test, and by their numbers."""
    parts: dict[tuple[str, str], Part] = {}
    for file in files:
        if found := FILE.fullmatch(file.name):
            split, kind, name = found.groups()
            parts.setdefault((split, name), Part(split, name)).files[kind] = file
        else:
            what = "the name is not `{train,val,test}_{text,video,index}_<part>.pt`"
            not_taken("unknown_file", file, "file", what)
    return sorted(parts.values(), key=lambda part: (SPLITS.index(part.split), _numbered(part.name)))


def _numbered(name: str) -> list[str | int]:
    """`10` comes behind `9`."""
    return [int(piece) if i % 2 else piece for i, piece in enumerate(re.split(r"(\d+)", name))]


def _load(file: Path) -> Tensor | dict[str, Tensor]:
    """A tensor, or tensors by their ids; nothing in the file is executed, and values are read when they are used."""
    try:
        # Files of torch before 1.6 are no zip archives, and cannot be mapped.
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        named = f" ({found[1]})" if found else ""
        raise UserError(
            f"{file}: holds something other than tensors{named}, which may be code and is not loaded; "
            "save it again as a tensor, or as {id: tensor}"
        ) from None
    except Exception as error:  # bytes of any kind make the unpickler fail in any way
        reason = f"{type(error).__name__} {error}".partition("\n")[0]
        raise UserError(f"{file}: cannot be read as a torch file ({reason}); get or make it again") from None
    if isinstance(content, Tensor) and content.ndim > 0:
        return content.detach()
    if isinstance(content, dict):
        by_id = {str(key): value for key, value in content.items()}
        if len(by_id) == len(content):
            return by_id
    raise UserError(f"{file}: a tensor or {{id: tensor}} is expected, found {type(content).__name__}")


def _by_ids(
    part: Part, texts: dict[str, Tensor], videos: dict[str, Tensor], not_taken: NotTaken
) -> Iterator[ImportedVideo]:
    """Videos and texts of one id."""
    text_file, video_file = part.files["text"], part.files["video"]
    if "index" in part.files:
        what = "an index pairs rows, but the files of this part have ids, and these are used"
        not_taken("bad_index", part.files["index"], "file", what)
    for id_ in texts:
        if id_ not in videos:
            not_taken("text_without_video", text_file, id_, f"no such id in {video_file.name}")
    for id_, video in videos.items():
        if id_ not in texts:
            not_taken("video_without_text", video_file, id_, f"no such id in {text_file.name}")
            continue
        caption = ImportedCaption(id_, _sentence(texts[id_]), "")
        yield ImportedVideo(id_, part.split, _array(video), video_file, [caption], text_file)


def _by_rows(part: Part, texts: Tensor, videos: Tensor, not_taken: NotTaken) -> Iterator[ImportedVideo]:
    """Videos and texts that the index pairs, or that are in the same row, in the order of the videos."""
    try:
        texts_of = _pairs(part, texts, videos, not_taken)
    except ValueError as error:
        _all_of(part, texts, videos, str(error), not_taken)
        return
    paired = {row for rows in texts_of.values() for row in rows}
    for row in range(len(texts)):
        if row not in paired:
            not_taken("text_without_video", part.files["text"], f"row {row}", "not in the index")
    for row in range(len(videos)):
        if row not in texts_of:
            not_taken("video_without_text", part.files["video"], f"row {row}", "not in the index")
            continue
        captions = [ImportedCaption(f"row {text}", _sentence(texts[text]), "") for text in texts_of[row]]
        id_ = f"{part.split}_{part.name}_{row}"
        yield ImportedVideo(
            id_, part.split, _array(videos[row]), part.files["video"], captions, part.files["text"]
        )


def _pairs(part: Part, texts: Tensor, videos: Tensor, not_taken: NotTaken) -> dict[int, dict[int, None]]:
    """The rows of texts, in order, by the row of their video. ValueError when nobody can say what belongs together."""
    if (file := part.files.get("index")) is None:
        if len(texts) != len(videos):
            raise ValueError(f"{len(texts)} texts and {len(videos)} videos, and no index that pairs them")
        return {row: {row: None} for row in range(len(videos))}
    index = _load(file)
    if not isinstance(index, Tensor) or index.ndim != 2 or index.shape[1] < 2 or index.dtype not in INTEGERS:
        raise ValueError(f"{file.name} does not hold whole numbers [M, 2 or more], and so pairs nothing")
    texts_of: dict[int, dict[int, None]] = {}
    for number, (text, video) in enumerate(index[:, :2].tolist()):
        if not (0 <= text < len(texts) and 0 <= video < len(videos)):
            what = f"text {text} and video {video}, of {len(texts)} texts and {len(videos)} videos"
            not_taken("bad_index", file, f"row {number}", what)
        elif text in texts_of.setdefault(video, {}):
            what = f"text {text} and video {video} were paired before"
            not_taken("bad_index", file, f"row {number}", what)
        else:
            texts_of[video][text] = None
    return texts_of


def _all_of(part: Part, texts: Sized | None, videos: Sized | None, what: str, not_taken: NotTaken) -> None:
    """Nothing of a part can be taken."""
    if texts is not None:
        not_taken("text_without_video", part.files["text"], "all", what, len(texts))
    if videos is not None:
        not_taken("video_without_text", part.files["video"], "all", what, len(videos))
    if texts is None and videos is None:
        not_taken("bad_index", part.files["index"], "all", "no text and no video file for it")


def _sentence(value: object) -> np.ndarray | None:
    """The same, [D] as [1, D]."""
    array = _array(value)
    return array[None] if array is not None and array.ndim == 1 else array


def _array(value: object) -> np.ndarray | None:
    """A tensor as an array; None when it is no tensor of floating-point numbers."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.layout != torch.strided:
        return None
    if value.dtype not in IN_NUMPY:
        value = value.float()
    return value.detach().numpy()
