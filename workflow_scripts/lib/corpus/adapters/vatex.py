"""The `vatex` format: VATEX, a JSON array with ten English and, in most of its files, ten Chinese captions a clip.

Rows are `{"videoID": "5-xGskbsBgI_000055_000065", "enCap": [...], "chCap": [...]}`; either list may be absent. The id
of a clip is its `videoID`, its source the YouTube id in it: what comes before the last two underscores, whatever dashes
and underscores it holds itself. Captions under `enCap` are of language `en`, those under `chCap` of `zh`. The option
`languages` says which of them are read: give those that are in `corpus.languages`, since a caption in another language
is a problem there. There is no split in the file: give one file a split.

The file of a clip is `{videoID}` with any ending unless `video_path` tells another place. Where the files are whole
YouTube videos, set `cut: false`: the file is then `{youtube}` with any ending, and the clip's start and end in it are
the two numbers of the `videoID`, in seconds.

A row without `videoID`, with one of another form, or with a value of another type is a `bad_row`; one without captions
in these languages is a `no_caption`. The line of a problem is the place of the row in the array, from 1.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from workflow_scripts.lib.config_types import Text
from workflow_scripts.lib.corpus.adapters._json import json_rows, needed, texts
from workflow_scripts.lib.corpus.adapters._patterns import PathOptions, PathPattern
from workflow_scripts.lib.corpus.annotations import Adapter, AnnotatedVideo, Caption, Problem

KEYS = {"en": "enCap", "zh": "chCap"}
VIDEO_ID = re.compile(r"(?P<youtube>.+)_(?P<start>\d+)_(?P<end>\d+)", re.ASCII)


class VatexOptions(PathOptions):
    video_path: Text | None = None
    """Path of a video under `corpus.root`. Fields: `videoID`, `youtube`. Default: `{videoID}.*`, or `{youtube}.*` when
    the files are not cut."""
    languages: Annotated[list[Literal["en", "zh"]], Field(min_length=1)] = ["en", "zh"]  # noqa: RUF012
    """Languages to read: those of them that are in `corpus.languages`."""
    cut: bool = True
    """Whether the files are clips already, and not the whole YouTube videos."""


def read_vatex(path: Path, options: VatexOptions) -> Iterator[AnnotatedVideo | Problem]:
    """A clip for every row. UserError when the file cannot be opened or is no JSON."""
    default = "{videoID}.*" if options.cut else "{youtube}.*"
    place = PathPattern(options.video_path or default, ["videoID", "youtube"], path)

    def video(row: dict, number: int) -> AnnotatedVideo:
        id_ = needed(row, "videoID")
        if not (parts := VIDEO_ID.fullmatch(id_)):
            raise ValueError(f"a videoID is {{youtube}}_{{start}}_{{end}}; found {id_!r}")
        return AnnotatedVideo(
            place({"videoID": id_, "youtube": parts["youtube"]}),
            number,
            [Caption(text, number, lang) for lang in options.languages for text in texts(row, KEYS[lang])],
            start_s=None if options.cut else float(parts["start"]),
            end_s=None if options.cut else float(parts["end"]),
            id=id_,
            source=parts["youtube"],
            duration_s=float(parts["end"]) - float(parts["start"]),
        )

    return json_rows(path, video)


ADAPTER = Adapter("vatex", read_vatex, VatexOptions, counts="entry")
