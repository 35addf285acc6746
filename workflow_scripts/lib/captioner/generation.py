"""Captions for moments, in batches."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

from workflow_scripts.lib.captioner.captions_file import Generated
from workflow_scripts.lib.captioner.data import CaptionDataset, Collator
from workflow_scripts.lib.captioner.examples import Example
from workflow_scripts.lib.config import Generation
from workflow_scripts.lib.errors import UserError


def new_tokens(options: Generation, training: Mapping[str, Any]) -> int:
    """Tokens of a caption at most, its end included: the option's, or for `auto` a tenth more than 99.5 % of the training
    captions have, which the `training.json` of a model folder tells.

    UserError when it does not.
    """
    if options.max_new_tokens != "auto":
        return options.max_new_tokens
    try:
        longest = training["caption_tokens"]["p99_5"]
    except KeyError:
        raise UserError(
            "captioner.generation.max_new_tokens: `auto` needs the lengths of the training captions, and the model's"
            " training.json has no caption_tokens; train it again, or give a number"
        ) from None
    return max(math.ceil(1.1 * longest), options.min_new_tokens, 1)


def decisive(options: Generation) -> dict[str, Any]:
    """The options that captions depend on: how many are made at a time matters only where they are drawn."""
    return options.model_dump(mode="json", exclude=set() if options.do_sample else set(Generation.RUNNING))


def generate(
    model: PeftModel,
    dataset: CaptionDataset,
    tokenizer: Any,
    options: Generation,
    device: torch.device,
    *,
    max_new_tokens: int,
    seed: int,
) -> Iterator[Generated]:
    """The captions of `generate_batches`, one by one."""
    return itertools.chain.from_iterable(
        generate_batches(model, dataset, tokenizer, options, device, max_new_tokens=max_new_tokens, seed=seed)
    )


def generate_batches(
    model: PeftModel,
    dataset: CaptionDataset,
    tokenizer: Any,
    options: Generation,
    device: torch.device,
    *,
    max_new_tokens: int,
    seed: int,
    first: int = 0,
) -> Iterator[list[Generated]]:
    """A caption for every item of the dataset (one without captions) from `first` on, in its order.

    What else is in a batch makes no difference to greedy and beam search: rows are padded on the left, and the padding
    is masked. Sampling draws by `seed` and the place of the batch in the dataset, so that it is the same wherever one
    begins, as long as `first` is a multiple of the batch size.
    """
    collator = Collator(tokenizer.pad_token_id, left=True)
    model.eval()
    for start in range(first, len(dataset), options.batch_size):
        items = [dataset[index] for index in range(start, min(start + options.batch_size, len(dataset)))]
        batch = {name: tensor.to(device) for name, tensor in collator(items).items()}
        with _seeded(seed, start, device) if options.do_sample else contextlib.nullcontext():
            ids = model.generate(
                **batch,
                **_arguments(options),
                max_new_tokens=max_new_tokens,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                use_cache=True,
            )
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        ended = (ids == tokenizer.eos_token_id).any(dim=1).tolist()
        yield [Generated(" ".join(text.split()), not whole) for text, whole in zip(texts, ended, strict=True)]


def _arguments(options: Generation) -> dict[str, Any]:
    """What `generate` of transformers takes for these options.

    The two that keep captions from repeating themselves go in as processors: given by name, the penalty leaves out as
    many of a caption's first tokens as its prompt is padded by, for it looks for the prompt where there is none.
    """
    processors = LogitsProcessorList()
    if options.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(options.repetition_penalty))
    if options.no_repeat_ngram_size:
        processors.append(NoRepeatNGramLogitsProcessor(options.no_repeat_ngram_size))
    sampling = ("temperature", "top_p", "top_k") if options.do_sample else ()
    beams = ("length_penalty",) if options.num_beams > 1 else ()
    return {
        "num_beams": options.num_beams,
        "do_sample": options.do_sample,
        "min_new_tokens": options.min_new_tokens or None,
        "logits_processor": processors,
        **{name: getattr(options, name) for name in (*sampling, *beams)},
    }


@contextlib.contextmanager
def _seeded(seed: int, start: int, device: torch.device) -> Iterator[None]:
    """The global generator, seeded for a batch, and afterwards as it was before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence([seed, start]).generate_state(1)[0]))
        yield


def moments_of(examples: Sequence[Example]) -> list[Example]:
    """One example of every moment and language: captions of the same moment are generated once."""
    first: dict[tuple, Example] = {}
    for example in examples:
        first.setdefault(example.moment, example)
    return list(first.values())


def row(example: Example, generated: Mapping[tuple, Generated]) -> dict[str, Any]:
    """A line of captions_<split>.jsonl; `generated` has the caption of every moment."""
    caption = generated[example.moment]
    return {
        "key": example.key,
        "video": example.video,
        "language": example.language,
        "start_s": example.start_s,
        "end_s": example.end_s,
        "frames": list(example.frames),
        "reference": example.text,
        "generated": caption.text,
        "cut": caption.cut,
        "attributes": example.attributes,
    }
