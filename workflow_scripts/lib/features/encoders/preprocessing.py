"""A model's own image preprocessing in two steps: uint8 pixels in a worker, their arithmetic on the device.

Resizing and cropping take the time, and leave a quarter of the bytes to hand over. Both steps together give the same
numbers, bit for bit, as the library's transform in one go; a transform that cannot be split so is called whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, Normalize, ToTensor

Batch = dict[str, Tensor]
Transform = Callable[[Image.Image], Any]


@dataclass(frozen=True)
class Preprocessing:
    """Knows nothing of the model, so that worker processes can have it alone."""

    in_worker: Callable[[list[Image.Image]], Batch]
    on_device: Callable[[Batch], Batch] | None = None

    def __call__(self, images: list[Image.Image]) -> Batch:
        """n images to [n, ...] each, on the CPU."""
        return self.in_worker(images)

    def finish(self, batch: Batch, device: torch.device) -> Batch:
        """What the vision tower takes, on `device`; images [n, 3, H, W] in the order of memory that convolutions like."""
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        if self.on_device is not None:
            batch = self.on_device(batch)
        return {
            name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
            for name, value in batch.items()
        }


def of_compose(transform: Transform) -> Preprocessing:
    """Of a torchvision Compose, which open_clip makes: split before ToTensor and Normalize where it ends in them."""
    whole = partial(_call_one_by_one, transform)
    steps = transform.transforms if isinstance(transform, Compose) else []
    if len(steps) > 2 and isinstance(steps[-2], ToTensor) and isinstance(steps[-1], Normalize):
        normalize = partial(_to_normalized, steps[-1].mean, steps[-1].std)
        return _split_if_the_same(whole, partial(_pixels, Compose(steps[:-2])), normalize)
    return Preprocessing(whole)


def of_processor(processor: Any) -> Preprocessing:
    """Of an image processor of transformers: split before its own `rescale_and_normalize` where that comes last."""
    whole = partial(_call, processor)
    if not hasattr(processor, "rescale_and_normalize"):
        return Preprocessing(whole)
    pixels = partial(_call, processor, do_rescale=False, do_normalize=False)
    return _split_if_the_same(whole, pixels, partial(_rescale_and_normalize, processor))


def _split_if_the_same(whole: Callable, in_worker: Callable, on_device: Callable) -> Preprocessing:
    """Tried on noise: some go on after normalising (patches, padding), and then the two steps give something else."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 97, 131, 3), dtype=np.uint8)
    probe = [Image.fromarray(image) for image in noise]
    expected, begun = whole(probe), in_worker(probe)
    if all(value.dtype == torch.uint8 and value.ndim == 4 for value in begun.values()):
        found = on_device(begun)
        if all(torch.equal(expected[name], found.get(name, torch.empty(0))) for name in expected):
            return Preprocessing(in_worker, on_device)
    return Preprocessing(whole)


def _call_one_by_one(transform: Transform, images: list[Image.Image]) -> Batch:
    return {"image": torch.stack([transform(image) for image in images])}


def _pixels(transform: Transform, images: list[Image.Image]) -> Batch:
    """uint8 [n, 3, H, W], in memory as the images have it: pixel after pixel."""
    pixels = np.stack([np.asarray(transform(image)) for image in images])
    return {"image": torch.from_numpy(pixels).permute(0, 3, 1, 2)}


def _to_normalized(mean: list[float], std: list[float], batch: Batch) -> Batch:
    image = batch["image"]
    # Divided by a tensor: CUDA makes of a division by a number a multiplication, which rounds otherwise.
    image = image.float().div_(torch.full((), 255.0, device=image.device))
    mean, std = (torch.tensor(value, device=image.device)[:, None, None] for value in (mean, std))
    return {"image": image.sub_(mean).div_(std)}


def _call(processor: Any, images: list[Image.Image], **settings: bool) -> Batch:
    return dict(processor(images=images, return_tensors="pt", **settings))


def _rescale_and_normalize(processor: Any, batch: Batch) -> Batch:
    settings = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    pixels = batch["pixel_values"]
    return {
        "pixel_values": processor.rescale_and_normalize(pixels, *(getattr(processor, n) for n in settings))
    }
