"""Find feature shards that are truncated, damaged or mixed up: structure, values, and a sample that is encoded again.

To be called by hand, after a copy or a crash, or when results look odd. Reads all values once; with --config and the
frames or the corpus tables, it encodes a sample again and compares. A bad shard is mended by deleting it and its side's
meta file (video_meta.json or text_meta.json) and running snakemake again, which makes it and what follows from it.
Exit code: 0 when nothing was found, 1 otherwise.
"""

import argparse
from pathlib import Path

import numpy as np

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments, set_up_compute
from workflow_scripts.lib.config import EncoderConfig, load_section
from workflow_scripts.lib.features.verify.problems import problems_listed_in
from workflow_scripts.lib.features.verify.run import Job, verify


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of the encoder's features")
    parser.add_argument("--frames", type=Path, help="folder of the frames' tars, to encode videos again")
    parser.add_argument("--corpus", type=Path, help="folder of the corpus tables, to encode captions again")
    parser.add_argument("--config", type=Path, help="the encoder's section (encoder.yaml), to encode again")
    parser.add_argument("--trained-clip", type=Path, help="folder of train_clip, for kind trained_clip")
    parser.add_argument(
        "--sample", type=int, default=64, help="videos, and captions, to be encoded again (64); with --quick, "
        "also the items whose values are read, of each shard",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="read the values of a sample of each shard")
    parser.add_argument("--problems", type=Path, help="list all problems here, as JSON lines")
    add_compute_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    device = set_up_compute(args.threads, args.seed)
    job = Job(
        root=args.root,
        frames=args.frames,
        corpus=args.corpus,
        config=load_section(EncoderConfig, args.config) if args.config else None,
        trained_clip=args.trained_clip,
        sample=args.sample,
        quick=args.quick,
        threads=args.threads,
    )
    with problems_listed_in(args.problems) as problems:
        verify(job, device, np.random.default_rng(args.seed % 2**32), problems)
    if problems.count:
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
