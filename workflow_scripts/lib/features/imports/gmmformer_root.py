"""The data root of the original GMMFormer code, `<root>/{FeatureData,TextData}`, as a source of an import.

Frames are a BigFile, `FeatureData/<visual>/{shape.txt,id.txt,feature.bin,video2frames.txt}`, or an HDF5 below FeatureData
with [T, D] a video; features of texts are an HDF5 below TextData with [L, Dq] a caption, beside the caption files. Or both
are many HDF5s, of which a manifest or a meta file tells: `<root>/{video,text}_{manifest,meta}.json`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from workflow_scripts.lib.corpus.annotations import is_text
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.imports.caption_files import CaptionsByVideo, caption_files
from workflow_scripts.lib.features.imports.sources import CAPTIONS, PATTERNS, files_below
from workflow_scripts.lib.features.imports.videos import ImportedVideo, NotTaken
from workflow_scripts.lib.features.layout import Kind
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.reading.bigfile import IDS, MATRIX, SHAPE, VIDEOS, BigFile


class Frames:
    """The frames of a BigFile, as `Datasets` gives those of an HDF5."""

    def __init__(self, folder: Path):
        """UserError when it cannot be read."""
        self._videos = BigFile(folder)

    def __getitem__(self, video: str) -> np.ndarray:
        """KeyError when it is not there."""
        if (row := self._videos.keys.row(video)) is None:
            raise KeyError(video)
        return self._videos.unchecked(row)

    def tell_others(self, known: Callable[[str], bool], tell: Callable[[str], None]) -> None:
        """Call `tell` with the id of every video that is not known."""
        for video in self._videos.keys:
            if not known(video):
                tell(video)

    def close(self) -> None:
        """Nothing is open: it is mapped."""


class Datasets:
    """Arrays of an HDF5 by the names of its datasets; one at a time, however many there are."""

    def __init__(self, file: Path):
        """UserError when the file is no HDF5."""
        self.file = file
        try:
            self._file = h5py.File(file, "r")
        except OSError as error:
            raise UserError(f"{file}: cannot be read as HDF5 ({error}); get or make it again") from None

    def __getitem__(self, name: str) -> np.ndarray | None:
        """None when it is no array of floating-point numbers. KeyError: it is not there; UserError: it cannot be read."""
        try:
            dataset = self._file[name]
            return dataset[()] if isinstance(dataset, h5py.Dataset) and dataset.dtype.kind == "f" else None
        except (OSError, RuntimeError) as error:
            raise UserError(f"{self.file}: {name}: {error}") from None

    def tell_others(self, known: Callable[[str], bool], tell: Callable[[str], None]) -> None:
        """Call `tell` with the name of every dataset that is not known."""

        def visit(name: bytes) -> None:
            text = name.decode(errors="surrogateescape")
            if not known(text) and self._is_dataset(name):
                tell(text)

        self._file.id.links.visit(visit)

    def close(self) -> None:
        self._file.close()

    def _is_dataset(self, name: bytes) -> bool:
        """By h5py's lower level, since the name may be no text."""
        try:
            return h5py.h5o.get_info(self._file.id, name).type == h5py.h5o.TYPE_DATASET
        except (KeyError, OSError, RuntimeError):  # a link to nothing
            return False


class Shards:
    """Arrays of many HDF5s, as `Datasets` gives those of one."""

    def __init__(self, root: Path, kind: Kind):
        """UserError: they are not all there, or not as their manifest or meta says. Single arrays may still be wrong."""
        self._features = open_features(root, kind)
        self._features.check()
        self.files = self._features.files

    def __getitem__(self, key: str) -> np.ndarray:
        """KeyError: it is not there; UserError: it cannot be read, or has NaN."""
        if key not in self._features:
            raise KeyError(key)
        return self._features[key]

    def tell_others(self, known: Callable[[str], bool], tell: Callable[[str], None]) -> None:
        """Call `tell` with every key that is not known."""
        for key in self._features:
            if not known(key):
                tell(key)

    def close(self) -> None:
        """They are mapped, or closed when nobody reads them."""


