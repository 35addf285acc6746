"""Metrics on cases that can be counted by hand."""

import pytest

from workflow_scripts.lib.captioner.metrics import attribute_accuracy, evaluate


def row(generated, reference="x", language="en", video=0, **attributes):
    return {
        "key": f"vid_{video}#cap_0", "video": video, "language": language, "start_s": None, "end_s": None,
        "reference": reference, "generated": generated, "attributes": attributes,
    }  # fmt: skip


def test_perfect_captions_get_a_hundred_of_everything():
    rows = [
        row(text, text, video=n) for n, text in enumerate(["a red circle moves left", "a blue ring moves up"])
    ]
    score = evaluate(rows, 0.5)["by_language"]["en"]
    for name in ("exact_match", "chrf", "bleu", "diversity"):
        assert score[name] == pytest.approx(100), name
    assert "attribute_accuracy" not in score


def test_an_attribute_is_right_when_said_alone():
    rows = [
        row("a red circle", colour="red", shape="circle"),
        row("a red blue circle", colour="blue", shape="circle"),  # says two colours
        row("a ring", colour="red", shape="ring"),
    ]
    found = attribute_accuracy(rows)
    assert found["attribute_accuracy_by_kind"] == pytest.approx({"colour": 100 / 3, "shape": 100})
    assert found["attribute_accuracy"] == pytest.approx(100 * 4 / 6)


def test_latin_words_are_whole_words():
    rows = [
        row("a checkered string", colour="red", shape="ring"),
        row("RED ring", colour="red", shape="ring"),
    ]
    assert attribute_accuracy(rows)["attribute_accuracy"] == 50


def test_korean_particles_may_follow():
    rows = [
        row("빨간 원이 왼쪽으로 움직인다", language="ko", colour="빨간", shape="원", direction="왼쪽"),
        row("파란 별을 본다", language="ko", colour="빨간", shape="별", direction="오른쪽"),
    ]
    by_kind = attribute_accuracy(rows)["attribute_accuracy_by_kind"]
    assert by_kind == {"colour": 50, "direction": 50, "shape": 100}


def test_a_word_inside_another_is_not_said():
    rows = [row("청록색 원", language="ko", colour="청록색"), row("록색 원", language="ko", colour="록색")]
    assert attribute_accuracy(rows)["attribute_accuracy"] == 100


def test_a_model_that_says_one_sentence_is_found_out():
    references = [f"caption number {n}" for n in range(20)]
    collapsed = [row("a thing", text, video=n) for n, text in enumerate(references)]
    score = evaluate(collapsed, 0.5)
    assert score["diversity_warning"] and score["diversity_warning_languages"] == ["en"]
    assert score["by_language"]["en"]["most_frequent_share"] == 100
    assert score["by_language"]["en"]["diversity"] == 5


def test_diversity_is_judged_against_the_references_own():
    rows = [row("a dog", "a dog", video=n) for n in range(20)]  # the references repeat themselves as well
    assert not evaluate(rows, 0.5)["diversity_warning"]


def test_one_collapsed_language_is_enough():
    rows = [row(f"text {n}", f"text {n}", video=n) for n in range(10)]
    rows += [row("같은 말", f"말 {n}", language="ko", video=n) for n in range(10)]
    assert evaluate(rows, 0.5)["diversity_warning_languages"] == ["ko"]


def test_a_moment_with_several_references_needs_one_of_them():
    rows = [row("a cat", "a dog"), row("a cat", "a  cat"), row("a bird", "a bird", video=1)]
    score = evaluate(rows, 0.5)["by_language"]["en"]
    assert (score["captions"], score["moments"], score["exact_match"]) == (3, 2, 100)
    assert score["chrf"] == pytest.approx(100)


def test_bleu_is_on_characters_where_spaces_cut_no_words():
    scores = evaluate([row("你好吗", "你好吗", language="zh"), row("안녕", "안녕", language="ko")], 0.5)[
        "by_language"
    ]
    assert {language: score["bleu_tokenizer"] for language, score in scores.items()} == {
        "ko": "char",
        "zh": "char",
    }


def test_no_captions_give_no_scores():
    assert evaluate([], 0.5) == {
        "by_language": {}, "diversity_warning": False, "diversity_warning_languages": []
    }  # fmt: skip
