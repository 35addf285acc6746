"""The configuration's sections about data: `corpus` and `frames`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from workflow_scripts.lib.config_types import (
    Count,
    Fraction,
    Languages,
    Name,
    Positive,
    Rate,
    Section,
    Seed,
    Share,
    Text,
    number,
)
from workflow_scripts.lib.corpus.adapters import ADAPTERS
from workflow_scripts.lib.corpus.annotations import AdapterOptions

Split = Literal["train", "val", "test"]
SamplerKind = Literal["uniform", "fps", "scene_change", "optical_flow", "keyframes"]
DecoderName = Literal["pyav", "torchcodec", "nvdec", "decord"]
IMPORTED = "imported"  # the one `corpus.adapter` that reads no annotations


class DemoCorpus(Section):
    """The synthetic corpus that `make_demo_corpus` renders."""

    videos: Positive = 480
    """Videos to render. More of them leave the earlier ones as they are."""
    moments: Positive = 3
    """Captioned moments a video."""
    size: Annotated[int, Field(ge=32), BeforeValidator(number)] = 96
    """Width and height of the videos, in pixels."""
    fps: Positive = 8
    """Frames a second."""
    seed: Seed = 0
    """Seed of the videos, apart from the run's: runs with other seeds share the corpus."""


class CorpusConfig(Section):
    """Which videos and captions, and how they are split into shards."""

    name: Name
    """Folder under resources/ that everything computed from this corpus goes to."""
    adapter: Annotated[Text, Field(json_schema_extra={"enum": sorted([*ADAPTERS, IMPORTED])})]
    """Format of the annotations, one of those in docs/annotations.md; `demo` renders a synthetic corpus first. With
    `imported`, there are neither annotations nor videos: the corpus is what the features of the one encoder, of
    `kind: imported`, tell; of this section it takes `name`, `languages` (one), `videos_per_shard` and `shards`."""
    annotations: Path | list[Path] | dict[Split, Path] | None = None
    """The annotation file (or folder, for the formats that are one); several, in this order; or one a split."""
    options: dict[str, Any] = {}
    """Options of the adapter, such as where the videos lie; docs/annotations.md lists them."""
    root: Path | None = None
    """Folder that the annotated video paths are relative to; default: the first annotation file's own."""
    videos_per_shard: Positive = 50_000
    """Videos in a shard; shard k holds the videos k*n to (k+1)*n-1 of the annotation, in its order."""
    shards: Positive = 1
    """Number of shards: jobs are made for exactly so many, so that the DAG is known in advance."""
    languages: Languages = ["en"]
    """Languages to read. A caption without a language gets the first; one in another language is listed as a problem."""
    val_share: Share = 0.1
    """Share of the videos without an annotated split that go to validation (by a hash of the source video's id)."""
    test_share: Share = 0.1
    """Share of the videos without an annotated split that go to the test split."""
    max_caption_chars: Positive = 2000
    """A longer caption is a problem (characters)."""
    check_files: bool = True
    """Look whether the videos are there, by listing their folders, while the annotations are read."""
    on_problem: Literal["fail", "quarantine"] = "fail"
    """A bad row (empty caption, duplicate, missing file ...) stops the run, or is left out and listed."""
    demo: DemoCorpus = DemoCorpus()
    """Only for `adapter: demo`."""

    @field_validator("adapter")
    @classmethod
    def _known(cls, adapter: str) -> str:
        if adapter not in ADAPTERS and adapter != IMPORTED:
            raise ValueError(f"one of {', '.join(sorted([*ADAPTERS, IMPORTED]))} is needed")
        return adapter

    @model_validator(mode="after")
    def _imported_alone(self):
        if not self.is_imported:
            return self
        used = ["name", "adapter", "languages", "videos_per_shard", "shards"]
        if others := [key for key in CorpusConfig.model_fields if key in self.model_fields_set - set(used)]:
            raise ValueError(
                f"adapter '{IMPORTED}' reads no annotations and makes no use of {', '.join(others)}; it takes "
                f"{', '.join(used)}"
            )
        if len(self.languages) > 1:
            raise ValueError(
                f"languages: imported captions are in one language, found {', '.join(self.languages)}"
            )
        return self

    @model_validator(mode="after")
    def _annotations_given(self):
        if self.is_imported:
            return self
        if self.adapter != "demo" and not self.annotations:
            raise ValueError(f"adapter '{self.adapter}' needs `annotations`, the path of the annotation file")
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share and test_share together leave no training videos")
        try:
            self.adapter_options()
        except ValidationError as error:
            known = ", ".join(ADAPTERS[self.adapter].options.model_fields) or "none"
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise ValueError(f"options of adapter '{self.adapter}': {wrong}; known: {known}") from None
        return self

    @property
    def is_imported(self) -> bool:
        """Whether the corpus is what imported features tell."""
        return self.adapter == IMPORTED

    def adapter_options(self) -> AdapterOptions:
        """`options`, as the adapter's own model."""
        return ADAPTERS[self.adapter].options.model_validate(self.options)

    def annotation_files(self) -> list[tuple[Path, str | None]]:
        """Every annotation file (or folder) with the split that all of its videos belong to, if that is given."""
        if isinstance(self.annotations, dict):
            return [(path, split) for split, path in self.annotations.items()]
        several = self.annotations if isinstance(self.annotations, list) else [self.annotations]
        return [(path, None) for path in several if path is not None]


