"""Features as a data root of the original GMMFormer code, so that it trains on them unchanged.

<output>/<collection>/
  FeatureData/<visual>/             layout `bigfile`, what the original reads
    shape.txt                       number of frames and width
    id.txt                          ids of frames
    feature.bin                     a row a frame, little-endian float32
    video2frames.txt                Python dict literal {video: [frame id, ...]}
  FeatureData/<visual>/feature.hdf5
                                    layout `hdf5`, what descendants of the original read: a dataset [T, D] a video, float32
                                    (their own converter writes float64, with the same values)
  TextData/
    roberta_<collection>_query_feat.hdf5
                                    a dataset [L, Dq] a caption, float32; whatever made them, this is the name it opens
    <collection>{train,val,test}.caption.txt
                                    `<caption> <text>` a line; what is before `#` is the video
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

import h5py
import numpy as np

from workflow_scripts.lib.config_types import Name
from workflow_scripts.lib.corpus.tables import SPLITS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.flags import check_flag
from workflow_scripts.lib.features.imports.caption_files import read_captions, video_of
from workflow_scripts.lib.features.layout import FOLDERS
from workflow_scripts.lib.features.reader import FeatureReader, open_features
from workflow_scripts.lib.features.reading.bigfile import IDS, MATRIX, SHAPE, VIDEOS
from workflow_scripts.lib.files import whole_folder

LAYOUTS = ("bigfile", "hdf5")
NUMBER = np.dtype("<f4")


@dataclass(frozen=True)
class Export:
    """What is exported, and under which names."""

    features: Path
    """Root of the features of videos, with the caption files."""
    text_features: Path
    """Root of the features of captions."""
    name: str
    """Of the corpus, in the names of its caption files."""
    layout: str
    """Of the frames: one of LAYOUTS."""
    collection: str
    """What the original calls the corpus."""
    visual: str
    """What the original calls the features of videos."""
    tokens: bool = False
    """Visual tokens [T, P, D], those of a frame side by side [T, P * D], in place of embeddings [T, D]."""


@dataclass
class Written:
    """Counts of what was written."""

    videos: int = 0
    frames: int = 0
    longest_video: int = 0
    """Frames."""
    width: int = 0
    captions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    """By split."""
    longest_caption: int = 0
    """Tokens."""
    text_width: int = 0
    without_text: int = 0
    """Captions that were left out, since their text is empty."""

    def __str__(self) -> str:
        captions = ", ".join(f"{self.captions[split]} {split}" for split in SPLITS)
        left_out = (
            f"; {self.without_text} captions with an empty text are left out" if self.without_text else ""
        )
        return f"{self.videos} videos of {self.frames} frames; captions: {captions}{left_out}"

    def settings(self, job: Export) -> str:
        """What the original's configuration must say, beside its data root."""
        return "\n".join(
            [
                "in the configuration of the original:",
                f"  collection = {job.collection!r}",
                f"  visual_feature = {job.visual!r}",
                f"  q_feat_size = {self.text_width}",
                f"  max_desc_l: {self.longest_caption} keeps all tokens of the longest caption",
                f"  max_ctx_l: {self.longest_video} keeps all frames of the longest video, more of them are averaged",
                f"  (visual dimension: {self.width}, which it reads from shape.txt)",
                *(
                    f"no caption in {split}: the original needs some"
                    for split in SPLITS
                    if not self.captions[split]
                ),
            ]
        )


def export_features(job: Export, output: Path) -> Written:
    """Write the folder `output`/<collection>, whole or not at all, one video or caption in memory at a time.

    A caption whose text is empty is left out: the original cannot read its line. UserError when the folder is there, a
    caption file or the features of a caption are missing, or there is nothing to export.
    """
    for flag in ("name", "collection", "visual"):
        check_flag(f"--{flag}", getattr(job, flag), Name)
    folder = Path(output) / job.collection
    if folder.exists():
        raise UserError(f"{folder}: is there already; remove it, or give another --output or --collection")
    videos = open_features(job.features, "token" if job.tokens else "video")
    texts = open_features(job.text_features, "text")
    written = Written()
    with whole_folder(folder) as temporary:
        visual, text_data = temporary / "FeatureData" / job.visual, temporary / "TextData"
        visual.mkdir(parents=True)
        text_data.mkdir()
        arrays = _frames(videos, written)
        if job.layout == "bigfile":
            _write_bigfile(visual, arrays, written)
        else:
            _write_hdf5(visual / "feature.hdf5", arrays)
        _write_captions(job, text_data, videos, texts, written)
        if not written.videos or not any(written.captions.values()):
            raise UserError(
                f"{job.features}: {written.videos} videos and {sum(written.captions.values())} captions with a text: there "
                "is nothing that could be trained on"
            )
    return written


def _frames(videos: FeatureReader, written: Written) -> Iterator[tuple[str, np.ndarray]]:
    """Id and float32 rows [T, D] of every video."""
    for key in videos:
        array = np.asarray(videos[key], NUMBER)
        array = array.reshape(len(array), -1)
        written.videos += 1
        written.frames += len(array)
        written.longest_video = max(written.longest_video, len(array))
        written.width = array.shape[1]
        yield key, array


def _write_bigfile(folder: Path, arrays: Iterator[tuple[str, np.ndarray]], written: Written) -> None:
    """`id.txt` is read as ISO-8859-1 and split at white space: ids of frames are percent-encoded ASCII."""
    with ExitStack() as stack:
        matrix = stack.enter_context((folder / MATRIX).open("wb"))
        ids, videos = (
            stack.enter_context((folder / name).open("w", encoding="ascii")) for name in (IDS, VIDEOS)
        )
        before, separator = "{", ""
        for video, array in arrays:
            matrix.write(np.ascontiguousarray(array))
            frames = [f"{quote(video)}_{number}" for number in range(len(array))]
            ids.write(separator + " ".join(frames))
            videos.write(f"{before}{video!a}: {frames}")
            before, separator = ", ", " "
        videos.write("}")
    (folder / SHAPE).write_text(f"{written.frames} {written.width}\n", encoding="ascii")


def _write_hdf5(file: Path, arrays: Iterator[tuple[str, np.ndarray]]) -> None:
    with h5py.File(file, "w") as datasets:
        for key, array in arrays:
            datasets[key] = array


def _write_captions(
    job: Export, folder: Path, videos: FeatureReader, texts: FeatureReader, written: Written
) -> None:
    """The caption files, and the features of their captions."""
    with h5py.File(folder / f"roberta_{job.collection}_query_feat.hdf5", "w") as datasets:
        for split in SPLITS:
            source = job.features / FOLDERS["text"] / f"{job.name}{split}.caption.txt"
            if not source.is_file():
                raise UserError(f"{source}: no such caption file; give the name of the corpus with --name")
            target = folder / f"{job.collection}{split}.caption.txt"
            with target.open("w", encoding="utf-8", newline="\n") as lines:
                for caption, text in read_captions(source):
                    if not text:
                        written.without_text += 1
                        continue
                    if video_of(caption) not in videos:
                        raise UserError(
                            f"{source}: {caption} is of a video without features in {job.features}"
                        )
                    _write_text(caption, text, lines, texts, datasets, written)
                    written.captions[split] += 1


def _write_text(
    caption: str, text: str, lines: TextIO, texts: FeatureReader, datasets: h5py.File, written: Written
) -> None:
    lines.write(f"{caption} {text}\n")
    if caption not in datasets:  # of another split, where val and test are the same
        array = np.asarray(texts[caption], NUMBER)
        datasets[caption] = array
        written.longest_caption = max(written.longest_caption, len(array))
        written.text_width = array.shape[1]
