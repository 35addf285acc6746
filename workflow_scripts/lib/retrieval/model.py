"""GMMFormer (Wang et al., "GMMFormer: Gaussian-Mixture-Model Based Transformer for Efficient Partially
Relevant Video Retrieval", AAAI 2024), written from a description of its computation.

Parameter names and shapes are those of the published checkpoints. B videos, Nq queries, L frames,
M = map_size clips, D = hidden_size. Masks are 1 (or True) at real positions and 0 at padding.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workflow_scripts.lib.retrieval.attention import attend, project_together
from workflow_scripts.lib.retrieval.dropout import Dropout

WINDOW_WIDTHS = (None, 0.5, 1.0, 5.0)  # of a block's four branches; None is ordinary attention
NEGLIGIBLE = 1e-20  # of a window, taken as 0: times a gradient it is a denormal number, which slows CPUs


@dataclass(frozen=True)
class GMMFormerConfig:
    """Sizes and rates of the model; ValueError when they do not fit together."""

    visual_input_size: int
    query_input_size: int
    hidden_size: int = 384
    max_ctx_l: int = 128
    max_desc_l: int = 30
    map_size: int = 32
    input_drop: float = 0.2
    drop: float = 0.2
    n_heads: int = 4
    initializer_range: float = 0.02
    window_length: int | Literal["batch"] | None = None
    """Frames that a Gaussian window of the frame branch spans; None becomes max_ctx_l. With "batch" it is
    the padded length of the batch, as in the original, so an embedding depends on its neighbours."""

    def __post_init__(self):
        if self.window_length is None:
            object.__setattr__(self, "window_length", self.max_ctx_l)
        if self.hidden_size % self.n_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of n_heads {self.n_heads}")
        if self.map_size > self.max_ctx_l:
            raise ValueError(f"map_size {self.map_size} is larger than max_ctx_l {self.max_ctx_l}")
        for name in ("input_drop", "drop"):
            if not 0 <= (rate := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {rate}, expected a rate of at least 0 and below 1")
        if self.window_length != "batch" and not self.window_length > 0:
            raise ValueError(f"window_length is {self.window_length}, expected 'batch' or at least 1")


class Scores(NamedTuple):
    """Similarities of every query and video, each [Nq, B]."""

    clip: Tensor
    """Largest cosine of the query and one of the video's clips."""
    frame: Tensor
    """Cosine of the query and the video's pooled frames."""
    clip_dot: Tensor
    """Largest dot product, for the NCE losses."""
    frame_dot: Tensor
    """Dot product."""


