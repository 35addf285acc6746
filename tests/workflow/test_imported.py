"""A corpus of imported features: what is planned, what an edit runs again, and a real run from torch files to the page."""

import copy
import csv
import json
import os
import subprocess
import sys

import pytest

from tests.workflow.planning import ROOT, Scratch
from tests.workflow.test_reruns import REPORT, RETRIEVAL, edit

VIDEOS = {"train": 40, "val": 10, "test": 10}


def config() -> dict:
    encoder = {
        "name": "clip",
        "kind": "imported",
        "format": "webvid_pt",
        "source": "특징",
        "captions": "자막.csv",
    }
    small = {
        "hidden_size": 32,
        "map_size": 4,
        "max_ctx_l": 8,
        "max_desc_l": 4,
        "batch_size": 16,
        "epochs": 3,
        "lr": 1e-3,
    }
    return {
        "run": "가져온",
        "corpus": {"name": "wv", "adapter": "imported", "languages": ["en"], "videos_per_shard": 25, "shards": 3},
        "features": {"encoders": [encoder]},
        "retrieval": {"encoder": "clip", **small},
        "report": {"examples": 4},
    }  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported")
    (folder / "특징").mkdir()
    (folder / "자막.csv").touch()
    for name in ("train_text_0.pt", "train_video_0.pt", "notes.txt"):
        (folder / "특징" / name).touch()
    scratch = Scratch(folder, config())
    assert scratch.planned() == {
        "freeze_config": 2, "import_features": 1, "train_retrieval": 1, "evaluate_retrieval": 1, "build_index": 1,
        "collect_metrics": 1, "build_report": 1,
    }  # fmt: skip
    said = scratch.snakemake("--quiet", "progress")
    assert "frames: none; the features are imported from 특징 (webvid_pt)" in said
    assert scratch.planned() == {}
    return scratch


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("report.title", "제목", {"freeze_config", "build_report"}),
        ("retrieval.lr", 1e-5, {"freeze_config"} | RETRIEVAL | REPORT),
        ("features.encoders.0.dtype", "float16", {"import_features"} | RETRIEVAL | REPORT),
        ("corpus.languages", ["ko"], {"import_features"} | RETRIEVAL | REPORT),
    ],
)
def test_an_edit_reruns_its_own_rules(finished, path, value, expected):
    finished.configure(edit(config(), path, value))
    assert set(finished.planned()) == expected


@pytest.mark.parametrize("name", ["특징/train_video_0.pt", "특징/val_text_1.pt", "자막.csv"])
def test_a_changed_source_is_imported_again(finished, name):
    finished.configure(config())
    file = finished.folder / name
    was_there, before = file.exists(), file.stat() if file.exists() else None
    file.write_text("changed")
    assert set(finished.planned()) == {"import_features"} | RETRIEVAL | REPORT
    if was_there:
        file.write_bytes(b"")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        file.unlink()


def test_a_file_that_the_format_does_not_read_changes_nothing(finished):
    finished.configure(config())
    (finished.folder / "특징" / "notes.txt").write_text("changed")
    assert finished.planned() == {}


def test_another_run_shares_the_features(finished):
    finished.configure(config() | {"run": "second", "seed": 5})
    assert "import_features" not in finished.planned()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("source", "없는 폴더", ["features.encoders: 'clip'", "없는 폴더", "no such folder"]),
        ("source", ".", ["features.encoders: 'clip'", "webvid_pt", "*.pt"]),
        ("captions", "없다.csv", ["없다.csv", "no such file"]),
    ],
)
def test_a_source_that_is_not_there_stops_with_its_name(finished, key, value, words):
    finished.configure(edit(config(), f"features.encoders.0.{key}", value))
    said = finished.snakemake("--dry-run", check=False)
    assert all(word in said for word in words) and "Traceback" not in said


def test_there_is_nothing_to_retry(finished):
    finished.configure(config())
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.retry_failed"],
        cwd=finished.folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "no videos to try again" in done.stderr and "Traceback" not in done.stderr


def write_source(folder) -> None:
    """Torch files of frames and texts by id: a text lies near the mean of its video's frames. One text has no video."""
    import torch

    generator = torch.Generator().manual_seed(0)
    source = folder / "특징"
    source.mkdir()
    names = {split: [f"{split} 영상 {i}" for i in range(count)] for split, count in VIDEOS.items()}
    for split, ids in names.items():
        frames = {id_: torch.randn(6, 16, generator=generator) for id_ in ids}
        texts = {id_: frames[id_].mean(0) + 0.1 * torch.randn(16, generator=generator) for id_ in ids}
        texts |= {"없는 영상": torch.zeros(16)} if split == "train" else {}
        torch.save(frames, source / f"{split}_video_0.pt")
        torch.save(texts, source / f"{split}_text_0.pt")
    with (folder / "자막.csv").open("w", encoding="utf-8", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["videoid", "contentUrl", "duration", "page_dir", "name"])
        rows.writerows([id_, "", "", "0", f"말 of {id_}"] for ids in names.values() for id_ in ids)


def run(folder, settings: dict) -> subprocess.CompletedProcess:
    (folder / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    profile = ROOT / "profiles/default"
    options = ["--snakefile", ROOT / "Snakefile", "--workflow-profile", profile, "--cores", "1"]
    command = [sys.executable, "-m", "snakemake", *map(str, options)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_from_torch_files_to_the_page(tmp_path):
    from lxml import html

    write_source(tmp_path)
    too_few = copy.deepcopy(config())
    too_few["corpus"]["shards"] = 2
    done = run(tmp_path, too_few)
    assert done.returncode != 0 and "3" in done.stdout + done.stderr and "Traceback" not in done.stderr
    log = (tmp_path / "logs/가져온/import_features.log").read_text(encoding="utf-8")
    assert "error: " in log and "shards" in log

    done = run(tmp_path, config())
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results/가져온"
    metrics = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    assert "frames" not in metrics
    assert {split: found["videos"] for split, found in metrics["corpus"]["splits"].items()} == VIDEOS
    assert metrics["corpus"]["problems"]["kinds"] == {"text_without_video": 1}
    features = metrics["features"]["clip"]
    assert features | {"bytes": 0, "seconds": 0} == {
        "kind": "imported", "model": "특징", "videos": 60, "captions": 60, "width": 16, "tokens_per_frame": None,
        "dtype": "float32", "bytes": 0, "seconds": 0,
    }  # fmt: skip
    assert features["bytes"] > 60 * 6 * 16 * 4 and features["seconds"] > 0
    assert metrics["retrieval"]["test"]["queries"] == 10

    page = (results / "report/index.html").read_text(encoding="utf-8")
    words = " ".join(html.fromstring(page).text_content().split())
    assert "Features were imported; there are no frames to show" in words
    assert "말 of test 영상" in words and "없는 영상" in words
    assert "(frames removed)" not in words and "Readable videos" not in words

    told = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.status", "--run", "가져온"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert told.returncode == 0 and "import_features" in told.stdout, told.stdout + told.stderr
    assert "Nothing to be done" in run(tmp_path, config()).stderr
