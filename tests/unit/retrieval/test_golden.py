"""The numbers of golden/gmmformer.pt, by the model's formulas written down again: a video and a caption at a time, in loops.

Nothing of the library is used here, so that the numbers are no copy of what they are to hold in place.
"""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from tests.unit.retrieval.golden.make import GOLDEN

WIDTHS = (None, 0.5, 1.0, 5.0)


@pytest.fixture(scope="module")
def golden():
    return torch.load(GOLDEN, weights_only=True)


def test_pooling(golden):
    for name, frames in golden["raw_video"].items():
        for size, key in ((4, "clip"), (8, "frame")):
            rows = frames.double()
            if key == "clip" or len(rows) > size:
                bounds = [min(round(i / size * len(rows)), len(rows) - 1) for i in range(size + 1)]
                rows = torch.stack(
                    [
                        rows[first:end].mean(0) if first < end else rows[first]
                        for first, end in itertools.pairwise(bounds)
                    ]
                )
            pooled, unit = golden["pool"][name][f"{key}_pooled"], golden["pool"][name][f"{key}_l2"]
            close(pooled.double(), rows)
            close(unit, torch.stack([row / (row.square().sum().sqrt() + 1e-5) for row in rows]).float())


def test_windows(golden):
    for (width, length), window in golden["gauss"].items():
        close(window, naive_window(width, length))


def test_encodings_scores_losses_and_gradients(golden):
    weights = {name: value.clone().requires_grad_() for name, value in golden["state_dict"].items()}
    batch = golden["train_batch"]
    clips = torch.stack(
        [
            blocks(weights, "clip", ("clip_encoder", "clip_encoder_2"), rows)
            for rows in batch["clip_video_features"]
        ]
    )
    frame = torch.stack(
        [
            encode_frames(weights, rows, int(mask.sum()))
            for rows, mask in zip(batch["frame_video_features"], batch["videos_mask"], strict=True)
        ]
    )
    query = torch.stack(
        [
            encode_query(weights, tokens[: int(mask.sum())])
            for tokens, mask in zip(batch["text_feat"], batch["text_mask"], strict=True)
        ]
    )
    forward = golden["eval_forward"]
    close(forward["encoded_query"], query)
    close(forward["encoded_clip"], clips)
    close(forward["encoded_frame"], frame)

    owner, (videos, queries) = batch["text_labels"], (len(frame), len(query))
    cosine = torch.stack([F.cosine_similarity(q, c, dim=-1).max() for q in query for c in clips]).view(
        queries, videos
    )
    frame_cosine = F.cosine_similarity(query[:, None], frame[None], dim=-1)
    dot = torch.stack([(c @ q).max() for q in query for c in clips]).view(queries, videos)
    close(forward["clip_scale_scores"], cosine)
    close(forward["frame_scale_scores"], frame_cosine)
    close(forward["clip_scale_scores_unnorm"], dot)
    close(forward["fused"], 0.7 * cosine + 0.3 * frame_cosine)

    for section in ("train_soft", "train_hard"):
        draws, terms = golden[section]["draws"], golden[section]["terms_unweighted"]
        clip_nce, frame_nce = naive_nce(dot, owner), naive_nce(query @ frame.T, owner)
        clip_triplet, frame_triplet = (
            naive_triplet(scores, owner, draws[branch])
            for scores, branch in ((cosine, "clip"), (frame_cosine, "frame"))
        )
        diverse = naive_query_diverse(query, owner)
        named = {"clip_nce": clip_nce, "clip_triplet": clip_triplet, "frame_nce": frame_nce}
        for name, value in {**named, "frame_triplet": frame_triplet, "qdl": diverse}.items():
            close(terms[name], value)
        total = 0.05 * clip_nce + clip_triplet + 0.04 * frame_nce + frame_triplet + 0.001 * diverse
        close(golden[section]["total"], total)
        grads = torch.autograd.grad(total, list(weights.values()), retain_graph=True)
        assert len(golden[section]["grads"]) == len(weights) == 193
        for name, grad in zip(weights, grads, strict=True):
            torch.testing.assert_close(golden[section]["grads"][name], grad, rtol=1e-4, atol=2e-5)


def test_optimizer_on_given_gradients(golden):
    given = golden["optim_standalone"]
    params = [given["p0"].double(), given["p1"].double()]
    means, squares = ([torch.zeros_like(param) for param in params] for _ in range(2))
    for step, (grads, after) in enumerate(zip(given["grads"], given["params_after"], strict=True)):
        share = step / 10
        rate = 0.01 * (share / 0.3 if share < 0.3 else (1 - share) / 0.7)
        for i, grad in enumerate(grads):
            grad = grad.double()
            grad = grad * min(1, 1 / (grad.norm() + 1e-6))
            means[i] = 0.9 * means[i] + 0.1 * grad
            squares[i] = 0.999 * squares[i] + 0.001 * grad**2
            update = means[i] / (squares[i].sqrt() + 1e-6) + (0.01, 0.0)[i] * params[i]
            params[i] = params[i] - rate * update
            close(after[i].double(), params[i])


