"""Captioner, stage 1: train the projector between visual tokens and the frozen language model."""

import argparse

from workflow_scripts.lib.captioner.loading import new_captioner
from workflow_scripts.lib.captioner.stages import add_training_arguments, open_inputs, run_stage
from workflow_scripts.lib.captioner.training import train_projector_only
from workflow_scripts.lib.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_training_arguments(parser)
    arguments = parser.parse_args()

    inputs = open_inputs(arguments)
    tokens, width = inputs.token_shape
    model = new_captioner(
        inputs.language_model,
        inputs.config.lora,
        visual_width=width,
        tokens_per_frame=tokens,
        max_frames=inputs.config.frames,
    )
    train_projector_only(model)
    run_stage(inputs, model, inputs.config.stage1)


if __name__ == "__main__":
    run_command(main)
