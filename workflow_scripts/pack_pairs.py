"""Pack a shard's frames with the captions of the moments they show, as open_clip_train reads them."""

import argparse
from pathlib import Path

import pyarrow.parquet as pq

from workflow_scripts.lib.clip.pair_files import COUNTS, MAX_VAL_PAIRS
from workflow_scripts.lib.clip.pairs import COLUMNS, choose_pairs
from workflow_scripts.lib.clip.pairs_writing import write_table, write_tars
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import load_section
from workflow_scripts.lib.config_clip import PairsConfig
from workflow_scripts.lib.corpus.tables import read_columns
from workflow_scripts.lib.files import whole_folder, write_json
from workflow_scripts.lib.frames.shard import FrameShard


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen `clip.data` section")
    parser.add_argument("--captions", type=Path, required=True, help="captions of the shard (parquet)")
    parser.add_argument("--frames", type=Path, required=True, help="frames of the shard (tar)")
    parser.add_argument(
        "--status", type=Path, required=True, help="what became of the shard's videos (parquet)"
    )
    parser.add_argument(
        "--splits", nargs="+", choices=["train", "val"], default=["train", "val"], help="splits to pack"
    )
    parser.add_argument("--pairs", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order and of what is drawn")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    data = load_section(PairsConfig, arguments.config)
    captions = read_columns(arguments.captions, COLUMNS, "corpus_shard")
    status = pq.read_table(arguments.status, columns=["index", "outcome", "timestamps"]).to_pylist()
    timestamps = {row["index"]: row["timestamps"] for row in status if row["outcome"] == "ok"}
    per_tar = {"train": data.pairs_per_tar, "val": min(data.pairs_per_tar, MAX_VAL_PAIRS)}
    made: dict = {"pairs": {}, "captions_without_frames": 0, "sha256": {}}
    with FrameShard(arguments.frames) as frames, whole_folder(arguments.pairs, COUNTS) as folder:
        for split in arguments.splits:
            pairs = choose_pairs(captions, timestamps, split, data, arguments.seed)
            if data.dataset_type == "csv":
                found = write_table(folder, split, pairs, frames, arguments.seed)
            else:
                found = write_tars(folder, split, pairs, frames, arguments.seed, per_tar[split])
            made["pairs"][split], made["sha256"][split] = found
            made["captions_without_frames"] += pairs.without_frames
            print(f"{split}: {pairs.total} pairs", flush=True)
        write_json(folder / COUNTS, made)
    print(f"{made['captions_without_frames']} captions of videos without frames left out", flush=True)


if __name__ == "__main__":
    run_command(main)
