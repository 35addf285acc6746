"""Are the features complete, and do they fit the corpus?"""

from pathlib import Path

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.shards import (
    FOLDERS,
    PATTERNS,
    Kind,
    ShardIndex,
    read_index,
    refuse_mixture,
)
from workflow_scripts.lib.keys import video_key


def check_shard(shapes: dict[str, tuple[int, ...]], status: list[dict], tar: Path) -> None:
    """Every video with frames has as many rows of features as timestamps; UserError names the first that has not."""
    for row in status:
        expected = len(row["timestamps"]) if row["outcome"] == "ok" else 0
        found = shapes.get(video_key(row["index"]), (0,))[0]
        if found != expected:
            raise UserError(
                f"{tar}: {found} frames of video {row['index']} where its status says {expected};"
                " tar and status are of different runs: run extract_frames again"
            )


def read_shards(root: Path, kind: Kind, shards: int) -> list[ShardIndex]:
    """The indices of all shards of a kind; UserError for one that is missing, truncated or of another encoder."""
    files = [Path(root) / FOLDERS[kind] / (PATTERNS[kind] % shard) for shard in range(shards)]
    indices = [read_index(file) for file in files]
    refuse_mixture(files, indices)
    return indices


def check_keys(found: list[str], expected: set[str], file: Path, *, all_of_them: bool) -> None:
    """No key that the corpus does not have, and, if asked, all that it has; UserError names the first."""
    if strange := sorted(set(found) - expected):
        raise UserError(
            f"{file}: {len(strange)} keys that the corpus does not have, the first is {strange[0]};"
            " the corpus was changed: run extract_features again"
        )
    if all_of_them and (missing := sorted(expected - set(found))):
        raise UserError(
            f"{file}: {len(missing)} keys are missing, the first is {missing[0]}; run extract_features again"
        )
