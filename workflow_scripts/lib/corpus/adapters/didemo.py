"""The `didemo` format: DiDeMo, a JSON array with a description each.

`{"description": "the baby is first shown.", "times": [[1, 1], [1, 1], [1, 2]], "num_segments": 6,
"video": "39727414@N00_3622114091_452b89919c.3gp", ...}`: `times` are first and last 5-second segment, by several
annotators. The moment is what most of them say, of equals the first: `[1, 2]` is 5 s to 15 s. The video's last segment
may be shorter than 5 s, so its moments may end a little behind the video, and durations are not told. `video` is the
name of the file, and the video's id. The rows of a video are scattered; videos come in the order in which they are first
there. Further keys are ignored. There is no split in the file: give one file a split.

A row without `times` is a `no_time`; a segment that is no whole number from 0 on, or not below `num_segments`, is a
`bad_row`. The line of a problem is the place of the row in the file, from 1.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from workflow_scripts.lib.config_types import Text
from workflow_scripts.lib.corpus.adapters._grouping import group_by_video
from workflow_scripts.lib.corpus.adapters._json import as_list, json_rows, needed, short, text
from workflow_scripts.lib.corpus.adapters._patterns import PathOptions, PathPattern
from workflow_scripts.lib.corpus.annotations import Adapter, AnnotatedVideo, Caption, Problem

SEGMENT_S = 5.0


class Options(PathOptions):
    video_path: Text = "{video}"
    """Path of a video under `corpus.root`. Fields: `video`, `stem` (the same without its ending, as in `{stem}.mp4`)."""


def read_didemo(path: Path, options: Options) -> Iterator[AnnotatedVideo | Problem]:
    """Videos of the file and the rows that are none. UserError when the file is no JSON."""
    pattern = PathPattern(options.video_path, ["video", "stem"], path)

    def video(row: dict, line: int) -> AnnotatedVideo | Problem:
        video, description = needed(row, "video"), text(row, "description") or ""
        if not row.get("times"):
            return Problem(line, "no_time", f"no `times` for the description {description!r} of {video!r}")
        first, last = _agreed(row)
        return AnnotatedVideo(
            pattern({"video": video, "stem": PurePosixPath(video).stem}),
            line,
            [Caption(description, line, start_s=SEGMENT_S * first, end_s=SEGMENT_S * (last + 1))],
            id=video,
        )

    return group_by_video(json_rows(path, video))


def _agreed(row: dict) -> tuple[int, int]:
    """First and last segment that most annotators name, of equals the first; ValueError when they are none."""
    segments = row.get("num_segments")
    for times in as_list(row["times"], "`times`"):
        if not (isinstance(times, list) and len(times) == 2 and all(type(each) is int for each in times)):
            raise ValueError(f"`times` are pairs of segments; found {short(times)}")
        first, last = times
        if not 0 <= first <= last or (type(segments) is int and last >= segments):
            raise ValueError(
                f"`times` {short(times)} are not among {short(segments)} segments, counted from 0"
            )
    # Counter keeps the order of first appearance among equals
    return Counter(map(tuple, row["times"])).most_common(1)[0][0]


ADAPTER = Adapter("didemo", read_didemo, Options, counts="entry")
