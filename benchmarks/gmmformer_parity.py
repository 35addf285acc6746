"""Does this library compute what GMMFormer's original code computes?

`python -m benchmarks.gmmformer_parity FIXTURE.pt` takes a file with a small model, data, and the numbers that the
original made of them; prints a line a part, with the largest difference and its tolerance; and exits with 0 when all
parts hold, with 1 when one does not, and with 2 when the file is no such fixture.
"""

import argparse
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.gmmformer_reproduction import Reproduction
from workflow_scripts.lib.errors import UserError

SIGMAS = 6.0  # of the largest of some 400 deviations of random initial weights


class Gap(NamedTuple):
    """How far a value is from the original's, and where that is largest."""

    size: float
    """Absolute, or relative to the tensor's largest value where that is above 1; infinite where nothing compares."""
    where: str = ""


class Part(NamedTuple):
    """A line of the report."""

    name: str
    section: str
    """Key of the fixture."""
    keys: tuple[str, ...]
    """Of the section; none: all of it."""
    tolerance: float


# What the same computation in float32 may differ by, in another order; at hidden size 384, a tenth of it is seen.
EXACT, METRIC, POOLED, EMBEDDING, DOT, LOSS, GRADIENT = 0.0, 1e-9, 1e-6, 1e-5, 1e-4, 1e-4, 2e-4
RATE, WEIGHT, STEP = 1e-12, 1e-5, 1e-6

PARTS = (
    Part("names, shapes and values of weights", "state_dict", (), EXACT),
    Part("initial weights, in standard errors", "init_stats", (), SIGMAS),
    Part("segment bounds", "pool_index", (), EXACT),
    Part("pooled and normalised videos", "pool", (), POOLED),
    Part("Gaussian windows", "gauss", (), EMBEDDING),
    Part("training batch: order of videos", "train_batch_video_ids", (), EXACT),
    Part("training batch: features and masks", "train_batch", (), POOLED),
    Part("intermediate activations", "eval_forward", ("intermediates",), EMBEDDING),
    Part("encodings", "eval_forward", ("encoded_query", "encoded_clip", "encoded_frame"), EMBEDDING),
    Part("dependence on padding", "padding_dependence", (), EMBEDDING),
    Part("cosine scores", "eval_forward", ("clip_scale_scores", "frame_scale_scores", "fused"), EMBEDDING),
    Part("dot scores", "eval_forward", ("clip_scale_scores_unnorm", "frame_scale_scores_unnorm"), DOT),
    *(
        part
        for section, negatives in (("train_soft", "random negatives"), ("train_hard", "hard negatives"))
        for part in (
            Part(f"{negatives}: draws", section, ("draws", "label_dict"), EXACT),
            Part(f"{negatives}: scores", section, ("outputs",), DOT),
            Part(f"{negatives}: loss terms", section, ("terms_unweighted", "total"), LOSS),
            Part(f"{negatives}: gradients", section, ("grads",), GRADIENT),
        )
    ),
    Part("optimizer: learning rates", "optim", ("lr_per_step", "schedule_multipliers"), RATE),
    Part("optimizer: decaying parameters", "optim", ("decay_names",), EXACT),
    Part("optimizer: losses by step", "optim", ("loss_per_step",), LOSS),
    Part("optimizer: clipped gradients by step", "optim", ("n_params_clipped_per_step",), EXACT),
    Part("optimizer: weights by step", "optim", ("watched", "final_state_dict"), WEIGHT),
    Part("optimizer: given gradients", "optim_standalone", ("params_after",), STEP),
    Part("evaluation: batches", "evaluation", ("context_batches", "query_batches"), POOLED),
    Part("evaluation: encodings", "evaluation", ("encoded_clip", "encoded_frame"), EMBEDDING),
    Part(
        "evaluation: scores",
        "evaluation",
        ("clip_scale_scores", "frame_scale_scores", "score_sum"),
        EMBEDDING,
    ),
    Part("evaluation: right videos and rates", "evaluation", ("t2v_gt", "v2t_gt", "metrics"), METRIC),
    Part("metrics: one right video", "metrics", ("ranks", "perf", "SumR"), METRIC),
    Part("metrics: several right videos", "metrics", ("perf_multi", "SumR_multi"), METRIC),
)

GIVEN = {
    "config": ("margin", "loss_factor", "neg_factor", "hard_pool_size", "clip_scale_w"),
    "model_config": (
        "visual_input_size",
        "query_input_size",
        "hidden_size",
        "max_ctx_l",
        "max_desc_l",
        "map_size",
        "initializer_range",
    ),
    "raw_video": (),
    "raw_text": (),
    "train_batch_cap_ids": (),
    "train_soft": ("seed", "hard_pool_size"),
    "train_hard": ("seed", "hard_pool_size"),
    "optim": ("base_lr", "warmup", "t_total", "rng_seed_per_step"),
    "optim_standalone": ("p0", "p1", "grads", "lr", "warmup", "t_total", "weight_decay"),
    "evaluation": ("video_metas", "query_metas"),
    "metrics": ("scores", "owner", "gt_multi"),
}
"""What the fixture must have beside the parts that are compared."""


