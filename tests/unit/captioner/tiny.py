"""A corpus of three colours and two languages, a language model of width 32, and captioners made of them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from workflow_scripts.lib.captioner.data import CaptionDataset, Collator
from workflow_scripts.lib.captioner.demo_lm import make_demo_language_model
from workflow_scripts.lib.captioner.examples import read_split
from workflow_scripts.lib.captioner.loading import load_language_model, load_tokenizer, new_captioner
from workflow_scripts.lib.captioner.prompts import prompts_by_language
from workflow_scripts.lib.config import CaptionerConfig, freeze
from workflow_scripts.lib.corpus.tables import CAPTIONS, read_rows
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.frames.shard import write_status
from workflow_scripts.lib.keys import caption_key, video_key

COLOURS = {"red": ("빨간", "红色"), "green": ("초록색", "绿色"), "blue": ("파란", "蓝色")}
WIDTH, GRID, FRAMES = 8, 2, 6
BROKEN = 4  # a video without frames, in train
CONFIG = {
    "preset": "cpu",
    "encoder": "clip",
    "frames": 3,
    "demo_language_model": {"hidden_size": 32, "layers": 2, "epochs": 2, "batch_size": 8, "vocab_size": 300},
    "max_caption_tokens": 60,
    "prompts": {"en": "English", "ko": "한국어", "zh": "中文"},
    "lora": {"r": 4, "alpha": 8, "dropout": 0.1},
    "stage1": {"epochs": 2, "lr": 1e-2, "batch_size": 8, "label_smoothing": 0.1},
    "stage2": {"epochs": 2, "lr": 1e-2, "batch_size": 8, "label_smoothing": 0.1},
    "validation": {"generated": 2},
    "running": {"per_device_batch_size": 8, "log_steps": 1, "workers": 0},
    "generation": {"max_new_tokens": 40, "batch_size": 8},
}


def config(**changes) -> CaptionerConfig:
    return CaptionerConfig.model_validate({**CONFIG, **changes})


def captions_of(video: int) -> list[tuple[str, str, dict[str, str]]]:
    colour = list(COLOURS)[video % 3]
    korean, chinese = COLOURS[colour]
    return [
        ("en", f"the {colour} one", {"colour": colour}),
        ("ko", f"{korean} 것", {"colour": korean}),
        ("zh", f"{chinese}的", {"colour": chinese}),
    ]


def make_corpus(folder: Path, splits=("train",) * 12 + ("val",) * 3 + ("test",) * 3) -> None:
    """Tables, status and visual tokens in folder/{corpus,frames,features}; one shard."""
    rows, status = [], []
    random = np.random.default_rng(0)
    colours = random.normal(size=(3, WIDTH))
    for name in ("corpus", "frames"):
        (folder / name).mkdir(parents=True)
    with ShardWriter(folder / "features/TokenData/token_shard_000.hdf5", {"model": "fake"}) as writer:
        for video, split in enumerate(splits):
            for number, (language, text, attributes) in enumerate(captions_of(video)):
                rows.append(
                    {
                        "video": video, "caption": number, "key": caption_key(video, number), "split": split,
                        "language": language, "text": text, "start_s": 1.0, "end_s": 4.0,
                        "attributes": list(attributes.items()),
                    }
                )  # fmt: skip
            good = video != BROKEN
            status.append(
                {
                    "index": video, "key": video_key(video), "split": split, "outcome": "ok" if good else "failed",
                    "reason": None if good else "missing", "frames": FRAMES if good else 0,
                    "timestamps": [float(k) for k in range(FRAMES)] if good else [], "bytes": 0, "seconds": 0.0,
                }
            )  # fmt: skip
            if good:
                noise = random.normal(size=(FRAMES, GRID, WIDTH)) * 0.1
                writer.write(video_key(video), colours[video % 3] + noise)
    pq.write_table(pa.Table.from_pylist(rows, CAPTIONS), folder / "corpus/captions_000.parquet")
    write_status(folder / "frames/status_000.parquet", status)


def make_language_model_folder(folder: Path, corpus: Path) -> None:
    """A language model that has seen the captions for a second: it says something, and not always the same."""
    torch.manual_seed(0)
    rows = list(read_rows(corpus, "captions", 1))
    demo = config(demo_language_model={**CONFIG["demo_language_model"], "epochs": 6, "lr": 2e-2})
    make_demo_language_model(rows, demo.demo_language_model, CONFIG["prompts"], folder, limit=60, seed=0)


class Tiny:
    """Everything a test needs, made once in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.model_folder = folder / "lm"
        make_corpus(folder)
        make_language_model_folder(self.model_folder, folder / "corpus")
        self.config = config()
        self.config_file = folder / "captioner.yaml"
        self.config_file.write_text(freeze(self.config), encoding="utf-8")
        self.generation_file = folder / "generation.yaml"
        self.generation_file.write_text(freeze(self.config.generation), encoding="utf-8")
        self.tokenizer = load_tokenizer(str(self.model_folder))
        self.prompts = prompts_by_language(self.tokenizer, self.config.prompts)
        self.collator = Collator(self.tokenizer.pad_token_id)

    def language_model(self, quantization="none", precision="fp32"):
        return load_language_model(str(self.model_folder), quantization, precision, torch.device("cpu"))

    def captioner(self, quantization="none", seed=0):
        language_model = self.language_model(quantization)
        torch.manual_seed(seed)
        return new_captioner(
            language_model,
            self.config.lora,
            visual_width=WIDTH,
            tokens_per_frame=GRID,
            max_frames=self.config.frames,
        )

    def split(self, name: str):
        return read_split(
            self.folder / "corpus", self.folder / "frames", 1, name, count=self.config.frames, languages=None
        )

    def dataset(self, split: str, *, with_caption=True, limit=60):
        return CaptionDataset(
            self.split(split).examples,
            open_features(self.folder / "features", "token"),
            self.tokenizer,
            self.prompts,
            video_token=len(self.tokenizer),
            limit=limit,
            with_caption=with_caption,
        )

    def arguments(self, command: str, **changes) -> list[str]:
        """The command line of a captioner command, as the rules write it."""
        flags = {
            "config": self.config_file,
            "demo-language-model": self.model_folder,
            "features": self.folder / "features",
            "corpus": self.folder / "corpus",
            "frames": self.folder / "frames",
            "shards": 1,
            "threads": 1,
            "seed": 3,
            **changes,
        }
        words = [command]
        for name, value in flags.items():
            words += [f"--{name}"] if value is None else [f"--{name}", str(value)]
        return words
