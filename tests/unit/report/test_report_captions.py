"""The tables of captions, from metrics that know much and metrics that know little."""

import json

import numpy as np
from lxml import html

from tests.unit.captioner.word_encoder import WordEncoder, frames_of
from tests.unit.report.fake_run import FakeRun
from tests.unit.report.test_report_page import page_of, text_of
from tests.unit.report.test_report_retrieval import form
from workflow_scripts.lib.captioner.image_text import ImageText
from workflow_scripts.lib.captioner.metrics import evaluate
from workflow_scripts.lib.config import CaptionEvaluation
from workflow_scripts.lib.report.captions import section, tiles

CORPUS = {"splits": {"test": {"languages": {"en": 10, "ko": 5}}}}


def test_the_fake_run_has_the_form_of_a_real_one(tmp_path):
    run = FakeRun(tmp_path / "run", stages=("captioner",), attributes={"en": {"colour": "red"}})
    fake = run.collect()["captioner"]
    lines = (run.results / "captioner" / "captions_test.jsonl").read_text(encoding="utf-8").splitlines()
    real = evaluate([json.loads(line) for line in lines], CaptionEvaluation(bootstrap=2))
    scorer = ImageText(WordEncoder(), frames_of(tmp_path, [["red"], ["blue"]]))
    row = {"video": 0, "start_s": 0.0, "end_s": 1.0, "frames": [0], "generated": "red", "reference": "red"}
    fits = scorer.scores([row, row | {"video": 1}], 2, seed=0)
    for language, found in real.pop("by_language").items():
        assert form(fake["test"][language]) == form({**found, "image_text": fits}), language
    assert {"test", "training", *real} == set(fake)


def captions_of(run, metrics=None):
    return html.fromstring(page_of(run, metrics)).get_element_by_id("captions")


def rows_of(table):
    return {
        text_of(cells[0]): [text_of(cell) for cell in cells[2:]]
        for cells in (row.xpath("./td") for row in table.xpath(".//tbody/tr"))
    }


def test_every_measure_is_there_with_its_meaning(tmp_path):
    captions = captions_of(FakeRun(tmp_path, attributes={"en": {"colour": "red"}}))
    scores, variety, fits = captions.xpath(".//table")
    assert [text_of(cell) for cell in scores.xpath(".//th")][2:] == ["en 3 captions", "ko 3 captions"]
    found = rows_of(scores)
    assert list(found) == [
        "Attributes right", "colour", "Word for word", "CIDEr", "chrF++", "BLEU", "BLEU-3", "BLEU-2", "BLEU-1",
        "METEOR without synonyms", "ROUGE-L",
    ]  # fmt: skip
    assert found["CIDEr"] == ["310.0 279.0–341.0"] * 2
    assert found["Attributes right"] == ["75.0% 60.0–90.0", "–"]
    assert found["colour"] == ["75.0% 60.0–90.0", "–"]
    assert rows_of(variety)["Different captions"] == ["50.0% references 55.0%"] * 2
    assert rows_of(fits)["Own frames"] == ["0.310 0.290–0.330"] * 2
    assert rows_of(fits)["Own frames fit better"] == ["92.0% 88.0–96.0"] * 2
    meanings = [text_of(cell) for cell in captions.xpath(".//tbody/tr[@class='method']/td[2]")]
    assert all(len(meaning.split()) > 3 for meaning in meanings)


def test_what_is_not_whole_is_told(tmp_path):
    text = text_of(captions_of(FakeRun(tmp_path)))
    assert "2 of the 16 training captions were longer than captioner.max_caption_tokens" in text
    assert "reached the greatest length and end in the middle: en 1, ko 1" in text
    assert "2 captions and 6 references were longer than the 64 tokens" in text
    assert "Every caption of the test split in these languages has a score" in text
    assert "<siglip>" in text


def test_moments_that_were_left_out_are_counted_by_language():
    found = section(
        {"test": {"en": {"captions": 7, "chrf": 1.0}, "ko": {"captions": 5, "chrf": 1.0}}}, CORPUS
    )
    assert found["lost"]["left_out"] == {"en": 3}


def test_left_out_moments_lead_to_their_reasons(tmp_path):
    run = FakeRun(tmp_path)
    metrics = run.collect()
    metrics["corpus"]["splits"]["test"]["languages"]["ko"] = 5
    captions = captions_of(run, metrics)
    assert "their videos gave no frames: ko 2" in text_of(captions)
    assert captions.xpath(".//a/@href") == ["#corpus"]


def test_metrics_of_another_version_have_the_rows_that_they_know(tmp_path):
    run = FakeRun(tmp_path, texts={"ko": "빨간 원"})
    metrics = run.collect()
    metrics["captioner"] = {"test": {"ko": {"chrf": 70.0, "captions": 3}}}
    [table] = captions_of(run, metrics).xpath(".//table")
    assert rows_of(table) == {"chrF++": ["70.0%"]}


def test_a_tile_a_language():
    found = tiles(
        {"en": {"attribute_accuracy": 90.0, "chrf": 1.0, "captions": 4}, "ko": {"chrf": 70.0}, "zh": {}}
    )
    assert [(tile["label"], tile["value"]) for tile in found] == [
        ("Attributes right, en", "90.0%"),
        ("Caption chrF++, ko", "70.0%"),
    ]


def test_nan_is_a_dash():
    found = section({"test": {"en": {"captions": 7, "chrf": np.nan, "bleu": 1.0}}}, CORPUS)
    assert [row["cells"][0]["text"] for row in found["scores"]] == ["–", "1.0%"]
