"""From captions to captions: the four commands that run the model, on a corpus of 18 videos in three languages."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.captioner.tiny import Tiny
from workflow_scripts import (
    generate_captions,
    make_demo_language_model,
    train_captioner_stage1,
    train_captioner_stage2,
)
from workflow_scripts.lib.config import freeze
from workflow_scripts.lib.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("commands"))


@pytest.fixture
def run(monkeypatch):
    def run_command(module, words):
        monkeypatch.setattr(sys, "argv", words)
        module.main()

    return run_command


def training_flags(out: Path, stage: int) -> dict:
    return {
        "checkpoints": out / f"c{stage}", "model": out / f"stage{stage}", "curve": out / f"stage{stage}.csv"
    }  # fmt: skip


def test_the_commands_end_to_end(tiny, tmp_path, run, capsys):
    run(
        make_demo_language_model,
        [
            "make_demo_language_model", "--config", str(tiny.config_file), "--corpus", str(tiny.folder / "corpus"),
            "--shards", "1", "--model", str(tmp_path / "lm"), "--threads", "1", "--seed", "0",
        ],
    )  # fmt: skip
    given = {"demo-language-model": tmp_path / "lm"}
    run(train_captioner_stage1, tiny.arguments("stage1", **given, **training_flags(tmp_path, 1)))
    stage2 = {**given, **training_flags(tmp_path, 2), "stage1": tmp_path / "stage1"}
    run(train_captioner_stage2, tiny.arguments("stage2", **stage2))
    out = capsys.readouterr().out
    assert "3 captions of 1 videos without frames left out" in out

    for stage in ("stage1", "stage2"):
        assert json.loads((tmp_path / stage / "training.json").read_text())["captions"] == {
            "train": 33,
            "val": 9,
        }
        rows = list(csv.DictReader((tmp_path / f"{stage}.csv").open()))
        assert {"step", "epoch", "train_loss", "val_loss", "lr"} <= set(rows[0])
        assert sum(bool(row["val_loss"]) for row in rows) == 2
    assert all((tmp_path / name / "finished").is_file() for name in ("c1", "c2"))

    texts = []
    for name in ("a.jsonl", "b.jsonl"):
        flags = {**given, "model": tmp_path / "stage2", "split": "test", "captions": tmp_path / name}
        run(generate_captions, tiny.arguments("generate", **flags))
        texts.append((tmp_path / name).read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    rows = [json.loads(line) for line in texts[0].splitlines()]
    assert [row["key"] for row in rows] == [f"vid_{v}#cap_{c}" for v in (15, 16, 17) for c in range(3)]
    assert list(rows[1]) == [
        "key", "video", "language", "start_s", "end_s", "reference", "generated", "attributes"
    ]  # fmt: skip
    assert rows[1]["reference"] == "빨간 것" and rows[1]["attributes"] == {"colour": "빨간"}


def test_the_demo_language_model_is_asked_for(tiny, tmp_path, run):
    words = tiny.arguments("stage1", **{"demo-language-model": None}, **training_flags(tmp_path, 1))
    with pytest.raises(UserError, match="--demo-language-model"):
        run(train_captioner_stage1, words)


def test_a_language_model_that_is_not_there_is_named(tiny, tmp_path, run):
    config = tiny.config.model_copy(
        update={"demo_language_model": None, "language_model": str(tmp_path / "none")}
    )
    (tmp_path / "captioner.yaml").write_text(freeze(config), encoding="utf-8")
    flags = {
        "demo-language-model": None,
        "config": tmp_path / "captioner.yaml",
        **training_flags(tmp_path, 1),
    }
    with pytest.raises(UserError, match="none' cannot be loaded"):
        run(train_captioner_stage1, tiny.arguments("stage1", **flags))


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tiny, tmp_path):
    """torchrun on the CPU: the same global batch, so nearly the same losses; one of them writes."""
    curves = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        words = tiny.arguments("workflow_scripts.train_captioner_stage1", **training_flags(out, 1))
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
            "-m",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([*command, *words], check=True, cwd=ROOT, env=environment, timeout=240)
        assert (out / "stage1" / "adapter_model.safetensors").is_file()
        rows = csv.DictReader((out / "stage1.csv").open())
        curves.append([float(row["val_loss"]) for row in rows if row["val_loss"]])
    assert curves[0] == pytest.approx(curves[1], rel=0.05)


@pytest.mark.slow
def test_a_killed_command_ends_as_an_unkilled_one(tiny, tmp_path, run):
    run(train_captioner_stage1, tiny.arguments("stage1", **training_flags(tmp_path / "straight", 1)))
    words = tiny.arguments(
        "workflow_scripts.train_captioner_stage1", **training_flags(tmp_path / "killed", 1)
    )
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT)
    checkpoints = tmp_path / "killed" / "c1"
    while process.poll() is None and not list(checkpoints.glob("checkpoint-*")):
        pass
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "stage1").exists()
    run(train_captioner_stage1, tiny.arguments("stage1", **training_flags(tmp_path / "killed", 1)))
    name = "stage1/adapter_model.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    name = "stage1.csv"
    assert (tmp_path / "killed" / name).read_text() == (tmp_path / "straight" / name).read_text()
