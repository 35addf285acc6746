"""Sample the frames of one shard's videos into a WebDataset tar, with a status row for every video."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import FramesConfig, load_section
from workflow_scripts.lib.frames.stage import extract_shard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen `frames` section")
    parser.add_argument("--videos", type=Path, required=True, help="the shard's table of videos (parquet)")
    parser.add_argument(
        "--root", type=Path, required=True, help="folder that the videos' paths are relative to"
    )
    parser.add_argument("--journal", type=Path, required=True, help="folder for progress; removed at the end")
    parser.add_argument("--tar", type=Path, required=True, help="frames to write (WebDataset tar)")
    parser.add_argument("--status", type=Path, required=True, help="status table to write (parquet)")
    parser.add_argument("--workers", type=int, default=1, help="decoding processes")
    args = parser.parse_args()
    config = load_section(FramesConfig, args.config)
    extract_shard(config, args.videos, args.root, args.journal, args.tar, args.status, args.workers)


if __name__ == "__main__":
    run_command(main)
