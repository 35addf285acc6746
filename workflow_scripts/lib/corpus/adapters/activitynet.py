"""The `activitynet` format: ActivityNet Captions, one JSON object that holds a video under every key.

`{"v_uqiMw7tQ1Cc": {"duration": 55.15, "timestamps": [[0.28, 55.15]], "sentences": [" A man lifts."]}}`: a
sentence a timestamp, in seconds. The key is the video's id; the file's ending is not told. There is no split in the
file: give one file a split. `val_1.json` and `val_2.json` annotate the same videos, so give one of them.

A video with another number of sentences than of timestamps is a `bad_row`, and so is one with a timestamp that is not
two numbers. The line of a problem is the place of the video in the file, from 1.
"""

from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.lib.config_types import Text
from workflow_scripts.lib.corpus.adapters._moments import keyed_videos, timed_captions
from workflow_scripts.lib.corpus.adapters._patterns import PathOptions, PathPattern
from workflow_scripts.lib.corpus.annotations import Adapter, AnnotatedVideo, Problem, seconds


class Options(PathOptions):
    video_path: Text = "{id}.*"
    """Path of a video under `corpus.root`. Fields: `id` (`v_uqiMw7tQ1Cc`), `youtube` (the same without `v_`)."""


def read_activitynet(path: Path, options: Options) -> Iterator[AnnotatedVideo | Problem]:
    """Videos of the file. UserError when it is not one JSON object."""
    pattern = PathPattern(options.video_path, ["id", "youtube"], path)

    def video(key: str, row: dict, line: int) -> AnnotatedVideo:
        return AnnotatedVideo(
            pattern({"id": key, "youtube": key.removeprefix("v_")}),
            line,
            timed_captions(row, line),
            id=key,
            duration_s=seconds(row.get("duration")),
        )

    return keyed_videos(path, video)


ADAPTER = Adapter("activitynet", read_activitynet, Options, counts="entry")
