import json
import random
from collections import Counter

import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.report.examples import (
    choose_moments,
    choose_queries,
    read_moments,
    shown_videos,
    spread,
)


def ranks(videos=40, hit_every=2):
    return [
        {
            "key": f"vid_{v}#cap_{j}",
            "video": v,
            "language": language,
            "rank": 1 if v % hit_every == 0 else v + 1,
        }
        for v in range(videos)
        for j, language in enumerate(("en", "ko"))
    ]


def test_half_hits_half_misses_of_each_language():
    chosen = choose_queries(ranks(), 8)
    kinds = Counter((row["language"], row["rank"] == 1) for row in chosen)
    assert kinds == {("en", True): 2, ("en", False): 2, ("ko", True): 2, ("ko", False): 2}
    assert len({row["video"] for row in chosen}) == 8


def test_misses_go_from_the_nearest_to_the_farthest():
    english = [row for row in ranks() if row["language"] == "en"]
    misses = [row["rank"] for row in choose_queries(english, 6) if row["rank"] > 1]
    assert misses[0] == 2 and misses[-1] == 40 and misses == sorted(misses)


@pytest.mark.parametrize("hit_every", [1, 1000])
def test_one_kind_fills_up_for_the_other(hit_every):
    rows = [row for row in ranks(hit_every=hit_every) if row["video"]]
    assert len(choose_queries(rows, 8)) == 8


def test_the_choice_does_not_depend_on_chance():
    random.seed(1)
    once = choose_queries(ranks(), 5)
    random.seed(2)
    assert choose_queries(ranks(), 5) == once


@pytest.mark.parametrize("videos", [0, 1, 2])
def test_fewer_queries_than_asked_for(videos):
    assert len(choose_queries(ranks(videos), 8)) == 2 * videos


def test_the_right_video_is_always_shown():
    assert shown_videos({"top_videos": [3, 1, 2], "video": 1}) == [3, 1, 2]
    assert shown_videos({"top_videos": [3, 1, 2, 5, 6], "video": 9}) == [3, 1, 2, 5, 6, 9]


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [5]), (2, [0, 9]), (4, [0, 3, 6, 9]), (20, list(range(10)))]
)
def test_spread(count, expected):
    assert spread(range(10), count) == expected


def captions(tmp_path, rows):
    file = tmp_path / "captions_test.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def row(video, language, reference, generated, start=0.0):
    names = ("video", "language", "reference", "generated", "start_s", "end_s")
    return dict(zip(names, (video, language, reference, generated, start, start + 1), strict=True))


def test_languages_of_a_moment_come_together_in_any_order_of_lines(tmp_path):
    rows = [
        row(1, "en", "a", "a"),
        row(1, "en", "b", "b", 2.0),
        row(1, "ko", "가", "나"),
        row(1, "ko", "다", "다", 2.0),
    ]
    moments = read_moments(captions(tmp_path, rows))
    assert [(moment.start_s, len(moment.captions), moment.exact) for moment in moments] == [
        (0.0, 2, False),
        (2.0, 2, True),
    ]


def test_one_of_several_references_is_enough_to_be_exact(tmp_path):
    (moment,) = read_moments(
        captions(tmp_path, [row(1, "en", "a cat", "a  dog"), row(1, "en", "a dog", "a  dog")])
    )
    assert moment.exact


def test_moments_half_right_half_wrong_in_corpus_order(tmp_path):
    rows = [row(video, "en", "a", "a" if video < 30 else "b") for video in range(40)]
    chosen = choose_moments(read_moments(captions(tmp_path, rows)), 6)
    assert [moment.exact for moment in chosen] == [True] * 3 + [False] * 3
    assert [moment.video for moment in chosen] == [0, 14, 29, 30, 34, 39]


def test_a_broken_caption_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"captions_test\.jsonl"):
        read_moments(captions(tmp_path, [{"video": 1}]))
