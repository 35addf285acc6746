"""Epochs of the captioner: with the encoder in the loop and from the cache, by the Trainer and by a bare loop, in batches of
like length and in shuffled ones."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from benchmarks.captioner_data import (
    CPU,
    SEED,
    TINY,
    EncoderInTheLoop,
    Setting,
    encoder_parameters,
    make_cache,
    open_cache,
    open_captions,
    open_dataset,
    open_encoder,
)
from benchmarks.turns import Costs, in_turns, speed
from workflow_scripts.lib.captioner.data import CaptionDataset, Collator
from workflow_scripts.lib.captioner.loading import load_language_model, load_tokenizer, new_captioner
from workflow_scripts.lib.captioner.sampler import CaptionSampler, padding_share
from workflow_scripts.lib.config_captioner import Lora, Projector
from workflow_scripts.lib.features.encoders.encoder import Encoder

IN_THE_LOOP, CACHED, CACHING = "the encoder in the loop", "from the cache", "making the cache"
BUCKETS, SHUFFLED = "batches of like length", "shuffled batches"
EPOCHS = 10  # that caching is judged over
REPEATS = 3  # epochs from the cache in a turn: one is short
LR = 1e-4

Batches = Sequence[Sequence[int]]


class Contestant:
    """A captioner with its optimizer, over captions whose visual tokens come from `features`."""

    def __init__(self, folder: Path, setting: Setting, language_model: str):
        self.tokenizer = load_tokenizer(str(folder / language_model))
        self.model = _captioner(folder, setting, language_model)
        self.collator = Collator(self.tokenizer.pad_token_id)
        self.trained = [value for value in self.model.parameters() if value.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=LR, weight_decay=0.0)

    def dataset(self, examples, features) -> CaptionDataset:
        return open_dataset(examples, features, self.tokenizer, self.model.base_model.model)

    def epoch(self, dataset: CaptionDataset, batches: Batches, schedule: LRScheduler | None = None) -> None:
        """Forward, backward and a step for each batch."""
        self.model.train()
        for batch in batches:
            loss = self._forward(dataset, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
            if schedule:
                schedule.step()

    def _forward(self, dataset: CaptionDataset, batch: Sequence[int]) -> Tensor:
        if isinstance(dataset.features, EncoderInTheLoop):
            dataset.features.encode([dataset.examples[index].video for index in batch])
        return self.model(**self.collator([dataset[index] for index in batch])).loss


def _captioner(folder: Path, setting: Setting, language_model: str) -> PeftModel:
    width, _, patch = setting.vision
    base = load_language_model(str(folder / language_model), "none", "fp32", CPU)
    torch.manual_seed(SEED)
    return new_captioner(
        base,
        Lora(r=16, alpha=32, dropout=0.0),
        visual_width=width,
        tokens_per_frame=(setting.image // patch) ** 2,
        max_frames=setting.frames,
        projector=Projector(pooling="average", tokens=setting.places),
    )


def caching(folder: Path, setting: Setting, rounds: int) -> list[dict]:
    """By language model: costs of an epoch of one caption a clip, both ways, and of making the cache.

    AssertionError when both ways do not give the same visual tokens.
    """
    encoder, clips = open_encoder(folder, setting), np.arange(setting.clips)
    examples, batches = open_captions(folder, setting).take(clips), in_batches(clips, setting.batch)
    sources = {IN_THE_LOOP: EncoderInTheLoop(folder, encoder), CACHED: open_cache(folder)}
    sources[IN_THE_LOOP].encode(clips.tolist())
    for key, tokens in sources[IN_THE_LOOP].items():
        assert np.allclose(tokens, sources[CACHED][key], atol=1e-2, rtol=1e-2), f"{key}: other tokens"
    contestants, parameters = {}, {}
    for name, _, _ in setting.language_models:
        contestant = Contestant(folder, setting, name)
        parameters[name] = contestant.model.base_model.model.language_model.num_parameters()
        datasets = {way: contestant.dataset(examples, features) for way, features in sources.items()}
        contestants[name, IN_THE_LOOP] = partial(_epochs, contestant, datasets[IN_THE_LOOP], batches)
        contestants[name, CACHED] = partial(_epochs, contestant, datasets[CACHED], batches, REPEATS)
        _epochs(
            contestant, datasets[CACHED], batches
        )  # what the first of all costs, as the optimizer's memory
    contestants[CACHING] = partial(_cache_again, folder, encoder)
    costs = in_turns(contestants, rounds)
    return [
        {
            "language_model": name,
            "language_model_parameters": parameters[name],
            "encoder_parameters": encoder_parameters(folder),
            **_saved({way: costs[name, way] for way in sources} | {CACHING: costs[CACHING]}),
        }
        for name, _, _ in setting.language_models
    ]


def _saved(costs: dict[str, Costs]) -> dict:
    clocks = ("cpu_s", "wall_s")
    return {
        "costs": {name: cost.facts() for name, cost in costs.items()},
        "epoch": {clock: speed(costs, CACHED, IN_THE_LOOP, clock) for clock in clocks},
        "epochs": EPOCHS,
        "with_caching": {clock: _with_caching(costs, clock) for clock in clocks},
    }


def _with_caching(costs: dict[str, Costs], clock: str) -> float:
    """EPOCHS with the encoder in the loop, over making the cache once and as many from it; median of the rounds."""
    rounds = zip(*(getattr(costs[name], clock) for name in (IN_THE_LOOP, CACHED, CACHING)), strict=True)
    return float(np.median([EPOCHS * loop / (making + EPOCHS * cached) for loop, cached, making in rounds]))


def _epochs(contestant: Contestant, dataset: CaptionDataset, batches: Batches, times: int = 1) -> int:
    for _ in range(times):
        contestant.epoch(dataset, batches)
    return times


def _cache_again(folder: Path, encoder: Encoder) -> int:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        make_cache(folder, encoder, Path(scratch, "cache"))
    return 1


def padding(folder: Path, setting: Setting, rounds: int) -> dict:
    """Share of padding and costs of an epoch, with batches of like length and without."""
    contestant = Contestant(folder, setting, TINY)
    train = contestant.dataset(open_captions(folder, setting), open_cache(folder))
    lengths = train.lengths()
    orders = {
        name: CaptionSampler(lengths, setting.batch, SEED, bucket=name == BUCKETS).order(0)
        for name in (BUCKETS, SHUFFLED)
    }
    epochs = {
        name: partial(_epochs, contestant, train, in_batches(order, setting.batch))
        for name, order in orders.items()
    }
    costs = in_turns(epochs, rounds)
    least, median, most = np.quantile(lengths, [0, 0.5, 1]).astype(int).tolist()
    return {
        "captions": setting.captions,
        "tokens": {"least": least, "median": median, "most": most},
        "share": {name: padding_share(order, lengths, setting.batch) for name, order in orders.items()},
        "costs": {name: cost.facts() for name, cost in costs.items()},
        "ratio": {clock: speed(costs, BUCKETS, SHUFFLED, clock) for clock in ("cpu_s", "wall_s")},
    }


def in_batches(order: np.ndarray, size: int) -> Batches:
    return [order[start : start + size].tolist() for start in range(0, len(order), size)]