def test_ranks_and_rates_by_sorting(golden):
    scores, given = golden["metrics"]["scores"], golden["metrics"]
    orders = [sorted(range(len(row)), key=lambda video, row=row: -row[video]) for row in scores.tolist()]
    ranks = [1 + order.index(right) for order, right in zip(orders, given["owner"].tolist(), strict=True)]
    assert given["ranks"].tolist() == ranks
    best = [1 + min(orders[query].index(video) for video in its) for query, its in given["gt_multi"].items()]
    for found, perf, total in ((ranks, "perf", "SumR"), (best, "perf_multi", "SumR_multi")):
        rates = {f"R@{k}": 100 * sum(rank <= k for rank in found) / len(found) for k in (1, 5, 10, 100)}
        assert given[perf] == pytest.approx(rates)
        assert given[total] == pytest.approx(sum(rates.values()))


def close(golden, value):
    torch.testing.assert_close(golden, value, rtol=1e-4, atol=1e-5)


def naive_window(width, length):
    sigma, rows = width / 9, []
    for i in range(length):
        places = [j / (length - 1) if length > 1 else 0.0 for j in range(length)]
        row = [math.exp(-((place - i / length) ** 2) / (2 * sigma**2)) for place in places]
        rows.append([value / max(row) for value in row])
    return torch.tensor(rows)


def embed(weights, branch, rows):
    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    x = norm(rows, f"{branch}_input_proj.LayerNorm")
    x = F.relu(
        x @ weights[f"{branch}_input_proj.net.1.weight"].T + weights[f"{branch}_input_proj.net.1.bias"]
    )
    x = x + weights[f"{branch}_pos_embed.position_embeddings.weight"][: len(rows)]
    return norm(x, f"{branch}_pos_embed.LayerNorm")


def attend(weights, name, x, real, window=None):
    """Rows [L, D], of which the first `real` are not padding; two heads."""

    def linear(x, layer):
        return x @ weights[f"{name}.{layer}.weight"].T + weights[f"{name}.{layer}.bias"]

    query, key, value = (linear(x, f"self.{layer}") for layer in ("query", "key", "value"))
    size, heads = x.shape[-1] // 2, []
    for first in (0, size):
        some = slice(first, first + size)
        logits = query[:, some] @ key[:real, some].T / math.sqrt(size)
        if window is not None:
            logits = logits * window[:, :real]
        heads.append(logits.softmax(-1) @ value[:real, some])
    x = linear(torch.cat(heads, dim=-1), "output.dense") + x
    layer = f"{name}.output.LayerNorm"
    return F.layer_norm(x, x.shape[-1:], weights[f"{layer}.weight"], weights[f"{layer}.bias"])


def blocks(weights, branch, names, rows, real=None):
    x, windows = embed(weights, branch, rows), [w and naive_window(w, len(rows)) for w in WIDTHS]
    for name in names:
        outputs = [
            attend(weights, f"{name}.attn{n}", x, real or len(rows), window)
            for n, window in enumerate(windows)
        ]
        x = sum(outputs) / 4
    return x


def encode_frames(weights, rows, real):
    x = blocks(weights, "frame", ("frame_encoder_1", "frame_encoder_2"), rows, real)[:real]
    return (x @ weights["modular_vector_mapping_2.weight"][0]).softmax(0) @ x


def encode_query(weights, tokens):
    x = attend(weights, "query_encoder", embed(weights, "query", tokens), len(tokens))
    return (x @ weights["modular_vector_mapping.weight"][0]).softmax(0) @ x


def naive_nce(dots, owner):
    queries, videos = dots.shape
    by_query = [dots[q].exp().sum().log() - dots[q, owner[q]] for q in range(queries)]
    by_video = [
        dots[:, v].exp().sum().log() - dots[[q for q in range(queries) if owner[q] == v], v].exp().sum().log()
        for v in range(videos)
    ]
    return sum(by_query) / queries + sum(by_video) / videos


def naive_triplet(scores, owner, draws):
    queries, videos = scores.shape
    by_query, by_video = [], []
    for q in range(queries):
        others = sorted((scores[q, v] for v in range(videos) if v != owner[q]), reverse=True)
        by_query.append(F.relu(0.1 + others[draws["t2v"][q] - 1] - scores[q, owner[q]]))
    for v in range(videos):
        others = sorted((scores[q, v] for q in range(queries) if owner[q] != v), reverse=True)
        own = [scores[q, v] for q in range(queries) if owner[q] == v]
        rank = draws["v2t"][v] if "v2t" in draws else 0
        by_video.append(F.relu(0.1 + others[rank] - sum(own) / len(own)))
    return sum(by_query) / queries + sum(by_video) / videos


def naive_query_diverse(query, owner):
    terms = []
    for q, mine in enumerate(owner):
        siblings = [other for other, its in enumerate(owner) if its == mine and other != q]
        cosines = [F.cosine_similarity(query[q], query[other], dim=0) for other in siblings]
        terms.append((1 + sum((32 * (cosine + 0.15)).exp() for cosine in cosines)).log() if cosines else 0.0)
    return sum(terms) / len(terms)
