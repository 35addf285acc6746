"""Frames and captions through an encoder: batches by position, kills, several processes, and what is refused."""

import io
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.unit.forks import in_processes
from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features import planned, space
from workflow_scripts.lib.features.batches import CaptionBatches, FrameBatches
from workflow_scripts.lib.features.encoders.encoder import Captions, Frames, Tokens
from workflow_scripts.lib.features.extract import encoded_frames, extract_captions, extract_videos
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.frames.shard import write_status, write_tar
from workflow_scripts.lib.processes import processes

SIZE = 12  # of the frames, in pixels
LENGTHS = {0: 3, 2: 5, 3: 1, 7: 4}  # frames by video


class FakeEncoder:
    """Multiplies pixels and characters by fixed random numbers, and counts what it is asked for."""

    context_length = 6

    def __init__(self, grid=True, dies_at=None):
        self.identity, self.grid, self.dies_at = {"model": "가짜"}, grid, dies_at
        self.config = EncoderConfig(name="fake", kind="trained_clip")
        self.seen: list[tuple[int, ...]] = []
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.randn(3 * SIZE * SIZE, 8, generator=generator) / 100

    def preprocess(self, images):
        pixels = np.stack([np.asarray(image.resize((SIZE, SIZE))) for image in images])
        return {"image": torch.from_numpy(pixels)}

    def encode_frames(self, batch):
        self._count(batch["image"].shape)
        flat = batch["image"].flatten(1).float() / 255
        tokens = torch.stack([flat[:, :6], flat[:, 6:12]], dim=1) if self.grid else None
        return Frames(flat @ self.weights, tokens)

    def tokenize(self, texts):
        lengths = np.array([min(len(text), self.context_length) for text in texts])
        ids = torch.zeros(len(texts), self.context_length)
        for row, text in zip(ids, texts, strict=True):
            kept = text[: self.context_length]
            row[: len(kept)] = torch.tensor([ord(letter) % 97 for letter in kept])
        return Tokens({"ids": ids}, lengths, np.array([len(text) > self.context_length for text in texts]))

    def encode_captions(self, tokens):
        ids = tokens.inputs["ids"]
        self._count(ids.shape)
        real = torch.arange(ids.shape[1]) < torch.tensor(tokens.lengths)[:, None]
        return Captions(ids[real][:, None] * self.weights[0], ids.sum(1, keepdim=True) * self.weights[0])

    def _count(self, shape):
        if len(self.seen) == self.dies_at:
            raise KeyboardInterrupt
        self.seen.append(tuple(shape))


def jpeg(seed):
    data = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(data, "JPEG")
    return data.getvalue()


def make_shard(folder, lengths=LENGTHS, frame=lambda video, t: jpeg(100 * video + t), status=None):
    """A tar and its status; video 5 has failed."""
    jpegs = {video: [frame(video, t) for t in range(count)] for video, count in lengths.items()}
    write_tar(folder / "frames.tar", jpegs.items())
    rows = [
        {
            "index": video, "key": f"vid_{video}", "split": "train", "outcome": "ok" if count else "failed",
            "frames": count, "timestamps": [float(t) for t in range(count)], "bytes": 0, "seconds": 0.1,
        }
        for video, count in sorted({5: 0, **(lengths if status is None else status)}.items())
    ]  # fmt: skip
    write_status(folder / "status.parquet", rows)
    return jpegs


def files(root):
    return {kind: root / folder / f"{kind}_shard_000.hdf5" for kind, folder in
            (("video", "FeatureData"), ("token", "TokenData"))}  # fmt: skip


def extract(folder, root, encoder=None, batch_size=4, dtype="float16", **settings):
    encoder = encoder or FakeEncoder()
    with FrameBatches(folder / "frames.tar", folder / "status.parquet", encoder, batch_size) as frames:
        extract_videos(frames, encoder, files(root), dtype, **settings)
    return encoder


def content(root):
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}


@pytest.mark.parametrize("workers", [0, 2])
def test_features_are_those_of_every_frame_by_itself(tmp_path, workers):
    jpegs = make_shard(tmp_path)
    encoder = extract(tmp_path, tmp_path / "out", dtype="float32", workers=workers)
    videos, tokens = (open_features(tmp_path / "out", kind) for kind in ("video", "token"))
    assert list(videos) == list(tokens) == [f"vid_{video}" for video in LENGTHS]
    for video, data in jpegs.items():
        alone = encoder.encode_frames(encoder.preprocess([Image.open(io.BytesIO(one)) for one in data]))
        np.testing.assert_allclose(videos[f"vid_{video}"], alone.embeddings, rtol=1e-5)
        np.testing.assert_array_equal(tokens[f"vid_{video}"], alone.tokens)


