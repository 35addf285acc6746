"""The demo's language model: a small Qwen3 that learned, from text alone, to make a caption of keywords.

It stands in for a downloaded instruction-following model, which brings this skill along. The
keywords are in any of the moment's languages and the caption in the asked one, so it also learns that
words of two languages mean the same.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    get_cosine_schedule_with_warmup,
)

from workflow_scripts.lib.captioner.model import IGNORE, caption_loss
from workflow_scripts.lib.captioner.prompts import Prompt, caption_ids, prompts_by_language
from workflow_scripts.lib.config import DemoLanguageModel
from workflow_scripts.lib.errors import UserError

COMMON = 0.5  # words in more than this share of a language's captions say nothing about a moment
KEEP = 0.75  # how often a content word that is no attribute is among the keywords
WARMUP = 0.1  # share of the steps
REPEATS = 2  # a keyword is said at most so often, as many frames show the same thing


@dataclass(frozen=True)
class Moment:
    """Captions that say the same: by language, the text and its keywords (sure ones, others)."""

    captions: list[tuple[str, str, list[str], list[str]]]


def train_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `vocab_size` tokens: any text of any script can be written with it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|pad|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>")


def words_of(text: str) -> list[str]:
    """Words between spaces; the characters of a text without spaces."""
    return text.split() if " " in text.strip() else list(text.strip())


def read_moments(rows: Iterable[Mapping[str, Any]]) -> list[Moment]:
    """Rows of the captions table, those of one video with the same start and end together."""
    rows = list(rows)
    seen: dict[str, Counter] = defaultdict(Counter)
    for row in rows:
        seen[row["language"]].update(set(words_of(row["text"])))
    total = Counter(row["language"] for row in rows)
    moments = defaultdict(list)
    for row in rows:
        language, sure = row["language"], list(row["attributes"].values())
        others = [
            word
            for word in words_of(row["text"])
            if seen[language][word] <= COMMON * total[language]
            and not any(value in word or word in value for value in sure)
        ]
        moments[row["video"], row["start_s"], row["end_s"]].append((language, row["text"], sure, others))
    return [Moment(captions) for captions in moments.values()]


def keywords(moment: Moment, chance: random.Random) -> str:
    """Words of one of the moment's captions in random order, some of them several times."""
    _, text, sure, others = chance.choice(moment.captions)
    chosen = sure + [word for word in others if chance.random() < KEEP] or words_of(text)
    said = [word for word in chosen for _ in range(chance.randint(1, REPEATS))]
    chance.shuffle(said)
    return " ".join(said)


def make_language_model(config: DemoLanguageModel, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """An untrained Qwen3 of the configured size."""
    heads = 4
    if config.hidden_size % (2 * heads):
        raise UserError(
            f"captioner.demo_language_model.hidden_size: {config.hidden_size} is not a multiple of {2 * heads}"
        )
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=2 * config.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            head_dim=config.hidden_size // heads,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )


def batches(
    moments: Sequence[Moment],
    tokenizer: Any,
    prompts: Mapping[str, Prompt],
    *,
    batch_size: int,
    limit: int,
    chance: random.Random,
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch: every caption once, behind new keywords. Ids and labels [B, L], padded on the right."""
    tasks = [(moment, caption) for moment in moments for caption in moment.captions]
    chance.shuffle(tasks)
    for start in range(0, len(tasks), batch_size):
        ids, labels = [], []
        for moment, (language, text, _, _) in tasks[start : start + batch_size]:
            prompt = prompts[language]
            said = tokenizer(keywords(moment, chance), add_special_tokens=False)["input_ids"]
            caption, _ = caption_ids(tokenizer, text, limit)
            before = prompt.before + said + prompt.after
            ids.append(torch.tensor(before + caption))
            labels.append(torch.tensor([IGNORE] * len(before) + caption))
        yield (
            pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id),
            pad_sequence(labels, batch_first=True, padding_value=IGNORE),
        )


def train_language_model(
    model: Qwen3ForCausalLM,
    moments: Sequence[Moment],
    tokenizer: Any,
    prompts: Mapping[str, Prompt],
    config: DemoLanguageModel,
    *,
    limit: int,
    seed: int,
) -> list[float]:
    """Train keywords -> caption, the loss on the caption only; the mean loss of every epoch.

    Padding is on the right and attention is causal, so no attention mask is needed.
    """
    chance = random.Random(seed)
    captions = sum(len(moment.captions) for moment in moments)
    steps = config.epochs * math.ceil(captions / config.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, math.ceil(WARMUP * steps), steps)
    model.train()
    history = []
    for epoch in range(config.epochs):
        losses = []
        epoch_batches = batches(
            moments, tokenizer, prompts, batch_size=config.batch_size, limit=limit, chance=chance
        )
        for ids, labels in epoch_batches:
            first = int((labels != IGNORE).any(dim=0).int().argmax())
            kept = labels.shape[1] - first + 1
            loss = caption_loss(model(input_ids=ids, logits_to_keep=kept).logits, labels[:, -kept:], 0.0)
            optimizer.zero_grad()
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        history.append(sum(losses) / len(losses))
        print(f"epoch {epoch + 1} of {config.epochs}: loss {history[-1]:.4f}", flush=True)
    return history


def make_demo_language_model(
    rows: Iterable[Mapping[str, Any]],
    config: DemoLanguageModel,
    prompts: Mapping[str, str],
    folder: Path,
    *,
    limit: int,
    seed: int,
) -> None:
    """Tokenizer and language model of the training captions, into `folder` (save_pretrained's files)."""
    moments = read_moments(rows)
    if not moments:
        raise UserError("captioner.demo_language_model: the corpus has no training captions to learn from")
    texts = [text for moment in moments for _, text, _, _ in moment.captions]
    tokenizer = train_tokenizer([*texts, *prompts.values()], config.vocab_size)
    model = make_language_model(config, tokenizer)
    print(
        f"{len(texts)} training captions of {len(moments)} moments, {len(tokenizer)} tokens, "
        f"{model.num_parameters() / 1e6:.2f}M parameters",
        flush=True,
    )
    plain = prompts_by_language(tokenizer, prompts)
    train_language_model(model, moments, tokenizer, plain, config, limit=limit, seed=seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
