"""What the language model reads before the caption, as token ids."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

MARK = "<video>"
AT_ONCE = 1000  # captions that a tokenizer counts in one call


@dataclass(frozen=True)
class Prompt:
    """Ids before and after the visual tokens."""

    before: list[int]
    after: list[int]

    def __len__(self) -> int:
        return len(self.before) + len(self.after)


def prompts_by_language(
    tokenizer: Any, prompts: Mapping[str, str], chat_template: bool = True
) -> dict[str, Prompt]:
    """The prompt of every language: in the tokenizer's chat template, or plain where there is none or it is not wanted."""
    return {language: _prompt(tokenizer, text, chat_template) for language, text in prompts.items()}


def _prompt(tokenizer: Any, instruction: str, chat_template: bool) -> Prompt:
    content = f"{MARK}\n{instruction}"
    if chat_template and tokenizer.chat_template:
        # `enable_thinking` is Qwen3's; other templates leave it alone.
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
    else:
        text = f"{tokenizer.bos_token or ''}{content}\n"
    before, after = text.split(MARK, 1)
    return Prompt(_ids(tokenizer, before), _ids(tokenizer, after))


def _ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def caption_ids(tokenizer: Any, text: str, limit: int) -> tuple[list[int], bool]:
    """Ids of a caption and its end, and whether it was cut to `limit` tokens.

    A caption that was cut has no end token: the model must not learn to stop in the middle.
    """
    ids = [*_ids(tokenizer, text), tokenizer.eos_token_id]
    return ids[:limit], len(ids) > limit


def caption_lengths(tokenizer: Any, texts: pa.ChunkedArray) -> np.ndarray:
    """Tokens of every caption and its end, uncut; int32 [N]. The ids themselves are not kept."""
    lengths = np.empty(len(texts), np.int32)
    for start in range(0, len(texts), AT_ONCE):
        some = texts[start : start + AT_ONCE].to_pylist()
        ids = tokenizer(some, add_special_tokens=False)["input_ids"]
        lengths[start : start + len(some)] = [len(row) + 1 for row in ids]
    return lengths
