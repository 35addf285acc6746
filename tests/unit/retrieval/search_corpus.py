"""A small corpus to search: captions encoded by a tiny text encoder, random frames with times, an untrained model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tests.unit.features.tiny_models import demo_folder
from tests.unit.retrieval.tiny_corpus import WIDTH, small_config
from workflow_scripts.lib.config import EncoderConfig, freeze
from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.features.batches import CaptionBatches
from workflow_scripts.lib.features.caption_lists import list_captions
from workflow_scripts.lib.features.encoders.encoder import load_encoder
from workflow_scripts.lib.features.extract import extract_captions
from workflow_scripts.lib.features.layout import shard_path
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.frames.shard import STATUS
from workflow_scripts.lib.keys import caption_key, video_key
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig
from workflow_scripts.lib.retrieval.model_folder import write_model
from workflow_scripts.lib.retrieval.moments import CorpusTables
from workflow_scripts.lib.retrieval.search.build import Sources

VIDEO_COUNT, WITHOUT_FEATURES = 14, 5
SECONDS_A_FRAME = 0.5
WORDS = ["a red square", "빨간 사각형이 있다", "a green square", "한 红色 方块"]


def frame_count(video: int) -> int:
    """From one frame up to more than max_ctx_l."""
    return 1 + 5 * video % 13


def split_of(video: int) -> str:
    return ("train", "train", "val", "test")[video % 4]


def captions_of(video: int) -> list[str]:
    """Two texts, the second one longer than the model reads."""
    words = (WORDS[(video + i) % len(WORDS)] for i in range(3))
    return [f"{WORDS[video % len(WORDS)]} {video}", " and ".join(words)]


def make_sources(folder: Path) -> Sources:
    """Everything that build_index wants, below `folder`."""
    corpus, frames, features = folder / "corpus", folder / "frames", folder / "features"
    corpus.mkdir(parents=True)
    frames.mkdir()
    _write_tables(corpus, frames)
    encoder = demo_folder(folder / "encoder").model_copy(update={"token_grid": None, "text_layer": 0})
    _write_features(features, corpus, encoder)
    torch.manual_seed(1)
    texts = open_features(features, "text")["vid_0#cap_0"].shape[1]
    sizes = GMMFormerConfig(
        WIDTH, texts, 16, max_ctx_l=8, max_desc_l=6, map_size=4, n_heads=2, initializer_range=0.5
    )
    write_model(folder / "model", GMMFormer(sizes).state_dict(), sizes)
    config = small_config()
    (folder / "retrieval.yaml").write_text(freeze(config), encoding="utf-8")
    return Sources(
        config=config,
        config_file=folder / "retrieval.yaml",
        model=folder / "model",
        features=features,
        text_features=features,
        tables=CorpusTables(corpus, frames, 1),
        splits=("train", "val", "test"),
        encoder=encoder,
        trained_clip=None,
        seed=0,
    )


def of_nobody_knows_what(sources: Sources) -> Sources:
    """The same, as if the features had been imported: no encoder and no frames."""
    return replace(sources, encoder=None, tables=sources.tables._replace(frames=None))


def _write_tables(corpus: Path, frames: Path) -> None:
    videos, captions, statuses = [], [], []
    for video in range(VIDEO_COUNT):
        same = {"index": video, "split": split_of(video)}
        names = {"id": f"영상 {video}", "path": f"동영상/{video}.mp4", "source": ""}
        videos.append({**same, **names, "start_s": 100.0 if video == 3 else None})
        for number, text in enumerate(captions_of(video)):
            its = {"video": video, "caption": number, "key": caption_key(video, number)}
            captions.append(
                {**its, "split": split_of(video), "language": "en", "text": text, "attributes": []}
            )
        count = 0 if video == WITHOUT_FEATURES else frame_count(video)
        times = [SECONDS_A_FRAME * (frame + 0.5) for frame in range(count)]
        shown = {"frames": count, "timestamps": times, "duration_s": SECONDS_A_FRAME * count or None}
        outcome = {"outcome": "ok" if count else "failed", "bytes": 0, "seconds": 0.0}
        statuses.append({**same, "key": video_key(video), **outcome, **shown})
    pq.write_table(pa.Table.from_pylist(videos, VIDEOS), corpus / "videos_000.parquet")
    pq.write_table(pa.Table.from_pylist(captions, CAPTIONS), corpus / "captions_000.parquet")
    pq.write_table(pa.Table.from_pylist(statuses, STATUS), frames / "status_000.parquet")


def _write_features(features: Path, corpus: Path, config: EncoderConfig) -> None:
    rng = np.random.default_rng(0)
    with ShardWriter(shard_path(features, "video", 0), {"space": "frames"}, dtype="float16") as writer:
        for video in range(VIDEO_COUNT):
            if video != WITHOUT_FEATURES:
                writer.write(video_key(video), rng.normal(size=(frame_count(video), WIDTH)))
    encoder = load_encoder(config, None, torch.device("cpu"), sides=("text",))
    captions = CaptionBatches(pq.read_table(corpus / "captions_000.parquet"), encoder, 8)
    files = {kind: shard_path(features, kind, 0) for kind in ("text", "sentence")}
    extract_captions(captions, encoder, files, config.dtype)
    list_captions(features, corpus, "tiny", shards=1)