class GMMFormerRoot:
    """Videos are found by way of the caption files, as the original does; features are read one video at a time."""

    sentences = False

    def __init__(self, root: Path, layout: str, visual: str | None = None, queries: str | None = None):
        """`layout`, bigfile, hdf5 or sharded; `visual` and `queries` name the features where there are several.

        UserError when something is missing, there are several and none is named, or a file cannot be read.
        """
        features, texts = Path(root) / "FeatureData", Path(root) / "TextData"
        if layout == "sharded":
            beside_root = not files_below(texts, CAPTIONS)
            self._caption_files = caption_files(Path(root) if beside_root else texts)
            self._visual, self._text_file = features, texts
            self._frames, self._texts = Shards(root, "video"), Shards(root, "text")
            self.files = files_below(root, *PATTERNS[layout])
            if others := {*self._frames.files, *self._texts.files} - {*self.files}:
                raise UserError(
                    f"{min(others)}: lies neither in {features.name} nor in {texts.name}, where format sharded expects"
                    " features; move it there, and make the manifest again"
                )
        else:
            self._caption_files = caption_files(texts)
            self._text_file = _the_one("--queries", texts, _query_features(texts), queries)
            self._texts = Datasets(self._text_file)
            self._visual, self._frames, visual_files = _open_frames(features, layout, visual)
            self.files = [*visual_files, self._text_file, *self._caption_files.values()]
        self._captions = CaptionsByVideo(self._caption_files)

    def videos(self, not_taken: NotTaken) -> Iterator[ImportedVideo]:
        """The videos of the caption files; `not_taken` is told of all that has no counterpart."""
        self._captions.read(not_taken)
        for split, id_, number, captions in self._captions.videos():
            file = self._caption_files[split]
            there, frames = _read(self._frames, id_, self._visual, not_taken)
            if not there:
                for caption in captions:
                    what = f"its video {id_} is not in {self._visual}, or cannot be read"
                    not_taken("text_without_video", file, caption.item, what)
                continue
            taken = []
            for caption in captions:
                there, caption.features = _read(self._texts, caption.item, self._text_file, not_taken)
                if there:
                    taken.append(caption)
                else:
                    what = f"its features are not in {self._text_file}, or cannot be read"
                    not_taken("caption_without_features", file, caption.item, what)
            if taken:
                yield ImportedVideo(id_, split, frames, self._visual, taken, self._text_file, number)
            else:
                what = f"none of its captions in {file.name} has features"
                not_taken("video_without_text", self._visual, id_, what)
        self._tell_unused(not_taken)

    def close(self) -> None:
        self._captions.close()
        self._texts.close()
        self._frames.close()

    def _tell_unused(self, not_taken: NotTaken) -> None:
        """What no caption file names."""
        self._frames.tell_others(
            lambda name: is_text(name) and self._captions.has_video(name),
            lambda name: not_taken("video_without_text", self._visual, name, "no caption file names it"),
        )
        self._texts.tell_others(
            lambda name: is_text(name) and self._captions.has_caption(name),
            lambda name: not_taken(
                "features_without_caption", self._text_file, name, "no caption file names it"
            ),
        )


def _open_frames(folder: Path, layout: str, name: str | None) -> tuple[Path, Frames | Datasets, list[Path]]:
    """The BigFile's folder, or the HDF5; what reads it; its files."""
    if layout == "bigfile":
        place = _the_one("--visual", folder, [f.parent for f in files_below(folder, f"**/{SHAPE}")], name)
        return place, Frames(place), [place / part for part in (SHAPE, IDS, MATRIX, VIDEOS)]
    place = _the_one("--visual", folder, files_below(folder, "**/*.hdf5", "**/*.h5"), name)
    return place, Datasets(place), [place]


def _read(
    arrays: Frames | Datasets | Shards, key: str, file: Path, not_taken: NotTaken
) -> tuple[bool, np.ndarray | None]:
    """Whether it can be read, and the array: None where it is of no floating-point numbers."""
    try:
        return True, arrays[key]
    except KeyError:
        return False, None
    except UserError as error:
        not_taken("unreadable", file, key, str(error))
        return False, None


def _query_features(folder: Path) -> list[Path]:
    """The HDF5 files that are named as the original names them; else all."""
    files = files_below(folder, "*.hdf5", "*.h5")
    return [file for file in files if "query_feat" in file.name] or files


def _the_one(flag: str, folder: Path, found: list[Path], wanted: str | None) -> Path:
    """The files or folders found below `folder` are one, or one of them has the wanted name, or lies in a folder of it."""
    listed = ", ".join(str(path.relative_to(folder)) for path in found)
    if wanted is not None:
        found = [path for path in found if wanted in _names(path.relative_to(folder))]
    if len(found) == 1:
        return found[0]
    if not listed:
        raise UserError(
            f"{folder}: no features of this format here; give the folder above, or another --format"
        )
    if wanted is None:
        raise UserError(f"{folder}: holds several features, {listed}; say which with {flag} NAME")
    raise UserError(
        f"{folder}: {flag} {wanted} is the name of {len(found)} features of {listed}; name one of them"
    )


def _names(path: Path) -> set[str]:
    """By what a user may call `vis32/feature.hdf5`: this, `feature.hdf5`, `feature` or `vis32`."""
    return {str(path), path.name, path.stem, path.parent.name}
