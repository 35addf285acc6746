"""The `qvhighlights` format: QVHighlights, JSON lines with a query and its moments each.

`{"qid": 2579, "query": "A girl cooks.", "duration": 150, "vid": "NUsG9BgSes0_210.0_360.0",
"relevant_windows": [[82, 150]], ...}`: every window is a caption with the query's text; times are seconds from the
start of the clip. `vid` is `{youtube}_{start}_{end}`, the clip's id; its source is the YouTube video, so that all
clips of one stay in one split. The rows of a clip become one video, in the order in which clips are first there.
Further keys are ignored. There is no split in the file: give one file a split.

A query without `relevant_windows`, as in the test file, is a `no_time`: nobody has told its moment. A row whose
`vid` has another form, whose windows are not pairs of numbers, or that tells another duration than an earlier row of its
clip is a `bad_row`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.lib.config_types import Text
from workflow_scripts.lib.corpus.adapters._grouping import group_by_video
from workflow_scripts.lib.corpus.adapters._json import as_list, json_lines, needed, text
from workflow_scripts.lib.corpus.adapters._moments import moment
from workflow_scripts.lib.corpus.adapters._patterns import PathOptions, PathPattern
from workflow_scripts.lib.corpus.annotations import Adapter, AnnotatedVideo, Caption, Problem, seconds

CLIP = re.compile(r"(?P<youtube>.+)_(?P<start>\d+(\.\d+)?)_(?P<end>\d+(\.\d+)?)")


class Options(PathOptions):
    video_path: Text | None = None
    """Path of a video under `corpus.root`; `{vid}.*` for cut clips, otherwise `{youtube}.*`. Fields: `vid`, `youtube`."""
    cut: bool = True
    """The files are the clips; otherwise they are the YouTube videos that the clips lie in."""


def read_qvhighlights(path: Path, options: Options) -> Iterator[AnnotatedVideo | Problem]:
    """Videos of the file and the lines that are none. UserError when the file cannot be opened."""
    default = "{vid}.*" if options.cut else "{youtube}.*"
    pattern = PathPattern(options.video_path or default, ["vid", "youtube"], path)

    def video(row: dict, line: int) -> AnnotatedVideo | Problem:
        vid, query = needed(row, "vid"), text(row, "query") or ""
        if not (clip := CLIP.fullmatch(vid)):
            raise ValueError(f"`vid` is `youtube_start_end`; found {vid!r}")
        windows = row.get("relevant_windows") or []
        if not windows:
            return Problem(line, "no_time", f"no `relevant_windows` for the query {query!r} of {vid!r}")
        moments = [moment(window, "a window") for window in as_list(windows, "`relevant_windows`")]
        return AnnotatedVideo(
            pattern({"vid": vid, "youtube": clip["youtube"]}),
            line,
            [Caption(query, line, start_s=start, end_s=end) for start, end in moments],
            start_s=None if options.cut else float(clip["start"]),
            end_s=None if options.cut else float(clip["end"]),
            id=vid,
            source=clip["youtube"],
            duration_s=seconds(row.get("duration")),
        )

    return group_by_video(json_lines(path, video))


ADAPTER = Adapter("qvhighlights", read_qvhighlights, Options)
