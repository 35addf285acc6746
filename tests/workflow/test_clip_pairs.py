"""Where the pairs that CLIP is trained on come from decides which jobs there are."""

import os

import pytest

from tests.workflow.planning import Scratch, demo_config

ON_CORPUS = {"pack_pairs": 2, "train_clip": 1, "evaluate_clip": 1}


def with_pairs(**data) -> dict:
    """The demo, trained on such pairs for its own sake."""
    config = demo_config()
    config["clip"]["data"] = data
    return config


def planned(scratch: Scratch, config: dict) -> dict[str, int]:
    """Jobs of the clip stage, and those of frames that it needs."""
    scratch.configure(config)
    said = scratch.snakemake("--dry-run", "--until", "evaluate_clip")
    table = said.split("Job stats:")[1].split("total")[0]
    jobs = dict(line.split() for line in table.splitlines() if line and line.split()[-1].isdigit())
    return {name: int(jobs[name]) for name in ("extract_frames", *ON_CORPUS) if name in jobs}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own_pairs")
    for number in range(3):
        (folder / f"{number}.tar").touch()
    (folder / "own.csv").touch()
    return Scratch(folder, demo_config())


OWN = {"files": ["{0..1}.tar"]}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, {"extract_frames": 2} | ON_CORPUS),
        ({"dataset_type": "synthetic"}, {"extract_frames": 2, "train_clip": 1, "evaluate_clip": 1}),
        ({"train": OWN}, {"train_clip": 1, "evaluate_clip": 1}),
        (
            {"train": OWN, "test": "corpus"},
            {"extract_frames": 2, "train_clip": 1, "evaluate_clip": 1},
        ),
        ({"train": OWN, "val": OWN, "test": OWN}, {"train_clip": 1, "evaluate_clip": 1}),
        (
            {"dataset_type": "csv", **{split: {"files": ["own.csv"]} for split in ("train", "val", "test")}},
            {"train_clip": 1, "evaluate_clip": 1},
        ),
        (
            {split: {"files": ["pipe:cat {0..9}.tar"], "samples": 90} for split in ("train", "val", "test")},
            {"train_clip": 1, "evaluate_clip": 1},
        ),
    ],
)
def test_no_frame_is_decoded_for_pairs_that_are_there(scratch, data, expected):
    assert planned(scratch, with_pairs(**data)) == expected


def test_only_what_is_taken_of_the_corpus_is_packed(scratch):
    assert (
        planned(scratch, with_pairs(train=OWN, val="corpus", test="corpus"))
        == {"extract_frames": 2} | ON_CORPUS
    )
    said = scratch.snakemake("--dry-run", "--until", "evaluate_clip")
    assert "--splits val --pairs" in said and "--splits train" not in said


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"train": {"files": ["{0..5}.tar"]}}, "clip.data.train.files: there is no file 3.tar"),
        ({"test": {"files": ["https://x.org/{0..5}.tar"]}}, "clip.data.test.samples: https://x.org/0.tar"),
    ],
)
def test_pairs_that_are_not_there_stop_before_any_job(scratch, data, words):
    scratch.configure(with_pairs(**data))
    said = scratch.snakemake("--dry-run", check=False)
    assert words in said and "Traceback" not in said and "Job stats" not in said


@pytest.mark.slow
def test_a_changed_file_trains_again_and_packs_nothing(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.tar").touch()
    config = with_pairs(train=OWN, val="corpus", test={"files": ["2.tar"]})
    scratch = Scratch(tmp_path, config)
    scratch.pretend_run()
    assert scratch.planned() == {}
    (tmp_path / "2.tar").write_text("changed")
    assert set(scratch.planned()) == {"evaluate_clip", "collect_metrics", "build_report"}
    (tmp_path / "1.tar").write_text("changed")
    jobs = scratch.planned()
    assert {"train_clip", "evaluate_clip", "extract_video_features"} <= set(jobs)
    assert "pack_pairs" not in jobs and "extract_frames" not in jobs


@pytest.mark.slow
def test_an_edited_model_file_trains_again_and_packs_nothing(tmp_path):
    config = demo_config()
    del config["clip"]["demo_model"]
    config["clip"] |= {"model": "모델.json", "pretrained": "weights.pt"}
    for name in ("모델.json", "weights.pt"):
        (tmp_path / name).touch()
    scratch = Scratch(tmp_path, config)
    scratch.pretend_run()
    assert scratch.planned() == {}
    for name in ("모델.json", "weights.pt"):
        before = (tmp_path / name).stat()
        (tmp_path / name).write_text("{}")
        jobs = scratch.planned()
        assert jobs["train_clip"] == 1 and "pack_pairs" not in jobs
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, ns=(before.st_atime_ns, before.st_mtime_ns))
