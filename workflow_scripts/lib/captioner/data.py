"""Captioned moments as training and generation batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from workflow_scripts.lib.captioner.examples import Example as Example  # from here, too
from workflow_scripts.lib.captioner.examples import Examples
from workflow_scripts.lib.captioner.model import IGNORE
from workflow_scripts.lib.captioner.prompts import Prompt, caption_ids, caption_lengths
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.keys import video_key


class CaptionDataset(Dataset):
    """Captions as token ids, and the visual tokens of their frames.

    An item holds input_ids and labels (lists; the labels are the caption and its end, all else is ignored)
    and visual [F, P, Dv] as stored. The item of `~index` is that of `index` with nothing to learn: it fills up a batch.
    `tokens_per_frame` is how many `<video>` stand for a frame (default: one for each of its visual tokens), `limit` the
    tokens that a caption is cut to. Nothing is kept in memory but the examples. UserError when a caption's language has
    no prompt.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        features: Mapping[str, np.ndarray],
        tokenizer: Any,
        prompts: Mapping[str, Prompt],
        *,
        video_token: int,
        limit: int,
        with_caption: bool = True,
        tokens_per_frame: int | None = None,
    ):
        self.examples, self.features, self.tokenizer, self.prompts = examples, features, tokenizer, prompts
        self.video_token, self.limit, self.with_caption = video_token, limit, with_caption
        self.tokens_per_frame = tokens_per_frame
        there = (
            examples.languages()[0]
            if isinstance(examples, Examples)
            else {each.language for each in examples}
        )
        for language in sorted(set(there) - set(prompts)):
            raise UserError(f"captioner.prompts: no prompt for the language '{language}' of the captions")

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index < 0:
            item = self[~index]
            return item | {"labels": [IGNORE] * len(item["labels"])}
        example = self.examples[index]
        visual = self.visual(example)
        prompt = self.prompts[example.language]
        caption = caption_ids(self.tokenizer, example.text, self.limit)[0] if self.with_caption else []
        frames, tokens = visual.shape[:2]
        places = [self.video_token] * (frames * (self.tokens_per_frame or tokens))
        before = prompt.before + places + prompt.after
        return {
            "input_ids": before + caption,
            "labels": [IGNORE] * len(before) + caption,
            "visual": visual,
        }

    def visual(self, example: Example) -> Tensor:
        """The visual tokens [F, P, Dv] of its frames, in the number format that they are stored in."""
        tokens = self.features[video_key(example.video)]
        if example.frames[-1] >= len(tokens):
            where = getattr(self.features, "root", "features")
            raise UserError(
                f"{where}: {video_key(example.video)} has visual tokens of {len(tokens)} frames, but frame "
                f"{example.frames[-1]} is asked for; the features are not of these frames: run extract_features again"
            )
        return torch.from_numpy(tokens[list(example.frames)])

    @cached_property
    def caption_tokens(self) -> np.ndarray:
        """Tokens of every caption and its end before it is cut; int32 [N]. All are read once to be counted."""
        return caption_lengths(self.tokenizer, self.examples.texts)

    @property
    def cut(self) -> int:
        """Captions with more than `limit` tokens."""
        return int((self.caption_tokens > self.limit).sum())

    def lengths(self) -> np.ndarray:
        """Tokens of every item, with prompt and visual tokens; int64 [N]."""
        names, codes = self.examples.languages()
        prompts = np.array([len(self.prompts[name]) for name in names], np.int64)
        tokens = self.tokens_per_frame or self._tokens_of_a_frame()
        captions = np.minimum(self.caption_tokens, self.limit)
        return prompts[codes] + tokens * self.examples.frame_counts() + captions

    def _tokens_of_a_frame(self) -> int:
        return self.visual(self.examples[0]).shape[1] if len(self) else 0


@dataclass
class Collator:
    """Pads items to a batch: on the right for training, on the left for generation."""

    pad_token: int
    left: bool = False

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """input_ids, attention_mask and labels [B, L]; visual [B, F, P, Dv]; frames [B]."""
        batch = {
            "input_ids": self._pad([item["input_ids"] for item in items], self.pad_token),
            "attention_mask": self._pad([[1] * len(item["input_ids"]) for item in items], 0),
            "visual": torch.nn.utils.rnn.pad_sequence([item["visual"] for item in items], batch_first=True),
            "frames": torch.tensor([len(item["visual"]) for item in items]),
        }
        if not self.left:
            batch["labels"] = self._pad([item["labels"] for item in items], IGNORE)
        return batch

    def _pad(self, rows: Sequence[list[int]], value: int) -> Tensor:
        width = max(len(row) for row in rows)
        padded = [
            [value] * (width - len(row)) + row if self.left else row + [value] * (width - len(row))
            for row in rows
        ]
        return torch.tensor(padded)
