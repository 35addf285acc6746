"""Sample the frames of one shard's videos into a WebDataset tar, with a status row for every video."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import FramesConfig, load_section
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.pool import Limits
from workflow_scripts.lib.frames.space import readable
from workflow_scripts.lib.frames.stage import Executor, ShardFiles, extract_shard

DEFAULT = FramesConfig()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen `frames` section")
    parser.add_argument("--videos", type=Path, required=True, help="the shard's table of videos (parquet)")
    parser.add_argument(
        "--captions",
        type=Path,
        nargs="?",
        help="the shard's table of captions, needed for frames.moment_frames",
    )
    parser.add_argument(
        "--root", type=Path, required=True, help="folder that the videos' paths are relative to"
    )
    parser.add_argument("--journal", type=Path, required=True, help="folder for progress; removed at the end")
    parser.add_argument("--tar", type=Path, required=True, help="frames to write (WebDataset tar)")
    parser.add_argument("--status", type=Path, required=True, help="status table to write (parquet)")
    parser.add_argument("--workers", type=int, default=1, help="decoding processes, unless --executor is ray")
    # What is no part of the frozen section, because it decides about no frame: the keys of `frames` by that name.
    parser.add_argument("--timeout-s", type=float, default=DEFAULT.timeout_s, help="seconds a clip")
    parser.add_argument(
        "--memory-mb", type=int, default=DEFAULT.memory_mb, help="MiB that a process may grow"
    )
    parser.add_argument(
        "--max-bad-fraction", type=float, default=DEFAULT.max_bad_fraction, help="share that may fail"
    )
    parser.add_argument("--executor", choices=["processes", "ray"], default=DEFAULT.executor)
    parser.add_argument("--ray-address", default=DEFAULT.ray_address, help="of the Ray cluster")
    parser.add_argument("--no-keep", action="store_true", help="say that the tar will be removed")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    config = load_section(FramesConfig, args.config)
    if config.moment_frames and args.captions is None:
        raise UserError(
            f"{args.config}: moment_frames {config.moment_frames} needs the captions: give --captions"
        )
    limits = Limits(args.timeout_s, args.memory_mb, args.max_bad_fraction)
    executor = Executor(args.workers, args.ray_address if args.executor == "ray" else None)
    files = ShardFiles(args.videos, args.captions, args.root, args.journal, args.tar, args.status)
    extract_shard(config, limits, files, executor)
    if args.no_keep:
        size = readable(args.tar.stat().st_size)
        print(f"{args.tar} will be removed when nothing needs it any more (frames.keep: false): saves {size}")


if __name__ == "__main__":
    run_command(main)
