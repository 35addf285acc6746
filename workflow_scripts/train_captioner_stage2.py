"""Captioner, stage 2: train projector and LoRA adapters, starting from the model of stage 1."""

import argparse
from pathlib import Path

from workflow_scripts.lib.captioner.stages import add_training_arguments, run_stage
from workflow_scripts.lib.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_training_arguments(parser)
    parser.add_argument("--stage1", type=Path, required=True, help="model folder of train_captioner_stage1")
    arguments = parser.parse_args()
    run_stage(arguments, arguments.stage1)


if __name__ == "__main__":
    run_command(main)
