"""The results of retrieval as a page of tables."""

from benchmarks.decode_page import table, verdict_table
from benchmarks.retrieval_contestants import OURS, REFERENCE

TIMES = {"step": "step", "reading": "reading its batch", "both": "both"}


def page(result: dict) -> str:
    """Markdown of a result file of `benchmarks.retrieval`."""
    machine, setting, original = result["machine"], result["setting"], result["original"]
    parts = [
        "# Retrieval: last results",
        f"Written by `python -m benchmarks.retrieval` on {machine['date']}: {machine['cpus']} CPUs "
        f"({machine['processor']}), Python {machine['python']}, "
        + ", ".join(f"{name} {version}" for name, version in result["packages"].items())
        + f". Others used {result['others_share_of_processors']:.0%} of the processors' time meanwhile; "
        f"{result['rounds']} rounds. Ratios are medians over the rounds, of CPU seconds where nothing else is said; they "
        "can be compared between machines, absolute figures cannot.",
        "## Targets",
        verdict_table(result["verdict"]),
        "## The same results",
        "Largest differences of the two before anything was timed, dropout aside: "
        + ", ".join(f"{name} {off:.2g}" for name, off in result["agreement"].items())
        + ". Gradients are relative to the largest of their tensor; scores: how far off the ranks would need them.",
        "## Training",
        f"{setting['batch']} videos with {setting['batch'] * setting['captions']} captions a step, hidden size "
        f"{setting['hidden_size']}, features of {setting['width']}, float32, dropout {setting['drop']}.",
        *map(_training, result["training"]),
        "### By parts",
        "Forward and backward, one thread. The reference encodes queries twice.",
        *map(_parts, result["parts"]),
        "## Memory",
        "Peak MiB of a fresh process over a few training steps. The target counts the whole on the CPU.",
        *map(_memory, result["memory"]),
        "## Evaluation",
        *map(_evaluation, result["evaluation"]),
        "## The original",
        f"Its own code took {original['step_cpu_s']} CPU s a step and {original['reading_cpu_s']} to read the next batch, "
        f"with a peak of {original['peak_mib']:,} MiB, and {original['evaluation_cpu_s']} CPU s an evaluation pass, on "
        "another machine (2 vCPU AMD EPYC, shared): for comparison with the reference's figures alone.",
    ]
    return "\n\n".join(parts) + "\n"


def _training(run: dict) -> str:
    rows = []
    for what, name in TIMES.items():
        ours, theirs = (run["contestants"][who][what] for who in (OURS, REFERENCE))
        ratio = run["ratios"][what]
        rows.append([name, _spread(ours), _spread(theirs), f"{ratio['cpu_s']:.3f}",
                     *(f"{cost['wall_s']:.3g}" for cost in (ours, theirs)), f"{ratio['wall_s']:.3f}"])  # fmt: skip
    padding = "; ".join(
        f"{who}: {share['frames']:.0%} of frames and {share['words']:.0%} of words"
        for who, share in run["padding"].items()
    )
    head = [
        "",
        "ours, CPU s",
        "reference, CPU s",
        "ratio",
        "ours, wall s",
        "reference, wall s",
        "ratio, wall",
    ]
    return f"### {run['device']}, threads: {run['threads']}\n\n{table(head, rows)}\n\nPadding, {padding}."


def _parts(run: dict) -> str:
    rows = (
        [
            part,
            _spread(found[OURS]),
            _spread(found[REFERENCE]),
            *(f"{found['ratios'][of]:.3f}" for of in ("cpu_s", "wall_s")),
        ]
        for part, found in run["parts"].items()
    )
    head = [run["device"], "ours, CPU s", "reference, CPU s", "ratio", "ratio, wall"]
    return table(head, rows)


def _memory(run: dict) -> str:
    names = {"peak_mib": "whole", "own_mib": "above imports", "device_mib": "on the GPU"}
    rows = (
        [
            name,
            *(f"{run['contestants'][who][figure]:,.0f}" for who in (OURS, REFERENCE)),
            f"{run['ratios'][figure]:.3f}",
        ]
        for figure, name in names.items()
        if figure in run["ratios"]
    )
    return table([f"{run['device']}, {run['steps']} steps", "ours", "reference", "ratio"], rows)


def _evaluation(run: dict) -> str:
    ours, theirs = run["contestants"][OURS], run["contestants"][REFERENCE]
    rows = [["whole", _spread(ours), _spread(theirs), f"{run['ratios']['cpu_s']:.3f}"]]
    rows += [
        [
            "whole, wall s",
            f"{ours['wall_s']:.3g}",
            f"{theirs['wall_s']:.3g}",
            f"{run['ratios']['wall_s']:.3f}",
        ]
    ]
    for stage, seconds in ours["stages_cpu_s"].items():
        other = theirs["stages_cpu_s"][stage]
        rows.append([stage, *(f"{s:.3g}" for s in (seconds, other)), f"{seconds / max(other, 1e-9):.3f}"])
    rows.append(["peak MiB", f"{ours['peak_mib']:,.0f}", f"{theirs['peak_mib']:,.0f}",
                 f"{ours['peak_mib'] / theirs['peak_mib']:.3f}"])  # fmt: skip
    return (
        f"### {run['device']}\n\n{run['videos']:,} videos, {run['queries']:,} captions, one thread, a fresh process a pass. "
        f"{run['ranks_equal']:.2%} of the ranks are equal, the others differ by {run['ranks_off']} at most; recalls by "
        f"{run['recalls_off']:.2g} percent. Stages are of a pass of their own, under a profiler.\n\n"
        + table(["", "ours, CPU s", "reference, CPU s", "ratio"], rows)
    )


def _spread(costs: dict) -> str:
    return f"{costs['cpu_s']:.3g} ({costs['cpu_s_lowest']:.3g} to {costs['cpu_s_highest']:.3g})"
