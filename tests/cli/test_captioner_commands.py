"""From captions to captions: the four commands that run the model, on a corpus of 18 videos in three languages."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.unit.captioner.tiny import CONFIG, Tiny, config
from workflow_scripts import (
    generate_captions,
    make_demo_language_model,
    train_captioner_stage1,
    train_captioner_stage2,
)
from workflow_scripts.lib.captioner.settings import read_settings
from workflow_scripts.lib.config import CaptionerConfig, freeze
from workflow_scripts.lib.errors import UserError

ROOT = Path(__file__).parents[2]
MEASURED = ("train_loss", "val_loss", "val_cider", "val_chrf", "val_diversity")


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
        training = json.loads((tmp_path / stage / "training.json").read_text())
        assert training["captions"] == {"train": 33, "val": 9}
        assert training["languages"] == ["en", "ko", "zh"]
        assert 0 < training["caption_tokens"]["median"] <= training["caption_tokens"]["max"] < 60
        assert training["made_from"]["demo_language_model"] == str(tmp_path / "lm")
        assert (tmp_path / stage / "sources.json").is_file()
        rows = list(csv.DictReader((tmp_path / f"{stage}.csv").open()))
        assert {"step", "epoch", "train_loss", "val_loss", "lr"} <= set(rows[0])
        for column in ("val_loss", "val_cider", "val_chrf", "val_diversity"):
            assert sum(bool(row[column]) for row in rows) == 2
    assert read_settings(tmp_path / "stage2").lora == read_settings(tmp_path / "stage1").lora
    assert all((tmp_path / name / "finished").is_file() for name in ("c1", "c2"))

    texts = []
    for name in ("a", "b"):
        captions = tmp_path / f"{name}.jsonl"
        flags = {"config": tiny.generation_file, "model": tmp_path / "stage2", "split": "test", **given}
        out = {"captions": captions, "table": captions.with_suffix(".parquet"), "progress": tmp_path / name}
        run(generate_captions, tiny.arguments("generate", **flags, **out))
        texts.append(captions.read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    rows = [json.loads(line) for line in texts[0].splitlines()]
    assert [row["key"] for row in rows] == [f"vid_{v}#cap_{c}" for v in (15, 16, 17) for c in range(3)]
    assert list(rows[1]) == [
        "key", "video", "language", "start_s", "end_s", "frames", "reference", "generated", "cut", "attributes"
    ]  # fmt: skip
    assert rows[1]["reference"] == "빨간 것" and rows[1]["attributes"] == {"colour": "빨간"}


@pytest.mark.slow
def test_auto_is_settled_in_the_job_and_how_it_runs_is_told_by_flags(tiny, tmp_path, run, capfd):
    """Stage 2 goes by what stage 1 chose; processes that read batches ahead change nothing."""
    sections = {
        name: value for name, value in CONFIG.items() if name not in ("preset", "running", "generation")
    }
    whole = CaptionerConfig.model_validate(sections | {"lora": {"r": "auto", "dropout": "auto"}})
    for stage, module in ((1, train_captioner_stage1), (2, train_captioner_stage2)):
        part = tmp_path / f"part{stage}.yaml"
        part.write_text(yaml.safe_dump(whole.part(f"stage{stage}")), encoding="utf-8")
        given = {"stage1": tmp_path / "stage1"} if stage == 2 else {}
        flags = {"config": part, "workers": 1, "per-device-batch-size": 2, "gradient-checkpointing": None}
        run(module, tiny.arguments("train", **training_flags(tmp_path, stage), **flags, **given))
        out = capfd.readouterr()
        assert f"preset: cpu ({'no GPU' if stage == 1 else 'that of stage 1'})" in out.out
        assert "memory, estimated:" in out.out
        assert "parallelism" not in out.err  # the tokenizer's warning of each worker
        found = read_settings(tmp_path / f"stage{stage}")
        assert (found.preset, found.precision, found.lora.r, found.lora.dropout) == ("cpu", "fp32", 8, 0.1)
        assert (found.running.workers, found.running.per_device_batch_size) == (1, 2)
        assert found.running.gradient_checkpointing


def test_a_flag_that_is_not_allowed_is_named(tiny, tmp_path, run):
    words = tiny.arguments("stage1", **training_flags(tmp_path, 1), **{"per-device-batch-size": 0})
    with pytest.raises(UserError, match="per_device_batch_size"):
        run(train_captioner_stage1, words)


def test_the_demo_language_model_is_asked_for(tiny, tmp_path, run):
    words = tiny.arguments("stage1", **{"demo-language-model": None}, **training_flags(tmp_path, 1))
    with pytest.raises(UserError, match="--demo-language-model"):
        run(train_captioner_stage1, words)


def test_a_language_model_that_is_not_there_is_named(tiny, tmp_path, run):
    wanted = config(demo_language_model=None, language_model=str(tmp_path / "none"))
    (tmp_path / "captioner.yaml").write_text(freeze(wanted), encoding="utf-8")
    flags = {
        "demo-language-model": None,
        "config": tmp_path / "captioner.yaml",
        **training_flags(tmp_path, 1),
    }
    with pytest.raises(UserError, match="none' cannot be loaded"):
        run(train_captioner_stage1, tiny.arguments("stage1", **flags))


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tiny, tmp_path):
    """torchrun on the CPU: the same global batches, the last of them not full, so the same curve; one of them writes."""
    curves = []
    tiny.config_file.with_name("smooth.yaml").write_text(freeze(config(lora={"r": 4, "dropout": 0})))
    for processes in (1, 2):
        out = tmp_path / str(processes)
        flags = {**training_flags(out, 1), "config": tiny.config_file.with_name("smooth.yaml")}
        words = tiny.arguments("workflow_scripts.train_captioner_stage1", **flags)
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
            "-m",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        subprocess.run([*command, *words], check=True, cwd=ROOT, env=environment, timeout=900)
        assert (out / "stage1" / "adapter_model.safetensors").is_file()
        rows = csv.DictReader((out / "stage1.csv").open())
        curves.append([float(row[name]) for row in rows for name in MEASURED if row[name]])
    assert len(curves[0]) == 10 + 4 * 2
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)


@pytest.mark.slow
def test_a_killed_command_ends_as_an_unkilled_one(tiny, tmp_path, run):
    run(train_captioner_stage1, tiny.arguments("stage1", **training_flags(tmp_path / "straight", 1)))
    words = tiny.arguments(
        "workflow_scripts.train_captioner_stage1", **training_flags(tmp_path / "killed", 1)
    )
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT)
    checkpoints = tmp_path / "killed" / "c1"
    while process.poll() is None and not list(checkpoints.glob("checkpoint-*")):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert process.returncode < 0, "it was done before it could be killed"
    assert not (tmp_path / "killed" / "stage1").exists()
    run(train_captioner_stage1, tiny.arguments("stage1", **training_flags(tmp_path / "killed", 1)))
    name = "stage1/adapter_model.safetensors"
    assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    name = "stage1.csv"
    assert (tmp_path / "killed" / name).read_text() == (tmp_path / "straight" / name).read_text()
