"""Attention whose logits a Gaussian window multiplies (GMMFormer, section 3.2).

The window acts before the mask and the softmax: logits far away go to 0, not to minus infinity. This cannot be
written as an additive bias, which fused attention takes. Instead, the backward pass computes the weights again:
nothing of [L, L] is kept, where autograd would keep three such tensors a head.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from workflow_scripts.lib.retrieval.dropout import draw_mask, new_seed


def project_together(x: Tensor, layers: Sequence[nn.Linear]) -> Tensor:
    """What the layers make of x [..., D], side by side; one product, and one for the gradient of x."""
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
    if torch.compiler.is_compiling():
        return F.linear(x, torch.cat(weights), torch.cat(biases))
    return _ProjectTogether.apply(x, *weights, *biases)


def attend(qkv: Tensor, window: Tensor | None, bias: Tensor | None, drop: float) -> Tensor:
    """Queries, keys and values of all heads [B, L, 3, heads, d] -> [B, L, heads * d].

    `window` [L, L] multiplies the scaled logits, `bias` [B, 1, 1, L] is added to them, `drop` is the rate of dropout
    of the weights (0 outside of training). Attention without a window is fused, except with dropout on the CPU, where
    PyTorch has nothing to fuse.
    """
    if window is None and not (drop and qkv.device.type == "cpu"):
        attended = F.scaled_dot_product_attention(*by_head(qkv), attn_mask=bias, dropout_p=drop)
        return attended.transpose(1, 2).flatten(2)
    if torch.compiler.is_compiling():  # the compiler chooses itself what to keep
        query, key, value = by_head(qkv)
        weights = F.dropout(attention_weights(query, key, window, bias), drop)
        return (weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
    return _Attention.apply(qkv, window, bias, drop)


def by_head(qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """[B, L, 3, heads, d] -> queries, keys and values, each [B, heads, L, d]; views."""
    return qkv.permute(2, 0, 3, 1, 4).unbind()


def attention_weights(query: Tensor, key: Tensor, window: Tensor | None, bias: Tensor | None) -> Tensor:
    """Softmax of the windowed logits [B, heads, L, L], in at least float32."""
    logits = (query @ key.transpose(-1, -2)).to(torch.promote_types(query.dtype, torch.float32))
    logits *= _factor(query, window)
    if bias is not None:
        logits += bias
    return logits.softmax(dim=-1)


def _factor(query: Tensor, window: Tensor | None) -> Tensor | float:
    """What the products of queries and keys are multiplied by."""
    scale = 1 / math.sqrt(query.shape[-1])
    return scale if window is None else window * scale


class _ProjectTogether(torch.autograd.Function):
    """Keeps the layers' own weights, where autograd would keep a copy of all of them a call."""

    @staticmethod
    def forward(ctx, x: Tensor, *parameters: Tensor) -> Tensor:
        half = len(parameters) // 2
        weights, biases = parameters[:half], parameters[half:]
        ctx.save_for_backward(x, *weights)
        return F.linear(x, torch.cat(weights), torch.cat(biases))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, ...]:
        x, *weights = ctx.saved_tensors
        sizes = [len(weight) for weight in weights]
        rows = gradient.flatten(0, -2)
        by_weight = rows.T @ x.flatten(0, -2).to(rows.dtype)  # rows are of another type under autocast
        by_x = gradient @ torch.cat(weights).to(gradient.dtype)
        return by_x, *by_weight.split(sizes), *rows.sum(dim=0).split(sizes)


class _Attention(torch.autograd.Function):
    """All three in one tensor, so that their gradients are written once, to where they are wanted."""

    @staticmethod
    def forward(ctx, qkv: Tensor, window: Tensor | None, bias: Tensor | None, drop: float) -> Tensor:
        query, key, value = by_head(qkv)
        query, key, value = (
            query.contiguous(),
            key.mT.contiguous(),
            value.contiguous(),
        )  # once, for all products
        ctx.save_for_backward(query, key, value, window, bias)
        ctx.drop, ctx.seed = drop, new_seed() if drop else None
        weights = attention_weights(query, key.mT, window, bias)
        if drop:
            weights = draw_mask(weights, drop, ctx.seed).mul_(weights)
        return (weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, window, bias = ctx.saved_tensors
        batch, heads, length, width = query.shape
        gradient = gradient.unflatten(-1, (heads, width)).transpose(1, 2).contiguous()
        weights = attention_weights(query, key.mT, window, bias)
        dropped = weights
        if ctx.drop:
            dropped = draw_mask(weights, ctx.drop, ctx.seed).mul_(weights)
        found = query.new_empty(batch, length, 3, heads, width)
        by_query, by_key, by_value = by_head(found)
        by_value.copy_(dropped.to(gradient.dtype).mT @ gradient)
        slope = (gradient @ value.mT).to(weights.dtype).mul_(dropped)
        slope.addcmul_(weights, slope.sum(dim=-1, keepdim=True), value=-1)  # by the logits
        slope *= _factor(query, window)
        slope = slope.to(query.dtype)
        by_query.copy_(slope @ key.mT)
        by_key.copy_(slope.mT @ query)
        return found, None, None, None
