import json
import subprocess
import sys

import pytest

from workflow_scripts import evaluate_captions
from workflow_scripts.lib.config import CaptionerConfig, freeze
from workflow_scripts.lib.errors import UserError


@pytest.fixture
def run(tmp_path, monkeypatch):
    config = CaptionerConfig(encoder="clip", demo_language_model={}, languages=["en", "ko"])
    (tmp_path / "captioner.yaml").write_text(freeze(config), encoding="utf-8")

    def run_on(lines):
        (tmp_path / "captions.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        flags = {"config": "captioner.yaml", "captions": "captions.jsonl", "metrics": "metrics.json"}
        words = [word for name, file in flags.items() for word in (f"--{name}", str(tmp_path / file))]
        monkeypatch.setattr(sys, "argv", ["evaluate_captions", *words, "--seed", "7"])
        evaluate_captions.main()
        return json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))

    return run_on


def line(generated, reference, language="ko", video=0):
    return json.dumps(
        {
            "key": f"vid_{video}#cap_0", "video": video, "language": language, "start_s": 0.0, "end_s": 1.0,
            "reference": reference, "generated": generated, "attributes": {"colour": "빨간"},
        },
        ensure_ascii=False,
    )  # fmt: skip


def test_metrics_by_language_and_where_they_come_from(run, capsys):
    metrics = run([line("빨간 원", "빨간 원")])
    assert metrics["test"]["ko"]["attribute_accuracy"] == 100
    assert metrics["diversity_warning"] is False
    assert metrics["provenance"]["seed"] == 7
    assert "en: no test captions" in capsys.readouterr().out


def test_a_collapse_is_told(run, capsys):
    assert run([line("빨간 원", f"원 {n}", video=n) for n in range(9)])["diversity_warning"] is True
    assert "WARNING" in capsys.readouterr().out


def test_a_broken_line_is_named(run):
    with pytest.raises(UserError, match="line 2"):
        run([line("빨간 원", "빨간 원"), "{"])


def test_it_starts_without_torch():
    code = "import sys, workflow_scripts.evaluate_captions; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
