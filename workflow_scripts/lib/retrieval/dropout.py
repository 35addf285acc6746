"""Dropout whose mask is drawn again in the backward pass instead of being kept, and drawn cheaply on the CPU.

PyTorch's own takes 10 ns an element there, an eighth of a training step, and keeps a float an element.
Each mask is a function of one seed drawn from torch's global generator, which torch.manual_seed makes reproducible.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_STEPS = 2**16  # a rate is a multiple of 1 / _STEPS, and the scale the inverse of just that share


def new_seed() -> int:
    """A seed of one mask, from torch's global generator on the CPU (so a GPU is not waited for)."""
    return int(torch.randint(2**63 - 1, ()))


def draw_mask(like: Tensor, rate: float, seed: int) -> Tensor:
    """Of the shape, type and device of `like`: 0 with probability `rate` (at least 0, below 1), else 1 / (1 - rate)."""
    zeros = min(round(rate * _STEPS), _STEPS - 1)
    if like.device.type == "cpu":
        words = np.random.SFC64(seed).random_raw(-(-like.numel() // 4))  # of 64 bits, four draws each
        draws = torch.from_numpy(words.view(np.int16)[: like.numel()]).view(like.shape)
        mask = draws.to(torch.promote_types(like.dtype, torch.float32)).ge_(zeros - _STEPS // 2)
    else:
        generator = torch.Generator(like.device).manual_seed(seed)
        mask = torch.empty_like(like).bernoulli_(1 - zeros / _STEPS, generator=generator)
    return mask.mul_(_STEPS / (_STEPS - zeros)).to(like.dtype)


def dropout(x: Tensor, rate: float, training: bool = True) -> Tensor:
    """x with elements set to 0 with probability `rate` (at least 0, below 1), the others scaled to keep the mean."""
    if x.device.type == "cpu" and training and rate and not torch.compiler.is_compiling():
        return _Dropout.apply(x, rate, new_seed())
    return F.dropout(x, rate, training)


class Dropout(nn.Module):
    """`dropout` as a layer."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.rate, self.training)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, rate: float, seed: int) -> Tensor:
        ctx.rate, ctx.seed = rate, seed
        return draw_mask(x, rate, seed).mul_(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return draw_mask(gradient, ctx.rate, ctx.seed).mul_(gradient), None, None
