"""Checks and typed rows, the same for every annotation format.

`read_corpus` is the one reading of an annotation file: `ingest_corpus` writes what it yields, and the shard
digests, which decide what is run again, are made of what it yields.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from workflow_scripts.lib.config import CorpusConfig
from workflow_scripts.lib.corpus.adapters import ADAPTERS
from workflow_scripts.lib.corpus.annotations import SPLITS, AnnotatedVideo, Caption, Problem
from workflow_scripts.lib.corpus.roots import CorpusRoot
from workflow_scripts.lib.keys import caption_key

Report = Callable[[Problem], None]


def read_corpus(config: CorpusConfig, annotations: Path, report: Report) -> Iterator[tuple[dict, list[dict]]]:
    """Yield a row of the video table and its rows of the caption table for every usable video, in order.

    `report` is called with every problem; what has one is left out (a video also when no caption is left), and
    the indices are those of the videos that stay. UserError when the file as a whole cannot be read.
    """
    root = Path(config.root or Path(annotations).parent)
    check = _Checks(config, root, report)
    index = 0
    for item in ADAPTERS[config.adapter].read(Path(annotations), config.adapter_options()):
        if isinstance(item, Problem):
            report(item)
        elif video := check.video(item):
            yield _rows(index, item, *video)
            index += 1


def hashed_split(path: str, val_share: float, test_share: float) -> str:
    """The split of a video without an annotated one: a function of its path alone, so that it stays."""
    place = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") / 2**64
    if place < val_share:
        return "val"
    return "test" if place < val_share + test_share else "train"


def _rows(
    index: int, video: AnnotatedVideo, path: str, split: str, captions: list[dict]
) -> tuple[dict, list]:
    row = {
        "index": index,
        "source": video.path,
        "path": path,
        "start_s": video.start_s,
        "end_s": video.end_s,
        "split": split,
    }
    for j, caption in enumerate(captions):
        caption |= {"video": index, "caption": j, "key": caption_key(index, j), "split": split}
    return row, captions


class _Checks:
    """The checks of one reading. Remembers 8 bytes a video, and nothing else that grows with the corpus."""

    def __init__(self, config: CorpusConfig, root: Path, report: Report):
        self.config, self.report = config, report
        self.root = CorpusRoot(root)
        self.seen: set[int] = set()

    def video(self, video: AnnotatedVideo) -> tuple[str, str, list[dict]] | None:
        """Path, split and typed captions; None, and reported, when the video cannot be used."""
        if problem := self._video_problem(video):
            self.report(Problem(video.line, *problem))
            return None
        path = self.root.relative(video.path)
        if path is None:
            what = f"the path {video.path!r} leads out of the folder {self.root.folder}"
            self.report(Problem(video.line, "path_outside_root", what))
            return None
        if self._is_known(path, video):
            self.report(Problem(video.line, "duplicate_video", f"{video.path!r} was there before"))
            return None
        captions = self._captions(video)
        if not captions:
            self.report(Problem(video.line, "no_caption", f"{video.path!r} has no caption that can be used"))
            return None
        shares = self.config.val_share, self.config.test_share
        return path, video.split or hashed_split(path, *shares), captions

    def _video_problem(self, video: AnnotatedVideo) -> tuple[str, str] | None:
        if not _is_text(video.path):
            return "bad_encoding", f"the video path {video.path!r} is not UTF-8"
        if "\0" in video.path:
            return "bad_row", f"the video path {video.path!r} holds a zero byte"
        if video.split is not None and video.split not in SPLITS:
            return "bad_split", f"unknown split {video.split!r}"
        if wrong := _bad_times(video.start_s, video.end_s):
            return "bad_moment", f"clip {wrong}"
        return None

    def _is_known(self, path: str, video: AnnotatedVideo) -> bool:
        identity = hashlib.sha256(f"{path}\0{video.start_s}\0{video.end_s}".encode()).digest()[:8]
        number = int.from_bytes(identity, "big")
        known = number in self.seen
        self.seen.add(number)
        return known

    def _captions(self, video: AnnotatedVideo) -> list[dict]:
        kept, seen = [], set()
        for caption in video.captions:
            row = self._caption(caption)
            if isinstance(row, Problem):
                self.report(row)
                continue
            identity = row["language"], row["text"], row["start_s"], row["end_s"]
            if identity in seen:
                what = f"the caption {caption.text!r} of {video.path!r} is there twice"
                self.report(Problem(caption.line, "duplicate_caption", what))
                continue
            seen.add(identity)
            kept.append(row)
        return kept

    def _caption(self, caption: Caption) -> dict | Problem:
        attributes = list(caption.attributes.items())
        if not all(
            _is_text(word) for word in (caption.text, *(part for pair in attributes for part in pair))
        ):
            return Problem(caption.line, "bad_encoding", f"the caption {caption.text!r} is not UTF-8")
        text = " ".join(caption.text.split())  # caption files have a line a caption
        if not text:
            return Problem(caption.line, "empty_caption", "the caption is empty")
        language = caption.language or self.config.languages[0]
        if language not in self.config.languages:
            known = ", ".join(self.config.languages)
            what = f"language {language!r} of the caption {text!r} is not in corpus.languages ({known})"
            return Problem(caption.line, "unknown_language", what)
        if wrong := _bad_times(caption.start_s, caption.end_s):
            return Problem(caption.line, "bad_moment", f"moment {wrong} of the caption {text!r}")
        return {
            "language": language,
            "text": text,
            "start_s": caption.start_s,
            "end_s": caption.end_s,
            "attributes": attributes,
        }


def _is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: no lone surrogates, which stand for undecodable bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bad_times(start: float | None, end: float | None) -> str | None:
    """`start to end` when that is no stretch of time."""
    open_start, open_end = start or 0.0, math.inf if end is None else end
    finite = all(value is None or math.isfinite(value) for value in (start, end))
    return None if finite and 0 <= open_start < open_end else f"from {start} to {end} s"
