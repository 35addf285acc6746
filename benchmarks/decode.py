"""Decoding, side by side: ours, the bare loop of its decoder, OpenCV, other decoders and other tools.

`python -m benchmarks.decode` writes a result file, the same as a page beside it, and exits with 1 when a target fails.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.clips import MEASURED, QUICK, MadeClip, make_clips
from benchmarks.decode_page import page
from benchmarks.errors import frame_errors
from benchmarks.machine import Sharing, result_head
from benchmarks.memory import memory_over
from benchmarks.other_tools import TOOLS, install
from benchmarks.other_tools import version as version_of
from benchmarks.readers import COUNT, SIZE
from benchmarks.rounds import Contestant, DidNotRun, take_turns
from benchmarks.verdict import judge, tell
from benchmarks.whole_shard import whole_shards
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.files import whole_file, write_json

# Those of the targets take part in every round, with one process and two; the rest are there for orientation.
CONTESTANTS = [
    Contestant("ours, exact", processes=(1, 2)),
    Contestant("bare PyAV loop", processes=(1, 2)),
    Contestant("OpenCV read", processes=(1, 2)),
    Contestant("ours, fast"),
    Contestant("ours, keyframes"),
    Contestant("OpenCV grab"),
    Contestant("OpenCV seek", rounds=1),
    Contestant("decord", rounds=1),
    Contestant("torchcodec", rounds=1),
]
PACKAGES = ("av", "opencv-python-headless", "decord", "torchcodec", "pillow", "numpy")
VIDEOS, SAMPLE_EVERY = 2000, 100  # of the memory test


def compare(
    clips: list[MadeClip], tiny: MadeClip, folder: Path, rounds: int, videos: int, old_python: str | None
) -> dict:
    """Everything that is measured, as the result file has it. Other tools are left out without `old_python`."""
    contestants, tools = list(CONTESTANTS), {}
    for tool in TOOLS if old_python else ():
        tools[tool.name] = {"with": list(tool.with_it), "why": tool.why}
        try:
            python = install(tool, folder, old_python)
            tools[tool.name]["version"] = version_of(python, tool)
            contestants.append(Contestant(tool.name, python, rounds=1, processes=(1, 2)))
        except DidNotRun as why:
            tools[tool.name]["did_not_run"] = str(why)
    with tempfile.TemporaryDirectory() as keep, Sharing() as sharing:
        turns = take_turns(contestants, clips, tiny, rounds, Path(keep))
        shards = whole_shards(clips, rounds)
        memory = memory_over(videos, max(1, videos // (VIDEOS // SAMPLE_EVERY)), folder)
        errors = {clip.kind.name: frame_errors(clip, _stored(Path(keep), clip)) for clip in clips}
    return {
        **result_head(PACKAGES, sharing),
        "task": {"frames": COUNT, "size": list(SIZE), "rounds": rounds},
        "verdict": judge(turns, clips, shards, errors, memory, sharing.others),
        "clips": [clip.facts() for clip in clips],
        "reading": turns.rows(),
        "errors": errors,
        "whole_shards": shards,
        "memory": memory,
        "other_tools": tools,
        "did_not_run": turns.did_not_run,
    }


def _stored(keep: Path, clip: MadeClip) -> dict[str, Path]:
    """The readers that left JPEGs of the clip, with the folder of each."""
    folders = {folder.name: folder / clip.kind.name for folder in sorted(keep.iterdir())}
    return {reader: folder for reader, folder in folders.items() if any(folder.glob("*.jpg"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/decode.json"), help="result file"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir(), "vidloom-benchmarks"),
        help="folder for clips and for the environments of other tools; kept",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="turns of every contestant")
    parser.add_argument(
        "--quick", action="store_true", help="one tiny clip, one round: does it run, not how fast"
    )
    parser.add_argument(
        "--no-others", action="store_true", help="leave out the tools of others (6 GB to install)"
    )
    parser.add_argument(
        "--old-python", default="3.10", help="Python for tools that need an older one (a version or a path)"
    )
    args = parser.parse_args()
    [tiny] = make_clips(args.cache, QUICK)
    clips = [tiny] if args.quick else make_clips(args.cache, MEASURED)
    others = None if args.quick or args.no_others else args.old_python
    rounds, videos = (1, 20) if args.quick else (args.rounds, VIDEOS)
    result = compare(clips, tiny, args.cache, rounds, videos, others)
    write_json(args.out, result)
    with whole_file(args.out.with_suffix(".md")) as temporary:
        temporary.write_text(page(result), encoding="utf-8")
    tell(result["verdict"], args.quick)


if __name__ == "__main__":
    run_command(main)
