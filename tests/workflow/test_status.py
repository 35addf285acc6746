"""What the status command tells of runs of the real rules: in progress, failed, killed, done."""

import json
import os
import subprocess
import sys

import pytest

from tests.workflow.planning import ROOT, Scratch, demo_config, start, until

TARGETS = [f"resources/demo/frames/frames_{shard:03d}.tar" for shard in range(2)]

# Shard 000 fails until there is a file `mended`, shard 001 waits for a file `go`.
HELD_SHARDS = """
import time

def hold(input, output, params, wildcards, *rest, **more):
    if wildcards.shard == "000" and not Path("mended").exists():
        raise ValueError("not mended")
    while wildcards.shard == "001" and not Path("go").exists():
        time.sleep(0.05)
    make_outputs(input, output, params)

for each in workflow.rules:
    if each.name == "extract_frames":
        each.run_func = hold
"""


@pytest.fixture
def scratch(tmp_path):
    scratch = Scratch(tmp_path, demo_config())
    with (tmp_path / "Snakefile").open("a", encoding="utf-8") as snakefile:
        snakefile.write(HELD_SHARDS)
    return scratch


def status(scratch: Scratch) -> tuple[int, dict]:
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.status", "--run", "demo", "--json"],
        cwd=scratch.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {}


def frames(found: dict) -> dict:
    [rule] = [rule for rule in found["rules"] if rule["rule"] == "extract_frames"]
    assert rule["stage"] == "frames"
    return {name: rule[name] for name in ("jobs", "done", "running", "failed")}


@pytest.mark.slow
def test_a_failed_run_is_told_even_if_it_was_quiet(scratch):
    (scratch.folder / "go").touch()
    run = start(scratch, "--quiet", "progress", "--", *TARGETS)
    run.communicate(timeout=300)
    assert run.returncode != 0
    code, found = status(scratch)
    assert code == 1 and found["state"] == "failed"
    assert frames(found) == {"jobs": 2, "done": 1, "running": 0, "failed": 1}
    assert [job["job"] for job in found["broken"]] == ["extract_frames 000"]
    others = [rule for rule in found["rules"] if rule["rule"] != "extract_frames"]
    assert others and all(rule["done"] == rule["jobs"] > 0 for rule in others)


@pytest.mark.slow
def test_a_dry_run_leaves_no_trace(scratch):
    run = start(scratch, "--dry-run", *TARGETS)
    run.communicate(timeout=300)
    assert run.returncode == 0 and not (scratch.folder / "results").exists()


@pytest.mark.slow
def test_a_run_while_it_runs_and_killed_and_gone_on_with(scratch):
    run = start(scratch, "--cores", "2", *TARGETS)
    held = {"jobs": 2, "done": 0, "running": 1, "failed": 1}
    until(lambda: (found := status(scratch)[1]) and frames(found) == held)
    code, found = status(scratch)
    assert code == 1 and found["state"] == "running"
    assert [job["job"] for job in found["at_work"]] == ["extract_frames 001"]

    run.kill()
    run.communicate(timeout=300)
    code, found = status(scratch)
    assert code == 1 and found["state"] == "killed" and found["at_work"] == []
    assert {job["job"]: job["state"] for job in found["broken"]} == {
        "extract_frames 000": "failed",
        "extract_frames 001": "cut off",
    }

    for name in ("mended", "go"):
        (scratch.folder / name).touch()
    again = start(scratch, *TARGETS)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    code, found = status(scratch)
    assert code == 0 and found["state"] == "done" and found["broken"] == []
    assert frames(found) == {"jobs": 2, "done": 2, "running": 0, "failed": 0}
    assert all(rule["done"] == rule["jobs"] for rule in found["rules"])  # with what the killed run had made
