import json

import pytest

from tests.unit.report.fake_run import FakeRun
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.report.metrics import problem_metrics
from workflow_scripts.lib.report.sections import provenance_table


def test_corpus_and_frames_are_counted(tmp_path):
    metrics = FakeRun(tmp_path).collect()
    corpus, frames = metrics["corpus"], metrics["frames"]
    assert (corpus["videos"], corpus["captions"], corpus["languages"]) == (12, 24, {"en": 12, "ko": 12})
    assert corpus["splits"]["test"] == {"videos": 3, "captions": 6, "languages": {"en": 3, "ko": 3}}
    assert corpus["splits"]["val"] == {"videos": 0, "captions": 0, "languages": {"en": 0, "ko": 0}}
    assert corpus["problems"] == {"count": 0, "kinds": {}, "first": []}
    assert (frames["videos"], frames["ok"], frames["failed"], frames["frames"]) == (12, 11, 1, 88)
    assert frames["failed_percent"] == pytest.approx(100 / 12)
    assert frames["reasons"] == {"truncated": 1}
    assert frames["decoders"] == {"pyav": 11}
    assert frames["decode_seconds"] == pytest.approx(6.0)


@pytest.mark.parametrize(("moment", "outside"), [((1.0, 2.5), 0), ((None, None), 0), ((4.5, 6.0), 22)])
def test_moments_after_the_end_of_the_video_are_counted(tmp_path, moment, outside):
    """Of 11 readable videos of 4 s with two captions each."""
    assert FakeRun(tmp_path, moment=moment).collect()["frames"]["moments_outside"] == outside


def test_the_captioner_is_told_of_by_its_training_and_its_evaluation(tmp_path):
    metrics = FakeRun(tmp_path).collect()
    assert metrics["captioner"]["training"] == {"captions": {"train": 16}, "captions_cut": {"train": 2}}
    stages = provenance_table(metrics["provenance"])["stages"]
    assert stages["captioner training"]["device"] == "H100"
    assert stages["captioner"]["device"] == "cpu of captioner"


def test_stage_files_are_kept_and_their_provenance_moves(tmp_path):
    run = FakeRun(tmp_path)
    metrics = run.collect()
    written = json.loads((run.results / "retrieval" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["retrieval"] == {key: written[key] for key in written if key != "provenance"}
    assert metrics["provenance"]["retrieval"] == written["provenance"]
    assert metrics["provenance"]["clip"]["device"] == "cpu of clip"
    assert metrics["provenance"]["seed"] == 3
    assert str(run.problems) in metrics["provenance"]["inputs_sha256"]


@pytest.mark.parametrize("stages", [(), ("retrieval",), ("captioner",), ("clip", "captioner")])
def test_a_stage_that_is_off_is_absent(tmp_path, stages):
    metrics = FakeRun(tmp_path, stages=stages).collect()
    assert set(metrics) == {"run", "corpus", "frames", "features", "provenance", *stages}
    assert {"clip", "retrieval", "captioner"} & set(metrics["provenance"]) == set(stages)


def test_problems_are_counted_by_kind_and_the_first_are_kept(tmp_path):
    file = tmp_path / "problems.jsonl"
    rows = [{"file": "a.csv", "line": i, "kind": "가" if i % 3 else "b", "what": "x"} for i in range(60)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = problem_metrics(file)
    assert (found["count"], found["kinds"]) == (60, {"가": 40, "b": 20})
    assert list(found["kinds"]) == ["가", "b"]
    assert found["first"] == rows[:20]


@pytest.mark.parametrize("text", ['{"line": 1}\n', "no json\n", "[]\n"])
def test_a_broken_problem_list_is_named(tmp_path, text):
    file = tmp_path / "problems.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"problems\.jsonl: not a list of problems"):
        problem_metrics(file)


def test_a_missing_shard_is_named(tmp_path):
    run = FakeRun(tmp_path)
    (run.frame_folder / "status_001.parquet").unlink()
    with pytest.raises(UserError, match=r"status_001\.parquet"):
        run.collect()
