import csv
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.retrieval.tiny_corpus import WIDTH, make_corpus, small_config
from workflow_scripts import train_retrieval
from workflow_scripts.lib.config import freeze
from workflow_scripts.lib.errors import UserError


def flags_of(folder, config, texts="features") -> list[str]:
    (folder / "retrieval.yaml").write_text(freeze(config), encoding="utf-8")
    options = {
        "config": "retrieval.yaml", "features": "features", "text-features": texts, "checkpoints": "checkpoints",
        "model": "model", "curve": "curve.csv",
    }  # fmt: skip
    flags = [part for name, path in options.items() for part in (f"--{name}", str(folder / path))]
    return [*flags, "--threads", "1", "--seed", "3"]


def test_writes_model_and_curve_of_a_corpus_in_a_folder_of_another_script(tmp_path):
    folder = make_corpus(tmp_path / "영상 자료", {"train": 6, "val": 2})
    command = [
        sys.executable,
        "-m",
        "workflow_scripts.train_retrieval",
        *flags_of(folder, small_config(epochs=2)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "kept epoch" in done.stdout
    sizes = json.loads((folder / "model/config.json").read_text())
    assert (sizes["visual_input_size"], sizes["hidden_size"], sizes["window_length"]) == (WIDTH, 16, 8)
    weights = load_file(folder / "model/model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())
    with (folder / "curve.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["step"], row["epoch"]) for row in rows] == [("2", "1"), ("4", "2")]
    assert all(0 <= float(row["val_r1"]) <= 100 for row in rows)


def test_captions_may_be_of_another_encoder(tmp_path, monkeypatch):
    folder = make_corpus(tmp_path / "c", {"train": 4, "val": 2}, texts="texts")
    flags = flags_of(folder, small_config(epochs=1), texts="texts")
    monkeypatch.setattr(sys, "argv", ["train_retrieval", *flags])
    train_retrieval.main()
    sizes = json.loads((folder / "model/config.json").read_text())
    assert (sizes["visual_input_size"], sizes["query_input_size"]) == (WIDTH, 2 * WIDTH)


def test_no_training_videos_ends_with_a_sentence_and_no_model(tmp_path, monkeypatch):
    folder = make_corpus(tmp_path / "c", {"test": 3})
    monkeypatch.setattr(sys, "argv", ["train_retrieval", *flags_of(folder, small_config())])
    with pytest.raises(UserError, match="no training video has features and a caption"):
        train_retrieval.main()
    assert not (folder / "model").exists()
