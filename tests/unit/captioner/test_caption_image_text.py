"""Captions against frames, by an encoder of few words whose space is known."""

import numpy as np
import pytest

from tests.unit.captioner.word_encoder import WordEncoder, frames_of
from workflow_scripts.lib.captioner.image_text import ImageText, of_other_videos, pieces
from workflow_scripts.lib.errors import UserError


def row(video, generated, reference, frames=(0,), start=0.0):
    return {
        "video": video, "language": "en", "start_s": start, "end_s": None, "frames": list(frames),
        "generated": generated, "reference": reference,
    }  # fmt: skip


VIDEOS = [["red", "ring"], ["green", "star"], ["blue", "ring"], ["red", "star"]]


@pytest.fixture
def scorer(tmp_path):
    return ImageText(WordEncoder(), frames_of(tmp_path, VIDEOS))


def test_right_captions_fit_their_own_frames_better(scorer):
    rows = [row(video, " ".join(words), words[0]) for video, words in enumerate(VIDEOS)]
    found = scorer.scores(rows, 200, seed=0)
    assert found["matched"] == pytest.approx(1, abs=1e-6)
    assert found["references"] == pytest.approx(0.5**0.5)
    assert found["shuffled"] < 0.7 and found["beats_shuffled"] == 100
    assert found["difference"] == pytest.approx(found["matched"] - found["shuffled"])
    low, high = found["confidence"]["difference"]
    assert low <= found["difference"] <= high and low > 0
    assert (found["split"], found["encoder"], found["context"]) == (0, "words", 4)
    assert scorer.scores(rows, 200, seed=0) == found


def test_captions_that_say_the_same_of_everything_fit_no_better(scorer):
    rows = [row(video, "red ring", " ".join(words)) for video, words in enumerate(VIDEOS)]
    found = [scorer.scores(rows, 0, seed) for seed in range(30)]
    assert abs(np.mean([each["difference"] for each in found])) < 0.1
    assert found[0]["confidence"] is None and found[0]["references"] == pytest.approx(1)


def test_only_the_frames_that_the_captioner_saw_count(scorer):
    def matched(frames):
        return scorer.scores([row(0, "ring", "ring", frames)], 0, seed=0)["matched"]

    assert matched([0]) == pytest.approx(0.5**0.5)
    assert matched([1]) == pytest.approx(0, abs=1e-6)
    assert matched([0, 1]) == pytest.approx(0.5**0.5 / 2)  # the mean of the frames' cosines


def test_the_last_sentence_of_a_long_caption_counts(scorer):
    def found(last):
        return scorer.scores([row(0, f"red ring. and so it goes. {last}", "red ring")], 0, seed=0)

    right, wrong = found("a red ring."), found("a green star.")
    assert right["matched"] == pytest.approx(2 / 3) and wrong["matched"] == pytest.approx(1 / 3)
    assert (right["split"], right["references_split"]) == (1, 0)


def test_a_sentence_that_is_too_long_itself_is_halved():
    def is_cut(text):
        return len(text.split()) > 4 or len(text) > 30

    assert pieces("a b c", is_cut) == ["a b c"]
    assert pieces("a b c d e f g h i. j k", is_cut) == ["a b c d", "e f", "g h i.", "j k"]
    assert pieces("가" * 40, is_cut) == ["가" * 20] * 2
    assert pieces("고양이가 잔다。" * 6, is_cut) == ["고양이가 잔다。"] * 6


def test_several_references_of_a_moment_count_as_one(scorer):
    rows = [row(0, "red", "red ring"), row(0, "red", "star"), row(1, "green", "green star")]
    found = scorer.scores(rows, 0, seed=0)
    assert found["references"] == pytest.approx((0.5 + 1) / 2)


def test_equal_captions_are_encoded_once(scorer):
    scorer.scores([row(video, "red", "red") for video in range(4)], 0, seed=0)
    assert sum(scorer._encoder.read) == 2


def test_one_video_has_nothing_to_compare_with(scorer):
    found = scorer.scores([row(0, "red", "red"), row(0, "ring", "ring", start=2.0)], 10, seed=0)
    assert "shuffled" not in found and set(found["confidence"]) == {"matched", "references"}


@pytest.mark.parametrize("seed", range(20))
def test_another_video_is_another_one(seed):
    videos = np.array([7, 7, 7, 3, 3, 9, 1, 1, 1, 1])
    others = of_other_videos(videos, seed)
    assert (videos[others] != videos).all()
    assert set(videos[others]) == {1, 3, 7, 9}  # every video serves once


def test_frames_of_another_encoder_are_refused(tmp_path):
    frames = frames_of(tmp_path, VIDEOS, {"space": {"model": "other"}})
    with pytest.raises(UserError, match="not known to be made by the encoder 'words'"):
        ImageText(WordEncoder(), frames)


def test_fewer_frames_than_were_captioned_are_told(scorer):
    with pytest.raises(UserError, match="vid_2 has 2 frames, but frame 5"):
        scorer.scores([row(2, "red", "red", [1, 5])], 0, seed=0)
