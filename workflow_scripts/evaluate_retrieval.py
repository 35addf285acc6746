"""Rank the videos of val and test for each of their captions, by GMMFormer and by zero-shot similarity."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments, device_name, set_up_compute
from workflow_scripts.lib.config import RetrievalConfig, load_section
from workflow_scripts.lib.files import write_json
from workflow_scripts.lib.provenance import provenance
from workflow_scripts.lib.retrieval.model_folder import read_model
from workflow_scripts.lib.retrieval.results import evaluate, write_ranks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen `retrieval` section (YAML)")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    parser.add_argument(
        "--features", type=Path, required=True, help="folder of the features of videos, and lists of captions"
    )
    parser.add_argument(
        "--text-features",
        type=Path,
        required=True,
        help="folder of the features of captions; may be the same",
    )
    parser.add_argument(
        "--metrics", type=Path, required=True, help="output: recalls and ranks (JSON; rates in percent)"
    )
    parser.add_argument(
        "--ranks", type=Path, required=True, help="output: rank and best videos of each caption (parquet)"
    )
    add_compute_arguments(parser)
    arguments = parser.parse_args()

    config = load_section(RetrievalConfig, arguments.config)
    device = set_up_compute(arguments.threads, arguments.seed)
    model = read_model(arguments.model).to(device)
    metrics, ranks = evaluate(model, arguments.features, arguments.text_features, config)
    metrics["provenance"] = provenance(
        inputs=[arguments.model / "model.safetensors"],
        config=arguments.config,
        seed=arguments.seed,
        device=device_name(device),
    )
    write_ranks(arguments.ranks, ranks)
    write_json(arguments.metrics, metrics)


if __name__ == "__main__":
    run_command(main)
