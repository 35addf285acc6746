"""Metrics on cases that can be counted by hand; the scores themselves are in test_caption_scores."""

import pytest

from workflow_scripts.lib.captioner.metrics import evaluate, validation_scores
from workflow_scripts.lib.config import CaptionEvaluation

OPTIONS = CaptionEvaluation(bootstrap=0)


def row(generated, reference="x", language="en", video=0, **attributes):
    return {
        "key": f"vid_{video}#cap_0", "video": video, "language": language, "start_s": None, "end_s": None,
        "reference": reference, "generated": generated, "attributes": attributes,
    }  # fmt: skip


def of_language(rows, language="en", options=OPTIONS):
    return evaluate(rows, options)["by_language"][language]


def test_perfect_captions_get_a_hundred_of_everything():
    rows = [
        row(text, text, video=n) for n, text in enumerate(["a red circle moves left", "a blue ring moves up"])
    ]
    score = of_language(rows)
    for name in ("exact_match", "chrf", "bleu", "diversity"):
        assert score[name] == pytest.approx(100), name
    assert "attribute_accuracy" not in score


def test_an_attribute_is_right_when_said_alone():
    rows = [
        row("a red circle", colour="red", shape="circle"),
        row("a red blue circle", colour="blue", shape="circle"),  # says two colours
        row("a ring", colour="red", shape="ring"),
    ]
    found = of_language(rows)
    assert found["attribute_accuracy_by_kind"] == pytest.approx({"colour": 100 / 3, "shape": 100})
    assert found["attribute_accuracy"] == pytest.approx(100 * 4 / 6)


def test_latin_words_are_whole_words():
    rows = [
        row("a checkered string", colour="red", shape="ring"),
        row("RED ring", colour="red", shape="ring"),
    ]
    assert of_language(rows)["attribute_accuracy"] == 50


def test_korean_particles_may_follow():
    rows = [
        row("빨간 원이 왼쪽으로 움직인다", language="ko", colour="빨간", shape="원", direction="왼쪽"),
        row("파란 별을 본다", language="ko", colour="빨간", shape="별", direction="오른쪽"),
    ]
    by_kind = of_language(rows, "ko")["attribute_accuracy_by_kind"]
    assert by_kind == {"colour": 50, "direction": 50, "shape": 100}


def test_a_word_inside_another_is_not_said():
    rows = [
        row("청록색 원", language="ko", colour="청록색"),
        row("록색 원", language="ko", video=1, colour="록색"),
    ]
    assert of_language(rows, "ko")["attribute_accuracy"] == 100


def test_a_model_that_says_one_sentence_is_found_out():
    references = [f"caption number {n}" for n in range(20)]
    collapsed = [row("a thing", text, video=n) for n, text in enumerate(references)]
    score = evaluate(collapsed, OPTIONS)
    assert score["diversity_warning"] and score["diversity_warning_languages"] == ["en"]
    assert score["by_language"]["en"]["most_frequent_share"] == 100
    assert score["by_language"]["en"]["diversity"] == 5


def test_diversity_is_judged_against_the_references_own():
    rows = [row("a dog", "a dog", video=n) for n in range(20)]  # the references repeat themselves as well
    assert not evaluate(rows, OPTIONS)["diversity_warning"]


def test_one_collapsed_language_is_enough():
    rows = [row(f"text {n}", f"text {n}", video=n) for n in range(10)]
    rows += [row("같은 말", f"말 {n}", language="ko", video=n) for n in range(10)]
    assert evaluate(rows, OPTIONS)["diversity_warning_languages"] == ["ko"]


def test_a_moment_with_several_references_needs_one_of_them():
    rows = [row("a cat", "a dog"), row("a cat", "a  cat"), row("a bird", "a bird", video=1)]
    score = of_language(rows)
    assert (score["captions"], score["moments"], score["exact_match"]) == (3, 2, 100)
    assert score["chrf"] == pytest.approx(100)


