"""The results of the captioner's training as a page of tables."""

from benchmarks.captioner_trainer import BARE, TRAINER
from benchmarks.captioner_training import BUCKETS, CACHED, CACHING, IN_THE_LOOP, SHUFFLED
from benchmarks.decode_page import table, verdict_table


def page(result: dict) -> str:
    """Markdown of a result file of `benchmarks.captioner`."""
    machine, setting, trainer, padding = (
        result[name] for name in ("machine", "setting", "trainer", "padding")
    )
    parts = [
        "# The captioner's training: last results",
        f"Written by `python -m benchmarks.captioner` on {machine['date']}: {machine['cpus']} CPUs "
        f"({machine['processor']}), Python {machine['python']}, "
        + ", ".join(f"{name} {version}" for name, version in result["packages"].items())
        + f". Others used {result['others_share_of_processors']:.0%} of the processors' time meanwhile; "
        f"{result['rounds']} rounds, one thread. Ratios are medians over the rounds; they can be compared between machines, "
        "absolute figures cannot.",
        "## Targets",
        "By CPU seconds.",
        verdict_table(result["verdict"]),
        "## The cache of visual tokens",
        f"{setting['clips']} clips of {setting['frames']} frames with a caption each: an epoch of stage 2 (forward, "
        f"backward, step) in a bare loop. The encoder gives {setting['patches']} tokens a frame, of which the projector "
        f"makes {setting['places']} for the language model. Both ways gave the same tokens before they were timed. With E "
        "what the encoder costs an epoch and L what the language model costs, n epochs are n(E + L) over E + nL: the larger "
        "the language model beside the encoder, and the fewer the epochs, the less there is to be saved.",
        *map(_caching, result["caching"]),
        "## The Trainer",
        f"An epoch of {trainer['steps']} steps, as `train_captioner_stage2` trains, over the same steps in a loop that does "
        "nothing else; "
        f"at the end their weights differ by {trainer['weights_off']:.1g} at most.",
        _costs(trainer["costs"], {TRAINER: trainer["ratio"], BARE: None}),
        "## Padding",
        f"{padding['captions']} captions of {padding['tokens']['least']} to {padding['tokens']['most']} tokens (prompt and "
        f"visual tokens included; median {padding['tokens']['median']}), {setting['batch']} a forward pass. Share of "
        f"padding: {padding['share'][BUCKETS]:.1%} in batches of like length, "
        f"{padding['share'][SHUFFLED]:.1%} in shuffled ones.",
        _costs(padding["costs"], {BUCKETS: None, SHUFFLED: padding["ratio"]}),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _caching(run: dict) -> str:
    ratios = {IN_THE_LOOP: run["epoch"], CACHED: None, CACHING: None}
    whole = run["with_caching"]
    return (
        f"### A language model of {run['language_model_parameters'] / 1e6:.2g}M parameters, an encoder of "
        f"{run['encoder_parameters'] / 1e6:.2g}M\n\n"
        + _costs(run["costs"], ratios)
        + f"\n\n{run['epochs']} epochs, the making of the cache included: {whole['cpu_s']:.2f} times as fast by CPU "
        f"seconds, {whole['wall_s']:.2f} by wall time."
    )


def _costs(costs: dict[str, dict], ratios: dict[str, dict | None]) -> str:
    rows = [
        [
            name,
            f"{costs[name]['cpu_s']:.3g} ({costs[name]['cpu_s_lowest']:.3g} to {costs[name]['cpu_s_highest']:.3g})",
            f"{costs[name]['wall_s']:.3g}",
            *([f"{ratio['cpu_s']:.3f}", f"{ratio['wall_s']:.3f}"] if ratio else ["", ""]),
        ]
        for name, ratio in ratios.items()
    ]
    return table(["an epoch with", "CPU s", "wall s", "ratio, CPU", "ratio, wall"], rows)
