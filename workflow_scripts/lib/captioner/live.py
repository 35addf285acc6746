"""Video files that no run has prepared, seen by a captioner as those of its training were: decoded and encoded so."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from workflow_scripts.lib.captioner.sources import SOURCES, Sources, read_sources
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.encoders.encoder import Encoder, load_encoder
from workflow_scripts.lib.features.made_by import difference
from workflow_scripts.lib.frames.extract import Clip, Extracted, Settings
from workflow_scripts.lib.frames.moments import frames_in_moment
from workflow_scripts.lib.frames.pool import Failure, Limits, Pool
from workflow_scripts.lib.frames.reasons import REASONS
from workflow_scripts.lib.frames.stage import EXTRACT, PREPARE


@dataclass(frozen=True)
class Moment:
    """Seconds of a video file, None is open. UserError when there can be no such moment."""

    start_s: float | None = None
    end_s: float | None = None
    alone: bool = False
    """Choose frames as if the moment were a video of its own; else, of those that are chosen of the whole video."""

    def __post_init__(self):
        start = self.start_s or 0.0
        if start < 0 or (self.end_s is not None and self.end_s <= start):
            end = "the end" if self.end_s is None else f"{self.end_s:g} s"
            raise UserError(f"a moment from {start:g} s to {end}: it has to end after it begins, from 0 on")

    def clip(self, index: int, video: Path) -> Clip:
        """What the decoder is asked for."""
        if self.alone:
            return Clip(index, str(video), self.start_s, self.end_s)
        whole = self.start_s is None and self.end_s is None
        return Clip(index, str(video), moments=() if whole else ((self.start_s, self.end_s),))


@dataclass(frozen=True)
class Seen:
    """What a captioner sees of a moment."""

    tokens: np.ndarray
    """[F, P, Dv] visual tokens, in the number format of stored features."""
    times: list[float]
    """When its frames are shown, in seconds of the file."""


class LiveFeatures:
    """Frames and visual tokens of any video file, made as the folder of a captioner's stage tells."""

    def __init__(self, folder: Path, device: torch.device, trained_clip: Path | None = None):
        """`trained_clip` takes the place of the folder that the record names. UserError when it is not known how the
        frames or features of the training were made, or the encoder is not there or another one."""
        sources = read_sources(folder)
        unknown = [name for name in ("frames", "encoder", "identity") if getattr(sources, name) is None]
        if unknown:
            raise UserError(
                f"{Path(folder, SOURCES)}: `{unknown[0]}` is null: the frames or features of the training do not say how"
                " they were made, so a video cannot be given the same"
            )
        self.settings = _settings(folder, sources)
        self._encoder = _encoder(folder, sources, device, trained_clip)

    def see(self, videos: Sequence[Path], moment: Moment, count: int, workers: int = 1) -> list[Seen | str]:
        """At most `count` frames of the moment of each video; a sentence where there are none.

        Frames are decoded in `workers` processes, and chosen as training chooses them.
        """
        clips = [moment.clip(index, video) for index, video in enumerate(videos)]
        found = self._decode(clips, min(workers, len(clips)))
        return [self._look(video, found[index], moment, count) for index, video in enumerate(videos)]

    def tokens(self, jpegs: Sequence[bytes]) -> np.ndarray:
        """Visual tokens [F, P, Dv] of frames, rounded as stored ones are."""
        images = [Image.open(io.BytesIO(jpeg)).convert("RGB") for jpeg in jpegs]
        size, dtype = self._encoder.config.batch_size, getattr(torch, self._encoder.config.dtype)
        found = []
        for first in range(0, len(images), size):
            batch = self._encoder.preprocess(images[first : first + size])
            found.append(self._encoder.encode_frames(batch).tokens.to(dtype).cpu())
        return torch.cat(found).numpy()

    def _decode(self, clips: Sequence[Clip], workers: int) -> dict[int, Extracted]:
        """By the clips' indices; in processes of their own, as in a run: a hostile file takes none but its own along."""
        found, left, settings = {}, list(clips), self.settings
        with Pool(EXTRACT, workers, Limits(), (PREPARE, settings)) as pool:
            while left:
                again = []
                for clip, answer, _ in pool.run(((clip,), settings) for clip in left):
                    if isinstance(answer, Failure):
                        if len(settings.decoders) > 1:  # the next one gets the clip
                            again.append(clip)
                            continue
                        answer = Extracted(reason=answer.reason, detail=answer.detail)
                    found[clip.index] = answer
                left, settings = again, replace(settings, decoders=settings.decoders[1:])
        return found

    def _look(self, video: Path, clip: Extracted, moment: Moment, count: int) -> Seen | str:
        if clip.reason is not None:
            return f"{video}: {clip.reason} ({REASONS[clip.reason]}): {clip.detail}"
        start = moment.start_s or 0.0
        if moment.alone:
            chosen, offset = frames_in_moment(clip.timestamps, None, None, count), start
        elif start >= clip.duration_s:
            return f"{video}: the moment begins at {start:g} s, the file shows {clip.duration_s:.2f} s"
        else:
            chosen, offset = frames_in_moment(clip.timestamps, moment.start_s, moment.end_s, count), 0.0
        tokens = self.tokens([clip.jpegs[position] for position in chosen])
        return Seen(tokens, [offset + clip.timestamps[position] for position in chosen])


def _settings(folder: Path, sources: Sources) -> Settings:
    try:
        return TypeAdapter(Settings).validate_python(sources.frames)
    except ValidationError as error:
        raise UserError(f"{Path(folder, SOURCES)}: frames: {error}; train the stage again") from None


def _encoder(folder: Path, sources: Sources, device: torch.device, trained_clip: Path | None) -> Encoder:
    if sources.encoder.kind == "trained_clip":
        trained_clip = trained_clip or (sources.trained_clip and Path(folder, sources.trained_clip))
        if trained_clip is None or not Path(trained_clip).is_dir():
            raise UserError(
                f"{trained_clip or folder}: the CLIP that the captioner's features were made with is not there; give"
                " --trained-clip FOLDER, the folder that train_clip wrote"
            )
    encoder = load_encoder(sources.encoder, trained_clip, device, sides=("video",))
    if changed := difference(encoder.identity, sources.identity):
        raise UserError(
            f"{Path(folder, SOURCES)}: the encoder '{sources.encoder.name}' is not the one that the captioner was trained"
            f" with ({changed}); bring that one back, or make features and captioner anew"
        )
    return encoder
