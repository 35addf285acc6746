"""The example configurations of large corpora plan the jobs that they promise."""

import csv
import json
import os
import subprocess
import sys

import pytest
import torch
import transformers as hf
import yaml

from tests.unit.captioner.language_models import write_language_model
from tests.unit.features.tiny_models import TEXT, VISION, word_tokenizer
from tests.workflow.planning import ROOT, Scratch
from workflow_scripts.lib.corpus.demo.render import render
from workflow_scripts.lib.corpus.demo.scenes import scene
from workflow_scripts.lib.corpus.demo.words import captions


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
    elif name == "aihub_korean":
        write_aihub(folder / "data/aihub", {"Training": 8, "Validation": 2, "Test": 2})
    elif name == "activitynet":
        for split in ("train", "val_1"):
            video = {"duration": 10.0, "timestamps": [[0, 4.5]], "sentences": [" A man waves."]}
            (data / f"{split}.json").write_text(json.dumps({f"v_{split}": video}))


def write_aihub(folder, videos: dict[str, int]) -> list[str]:
    """A delivery: videos of moving shapes by split, each with a JSON and a long description; the descriptions."""
    texts = []
    for split, count in videos.items():
        for kind in ("videos", "labels"):
            (folder / split / kind).mkdir(parents=True)
        for _ in range(count):
            number = len(texts)
            what = scene(0, number, 2)
            render(what, folder / split / "videos" / f"영상_{number}.mp4", 64, 8)
            said = [
                captions(m.colour, m.shape, m.direction, what.background)[1]["text"] for m in what.moments
            ]
            texts.append(". ".join(said * 3) + ".")
            label = {"video_id": f"AIHUB_{number:04d}", "annotation": {"description_kr": texts[-1]}}
            (folder / split / "labels" / f"영상_{number}.json").write_text(
                json.dumps(label, ensure_ascii=False), encoding="utf-8"
            )
    return texts


@pytest.mark.slow
def test_the_korean_example_plans_the_captioner(tmp_path):
    annotate("aihub_korean", tmp_path)
    config = yaml.safe_load((ROOT / "examples/aihub_korean.yaml").read_text(encoding="utf-8"))
    jobs = Scratch(tmp_path, config).planned()
    for rule in (
        "train_captioner_stage1",
        "train_captioner_stage2",
        "generate_captions",
        "evaluate_captions",
    ):
        assert jobs[rule] == 1
    assert (jobs["extract_video_features"], jobs["extract_text_features"]) == (1, 1)
    assert "make_demo_language_model" not in jobs and "train_retrieval" not in jobs


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("preset", ["auto", "l4"])
def test_the_korean_example_runs_with_other_models(tmp_path, preset):
    """From a delivery to the page; `auto` finds no GPU, `l4` trains in 4 bits and bf16 all the same."""
    texts = write_aihub(tmp_path / "data/aihub", {"Training": 8, "Validation": 2, "Test": 2})
    config = yaml.safe_load((ROOT / "examples/aihub_korean.yaml").read_text(encoding="utf-8"))
    config["captioner"]["preset"] = preset
    config["captioner"]["language_model"] = str(write_language_model(tmp_path / "qwen3", "qwen3", texts))
    config["features"]["encoders"][0]["model"] = str(write_siglip(tmp_path / "siglip2"))
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", tmp_path,
         "--workflow-profile", ROOT / "profiles/default", "--configfile", tmp_path / "config.yaml", "--cores", "2"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "results/aihub_korean"
    assert (run / "report/index.html").is_file()
    found = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["captioner"]["test"]["ko"]
    assert {"cider", "chrf", "image_text"} <= set(found)
    rows = (run / "captioner/captions_test.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["reference"] for row in rows] == texts[-2:]
    settings = yaml.safe_load((run / "captioner/stage2/settings.yaml").read_text(encoding="utf-8"))
    expected = {"auto": ("cpu", "none", "fp32"), "l4": ("l4", "nf4", "bf16")}[preset]
    assert tuple(settings[key] for key in ("preset", "quantization", "precision")) == expected


def write_siglip(folder):
    """A tiny SigLIP of random weights with a grid of 4 x 4 patches."""
    torch.manual_seed(0)
    size = {"height": 32, "width": 32}
    model = hf.SiglipConfig(
        text_config=TEXT | {"projection_size": 32}, vision_config=VISION | {"image_size": 32}
    )
    hf.SiglipModel(model).save_pretrained(folder)
    hf.SiglipImageProcessor(size=size).save_pretrained(folder)
    word_tokenizer(asks_for_mask=False).save_pretrained(folder)
    return folder


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
