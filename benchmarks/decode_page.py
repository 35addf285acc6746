"""The results of decoding as a page of tables."""

from collections.abc import Iterable, Sequence


def page(result: dict) -> str:
    """Markdown of a result file of `benchmarks.decode`."""
    machine, task = result["machine"], result["task"]
    parts = [
        "# Decoding: last results",
        f"Written by `python -m benchmarks.decode` on {machine['date']}: {machine['cpus']} CPUs "
        f"({machine['processor']}), Python {machine['python']}, "
        + ", ".join(f"{name} {version}" for name, version in result["packages"].items())
        + f". Others used {result['others_share_of_processors']:.0%} of the processors' time meanwhile. "
        f"{task['frames']} frames of each clip to {task['size'][0]}x{task['size'][1]}, as JPEG; {task['rounds']} rounds. "
        "Ratios can be compared between machines, absolute figures cannot.",
        "## Targets",
        verdict_table(result["verdict"]),
        "## Clips",
        table(
            ["clip", "picture", "frames", "kbit/s"],
            (
                [clip["name"], f"{clip['width']}x{clip['height']}", clip["frames"], clip["bitrate"] // 1000]
                for clip in result["clips"]
            ),
        ),
        "## One clip after the other",
        "CPU seconds a clip (median; lowest to highest), with clips a CPU second; one thread a process.",
        *(_readers(result, clip["name"]) for clip in result["clips"]),
        _missing(result),
        "## Whole shards",
        "From files to a tar of JPEG: all clips, several copies each. Ours includes the start of its processes, limits "
        "of time and memory, the journal and the status table; the bare loop forks, and writes the tar.",
        table(
            ["", "processes", "clips", "CPU s a clip", "clips/s (wall)"],
            (
                [row["shard"], row["processes"], row["clips"], row["cpu_s_a_clip"], row["clips_a_s"]]
                for row in result["whole_shards"]
            ),
        ),
        "## Memory",
        _memory(result["memory"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _readers(result: dict, clip: str) -> str:
    rows = [row for row in result["reading"] if row["clip"] == clip]
    ours = {row["processes"]: row["cpu_s_a_clip"] for row in rows if row["reader"] == "ours, exact"}
    lines = []
    for row in rows:
        error = result["errors"][clip].get(row["reader"], {})
        lines.append(
            [
                row["reader"],
                row["processes"],
                f"{row['cpu_s_a_clip']:.3f} ({row['cpu_s_lowest']:.3f} to {row['cpu_s_highest']:.3f})",
                f"{row['clips_a_cpu_s']:.2f}",
                f"{row['clips_a_s']:.2f}",
                f"{ours[row['processes']] / row['cpu_s_a_clip']:.2f}",
                error.get("frames"),
                error.get("mean_abs_difference"),
                error.get("frames_off"),
            ]
        )
    head = [
        "reader", "processes", "CPU s a clip", "clips/CPU s", "clips/s (wall)", "speed over ours, exact",
        "frames", "mean abs. difference", "frames off",
    ]  # fmt: skip
    return f"### {clip}\n\n" + table(head, lines)


def _missing(result: dict) -> str:
    """What did not run and what was needed to make it run."""
    lines = [f"- {reader} did not run: {why}" for reader, why in result["did_not_run"].items()]
    for name, tool in result["other_tools"].items():
        if "did_not_run" in tool:
            lines.append(f"- {name} did not install: {tool['did_not_run']} ({tool['why']})")
        else:
            extra = f", with `{' '.join(tool['with'])}`" if tool["with"] else ""
            lines.append(f"- {name} {tool['version']} in an environment of its own{extra}: {tool['why']}")
    return "\n".join(lines)


def _memory(memory: dict) -> str:
    samples = ", ".join(f"{done}: {rss:g}" for done, rss in memory["rss_mb"])
    return (
        f"Resident MB of one decoding process over {memory['videos']} videos ({memory['files']} small files in turn, "
        f"{memory['failed']} readings failed as they should): {samples}. Slope after the warm-up: "
        f"{memory['mb_a_1000_videos']:g} MB a thousand videos."
    )


def verdict_table(verdict: Iterable[dict]) -> str:
    """Targets with what was measured."""
    rows = (
        [*(row[column] for column in ("target", "measured", "needed", "where")), _passed(row)]
        for row in verdict
    )
    return table(["target", "measured", "needed", "worst case", ""], rows)


def _passed(row: dict) -> str:
    return "pass" if row["passed"] else "FAIL"


def table(head: Sequence[str], rows: Iterable[Sequence]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in lines
    )