class GMMFormer(nn.Module):
    """Two video branches (clips, frames) and a query branch in one space."""

    def __init__(self, config: GMMFormerConfig):
        super().__init__()
        self.config = config
        width, heads, drop = config.hidden_size, config.n_heads, config.drop
        self.query_pos_embed = PositionEmbedding(config.max_desc_l, width, drop)
        self.clip_pos_embed = PositionEmbedding(config.max_ctx_l, width, drop)
        self.frame_pos_embed = PositionEmbedding(config.max_ctx_l, width, drop)
        self.query_input_proj = InputProjection(config.query_input_size, width, config.input_drop)
        self.clip_input_proj = InputProjection(config.visual_input_size, width, config.input_drop)
        self.frame_input_proj = InputProjection(config.visual_input_size, width, config.input_drop)
        self.query_encoder = Attention(width, heads, drop)
        self.clip_encoder = GMMBlock(width, heads, drop)
        self.clip_encoder_2 = GMMBlock(width, heads, drop)
        self.frame_encoder_1 = GMMBlock(width, heads, drop)
        self.frame_encoder_2 = GMMBlock(width, heads, drop)
        self.modular_vector_mapping = nn.Linear(width, 1, bias=False)
        self.modular_vector_mapping_2 = nn.Linear(width, 1, bias=False)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def encode_query(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Token embeddings [Nq, Lq, Dq] and mask [Nq, Lq] -> query embeddings [Nq, D]."""
        x = self.query_pos_embed(self.query_input_proj(tokens))
        x = self.query_encoder(x, mask_bias(mask, x.dtype))
        return attention_pool(x, mask, self.modular_vector_mapping)

    def encode_video(self, clips: Tensor, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Clip features [B, M, Dv], frame features [B, L, Dv] and their mask [B, L] -> ([B, M, D], [B, D])."""
        return self.encode_clips(clips), self.encode_frames(frames, mask)

    def encode_clips(self, clips: Tensor) -> Tensor:
        """Clip features [B, M, Dv] -> clip embeddings [B, M, D]."""
        x = self.clip_pos_embed(self.clip_input_proj(clips))
        length = x.shape[1]
        windows = gaussian_windows(length, length, x)  # clips are never padded
        return self.clip_encoder_2(self.clip_encoder(x, windows), windows)

    def encode_frames(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Frame features [B, L, Dv] and their mask [B, L] -> one embedding a video [B, D]."""
        x = self.frame_pos_embed(self.frame_input_proj(frames))
        length = x.shape[1]
        span = length if self.config.window_length == "batch" else self.config.window_length
        windows, bias = gaussian_windows(length, span, x), mask_bias(mask, x.dtype)
        x = self.frame_encoder_2(self.frame_encoder_1(x, windows, bias), windows, bias)
        return attention_pool(x, mask, self.modular_vector_mapping_2)

    def score(self, query: Tensor, clips: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [Nq, D], [B, M, D], [B, D] -> cosine scores of clips (the best one) and frames, [Nq, B]."""
        scores = similarities(query, clips, frame)
        return scores.clip, scores.frame

    def score_unnormalised(self, query: Tensor, clips: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """The same with dot products, which the NCE losses take."""
        scores = similarities(query, clips, frame)
        return scores.clip_dot, scores.frame_dot


def similarities(query: Tensor, clips: Tensor, frame: Tensor) -> Scores:
    """All scores of queries [Nq, D] and videos ([B, M, D], [B, D]); one product serves dots and cosines."""
    length = query.norm(dim=-1).clamp_min(1e-12)[:, None]
    clip_dots = query @ clips.flatten(0, 1).T  # [Nq, B*M]
    clip_cosines = clip_dots / (length * clips.flatten(0, 1).norm(dim=-1).clamp_min(1e-12))
    frame_dot = query @ frame.T
    shape = (len(query), *clips.shape[:2])
    return Scores(
        clip=clip_cosines.view(shape).max(dim=-1).values,
        frame=frame_dot / (length * frame.norm(dim=-1).clamp_min(1e-12)),
        clip_dot=clip_dots.view(shape).max(dim=-1).values,
        frame_dot=frame_dot,
    )


def gaussian_windows(length: int, span: int, like: Tensor) -> list[Tensor | None]:
    """The block's four windows [length, length] (None for ordinary attention), on the device of `like`.

    Row i is centred at i / span, column j lies at j / (span - 1); sigma = width / 9; each row is
    divided by its largest value. A row's nearest column is never right of the diagonal, so the
    window of `length` positions is the corner of a longer one with the same span.
    """
    position = torch.arange(length, device=like.device, dtype=torch.float32)
    distance = position / max(span - 1, 1) - (position / span)[:, None]
    windows: list[Tensor | None] = []
    for width in WINDOW_WIDTHS:
        if width is None:
            windows.append(None)
            continue
        exponent = -distance.square() / (2 * (width / 9) ** 2)
        window = (exponent - exponent.amax(dim=1, keepdim=True)).exp()
        windows.append(window.masked_fill(window < NEGLIGIBLE, 0).to(like.dtype))
    return windows


def mask_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Mask [B, L] -> what is added to attention logits [B, heads, L, L]: 0, and -10000 for padded keys."""
    return (1 - mask.to(dtype))[:, None, None, :] * -10000.0


def attention_pool(x: Tensor, mask: Tensor, mapping: nn.Linear) -> Tensor:
    """Mean of x [N, L, D] over its real positions, weighted by a softmax of a learned projection -> [N, D]."""
    logits = mapping(x).squeeze(-1)  # under autocast of another type than x
    logits = logits.masked_fill(mask == 0, torch.finfo(logits.dtype).min)
    return (logits.softmax(dim=-1)[:, None] @ x).squeeze(1)


class InputProjection(nn.Module):
    """LayerNorm, dropout, linear, ReLU: features of any width to the model's."""

    def __init__(self, inputs: int, width: int, drop: float):
        super().__init__()
        self.LayerNorm = nn.LayerNorm(inputs)
        self.net = nn.Sequential(Dropout(drop), nn.Linear(inputs, width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.net(self.LayerNorm(x)))


class PositionEmbedding(nn.Module):
    """Adds a learned embedding of the position; ValueError for more positions than the table has."""

    def __init__(self, positions: int, width: int, drop: float):
        super().__init__()
        self.position_embeddings = nn.Embedding(positions, width)
        self.LayerNorm = nn.LayerNorm(width)
        self.dropout = Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > self.position_embeddings.num_embeddings:
            raise ValueError(
                f"{x.shape[1]} positions, but the model has {self.position_embeddings.num_embeddings}"
            )
        return self.dropout(self.LayerNorm(x + self.position_embeddings.weight[: x.shape[1]]))


class GMMBlock(nn.Module):
    """Four attentions beside each other, with windows of different widths; their mean is the output."""

    def __init__(self, width: int, heads: int, drop: float):
        super().__init__()
        self.attn0 = Attention(width, heads, drop)
        self.attn1 = Attention(width, heads, drop)
        self.attn2 = Attention(width, heads, drop)
        self.attn3 = Attention(width, heads, drop)

    def forward(self, x: Tensor, windows: list[Tensor | None], bias: Tensor | None = None) -> Tensor:
        branches = (self.attn0, self.attn1, self.attn2, self.attn3)
        outputs = [branch(x, bias, window) for branch, window in zip(branches, windows, strict=True)]
        return (outputs[0] + outputs[1] + outputs[2] + outputs[3]) / 4


class Attention(nn.Module):
    """Multi-head self-attention with an output projection, a residual and a LayerNorm behind it."""

    def __init__(self, width: int, heads: int, drop: float):
        super().__init__()
        self.self = HeadAttention(width, heads, drop)
        self.output = AttentionOutput(width, drop)

    def forward(self, x: Tensor, bias: Tensor | None = None, window: Tensor | None = None) -> Tensor:
        return self.output(self.self(x, bias, window), x)


class HeadAttention(nn.Module):
    """Projections to queries, keys and values, and attention of all heads, windowed or not."""

    def __init__(self, width: int, heads: int, drop: float):
        super().__init__()
        self.heads, self.drop = heads, drop
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None, window: Tensor | None) -> Tensor:
        qkv = project_together(x, (self.query, self.key, self.value)).unflatten(-1, (3, self.heads, -1))
        return attend(qkv, window, bias, self.drop if self.training else 0.0)


class AttentionOutput(nn.Module):
    """Projection, dropout, residual, LayerNorm."""

    def __init__(self, width: int, drop: float):
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width)
        self.dropout = Dropout(drop)

    def forward(self, attended: Tensor, x: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(attended)) + x)
