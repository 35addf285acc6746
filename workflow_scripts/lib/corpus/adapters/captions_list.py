"""The `captions_list` format: videos with their captions, as MSVD, Panda-70M and preparations of MSR-VTT have them.

A JSON array, or JSON lines, of `{"video": "video7010.mp4", "caption": ["a tutorial", "a screencast"]}`. The file may be
under `id` in place of `video` (`{"id": "x.avi", "caption": [...]}`), and the caption may be one text. The video's id is
that name without its ending. There is no split in the file: give one file a split. An array is read as a whole, JSON
lines are read line by line: write millions of rows in that form.

A row without `video` and `id`, without `caption`, or with a value of another type is a `bad_row`. The line of a problem
is the place of the row in the array, or its line, from 1.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from workflow_scripts.lib.config_types import Text
from workflow_scripts.lib.corpus.adapters._json import json_rows, needed, text, texts
from workflow_scripts.lib.corpus.adapters._patterns import PathOptions, PathPattern
from workflow_scripts.lib.corpus.annotations import Adapter, AnnotatedVideo, Caption, Problem


class CaptionsListOptions(PathOptions):
    video_path: Text = "{video}"
    """Path of a video under `corpus.root`. Fields: `video`, the name in the row, and `stem`, it without its ending."""


def read_captions_list(path: Path, options: CaptionsListOptions) -> Iterator[AnnotatedVideo | Problem]:
    """A video for every row. UserError when the file cannot be opened, or is an array that is no JSON."""
    place = PathPattern(options.video_path, ["video", "stem"], path)

    def video(row: dict, number: int) -> AnnotatedVideo:
        name = text(row, "video") or needed(row, "id", text)
        if row.get("caption") is None:
            raise ValueError(f"no `caption`; found the keys: {', '.join(row)}")
        stem = str(PurePosixPath(name).with_suffix(""))
        captions = [Caption(caption, number) for caption in texts(row, "caption")]
        return AnnotatedVideo(place({"video": name, "stem": stem}), number, captions, id=stem)

    return json_rows(path, video)


ADAPTER = Adapter("captions_list", read_captions_list, CaptionsListOptions, counts="entry")
