"""What the captioner's benchmark trains on: clips with captions of many lengths, and models of random weights."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast, ViTConfig, ViTImageProcessor, ViTModel

from workflow_scripts.lib.captioner.data import CaptionDataset
from workflow_scripts.lib.captioner.demo_lm import make_language_model, train_tokenizer
from workflow_scripts.lib.captioner.examples import Examples, read_split
from workflow_scripts.lib.captioner.model import CaptionerForConditionalGeneration
from workflow_scripts.lib.captioner.prompts import prompts_by_language
from workflow_scripts.lib.config import DemoLanguageModel, EncoderConfig
from workflow_scripts.lib.corpus.tables import CAPTIONS
from workflow_scripts.lib.features.batches import FrameBatches
from workflow_scripts.lib.features.encoders.encoder import Encoder, load_encoder
from workflow_scripts.lib.features.extract import extract_videos
from workflow_scripts.lib.features.reader import FeatureReader, open_features
from workflow_scripts.lib.files import whole_folder
from workflow_scripts.lib.frames.shard import FrameShard, write_status, write_tar
from workflow_scripts.lib.keys import caption_key, video_key

CPU = torch.device("cpu")
SEED = 1
WORDS = (
    "a",
    "the",
    "red",
    "blue",
    "dog",
    "car",
    "tree",
    "child",
    "runs",
    "turns",
    "slowly",
    "behind",
    "bright",
    "street",
)
PROMPTS = {"en": "Describe the video in English."}
TINY, SMALL = "tiny", "small"


@dataclass(frozen=True)
class Setting:
    """Sizes."""

    clips: int = 24
    frames: int = 8
    captions: int = 480
    """Of all clips together; caching is measured with one a clip."""
    words: tuple[int, int] = (6, 120)
    """Of the shortest and the longest caption."""
    image: int = 224
    vision: tuple[int, int, int] = (768, 12, 16)
    """Width, layers and patch of the encoder."""
    places: int = 16
    """Tokens of a frame that the language model sees, of all patches."""
    language_models: tuple[tuple[str, int, int], ...] = ((TINY, 160, 4), (SMALL, 640, 8))
    """Name, width and layers."""
    batch: int = 8

    @property
    def name(self) -> str:
        return f"captioner_{self.clips}_{self.captions}_{self.image}"


QUICK = Setting(
    clips=4, frames=2, captions=16, words=(2, 12), image=32, vision=(32, 1, 8), places=4,
    language_models=((TINY, 32, 1), (SMALL, 64, 1)), batch=4,
)  # fmt: skip


def corpus_folder(cache: Path, setting: Setting) -> Path:
    """Frames, tables, captions and models, made once."""
    folder = cache / setting.name
    if not folder.is_dir():
        with whole_folder(folder) as made:
            texts = _write_tables(made, setting)
            torch.manual_seed(SEED)
            width, layers, patch = setting.vision
            vision = ViTConfig(
                image_size=setting.image, patch_size=patch, hidden_size=width, num_hidden_layers=layers,
                num_attention_heads=width // 16 if width < 64 else width // 64, intermediate_size=4 * width,
            )  # fmt: skip
            ViTModel(vision).save_pretrained(made / "encoder")
            size = {"height": setting.image, "width": setting.image}
            ViTImageProcessor(size=size).save_pretrained(made / "encoder")
            tokenizer = train_tokenizer([*texts, *PROMPTS.values()], 1024)
            for name, hidden, depth in setting.language_models:
                section = DemoLanguageModel(hidden_size=hidden, layers=depth)
                make_language_model(section, tokenizer).save_pretrained(made / name)
                tokenizer.save_pretrained(made / name)
            make_cache(made, open_encoder(made, setting), made / "features")
    return folder


def _write_tables(folder: Path, setting: Setting) -> list[str]:
    rng = np.random.default_rng(SEED)
    (folder / "corpus").mkdir()
    (folder / "frames").mkdir()
    shortest, longest = setting.words
    rows, numbers = [], dict.fromkeys(range(setting.clips), 0)
    for row in range(setting.captions):
        video = row % setting.clips
        count = int(shortest * (longest / shortest) ** rng.random())  # few are long
        text = " ".join(rng.choice(WORDS, count))
        rows.append({"video": video, "caption": numbers[video], "key": caption_key(video, numbers[video]),
                     "split": "train", "language": "en", "text": text, "attributes": []})  # fmt: skip
        numbers[video] += 1
    pq.write_table(pa.Table.from_pylist(rows, CAPTIONS), folder / "corpus/captions_000.parquet")
    times = [float(second) for second in range(setting.frames)]
    videos = [
        (video, [_picture(rng, setting.image) for _ in range(setting.frames)])
        for video in range(setting.clips)
    ]
    write_tar(folder / "frames/frames_000.tar", videos)
    status = [{"index": video, "key": video_key(video), "split": "train", "outcome": "ok", "frames": len(times),
               "timestamps": times, "bytes": 0, "seconds": 0.0} for video in range(setting.clips)]  # fmt: skip
    write_status(folder / "frames/status_000.parquet", status)
    return [row["text"] for row in rows]


def _picture(rng: np.random.Generator, size: int) -> bytes:
    coarse = Image.fromarray(rng.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8))
    data = io.BytesIO()
    coarse.resize((size, size), Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
    return data.getvalue()


def open_encoder(folder: Path, setting: Setting) -> Encoder:
    """The vision encoder; it gives all patches of a frame."""
    config = EncoderConfig(
        name="vit", kind="transformers", model=str(folder / "encoder"), text="none", token_grid="all",
        batch_size=setting.batch * setting.frames,
    )  # fmt: skip
    return load_encoder(config, None, CPU, sides=["video"])


def make_cache(folder: Path, encoder: Encoder, features: Path) -> None:
    """What extract_video_features does once its model is loaded."""
    frames = folder / "frames"
    with FrameBatches(
        frames / "frames_000.tar", frames / "status_000.parquet", encoder, encoder.config.batch_size
    ) as batches:
        files = {
            "video": features / "FeatureData/video_shard_000.hdf5",
            "token": features / "TokenData/token_shard_000.hdf5",
        }
        extract_videos(batches, encoder, files, encoder.config.dtype)


def open_cache(folder: Path) -> FeatureReader:
    """The visual tokens that were made with the folder."""
    return open_features(folder / "features", "token")


class EncoderInTheLoop(Mapping[str, np.ndarray]):
    """Visual tokens [F, P, Dv] of clips that are decoded and encoded each time they are asked for: no cache."""

    def __init__(self, folder: Path, encoder: Encoder):
        self.frames, self.encoder = FrameShard(folder / "frames/frames_000.tar"), encoder
        self._batch: dict[str, np.ndarray] = {}

    def encode(self, videos: Sequence[int]) -> None:
        """Take these clips, all frames in one forward pass, for what is asked next."""
        jpegs = [self.frames.jpegs(video) for video in videos]
        images = [Image.open(io.BytesIO(jpeg)).convert("RGB") for clip in jpegs for jpeg in clip]
        tokens = self.encoder.encode_frames(self.encoder.preprocess(images)).tokens.half().cpu().numpy()
        ends = np.cumsum([len(clip) for clip in jpegs])[:-1]
        self._batch = dict(zip(map(video_key, videos), np.split(tokens, ends), strict=True))

    def __getitem__(self, key: str) -> np.ndarray:
        return self._batch[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._batch)

    def __len__(self) -> int:
        return len(self._batch)


def open_captions(folder: Path, setting: Setting) -> Examples:
    """The captions, each with all frames of its clip."""
    corpus, frames = folder / "corpus", folder / "frames"
    return read_split(corpus, frames, 1, "train", count=setting.frames, languages=None).examples


def open_dataset(
    examples: Examples,
    features: Mapping[str, np.ndarray],
    tokenizer: PreTrainedTokenizerFast,
    model: CaptionerForConditionalGeneration,
) -> CaptionDataset:
    """Those captions as training has them."""
    return CaptionDataset(
        examples,
        features,
        tokenizer,
        prompts_by_language(tokenizer, PROMPTS),
        video_token=model.config.video_token_id,
        limit=512,
        tokens_per_frame=model.config.places_per_frame,
    )


def encoder_parameters(folder: Path) -> int:
    """Of the vision encoder."""
    return ViTModel.from_pretrained(folder / "encoder").num_parameters()
