"""A run on three real videos, up to the visual tokens that a captioner is trained on, and captioners made of it."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from tests.unit.captioner.language_models import write_language_model
from tests.unit.features.tiny_models import demo_folder
from workflow_scripts.lib.captioner.live import LiveFeatures, Moment
from workflow_scripts.lib.captioner.trained import Trained
from workflow_scripts.lib.config import CaptionerConfig, EncoderConfig, FramesConfig, freeze_side
from workflow_scripts.lib.corpus.demo.render import render
from workflow_scripts.lib.corpus.demo.scenes import annotation, scene
from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.features.batches import FrameBatches
from workflow_scripts.lib.features.encoders.encoder import load_encoder
from workflow_scripts.lib.features.extract import extract_videos
from workflow_scripts.lib.frames.pool import Limits
from workflow_scripts.lib.frames.stage import Executor, ShardFiles, extract_shard
from workflow_scripts.lib.keys import caption_key

FRAMES = FramesConfig(count=8, size=[64, 64], moment_frames=3)
SPLITS = ("train", "val", "test")
PROMPTS = {"en": "Describe the video in English.", "ko": "이 영상을 한국어로 설명하세요."}
CAPTIONER = {
    "preset": "cpu",
    "encoder": "clip",
    "frames": 4,
    "prompts": PROMPTS,
    "lora": {"r": 4},
    "stage1": {"epochs": 2, "lr": 1e-2, "batch_size": 4},
    "stage2": {"epochs": 2, "lr": 1e-2, "batch_size": 4},
    "validation": {"generated": 0},
    "generation": {"max_new_tokens": 12, "batch_size": 3},
}


def call(module, words: list[str]) -> None:
    """Run a command in this process."""
    before, sys.argv = sys.argv, words
    try:
        module.main()
    finally:
        sys.argv = before


class VideoRun:
    """Tables, frames, features by a CLIP of the run, and a language model; one shard of three videos."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.videos = [folder / "videos" / f"영상 {number}.mp4" for number in range(len(SPLITS))]
        (folder / "videos").mkdir()
        self.captions = self._tables()
        status, tar = folder / "frames/status_000.parquet", folder / "frames/frames_000.tar"
        files = ShardFiles(
            folder / "corpus/videos_000.parquet", folder / "corpus/captions_000.parquet", folder / "videos",
            folder / "journal", tar, status,
        )  # fmt: skip
        extract_shard(FRAMES, Limits(), files, Executor(1))
        self.features = folder / "features/clip"
        self._encode(tar, status)
        texts = [caption["text"] for caption in self.captions] + list(PROMPTS.values())
        self.texts = texts
        self.language_model = write_language_model(folder / "language_model", "qwen3", texts)

    def config(self, part: str, **changes) -> Path:
        """File of a frozen part of the captioner's section."""
        section = {**CAPTIONER, "language_model": str(self.language_model), **changes}
        file = self.folder / f"{part}.yaml"
        file.write_text(
            yaml.safe_dump(CaptionerConfig.model_validate(section).part(part), allow_unicode=True), encoding="utf-8"
        )  # fmt: skip
        return file

    def arguments(self, command: str, config: Path, **more) -> list[str]:
        """Command line of a captioner command."""
        flags = {"config": config, "features": self.features, "corpus": self.folder / "corpus",
                 "frames": self.folder / "frames", "shards": 1, "threads": 1, "seed": 3, **more}  # fmt: skip
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        return [command, "--demo-language-model", *words]

    def training(self, stage: str, folder: Path, **changes) -> list[str]:
        """Command line of a stage that is trained into `folder`; `stage` is stage1 or stage2."""
        more = {"stage1": folder / "stage1"} if stage == "stage2" else {}
        return self.arguments(
            f"train_captioner_{stage}", self.config(stage, **changes), **more,
            checkpoints=folder / f"{stage}_checkpoints", model=folder / stage, curve=folder / f"{stage}.csv",
        )  # fmt: skip

    def inputs(self, trained: Trained, stage: Path) -> dict[str, torch.Tensor]:
        """What the captioner of that folder reads of the first video, before a caption in Korean."""
        [seen] = LiveFeatures(stage, torch.device("cpu")).see(self.videos[:1], Moment(), 4)
        config, prompt = trained.model.base_model.model.config, trained.prompts["ko"]
        places = [config.video_token_id] * (4 * config.places_per_frame)
        ids = torch.tensor([prompt.before + places + prompt.after])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "frames": torch.tensor([4]),
                "visual": torch.from_numpy(seen.tokens).float()[None]}  # fmt: skip

    def _tables(self) -> list[dict]:
        rows, captions = [], []
        for index, (video, split) in enumerate(zip(self.videos, SPLITS, strict=True)):
            what = scene(0, index, 2)
            render(what, video, 64, 8)
            rows.append(
                {"index": index, "id": video.stem, "path": video.name, "source": video.name, "split": split}
            )
            for number, caption in enumerate(annotation(what, index, video.name)["captions"]):
                captions.append(
                    {"video": index, "caption": number, "key": caption_key(index, number), "split": split,
                     "language": caption["lang"], "text": caption["text"], "start_s": caption["start_s"],
                     "end_s": caption["end_s"], "attributes": []}
                )  # fmt: skip
        (self.folder / "corpus").mkdir()
        for name, schema, found in (("videos", VIDEOS, rows), ("captions", CAPTIONS, captions)):
            pq.write_table(pa.Table.from_pylist(found, schema), self.folder / f"corpus/{name}_000.parquet")
        return captions

    def _encode(self, tar: Path, status: Path) -> None:
        self.clip = self.folder / "clip/trained"
        self.clip.parent.mkdir()
        demo_folder(self.clip)
        config = EncoderConfig(name="clip", kind="trained_clip", token_grid=[2, 2])
        encoder = load_encoder(config, self.clip, torch.device("cpu"), sides=["video"])
        with FrameBatches(tar, status, encoder, config.batch_size) as frames:
            shards = {"video": "FeatureData/video_shard_000", "token": "TokenData/token_shard_000"}
            files = {kind: self.features / f"{name}.hdf5" for kind, name in shards.items()}
            extract_videos(frames, encoder, files, config.dtype)
        (self.features / "encoder_video.yaml").write_text(freeze_side(config, "video"), encoding="utf-8")
