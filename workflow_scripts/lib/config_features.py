"""The configuration's section about features: encoders that run here, and features that were extracted elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from workflow_scripts.lib.config_types import Count, Name, Positive, Section, Text

Side = Literal["video", "text"]

# Settings of an import that not every format knows, and the formats that do.
IMPORT_SETTINGS = {
    "captions": ["webvid_pt"],
    "visual": ["bigfile", "hdf5"],
    "queries": ["bigfile", "hdf5"],
}


class EncoderConfig(Section):
    """One frozen image-text encoder and what to keep of it."""

    name: Name
    """Folder name, and what `retrieval.encoder` and `captioner.encoder` refer to."""
    kind: Literal["trained_clip", "open_clip", "transformers"]
    """The model that `train_clip` made, any open_clip model, or one of transformers: image and text (CLIP, SigLIP, SigLIP2
    ...), vision alone (DINOv2 ...; with `text: none`), text alone (XLM-RoBERTa ...; with `frames: false`)."""
    model: Text | None = None
    """open_clip: model name, `local-dir:FOLDER` or `hf-hub:ORG/NAME`. transformers: hub id or local folder."""
    pretrained: Text | None = None
    """open_clip: pretrained tag or checkpoint file."""
    frames: bool = True
    """Encode frames; false for a text model."""
    token_grid: Annotated[list[Positive], Field(min_length=2, max_length=2)] | Literal["all"] | None = None
    """Keep the vision tower's patch tokens, average-pooled to so many rows and columns, or `all` of them; the captioner
    needs them."""
    text: Literal["tokens", "sentence", "none"] = "tokens"
    """What retrieval reads of a caption: an embedding a token, or one for all of it; none for a vision model."""
    text_layer: Count | None = None
    """Layer of the text tower whose token states retrieval reads: none is the last one, projected into the joint space;
    0 is the word embeddings, before any layer. A tower trained on single frames forgets words that no frame can
    confirm, such as directions; its lower layers still tell them apart."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward pass."""
    dtype: Literal["float16", "float32"] = "float16"
    """Number format of the stored features."""
    batch_size: Positive = 64
    """Frames or captions a forward pass. Another one makes no features again: it fits the memory of a GPU, and changes
    no more than the rounding."""
    compile: bool = False
    """Compile the model with torch.compile: some minutes at the start of each job, faster passes after. Like
    `batch_size`, it makes no features again."""
    space: Literal["corpus", "shard"] = "corpus"
    """What must fit on the disk before a shard is begun: the features of the whole corpus, or, where finished shards are
    moved away in time, those of the shard alone."""

    # How the features are made, not what they are: batches and compiled code change no more than the rounding.
    RUNNING: ClassVar = ("batch_size", "compile", "space")
    # What does not decide about the features of a side. Editing it makes none of them again.
    NOT_DECIDING: ClassVar[dict[Side, frozenset[str]]] = {
        "video": frozenset({*RUNNING, "frames", "text", "text_layer"}),
        "text": frozenset({*RUNNING, "frames", "token_grid"}),
    }

    def sides(self) -> list[Side]:
        """What is encoded: video, text, or both."""
        return [side for side, done in (("video", self.frames), ("text", self.text != "none")) if done]

    @model_validator(mode="after")
    def _something_kept(self):
        if not self.sides():
            raise ValueError("frames: false and text: none leave nothing to encode")
        if self.token_grid is not None and not self.frames:
            raise ValueError("`token_grid` goes with `frames: true`")
        if self.text_layer is not None and self.text != "tokens":
            raise ValueError(f"`text_layer` goes with `text: tokens`, not with {self.text}")
        return self

    @model_validator(mode="after")
    def _model_given(self):
        if (self.kind == "trained_clip") != (self.model is None):
            raise ValueError(
                "`model` is needed for kinds open_clip and transformers, and only there: "
                "kind trained_clip takes the model of this run's train_clip"
            )
        if self.pretrained is not None and self.kind != "open_clip":
            raise ValueError(f"`pretrained` goes with kind open_clip, not with {self.kind}")
        return self


class ImportedEncoder(Section):
    """Features that were extracted elsewhere. They are the corpus (`corpus.adapter: imported`): there are no videos, no
    frames and no other encoders."""

    name: Name
    """Folder name, and what `retrieval.encoder` refers to."""
    kind: Literal["imported"]
    """Nothing is encoded: the features are brought into the layout of all others."""
    format: Literal["webvid_pt", "bigfile", "hdf5", "sharded"]
    """`webvid_pt`: WebVid's torch files. `bigfile`: the folders that the original GMMFormer code reads, FeatureData with a
    BigFile and TextData. `hdf5`: the same with an HDF5, one dataset a video, in place of the BigFile. `sharded`: the same
    with many HDF5s, of videos and of texts, and a manifest or meta file of each."""
    source: Path
    """Folder of the features."""
    captions: Path | None = None
    """webvid_pt: CSV in the `webvid` format with the texts of the captions, which the features come without."""
    visual: Text | None = None
    """bigfile, hdf5: name of the features of frames, where there are several."""
    queries: Text | None = None
    """bigfile, hdf5: name of the features of captions, where there are several."""
    dtype: Literal["float16", "float32"] = "float32"
    """Number format of the shards: float32 keeps every value, float16 halves the files."""

    token_grid: ClassVar[None] = None  # no visual tokens

    def sides(self) -> list[Side]:
        """Of videos and of texts."""
        return ["video", "text"]

    @model_validator(mode="after")
    def _keys_of_the_format(self):
        for key, formats in IMPORT_SETTINGS.items():
            if getattr(self, key) is not None and self.format not in formats:
                raise ValueError(
                    f"`{key}` goes with format {' or '.join(formats)}, not with format {self.format}"
                )
        return self


class FeaturesConfig(Section):
    """Features of frames and captions, as HDF5 shards with manifest and meta."""

    encoders: Annotated[
        list[Annotated[EncoderConfig | ImportedEncoder, Field(discriminator="kind")]], Field(min_length=1)
    ]
    """Encoders to run; each fills a folder of its own."""

    @model_validator(mode="after")
    def _names_differ(self):
        names = [encoder.name for encoder in self.encoders]
        if len(set(names)) < len(names):
            raise ValueError(f"encoder names must differ, found {', '.join(names)}")
        return self

    def encoder(self, name: str) -> EncoderConfig | ImportedEncoder:
        """The encoder of that name (KeyError if there is none; `parse_config` has checked)."""
        return {encoder.name: encoder for encoder in self.encoders}[name]
