import base64
import io
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lxml import html
from PIL import Image

from tests.unit.report.fake_run import RANKS, FakeRun
from workflow_scripts.lib.config import ReportConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.report.media import film_strip
from workflow_scripts.lib.report.page import build_page


def page_of(run, metrics=None, **config):
    metrics = metrics or run.collect()
    with run.media() as media:
        return build_page(
            ReportConfig(**config),
            metrics,
            run.results,
            media,
            run.benchmarks,
            ["train_clip", "build_report"],
        )


def text_of(node):
    return " ".join(" ".join(node.itertext()).split())


def sections(page):
    return set(html.fromstring(page).xpath("//section/@id"))


def test_everything_of_a_whole_run_is_on_the_page(tmp_path):
    run = FakeRun(tmp_path, curves=True)
    run.benchmark("train_clip", "100\t0:01:40\t2048\t1\t1\t1\t1\t1\t90\t180")
    run.benchmark("build_report", "7\t0:00:07\t400\t1\t1\t1\t1\t1\t90\t6")
    page = page_of(run, title="My run", examples=4)
    assert sections(page) == {"retrieval", "captions", "clip", "curves", "corpus", "cost", "provenance"}
    tree = html.fromstring(page)
    tiles = [text_of(tile) for tile in tree.find_class("tile")]
    assert "Videos 12 9 train, 0 val, 3 test" in tiles
    assert "Retrieval R@1, test 60.0% zero-shot 25.0%, chance 33.3%" in tiles
    assert "CPU time 3 min 00 s largest job 2.0 GiB (train_clip)" in tiles
    assert len(tree.find_class("query")) == 4
    curves = text_of(tree.get_element_by_id("curves"))
    assert "trained on 410 videos a second (the median), waited for data 18.0% of the time" in curves
    assert text_of(tree.get_element_by_id("cost")).count("train_clip") == 1
    assert "build_report" not in text_of(tree.get_element_by_id("cost"))
    corpus = text_of(tree.get_element_by_id("corpus"))
    assert "영상/video <1>.mp4 train truncated ends at <1 s>" in corpus
    assert "2 queries of test are longer than the model reads" in text_of(tree.get_element_by_id("retrieval"))
    provenance = text_of(tree.get_element_by_id("provenance"))
    assert "cpu of retrieval" in provenance and "captioner training H100" in provenance


def test_retrieval_is_told_both_ways_and_by_the_length_of_moments(tmp_path):
    tree = html.fromstring(page_of(FakeRun(tmp_path, stages=("retrieval",))))
    methods = ["GMMFormer", "Zero-shot, mean-pooled", "Zero-shot, max over frames"]
    forward, back, moments = tree.get_element_by_id("retrieval").xpath(".//table")
    labels = [text_of(cell) for cell in forward.xpath(".//td[1]")]
    assert labels == [label for method in methods for label in (method, "en", "ko")] + ["Chance"]
    assert [text_of(cell) for cell in back.xpath(".//td[1]")] == [*methods, "Chance"]
    assert text_of(back.xpath(".//tr[@class='group']")[0]) == "Test: 3 queries, 6 captions"
    shown = {text_of(cell) for cell in forward.xpath(".//small")}
    assert {"54.0–63.0", "310.5–362.2", "0.9–1.1"} <= shown and "100.0–100.0" not in shown
    rows = [[text_of(cell) for cell in row.xpath("./td")] for row in moments.xpath(".//tbody/tr")]
    assert rows == [["20 to 40%", "6", "60.0%", "20.0%", "25.0%"]]


def test_results_that_know_less_are_drawn_too(tmp_path):
    run = FakeRun(tmp_path, texts={"ko": "빨간 원"}, stages=("retrieval",))
    metrics = run.collect()
    metrics["retrieval"]["baselines"] = None
    metrics["retrieval"]["test"] |= {"confidence": None, "moment_ratio": None}
    retrieval = html.fromstring(page_of(run, metrics)).get_element_by_id("retrieval")
    forward, _ = retrieval.xpath(".//table")
    assert [text_of(cell) for cell in forward.xpath(".//td[1]")] == ["GMMFormer", "Chance"]
    assert not retrieval.xpath(".//small")
    assert "intervals" not in text_of(retrieval) and "Zero-shot" not in text_of(retrieval)


