"""Checks and typed rows, the same for every annotation format.

`read_corpus` is the one reading of the annotations: `ingest_corpus` writes what it yields, and the shard digests,
which decide what is run again, are made of what it yields.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from workflow_scripts.lib.config import CorpusConfig
from workflow_scripts.lib.corpus.adapters import ADAPTERS
from workflow_scripts.lib.corpus.annotations import SPLITS, AnnotatedVideo, Caption, Problem, is_text
from workflow_scripts.lib.corpus.roots import CorpusRoot, composed
from workflow_scripts.lib.corpus.seen import Seen
from workflow_scripts.lib.keys import caption_key

Report = Callable[[Problem], None]

# Annotated durations are rounded, and moments are marked by hand: an end may lie so much after the video's.
END_TOLERANCE, END_TOLERANCE_S = 0.05, 1.0


def read_corpus(config: CorpusConfig, report: Report) -> Iterator[tuple[dict, list[dict]]]:
    """Yield a row of the video table and its rows of the caption table for every usable video, in order.

    `report` is called with every problem, which names its file. What has a problem is left out (a video also when no
    caption is left), and the indices are those of the videos that stay. Only the videos whose file is not there stay:
    the indices may not depend on what is on the disk. UserError when a file as a whole cannot be read.
    """
    adapter, options = ADAPTERS[config.adapter], config.adapter_options()
    checks = _Checks(config, adapter.counts, report)
    index = 0
    for file, split in config.annotation_files():
        for item in adapter.read(file, options):
            if isinstance(item, Problem):
                report(item if item.file else replace(item, file=file))
            elif found := checks.video(item, item.file or file, split):
                row, captions = found
                row["index"] = index
                for j, caption in enumerate(captions):
                    caption["video"], caption["caption"] = index, j
                    caption["key"], caption["split"] = caption_key(index, j), row["split"]
                yield row, captions
                index += 1


def default_root(config: CorpusConfig) -> Path:
    """What annotated paths are relative to: `corpus.root`, else the folder of the first annotation file."""
    if config.root:
        return config.root
    first = config.annotation_files()[0][0]
    return first if ADAPTERS[config.adapter].folder else first.parent


class _Checks:
    """The checks of one reading. What they remember of every video is in `Seen`, and a hash for every file listed."""

    def __init__(self, config: CorpusConfig, counts: str, report: Report):
        self.config, self._report = config, report
        self.languages = {None: config.languages[0], **{name: name for name in config.languages}}
        self.root = CorpusRoot(default_root(config))
        self.seen = Seen(config.val_share, config.test_share, counts)

    def video(self, video: AnnotatedVideo, file: Path, split: str | None) -> tuple[dict, list[dict]] | None:
        """Its rows, but for what depends on the index; None, and reported, when it cannot be used.

        `file` is where the video's line is, and `split` that of all videos of the annotation file.
        """
        problem = self._problem(video, split)
        path = None if problem else self.root.relative(video.path)
        if not problem and path is None:
            what = f"the path {video.path!r} leads out of the folder {self.root.folder}"
            problem = "path_outside_root", what
        if problem:
            return self._left_out(file, video.line, *problem)
        captions = self._captions(video, file)
        if not captions:
            what = f"{video.path!r} has no caption that can be used"
            return self._left_out(file, video.line, "no_caption", what)
        source = path if video.source is None else video.source
        known_as = composed(path)
        source_known_as = known_as if source is path else composed(source)
        split, problem = self.seen.add(video, known_as, source_known_as, split or video.split, file)
        if problem:
            return self._left_out(file, video.line, *problem)
        if self.config.check_files:
            self._look(path, file, video.line)
        row = {
            "index": None,
            "id": video.id or path,
            "path": path,
            "source": source,
            "start_s": video.start_s,
            "end_s": video.end_s,
            "split": split,
            "duration_s": video.duration_s,
        }
        return row, captions

    def _left_out(self, file: Path, line: int, kind: str, what: str) -> None:
        self._report(Problem(line, kind, what, file))

    def _look(self, path: str, file: Path, line: int) -> None:
        """Report a file that cannot be opened later; its row stays."""
        found = self.root.look(path)
        if found == "missing":
            what = f"there is no file {path!r} in the folder {self.root.folder}"
            self._left_out(file, line, "missing_file", what)
        elif found == "outside":
            what = f"{path!r} is a link that leads out of the folder {self.root.folder}"
            self._left_out(file, line, "path_outside_root", what)

    def _problem(self, video: AnnotatedVideo, split: str | None) -> tuple[str, str] | None:
        """Of what the annotation says about the video."""
        names = [name for name in (video.path, video.id, video.source) if name]
        for name in names:
            if not name.isascii() and not is_text(name):
                return "bad_encoding", f"{name!r} is not UTF-8"
        if not video.path or "\0" in video.path:
            return "bad_row", f"{video.path!r} is no video path"
        if video.split is not None:
            if video.split not in SPLITS:
                return "bad_split", f"unknown split {video.split!r}"
            if split and video.split != split:
                what = f"split {video.split!r}, but corpus.annotations gives the file for {split!r}"
                return "bad_split", what
        if wrong := _bad_times(video.start_s, video.end_s):
            return "bad_moment", f"clip {wrong}"
        if video.duration_s is not None and not 0 <= video.duration_s < math.inf:
            return "bad_moment", f"duration {video.duration_s} s"
        return None

    def _captions(self, video: AnnotatedVideo, file: Path) -> list[dict]:
        kept, seen = [], set()
        for caption in video.captions:
            row = self._caption(caption, video)
            if isinstance(row, tuple):
                self._left_out(caption.file or file, caption.line, *row)
                continue
            if len(video.captions) > 1:
                identity = row["language"], row["text"], row["start_s"], row["end_s"]
                if identity in seen:
                    what = f"the caption {caption.text!r} of {video.path!r} is there twice"
                    self._left_out(caption.file or file, caption.line, "duplicate_caption", what)
                    continue
                seen.add(identity)
            kept.append(row)
        return kept

    def _caption(self, caption: Caption, video: AnnotatedVideo) -> dict | tuple[str, str]:
        """Its row, but for what depends on the index; or the kind and words of its problem."""
        attributes = list(caption.attributes.items()) if caption.attributes else []
        if not is_text(caption.text) or (attributes and not all(map(is_text, chain(*attributes)))):
            return "bad_encoding", f"the caption {caption.text!r} is not UTF-8"
        text = " ".join(composed(caption.text).split())  # caption files have a line a caption
        attributes = [(composed(name), composed(word)) for name, word in attributes]
        if not text:
            return "empty_caption", "the caption is empty"
        if len(text) > self.config.max_caption_chars:
            what = f"the caption {text[:60] + '...'!r} has {len(text)} characters"
            return "long_caption", f"{what}, more than {self.config.max_caption_chars}"
        language = self.languages.get(caption.language or None)
        if language is None:
            known = ", ".join(self.config.languages)
            what = f"language {caption.language!r} of the caption {text!r}"
            return "unknown_language", f"{what} is not in corpus.languages ({known})"
        start, end = caption.start_s, caption.end_s
        if start is not None or end is not None:
            if wrong := _bad_times(start, end):
                return "bad_moment", f"moment {wrong} of the caption {text!r}"
            if (length := _length(video)) and _is_outside(start, end, length):
                what = f"moment from {start} to {end} s of the caption {text!r}"
                return "moment_outside", f"{what}, and the video has {length:g} s"
        return {
            "video": None,
            "caption": None,
            "key": None,
            "split": None,
            "language": language,
            "text": text,
            "start_s": start,
            "end_s": end,
            "attributes": attributes,
        }


def _bad_times(start: float | None, end: float | None) -> str | None:
    """`from start to end s` when that is no stretch of time."""
    if start is None and end is None:
        return None
    open_start, open_end = start or 0.0, math.inf if end is None else end
    finite = all(value is None or math.isfinite(value) for value in (start, end))
    return None if finite and 0 <= open_start < open_end else f"from {start} to {end} s"


def _length(video: AnnotatedVideo) -> float | None:
    """Seconds of the clip, as far as the annotation tells; formats of whole seconds write 0 for very short ones."""
    if video.duration_s or video.end_s is None:
        return video.duration_s or None
    return video.end_s - (video.start_s or 0.0)


def _is_outside(start: float | None, end: float | None, length: float) -> bool:
    late = end is not None and end > length + max(END_TOLERANCE_S, END_TOLERANCE * length)
    return late or (start is not None and start >= length)
