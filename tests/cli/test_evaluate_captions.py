import json
import subprocess
import sys

import pytest

from tests.unit.captioner.word_encoder import WordEncoder, frames_of
from workflow_scripts import evaluate_captions
from workflow_scripts.lib.captioner import image_text
from workflow_scripts.lib.config import CaptionEvaluation, EncoderConfig, freeze
from workflow_scripts.lib.errors import UserError


@pytest.fixture
def run(tmp_path, monkeypatch):
    def run_on(lines, options=None, **flags):
        section = CaptionEvaluation.model_validate({"bootstrap": 20, **(options or {})})
        (tmp_path / "evaluation.yaml").write_text(freeze(section), encoding="utf-8")
        (tmp_path / "captions.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        files = {
            "config": "evaluation.yaml",
            "captions": "captions.jsonl",
            "metrics": "metrics.json",
            **flags,
        }
        words = [word for name, file in files.items() for word in (f"--{name}", str(tmp_path / file))]
        words += ["--languages", "en", "ko", "--seed", "7"]
        monkeypatch.setattr(sys, "argv", ["evaluate_captions", *words])
        evaluate_captions.main()
        return json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))

    return run_on


def line(generated, reference, language="ko", video=0):
    return json.dumps(
        {
            "key": f"vid_{video}#cap_0", "video": video, "language": language, "start_s": 0.0, "end_s": 1.0,
            "frames": [0], "reference": reference, "generated": generated, "cut": False,
            "attributes": {"colour": "빨간"},
        },
        ensure_ascii=False,
    )  # fmt: skip


def test_metrics_by_language_and_where_they_come_from(run, capsys):
    metrics = run([line("빨간 원", "빨간 원")])
    assert metrics["test"]["ko"]["attribute_accuracy"] == 100
    assert metrics["test"]["ko"]["confidence"]["attribute_accuracy"] == [100, 100]
    assert metrics["diversity_warning"] is False
    assert metrics["provenance"]["seed"] == 7
    out = capsys.readouterr().out
    assert "en: no test captions" in out
    assert "captions are not scored against frames: no encoder of frames and captions" in out


def test_what_training_cut_is_handed_on(run, tmp_path):
    training = {"captions": {"train": 5}, "captions_cut": {"train": 2}, "language_model": "x"}
    (tmp_path / "stage2").mkdir()
    (tmp_path / "stage2/training.json").write_text(json.dumps(training))
    assert run([line("원", "원")], model="stage2")["training"] == {
        "captions": {"train": 5}, "captions_cut": {"train": 2}
    }  # fmt: skip


@pytest.fixture
def images(tmp_path, monkeypatch):
    frames_of(tmp_path / "features", [["빨간", "ring"], ["red", "star"]])
    section = EncoderConfig(name="words", kind="transformers", model="words", compile=True)
    (tmp_path / "encoder_text.yaml").write_text(freeze(section), encoding="utf-8")
    loaded = []

    def load_encoder(config, trained_clip, device, sides):
        loaded.append((config.name, config.compile, trained_clip, sides))
        return WordEncoder()

    monkeypatch.setattr(image_text, "load_encoder", load_encoder)
    return loaded


def test_captions_are_scored_against_the_frames(run, images):
    lines = [line("빨간 ring", "빨간"), line("red star", "red", video=1)]
    found = run(lines, features="features", encoder="encoder_text.yaml")["test"]["ko"]["image_text"]
    assert found["matched"] == pytest.approx(1) and found["beats_shuffled"] == 100
    assert found["shuffled"] == pytest.approx(0, abs=1e-6)
    assert images == [("words", False, None, ("text",))]  # only the text side, and not compiled


def test_they_are_not_where_that_is_not_wanted(run, images, capsys):
    metrics = run(
        [line("red", "red")], {"image_text": False}, features="features", encoder="encoder_text.yaml"
    )
    assert "image_text" not in metrics["test"]["ko"] and not images
    assert "not scored against frames: image_text: false" in capsys.readouterr().out


def test_a_collapse_is_told(run, capsys):
    assert run([line("빨간 원", f"원 {n}", video=n) for n in range(9)])["diversity_warning"] is True
    assert "WARNING" in capsys.readouterr().out


def test_no_captions_at_all(run):
    metrics = run([])
    assert (metrics["test"], metrics["diversity_warning"]) == ({}, False)


def test_a_broken_line_is_named(run):
    with pytest.raises(UserError, match="line 2"):
        run([line("빨간 원", "빨간 원"), "{"])


def test_it_starts_without_torch():
    code = "import sys, workflow_scripts.evaluate_captions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
