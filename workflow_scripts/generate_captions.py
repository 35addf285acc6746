"""Write a caption for every captioned moment of a split, beside its reference, as JSON lines and as a table.

Captions are kept as they are made, in the folder of --progress: after a kill, the command goes on where it was.
"""

import argparse
import json
import time
from pathlib import Path

from workflow_scripts.lib.captioner.captions_file import Journal, write_captions
from workflow_scripts.lib.captioner.generation import decisive, generate_batches, moments_of, new_tokens, row
from workflow_scripts.lib.captioner.inputs import add_input_arguments, open_inputs, start
from workflow_scripts.lib.captioner.loading import load_captioner
from workflow_scripts.lib.captioner.settings import read_settings
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import Generation, load_section
from workflow_scripts.lib.corpus.tables import SPLITS
from workflow_scripts.lib.files import file_digest, read_json, text_digest
from workflow_scripts.lib.running import add_running_arguments, with_running_arguments

REPORT_EVERY_S = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_input_arguments(parser, config_help="frozen captioner.generation (YAML)")
    parser.add_argument("--model", type=Path, required=True, help="model folder of train_captioner_stage2")
    parser.add_argument("--split", choices=SPLITS, required=True, help="split to caption")
    parser.add_argument("--captions", type=Path, required=True, help="JSONL to write, a line a caption")
    parser.add_argument("--table", type=Path, required=True, help="the same as parquet, to write")
    parser.add_argument("--progress", type=Path, required=True, help="folder for captions as they are made")
    add_running_arguments(parser, Generation, Generation.RUNNING)
    arguments = parser.parse_args()

    options = load_section(Generation, arguments.config)
    options = with_running_arguments(options, Generation.RUNNING, arguments)
    device = start(arguments)
    inputs = open_inputs(arguments, read_settings(arguments.model), device)
    model = load_captioner(arguments.model, inputs.language_model).to(device)
    longest = new_tokens(options, read_json(arguments.model / "training.json"))
    split = inputs.split(arguments.split)
    moments = moments_of(split.examples)
    made_by = {
        "model": file_digest(arguments.model / "adapter_model.safetensors"),
        "settings": file_digest(arguments.model / "settings.yaml"),
        "language_model": inputs.language_model_name,
        "generation": {**decisive(options), "max_new_tokens": longest, "seed": arguments.seed},
        "moments": text_digest(
            json.dumps([moment.key, moment.language, moment.frames]) for moment in moments
        ),
        "features": text_digest(inputs.features.digests()),
    }
    journal = Journal(arguments.progress, made_by, options.batch_size, len(moments))
    if journal.done:
        print(f"{len(journal.done)} of {len(moments)} moments are done already", flush=True)
    reported = time.monotonic()
    for batch in generate_batches(
        model,
        inputs.dataset(moments, with_caption=False),
        inputs.tokenizer,
        options,
        device,
        max_new_tokens=longest,
        seed=arguments.seed,
        first=len(journal.done),
    ):
        journal.add(batch)
        if time.monotonic() - reported > REPORT_EVERY_S:
            reported = time.monotonic()
            print(f"{len(journal.done)} of {len(moments)} moments captioned", flush=True)
    found = dict(zip((moment.moment for moment in moments), journal.done, strict=True))
    write_captions([row(example, found) for example in split.examples], arguments.captions, arguments.table)
    cut = sum(caption.cut for caption in journal.done)
    journal.remove()
    print(f"{len(moments)} moments captioned; {cut} captions cut at {longest} tokens", flush=True)


if __name__ == "__main__":
    run_command(main)