def test_all_batches_have_one_shape_and_reach_over_videos(tmp_path):
    make_shard(tmp_path)
    encoder = extract(tmp_path, tmp_path / "out", batch_size=5)
    probe, *batches = encoder.seen
    assert batches == [(5, SIZE, SIZE, 3)] * 3  # 13 frames
    assert extract(tmp_path, tmp_path / "small", batch_size=100).seen == [probe, (13, SIZE, SIZE, 3)]


def test_a_frame_that_a_video_repeats_is_encoded_once(tmp_path):
    # a static video, two pictures by turns, and the same picture in two videos
    make_shard(tmp_path, {1: 6, 2: 5, 3: 2}, frame=lambda video, t: jpeg(t % 2 if video == 2 else 0))
    encoder = extract(tmp_path, tmp_path / "out", batch_size=2)
    assert len(encoder.seen) == 1 + 2
    videos = open_features(tmp_path / "out", "video")
    assert [videos[key].shape for key in videos] == [(6, 8), (5, 8), (2, 8)]
    assert (videos["vid_1"] == videos["vid_1"][0]).all()
    assert (videos["vid_2"][::2] == videos["vid_1"][0]).all() and (
        videos["vid_2"][1] == videos["vid_2"][3]
    ).all()
    assert not (videos["vid_2"][0] == videos["vid_2"][1]).all()


def test_a_run_that_was_stopped_is_taken_up_with_the_same_bytes(tmp_path, capsys):
    make_shard(tmp_path)
    extract(tmp_path, tmp_path / "straight")
    root = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path, root, FakeEncoder(dies_at=3))  # the probe, two more, and of those one was fetched
    capsys.readouterr()
    assert len(extract(tmp_path, root).seen) == 1 + 3
    said = capsys.readouterr().out
    assert "4 of 13 frames are done already" in said and "13 of 13 frames, " in said
    assert content(root) == content(tmp_path / "straight")


@pytest.mark.parametrize("change", ["frames", "batch size", "encoder"])
def test_progress_of_other_work_is_not_taken_up(tmp_path, capsys, change):
    make_shard(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path, tmp_path / "out", FakeEncoder(dies_at=3))
    encoder, batch_size = FakeEncoder(), 4
    if change == "frames":
        make_shard(tmp_path, frame=lambda video, t: jpeg(100 * video + t + (video == 7)))
    elif change == "batch size":
        batch_size = 3
    else:
        encoder.identity = {"model": "other"}
    extract(tmp_path, tmp_path / "out", encoder, batch_size)
    assert "already" not in capsys.readouterr().out


def test_progress_with_another_tar_is_not_taken_up_where_it_differs_in_a_few_bytes_only(tmp_path):
    def flat(colour):
        data = io.BytesIO()
        Image.new("RGB", (SIZE, SIZE), colour).save(data, "JPEG")
        return data.getvalue()

    black, white = map(flat, ("black", "white"))
    assert len(black) == len(white) and sum(a != b for a, b in zip(black, white, strict=True)) < 10
    make_shard(tmp_path, frame=lambda *of: black)
    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path, tmp_path / "out", FakeEncoder(dies_at=3), batch_size=1)
    make_shard(tmp_path, frame=lambda *of: white)
    extract(tmp_path, tmp_path / "out", batch_size=1)
    extract(tmp_path, tmp_path / "straight", batch_size=1)
    assert content(tmp_path / "out") == content(tmp_path / "straight")


def test_the_probe_is_as_large_as_the_frames(tmp_path):
    def wide(video, t):
        data = io.BytesIO()
        Image.new("RGB", (40, 20), (video, t, 0)).save(data, "JPEG")
        return data.getvalue()

    encoder = SimpleNamespace(
        preprocess=lambda images: {"size": torch.tensor([image.size for image in images])}
    )
    for lengths, size in ((LENGTHS, [40, 20]), ({}, [256, 256])):
        make_shard(tmp_path, lengths, frame=wide)
        with FrameBatches(tmp_path / "frames.tar", tmp_path / "status.parquet", encoder, 4) as frames:
            assert frames.probe()["size"].tolist() == [size]


def test_batches_can_be_computed_again_by_themselves(tmp_path):
    make_shard(tmp_path)
    encoder = extract(tmp_path, tmp_path / "out")
    stored = open_features(tmp_path / "out", "video")["vid_3"]
    with FrameBatches(tmp_path / "frames.tar", tmp_path / "status.parquet", encoder, 4) as frames:
        [batch] = frames.of_rows("video", np.array([8]))  # the only frame of video 3
        [(_, found)] = encoded_frames(frames, encoder, [batch], "float16")
        rows, which = frames.rows("video", batch)
    np.testing.assert_array_equal(found["video"][which[rows == 8]], stored)


