"""Write a caption for every captioned moment of a split, beside its reference, as JSON lines."""

import argparse
import json
import time
from pathlib import Path

from workflow_scripts.lib.captioner.generation import generate, moments_of, row
from workflow_scripts.lib.captioner.loading import load_captioner
from workflow_scripts.lib.captioner.stages import add_input_arguments, open_inputs
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.corpus.tables import SPLITS
from workflow_scripts.lib.files import whole_file

REPORT_EVERY_S = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_input_arguments(parser)
    parser.add_argument("--model", type=Path, required=True, help="model folder of train_captioner_stage2")
    parser.add_argument("--split", choices=SPLITS, required=True, help="split to caption")
    parser.add_argument("--captions", type=Path, required=True, help="JSONL to write, a line a caption")
    arguments = parser.parse_args()

    inputs = open_inputs(arguments)
    model = load_captioner(arguments.model, inputs.language_model).to(inputs.device)
    split = inputs.split(arguments.split)
    moments = moments_of(split.examples)
    dataset = inputs.dataset(moments, with_caption=False)
    generated, reported = {}, time.monotonic()
    texts = generate(model, dataset, inputs.tokenizer, inputs.config.generation, inputs.device)
    for example, text in zip(moments, texts, strict=True):
        generated[example.moment] = text
        if time.monotonic() - reported > REPORT_EVERY_S:
            reported = time.monotonic()
            print(f"{len(generated)} of {len(moments)} moments captioned", flush=True)
    with whole_file(arguments.captions) as temporary, temporary.open("w", encoding="utf-8") as lines:
        for example in split.examples:
            lines.write(json.dumps(row(example, generated), ensure_ascii=False) + "\n")
    print(f"{len(generated)} moments captioned", flush=True)


if __name__ == "__main__":
    run_command(main)
