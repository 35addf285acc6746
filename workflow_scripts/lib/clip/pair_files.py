"""The files that a training reads: pairs that pack_pairs wrote, or one's own; how many are in them, and who reads them."""

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from workflow_scripts.lib.clip.own_counting import Counted, count_files
from workflow_scripts.lib.clip.own_pairs import MISSING, expand_files, is_remote, local_files
from workflow_scripts.lib.clip.pairs_writing import CAPTION, PICTURE
from workflow_scripts.lib.config_clip import PairsConfig
from workflow_scripts.lib.corpus.tables import shard_files
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, text_digest, whole_file, write_json
from workflow_scripts.lib.processes import this_process

COUNTS = "counts.json"
"""Beside the pairs of a shard: how many they are."""
MAX_VAL_PAIRS = 10_000
"""open_clip_train holds all validation features and their product in memory."""


@dataclass(frozen=True)
class Pairs:
    """The files of one split that hold anything, tars or one table, and the number of pairs in each."""

    files: list[Path | str]
    counts: list[int]
    identity: str = ""
    """Another text when the pairs are others."""
    weights: list[float] | None = None
    """How often each tar is drawn from, where they are drawn with replacement."""

    @property
    def total(self) -> int:
        return sum(self.counts)


def find_pairs(data: PairsConfig, folder: Path | None, shards: int, split: str, scratch: Path) -> Pairs:
    """The pairs to train (`split` "train") or to validate ("val") on.

    `folder` is where pack_pairs wrote those of `shards` shards, None where nothing was packed. In `scratch` is kept
    what need not be done twice: counts of own files, and the one table that a CSV of many shards becomes. Every
    process of a training calls this; the first one does it, and the others wait.
    """
    if data.dataset_type == "synthetic":
        return Pairs([], [data.samples] if split == "train" else [], str(data.samples))
    if data.own(split):
        return _bounded(_own(data, split, scratch / f"own_{split}.json"), split)
    if not data.of_corpus(split):
        print(f"no validation: clip.data.{split} names no pairs", flush=True)
        return Pairs([], [])
    if folder is None:
        raise UserError(
            f"clip: no folder of packed pairs is given, and no clip.data.{split}; give one of them"
        )
    made = [read_json(file) for file in shard_files(folder, f"%03d/{COUNTS}", shards)]
    identity = text_digest(each["sha256"][split] for each in made)
    if data.dataset_type == "csv":
        return _one_table(
            data, folder, [sum(each["pairs"][split]) for each in made], split, scratch, identity
        )
    tars = [
        (folder / f"{shard:03d}" / f"{split}_{number:03d}.tar", count)
        for shard, each in enumerate(made)
        for number, count in enumerate(each["pairs"][split])
    ]
    pairs = Pairs([tar for tar, _ in tars], [count for _, count in tars], identity)
    return few_enough(pairs) if split == "val" else pairs


def few_enough(pairs: Pairs, most: int = MAX_VAL_PAIRS) -> Pairs:
    """The first tars with at most `most` pairs together, at least one tar."""
    total = 0
    for kept, count in enumerate(pairs.counts):
        total += count
        if total > most and kept:
            print(
                f"validation: {kept} of {len(pairs.files)} tars, which hold {total - count} pairs", flush=True
            )
            return Pairs(pairs.files[:kept], pairs.counts[:kept], pairs.identity)
    return pairs


def _bounded(pairs: Pairs, split: str) -> Pairs:
    if split == "val" and pairs.total > MAX_VAL_PAIRS:
        raise UserError(
            f"clip.data.val: {pairs.total} pairs, and open_clip_train holds in memory how well each goes with each; validate"
            f" on {MAX_VAL_PAIRS} at most, and evaluate on the others (clip.data.test)"
        )
    return pairs


def _own(data: PairsConfig, split: str, cache: Path) -> Pairs:
    own = data.own(split)
    groups = expand_files(own)
    files = [name for some in groups for name in some]
    weights = None
    if own.upsampling:
        pairs = zip(groups, own.upsampling, strict=True)
        weights = [weight for some, weight in pairs for _ in some]
    local = local_files(data, split)
    if own.samples is not None:  # told, so nothing need be read; files of one making are about equally large
        states = [name if is_remote(name) else _state(name) for name in files]
        share, rest = divmod(own.samples, len(files))
        counts = [share + (number < rest) for number in range(len(files))]
        return Pairs(files, counts, text_digest([str(own.samples), *states]), weights)
    counted = _counted(local, data, split, cache)
    return Pairs(files, [each.samples for each in counted], text_digest(e.identity for e in counted), weights)


