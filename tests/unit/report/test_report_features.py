"""What is told of each encoder's features."""

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from lxml import html

from tests.unit.report.fake_run import HEADER, FakeRun
from tests.unit.report.test_report_page import page_of, text_of
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.layout import FOLDERS, shard_path
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.files import write_json
from workflow_scripts.lib.report.features import feature_metrics

MADE_BY = {"space": {"library": "open_clip", "model": "ViT-B-32"}, "dtype": "float16"}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Features of one video in the second of two shards: 3 frames of width 8, each with 4 tokens of width 5."""
    monkeypatch.chdir(tmp_path)
    root = Path("resources/c/features/클립")
    arrays = {"video": (3, 8), "token": (3, 4, 5), "text": (6, 8), "sentence": (1, 8)}
    with ExitStack() as stack:
        for kind in FOLDERS:
            for shard in range(2):
                writer = stack.enter_context(ShardWriter(shard_path(root, kind, shard), MADE_BY, "float16"))
                if shard == 1:
                    key = "vid_1" if kind in ("video", "token") else "vid_1#cap_0"
                    writer.write(key, np.ones(arrays[kind], dtype=np.float32))
    for side in ("video", "text"):
        write_json(root / f"{side}_meta.json", {"shards": 2, "total": 1, "encoder": MADE_BY})
    return root


def metas(root, *sides):
    return [root / f"{side}_meta.json" for side in sides]


def spent(file, seconds):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{HEADER}\n{seconds}" + "\t0" * 9 + "\n", encoding="utf-8")


def test_both_sides(root):
    jobs = Path("benchmarks-out")
    spent(jobs / "extract_video_features" / root / "000.tsv", 2.0)
    spent(jobs / "extract_video_features" / root / "002.tsv", 99.0)  # of a former, larger number of shards
    spent(jobs / "extract_text_features" / root / "001.tsv", 0.5)
    found = feature_metrics(metas(root, "video", "text"), jobs)
    files = [file for kind in FOLDERS for file in (root / FOLDERS[kind]).iterdir() if file.is_file()]
    assert found == {
        "클립": {
            "kind": "open_clip", "model": "ViT-B-32", "videos": 1, "captions": 1, "width": 8, "tokens_per_frame": 4,
            "dtype": "float16", "bytes": sum(file.stat().st_size for file in files), "seconds": 2.5,
        }
    }  # fmt: skip


def test_an_encoder_of_texts_alone(root):
    found = feature_metrics(metas(root, "text"), Path("none"))["클립"]
    assert (found["videos"], found["captions"], found["width"]) == (None, 1, 8)
    assert found["tokens_per_frame"] is None and found["seconds"] is None


def test_imported_features_took_the_time_of_the_import(root):
    identity = {"kind": "imported", "source": "특징"}
    for side in ("video", "text"):
        write_json(root / f"{side}_meta.json", {"shards": 2, "total": 1, "encoder": identity})
    spent(Path("b/import_features.tsv"), 7.0)
    found = feature_metrics(metas(root, "video", "text"), Path("b"))["클립"]
    assert (found["kind"], found["model"], found["seconds"]) == ("imported", "특징", 7.0)


def test_a_missing_shard_is_named(root):
    shard_path(root, "video", 0).unlink()
    with pytest.raises(UserError, match="video_shard_000"):
        feature_metrics(metas(root, "video"), Path("none"))


def test_they_are_on_the_page(root, tmp_path):
    run = FakeRun(tmp_path / "run", stages=())
    run.metas = metas(root, "video", "text")
    section = html.fromstring(page_of(run)).get_element_by_id("features")
    [row] = section.xpath(".//tbody/tr")
    assert text_of(row).startswith("클립 ViT-B-32 (open_clip) 1 1 8 4 float16 ")
