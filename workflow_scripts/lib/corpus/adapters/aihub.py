"""The `aihub` format: deliveries of AI-Hub, a folder with one JSON file a video.

`corpus.annotations` is the folder. The JSON file of a video has its name, and lies beside it (a folder a sample:
`s1/s1.json`, `s1/s1.mp4`) or at the same place in another folder (`Training/labels/x.json`, `Training/videos/x.mp4`).
`label_folders` tells such pairs; known are `labels` with `videos` and `라벨링데이터` with `원천데이터`. Videos are
recognised by their ending, as in the `folder` format, and come in the order of the paths of their JSON files.

The caption is looked for at `annotation.description_kr`, `description_kr`, `caption.korean`, `caption.english`,
`description` and `caption`; the first of these that is there is read. `caption_path` tells another place, or one a
language. A place may hold one text or an array of them, and a number in it counts the elements of an array from 0
(`annotations.0.text`). The language is Korean, or English under `caption.english`; under `description`, `caption` and a
`caption_path` without languages it is the first of `corpus.languages`.

The id is `video_id`, if there is one, otherwise the path; the duration is `metadata.duration`, if there is one. The
split is told by the first folder of the path that is among `splits`; known are `train`, `Training`, `1.Training`, `val`,
`valid`, `Validation`, `2.Validation`, `test` and `3.Test`, in any case. Videos in none of these have one by hash.

A JSON file in which no caption is found is a `no_caption` that names the places where texts are; one that cannot be read
is a `bad_row`, one without a video a `no_video`, a video without one a `no_caption`, and a second file for the same
video a `duplicate_video`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from workflow_scripts.lib.config_types import Language, Text
from workflow_scripts.lib.corpus.adapters._folders import Folder, is_video, walk
from workflow_scripts.lib.corpus.adapters._json import as_object, json_file, name, short
from workflow_scripts.lib.corpus.annotations import (
    Adapter,
    AdapterOptions,
    AnnotatedVideo,
    Caption,
    Problem,
    seconds,
)
from workflow_scripts.lib.corpus.roots import composed

KNOWN_PLACES = (
    ("annotation.description_kr", "ko"),
    ("description_kr", "ko"),
    ("caption.korean", "ko"),
    ("caption.english", "en"),
    ("description", None),
    ("caption", None),
)
SPLIT_FOLDERS = {
    "train": ("train", "training", "1.training"),
    "val": ("val", "valid", "validation", "2.validation"),
    "test": ("test", "3.test"),
}


class AiHubOptions(AdapterOptions):
    caption_path: Text | Annotated[dict[Language, Text], Field(min_length=1)] | None = None
    """Where the caption is, keys joined by dots (`annotation.description_kr`), or one such place a language
    (`{ko: caption.korean, en: caption.english}`). Default: the known places."""
    label_folders: dict[Text, Text] = {"labels": "videos", "라벨링데이터": "원천데이터"}  # noqa: RUF012
    """Names of folders of JSON files, and of those that hold their videos at the same place."""
    splits: dict[Text, Literal["train", "val", "test"]] = {  # noqa: RUF012
        folder: split for split, folders in SPLIT_FOLDERS.items() for folder in folders
    }
    """Split by the name of a folder, in any case."""

    @property
    def places(self) -> list[tuple[str, str | None]]:
        """Dotted path and language of every place where a caption may be."""
        if isinstance(self.caption_path, dict):
            return [(path, language) for language, path in self.caption_path.items()]
        return [(self.caption_path, None)] if self.caption_path else list(KNOWN_PLACES)


def read_aihub(path: Path, options: AiHubOptions) -> Iterator[AnnotatedVideo | Problem]:
    """The videos of all folders. Holds the paths in memory. UserError when a folder cannot be listed."""
    labels: dict[tuple, Path] = {}
    videos: dict[tuple, Path] = {}
    splits: dict[tuple, str | None] = {}
    for folder in walk(path):
        split, place = _split(folder, options), _place(folder, options)
        for file in folder.files:
            if file.suffix == ".json" or is_video(file):
                known = labels if file.suffix == ".json" else videos
                identity = (*place, composed(file.stem))
                if known.setdefault(identity, file) is file:
                    splits.setdefault(identity, split)
                else:
                    what = f"there is {str(known[identity])!r} for the same video"
                    yield Problem(1, "duplicate_video", what, file)
    for identity, label in labels.items():
        if identity in videos:
            yield _video(label, videos[identity], splits[identity], options)
        else:
            yield Problem(1, "no_video", f"there is no video for {label.name!r}", label)
    for identity, video in videos.items():
        if identity not in labels:
            yield Problem(1, "no_caption", f"there is no {video.stem}.json for the video", video)


def _place(folder: Folder, options: AiHubOptions) -> tuple[str, ...]:
    """Where videos lie whose JSON files lie in the folder; the folder itself unless it is one of labels."""
    return tuple(options.label_folders.get(part, part) for part in folder.parts)


def _split(folder: Folder, options: AiHubOptions) -> str | None:
    by_name = {composed(name).casefold(): split for name, split in options.splits.items()}
    return next((by_name[part.casefold()] for part in folder.parts if part.casefold() in by_name), None)


def _video(label: Path, video: Path, split: str | None, options: AiHubOptions) -> AnnotatedVideo | Problem:
    def make(row: dict, line: int) -> AnnotatedVideo | Problem:
        captions = _captions(row, options)
        if not captions:
            places = ", ".join(place for place, _ in options.places)
            there = ", ".join(_places_of_text(row)) or "none"
            what = f"no caption at {places}; there are texts at: {there}; corpus.options.caption_path tells the place"
            return Problem(line, "no_caption", what)
        length = seconds(_at(row, "metadata.duration"))
        return AnnotatedVideo(str(video), line, captions, split, id=name(row, "video_id"), duration_s=length)

    return json_file(label, make)


def _captions(row: dict, options: AiHubOptions) -> list[Caption]:
    """Those of the first known place that holds any, or of all the places that the options tell."""
    captions: list[Caption] = []
    for place, language in options.places:
        found = _at(row, place)
        if found is None or (options.caption_path is None and isinstance(found, dict)):
            continue
        texts = found if isinstance(found, list) else [found]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f"a text is expected at {place}; found {short(found)}")
        captions += [Caption(text, 1, language) for text in texts]
        if captions and options.caption_path is None:
            break
    return captions


def _at(value: Any, path: str) -> Any:
    """What lies at a dotted path; None when nothing does. ValueError when a key is there twice on the way."""
    for key in path.split("."):
        if isinstance(value, dict):
            value = as_object(value).get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _places_of_text(value: Any, place: str = "") -> Iterator[str]:
    """Dotted paths of all texts."""
    if isinstance(value, str):
        yield place
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield from _places_of_text(each, f"{place}.{key}" if place else str(key))


ADAPTER = Adapter("aihub", read_aihub, AiHubOptions, folder=True)
