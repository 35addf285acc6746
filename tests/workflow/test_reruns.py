"""Which edit makes which rules run again: the table that users rely on."""

import copy
import shutil

import pytest

from tests.workflow.planning import Scratch, demo_config

CAPTIONER = {
    "make_demo_language_model",
    "train_captioner_stage1",
    "train_captioner_stage2",
    "generate_captions",
    "evaluate_captions",
}
RETRIEVAL = {"train_retrieval", "evaluate_retrieval", "build_index"}
REPORT = {"collect_metrics", "build_report"}
CLIP_ON = {"make_demo_clip_model", "pack_pairs", "train_clip", "evaluate_clip"}
LEARNS_TO_CAPTION = CAPTIONER - {"make_demo_language_model"}
FRAMES_ENCODED = {"extract_video_features", "collect_features", "list_captions"} | LEARNS_TO_CAPTION
TEXTS_ENCODED = {"extract_text_features", "collect_features"}
FEATURES_ON = FRAMES_ENCODED | TEXTS_ENCODED | RETRIEVAL | REPORT

FROZEN = {"freeze_encoder", "freeze_side"}

EDITS = {
    "a comment": (None, None, set()),
    "the captioner's language model": (
        "captioner.demo_language_model.epochs",
        9,
        {"freeze_config"} | CAPTIONER | REPORT,
    ),
    "the captioner's stage 1": (
        "captioner.stage1.epochs",
        9,
        {"freeze_config"} | LEARNS_TO_CAPTION | REPORT,
    ),
    "the captioner's stage 2": (
        "captioner.stage2.epochs",
        9,
        {"freeze_config"} | LEARNS_TO_CAPTION - {"train_captioner_stage1"} | REPORT,
    ),
    "how captions are generated": (
        "captioner.generation.num_beams",
        3,
        {"freeze_config", "generate_captions", "evaluate_captions"} | REPORT,
    ),
    "how captions are judged": (
        "captioner.evaluation",
        {"diversity_floor": 0.4},
        {"freeze_config", "evaluate_captions"} | REPORT,
    ),
    "how the captioner is trained": ("captioner.running.per_device_batch_size", 2, set()),
    "retrieval": ("retrieval.lr", 1e-5, {"freeze_config"} | RETRIEVAL | REPORT),
    "how retrieval is trained": ("retrieval.workers", 5, set()),
    "what can be searched": ("retrieval.index", ["test"], {"build_index"}),
    "report": ("report.title", "한국어 제목", {"freeze_config", "build_report"}),
    "an encoder": ("features.encoders.0.precision", "bf16", FROZEN | FEATURES_ON),
    "an encoder's text side": (
        "features.encoders.0.text_layer",
        1,
        FROZEN | TEXTS_ENCODED | {"evaluate_captions"} | RETRIEVAL | REPORT,
    ),
    "an encoder's video side": (
        "features.encoders.0.token_grid",
        [1, 1],
        FROZEN | FRAMES_ENCODED | RETRIEVAL | REPORT,
    ),
    "an encoder's batch": ("features.encoders.0.batch_size", 7, {"freeze_encoder"}),
    "an encoder compiled": ("features.encoders.0.compile", True, {"freeze_encoder"}),
    "clip": ("clip.epochs", 1, {"freeze_config"} | CLIP_ON - {"pack_pairs"} | FEATURES_ON),
    "pairs": ("clip.data.frames_per_caption", 1, {"freeze_config"} | CLIP_ON | FEATURES_ON),
    "how pairs are drawn": (
        "clip.data.dataset_resampled",
        True,
        {"freeze_config"} | CLIP_ON - {"pack_pairs"} | FEATURES_ON,
    ),
    "how clip is trained": ("clip.workers", 5, set()),
    "what clip is evaluated on": (
        "clip.zeroshot",
        {"classes": ["a", "b"], "images": "pictures"},
        {"freeze_config", "evaluate_clip"} | REPORT,
    ),
    "frames": (
        "frames.jpeg_quality",
        50,
        {"freeze_config", "extract_frames"} | CLIP_ON - {"make_demo_clip_model"} | FEATURES_ON,
    ),
}


def edit(config: dict, path: str | None, value) -> dict:
    config = copy.deepcopy(config)
    if path:
        *parents, last = path.split(".")
        place = config
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        place[last] = value
    return config


@pytest.fixture(scope="module")
def finished_demo(tmp_path_factory):
    scratch = Scratch(tmp_path_factory.mktemp("demo"), demo_config())
    (scratch.folder / "pictures").mkdir()
    scratch.pretend_run()
    return scratch


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_reruns_its_own_rules(finished_demo, name):
    path, value, expected = EDITS[name]
    finished_demo.configure(edit(demo_config(), path, value), comment=name)
    assert set(finished_demo.planned()) == expected


def own_videos(annotations: str) -> dict:
    config = demo_config()
    config["corpus"] = {
        "name": "own",
        "adapter": "csv",
        "annotations": annotations,
        "videos_per_shard": 2,
        "shards": 3,
        "languages": ["en"],
    }
    del config["clip"]
    encoder = {"name": "clip", "kind": "open_clip", "model": "ViT-B-32", "token_grid": [2, 2]}
    config["features"] = {"encoders": [encoder]}
    return config


def rows(count: int) -> str:
    return "video,caption\n" + "".join(f"비디오 {i}.mp4,caption {i}\n" for i in range(count))


@pytest.fixture(scope="module")
def finished_own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "captions.csv").write_text(rows(5), encoding="utf-8")
    scratch = Scratch(folder, own_videos("captions.csv"))
    scratch.pretend_run()
    assert scratch.planned() == {}
    return scratch


