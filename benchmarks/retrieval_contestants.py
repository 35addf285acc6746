"""Ours and the reference: the same weights, the same videos, each by its own code."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from benchmarks import retrieval_reference_evaluation, retrieval_reference_training
from benchmarks.retrieval_data import Sizes, corpus_folder
from benchmarks.retrieval_reference import Reference
from benchmarks.retrieval_reference_inputs import Files, TrainingBatch
from benchmarks.retrieval_reference_training import BertAdam, draw_ranks, losses
from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.features.caption_lists import caption_table
from workflow_scripts.lib.features.datasets import CaptionedVideos, CaptionTable
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.retrieval.data import Batch, make_batch
from workflow_scripts.lib.retrieval.evaluate import retrieve
from workflow_scripts.lib.retrieval.losses import retrieval_loss
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig, similarities
from workflow_scripts.lib.retrieval.optim import clip_gradients
from workflow_scripts.lib.retrieval.state import TrainingState
from workflow_scripts.lib.retrieval.step import BatchEncoder, train_step

AS_ORIGINAL = {"optimizer": "bert_adam", "clipping": "per_tensor", "warmup": 0}
ENDLESS = 10**9  # steps of the schedule: a rate that stays
OURS, REFERENCE = "ours", "reference"
HARD = False  # negatives of the steps that are timed, as in the original's first epochs


@dataclass(frozen=True)
class Setting:
    """What is trained and evaluated, of which size."""

    sizes: Sizes = field(default_factory=Sizes)
    batch: int = 128
    """Videos of a training step."""
    config: RetrievalConfig = field(default_factory=partial(RetrievalConfig, **AS_ORIGINAL))

    @property
    def model(self) -> GMMFormerConfig:
        names = ("hidden_size", "max_ctx_l", "max_desc_l", "map_size", "input_drop", "drop", "n_heads")
        widths = {"visual_input_size": self.sizes.width, "query_input_size": self.sizes.width}
        return GMMFormerConfig(**widths, **{name: getattr(self.config, name) for name in names})


QUICK = Setting(
    Sizes(videos=40, captions=3, frames=(8, 24), words=(3, 14), width=16, few=15),
    batch=12,
    config=RetrievalConfig(hidden_size=16, n_heads=2, map_size=4, max_ctx_l=16, max_desc_l=12, **AS_ORIGINAL),
)


def made_model(config: GMMFormerConfig) -> GMMFormer:
    """Ours with the same weights every time, none of them at rest: zero biases would hide what they do."""
    torch.manual_seed(0)
    model = GMMFormer(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("LayerNorm.weight"):
                parameter.add_(torch.randn_like(parameter), alpha=0.2)
            elif name.endswith("bias"):
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
            elif name.endswith(("query.weight", "key.weight")):
                parameter.mul_(3)
    return model


class Contestant(Protocol):
    """What is timed of each."""

    def read(self, videos: Sequence[int]) -> Any:
        """The batch of these videos with all their captions, in main memory."""

    def step(self, batch: Any) -> float:
        """One optimizer step; the loss."""

    def parts(self, batch: Any) -> dict[str, Any]:
        """What a step is made of, forward and backward, each to be called apart."""

    def masks(self, batch: Any) -> dict[str, list[Tensor]]:
        """Of its videos' frames and its captions' words, one of each part."""

    def evaluate(self, few: bool) -> np.ndarray:
        """Rank of each caption among all videos, or among the few, from 1."""


class Ours:
    """The library's own code."""

    def __init__(self, cache: Path, setting: Setting, device: torch.device):
        self.setting, self.device = setting, device
        self.folder = corpus_folder(cache, setting.sizes) / "ours"
        self.model = made_model(setting.model).to(device)
        self.encoder = BatchEncoder(self.model)
        self.training_set = CaptionedVideos(*self._opened("test"))

    @cached_property
    def state(self) -> TrainingState:
        """Not made for evaluation: torch's optimizers import much."""
        return TrainingState.new(self.model, self.setting.config, ENDLESS)

    def _opened(self, split: str) -> tuple:
        readers = (open_features(self.folder, kind) for kind in ("video", "text"))
        return *readers, CaptionTable(caption_table(self.folder, split))

    def read(self, videos: Sequence[int]) -> Batch:
        return make_batch(
            self.training_set.__getitems__(videos), self.setting.model, self.setting.config.parts
        )

    def step(self, batch: Batch) -> float:
        numbers = train_step(self.state, self.encoder, batch, self.setting.config, seed=0, hard=HARD)
        return float(numbers["total"])

    def parts(self, batch: Batch) -> dict:
        batch = batch.to(self.device)
        model, config = self.model.train(), self.setting.config
        queries, clips, frame = _embeddings(len(batch.query_places), len(batch.video_places), self)

        def loss() -> Tensor:
            terms = retrieval_loss(
                similarities(queries, clips, frame), queries, batch.owner, config, hard=HARD
            )
            return terms["total"]

        return {
            "queries": partial(_both_ways, lambda: [model.encode_query(*part) for part in batch.queries]),
            "clips": partial(_both_ways, lambda: [model.encode_clips(part.clips) for part in batch.videos]),
            "frames": partial(
                _both_ways, lambda: [model.encode_frames(part.frames, part.mask) for part in batch.videos]
            ),
            "losses": partial(_both_ways, lambda: [loss()]),
            "optimizer": self.optimize,
        }

    def optimize(self) -> int:
        """Clip the gradients that are there, and step."""
        config = self.setting.config
        clip_gradients(self.model.parameters(), config.clip_norm, config.clipping)
        self.state.optimizer.step()
        return 1

    def masks(self, batch: Batch) -> dict[str, list[Tensor]]:
        return {
            "frames": [part.mask for part in batch.videos],
            "words": [part.mask for part in batch.queries],
        }

    def encode(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, clips and frames of a batch."""
        return self.encoder(batch.to(self.device))

    def evaluate(self, few: bool) -> np.ndarray:
        videos, texts, split = self._opened("val" if few else "test")
        return retrieve(self.model, split, videos, texts, self.setting.config.clip_weight).rank


class Theirs:
    """The reference."""

    def __init__(self, cache: Path, setting: Setting, device: torch.device):
        self.setting, self.device = setting, device
        self.folder = corpus_folder(cache, setting.sizes) / "bigfile"
        self.model = Reference(setting.model)
        self.model.load_state_dict(made_model(setting.model).state_dict())
        self.model.to(device)
        config = setting.config
        self.optimizer = BertAdam(self.model, config.lr, config.weight_decay, config.clip_norm)
        self.files = self._opened()

    def _opened(self) -> Files:
        return Files(self.folder, self.setting.model, self.setting.sizes.captions)

    def read(self, videos: Sequence[int]) -> TrainingBatch:
        return self.files.training_batch(videos)

    def step(self, batch: TrainingBatch) -> float:
        config, batch = self.setting.config, batch.to(self.device)
        return retrieval_reference_training.train_step(self.model, self.optimizer, batch, config, HARD)

    def parts(self, batch: TrainingBatch) -> dict:
        batch = batch.to(self.device)
        model, config = self.model.train(), self.setting.config
        queries, clips, frame = _embeddings(len(batch.labels), len(batch.order), self)

        def loss() -> Tensor:
            ranks = [draw_ranks(batch.labels, len(frame), None) for _ in range(2)]
            return losses(clips, frame, queries, queries, batch.labels, config, ranks)["total"]

        return {
            "queries": partial(
                _both_ways, lambda: [model.encode_query(batch.queries), model.encode_query(batch.queries)]
            ),
            "clips": partial(_both_ways, lambda: [model.encode_clips(batch.videos.clips)]),
            "frames": partial(_both_ways, lambda: [model.encode_frames(*batch.videos[1:])]),
            "losses": partial(_both_ways, lambda: [loss()]),
            "optimizer": self.optimize,
        }

    def optimize(self) -> int:
        """Clip the gradients that are there, and step."""
        self.optimizer.step()
        return 1

    def masks(self, batch: TrainingBatch) -> dict[str, list[Tensor]]:
        return {"frames": [batch.videos.mask], "words": [batch.queries.mask]}

    def evaluate(self, few: bool) -> np.ndarray:
        videos = range(self.setting.sizes.few if few else self.setting.sizes.videos)
        clip_weight = self.setting.config.clip_weight
        return retrieval_reference_evaluation.evaluate(self.model, self._opened(), videos, clip_weight)

    def few_scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores [Nq, few] of the small split, queries in order, and the column [Nq] of each one's video."""
        videos = range(self.setting.sizes.few)
        clip_weight = self.setting.config.clip_weight
        scores, _, places = retrieval_reference_evaluation.all_scores(
            self.model, self.files, videos, clip_weight
        )
        order = np.argsort(places)
        return scores.cpu().numpy()[order], np.arange(len(order)) // self.setting.sizes.captions


CONTESTANTS = {OURS: Ours, REFERENCE: Theirs}


def _embeddings(queries: int, videos: int, contestant: Contestant) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [Nq, D], clips [B, M, D] and frames [B, D] to take losses of."""
    config = contestant.setting.model
    shapes = ((queries,), (videos, config.map_size), (videos,))
    return tuple(
        torch.randn(*shape, config.hidden_size, device=contestant.device, requires_grad=True)
        for shape in shapes
    )


def _both_ways(forward) -> int:
    """Forward, and backward from ones."""
    outputs = forward()
    torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
    return 1
