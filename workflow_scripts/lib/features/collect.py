"""Manifests, meta and caption files over the shards of an encoder, once all of them are there and whole."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.tables import SPLITS, shard_files
from workflow_scripts.lib.features import verify
from workflow_scripts.lib.features.shards import FOLDERS, PATTERNS, Kind, ShardIndex
from workflow_scripts.lib.files import whole_file, write_json
from workflow_scripts.lib.keys import video_key


def collect(root: Path, corpus: Path, name: str, shards: int, videos_per_shard: int) -> dict[str, int]:
    """Check all shards below `root` against the corpus tables and write what readers start from.

    Returns the numbers of videos and captions that have features.
    """
    found = {kind: verify.read_shards(root, kind, shards) for kind in FOLDERS}
    tables = zip(
        shard_files(corpus, "videos_%03d.parquet", shards),
        shard_files(corpus, "captions_%03d.parquet", shards),
        strict=True,
    )
    videos, captions = [], []
    for shard, (video_table, caption_table) in enumerate(tables):
        its_videos = pq.read_table(video_table, columns=["index", "split"]).to_pylist()
        its_captions = pq.read_table(caption_table, columns=["video", "key", "split", "text"]).to_pylist()
        _check(root, found, shard, its_videos, its_captions)
        videos += its_videos
        captions += its_captions
    present = {key for index in found["video"] for key in index.keys}
    usable = [row for row in captions if video_key(row["video"]) in present]
    for split in SPLITS:
        _write_captions(root / FOLDERS["text"] / f"{name}{split}.caption.txt", usable, split)
    splits = {video_key(row["index"]): row["split"] for row in videos}
    _write_index(root, "video", found["video"], splits, videos_per_shard)
    _write_index(
        root, "text", found["text"], {row["key"]: row["split"] for row in captions}, videos_per_shard
    )
    return {"videos": len(present), "captions": len(usable)}


def _check(
    root: Path, found: dict[Kind, list[ShardIndex]], shard: int, videos: list[dict], captions: list[dict]
) -> None:
    """A shard's features are those of the shard's videos and captions."""
    video_keys = {video_key(row["index"]) for row in videos}
    caption_keys = {row["key"] for row in captions}

    def check(kind: Kind, expected: set[str], all_of_them: bool) -> None:
        file = root / FOLDERS[kind] / (PATTERNS[kind] % shard)
        verify.check_keys(found[kind][shard].keys, expected, file, all_of_them=all_of_them)

    check("video", video_keys, all_of_them=False)  # a video without frames has no features
    check("text", caption_keys, all_of_them=True)
    check("sentence", caption_keys, all_of_them=True)
    if found["token"][shard].keys:  # the encoder keeps visual tokens
        check("token", set(found["video"][shard].keys), all_of_them=True)


def _write_captions(file: Path, captions: list[dict], split: str) -> None:
    """`<caption key> <text>` a line; captions whose video has no features are left out."""
    with whole_file(file) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.writelines(
            f"{row['key']} {' '.join(row['text'].split())}\n" for row in captions if row["split"] == split
        )


def _write_index(
    root: Path, kind: Kind, indices: list[ShardIndex], splits: dict[str, str], per_shard: int
) -> None:
    """`<kind>_manifest.json` and `<kind>_meta.json`; `total` counts items of all splits, `splits` those of each."""
    manifest = {
        key: f"{FOLDERS[kind]}/{PATTERNS[kind] % shard}"
        for shard, index in enumerate(indices)
        for key in index.keys
    }
    in_split = [splits[key] for key in manifest]
    meta: dict[str, Any] = {
        "kind": kind,
        "pattern": PATTERNS[kind],
        "per_shard": per_shard,
        "shards": len(indices),
        "total": len(manifest),
        "splits": {split: in_split.count(split) for split in SPLITS},
        "encoder": json.loads(indices[0].encoder) if indices[0].encoder else None,
    }
    write_json(root / f"{kind}_manifest.json", manifest)
    write_json(root / f"{kind}_meta.json", meta)
