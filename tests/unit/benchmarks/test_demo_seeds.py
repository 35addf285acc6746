"""The demo over several seeds is judged by its worst; the runs themselves are faked."""

import subprocess
import sys
from copy import deepcopy

import pytest

from benchmarks import demo_seeds
from benchmarks.demo_seeds import run_demo, snakemake, verdict
from tests.demo.thresholds import THRESHOLDS, Threshold
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, write_json

CAPTIONS = {"attribute_accuracy": 99.0, "diversity": 80.0, "reference_diversity": 81.0}
GOOD = {
    "retrieval": {
        "test": {"r1": 70.0, "sumr": 360.0, "chance_r1": 1.0},
        "baselines": {
            "mean_pooled": {"r1": 20.0, "sumr": 270.0},
            "max_frame": {"r1": 25.0, "sumr": 280.0},
        },
    },
    "captioner": {"test": {language: dict(CAPTIONS) for language in ("en", "ko")}},
    "clip": {"test": {language: {"t2i_r1": 30.0, "chance_r1": 1.0} for language in ("en", "ko")}},
}


def metrics_with(keys, value):
    metrics = deepcopy(GOOD)
    *path, last = keys.split(".")
    place = metrics
    for key in path:
        place = place[key]
    place[last] = value
    return metrics


def test_the_worst_seed_counts_and_its_margin_is_of_the_threshold():
    share = Threshold("a.b", 20, "a.c")
    (row,) = verdict({3: {"a": {"b": 90, "c": 3}}, 5: {"a": {"b": 50, "c": 2}}}, [share])
    assert row == {
        "target": "a.b / a.c >= 20",
        "measured": {"3": 30.0, "5": 25.0},
        "worst": 25.0,
        "margin": 0.25,
        "passed": True,
    }


@pytest.mark.parametrize(("value", "passed"), [(90.0, True), (89.9999, False)])
def test_a_threshold_is_reached_from_its_value_on(value, passed):
    (row,) = verdict({0: {"a": 95.0}, 1: {"a": value}}, [Threshold("a", 90)])
    assert row["passed"] is passed


@pytest.mark.parametrize(
    ("keys", "value", "missed"),
    [
        ("retrieval.test.r1", 19.9, 3),  # chance, and both baselines
        ("retrieval.baselines.max_frame.sumr", 355.0, 1),
        ("captioner.test.ko.diversity", 10.0, 1),
        ("clip.test.en.t2i_r1", 19.0, 1),
    ],
)
def test_what_one_seed_misses_is_missed(keys, value, missed):
    rows = verdict({0: GOOD, 1: metrics_with(keys, value), 2: GOOD})
    assert [row["passed"] for row in rows].count(False) == missed
    assert all(row["passed"] for row in verdict({0: GOOD, 1: GOOD}))
    assert len(rows) == len(THRESHOLDS)


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """`python -m benchmarks.demo_seeds` with runs that take no time; returns a function of (metrics by seed)."""
    folders = []

    def command(of_seeds):
        def run(folder, seed, cores):
            folders.append(folder)
            return of_seeds[seed]

        monkeypatch.setattr(demo_seeds, "run_demo", run)
        out = tmp_path / "out.json"
        monkeypatch.setattr(sys, "argv", ["x", "--out", str(out), "--seeds", *map(str, of_seeds)])
        demo_seeds.main()
        return read_json(out), folders

    return command


def test_results_of_all_seeds_are_written_and_the_folder_is_cleared(demo, capsys):
    result, folders = demo({4: GOOD, 7: metrics_with("retrieval.test.r1", 60.0)})
    assert result["verdict"][0]["measured"] == {"4": 70.0, "7": 60.0}
    assert result["runs"]["7"]["retrieval"]["gmmformer"]["r1"] == 60.0
    assert result["runs"]["4"]["captions"]["ko"]["attribute_accuracy"] == 99.0
    assert len(set(folders)) == 1 and not folders[0].exists()
    assert "pass  retrieval.test.r1 / retrieval.test.chance_r1 >= 20: 70.0, 60.0 (margin +200.0%)" in (
        capsys.readouterr().out
    )


def test_a_missed_threshold_is_written_and_ends_with_1(demo, tmp_path, capsys):
    with pytest.raises(SystemExit, match="1"):
        demo({0: metrics_with("captioner.test.en.attribute_accuracy", 80.0)})
    assert not all(row["passed"] for row in read_json(tmp_path / "out.json")["verdict"])
    assert "FAIL  captioner.test.en.attribute_accuracy >= 90: 80.0 (margin -11.1%)" in capsys.readouterr().out


def test_a_demo_that_fails_names_its_log(tmp_path, monkeypatch):
    command = [sys.executable, "-c", "print('no step'); raise SystemExit(1)"]
    monkeypatch.setattr(demo_seeds, "snakemake", lambda *_: command)
    with pytest.raises(UserError, match=r"demo_seed_9\.log: the demo with seed 9 failed"):
        run_demo(tmp_path, 9, "1")
    assert "no step" in (tmp_path / "demo_seed_9.log").read_text(encoding="utf-8")


def test_the_metrics_of_the_seed_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_seeds, "snakemake", lambda *_: [sys.executable, "-c", ""])
    file = tmp_path / "results" / "demo_seed_9" / "metrics.json"
    write_json(file, GOOD)
    assert run_demo(tmp_path, 9, "1") == GOOD


@pytest.mark.slow
def test_the_whole_demo_is_planned_with_the_seed_and_shares_the_corpus(tmp_path):
    done = subprocess.run([*snakemake(tmp_path, 7, "2"), "--dry-run"], capture_output=True, text=True)
    plan = done.stdout + done.stderr
    assert done.returncode == 0, plan
    assert "results/demo_seed_7/report/index.html" in plan
    assert "--seed 7" in plan and "resources/demo/frames" in plan and "demo_seed_7/frames" not in plan
