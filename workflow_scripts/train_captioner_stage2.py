"""Captioner, stage 2: train projector and LoRA adapters, starting from the model of stage 1."""

import argparse
from pathlib import Path

from workflow_scripts.lib.captioner.loading import load_captioner
from workflow_scripts.lib.captioner.stages import add_training_arguments, open_inputs, run_stage
from workflow_scripts.lib.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_training_arguments(parser)
    parser.add_argument("--stage1", type=Path, required=True, help="model folder of train_captioner_stage1")
    arguments = parser.parse_args()

    inputs = open_inputs(arguments)
    model = load_captioner(arguments.stage1, inputs.language_model, trainable=True)
    run_stage(inputs, model, inputs.config.stage2, arguments.stage1)


if __name__ == "__main__":
    run_command(main)
