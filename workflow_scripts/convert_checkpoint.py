"""Make a model folder of a checkpoint that GMMFormer's authors released; nothing that is in the file is run."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.retrieval.convert import released_model
from workflow_scripts.lib.retrieval.model_folder import write_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="released file, such as best.ckpt")
    parser.add_argument("--output", type=Path, required=True, help="output: folder of the model")
    parser.add_argument(
        "--n-heads",
        type=int,
        help="attention heads, where the file's config does not say them (published: 4)",
    )
    parser.add_argument(
        "--map-size",
        type=int,
        help="segments of the clip branch, where the file's config does not say them (published: 32)",
    )
    arguments = parser.parse_args()

    weights, config = released_model(
        arguments.checkpoint, n_heads=arguments.n_heads, map_size=arguments.map_size
    )
    write_model(arguments.output, weights, config)
    print(
        f"{arguments.output}: {sum(value.numel() for value in weights.values()):,} parameters for videos of width"
        f" {config.visual_input_size} and captions of width {config.query_input_size}; {config.n_heads} heads,"
        f" {config.map_size} segments, windows over the batch's padded length, as it was trained",
        flush=True,
    )


if __name__ == "__main__":
    run_command(main)