def test_two_processes_give_the_bytes_of_one(tmp_path):
    make_shard(tmp_path)
    extract(tmp_path, tmp_path / "straight")

    def work(rank):
        with processes() as job:
            encoder = extract(tmp_path, tmp_path / "out", processes=job)
        assert len(encoder.seen) == 1 + 2  # of four batches

    assert in_processes(2, work) == [0, 0]
    assert content(tmp_path / "out") == content(tmp_path / "straight")


@pytest.mark.parametrize("failing", [0, 1])
def test_a_process_that_fails_ends_the_others(tmp_path, failing):
    make_shard(tmp_path)

    def work(rank):
        with processes() as job:
            if rank == failing:
                raise UserError("no such model")
            extract(tmp_path, tmp_path / "out", processes=job)

    codes = in_processes(2, work)
    assert codes[failing] == 2 and codes[1 - failing] == 3
    assert not list((tmp_path / "out").rglob("*_000.hdf5"))


def test_one_that_fails_while_they_meet(monkeypatch):
    def lose(*_, **__):
        raise torch.distributed.DistNetworkError("Connection reset by peer\nframe #0: c10d")

    monkeypatch.setattr(torch.distributed, "init_process_group", lose)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(UserError, match=r"process 1 of 2 ends because .* Connection reset by peer$"),
        processes(),
    ):
        pass


def test_without_a_grid_or_without_frames_the_shards_are_empty(tmp_path):
    make_shard(tmp_path)
    extract(tmp_path, tmp_path / "plain", FakeEncoder(grid=False))
    assert len(open_features(tmp_path / "plain", "token")) == 0
    assert len(open_features(tmp_path / "plain", "video")) == 4
    make_shard(tmp_path, {})
    extract(tmp_path, tmp_path / "none")
    assert len(open_features(tmp_path / "none", "video")) == 0


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({**LENGTHS, 2: 4}, "5 frames of video 2 where its status says 4"),
        ({**LENGTHS, 2: 0}, "5 frames of video 2 where its status says 0"),
        ({**LENGTHS, 9: 2}, "0 frames of video 9 where its status says 2"),
        ({0: 3, 2: 5, 3: 1}, "4 frames of video 7 where there is no status"),
    ],
)
def test_frames_and_status_of_different_runs_are_refused_before_the_model_runs(tmp_path, status, said):
    make_shard(tmp_path, status=status)
    with pytest.raises(UserError, match=rf"frames\.tar: {said};.*extract_frames again"):
        FrameBatches(
            tmp_path / "frames.tar", tmp_path / "status.parquet", SimpleNamespace(preprocess=None), 4
        )


def test_a_status_table_that_cannot_be_read_is_named(tmp_path):
    make_shard(tmp_path)
    status = tmp_path / "status.parquet"
    other = pa.table({"index": [0]})
    for spoil in (lambda: pq.write_table(other, status), lambda: status.write_bytes(b"PAR1"), status.unlink):
        spoil()
        with pytest.raises(UserError, match=r"status\.parquet: cannot be read .*; run extract_frames again$"):
            FrameBatches(tmp_path / "frames.tar", status, SimpleNamespace(preprocess=None), 4)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("bad", [b"no picture", jpeg(1)[:300]])
def test_a_broken_picture_is_named(tmp_path, workers, bad):
    make_shard(tmp_path, frame=lambda video, t: bad if (video, t) == (7, 1) else jpeg(10 * video + t))
    with pytest.raises(
        UserError, match=r"frames\.tar: a frame of video 7 is no picture.*extract_frames again"
    ):
        extract(tmp_path, tmp_path / "out", workers=workers)


@pytest.mark.parametrize(("factor", "said"), [(1e6, "does not fit float16"), (float("nan"), "NaN")])
def test_values_that_cannot_be_stored_name_their_video(tmp_path, factor, said):
    make_shard(tmp_path)

    class Wild(FakeEncoder):
        def encode_frames(self, batch):
            found = super().encode_frames(batch)
            if len(self.seen) == 3:
                found.embeddings[3] *= factor  # of row 7, the last frame of video 2
            return found

    with pytest.raises(UserError, match=rf"video_shard_000\.hdf5: vid_2: .*{said}"):
        extract(tmp_path, tmp_path / "out", Wild())


# ------------------------------------------------------------------------------ captions

TEXTS = ["a cat", "빨간 사각형이", "x", "一只猫在跑步啊啊", "ab", "abcdef", "abcdefg"]


