import pytest

from workflow_scripts.lib.report.words import mark_words, similarity


def wrong(reference, generated):
    words = mark_words(reference, generated)
    assert "".join(word.text for word in words) == generated
    return [word.text for word in words if word.wrong]


@pytest.mark.parametrize(
    ("reference", "generated", "expected"),
    [
        ("a red circle moves left", "a red circle moves left", []),
        ("a red circle moves left", "a blue circle moves left", ["blue"]),
        ("A red circle.", "a red circle", []),
        ("빨간 원이 왼쪽으로 움직인다", "빨간 원이 오른쪽으로 움직인다", ["오른쪽으로"]),
        ("一只红猫在跳", "一只黑猫在跳", ["黑"]),
        ("a dog sleeps on the sofa", "two children play football outside", []),
        ("", "something", []),
        ("something", "", []),
        ("a_b नमस्ते दुनिया 👍🏽", "a_b नमस्ते दुनिया 👍🏽!", []),
    ],
)
def test_wrong_words(reference, generated, expected):
    assert wrong(reference, generated) == expected


def test_similarity_orders_references():
    assert similarity("a red dog", "a red dog") == 1
    assert similarity("a red dog", "a red cat") > similarity("ten green bottles", "a red cat") == 0