def test_without_a_test_split_the_validation_split_is_shown(tmp_path):
    run = FakeRun(tmp_path, stages=("retrieval",))
    metrics = run.collect()
    found = metrics["retrieval"]
    found |= {"val": found["test"], "test": None, "baselines": None}
    ranks = run.results / "retrieval" / "ranks.parquet"
    rows = [row | {"split": "val"} for row in pq.read_table(ranks).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, RANKS), ranks)
    tree = html.fromstring(page_of(run, metrics))
    forward, _, moments = tree.get_element_by_id("retrieval").xpath(".//table")
    assert text_of(forward.xpath(".//tr[@class='group']")[0]) == "Validation: 6 queries, 3 videos"
    assert len(moments.xpath(".//thead//th")) == 3
    assert tree.find_class("query")


def test_a_query_shows_the_right_video_marked_once(tmp_path):
    tree = html.fromstring(page_of(FakeRun(tmp_path, videos=40), examples=8))
    queries = tree.find_class("query")
    assert len(queries) == 8
    for query in queries:
        right = query.xpath(".//figure[@class='right']")
        assert len(right) == 1 and len(query.xpath(".//figure")) in (5, 6)
        rank = int(text_of(query.find_class("tag")[1]).removeprefix("rank "))
        assert text_of(right[0]).startswith(f"{rank} ✓")
        assert right[0].xpath(".//div[@class='span']/i/@style") == ["left:25.0%;width:37.5%"]


def test_user_text_is_escaped(tmp_path):
    evil = "<script>alert('x')</script> & \"quoted\" <img src=x onerror=y>"
    run = FakeRun(
        tmp_path, texts={"en": evil, "ko": evil + " 한국어"}, attributes={"en": {"<b>": "</style>"}}
    )
    run.problems.write_text('{"file": "<i>", "line": 1, "kind": "<u>", "what": "<s>"}\n', encoding="utf-8")
    page = page_of(run, title=evil)
    tree = html.fromstring(page)
    assert "<script" not in page and "onerror=y>" not in page
    assert not tree.xpath("//script | //img[@onerror] | //u[not(@style)] | //s")
    assert tree.xpath("//h1")[0].text_content() == evil
    assert any(evil in query.text_content() for query in tree.find_class("query"))


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    page = page_of(FakeRun(tmp_path, stages=("clip", "captioner"), curves=True))
    tree = html.fromstring(page)
    for name in ("src", "srcset", "data", "action", "poster"):
        assert all(value.startswith("data:") for value in tree.xpath(f"//@{name}"))
    assert all(value.startswith("#") for value in tree.xpath("//@href"))
    assert not tree.xpath("//link | //script | //iframe | //object | //base")
    assert not re.search(r"https?://|@import|url\((?!\"data:)", page)
    assert tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")[0].startswith(
        "default-src 'none'"
    )


def test_the_same_run_gives_the_same_page(tmp_path):
    run = FakeRun(tmp_path, stages=("retrieval",), curves=True)
    assert page_of(run) == page_of(run)


@pytest.mark.parametrize(
    ("stages", "absent"),
    [
        ((), {"retrieval", "captions", "clip", "curves"}),
        (("retrieval",), {"captions", "clip"}),
        (("captioner",), {"retrieval", "clip"}),
    ],
)
def test_stages_that_are_off(tmp_path, stages, absent):
    page = page_of(FakeRun(tmp_path, stages=stages, curves="captioner" in stages))
    assert not sections(page) & absent
    assert {"corpus", "provenance"} <= sections(page)
    targets = {value.removeprefix("#") for value in html.fromstring(page).xpath("//nav/a/@href")}
    assert targets == sections(page)


def test_files_of_a_stage_that_was_switched_off_are_not_shown(tmp_path):
    run = FakeRun(tmp_path)
    metrics = run.collect()
    del metrics["retrieval"], metrics["captioner"]
    page = page_of(run, metrics)
    assert not {"retrieval", "captions"} & sections(page)
    assert "GMMFormer" not in page


