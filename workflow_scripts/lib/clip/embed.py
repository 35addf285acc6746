"""CLIP models that are evaluated side by side on the same pictures and texts."""

import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
from open_clip_train.main import random_seed
from PIL import Image
from torch import Tensor, nn

from workflow_scripts.lib.clip.export import SIGLIP
from workflow_scripts.lib.clip.held_out import Example
from workflow_scripts.lib.clip.models import find_model
from workflow_scripts.lib.config_clip import ClipConfig
from workflow_scripts.lib.errors import UserError

BATCH = 256


@dataclass(frozen=True)
class Clip:
    """A model with its preprocessing and tokenizer, on its device."""

    model: nn.Module
    preprocess: Callable[[Image.Image], Tensor]
    tokenizer: Callable[[list[str]], Tensor]
    device: torch.device

    @torch.inference_mode()
    def images(self, pixels: Tensor) -> Tensor:
        """Preprocessed images [n, 3, H, W] -> unit vectors [n, D] on the device."""
        return self.model.encode_image(pixels.to(self.device), normalize=True).float()

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> Tensor:
        """Texts -> unit vectors [n, D] on the device; longer ones are cut at the model's context length."""
        return self.model.encode_text(self.tokenizer(texts).to(self.device), normalize=True).float()


def trained_model(folder: Path, device: torch.device) -> Clip:
    """The model that train_clip wrote to `folder`."""
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name, require_pretrained=True)
    return Clip(model.eval().to(device), preprocess, open_clip.get_tokenizer(name), device)


def initial_model(config: ClipConfig, demo_model: Path | None, seed: int, trained: Clip) -> Clip:
    """The model as training found it: with the weights of `pretrained`, or the random ones of `seed`.

    It is made as open_clip_train makes it, and sees what `trained` sees.
    """
    found = find_model(config, demo_model)
    random_seed(seed, 0)
    model, _, _ = open_clip.create_model_and_transforms(found.name, found.pretrained, **model_options(config))
    if found.weights:
        open_clip.load_checkpoint(model, str(found.weights))
    return Clip(model.eval().to(trained.device), trained.preprocess, trained.tokenizer, trained.device)


def model_options(config: ClipConfig) -> dict[str, Any]:
    """What open_clip_train gives to open_clip besides a model's name and weights."""
    size = config.force_image_size
    options = {
        "force_image_size": size[0] if size and len(size) == 1 else size,
        "force_context_length": config.force_context_length,
        "force_patch_dropout": config.force_patch_dropout,
        "force_quick_gelu": config.force_quick_gelu,
        "force_custom_text": config.force_custom_text,
        "pretrained_image": config.pretrained_image,
        "cache_dir": config.cache_dir,
        "output_dict": True,
    }
    if config.siglip:
        options |= SIGLIP
    return options


class Embedded(NamedTuple):
    """What the models say of pairs: rows of images and texts, each different one once."""

    images: list[np.ndarray]
    """[Ni, D] a model."""
    texts: list[np.ndarray]
    """[Nt, D] a model."""
    image: np.ndarray
    """[N], the row of each pair's image."""
    text: np.ndarray
    """[N]."""
    languages: list[str]
    """[N]."""


def embed(models: list[Clip], examples: Iterable[Example], threads: int) -> Embedded | None:
    """Unit vectors of all examples by every model; None where there is no example.

    A picture or a text that comes again is encoded once. What is held are the embeddings; pictures pass by in batches.
    """
    pictures, sentences = _Rows(), _Rows()
    image, text, languages = [], [], []

    def new_pictures() -> Iterator[Example]:
        for example in examples:
            row, new = pictures.add(hashlib.sha256(example.picture).digest())
            image.append(row)
            text.append(sentences.add(example.text)[0])
            languages.append(example.language)
            if new:
                yield example

    def pixels(example: Example) -> Tensor:
        return models[0].preprocess(decoded(io.BytesIO(example.picture), f"the picture of {example.name}"))

    images = _by_model(models, Clip.images, map(torch.stack, in_threads(new_pictures(), pixels, threads)))
    if not image:
        return None
    texts = _by_model(models, Clip.texts, in_batches(sentences))
    return Embedded(images, texts, np.array(image), np.array(text), languages)


def decoded(file: Any, name: str) -> Image.Image:
    """An RGB image; UserError names one that is none."""
    try:
        return Image.open(file).convert("RGB")
    except Exception as error:  # decoders fail in many ways
        raise UserError(f"{name} cannot be decoded ({error}); remove it, or replace it") from None


def in_threads(items: Iterable, work: Callable, threads: int) -> Iterator[list]:
    """`work` on each item, in lists of BATCH; the next list is worked on while one is used."""
    with ThreadPoolExecutor(max(1, threads)) as pool:
        waiting = deque()
        for batch in in_batches(items):
            waiting.append([pool.submit(work, item) for item in batch])
            if len(waiting) > 1:
                yield [future.result() for future in waiting.popleft()]
        for batch in waiting:
            yield [future.result() for future in batch]


def in_batches(items: Iterable) -> Iterator[list]:
    """Lists of BATCH; the last may be shorter."""
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _by_model(models: list[Clip], encode: Callable, batches: Iterable) -> list[np.ndarray]:
    parts = [[] for _ in models]
    for batch in batches:
        for model, found in zip(models, parts, strict=True):
            found.append(encode(model, batch).cpu().numpy())
    return [np.concatenate(found) if found else np.empty((0, 0)) for found in parts]


class _Rows(dict):
    """Different things, in the order in which they first came."""

    def add(self, thing) -> tuple[int, bool]:
        """Its row, and whether it is new."""
        new = thing not in self
        return self.setdefault(thing, len(self)), new
