"""Make gmmformer.pt, a small parity fixture: `python -m tests.unit.retrieval.golden.make`.

Its numbers are made by this implementation, after `benchmarks.gmmformer_parity` had found it to agree with the original's
numbers. They hold it where it is; that it is right there is shown by test_golden.py, where the formulas are written again,
with loops.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gmmformer_reproduction import Reproduction
from workflow_scripts.lib.files import whole_file
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig

GOLDEN = Path(__file__).with_name("gmmformer.pt")
SIZES = {
    "visual_input_size": 10, "query_input_size": 6, "hidden_size": 8, "max_ctx_l": 8, "max_desc_l": 6, "map_size": 4,
    "input_drop": 0.0, "drop": 0.0, "n_heads": 2, "initializer_range": 0.02,
}  # fmt: skip
OPTIONS = {
    "margin": 0.1, "loss_factor": [0.05, 0.04, 0.001], "neg_factor": [0.15, 32], "hard_pool_size": 2,
    "clip_scale_w": 0.7, "frame_scale_w": 0.3,
}  # fmt: skip
# name: frames, and tokens of each caption; the training videos in the order in which the original sorts them
TRAIN = {"긴": (20, [4, 9]), "t1": (8, [3]), "t2": (12, [6, 2, 7]), "t3": (5, [5, 5]), "t4": (1, [1])}
VAL = {"v0": (3, [4]), "v1": (9, [6, 8]), "v2": (8, [2]), "v3": (2, [5, 3])}
WATCHED = (
    "query_input_proj.net.1.weight",
    "clip_encoder.attn1.self.query.bias",
    "modular_vector_mapping.weight",
)
INTERMEDIATES = (
    *(f"{branch}_{part}" for branch in ("query", "clip", "frame") for part in ("input_proj", "pos_embed")),
    *(f"frame_encoder_1.attn{branch}" for branch in range(4)),
    "query_encoder", "clip_encoder", "clip_encoder_2", "frame_encoder_1", "frame_encoder_2",
)  # fmt: skip


def make() -> dict[str, Any]:
    """Inputs first; then the sections that are made of them, in the order in which they need each other."""
    torch.manual_seed(11)
    fixture = inputs()
    ours = Reproduction(fixture)
    fixture["train_batch"] = ours.train_batch
    for part in fixture["evaluation"]["context_batches"]:
        part.update(ours.context_inputs(part["video_ids"]))
    for part in fixture["evaluation"]["query_batches"]:
        part.update(ours.query_inputs(part["cap_ids"]))
    for section in ("pool", "pool_index", "gauss", "eval_forward", "padding_dependence", "train_soft", "train_hard",
                    "optim", "optim_standalone", "evaluation", "metrics"):  # fmt: skip
        fixture[section] = {**fixture[section], **getattr(ours, section)}
    return fixture


def inputs() -> dict[str, Any]:
    """What the numbers are made of, in the form that the fixture has it."""
    raw_video = {name: torch.randn(frames, 10) for name, (frames, _) in (TRAIN | VAL).items()}
    tokens = {
        f"{name}#enc#{n}": many for name, (_, its) in (TRAIN | VAL).items() for n, many in enumerate(its)
    }
    captions = {
        split: [key for key in tokens if key.split("#")[0] in videos]
        for split, videos in (("train", TRAIN), ("val", VAL))
    }
    queries = 60
    owner = torch.randint(25, (queries,))
    grads = [(torch.randn(4, 3) * size, torch.randn(5) * size) for size in (0.01, 0.3, 3.0, 0.0, 5.0)]
    return {
        "meta": {"note": "made by tests/unit/retrieval/golden/make.py, not by the original"},
        "config": OPTIONS,
        "model_config": SIZES,
        "state_dict": perturbed_weights(),
        "init_stats": {
            name: (value.mean().item(), value.std().item())
            for name, value in GMMFormer(GMMFormerConfig(**SIZES)).state_dict().items()
        },
        "raw_video": raw_video,
        "raw_text": {key: torch.randn(many, 6) for key, many in tokens.items()},
        "train_batch_video_ids": list(TRAIN),
        "train_batch_cap_ids": captions["train"],
        "pool": dict.fromkeys(raw_video),
        "pool_index": dict.fromkeys((n, size) for n in (1, 2, 3, 7, 9, 10, 33) for size in (4, 8, 32)),
        "gauss": dict.fromkeys((width, length) for width in (0.5, 1.0, 5.0) for length in (1, 2, 5, 8, 13)),
        "eval_forward": {"intermediates": dict.fromkeys(INTERMEDIATES)},
        "padding_dependence": {},
        "train_soft": {"seed": 77, "hard_pool_size": OPTIONS["hard_pool_size"]},
        "train_hard": {"seed": 78, "hard_pool_size": OPTIONS["hard_pool_size"]},
        "optim": {
            "t_total": 20,
            "warmup": 0.1,
            "base_lr": 3e-4,
            "rng_seed_per_step": [100, 101, 102, 103, 104],
            "watched": [dict.fromkeys(WATCHED)] * 5,
            "schedule_multipliers": {
                (warmup, step): 0.0 if step == 100 else 1.0  # they end at 100
                for warmup in (0.01, 0.1)
                for step in (0, 1, 5, 10, 11, 50, 99, 100, 120)
            },
        },
        "optim_standalone": {
            "p0": torch.randn(4, 3),
            "p1": torch.randn(5),
            "grads": grads,
            "lr": 0.01,
            "warmup": 0.3,
            "t_total": 10,
            "weight_decay": [0.01, 0.0],
        },
        "evaluation": {
            "video_metas": list(VAL),
            "query_metas": captions["val"],
            "context_batches": [{"video_ids": list(VAL)[:3]}, {"video_ids": list(VAL)[3:]}],
            "query_batches": [{"cap_ids": captions["val"][:4]}, {"cap_ids": captions["val"][4:]}],
        },
        "metrics": {
            "scores": torch.randn(queries, 25),
            "owner": owner,
            "gt_multi": {
                query: [int(right), int(right + 7) % 25][: 1 + query % 2] for query, right in enumerate(owner)
            },
        },
    }


def perturbed_weights() -> dict[str, Tensor]:
    """Weights in which every bias, LayerNorm and window shows: a model that is new hides most of them."""
    weights = GMMFormer(GMMFormerConfig(**SIZES)).state_dict()
    for name, value in weights.items():
        if value.ndim == 1:
            value.add_(torch.randn_like(value), alpha=0.2 if name.endswith("LayerNorm.weight") else 0.1)
        else:
            value.copy_(torch.randn_like(value) * (0.5 if ".self." in name else 0.2))
    return weights


def in_one_storage(tree: Any) -> Any:
    """The same, with all float32 tensors as views of one, so that the file holds one record and not a thousand."""
    tensors: list[Tensor] = []
    collect(tree, tensors.append)
    store = torch.cat([value.flatten() for value in tensors])
    views = iter(
        [
            view.view(value.shape)
            for view, value in zip(store.split([v.numel() for v in tensors]), tensors, strict=True)
        ]
    )
    return collect(tree, lambda _: next(views))


def collect(tree: Any, change: Callable[[Tensor], Any]) -> Any:
    """The same nested values, with every float32 tensor changed, in order."""
    if isinstance(tree, dict):
        return {key: collect(value, change) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(collect(value, change) for value in tree)
    return change(tree.detach()) if isinstance(tree, Tensor) and tree.dtype == torch.float32 else tree


if __name__ == "__main__":
    with whole_file(GOLDEN) as temporary:
        torch.save(in_one_storage(make()), temporary)
