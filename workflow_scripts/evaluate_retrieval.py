"""Rank the videos of val and test for each of their captions, by GMMFormer and by zero-shot similarity."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments, device_name, set_up_compute
from workflow_scripts.lib.config import RetrievalConfig, load_section
from workflow_scripts.lib.files import write_json
from workflow_scripts.lib.provenance import provenance
from workflow_scripts.lib.retrieval.arguments import add_feature_arguments
from workflow_scripts.lib.retrieval.model_folder import WEIGHTS, read_checkpoint_model, read_model
from workflow_scripts.lib.retrieval.moments import CorpusTables
from workflow_scripts.lib.retrieval.results import evaluate, write_ranks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_feature_arguments(parser)
    weights = parser.add_mutually_exclusive_group(required=True)
    weights.add_argument("--model", type=Path, help="folder of the trained model")
    weights.add_argument(
        "--checkpoint", type=Path, help="or a checkpoint of its training, such as checkpoints/last.pt"
    )
    parser.add_argument(
        "--corpus",
        type=Path,
        nargs="?",
        help="folder of the corpus tables, which tell moments (with --shards)",
    )
    parser.add_argument(
        "--frames",
        type=Path,
        nargs="?",
        help="folder of the frames' status tables, which tell how long videos are; none: as annotated",
    )
    parser.add_argument("--shards", type=int, help="number of shards of these tables")
    parser.add_argument(
        "--metrics", type=Path, required=True, help="output: recalls and ranks (JSON; rates in percent)"
    )
    parser.add_argument(
        "--ranks", type=Path, required=True, help="output: rank and best videos of each caption (parquet)"
    )
    add_compute_arguments(parser)
    arguments = parser.parse_args()
    if (arguments.corpus is None) != (arguments.shards is None) or (
        arguments.frames and not arguments.corpus
    ):
        parser.error("--corpus and --shards go together, and --frames with them")

    config = load_section(RetrievalConfig, arguments.config)
    device = set_up_compute(arguments.threads, arguments.seed)
    model = (
        read_model(arguments.model) if arguments.model else read_checkpoint_model(arguments.checkpoint)
    ).to(device)
    tables = CorpusTables(arguments.corpus, arguments.frames, arguments.shards) if arguments.corpus else None
    metrics, ranks = evaluate(
        model, arguments.features, arguments.text_features, config, tables, arguments.seed
    )
    metrics["provenance"] = provenance(
        inputs=[arguments.model / WEIGHTS if arguments.model else arguments.checkpoint],
        config=arguments.config,
        seed=arguments.seed,
        device=device_name(device),
    )
    write_ranks(arguments.ranks, ranks)
    write_json(arguments.metrics, metrics)


if __name__ == "__main__":
    run_command(main)