def _counted(files: list[str], data: PairsConfig, split: str, cache: Path) -> list[Counted]:
    """What is in the files; those that have not changed since they were counted are not read again."""
    settings = (
        [data.csv_separator, data.csv_img_key, data.csv_caption_key] if data.dataset_type == "csv" else []
    )
    states = {name: "\t".join([_state(name), *settings]) for name in files}
    while True:
        known = read_json(cache) if cache.is_file() else {}
        unknown = [name for name in states if known.get(name, {}).get("state") != states[name]]
        if not unknown:
            return [Counted(known[name]["samples"], known[name]["identity"]) for name in files]
        if this_process().first:
            print(f"counting the pairs of {len(unknown)} files of clip.data.{split}", flush=True)
            found = {
                name: {"state": states[name], **counted._asdict()}
                for name, counted in count_files(unknown, data)
            }
            write_json(cache, {name: found.get(name) or known[name] for name in states})
        else:
            time.sleep(0.2)


def _state(name: str) -> str:
    found = Path(name).stat()
    return f"{name} {found.st_size} {found.st_mtime_ns}"


def _one_table(
    data: PairsConfig, folder: Path, counts: list[int], split: str, scratch: Path, identity: str
) -> Pairs:
    """The tables of all shards as one, in the form that own ones have; of validation, the first rows only."""
    total = min(sum(counts), MAX_VAL_PAIRS) if split == "val" else sum(counts)
    if not total:
        return Pairs([], [], identity)
    columns = [data.csv_separator, data.csv_img_key, data.csv_caption_key]
    table = scratch / f"{split}_{text_digest([str(folder), identity, *columns])[:12]}.csv"
    if this_process().first and not table.is_file():
        for former in scratch.glob(f"{split}_*.csv"):
            former.unlink()
        _write_table(table, data, islice(_rows(folder, len(counts), split), total))
    while not table.is_file():
        time.sleep(0.2)
    return Pairs([table], [total], identity)


def _rows(folder: Path, shards: int, split: str) -> Iterator[tuple[str, str]]:
    for table in shard_files(folder, f"%03d/{split}.tsv", shards):
        with table.open(encoding="utf-8", newline="") as handle:
            for row in csv.DictReader(handle, delimiter="\t"):
                yield str(table.parent / row[PICTURE]), row[CAPTION]


def _write_table(table: Path, data: PairsConfig, rows: Iterator[tuple[str, str]]) -> None:
    with whole_file(table) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter=data.csv_separator, lineterminator="\n")
        writer.writerow([data.csv_img_key, data.csv_caption_key])
        for picture, text in rows:
            # with a blank before it, a caption like `None` is a text to pandas; tokenizers do not see it
            writer.writerow([picture, f" {text}" if text in MISSING else text])


def usable_workers(pairs: Pairs, wanted: int, ranks: int, batch: int, data: PairsConfig) -> int:
    """How many of `wanted` reading processes the pairs allow, for `batch` of them a rank.

    A tar is read by one worker of one rank, and a worker that cannot fill a batch would wait for ever; of a table,
    the last batch is dropped unless it is whole. UserError when not even one batch can be filled.
    """
    if not pairs.total:
        raise UserError(
            "clip: no training pairs; look at the split of the annotations, at clip.data.languages and at the frames'"
            " failures"
        )
    if data.dataset_type != "webdataset":
        if pairs.total < batch * ranks:
            raise UserError(_too_large(pairs.total, pairs, batch, ranks))
        return wanted
    if data.dataset_resampled:
        return wanted
    for workers in range(wanted, -1, -1):
        readers = ranks * max(1, workers)
        fewest = sum(sorted(pairs.counts)[: len(pairs.counts) // readers])
        if fewest >= batch:
            if workers < wanted:
                print(
                    f"workers: {workers} instead of {wanted}, for {len(pairs.files)} tars of pairs",
                    flush=True,
                )
            return workers
    if len(pairs.files) < ranks:
        raise UserError(
            f"clip: {len(pairs.files)} tars of training pairs for {ranks} processes, and each needs one of its own; "
            "lower clip.data.pairs_per_tar, or the rule's gpu"
        )
    most = sum(sorted(pairs.counts)[: len(pairs.counts) // ranks]) * ranks
    raise UserError(_too_large(most, pairs, batch, ranks))


def _too_large(most: int, pairs: Pairs, batch: int, ranks: int) -> str:
    tars = f" in {len(pairs.files)} tars" if len(pairs.files) > 1 else ""
    return (
        f"clip.batch_size: {batch * ranks} over {ranks} processes cannot be filled from {pairs.total} training"
        f" pairs{tars}; give a batch_size of at most {most // ranks * ranks}"
    )
