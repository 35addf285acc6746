"""The folder that a corpus's videos lie in: paths that stay inside it, and the files that they name.

A path of an annotation may be spelled composed (NFC) where the disk has it decomposed (NFD, as macOS writes it), or
the other way round; and one that ends in `.*` is the file of that name with whatever ending it has.
"""

# os.path, not pathlib: this is asked for every one of ten million videos.
# ruff: noqa: PTH100, PTH112, PTH113, PTH114, PTH116, PTH118, PTH122, PTH208

import os
import os.path
import unicodedata
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

ANY_ENDING = ".*"
ENDINGS = (".mp4", ".mkv", ".webm", ".mov", ".avi")  # in the order in which `.*` stands for them
# What lies beside videos under their names: `.*` does not stand for these.
BESIDE = frozenset(
    (".json", ".jsonl", ".txt", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".md", ".srt", ".vtt", ".ass",
     ".jpg", ".jpeg", ".png", ".webp", ".wav", ".mp3", ".m4a", ".npy", ".npz", ".pt", ".part", ".tmp")
)  # fmt: skip
FOLDERS_KEPT = 100_000
LISTINGS_KEPT = 16
T = TypeVar("T")


def locate(root: Path, path: str) -> Path | None:
    """The file that a `path` of the video table names; None when there is none, or it leads out of the root."""
    return _corpus_root(os.path.abspath(root)).locate(path)


def composed(text: str) -> str:
    """The spelling that stands for all spellings of the same characters."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


class CorpusRoot:
    """The folder that all videos lie in. The files themselves need not be there."""

    def __init__(self, folder: Path | str):
        self.folder = os.path.abspath(folder)
        self._real = os.path.realpath(folder)
        self._real_folders: dict[str, str] = {}
        self._inside: dict[str, bool] = {}  # the answers for them, as a path names them
        self._listings: dict[tuple[str, bool], _Listing] = {}

    def relative(self, path: str) -> str | None:
        """An annotated path, relative or absolute, as one relative to the root; None when it leads outside.

        Symbolic links of folders are followed to find out. The file's own link is judged where the file is looked for:
        by `look` and `locate`.
        """
        if path[0] not in "./" and "/." not in path and "//" not in path and path[-1] != "/":
            folder = path.rpartition("/")[0]
            inside = self._inside.get(folder)
            if inside is None:
                inside = self._inside[folder] = self._holds(self._real_folder(folder))
            return path if inside else None
        # Dots that may lead upwards, or an absolute path.
        whole = os.path.normpath(os.path.join(self.folder, path))
        folder, name = os.path.split(whole)
        real = self._real_folder(folder)
        if not self._holds(real):
            return None
        prefix = _prefix(self.folder)
        # An absolute path may reach the root by another name, and then only its real one tells where in it.
        return (
            whole.removeprefix(prefix)
            if whole.startswith(prefix)
            else os.path.relpath(f"{real}/{name}", self._real)
        )

    def look(self, path: str) -> Literal["there", "missing", "outside"]:
        """Whether the file of a path that `relative` gave is there, or a link that leads out of the root.

        A folder is listed once, when it is first asked for, and remembered at 8 bytes a file.
        """
        folder, _, name = path.rpartition("/")
        any_ending = name.endswith(ANY_ENDING)
        listing = self._listings.get((folder, any_ending))
        if listing is None:
            listing = self._listings[folder, any_ending] = _Listing(self._files(folder), any_ending)
        return listing.look(composed(name))

    def locate(self, path: str) -> Path | None:
        """As the function of that name; no folder is listed unless the file is not there as it is spelled."""
        folder, _, name = path.rpartition("/")
        found = self._folder(folder)
        file = found and _file_in(found, name)
        if not file:
            return None
        real = os.path.realpath(file) if os.path.islink(file) else self._real_folder(found)
        return Path(file) if self._holds(real) else None

    def _holds(self, real: str) -> bool:
        return _prefix(real).startswith(_prefix(self._real))

    def _real_folder(self, folder: str) -> str:
        if folder not in self._real_folders:
            if len(self._real_folders) >= FOLDERS_KEPT:
                self._real_folders.clear()
                self._inside.clear()
            self._real_folders[folder] = os.path.realpath(os.path.join(self.folder, folder))
        return self._real_folders[folder]

    def _files(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Composed name of every file of a folder, and whether it lies in the root. No file is asked for, but links."""
        found = self._folder(folder)
        try:
            entries = os.scandir(found) if found else ()
        except OSError:
            return
        for entry in entries:
            if entry.is_symlink():
                if entry.is_file():
                    yield composed(entry.name), self._holds(os.path.realpath(entry.path))
            elif not entry.is_dir():
                yield composed(entry.name), True

    def _folder(self, folder: str) -> str | None:
        """A folder of the root as the disk spells it; None when it is not there."""
        whole = os.path.join(self.folder, folder)
        if folder.isascii() or os.path.isdir(whole):
            return whole
        whole = self.folder
        for part in folder.split("/"):
            direct = os.path.join(whole, part)
            if not os.path.isdir(direct):
                name = _spellings(whole).get(composed(part))
                if name is None:
                    return None
                direct = os.path.join(whole, name)
            whole = direct
        return whole


