"""Ways in which an implementation of GMMFormer may be wrong."""

import itertools
import math
import sys

import numpy as np
import torch
import torch.nn.functional as F

from workflow_scripts.lib.retrieval import data, losses, metrics, model, optim, pooling


def everywhere(monkeypatch, right, wrong):
    """Replace a function or a class of the library in all modules that have imported it, a method in its class."""
    if "." in right.__qualname__:
        monkeypatch.setattr(getattr(model, right.__qualname__.split(".")[0]), right.__name__, wrong)
    for name, module in list(sys.modules.items()):
        if name.startswith(("workflow_scripts.", "benchmarks.")):
            for attribute, value in list(vars(module).items()):
                if value is right:
                    monkeypatch.setattr(module, attribute, wrong)


def windows(sigma=lambda width: width / 9, centre=lambda i, span: i / span, normalised=True):
    """`gaussian_windows`, with parts of it done otherwise."""

    def made(length, span, like):
        found = []
        for width in model.WINDOW_WIDTHS:
            if width is None:
                found.append(None)
                continue
            rows = torch.tensor(
                [
                    [
                        -((j / max(span - 1, 1) - centre(i, span)) ** 2) / (2 * sigma(width) ** 2)
                        for j in range(length)
                    ]
                    for i in range(length)
                ]
            )
            found.append((rows - rows.amax(1, keepdim=True) * normalised).exp().to(like))
        return found

    return made


def attention(scale=True, additive=False, mask_first=False):
    """The attention of a head, with parts of it done otherwise."""

    def forward(self, x, bias, window):
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1] if scale else x.shape[-1])
        bias = 0 if bias is None else bias
        if mask_first:
            logits = logits + bias
        if window is not None:
            logits = logits + window.clamp_min(1e-30).log() if additive else logits * window
        if not mask_first:
            logits = logits + bias
        return (logits.softmax(-1) @ value).transpose(1, 2).flatten(2)

    return forward


def means(bound, last):
    """`segment_means` with other bounds: of a share of the frames, and the largest there may be."""

    def made(x, segments):
        bounds = [min(bound(i / segments * len(x)), last(len(x))) for i in range(segments + 1)]
        return np.stack(
            [
                x[first:end].mean(axis=0, dtype=np.float64) if first < end else x[min(first, len(x) - 1)]
                for first, end in itertools.pairwise(bounds)
            ]
        )

    return made


def means_of_positives(scores, owner):
    """NCE with the mean of a video's positives for their sum inside the logarithm."""
    own = F.one_hot(owner, scores.shape[1])
    by_video = scores.logsumexp(0) - (scores * own).sum(0) / own.sum(0)
    return F.cross_entropy(scores, owner) + by_video.mean()


def pool_padding(x, mask, mapping):
    return (mapping(x).squeeze(-1).softmax(-1)[:, None] @ x).squeeze(1)


def one_block_less(self, frames, mask):
    x = self.frame_pos_embed(self.frame_input_proj(frames))
    found = model.gaussian_windows(x.shape[1], x.shape[1], x)
    x = self.frame_encoder_1(x, found, model.mask_bias(mask, x.dtype))
    return model.attention_pool(x, mask, self.modular_vector_mapping_2)


def cosines_for_dots(right):
    def made(query, clips, frame):
        scores = right(query, clips, frame)
        return scores._replace(clip_dot=scores.clip, frame_dot=scores.frame)

    return made


# what is done wrong: the section where it shows, the function, and what makes the wrong one of it
BREAKAGES = {
    "centres at i / (L - 1)": (
        "gauss",
        model.gaussian_windows,
        lambda _: windows(centre=lambda i, span: i / max(span - 1, 1)),
    ),
    "sigma a third of the width": (
        "gauss",
        model.gaussian_windows,
        lambda _: windows(sigma=lambda width: width / 3),
    ),
    "windows not divided by the row's maximum": (
        "gauss",
        model.gaussian_windows,
        lambda _: windows(normalised=False),
    ),
    "additive windows": ("eval_forward", model.HeadAttention.forward, lambda _: attention(additive=True)),
    "mask before the window": (
        "eval_forward",
        model.HeadAttention.forward,
        lambda _: attention(mask_first=True),
    ),
    "scale by the whole width": (
        "eval_forward",
        model.HeadAttention.forward,
        lambda _: attention(scale=False),
    ),
    "sum of the branches": (
        "eval_forward",
        model.GMMBlock.forward,
        lambda right: lambda *given: 4 * right(*given),
    ),
    "no second frame block": ("eval_forward", model.GMMFormer.encode_frames, lambda _: one_block_less),
    "padding is pooled": ("eval_forward", model.attention_pool, lambda _: pool_padding),
    "the last frame kept": ("pool", pooling.segment_means, lambda _: means(round, lambda count: count)),
    "halves rounded up": (
        "pool",
        pooling.segment_means,
        lambda _: means(lambda share: math.floor(share + 0.5), lambda count: count - 1),
    ),
    "frames not normalised": (
        "pool",
        pooling.unit_rows,
        lambda _: lambda x, dtype=None: x.astype(dtype or x.dtype),
    ),
    "tokens not normalised": (
        "train_batch",
        data.query_inputs,
        lambda right: lambda *given: (2 * right(*given)[0], right(*given)[1]),
    ),
    "NCE of cosines": ("train_soft", model.similarities, cosines_for_dots),
    "NCE of the mean positive": ("train_soft", losses.nce_loss, lambda _: means_of_positives),
    "NCE in one direction": ("train_soft", losses.nce_loss, lambda _: F.cross_entropy),
    "another margin": (
        "train_soft",
        losses.triplet_loss,
        lambda right: lambda scores, owner, _, negatives: right(scores, owner, 0.2, negatives),
    ),
    "negatives one rank off": (
        "train_hard",
        losses.Negatives,
        lambda right: lambda query, video: right(query, (video + 1) % (int(video.max()) + 1)),
    ),
    "QDL without delta": (
        "train_soft",
        losses.query_diverse_loss,
        lambda right: lambda query, owner, _, alpha: right(query, owner, 0.0, alpha),
    ),
    "bias-corrected Adam": (
        "optim_standalone",
        optim.BertAdam,
        lambda _: lambda groups, lr: torch.optim.Adam(groups, lr=lr, eps=1e-6),
    ),
    "everything decays": (
        "optim",
        optim.make_optimizer,
        lambda _: (
            lambda its, config: optim.BertAdam(its.parameters(), config.lr, weight_decay=config.weight_decay)
        ),
    ),
    "clipping over all gradients": (
        "optim_standalone",
        optim.clip_gradients,
        lambda right: lambda its, norm, how: right(its, norm),
    ),
    "a first step with a rate": (
        "optim_standalone",
        optim.make_schedule,
        lambda right: lambda config, steps: right(config.model_copy(update={"optimizer": "adamw"}), steps),
    ),
    "rates below k": (
        "metrics",
        metrics.recalls,
        lambda right: lambda ranks, videos: right(np.asarray(ranks) + 1, videos),
    ),
}


def break_it(monkeypatch, name):
    _, right, wrong = BREAKAGES[name]
    everywhere(monkeypatch, right, wrong(right))
