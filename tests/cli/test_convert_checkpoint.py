import json
import subprocess
import sys

import pytest
import torch

from tests.unit.retrieval.released import hostile, save_release, weights
from tests.unit.retrieval.tiny_corpus import make_corpus, small_config
from workflow_scripts import convert_checkpoint, evaluate_retrieval
from workflow_scripts.lib.config import freeze
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.retrieval.model import GMMFormer
from workflow_scripts.lib.retrieval.model_folder import read_model


def convert(monkeypatch, checkpoint, output, *more):
    flags = ["--checkpoint", str(checkpoint), "--output", str(output), *more]
    monkeypatch.setattr(sys, "argv", ["convert_checkpoint", *flags])
    convert_checkpoint.main()


def test_the_folder_is_the_released_model_and_evaluates(tmp_path, monkeypatch, capsys):
    folder = make_corpus(tmp_path / "영상", {"val": 3, "test": 4})
    convert(monkeypatch, save_release(folder / "best.ckpt"), folder / "model")
    assert "2 heads, 4 segments, windows over the batch's padded length" in capsys.readouterr().out
    model = read_model(folder / "model")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in weights().items())
    assert model.config.window_length == "batch"
    original = GMMFormer(model.config).eval()
    original.load_state_dict(weights())
    tokens, mask = torch.randn(2, 5, 12), torch.ones(2, 5)
    assert torch.equal(model.encode_query(tokens, mask), original.encode_query(tokens, mask))

    (folder / "retrieval.yaml").write_text(freeze(small_config(bootstrap=0)), encoding="utf-8")
    options = {
        "config": "retrieval.yaml", "model": "model", "features": "features", "text-features": "features",
        "metrics": "metrics.json", "ranks": "ranks.parquet",
    }  # fmt: skip
    flags = [part for name, path in options.items() for part in (f"--{name}", str(folder / path))]
    monkeypatch.setattr(sys, "argv", ["evaluate_retrieval", *flags, "--threads", "1"])
    evaluate_retrieval.main()
    assert json.loads((folder / "metrics.json").read_text())["test"]["queries"] == 8


def test_flags_say_what_the_file_does_not(tmp_path, monkeypatch):
    silent = save_release(tmp_path / "best.ckpt", config={})
    with pytest.raises(UserError, match="give --map-size"):
        convert(monkeypatch, silent, tmp_path / "model", "--n-heads", "4")
    assert not (tmp_path / "model").exists()
    convert(monkeypatch, silent, tmp_path / "model", "--n-heads", "4", "--map-size", "8")
    assert (
        read_model(tmp_path / "model").config.n_heads,
        read_model(tmp_path / "model").config.map_size,
    ) == (4, 8)


def test_a_hostile_file_ends_with_a_sentence_and_nothing_is_run_or_lost(tmp_path):
    checkpoint = save_release(tmp_path / "best.ckpt", optimizer=hostile("os.system", tmp_path / "ran"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/kept").touch()
    command = [sys.executable, "-m", "workflow_scripts.convert_checkpoint"]
    done = subprocess.run(
        [*command, "--checkpoint", str(checkpoint), "--output", str(tmp_path / "model")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {checkpoint}: cannot be read") and done.stderr.count("\n") == 1
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "model/kept").exists()
