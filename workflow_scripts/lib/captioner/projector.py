"""Visual tokens to embeddings of a language model: an MLP, with pooling before it if wanted."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig


class Projector(nn.Module):
    """A two-layer MLP, as in LLaVA-1.5 (Liu et al., "Improved Baselines with Visual Instruction Tuning", 2024).

    Every token knows its frame and its cell by embeddings that are added before the non-linearity, so that
    "the shape is on the left" can mean another thing in the first frame than in the last one. Its weights are
    fp32, whatever those of the language model are.
    """

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        width = config.text_config.hidden_size
        self.pool = make_pool(config)
        self.norm = nn.LayerNorm(config.visual_width)
        self.enter = nn.Linear(config.visual_width, width)
        self.frame = nn.Parameter(torch.zeros(config.max_frames, 1, width))
        self.cell = nn.Parameter(torch.zeros(config.places_per_frame, width))
        self.leave = nn.Linear(width, width)

    def forward(self, visual: Tensor) -> Tensor:
        """[..., F, P, Dv] -> [..., F, T, H], T being the places of a frame after pooling."""
        pooled = self.pool(visual.to(self.enter.weight.dtype))
        hidden = self.enter(self.norm(pooled)) + self.frame[: visual.shape[-3]] + self.cell
        return self.leave(F.gelu(hidden))

    def reset_parameters(self) -> None:
        """New weights of the MLP; those of the pooling are as torch makes them."""
        for linear in (self.enter, self.leave):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        # As large as the hidden values: smaller ones had not yet grown when the learning rate
        # fell, and the captioner saw what moves but not which way.
        nn.init.normal_(self.frame, std=1.0)
        nn.init.normal_(self.cell, std=1.0)
        nn.init.ones_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)


def make_pool(config: PreTrainedConfig) -> nn.Module:
    """The pooling that the captioner's config names; ValueError when it cannot be made (`pooling_error`)."""
    if error := pooling_error(config):
        raise ValueError(error)
    if config.pooling == "average":
        return AveragePool(config.pooled_tokens)
    if config.pooling == "resampler":
        return Resampler(config)
    return nn.Identity()


def pooling_error(config: PreTrainedConfig) -> str | None:
    """Why the pooling does not fit the visual tokens, as the end of a sentence; None when it does."""
    tokens, wanted = config.tokens_per_frame, config.pooled_tokens
    if config.pooling == "average":
        if round(tokens**0.5) ** 2 != tokens:
            return f"`average` pools a square grid, but a frame has {tokens} visual tokens"
        if wanted > tokens:
            return f"{wanted} tokens are more than the {tokens} of a frame"
    if config.pooling == "resampler" and config.visual_width % config.resampler_heads:
        return (
            f"{config.resampler_heads} heads do not divide the {config.visual_width} values of a visual token"
        )
    return None


class AveragePool(nn.Module):
    """A frame's square grid of tokens, averaged down to a smaller one."""

    def __init__(self, tokens: int):
        super().__init__()
        self.side = round(tokens**0.5)

    def forward(self, visual: Tensor) -> Tensor:
        """[..., P, D] -> [..., T, D], both in rows of their grids."""
        *rest, tokens, width = visual.shape
        side = round(tokens**0.5)
        grid = visual.reshape(-1, side, side, width).permute(0, 3, 1, 2)
        return F.adaptive_avg_pool2d(grid, self.side).flatten(2).transpose(1, 2).reshape(*rest, -1, width)


class Resampler(nn.Module):
    """Learned queries that attend to the tokens of one frame and to each other: the Perceiver Resampler of Flamingo
    (Alayrac et al., NeurIPS 2022, section 3.1.1)."""

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        width = config.visual_width
        self.queries = nn.Parameter(torch.randn(config.pooled_tokens, width) * width**-0.5)
        self.cell = nn.Parameter(torch.randn(config.tokens_per_frame, width) * width**-0.5)
        self.layers = nn.ModuleList(
            ResamplerLayer(width, config.resampler_heads) for _ in range(config.resampler_layers)
        )

    def forward(self, visual: Tensor) -> Tensor:
        """[..., P, D] -> [..., T, D]."""
        *rest, tokens, width = visual.shape
        seen = visual.reshape(-1, tokens, width) + self.cell
        queries = self.queries.expand(len(seen), -1, -1)
        for layer in self.layers:
            queries = layer(queries, seen)
        return queries.reshape(*rest, -1, width)


class ResamplerLayer(nn.Module):
    """Attention of the queries to the tokens and themselves, then an MLP; both with a residual."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.query_norm, self.seen_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, queries: Tensor, seen: Tensor) -> Tensor:
        """[N, T, D] and [N, P, D] -> [N, T, D]."""
        asking = self.query_norm(queries)
        told = torch.cat([self.seen_norm(seen), asking], dim=1)
        queries = queries + self.attention(asking, told, told, need_weights=False)[0]
        return queries + self.mlp(queries)