def read_fixture(path: Path) -> dict[str, Any]:
    """The fixture; UserError when the file cannot be read, or lacks something."""
    try:
        fixture = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # a damaged file fails in every way
        raise UserError(
            f"{path}: is no file of torch.save with plain values and tensors ({type(error).__name__})"
        ) from None
    needed = [*((part.section, part.keys) for part in PARTS), *GIVEN.items()]
    for section, keys in needed:
        content = fixture.get(section) if isinstance(fixture, dict) else None
        if not content or (keys and not isinstance(content, Mapping)):
            raise UserError(f"{path}: is no parity fixture of GMMFormer: it has no `{section}`")
        if absent := [key for key in keys if key not in content]:
            raise UserError(f"{path}: is no parity fixture of GMMFormer: `{section}` has no `{absent[0]}`")
    return fixture


def measure(part: Part, fixture: Mapping[str, Any], ours: Reproduction) -> Gap:
    """The largest difference of a part; infinite, with the error's words, where the library fails at it."""
    try:
        made, original = getattr(ours, part.section), fixture[part.section]
        if part.section == "init_stats":
            return largest(initial_gaps(made, original, fixture))
        if part.keys:
            made, original = ({key: each[key] for key in part.keys} for each in (made, original))
        return gap(made, original)
    except Exception as error:  # whatever it is, this part does not hold, and the others are to be told
        return Gap(math.inf, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


def gap(made: Any, original: Any, where: str = "") -> Gap:
    """The largest difference of two nested values; what the original has must be there, in the same shape."""
    if isinstance(original, Mapping):
        if not isinstance(made, Mapping) or set(made) != set(original):
            return Gap(math.inf, f"{where}: other keys")
        return largest([gap(made[key], original[key], f"{where}/{key}") for key in original])
    if isinstance(original, str):
        return Gap(0.0 if made == original else math.inf, where)
    if isinstance(original, Sequence):
        if not isinstance(made, Sequence) or len(made) != len(original):
            return Gap(math.inf, f"{where}: another length")
        pairs = enumerate(zip(made, original, strict=True))
        return largest([gap(mine, theirs, f"{where}/{place}") for place, (mine, theirs) in pairs])
    mine, theirs = (torch.as_tensor(value).to(torch.float64) for value in (made, original))
    if mine.shape != theirs.shape:
        return Gap(math.inf, f"{where}: shape {list(mine.shape)} for {list(theirs.shape)}")
    if not theirs.numel():
        return Gap(0.0, where)
    size = ((mine - theirs).abs().max() / theirs.abs().max().clamp_min(1.0)).item()
    return Gap(size if math.isfinite(size) else math.inf, where)


def initial_gaps(
    made: Mapping[str, tuple[float, float]],
    original: Mapping[str, tuple[float, float]],
    fixture: Mapping[str, Any],
) -> list[Gap]:
    """How far mean and standard deviation of each tensor's initial values are from the original's, in standard errors."""
    spread, gaps = fixture["model_config"]["initializer_range"], []
    for name, (mean, deviation) in original.items():
        my_mean, my_deviation = made[name]
        if deviation == 0:  # a constant: biases, LayerNorms
            gaps.append(Gap(0.0 if (my_mean, my_deviation) == (mean, 0) else math.inf, f"/{name}"))
            continue
        error = spread / math.sqrt(fixture["state_dict"][name].numel())  # of a deviation's difference
        gaps.append(
            Gap(max(abs(my_mean - mean) / math.sqrt(2), abs(my_deviation - deviation)) / error, f"/{name}")
        )
    return gaps


def largest(gaps: Sequence[Gap]) -> Gap:
    return max(gaps, key=lambda one: one.size, default=Gap(0.0))


def check(fixture: Mapping[str, Any], write: Callable[[str], None]) -> bool:
    """Measure every part and write its line; whether all hold."""
    ours = Reproduction(fixture)
    width = max(len(part.name) for part in PARTS)
    failed = 0
    for part in PARTS:
        found = measure(part, fixture, ours)
        holds = found.size <= part.tolerance
        failed += not holds
        verdict = "ok" if holds else f"FAILED {found.where}"
        write(
            f"{part.name:{width}}  largest difference {found.size:8.2g}  tolerance {part.tolerance:8.2g}  {verdict}"
        )
    write(f"all {len(PARTS)} parts hold" if not failed else f"{failed} of {len(PARTS)} parts FAILED")
    return not failed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("fixture", type=Path, metavar="FIXTURE.pt", help="the original's numbers")
    arguments = parser.parse_args()
    try:
        fixture = read_fixture(arguments.fixture)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0 if check(fixture, print) else 1)


if __name__ == "__main__":
    main()
