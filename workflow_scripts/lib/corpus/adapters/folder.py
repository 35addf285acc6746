"""The `folder` format: a folder of videos with their captions in files beside them.

`corpus.annotations` is the folder; it may hold folders in turn. Videos are the files that end in `.mp4`, `.mkv`,
`.webm`, `.mov`, `.avi`, `.m4v`, `.mpg`, `.mpeg`, `.ts`, `.flv`, `.wmv`, `.3gp` or `.ogv`, in any case. The captions of
`clip.mp4` are in one or more of

- `clip.txt`: a caption a line, blank lines left out; in the first of `corpus.languages`;
- `clip.ko.txt`, `clip.en.txt` ...: the same in the language that is named;
- `clip.json`: an object with the keys of a row of the `jsonl` format, without `video`.

The order is that of the names, a folder's videos before its folders, so a video that is added moves the indices of
those behind it: use names that sort in the order of arrival where that matters. The id of a video is its path under
the root, unless its `.json` tells one. With `split_folders: true`, the folders in the annotation folder are called
`train`, `val` and `test` and tell the split of all videos in them; videos outside of them have the split that their
`.json` tells, or one by hash.

A video without such a file is a `no_caption`, such a file without a video a `no_video`, a second video that differs
in its ending alone a `duplicate_video`, and a `.json` that cannot be read a `bad_row`. Names that begin with a dot are
left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.lib.corpus.adapters._folders import Folder, is_video, walk
from workflow_scripts.lib.corpus.adapters._json import json_file
from workflow_scripts.lib.corpus.adapters._lines import text_lines
from workflow_scripts.lib.corpus.adapters.json_lines import video_of
from workflow_scripts.lib.corpus.annotations import Adapter, AdapterOptions, AnnotatedVideo, Caption, Problem
from workflow_scripts.lib.corpus.roots import composed

LANGUAGE = re.compile(r"(?P<stem>.+)\.(?P<language>[a-z]{2,3}(-[A-Za-z0-9]+)*)")


class FolderOptions(AdapterOptions):
    split_folders: bool = False
    """The folders in the annotation folder are called train, val and test, and tell the split."""


def read_folder(path: Path, options: FolderOptions) -> Iterator[AnnotatedVideo | Problem]:
    """The videos of all folders. UserError when a folder cannot be listed."""
    for folder in walk(path):
        split = folder.parts[0] if options.split_folders and folder.parts else None
        yield from _videos(folder, split)


def _videos(folder: Folder, split: str | None) -> Iterator[AnnotatedVideo | Problem]:
    videos: dict[str, Path] = {}
    for file in filter(is_video, folder.files):
        first = videos.setdefault(composed(file.stem), file)
        if first is not file:
            what = f"{file.name!r} has the captions of {first.name!r}, which is called alike"
            yield Problem(1, "duplicate_video", what, file)
    beside: dict[str, list[tuple[Path, str | None]]] = {stem: [] for stem in videos}
    for file in folder.files:
        if file.suffix in (".txt", ".json"):
            stem, language = _belongs_to(file, videos)
            if stem in videos:
                beside[stem].append((file, language))
            else:
                yield Problem(1, "no_video", f"there is no video beside {file.name!r}", file)
    for stem, file in videos.items():
        if beside[stem]:
            yield from _video(file, beside[stem], split)
        else:
            what = f"there is no {file.stem}.txt and no {file.stem}.json beside the video"
            yield Problem(1, "no_caption", what, file)


def _belongs_to(file: Path, videos: dict[str, Path]) -> tuple[str, str | None]:
    """Stem of the video that a file holds captions of, and their language where the file's name tells it."""
    stem = composed(file.stem)
    if stem not in videos and file.suffix == ".txt" and (named := LANGUAGE.fullmatch(stem)):
        return named["stem"], named["language"]
    return stem, None


def _video(
    file: Path, beside: list[tuple[Path, str | None]], split: str | None
) -> Iterator[AnnotatedVideo | Problem]:
    """A video with the captions of the files beside it."""
    video = AnnotatedVideo(str(file), 1, [], file=beside[0][0])
    captions = []
    for notes, language in beside:
        if notes.suffix == ".txt":
            lines = enumerate(text_lines(notes), start=1)
            captions += [Caption(text.strip(), n, language, file=notes) for n, text in lines if text.strip()]
            continue
        told = json_file(notes, lambda row, line: video_of(row, line, str(file)))
        if isinstance(told, Problem):
            yield told
            return
        video = told
        for caption in told.captions:
            caption.file = notes
        captions += told.captions
    video.captions = captions
    if split and video.split not in (None, split):
        what = f"split {video.split!r}, but the video lies in the folder {split!r}"
        yield Problem(1, "bad_split", what, video.file)
    else:
        video.split = split or video.split
        yield video


ADAPTER = Adapter("folder", read_folder, FolderOptions, folder=True)
