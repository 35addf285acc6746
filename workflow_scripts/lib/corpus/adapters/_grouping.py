"""Rows of one caption each, made into videos with all of their captions."""

from collections.abc import Iterable, Iterator

from workflow_scripts.lib.corpus.annotations import AnnotatedVideo, Problem


def group_by_video(rows: Iterable[AnnotatedVideo | Problem]) -> Iterator[AnnotatedVideo | Problem]:
    """Every video once, with the captions of all its rows, in the order in which the videos are first there.

    For formats whose rows of one video are scattered: all of them are held in memory. A video is its path and its
    clip times. Problems come first.
    """
    videos: dict[tuple, list[AnnotatedVideo]] = {}
    for row in rows:
        if isinstance(row, Problem):
            yield row
        else:
            videos.setdefault((row.path, row.start_s, row.end_s), []).append(row)
    for same in videos.values():
        yield from one_video(same)


def one_video(rows: list[AnnotatedVideo]) -> Iterator[AnnotatedVideo | Problem]:
    """The rows of one video as one, its other fields from the first row that tells them.

    A row that puts the video into another split is left out, as a Problem, and so is one that tells another id,
    source or duration.
    """
    video, *others = rows
    for row in others:
        if problem := _contradiction(video, row):
            yield problem
            continue
        for field in FIELDS:
            if getattr(video, field) is None:
                setattr(video, field, getattr(row, field))
        video.captions += row.captions
    yield video


FIELDS = {"split": "bad_split", "id": "bad_row", "source": "bad_row", "duration_s": "bad_row"}


def _contradiction(video: AnnotatedVideo, row: AnnotatedVideo) -> Problem | None:
    for field, kind in FIELDS.items():
        first, other = getattr(video, field), getattr(row, field)
        if first != other and first is not None and other is not None:
            what = f"{field} {other!r} of the video {video.path!r}, but row {video.line} says {first!r}"
            return Problem(row.line, kind, what)
    return None
