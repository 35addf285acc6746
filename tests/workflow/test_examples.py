"""The example configurations of large corpora plan the jobs that they promise."""

import csv
import json

import pytest
import yaml

from tests.workflow.planning import ROOT, Scratch


def annotate(name: str, folder) -> None:
    """Annotations of two videos a file, where the example expects them."""
    data = folder / "data" / name
    data.mkdir(parents=True)
    if name == "webvid":
        for split, first in (("train", 0), ("val", 2)):
            with (data / f"results_10M_{split}.csv").open("w", encoding="utf-8", newline="") as handle:
                rows = csv.writer(handle)
                rows.writerow(["videoid", "contentUrl", "duration", "page_dir", "name"])
                rows.writerows(
                    [first + i, "https://example.org", "PT00H00M12S", "000001_000050", f"clip {i}"]
                    for i in (0, 1)
                )
    elif name in ("several_encoders", "clip_finetune", "clip_korean"):
        (folder / "videos").mkdir()
        (folder / "videos/captions.csv").write_text("video,caption\na.mp4,a text\n")
    elif name == "activitynet":
        for split in ("train", "val_1"):
            video = {"duration": 10.0, "timestamps": [[0, 4.5]], "sentences": [" A man waves."]}
            (data / f"{split}.json").write_text(json.dumps({f"v_{split}": video}))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shards"), [("webvid", 215), ("activitynet", 6)])
def test_an_example_plans_all_shards(tmp_path, name, shards):
    annotate(name, tmp_path)
    config = yaml.safe_load((ROOT / f"examples/{name}.yaml").read_text(encoding="utf-8"))
    jobs = Scratch(tmp_path, config).planned()
    for rule in ("extract_frames", "extract_video_features", "extract_text_features"):
        assert jobs[rule] == shards


@pytest.mark.slow
def test_every_encoder_that_sees_videos_gets_caption_lists(tmp_path):
    """Also those that no stage uses: code of one's own, and export_features, start from the lists."""
    annotate("several_encoders", tmp_path)
    config = yaml.safe_load((ROOT / "examples/several_encoders.yaml").read_text(encoding="utf-8"))
    jobs = Scratch(tmp_path, config).planned()
    assert (jobs["extract_video_features"], jobs["list_captions"]) == (3, 3)
    assert (jobs["extract_text_features"], jobs["collect_features"]) == (3, 6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip_finetune", "clip_korean"])
def test_clip_is_trained_on_the_frames_evaluated_and_used(tmp_path, name):
    annotate(name, tmp_path)
    config = yaml.safe_load((ROOT / f"examples/{name}.yaml").read_text(encoding="utf-8"))
    jobs = Scratch(tmp_path, config).planned()
    for rule in ("extract_frames", "pack_pairs", "train_clip", "evaluate_clip", "extract_video_features"):
        assert jobs[rule] == 1
    assert jobs.get("train_retrieval", 0) == (name == "clip_korean")


@pytest.mark.slow
def test_imported_features_are_one_job(tmp_path):
    source = tmp_path / "data/webvid_features"
    source.mkdir(parents=True)
    for name in ("train_text_0.pt", "train_video_0.pt"):
        (source / name).touch()
    (tmp_path / "data/results_10M_train.csv").touch()
    config = yaml.safe_load((ROOT / "examples/webvid_features.yaml").read_text(encoding="utf-8"))
    jobs = Scratch(tmp_path, config).planned()
    assert jobs == {
        "import_features": 1, "freeze_config": 2, "train_retrieval": 1, "evaluate_retrieval": 1, "build_index": 1,
        "collect_metrics": 1, "build_report": 1,
    }  # fmt: skip
