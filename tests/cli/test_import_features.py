"""The command that takes features from elsewhere, up to what the retrieval stage reads of it."""

import subprocess
import sys

import pytest
import torch

from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.retrieval.data import read_splits


def run(folder, *more):
    command = [sys.executable, "-m", "workflow_scripts.import_features", "--format", "webvid_pt"]
    flags = {"source": "원본", "root": "features", "corpus": "corpus"}
    places = [word for flag, name in flags.items() for word in (f"--{flag}", str(folder / name))]
    return subprocess.run(
        [*command, *places, "--name", "web", "--videos-per-shard", "3", *more],
        capture_output=True,
        text=True,
        check=False,
    )


def write_source(folder):
    (folder / "원본").mkdir()
    for split, videos in (("train", 4), ("test", 2)):
        torch.save(torch.randn(videos, 16), folder / "원본" / f"{split}_text_0.pt")
        torch.save(torch.randn(videos, 5, 16), folder / "원본" / f"{split}_video_0.pt")


@pytest.mark.slow
def test_retrieval_reads_what_was_imported(tmp_path):
    write_source(tmp_path)
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "6 videos (4 train, 0 val, 2 test) and 6 captions in 2 shards of 3 videos" in done.stdout
    assert "6 captions have an empty text" in done.stdout
    videos, texts = (open_features(tmp_path / "features", kind) for kind in ("video", "text"))
    splits = read_splits(tmp_path / "features", ["train", "test"], ["en"])
    assert [splits[name].video_count for name in ("train", "test")] == [4, 2]
    assert splits["test"].videos().tolist() == [4, 5]
    assert videos["vid_4"].shape == (5, 16)
    assert texts["vid_5#cap_0"].shape == (1, 16)


def test_bad_input_is_a_sentence(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}/원본: no such folder")
    assert list(tmp_path.iterdir()) == []
