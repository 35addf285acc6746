"""Put the numbers of all stages into one metrics file."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.files import write_json
from workflow_scripts.lib.report.metrics import collect


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for stage in ("clip", "retrieval", "captioner"):
        parser.add_argument(
            f"--{stage}", type=Path, nargs="?", help=f"metrics file of {stage}; none: it is off"
        )
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus tables")
    parser.add_argument(
        "--frames",
        type=Path,
        nargs="?",
        help="folder of the frames and their status tables; none: there are no videos",
    )
    parser.add_argument(
        "--problems", type=Path, required=True, help="what was left out of the corpus: list of JSON lines"
    )
    parser.add_argument(
        "--features", type=Path, nargs="*", default=[], help="meta files of the encoders' features"
    )
    parser.add_argument(
        "--benchmarks", type=Path, required=True, help="folder of Snakemake's benchmark files"
    )
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    parser.add_argument("--metrics", type=Path, required=True, help="the file to write")
    parser.add_argument("--seed", type=int, default=0, help="the run's seed, to be recorded")
    args = parser.parse_args()

    stages = {"clip": args.clip, "retrieval": args.retrieval, "captioner": args.captioner}
    metrics = collect(
        stages={name: path for name, path in stages.items() if path},
        corpus=args.corpus,
        frames=args.frames,
        problems=args.problems,
        features=args.features,
        benchmarks=args.benchmarks,
        shards=args.shards,
        seed=args.seed,
    )
    write_json(args.metrics, {"run": args.metrics.absolute().parent.name, **metrics})
    print(f"{args.metrics}: {', '.join(metrics)}", flush=True)


if __name__ == "__main__":
    run_command(main)
