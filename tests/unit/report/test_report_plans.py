"""The plan of a run on its report."""

from dataclasses import asdict

import pytest
from lxml import html

from tests.unit.plan.made_up import config, planned, write_pilot
from tests.unit.report.fake_run import FakeRun
from tests.unit.report.test_report_page import text_of
from workflow_scripts.lib.config import ReportConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, write_json
from workflow_scripts.lib.plan.pilot import read_pilot
from workflow_scripts.lib.plan.plan import make_plan
from workflow_scripts.lib.report.page import build_page
from workflow_scripts.lib.report.plans import planned_seconds, read_plan

RULES = ["extract_frames", "train_retrieval"]


@pytest.fixture
def plan(tmp_path):
    """Of three shards, whose frames took 120 CPU seconds in the pilot; training was not measured."""
    pilot = read_pilot(write_pilot(tmp_path, {"extract_frames/000": 60}))
    jobs = planned(3, "train_retrieval")
    return make_plan(jobs, config(3), tmp_path / "resources/large", [pilot], cores=2, gpus=1)


def test_a_plan_is_read_as_it_was_written(tmp_path, plan):
    write_json(tmp_path / "plan.json", asdict(plan))
    assert read_plan(tmp_path / "plan.json") == plan


def test_a_plan_of_another_version_is_refused(tmp_path, plan):
    file = tmp_path / "plan.json"
    write_json(file, asdict(plan))
    write_json(file, read_json(file) | {"items": {}})
    with pytest.raises(UserError, match=r"plan\.json: not a plan of this version \(items"):
        read_plan(file)


def test_what_is_unknown_is_not_counted_as_nothing(plan):
    seconds = planned_seconds(plan)
    assert seconds["extract_frames"] == pytest.approx(360) and seconds["train_retrieval"] is None


def test_the_page_holds_the_cost_against_the_plan(tmp_path, plan):
    run = FakeRun(tmp_path / "run")
    run.benchmark("extract_frames", "100\t0:01:40\t2048\t1\t1\t1\t1\t1\t90\t180")
    run.benchmark("train_retrieval", "100\t0:01:40\t2048\t1\t1\t1\t1\t1\t90\t90")
    with run.media() as media:
        arguments = (ReportConfig(), run.collect(), run.results, media, run.benchmarks, RULES)
        without, page = build_page(*arguments), build_page(*arguments, plan)
    tree = html.fromstring(page)
    rows = [text_of(row) for row in tree.get_element_by_id("cost").xpath(".//tbody/tr")]
    assert rows[0].startswith("extract_frames 1 1 min 40 s 3 min 00 s 6 min 00 s")
    assert rows[1].startswith("train_retrieval 1 1 min 40 s 1 min 30 s –")
    told = tree.get_element_by_id("plan")
    assert "30 videos, 60 captions" in text_of(told) and "train_retrieval: not measured" in text_of(told)
    (drawn,) = told.xpath(".//img")
    assert drawn.get("src").startswith("data:image/svg") and "extract_frames" in drawn.get("alt")
    assert 'id="plan"' not in without and "Planned" not in without