def copied(scratch: Scratch, folder) -> Scratch:
    shutil.copytree(scratch.folder, folder / "copy", copy_function=shutil.copy2)
    return Scratch(folder / "copy", own_videos("captions.csv"))


# Of the last shard alone; corpus_shard makes its table of videos and its table of captions.
PER_SHARD = {
    "ingest_corpus": 1, "corpus_shard": 2, "extract_frames": 1, "extract_video_features": 1, "extract_text_features": 1,
}  # fmt: skip


def test_a_video_at_the_end_touches_only_the_last_shard(finished_own, tmp_path):
    scratch = copied(finished_own, tmp_path)
    (scratch.folder / "captions.csv").write_text(rows(6), encoding="utf-8")
    jobs = scratch.planned()
    assert {name: jobs[name] for name in PER_SHARD} == PER_SHARD
    assert set(jobs) >= RETRIEVAL | CAPTIONER | REPORT


def test_another_shard_leaves_the_others_as_they_are(finished_own, tmp_path):
    scratch = copied(finished_own, tmp_path)
    (scratch.folder / "captions.csv").write_text(rows(7), encoding="utf-8")
    config = own_videos("captions.csv")
    config["corpus"]["shards"] = 4
    scratch.configure(config)
    jobs = scratch.planned()  # the third shard has another video, too
    assert {name: jobs[name] for name in PER_SHARD} == {
        name: count if name == "ingest_corpus" else 2 * count for name, count in PER_SHARD.items()
    }


def test_an_edited_caption_leaves_frames_and_their_features_alone(finished_own, tmp_path):
    scratch = copied(finished_own, tmp_path)
    text = rows(5).replace("caption 0", "another caption")
    (scratch.folder / "captions.csv").write_text(text, encoding="utf-8")
    jobs = scratch.planned()
    one = {"ingest_corpus", "corpus_shard", "extract_text_features", "collect_features", "list_captions"}
    assert set(jobs) == one | RETRIEVAL | CAPTIONER | REPORT
    assert {name: jobs[name] for name in one} == dict.fromkeys(one, 1)


def test_a_bad_feature_shard_is_mended_by_removing_it_and_its_meta_file(finished_own, tmp_path):
    scratch = copied(finished_own, tmp_path)
    root = next(scratch.folder.rglob("video_meta.json")).parent
    (root / "FeatureData/video_shard_001.hdf5").unlink()
    (root / "video_meta.json").unlink()
    jobs = scratch.planned()
    one = {"extract_video_features", "collect_features", "list_captions"}
    assert set(jobs) == one | RETRIEVAL | LEARNS_TO_CAPTION | REPORT
    assert {name: jobs[name] for name in one} == dict.fromkeys(one, 1)


def test_a_touched_annotation_file_is_read_again_and_nothing_else(finished_own, tmp_path):
    scratch = copied(finished_own, tmp_path)
    (scratch.folder / "captions.csv").write_text(rows(5), encoding="utf-8")
    assert set(scratch.planned()) <= {"ingest_corpus", "collect_metrics", "build_report"}


FAILS = """
def fail(*_, **__):
    raise ValueError("a caption is empty")

next(each for each in workflow.rules if each.name == "ingest_corpus").run_func = fail
"""


def test_a_reading_that_failed_leaves_the_shards_alone(finished_own, tmp_path):
    scratch = copied(finished_own, tmp_path)
    snakefile = scratch.folder / "Snakefile"
    mock = snakefile.read_text(encoding="utf-8")
    (scratch.folder / "captions.csv").write_text(rows(6), encoding="utf-8")
    snakefile.write_text(mock + FAILS, encoding="utf-8")
    assert "a caption is empty" in scratch.snakemake(check=False)
    assert not (scratch.folder / "resources/own/ingest/problems.jsonl").exists()
    snakefile.write_text(mock, encoding="utf-8")
    jobs = scratch.planned()
    assert (jobs["ingest_corpus"], jobs["corpus_shard"], jobs["extract_frames"]) == (1, 2, 1)


def test_another_run_shares_corpus_and_frames(finished_own, tmp_path):
    scratch = copied(finished_own, tmp_path)
    config = own_videos("captions.csv") | {"run": "second", "seed": 5}
    scratch.configure(config)
    assert not {*PER_SHARD, "collect_features", "list_captions"} & set(scratch.planned())


def test_an_edit_inside_an_annotation_folder_is_read_again(tmp_path):
    for i in range(5):
        for ending in (".mp4", ".txt"):
            note = tmp_path / "videos" / "내부" / f"{i}{ending}"
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(f"caption {i}", encoding="utf-8")
    config = own_videos("videos")
    config["corpus"]["adapter"] = "folder"
    scratch = Scratch(tmp_path, config)
    scratch.pretend_run()
    assert scratch.planned() == {}
    (tmp_path / "videos" / "내부" / "4.txt").write_text("another caption", encoding="utf-8")
    jobs = scratch.planned()
    assert (jobs["ingest_corpus"], jobs["corpus_shard"]) == (1, 1)


def test_one_of_several_annotation_files_that_is_edited_is_read_again(tmp_path):
    for name, first in (("train", 0), ("test", 4)):
        text = "video,caption\n" + "".join(f"{i}.mp4,caption {i}\n" for i in range(first, first + 2))
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    config = own_videos("")
    config["corpus"]["annotations"] = ["train.csv", "test.csv"]
    scratch = Scratch(tmp_path, config)
    scratch.pretend_run()
    with (tmp_path / "test.csv").open("a", encoding="utf-8") as handle:
        handle.write("9.mp4,caption 9\n")
    jobs = scratch.planned()
    assert (jobs["ingest_corpus"], jobs["corpus_shard"]) == (1, 2)  # the last shard's videos and captions
