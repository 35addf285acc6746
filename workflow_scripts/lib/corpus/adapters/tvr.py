"""The `tvr` format: TVR (TV show retrieval), JSON lines with a captioned moment each.

`{"vid_name": "friends_s01e03_seg02_clip_19", "duration": 61.46, "ts": [16.48, 33.87], "desc": "Phoebe sings.", ...}`:
`ts` is the moment in seconds, `desc` its caption, `vid_name` the video's id. The rows of a video are scattered; videos
come in the order in which they are first there. Further keys are ignored. There is no split in the file: give one file a
split.

A row without `vid_name`, as in the public test file, is a `no_video`, and one without `ts` a `no_time`. A row that tells
another duration than an earlier row of its video, or has another form, is a `bad_row`.
"""

from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.lib.config_types import Text
from workflow_scripts.lib.corpus.adapters._grouping import group_by_video
from workflow_scripts.lib.corpus.adapters._json import json_lines, name, text
from workflow_scripts.lib.corpus.adapters._moments import moment
from workflow_scripts.lib.corpus.adapters._patterns import PathOptions, PathPattern
from workflow_scripts.lib.corpus.annotations import Adapter, AnnotatedVideo, Caption, Problem, seconds


class Options(PathOptions):
    video_path: Text = "{vid_name}.mp4"
    """Path of a video under `corpus.root`. Fields: `vid_name`."""


def read_tvr(path: Path, options: Options) -> Iterator[AnnotatedVideo | Problem]:
    """Videos of the file and the lines that are none. UserError when the file cannot be opened."""
    pattern = PathPattern(options.video_path, ["vid_name"], path)

    def video(row: dict, line: int) -> AnnotatedVideo | Problem:
        vid_name, caption = name(row, "vid_name"), text(row, "desc") or ""
        if vid_name is None:
            return Problem(line, "no_video", f"no `vid_name` for the description {caption!r}")
        if row.get("ts") is None:
            return Problem(line, "no_time", f"no `ts` for the description {caption!r} of {vid_name!r}")
        start, end = moment(row["ts"], "`ts`")
        return AnnotatedVideo(
            pattern({"vid_name": vid_name}),
            line,
            [Caption(caption, line, start_s=start, end_s=end)],
            id=vid_name,
            duration_s=seconds(row.get("duration")),
        )

    return group_by_video(json_lines(path, video))


ADAPTER = Adapter("tvr", read_tvr, Options)
