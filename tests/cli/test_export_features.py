"""The commands that bring features to the original GMMFormer code, and back."""

import subprocess
import sys

import numpy as np
import pytest

from tests.unit.features.gmmformer_roots import read_as_the_original, write_root
from workflow_scripts.lib.features.reader import open_features


def run(command, **flags):
    words = [word for flag, value in flags.items() for word in (f"--{flag.replace('_', '-')}", str(value))]
    return subprocess.run(
        [sys.executable, "-m", f"workflow_scripts.{command}", *words],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_there_and_back(tmp_path):
    write_root(tmp_path / "source", "bigfile")
    places = {"root": tmp_path / "임베딩", "corpus": tmp_path / "corpus"}
    done = run(
        "import_features", format="bigfile", source=tmp_path / "source", name="m", visual="vis", **places
    )
    assert done.returncode == 0, done.stderr
    done = run(
        "export_features", features=tmp_path / "임베딩", name="m", layout="bigfile", output=tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    assert "4 videos of 16 frames; captions: 3 train, 2 val, 2 test" in done.stdout
    assert "q_feat_size = 3" in done.stdout and "visual_feature = '임베딩'" in done.stdout
    frames, texts, captions = read_as_the_original(tmp_path / "out" / "m", "m", "임베딩")
    ours = open_features(tmp_path / "임베딩", "video")
    assert all(np.array_equal(ours[id_], array) for id_, array in frames.items()) and len(frames) == 4
    assert captions["train"][0] == ("vid_0#cap_0", "노란 나비") and len(texts) == 7


def test_bad_input_is_a_sentence(tmp_path):
    done = run("export_features", features=tmp_path / "none", name="m", layout="hdf5", output=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}/none: ") and "Traceback" not in done.stderr
