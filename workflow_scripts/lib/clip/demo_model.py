"""A CLIP small enough to train from scratch on a CPU, with a tokenizer made from the corpus's captions.

The folder that `write_demo_model` makes has no weights: open_clip starts it from random ones. It names
no path outside itself, so it loads from wherever it is moved or copied to.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from workflow_scripts.lib.config import DemoClipModel
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import write_json

START, END = "<start_of_text>", "<end_of_text>"
WORD_END = "</w>"
# CLIP's words: contractions, runs of letters, single digits, runs of anything else.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}\p{M}]+|[\p{N}]|[^\s\p{L}\p{M}\p{N}]+"


def learn_tokenizer(captions: Iterable[str], merges: int) -> Tokenizer:
    """A byte-level BPE in CLIP's form, with at most `merges` merges learned from `captions`.

    The vocabulary is 256 bytes, 256 bytes at the end of a word, the merges, start and end, in this
    order (Radford et al., ICML 2021, section 2.4; Sennrich et al., ACL 2016), so text of any script
    is coded without unknown tokens.
    """
    tokenizer = _clip_tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    trainer = trainers.BpeTrainer(
        vocab_size=512 + merges,  # more than enough: only some of the 256 word-end bytes are seen
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    learned = _merges(tokenizer)[:merges]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + WORD_END for letter in letters), *map("".join, learned)]
    vocabulary = {word: index for index, word in enumerate([*dict.fromkeys(words), START, END])}
    tokenizer = _clip_tokenizer(models.BPE(vocab=vocabulary, merges=learned, end_of_word_suffix=WORD_END))
    tokenizer.add_special_tokens([START, END])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $0 {END}", special_tokens=[(token, vocabulary[token]) for token in (START, END)]
    )
    return tokenizer


def _clip_tokenizer(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    # "Ġ" is the byte-level letter of a blank
    tokenizer.decoder = decoders.Sequence([decoders.Replace(WORD_END, "Ġ"), decoders.ByteLevel()])
    return tokenizer


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def write_demo_model(folder: Path, captions: list[str], settings: DemoClipModel) -> dict[str, int]:
    """Write open_clip_config.json and the tokenizer's files into `folder`.

    `captions` are those of the training split. Returns what the log tells: vocabulary size and the most
    tokens of a caption, start and end included.
    """
    if not captions:
        raise UserError("the training split has no captions to make a tokenizer from")
    tokenizer = learn_tokenizer(captions, settings.merges)
    longest = max(len(encoding.ids) for encoding in tokenizer.encode_batch(captions))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=END,
        model_max_length=settings.context_length,
    ).save_pretrained(folder)
    write_json(folder / "open_clip_config.json", model_config(settings, tokenizer.get_vocab_size()))
    return {"vocabulary": tokenizer.get_vocab_size(), "longest": longest}


def model_config(settings: DemoClipModel, vocabulary: int) -> dict[str, Any]:
    """The content of open_clip_config.json.

    The vision tower is CLIP's ResNet with one block a stage: from so few pictures a ViT of the same cost
    learns colours and textures, and no shapes. Its attention pool adds positions to the features, so an
    embedding tells something of where a shape is. The tokenizer's name stands for the folder itself.
    """
    return {
        "model_cfg": {
            "embed_dim": settings.width,
            "vision_cfg": {
                "image_size": settings.image_size,
                "layers": [1, 1, 1, 1],
                "width": settings.vision_width,
                "head_width": 32,
            },
            "text_cfg": {
                "context_length": settings.context_length,
                "vocab_size": vocabulary,
                "width": settings.width,
                "heads": settings.width // math.gcd(settings.width, 32),
                "layers": settings.text_layers,
                "hf_tokenizer_name": ".",
                "pool_type": "eos",
                "eos_id": vocabulary - 1,
                "pad_id": vocabulary - 1,
            },
        },
        "preprocess_cfg": {
            "size": settings.image_size,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bilinear",
            "resize_mode": "squash",
        },
    }
