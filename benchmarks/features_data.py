"""What the feature benchmarks work on: a model with random weights, frames, features in many formats, a vast corpus."""

import io
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
from PIL import Image

from workflow_scripts.lib.features.caption_lists import TABLE, caption_table
from workflow_scripts.lib.features.index import ShardIndex
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.layout import PATTERNS, Kind, shard_path
from workflow_scripts.lib.features.shards import ShardWriter, encoder_text, new_file, set_digest
from workflow_scripts.lib.files import whole_folder, write_json
from workflow_scripts.lib.frames.shard import write_status, write_tar
from workflow_scripts.lib.keys import video_key

IDENTITY = {"model": "benchmark"}
WIDTH = 512
SHORTEST, LONGEST = 32, 128  # frames of an item
SIDE, JPEG_QUALITY = 256, 90
TINY_MODEL = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


# ------------------------------------------------------------------------------------------ extraction


def model_folder(cache: Path, name: str) -> Path:
    """An open_clip folder (`local-dir:`) with random weights: the built-in model `name`, or "tiny". Made once."""
    folder = cache / f"model_{name}"
    if not folder.is_dir():
        import open_clip  # takes seconds
        import torch
        from safetensors.torch import save_file

        settings = TINY_MODEL if name == "tiny" else open_clip.get_model_config(name)
        with whole_folder(folder) as temporary:
            write_json(temporary / "open_clip_config.json", {"model_cfg": settings, "preprocess_cfg": {}})
            torch.manual_seed(0)
            model = open_clip.create_model(f"local-dir:{temporary}", load_weights=False)
            save_file(model.state_dict(), temporary / "open_clip_model.safetensors")
    return folder


def frames_folder(cache: Path, videos: int, frames: int) -> Path:
    """`frames.tar` and `status.parquet` of as many videos, each a camera that pans over a texture. Made once."""
    folder = cache / f"frames_{videos}x{frames}"
    if not folder.is_dir():
        with whole_folder(folder) as temporary:
            write_tar(temporary / "frames.tar", ((video, _pan(video, frames)) for video in range(videos)))
            write_status(temporary / "status.parquet", [_status(video, frames) for video in range(videos)])
    return folder


def _pan(video: int, frames: int) -> Iterator[bytes]:
    texture = _texture(np.random.default_rng(video), SIDE + 4 * frames)
    for frame in range(frames):
        corner = 4 * frame
        picture = Image.fromarray(texture[corner : corner + SIDE, corner : corner + SIDE])
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=JPEG_QUALITY)
        yield data.getvalue()


def _texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """[side, side, 3] uint8 with detail of all sizes, so that it takes as many bytes as a photograph."""
    picture = np.full((side, side, 3), 128, np.float32)
    for cells, strength in ((4, 90), (16, 45), (64, 20), (side, 8)):
        for channel in range(3):
            coarse = Image.fromarray(rng.normal(0, strength, (cells, cells)).astype(np.float32))
            picture[..., channel] += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    return picture.clip(0, 255).astype(np.uint8)


def _status(video: int, frames: int) -> dict:
    return {
        "index": video,
        "key": video_key(video),
        "split": "train",
        "outcome": "ok",
        "frames": frames,
        "timestamps": [float(frame) for frame in range(frames)],
        "bytes": 0,
        "seconds": 0.0,
    }


# ------------------------------------------------------------------------------------------ reading


def item_lengths(items: int, shortest: int = SHORTEST, longest: int = LONGEST) -> np.ndarray:
    """[items] int64, frames of each."""
    return np.random.default_rng(0).integers(shortest, longest + 1, items)


def item_values(lengths: np.ndarray, width: int, dtype: str) -> Iterator[np.ndarray]:
    """An array [length, width] an item: rows of one block of noise, each item from another place."""
    block = np.random.default_rng(1).standard_normal((4096, width), dtype=np.float32).astype(dtype)
    for item, length in enumerate(lengths.tolist()):
        first = item * 1009 % (len(block) - length)
        yield block[first : first + length]


