"""The results of features as a page of tables."""

from benchmarks.decode_page import table, verdict_table


def page(result: dict) -> str:
    """Markdown of a result file of `benchmarks.features`."""
    machine, opening, resuming = result["machine"], result["opening"], result["resuming"]
    reading, writing = result["reading"], result["writing"]
    parts = [
        "# Features: last results",
        f"Written by `python -m benchmarks.features` on {machine['date']}: {machine['cpus']} CPUs "
        f"({machine['processor']}), Python {machine['python']}, "
        + ", ".join(f"{name} {version}" for name, version in result["packages"].items())
        + f". Others used {result['others_share_of_processors']:.0%} of the processors' time meanwhile. "
        "Ratios are medians over the rounds, of CPU seconds where nothing else is said; they can be compared between "
        "machines, absolute figures cannot.",
        "## Targets",
        verdict_table(result["verdict"]),
        "## Extraction",
        *map(_extraction, result["extraction"]),
        "## Reading",
        f"{reading['items']:,} items [32 to 128, {reading['width']}] float16 ({reading['bytes'] / 2**30:.2f} GiB) in "
        f"{reading['shards']} shards, in random batches of 128, each copied into a padded array.",
        _rates(reading, "item", 1e6, "µs"),
        _ratios(reading),
        "## BigFile",
        *map(_bigfile, result["bigfile"]),
        "## Opening",
        f"A fresh process opens {opening['items']:,} items in {opening['shards']} shards, and reads one item, then 100 "
        "others anywhere. MiB are peaks of resident memory, mapped files included; without the imports is what came on "
        "top of them.",
        _opening(opening),
        "## Writing",
        f"{writing['items']:,} items, {writing['mib']} MiB, flushed to the disk.",
        _rates(writing, "MiB", 1e3, "ms"),
        f"From the start of `extract_video_features` with {resuming['model']} to its first batch, by wall time: "
        f"{resuming['start_s']:g} s anew, {resuming['resume_s']:g} s after a kill ({resuming['said']}).",
    ]
    return "\n\n".join(parts) + "\n"


def _extraction(run: dict) -> str:
    ratios = "; ".join(f"{ratio['times']:.3f} by {ratio['of']}" for ratio in run["ratios"])
    return (
        f"### {run['model']}, {run['precision']}, {run['threads']} threads, {run['device']}\n\n"
        f"{run['frames']} JPEGs of 256x256, batches of {run['batch']}. Ours over the bare loop: {ratios}; "
        f"{run['counts']} counts.\n\n" + _rates(run, "frame", 1e3, "ms")
    )


def _bigfile(run: dict) -> str:
    return (
        f"### {run['width']} wide, rows of a video {run['rows']}\n\n"
        + _rates(run, "video", 1e6, "µs")
        + "\n\n"
        + _ratios(run)
    )


def _rates(section: dict, thing: str, scale: float, unit: str) -> str:
    """What each contestant takes for a thing, and how many it does in a second."""
    rows = (
        [
            name,
            f"{_number(scale * cost['cpu_s'])}"
            f" ({_number(scale * cost['cpu_s_lowest'])} to {_number(scale * cost['cpu_s_highest'])})",
            _number(cost["a_cpu_s"]),
            _number(cost["a_s"]),
        ]
        for name, cost in section["contestants"].items()
    )
    return table(["", f"CPU {unit} / {thing}", f"{thing} / CPU s", f"{thing} / s (wall)"], rows)


def _number(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def _ratios(section: dict) -> str:
    """A line a contestant: its speed over that of the others."""
    others = list(dict.fromkeys(ratio["than"] for ratio in section["ratios"]))
    faster = dict.fromkeys(ratio["faster"] for ratio in section["ratios"])
    times = {(ratio["faster"], ratio["than"]): f"{ratio['times']:.2f}" for ratio in section["ratios"]}
    return table(
        ["speed over", *others], ([name, *(times.get((name, other)) for other in others)] for name in faster)
    )


def _opening(opening: dict) -> str:
    figures = {
        "imports_s": "imports, s",
        "open_s": "open, s",
        "open_and_first_s": "open and item i, s",
        "open_and_first_cpu_s": "the same, CPU s",
        "others_s": "100 more, s",
        "imports_mib": "imports, MiB",
        "peak_mib_first": "peak with item i, MiB",
        "own_mib_first": "without imports",
        "peak_mib": "peak with 100 more, MiB",
    }
    rows = ([name, *(found[figure] for figure in figures)] for name, found in opening["opened"].items())
    return table(["", *figures.values()], rows)
