import pytest

from workflow_scripts.lib.report.sections import caption_table, provenance_table, retrieval_groups

RECALLS = {"r1": 40.0, "r5": 80.0, "r10": 90.0, "r100": 100.0, "sumr": 310.0, "median_rank": 2.0}
FOUND = {**RECALLS, "queries": 80, "videos": 40, "chance_r1": 2.5}


def test_methods_by_language_with_chance_last():
    found = {**FOUND, "by_language": {"en": RECALLS, "ko": RECALLS}}
    test, val = retrieval_groups({"val": FOUND, "test": found, "zero_shot": FOUND})
    assert [row["label"] for row in test["rows"]] == ["GMMFormer", "en", "ko", "Zero-shot", "Chance"]
    assert [row["label"] for row in val["rows"]] == ["GMMFormer", "Chance"]


def test_chance_is_a_random_order():
    (group,) = retrieval_groups({"test": FOUND})
    chance = group["rows"][-1]
    assert [chance[name] for name in ("r1", "r5", "r10", "r100")] == [2.5, 12.5, 25.0, 100.0]
    assert (chance["sumr"], chance["median_rank"]) == (140.0, 20.5)


@pytest.mark.parametrize("empty", [None, {}, {"queries": 0, "videos": 0}])
def test_a_split_without_queries_has_no_table(empty):
    assert retrieval_groups({"test": empty, "val": empty}) == []


def test_caption_columns_are_those_that_were_measured():
    table = caption_table(
        {"test": {"en": {"chrf": 80.0, "captions": 4}, "ko": {"chrf": 70.0, "captions": 5}}}
    )
    assert (table["columns"], table["kinds"]) == (["chrF"], [])
    assert [(row["language"], row["values"], row["captions"]) for row in table["rows"]] == [
        ("en", [80.0], 4),
        ("ko", [70.0], 5),
    ]


def test_packages_that_differ_between_stages_show_both():
    provenance = {"packages": {"torch": "2", "numpy": "1"}, "clip": {"packages": {"torch": "1"}, "seed": 1}}
    assert provenance_table(provenance)["packages"] == {"torch": "1 and 2", "numpy": "1"}