def _kind(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class SamplerConfig(Section):
    """Which frames of a video are kept; `sampler: uniform` is short for `sampler: {kind: uniform}`."""

    kind: SamplerKind = "uniform"
    """`uniform`: the centres of `count` equal segments. `fps`: at a rate, `count` at most and one at least.
    `scene_change`: the first frames after cuts, evenly among them or filled up with uniform ones. `optical_flow`: more
    frames where more moves. `keyframes`: the container's I-frames, `count` at most; a clip between two of them gives its
    middle frame."""
    fps: Rate | None = None
    """fps: frames a second (needed)."""
    threshold: Fraction | None = None
    """scene_change: Bhattacharyya distance between the HSV histograms of neighbours from which on there is a cut;
    0.35 if not given."""
    signal_fps: Rate | None = None
    """scene_change, optical_flow: frames a second that the signal is computed from; 8 if not given."""
    flow: Literal["dis", "farneback"] | None = None
    """optical_flow: the algorithm, `dis` if not given."""

    USED: ClassVar = {
        "uniform": set(),
        "fps": {"fps"},
        "scene_change": {"threshold", "signal_fps"},
        "optical_flow": {"signal_fps", "flow"},
        "keyframes": set(),
    }

    @model_validator(mode="after")
    def _options_belong(self):
        for name in ("fps", "threshold", "signal_fps", "flow"):
            if getattr(self, name) is not None and name not in self.USED[self.kind]:
                raise ValueError(f"`{name}` is no option of sampler '{self.kind}'")
        if self.kind == "fps" and self.fps is None:
            raise ValueError("sampler 'fps' needs `fps`, the frames a second")
        return self


class FramesConfig(Section):
    """Sampled frames of every video, as JPEG in WebDataset tars."""

    decoder: DecoderName | Annotated[list[DecoderName], Field(min_length=1)] = "pyav"
    """`pyav` returns the right frames on every file tried. `torchcodec` needs ffmpeg's shared libraries on the
    system, `nvdec` is torchcodec on an NVIDIA GPU. `decord` is there for those who rely on it: it serves ordinary mp4,
    mkv and webm files and refuses what it would read wrongly, so list pyav after it. Of several, the next is tried
    where one fails; the status table says which one served."""
    decode_quality: Literal["exact", "fast", "keyframes"] = "exact"
    """pyav only. `fast` leaves out the loop filter, unwanted frames that no other refers to, and a wanted frame whose
    neighbour needs less decoding, and shrinks pictures in the decoder: about twice as fast; at most one frame off, and
    softer (on the clips of `benchmarks/decode.py` the pictures differ by 2 to 5 of 255 in the mean). `keyframes` decodes
    nothing else: 4 to 30 times as fast, and as few frames as the file has keyframes."""
    sampler: Annotated[
        SamplerConfig, BeforeValidator(_kind, json_schema_input_type=SamplerKind | SamplerConfig)
    ] = SamplerConfig()
    """Which frames are kept."""
    count: Positive = 32
    """Frames a video; a shorter one gives the frames it has."""
    moment_frames: Count = 0
    """Further frames of every captioned moment, spread evenly over it; 0: the moment has those that fall into it. For a
    captioner: a retrieval model sees them, too, and that they lie close together tells it where captions are."""
    size: Annotated[list[Positive], Field(min_length=2, max_length=2)] = [224, 224]
    """Height and width of the stored frames."""
    fit: Literal["crop", "stretch", "pad"] = "crop"
    """How another aspect ratio is brought to `size`: shortest edge and centre crop, distortion, or black borders."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100), BeforeValidator(number)] = 90
    """JPEG quality of the stored frames."""
    keep: bool = True
    """Keep the tars. Otherwise each is removed as soon as nothing in the run needs it any more."""
    timeout_s: Rate = 120
    """A video that takes longer than so many seconds is given up, and listed. Clips of one file are decoded together,
    and have the time of all of them."""
    memory_mb: Positive = 4096
    """Address space a decoding worker may take over its size at the start, in MiB."""
    max_bad_fraction: Fraction = 0.05
    """The shard fails when a larger share of its videos gives no frames."""
    executor: Literal["processes", "ray"] = "processes"
    """Decode in processes of the job's machine, or as tasks of a Ray cluster that sees the same files."""
    ray_address: Text = "auto"
    """Address of the Ray cluster."""

    # What decides about who decodes and when to give up, but not about the frames: no reason to make them again.
    NOT_FROZEN: ClassVar = frozenset(
        {"keep", "timeout_s", "memory_mb", "max_bad_fraction", "executor", "ray_address"}
    )

    @model_validator(mode="after")
    def _quality_of_pyav(self):
        if self.decode_quality != "exact" and self.decoders() != ["pyav"]:
            raise ValueError(f"decode_quality '{self.decode_quality}' is of decoder pyav alone")
        return self

    def decoders(self) -> list[str]:
        """In the order in which they are tried."""
        return [self.decoder] if isinstance(self.decoder, str) else list(self.decoder)
