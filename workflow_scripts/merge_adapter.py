"""Make a plain Hugging Face folder of a trained captioner, its adapters merged into the language model.

    python -m workflow_scripts.merge_adapter --model results/demo/captioner/stage2 --output captioner

The folder loads with transformers alone; its README tells how to feed it. Merging is done on the CPU, in memory for the
whole language model in the dtype that is asked for.
"""

import argparse
from pathlib import Path

import torch

from workflow_scripts.lib.captioner.merge import ABOUT, write_merged
from workflow_scripts.lib.captioner.trained import open_trained
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_threads_argument
from workflow_scripts.lib.files import refuse_other_things


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of train_captioner_stage1 or 2")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--dtype", choices=["fp32", "bf16", "fp16"], help="of the language model's weights (the training's)"
    )
    parser.add_argument(
        "--generation",
        type=Path,
        help="how to decode: RUN/config/captioner_generation.yaml (default: greedily)",
    )
    parser.add_argument("--language-model", help="hub id or folder, if it is no longer where it was")
    add_threads_argument(parser)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    refuse_other_things(arguments.output, ABOUT)  # before minutes of loading
    trained = open_trained(
        arguments.model,
        torch.device("cpu"),
        generation=arguments.generation,
        language_model=arguments.language_model,
        precision=arguments.dtype,
        dequantized=True,
    )
    write_merged(trained, arguments.model, arguments.output)
    kept = "4-bit weights, dequantised" if trained.settings.quantization == "nf4" else "weights"
    print(
        f"{arguments.output}: adapters merged into the language model's {kept}; see its README.md", flush=True
    )


if __name__ == "__main__":
    run_command(main)
