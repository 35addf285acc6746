"""The command that lets the next run try the failed videos again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.frames.test_retry import CONFIG, config, content, extract, mend, run_folder  # noqa: F401
from workflow_scripts.lib.environment import hold_run_lock
from workflow_scripts.lib.files import read_json
from workflow_scripts.lib.frames.reasons import REASONS
from workflow_scripts.lib.frames.retry import files_of

ROOT = str(Path(__file__).parents[2])


def retry(*arguments):
    Path("내 설정.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "workflow_scripts.retry_failed",
        "--configfile",
        "내 설정.yaml",
        *arguments,
    ]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": ROOT}
    )


@pytest.mark.slow
def test_what_failed_runs_again(run_folder):  # noqa: F811
    extract(0), extract(1)
    mend()
    before = content()
    said = retry("--dry-run").stdout
    assert "shard 000: 1 missing, 1 empty" in said and "2 videos in 1 of 2 shards" in said
    assert content() == before
    done = retry()
    assert done.returncode == 0, done.stderr
    assert "run: snakemake --cores all --configfile '내 설정.yaml'" in done.stdout
    assert read_json("resources/c/frames/retry_000.json")["reasons"] == sorted(REASONS)
    extract(0)
    assert {row["reason"] for row in content()[0]} == {None}
    assert retry().stdout == "nothing to retry\n"


def test_reasons_and_removed_frames(run_folder):  # noqa: F811
    extract(0)
    assert "1 shards are not finished" in retry("--reason", "timeout").stdout
    files_of(config(), 0).tar.unlink()
    said = retry("--reason", "missing", "timeout").stdout
    assert "shard 000: 1 missing; its frames were removed" in said
    assert (
        "snakemake --cores all --configfile '내 설정.yaml' --forcerun resources/c/frames/frames_000.tar"
        in said
    )
    assert not list(Path("resources/c/frames").glob("retry_*"))
    assert "invalid choice: 'laziness'" in retry("--reason", "laziness").stderr


def test_not_while_the_workflow_runs(run_folder):  # noqa: F811
    hold_run_lock(Path(".snakemake/run.lock"))
    done = retry()
    assert done.returncode == 1
    assert "error: another snakemake is running" in done.stderr