@lru_cache(maxsize=4)
def _corpus_root(folder: str) -> CorpusRoot:
    return CorpusRoot(folder)


def _prefix(folder: str) -> str:
    return folder.rstrip("/") + "/"


def _file_in(folder: str, name: str) -> str | None:
    """The file of that name in a folder."""
    stem = name.removesuffix(ANY_ENDING)
    names = [stem + ending for ending in ENDINGS] if stem != name else [name]
    for each in names:
        if os.path.isfile(file := os.path.join(folder, each)):
            return file
    if stem == name and name.isascii():
        return None
    spellings = _spellings(folder)
    wanted = [composed(each) for each in names]
    if stem != name:
        wanted += _listing(_by_stem, folder).get(composed(stem), [])
    files = (os.path.join(folder, spellings[each]) for each in wanted if each in spellings)
    return next(filter(os.path.isfile, files), None)


def _spellings(folder: str) -> dict[str, str]:
    """{composed: as on the disk} of everything in a folder."""
    return _listing(_listed, folder)


def _listing(list_names: Callable[[str, int], dict[str, T]], folder: str) -> dict[str, T]:
    """Names in a folder, listed again when the folder has changed; none where it is not there."""
    try:
        return list_names(folder, os.stat(folder).st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=LISTINGS_KEPT)
def _listed(folder: str, mtime_ns: int) -> dict[str, str]:
    return {composed(name): name for name in os.listdir(folder)}


@lru_cache(maxsize=LISTINGS_KEPT)
def _by_stem(folder: str, mtime_ns: int) -> dict[str, list[str]]:
    """{stem: composed names} of the files that may be videos."""
    found = defaultdict(list)
    for name in sorted(_listed(folder, mtime_ns)):
        stem, ending = os.path.splitext(name)
        if ending not in ("", *BESIDE):
            found[stem].append(name)
    return dict(found)


class _Listing:
    """The files of one folder, at 8 bytes each: the sorted hashes of their names."""

    def __init__(self, files: Iterable[tuple[str, bool]], any_ending: bool):
        hashes, self.outside = [], set()
        for name, inside in files:
            stem, ending = os.path.splitext(name)
            if any_ending and ending in BESIDE:
                continue
            known_as = stem + ANY_ENDING if any_ending else name
            if inside:
                hashes.append(hash(known_as))
            else:
                self.outside.add(known_as)
        self.hashes = array("q", sorted(hashes))

    def look(self, name: str) -> Literal["there", "missing", "outside"]:
        wanted = hash(name)
        place = bisect_left(self.hashes, wanted)
        if place < len(self.hashes) and self.hashes[place] == wanted:
            return "there"
        return "outside" if name in self.outside else "missing"
