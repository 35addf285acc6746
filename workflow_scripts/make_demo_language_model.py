"""Train the demo's tokenizer and tiny language model on the training captions; they stand in for a downloaded LLM."""

import argparse
import sys
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from workflow_scripts.lib.captioner.demo_lm import make_demo_language_model
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments, set_up_compute
from workflow_scripts.lib.config import CaptionerConfig, load_section
from workflow_scripts.lib.corpus.tables import read_rows
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import whole_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen captioner section (YAML)")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus tables")
    parser.add_argument("--shards", type=int, required=True, help="number of corpus shards")
    parser.add_argument("--model", type=Path, required=True, help="folder to write: model and tokenizer")
    add_compute_arguments(parser)
    arguments = parser.parse_args()

    config = load_section(CaptionerConfig, arguments.config)
    if config.demo_language_model is None:
        raise UserError(f"{arguments.config}: demo_language_model is not set, so there is none to make")
    if not sys.stderr.isatty():
        disable_progress_bar()
    set_up_compute(arguments.threads, arguments.seed)
    rows = [
        row
        for row in read_rows(arguments.corpus, "captions", arguments.shards)
        if row["split"] == "train" and row["language"] in (config.languages or [row["language"]])
    ]
    with whole_folder(arguments.model) as folder:
        make_demo_language_model(
            rows,
            config.demo_language_model,
            config.prompts,
            folder,
            limit=config.max_caption_tokens,
            seed=arguments.seed,
        )


if __name__ == "__main__":
    run_command(main)
