"""Captioned moments as training and generation batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from workflow_scripts.lib.captioner.model import IGNORE
from workflow_scripts.lib.captioner.prompts import Prompt, caption_ids
from workflow_scripts.lib.corpus.tables import read_rows
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.frames.moments import frames_in_moment
from workflow_scripts.lib.frames.shard import read_status
from workflow_scripts.lib.keys import video_key


@dataclass(frozen=True)
class Example:
    """A caption and the frames (positions among the video's sampled ones) that show it."""

    key: str
    video: int
    language: str
    start_s: float | None
    end_s: float | None
    text: str
    attributes: dict[str, str]
    frames: tuple[int, ...]

    @property
    def moment(self) -> tuple:
        """What the model sees of it: two captions of one moment in one language get the same words."""
        return self.video, self.frames, self.language


@dataclass
class Split:
    """The captions of a split, in corpus order, and how many were left out for want of frames."""

    name: str
    examples: list[Example] = field(default_factory=list)
    without_frames: int = 0
    videos_without_frames: int = 0

    def describe(self) -> str:
        left_out = (
            f"; {self.without_frames} captions of {self.videos_without_frames} videos without frames left out"
            if self.without_frames
            else ""
        )
        return f"{self.name}: {len(self.examples)} captions{left_out}"


def read_split(
    corpus: Path, frames: Path, shards: int, split: str, *, count: int, languages: Sequence[str] | None
) -> Split:
    """Captions of a split with at most `count` frames each; `languages` None means all."""
    times = {row["index"]: row["timestamps"] for row in read_status(frames, shards) if row["timestamps"]}
    found, missing = Split(split), set()
    for row in read_rows(corpus, "captions", shards):
        if row["split"] != split or (languages is not None and row["language"] not in languages):
            continue
        if row["video"] not in times:
            missing.add(row["video"])
            found.without_frames += 1
            continue
        moment = frames_in_moment(times[row["video"]], row["start_s"], row["end_s"], count)
        found.examples.append(
            Example(
                key=row["key"],
                video=row["video"],
                language=row["language"],
                start_s=row["start_s"],
                end_s=row["end_s"],
                text=row["text"],
                attributes=row["attributes"],
                frames=tuple(moment),
            )
        )
    found.videos_without_frames = len(missing)
    return found


class CaptionDataset(Dataset):
    """Captions as token ids, and the visual tokens of their frames.

    An item holds input_ids and labels (lists; the labels are the caption and its end, all else is ignored)
    and visual [F, P, Dv] in fp32. `cut` is the number of captions over `limit` tokens. UserError when a caption's
    language has no prompt.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        features: FeatureReader,
        tokenizer: Any,
        prompts: Mapping[str, Prompt],
        *,
        video_token: int,
        limit: int,
        with_caption: bool = True,
    ):
        self.examples, self.features, self.prompts = examples, features, prompts
        self.video_token = video_token
        captions = (
            [caption_ids(tokenizer, example.text, limit) for example in examples] if with_caption else []
        )
        self.captions = [ids for ids, _ in captions] if with_caption else [[]] * len(examples)
        self.cut = sum(cut for _, cut in captions)
        for language in sorted({example.language for example in examples} - set(prompts)):
            raise UserError(f"captioner.prompts: no prompt for the language '{language}' of the captions")

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self.examples[index]
        tokens = self.features[video_key(example.video)]
        if example.frames[-1] >= len(tokens):
            raise UserError(
                f"{self.features.root}: {video_key(example.video)} has visual tokens of {len(tokens)} frames, but frame "
                f"{example.frames[-1]} is asked for; the features are not of these frames: run extract_features again"
            )
        visual = torch.from_numpy(tokens[list(example.frames)]).float()
        prompt, caption = self.prompts[example.language], self.captions[index]
        places = [self.video_token] * (visual.shape[0] * visual.shape[1])
        before = prompt.before + places + prompt.after
        return {
            "input_ids": before + caption,
            "labels": [IGNORE] * len(before) + caption,
            "visual": visual,
        }


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
