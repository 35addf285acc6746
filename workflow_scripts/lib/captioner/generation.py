"""Captions for moments, in batches."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import PeftModel

from workflow_scripts.lib.captioner.data import CaptionDataset, Collator, Example
from workflow_scripts.lib.config import Generation


def generate(
    model: PeftModel,
    dataset: CaptionDataset,
    tokenizer: Any,
    options: Generation,
    device: torch.device,
) -> Iterator[str]:
    """A caption for every item of the dataset (one without captions), in its order; greedy or by beam search.

    What is in a batch makes no difference: rows are padded on the left, and the padding is masked.
    """
    collator = Collator(tokenizer.pad_token_id, left=True)
    model.eval()
    for start in range(0, len(dataset), options.batch_size):
        items = [dataset[index] for index in range(start, min(start + options.batch_size, len(dataset)))]
        batch = {name: tensor.to(device) for name, tensor in collator(items).items()}
        ids = model.generate(
            **batch,
            max_new_tokens=options.max_new_tokens,
            num_beams=options.num_beams,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        for text in tokenizer.batch_decode(ids, skip_special_tokens=True):
            yield " ".join(text.split())


def moments_of(examples: Sequence[Example]) -> list[Example]:
    """One example of every moment and language: captions of the same moment are generated once."""
    first: dict[tuple, Example] = {}
    for example in examples:
        first.setdefault(example.moment, example)
    return list(first.values())


def row(example: Example, generated: Mapping[tuple, str]) -> dict[str, Any]:
    """A line of captions_<split>.jsonl."""
    return {
        "key": example.key,
        "video": example.video,
        "language": example.language,
        "start_s": example.start_s,
        "end_s": example.end_s,
        "reference": example.text,
        "generated": generated[example.moment],
        "attributes": example.attributes,
    }
