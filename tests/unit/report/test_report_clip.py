"""The page's section on CLIP: before and after training, both directions, zero-shot."""

import pytest
from lxml import html

from tests.unit.report.fake_run import FakeRun
from tests.unit.report.test_report_page import page_of, text_of
from workflow_scripts.lib.report.clip import section


def section_of(run, metrics=None):
    return html.fromstring(page_of(run, metrics)).get_element_by_id("clip")


def test_before_and_after_stand_side_by_side_in_both_directions(tmp_path):
    tables = [text_of(table) for table in section_of(FakeRun(tmp_path, stages=("clip",))).xpath(".//table")]
    text_to_image, image_to_text, classes = tables
    ours = "before training 2.0% 5.0% 7.0% after 20.0% 50.0% 70.0% chance 33.3%"
    assert text_to_image == f"R@1 R@5 R@10 en: 6 pairs, 3 pictures {ours} ko: 6 pairs, 3 pictures {ours}"
    assert (
        "en: 6 pairs, 3 captions before training 3.0% 6.0% 8.0% after 30.0% 60.0% 80.0% chance 33.4%"
        in image_to_text
    )
    assert (
        classes == "top-1 top-5 mean over classes before training 20.0% 85.0% 19.0% after 71.0% 85.0% 19.0%"
    )


def test_zero_shot_alone(tmp_path):
    run = FakeRun(tmp_path, stages=("clip",), test_every=0)
    found = section_of(run)
    assert len(found.xpath(".//table")) == 1
    assert "60 pictures of 6 classes" in text_of(found) and "Chance is 16.7%" in text_of(found)


def test_top_5_only_where_it_was_measured():
    scores = {"top1": 50.0, "mean_class": 50.0, "pictures": 4, "classes": 2, "chance_top1": 50.0}
    found = section({"zero_shot": {"before": scores, "after": scores}})
    assert found["zero_shot"]["columns"] == ["top-1", "mean over classes"]


@pytest.mark.parametrize("found", [{}, {"test": {}, "before": {}}, {"test": None}])
def test_nothing_was_measured(found):
    assert section(found) is None


def test_a_run_of_a_former_version_has_no_before():
    old = {
        "en": {"t2i_r1": 20.0, "t2i_r5": 50.0, "i2t_r1": 21.0, "i2t_r5": 51.0, "pairs": 6, "chance_r1": 33.3}
    }
    table, _ = section({"test": old})["tables"]
    assert [row["label"] for row in table["groups"][0]["rows"]] == ["after", "chance"]
    assert table["groups"][0]["rows"][0]["cells"] == ["20.0%", "50.0%", "–"]
