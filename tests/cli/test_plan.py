"""The command as a person calls it, in a folder with a pilot run."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from tests.unit.plan.made_up import write_pilot
from tests.workflow.planning import ROOT, demo_config

pytestmark = pytest.mark.slow


def call(folder, *arguments, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.plan", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def write_config(folder, shards, keep=True):
    config = demo_config()
    config["frames"]["keep"] = keep
    config["corpus"] |= {"shards": shards, "videos_per_shard": 10}
    config["corpus"]["demo"]["videos"] = shards * 10
    (folder / "large.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")


def test_every_rule_of_the_configuration_is_planned(tmp_path):
    write_config(tmp_path, 7)
    held = {"extract_frames": {"cores": 2}, "extract_text_features": {}}
    jobs = {"extract_frames/000": 60, "extract_text_features/results/pilot/features/clip/000": 30}
    pilot = write_pilot(tmp_path, jobs, held=held)
    arguments = ("--config", "large.yaml", "--measured", pilot, "--cores", 4, "--price-cpu-hour", 1)
    done = call(tmp_path, *arguments, "--output", "plan.json", "--page", "plan.html")
    plan = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    rules = {rule["rule"]: rule for rule in plan["rules"]}
    assert rules["extract_frames"]["jobs"] == rules["pack_pairs"]["jobs"] == 7
    assert rules["extract_frames"]["core_h"] == pytest.approx(7 * 60 * 2 / 3600)
    assert rules["extract_text_features"]["core_h"] == pytest.approx(7 * 30 / 3600)
    assert rules["pack_pairs"]["core_h"] is None and "not measured" in rules["pack_pairs"]["unknown"]
    assert rules["freeze_config"]["unknown"] is None
    assert (
        "train_retrieval" in done.stdout
        and not done.stderr
        and max(map(len, done.stdout.splitlines())) <= 200
    )
    page = (tmp_path / "plan.html").read_text(encoding="utf-8")
    assert (
        "What runs when" in page
        and "train_retrieval" in page
        and "http" not in page.replace("http-equiv", "")
    )
    assert not (tmp_path / "results/demo").exists()


def test_a_wrong_configuration_or_pilot_is_a_sentence(tmp_path):
    write_config(tmp_path, 1)
    pilot = write_pilot(tmp_path, {})
    (tmp_path / "wrong.yaml").write_text("run: x\n")
    for arguments, words in (
        (("--configfile", "no.yaml", "--measured", pilot), "error: no.yaml: cannot be read"),
        (("--configfile", "wrong.yaml", "--measured", pilot), "corpus"),
        (("--configfile", "large.yaml", "--measured", tmp_path / "none"), "benchmarks-out/<run>"),
        (("--configfile", "large.yaml", "--measured", pilot, "--gpus", 4), "without --cores"),
    ):
        done = call(tmp_path, *arguments, "--output", "plan.json", check=False)
        assert done.returncode and words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "plan.json").exists()


def test_what_is_done_already_is_planned_too(tmp_path):
    """A plan is of the whole run, and begun files are left alone."""
    write_config(tmp_path, 2)
    pilot = write_pilot(tmp_path, {"extract_frames/000": 60})
    done = tmp_path / "resources/demo/frames/frames_000.tar"
    done.parent.mkdir(parents=True)
    done.write_text("frames")
    call(tmp_path, "--configfile", "large.yaml", "--measured", pilot)
    plan = json.loads((tmp_path / "results/demo/plan.json").read_text(encoding="utf-8"))
    assert next(rule["jobs"] for rule in plan["rules"] if rule["rule"] == "extract_frames") == 2
    assert done.read_text() == "frames"


def test_priorities_are_those_of_the_rules(tmp_path):
    """Where frames go after their use, the steps that use them are started first."""
    write_config(tmp_path, 2, keep=False)
    code = (
        "import json, pathlib, workflow_scripts.lib.plan.dry_run as dry_run;"
        "jobs = dry_run.planned_jobs(pathlib.Path('large.yaml'));"
        "print(json.dumps({job.name.rule: job.priority for job in jobs}))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    told = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, env=environment, text=True)
    priorities = json.loads(told)
    assert priorities["extract_video_features"] == priorities["pack_pairs"] == 1
    assert priorities["extract_frames"] == priorities["train_retrieval"] == 0
