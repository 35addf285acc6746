"""What this library makes of the inputs in a parity fixture, in the fixture's own form, section by section.

A fixture holds a small GMMFormer, data, and what the original's code made of them. The library's own functions are used for
everything that can be.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gmmformer_training import (
    VIDEO_INPUTS,
    encode,
    given_gradients,
    loss_and_gradients,
    optimizer_steps,
    original_config,
    places,
)
from workflow_scripts.lib.features.datasets import Captioned
from workflow_scripts.lib.retrieval.data import make_batch, query_inputs, video_inputs
from workflow_scripts.lib.retrieval.encode import fused_vectors, query_vectors
from workflow_scripts.lib.retrieval.metrics import best_ranks, recalls
from workflow_scripts.lib.retrieval.model import (
    WINDOW_WIDTHS,
    GMMFormer,
    GMMFormerConfig,
    gaussian_windows,
)
from workflow_scripts.lib.retrieval.pooling import pool_video, segment_bounds, segment_means


class Reproduction:
    """The sections of a fixture as this library makes them; a section is made when it is asked for."""

    def __init__(self, fixture: Mapping[str, Any]):
        self.given = fixture
        options = fixture["model_config"]
        fields = {field.name for field in dataclasses.fields(GMMFormerConfig)} & set(options)
        self.sizes = GMMFormerConfig(**{"window_length": "batch", **{name: options[name] for name in fields}})

    def model(self) -> GMMFormer:
        """The fixture's model, in evaluation mode."""
        model = GMMFormer(self.sizes)
        model.load_state_dict(self.given["state_dict"])
        return model.eval()

    @cached_property
    def state_dict(self) -> dict[str, Tensor]:
        return self.model().state_dict()

    @cached_property
    def init_stats(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of each tensor of a model that is new."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            weights = GMMFormer(self.sizes).state_dict()
        return {name: (value.mean().item(), value.std().item()) for name, value in weights.items()}

    @cached_property
    def pool(self) -> dict[str, dict[str, Tensor]]:
        videos = self.given["pool"]
        return {name: self._pooled(frames) for name, frames in zip(videos, self._frames(videos), strict=True)}

    def _pooled(self, frames: np.ndarray) -> dict[str, Tensor]:
        clips, frame_rows = pool_video(frames, self.sizes.map_size, self.sizes.max_ctx_l)
        long = len(frames) > self.sizes.max_ctx_l
        return {
            "clip_pooled": torch.as_tensor(segment_means(frames, self.sizes.map_size)),
            "frame_pooled": torch.as_tensor(segment_means(frames, self.sizes.max_ctx_l) if long else frames),
            "clip_l2": torch.as_tensor(clips),
            "frame_l2": torch.as_tensor(frame_rows),
        }

    @cached_property
    def pool_index(self) -> dict[tuple[int, int], list[int]]:
        return {(n, size): segment_bounds(n, size).tolist() for n, size in self.given["pool_index"]}

    @cached_property
    def gauss(self) -> dict[tuple[float, int], Tensor]:
        return {
            (width, length): gaussian_windows(length, length, torch.zeros(1))[WINDOW_WIDTHS.index(width)]
            for width, length in self.given["gauss"]
        }

    @cached_property
    def train_batch(self) -> dict[str, Any]:
        """The batch of the training videos, in the order that the original sorts them in."""
        names, captions = self.given["train_batch_video_ids"], self.given["train_batch_cap_ids"]
        videos = []
        for number, frames in enumerate(self._frames(names)):
            words = self._tokens([key for key in captions if _video_of(key) == names[number]])
            videos.append(Captioned(frames, words, number, np.arange(len(words))))
        batch = make_batch(videos, self.sizes)
        [video_part], [query_part] = batch.videos, batch.queries
        clips, frames, mask = (rows[batch.video_places] for rows in video_part)
        tokens, token_mask = (rows[batch.query_places] for rows in query_part)
        return {
            "clip_video_features": clips,
            "frame_video_features": frames,
            "videos_mask": mask,
            "text_feat": tokens,
            "text_mask": token_mask,
            "text_labels": batch.owner.tolist(),
        }

    @cached_property
    def train_batch_video_ids(self) -> list[str]:
        """The training videos sorted as the original sorts them, by frames that the model sees."""
        frames = self.given["raw_video"]
        return sorted(
            self.given["train_batch_video_ids"],
            key=lambda name: -min(len(frames[name]), self.sizes.max_ctx_l),
        )

    @cached_property
    def eval_forward(self) -> dict[str, Any]:
        model, batch = self.model(), self.given["train_batch"]
        watched, seen = self.given["eval_forward"]["intermediates"], {}
        for name in watched:
            model.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: seen.update({name: output})
            )
        with torch.no_grad():
            query, clips, frame = encode(model, batch)
            scores = model.score(query, clips, frame)
            dots = model.score_unnormalised(query, clips, frame)
        return {
            "encoded_query": query,
            "encoded_clip": clips,
            "encoded_frame": frame,
            "clip_scale_scores": scores[0],
            "frame_scale_scores": scores[1],
            "clip_scale_scores_unnorm": dots[0],
            "frame_scale_scores_unnorm": dots[1],
            "fused": self._fused(*scores),
            "intermediates": seen,
        }

    def _fused(self, clip: Tensor, frame: Tensor) -> Tensor:
        weight = self.given["config"]["clip_scale_w"]
        return weight * clip + (1 - weight) * frame

    @cached_property
    @torch.no_grad()
    def padding_dependence(self) -> dict[str, dict[str, Any]]:
        """How far an embedding of a video alone is from that of the same video in the batch."""
        model, batch, found = self.model(), self.given["train_batch"], {}
        clips, frames, mask = (batch[name] for name in VIDEO_INPUTS)
        clips_together, together = model.encode_video(clips, frames, mask)
        for row, name in enumerate(self.given["train_batch_video_ids"]):
            count = int(mask[row].sum())
            clips_alone, alone = model.encode_video(
                clips[row : row + 1], frames[row : row + 1, :count], mask[row : row + 1, :count]
            )
            found[name] = {
                "n_frames": count,
                "padded_to": mask.shape[1],
                "encoded_frame_unpadded": alone[0],
                "max_abs_diff": (alone[0] - together[row]).abs().max().item(),
                "cosine": F.cosine_similarity(alone[0], together[row], dim=0).item(),
                "clip_max_abs_diff": (clips_alone[0] - clips_together[row]).abs().max().item(),
            }
        return found

    @cached_property
    def train_soft(self) -> dict[str, Any]:
        return self._training("train_soft", hard=False)

    @cached_property
    def train_hard(self) -> dict[str, Any]:
        return self._training("train_hard", hard=True)

    def _training(self, section: str, *, hard: bool) -> dict[str, Any]:
        given = self.given[section]
        config = original_config(self.given["config"], hard_pool_size=given["hard_pool_size"])
        return loss_and_gradients(self.model(), self.given["train_batch"], config, given["seed"], hard=hard)

    @cached_property
    def optim(self) -> dict[str, Any]:
        given = self.given["optim"]
        config = original_config(self.given["config"], lr=given["base_lr"], warmup=given["warmup"])
        order = self.given["state_dict"]
        return optimizer_steps(self.model(), self.given["train_batch"], config, given, order)

    @cached_property
    def optim_standalone(self) -> dict[str, Any]:
        given = self.given["optim_standalone"]
        return given_gradients(given, original_config(self.given["config"], warmup=given["warmup"]))

    @cached_property
    @torch.no_grad()
    def evaluation(self) -> dict[str, Any]:
        """Batches of videos and of queries, each encoded with its own padding; ranks of all queries."""
        given, model = self.given["evaluation"], self.model()
        encoded = [
            model.encode_video(part["clip"], part["frame"], part["mask"]) for part in given["context_batches"]
        ]
        clips, frame = (torch.cat(parts) for parts in zip(*encoded, strict=True))
        queries = [model.encode_query(part["feat"], part["mask"]) for part in given["query_batches"]]
        clip_scores, frame_scores = (
            torch.cat(parts)
            for parts in zip(*(model.score(query, clips, frame) for query in queries), strict=True)
        )
        fused = self._searched(model)
        videos = given["video_metas"]
        owner = torch.tensor([videos.index(_video_of(caption)) for caption in given["query_metas"]])
        return {
            "context_batches": [
                part | self.context_inputs(part["video_ids"]) for part in given["context_batches"]
            ],
            "query_batches": [part | self.query_inputs(part["cap_ids"]) for part in given["query_batches"]],
            "encoded_clip": clips,
            "encoded_frame": frame,
            "clip_scale_scores": clip_scores,
            "frame_scale_scores": frame_scores,
            "score_sum": fused,
            "t2v_gt": {query: [int(video)] for query, video in enumerate(owner)},
            "v2t_gt": [places(owner == video) for video in range(len(videos))],
            "metrics": _rates(best_ranks(fused, owner), len(videos)),
        }

    def _searched(self, model: GMMFormer) -> Tensor:
        """Scores [Nq, Nv] as evaluation and search compute them: the largest product with a video's fused vectors."""
        given, weight = self.given["evaluation"], self.given["config"]["clip_scale_w"]
        fused = torch.cat(
            [
                fused_vectors(model, self._frames(part["video_ids"]), weight)
                for part in given["context_batches"]
            ]
        )
        queries = torch.cat(
            [query_vectors(model, self._tokens(part["cap_ids"])) for part in given["query_batches"]]
        )
        return torch.einsum("qd,vmd->qvm", queries, fused).amax(dim=-1)

    def context_inputs(self, videos: Sequence[str]) -> dict[str, Tensor]:
        """Videos as a batch of the evaluation's."""
        inputs = video_inputs(self._frames(videos), self.sizes)
        return dict(zip(("clip", "frame", "mask"), inputs, strict=True))

    def query_inputs(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Captions as a batch of the evaluation's."""
        return dict(zip(("feat", "mask"), query_inputs(self._tokens(captions), self.sizes), strict=True))

    def _frames(self, videos: Sequence[str]) -> list[np.ndarray]:
        return [self.given["raw_video"][name].numpy() for name in videos]

    def _tokens(self, captions: Sequence[str]) -> list[np.ndarray]:
        return [self.given["raw_text"][key].numpy() for key in captions]

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Rates of random scores, with one right video a query and with several."""
        scores, several = self.given["metrics"]["scores"], self.given["metrics"]["gt_multi"]
        ranks = best_ranks(scores, self.given["metrics"]["owner"])
        most = max(map(len, several.values()))
        right = torch.tensor([[*several[q], *[-1] * (most - len(several[q]))] for q in range(len(scores))])
        one, best = (_rates(found, scores.shape[1]) for found in (ranks, best_ranks(scores, right)))
        return {
            "ranks": ranks,
            "SumR": one.pop("SumR"),
            "perf": one,
            "SumR_multi": best.pop("SumR"),
            "perf_multi": best,
        }


def _rates(ranks: Tensor, videos: int) -> dict[str, float]:
    found = recalls(ranks.numpy(), videos)
    return {
        "R@1": found["r1"],
        "R@5": found["r5"],
        "R@10": found["r10"],
        "R@100": found["r100"],
        "SumR": found["sumr"],
    }


def _video_of(caption: str) -> str:
    return caption.split("#")[0]
