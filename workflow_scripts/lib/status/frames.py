"""How many videos gave frames, over the shards that are finished."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass
class Videos:
    """Counts of videos; `failed` by reason."""

    shards: int = 0
    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)


def count_videos(corpus: str, shards: int) -> Videos:
    """By the status tables of shards 0 to shards-1, as many as there are."""
    videos = Videos()
    for shard in range(shards):
        file = Path("resources") / corpus / "frames" / f"status_{shard:03d}.parquet"
        try:
            table = pq.read_table(file, columns=["outcome", "reason"])
        except (OSError, pa.ArrowInvalid):  # not made yet; or being replaced right now, or made by a dry test
            continue
        rows = Counter(zip(table["outcome"].to_pylist(), table["reason"].to_pylist(), strict=True))
        videos.shards += 1
        for (outcome, reason), count in rows.items():
            if outcome == "ok":
                videos.ok += count
            else:
                videos.failed[reason] += count
    return videos
