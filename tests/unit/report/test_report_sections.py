from workflow_scripts.lib.report.sections import provenance_table


def test_packages_that_differ_between_stages_show_both():
    provenance = {"packages": {"torch": "2", "numpy": "1"}, "clip": {"packages": {"torch": "1"}, "seed": 1}}
    assert provenance_table(provenance)["packages"] == {"torch": "1 and 2", "numpy": "1"}
