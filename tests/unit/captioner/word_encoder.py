"""An encoder of few words whose space is known, and frames that it has encoded."""

import json
from dataclasses import dataclass

import numpy as np
import torch

from workflow_scripts.lib.features.encoders.encoder import Captions, Tokens
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.keys import video_key

WORDS = ["red", "green", "blue", "ring", "star", "빨간"]
IDENTITY = {"space": {"model": "words"}, "precision": "fp32"}


@dataclass
class Settings:
    name: str = "words"
    batch_size: int = 2


class WordEncoder:
    """A text is the sum of its words' axes; it reads four words."""

    config, identity, context_length = Settings(), IDENTITY, 4

    def __init__(self):
        self.read = []

    def tokenize(self, texts):
        words = [text.replace(".", "").split() for text in texts]
        cut = np.array([len(some) > self.context_length for some in words])
        ids = torch.zeros(len(texts), len(WORDS))
        for row, some in zip(ids, words, strict=True):
            for word in some[: self.context_length]:
                if word in WORDS:
                    row[WORDS.index(word)] += 3.0  # of no unit length
        return Tokens({"ids": ids}, np.ones(len(texts)), cut)

    def encode_captions(self, tokens):
        self.read.append(len(tokens.inputs["ids"]))
        return Captions(tokens.inputs["ids"], tokens.inputs["ids"])


def frames_of(folder, videos, identity=IDENTITY):
    """Two frames a video: the first shows all of its words, the second its first word."""
    with ShardWriter(folder / "FeatureData/video_shard_000.hdf5", json.loads(json.dumps(identity))) as writer:
        for video, words in enumerate(videos):
            both = np.zeros((2, len(WORDS)), np.float32)
            both[0, [WORDS.index(word) for word in words]] = 5.0
            both[1, WORDS.index(words[0])] = 0.1
            writer.write(video_key(video), both)
    return open_features(folder, "video")