def test_without_frames_captions_stand_for_the_videos(tmp_path):
    texts = {"en": "a <b>red</b> circle", "ko": "빨간 원", "zh": "", "ar": "دائرة", "ja": "赤い円"}
    run = FakeRun(tmp_path, texts=texts, stages=("retrieval",), imported=True)
    row = {
        "file": "특징/a.pt",
        "item": "영상 <1>",
        "kind": "shape",
        "what": "[2] is no [frames, width]",
        "count": 3,
    }
    run.problems.write_text(json.dumps(row) + "\n", encoding="utf-8")
    tree = html.fromstring(page_of(run, examples=5))
    assert not tree.xpath("//article//img")
    figure = tree.xpath("//article//figure")[0]
    assert [text_of(node) for node in figure.xpath("./p")] == ["a <b>red</b> circle", "빨간 원", "دائرة"]
    assert "영상/video <" in text_of(figure.xpath("./figcaption")[0])
    assert any("(no text)" in text_of(query) for query in tree.find_class("query"))
    corpus = text_of(tree.get_element_by_id("corpus"))
    assert "Features were imported; there are no frames to show" in corpus
    assert "could not be taken: 3 shape." in corpus and "특징/a.pt: 영상 <1>" in corpus
    assert "Videos without frames" not in corpus and "annotations" not in corpus
    assert not any("Readable" in text_of(tile) for tile in tree.find_class("tile"))


def test_no_test_video_at_all(tmp_path):
    run = FakeRun(tmp_path, test_every=0)
    assert pq.read_table(run.results / "retrieval" / "ranks.parquet").schema.names == RANKS.names
    page = page_of(run)
    assert "there is nothing to measure" in text_of(html.fromstring(page).get_element_by_id("retrieval"))
    assert "there is nothing to measure" in text_of(html.fromstring(page).get_element_by_id("captions"))


def test_one_test_video_with_one_frame_and_long_captions_of_many_scripts(tmp_path):
    texts = {
        "en": "word " * 150,
        "ko": "아주 긴 설명 " * 60,
        "zh": "一只猫在桌子上" * 60,
        "ar": "قطة تقفز " * 40,
    }
    run = FakeRun(
        tmp_path, videos=3, test_every=3, frames=1, texts=texts, moment=(None, None), size=(160, 90)
    )
    tree = html.fromstring(page_of(run))
    assert {text_of(node) for node in tree.xpath("//article//p/span[@lang]")} == {
        text.strip() for text in texts.values()
    }
    assert not tree.xpath("//div[@class='span']")


@pytest.mark.parametrize("warning", [True, False])
def test_banner_when_captions_collapse(tmp_path, warning):
    run = FakeRun(tmp_path)
    metrics = run.collect()
    metrics["captioner"] |= {"diversity_warning": warning, "diversity_warning_languages": ["ko"]}
    banners = html.fromstring(page_of(run, metrics)).find_class("banner")
    assert len(banners) == warning
    assert not warning or "lack variety (ko)." in text_of(banners[0])


def test_wrong_words_and_attributes_are_marked(tmp_path):
    run = FakeRun(tmp_path, attributes={"en": {"colour": "red", "direction": "left"}})
    captions = html.fromstring(page_of(run)).get_element_by_id("captions")
    marks = captions.xpath(".//dd/mark/text()")
    assert marks and set(marks) == {"blue"}
    assert {text_of(chip) for chip in captions.xpath(".//div[@class='chips']/span")} == {
        "✓ red",
        "✗ red",
        "✓ left",
    }


def test_results_of_another_corpus_are_refused(tmp_path):
    run = FakeRun(tmp_path / "large", videos=40)
    small = FakeRun(tmp_path / "small", videos=4)
    metrics = run.collect()
    with small.media() as media, pytest.raises(UserError, match="do not belong together"):
        build_page(
            ReportConfig(), metrics, run.results, media, run.benchmarks, ["train_clip", "build_report"]
        )


def test_a_strip_has_the_scale_of_its_slots():
    data = io.BytesIO()
    Image.new("RGB", (64, 32), "red").save(data, "JPEG")
    widths = []
    for frames in (1, 3, 6):
        uri = film_strip([data.getvalue()] * frames, 20, 6)
        strip = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
        assert strip.height == 20
        widths.append(strip.width)
    assert widths == [6 * 40 + 5 * 2] * 3
