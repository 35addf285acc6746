"""Pack a shard's frames with the captions of the moments they show, as WebDataset tars for training and validation."""

import argparse
from pathlib import Path

import pyarrow.parquet as pq

from workflow_scripts.lib.clip.pairs import pairs_by_video, write_pairs
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import ClipConfig, load_section
from workflow_scripts.lib.files import file_digest, write_json
from workflow_scripts.lib.frames.shard import FrameShard


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen `clip` section")
    parser.add_argument("--captions", type=Path, required=True, help="captions of the shard (parquet)")
    parser.add_argument("--frames", type=Path, required=True, help="frames of the shard (tar)")
    parser.add_argument(
        "--status", type=Path, required=True, help="what became of the shard's videos (parquet)"
    )
    parser.add_argument("--train", type=Path, required=True, help="tar of training pairs to write")
    parser.add_argument("--val", type=Path, required=True, help="tar of validation pairs to write")
    parser.add_argument("--counts", type=Path, required=True, help="JSON with the numbers of pairs to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    count = load_section(ClipConfig, arguments.config).frames_per_caption
    captions = pq.read_table(arguments.captions).to_pylist()
    status = pq.read_table(arguments.status, columns=["index", "outcome", "timestamps"]).to_pylist()
    timestamps = {row["index"]: row["timestamps"] for row in status if row["outcome"] == "ok"}
    counts: dict = {"captions_without_frames": 0, "sha256": {}}
    with FrameShard(arguments.frames) as frames:
        # validation takes the middle frame of a moment: a loss needs no more
        for split, tar, frames_each in (("train", arguments.train, count), ("val", arguments.val, 1)):
            pairs, without_frames = pairs_by_video(captions, timestamps, split, frames_each)
            counts[split] = write_pairs(tar, pairs, frames, arguments.seed)
            counts["captions_without_frames"] += without_frames
            counts["sha256"][split] = file_digest(tar)
    write_json(arguments.counts, counts)
    print(
        f"{counts['train']} training and {counts['val']} validation pairs;"
        f" {counts['captions_without_frames']} captions of videos without frames left out",
        flush=True,
    )


if __name__ == "__main__":
    run_command(main)
