"""The synthetic corpus: words that can be searched for, scenes that depend on seed and index alone, visible shapes."""

import itertools
import json

import av
import numpy as np
import pytest

from workflow_scripts.lib.corpus.demo.render import COLOURS, make_corpus
from workflow_scripts.lib.corpus.demo.scenes import annotation, scene
from workflow_scripts.lib.corpus.demo.words import BACKGROUNDS, DIRECTIONS, SHAPES, captions
from workflow_scripts.lib.errors import UserError

SMALL = {"moments": 1, "size": 48, "fps": 4, "workers": 1}


def _all_captions():
    for what in itertools.product(COLOURS, SHAPES, DIRECTIONS, BACKGROUNDS):
        yield from captions(*what)


def test_attribute_words_are_found_only_where_they_are_meant():
    words = {"en": set(), "ko": set()}
    for caption in _all_captions():
        words[caption["lang"]] |= set(caption["attributes"].values())
    for caption in _all_captions():
        said = {word for word in words[caption["lang"]] if word in caption["text"]}
        assert said == set(caption["attributes"].values()), caption["text"]


def test_every_combination_has_its_own_caption():
    texts = [caption["text"] for caption in _all_captions()]
    assert len(set(texts)) == len(texts) == 2 * 8 * 6 * 4 * 4


def test_scene_depends_on_seed_and_index_alone():
    assert scene(5, 17, 3) == scene(5, 17, 3)
    assert scene(5, 17, 3) != scene(5, 18, 3)
    assert scene(5, 17, 3) != scene(6, 17, 3)
    assert scene(-1, 0, 3) == scene(-1, 0, 3)


def test_scenes_are_untrimmed_videos_of_about_ten_seconds():
    for video in range(200):
        what = scene(0, video, 3)
        assert 8.5 < what.duration_s < 11.5
        times = [0.0, *(t for m in what.moments for t in (m.start_s, m.end_s)), what.duration_s]
        assert all(later - earlier > 0.4 for earlier, later in itertools.pairwise(times))
        assert len({(m.colour, m.shape, m.direction) for m in what.moments}) == 3


def test_splits_go_by_the_index():
    splits = [annotation(scene(0, video, 1), video, "x")["split"] for video in range(480)]
    assert [splits.count(split) for split in ("train", "val", "test")] == [320, 64, 96]
    assert splits[:15] == splits[15:30]


def test_too_many_moments_are_refused():
    with pytest.raises(UserError, match=r"corpus\.demo\.moments.*192"):
        scene(0, 0, 193)


def test_rendering_is_deterministic_and_more_videos_leave_the_earlier_ones(tmp_path):
    for name, videos, workers in (("few", 2, 1), ("more", 4, 2)):
        folder = tmp_path / name
        make_corpus(
            folder / "a.jsonl", folder / "videos", videos=videos, seed=3, **{**SMALL, "workers": workers}
        )
    few, more = tmp_path / "few", tmp_path / "more"
    assert (more / "a.jsonl").read_text("utf-8").startswith((few / "a.jsonl").read_text("utf-8"))
    assert len((more / "a.jsonl").read_text("utf-8").splitlines()) == 4
    for video in sorted((few / "videos").iterdir()):
        assert video.read_bytes() == (more / "videos" / video.name).read_bytes()
    assert not list(tmp_path.rglob("*.tmp"))


def test_video_shows_what_its_captions_say(tmp_path):
    """The shape's colour is there inside a moment, on the way that the caption tells, and gone outside of it."""
    make_corpus(
        tmp_path / "a.jsonl", tmp_path / "videos", videos=6, seed=0, **{**SMALL, "size": 96, "fps": 8}
    )
    for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        caption = row["captions"][0]
        colour = np.array(COLOURS[caption["attributes"]["colour"]])
        way = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}[
            caption["attributes"]["direction"]
        ]
        places = []
        with av.open(str(tmp_path / row["video"])) as container:
            for frame in container.decode(video=0):
                like = np.abs(frame.to_ndarray(format="rgb24").astype(int) - colour).max(axis=-1) < 40
                inside = caption["start_s"] <= frame.time <= caption["end_s"]
                assert like.any() if inside else like.mean() < 0.001, (row["video"], frame.time)
                if inside:
                    y, x = np.nonzero(like)
                    places.append((x.mean(), y.mean()))
        moved = (np.array(places[-1]) - places[0]) / 96
        assert 0.4 < np.dot(moved, way) < 0.65
        middle = (np.array(places[-1]) + places[0]) / 2 / 96
        assert (
            abs(np.dot(middle, np.abs(way)) - 0.5) < 0.06
        )  # through the middle, so one frame hides the direction
