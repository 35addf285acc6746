"""The `charades_sta` format: Charades-STA, a text file with a captioned moment a line.

`3MSZA 24.3 30.4##person turn a light on.`: the video's id, start and end in seconds, and behind `##` the caption.
The lines of a video may be scattered; videos come in the order in which they are first there. There is no split in the
file: give one file a split. Durations are not told.

A line of another form is a `bad_row`.
"""

from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.lib.config_types import Text
from workflow_scripts.lib.corpus.adapters._grouping import group_by_video
from workflow_scripts.lib.corpus.adapters._lines import text_lines
from workflow_scripts.lib.corpus.adapters._patterns import PathOptions, PathPattern
from workflow_scripts.lib.corpus.annotations import Adapter, AnnotatedVideo, Caption, Problem, seconds


class Options(PathOptions):
    video_path: Text = "{id}.mp4"
    """Path of a video under `corpus.root`. Fields: `id` (`3MSZA`)."""


def read_charades_sta(path: Path, options: Options) -> Iterator[AnnotatedVideo | Problem]:
    """Videos of the file and the lines that are none. UserError when the file cannot be opened."""
    pattern = PathPattern(options.video_path, ["id"], path)
    lines = enumerate(text_lines(path), start=1)
    return group_by_video(_moment(line, number, pattern) for number, line in lines if line.strip())


def _moment(line: str, number: int, pattern: PathPattern) -> AnnotatedVideo | Problem:
    """A line as a video with one caption."""
    place, marks, caption = line.partition("##")
    try:
        video, start, end = place.split()
        times = seconds(start), seconds(end)
    except ValueError:
        times = None
    if times is None or not marks:
        what = f"`id start end##caption` is expected, with times in seconds; found {line.strip()[:80]!r}"
        return Problem(number, "bad_row", what)
    return AnnotatedVideo(
        pattern({"id": video}),
        number,
        [Caption(caption.strip(), number, start_s=times[0], end_s=times[1])],
        id=video,
    )


ADAPTER = Adapter("charades_sta", read_charades_sta, Options)
