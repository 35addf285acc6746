"""Two models on the same pictures and texts."""

import numpy as np
import pytest

from tests.unit.clip.colours import COLOURS, class_folders, colour_clip, picture
from workflow_scripts.lib.clip import embed as module
from workflow_scripts.lib.clip.embed import embed, in_threads
from workflow_scripts.lib.clip.evaluate import before_and_after
from workflow_scripts.lib.clip.held_out import Example
from workflow_scripts.lib.config_clip import ZeroShotConfig
from workflow_scripts.lib.errors import UserError

EXAMPLES = [
    Example(f"{colour} {language}", picture(colour), text.format(colour), language)
    for colour in COLOURS
    for language, text in (("en", "something {}"), ("ko", "{} 물건"))
]


def test_before_and_after_by_language_in_both_directions():
    found = before_and_after(colour_clip(blind=True), colour_clip(), iter(EXAMPLES), None, threads=2)
    assert set(found) == {"before", "test"}
    assert set(found["test"]) == set(found["before"]) == {"en", "ko"}
    for language in ("en", "ko"):
        assert found["test"][language]["t2i_r1"] == found["test"][language]["i2t_r1"] == 100
        assert found["before"][language]["i2t_r1"] == 0  # all captions score the same
        assert found["test"][language]["pairs"] == found["test"][language]["unique_images"] == 7


def test_zero_shot_where_it_is_asked_for(tmp_path):
    setting = ZeroShotConfig(classes=["red", "blue"], images=str(class_folders(tmp_path)))
    found = before_and_after(colour_clip(blind=True), colour_clip(), [], setting, threads=1)
    assert found["test"] == found["before"] == {}
    assert {name: scores["top1"] for name, scores in found["zero_shot"].items()} == {
        "before": 0,
        "after": 100,
    }


def test_what_comes_again_is_encoded_once(monkeypatch):
    monkeypatch.setattr(module, "BATCH", 3)
    model = colour_clip()
    found = embed([model], [*EXAMPLES, *EXAMPLES], threads=2)
    assert (model.model.seen, len(model.model.read)) == (7, 14)
    assert found.image.tolist() == [row // 2 for row in range(14)] * 2
    assert found.text.tolist() == [*range(14)] * 2
    assert found.images[0].shape == (7, 3)


def test_batches_do_not_change_the_embeddings(monkeypatch):
    expected = embed([colour_clip()], EXAMPLES, threads=1)
    monkeypatch.setattr(module, "BATCH", 2)
    found = embed([colour_clip()], EXAMPLES, threads=3)
    assert np.array_equal(found.images[0], expected.images[0])
    assert np.array_equal(found.texts[0], expected.texts[0])


def test_pictures_pass_by_and_are_not_held(monkeypatch):
    monkeypatch.setattr(module, "BATCH", 4)
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield taken

    batches = in_threads(endless(), str, threads=2)
    assert next(batches) == ["1", "2", "3", "4"]
    assert taken <= 12


def test_a_picture_that_is_none_is_named():
    with pytest.raises(UserError, match="the picture of pair 7 cannot be decoded"):
        embed([colour_clip()], [Example("pair 7", b"no picture", "red", "en")], threads=1)
