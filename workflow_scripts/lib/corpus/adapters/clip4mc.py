"""The `clip4mc` format: CLIP4MC, pairs of a clip of a Minecraft video and what is said in it.

A JSON array or JSON lines (read line by line, however many) of `{"vid": "<youtube id>", "transcript clip": "place a torch",
"begin position": 12.0, "end position": 28.0, "size": [0.1, 0.2]}`. Every row is a video: the clip between the two
positions, in seconds, of the file of `vid`, with the transcript (`transcript clip`, or `transcript`) as its caption. A
row with `clip_path` is a clip that is cut already: that path under `corpus.root` is its file, all of it. The id
is `{vid}_{begin}_{end}` (the clip's path, where a cut clip has no positions); the source is `vid`, so that all clips of
a video stay in one split. `size` and further keys are ignored.

A row without both positions and without `clip_path` is a `no_time`, one without `vid` or transcript a `bad_row`.
"""

from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.lib.config_types import Text
from workflow_scripts.lib.corpus.adapters._json import json_rows, needed, text
from workflow_scripts.lib.corpus.adapters._patterns import PathOptions, PathPattern
from workflow_scripts.lib.corpus.annotations import Adapter, AnnotatedVideo, Caption, Problem, seconds

TRANSCRIPTS = ("transcript clip", "transcript")


class Options(PathOptions):
    video_path: Text = "{vid}.*"
    """Path of a source video under `corpus.root`, for rows without `clip_path`. Fields: `vid`."""


def read_clip4mc(path: Path, options: Options) -> Iterator[AnnotatedVideo | Problem]:
    """A video for every row, and the rows that are none. UserError when the file is no JSON."""
    pattern = PathPattern(options.video_path, ["vid"], path)

    def video(row: dict, line: int) -> AnnotatedVideo | Problem:
        vid, clip_path = needed(row, "vid"), text(row, "clip_path")
        transcript = next((key for key in TRANSCRIPTS if row.get(key) is not None), None)
        if transcript is None:
            raise ValueError(f"no `transcript clip` and no `transcript`; found the keys: {', '.join(row)}")
        begin, end = seconds(row.get("begin position")), seconds(row.get("end position"))
        timed = begin is not None and end is not None
        if not timed and clip_path is None:
            return Problem(line, "no_time", f"no begin and end position of a clip of {vid!r}")
        return AnnotatedVideo(
            clip_path or pattern({"vid": vid}),
            line,
            [Caption(text(row, transcript) or "", line)],
            start_s=None if clip_path else begin,
            end_s=None if clip_path else end,
            id=f"{vid}_{begin}_{end}" if timed else clip_path,
            source=vid,
        )

    return json_rows(path, video)


ADAPTER = Adapter("clip4mc", read_clip4mc, Options)
