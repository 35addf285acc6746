"""Names of feature files and of their keys: the layout that GMMFormer-style code reads."""

import re
from pathlib import Path
from typing import Literal

Kind = Literal["video", "token", "text", "sentence"]
Side = Literal["video", "text"]
FOLDERS: dict[Kind, str] = {
    "video": "FeatureData",
    "token": "TokenData",
    "text": "TextData",
    "sentence": "SentenceData",
}
PATTERNS: dict[Kind, str] = {kind: f"{kind}_shard_%03d.hdf5" for kind in FOLDERS}
# Visual tokens are listed with the videos, sentences with the texts: one manifest and one meta file a side.
SIDE_OF: dict[Kind, Side] = {"video": "video", "token": "video", "text": "text", "sentence": "text"}
SHAPES: dict[Kind, str] = {"video": "[T, D]", "token": "[T, P, D]", "text": "[L, D]", "sentence": "[1, D]"}
# As many digits as fit int64 and int32; `\d` would take digits of other scripts, too.
KEY = re.compile(r"vid_(0|[1-9][0-9]{0,17})(?:#cap_(0|[1-9][0-9]{0,8}))?")


def shard_path(root: Path, kind: Kind, shard: int) -> Path:
    """`<root>/FeatureData/video_shard_000.hdf5`."""
    return Path(root) / FOLDERS[kind] / (PATTERNS[kind] % shard)


def index_path(shard: Path) -> Path:
    """Where the byte offsets of `video_shard_000.hdf5` lie: `video_shard_000.index.arrow`."""
    return Path(shard).with_suffix(".index.arrow")


def parse_key(key: str) -> tuple[int, int | None] | None:
    """`vid_3` -> (3, None), `vid_3#cap_1` -> (3, 1), anything else -> None."""
    found = KEY.fullmatch(key)
    if found is None:
        return None
    video, caption = found.groups()
    return int(video), None if caption is None else int(caption)
