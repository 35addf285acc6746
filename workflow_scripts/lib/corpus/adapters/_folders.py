"""Folders of videos with a file of captions for each."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.lib.corpus.roots import composed
from workflow_scripts.lib.errors import UserError

VIDEO_ENDINGS = frozenset(
    (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp", ".ogv")
)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder inside the annotation folder."""

    path: Path  # absolute
    parts: tuple[str, ...]  # names of the folders from the annotation folder to here, composed (NFC)
    files: list[Path]  # sorted by their composed names


def walk(folder: Path) -> Iterator[Folder]:
    """The folder and those inside it, each before its own subfolders, these in the order of their names.

    The order is that of composed names, and so the same wherever the files are copied to. Files and folders whose
    names begin with a dot are left out. Links to folders are followed. UserError when the folder cannot be listed.
    """
    if not Path(folder).is_dir():
        raise UserError(
            f"{folder}: there is no such folder; set corpus.annotations to the folder of the videos"
        )
    yield from _walk(Path(os.path.abspath(folder)), (), frozenset())  # noqa: PTH100 - links stay as they are


def _walk(folder: Path, parts: tuple[str, ...], above: frozenset[Path]) -> Iterator[Folder]:
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append((composed(entry.name), entry.name))
    except OSError as error:
        raise UserError(
            f"{folder}: the folder cannot be listed ({error.strerror}); make it readable"
        ) from None
    yield Folder(folder, parts, [folder / name for _, name in sorted(files)])
    above |= {folder.resolve()}
    for known_as, name in sorted(folders):
        if (folder / name).resolve() not in above:  # a link to where it lies itself
            yield from _walk(folder / name, (*parts, known_as), above)


def is_video(file: Path) -> bool:
    """Whether it is called as videos are."""
    return file.suffix.lower() in VIDEO_ENDINGS
