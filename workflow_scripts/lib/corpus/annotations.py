"""What an adapter yields: annotated videos with their captions, and rows that it cannot read.

Imports little: these are read whenever the DAG is built, and that must take no time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from workflow_scripts.lib.config_types import Section

SPLITS = ("train", "val", "test")

# Every kind of problem an annotation can have, and what is to be done about it.
PROBLEMS = {
    "bad_row": "mend the row or remove it",
    "bad_encoding": "save the annotations as UTF-8; where it is the name of a file, rename that",
    "empty_caption": "write the caption or remove it",
    "no_caption": "give the video a caption or remove it",
    "duplicate_video": "put all captions of a video into consecutive rows, and each video in once",
    "duplicate_caption": "remove one of them",
    "path_outside_root": "set corpus.root to the folder that holds all videos",
    "long_caption": "shorten it, or raise corpus.max_caption_chars",
    "duplicate_id": "give every video an id of its own",
    "missing_file": "put the file there, or take the video out",
    "split_leak": "put all clips of a source video into one split",
    "bad_moment": "times are seconds, from 0 on, and the end lies after the start",
    "moment_outside": "the moment lies outside of the video; mend its times or the video's duration",
    "no_time": "the annotation has no times for this row",
    "no_video": "the annotation names no video for this row",
    "unknown_language": "add the language to corpus.languages, or remove the caption",
    "bad_split": f"write {', '.join(SPLITS[:-1])} or {SPLITS[-1]}, or leave it empty",
}


@dataclass(slots=True)
class Caption:
    """One caption as annotated; times are seconds from the start of the clip, None is open."""

    text: str
    line: int
    language: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    file: Path | None = None  # where `line` is, when not in the file that the video's is in


@dataclass(slots=True)
class AnnotatedVideo:
    """One video, or one clip of a video file, as annotated.

    `path` is as written; one that ends in `.*` is the file of that name with whatever ending it has. `id` is the
    annotation's own name of the video (none: the path), `source` that of the longer video that it was cut from
    (none: the file): the clips of one source belong into one split. `line` is for messages.
    """

    path: str
    line: int
    captions: list[Caption]
    split: str | None = None
    start_s: float | None = None  # of the clip inside the file; None is open
    end_s: float | None = None
    id: str | None = None
    source: str | None = None
    duration_s: float | None = None  # of the clip, as annotated
    file: Path | None = None  # where `line` is, when not in the annotation file itself


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in one line of the annotation file; `kind` is a key of PROBLEMS."""

    line: int
    kind: str
    what: str
    file: Path | None = None  # where `line` is, when not in the annotation file itself

    def row(self, file: Path) -> dict:
        """As it is listed in problems.jsonl. `file` is the annotation file, for a problem that names no other."""
        return {
            "file": readable(str(self.file or file)),
            "line": self.line,
            "kind": self.kind,
            "what": readable(self.what),
        }

    def sentence(self, file: Path, counts: str = "line") -> str:
        """`file:line: what was found; what to do`; `counts` is the adapter's."""
        return readable(f"{place(self.file or file, self.line, counts)}: {self.what}; {PROBLEMS[self.kind]}")


def readable(text: str) -> str:
    """The text with lone surrogates, which stand for bytes that are no UTF-8, written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def place(file: Path | str, line: int, counts: str = "line") -> str:
    """`file:line`, or `file: entry n` where the adapter counts entries."""
    return f"{file}:{line}" if counts == "line" else f"{file}: {counts} {line}"


class AdapterOptions(Section):
    """What `corpus.options` may hold for an adapter; the docstring under a field is its documentation."""

    def files(self) -> list[Path]:
        """The files that options name, which are read beside the annotations."""
        return [value for _, value in self if isinstance(value, Path)]


@dataclass(frozen=True, slots=True)
class Adapter:
    """An annotation format. The module's `ADAPTER`, found by adapters/__init__.py under its name."""

    name: str  # of `corpus.adapter`
    read: Callable[[Path, Any], Iterator[AnnotatedVideo | Problem]]  # of the annotation and the options
    options: type[AdapterOptions] = AdapterOptions
    counts: Literal["line", "entry"] = "line"  # what `line` of a video or a problem counts
    folder: bool = False  # the annotation is a folder of files


def seconds(value: object) -> float | None:
    """A time in seconds; None and empty text stay open. ValueError when it is neither."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"a number of seconds is expected, found {value!r}")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"a number of seconds is expected, found {str(value)!r}") from None


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: no lone surrogates, which stand for undecodable bytes."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
