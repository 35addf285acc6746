from workflow_scripts.lib.report.sections import caption_table, provenance_table


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
