"""Render the demo's synthetic corpus: untrimmed videos of moving shapes, captioned in English and Korean."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.corpus.demo.render import make_corpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotations", type=Path, required=True, help="annotation file to write (jsonl)")
    parser.add_argument("--video-folder", type=Path, required=True, help="folder for the videos")
    parser.add_argument("--videos", type=int, required=True, help="number of videos")
    parser.add_argument("--moments", type=int, default=3, help="captioned moments a video")
    parser.add_argument("--size", type=int, default=96, help="width and height in pixels")
    parser.add_argument("--fps", type=int, default=8, help="frames a second")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything drawn")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    args = parser.parse_args()
    make_corpus(
        args.annotations, args.video_folder,
        videos=args.videos, moments=args.moments, size=args.size, fps=args.fps, seed=args.seed, workers=args.workers,
    )  # fmt: skip


if __name__ == "__main__":
    run_command(main)
