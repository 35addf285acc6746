"""A straightforward GMMFormer, written after a description of the original: what ours is measured against.

It keeps the original's ways: windows made at every call, attention written out, every batch padded to its longest.
Parameter names are those of the published checkpoints, so that it takes our weights. B videos, Nq queries, L padded
frames or words, M clips, D = hidden size.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workflow_scripts.lib.retrieval.model import GMMFormerConfig

WIDTHS = (None, 0.5, 1.0, 5.0)


class VideoBatch(NamedTuple):
    clips: Tensor
    """[B, M, Dv]"""
    frames: Tensor
    """[B, L, Dv]"""
    mask: Tensor
    """[B, L], 1 at frames, 0 at padding."""


class QueryBatch(NamedTuple):
    words: Tensor
    """[Nq, L, Dq]"""
    mask: Tensor
    """[Nq, L]"""


class Reference(nn.Module):
    """Both branches of videos, and that of queries."""

    def __init__(self, config: GMMFormerConfig):
        super().__init__()
        width, heads, drop = config.hidden_size, config.n_heads, config.drop
        self.query_pos_embed = PositionEmbedding(config.max_desc_l, width, drop)
        self.clip_pos_embed = PositionEmbedding(config.max_ctx_l, width, drop)
        self.frame_pos_embed = PositionEmbedding(config.max_ctx_l, width, drop)
        self.query_input_proj = InputLayer(config.query_input_size, width, config.input_drop)
        self.clip_input_proj = InputLayer(config.visual_input_size, width, config.input_drop)
        self.frame_input_proj = InputLayer(config.visual_input_size, width, config.input_drop)
        self.query_encoder = Attention(width, heads, drop, None)
        self.clip_encoder = Block(width, heads, drop)
        self.clip_encoder_2 = Block(width, heads, drop)
        self.frame_encoder_1 = Block(width, heads, drop)
        self.frame_encoder_2 = Block(width, heads, drop)
        self.modular_vector_mapping = nn.Linear(width, 1, bias=False)
        self.modular_vector_mapping_2 = nn.Linear(width, 1, bias=False)

    def encode_query(self, batch: QueryBatch) -> Tensor:
        """[Nq, D]"""
        x = self.query_pos_embed(self.query_input_proj(batch.words))
        return pool(self.query_encoder(x, batch.mask), batch.mask, self.modular_vector_mapping)

    def encode_clips(self, clips: Tensor) -> Tensor:
        """[B, M, D]"""
        x = self.clip_pos_embed(self.clip_input_proj(clips))
        return self.clip_encoder_2(self.clip_encoder(x))

    def encode_frames(self, frames: Tensor, mask: Tensor) -> Tensor:
        """[B, D]"""
        x = self.frame_pos_embed(self.frame_input_proj(frames))
        x = self.frame_encoder_2(self.frame_encoder_1(x, mask), mask)
        return pool(x, mask, self.modular_vector_mapping_2)

    def encode_context(self, batch: VideoBatch) -> tuple[Tensor, Tensor]:
        """Clips [B, M, D] and frames [B, D]."""
        return self.encode_clips(batch.clips), self.encode_frames(batch.frames, batch.mask)


class InputLayer(nn.Module):
    def __init__(self, inputs: int, width: int, drop: float):
        super().__init__()
        self.LayerNorm = nn.LayerNorm(inputs)
        self.net = nn.Sequential(nn.Dropout(drop), nn.Linear(inputs, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.net(self.LayerNorm(x)))


class PositionEmbedding(nn.Module):
    def __init__(self, positions: int, width: int, drop: float):
        super().__init__()
        self.position_embeddings = nn.Embedding(positions, width)
        self.LayerNorm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1], device=x.device).repeat(len(x), 1)
        return self.dropout(self.LayerNorm(x + self.position_embeddings(places)))


class Block(nn.Module):
    """Four attentions beside each other; their mean."""

    def __init__(self, width: int, heads: int, drop: float):
        super().__init__()
        for number, window in enumerate(WIDTHS):
            self.add_module(f"attn{number}", Attention(width, heads, drop, window))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        outputs = [branch(x, mask).unsqueeze(-1) for branch in self.children()]
        return torch.cat(outputs, dim=-1).mean(dim=-1)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, drop: float, window: float | None):
        super().__init__()
        self.self = SelfAttention(width, heads, drop, window)
        self.output = Output(width, drop)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.output(self.self(x, mask), x)


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, drop: float, window: float | None):
        super().__init__()
        self.heads, self.window = heads, window
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.dropout = nn.Dropout(drop)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (self._by_head(layer(x)) for layer in (self.query, self.key, self.value))
        logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if self.window is not None:
            logits = logits * gaussian_window(x.shape[1], self.window, x.device)
        if mask is not None:
            logits = logits + (1 - mask[:, None, None, :]) * -10000.0
        weights = self.dropout(F.softmax(logits, dim=-1))
        return (weights @ value).permute(0, 2, 1, 3).contiguous().view(x.shape)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).permute(0, 2, 1, 3)


class Output(nn.Module):
    def __init__(self, width: int, drop: float):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(drop)

    def forward(self, attended: Tensor, x: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(attended)) + x)


def gaussian_window(length: int, width: float, device: torch.device) -> Tensor:
    """[L, L]: row i is centred at i / L, columns lie on linspace(0, 1, L); each row over its largest value."""
    centres = torch.arange(length, device=device)[:, None] / length
    places = torch.linspace(0, 1, length, device=device)
    sigma = max(width, 1e-2) / 9
    window = torch.exp(-((places - centres) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    return window / window.max(dim=-1, keepdim=True)[0]


def pool(x: Tensor, mask: Tensor, mapping: nn.Linear) -> Tensor:
    """[N, L, D] -> [N, D], weighted by a softmax over the real places."""
    logits = mapping(x)  # [N, L, 1]
    weights = F.softmax(logits * mask[..., None] + (1 - mask[..., None]) * -1e10, dim=1)
    return torch.einsum("nli,nld->nid", weights, x).squeeze(1)


def clip_scores(query: Tensor, clips: Tensor, normalise: bool) -> Tensor:
    """[Nq, B], of the best clip: cosines, or dot products."""
    if normalise:
        query, clips = F.normalize(query, dim=-1), F.normalize(clips, dim=-1)
    return torch.matmul(clips, query.t()).permute(2, 1, 0).max(dim=1).values


def frame_scores(query: Tensor, frame: Tensor, normalise: bool) -> Tensor:
    """[Nq, B]"""
    if normalise:
        query, frame = F.normalize(query, dim=-1), F.normalize(frame, dim=-1)
    return query @ frame.t()
