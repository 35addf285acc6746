"""Captioner, stage 1: train the projector between visual tokens and the frozen language model."""

import argparse

from workflow_scripts.lib.captioner.stages import add_training_arguments, run_stage
from workflow_scripts.lib.command import run_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_training_arguments(parser)
    run_stage(parser.parse_args())


if __name__ == "__main__":
    run_command(main)
