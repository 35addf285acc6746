"""The `tacos` format: TACoS, one JSON object that holds a video under every key.

`{"s34-d28.avi": {"timestamps": [[201, 487]], "sentences": ["The person gets out a knife."], "fps": 29.4,
"num_frames": 11800}}`: a sentence a timestamp. Timestamps are numbers of frames, so times are timestamp / `fps`, and the
video's duration is `num_frames` / `fps`. The key is the name of the video's file, and its id. There is no split in the
file: give one file a split.

Annotators of TACoS wrote some sentences for the same moment more than once: each is a `duplicate_caption`, so set
`corpus.on_problem: quarantine`, which keeps the first of them.

A video without a positive `fps`, with another number of sentences than of timestamps, or with a timestamp that is not
two numbers is a `bad_row`. The line of a problem is the place of the video in the file, from 1.
"""

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from workflow_scripts.lib.config_types import Text
from workflow_scripts.lib.corpus.adapters._json import short
from workflow_scripts.lib.corpus.adapters._moments import keyed_videos, timed_captions
from workflow_scripts.lib.corpus.adapters._patterns import PathOptions, PathPattern
from workflow_scripts.lib.corpus.annotations import Adapter, AnnotatedVideo, Problem, seconds


class Options(PathOptions):
    video_path: Text = "{id}"
    """Path of a video under `corpus.root`. Fields: `id` (`s34-d28.avi`), `stem` (`s34-d28`, for another ending)."""


def read_tacos(path: Path, options: Options) -> Iterator[AnnotatedVideo | Problem]:
    """Videos of the file. UserError when it is not one JSON object."""
    pattern = PathPattern(options.video_path, ["id", "stem"], path)

    def video(key: str, row: dict, line: int) -> AnnotatedVideo:
        fps, frames = seconds(row.get("fps")), seconds(row.get("num_frames"))
        if fps is None or not 0 < fps < math.inf:
            raise ValueError(f"`fps` is a number above 0; found {short(row.get('fps'))}")
        return AnnotatedVideo(
            pattern({"id": key, "stem": PurePosixPath(key).stem}),
            line,
            timed_captions(row, line, per_second=fps),
            id=key,
            duration_s=None if frames is None else frames / fps,
        )

    return keyed_videos(path, video)


ADAPTER = Adapter("tacos", read_tacos, Options, counts="entry")