def items_folder(cache: Path, items: int, shards: int) -> Path:
    """The same float16 items [T, 512] in all the formats that are read, made once.

    Ours is below `ours`; `keys.hdf5` has a dataset a key as `create_dataset` writes them, `flat.npy`, `flat.hdf5` and
    `keys.safetensors` say what they are.
    """
    folder = cache / f"items_{items}"
    if folder.is_dir():
        return folder
    from safetensors.numpy import save_file

    lengths = item_lengths(items)
    per_shard = -(-items // shards)
    rows = int(lengths.sum())
    with whole_folder(folder) as temporary:
        write_shards(temporary / "ours", lengths, WIDTH, "float16", per_shard)
        flat = np.lib.format.open_memmap(temporary / "flat.npy", "w+", np.float16, (rows, WIDTH))
        with h5py.File(temporary / "keys.hdf5", "w") as keys:
            first = 0
            for item, values in enumerate(item_values(lengths, WIDTH, "float16")):
                keys.create_dataset(video_key(item), data=values)
                flat[first : first + len(values)] = values
                first += len(values)
        with h5py.File(temporary / "flat.hdf5", "w") as file:
            file.create_dataset("features", data=flat)
        parts = np.split(np.asarray(flat), np.cumsum(lengths)[:-1])
        save_file({video_key(item): part for item, part in enumerate(parts)}, temporary / "keys.safetensors")
    return folder


def write_shards(root: Path, lengths: np.ndarray, width: int, dtype: str, per_shard: int) -> None:
    """The items as shards of ours, with their meta file."""
    shards = -(-len(lengths) // per_shard)
    values = item_values(lengths, width, dtype)
    for shard in range(shards):
        with ShardWriter(shard_path(root, "video", shard), IDENTITY, dtype) as writer:
            for item in range(shard * per_shard, min((shard + 1) * per_shard, len(lengths))):
                writer.write(video_key(item), next(values))
    write_meta(root, "video", len(lengths), shards, per_shard)


def write_meta(root: Path, side: Kind, items: int, shards: int, per_shard: int) -> None:
    """The meta file of a side, as `collect_features` writes it; all items are for training."""
    write_json(
        root / f"{side}_meta.json",
        {
            "kind": side,
            "pattern": PATTERNS[side],
            "per_shard": per_shard,
            "shards": shards,
            "total": items,
            "splits": {"train": items, "val": 0, "test": 0},
            "encoder": IDENTITY,
        },
    )


def bigfile_folder(cache: Path, width: int, videos: int, shuffled: bool) -> Path:
    """The original's BigFile (`bigfile`) and the same float32 videos as a shard of ours (`ours`); made once.

    Videos have 60 to 140 frames. Their rows lie together, in order, or, `shuffled`, anywhere.
    """
    folder = cache / f"bigfile_{width}_{videos}{'_shuffled' * shuffled}"
    if folder.is_dir():
        return folder
    lengths = item_lengths(videos, 60, 140)
    names = [f"{video_key(video)}_{frame}" for video, length in enumerate(lengths) for frame in range(length)]
    frames = np.concatenate(list(item_values(lengths, width, "float32")))
    order = np.random.default_rng(2).permutation(len(names)) if shuffled else np.arange(len(names))
    ends = np.cumsum(lengths)
    with whole_folder(folder) as temporary:
        bigfile = temporary / "bigfile"
        bigfile.mkdir()
        (bigfile / "shape.txt").write_text(f"{len(names)} {width}\n")
        (bigfile / "id.txt").write_text(" ".join(names[row] for row in order))
        frames[order].tofile(bigfile / "feature.bin")
        owners = {
            video_key(video): names[end - length : end]
            for video, (end, length) in enumerate(zip(ends, lengths, strict=True))
        }
        (bigfile / "video2frames.txt").write_text(repr(owners))
        write_shards(temporary / "ours", lengths, width, "float32", len(lengths))
    return folder


# ------------------------------------------------------------------------------------------ opening


def vast_corpus(cache: Path, items: int, per_shard: int) -> Path:
    """So many videos [16, 512] float16, each with a caption [12, 512]: true indices, meta and captions, made once.

    There are no values, the shards are sparse files: what is read is zero.
    """
    folder = cache / f"vast_{items}_by_{per_shard}"
    if folder.is_dir():
        return folder
    shards = -(-items // per_shard)
    with whole_folder(folder) as temporary:
        for side, rows in (("video", 16), ("text", 12)):
            for shard in range(shards):
                videos = np.arange(shard * per_shard, min((shard + 1) * per_shard, items))
                captions = np.zeros(len(videos), np.int32) if side == "text" else None
                _sparse_shard(shard_path(temporary, side, shard), Keys(videos, captions), rows)
            write_meta(temporary, side, items, shards, per_shard)
        _captions(caption_table(temporary, "train"), items)
    return folder


def _sparse_shard(path: Path, keys: Keys, rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path, IDENTITY) as file:  # without its datasets: what has an index does not ask for them
        set_digest(file, digest := f"{keys.videos[0]:064x}")
    begin, size = 4096, rows * WIDTH * 2
    with path.open("r+b") as file:
        file.truncate(begin + len(keys) * size)
    ShardIndex(
        keys=keys,
        offsets=begin + np.arange(len(keys)) * size,
        lengths=np.full(len(keys), rows),
        tail=(WIDTH,),
        dtype=np.dtype("<f2"),
        encoder=encoder_text(IDENTITY),
        digest=digest,
        checksums=np.zeros(len(keys), np.uint32),
    ).save(path, path.stat().st_size)


def _captions(file: Path, items: int) -> None:
    """The table of captions that `list_captions` makes, one caption a video."""
    text = b"Aerial view of a winding river in a misty forest at sunrise. "
    columns = [
        pa.array(np.arange(items)),
        pa.array(np.zeros(items, np.int32)),
        pa.DictionaryArray.from_arrays(np.zeros(items, np.int16), pa.array(["en"])),
        pa.LargeStringArray.from_buffers(
            items, pa.py_buffer(np.arange(items + 1) * len(text)), pa.py_buffer(text * items)
        ),
    ]
    with pa.ipc.new_file(str(file), TABLE) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=TABLE))
