"""What a finished `make demo` has to show: run by `make test-demo`, after it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.thresholds import THRESHOLDS
from tests.workflow.planning import ROOT

pytestmark = pytest.mark.demo
RESULTS = ROOT / "results" / "demo"


@pytest.fixture(scope="module")
def metrics() -> dict:
    return json.loads((RESULTS / "metrics.json").read_text(encoding="utf-8"))


def test_every_video_is_accounted_for(metrics):
    frames = metrics["frames"]
    assert frames["ok"] + frames["failed"] == frames["videos"] == metrics["corpus"]["videos"] == 480
    assert frames["failed"] == sum(frames["reasons"].values()) == 0


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: threshold.name)
def test_every_stage_has_learned(metrics, threshold):
    assert threshold.measured(metrics) >= threshold.least


def test_nothing_is_left_to_do():
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "Nothing to be done" in done.stdout + done.stderr


def test_the_report_is_one_file_that_needs_nothing_else():
    files = [path for path in (RESULTS / "report").iterdir() if not path.name.startswith(".")]
    assert [path.name for path in files] == ["index.html"]
    assert files[0].stat().st_size < 10 * 2**20
    assert Path(files[0]).read_text(encoding="utf-8").count('src="http') == 0