def captions(texts=TEXTS):
    columns = {
        "video": pa.array([2 * i for i in range(len(texts))], pa.int64()),
        "caption": pa.array([i % 2 for i in range(len(texts))], pa.int32()),
        "text": pa.array(texts, pa.string()),
    }
    return pa.table(columns)


def extract_texts(root, encoder=None, texts=TEXTS, batch_size=3):
    encoder = encoder or FakeEncoder()
    places = {
        "text": root / "TextData/text_shard_000.hdf5",
        "sentence": root / "SentenceData/sentence_shard_000.hdf5",
    }
    extract_captions(CaptionBatches(captions(texts), encoder, batch_size), encoder, places, "float32")
    return encoder


def test_captions_are_those_of_every_text_by_itself(tmp_path, capsys):
    encoder = extract_texts(tmp_path)
    assert "cut: 3 of 7 captions are longer than the 6 tokens" in capsys.readouterr().out
    assert encoder.seen[1:] == [(3, 6)] * 3
    words, sentences = (open_features(tmp_path, kind) for kind in ("text", "sentence"))
    for i, text in enumerate(TEXTS):
        alone = encoder.encode_captions(encoder.tokenize([text]))
        np.testing.assert_array_equal(words[f"vid_{2 * i}#cap_{i % 2}"], alone.words)
        np.testing.assert_array_equal(sentences[f"vid_{2 * i}#cap_{i % 2}"], alone.sentences)


def test_captions_are_taken_up_and_a_changed_text_is_not(tmp_path, capsys):
    extract_texts(tmp_path / "straight")
    for texts in (TEXTS, ["a dog", *TEXTS[1:]]):
        with pytest.raises(KeyboardInterrupt):
            extract_texts(tmp_path / "out", FakeEncoder(dies_at=3))
        capsys.readouterr()
        extract_texts(tmp_path / "out", texts=texts)
        assert ("3 of 7 captions are done already" in capsys.readouterr().out) == (texts == TEXTS)
        assert (content(tmp_path / "out") == content(tmp_path / "straight")) == (texts == TEXTS)


def test_a_shard_without_captions(tmp_path):
    extract_texts(tmp_path, texts=[])
    assert len(open_features(tmp_path, "text")) == len(open_features(tmp_path, "sentence")) == 0


# --------------------------------------------------------------------------------- space


def test_space_is_told_and_refused_before_a_frame_is_encoded(tmp_path, monkeypatch, capsys):
    make_shard(tmp_path)
    # 13 frames: [8] and [2, 6] float16 each, and four keys in both files
    monkeypatch.setattr(space, "KEY_BYTES", 0)
    video, token = 13 * 8 * 2, 13 * 12 * 2
    monkeypatch.setattr(space, "free_bytes", lambda folder: video + token - 1)
    encoder = FakeEncoder()
    with pytest.raises(
        UserError, match=r"take 520 B \(video 208 B, token 312 B in all\).*519 B free.*token_grid"
    ):
        extract(tmp_path, tmp_path / "out", encoder, whole_corpus=False)
    assert len(encoder.seen) == 1 and not list((tmp_path / "out").rglob("*.part"))
    assert "features of this shard: video 208 B, token 312 B" in capsys.readouterr().out
    monkeypatch.setattr(space, "free_bytes", lambda folder: 2000)
    with pytest.raises(UserError, match=r"10 shards still need about 5\.2 kB.*2 kB free.*`space: shard`"):
        extract(tmp_path, tmp_path / "out", shards=10)
    extract(tmp_path, tmp_path / "out", shards=10, whole_corpus=False)
    assert "of all 10 shards, about: video 2.08 kB, token 3.12 kB" in capsys.readouterr().out


def test_what_is_on_the_disk_already_is_not_needed_again(tmp_path, monkeypatch):
    make_shard(tmp_path)
    monkeypatch.setattr(space, "_taken", lambda file: 520 if "token" in file.name and file.is_file() else 0)
    monkeypatch.setattr(space, "free_bytes", lambda folder: 10**6)
    monkeypatch.setattr(planned, "COMMIT_S", -1)
    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path, tmp_path / "out", FakeEncoder(dies_at=3))
    monkeypatch.setattr(space, "KEY_BYTES", 0)
    monkeypatch.setattr(space, "free_bytes", lambda folder: 208)
    extract(tmp_path, tmp_path / "out")


def test_shards_that_vanish_while_the_space_is_counted(tmp_path):
    make_shard(tmp_path)
    (tmp_path / "out/FeatureData").mkdir(parents=True)
    for name in ("video_shard_001.hdf5", ".video_shard_002.hdf5.part"):  # as between looking for it and at it
        (tmp_path / "out/FeatureData" / name).symlink_to("gone")
    extract(tmp_path, tmp_path / "out")
