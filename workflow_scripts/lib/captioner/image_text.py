"""How well captions fit what is seen, by a model of images and texts and without references: CLIPScore's idea (Hessel et
al., EMNLP 2021), as cosines, for the frames of a moment.

The score of a caption for a moment is the mean cosine with its frames. The *whole* caption counts: one that is longer than
the model reads is split into sentences (and a sentence that still is, in halves), and the mean of their scores is taken.
What a cosine is worth tells the comparison with the frames of other videos: captions that fit these as well say nothing.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from workflow_scripts.lib.captioner.confidence import intervals, mean
from workflow_scripts.lib.captioner.metrics import moments_of_rows
from workflow_scripts.lib.config import EncoderConfig, load_section
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.encoders.encoder import Encoder, Tokens, load_encoder
from workflow_scripts.lib.features.encoders.identity import same_space
from workflow_scripts.lib.features.reader import FeatureReader, open_features
from workflow_scripts.lib.keys import video_key

Row = Mapping[str, Any]
# after the mark of a sentence's end, which in Chinese and Japanese no space follows
SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n+")


class ImageText:
    """Scores captions against embeddings of frames. UserError when these are not of the encoder's space."""

    def __init__(self, encoder: Encoder, frames: FeatureReader):
        if not same_space(json.dumps(encoder.identity), frames.encoder):
            raise UserError(
                f"{frames.root}: not known to be made by the encoder '{encoder.config.name}', so captions cannot be compared"
                " with these frames; give the features of this encoder, or set captioner.evaluation.image_text: false"
            )
        self._encoder, self._frames = encoder, frames

    def scores(self, rows: Sequence[Row], samples: int, seed: int) -> dict[str, Any]:
        """Of the rows of one language (not none), with `frames`, means over moments:

        matched: the cosine of the caption and the frames of its moment
        shuffled: that of the same caption and a moment of another video, drawn by `seed`
        difference: between the two
        beats_shuffled: percent of the moments whose own frames fit better
        references: as matched, of the references

        `confidence` has the 95 % intervals of these. The three that need another video are not there where there is none.
        `split` of the captions and `references_split` of the references were longer than the `context` of the encoder.
        """
        moments = moments_of_rows(rows)
        seen = np.stack([self._moment(of_moment[0]) for of_moment in moments])
        texts = [of_moment[0]["generated"] for of_moment in moments]
        owners = np.repeat(np.arange(len(moments)), [len(of_moment) for of_moment in moments])
        said, split = self._captions(texts)
        told, references_split = self._captions([row["reference"] for rows in moments for row in rows])
        own = (said * seen).sum(axis=1)
        per_reference = (told * seen[owners]).sum(axis=1)
        found = {
            "matched": mean(own),
            "references": mean(np.bincount(owners, per_reference) / np.bincount(owners)),
        }
        others = of_other_videos([of_moment[0]["video"] for of_moment in moments], seed)
        if others is not None:
            other = (said * seen[others]).sum(axis=1)
            found |= {
                "shuffled": mean(other),
                "difference": mean(own - other),
                "beats_shuffled": mean(100.0 * (own > other)),
            }
        return {
            **{name: score.value for name, score in found.items()},
            "confidence": intervals(found, samples, seed),
            "split": int(split.sum()),
            "references_split": int(references_split.sum()),
            "context": self._encoder.context_length,
            "encoder": self._encoder.config.name,
        }

    def _moment(self, row: Row) -> np.ndarray:
        """The mean of the frames of a moment, each at unit length; [D]."""
        key = video_key(row["video"])
        frames = self._frames[key]
        if max(row["frames"]) >= len(frames):
            raise UserError(
                f"{self._frames.root}: {key} has {len(frames)} frames, but frame {max(row['frames'])} was captioned; the"
                " features are not of these frames: run extract_video_features and generate_captions again"
            )
        frames = frames[row["frames"]].astype(np.float32)
        return (frames / np.linalg.norm(frames, axis=1, keepdims=True)).mean(axis=0)

    def _captions(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Of each text, the mean of its parts at unit length [N, D], and whether it was split [N]."""
        place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        parts = [
            pieces(text, self._is_cut) if is_cut else [text]
            for text, is_cut in zip(place, self._are_cut(list(place)), strict=True)
        ]
        counts = np.array([len(some) for some in parts])
        vectors = np.concatenate(list(self._encoded([piece for some in parts for piece in some])))
        firsts = np.cumsum(counts) - counts
        means = np.add.reduceat(vectors, firsts) / counts[:, None]
        places = [place[text] for text in texts]
        return means[places], counts[places] > 1

    def _encoded(self, texts: list[str]) -> Iterator[np.ndarray]:
        for tokens in self._tokenized(texts):
            sentences = self._encoder.encode_captions(tokens).sentences
            yield F.normalize(sentences.float(), dim=-1).cpu().numpy()

    def _are_cut(self, texts: list[str]) -> np.ndarray:
        return np.concatenate([tokens.cut for tokens in self._tokenized(texts)])

    def _is_cut(self, text: str) -> bool:
        return bool(self._are_cut([text])[0])

    def _tokenized(self, texts: list[str]) -> Iterator[Tokens]:
        size = self._encoder.config.batch_size
        return (self._encoder.tokenize(texts[start : start + size]) for start in range(0, len(texts), size))


def open_scorer(features: Path, section: Path, trained_clip: Path | None, device: torch.device) -> ImageText:
    """The scorer by the embeddings of frames in `features` and the encoder of a frozen `section`, on `device`;
    `trained_clip` is the folder of train_clip, for an encoder of that kind."""
    config = load_section(EncoderConfig, section).model_copy(
        update={"compile": False}
    )  # takes longer than the texts
    encoder = load_encoder(config, trained_clip, device, sides=("text",))
    return ImageText(encoder, open_features(features, "video"))


def pieces(text: str, is_cut: Callable[[str], bool]) -> list[str]:
    """The text, or where the encoder would cut it, its sentences, and halves of those that it still would."""
    if not is_cut(text):
        return [text]
    return [
        half for sentence in SENTENCE.split(text) if sentence.strip() for half in _halves(sentence, is_cut)
    ]


def _halves(text: str, is_cut: Callable[[str], bool]) -> list[str]:
    if not is_cut(text):
        return [text]
    words = text.split()
    parts, space = (words, " ") if len(words) > 1 else (text, "")
    if len(parts) < 2:
        return [text]
    middle = len(parts) // 2
    return [half for some in (parts[:middle], parts[middle:]) for half in _halves(space.join(some), is_cut)]


def of_other_videos(videos: Sequence[int], seed: int) -> np.ndarray | None:
    """For each moment of `videos` [n] one of another video, at random [n]; None where there is one video.

    Videos are put in a circle, and each one's moments get moments of the next.
    """
    draws = np.random.default_rng(seed)
    names, owner = np.unique(videos, return_inverse=True)
    if len(names) < 2:
        return None
    circle = draws.permutation(len(names))
    following = np.empty_like(circle)
    following[circle] = np.roll(circle, -1)
    first = np.searchsorted(np.sort(owner), np.arange(len(names) + 1))
    by_video = np.argsort(owner, kind="stable")
    low, high = first[following[owner]], first[following[owner] + 1]
    return by_video[draws.integers(low, high)]