def test_bleu_is_on_characters_where_spaces_cut_no_words():
    scores = evaluate([row("你好吗", "你好吗", language="zh"), row("안녕", "안녕", language="ko")], OPTIONS)[
        "by_language"
    ]
    assert {language: score["bleu_tokenizer"] for language, score in scores.items()} == {
        "ko": "char",
        "zh": "char",
    }


def test_no_captions_give_no_scores():
    assert evaluate([], OPTIONS) == {
        "by_language": {}, "diversity_warning": False, "diversity_warning_languages": []
    }  # fmt: skip


def test_scores_come_with_intervals_that_hold_them():
    texts = [
        f"a {colour} {shape} moves" for colour in ("red", "blue") for shape in ("ring", "star", "box")
    ] * 4
    rows = [
        row(text if n % 4 else "a red thing", text, video=n, colour=text.split()[1])
        for n, text in enumerate(texts)
    ]
    found = of_language(rows, options=CaptionEvaluation(bootstrap=200))
    names = {
        "attribute_accuracy", "attribute_accuracy.colour", "exact_match", "cider", "chrf", "bleu", "bleu_1", "bleu_2",
        "bleu_3", "meteor_without_synonyms", "rouge_l",
    }  # fmt: skip
    assert set(found["confidence"]) == names
    for name, (low, high) in found["confidence"].items():
        assert low < found.get(name, found["attribute_accuracy"]) < high, name
    assert found == of_language(rows, options=CaptionEvaluation(bootstrap=200))
    assert of_language(rows)["confidence"] is None


def test_korean_is_scored_by_morphemes():
    one = [row("고양이가 잔다", "고양이는 잔다", language="ko"), row("개", "개", language="ko", video=1)]
    found = of_language(one, "ko")
    assert (found["tokens"], found["bleu_tokenizer"]) == ("morphemes", "char")
    # of two words one is equal, of four morphemes three
    assert found["rouge_l"] == pytest.approx((75 + 100) / 2)


def test_how_the_captions_vary_stands_beside_how_the_references_do():
    rows = [row("a dog runs", f"dog {n}{n} runs", video=n) for n in range(10)]
    found = of_language(rows)
    assert (found["near_duplicates"], found["reference_near_duplicates"]) == (100, 0)
    assert (found["most_frequent_share"], found["reference_most_frequent_share"]) == (100, 10)
    assert found["distinct_1"] < found["reference_distinct_1"]
    loose = of_language(rows, options=CaptionEvaluation(bootstrap=0, near_duplicate=0.8))
    assert loose["reference_near_duplicates"] == 100


def test_captions_that_were_cut_or_are_empty_are_counted_by_moment():
    rows = [row("a", cut=True), row("a", "y", cut=True), row("", video=1, cut=False), row("b", video=2)]
    for each in rows:
        each["cut"] = each["attributes"].pop("cut", False)
    found = of_language(rows)
    assert (found["cut"], found["empty"], found["moments"]) == (1, 1, 3)


def test_a_training_looks_at_means_over_languages():
    rows = [row(f"text {n}", f"text {n}", video=n) for n in range(10)]
    rows += [row("같은 말", f"말 {n}", language="ko", video=n) for n in range(10)]
    both = evaluate(rows, OPTIONS)["by_language"]
    means, collapsed = validation_scores(rows, 0.5)
    assert collapsed == ["ko"]
    for name in ("cider", "chrf", "diversity", "reference_diversity"):
        assert means[name] == pytest.approx((both["en"][name] + both["ko"][name]) / 2), name
    assert means["diversity"] == 55


def test_a_training_sees_nothing_in_one_moment_or_none():
    means, _ = validation_scores([row("a b", "a b")], 0.5)
    assert (means["cider"], means["chrf"]) == (0, pytest.approx(100))
    assert validation_scores([], 0.5) == ({}, [])
