"""A video file is captioned as the run captions it; what cannot be seen is said in a sentence."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.unit.captioner.video_run import FRAMES, VideoRun, call
from workflow_scripts import caption_video, generate_captions, train_captioner_stage1
from workflow_scripts.lib.captioner.live import LiveFeatures, Moment
from workflow_scripts.lib.captioner.sources import SOURCES
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.files import read_json, write_json
from workflow_scripts.lib.frames.extract import Settings
from workflow_scripts.lib.frames.shard import read_status

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run, with a captioner of stage 1 and its captions of every split."""
    run = VideoRun(tmp_path_factory.mktemp("caption_video"))
    call(train_captioner_stage1, run.training("stage1", run.folder))
    _listen(run.folder / "stage1/adapter_model.safetensors", open_features(run.features, "token"))
    run.generation = run.config("generation")
    for split in ("train", "val", "test"):
        words = run.arguments(
            "generate_captions", run.generation, model=run.folder / "stage1", split=split,
            captions=run.folder / f"captions_{split}.jsonl", table=run.folder / f"captions_{split}.parquet",
            progress=run.folder / f"captions_{split}.part",
        )  # fmt: skip
        call(generate_captions, words)
    return run


def _listen(adapter, features):
    """Enlarge what differs between the visual tokens, so that what is said depends on them after so little training."""
    tokens = np.concatenate(list(features.values())).astype(np.float32)
    mean = torch.nn.functional.layer_norm(torch.from_numpy(tokens), tokens.shape[-1:]).mean(dim=(0, 1))
    weights = load_file(adapter)
    [name] = [name for name in weights if name.endswith("enter.weight")]
    weights[name] *= 1000
    weights[name.replace("weight", "bias")] = -weights[name] @ mean
    save_file(weights, adapter, metadata={"format": "pt"})


@pytest.fixture
def caption(trained, capsys):
    """The command's standard output and error."""

    def ask(*videos, **flags):
        flags = {"model": trained.folder / "stage1", "generation": trained.generation, "threads": 1, **flags}
        words = ["caption_video", "--video", *map(str, videos)]
        for name, value in flags.items():
            words += [f"--{name}", *([] if value is True else [str(value)])]
        capsys.readouterr()
        try:
            call(caption_video, words)
        finally:
            ask.said = capsys.readouterr()
        return ask.said.out

    return ask


def test_a_moment_gets_the_caption_that_the_run_gives_it(trained, caption):
    """Same file, same moment, same settings: same frames, same visual tokens, same words."""
    texts = set()
    for number, split in enumerate(("train", "val", "test")):
        lines = (trained.folder / f"captions_{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        for start, end in sorted({(row["start_s"], row["end_s"]) for row in rows}):
            expected = {row["language"]: row["generated"] for row in rows if row["start_s"] == start}
            out = caption(trained.videos[number], start=start, end=end, json=True)
            assert json.loads(out)["captions"] == expected
            texts.update(expected.values())
    assert len(texts) > 3  # the captioner says what it sees, so that another frame would have told


def test_tokens_of_a_moment_are_those_that_the_run_stored(trained):
    live = LiveFeatures(trained.folder / "stage1", CPU)
    assert live.settings == Settings.of(FRAMES)
    stored, [status, *_] = open_features(trained.features, "token"), read_status(trained.folder / "frames", 1)
    moment = trained.captions[0]
    [seen] = live.see([trained.videos[0]], Moment(moment["start_s"], moment["end_s"]), 4)
    positions = [status["timestamps"].index(time) for time in seen.times]
    assert len(positions) == 4 and all(moment["start_s"] <= time <= moment["end_s"] for time in seen.times)
    assert seen.tokens.dtype == stored["vid_0"].dtype
    # the encoder meets them in other batches
    np.testing.assert_allclose(seen.tokens, stored["vid_0"][positions], atol=2e-3, rtol=2e-3)


def test_a_moment_alone_has_frames_of_its_own(trained):
    live = LiveFeatures(trained.folder / "stage1", CPU)
    apart, alone = (
        live.see(trained.videos[:1], Moment(0.5, 1.5, alone), 4)[0].times for alone in (False, True)
    )
    assert len(alone) == 4 and all(0.5 <= time <= 1.5 for time in alone)
    assert apart != alone


def test_several_videos_and_a_broken_one(trained, caption, tmp_path):
    broken = tmp_path / "깨진 것.mp4"
    broken.write_bytes(trained.videos[0].read_bytes()[:1000])
    with pytest.raises(UserError, match="1 of 3 videos gave no captions"):
        caption(trained.videos[0], broken, trained.videos[1], language="ko")
    assert f"{broken}: no_index (an mp4 without its index" in caption.said.err
    lines = caption.said.out.splitlines()
    assert [line.split(" (frames")[0] for line in lines[::2]] == [str(path) for path in trained.videos[:2]]
    assert all(line.startswith("  ko: ") for line in lines[1::2])


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"start": 5, "end": 4}, "it has to end after it begins"),
        ({"start": -1}, "from 0 on"),
        ({"language": "zh"}, "--language zh: the captioner learned en, ko"),
        ({"model": "gone"}, "gone"),
    ],
)
def test_what_cannot_be_asked(trained, caption, flags, told):
    with pytest.raises(UserError, match=told):
        caption(trained.videos[0], **flags)


def test_a_moment_behind_the_end_is_told(trained, caption):
    with pytest.raises(UserError, match="1 of 1"):
        caption(trained.videos[0], start=100)
    assert "the moment begins at 100 s, the file shows" in caption.said.err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"frames": None}, "`frames` is null"),
        ({"identity": None}, "`identity` is null"),
        ({"identity": {"space": "another"}}, "is not the one that the captioner was trained with"),
        ({"frames": {"count": "many"}}, "frames: "),
        ({"trained_clip": None}, "give --trained-clip FOLDER"),
        ({"trained_clip": "moved"}, "moved: the CLIP that .* give --trained-clip FOLDER"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(trained, tmp_path, change, told):
    recorded = read_json(trained.folder / "stage1" / SOURCES)
    assert recorded["trained_clip"] == "../clip/trained"
    write_json(tmp_path / SOURCES, {**recorded, "trained_clip": str(trained.clip), **change})
    with pytest.raises(UserError, match=told):
        LiveFeatures(tmp_path, CPU)


def test_a_folder_that_was_moved_is_given(trained, tmp_path):
    write_json(tmp_path / SOURCES, read_json(trained.folder / "stage1" / SOURCES))
    live = LiveFeatures(tmp_path, CPU, trained.clip)
    assert live.see(trained.videos[:1], Moment(), 4)[0].tokens.shape[0] == 4


def test_captions_are_as_long_as_generation_allows(trained, caption):
    longer = caption(trained.videos[0], language="en")
    short = trained.config("generation", generation={"max_new_tokens": 2})
    assert len(caption(trained.videos[0], language="en", generation=short)) < len(longer)
    trained.config("generation")  # as it was
