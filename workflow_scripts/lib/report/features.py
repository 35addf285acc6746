"""The features of every encoder in numbers: what made them, how many there are, and what they took."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.lib.features.index import ShardIndex, read_index
from workflow_scripts.lib.features.layout import SIDE_OF, Kind, index_path, shard_path
from workflow_scripts.lib.files import read_json
from workflow_scripts.lib.report.benchmarks import seconds_spent

KINDS: tuple[Kind, ...] = tuple(SIDE_OF)


def feature_metrics(metas: Sequence[Path], benchmarks: Path) -> dict[str, dict[str, Any]]:
    """{encoder: numbers}, from the meta files of its sides, `<root>/<encoder>/{video,text}_meta.json`.

    `kind` is the model's library, or `imported`; `model` its name, or the folder that was imported, where it is known.
    `videos` and `captions` are null where the encoder has no such side, `tokens_per_frame` where it keeps no visual
    tokens, `seconds` where another run has made the features. `width` is that of a frame's embedding, or else of a
    text's. UserError when a file is missing or broken.
    """
    found: dict[str, dict[str, Any]] = {}
    for meta in metas:
        found.setdefault(meta.parent.name, {})[meta.name.removesuffix("_meta.json")] = meta
    return {name: _encoder(sides, benchmarks) for name, sides in found.items()}


def _encoder(metas: dict[str, Path], benchmarks: Path) -> dict[str, Any]:
    contents = {side: read_json(file) for side, file in metas.items()}
    root = next(iter(metas.values())).parent
    files = {
        kind: [shard_path(root, kind, shard) for shard in range(contents[SIDE_OF[kind]]["shards"])]
        for kind in KINDS
        if SIDE_OF[kind] in metas
    }
    first = {kind: _first_with_keys(shards) for kind, shards in files.items()}
    example = first.get("video") or first.get("text")
    tokens = first.get("token")
    kind, model = _made_by(next((content["encoder"] for content in contents.values()), None) or {})
    totals = {side: content["total"] for side, content in contents.items()}
    on_disk = [file for shards in files.values() for shard in shards for file in (shard, index_path(shard))]
    return {
        "kind": kind,
        "model": model,
        "videos": totals.get("video"),
        "captions": totals.get("text"),
        "width": example.tail[-1] if example else None,
        "tokens_per_frame": tokens.tail[0] if tokens else None,
        "dtype": str(example.dtype) if example else None,
        "bytes": sum(file.stat().st_size for file in on_disk if file.is_file()),
        "seconds": seconds_spent(
            [benchmarks / "import_features.tsv"]
            if kind == "imported"
            else _extraction_jobs(benchmarks, root, contents)
        ),
    }


def _made_by(identity: dict[str, Any]) -> tuple[str | None, str | None]:
    """Kind and model; None where the features tell nothing of it."""
    if identity.get("kind") == "imported":
        return "imported", identity["source"]
    space = identity.get("space", {})
    return space.get("library"), space.get("model")


def _first_with_keys(shards: list[Path]) -> ShardIndex | None:
    return next((index for index in map(read_index, shards) if len(index)), None)


def _extraction_jobs(benchmarks: Path, root: Path, metas: dict[str, Any]) -> list[Path]:
    """Benchmark files of the jobs that make the features below `root`, one a shard and side."""
    return [
        Path(benchmarks, f"extract_{side}_features", root, f"{shard:03d}.tsv")
        for side, meta in metas.items()
        for shard in range(meta["shards"])
    ]
